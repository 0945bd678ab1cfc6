"""How components take their inputs: as their args class or a dict, with outputs where a value may be one."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, get_args, get_type_hints

import pulumi

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")

SECRETS = frozenset({"config_toml", "token"})
"""Names of inputs that are always secrets."""


def taken(kind: type[A], given: A | Mapping[str, Any]) -> A:
    """A component's args, also from a dict with the fields' names. Raises TypeError for an unknown name.

    Other Pulumi languages send whole numbers as floats, and nested args as dicts.
    """
    if not isinstance(given, Mapping):
        return given
    # The SDK names these two in the type of an input, as texts.
    hints = get_type_hints(kind, localns={"Output": pulumi.Output, "T": T})
    return kind(**{name: _as(hints.get(name), value) for name, value in given.items()})


def _as(hint: object, value: Any) -> Any:
    known = _types(hint)
    if isinstance(value, float) and value.is_integer() and int in known and float not in known:
        return int(value)
    args_class = next((each for each in known if dataclasses.is_dataclass(each)), None)
    if args_class is not None and isinstance(value, Mapping):
        return taken(args_class, value)
    if args_class is not None and isinstance(value, Sequence):
        return [taken(args_class, each) for each in value]
    return value


def _types(hint: object) -> list[type[Any]]:
    """The classes that a type is made of: `int` and `NoneType` of `Input[int] | None`."""
    below = [each for part in get_args(hint) for each in _types(part)]
    return [hint, *below] if isinstance(hint, type) else below


def mapped(value: pulumi.Input[T], make: Callable[[T], R]) -> pulumi.Input[R]:
    """A function's result for a value that may be, or hold, an output. A plain value gives a plain result."""
    return pulumi.Output.from_input(value).apply(make) if _has_output(value) else make(value)  # type: ignore[arg-type]


def mapped_or_none(value: pulumi.Input[T] | None, make: Callable[[T], R]) -> pulumi.Input[R] | None:
    """`mapped`, for a value that may be left out."""
    return None if value is None else mapped(value, make)


def _has_output(value: object) -> bool:
    if isinstance(value, pulumi.Output) or inspect.isawaitable(value):
        return True
    if isinstance(value, Mapping):
        return any(map(_has_output, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_has_output, value))


def recorded(args: object) -> dict[str, Any]:
    """The args for the component's state: those that are given, with the secret ones as secrets."""
    if not dataclasses.is_dataclass(args):
        return {}
    values = {field.name: _plain(getattr(args, field.name)) for field in dataclasses.fields(args)}
    return {
        name: pulumi.Output.secret(value) if name in SECRETS else value
        for name, value in values.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, pulumi.Resource):
        return value.urn
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return recorded(value)
    if isinstance(value, Mapping):
        return {key: _plain(below) for key, below in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(below) for below in value]
    return value
