"""What an update would change. Pure: follows the official plugin's Diff (provider/pkg/provider/provider.go, util.go).

The live object, pruned to the shape of the inputs that made it, is compared with the new inputs by an RFC 7386 merge
patch, and the patch is turned into paths. An unknown value counts as an object of its own in that comparison, as the
official plugin writes it: where a whole `metadata` is unknown, its name seems to be gone, and the object is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any

from tests.plugins.base import Values, is_unknown

Path = tuple[str | int, ...]

_UNKNOWN_WRITTEN = {"Element": {"V": ""}}


class _Missing(Enum):
    MISSING = 0


MISSING = _Missing.MISSING
"""Stands for a field that is not there, unlike one that is null."""


def pruned(source: Values, target: Values) -> dict[str, Any]:
    """The source without what the target does not have."""
    return {key: _pruned(value, target[key]) for key, value in source.items() if key in target}


def _pruned(value: Any, wanted: Any) -> Any:
    if isinstance(value, dict) and isinstance(wanted, dict):
        return pruned(value, wanted)
    if not isinstance(value, list) or not isinstance(wanted, list):
        return value
    if not value or not wanted:
        return []
    if _kind(value[0]) != _kind(wanted[0]):
        return value
    return [_pruned(each, shape) for each, shape in zip(value, wanted, strict=False)]


def without_dropped(new: Any, old: Any, live: Any) -> Any:
    """The new inputs without the empty values that were there before and that the API server did not keep.

    Go's types leave them out (`hostNetwork: false`, an empty list), so the live object never has them.
    """
    if isinstance(new, dict) and isinstance(old, dict) and isinstance(live, dict):
        return {
            key: without_dropped(value, old.get(key), live.get(key))
            for key, value in new.items()
            if key in live or key not in old or old[key] != value or not is_empty(value)
        }
    if isinstance(new, list) and isinstance(old, list) and isinstance(live, list):
        rows = zip(new, old, live, strict=False)
        return [without_dropped(*row) for row in rows] + new[min(len(old), len(live)) :]
    return new


def is_empty(value: Any) -> bool:
    """Whether Go's `omitempty` would leave it out."""
    return value is None or value is False or (value in (0, "", [], {}) and value is not True)


def merge_patch(old: Values, new: Values) -> dict[str, Any]:
    """The RFC 7386 patch that makes `new` of `old`."""
    patch: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key, MISSING)
        if before is MISSING or _kind(before) != _kind(value):
            patch[key] = value
        elif isinstance(value, dict):
            if inner := merge_patch(before, value):
                patch[key] = inner
        elif before != value:
            patch[key] = value
    return {**patch, **{key: None for key in old if key not in new}}


def detailed(old: Values, new: Values, force_new: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """The changes from the pruned live object to the new inputs, by path in Pulumi's syntax.

    The kinds are ADD, UPDATE and DELETE, with _REPLACE where a field of `force_new` is concerned.
    """
    finder = _Finder(force_new)
    finder.in_map((), merge_patch(old, _written(new)), old, new, old, in_list=False)
    return finder.found


def replacing(changes: Mapping[str, str]) -> list[str]:
    """The paths that need a new object."""
    return [
        path for path, kind in changes.items() if kind.endswith("_REPLACE") or (path == "metadata" and kind == "DELETE")
    ]


def without_ignored(changes: Mapping[str, str], ignored: Collection[str]) -> dict[str, str]:
    """The changes without those at or under an ignored path."""
    parents = [parsed(each) for each in ignored]
    return {path: kind for path, kind in changes.items() if not any(_holds(each, parsed(path)) for each in parents)}


def parsed(path: str) -> Path:
    """A path in Pulumi's syntax: `spec.containers[0].env["a.b"]`; `*` and `[*]` stand for any element."""
    parts: list[str | int] = []
    for name, quoted, index in re.findall(r'([^.\[\]"]+)(?![^\[]*\])|\["((?:[^"\\]|\\.)*)"\]|\[([0-9*]+)\]', path):
        if index:
            parts.append("*" if index == "*" else int(index))
        else:
            parts.append(quoted.replace('\\"', '"') or name)
    return tuple(parts)


def _holds(parent: Path, path: Path) -> bool:
    return len(parent) <= len(path) and all(mine in ("*", theirs) for mine, theirs in zip(parent, path, strict=False))


def _written(value: Any) -> Any:
    if is_unknown(value):
        return _UNKNOWN_WRITTEN
    if isinstance(value, dict):
        return {key: _written(each) for key, each in value.items()}
    return [_written(each) for each in value] if isinstance(value, list) else value


def _kind(value: Any) -> type:
    """The type as JSON has it: one for all numbers."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _as_map(value: Any) -> Values:
    # An unknown value has no fields.
    return value if isinstance(value, dict) else {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


class _Finder:
    """Walks over a patch beside the objects and collects the changes."""

    def __init__(self, force_new: Sequence[tuple[str, ...]]) -> None:
        self.found: dict[str, str] = {}
        self._force_new = force_new

    def in_map(self, path: Path, patch: Values, old: Values, new: Values, old_input: Values, *, in_list: bool) -> None:
        names = list(patch)
        if in_list:
            # Lists are patched as a whole, so a field that is gone from an element is in no patch.
            names += [name for name in old if name not in patch]
        for name in names:
            row = (patch.get(name), *(each.get(name, MISSING) for each in (old, new, old_input)))
            self._in_value((*path, name), *row, in_list=in_list)

    def _in_list(self, path: Path, patch: list[Any], old: list[Any], new: list[Any], old_input: list[Any]) -> None:
        for index in range(max(len(patch), len(old))):
            self._in_value(
                (*path, index),
                _at(patch, index),
                old[index] if index < len(old) else MISSING,
                _at(new, index),
                _at(old_input, index),
                in_list=True,
            )

    def _in_value(self, path: Path, patched: Any, old: Any, new: Any, old_input: Any, *, in_list: bool) -> None:
        if new is MISSING and (patched is not None or old_input is MISSING):
            return
        if patched is None:
            kind = "DELETE" if not is_unknown(new) else "ADD" if old is MISSING else "UPDATE"
        elif old is MISSING:
            kind = "ADD"
        elif isinstance(patched, dict) and isinstance(old, dict):
            self.in_map(path, patched, old, _as_map(new), _as_map(old_input), in_list=in_list)
            return
        elif isinstance(patched, list) and isinstance(old, list):
            self._in_list(path, patched, old, _as_list(new), _as_list(old_input))
            return
        elif _kind(patched) == _kind(old) and patched == old:
            return
        else:
            kind = "UPDATE"
        replaces = any(_found(_nested(path, patched), each) for each in self._force_new)
        self.found[_text(path)] = kind + "_REPLACE" * replaces


def _nested(path: Path, value: Any) -> Any:
    for part in reversed(path):
        value = {part: value} if isinstance(part, str) else [value]
    return value


def _found(value: Any, path: Sequence[str]) -> bool:
    if not path:
        return True
    first, *rest = path
    if first == "*":
        return isinstance(value, list) and any(_found(each, rest) for each in value)
    return isinstance(value, dict) and first in value and _found(value[first], rest)


def _text(path: Path) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.search(r'[."\[\]]', part):
            escaped = part.replace('"', '\\"')
            text += f'["{escaped}"]'
        else:
            text += f".{part}" if text else part
    return text
