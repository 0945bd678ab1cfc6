"""Checks a stack's settings from its files alone, without engine, secrets or GitLab."""

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
from stacks.targets import parse
from tools.secrets import HIDDEN, is_secret_name
from tools.stack_files import Secure, read, read_settings, without_secure

GIT_SECONDS = 30.0

_HIDDEN_TABLES = {"environment", "extra", "cache", "token"}


@dataclass(frozen=True)
class Checked:
    """mistakes: lines, as the program would say them. encrypted: paths of values that could not be looked at."""

    mistakes: tuple[str, ...]
    encrypted: tuple[str, ...]


def check(directory: Path, stack: str) -> Checked:
    """Whether a stack's settings are right, as far as files tell."""
    try:
        raw = read(directory, stack)
    except SettingsError as error:
        return Checked((str(error),), ())
    encrypted = tuple(place(path) for path, value in _values(raw).items() if isinstance(value, Secure))
    plain = without_secure(raw)
    try:
        if sandbox.uses_sandbox(plain):
            plain = {**plain, "gitlab": {**plain["gitlab"], "url": "http://sandbox"}}
        parse(plain)
    except SettingsError as error:
        mistakes = [line for line in str(error).splitlines() if not line.startswith(encrypted)]
        return Checked(tuple(mistakes), encrypted)
    return Checked((), encrypted)


def changed_settings(directory: Path, stack: str, base: str) -> list[str]:
    """Lines of a diff of the settings since commit `base`, without what may be secret; empty where git has it not."""
    if not base or _git(directory, "cat-file", "-e", f"{base}^{{commit}}") is None:
        return []
    texts = [_at(directory, base, file) for file in (f"Pulumi.{stack}.yaml", "Pulumi.yaml")]
    try:
        new = read(directory, stack)
        old = read_settings(texts[0], texts[1], stack) if texts[0] is not None else {}
    except SettingsError:
        return []
    before, after = _values(old), _values(new)
    # What is encrypted on one side only is no less secret on the other.
    encrypted = [path for one in (before, after) for path, value in one.items() if isinstance(value, Secure)]
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


def _values(settings: Any) -> dict[Place, Any]:
    """The settings by their places; a list of plain values is one, and an empty table is none."""

    def is_plain(value: object) -> bool:
        return isinstance(value, list) and not any(isinstance(item, (Mapping, list, Secure)) for item in value)

    return {path: value for path, value in leaves(settings, is_one=is_plain) if value != {}}


def _shown(path: Place, value: Any) -> str:
    words = re.findall(r"[^.\[\]]+", place(path))
    if isinstance(value, Secure) or _HIDDEN_TABLES & set(words) or any(is_secret_name(word) for word in words):
        return HIDDEN
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def _is_within(one: Place, other: Place) -> bool:
    """Whether one of two places is the other, or leads to it."""
    return all(a == b for a, b in zip(one, other, strict=False))


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
