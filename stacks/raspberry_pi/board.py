"""Finds what does not fit a board, and fills in what the settings leave to it. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.defaults import RUNNER_IMAGE
from components.kinds import TRAITS, Builder, Executor
from components.paths import as_docker_reads
from stacks.raspberry_pi.platforms import Platform, fits, helper_image
from stacks.raspberry_pi.settings import Orchestrator, PiRunner, RaspberryPiSettings
from stacks.settings.mistakes import Mistake, SettingsError, shown
from stacks.settings.values import NAME
from stacks.settings.versions import Engine

MEMORY_CGROUP = (
    "the kernel of the board was started without its memory cgroup: append cgroup_enable=memory to the line in "
    "/boot/firmware/cmdline.txt and reboot"
)


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of a swarm. labels: those that placement can ask for. availability: active, pause or drain."""

    id: str
    hostname: str
    labels: Mapping[str, str] = field(default_factory=dict)
    availability: str = "active"


@dataclass(frozen=True, kw_only=True)
class Board:
    """What an engine says of itself and its machine.

    hostname: of the machine. architecture: what the engine was built for, as Go calls it (arm64, arm, amd64).
    machine: what its kernel calls itself (aarch64, armv7l, ...). docker_root: directory of the engine's own data.
    cores, memory_mib: of the machine. limits_memory: whether its kernel can limit a container's memory.
    swarm: state of the engine in a swarm (inactive, active, ...). is_manager: whether it manages that one.
    node_id: its own ID. nodes: all of the swarm, where it is a manager.
    engine: the engine's version; None where it does not say it.
    """

    hostname: str
    architecture: str
    machine: str = ""
    docker_root: str = "/var/lib/docker"
    cores: int
    memory_mib: int
    limits_memory: bool = True
    swarm: str = "inactive"
    is_manager: bool = False
    node_id: str = ""
    nodes: tuple[Node, ...] = ()
    engine: Engine | None = None

    @property
    def nominal_memory_mib(self) -> int:
        """What the board was sold with; the kernel takes a part that changes with its version.

        That is a power of two, or half as much again (6 GB, 12 GB), so always less than 8/5 of what there is.
        """
        size = 512
        while size < self.memory_mib:
            size = size * 3 // 2 if size.bit_count() == 1 else size * 4 // 3
        return size


def check_board(settings: RaspberryPiSettings, board: Board) -> None:
    """Raise SettingsError, with a line for each mistake, where the settings ask for what the board is not."""
    mistakes = [
        f"settings.{m.where}: {'' if m.value is None else f'{shown(m.value)} '}{m}" for m in _mistakes(settings, board)
    ]
    if mistakes:
        raise SettingsError("\n".join(mistakes))


def _mistakes(settings: RaspberryPiSettings, board: Board) -> Iterator[Mistake]:
    if board.machine == "armv6l":
        remedy = f"does not run on {board.hostname}, whose processor is ARMv6 (Pi 1, Zero, Zero W): use a newer board"
        yield Mistake("platform", settings.platform.value, remedy)
    elif board.architecture != settings.platform.architecture:
        yield _wrong_platform(settings.platform, board)
    if settings.daemon.data_path is not None and _overlap(settings.daemon.data_path, board.docker_root):
        yield Mistake(
            "daemon.data_path",
            settings.daemon.data_path,
            f"is the directory of the engine's own data ({board.docker_root}), or around it, or in it, and two daemons "
            "on one directory destroy it: choose one of its own",
        )
    if settings.orchestrator is Orchestrator.SWARM:
        yield from _swarm_mistakes(settings, board)
    if settings.platform is Platform.ARM_V7:
        yield from _helper_mistakes(settings)
    for where, cpus in _limits(settings, "cpus"):
        if cpus > board.cores:
            remedy = f"is more than {board.hostname} has, and its engine would refuse it: use {board.cores} or less"
            yield Mistake(where, cpus, remedy)
    if not board.limits_memory:
        for where, value in _limits(settings, "memory_mib"):
            yield Mistake(where, value, f"cannot be had, as {MEMORY_CGROUP}; or remove it")


def _overlap(path: str, other: str) -> bool:
    one, two = as_docker_reads(path), as_docker_reads(other)
    return one.is_relative_to(two) or two.is_relative_to(one)


