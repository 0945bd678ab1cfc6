"""Merges plain tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge(base: Mapping[str, Any], over: Mapping[str, Any], *, join_lists: bool = False) -> dict[str, Any]:
    """`over` merged into `base`: tables are merged key by key, anything else is replaced, and a null removes it.

    join_lists: whether two lists become one, without what both have, so that `over` takes nothing away.
    """
    merged = dict(base)
    for key, value in over.items():
        below = base.get(key)
        if value is None and below is not None:
            del merged[key]
        elif isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(below, value, join_lists=join_lists)
        elif join_lists and isinstance(below, list) and isinstance(value, list):
            merged[key] = [*below, *(each for each in value if each not in below)]
        else:
            merged[key] = value
    return merged
