"""The overlay network on which a stack's daemon and runner find each other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_docker as docker

from ..docker.labels import network_labels
from ..docker.network import RunnerNetworkArgs, addresses, options
from ..inputs import mapped, mapped_or_none, recorded, taken

FIRST_OF_OURS, LAST = 2**20, 2**24 - 1
"""VXLAN IDs have 24 bits, and Swarm itself counts up from 4096."""


class RunnerNetwork(pulumi.ComponentResource):
    """An overlay network that plain containers may join, because the daemon cannot be a service.

    network: the Docker network. network_name: its name. network_id: its ID, which is what a service keeps.
    """

    network: docker.Network
    network_name: pulumi.Output[str]
    network_id: pulumi.Output[str]

    def __init__(
        self, name: str, args: RunnerNetworkArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(RunnerNetworkArgs, args)
        super().__init__("dindrunner:swarm:RunnerNetwork", name, recorded(args), opts)
        self.network = docker.Network(
            f"{name}-network",
            name=args.network_name,
            driver="overlay",
            attachable=True,
            ipam_configs=mapped_or_none(args.subnet, addresses),
            options=_options(args),
            labels=network_labels(args.stack),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.network_name = self.network.name
        self.network_id = self.network.id
        self.register_outputs({"network_name": self.network_name, "network_id": self.network_id})


def _options(args: RunnerNetworkArgs) -> pulumi.Input[dict[str, str]] | None:
    """With the VXLAN ID: Swarm adds its own choice to any other option, and every preview would find a change."""
    if args.mtu is None:
        return None
    return mapped({"mtu": args.mtu, "name": args.network_name}, lambda known: _overlay(known["mtu"], known["name"]))


def _overlay(mtu: Any, network_name: Any) -> dict[str, str]:
    number = int.from_bytes(hashlib.sha256(network_name.encode()).digest()[:8])
    identity = FIRST_OF_OURS + number % (LAST - FIRST_OF_OURS)
    return options(mtu) | {"com.docker.network.driver.overlay.vxlanid_list": str(identity)}
