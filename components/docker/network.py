"""The bridge network on which a stack's daemon and runner find each other."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_docker as docker

from ..inputs import mapped_or_none, recorded, taken
from .labels import network_labels


@dataclass(frozen=True, kw_only=True)
class RunnerNetworkArgs:
    """Inputs of a RunnerNetwork.

    network_name: name on the engine.
    stack: value of the `dindrunner.stack` label.
    subnet: in CIDR notation; None: a free one from Docker's pools.
    mtu: in bytes; None: Docker's default, 1500.
    """

    network_name: pulumi.Input[str]
    stack: str
    subnet: pulumi.Input[str] | None = None
    mtu: pulumi.Input[int] | None = None


class RunnerNetwork(pulumi.ComponentResource):
    """A bridge of the stack's own. Unlike Docker's default one, it resolves names and keeps other containers out.

    network: the Docker network. network_name: its name.
    """

    network: docker.Network
    network_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: RunnerNetworkArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(RunnerNetworkArgs, args)
        super().__init__("dindrunner:docker:RunnerNetwork", name, recorded(args), opts)
        self.network = docker.Network(
            f"{name}-network",
            name=args.network_name,
            driver="bridge",
            ipam_configs=mapped_or_none(args.subnet, addresses),
            options=mapped_or_none(args.mtu, options),
            labels=network_labels(args.stack),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.network_name = self.network.name
        self.register_outputs({"network_name": self.network_name})


def addresses(subnet: str) -> list[docker.NetworkIpamConfigArgs]:
    """With the gateway that the engine would choose anyway: newer engines report it, which would look like a drift."""
    return [docker.NetworkIpamConfigArgs(subnet=subnet, gateway=str(ipaddress.IPv4Network(subnet)[1]))]


def options(mtu: int) -> dict[str, str]:
    """Options of the network's driver."""
    return {"com.docker.network.driver.mtu": str(mtu)}
