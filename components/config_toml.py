"""Renders GitLab Runner's config.toml. Pure: it returns text and makes no resources.

Keys and their meaning: https://docs.gitlab.com/runner/configuration/advanced-configuration/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

import tomli_w

from .job_pods import JobPods, kubernetes_table, only_or_all
from .kinds import Executor, Gifts, Place, check, gifts
from .paths import CA_FILE
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
    return tomli_w.dumps(merge(config, spec.extra, join_tables=True))


def _runner(runner: RunnerSpec, spec: ConfigSpec, token: str, pods: JobPods | None) -> dict[str, Any]:
    check(runner.name, runner.kind, runner.executor)
    place = Place(
        transport=spec.daemon.transport,
        daemon_host=spec.daemon.host,
        host_socket=spec.host_socket,
        job_daemon_image=runner.job_daemon_image,
    )
    given = gifts(runner.kind, place)
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
        entry["cache"] = dict(runner.cache)
    return merge(entry | _executor_table(runner, given, pods), runner.extra, join_tables=True)


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
        "volumes": ["/cache", *given.volumes, *runner.volumes],
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


def _limits(runner: RunnerSpec) -> dict[str, str]:
    cpus = {"cpus": f"{runner.cpus:g}"} if runner.cpus else {}
    return cpus | ({"memory": f"{runner.memory_mib}m"} if runner.memory_mib else {})
