"""Asks a Docker engine what it is and has, before anything is touched."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from components.docker_client import DockerEngine
from stacks.on_docker.no_answer import NoAnswer, explained
from stacks.on_docker.settings import OnDockerSettings
from stacks.settings.mistakes import SettingsError, shown
from stacks.settings.versions import ApiRange, Engine

ANSWER_SECONDS = 30
"""How long an engine may take for one answer; a small board under load takes several seconds."""

VERSION_SECONDS = 10
"""How long a Docker host's engine may take to say its version, without which all goes on."""


def ask_engine(settings: OnDockerSettings) -> Engine | None:
    """The version of a Docker host's engine; None where it does not say it, of which Pulumi's provider says more."""
    try:
        text = run(settings.engine.docker("version", "--format", "{{json .}}"), VERSION_SECONDS)
        return engine_version(settings.docker_host, json.loads(text)["Server"])
    except (NoAnswer, AttributeError, LookupError, TypeError, ValueError):
        return None


def engine_version(name: str, server: Mapping[str, Any]) -> Engine | None:
    """What `docker version` says of the server. name: how messages call it."""
    found = [re.fullmatch(r"(\d+)\.(\d+)", str(server.get(key))) for key in ("MinAPIVersion", "ApiVersion")]
    ends = [(int(each[1]), int(each[2])) for each in found if each]
    return Engine(name, str(server.get("Version")), ApiRange(*ends)) if len(ends) == 2 else None


def check_volume(settings: OnDockerSettings, prefix: str) -> None:
    """Raise SettingsError where `daemon.existing_volume` is not there, or is not free for this stack's daemon."""
    name, engine = settings.daemon.existing_volume, settings.engine
    if name is None:
        return
    where = f"settings.daemon.existing_volume: {shown(name)}"
    daemon = f"{prefix}-dind"
    if name.startswith(f"{daemon}-"):
        raise SettingsError(f"{where} is this stack's own: remove existing_volume, which is for that of another daemon")
    if name not in answer(engine, "volume", "ls", "--quiet").split():
        raise SettingsError(
            f"{where} is no volume of the engine at {settings.docker_host}: correct the name (docker volume ls)"
        )
    users = answer(engine, "ps", "--all", "--filter", f"volume={name}", "--format", "{{.Names}}").split()
    for user in users:
        if user != daemon:
            raise SettingsError(
                f"{where} is used by container {user}, and two daemons on one volume destroy it: stop that one, and "
                f"remove it without its volumes (docker rm {user})"
            )


def json_answer(engine: DockerEngine, *arguments: str) -> Any:
    return json.loads(answer(engine, *arguments, "--format", "{{json .}}"))


def answer(engine: DockerEngine, *arguments: str) -> str:
    """What the docker client printed. Raises SettingsError, with the remedy, where the engine is not to be had."""
    try:
        return run(engine.docker(*arguments), ANSWER_SECONDS)
    except NoAnswer as error:
        raise explained(engine, error) from None


def run(command: Sequence[str], seconds: float) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise NoAnswer(None, f"{command[0]} is not installed here") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(None, f"no answer within {seconds:g} s") from None
    if done.returncode:
        raise NoAnswer(done.returncode, done.stderr.strip() or done.stdout.strip())
    return done.stdout
