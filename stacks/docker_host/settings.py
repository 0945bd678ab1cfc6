"""Typed settings of target `docker-host`. Pure."""

from __future__ import annotations

from typing import Literal

from stacks.on_docker.settings import OnDockerSettings


class DockerHostSettings(OnDockerSettings):
    """One Docker host."""

    target: Literal["docker-host"]


SETTINGS = DockerHostSettings
"""What `stacks.targets` takes for this target."""
