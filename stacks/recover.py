"""Makes a stack ready again whose last update was killed: `python -m stacks.recover STACK`.

What a killed update leaves: its lock, which no other update gets past, and pending creations, of which the engine may
have made the object although the stack's state does not know it. The next update would fail on a container's name, and
make a network twice. So what carries the stack's label is removed here, and made again by the next update; volumes keep
what is in them, because they are found again by their names.

Only a state in local files tells whether another update runs right now; with any other backend nothing is touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

PULUMI_SECONDS = 60
DOCKER_SECONDS = 60
WAIT_SECONDS = 180
DEFAULT_HOST = "unix:///var/run/docker.sock"
KINDS = {"docker:index/container:Container": "container", "docker:index/network:Network": "network"}
"""What is removed, in the order in which that has to happen."""


class RecoveryError(Exception):
    """What stands in the way of the next update, with a remedy."""


@dataclass(frozen=True)
class Lock:
    """A lock of the stack. pid: its holder; None where the file cannot be understood. since: as Pulumi wrote it."""

    pid: int | None
    host: str
    since: str

    @property
    def is_left_over(self) -> bool:
        """Whether the holder ran on this machine and has ended."""
        return self.pid is not None and self.host == socket.gethostname() and not _is_pulumi(self.pid)


@dataclass(frozen=True)
class Leftover:
    """What a pending creation may have made.

    kind: container or network. host: address of the engine. grace_seconds: how long a container may take to stop.
    """

    kind: str
    name: str
    host: str
    grace_seconds: int = 0


def recover(stack: str) -> None:
    """Remove what a killed update of `stack` left, and print a line for each; nothing while another update runs.

    The project is the one in the current directory, the state that of PULUMI_BACKEND_URL. Raises RecoveryError.
    """
    state = _state_directory()
    if state is None or not state.exists():
        return
    # Two at once: the second could cancel the lock of the update that follows the first.
    with _alone(state / "recover.lock"):
        _recover(stack, state / ".pulumi" / "locks" / "organization" / _project() / stack)


def _recover(stack: str, locks_directory: Path) -> None:
    if not _all_left_over(_locks(locks_directory)):
        return
    exported = _pulumi("stack", "export", stack=stack)
    deployment: dict[str, Any] = json.loads(exported)["deployment"] or {}
    locks = _locks(locks_directory)
    # An update that began meanwhile has pending creations, too.
    if not _all_left_over(locks):
        return
    pending = [op["resource"] for op in deployment.get("pending_operations") or () if op["type"] == "creating"]
    _remove_leftovers(stack, pending, deployment.get("resources") or ())
    # Until here the lock keeps other updates away.
    if locks:
        _pulumi("cancel", "--yes", stack=stack)
    for lock in locks:
        _say(f"removed the lock of process {lock.pid}, which has ended (taken at {lock.since})")
    if pending:
        # `up` would carry pending creations along for ever; an import leaves them out.
        _pulumi("stack", "import", stack=stack, stdin=exported)
        _say_what_gitlab_may_have(pending)
        names = ", ".join(resource["urn"].rpartition("::")[2] for resource in pending)
        _say(f"dropped the interrupted creation of {names} from the state of stack {stack}")


def _remove_leftovers(stack: str, pending: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]]) -> None:
    recorded = {resource.get("id") for resource in known}
    for leftover in _leftovers(pending, known):
        for identity, label in _found(leftover):
            if identity in recorded:
                continue
            if label == stack:
                _remove(leftover, identity)
            else:
                _say(
                    f"left {leftover.kind} {leftover.name} ({identity[:12]}) alone, because it has no label "
                    f"dindrunner.stack={stack}: rename or remove it, or set another settings.name"
                )


def _say_what_gitlab_may_have(pending: Sequence[Mapping[str, Any]]) -> None:
    """Nobody can tell: GitLab's token of a runner is shown once, and its description need not be unique."""
    for resource in pending:
        if resource["type"] == "gitlab:index/userRunner:UserRunner":
            description = (resource.get("inputs") or {}).get("description")
            _say(
                f"GitLab may have made runner {description!r}: if it lists two, delete the one that has never "
                "contacted it"
            )


def _leftovers(pending: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]]) -> Iterator[Leftover]:
    providers = {f"{resource['urn']}::{resource.get('id')}": resource.get("inputs") or {} for resource in known}
    for type_, kind in KINDS.items():
        for resource in pending:
            inputs = resource.get("inputs") or {}
            if resource["type"] == type_ and isinstance(inputs.get("name"), str):
                host = providers.get(resource.get("provider", ""), {}).get("host")
                yield Leftover(
                    kind=kind,
                    name=inputs["name"],
                    host=host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST,
                    grace_seconds=int(inputs.get("destroyGraceSeconds") or 0),
                )


