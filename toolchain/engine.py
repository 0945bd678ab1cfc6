"""Gets a Docker engine for this machine: the one that answers, or one that is installed, started and stopped here."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain import docker
from toolchain.debian import ROOT_PATH, find_program, install_packages, root_prefix, unpack_package
from toolchain.shared import (
    TOOLCHAIN_DIR,
    LimitReached,
    Say,
    ToolchainError,
    cache_dir,
    elapsed,
    file_lock,
    link_or_copy,
    progress,
    run,
    whole_directory,
    write_atomic,
)

_SOCKET = "/var/run/docker.sock"
DEFAULT_HOST = f"unix://{_SOCKET}"
_EXEC_ROOT = Path("/run/gitlab-dind-runners")
"""Run-time files; short, because the paths of unix sockets in it are limited to 108 bytes."""
_START_LIMIT = 60.0
_STOP_LIMIT = 60.0
_REFUSED = (
    f"{DEFAULT_HOST} exists, but this user may not open it: add the user to the group docker and log in again, "
    "or set DOCKER_HOST"
)


@dataclass(frozen=True)
class Status:
    """What answers. host: its address. version: its server version, None where nothing answers. ours: we started it."""

    host: str
    version: str | None
    ours: bool


def docker_host() -> str:
    """The engine's address: the user's `DOCKER_HOST`, else the local socket."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_HOST


def status() -> Status:
    """Asks the engine; takes at most a few seconds."""
    host = docker_host()
    return Status(host=host, version=_server_version(host), ours=host == DEFAULT_HOST and _our_pid() is not None)


def up(say: Say) -> None:
    """Makes sure that an engine answers, and that there is a client for it; what runs already is used as it is.

    Raises ToolchainError where none answers and none may be started: the user has chosen another address, or is
    neither root nor allowed to use sudo without a password; LimitReached where the daemon does not become ready.
    """
    if not docker_host().startswith("unix://"):
        client(say)  # which is needed to ask
    if not _server_version(docker_host()):
        if docker_host() != DEFAULT_HOST:
            raise ToolchainError(
                f"DOCKER_HOST is {docker_host()}, and no Docker engine answers there: start it, or unset DOCKER_HOST "
                "to use the one of this machine"
            )
        if _refused(_SOCKET):
            raise ToolchainError(_REFUSED)
        with file_lock(_home() / "lock", say=say):
            # Another process may have started it meanwhile.
            if not _server_version(DEFAULT_HOST):
                _bring_up(say)
    _link_client(say)


def _bring_up(say: Say) -> None:
    as_root = root_prefix("a Docker engine has to be started")
    path = daemon_path(say)
    if _server_version(DEFAULT_HOST):  # the service of an installed package may have come up
        return
    with progress(say, "starting the Docker engine"):
        if installed() and Path("/run/systemd/system").is_dir():
            run([*as_root, "systemctl", "start", "docker"], limit=_START_LIMIT, what="systemctl start docker")
            _wait_ready("journalctl -u docker shows why")
        else:
            _start(path, as_root)


def down(say: Say) -> None:
    """Stops the daemon that `up` started, unless containers run in it; does nothing to any other."""
    with file_lock(_home() / "lock", say=say):
        pid = _our_pid()
        if pid is None:
            say("engine: none that was started here")
            return
        running = _running_containers()
        if running is None:
            say("engine: left running, because it does not say which containers use it")
            return
        if running:
            say(f"engine: left running, because containers use it: {', '.join(running)}")
            return
        with progress(say, "stopping the Docker engine"):
            as_root = root_prefix("the Docker engine has to be stopped")
            run([*as_root, "sh", "-c", f"kill -TERM {pid}"], limit=10)  # the shell's own: procps may be missing
            give_up = time.monotonic() + _STOP_LIMIT
            while _our_pid() is not None:
                if time.monotonic() > give_up:
                    raise LimitReached(
                        f"dockerd (process {pid}) did not stop within {elapsed(_STOP_LIMIT)}; see {_log()}"
                    )
                time.sleep(0.1)