def _helper_mistakes(settings: RaspberryPiSettings) -> Iterator[Mistake]:
    """GitLab Runner goes by the kernel, which on a 32-bit system may be a 64-bit one."""
    for index, runner in enumerate(settings.runners):
        if runner.executor is Executor.DOCKER and runner.helper_image is None:
            yield Mistake(
                f"runners[{index}].helper_image",
                None,
                "has to be named on a 32-bit system, as GitLab Runner would take the one for the kernel: for example "
                f"{helper_image(RUNNER_IMAGE, Platform.ARM_V7)}",
            )


def _wrong_platform(platform: Platform, board: Board) -> Mistake:
    known = {one.architecture: one for one in Platform}
    if board.architecture not in known:
        remedy = (
            f"does not run on {board.hostname}, whose engine was built for {board.architecture}: use another machine"
        )
    elif board.architecture == "arm":
        remedy = (
            f"does not run on {board.hostname}, whose system is 32-bit: install the 64-bit Raspberry Pi OS, or set "
            f"platform: {Platform.ARM_V7}"
        )
    else:
        remedy = (
            f"does not run on {board.hostname}, whose engine was built for {board.architecture}: set platform: "
            f"{known[board.architecture]}, or point docker_host to another machine"
        )
    return Mistake("platform", platform.value, remedy)


def _swarm_mistakes(settings: RaspberryPiSettings, board: Board) -> Iterator[Mistake]:
    swarm = Orchestrator.SWARM.value
    if board.swarm == "inactive":
        yield Mistake(
            "orchestrator",
            swarm,
            f"needs a swarm, and {board.hostname} is in none: make it one with "
            "`docker swarm init --advertise-addr <its address>` there, or set orchestrator: docker",
        )
    elif board.swarm != "active":
        yield Mistake(
            "orchestrator",
            swarm,
            f"needs a swarm that works, and that of {board.hostname} is {board.swarm}: see `docker info` there",
        )
    elif not board.is_manager:
        yield Mistake(
            "orchestrator",
            swarm,
            f"needs a manager of the swarm, and {board.hostname} is a worker: run on a manager "
            f"`docker node promote {board.hostname}`, or point docker_host to one",
        )
    else:
        yield from _node_mistakes(settings, board)


def _node_mistakes(settings: RaspberryPiSettings, board: Board) -> Iterator[Mistake]:
    own = next((node for node in board.nodes if node.id == board.node_id), None)
    if own is not None and own.availability != "active":
        yield Mistake(
            "orchestrator",
            Orchestrator.SWARM.value,
            f"starts nothing on {own.hostname}, whose availability is {own.availability}: run "
            f"`docker node update --availability active {own.hostname}`",
        )
    label = settings.swarm.node_label
    if label is None:
        return
    key, _, value = label.partition("=")
    labelled = [node for node in board.nodes if node.labels.get(key) == value]
    remedy = f"run `docker node update --label-add {label} {board.hostname}`"
    if not labelled:
        yield Mistake("swarm.node_label", label, f"matches no node of the swarm: {remedy}, or remove the setting")
    elif [node.id for node in labelled] != [board.node_id]:
        names = ", ".join(node.hostname for node in labelled)
        yield Mistake(
            "swarm.node_label",
            label,
            f"matches {names}, but the daemon and its certificates are on {board.hostname} alone: give only that node "
            f"the label ({remedy}), or remove the setting",
        )


def _limits(settings: RaspberryPiSettings, name: str) -> Iterator[tuple[str, float]]:
    """The limits of a kind (`cpus` or `memory_mib`) that the settings ask for, with their paths."""
    runners = {f"runners[{index}].{name}": getattr(runner, name) for index, runner in enumerate(settings.runners)}
    places = {f"runner_{name}": getattr(settings, f"runner_{name}"), f"daemon.{name}": getattr(settings.daemon, name)}
    yield from ((where, limit) for where, limit in (places | runners).items() if limit is not None)


