"""Asks a Docker engine what it is and has, before anything is touched."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.docker_client import DockerEngine
from stacks.board import Board, Node, images
from stacks.mistakes import SettingsError, shown
from stacks.no_answer import NoAnswer, explained
from stacks.platforms import fits, manifest_platforms, published
from stacks.settings import DockerHostSettings, Orchestrator, RaspberryPiSettings
from stacks.versions import ApiRange, Engine

ANSWER_SECONDS = 30
"""How long an engine may take for one answer; a small board under load takes several seconds."""

VERSION_SECONDS = 10
"""How long a Docker host's engine may take to say its version, without which all goes on."""

REGISTRY_SECONDS = 20
"""How long a registry may take; where it takes longer, the table of published platforms has to do."""


def ask_board(settings: RaspberryPiSettings) -> Board:
    """What the engine says of itself and its machine. Raises SettingsError, with the remedy, where it does not."""
    _check_files(settings)
    try:
        return _board(settings)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise SettingsError(
            f"settings.docker_host: {shown(settings.docker_host)} does not answer as a Docker engine: check the "
            "address, and that `docker` there is no other program, such as Podman's"
        ) from None


def _board(settings: RaspberryPiSettings) -> Board:
    """What the engine says. Raises errors of many kinds where it says what no Docker engine does."""
    engine = settings.engine
    server, info = _json(engine, "version")["Server"], _json(engine, "info")
    swarm = info.get("Swarm") or {}
    is_manager = bool(swarm.get("ControlAvailable"))
    return Board(
        hostname=info["Name"],
        architecture=server["Arch"],
        machine=info["Architecture"],
        docker_root=info["DockerRootDir"],
        cores=info["NCPU"],
        memory_mib=info["MemTotal"] // 1024**2,
        limits_memory=info["MemoryLimit"],
        swarm=swarm.get("LocalNodeState") or "inactive",
        is_manager=is_manager,
        node_id=swarm.get("NodeID") or "",
        nodes=_nodes(engine) if is_manager and settings.orchestrator is Orchestrator.SWARM else (),
        engine=_version(info["Name"], server),
    )


def ask_engine(settings: DockerHostSettings) -> Engine | None:
    """The version of a Docker host's engine; None where it does not say it, of which Pulumi's provider says more."""
    try:
        text = _run(settings.engine.docker("version", "--format", "{{json .}}"), VERSION_SECONDS)
        return _version(settings.docker_host, json.loads(text)["Server"])
    except (NoAnswer, AttributeError, LookupError, TypeError, ValueError):
        return None


def _version(name: str, server: Mapping[str, Any]) -> Engine | None:
    """What `docker version` says of the server. name: how messages call it."""
    found = [re.fullmatch(r"(\d+)\.(\d+)", str(server.get(key))) for key in ("MinAPIVersion", "ApiVersion")]
    ends = [(int(each[1]), int(each[2])) for each in found if each]
    return Engine(name, str(server.get("Version")), ApiRange(*ends)) if len(ends) == 2 else None


def check_paths(settings: RaspberryPiSettings) -> None:
    """Raise SettingsError where a path on the engine's machine is not what it should be: it would be found out late."""
    path, place = settings.daemon.data_path, f"on the machine of {settings.docker_host}"
    if path is not None and not _is(settings.engine, "-d", path):
        raise SettingsError(
            f"settings.daemon.data_path: {shown(path)} is no directory {place}: mount the disk, make the directory, or "
            "correct the path"
        )
    if settings.uses_host_socket and not _is(settings.engine, "-S", settings.host_socket):
        raise SettingsError(
            f"settings.host_socket: {shown(settings.host_socket)} is no socket {place}: give the path at which its "
            "engine listens (`docker context inspect` there shows it)"
        )


