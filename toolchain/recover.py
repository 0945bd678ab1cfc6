"""Makes a stack ready again whose last update was killed: `python3 -m toolchain recover STACK`.

A killed update leaves its lock, which blocks every other update, and pending creations: the engine may have made an
object that the stack's state does not know. The next update would fail on a container's name, and make a network twice.
So what carries the stack's label and was made while that lock was held is removed here; the next update makes it again.
Volumes keep what is in them, because they are found again by their names.

A killed deletion on a swarm is the reverse: the provider fails on a service or a secret that is gone. So those that the
engine does not have any more are dropped from the state, once the last task of the service has ended.

A runner that GitLab has made by then is deleted there: its token, which nobody has, is told at its creation only.

Only a state in local files tells whether another update runs right now; with any other backend nothing is touched.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from components.docker_client import DockerEngine
from components.labels import STACK
from toolchain.orphans import find_orphans
from toolchain.shared import LimitReached, Say, ToolchainError, elapsed, file_lock, run
from toolchain.state import engine_of, export, pulumi

DOCKER_SECONDS = 60.0
WAIT_SECONDS = 180.0
TASK_SECONDS = 60.0
"""How much longer than its grace period a task of a service may take until its container is gone."""

POLL_SECONDS = 3.0
"""Between two looks at a task; by SSH each is a login."""

KINDS = {
    "docker:index/service:Service": "service",
    "docker:index/container:Container": "container",
    "docker:index/secret:Secret": "secret",
    "docker:index/network:Network": "network",
}
"""What is removed, in the order in which that has to happen."""

SWARM_KINDS = ("service", "secret")
"""Those of them that nothing but a swarm has."""


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
    """What a pending operation may have made or removed.

    kind: see KINDS. identity: its ID, which pending creations do not have. grace_seconds: how long it may take to stop.
    """

    kind: str
    name: str
    engine: DockerEngine
    identity: str = ""
    grace_seconds: int = 0

    def docker(self, *arguments: str, seconds: float = 0) -> str:
        """What the docker client said to a command about this kind; seconds: that the work itself may take."""
        return _docker(self.engine, self.kind, *arguments, seconds=seconds)


@dataclass(frozen=True)
class Found:
    """What the engine has. label: the stack's. made: when, by the engine's clock."""

    identity: str
    name: str
    label: str
    made: datetime


def recover(stack: str, say: Say) -> None:
    """Removes what a killed update of `stack` left, and says so; does nothing while another update runs.

    The project is the one in the current directory, the state that of PULUMI_BACKEND_URL. Raises ToolchainError where
    Pulumi or the engine of that update fails or does not answer in time; a GitLab that does so is said.
    """
    state = _state_directory()
    if state is None or not state.exists():
        return
    # Two at once: the second could cancel the lock of the update that follows the first.
    with file_lock(state / "recover.lock", say=say, limit=WAIT_SECONDS):
        project, files = _project(), state / ".pulumi"
        _recover(stack, files / "locks" / "organization" / project / stack, files / "stacks" / project, say)


def _recover(stack: str, locks_directory: Path, states_directory: Path, say: Say) -> None:
    if not _all_left_over(_locks(locks_directory)):
        return
    _remove_torn([*locks_directory.glob("*.attrs"), *states_directory.glob(f"{stack}.json*.attrs")])
    state = export(stack)
    deployment = state["deployment"]
    locks = _locks(locks_directory)
    # An update that began meanwhile has pending operations, too.
    if not _all_left_over(locks):
        return
    known = deployment.get("resources") or []
    creating, deleting = (_pending(deployment, operation) for operation in ("creating", "deleting"))
    began = min((lock.since for lock in locks), default=None)
    _remove_leftovers(stack, creating, known, began, say)
    removed = _removed(deleting, known, say)
    removed += _ended_services(known, {leftover.identity for leftover in removed}, say)
    orphans = find_orphans(stack, creating, known, say)
    # Without a lock, an update may have begun while GitLab was asked, and have made a runner of its own.
    if not _all_left_over(_locks(locks_directory)):
        return
    for orphan in orphans:
        orphan.delete(say)
    # Until here the lock keeps other updates away.
    if locks:
        pulumi("cancel", "--yes", stack=stack)
    for lock in locks:
        say(f"removed the lock of process {lock.pid}, which has ended (taken at {lock.since.isoformat()})")
    if not creating and not removed:
        return
    gone = {leftover.identity for leftover in removed}
    deployment["resources"] = [resource for resource in known if resource.get("id") not in gone]
    # `up` would carry pending creations along for ever; an import leaves them out.
    pulumi("stack", "import", stack=stack, stdin=json.dumps(state))
    if creating:
        names = ", ".join(resource["urn"].rpartition("::")[2] for resource in creating)
        say(f"dropped the interrupted creation of {names} from the state of stack {stack}")
    for leftover in removed:
        say(f"dropped {leftover.kind} {leftover.name} from the state of stack {stack}, because it is gone")


def _remove_torn(attributes: Sequence[Path]) -> None:
    """Removes attributes that a killed Pulumi had only begun to write. It needs none to read a file, but whole ones."""
    for path in attributes:
        try:
            json.loads(path.read_bytes())
        except ValueError:
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass


def _pending(deployment: Mapping[str, Any], operation: str) -> list[Mapping[str, Any]]:
    return [one["resource"] for one in deployment.get("pending_operations") or () if one["type"] == operation]


def _remove_leftovers(
    stack: str,
    pending: Sequence[Mapping[str, Any]],
    known: Sequence[Mapping[str, Any]],
    began: datetime | None,
    say: Say,
) -> None:
    recorded = {resource.get("id") for resource in known}
    for leftover in _leftovers(pending, known):
        for found in _found(leftover):
            if found.identity in recorded:
                continue
            if found.label != stack:
                reason = f"it has no label {STACK}={stack}: rename or remove it, or set another settings.name"
            elif began is None or found.made < _by_the_clock_of(leftover.engine, began):
                # The stack of another clone may have the same name.
                command = shlex.join(
                    leftover.engine.docker(leftover.kind, "rm", *_force(leftover), found.identity[:12])
                )
                reason = (
                    "nothing shows that the interrupted update made it: if no other stack uses it, remove it with "
                    f"`{command}`"
                )
            else:
                _remove(leftover, found.identity, say)
                continue
            say(f"left {leftover.kind} {leftover.name} ({found.identity[:12]}) alone, because {reason}")


def _removed(pending: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]], say: Say) -> list[Leftover]:
    """What a swarm does not have any more of what was to be deleted; services once their tasks have ended."""
    removed = []
    for leftover in _leftovers(pending, known):
        if leftover.kind not in SWARM_KINDS or not leftover.identity:
            continue
        if _in_swarm(leftover.engine) and leftover.docker("ls", "--quiet", "--filter", f"id={leftover.identity}"):
            continue
        if leftover.kind == "service":
            # The jobs that still run would die with the daemon that the next update replaces.
            _wait_for_tasks(leftover, leftover.identity, say)
        removed.append(leftover)
    return removed


def _ended_services(known: Sequence[Mapping[str, Any]], done: set[str], say: Say) -> list[Leftover]:
    """Services of the state that their swarm does not have any more.

    Where jobs take longer than the provider waits for a service, their deletion is an error, and so is the next one.
    """
    services = [one for one in known if KINDS.get(one["type"]) == "service" and one.get("id") not in done]
    try:
        return _removed(services, known, say)
    except LimitReached as error:
        say(str(error))
    except ToolchainError:
        pass  # nothing was interrupted here, and of an engine out of reach the update itself says more
    return []


def _leftovers(pending: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]]) -> Iterator[Leftover]:
    for type_, kind in KINDS.items():
        for resource in pending:
            inputs = resource.get("inputs") or {}
            if resource["type"] == type_ and isinstance(inputs.get("name"), str):
                yield Leftover(
                    kind=kind,
                    name=inputs["name"],
                    engine=engine_of(resource, known),
                    identity=resource.get("id") or "",
                    grace_seconds=_grace_seconds(inputs),
                )


def _grace_seconds(inputs: Mapping[str, Any]) -> int:
    """Of a container, or of the tasks of a service, which has it as `1h0m0s`."""
    task = (inputs.get("taskSpec") or {}).get("containerSpec") or {}
    parts = re.findall(r"(\d+)([hms])", task.get("stopGracePeriod") or "")
    seconds = sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts)
    return seconds or int(inputs.get("destroyGraceSeconds") or 0)


def _found(leftover: Leftover) -> list[Found]:
    """The engine's objects of that kind and name."""
    if leftover.kind in SWARM_KINDS and not _in_swarm(leftover.engine):
        return []
    every = ["--all"] if leftover.kind == "container" else []
    # It also finds longer names. No anchors: a swarm, which has the overlay networks, too, takes no expressions.
    identities = leftover.docker("ls", *every, "--quiet", "--filter", f"name={leftover.name}").split()
    if not identities:
        return []
    lines = leftover.docker("inspect", "--format", "{{json .}}", *identities).splitlines()
    return [found for line in lines if (found := _told(json.loads(line))).name == leftover.name]


