"""Makes the Docker client's command lines for an engine. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, kw_only=True)
class DockerEngine:
    """Where a Docker engine is.

    host: its address, as DOCKER_HOST. ssh_options: options of the SSH client, for an address `ssh://`.
    """

    host: str
    ssh_options: tuple[str, ...] = ()

    @property
    def by_ssh(self) -> bool:
        """Whether the engine is asked by SSH."""
        return self.host.startswith("ssh://")

    def docker(self, *arguments: str) -> list[str]:
        """The command line that runs `docker` with these arguments. By SSH it is the other machine's client."""
        if not self.by_ssh:
            return ["docker", "--host", self.host, *arguments]
        path = urlsplit(self.host).path.rstrip("/")
        return self.command("docker", *(["--host", f"unix://{path}"] if path else []), *arguments)

    def command(self, *words: str) -> list[str]:
        """The command line that runs a command on the engine's machine: by SSH, or on this one."""
        if not self.by_ssh:
            return list(words)
        parts = urlsplit(self.host)
        user = ["-l", parts.username] if parts.username else []
        port = ["-p", str(parts.port)] if parts.port else []
        return ["ssh", *self.ssh_options, *user, *port, "--", self.ssh_host, shlex.join(words)]

    @property
    def ssh_host(self) -> str:
        """The host in an address `ssh://`, as it is written: aliases in ~/.ssh/config are case-sensitive."""
        netloc = urlsplit(self.host).netloc.rpartition("@")[2]
        return netloc.partition("]")[0].removeprefix("[") if "[" in netloc else netloc.partition(":")[0]
