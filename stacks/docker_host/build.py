"""Target `docker-host`: network, daemon, runner and registrations on one Docker engine."""

from __future__ import annotations

from typing import Any

import pulumi

from components.docker import RunnerContainer, RunnerNetwork
from stacks.docker_host.settings import DockerHostSettings
from stacks.on_docker import parts
from stacks.options import made_by
from stacks.outputs import common_outputs, daemon_output
from stacks.registrations import register
from stacks.settings.versions import Engine
from stacks.stack import Stack, warnings_of


def build(stack: Stack[DockerHostSettings, Engine | None]) -> dict[str, Any]:
    """Make the stack's resources; outputs: network, daemon, and those of `common_outputs`."""
    settings = stack.settings
    for warning in warnings_of(stack, stack.facts):
        pulumi.log.warn(warning)
    on_engine = made_by(parts.provider(settings.engine))
    network = RunnerNetwork("network", parts.network_args(stack, stack.prefix), on_engine)
    daemon = (
        parts.daemon(stack, network.network_name, settings.daemon.image, on_engine) if settings.needs_daemon else None
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
        "daemon": daemon_output(settings, daemon),
    }