def _told(told: Mapping[str, Any]) -> Found:
    """What `docker inspect` tells, which is spelled differently for what a swarm has."""
    spec = told.get("Spec") or told.get("Config") or told
    return Found(
        identity=told.get("ID") or told["Id"],
        name=(told.get("Name") or spec["Name"]).removeprefix("/"),
        label=(spec.get("Labels") or {}).get(STACK, ""),
        made=datetime.fromisoformat(told.get("CreatedAt") or told["Created"]),
    )


def _in_swarm(engine: DockerEngine) -> bool:
    """Not after it has left: then all that the swarm had is gone, and asking for it is an error."""
    return _docker(engine, "info", "--format", "{{.Swarm.LocalNodeState}}").strip() != "inactive"


def _by_the_clock_of(engine: DockerEngine, moment: datetime) -> datetime:
    """A moment of this machine's clock on that of the engine: a small board has no battery for its own."""
    now = datetime.fromisoformat(json.loads(_docker(engine, "info", "--format", "{{json .SystemTime}}")))
    return moment + (now - datetime.now().astimezone())


def _remove(leftover: Leftover, identity: str, say: Say) -> None:
    wait = f"; it has up to {leftover.grace_seconds} s to stop" if leftover.grace_seconds else ""
    say(f"removing {leftover.kind} {leftover.name} ({identity[:12]}), which an interrupted update made{wait}")
    if leftover.kind == "container" and leftover.grace_seconds:
        # A runner may have taken jobs since: its signal lets it finish them. Newer clients have another long option.
        leftover.docker("stop", "-t", str(leftover.grace_seconds), identity, seconds=leftover.grace_seconds)
    leftover.docker("rm", *_force(leftover), identity)
    if leftover.kind == "service":
        _wait_for_tasks(leftover, identity, say)


