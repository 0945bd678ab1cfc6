"""A board for the Raspberry Pi target: a machine with dockerd, an SSH server, and accounts of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.images import recorded
from tests.engine.machine import Machine, Place, default_bridge, first_process, new_place, wait_with_log
from tests.engine.world import STEP_SECONDS, install, missing, run, wait_for
from toolchain.debian import ROOT_PATH, find_program, root_prefix
from toolchain.engine import daemon_path
from toolchain.shared import cache_dir, make_say

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

_PREPARE = """\
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd /run/lock
mkdir -m 700 /run/root
if [ -d /etc/docker ]; then mount -t tmpfs -o mode=755 tmpfs /etc/docker; fi  # the engine's ID
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/shadow" /etc/shadow
mount --bind "$1/resolv.conf" /etc/resolv.conf
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
class Board(Machine):
    """A running board.

    port: of its SSH server. directory: keys, logs, socket. key_file, known_hosts_file: what an SSH client needs, of
    which user root is let in. socket: the engine's, as a path on this machine; on the board it is /var/run/docker.sock
    as well.
    """

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
        path = daemon_path(make_say())
        dockerd = shutil.which("dockerd", path=path) or "dockerd"
        settings = str(self.directory / "daemon.json")
        command = ["env", "-i", f"PATH={path}", "HOME=/run/root", dockerd, "--config-file", settings]
        self._engine = self.start_process(log, command)
        wait_with_log("the board's engine", START_SECONDS, log, self._engine, self._engine_answers)

    def stop_engine(self) -> None:
        """Stop dockerd, and with it all containers, as a shutdown does."""
        if self._engine is None:
            return
        self.inside("sh", "-c", "kill -TERM $(cat /run/docker.pid)")
        wait_with_log(
            "the board's engine to stop", STOP_SECONDS, self.directory / "dockerd.log", None, self._engine_is_gone
        )
        self._engine = None

    def restart_engine(self) -> None:
        """What a reboot is to the containers: all are stopped, those with a restart policy come back."""
        self.stop_engine()
        self.start_engine()

    @contextmanager
    def pretending(
        self,
        *,
        failure: str | None = None,
        arch: str | None = None,
        cores: int | None = None,
        memory_mib: float | None = None,
        limits_memory: bool | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> Iterator[None]:
        """Have the docker client of SSH sessions claim other facts, or fail as the real one does.

        failure: "not installed", "not permitted". arch: arm64, arm, amd64. info: more to lay over what `docker info`
        answers as JSON. What is None is told as it is. All other commands get through, `docker system dial-stdio` of
        the Pulumi plugin included, except where a failure is pretended.
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
            "version": [architecture] if architecture else [],
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

    def start_process(self, log: Path, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command on the board, without waiting for it; what it prints is added to the log."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [*self.enter(), *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
            )  # fmt: skip

    def shut_down(self, *processes: subprocess.Popen[bytes]) -> None:
        super().shut_down(*processes, *([self._engine] if self._engine else []))

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
    with ExitStack() as stack:
        # Beside the data of the toolchain's engine, where overlays work and space is.
        place = stack.enter_context(new_place(cache_dir() / "boards", "pi"))
        _write_files(directory, place, registry)
        init = stack.enter_context(first_process("the board", place, directory, _PREPARE))
        board = Board(place.name, place.host, directory, init)
        board.connect(place.gateway)
        sshd_log = directory / "sshd.log"
        sshd = board.start_process(sshd_log, [_sshd(), "-D", "-e", "-f", str(directory / "sshd_config")])
        stack.callback(lambda: board.shut_down(sshd))
        board.start_engine()
        _load_images(board)
        wait_with_log("the board's SSH server", START_SECONDS, sshd_log, sshd, lambda: _answers(board))
        yield board


def _require_parts() -> None:
    """Skip or fail where this machine cannot have a board."""
    if os.geteuid() != 0:
        missing("a board needs network namespaces, and so root")
    for program in ("ip", "nsenter", "unshare", "setpriv", "ssh", "ssh-keygen"):
        if not find_program(program):
            missing(f"a board needs {program} on this machine")
    if not find_program("sshd"):
        # Debian's package starts the server, which nobody asked for on a machine of their own.
        if not os.environ.get("CI") and Path("/run/systemd/system").is_dir():
            missing("a board needs sshd on this machine (openssh-server)")
        install(["openssh-server"], root_prefix("openssh-server has to be installed"))


def _sshd() -> str:
    # It starts itself again for each connection, and therefore wants a whole path.
    return find_program("sshd") or "/usr/sbin/sshd"


def _write_files(directory: Path, place: Place, registry: str | None) -> None:
    settings = {
        "hosts": ["unix:///run/docker.sock", f"unix://{directory}/docker.sock"],
        "data-root": str(place.data),
        "exec-root": "/run/docker",
        "pidfile": "/run/docker.pid",
        "bip": _BRIDGE_NETWORK,
        "default-address-pools": [_NETWORKS],
        "mtu": int(default_bridge()["Options"].get("com.docker.network.driver.mtu", 1500)),
        "insecure-registries": [registry] if registry else [],
        # There is no systemd on the board, and its own parent lets the groups be found again.
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": f"/{place.name}",
    }
    (directory / "daemon.json").write_text(json.dumps(settings, indent=2))
    for key in ("host_key", "client_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", place.name, "-f", str(directory / key))
    kind, public = (directory / "host_key.pub").read_text().split()[:2]
    (directory / "known_hosts").write_text(f"{place.host} {kind} {public}\n")
    (directory / "sshd_config").write_text(_SSHD_CONFIG.format(host=place.host, directory=directory))
    # The board has no way to this address, so that nobody waits for an answer; the engine asks under its locks.
    (directory / "resolv.conf").write_text("nameserver 198.51.100.1\n")
    _write_accounts(directory)
    _write_path(directory)


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