def _found(leftover: Leftover) -> list[tuple[str, str]]:
    """ID and stack label of the engine's objects of that kind and name."""
    every = ["--all"] if leftover.kind == "container" else []
    name = f"name=^{re.escape(leftover.name)}$"
    columns = '{{.ID}}\t{{.Label "dindrunner.stack"}}'
    lines = _docker(leftover, "ls", *every, "--no-trunc", "--filter", name, "--format", columns).splitlines()
    return [(identity, label) for identity, _, label in (line.partition("\t") for line in lines)]


def _remove(leftover: Leftover, identity: str) -> None:
    if leftover.kind == "network":
        attached = _attached(leftover, identity)
        if attached:
            raise RecoveryError(
                f"network {leftover.name} ({identity[:12]}), which an interrupted update made, is used by "
                f"{', '.join(attached)}: remove or disconnect that, then try again"
            )
    wait = f"; it has up to {leftover.grace_seconds} s to stop" if leftover.grace_seconds else ""
    _say(f"removing {leftover.kind} {leftover.name} ({identity[:12]}), which an interrupted update made{wait}")
    if leftover.grace_seconds:
        # A runner may have taken jobs since: its signal lets it finish them.
        _docker(leftover, "stop", "--time", str(leftover.grace_seconds), identity)
    # --volumes takes anonymous ones only.
    options = ["--force", "--volumes"] if leftover.kind == "container" else []
    _docker(leftover, "rm", *options, identity)


def _attached(network: Leftover, identity: str) -> list[str]:
    containers = Leftover("container", "", network.host)
    return _docker(containers, "ls", "--all", "--filter", f"network={identity}", "--format", "{{.Names}}").split()


def _say(line: str) -> None:
    print(f"recover: {line}", flush=True)


def _state_directory() -> Path | None:
    url = os.environ.get("PULUMI_BACKEND_URL", "")
    if not url.startswith("file://"):
        return None
    return Path(unquote(url.removeprefix("file://").partition("?")[0])).expanduser()


def _project() -> str:
    return str(yaml.safe_load(Path("Pulumi.yaml").read_text())["name"])


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    end = time.monotonic() + WAIT_SECONDS
    with path.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RecoveryError(
                        f"waited {WAIT_SECONDS} s for another recovery, which holds {path}: see who does with "
                        f"`fuser {path}`"
                    ) from None
                time.sleep(0.1)
        yield


def _locks(directory: Path) -> list[Lock]:
    return [lock for path in sorted(directory.glob("*.json")) if (lock := _lock(path))]


def _lock(path: Path) -> Lock | None:
    try:
        content = json.loads(path.read_text())
        return Lock(int(content["pid"]), str(content["hostname"]), str(content["timestamp"]))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return Lock(None, "", "")


def _all_left_over(locks: Sequence[Lock]) -> bool:
    """Also true of none: then nobody holds the stack."""
    return all(lock.is_left_over for lock in locks)


def _is_pulumi(pid: int) -> bool:
    """Whether the process runs and, where the system tells its name, is Pulumi's: numbers are used again."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return True
    # A killed process whose parent does not ask for its result stays as a zombie.
    return name.startswith("pulumi") and rest.split()[0] not in ("Z", "X")


def _pulumi(*arguments: str, stack: str, stdin: str = "") -> str:
    command = ["pulumi", "--non-interactive", "--color=never", *arguments, "--stack", stack]
    return _run(command, PULUMI_SECONDS, stdin, f"pulumi {' '.join(arguments)} --stack {stack}", "see docs/pitfalls.md")


def _docker(leftover: Leftover, *arguments: str) -> str:
    command = ["docker", "--host", leftover.host, leftover.kind, *arguments]
    said = f"docker --host {leftover.host} {leftover.kind} {arguments[0]}"
    return _run(
        command, DOCKER_SECONDS + leftover.grace_seconds, "", said, "the engine of the interrupted update has to answer"
    )


def _run(command: Sequence[str], seconds: int, stdin: str, said: str, remedy: str) -> str:
    """What a command printed; RecoveryError, naming it as `said`, where it fails or takes longer than `seconds`."""
    try:
        done = subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=seconds, check=False)
    except FileNotFoundError:
        raise RecoveryError(f"{command[0]} is not in PATH: run `. .toolchain/env` first") from None
    except subprocess.TimeoutExpired:
        raise RecoveryError(f"`{said}` has not ended within {seconds} s: {remedy}") from None
    if done.returncode:
        raise RecoveryError(f"`{said}` failed: {done.stderr.strip() or done.stdout.strip()}: {remedy}")
    return done.stdout


def main() -> int:
    """The command line: one argument, the stack's name."""
    if len(sys.argv) != 2:
        print("usage: python -m stacks.recover STACK", file=sys.stderr)
        return 2
    try:
        recover(sys.argv[1])
    except RecoveryError as error:
        print(f"recover: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
