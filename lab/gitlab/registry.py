"""A container registry for the sandbox: the CNCF distribution registry on plain HTTP, with the local images."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from lab.gitlab import background
from lab.images import REGISTRY
from toolchain.gobuild import build
from toolchain.shared import Say, file_lock, make_say, progress, run, whole_directory, write_atomic

SEEDED_ROLES = ("dind", "helper", "job", "python", "postgres")
"""The images that daemons of a stack pull: what jobs run in and build on."""

_SEED_LOCK = "seed.lock"
_PUSH_LIMIT = 600.0


def start(
    address: str,
    port: int,
    storage: Path,
    log: Path,
    *,
    started: Callable[[int], None] = lambda _: None,
    outlives: bool = True,
) -> int:
    """Starts a registry in the background, waits until it answers and returns its process id.

    address, port: where it listens, plain HTTP, no credentials: give an address that only the stack's containers reach.
    storage: a folder, made if missing; it may outlive the process. log: a file; the configuration lies beside it.
    started, outlives: as for `background.start`, which also says what it raises; ToolchainError for a taken port.
    """
    storage.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    background.require_free(address, port, "--registry-port")
    config = _config_file(log)
    write_atomic(config, json.dumps(_config(address, port, storage)), mode=0o600)  # JSON is YAML
    return background.start(
        f"the registry at {address}:{port}",
        [build(REGISTRY, say=make_say()), "serve", config],
        log=log,
        answers=lambda: _answers(address, port),
        started=started,
        # Its settings may otherwise be overridden by any REGISTRY_* variable that the user has.
        env={"PATH": os.defpath, "OTEL_TRACES_EXPORTER": "none"},
        outlives=outlives,
    )


def stop(pid: object, log: Path) -> None:
    """Stops the registry that `start` returned as `pid`; does nothing where the process is gone or another one."""
    background.stop("the registry", pid, "serve", str(_config_file(log)))


def runs(pid: object, log: Path) -> bool:
    """Whether that process is the registry that was started with this log."""
    return background.runs(pid, "serve", str(_config_file(log)))


def seed(images: Mapping[str, str], storage: Path, log: Path, *, say: Say | None = None) -> dict[str, str]:
    """Puts the engine's images for jobs into a registry's storage, unless they are there.

    images: by role the image's name, as in `.toolchain/images.json`; roles other than `SEEDED_ROLES` are passed over.
    storage: the folder that `start` gets; a registry on it may run. log: of the temporary registry.
    Returns by role the name below the registry's address: `dindrunner/<role>:<tag>`.

    It pushes through a registry on 127.0.0.1, the one address where engines accept plain HTTP without being told to.
    """
    told = say or make_say()
    names = {
        role: f"dindrunner/{role}:{image.rpartition(':')[2]}" for role, image in images.items() if role in SEEDED_ROLES
    }
    with file_lock(storage / _SEED_LOCK, say=told):
        missing = {role: name for role, name in names.items() if not _is_stored(storage, name)}
        if missing:
            with _temporary_registry(storage, log) as registry:
                for role, name in missing.items():
                    with progress(told, f"putting the image {name} into the registry"):
                        _push(images[role], f"{registry}/{name}")
    return names


def private_copy(shared: Path, own: Path, names: Collection[str], *, say: Say) -> None:
    """Copies a seeded storage for one registry alone, so that what is pushed there reaches no other.

    own: replaced as a whole where it is missing, or was made of images with other names.
    """
    made_of = own / "seeds.json"
    wanted = json.dumps(sorted(names))
    if made_of.exists() and made_of.read_text() == wanted:
        return
    with (
        progress(say, "copying the images for this sandbox's registry"),
        file_lock(shared / _SEED_LOCK, say=say),
        whole_directory(own) as directory,
    ):
        passed_over = shutil.ignore_patterns(_SEED_LOCK, "_uploads")
        shutil.copytree(shared, directory, ignore=passed_over, dirs_exist_ok=True)
        (directory / made_of.name).write_text(wanted)


def free_port(address: str) -> int:
    """A TCP port that nobody listens on at `address` at the moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _config(address: str, port: int, storage: Path) -> dict[str, object]:
    return {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        # The secret signs unfinished uploads; none of them has to survive a restart.
        "http": {"addr": f"{address}:{port}", "secret": secrets.token_hex(16)},
    }


def _config_file(log: Path) -> Path:
    return log.with_suffix(".yml")


def _answers(address: str, port: int) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_stored(storage: Path, name: str) -> bool:
    repository, _, tag = name.rpartition(":")
    tags = storage / "docker" / "registry" / "v2" / "repositories" / repository / "_manifests" / "tags"
    return (tags / tag / "current" / "link").exists()


@contextlib.contextmanager
def _temporary_registry(storage: Path, log: Path) -> Iterator[str]:
    port = free_port("127.0.0.1")
    pid = start("127.0.0.1", port, storage, log, outlives=False)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        stop(pid, log)


def _push(image: str, target: str) -> None:
    run(["docker", "tag", image, target], limit=30)
    try:
        run(["docker", "push", "--quiet", target], limit=_PUSH_LIMIT, what=f"docker push {target}")
    finally:
        run(["docker", "rmi", "--no-prune", target], limit=60)
