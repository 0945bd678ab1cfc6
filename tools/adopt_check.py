"""Renders config.toml from the settings, and says for each value of the original whether it is still there. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.config_toml import render
from components.job_pods import JobPods
from components.quantities import amount, docker_bytes
from components.runner_keys import KEYS
from stacks.gke.settings import GkeSettings
from stacks.settings.common import TOKEN_PLACEHOLDER, Common
from stacks.settings.places import Path, leaves, written
from tools.adopt_draft import Draft, Verdict
from tools.adopt_keys import says_something

PREFIX = "stack"
"""Stands for the prefix of names, which the stack's own name decides."""

_SPELLINGS = {key.name.lower().replace("-", "_"): key.name for key in KEYS.values()}


@dataclass(frozen=True)
class Finding:
    """What happened to one value. about: the part of the file that the text is about."""

    verdict: Verdict
    about: Path
    text: str


def findings(tables: Mapping[str, Any], draft: Draft, settings: Common) -> dict[Path, Finding]:
    """For each value of the file, by its place, exactly one finding."""
    again = rendered(settings)
    places = _positions(draft, tables["runners"], settings)
    return {path: _finding(path, value, tables, again, draft, places) for path, value in leaves(tables)}


def rendered(settings: Common) -> dict[str, Any]:
    """The tables of the config.toml that the program writes from these settings."""
    tokens = {
        runner.name: runner.token.get_secret_value() if runner.token else TOKEN_PLACEHOLDER
        for runner in settings.runners
    }
    if isinstance(settings, GkeSettings):
        pods = JobPods(
            namespace=settings.namespace_for(PREFIX),
            service_account=f"{PREFIX}-job",
            client_secret=f"{PREFIX}-dind-client",
            labels={},
            client_labels={},
            annotations={},
        )
        return tomllib.loads(render(settings.spec(f"{PREFIX}-dind"), tokens, pods))
    return tomllib.loads(render(settings.spec(), tokens))


def _positions(draft: Draft, runners: Sequence[object], settings: Common) -> dict[int, int]:
    """The place among the settings' runners of each runner of the file that is there."""
    there = [index for index in range(len(runners)) if ("runners", index) not in draft.reasons]
    assert len(there) == len(settings.runners)
    return {index: position for position, index in enumerate(there)}


def _finding(
    path: Path,
    value: object,
    tables: Mapping[str, Any],
    again: Mapping[str, Any],
    draft: Draft,
    places: Mapping[int, int],
) -> Finding:
    is_there = len(path) < 2 or path[0] != "runners" or path[1] in places
    if is_there:
        found = _rendered_as(path, tables, again, places)
        if any(_same(path, value, each) for each in found):
            return Finding(Verdict.TAKEN, path, _setting_of(path, draft))
        if value in ({}, []) or (not found and not says_something(_key(path), value)):
            return Finding(Verdict.TAKEN, path, "says nothing, as GitLab Runner's default is the same")
    for length in range(len(path), 0, -1):
        about = path[:length]
        if about in draft.reasons:
            return Finding(draft.reasons[about].verdict, about, draft.reasons[about].text)
        if about in draft.agreed:
            return Finding(Verdict.TAKEN, path, draft.agreed[about])
    return Finding(Verdict.UNSUPPORTED, path, _unknown(path))


def _rendered_as(
    path: Path, tables: Mapping[str, Any], again: Mapping[str, Any], places: Mapping[int, int]
) -> list[object]:
    if len(path) > 1 and path[0] == "runners" and isinstance(path[1], int):
        return _at(again["runners"][places[path[1]]], path[2:], tables["runners"][path[1]])
    return _at(again, path, tables)


def _at(again: object, path: Path, original: object) -> list[object]:
    """The values at a place. An item of a list may be at another one: the items with the same name, or all of them."""
    if not path:
        return [again]
    part, below = path[0], path[1:]
    if isinstance(part, str):
        if isinstance(again, Mapping) and part in again:
            return _at(again[part], below, original[part] if isinstance(original, Mapping) else None)
        return []
    if not isinstance(again, list):
        return []
    own = original[part] if isinstance(original, list) else None
    name = own.get("name") if isinstance(own, Mapping) else None
    items = [item for item in again if name is None or (isinstance(item, Mapping) and item.get("name") == name)]
    return [value for item in items for value in _at(item, below, own)]


def _key(path: Path) -> str:
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def _same(path: Path, ours: object, theirs: object) -> bool:
    ours, theirs = _meaning(path, ours), _meaning(path, theirs)
    return isinstance(ours, bool) == isinstance(theirs, bool) and ours == theirs


def _meaning(path: Path, value: object) -> object:
    """A value of which two spellings mean the same."""
    key = _key(path)
    if isinstance(value, int) and key == "check_interval":
        return value if value > 0 else 3
    if isinstance(value, int) and key == "request_concurrency":
        return max(value, 1)
    if key == "log_level":
        return "warn" if value == "warning" else value
    if isinstance(value, str) and key in ("cpus", "service_cpus"):
        return _number(value)
    if key in ("memory", "service_memory"):
        return docker_bytes(value) or value
    if "kubernetes" in path and key.endswith(("_limit", "_request")):
        found = amount(value)
        return value if found is None else found
    return value


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _setting_of(path: Path, draft: Draft) -> str:
    for length in range(len(path), 0, -1):
        if path[:length] in draft.agreed:
            return draft.agreed[path[:length]]
        settings = [setting for setting, source in draft.sources.items() if source == path[:length]]
        if settings:
            return ", ".join(written(setting) for setting in settings)
    return "the stack does the same by itself"


def _unknown(path: Path) -> str:
    key = _key(path)
    known = _SPELLINGS.get(key.lower().replace("-", "_"))
    if known is not None and known != key:
        return f"GitLab Runner documents it as {known}: correct that, and adopt the file again"
    if known is not None:
        return "the settings have no place for this value"
    return "no key that this command knows: it may be misspelt or too old; else write it in extra"
