"""Plain settings to start a test from, as they come out of a stack file."""

from __future__ import annotations

from typing import Any, TypeVar

import pulumi

from components.defaults import CLIENT_IMAGE
from stacks.gke.cluster import Access, Facts, StorageClass
from stacks.gke.settings import GkeSettings
from stacks.raspberry_pi.board import Board
from stacks.raspberry_pi.settings import RaspberryPiSettings
from stacks.settings.common import Common
from stacks.stack import Stack
from stacks.targets import parse

S = TypeVar("S", bound=Common)
F = TypeVar("F")

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


def runner_output(**differs: Any) -> dict[str, Any]:
    """What a stack's outputs say of such a runner, with `differs` laid over it."""
    return {
        "id": "docker-runner-0123456789abcdef",
        "kind": "dind",
        "executor": "docker",
        "tags": ["docker"],
        "run_untagged": False,
        "access_level": "ref_protected",
        "maximum_timeout": 3600,
        "limit": 0,
        "paused": False,
        "image": CLIENT_IMAGE,
        "helper_image": None,
        "description": "dev docker",
    } | differs


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


def gke(**settings: Any) -> dict[str, Any]:
    """The least that target gke needs, with `settings` laid over it."""
    return plain(target="gke", cluster={"context": "mine"}) | settings


def gke_settings(**settings: Any) -> GkeSettings:
    """`gke`, checked."""
    parsed = parse(gke(**settings))
    assert isinstance(parsed, GkeSettings)
    return parsed


STANDARD = StorageClass(name="standard-rwo", is_csi=True, is_default=True, can_grow=True)
"""The default class of a cluster on GKE."""


def facts(**more: Any) -> Facts:
    """A Standard cluster with Dataplane V2, on which the stack is not yet, with `more` laid over it."""
    access = Access(title="mine", context="mine", provider_kubeconfig=None)
    usual: dict[str, Any] = {"access": access, "storage_classes": (STANDARD,), "enforcers": ("anetd",)}
    return Facts(**usual | more)


def stack_of(
    settings: S,
    facts: F,
    *,
    gitlab_token: pulumi.Output[str] | None,
    name: str = "dev",
    project: str = "gitlab-dind-runners",
) -> Stack[S, F]:
    """A stack as `load` makes it of settings that have been completed, and of what the machine said of itself."""
    prefix = settings.name or f"{project}-{name}"
    return Stack(name=name, project=project, prefix=prefix, settings=settings, facts=facts, gitlab_token=gitlab_token)
