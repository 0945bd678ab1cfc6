"""Typed settings of target `raspberry-pi`, with the reason for each default. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from components.docker_client import DockerEngine
from stacks.on_docker.settings import OnDockerSettings
from stacks.raspberry_pi.platforms import Platform
from stacks.settings.common import Daemon, Runner
from stacks.settings.mistakes import Model, fail
from stacks.settings.values import Count, Flag, LocalPath, NodeLabel, PullPolicies

SSH_SECONDS = 10
"""How long SSH may take to connect."""


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

    pull_policy: PullPolicies = ("if-not-present",)


class RaspberryPiSettings(OnDockerSettings):
    """A Raspberry Pi or another small board, by SSH or from itself.

    What is left out here and depends on the board is taken from it; see `stacks.raspberry_pi.board.fitted`.

    docker_host: `ssh://user@host`, or a socket of the board itself.
    platform: what images are pulled for: `linux/arm64` (default), `linux/arm/v7` for a 32-bit system, or `linux/amd64`
        for a PC. Not published for it is refused.
    orchestrator: `docker` (default) or `swarm`. With `swarm`, docker_host has to be a manager.
    ssh, swarm: see there.
    runner_memory_mib: Default 256, four times what a runner takes, so that it never starves the jobs; none where jobs
        run in it (executor shell).
    """

    NO_ENGINE: ClassVar[str] = (
        "is no way to a board: write ssh://user@host, or unix:///var/run/docker.sock on the board itself"
    )
    SCHEMES: ClassVar[tuple[str, ...]] = ("unix", "ssh")

    target: Literal["raspberry-pi"]
    platform: Platform = Platform.ARM64
    orchestrator: Orchestrator = Orchestrator.DOCKER
    ssh: Ssh = Ssh()
    swarm: Swarm = Swarm()
    daemon: PiDaemon = PiDaemon()
    runners: Annotated[tuple[PiRunner, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_board(self) -> Self:
        for name in Ssh.model_fields:
            if not self._is_by_ssh and getattr(self.ssh, name):
                fail(
                    f"ssh.{name}", getattr(self.ssh, name), f"is not used by docker_host {self.docker_host}: remove it"
                )
        if self.orchestrator is Orchestrator.DOCKER and self.swarm.node_label:
            fail("swarm.node_label", self.swarm.node_label, "has no use with orchestrator docker: remove it")
        return self

    @property
    def engine(self) -> DockerEngine:
        """The board's engine, and how to get to it."""
        return DockerEngine(host=self.docker_host, ssh_options=self._ssh_options if self._is_by_ssh else ())

    @property
    def _is_by_ssh(self) -> bool:
        return self.docker_host.startswith("ssh://")

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


SETTINGS = RaspberryPiSettings
"""What `stacks.targets` takes for this target."""
