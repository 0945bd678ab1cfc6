"""Fits the settings to the cluster that they name."""

from __future__ import annotations

from stacks.gke.cluster import Facts, check_cluster, check_prefix, fitted
from stacks.gke.questions import ask_cluster
from stacks.gke.settings import GkeSettings


def fit(settings: GkeSettings, prefix: str, stack: str) -> tuple[GkeSettings, Facts]:
    """The settings with what the cluster decides, and the cluster. Raises SettingsError where they do not fit."""
    check_prefix(prefix, stack)
    facts = ask_cluster(settings, prefix)
    check_cluster(settings, facts, prefix, stack)
    return fitted(settings, facts), facts
