"""The overlay network on which a stack's daemon and runner find each other."""

from __future__ import annotations

import pulumi
import pulumi_docker as docker

from components.docker.labels import network_labels
from components.docker.network import RunnerNetworkArgs, addresses, options


class RunnerNetwork(pulumi.ComponentResource):
    """An overlay that plain containers may join, because the daemon cannot be a service.

    network: the Docker network; name: its name.
    """

    network: docker.Network
    name: pulumi.Output[str]

    def __init__(self, name: str, args: RunnerNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("dindrunner:swarm:RunnerNetwork", name, None, opts)
        self.network = docker.Network(
            f"{name}-network",
            name=args.network_name,
            driver="overlay",
            attachable=True,
            ipam_configs=addresses(args.subnet),
            options=options(args.mtu),
            labels=network_labels(args.stack),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name = self.network.name
        self.register_outputs({"name": self.name})
