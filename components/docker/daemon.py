"""The Docker-in-Docker daemon: a container that serves jobs, and the volume with its layer cache."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_docker as docker

from ..daemon_json import LOG_OPTS
from ..defaults import DAEMON_IMAGE, READY_SECONDS
from ..docker_client import DockerEngine
from ..inputs import mapped, mapped_or_none, recorded, taken
from ..paths import DOCKER_SOCKET
from ..transport import CERTS_DIR, CLIENT_CERTS_DIR, SOCKET, SOCKET_DIR, Transport
from .labels import container_labels, volume_labels
from .log_tail import log_tail_on_failure
from .spelling import cpus_text, go_duration

STOP_SECONDS = 30
"""How long the daemon may stop its containers; dockerd itself gives them 15 s."""

PULL_SECONDS = 900
"""How long pulling the daemon's image may take."""


@dataclass(frozen=True, kw_only=True)
class DindDaemonArgs:
    """Inputs of a DindDaemon.

    prefix: prefix of the names on the engine.
    stack: value of the `dindrunner.stack` label.
    network_name: network that it joins.
    image: image with the interface of the official docker:dind.
    transport: how clients reach it.
    alias: its host name on the network.
    certificate_names: host names and IP addresses in its certificate (TLS only).
    daemon_json: content of /etc/docker/daemon.json; see `daemon_json`.
    ready_timeout_seconds: how long an update waits for a new daemon to answer.
    cpus, memory_mib: limits of the container; None: no limit. The memory limit counts RAM, not swap.
    keep_cache: whether the data volume outlives the stack.
    data_path: directory on the engine's machine that holds the data volume; None: where the engine keeps all volumes.
    existing_volume: a volume that is there, to be used as the data volume; None: a new one is made.
    engine: asked for the log when the daemon fails; None: the engine that the Docker client chooses.
    """

    prefix: str
    stack: str
    network_name: pulumi.Input[str]
    image: pulumi.Input[str] = DAEMON_IMAGE
    transport: Transport | str = Transport.TLS
    alias: str = "docker"
    certificate_names: pulumi.Input[Sequence[pulumi.Input[str]]] = ("docker",)
    daemon_json: pulumi.Input[str] = "{}"
    ready_timeout_seconds: int = READY_SECONDS
    cpus: pulumi.Input[float] | None = None
    memory_mib: pulumi.Input[int] | None = None
    keep_cache: bool = False
    data_path: pulumi.Input[str] | None = None
    existing_volume: str | None = None
    engine: DockerEngine | None = None


