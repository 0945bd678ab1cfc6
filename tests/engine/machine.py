"""Another machine in all that matters, on this one: network, processes, mounts and host name are its own.

It has a way to this machine alone. The file system is otherwise this machine's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engine.world import run, unique, wait_for
from toolchain.shared import cache_dir, file_lock, make_say

START_SECONDS = 120
STOP_SECONDS = 120

# The first process: it waits for those that lost their parents, and keeps the namespaces. $1: folder; $2: host name.
_INIT = """\
set -e
{prepare}
hostname "$2"
ip link set lo up
trap 'exit 0' TERM
echo up > "$1/up"
while :; do sleep 3600 & wait $!; done
"""


@dataclass(frozen=True)
class Place:
    """What a machine takes of this one.

    name: its host name. data: an empty folder for what it stores. host: its address. gateway: this machine's address
    on the bridge between the two, of a /24 network.
    """

    name: str
    data: Path
    host: str
    gateway: str


@dataclass
class Machine:
    """A running machine.

    name: its host name. host: its address. directory: of its logs. init: its first process, with which all others end.
    """

    name: str
    host: str
    directory: Path
    init: subprocess.Popen[bytes]

    def enter(self) -> list[str]:
        """What comes before a command that shall run there."""
        process = f"/proc/{self.init.pid}/ns"
        return [
            *("nsenter", f"--target={self.init.pid}", "--mount", "--uts", "--net"),
            # Unshare's own process stays in this machine's; that of its children is meant.
            *(f"--pid={process}/pid_for_children", "--"),
        ]

    def inside(self, *command: str, check: bool = True) -> str:
        """What a command printed that is run there, stripped."""
        return run(*self.enter(), *command, check=check).stdout.strip()

    def connect(self, gateway: str) -> None:
        """Lay the cable from its bridge, and the way to this machine's engine's network, the sandbox's; no other.

        It goes with the machine.
        """
        bridge = _bridge_name(self.name)
        port = _cable_name(self.name)
        up = ("ip", "link", "set", "up", "dev")
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(self.init.pid))
        run(*up, port, "master", bridge)
        self.inside("ip", "address", "add", f"{self.host}/24", "dev", "eth0")
        self.inside(*up, "eth0")
        (sandbox,) = {pool["Subnet"] for pool in default_bridge()["IPAM"]["Config"] if ":" not in pool["Subnet"]}
        self.inside("ip", "route", "add", sandbox, "via", gateway)

    def shut_down(self, *processes: subprocess.Popen[bytes]) -> None:
        """End all that runs there, and wait for it and for these processes; none is asked whether it likes that."""
        self.inside("kill", "-TERM", "1", check=False)
        for process in (self.init, *processes):
            process.wait(timeout=STOP_SECONDS)


@contextmanager
def new_place(folder: Path, kind: str) -> Iterator[Place]:
    """A place for a new machine, until the end of the block; then nothing of it is left.

    folder: where the data of all machines of its kind are. kind: what their names begin with. What machines of that
    kind left whose tests were killed goes first.
    """
    name = unique(kind)
    with ExitStack() as stack:
        # Side by side, two would take each other's folder for a killed one's, or the same free network.
        with _alone():
            for left in folder.glob(f"{kind}-*"):
                _remove_if_killed(left)
            data = stack.enter_context(_data_folder(folder / name))
            network = stack.enter_context(_bridge(name))
        stack.callback(_remove_groups, name)
        stack.callback(_remove_cable, name)
        yield Place(name, data, f"{network}.2", f"{network}.1")


@contextmanager
def first_process(
    what: str, place: Place, directory: Path, prepare: str, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A machine's first process, with which all others end, and which ends with this one.

    what: how messages call the machine. directory: for its log, and where it says that it is up. prepare: what a shell
    does there before, and with `set -e`; $1 is the directory, $2 the host name, then come the arguments.
    """
    log = directory / "init.log"
    script = _INIT.format(prepare=prepare)
    command = [
        # unshare blocks the signals that ask a process to end.
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--net", "--pid", "--uts", "--mount", "--fork", "--kill-child", "--mount-proc"),
        *("sh", "-c", script, "init", str(directory), place.name, *arguments),
    ]
    with log.open("wb") as output:
        init = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
    try:
        wait_with_log(what, START_SECONDS, log, init, lambda: True if (directory / "up").exists() else None)
        yield init
    finally:
        # With it go all processes of the machine, wherever they come from.
        init.kill()
        init.wait(timeout=STOP_SECONDS)


