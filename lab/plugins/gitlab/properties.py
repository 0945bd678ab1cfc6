"""What the resources have in common: inputs with a kind, and what a difference of them means. Pure.

Every property is both input and output: where the program says nothing, GitLab's value is taken over into the state and
left alone, also when a setting is taken out of the program again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.plugins.values import UNKNOWN, Failure

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Property:
    """One input: its names in Pulumi, in the program and in GitLab's API, and whether a change needs a new resource.

    api: the same as in the program where it is left out. choices: none where every value is taken.
    """

    name: str
    python: str
    kind: str = "string"
    api: str = ""
    replaces: bool = False
    required: bool = False
    choices: tuple[str, ...] = ()

    @property
    def in_api(self) -> str:
        """Its name in GitLab's API."""
        return self.api or self.python


def check(resource: str, properties: Iterable[Property], inputs: Values) -> tuple[dict[str, Any], list[Failure]]:
    """The inputs that are known and of the right kind, and everything that is wrong with the others.

    Unknown values (in a preview) pass unchecked. No value is shown of an input named `value` or `content`.
    """
    by_name = {each.name: each for each in properties}
    failures = [
        Failure(name, f"{resource} has no input {name!r}: it knows {', '.join(p.python for p in by_name.values())}")
        for name in sorted(set(inputs) - set(by_name))
        if not name.startswith("__")
    ]
    known = {name: value for name, value in inputs.items() if name in by_name and not is_unknown(value)}
    for name, value in list(known.items()):
        if not _fits(by_name[name].kind, value):
            shown = "" if name in _NOT_SHOWN else f" is {value!r}: it"
            failures.append(Failure(name, f"{by_name[name].python}{shown} has to be a {by_name[name].kind}"))
            del known[name]
    for each in by_name.values():
        if each.choices and each.name in known and known[each.name] not in each.choices:
            text = f"{each.python} is {known[each.name]!r}: it has to be one of {', '.join(each.choices)}"
            failures.append(Failure(each.name, text))
        if each.required and each.name not in inputs:
            remedy = f"set it to one of {', '.join(each.choices)}" if each.choices else "set it"
            failures.append(Failure(each.name, f"{each.python} is missing: {remedy}"))
    return known, failures


_NOT_SHOWN = {"value", "content"}
"""They can be secret."""


def changed(properties: Iterable[Property], state: Values, inputs: Values, ignored: Collection[str]) -> list[Property]:
    """The properties in which GitLab differs from what the program asks for, in their order.

    Only what needs a new resource can be taken away; what else the program leaves out stays as GitLab has it.
    """
    return [each for each in properties if each.name not in ignored and _differs(each, state, inputs)]


def to_api(properties: Iterable[Property], inputs: Values) -> dict[str, Any]:
    """The body of a request that sets those of the properties that are given."""
    return {
        each.in_api: int(inputs[each.name]) if each.kind == "whole number" else inputs[each.name]
        for each in properties
        if each.name in inputs
    }


def preview_of_create(decided_by_gitlab: Iterable[str], inputs: Values) -> dict[str, Any]:
    """The outputs that a preview can promise."""
    return {**dict.fromkeys(decided_by_gitlab, UNKNOWN), **inputs}


def inputs_of(properties: Iterable[Property], state: Values, before: Values | None) -> dict[str, Any]:
    """The inputs that describe a present state: those that were set before, or all that say something for an import."""
    names = [each.name for each in properties]
    if before:
        return {name: state[name] if name in names and name in state else value for name, value in before.items()}
    return {name: state[name] for name in names if state.get(name) or state.get(name) is False}


def is_unknown(value: Any) -> bool:
    """Whether a preview does not know it yet."""
    return value == UNKNOWN or (isinstance(value, list) and UNKNOWN in value)


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "whole number":
            return not isinstance(value, bool) and isinstance(value, int | float) and value == int(value)
        case "list of strings":
            return isinstance(value, list) and all(isinstance(each, str) for each in value)
        case _:
            return isinstance(value, str)


def _differs(each: Property, state: Values, inputs: Values) -> bool:
    old, new = state.get(each.name), inputs.get(each.name)
    if new is None:
        return each.replaces and old is not None
    if is_unknown(new) or old is None:
        return True
    return set(old) != set(new) if each.kind == "list of strings" else bool(old != new)
