"""The overlay network on which a stack's daemon and runner find each other."""

from __future__ import annotations

import hashlib

import pulumi
import pulumi_docker as docker

from ..docker.labels import network_labels
from ..docker.network import RunnerNetworkArgs, addresses, options

FIRST_OF_OURS, LAST = 2**20, 2**24 - 1
"""VXLAN IDs have 24 bits; Swarm itself counts up from 4096."""


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
            options=_options(args),
            labels=network_labels(args.stack),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name = self.network.name
        self.register_outputs({"name": self.name})


def _options(args: RunnerNetworkArgs) -> dict[str, str] | None:
    """With the VXLAN ID: where there are options, Swarm adds the one it has chosen, and every preview would differ."""
    wanted = options(args.mtu)
    if wanted is None:
        return None
    number = int.from_bytes(hashlib.sha256(args.network_name.encode()).digest()[:8])
    identity = FIRST_OF_OURS + number % (LAST - FIRST_OF_OURS)
    return wanted | {"com.docker.network.driver.overlay.vxlanid_list": str(identity)}