def default_bridge() -> dict[str, Any]:
    """The network `bridge` of this machine's engine."""
    found = json.loads(run("docker", "network", "inspect", "bridge").stdout)
    return dict(found[0])


def wait_with_log(
    what: str, seconds: float, log: Path, process: subprocess.Popen[bytes] | None, probe: Callable[[], bool | None]
) -> None:
    """`wait_for`, given up once the process has ended; AssertionError with the end of the log."""

    def probe_once() -> bool | None:
        assert process is None or process.poll() is None, f"{what} ended with exit code {process.returncode}"
        return probe()

    try:
        wait_for(what, seconds, probe_once)
    except AssertionError as error:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise AssertionError(f"{error}; the end of {log}:\n{end}") from None


def _alone() -> AbstractContextManager[object]:
    """Keeps others from starting or removing a machine."""
    return file_lock(cache_dir() / "machines.lock", say=make_say(), limit=START_SECONDS)


@contextmanager
def _data_folder(folder: Path) -> Iterator[Path]:
    """A new folder that this process holds, with an empty one for data in it."""
    folder.mkdir(parents=True)
    with _locked(folder / "lock") as held:
        assert held, f"another process has {folder}"
        try:
            (folder / "data").mkdir()
            yield folder / "data"
        finally:
            # With the folder goes its lock, and whoever then starts a machine would take it for a killed one's.
            with _alone():
                shutil.rmtree(folder)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Holds a lock that ends with this process at the latest; False where another process has it."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _remove_if_killed(folder: Path) -> None:
    """What a machine left whose test was killed; its processes went with it."""
    with _locked(folder / "lock") as held:
        if held:
            run("ip", "link", "delete", _bridge_name(folder.name), check=False)
            _remove_cable(folder.name)
            _remove_groups(folder.name)
            shutil.rmtree(folder)


def _bridge_name(machine: str) -> str:
    """Of the bridge on this machine."""
    return f"br{machine.replace('-', '')}"


def _cable_name(machine: str) -> str:
    return f"v{_bridge_name(machine)[1:]}"


@contextmanager
def _bridge(machine: str) -> Iterator[str]:
    """A bridge on this machine, as the sandbox lets in who comes by one; the first three numbers of its /24 network."""
    used = run("ip", "-4", "-oneline", "address").stdout
    numbers = random.sample(range(256), 256)
    network = next(f"198.18.{number}" for number in numbers if f" 198.18.{number}." not in used)
    name = _bridge_name(machine)
    run("ip", "link", "add", name, "type", "bridge")
    try:
        run("ip", "address", "add", f"{network}.1/24", "dev", name)
        run("ip", "link", "set", "up", "dev", name)
        yield network
    finally:
        run("ip", "link", "delete", name)


def _remove_cable(machine: str) -> None:
    """This machine's end, and with it the other: a connection that lingers can keep a network without processes."""
    run("ip", "link", "delete", _cable_name(machine), check=False)


def _remove_groups(machine: str) -> None:
    """The control groups of its containers, which outlive the processes in them."""
    top = Path("/sys/fs/cgroup")

    def remove() -> bool | None:
        found = [folder for folder in (top / machine, *top.glob(f"*/{machine}")) if folder.exists()]
        for folder in found:
            for group, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(group)
        return None if any(folder.exists() for folder in found) else True

    wait_for(f"the processes in the control group {machine} to go", STOP_SECONDS, remove)
