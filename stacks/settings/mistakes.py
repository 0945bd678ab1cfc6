"""Mistakes in the settings, as lines that say where, what and how to put it right. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails


class SettingsError(Exception):
    """The settings are wrong; the text has one line for each mistake."""


class Model(BaseModel):
    """Frozen, and refuses unknown keys: a misspelt setting must not be silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def named_as_in(self, args: type) -> dict[str, Any]:
        """The settings of this table that a dataclass takes by the same name: a new one needs no line between."""
        return {each.name: getattr(self, each.name) for each in fields(args) if each.name in type(self).model_fields}


class Mistake(ValueError):
    """A mistake that a model's check found in one of its own settings."""

    def __init__(self, where: str, value: object, remedy: str) -> None:
        super().__init__(remedy)
        self.where, self.value, self.remedy = where, value, remedy

    def line(self, table: str = "settings") -> str:
        """Where below `table`, what and how to put it right."""
        return f"{table}.{self.where}: {shown(self.value)} {self.remedy}"


def refuse(mistakes: Iterable[Mistake]) -> None:
    """Raise SettingsError, with a line for each mistake, where there is any; what two checks found is said once."""
    if lines := dict.fromkeys(each.line() for each in mistakes):
        raise SettingsError("\n".join(lines))


def fail(where: str, value: object, remedy: str) -> NoReturn:
    raise Mistake(where, value, remedy)


def is_consequence(details: ErrorDetails) -> bool:
    """A list counts as too short once its wrong items are left out; they have been reported then."""
    return details["type"] == "too_short" and bool(details["input"])


SHAPES = {
    "model_type": "must be a table",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "missing": "is missing: set it",
    "too_short": "must not be empty",
}


def place(location: Sequence[int | str]) -> str:
    """A place in the settings, as messages write it: `settings.runners[0].image`."""
    return "settings" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def explain(details: ErrorDetails, raw: Mapping[str, Any], model: type[Model]) -> str:
    location = details["loc"]
    path = place(location)
    hidden = bool({"token", "environment", "cache", "extra"} & set(location))
    value = "(hidden)" if hidden else shown(_dig(raw, location))
    kind, mistake = details["type"], details.get("ctx", {}).get("error")
    if isinstance(mistake, Mistake):
        return mistake.line(path)
    if kind == "value_error":
        return f"{path}: {value} {mistake}"
    if kind == "extra_forbidden":
        return f"{path}: is no setting: {_nearest(str(location[-1]), _known_keys(model, location[:-1]))}"
    if kind in ("missing", "too_short"):
        return f"{path}: {SHAPES[kind]}"
    if kind in SHAPES:
        return f"{path}: {value} {SHAPES[kind]}"
    return f"{path}: {value} is not accepted: {details['msg'].removeprefix('Input ')}"


def _nearest(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"


def _known_keys(model: type[Model], location: Sequence[int | str]) -> list[str]:
    """The settings at a place in the tree of models."""
    for part in location:
        if isinstance(part, str):
            model = next(m for m in models_in(model.model_fields[part].annotation))
    return sorted(model.model_fields)


def models_in(annotation: Any) -> Iterator[type[Model]]:
    """The models that the type of a setting names: that of a table, or of a list's items."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from models_in(argument)


def _dig(raw: object, location: Sequence[int | str]) -> object:
    """The value at a place in the plain object; None where there is no such place."""
    for part in location:
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int):
            raw = raw[part]
    return raw


def shown(value: object) -> str:
    """A value as a message shows it; what may hold a secret deep inside is only named."""
    match value:
        case Mapping():
            return "a table"
        case [*items]:
            return "[" + ", ".join(shown(item) for item in items) + "]"
        case "(hidden)":
            return "(hidden)"
        case str():
            # A URL may have a password.
            return repr(re.sub(r"(://[^/@\s]*:)\S*@", r"\1(hidden)@", value))
        case bool() | None:
            return str(value).lower()
    return str(value)
