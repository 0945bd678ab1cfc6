"""The daemon's configuration file from the settings, the same on every target. Pure."""

from __future__ import annotations

from components.daemon_json import daemon_json
from stacks.common import Common
from stacks.gke_settings import GkeSettings
from stacks.versions import NETWORKS_MTU, docker_version


def daemon_file(settings: Common) -> str:
    """The text of daemon.json."""
    wanted = settings.daemon
    return daemon_json(
        subnet=str(wanted.subnet),
        cache_budget_gib=wanted.cache_budget_gib,
        mtu=settings.network.mtu,
        networks_mtu=_networks_mtu(settings),
        storage_driver=wanted.storage_driver,
        dns=[str(server) for server in wanted.dns],
        registry_mirrors=wanted.registry_mirrors,
        insecure_registries=wanted.insecure_registries,
    )


def _networks_mtu(settings: Common) -> int | None:
    # On a cluster the daemon's pod asks dockerd whether it knows such an option, and twice would be a mistake.
    asks_dockerd = isinstance(settings, GkeSettings)
    return None if asks_dockerd or keeps_docker_mtu(settings) else settings.network.mtu


def keeps_docker_mtu(settings: Common) -> bool:
    """Whether the networks inside the daemon keep Docker's MTU: an old daemon does not start with a key for it."""
    version = docker_version(settings.daemon.image)
    return settings.network.mtu is not None and version is not None and version < NETWORKS_MTU