def fitted(settings: RaspberryPiSettings, board: Board) -> RaspberryPiSettings:
    """The settings with what they leave open and the board decides.

    concurrent: half of the cores, so that a job's own processes have a second one. daemon.cpus: all cores but one,
    which stays for the system. daemon.memory_mib: five eighths of the nominal memory. Each job gets its share of the
    daemon's. No limits of memory where the kernel has none.
    """
    concurrent = settings.concurrent or max(board.cores // 2, len(settings.runners), 1)
    limits = _daemon_limits(board)
    daemon = settings.daemon.model_copy(update=_open(settings.daemon, limits))
    share = {
        "cpus": max(math.floor(daemon.cpus * 10 / concurrent) / 10, 0.1) if daemon.cpus else None,
        "memory_mib": max(daemon.memory_mib // concurrent, 16) if daemon.memory_mib and board.limits_memory else None,
    }
    runners = tuple(_fitted_runner(runner, share, settings) for runner in settings.runners)
    update = {"concurrent": concurrent, "daemon": daemon, "runners": runners}
    runs_jobs_itself = any(runner.executor is Executor.SHELL for runner in settings.runners)
    if board.limits_memory and not runs_jobs_itself:
        update |= _open(settings, {"runner_memory_mib": RUNNER_MEMORY_MIB})
    return settings.model_copy(update=update)


RUNNER_MEMORY_MIB = 256
"""Limit of the runner itself: several times what GitLab Runner takes, so that only a leak comes up against it."""


def _daemon_limits(board: Board) -> dict[str, Any]:
    return {
        "cpus": float(board.cores - 1) if board.cores > 1 else None,
        "memory_mib": max(board.nominal_memory_mib * 5 // 8, 256) if board.limits_memory else None,
    }


def _fitted_runner(runner: PiRunner, share: Mapping[str, Any], settings: RaspberryPiSettings) -> PiRunner:
    if runner.executor is Executor.SHELL:
        return runner
    helper = {"helper_image": helper_image(settings.runner_image, settings.platform)}
    return runner.model_copy(update=_open(runner, {**share, **helper}))


def _open(model: RaspberryPiSettings | Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that the settings do not have."""
    return {name: value for name, value in values.items() if getattr(model, name) is None}


def warnings_about_board(board: Board) -> Iterator[str]:
    """A line for each thing about the board that somebody should know."""
    if not board.limits_memory:
        yield (
            f"neither the daemon nor a job has a limit of memory on {board.hostname}, so that one of them can take the "
            f"board down: {MEMORY_CGROUP}"
        )


def node_constraint(settings: RaspberryPiSettings, board: Board) -> str:
    """The placement constraint that names the daemon's node."""
    if settings.swarm.node_label is None:
        return f"node.id=={board.node_id}"
    key, _, value = settings.swarm.node_label.partition("=")
    return f"node.labels.{key}=={value}"


def images(settings: RaspberryPiSettings) -> Iterator[tuple[str, str, bool]]:
    """Every image that the stack needs: the setting's path, the image, and whether the board's own engine runs it."""
    if settings.needs_daemon:
        yield "daemon.image", settings.daemon.image, True
    yield "runner_image", settings.runner_image, True
    for index, runner in enumerate(settings.runners):
        if runner.executor is Executor.SHELL:
            continue
        where, by_engine = f"runners[{index}]", not runner.needs_daemon
        yield f"{where}.image", runner.image, by_engine
        if runner.helper_image:
            yield f"{where}.helper_image", runner.helper_image, by_engine
        if TRAITS[runner.kind].builder is Builder.OWN:
            yield f"{where}.job_daemon_image", runner.job_daemon_image, by_engine


def check_names(settings: RaspberryPiSettings, prefix: str) -> None:
    """Raise SettingsError where Swarm does not take names with this prefix: they are host names, and limited."""
    if settings.orchestrator is Orchestrator.SWARM and not re.fullmatch(NAME, prefix):
        raise SettingsError(
            f"settings.name: is needed, as {shown(prefix)}, with which the stack's objects would begin, is no name for "
            "Swarm: choose one of up to 40 lower-case letters, digits and dashes"
        )


def check_images(settings: RaspberryPiSettings, offered: Mapping[str, frozenset[str] | None]) -> None:
    """Raise SettingsError where an image is not there for the platform.

    offered: the platforms of each image; None, or no entry, where nobody can tell.
    """
    mistakes = []
    for where, image, _ in images(settings):
        platforms = offered.get(image)
        if platforms is not None and not fits(settings.platform, platforms):
            known = ", ".join(sorted(platforms))
            mistakes.append(
                f"settings.{where}: {shown(image)} is not there for {settings.platform} (only for {known}): choose "
                "another image, tag or platform, or remove a wrong copy on the board with `docker image rm`"
            )
    if mistakes:
        raise SettingsError("\n".join(mistakes))
