"""What can be said of a stack's settings from its files alone, without engine, secrets or GitLab."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stacks.settings import sandbox
from stacks.settings.mistakes import SettingsError, place
from stacks.settings.places import Path as Place
from stacks.settings.places import leaves
from stacks.settings.shared import merged, missing
from stacks.targets import parse
from tools.secrets import HIDDEN, is_secret_name

GIT_SECONDS = 30.0
ENCRYPTED = "glrt-encrypted-value"
"""Stands for an encrypted value, in a form that every setting of text takes that may be encrypted."""

_HIDDEN_TABLES = {"environment", "extra", "cache", "token"}


@dataclass(frozen=True)
class _Secure:
    """An encrypted value, of which only the cipher text is known."""

    text: str


@dataclass(frozen=True)
class Checked:
    """mistakes: lines, as the program would say them. encrypted: paths of values that could not be looked at."""

    mistakes: tuple[str, ...]
    encrypted: tuple[str, ...]


def check(directory: Path, stack: str) -> Checked:
    """Whether a stack's settings are right, as far as files tell."""
    try:
        raw = read_settings(_read(directory, f"Pulumi.{stack}.yaml"), _read(directory, "Pulumi.yaml"), stack)
    except SettingsError as error:
        return Checked((str(error),), ())
    except yaml.YAMLError as error:
        return Checked((f"Pulumi.{stack}.yaml: is no YAML: {_place(error)}",), ())
    encrypted = tuple(place(path) for path, value in _values(raw).items() if isinstance(value, _Secure))
    plain = without_secure(raw)
    try:
        if sandbox.uses_sandbox(plain):
            plain = {**plain, "gitlab": {**plain["gitlab"], "url": "http://sandbox"}}
        parse(plain)
    except SettingsError as error:
        mistakes = [line for line in str(error).splitlines() if not line.startswith(encrypted)]
        return Checked(tuple(mistakes), encrypted)
    return Checked((), encrypted)


def _place(error: yaml.YAMLError) -> str:
    """Where and why; the error's own text has the line in it, of whose secrets nobody knows then."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return type(error).__name__


def read_settings(own: str | None, shared: str | None, stack: str) -> Any:
    """The merged settings in the texts of Pulumi.<stack>.yaml and Pulumi.yaml. Raises SettingsError, yaml.YAMLError."""
    if own is None:
        raise SettingsError(f"Pulumi.{stack}.yaml: is missing: copy Pulumi.dev.yaml and change its settings")
    settings = _config(own, "settings")
    if settings is None:
        raise missing(stack)
    return _marked(merged(_config(shared or "", "shared"), settings))


def changed_settings(directory: Path, stack: str, base: str) -> list[str]:
    """Lines of a diff of the settings since commit `base`, without what may be secret; empty where git has it not."""
    if not base or _git(directory, "cat-file", "-e", f"{base}^{{commit}}") is None:
        return []
    texts = [_at(directory, base, file) for file in (f"Pulumi.{stack}.yaml", "Pulumi.yaml")]
    try:
        new = read_settings(_read(directory, f"Pulumi.{stack}.yaml"), _read(directory, "Pulumi.yaml"), stack)
        old = read_settings(texts[0], texts[1], stack) if texts[0] is not None else {}
    except (SettingsError, yaml.YAMLError):
        return []
    before, after = _values(old), _values(new)
    # What is encrypted on one side only is no less secret on the other.
    encrypted = [path for one in (before, after) for path, value in one.items() if isinstance(value, _Secure)]
    lines: list[str] = []
    for path in dict.fromkeys([*before, *after]):
        if path in before and path in after and before[path] == after[path]:
            continue
        shown = [
            (sign, HIDDEN if any(_is_within(path, one) for one in encrypted) else _shown(path, values[path]))
            for sign, values in (("-", before), ("+", after))
            if path in values
        ]
        if [text for _, text in shown] == [HIDDEN, HIDDEN]:
            # It looks alike before and after.
            shown = [("!", "changes, but is hidden")]
        lines += [f"{sign} {place(path).removeprefix('settings.')}: {text}" for sign, text in shown]
    return lines


def _config(text: str, key: str) -> Any:
    found = yaml.safe_load(text)
    config = found.get("config") if isinstance(found, dict) else None
    project = (found or {}).get("name", "gitlab-dind-runners") if isinstance(found, dict) else ""
    value = next(
        (
            given
            for name, given in (config or {}).items()
            if name in (key, f"gitlab-dind-runners:{key}", f"{project}:{key}")
        ),
        None,
    )
    return value["value"] if key == "shared" and isinstance(value, dict) and "value" in value else value


def _marked(value: Any) -> Any:
    match value:
        case {"secure": str(text)}:
            return _Secure(text)
        case Mapping():
            return {str(key): _marked(item) for key, item in value.items()}
        case [*items]:
            return [_marked(item) for item in items]
    return value


def without_secure(value: Any) -> Any:
    match value:
        case _Secure():
            return ENCRYPTED
        case Mapping():
            return {key: without_secure(item) for key, item in value.items()}
        case [*items]:
            return [without_secure(item) for item in items]
    return value


def _values(settings: Any) -> dict[Place, Any]:
    """The settings by their places; a list of plain values is one, and an empty table is none."""

    def is_plain(value: object) -> bool:
        return isinstance(value, list) and not any(isinstance(item, (Mapping, list, _Secure)) for item in value)

    return {path: value for path, value in leaves(settings, is_one=is_plain) if value != {}}


def _shown(path: Place, value: Any) -> str:
    words = re.findall(r"[^.\[\]]+", place(path))
    if isinstance(value, _Secure) or _HIDDEN_TABLES & set(words) or any(is_secret_name(word) for word in words):
        return HIDDEN
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def _is_within(one: Place, other: Place) -> bool:
    """Whether one of two places is the other, or leads to it."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _read(directory: Path, file: str) -> str | None:
    try:
        return (directory / file).read_text()
    except OSError:
        return None


def _at(directory: Path, commit: str, file: str) -> str | None:
    """A file's text in a commit; None where git does not have it."""
    return _git(directory, "show", f"{commit}:./{file}")


def _git(directory: Path, *words: str) -> str | None:
    """What a git command printed; None where it failed."""
    command = ["git", *words]
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
