"""Target `raspberry-pi`: the parts of a Docker host on a small board, as containers or with the runner on a swarm."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_docker as docker

from components import swarm
from components.docker import DindDaemon, RunnerContainer, RunnerNetwork
from components.registration import RunnerRegistration
from stacks.on_docker import parts
from stacks.options import made_by
from stacks.outputs import common_outputs, daemon_output
from stacks.raspberry_pi.board import Board, node_constraint, warnings_about_board
from stacks.raspberry_pi.settings import Orchestrator, RaspberryPiSettings
from stacks.registrations import register
from stacks.stack import Stack, warnings_of


def build(stack: Stack[RaspberryPiSettings, Board]) -> dict[str, Any]:
    """Make the stack's resources.

    Outputs: platform, orchestrator, network, service (None without a swarm), daemon, and those of `common_outputs`.
    """
    settings, board = stack.settings, stack.facts
    for warning in [*warnings_of(stack, board.engine), *warnings_about_board(board)]:
        pulumi.log.warn(warning)
    on_engine = made_by(parts.provider(settings.engine))
    network = _network(stack, on_engine)
    daemon = None
    if settings.needs_daemon:
        image = _image("dind-image", settings.daemon.image, settings, on_engine)
        daemon = parts.daemon(stack, network.network_name, image.name, on_engine)
    registrations = register(stack)
    service = _runner(stack, network, daemon, registrations, on_engine)
    return {
        **common_outputs(stack, registrations),
        "platform": settings.platform.value,
        "orchestrator": settings.orchestrator.value,
        "network": network.network_name,
        "service": service,
        "daemon": daemon_output(settings, daemon),
    }


def _network(
    stack: Stack[RaspberryPiSettings, Board], opts: pulumi.ResourceOptions
) -> RunnerNetwork | swarm.RunnerNetwork:
    if stack.settings.orchestrator is Orchestrator.DOCKER:
        return RunnerNetwork("network", parts.network_args(stack, stack.prefix), opts)
    # A name of its own, because the engine keeps bridges and overlays in one list.
    return swarm.RunnerNetwork("network", parts.network_args(stack, f"{stack.prefix}-overlay"), opts)


def _image(name: str, image: str, settings: RaspberryPiSettings, opts: pulumi.ResourceOptions) -> docker.RemoteImage:
    """An image for the board's platform, pulled before anything is stopped for it, and left there for other stacks."""
    return docker.RemoteImage(name, name=image, platform=settings.platform.value, keep_locally=True, opts=opts)


def _runner(
    stack: Stack[RaspberryPiSettings, Board],
    network: RunnerNetwork | swarm.RunnerNetwork,
    daemon: DindDaemon | None,
    registrations: dict[str, RunnerRegistration],
    opts: pulumi.ResourceOptions,
) -> pulumi.Output[str] | None:
    """Make the runner; the name of its service, where it is one."""
    settings = stack.settings
    image = _image("runner-image", settings.runner_image, settings, opts)
    if settings.orchestrator is Orchestrator.DOCKER:
        RunnerContainer(
            "runner", parts.runner_args(stack, network.network_name, image.name, daemon, registrations), opts
        )
        return None
    # Swarm keeps these two by ID and by digest: given otherwise, every preview would find a change.
    digest = pulumi.Output.all(image.repo_digest, image.name).apply(lambda found: found[0] or found[1])
    inputs = vars(parts.runner_args(stack, network.network_name, digest, daemon, registrations)) | {
        "network_id": network.network.id,
        "node": node_constraint(settings, stack.facts),
    }
    del inputs["network_name"]
    return swarm.RunnerContainer("runner", swarm.RunnerContainerArgs(**inputs), opts).service_name
