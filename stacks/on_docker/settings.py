"""Typed settings of the targets on a Docker engine, with the reason for each default. Pure."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from components.docker_client import DockerEngine
from components.paths import DOCKER_SOCKET
from stacks.settings.common import Common
from stacks.settings.mistakes import fail
from stacks.settings.values import NO_ENGINE, Engine, SocketPath, split


class OnDockerSettings(Common):
    """One Docker engine.

    docker_host: the engine, as DOCKER_HOST. Default: $DOCKER_HOST, else this machine's socket. Another one is taken for
        another machine: everything goes from the old one, the layer cache too, and is made anew.
    host_socket: path of the engine's socket on its own machine, for kind `host-docker`. Default /var/run/docker.sock.
    """

    NO_ENGINE: ClassVar[str] = NO_ENGINE
    SCHEMES: ClassVar[tuple[str, ...]] = ("unix", "ssh", "tcp", "npipe")
    """Ways to the engine, and what is said of another."""

    docker_host: Engine = f"unix://{DOCKER_SOCKET}"
    host_socket: SocketPath = DOCKER_SOCKET

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        parts = split(self.docker_host)
        if parts is None or parts.scheme not in self.SCHEMES:
            fail("docker_host", self.docker_host, self.NO_ENGINE)
        if parts.scheme == "ssh" and (not parts.hostname or parts.password or parts.query or parts.fragment):
            fail("docker_host", "(hidden)", "has more than SSH takes: write ssh://user@host or ssh://user@host:port")
        return self

    @property
    def engine(self) -> DockerEngine:
        """The engine, and how to get to it."""
        return DockerEngine(host=self.docker_host)
