"""GitLab Runner's config.toml from the settings. Pure: text out, no Pulumi.

Keys and their meaning: https://docs.gitlab.com/runner/configuration/advanced-configuration/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import tomli_w

from components.job_pods import JobPods, kubernetes_table
from components.paths import CA_FILE, DOCKER_SOCKET
from components.transport import CERTS_DIR, CLIENT_CERTS_DIR, SOCKET, Transport
from stacks.common import Common, Daemon, Executor, Kind, Runner
from stacks.gke_settings import GkeRunner
from stacks.values import only_or_all

FEATURE_FLAGS = {"FF_DISABLE_AUTOMATIC_TOKEN_ROTATION": True}
"""The token belongs to the stack: a runner that rotates it by itself would leave the stack with a dead one."""


def render(
    settings: Common, tokens: Mapping[str, str], host_socket: str = DOCKER_SOCKET, pods: JobPods | None = None
) -> str:
    """The whole config.toml.

    tokens: authentication token of each runner, by its name; KeyError where one is missing.
    host_socket: path of the host's Docker socket, as jobs of kind `host-docker` mount it.
    pods: how the jobs' pods are made, where jobs are pods.
    """
    config: dict[str, Any] = {
        "concurrent": settings.jobs_at_once,
        "check_interval": settings.check_interval,
        "log_level": settings.log_level,
    }
    if settings.metrics_address:
        config["listen_address"] = settings.metrics_address
    config["runners"] = [
        _runner(runner, settings, tokens[runner.name], host_socket, pods) for runner in settings.runners
    ]
    return tomli_w.dumps(merge(config, settings.extra))


def merge(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `extra` laid over it: tables are merged key by key, lists of tables joined, all else is replaced."""
    merged = dict(base)
    for key, value in extra.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merge(below, value)
        elif _is_tables(below) and _is_tables(value):
            value = [*below, *value]
        merged[key] = value
    return merged


def _is_tables(value: object) -> TypeGuard[list[Mapping[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _runner(runner: Runner, settings: Common, token: str, host_socket: str, pods: JobPods | None) -> dict[str, Any]:
    daemon_host = pods.daemon_host if pods else settings.daemon.alias
    environment = _job_environment(runner, settings.daemon.transport, daemon_host) | dict(runner.environment)
    entry: dict[str, Any] = {
        "name": runner.name,
        "url": settings.gitlab.url,
        "token": token,
        "executor": runner.executor.value,
        "limit": runner.limit,
        "request_concurrency": runner.request_concurrency,
        "environment": [f"{name}={value}" for name, value in environment.items()],
        "feature_flags": FEATURE_FLAGS,
    }
    if settings.gitlab.ca_file:
        entry["tls-ca-file"] = CA_FILE
    if runner.cache:
        entry["cache"] = dict(runner.cache)
    if runner.executor is Executor.DOCKER:
        entry["docker"] = _docker(runner, settings.daemon, host_socket)
    if isinstance(runner, GkeRunner) and pods:
        entry["kubernetes"] = kubernetes_table(runner, pods)
    return merge(entry, runner.extra)


def _job_environment(runner: Runner, transport: Transport, daemon_host: str) -> dict[str, str]:
    """What makes a plain `docker build` in a job find its daemon."""
    match runner.kind, transport:
        case Kind.PLAIN, _:
            return {}
        case Kind.HOST_DOCKER, _:
            return {"DOCKER_HOST": f"unix://{DOCKER_SOCKET}"}
        case Kind.JOB_DIND, _:
            return {"DOCKER_TLS_CERTDIR": CERTS_DIR} | tls_client(Transport.TLS.endpoint("docker"))
        case Kind.DIND, Transport.TLS:
            return tls_client(Transport.TLS.endpoint(daemon_host))
        case Kind.DIND, Transport.SOCKET:
            return {"DOCKER_HOST": f"unix://{DOCKER_SOCKET}"}
    return tcp_client(Transport.TCP.endpoint(daemon_host))


def tcp_client(endpoint: str) -> dict[str, str]:
    """The environment of a Docker client without TLS."""
    # An empty DOCKER_TLS_CERTDIR keeps the docker image's entrypoint from expecting certificates.
    return {"DOCKER_HOST": endpoint, "DOCKER_TLS_CERTDIR": ""}


def tls_client(endpoint: str) -> dict[str, str]:
    """The environment of a Docker client with TLS."""
    return {"DOCKER_HOST": endpoint, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": CLIENT_CERTS_DIR}


def _docker(runner: Runner, daemon: Daemon, host_socket: str) -> dict[str, Any]:
    """The `[runners.docker]` table: which daemon runs the job's containers, and what they are given."""
    table: dict[str, Any] = {
        **_executor_daemon(runner, daemon),
        "image": runner.image,
        "privileged": runner.privileged,
        # GitLab Runner before 13.8 knows the plain string only.
        "pull_policy": only_or_all(runner.pull_policy),
        "volumes": ["/cache", *_job_volumes(runner, daemon, host_socket), *runner.volumes],
    }
    if runner.helper_image:
        table["helper_image"] = runner.helper_image
    for key, limit in _limits(runner).items():
        # A service that a job starts is as much its own as the job's container.
        table |= {key: limit, f"service_{key}": limit}
    if runner.shm_size_mib:
        table["shm_size"] = runner.shm_size_mib * 1024**2
    if runner.network_mode:
        table["network_mode"] = runner.network_mode
    if runner.kind is Kind.DIND and daemon.transport is not Transport.SOCKET:
        # Job containers live inside the daemon's machine and do not know its alias: the gateway is the daemon.
        table["extra_hosts"] = [f"{daemon.alias}:host-gateway"]
    if runner.kind is Kind.JOB_DIND:
        table["services"] = [{"name": runner.job_daemon_image, "alias": "docker"}]
        # Only this service is privileged; the job that talks to it is not, nor is a service that the job names.
        table["services_privileged"] = True
        table["allowed_privileged_services"] = [runner.job_daemon_image]
    return table


def _limits(runner: Runner) -> dict[str, str]:
    cpus = {"cpus": f"{runner.cpus:g}"} if runner.cpus else {}
    return cpus | ({"memory": f"{runner.memory_mib}m"} if runner.memory_mib else {})


def _executor_daemon(runner: Runner, daemon: Daemon) -> dict[str, Any]:
    if runner.kind is Kind.HOST_DOCKER:
        return {"host": f"unix://{DOCKER_SOCKET}"}
    endpoint = daemon.transport.endpoint(daemon.alias)
    if daemon.transport is Transport.TLS:
        return {"host": endpoint, "tls_verify": True, "tls_cert_path": CLIENT_CERTS_DIR}
    return {"host": endpoint}


def _job_volumes(runner: Runner, daemon: Daemon, host_socket: str) -> list[str]:
    """Volumes of the job's containers; sources are paths inside the daemon's machine."""
    match runner.kind, daemon.transport:
        case Kind.HOST_DOCKER, _:
            return [f"{host_socket}:{DOCKER_SOCKET}"]
        case Kind.JOB_DIND, _:
            return [CLIENT_CERTS_DIR]
        case Kind.DIND, Transport.TLS:
            return [f"{CLIENT_CERTS_DIR}:{CLIENT_CERTS_DIR}:ro"]
        case Kind.DIND, Transport.SOCKET:
            return [f"{SOCKET}:{DOCKER_SOCKET}"]
    return []