class DindDaemon(pulumi.ComponentResource):
    """One dockerd in a privileged container, and the only user of its data volume (two would corrupt it).

    The volume outlives the container: an upgrade replaces the container and keeps every layer. Creating the container
    waits until `docker info` answers over the same transport that clients use. If that takes too long, the update
    fails and shows the end of the daemon's log.

    container: the daemon's container, and container_name its name. data: the volume with the layer cache, and
        volume_name its name. keep_cache: whether that outlives the stack.
    client_volumes: volumes that a client's container has to mount read-only, by path: certificates, socket, or none.
    endpoint: DOCKER_HOST for clients on the network.
    """

    container: docker.Container
    container_name: pulumi.Output[str]
    data: docker.Volume
    volume_name: pulumi.Output[str]
    keep_cache: bool
    client_volumes: dict[str, pulumi.Output[str]]
    endpoint: str

    def __init__(
        self, name: str, args: DindDaemonArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(DindDaemonArgs, args)
        super().__init__("dindrunner:docker:DindDaemon", name, recorded(args), opts)
        transport = Transport(args.transport)
        self.endpoint = transport.endpoint(args.alias)
        self.data = self._data_volume(name, args)
        shared = self._shared_volumes(name, args)
        self.client_volumes = {
            path: volume for path, volume in shared.items() if path in (CLIENT_CERTS_DIR, SOCKET_DIR)
        }
        self.container = docker.Container(
            f"{name}-container",
            name=f"{args.prefix}-dind",
            image=args.image,
            privileged=True,
            restart="unless-stopped",
            envs=_environment(args),
            command=_command(transport),
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network_name, aliases=[args.alias])],
            volumes=[
                docker.ContainerVolumeArgs(volume_name=volume, container_path=path)
                for path, volume in {"/var/lib/docker": self.data.name, **shared}.items()
            ],
            uploads=[docker.ContainerUploadArgs(file="/etc/docker/daemon.json", content=args.daemon_json)],
            labels=container_labels(args.stack, "daemon"),
            cpus=mapped_or_none(args.cpus, cpus_text),
            memory=args.memory_mib,
            # Given explicitly: the engine fills in a value otherwise, which every later update would want to undo.
            memory_swap=-1 if args.memory_mib is not None else None,
            log_driver="json-file",
            log_opts=LOG_OPTS,
            healthcheck=_healthcheck(args),
            wait=True,
            wait_timeout=args.ready_timeout_seconds,
            destroy_grace_seconds=STOP_SECONDS,
            opts=pulumi.ResourceOptions(
                parent=self,
                # Two daemons on one data volume corrupt it: the old one is deleted first.
                delete_before_replace=True,
                # An engine cannot remove a limit from an existing container.
                replace_on_changes=["memorySwap"],
                # The time to become ready, after the time that pulling the image may take.
                custom_timeouts=pulumi.CustomTimeouts(create=f"{args.ready_timeout_seconds + PULL_SECONDS}s"),
                # "Not healthy in time" alone does not explain anything.
                hooks=pulumi.ResourceHookBinding(
                    on_error=[log_tail_on_failure(self, name, f"{args.prefix}-dind", args.engine)]
                ),
            ),
        )
        self.container_name, self.volume_name = self.container.name, self.data.name
        # For policies, which cannot see a resource's options.
        self.keep_cache = args.keep_cache or args.existing_volume is not None
        self.register_outputs(
            {
                "endpoint": self.endpoint,
                "container_name": self.container_name,
                "volume_name": self.volume_name,
                "client_volumes": self.client_volumes,
                "keep_cache": self.keep_cache,
            }
        )

    def _data_volume(self, name: str, args: DindDaemonArgs) -> docker.Volume:
        if args.existing_volume:
            # It has another name in the state than the stack's own volume, or it would replace that volume there.
            return docker.Volume.get(
                f"{name}-existing-data", args.existing_volume, opts=pulumi.ResourceOptions(parent=self)
            )
        return docker.Volume(
            f"{name}-data",
            name=_data_name(args),
            driver_opts={"type": "none", "o": "bind", "device": args.data_path} if args.data_path is not None else None,
            labels=volume_labels(args.stack, "data"),
            # The layer cache is the point of a long-lived daemon: it is deleted only on request.
            opts=pulumi.ResourceOptions(parent=self, retain_on_delete=args.keep_cache),
        )

    def _shared_volumes(self, name: str, args: DindDaemonArgs) -> dict[str, pulumi.Output[str]]:
        """Volumes that bring certificates or socket to the clients, by path. The CA's key has a volume of its own."""
        roles = {
            Transport.TLS: {f"{CERTS_DIR}/ca": "certs-ca", CLIENT_CERTS_DIR: "certs-client"},
            Transport.SOCKET: {SOCKET_DIR: "socket"},
            Transport.TCP: {},
        }[Transport(args.transport)]
        return {
            path: docker.Volume(
                f"{name}-{role}",
                name=f"{args.prefix}-dind-{role}",
                labels=volume_labels(args.stack, role),
                opts=pulumi.ResourceOptions(parent=self),
            ).name
            for path, role in roles.items()
        }


def _data_name(args: DindDaemonArgs) -> pulumi.Input[str]:
    """A volume cannot move: a new path is a new volume, which the container gets before the old one is deleted."""
    name = f"{args.prefix}-dind-data"
    if args.data_path is None:
        return name
    return mapped(args.data_path, lambda path: f"{name}-{hashlib.sha256(path.encode()).hexdigest()[:6]}")


def _environment(args: DindDaemonArgs) -> list[pulumi.Input[str]]:
    if Transport(args.transport) is not Transport.TLS:
        return ["DOCKER_TLS_CERTDIR="]
    names = mapped(args.certificate_names, lambda known: f"DOCKER_TLS_SAN={','.join(map(_alternative_name, known))}")
    return [f"DOCKER_TLS_CERTDIR={CERTS_DIR}", names]


def _alternative_name(name: Any) -> str:
    """A host name or address in the form that OpenSSL's subjectAltName takes."""
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _command(transport: Transport) -> list[str] | None:
    """Arguments of the image's entrypoint. By itself that listens on its usual socket and the transport's port."""
    match transport:
        case Transport.SOCKET:
            return ["dockerd", f"--host=unix://{DOCKER_SOCKET}", f"--host=unix://{SOCKET}"]
        case Transport.TCP:
            # Given explicitly: else dockerd waits 15 s before it opens a port without TLS, and newer ones refuse.
            return ["--tls=false"]
    return None


def _healthcheck(args: DindDaemonArgs) -> docker.ContainerHealthcheckArgs:
    """`docker info` over the transport that clients use, so that a wrong certificate or alias is found here."""
    client = ["docker", "--host", Transport(args.transport).endpoint(args.alias)]
    if Transport(args.transport) is Transport.TLS:
        files = {"--tlscacert": "ca.pem", "--tlscert": "cert.pem", "--tlskey": "key.pem"}
        client += ["--tlsverify", *(f"{option}={CLIENT_CERTS_DIR}/{file}" for option, file in files.items())]
    return docker.ContainerHealthcheckArgs(
        tests=["CMD", *client, "info"],
        interval="5s",
        timeout="10s",
        retries=5,
        start_period=go_duration(args.ready_timeout_seconds),
    )
