"""A board for the Raspberry Pi target: another machine in all that matters, on this one.

Network, processes, host name, /run and accounts are its own; it has a dockerd, an SSH server, and a way to this
machine alone. The file system is otherwise this machine's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.engine.world import STEP_SECONDS, missing, run, unique, wait_for
from toolchain.debian import ROOT_PATH, find_program, install_packages, root_prefix
from toolchain.engine import OCI_WRAPPER, lacks_capabilities
from toolchain.gobuild import build
from toolchain.images import recorded
from toolchain.shared import cache_dir, file_lock, link_or_copy, make_say

START_SECONDS = 60
STOP_SECONDS = 120
LOAD_SECONDS = 300
NOT_NEEDED = "postgres"
"""The role of the stand-in image that no board gets."""

_CLIENT_OPTIONS = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes")
_BRIDGE_NETWORK = "198.19.0.1/24"
_NETWORKS = {"base": "198.19.128.0/17", "size": 24}
"""Only the board itself routes these, so that every board can have the same."""

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "arm": "armv7l"}
"""By the architecture that `docker version` tells, the one that `docker info` tells."""

# The first process: it waits for those that lost their parents, and keeps the namespaces. $1: folder; $2: host name.
_INIT = """\
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd /run/lock
mkdir -m 700 /run/root
if [ -d /etc/docker ]; then mount -t tmpfs -o mode=755 tmpfs /etc/docker; fi  # the engine's ID
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/shadow" /etc/shadow
mount --bind "$1/resolv.conf" /etc/resolv.conf
hostname "$2"
ip link set lo up
trap 'exit 0' TERM
echo up > "$1/up"
while :; do sleep 3600 & wait $!; done
"""

_SSHD_CONFIG = """\
Port 22
ListenAddress {host}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/client_key.pub
PidFile /run/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PrintMotd no
SetEnv PATH={directory}/path
"""

_CLIENT = '''\
#!{python} -I
"""The docker client of SSH sessions, which claims what a test wants it to; else it is the real one."""
import json, os, subprocess, sys

REAL, PRETENCE = {real!r}, {pretence!r}
words = sys.argv[1:]


def subcommand():
    rest = iter(words)
    for word in rest:
        if word in ("-H", "--host", "-c", "--context", "--config", "-l", "--log-level"):
            next(rest, None)
        elif not word.startswith("-"):
            return word


def told(answer, claims):
    for key, value in claims.items():
        answer[key] = told(answer.get(key) or {{}}, value) if isinstance(value, dict) else value
    return answer


pretence = {{}}
if os.path.exists(PRETENCE):
    with open(PRETENCE) as file:
        pretence = json.load(file)
if pretence.get("failure") == "not permitted":
    os.environ["HOME"] = "/"
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
elif pretence.get("failure") == "not running":
    hide = 'mount -t tmpfs tmpfs /run && exec "$@"'
    os.execvp("unshare", ["unshare", "--mount", "sh", "-c", hide, "sh", REAL, *words])
elif claims := pretence.get(subcommand()):
    if not any(word.removeprefix("--format=") in ("json", "{{{{json .}}}}") for word in words):
        sys.exit("this board can pretend only with --format '{{{{json .}}}}', not for: docker " + " ".join(words))
    done = subprocess.run([REAL, *words], stdout=subprocess.PIPE)
    answer = done.stdout
    if done.returncode == 0:
        found = json.loads(answer)
        for claim in claims:
            told(found, claim)
        answer = json.dumps(found).encode() + b"\\n"
    sys.stdout.buffer.write(answer)
    sys.exit(done.returncode)
os.execv(REAL, ["docker", *words])
'''


@dataclass
class Board:
    """A running board.

    name: its host name. host, port: its SSH server. directory: keys, logs, socket. key_file, known_hosts_file: what an
    SSH client needs, of which user root is let in. socket: the engine's, as a path on this machine; on the board it is
    /var/run/docker.sock as well.
    """

    name: str
    host: str
    directory: Path
    _init: subprocess.Popen[bytes]
    port: int = 22
    _engine: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """The engine's address by SSH."""
        return f"ssh://root@{self.host}"

    @property
    def local_url(self) -> str:
        """The engine's address without SSH, where nothing is pretended."""
        return f"unix://{self.socket}"

    @property
    def socket(self) -> Path:
        return self.directory / "docker.sock"

    @property
    def key_file(self) -> Path:
        return self.directory / "client_key"

    @property
    def known_hosts_file(self) -> Path:
        return self.directory / "known_hosts"

    def ssh_settings(self) -> dict[str, str]:
        """The settings `ssh` of a stack for it."""
        return {"key_file": str(self.key_file), "known_hosts_file": str(self.known_hosts_file)}

    def stack_settings(self) -> dict[str, Any]:
        """The settings of a stack that is deployed to it by SSH; it is a PC, unless it pretends otherwise."""
        return {
            "target": "raspberry-pi",
            "docker_host": self.url,
            "ssh": self.ssh_settings(),
            "platform": "linux/amd64",
        }

    def ssh(self, *words: str, check: bool = True, seconds: float = STEP_SECONDS) -> subprocess.CompletedProcess[str]:
        """A command line, given to the board's shell."""
        files = ["-F", "/dev/null", "-i", str(self.key_file), "-o", f"UserKnownHostsFile={self.known_hosts_file}"]
        command = ["ssh", *files, *_CLIENT_OPTIONS, "-p", str(self.port), "-l", "root", self.host, "--", *words]
        return run(*command, check=check, seconds=seconds)

    def docker(self, *arguments: str, check: bool = True, seconds: float = STEP_SECONDS) -> str:
        """What a docker command against the board's engine printed, stripped; not by SSH, nothing is pretended."""
        return run("docker", "--host", self.local_url, *arguments, check=check, seconds=seconds).stdout.strip()

    def inspect(self, container: str) -> Any:
        """`docker inspect` of one container on the board."""
        return json.loads(self.docker("inspect", container))[0]

    def start_engine(self) -> None:
        """Start dockerd and wait until it answers; AssertionError with the end of its log."""
        log = self.directory / "dockerd.log"
        path = f"PATH={self.directory / 'oci'}:{ROOT_PATH}"
        dockerd = find_program("dockerd") or "dockerd"
        command = ["env", "-i", path, "HOME=/run/root", dockerd, "--config-file", str(self.directory / "daemon.json")]
        self._engine = self._start(log, command)
        _wait_with_log("the board's engine", START_SECONDS, log, self._engine, self._engine_answers)

    def stop_engine(self) -> None:
        """Stop dockerd, and with it all containers, as a shutdown does."""
        if self._engine is None:
            return
        self.inside("sh", "-c", "kill -TERM $(cat /run/docker.pid)")
        _wait_with_log(
            "the board's engine to stop", STOP_SECONDS, self.directory / "dockerd.log", None, self._engine_is_gone
        )
        self._engine = None

    def restart_engine(self) -> None:
        """What a reboot is to the containers: all are stopped, those with a restart policy come back."""
        self.stop_engine()
        self.start_engine()

    def inside(self, *command: str, check: bool = True) -> str:
        """What a command printed that is run on the board, not by SSH."""
        return run(*self._enter(), *command, check=check).stdout.strip()

    @contextmanager
    def pretending(
        self,
        *,
        failure: str | None = None,
        arch: str | None = None,
        cores: int | None = None,
        memory_mib: float | None = None,
        limits_memory: bool | None = None,
        version: Mapping[str, Any] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> Iterator[None]:
        """Have the docker client of SSH sessions claim other facts, or fail as the real one does.

        failure: "not installed", "not permitted", "not running". arch: arm64, arm, amd64. version, info: more to lay
        over what `docker version` and `docker info` answer as JSON. What is None is told as it is. All other commands
        get through, `docker system dial-stdio` of the Pulumi plugin included, except where a failure is pretended.
        """
        facts = {
            "Architecture": _MACHINES[arch] if arch else None,
            "NCPU": cores,
            "MemTotal": None if memory_mib is None else round(memory_mib * 2**20),
            "MemoryLimit": limits_memory,
        }
        facts = {key: value for key, value in facts.items() if value is not None}
        architecture = {"Client": {"Arch": arch}, "Server": {"Arch": arch}} if arch else {}
        claims = {
            "failure": failure,
            "version": [claim for claim in (architecture, version) if claim],
            "info": [claim for claim in (facts, info) if claim],
        }
        pretence, client = self.directory / "pretence.json", self.directory / "path" / "docker"
        away = self.directory / "docker-away"
        pretence.write_text(json.dumps(claims))
        if failure == "not installed":
            client.rename(away)
        try:
            yield
        finally:
            pretence.unlink()
            if away.exists():
                away.rename(client)

    @contextmanager
    def swarm(self) -> Iterator[Board]:
        """The board while it is the one manager of a swarm; what was made in the swarm goes with it."""
        self.docker("swarm", "init", "--advertise-addr", self.host)
        try:
            yield self
        finally:
            self._leave_swarm()

    def _leave_swarm(self) -> None:
        for service in self.docker("service", "ls", "--quiet").splitlines():
            self.docker("service", "rm", service)
        wait_for("the containers of removed services to go", STOP_SECONDS, self._tasks_are_gone)
        for network in self._swarm_networks():
            for container in self.docker("ps", "--all", "--quiet", "--filter", f"network={network}").splitlines():
                self.docker("rm", "--force", "--volumes", container)
        self.docker("swarm", "leave", "--force")
        wait_for("the networks of the swarm to go", STOP_SECONDS, self._swarm_networks_are_gone)

    def _tasks_are_gone(self) -> bool | None:
        tasks = self.docker("ps", "--all", "--quiet", "--filter", "label=com.docker.swarm.task.id")
        return None if tasks else True

    def _swarm_networks(self) -> list[str]:
        return self.docker("network", "ls", "--filter", "scope=swarm", "--format", "{{.Name}}").splitlines()

    def _swarm_networks_are_gone(self) -> bool | None:
        for network in self._swarm_networks():
            self.docker("network", "rm", network, check=False)
        return None if self._swarm_networks() else True

    def _start(self, log: Path, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                [*self._enter(), *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
            )  # fmt: skip

    def _enter(self) -> list[str]:
        process = f"/proc/{self._init.pid}/ns"
        return [
            *("nsenter", f"--target={self._init.pid}", "--mount", "--uts", "--net"),
            # Unshare's own process stays in this machine's; that of its children is meant.
            *(f"--pid={process}/pid_for_children", "--"),
        ]

    def _engine_answers(self) -> bool | None:
        state = self.docker("info", "--format", "{{.ServerVersion}} {{.Swarm.LocalNodeState}}", check=False, seconds=30)
        return True if state.endswith((" active", " inactive")) and not state.startswith(" ") else None

    def _engine_is_gone(self) -> bool | None:
        return True if self._engine is None or self._engine.poll() is not None else None


@contextmanager
def running_board(directory: Path, *, registry: str | None = None) -> Iterator[Board]:
    """A new board with the stand-in images in its engine, until the end of the block; then nothing of it is left.

    directory: an empty one for its files. registry: one that the engine asks by plain HTTP.
    """
    _require_parts()
    name = unique("pi")
    with ExitStack() as stack:
        # Side by side, two would take each other's folder for a killed one's, or the same free network.
        with file_lock(_boards() / "lock", say=make_say(), limit=START_SECONDS):
            _remove_what_was_killed()
            data = stack.enter_context(_data_folder(name))
            network = stack.enter_context(_bridge(name))
        host = f"{network}.2"
        _write_files(directory, host, data, name, registry)
        stack.callback(_remove_groups, name)
        board = Board(name, host, directory, stack.enter_context(_namespaces(directory, name)))
        _connect(board, f"{network}.1")
        sshd_log = directory / "sshd.log"
        sshd = board._start(sshd_log, [_sshd(), "-D", "-e", "-f", str(directory / "sshd_config")])
        stack.callback(_end, board, sshd)
        board.start_engine()
        _load_images(board)
        _wait_with_log("the board's SSH server", START_SECONDS, sshd_log, sshd, lambda: _answers(board))
        yield board


def _require_parts() -> None:
    """Skip or fail where this machine cannot have a board."""
    if os.geteuid() != 0:
        missing("a board needs network namespaces, and so root")
    if not find_program("dockerd"):
        missing("a board needs dockerd on this machine")
    for program in ("ip", "nsenter", "unshare", "setpriv", "ssh", "ssh-keygen"):
        if not find_program(program):
            missing(f"a board needs {program} on this machine")
    if not find_program("sshd"):
        # Debian's package starts the server, which nobody asked for on a machine of their own.
        if not os.environ.get("CI") and Path("/run/systemd/system").is_dir():
            missing("a board needs sshd on this machine (openssh-server)")
        install_packages(["openssh-server"], root_prefix("openssh-server has to be installed"))


def _sshd() -> str:
    # It starts itself again for each connection, and therefore wants a whole path.
    return find_program("sshd") or "/usr/sbin/sshd"


def _boards() -> Path:
    """Where the engines' data is: beside that of the toolchain's engine, where overlays work and space is."""
    folder = cache_dir() / "boards"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _data_folder(name: str) -> Iterator[Path]:
    """A folder for the data of the board's engine."""
    folder = _boards() / name
    folder.mkdir()
    with _locked(folder / "lock") as held:
        assert held, f"another process has {folder}"
        try:
            yield folder / "data"
        finally:
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


def _remove_what_was_killed() -> None:
    """What boards left whose tests were killed; their processes went with them."""
    for folder in _boards().glob("pi-*"):
        with _locked(folder / "lock") as held:
            if held:
                run("ip", "link", "delete", _bridge_name(folder.name), check=False)
                _remove_groups(folder.name)
                shutil.rmtree(folder)


def _write_files(directory: Path, host: str, data: Path, name: str, registry: str | None) -> None:
    (directory / "oci").mkdir()
    if lacks_capabilities(
        Path("/proc/self/status").read_text(), int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    ):
        link_or_copy(build(OCI_WRAPPER, say=make_say()), directory / "oci" / "runc")
    settings = {
        "hosts": ["unix:///run/docker.sock", f"unix://{directory}/docker.sock"],
        "data-root": str(data),
        "exec-root": "/run/docker",
        "pidfile": "/run/docker.pid",
        "bip": _BRIDGE_NETWORK,
        "default-address-pools": [_NETWORKS],
        "mtu": int(_default_bridge()["Options"].get("com.docker.network.driver.mtu", 1500)),
        "insecure-registries": [registry] if registry else [],
        # There is no systemd on the board, and its own parent lets the groups be found again.
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": f"/{name}",
    }
    (directory / "daemon.json").write_text(json.dumps(settings, indent=2))
    for key in ("host_key", "client_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(directory / key))
    kind, public = (directory / "host_key.pub").read_text().split()[:2]
    (directory / "known_hosts").write_text(f"{host} {kind} {public}\n")
    (directory / "sshd_config").write_text(_SSHD_CONFIG.format(host=host, directory=directory))
    # The board has no way to this address, so that nobody waits for an answer; the engine asks under its locks.
    (directory / "resolv.conf").write_text("nameserver 198.51.100.1\n")
    _write_accounts(directory)
    _write_path(directory)


def _default_bridge() -> dict[str, Any]:
    """The network `bridge` of this machine's engine."""
    found = json.loads(run("docker", "network", "inspect", "bridge").stdout)
    return dict(found[0])


def _write_accounts(directory: Path) -> None:
    """Root with an empty home, and not locked, which an SSH server without PAM would refuse."""
    others = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
    (directory / "passwd").write_text("\n".join(["root:x:0:0:root:/run/root:/bin/bash", *others, ""]))
    (directory / "shadow").write_text("root:*:20000:0:99999:7:::\n")


def _write_path(directory: Path) -> None:
    """The programs that SSH sessions find: all of root's, but for docker the one that can pretend."""
    path = directory / "path"
    path.mkdir()
    for folder in reversed(ROOT_PATH.split(":")):
        for program in Path(folder).glob("*"):
            if not program.name.startswith("docker"):
                (path / program.name).unlink(missing_ok=True)
                (path / program.name).symlink_to(program)
    real = shutil.which("docker")
    pretence = str(directory / "pretence.json")
    (path / "docker").write_text(_CLIENT.format(python=sys.executable, real=real, pretence=pretence))
    (path / "docker").chmod(0o755)


@contextmanager
def _namespaces(directory: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """The board's first process, with which all others end, and which ends with this one."""
    log = directory / "init.log"
    command = [
        # unshare blocks the signals that ask a process to end.
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--net", "--pid", "--uts", "--mount", "--fork", "--kill-child", "--mount-proc"),
        *("sh", "-c", _INIT, "init", str(directory), name),
    ]
    with log.open("wb") as output:
        init = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
    try:
        _wait_with_log("the board", START_SECONDS, log, init, lambda: True if (directory / "up").exists() else None)
        yield init
    finally:
        # With it go all processes of the board, wherever they come from.
        init.kill()
        init.wait(timeout=STOP_SECONDS)


def _end(board: Board, sshd: subprocess.Popen[bytes]) -> None:
    """Ends the board's first process, and waits: it is gone only after all the others."""
    board.inside("kill", "-TERM", "1", check=False)
    for process in (board._init, sshd, *([board._engine] if board._engine else [])):
        process.wait(timeout=STOP_SECONDS)


def _bridge_name(board: str) -> str:
    return f"br{board.replace('-', '')}"


@contextmanager
def _bridge(board: str) -> Iterator[str]:
    """A bridge on this machine, as the sandbox lets in who comes by one; the first three numbers of its /24 network."""
    used = run("ip", "-4", "-oneline", "address").stdout
    numbers = random.sample(range(256), 256)
    network = next(f"198.18.{number}" for number in numbers if f" 198.18.{number}." not in used)
    name = _bridge_name(board)
    run("ip", "link", "add", name, "type", "bridge")
    try:
        run("ip", "address", "add", f"{network}.1/24", "dev", name)
        run("ip", "link", "set", "up", "dev", name)
        yield network
    finally:
        run("ip", "link", "delete", name)


def _connect(board: Board, gateway: str) -> None:
    """The cable from the bridge to the board, and the way to this machine's engine's network, the sandbox's; no other.

    It goes with the board.
    """
    bridge = _bridge_name(board.name)
    port = f"v{bridge[1:]}"
    up = ("ip", "link", "set", "up", "dev")
    run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(board._init.pid))
    run(*up, port, "master", bridge)
    board.inside("ip", "address", "add", f"{board.host}/24", "dev", "eth0")
    board.inside(*up, "eth0")
    (sandbox,) = {pool["Subnet"] for pool in _default_bridge()["IPAM"]["Config"] if ":" not in pool["Subnet"]}
    board.inside("ip", "route", "add", sandbox, "via", gateway)


def _remove_groups(name: str) -> None:
    """The control groups of the board's containers, which outlive the processes in them."""
    top = Path("/sys/fs/cgroup")

    def remove() -> bool | None:
        found = [folder for folder in (top / name, *top.glob(f"*/{name}")) if folder.exists()]
        for folder in found:
            for group, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(group)
        return None if any(folder.exists() for folder in found) else True

    wait_for(f"the processes in the control group {name} to go", STOP_SECONDS, remove)


def _load_images(board: Board) -> None:
    """Copy the stand-in images from this machine's engine to the board's."""
    images = [image for role, image in (recorded() or {}).items() if role != NOT_NEEDED]
    if not images:
        return
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
        try:
            run("docker", "--host", board.local_url, "load", stdin=saved.stdout, seconds=LOAD_SECONDS)
        finally:
            saved.kill()


def _answers(board: Board) -> bool | None:
    return True if board.ssh("true", check=False, seconds=30).returncode == 0 else None


def _wait_with_log(
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
