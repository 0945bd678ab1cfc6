"""Renders the daemon's configuration file, /etc/docker/daemon.json. Pure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from typing import Any

LOG_OPTS = {"max-size": "10m", "max-file": "3"}
"""Options of the json-file log driver. By default it keeps everything, and a runner lives for years."""


def daemon_json(
    *,
    subnet: str,
    cache_budget_gib: int,
    mtu: int | None = None,
    networks_mtu: int | None = None,
    storage_driver: str | None = None,
    dns: Sequence[str] = (),
    registry_mirrors: Sequence[str] = (),
    insecure_registries: Sequence[str] = (),
) -> str:
    """The daemon's own configuration, https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file.

    subnet: CIDR; the daemon's bridge is its first /24, its networks are /24 each from its upper half.
    mtu: of the default bridge. networks_mtu: of the networks that are made inside; Docker 24 and newer know it.
    cache_budget_gib: GiB that BuildKit's garbage collection leaves.
    """
    network = ipaddress.IPv4Network(subnet)
    first = next(network.subnets(new_prefix=24))
    config: dict[str, Any] = {
        "bip": f"{first.network_address + 1}/24",
        "default-address-pools": [{"base": str(list(network.subnets(prefixlen_diff=1))[1]), "size": 24}],
        "builder": {"gc": _garbage_collection(cache_budget_gib)},
        "mtu": mtu,
        "default-network-opts": (
            {"bridge": {"com.docker.network.driver.mtu": str(networks_mtu)}} if networks_mtu else None
        ),
        "log-driver": "json-file",
        "log-opts": LOG_OPTS,
        "storage-driver": storage_driver,
        "dns": list(dns),
        "registry-mirrors": list(registry_mirrors),
        "insecure-registries": list(insecure_registries),
    }
    return json.dumps({key: value for key, value in config.items() if value}, indent=2, sort_keys=True)


def _garbage_collection(budget_gib: int) -> dict[str, Any]:
    """Every limit is given, because setting one of them zeroes the defaults of the others."""
    return {
        "enabled": True,
        "defaultMaxUsedSpace": f"{budget_gib}GB",
        "defaultMinFreeSpace": "2GB",
        # What is kept even on a full disk. If it were as much as the maximum, the other two would do nothing.
        "defaultReservedSpace": f"{budget_gib * 256}MB",
        # The name of the maximum in daemons before 28.
        "defaultKeepStorage": f"{budget_gib}GB",
    }