def _force(leftover: Leftover) -> list[str]:
    """The options that remove it as it is; --volumes takes anonymous ones only."""
    return ["--force", "--volumes"] if leftover.kind == "container" else []


def _wait_for_tasks(leftover: Leftover, identity: str, say: Say) -> None:
    """Until the containers of a service that is gone are gone, too; raises LimitReached where they stay."""
    look = ("container", "ls", "--all", "--quiet", "--filter", f"label=com.docker.swarm.service.id={identity}")
    limit = leftover.grace_seconds + TASK_SECONDS
    give_up = time.monotonic() + limit
    told = False
    while _docker(leftover.engine, *look).strip():
        if not told:
            say(f"waiting up to {elapsed(limit)} for the jobs of service {leftover.name}, which is being stopped")
            told = True
        if time.monotonic() > give_up:
            raise LimitReached(
                f"waited {elapsed(limit)} for the containers of service {leftover.name}, which is gone: see "
                f"`{shlex.join(leftover.engine.docker(*look))}`, and try again"
            )
        time.sleep(POLL_SECONDS)


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


def _docker(engine: DockerEngine, *arguments: str, seconds: float = 0) -> str:
    """What the docker client said; seconds: that the work itself may take."""
    command = f"docker --host {engine.host} {' '.join(arguments[:2])}"
    what = f"{command} (the engine of the interrupted update has to answer)"
    return run(engine.docker(*arguments), limit=DOCKER_SECONDS + seconds, what=what)
