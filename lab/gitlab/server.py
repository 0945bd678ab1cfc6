"""The sandbox as processes: started in the background with its registry, looked after, stopped."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn

from lab.gitlab import background, registry, seed
from lab.gitlab.app import create_app
from lab.gitlab.core import SANDBOX, Sandbox
from lab.gitlab.places import Places
from lab.gitlab.store import Store
from lab.images import IMAGES_FILE
from toolchain.shared import (
    ROOT,
    Say,
    ToolchainError,
    cache_dir,
    elapsed,
    file_lock,
    run,
    write_atomic,
)

_GRACE_SECONDS = 3
_SIOCGIFADDR = 0x8915


def up(*, state: Path, host: str | None, port: int, registry_port: int, info: Path, say: Say) -> dict[str, Any]:
    """Starts what is not running, brings the demo project up to date, writes and returns the info file's content.

    host: None for the address of Docker's default bridge. registry_port: 0 for no registry.
    Raises ToolchainError with a remedy where a port is taken, an address is not this machine's, or it does not start.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    places = Places(state.resolve())
    address = checked_host(host or bridge_address())
    began = time.monotonic()
    with file_lock(places.lock, say=say, limit=120):
        running = _read(places)
        where, images = _ensure_registry(places, running, address, registry_port, say)
        sandbox = Sandbox(places.state, f"http://{address}:{port}", Store(places.state / "gitlab.db"), where)
        try:
            seed.ensure_token(sandbox)
            wanted = {"PYTHON_IMAGE": images.get("python"), "POSTGRES_IMAGE": images.get("postgres")}
            seed.demo_project(sandbox, wanted, say=say)
        finally:
            sandbox.store.close()
        _ensure_server(places, sandbox, address, port, began, say)
        content = _info(sandbox, images)
        write_atomic(info, json.dumps(content, indent=2) + "\n", mode=0o600)
    return content


def down(*, state: Path, info: Path, say: Say) -> None:
    """Stops the processes that `up` started, and only those; the state stays."""
    places = Places(state.resolve())
    if not places.processes.exists():
        say("sandbox: not running")
        return
    with file_lock(places.lock, say=say, limit=120):
        running = _read(places)
        _stop_server(places, running)
        registry.stop(running.get("registry_pid"), places.registry_log)
        places.processes.unlink(missing_ok=True)
        with contextlib.suppress(OSError, ValueError):
            if json.loads(info.read_text())["url"] == running.get("url"):
                info.unlink()
    say("sandbox: stopped")


def status(*, state: Path) -> dict[str, Any]:
    """Whether the sandbox and its registry run, and where."""
    places = Places(state.resolve())
    running = _read(places)
    up_now = _is_server(places, running.get("pid")) and _answers(str(running.get("url")))
    pid, where = running.get("registry_pid"), running.get("registry")
    return {
        "running": up_now,
        "url": running.get("url") if up_now else None,
        "pid": running.get("pid") if up_now else None,
        "registry": where if where and registry.runs(pid, places.registry_log) else None,
        "state": str(places.state),
    }


def serve(*, state: Path, host: str, port: int, registry_address: str | None) -> None:
    """Serves a state directory in the foreground, until SIGTERM or SIGINT."""
    address = checked_host(host)
    os.umask(0o077)
    store = Store(state.resolve() / "gitlab.db")
    sandbox = Sandbox(state.resolve(), f"http://{address}:{port}", store, registry_address)
    seed.ensure_token(sandbox)
    try:
        with contextlib.suppress(KeyboardInterrupt):  # the signal again, once everything is closed
            uvicorn.Server(web_server(sandbox, address, port)).run()
    finally:
        store.close()


