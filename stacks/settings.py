"""Typed settings of each target: what `Pulumi.<stack>.yaml` may say, with the reason for each default.

Pure: no Pulumi here. `parse` turns the plain object under the `settings` key into a frozen model, or raises
`SettingsError` with one line for each mistake: the setting's path, its value and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from components.docker_client import DockerEngine
from components.paths import DOCKER_SOCKET
from stacks.combinations import check_versions
from stacks.common import Common, Daemon, Runner
from stacks.gke_settings import GkeSettings
from stacks.mistakes import Model, SettingsError, explain, fail, is_consequence, shown
from stacks.platforms import Platform
from stacks.values import (
    MOST,
    Count,
    Cpus,
    Engine,
    Flag,
    LocalPath,
    NodeLabel,
    PullPolicy,
    SocketPath,
    one_or_many,
    split,
)

SSH_SECONDS = 10
"""How long SSH may take to connect."""


class DockerHostSettings(Common):
    """One Docker host.

    docker_host: the engine, as DOCKER_HOST. Default: $DOCKER_HOST, else this machine's socket. Another one is taken for
        another machine: everything goes from the old one, the layer cache too, and is made anew.
    host_socket: path of the engine's socket on its own machine, for kind `host-docker`. Default /var/run/docker.sock.
    """

    target: Literal["docker-host"]
    docker_host: Engine = f"unix://{DOCKER_SOCKET}"
    host_socket: SocketPath = DOCKER_SOCKET

    @property
    def engine(self) -> DockerEngine:
        """The engine, and how to get to it."""
        return DockerEngine(host=self.docker_host)


class Orchestrator(StrEnum):
    """What keeps the runner running: the engine itself, or the swarm that it manages."""

    DOCKER = "docker"
    SWARM = "swarm"


class Ssh(Model):
    """How SSH gets to the board. The board's host key is always checked.

    key_file: path of the private key, without a passphrase. Default: the agent's, or ssh's own choice.
    known_hosts_file: path of the file with the board's host key. Default: ssh's own.
    """

    key_file: LocalPath | None = None
    known_hosts_file: LocalPath | None = None


class Swarm(Model):
    """How the runner becomes a service of a swarm that is there.

    node_label: `key=value` of the node that holds the daemon, which has to be that of `docker_host`. Default: that
        node's ID, which changes where the node leaves the swarm and joins it again.
    privileged: a Swarm service cannot be.
    """

    node_label: NodeLabel | None = None
    privileged: Flag = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.privileged:
            fail(
                "privileged",
                True,
                "cannot be had, as Swarm has no privileged services (https://github.com/moby/moby/issues/24862): "
                "remove it; the daemon runs as a container beside the service, jobs inside it",
            )
        return self


class PiDaemon(Daemon):
    """`Daemon`, with less for a small disk.

    cache_budget_gib: Default 8: a card of 32 GB keeps room for the system.
    """

    cache_budget_gib: Count = 8


class PiRunner(Runner):
    """`Runner`, with fewer pulls.

    pull_policy: Default `if-not-present`: a pull at every job takes long, and wears a card out. A job can then use an
        image that another project has pulled.
    """

    pull_policy: Annotated[tuple[PullPolicy, ...], Field(min_length=1), BeforeValidator(one_or_many)] = (
        "if-not-present",
    )


class RaspberryPiSettings(Common):
    """A Raspberry Pi or another small board, by SSH or from itself.

    What is left out here and depends on the board is taken from it; see `stacks.board.fitted`.

    docker_host: the board's engine, `ssh://user@host` or a local socket. Default: $DOCKER_HOST, else this machine's
        socket. Another one is taken for another machine: everything goes from the old one, the layer cache too.
    host_socket: path of the engine's socket on the board, for kind `host-docker`. Default /var/run/docker.sock.
    platform: what images are pulled for: `linux/arm64` (default), `linux/arm/v7` for a 32-bit system, or `linux/amd64`
        for a PC. Not published for it is refused.
    orchestrator: `docker` (default) or `swarm`. With `swarm`, docker_host has to be a manager.
    ssh, swarm: see there.
    runner_cpus (in tenths), runner_memory_mib: limits of the runner's own container. Default of the memory: 256, four
        times what a runner takes, so that it never starves the jobs; none where jobs run in it (executor shell).
    """

    target: Literal["raspberry-pi"]
    docker_host: Engine = f"unix://{DOCKER_SOCKET}"
    host_socket: SocketPath = DOCKER_SOCKET
    platform: Platform = Platform.ARM64
    orchestrator: Orchestrator = Orchestrator.DOCKER
    ssh: Ssh = Ssh()
    swarm: Swarm = Swarm()
    daemon: PiDaemon = PiDaemon()
    runners: Annotated[tuple[PiRunner, ...], Field(min_length=1)]
    runner_cpus: Cpus | None = None
    runner_memory_mib: Annotated[int, Field(strict=True, ge=64, le=MOST)] | None = None

    @model_validator(mode="after")
    def _check_board(self) -> Self:
        parts = split(self.docker_host)
        if parts is None or parts.scheme not in ("unix", "ssh"):
            fail(
                "docker_host",
                self.docker_host,
                "is no way to a board: write ssh://user@host, or unix:///var/run/docker.sock on the board itself",
            )
        if parts.scheme == "ssh" and (not parts.hostname or parts.password or parts.query or parts.fragment):
            fail("docker_host", "(hidden)", "has more than SSH takes: write ssh://user@host or ssh://user@host:port")
        for name in Ssh.model_fields:
            if parts.scheme != "ssh" and getattr(self.ssh, name):
                fail(
                    f"ssh.{name}", getattr(self.ssh, name), f"is not used by docker_host {self.docker_host}: remove it"
                )
        if self.orchestrator is Orchestrator.DOCKER and self.swarm.node_label:
            fail("swarm.node_label", self.swarm.node_label, "has no use with orchestrator docker: remove it")
        return self

    @property
    def engine(self) -> DockerEngine:
        """The board's engine, and how to get to it."""
        by_ssh = self.docker_host.startswith("ssh://")
        return DockerEngine(host=self.docker_host, ssh_options=self._ssh_options if by_ssh else ())

    @property
    def _ssh_options(self) -> tuple[str, ...]:
        options = [
            # Nobody is there to answer a question, and a wrong host must not get the runners' tokens.
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"ConnectTimeout={SSH_SECONDS}",
            # A drain is silent for as long as the jobs take.
            "ServerAliveInterval=30",
        ]
        if self.ssh.known_hosts_file:
            options.append(f"UserKnownHostsFile={self.ssh.known_hosts_file}")
        if self.ssh.key_file:
            # ssh would offer the agent's keys first, and be turned away for too many.
            options += ["IdentitiesOnly=yes", f"IdentityFile={self.ssh.key_file}"]
        return tuple(word for option in options for word in ("-o", option))


Settings: TypeAlias = DockerHostSettings | RaspberryPiSettings | GkeSettings

TARGETS: Mapping[str, type[DockerHostSettings] | type[RaspberryPiSettings] | type[GkeSettings]] = {
    "docker-host": DockerHostSettings,
    "raspberry-pi": RaspberryPiSettings,
    "gke": GkeSettings,
}
"""The model of each `target`."""


def parse(raw: object) -> Settings:
    """Settings from the plain object of a stack file.

    Raises SettingsError with a line for each mistake: `settings.<path>: <value> <what is wrong>: <remedy>`.
    """
    if not isinstance(raw, Mapping):
        raise SettingsError(f"settings: {shown(raw)} is no table: write target, gitlab and runners below it")
    target = raw.get("target")
    model = TARGETS.get(target) if isinstance(target, str) else None
    if model is None:
        raise SettingsError(f"settings.target: {shown(target)} is not known: use one of {', '.join(TARGETS)}")
    try:
        settings = model.model_validate(raw)
    except ValidationError as error:
        mistakes = [details for details in error.errors(include_url=False) if not is_consequence(details)]
        raise SettingsError("\n".join(dict.fromkeys(explain(details, raw, model) for details in mistakes))) from None
    check_versions(settings)
    return settings
