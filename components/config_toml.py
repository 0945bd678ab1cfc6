"""Renders GitLab Runner's config.toml. Pure: it returns text and makes no resources.

Keys and their meaning: https://docs.gitlab.com/runner/configuration/advanced-configuration/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, assert_never

import tomli_w

from .job_pods import JobPods, kubernetes_table, only_or_all
from .kinds import Executor, Gifts, Place, check, gifts
from .labels import CLIENT, kubernetes_labels
from .paths import CA_FILE, as_docker_reads
from .runner_keys import Place as KeyPlace
from .runner_keys import spelled
from .specs import ConfigSpec, RunnerSpec
from .tables import merge

FEATURE_FLAGS = {"FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": True}
"""The token belongs to the stack: a runner that replaced it by itself would leave the stack with an invalid one."""


def render(spec: ConfigSpec, tokens: Mapping[str, str], pods: JobPods | None = None) -> str:
    """The whole config.toml.

    tokens: authentication token of each runner, by its name; KeyError where one is missing.
    pods: how the jobs' pods are made, where jobs are pods.
    """
    config: dict[str, Any] = {
        "concurrent": spec.concurrent,
        "check_interval": spec.check_interval,
        "log_level": spec.log_level,
    }
    if spec.metrics_address:
        config["listen_address"] = spec.metrics_address
    config["runners"] = [_runner(runner, spec, tokens[runner.name], pods) for runner in spec.runners]
    return tomli_w.dumps(merge(config, spelled(spec.extra), join_lists=True))


def _runner(runner: RunnerSpec, spec: ConfigSpec, token: str, pods: JobPods | None) -> dict[str, Any]:
    check(runner.name, runner.kind, runner.executor)
    given = _gifts(runner, spec)
    environment = {**given.environment, **runner.environment}
    entry: dict[str, Any] = {
        "name": runner.name,
        "url": spec.gitlab_url,
        "token": token,
        "executor": runner.executor.value,
        "limit": runner.limit,
        "request_concurrency": runner.request_concurrency,
        "environment": [f"{name}={value}" for name, value in environment.items()],
        "feature_flags": FEATURE_FLAGS,
    }
    if spec.has_ca_file:
        entry["tls-ca-file"] = CA_FILE
    if runner.cache:
        entry["cache"] = spelled(runner.cache, "runners.cache")
    return merge(entry | _executor_table(runner, given, pods), spelled(runner.extra, "runners"), join_lists=True)


def _gifts(runner: RunnerSpec, spec: ConfigSpec) -> Gifts:
    return gifts(
        runner.kind,
        Place(
            transport=spec.daemon.transport,
            daemon_host=spec.daemon.host,
            host_socket=spec.host_socket,
            job_daemon_image=runner.job_daemon_image,
        ),
    )


def taken_away(runner: RunnerSpec, spec: ConfigSpec) -> Iterator[tuple[KeyPlace, str]]:
    """What in a runner's `extra` would take away something that the stack puts there for its jobs: where, and what."""
    given = _gifts(runner, spec)
    variables = {**given.environment, **runner.environment}
    labels = {**kubernetes_labels("", "", ""), **CLIENT}
    injected: dict[str, object] = {
        **{name: f"{name}={variables[name]}" for name in given.environment},
        **FEATURE_FLAGS,
        **{host.partition(":")[0]: host for host in given.more.get("extra_hosts", [])},
        **{key: value for key, value in given.more.items() if value is True},
        **{_target(volume): volume for volume in given.volumes},
        **dict.fromkeys(labels if runner.executor is Executor.KUBERNETES else ()),
    }
    for place, name, value in _rivals(spelled(runner.extra, "runners")):
        path = as_docker_reads(name)
        for mine, kept in injected.items():
            if value != kept and (name == mine or (mine.startswith("/") and path.is_relative_to(mine))):
                yield place, mine


def _rivals(extra: Mapping[str, Any]) -> Iterator[tuple[KeyPlace, str, object]]:
    """What in a `[[runners]]` entry can stand in for something of the same name or path: its place, that, its value."""
    docker, pods = extra.get("docker", {}), extra.get("kubernetes", {})
    for index, text in enumerate(extra.get("environment", [])):
        yield ("environment", index), text.partition("=")[0], text
    for index, host in enumerate(docker.get("extra_hosts", [])):
        yield ("docker", "extra_hosts", index), host.partition(":")[0], host
    for index, volume in enumerate(docker.get("volumes", [])):
        yield ("docker", "volumes", index), _target(volume), volume
    for kind, mounts in pods.get("volumes", {}).items():
        for index, mount in enumerate(mounts):
            yield ("kubernetes", "volumes", kind, index), mount.get("mount_path", ""), mount
    tables = {
        ("feature_flags",): extra.get("feature_flags", {}),
        ("docker", "tmpfs"): docker.get("tmpfs", {}),
        ("kubernetes", "pod_labels"): pods.get("pod_labels", {}),
    }
    for above, table in tables.items():
        yield from (((*above, name), name, value) for name, value in table.items())
    if "services_privileged" in docker:
        yield ("docker", "services_privileged"), "services_privileged", docker["services_privileged"]


def _target(volume: str) -> str:
    """Where a volume is mounted: `/path`, or `source:/path[:mode]`."""
    return f"{volume}:".split(":")[1] or volume


def _executor_table(runner: RunnerSpec, given: Gifts, pods: JobPods | None) -> dict[str, Any]:
    match runner.executor:
        case Executor.SHELL:
            return {}
        case Executor.DOCKER:
            return {"docker": _docker(runner, given)}
        case Executor.KUBERNETES:
            if pods is None:
                raise ValueError(f"the jobs of runner {runner.name} are pods: say how these are made")
            return {"kubernetes": kubernetes_table(runner, given, pods)}
        case unknown:
            assert_never(unknown)


def _docker(runner: RunnerSpec, given: Gifts) -> dict[str, Any]:
    """The `[runners.docker]` table: which daemon runs the job's containers, and what they are given."""
    table: dict[str, Any] = {
        **given.engine,
        "image": runner.image,
        "privileged": runner.privileged,
        # GitLab Runner before 13.8 knows the plain string only.
        "pull_policy": only_or_all(runner.pull_policy),
        "volumes": [*_own_cache(runner), *given.volumes, *runner.volumes],
    }
    if runner.helper_image:
        table["helper_image"] = runner.helper_image
    for key, limit in _limits(runner).items():
        # A service has the same limits as the job's container, because a job starts both.
        table |= {key: limit, f"service_{key}": limit}
    if runner.shm_size_mib:
        table["shm_size"] = runner.shm_size_mib * 1024**2
    if runner.network_mode:
        table["network_mode"] = runner.network_mode
    return table | dict(given.more)


def _own_cache(runner: RunnerSpec) -> list[str]:
    """`/cache`, unless the settings mount something there themselves: two mounts on one path fail every job."""
    more = spelled(runner.extra, "runners").get("docker", {}).get("volumes", [])
    return [] if "/cache" in map(_target, [*runner.volumes, *more]) else ["/cache"]


def _limits(runner: RunnerSpec) -> dict[str, str]:
    cpus = {"cpus": f"{runner.cpus:g}"} if runner.cpus else {}
    return cpus | ({"memory": f"{runner.memory_mib}m"} if runner.memory_mib else {})
