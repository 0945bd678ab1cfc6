"""Asks a board's engine what it is and has, and registries what they have for it, before anything is touched."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components.docker_client import DockerEngine
from stacks.on_docker.no_answer import NoAnswer, explained
from stacks.on_docker.questions import ANSWER_SECONDS, answer, engine_version, json_answer, run
from stacks.raspberry_pi.board import Board, Node, images
from stacks.raspberry_pi.platforms import fits, manifest_platforms, published
from stacks.raspberry_pi.settings import Orchestrator, RaspberryPiSettings
from stacks.settings.mistakes import SettingsError, shown

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
    server, info = json_answer(engine, "version")["Server"], json_answer(engine, "info")
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
        engine=engine_version(info["Name"], server),
    )


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


def _is(engine: DockerEngine, kind: str, path: str) -> bool:
    """Whether a path is there and of that kind, as test(1) writes it."""
    try:
        run(engine.command("test", kind, path), ANSWER_SECONDS)
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
        return frozenset({run(engine.docker("image", "inspect", "--format", columns, image), ANSWER_SECONDS).strip()})
    except NoAnswer:
        return None


def _published(settings: RaspberryPiSettings, image: str, *, about_to_pull: bool) -> frozenset[str] | None:
    known = published(image)
    if known is not None and (not about_to_pull or not fits(settings.platform, known)):
        return known
    try:
        text = run(settings.engine.docker("manifest", "inspect", "--verbose", image), REGISTRY_SECONDS)
        return manifest_platforms(text)
    except (NoAnswer, ValueError):
        return known


def _nodes(engine: DockerEngine) -> tuple[Node, ...]:
    ids = answer(engine, "node", "ls", "--quiet").split()
    return tuple(
        Node(
            id=node["ID"],
            hostname=node["Description"]["Hostname"],
            labels=node["Spec"].get("Labels") or {},
            availability=node["Spec"]["Availability"],
        )
        for node in json.loads(answer(engine, "node", "inspect", *ids))
    )


def _check_files(settings: RaspberryPiSettings) -> None:
    """ssh goes on without a file that is not there, and then says something else."""
    for name, path in settings.ssh:
        if path is not None and not Path(path).expanduser().is_file():
            raise SettingsError(f"settings.ssh.{name}: {shown(path)} is no file here: correct the path")
