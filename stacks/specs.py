"""From settings to what the components render. Pure."""

from __future__ import annotations

from components.paths import DOCKER_SOCKET
from components.specs import ConfigSpec, DaemonSpec, RunnerSpec, TolerationSpec
from stacks.common import Common, Runner
from stacks.gke_settings import GkeRunner


def config_spec(settings: Common, daemon_host: str | None = None) -> ConfigSpec:
    """What config.toml is rendered from. daemon_host: the daemon's name for its clients; None is the setting's."""
    return ConfigSpec(
        runners=[_runner_spec(runner) for runner in settings.runners],
        concurrent=settings.jobs_at_once,
        daemon=DaemonSpec(transport=settings.daemon.transport, host=daemon_host or settings.daemon.alias),
        gitlab_url=settings.gitlab.url,
        has_ca_file=bool(settings.gitlab.ca_file),
        check_interval=settings.check_interval,
        log_level=settings.log_level,
        metrics_address=settings.metrics_address,
        host_socket=getattr(settings, "host_socket", DOCKER_SOCKET),
        extra=settings.extra,
    )


def _runner_spec(runner: Runner) -> RunnerSpec:
    pod = runner if isinstance(runner, GkeRunner) else None
    return RunnerSpec(
        name=runner.name,
        kind=runner.kind,
        executor=runner.executor,
        limit=runner.limit,
        request_concurrency=runner.request_concurrency,
        environment=runner.environment,
        cache=runner.cache,
        image=runner.image,
        helper_image=runner.helper_image,
        job_daemon_image=runner.job_daemon_image,
        pull_policy=runner.pull_policy,
        privileged=runner.privileged,
        volumes=runner.volumes,
        cpus=runner.cpus,
        memory_mib=runner.memory_mib,
        shm_size_mib=runner.shm_size_mib,
        network_mode=runner.network_mode,
        cpu_request=pod.cpu_request if pod else None,
        memory_request_mib=pod.memory_request_mib if pod else None,
        node_selector=pod.node_selector if pod else {},
        tolerations=[
            TolerationSpec(key=each.key, value=each.value, effect=each.effect)
            for each in (pod.tolerations if pod else ())
        ],
        extra=runner.extra,
    )
