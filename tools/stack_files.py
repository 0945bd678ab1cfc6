"""A stack's settings as its files have them, without engine, GitLab, or what is encrypted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stacks.settings.mistakes import SettingsError
from stacks.settings.shared import merged, missing, no_table

PROJECT = "gitlab-dind-runners"
SETTINGS_KEY = f"{PROJECT}:settings"
ENCRYPTED = "glrt-encrypted-value"
"""Stands for an encrypted value, in a form that every setting of text takes that may be encrypted."""


@dataclass(frozen=True)
class Secure:
    """An encrypted value, of which only the cipher text is known."""

    text: str

    def __str__(self) -> str:
        return "(encrypted)"


def read(directory: Path, stack: str) -> Any:
    """The settings of a stack, on top of those that all stacks share. Raises SettingsError."""
    return read_settings(_text(directory / f"Pulumi.{stack}.yaml"), _text(directory / "Pulumi.yaml"), stack)


def read_settings(own: str | None, project: str | None, stack: str) -> Any:
    """The same from the texts of Pulumi.<stack>.yaml and Pulumi.yaml; None where there is no such file."""
    if own is None:
        raise SettingsError(f"Pulumi.{stack}.yaml: is missing: copy Pulumi.dev.yaml and change its settings")
    files = _table(own, f"Pulumi.{stack}.yaml"), _table(project or "", "Pulumi.yaml")
    settings = _value("settings", *files)
    if settings is None:
        raise missing(stack)
    return merged(_value("shared", *files), settings)


def without_secure(value: Any) -> Any:
    """The settings with a text for each encrypted value."""
    match value:
        case Secure():
            return ENCRYPTED
        case Mapping():
            return {key: without_secure(item) for key, item in value.items()}
        case [*items]:
            return [without_secure(item) for item in items]
    return value


def _text(file: Path) -> str | None:
    """None where there is no such file. Raises SettingsError where it cannot be read."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"{file.name}: cannot be read ({why}): put it right, or write it anew") from None


def _table(text: str, file: str) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{file}: is no YAML: {_place(error)}") from None
    return found if isinstance(found, dict) else {}


def _place(error: yaml.YAMLError) -> str:
    """Where and why; the error's own text has the line in it, of whose secrets nobody knows then."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return type(error).__name__


def _value(key: str, own: Mapping[str, Any], project: Mapping[str, Any]) -> Any:
    """What Pulumi gives the program for a key: the stack's own value as a whole, else the project's.

    Raises SettingsError for a text that is no JSON, as the program does.
    """
    names = (key, f"{PROJECT}:{key}", f"{project.get('name')}:{key}")
    for file in (own, project):
        config = file.get("config")
        for name, value in config.items() if isinstance(config, dict) else ():
            if name in names:
                is_described = file is project and isinstance(value, dict) and "value" in value
                plain = value["value"] if is_described else value
                try:
                    # `pulumi config set` without --path keeps a table as a text in JSON.
                    return _marked(json.loads(plain) if isinstance(plain, str) else plain)
                except ValueError:
                    raise no_table(key) from None
    return None


def _marked(value: Any) -> Any:
    match value:
        case {"secure": str(text)}:
            return Secure(text)
        case Mapping():
            return {str(key): _marked(item) for key, item in value.items()}
        case [*items]:
            return [_marked(item) for item in items]
    return value
