"""What passes between the engine and the plugin besides plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""Stands for a value that a preview cannot know yet (the engine's own mark)."""

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"


@dataclass(frozen=True)
class Failure:
    """One wrong input: the property's name as the engine knows it, and what is wrong with what remedy."""

    property: str
    reason: str


def secret(value: Any) -> dict[str, Any]:
    """The value, marked so that the engine encrypts it in the state and shows `[secret]`."""
    return {_SIGNATURE: _SECRET, "value": value}


def is_secret(value: Any) -> bool:
    """Whether the value itself is marked."""
    return isinstance(value, dict) and value.get(_SIGNATURE) == _SECRET


def revealed(value: Any) -> Any:
    """The value without such marks, at any depth."""
    if isinstance(value, list):
        return [revealed(each) for each in value]
    if not isinstance(value, dict):
        return value
    if is_secret(value):
        return revealed(value.get("value"))
    return {key: revealed(each) for key, each in value.items()}


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without those that are null: to the engine they are the same as absent."""
    return {key: value for key, value in values.items() if value is not None}
