"""Makes a stack ready again whose last update was killed: `python3 -m toolchain recover STACK`.

What a killed update leaves: its lock, which no other update gets past, and pending creations, of which the engine may
have made the object although the stack's state does not know it. The next update would fail on a container's name, and
make a network twice. So what carries the stack's label and was made while that lock was held is removed here, and made
again by the next update; volumes keep what is in them, because they are found again by their names.

Only a state in local files tells whether another update runs right now; with any other backend nothing is touched.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from toolchain.engine import docker_host
from toolchain.shared import Say, ToolchainError, file_lock, run

PULUMI_SECONDS = 60.0
DOCKER_SECONDS = 60.0
WAIT_SECONDS = 180.0
KINDS = {"docker:index/container:Container": "container", "docker:index/network:Network": "network"}
"""What is removed, in the order in which that has to happen."""


@dataclass(frozen=True)
class Lock:
    """A lock of the stack. pid: its holder; None where the file cannot be understood. since: when it was taken."""

    pid: int | None
    host: str
    since: datetime

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


def recover(stack: str, say: Say) -> None:
    """Removes what a killed update of `stack` left, and says so; does nothing while another update runs.

    The project is the one in the current directory, the state that of PULUMI_BACKEND_URL. Raises ToolchainError where
    Pulumi or the engine of that update fails or does not answer in time.
    """
    state = _state_directory()
    if state is None or not state.exists():
        return
    # Two at once: the second could cancel the lock of the update that follows the first.
    with file_lock(state / "recover.lock", say=say, limit=WAIT_SECONDS):
        _recover(stack, state / ".pulumi" / "locks" / "organization" / _project() / stack, say)


def _recover(stack: str, locks_directory: Path, say: Say) -> None:
    if not _all_left_over(_locks(locks_directory)):
        return
    exported = _pulumi("stack", "export", stack=stack)
    deployment: dict[str, Any] = json.loads(exported)["deployment"] or {}
    locks = _locks(locks_directory)
    # An update that began meanwhile has pending creations, too.
    if not _all_left_over(locks):
        return
    pending = [op["resource"] for op in deployment.get("pending_operations") or () if op["type"] == "creating"]
    began = min((lock.since for lock in locks), default=None)
    _remove_leftovers(stack, pending, deployment.get("resources") or (), began, say)
    # Until here the lock keeps other updates away.
    if locks:
        _pulumi("cancel", "--yes", stack=stack)
    for lock in locks:
        say(f"removed the lock of process {lock.pid}, which has ended (taken at {lock.since.isoformat()})")
    if pending:
        # `up` would carry pending creations along for ever; an import leaves them out.
        _pulumi("stack", "import", stack=stack, stdin=exported)
        _say_what_gitlab_may_have(pending, say)
        names = ", ".join(resource["urn"].rpartition("::")[2] for resource in pending)
        say(f"dropped the interrupted creation of {names} from the state of stack {stack}")


def _remove_leftovers(
    stack: str,
    pending: Sequence[Mapping[str, Any]],
    known: Sequence[Mapping[str, Any]],
    began: datetime | None,
    say: Say,
) -> None:
    recorded = {resource.get("id") for resource in known}
    for leftover in _leftovers(pending, known):
        for identity, label in _found(leftover):
            if identity in recorded:
                continue
            if label != stack:
                reason = f"it has no label dindrunner.stack={stack}: rename or remove it, or set another settings.name"
            elif began is None or not _made_since(began, leftover, identity):
                # The stack of another clone may have the same name.
                reason = (
                    "nothing shows that the interrupted update made it: if no other stack uses it, remove it with "
                    f"`docker --host {leftover.host} {leftover.kind} rm {identity[:12]}`"
                )
            else:
                _remove(leftover, identity, say)
                continue
            say(f"left {leftover.kind} {leftover.name} ({identity[:12]}) alone, because {reason}")


def _say_what_gitlab_may_have(pending: Sequence[Mapping[str, Any]], say: Say) -> None:
    """Nobody can tell: GitLab's token of a runner is shown once, and its description need not be unique."""
    for resource in pending:
        if resource["type"] == "gitlab:index/userRunner:UserRunner":
            description = (resource.get("inputs") or {}).get("description")
            say(
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
                    host=host or docker_host(),
                    grace_seconds=int(inputs.get("destroyGraceSeconds") or 0),
                )


def _found(leftover: Leftover) -> list[tuple[str, str]]:
    """ID and stack label of the engine's objects of that kind and name."""
    every = ["--all"] if leftover.kind == "container" else []
    name = f"name=^{re.escape(leftover.name)}$"
    columns = '{{.ID}}\t{{.Label "dindrunner.stack"}}'
    lines = _docker(leftover, "ls", *every, "--no-trunc", "--filter", name, "--format", columns).splitlines()
    return [(identity, label) for identity, _, label in (line.partition("\t") for line in lines)]


def _made_since(began: datetime, leftover: Leftover, identity: str) -> bool:
    created = _docker(leftover, "inspect", "--format", "{{json .Created}}", identity)
    return datetime.fromisoformat(json.loads(created)) >= began


def _remove(leftover: Leftover, identity: str, say: Say) -> None:
    wait = f"; it has up to {leftover.grace_seconds} s to stop" if leftover.grace_seconds else ""
    say(f"removing {leftover.kind} {leftover.name} ({identity[:12]}), which an interrupted update made{wait}")
    if leftover.grace_seconds:
        # A runner may have taken jobs since: its signal lets it finish them.
        _docker(leftover, "stop", "--time", str(leftover.grace_seconds), identity)
    # --volumes takes anonymous ones only.
    options = ["--force", "--volumes"] if leftover.kind == "container" else []
    _docker(leftover, "rm", *options, identity)


def _state_directory() -> Path | None:
    url = os.environ.get("PULUMI_BACKEND_URL", "")
    if not url.startswith("file://"):
        return None
    return Path(unquote(url.removeprefix("file://").partition("?")[0])).expanduser()


def _project() -> str:
    found = re.search(r"""^name:\s*["']?([\w.-]+)""", Path("Pulumi.yaml").read_text(), re.MULTILINE)
    if not found:
        raise ToolchainError(f"{Path('Pulumi.yaml').absolute()} has no name of the project: write `name: ...`")
    return found[1]


def _locks(directory: Path) -> list[Lock]:
    return [lock for path in sorted(directory.glob("*.json")) if (lock := _lock(path))]


def _lock(path: Path) -> Lock | None:
    try:
        content = json.loads(path.read_text())
        since = datetime.fromisoformat(content["timestamp"]).astimezone()
        return Lock(int(content["pid"]), str(content["hostname"]), since)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        return Lock(None, "", datetime.now().astimezone())


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
    what = f"pulumi {' '.join(arguments)} --stack {stack} (see docs/pitfalls.md)"
    return run(command, limit=PULUMI_SECONDS, what=what, stdin=stdin.encode())


def _docker(leftover: Leftover, *arguments: str) -> str:
    command = ["docker", "--host", leftover.host, leftover.kind]
    what = f"{' '.join(command)} {arguments[0]} (the engine of the interrupted update has to answer)"
    return run([*command, *arguments], limit=DOCKER_SECONDS + leftover.grace_seconds, what=what)
