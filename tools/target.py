"""`python -m tools target`: what has to be there before a stack can be brought up, from its files alone."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.paths import DOCKER_SOCKET
from stacks.settings.mistakes import Model, SettingsError, explain
from stacks.settings.sandbox import uses_sandbox
from stacks.settings.values import Engine
from stacks.targets import model, on_engine, table
from tools.stack_files import Secure, read


class _OnEngine(Model):
    """Of the settings of a stack on a Docker engine those that say where that is."""

    docker_host: Engine = f"unix://{DOCKER_SOCKET}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("stack", help="as in Pulumi.<stack>.yaml")


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0. Raises SettingsError where its files do not say it."""
    print(json.dumps(describe(Path(), arguments.stack, os.environ.get("DOCKER_HOST"))))
    return 0


def describe(directory: Path, stack: str, engine: str | None) -> dict[str, Any]:
    """The facts about a stack. engine: $DOCKER_HOST. Raises SettingsError where its files do not say them.

    gitlab_is_sandbox: whether it is the embedded one. engine_is_elsewhere: whether it uses none of this machine.
    is_on_cluster: whether it needs the plugins for one.
    """
    raw = table(on_engine(read(directory, stack), engine))
    has_engine = "docker_host" in model(raw.get("target")).model_fields
    return {
        "target": raw["target"],
        "gitlab_is_sandbox": uses_sandbox(raw),
        "engine_is_elsewhere": not has_engine or _is_elsewhere(raw),
        "is_on_cluster": not has_engine,
    }


def _is_elsewhere(raw: Mapping[str, Any]) -> bool:
    given = {key: raw[key] for key in _OnEngine.model_fields if key in raw}
    if isinstance(given.get("docker_host"), Secure):
        # Nobody encrypts the path of a socket.
        return True
    try:
        return _OnEngine.model_validate(given).docker_host.startswith(("ssh://", "tcp://"))
    except ValidationError as error:
        raise SettingsError("\n".join(explain(details, raw, _OnEngine) for details in error.errors())) from None
