"""The bridge network on which a stack's daemon and runner find each other."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import pulumi
import pulumi_docker as docker

from .labels import network_labels


@dataclass(frozen=True, kw_only=True)
class RunnerNetworkArgs:
    """Inputs of a RunnerNetwork.

    network_name: name on the engine.
    stack: value of the `dindrunner.stack` label.
    subnet: CIDR; None takes a free one of Docker's pools.
    mtu: bytes; None is Docker's default, 1500.
    """

    network_name: str
    stack: str
    subnet: str | None = None
    mtu: int | None = None


class RunnerNetwork(pulumi.ComponentResource):
    """A user-defined bridge, which unlike the default one resolves names, and keeps other containers out.

    network: the Docker network; name: its name.
    """

    network: docker.Network
    name: pulumi.Output[str]

    def __init__(self, name: str, args: RunnerNetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("dindrunner:docker:RunnerNetwork", name, None, opts)
        self.network = docker.Network(
            f"{name}-network",
            name=args.network_name,
            driver="bridge",
            ipam_configs=addresses(args.subnet),
            options=options(args.mtu),
            labels=network_labels(args.stack),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name = self.network.name
        self.register_outputs({"name": self.name})


def addresses(subnet: str | None) -> list[docker.NetworkIpamConfigArgs] | None:
    """With the gateway that the engine takes anyway, or newer engines would report one that nobody asked for."""
    if subnet is None:
        return None
    return [docker.NetworkIpamConfigArgs(subnet=subnet, gateway=str(ipaddress.IPv4Network(subnet)[1]))]


def options(mtu: int | None) -> dict[str, str] | None:
    """Options of the network's driver."""
    return {"com.docker.network.driver.mtu": str(mtu)} if mtu else None
