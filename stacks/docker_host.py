"""Target `docker-host`: network, daemon, runner and registrations on one Docker engine."""

from __future__ import annotations

from typing import Any

import pulumi

from components.docker import RunnerContainer, RunnerNetwork
from stacks import docker_parts as parts
from stacks.load import Stack, warnings_of
from stacks.options import made_by
from stacks.outputs import common_outputs
from stacks.registrations import register
from stacks.settings import DockerHostSettings


def build(stack: Stack[DockerHostSettings]) -> dict[str, Any]:
    """Make the stack's resources; outputs: network, daemon, and those of `common_outputs`."""
    settings = stack.settings
    for warning in warnings_of(stack):
        pulumi.log.warn(warning)
    engine = settings.engine
    on_engine = made_by(parts.provider(engine))
    network = RunnerNetwork("network", parts.network_args(stack, stack.prefix), on_engine)
    daemon = (
        parts.daemon(stack, engine, network.network_name, settings.daemon.image, on_engine)
        if settings.needs_daemon
        else None
    )
    registrations = register(stack)
    RunnerContainer(
        "runner",
        parts.runner_args(stack, network.network_name, settings.runner_image, daemon, registrations),
        on_engine,
    )
    return {
        **common_outputs(stack, registrations),
        "network": network.network_name,
        "daemon": parts.daemon_output(stack, daemon),
    }
