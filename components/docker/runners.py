"""A Docker host with runners, as a whole: network, daemon, registrations and runner.

Annotations are not postponed here: the SDK's analyzer has to read them; see `components/runners.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from ..defaults import DAEMON_SUBNET
from ..docker_client import DockerEngine
from ..inputs import recorded, taken
from ..kinds import Executor
from ..paths import DOCKER_SOCKET
from ..runners import RunnersArgs, Whole, declared, runner_ids, transport_of
from ..specs import DaemonSpec
from ..transport import Transport
from .daemon import DindDaemon, DindDaemonArgs
from .network import RunnerNetwork, RunnerNetworkArgs
from .runner import RunnerContainer, RunnerContainerArgs


@dataclass(frozen=True, kw_only=True)
class DockerRunnersArgs(RunnersArgs):
    """Inputs of DockerRunners."""

    subnet: pulumi.Input[str] | None = None
    """CIDR of the network. Default: a free one of Docker's pools."""
    transport: Transport | None = None
    """How clients reach the daemon. Default: `tls`."""
    host_socket: str | None = None
    """Path of the host's Docker socket, for kind `host-docker`. Default: /var/run/docker.sock."""
    keep_cache: bool | None = None
    """Whether the layer cache outlives the component. Default: no."""
    data_path: pulumi.Input[str] | None = None
    """Directory on the host that holds the layer cache. Default: where the engine keeps its volumes."""
    docker_host: str | None = None
    """The engine, as DOCKER_HOST, where the log of a failing daemon is read. Default: the Docker client's choice."""


class DockerRunners(pulumi.ComponentResource):
    """Runners of a GitLab on one Docker host, and a Docker-in-Docker daemon beside them where their jobs need one."""

    network_name: pulumi.Output[str]
    """The network on which daemon and runner find each other."""
    container_name: pulumi.Output[str]
    """The runner's container."""
    endpoint: pulumi.Output[str] | None
    """DOCKER_HOST of the daemon, on the network."""
    daemon_container_name: pulumi.Output[str] | None
    """The daemon's container."""
    volume_name: pulumi.Output[str] | None
    """The volume with the layer cache."""
    runner_ids: pulumi.Output[Mapping[str, str]]
    """GitLab's IDs of the runners, by their names."""

    def __init__(self, name: str, args: DockerRunnersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        args = taken(DockerRunnersArgs, args)
        super().__init__("dindrunner:index:DockerRunners", name, recorded(args), opts)
        whole = Whole(name=name, args=args, executor=Executor.DOCKER, default_subnet=DAEMON_SUBNET)
        child = pulumi.ResourceOptions(parent=self)
        network_args = RunnerNetworkArgs(
            network_name=whole.prefix, stack=pulumi.get_stack(), subnet=args.subnet, mtu=args.mtu
        )
        network = RunnerNetwork(f"{name}-network", network_args, child)
        daemon = None
        if whole.needs_daemon:
            daemon = DindDaemon(f"{name}-dind", daemon_args(whole, args, network.network_name), child)
        registrations = whole.register(child)
        host_socket = args.host_socket or DOCKER_SOCKET
        config = whole.config_toml(registrations, DaemonSpec(transport=transport_of(args.transport)), host_socket)
        runner_args = RunnerContainerArgs(
            prefix=whole.prefix,
            stack=pulumi.get_stack(),
            network_name=network.network_name,
            image=whole.runner_image,
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
        self.container_name = runner.container_name
        self.endpoint = pulumi.Output.from_input(daemon.endpoint) if daemon else None
        self.daemon_container_name = daemon.container_name if daemon else None
        self.volume_name = daemon.volume_name if daemon else None
        self.runner_ids = runner_ids(registrations)
        self.register_outputs(declared(self))


def daemon_args(whole: Whole, args: DockerRunnersArgs, network_name: pulumi.Input[str]) -> DindDaemonArgs:
    """The daemon of a whole, on a network."""
    return DindDaemonArgs(
        prefix=whole.prefix,
        stack=pulumi.get_stack(),
        network_name=network_name,
        image=whole.daemon_image,
        transport=transport_of(args.transport),
        daemon_json=whole.daemon_json(networks_mtu=args.mtu),
        cpus=args.daemon_cpus,
        memory_mib=args.daemon_memory_mib,
        keep_cache=bool(args.keep_cache),
        data_path=args.data_path,
        engine=DockerEngine(host=args.docker_host) if args.docker_host else None,
    )
