"""A container registry for the sandbox: the CNCF distribution registry on plain HTTP, with the local images."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from toolchain.gobuild import build
from toolchain.images import REGISTRY
from toolchain.shared import (
    LimitReached,
    Say,
    ToolchainError,
    elapsed,
    file_lock,
    make_say,
    progress,
    run,
    write_atomic,
)

SEEDED_ROLES = ("dind", "helper", "job", "python", "postgres")
"""The images that daemons of a stack pull: what jobs run in and build on."""

_READY_LIMIT = 20.0
_STOP_LIMIT = 10.0
_PUSH_LIMIT = 600.0


def start(address: str, port: int, storage: Path, log: Path) -> int:
    """Starts a registry in the background, waits until it answers and returns its process id.

    address, port: where it listens, plain HTTP, no credentials: give an address that only the stack's containers reach.
    storage: a folder, made if missing; it may outlive the process. log: a file, written anew.
    Raises ToolchainError where the port is taken or it ends at once, LimitReached where it does not answer in 20 s.
    """
    storage.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    _check_free(address, port)
    binary = build(REGISTRY, say=make_say())
    config = log.with_suffix(".yml")
    write_atomic(config, json.dumps(_config(address, port, storage)), mode=0o600)  # JSON is YAML
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [binary, "serve", config],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its settings may otherwise be overridden by any REGISTRY_* variable that the user has.
            env={"PATH": os.defpath, "OTEL_TRACES_EXPORTER": "none"},
            start_new_session=True,
        )
    try:
        _wait_ready(process, address, port, log)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.pid


def stop(pid: int) -> None:
    """Stops the registry that `start` returned as `pid`; does nothing where the process is gone or another one.

    Raises LimitReached where it does not end in 10 s.
    """
    if not _is_registry(pid):
        return
    os.kill(pid, signal.SIGTERM)
    give_up = time.monotonic() + _STOP_LIMIT
    while _is_registry(pid):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > give_up:
            raise LimitReached(f"the registry (process {pid}) did not end within {elapsed(_STOP_LIMIT)} of SIGTERM")
        time.sleep(0.05)


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
    with file_lock(storage / "seed.lock", say=told):
        missing = {role: name for role, name in names.items() if not _is_stored(storage, name)}
        if missing:
            with _temporary_registry(storage, log) as registry:
                for role, name in missing.items():
                    with progress(told, f"putting the image {name} into the registry"):
                        _push(images[role], f"{registry}/{name}")
    return names


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


def _wait_ready(process: subprocess.Popen[bytes], address: str, port: int, log: Path) -> None:
    give_up = time.monotonic() + _READY_LIMIT
    while not _answers(address, port):
        if process.poll() is not None:
            lines = "".join(f"\n    {line}" for line in log.read_text(errors="replace").splitlines()[-3:])
            raise ToolchainError(f"the registry at {address}:{port} ended with exit code {process.returncode}:{lines}")
        if time.monotonic() > give_up:
            raise LimitReached(f"waited {elapsed(_READY_LIMIT)} for the registry at {address}:{port}; its log is {log}")
        time.sleep(0.05)


def _check_free(address: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the registry itself; a closed one lingers
        try:
            probe.bind((address, port))
        except OSError as error:
            raise ToolchainError(
                f"the registry cannot listen on {address}:{port} ({error.strerror}): choose another registry port"
            ) from error


def _answers(address: str, port: int) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_registry(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.path.basename(words[0]) == REGISTRY.name.encode() and b"serve" in words


def _is_stored(storage: Path, name: str) -> bool:
    repository, _, tag = name.rpartition(":")
    tags = storage / "docker" / "registry" / "v2" / "repositories" / repository / "_manifests" / "tags"
    return (tags / tag / "current" / "link").exists()


@contextlib.contextmanager
def _temporary_registry(storage: Path, log: Path) -> Iterator[str]:
    port = free_port("127.0.0.1")
    pid = start("127.0.0.1", port, storage, log)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        stop(pid)


def _push(image: str, target: str) -> None:
    run(["docker", "tag", image, target], limit=30)
    try:
        run(["docker", "push", "--quiet", target], limit=_PUSH_LIMIT, what=f"docker push {target}")
    finally:
        run(["docker", "rmi", "--no-prune", target], limit=60)
