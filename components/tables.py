"""Merges plain tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard


def merge(base: Mapping[str, Any], over: Mapping[str, Any], *, join_tables: bool = False) -> dict[str, Any]:
    """`over` merged into `base`: tables are merged key by key, anything else is replaced, and a null removes it.

    join_tables: whether two lists of tables become one list, as with TOML's `[[...]]`.
    """
    merged = dict(base)
    for key, value in over.items():
        below = base.get(key)
        if value is None and below is not None:
            del merged[key]
        elif isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(below, value, join_tables=join_tables)
        elif join_tables and _is_tables(below) and _is_tables(value):
            merged[key] = [*below, *value]
        else:
            merged[key] = value
    return merged


def _is_tables(value: object) -> TypeGuard[list[Mapping[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)