def default_route_mtu(routes: str, mtus: dict[str, int]) -> int:
    """The MTU for containers: that of the interface with the host's default route.

    Docker takes 1500, and packets of that size are lost where the host's own network takes less. routes: the text of
    /proc/net/route. mtus: by interface. 1500 where there is no default route.
    """
    ways = [line.split() for line in routes.splitlines()[1:]]
    defaults = [(int(way[6]), way[0]) for way in ways if way[1] == "00000000" and way[7] == "00000000"]
    return mtus.get(min(defaults)[1], 1500) if defaults else 1500


def installed() -> bool:
    """Whether the machine has a Docker of its own, for which it stays responsible."""
    return bool(find_program("dockerd") and shutil.which("docker"))


def daemon_path(say: Say) -> str:
    """The PATH for a daemon on this machine: its own Docker, else the pinned packages in the cache, else its suite's.

    Raises ToolchainError where there is none and none can be had.
    """
    if installed():
        return f"{ROOT_PATH}:{Path(find_program('dockerd') or '').parent}"
    found = docker.ensure(say)
    if not found:
        _install(say)
        return ROOT_PATH
    if not find_program("iptables"):
        with progress(say, "installing iptables"):
            install_packages(["iptables"], root_prefix("iptables has to be installed"))
    return ":".join(map(str, (*_runc_folder(found, say), found.programs, ROOT_PATH)))


def client(say: Say) -> Path:
    """The docker client: the machine's own, else that of the pinned packages."""
    if not shutil.which("docker"):
        docker.ensure(say)
    return _known_client()


def _known_client() -> Path:
    if on_path := shutil.which("docker"):
        return Path(on_path)
    found = docker.unpacked()
    return found.programs / "docker" if found else Path("docker")


def _link_client(say: Say) -> None:
    """Puts the client on the PATH of `.toolchain/env` where the machine has none of its own."""
    link = TOOLCHAIN_DIR / "bin" / "docker"
    ours = link.parent.parts[-2:]  # those of other checkouts too, which this one must not rely on
    others = [folder for folder in os.environ.get("PATH", "").split(":") if Path(folder).parts[-2:] != ours]
    if shutil.which("docker", path=":".join(others)):
        link.unlink(missing_ok=True)  # it would be found before the one that the machine has by now
    elif found := docker.ensure(say):
        link_or_copy(found.programs / "docker", link)


def _home() -> Path:
    return cache_dir() / "engine"


def _log() -> Path:
    return _home() / "dockerd.log"


def _install(say: Say) -> None:
    if not shutil.which("apt-get"):
        raise ToolchainError(
            "no Docker engine here and no apt-get to get one with: install Docker "
            "(https://docs.docker.com/engine/install/) and try again"
        )
    say("Docker: installing docker.io of this machine's own suite, which may be years older")
    with progress(say, "installing docker.io"):
        install_packages(["docker.io", "iptables"], root_prefix("docker.io has to be installed"))


def _runc_folder(found: docker.Edition, say: Say) -> list[Path]:
    """What has to come before the pinned programs: nothing, or a runc for this machine's C library.

    All the others take any; runc asks for one that is newer than Debian 12's.
    """
    with contextlib.suppress(ToolchainError):
        run([found.programs / "runc", "--version"], limit=30)
        return []
    if find_program("runc"):
        return [Path(find_program("runc") or "").parent]
    folder = cache_dir() / "docker" / f"runc-{platform.freedesktop_os_release().get('VERSION_ID', 'unknown')}"
    with file_lock(cache_dir() / "docker" / "runc-lock", say=say):
        if not folder.is_dir():
            with progress(say, "getting the runc of this machine's own suite"), whole_directory(folder) as new:
                unpack_package("runc", new, root_prefix("runc has to be downloaded"))
    return [folder / "usr" / "sbin"]


