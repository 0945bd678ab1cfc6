"""How clients reach a stack's Docker daemon. Pure."""

from enum import StrEnum

CERTS_DIR = "/certs"
"""DOCKER_TLS_CERTDIR of the official dind image: ca/, server/ and client/ lie below it."""

CLIENT_CERTS_DIR = f"{CERTS_DIR}/client"
SOCKET_DIR = "/run/dind"
SOCKET = f"{SOCKET_DIR}/docker.sock"


class Transport(StrEnum):
    """`tls` (mutual), `socket` (a unix socket in a shared volume) or `tcp` (plaintext)."""

    TLS = "tls"
    SOCKET = "socket"
    TCP = "tcp"

    @property
    def port(self) -> int | None:
        """Docker's registered port (IANA: 2376 docker-s, 2375 docker). The dind image listens on no other."""
        return {Transport.TLS: 2376, Transport.TCP: 2375, Transport.SOCKET: None}[self]

    def endpoint(self, host: str) -> str:
        """DOCKER_HOST for a daemon that is called `host` on the network."""
        return f"unix://{SOCKET}" if self is Transport.SOCKET else f"tcp://{host}:{self.port}"
