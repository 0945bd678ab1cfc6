"""The list of targets. Each is a folder that is imported, with the SDKs it needs, only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from stacks.settings.combinations import check_versions
from stacks.settings.common import Common
from stacks.settings.keys import check_keys
from stacks.settings.mistakes import SettingsError, explain, is_consequence, shown
from stacks.settings.shared import REMEDIES

if TYPE_CHECKING:
    from stacks.stack import Stack

TARGETS: Mapping[str, str] = {
    "docker-host": "stacks.docker_host",
    "raspberry-pi": "stacks.raspberry_pi",
    "gke": "stacks.gke",
}
"""The package of each `target`: its modules settings (`SETTINGS`), fit (`fit`) and build (`build`)."""


def model(target: object) -> type[Common]:
    """The model of a target's settings. Raises SettingsError for a target that is not known."""
    if not isinstance(target, str) or target not in TARGETS:
        raise SettingsError(f"settings.target: {shown(target)} is not known: use one of {', '.join(TARGETS)}")
    found: type[Common] = import_module(f"{TARGETS[target]}.settings").SETTINGS
    return found


def on_engine(raw: object, engine: str | None) -> object:
    """The plain settings with the environment's engine ($DOCKER_HOST), where they name none and the target has one."""
    if engine and isinstance(raw, Mapping) and "docker_host" in model(raw.get("target")).model_fields:
        return {"docker_host": engine, **raw}
    return raw


def table(raw: object) -> Mapping[str, Any]:
    """The plain settings, as what they have to be. Raises SettingsError."""
    if not isinstance(raw, Mapping):
        raise SettingsError(f"settings: {shown(raw)} is no table: {REMEDIES['settings']}")
    return raw


def parse(raw: object) -> Common:
    """Settings from the plain object of a stack file.

    Raises SettingsError with a line for each mistake: `settings.<path>: <value> <what is wrong>: <remedy>`.
    """
    given = table(raw)
    wanted = model(given.get("target"))
    try:
        settings = wanted.model_validate(given)
    except ValidationError as error:
        mistakes = [details for details in error.errors(include_url=False) if not is_consequence(details)]
        raise SettingsError("\n".join(dict.fromkeys(explain(details, given, wanted) for details in mistakes))) from None
    check_keys(settings)
    check_versions(settings)
    return settings


def fit(settings: Common, prefix: str, stack: str) -> tuple[Common, object]:
    """The settings completed from the machine or cluster that they name, and what that said of itself.

    Raises SettingsError where the two do not fit. prefix: of the stack's names. stack: its name.
    """
    found: tuple[Common, object] = import_module(f"{TARGETS[settings.target]}.fit").fit(settings, prefix, stack)
    return found


def build(stack: Stack[Common, object]) -> dict[str, Any]:
    """Make the resources of a stack; its outputs, by name."""
    outputs: dict[str, Any] = import_module(f"{TARGETS[stack.settings.target]}.build").build(stack)
    return outputs