def _start(path: str, as_root: list[str]) -> None:
    home = _home()
    dockerd = Path(shutil.which("dockerd", path=path) or "dockerd")
    settings: dict[str, object] = {
        "hosts": [DEFAULT_HOST],
        "data-root": str(home / "data"),
        "exec-root": str(_EXEC_ROOT),
        "pidfile": str(home / "dockerd.pid"),
        "mtu": default_route_mtu(Path("/proc/net/route").read_text(), _mtus(Path("/sys/class/net"))),
    }
    write_atomic(home / "daemon.json", json.dumps(settings, indent=2) + "\n")
    _forget_stale(home / "dockerd.pid", "dockerd", as_root)
    _forget_stale(_EXEC_ROOT / "containerd" / "containerd.pid", "containerd", as_root)
    with open(_log(), "wb") as log:
        process = subprocess.Popen(
            [*as_root, "env", f"PATH={path}", dockerd, "--config-file", str(home / "daemon.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    try:
        _wait_ready(f"its log is {_log()}", process, as_root)
    except BaseException:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM)
        raise


def _mtus(interfaces: Path) -> dict[str, int]:
    found = {}
    for link in interfaces.iterdir():
        with contextlib.suppress(OSError):  # no interface, or one that has just gone, as those of containers do
            found[link.name] = int((link / "mtu").read_text())
    return found


def _forget_stale(pid_file: Path, name: str, as_root: list[str]) -> None:
    """Removes a pid file whose number belongs to another program by now: the daemon would take that for itself."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                return
        run([*as_root, "rm", "-f", pid_file], limit=10)


def _wait_ready(where: str, process: subprocess.Popen[bytes] | None = None, as_root: Sequence[str] = ()) -> None:
    """Waits for the daemon; of one that is our own `process`, the socket is given to the user who started it."""
    give_up = time.monotonic() + _START_LIMIT
    while not _server_version(DEFAULT_HOST):
        if _refused(_SOCKET):
            if not process:
                raise ToolchainError(_REFUSED)
            # To the user and not to a group, which others may be in.
            run([*as_root, "chown", str(os.getuid()), _SOCKET], limit=10)
        if process and process.poll() is not None:
            raise ToolchainError(f"dockerd ended with exit code {process.returncode}; {where}:\n{_last_lines()}")
        if time.monotonic() > give_up:
            raise LimitReached(
                f"waited {elapsed(_START_LIMIT)} for the Docker engine at {DEFAULT_HOST}; {where}\n{_last_lines()}"
            )
        time.sleep(0.1)


def _last_lines() -> str:
    with contextlib.suppress(OSError):
        return "\n".join(f"    {line}" for line in _log().read_text(errors="replace").splitlines()[-10:])
    return ""


def _our_pid() -> int | None:
    """The process of the dockerd that was started with our configuration, wherever it was started from."""
    try:
        pid = int((_home() / "dockerd.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (OSError, ValueError):
        return None
    return pid if str(_home() / "daemon.json") in words else None


def _running_containers() -> list[str] | None:
    """Their names; None where the engine does not tell."""
    answer = _ask(DEFAULT_HOST, "/containers/json")
    if answer is None:
        return None
    return sorted(container["Names"][0].removeprefix("/") for container in json.loads(answer))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@contextlib.contextmanager
def _connection(path: str) -> Iterator[http.client.HTTPConnection]:
    connection = _UnixConnection(path)
    try:
        yield connection
    finally:
        connection.close()


def _ask(host: str, path: str) -> str | None:
    """The body of a GET, None where nothing answers."""
    with (
        contextlib.suppress(OSError, http.client.HTTPException),
        _connection(host.removeprefix("unix://")) as connection,
    ):
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status == 200:
            return answer.read().decode()
    return None


def _server_version(host: str) -> str | None:
    if host.startswith("unix://"):
        answer = _ask(host, "/version")
        return str(json.loads(answer)["Version"]) if answer else None
    # TLS and ssh addresses are the client's trade.
    with contextlib.suppress(ToolchainError):
        return run([_known_client(), "version", "--format", "{{.Server.Version}}"], limit=15).strip() or None
    return None


def _refused(path: str) -> bool:
    """Whether there is a socket that this user may not open."""
    probe = socket.socket(socket.AF_UNIX)
    try:
        probe.connect(path)
    except PermissionError:
        return True
    except OSError:
        return False
    finally:
        probe.close()
    return False
