"""Typed settings of the targets on a Docker engine, with the reason for each default. Pure."""

from __future__ import annotations

from components.docker_client import DockerEngine
from components.paths import DOCKER_SOCKET
from stacks.settings.common import Common
from stacks.settings.values import Engine, SocketPath


class OnDockerSettings(Common):
    """One Docker engine.

    docker_host: the engine, as DOCKER_HOST. Default: $DOCKER_HOST, else this machine's socket. Another one is taken for
        another machine: everything goes from the old one, the layer cache too, and is made anew.
    host_socket: path of the engine's socket on its own machine, for kind `host-docker`. Default /var/run/docker.sock.
    """

    docker_host: Engine = f"unix://{DOCKER_SOCKET}"
    host_socket: SocketPath = DOCKER_SOCKET

    @property
    def engine(self) -> DockerEngine:
        """The engine, and how to get to it."""
        return DockerEngine(host=self.docker_host)
