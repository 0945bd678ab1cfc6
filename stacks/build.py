"""Which target is built by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stacks import docker_host
from stacks.load import Stack

BUILDERS: Mapping[str, Callable[[Stack], dict[str, Any]]] = {"docker-host": docker_host.build}
"""What builds each `target`."""


def build(stack: Stack) -> dict[str, Any]:
    """Make the resources of a stack; its outputs, by name."""
    return BUILDERS[stack.settings.target](stack)
