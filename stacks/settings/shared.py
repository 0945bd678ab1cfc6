"""Settings that all stacks of a project share, below what a stack's own file says. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from components.tables import merge
from stacks.settings.mistakes import SettingsError

REMEDIES = {
    "settings": "write target, gitlab and runners below it",
    "shared": "write what all stacks have in common below its `value` in Pulumi.yaml",
}


def missing(stack: str) -> SettingsError:
    """What is wrong with a stack that has no settings of its own."""
    return SettingsError(f"settings: is missing in Pulumi.{stack}.yaml: copy those of Pulumi.dev.yaml and change them")


def no_table(key: str) -> SettingsError:
    """What is wrong with a key that holds something else, which is not shown: a mistyped table may hold secrets."""
    return SettingsError(f"{key}: is no table: {REMEDIES[key]}")


def merged(shared: object, own: object) -> object:
    """A stack's settings on top of the shared ones.

    Tables are merged key by key; anything else, lists included, is the stack's own where it has one. A null of the
    stack's takes the shared value away. What is no table is left for `parse` to refuse. Raises SettingsError where the
    shared settings are none.
    """
    if shared is None:
        return own
    if not isinstance(shared, Mapping):
        raise no_table("shared")
    return merge(shared, own) if isinstance(own, Mapping) else own
