"""GitLab Runner in an unprivileged container, and its config.toml in a volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_docker as docker

from ..daemon_json import LOG_OPTS
from ..defaults import JOB_SECONDS, RUNNER_IMAGE
from ..inputs import mapped_or_none, recorded, taken
from ..paths import CA_FILE, CONFIG_DIR, DOCKER_SOCKET
from .labels import container_labels, volume_labels
from .spelling import cpus_text


@dataclass(frozen=True, kw_only=True)
class RunnerProcessArgs:
    """Inputs of every RunnerContainer, whether a container or a Swarm service runs it.

    prefix: prefix of the names on the engine.
    stack: value of the `dindrunner.stack` label.
    image: image with the interface of the official gitlab/gitlab-runner.
    config_toml: text of its config.toml, with tokens: a secret.
    drain_seconds: how long it may finish its jobs when it is stopped.
    daemon_id: ID of the daemon's container; when it changes, the runner is drained before the daemon is touched.
    daemon_volumes: volumes that a client of the daemon mounts, by path.
    host_socket: path of the host's Docker socket, to be mounted; None: it is not mounted.
    cpus, memory_mib: limits of the container; None: no limit. The memory limit counts RAM, not swap.
    ca_pem: certificates of GitLab's CA, written to CA_FILE for config.toml; None: the system's CAs are enough.
    """

    prefix: str
    stack: str
    config_toml: pulumi.Input[str]
    image: pulumi.Input[str] = RUNNER_IMAGE
    drain_seconds: int = JOB_SECONDS
    daemon_id: pulumi.Input[str] | None = None
    daemon_volumes: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    host_socket: pulumi.Input[str] | None = None
    cpus: pulumi.Input[float] | None = None
    memory_mib: pulumi.Input[int] | None = None
    ca_pem: pulumi.Input[str] | None = None


@dataclass(frozen=True, kw_only=True)
class RunnerContainerArgs(RunnerProcessArgs):
    """Inputs of a RunnerContainer. network_name: network that it joins."""

    network_name: pulumi.Input[str]


class RunnerContainer(pulumi.ComponentResource):
    """A `gitlab-runner run` that is stopped gently and re-reads its configuration while jobs run.

    config.toml is data: a container that is never started brings it into a volume, with mode 0600. GitLab Runner looks
    at the file every 3 s, so a new setting touches no running job. A change that replaces the container, such as a new
    image, drains it first: SIGQUIT, then up to `drain_seconds`.

    container: the runner's container, and container_name its name.
    """

    container: docker.Container
    container_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: RunnerContainerArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(RunnerContainerArgs, args)
        super().__init__("dindrunner:docker:RunnerContainer", name, recorded(args), opts)
        volume = docker.Volume(
            f"{name}-config-volume",
            name=f"{args.prefix}-runner-config",
            labels=volume_labels(args.stack, "config"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        config_mount = docker.ContainerVolumeArgs(volume_name=volume.name, container_path=CONFIG_DIR)
        writer = docker.Container(
            f"{name}-config",
            name=f"{args.prefix}-runner-config",
            image=args.image,
            start=False,
            must_run=False,
            network_mode="none",
            volumes=[config_mount],
            uploads=_uploads(args),
            labels=container_labels(args.stack, "config"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container = docker.Container(
            f"{name}-container",
            name=f"{args.prefix}-runner",
            image=args.image,
            restart="unless-stopped",
            # A scalar input that forces a replacement makes the engine drain the runner before it replaces the daemon.
            domainname=_domain(args.daemon_id) if args.daemon_id is not None else None,
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network_name)],
            volumes=[config_mount, *_daemon_volumes(args), *_host_socket(args.host_socket)],
            labels=container_labels(args.stack, "runner"),
            cpus=mapped_or_none(args.cpus, cpus_text),
            memory=args.memory_mib,
            # Given explicitly: the engine fills in a value otherwise, which every later update would want to undo.
            memory_swap=-1 if args.memory_mib is not None else None,
            log_driver="json-file",
            log_opts=LOG_OPTS,
            stop_signal="SIGQUIT",
            # Without it the provider kills the container at once.
            destroy_grace_seconds=args.drain_seconds,
            opts=pulumi.ResourceOptions(
                parent=self,
                # The file has to be there before the first start.
                depends_on=[writer],
                # An engine cannot remove a limit from an existing container, and that one has the name.
                replace_on_changes=["memorySwap"],
                delete_before_replace=True,
                # The engine must not give up before the jobs have ended.
                custom_timeouts=pulumi.CustomTimeouts(delete=f"{args.drain_seconds + 120}s"),
            ),
        )
        self.container_name = self.container.name
        self.register_outputs({"container_name": self.container_name})


def _uploads(args: RunnerContainerArgs) -> list[docker.ContainerUploadArgs]:
    """The files of the configuration. Only the runner may read the one with the tokens."""
    config = pulumi.Output.secret(args.config_toml)
    uploads = [docker.ContainerUploadArgs(file=f"{CONFIG_DIR}/config.toml", content=config, permissions="0600")]
    if args.ca_pem is not None:
        uploads.append(docker.ContainerUploadArgs(file=CA_FILE, content=args.ca_pem, permissions="0644"))
    return uploads


def _daemon_volumes(args: RunnerContainerArgs) -> list[docker.ContainerVolumeArgs]:
    return [
        docker.ContainerVolumeArgs(volume_name=volume, container_path=path, read_only=True)
        for path, volume in args.daemon_volumes.items()
    ]


def _host_socket(path: pulumi.Input[str] | None) -> list[docker.ContainerVolumeArgs]:
    return [docker.ContainerVolumeArgs(host_path=path, container_path=DOCKER_SOCKET)] if path is not None else []


def _domain(daemon_id: pulumi.Input[str]) -> pulumi.Output[str]:
    return pulumi.Output.from_input(daemon_id).apply(lambda value: f"dind-{value[:12]}")
