"""Target `docker-host`: network, daemon, runner and registrations on one Docker engine."""

from __future__ import annotations

from typing import Any

import pulumi

from components.docker import RunnerContainer, RunnerContainerArgs, RunnerNetwork
from components.engine import DockerEngine
from stacks import docker_parts as parts
from stacks.ci_snippet import ci_snippet
from stacks.load import Stack
from stacks.registrations import config_toml, register, runner_outputs
from stacks.settings import DockerHostSettings
from stacks.warnings import warnings_about


def build(stack: Stack[DockerHostSettings]) -> dict[str, Any]:
    """Make the stack's resources; outputs: target, network, daemon, runners, ci_snippet."""
    settings = stack.settings
    for warning in warnings_about(settings):
        pulumi.log.warn(warning)
    engine = DockerEngine(host=settings.docker_host)
    on_engine = pulumi.ResourceOptions(provider=parts.provider(engine))
    network = RunnerNetwork("network", parts.network_args(stack, stack.prefix), on_engine)
    daemon = (
        parts.daemon(stack, engine, network.name, settings.daemon.image, on_engine) if settings.needs_daemon else None
    )
    registrations = register(stack)
    RunnerContainer(
        "runner",
        RunnerContainerArgs(
            prefix=stack.prefix,
            stack=stack.name,
            network_name=network.name,
            image=settings.runner_image,
            config_toml=config_toml(settings, registrations, settings.host_socket),
            drain_seconds=settings.drain_seconds,
            daemon_id=daemon.container.id if daemon else None,
            daemon_volumes=daemon.client_volumes if daemon else {},
            host_socket=parts.mounted_socket(settings, settings.host_socket),
            ca_pem=parts.ca_pem(settings),
        ),
        on_engine,
    )
    return {
        "target": settings.target,
        "network": network.name,
        "daemon": parts.daemon_output(stack, daemon),
        "runners": runner_outputs(stack, registrations),
        "ci_snippet": ci_snippet(settings.runners),
    }
