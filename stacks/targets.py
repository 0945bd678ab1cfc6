"""What builds each target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stacks import docker_host, gke, raspberry_pi
from stacks.load import Stack

BUILDERS: Mapping[str, Callable[[Stack[Any]], dict[str, Any]]] = {
    "docker-host": docker_host.build,
    "raspberry-pi": raspberry_pi.build,
    "gke": gke.build,
}
"""What builds each `target`."""


def build(stack: Stack[Any]) -> dict[str, Any]:
    """Make the resources of a stack; its outputs, by name."""
    return BUILDERS[stack.settings.target](stack)
