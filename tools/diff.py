"""What changes in a resource, as lines of a diff that a person can read. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tools.secrets import HIDDEN
from tools.steps import Step, name_of

LATER = "(known after the update)"

_UNKNOWN = {
    "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
    "030794c1-ac77-496b-92df-f27374a8bd58",
    "e48ece36-62e2-4504-bad9-02848725956a",
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
}
"""What the engine writes for a value of which it knows nothing yet, by type."""

_ABSENT = object()


def diff_of(step: Step, replaced: frozenset[str] = frozenset()) -> list[str]:
    """Lines of a diff, each with ` `, `+`, `-` or `@` in front. replaced: URNs that are replaced in the same update."""
    if step.op == "delete":
        return [f"- {line}" for line in _flat("", step.old or {})]
    if step.op in ("create", "import"):
        return [f"+ {line}" for line in _flat("", step.new or {})]
    lines = list(_compared("", step.old or {}, step.new or {}))
    lines += _told(step, lines)
    if not lines:
        causes = [name_of(urn) for urn in step.because if urn in replaced]
        return [f"  because {', '.join(causes)} is replaced" if causes else "  no property that could be shown"]
    return lines


def drift_of(step: Step) -> list[str]:
    """As `diff_of`, for what was changed behind the stack: the state's outputs, and what is really there."""
    if step.op == "delete":
        return [f"- {step.real_name}"]
    told = {path.split(".", 1)[0].split("[", 1)[0] for path in step.details}
    old, new = ({key: value for key, value in one.items() if key in told} for one in (step.outputs, step.new_outputs))
    return list(_compared("", old, new)) or [f"! {path}: is not what it was" for path in step.details]


def _told(step: Step, lines: list[str]) -> Iterator[str]:
    """What the provider says to differ, and the inputs do not show: a secret, or what was changed behind the stack."""
    shown = [line[2:] for line in lines]
    for path, kind in step.details.items():
        top = path.split(".", 1)[0].split("[", 1)[0]
        if any(line.startswith(top) for line in shown):
            continue
        inputs = json.dumps([(step.old or {}).get(top), (step.new or {}).get(top)])
        if HIDDEN in inputs:
            yield f"! {path}: changes, but is hidden, because it has a secret in it"
        elif top not in (step.new or {}) and top in step.outputs:
            yield f"- {path}: {_short(step.outputs[top])} (there, but not wanted)"
        else:
            yield f"! {path}: {kind.removesuffix('-replace')} (there is something else than the stack's state says)"


def _compared(path: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            at = f"{path}.{key}" if path else str(key)
            yield from _compared(at, old.get(key, _ABSENT), new.get(key, _ABSENT))
        return
    if _has_tables(old) and _has_tables(new):
        for index in range(max(len(old), len(new))):
            yield from _compared(
                f"{path}[{index}]",
                old[index] if index < len(old) else _ABSENT,
                new[index] if index < len(new) else _ABSENT,
            )
        return
    if isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
        yield f"  {path}:"
        text = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=3)
        # The first two lines would name files.
        yield from list(text)[2:]
        return
    if old is not _ABSENT:
        yield from (f"- {line}" for line in _flat(path, old))
    if new is not _ABSENT:
        yield from (f"+ {line}" for line in _flat(path, new))


def _has_tables(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def _flat(path: str, value: Any) -> Iterator[str]:
    """A value as lines that each begin with a path."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from _flat(f"{path}.{key}" if path else str(key), value[key])
    elif _has_tables(value):
        for index, item in enumerate(value):
            yield from _flat(f"{path}[{index}]", item)
    elif isinstance(value, str) and "\n" in value:
        yield f"{path}:"
        yield from (f"    {line}" for line in value.splitlines())
    elif value is not None:
        yield f"{path}: {_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, str) and value in _UNKNOWN:
        return LATER
    text = json.dumps(value, ensure_ascii=False)
    for unknown in _UNKNOWN:
        text = text.replace(f'"{unknown}"', LATER)
    return text
