"""Plain settings to start a test from, as they come out of a stack file."""

from __future__ import annotations

from typing import Any

from stacks.board import Board
from stacks.settings import RaspberryPiSettings, parse

TOKEN = "glrt-s3cret"
API_TOKEN = "glpat-s3cret"
WITH_CLIENT = "mine/runner:1"
"""An image of a runner with a Docker client, as executor shell needs it."""

LOOKUPS = {
    "gitlab:index/getProject:getProject": lambda args: {"id": "7", **args},
    "gitlab:index/getGroup:getGroup": lambda args: {"groupId": 8, **args},
}
"""What GitLab's provider answers."""


def runner(**settings: Any) -> dict[str, Any]:
    """The least that a runner needs, with `settings` laid over it."""
    return {"name": "docker", "tags": ["docker"]} | settings


def plain(**settings: Any) -> dict[str, Any]:
    """The least that target docker-host needs, with `settings` laid over it."""
    gitlab = {"url": "https://gitlab.example.com", "scope": "project", "project": "demo/app"}
    return {"target": "docker-host", "gitlab": gitlab, "runners": [runner()]} | settings


def changed(path: str, value: Any, **settings: Any) -> dict[str, Any]:
    """`plain` with one value more, at a path such as `runners.0.name`; missing tables are made."""
    *above, last = (int(part) if part.isdigit() else part for part in path.split("."))
    result: Any = plain(**settings)
    place = result
    for part in above:
        place = place.setdefault(part, {}) if isinstance(place, dict) else place[part]
    place[last] = value
    whole: dict[str, Any] = result
    return whole


def pi(**settings: Any) -> dict[str, Any]:
    """The least that target raspberry-pi needs, reached by SSH, with `settings` laid over it."""
    return plain(target="raspberry-pi", docker_host="ssh://pi@raspberry") | settings


def pi_settings(**settings: Any) -> RaspberryPiSettings:
    """`pi`, checked."""
    parsed = parse(pi(**settings))
    assert isinstance(parsed, RaspberryPiSettings)
    return parsed


def board(**facts: Any) -> Board:
    """A Raspberry Pi with 4 GB and a 64-bit system, with `facts` laid over it."""
    usual: dict[str, Any] = {"hostname": "raspberry", "architecture": "arm64", "cores": 4, "memory_mib": 3794}
    return Board(**usual | facts)