def check_volume(settings: DockerHostSettings | RaspberryPiSettings, prefix: str) -> None:
    """Raise SettingsError where `daemon.existing_volume` is not there, or is not free for this stack's daemon."""
    name, engine = settings.daemon.existing_volume, settings.engine
    if name is None:
        return
    where = f"settings.daemon.existing_volume: {shown(name)}"
    daemon = f"{prefix}-dind"
    if name.startswith(f"{daemon}-"):
        raise SettingsError(f"{where} is this stack's own: remove existing_volume, which is for that of another daemon")
    if name not in _answer(engine, "volume", "ls", "--quiet").split():
        raise SettingsError(
            f"{where} is no volume of the engine at {settings.docker_host}: correct the name (docker volume ls)"
        )
    users = _answer(engine, "ps", "--all", "--filter", f"volume={name}", "--format", "{{.Names}}").split()
    for user in users:
        if user != daemon:
            raise SettingsError(
                f"{where} is used by container {user}, and two daemons on one volume destroy it: stop that one, and "
                f"remove it without its volumes (docker rm {user})"
            )


def _is(engine: DockerEngine, kind: str, path: str) -> bool:
    """Whether a path is there and of that kind, as test(1) writes it."""
    try:
        _run(engine.command("test", kind, path), ANSWER_SECONDS)
    except NoAnswer as error:
        if error.status == 1:
            return False
        raise explained(engine, error) from None
    return True


def offered_platforms(settings: RaspberryPiSettings) -> dict[str, frozenset[str] | None]:
    """The platforms that each image of the stack is there for; None where nobody can tell.

    Of what the engine itself runs, an image that it has already counts as it is. Otherwise the table of official
    images is asked, and where it does not know, or the engine is about to pull, the registry too, by the client on the
    engine's machine, which has its credentials. Not for every image every time: registries count such questions as
    pulls. Images with GitLab Runner's variables in their names are left out.
    """
    wanted = list(dict.fromkeys(image for _, image, _ in images(settings) if "$" not in image))
    by_engine = {image for _, image, by_engine in images(settings) if by_engine}

    def ask(image: str) -> frozenset[str] | None:
        local = _local_platforms(settings.engine, image) if image in by_engine else None
        return local or _published(settings, image, about_to_pull=image in by_engine)

    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(wanted, pool.map(ask, wanted), strict=True))


def _local_platforms(engine: DockerEngine, image: str) -> frozenset[str] | None:
    """The platform of an image that the engine has."""
    columns = "{{.Os}}/{{.Architecture}}{{if .Variant}}/{{.Variant}}{{end}}"
    try:
        return frozenset({_run(engine.docker("image", "inspect", "--format", columns, image), ANSWER_SECONDS).strip()})
    except NoAnswer:
        return None


def _published(settings: RaspberryPiSettings, image: str, *, about_to_pull: bool) -> frozenset[str] | None:
    known = published(image)
    if known is not None and (not about_to_pull or not fits(settings.platform, known)):
        return known
    try:
        text = _run(settings.engine.docker("manifest", "inspect", "--verbose", image), REGISTRY_SECONDS)
        return manifest_platforms(text)
    except (NoAnswer, ValueError):
        return known


def _nodes(engine: DockerEngine) -> tuple[Node, ...]:
    ids = _answer(engine, "node", "ls", "--quiet").split()
    return tuple(
        Node(
            id=node["ID"],
            hostname=node["Description"]["Hostname"],
            labels=node["Spec"].get("Labels") or {},
            availability=node["Spec"]["Availability"],
        )
        for node in json.loads(_answer(engine, "node", "inspect", *ids))
    )


def _check_files(settings: RaspberryPiSettings) -> None:
    """ssh goes on without a file that is not there, and then says something else."""
    for name, path in settings.ssh:
        if path is not None and not Path(path).expanduser().is_file():
            raise SettingsError(f"settings.ssh.{name}: {shown(path)} is no file here: correct the path")


def _json(engine: DockerEngine, *arguments: str) -> Any:
    return json.loads(_answer(engine, *arguments, "--format", "{{json .}}"))


def _answer(engine: DockerEngine, *arguments: str) -> str:
    """What the docker client printed. Raises SettingsError, with the remedy, where the engine is not to be had."""
    try:
        return _run(engine.docker(*arguments), ANSWER_SECONDS)
    except NoAnswer as error:
        raise explained(engine, error) from None


def _run(command: Sequence[str], seconds: float) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise NoAnswer(None, f"{command[0]} is not installed here") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(None, f"no answer within {seconds:g} s") from None
    if done.returncode:
        raise NoAnswer(done.returncode, done.stderr.strip() or done.stdout.strip())
    return done.stdout
