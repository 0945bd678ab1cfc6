"""The daemon's configuration file from the settings, the same on every target. Pure."""

from __future__ import annotations

from components.daemon_json import daemon_json
from stacks.common import Common
from stacks.gke_settings import GkeSettings


def daemon_file(settings: Common) -> str:
    """The text of daemon.json."""
    wanted = settings.daemon
    return daemon_json(
        subnet=str(wanted.subnet),
        cache_budget_gib=wanted.cache_budget_gib,
        mtu=settings.network.mtu,
        # On a cluster the daemon's pod asks dockerd whether it knows such an option, and twice would be a mistake.
        networks_mtu=None if isinstance(settings, GkeSettings) else settings.network.mtu,
        storage_driver=wanted.storage_driver,
        dns=[str(server) for server in wanted.dns],
        registry_mirrors=wanted.registry_mirrors,
        insecure_registries=wanted.insecure_registries,
    )
