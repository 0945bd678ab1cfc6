"""GitLab Runner as a Swarm service, and its config.toml as a secret."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_docker as docker

from ..daemon_json import LOG_OPTS
from ..docker.labels import volume_labels
from ..docker.runner import RunnerProcessArgs
from ..docker.spelling import short_duration
from ..inputs import mapped_or_none, recorded, taken
from ..labels import docker_labels
from ..paths import CA_FILE, CONFIG_DIR, DOCKER_SOCKET

START_SECONDS = 180
"""How long a new task may take until it runs: the provider's own default for a service."""

CONVERGE_MOST_SECONDS = 1140
"""The provider gives up on a service after 20 min, whatever is set. Below that, it says what it waited for."""


@dataclass(frozen=True, kw_only=True)
class RunnerContainerArgs(RunnerProcessArgs):
    """Inputs of a RunnerContainer: those of a plain one, and where its task runs.

    network_id: ID of the overlay network that it joins, because a service keeps no name.
    node: placement constraint that names the daemon's node.
    """

    network_id: pulumi.Input[str]
    node: pulumi.Input[str]


class RunnerContainer(pulumi.ComponentResource):
    """A service with one task, `gitlab-runner run`, on the node that has the daemon.

    Swarm cannot change a secret: a new config.toml is a new secret, and a new task replaces the old one, as for a new
    image. The old task gets SIGQUIT and up to `drain_seconds` for its jobs. Only then the new one starts, so that a
    small machine never has two runners. If the new task does not come up, Swarm rolls back.

    service: the service, and service_name its name.
    """

    service: docker.Service
    service_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: RunnerContainerArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(RunnerContainerArgs, args)
        super().__init__("dindrunner:swarm:RunnerContainer", name, recorded(args), opts)
        self._args = args
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
            name=_service_name(args),
            labels=[docker.ServiceLabelArgs(label=k, value=v) for k, v in docker_labels(args.stack, "runner").items()],
            task_spec=docker.ServiceTaskSpecArgs(
                container_spec=docker.ServiceTaskSpecContainerSpecArgs(
                    image=args.image,
                    labels=[
                        docker.ServiceTaskSpecContainerSpecLabelArgs(label=k, value=v)
                        for k, v in docker_labels(args.stack, "runner").items()
                    ],
                    # The runner keeps its system ID, so that GitLab sees one runner and not one for each task.
                    mounts=[
                        _volume(state.name, CONFIG_DIR),
                        *_daemon_volumes(args),
                        *_host_socket(args),
                    ],
                    secrets=secrets,
                    stop_signal="SIGQUIT",
                    stop_grace_period=short_duration(args.drain_seconds),
                ),
                networks_advanceds=[docker.ServiceTaskSpecNetworksAdvancedArgs(id=args.network_id)],
                placement=docker.ServiceTaskSpecPlacementArgs(constraints=[args.node]),
                resources=_resources(args),
                restart_policy=docker.ServiceTaskSpecRestartPolicyArgs(condition="any", delay="5s", window="0s"),
                log_driver=docker.ServiceTaskSpecLogDriverArgs(name="json-file", options=LOG_OPTS),
            ),
            mode=docker.ServiceModeArgs(replicated=docker.ServiceModeReplicatedArgs(replicas=1)),
            update_config=docker.ServiceUpdateConfigArgs(
                parallelism=1, order="stop-first", monitor="15s", failure_action="rollback"
            ),
            # It serves nothing that would need a virtual IP.
            endpoint_spec=docker.ServiceEndpointSpecArgs(mode="dnsrr"),
            converge_config=docker.ServiceConvergeConfigArgs(
                delay="7s", timeout=f"{min(args.drain_seconds + START_SECONDS, CONVERGE_MOST_SECONDS)}s"
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                # Two at once would be more than a small machine has memory for.
                delete_before_replace=True,
                # Docker fills in the platforms of the image. As the node is given, they decide nothing.
                ignore_changes=["taskSpec.placement.platforms"],
            ),
        )
        self.service_name = self.service.name
        self.register_outputs({"service_name": self.service_name})

    def _secret(
        self, role: str, path: str, content: pulumi.Input[str]
    ) -> docker.ServiceTaskSpecContainerSpecSecretArgs:
        """A file of the task. New content is a new secret, which the service gets before the old one is deleted."""
        text = pulumi.Output.secret(content)
        made = docker.Secret(
            # Pulumi adds random characters to the name: the old secret is still there, even if its content comes back.
            f"{self._args.prefix}-{role}",
            data=text.apply(lambda value: base64.b64encode(value.encode()).decode()),
            labels=[
                docker.SecretLabelArgs(label=key, value=value)
                for key, value in docker_labels(self._args.stack, role).items()
            ],
            # The service has to give up the old one first.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=False),
        )
        return docker.ServiceTaskSpecContainerSpecSecretArgs(
            secret_id=made.id, secret_name=made.name, file_name=path, file_uid="0", file_gid="0", file_mode=0o400
        )


def _service_name(args: RunnerContainerArgs) -> pulumi.Output[str]:
    """Always the same, but unknown while daemon or network are replaced: the service is then drained and goes first."""
    return pulumi.Output.all(args.daemon_id, args.network_id).apply(lambda _: f"{args.prefix}-runner")


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


def _resources(args: RunnerContainerArgs) -> docker.ServiceTaskSpecResourcesArgs | None:
    if args.cpus is None and args.memory_mib is None:
        return None
    return docker.ServiceTaskSpecResourcesArgs(
        limits=docker.ServiceTaskSpecResourcesLimitsArgs(
            nano_cpus=mapped_or_none(args.cpus, lambda cpus: round(cpus * 10**9)),
            memory_bytes=mapped_or_none(args.memory_mib, lambda mib: mib * 1024**2),
        )
    )
