"""What the targets that deploy to a Docker engine have in common."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_docker as docker

from components.docker import DindDaemon, DindDaemonArgs, RunnerContainerArgs, RunnerNetworkArgs
from components.docker_client import DockerEngine
from components.registration import RunnerRegistration
from stacks.on_docker.settings import OnDockerSettings
from stacks.registrations import ca_pem, config_toml
from stacks.settings.daemon_file import daemon_file
from stacks.stack import Stack


def provider(engine: DockerEngine) -> docker.Provider:
    """The provider for an engine."""
    return docker.Provider(
        "engine",
        host=engine.host,
        ssh_opts=list(engine.ssh_options) or None,
        # Said outright, or $DOCKER_CONTEXT and $DOCKER_CERT_PATH of the shell come before the host; tcp may need these.
        context="",
        cert_path=None if engine.host.startswith("tcp://") else "",
        # Another engine has none of the stack's objects: they go from the old one, and are made on the new one.
        opts=pulumi.ResourceOptions(replace_on_changes=["host"], delete_before_replace=True),
    )


def network_args(stack: Stack[OnDockerSettings, object], network_name: str) -> RunnerNetworkArgs:
    """What the settings say of the stack's network."""
    wanted = stack.settings.network
    return RunnerNetworkArgs(
        network_name=network_name,
        stack=stack.name,
        subnet=str(wanted.subnet) if wanted.subnet else None,
        mtu=wanted.mtu,
    )


def daemon(
    stack: Stack[OnDockerSettings, object],
    network_name: pulumi.Input[str],
    image: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> DindDaemon:
    """The daemon as the settings describe it."""
    wanted = stack.settings.daemon
    given = {
        "prefix": stack.prefix,
        "stack": stack.name,
        "network_name": network_name,
        "image": image,
        "alias": wanted.alias,
        "certificate_names": wanted.names,
        "daemon_json": daemon_file(stack.settings),
        "engine": stack.settings.engine,
    }
    args = DindDaemonArgs(**wanted.named_as_in(DindDaemonArgs) | given)
    return DindDaemon("dind", args, opts)


def runner_args(
    stack: Stack[OnDockerSettings, object],
    network_name: pulumi.Input[str],
    image: pulumi.Input[str],
    made: DindDaemon | None,
    registrations: Mapping[str, RunnerRegistration],
) -> RunnerContainerArgs:
    """The runner as the settings describe it; made: the daemon, where the runner needs one."""
    settings = stack.settings
    return RunnerContainerArgs(
        prefix=stack.prefix,
        stack=stack.name,
        network_name=network_name,
        image=image,
        config_toml=config_toml(settings, registrations),
        drain_seconds=settings.drain_seconds,
        daemon_id=made.container.id if made else None,
        daemon_volumes=made.client_volumes if made else {},
        host_socket=settings.host_socket if settings.uses_host_socket else None,
        cpus=settings.runner_cpus,
        memory_mib=settings.runner_memory_mib,
        ca_pem=ca_pem(settings),
    )
