"""A Docker Swarm with runners, as a whole: network, daemon, registrations and runner.

Annotations are not postponed here: the SDK's analyzer has to read them; see `components/runners.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from ..defaults import DAEMON_SUBNET
from ..docker.daemon import DindDaemon
from ..docker.network import RunnerNetworkArgs
from ..docker.runners import DockerRunnersArgs, daemon_args
from ..inputs import recorded, taken
from ..kinds import Executor
from ..paths import DOCKER_SOCKET
from ..runners import Whole, declared, runner_ids, transport_of
from ..specs import DaemonSpec
from .network import RunnerNetwork
from .runner import RunnerContainer, RunnerContainerArgs


@dataclass(frozen=True, kw_only=True)
class SwarmRunnersArgs(DockerRunnersArgs):
    """Inputs of SwarmRunners: those of DockerRunners, whose engine has to be a manager, and where the task runs."""

    node: pulumi.Input[str]
    """Placement constraint that names the node of that engine: `node.id == ...` or `node.labels.ci == true`."""


class SwarmRunners(pulumi.ComponentResource):
    """Runners of a GitLab as a service of a swarm, and a daemon in a plain container on the node of its task."""

    network_name: pulumi.Output[str]
    """The network on which daemon and runner find each other."""
    service_name: pulumi.Output[str]
    """The runner's service."""
    endpoint: pulumi.Output[str] | None
    """DOCKER_HOST of the daemon, on the network."""
    daemon_container_name: pulumi.Output[str] | None
    """The daemon's container."""
    volume_name: pulumi.Output[str] | None
    """The volume with the layer cache."""
    runner_ids: pulumi.Output[Mapping[str, str]]
    """GitLab's IDs of the runners, by their names."""

    def __init__(self, name: str, args: SwarmRunnersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        args = taken(SwarmRunnersArgs, args)
        super().__init__("dindrunner:index:SwarmRunners", name, recorded(args), opts)
        whole = Whole(name=name, args=args, executor=Executor.DOCKER, default_subnet=DAEMON_SUBNET)
        child = pulumi.ResourceOptions(parent=self)
        network_args = RunnerNetworkArgs(
            # A name of its own, because an engine keeps bridges and overlays in one list.
            network_name=f"{whole.prefix}-overlay",
            stack=pulumi.get_stack(),
            subnet=args.subnet,
            mtu=args.mtu,
        )
        network = RunnerNetwork(f"{name}-network", network_args, child)
        daemon = None
        if whole.needs_daemon:
            daemon = DindDaemon(f"{name}-dind", daemon_args(whole, args, network.network_name), child)
        registrations = whole.register(child)
        host_socket = args.host_socket or DOCKER_SOCKET
        config = whole.config_toml(registrations, DaemonSpec(transport=transport_of(args.transport)), host_socket)
        image = docker.RemoteImage(f"{name}-runner-image", name=whole.runner_image, keep_locally=True, opts=child)
        runner_args = RunnerContainerArgs(
            prefix=whole.prefix,
            stack=pulumi.get_stack(),
            network_id=network.network_id,
            node=args.node,
            # Swarm keeps an image by its digest. Without the digest here, every preview would find a change.
            image=pulumi.Output.all(image.repo_digest, image.name).apply(lambda found: found[0] or found[1]),
            config_toml=config,
            drain_seconds=whole.drain_seconds,
            daemon_id=daemon.container.id if daemon else None,
            daemon_volumes=daemon.client_volumes if daemon else {},
            host_socket=host_socket if whole.uses_host_socket else None,
            cpus=args.runner_cpus,
            memory_mib=args.runner_memory_mib,
            ca_pem=args.ca_pem,
        )
        runner = RunnerContainer(f"{name}-runner", runner_args, child)
        self.network_name = network.network_name
        self.service_name = runner.service_name
        self.endpoint = pulumi.Output.from_input(daemon.endpoint) if daemon else None
        self.daemon_container_name = daemon.container_name if daemon else None
        self.volume_name = daemon.volume_name if daemon else None
        self.runner_ids = runner_ids(registrations)
        self.register_outputs(declared(self))
