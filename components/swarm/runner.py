"""GitLab Runner as a Swarm service, and its config.toml as a secret."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from components import docker as docker_components
from components.docker.labels import LOG_OPTS, labels_for, volume_labels
from components.docker.spelling import go_duration
from components.paths import CA_FILE, CONFIG_DIR, DOCKER_SOCKET

START_SECONDS = 180
"""How long a new task may take until it runs; the provider's own default for a service."""


@dataclass(frozen=True, kw_only=True)
class RunnerContainerArgs(docker_components.RunnerContainerArgs):
    """Inputs of a RunnerContainer: those of a plain one, and where its task runs.

    network_name: here the ID of the overlay network, by which Swarm keeps it.
    node: placement constraint that names the daemon's node.
    platform: what the image is for, for example `linux/arm64`.
    """

    node: str
    platform: str


class RunnerContainer(pulumi.ComponentResource):
    """A service with one task, `gitlab-runner run`, on the node that has the daemon.

    A secret cannot be changed: a new config.toml is a new one, and the service rolls over to it as it does to a new
    image. The old task gets SIGQUIT and up to `drain_seconds` for its jobs; only then the new one starts, so that no
    two runners share a small machine. Where the new one does not come up, Swarm rolls back.

    service: the service.
    """

    service: docker.Service

    def __init__(self, name: str, args: RunnerContainerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("dindrunner:swarm:RunnerContainer", name, None, opts)
        self._name, self._args = name, args
        state = docker.Volume(
            f"{name}-state-volume",
            name=f"{args.prefix}-runner-state",
            labels=volume_labels(args.stack, "state"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        secrets = [self._secret("config", f"{CONFIG_DIR}/config.toml", args.config_toml)]
        if args.ca_pem is not None:
            secrets.append(self._secret("ca", CA_FILE, args.ca_pem))
        self.service = docker.Service(
            f"{name}-service",
            name=f"{args.prefix}-runner",
            labels=[docker.ServiceLabelArgs(label=k, value=v) for k, v in labels_for(args.stack, "runner").items()],
            task_spec=docker.ServiceTaskSpecArgs(
                container_spec=docker.ServiceTaskSpecContainerSpecArgs(
                    image=args.image,
                    # It is drained before the daemon is replaced, because this one scalar forces its replacement.
                    hostname=_hostname(args.daemon_id) if args.daemon_id is not None else None,
                    labels=[
                        docker.ServiceTaskSpecContainerSpecLabelArgs(label=k, value=v)
                        for k, v in labels_for(args.stack, "runner").items()
                    ],
                    # The runner's own system ID stays, so that GitLab sees one runner and not one a task.
                    mounts=[
                        _volume(state.name, CONFIG_DIR),
                        *_daemon_volumes(args),
                        *_host_socket(args),
                    ],
                    secrets=secrets,
                    stop_signal="SIGQUIT",
                    stop_grace_period=go_duration(args.drain_seconds),
                ),
                networks_advanceds=[docker.ServiceTaskSpecNetworksAdvancedArgs(name=args.network_name)],
                placement=docker.ServiceTaskSpecPlacementArgs(
                    constraints=[args.node], platforms=_platforms(args.platform)
                ),
                resources=_resources(args),
                restart_policy=docker.ServiceTaskSpecRestartPolicyArgs(condition="any", delay="5s"),
                log_driver=docker.ServiceTaskSpecLogDriverArgs(name="json-file", options=LOG_OPTS),
            ),
            mode=docker.ServiceModeArgs(replicated=docker.ServiceModeReplicatedArgs(replicas=1)),
            update_config=docker.ServiceUpdateConfigArgs(
                parallelism=1, order="stop-first", monitor="15s", failure_action="rollback"
            ),
            # It serves nothing that would need a virtual IP.
            endpoint_spec=docker.ServiceEndpointSpecArgs(mode="dnsrr"),
            converge_config=docker.ServiceConvergeConfigArgs(
                delay="7s", timeout=f"{args.drain_seconds + START_SECONDS}s"
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                # The name is taken as long as the old one is there.
                delete_before_replace=True,
                replace_on_changes=["taskSpec.containerSpec.hostname"],
                # The engine must not give up before the jobs have ended.
                custom_timeouts=pulumi.CustomTimeouts(
                    create=f"{args.drain_seconds + START_SECONDS + 120}s",
                    update=f"{args.drain_seconds + START_SECONDS + 120}s",
                    delete=f"{args.drain_seconds + 120}s",
                ),
            ),
        )
        self.register_outputs({"service": self.service.name})

    def _secret(
        self, role: str, path: str, content: pulumi.Input[str]
    ) -> docker.ServiceTaskSpecContainerSpecSecretArgs:
        """A file of the task; another content is another secret, which the service has before the old one goes."""
        text = pulumi.Output.secret(content)
        made = docker.Secret(
            f"{self._name}-{role}",
            # A digest of a text with random tokens gives nothing away.
            name=pulumi.Output.unsecret(
                text.apply(lambda value: f"{self._args.prefix}-runner-{role}-{_digest(value)}")
            ),
            data=text.apply(lambda value: base64.b64encode(value.encode()).decode()),
            labels=[
                docker.SecretLabelArgs(label=key, value=value)
                for key, value in labels_for(self._args.stack, role).items()
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        return docker.ServiceTaskSpecContainerSpecSecretArgs(
            secret_id=made.id, secret_name=made.name, file_name=path, file_uid="0", file_gid="0", file_mode=0o400
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _hostname(daemon_id: pulumi.Input[str]) -> pulumi.Output[str]:
    return pulumi.Output.from_input(daemon_id).apply(lambda value: f"dind-{value[:12]}")


def _volume(
    source: pulumi.Input[str], target: str, *, read_only: bool = False
) -> docker.ServiceTaskSpecContainerSpecMountArgs:
    return docker.ServiceTaskSpecContainerSpecMountArgs(
        type="volume", source=source, target=target, read_only=read_only
    )


def _daemon_volumes(args: RunnerContainerArgs) -> list[docker.ServiceTaskSpecContainerSpecMountArgs]:
    return [_volume(volume, path, read_only=True) for path, volume in args.daemon_volumes.items()]


def _host_socket(args: RunnerContainerArgs) -> list[docker.ServiceTaskSpecContainerSpecMountArgs]:
    if args.host_socket is None:
        return []
    return [docker.ServiceTaskSpecContainerSpecMountArgs(type="bind", source=args.host_socket, target=DOCKER_SOCKET)]


def _platforms(platform: str) -> list[docker.ServiceTaskSpecPlacementPlatformArgs] | None:
    """None for 32-bit ARM: nodes call it armv7l, images arm, and Swarm takes them for different."""
    os, architecture, *variant = platform.split("/")
    if variant:
        return None
    return [docker.ServiceTaskSpecPlacementPlatformArgs(os=os, architecture=architecture)]


def _resources(args: RunnerContainerArgs) -> docker.ServiceTaskSpecResourcesArgs | None:
    if args.cpus is None and args.memory_mib is None:
        return None
    return docker.ServiceTaskSpecResourcesArgs(
        limits=docker.ServiceTaskSpecResourcesLimitsArgs(
            nano_cpus=round(args.cpus * 10**9) if args.cpus is not None else None,
            memory_bytes=args.memory_mib * 1024**2 if args.memory_mib is not None else None,
        )
    )