def web_server(sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Config:
    """How the sandbox is served."""
    return uvicorn.Config(
        create_app(sandbox),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # addresses may carry tokens as a parameter
        proxy_headers=False,  # a header must not say who connects
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


def checked_host(host: str) -> str:
    """The address, if one may listen on it. Raises ToolchainError for every other."""
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        raise ToolchainError(
            f"--host: {host!r} is no IPv4 address; give one of this machine's, such as docker0's"
        ) from None
    if address.is_unspecified:
        raise ToolchainError(
            f"--host: {host} would listen in every network of this machine; "
            "leave --host out to listen on Docker's default bridge only, or give one address"
        )
    return host


def bridge_address() -> str:
    """This machine's address on Docker's default bridge, where every container can reach it, asked of the engine."""
    try:
        found = json.loads(run(["docker", "network", "inspect", "bridge"], limit=20))[0]
    except (ToolchainError, ValueError, LookupError) as error:
        raise ToolchainError(f"cannot ask the Docker engine for the address of its default bridge: {error}") from error
    gateways = [entry["Gateway"] for entry in found["IPAM"]["Config"] if "." in entry.get("Gateway", "")]
    if gateways:
        return str(gateways[0]).partition("/")[0]
    # An engine that has made the bridge in this run does not tell its gateway.
    name = found["Options"].get("com.docker.network.bridge.name", "docker0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError as error:
            raise ToolchainError(
                f"Docker's default bridge {name} has no address on this machine ({error.strerror}): the engine runs "
                "elsewhere, or with `--bridge=none`; give an address that its containers can reach with --host"
            ) from error
    return socket.inet_ntoa(answer[20:24])


def _ensure_registry(
    places: Places, running: dict[str, Any], address: str, port: int, say: Say
) -> tuple[str | None, dict[str, str]]:
    """Where the registry is, and the images in it by role, full names; (None, {}) where there is none."""
    local = _local_images()
    if not port or not local:
        why = "not wanted" if not port else "images come from public registries"
        say(f"sandbox: no container registry of its own: {why}")
        if pid := running.pop("registry_pid", None):
            registry.stop(pid, places.registry_log)
            _write(places, running | {"registry": None})
        return None, {}
    where = f"{address}:{port}"
    shared, own = cache_dir() / "registry", places.state / "registry"
    names = registry.seed(local, shared, places.state / "registry-seed.log", say=say)
    registry.private_copy(shared, own, names.values(), say=say)
    if not (running.get("registry") == where and registry.runs(running.get("registry_pid"), places.registry_log)):
        registry.stop(running.get("registry_pid"), places.registry_log)

        def started(pid: int) -> None:
            running.update(registry_pid=pid, registry=where)
            _write(places, running)

        registry.start(address, port, own, places.registry_log, started=started)
        say(f"sandbox: container registry at {where}")
    return where, {role: f"{where}/{name}" for role, name in names.items()}


def _local_images() -> dict[str, str]:
    """The images made on this machine by role; {} where public registries answer."""
    try:
        images: dict[str, str] = json.loads(IMAGES_FILE.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ToolchainError(f"{IMAGES_FILE} is not JSON: delete it and run `python3 -m lab images`") from None
    return images


def _info(sandbox: Sandbox, pulled: Mapping[str, str]) -> dict[str, Any]:
    local = _local_images()
    images = None
    if local:
        images = {
            "daemon": local["dind"],
            "runner": local["runner"],
            "helper": pulled.get("helper", local["helper"]),
            "job": pulled.get("job", local["job"]),
            "job_daemon": pulled.get("dind", local["dind"]),
            "host_helper": local["helper"],
            "host_job": local["job"],
        }
    return {
        "url": sandbox.url,
        "token_file": str(seed.token_file(sandbox.state)),
        "registry": sandbox.registry,
        "images": images,
        "group": seed.GROUP,
        "project": seed.PROJECT,
    }


def _ensure_server(places: Places, sandbox: Sandbox, host: str, port: int, began: float, say: Say) -> None:
    running = _read(places)
    wanted = {"url": sandbox.url, "served_registry": sandbox.registry, "source": _source()}
    alive = _is_server(places, running.get("pid"))
    if alive and all(running.get(key) == value for key, value in wanted.items()) and _answers(sandbox.url):
        say(f"sandbox: running at {sandbox.url}")
        return
    if alive:
        say("sandbox: restarting, as its address or its source has changed")
        _stop_server(places, running)
    background.require_free(host, port, "--port")
    options = ["--registry", sandbox.registry] if sandbox.registry else []
    command = [sys.executable, "-m", "lab", "serve", "--state", str(places.state)]
    background.start(
        f"the sandbox at {sandbox.url}",
        [*command, "--host", host, "--port", str(port), *options],
        log=places.log,
        answers=lambda: _answers(sandbox.url),
        started=lambda pid: _write(places, running | wanted | {"pid": pid}),
        cwd=ROOT,
    )
    say(f"sandbox: ready at {sandbox.url} after {elapsed(time.monotonic() - began)}")


def _answers(url: str) -> bool:
    # A proxy of the user's is not for this machine's own addresses.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/-/sandbox", timeout=2) as answer:
            return bool(json.load(answer) == SANDBOX)
    except (OSError, ValueError):
        return False


def _stop_server(places: Places, running: Mapping[str, Any]) -> None:
    background.stop("the sandbox", running.get("pid"), *_words(places))


def _is_server(places: Places, pid: object) -> bool:
    return background.runs(pid, *_words(places))


def _words(places: Places) -> tuple[str, ...]:
    """What only the command line of this state's server has."""
    return "serve", "--state", str(places.state)


def _source() -> str:
    """A digest of this package, so that a changed one is not served by an old process."""
    text = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(text).hexdigest()[:16]


def _read(places: Places) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(places.processes.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _write(places: Places, running: Mapping[str, Any]) -> None:
    write_atomic(places.processes, json.dumps(dict(running), indent=2) + "\n", mode=0o600)
