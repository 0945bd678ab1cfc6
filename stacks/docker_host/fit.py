"""Fits the settings to the Docker host that they name."""

from __future__ import annotations

from stacks.docker_host.settings import DockerHostSettings
from stacks.on_docker.questions import ask_engine, check_volume
from stacks.settings.combinations import check_engine
from stacks.settings.versions import Engine


def fit(settings: DockerHostSettings, prefix: str, _stack: str) -> tuple[DockerHostSettings, Engine | None]:
    """The settings as they are, and the engine's version. Raises SettingsError where they do not fit."""
    engine = ask_engine(settings)
    if engine is not None:
        check_engine(settings, engine)
    check_volume(settings, prefix)
    return settings, engine
