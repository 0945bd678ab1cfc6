"""The daemon's configuration file from the settings, the same on every target. Pure."""

from __future__ import annotations

from components.daemon_json import daemon_json
from stacks.settings.common import Common
from stacks.settings.versions import NETWORKS_MTU, docker_version


def daemon_file(settings: Common, *, asks_dockerd: bool = False) -> str:
    """The text of daemon.json.

    asks_dockerd: whether what starts the daemon asks it whether it knows an MTU for its networks; said twice, that
    would be a mistake.
    """
    knows_mtu = not (asks_dockerd or keeps_docker_mtu(settings))
    wanted = settings.daemon
    return daemon_json(
        subnet=str(wanted.subnet),
        cache_budget_gib=wanted.cache_budget_gib,
        mtu=settings.network.mtu,
        networks_mtu=settings.network.mtu if knows_mtu else None,
        storage_driver=wanted.storage_driver,
        dns=[str(server) for server in wanted.dns],
        registry_mirrors=wanted.registry_mirrors,
        insecure_registries=wanted.insecure_registries,
    )


def keeps_docker_mtu(settings: Common) -> bool:
    """Whether the networks inside the daemon keep Docker's MTU: an old daemon does not start with a key for it."""
    version = docker_version(settings.daemon.image)
    return settings.network.mtu is not None and version is not None and version < NETWORKS_MTU
