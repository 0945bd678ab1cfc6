"""What a killed update left is found and removed, on a state and commands that are made up."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from toolchain import __main__ as command_line
from toolchain import recover
from toolchain.engine import DEFAULT_HOST
from toolchain.shared import ToolchainError

STACK = "dev"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
FULL_ID = "0123456789abcdef" * 4
SHORT_ID = "0123456789ab"
PROVIDER = "urn:pulumi:dev::p::pulumi:providers:docker::engine"
FAKE = """#!{python}
import json, pathlib, sys, time
here = pathlib.Path(__file__).parent
words = [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(words) + "\\n")
for answer in json.loads((here / "answers").read_text()):
    if all(word in words for word in answer["words"]):
        sys.stdin.close()
        time.sleep(answer.get("seconds", 0))
        print(answer.get("stdout", ""), end="")
        print(answer.get("stderr", ""), end="", file=sys.stderr)
        sys.exit(answer.get("code", 0))
"""


@dataclass
class Machine:
    """A project with a state in local files, and a `pulumi` and a `docker` that answer what they are told to."""

    root: Path
    said: list[str] = field(default_factory=list)

    def recover(self) -> None:
        """Keeps what is said."""
        recover.recover(STACK, self.said.append)

    @property
    def locks(self) -> Path:
        return self.root / "state" / ".pulumi" / "locks" / "organization" / "p" / STACK

    @property
    def calls(self) -> list[list[str]]:
        """The commands that have run, each without what all of its kind have in front."""
        file = self.root / "bin" / "calls"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [[word for word in line if word not in ("--non-interactive", "--color=never")] for line in lines]

    @property
    def changes(self) -> list[str]:
        """Those that do more than look."""
        joined = [" ".join(call) for call in self.calls]
        return [line for line in joined if not re.search(" (ls|inspect) ", line) and "stack export" not in line]

    def lock(self, pid: object, host: str | None = None) -> Path:
        self.locks.mkdir(parents=True, exist_ok=True)
        content = {"pid": pid, "hostname": host or socket.gethostname(), "timestamp": "2026-01-02T03:04:05Z"}
        path = self.locks / f"{time.monotonic_ns()}.json"
        path.write_text(json.dumps(content))
        return path

    def answer(self, *answers: Mapping[str, Any]) -> None:
        """What commands that have all these words say; the first that fits."""
        (self.root / "bin" / "answers").write_text(json.dumps(answers))

    def state(
        self,
        *pending: Mapping[str, Any],
        known: Sequence[Mapping[str, Any]] = (),
        engine: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """The answer to an export with these pending operations and resources."""
        provider = {"urn": PROVIDER, "id": "1", "type": "pulumi:providers:docker", "inputs": engine or {}}
        deployment = {"pending_operations": pending, "resources": [provider, *known]}
        return {"words": ["pulumi", "export"], "stdout": json.dumps({"version": 3, "deployment": deployment})}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    (tmp_path / "bin").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "Pulumi.yaml").write_text("name: p\n")
    for name in ("pulumi", "docker"):
        script = tmp_path / "bin" / name
        script.write_text(FAKE.format(python=sys.executable))
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path / 'state'}")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.chdir(tmp_path)
    made = Machine(tmp_path)
    made.answer(made.state())
    return made


def pending(type_: str, name: str, operation: str = "creating", **inputs: Any) -> dict[str, Any]:
    urn = f"urn:pulumi:dev::p::{type_}::{name}-resource"
    resource = {"urn": urn, "type": type_, "provider": f"{PROVIDER}::1", "inputs": {"name": name, **inputs}}
    return {"type": operation, "resource": resource}


def listed(kind: str, label: str = STACK, identity: str = FULL_ID) -> dict[str, Any]:
    return {"words": ["docker", kind, "ls", "--no-trunc"], "stdout": f"{identity}\t{label}\n"}


def made(moment: str = "2026-01-02T03:04:05.000000001Z", kind: str = "container") -> dict[str, Any]:
    return {"words": ["docker", kind, "inspect"], "stdout": f'"{moment}"\n'}


def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], subprocess.Popen[bytes]]:
    """Starts processes of a name, which the test has to end."""

    def run(name: str) -> subprocess.Popen[bytes]:
        program = tmp_path / name
        shutil.copy(shutil.which("sleep") or "", program)
        return subprocess.Popen([program, "60"])

    return run


def test_a_stack_without_leftovers_is_only_looked_at_and_nothing_is_said(
    machine: Machine,
) -> None:
    machine.recover()
    assert machine.calls == [["pulumi", "stack", "export", "--stack", STACK]]
    assert machine.said == []


@pytest.mark.parametrize("url", ["s3://bucket", "https://api.pulumi.com", "", "file:///nowhere/at/all"])
def test_another_backend_and_a_state_that_is_not_there_are_left_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    machine.lock(ended())
    machine.recover()
    assert machine.calls == []


def test_the_lock_of_a_process_that_has_ended_is_cancelled(
    machine: Machine,
) -> None:
    pid = ended()
    machine.lock(pid)
    machine.recover()
    assert machine.changes == [f"pulumi cancel --yes --stack {STACK}"]
    taken = datetime.fromisoformat("2026-01-02T03:04:05Z").astimezone().isoformat()
    assert machine.said == [f"removed the lock of process {pid}, which has ended (taken at {taken})"]


def test_the_lock_of_a_process_that_is_no_pulumi_any_more_is_cancelled(
    machine: Machine, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    other = start("another")
    machine.lock(other.pid)
    machine.recover()
    other.kill()
    other.wait()
    assert machine.changes == [f"pulumi cancel --yes --stack {STACK}"]


def test_the_lock_of_a_killed_pulumi_whose_parent_has_not_noticed_is_cancelled(
    machine: Machine, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    zombie = start("pulumi-killed")
    machine.lock(zombie.pid)
    zombie.kill()
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    machine.recover()
    zombie.wait()
    assert machine.changes == [f"pulumi cancel --yes --stack {STACK}"]


def test_while_an_update_runs_nothing_is_touched(
    machine: Machine, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    update = start("pulumi-alive")
    machine.lock(ended())
    machine.lock(update.pid)
    machine.answer(machine.state(pending(CONTAINER, "x")), listed("container"))
    machine.recover()
    update.kill()
    update.wait()
    assert machine.calls == []
    assert machine.said == []


def test_an_update_that_begins_while_the_state_is_read_is_left_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.answer(machine.state(pending(CONTAINER, "x")), listed("container"))
    found = iter([[], [recover.Lock(os.getpid(), "elsewhere", datetime.now().astimezone())]])
    monkeypatch.setattr(recover, "_locks", lambda _: next(found))
    machine.recover()
    assert machine.changes == []


@pytest.mark.parametrize("pid", [1, "one", None])
def test_the_lock_of_another_machine_and_one_that_nobody_understands_are_left(machine: Machine, pid: object) -> None:
    machine.lock(pid, host="another-machine")
    machine.recover()
    assert machine.calls == []


def test_containers_and_then_networks_with_our_label_are_removed_and_the_pending_creations_dropped(
    machine: Machine,
) -> None:
    machine.lock(ended())
    machine.answer(
        machine.state(pending(NETWORK, "x"), pending(CONTAINER, "x-dind"), engine={"host": "tcp://far:2375"}),
        listed("container"),
        listed("network", identity="f" * 64),
        made(),
        made(kind="network"),
    )
    machine.recover()
    docker = "docker --host tcp://far:2375"
    assert machine.changes == [
        f"{docker} container rm --force --volumes {FULL_ID}",
        f"{docker} network rm {'f' * 64}",
        f"pulumi cancel --yes --stack {STACK}",
        f"pulumi stack import --stack {STACK}",
    ]
    lines = machine.said
    assert lines[0] == f"removing container x-dind ({SHORT_ID}), which an interrupted update made"
    assert lines[1] == "removing network x (ffffffffffff), which an interrupted update made"
    assert lines[3:] == ["dropped the interrupted creation of x-resource, x-dind-resource from the state of stack dev"]


def test_objects_are_looked_up_by_their_whole_name(machine: Machine) -> None:
    machine.answer(machine.state(pending(CONTAINER, "a.b-dind")))
    machine.recover()
    looked = next(call for call in machine.calls if "ls" in call)
    assert looked[looked.index("--filter") + 1] == r"name=^a\.b\-dind$"
    assert "--all" in looked


@pytest.mark.parametrize(("variable", "host"), [("tcp://near:2375", "tcp://near:2375"), (None, DEFAULT_HOST)])
def test_a_provider_without_a_host_takes_that_of_the_environment_or_the_default(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str | None, host: str
) -> None:
    if variable:
        monkeypatch.setenv("DOCKER_HOST", variable)
    machine.lock(ended())
    machine.answer(machine.state(pending(NETWORK, "x")), listed("network"), made(kind="network"))
    machine.recover()
    assert f"docker --host {host} network rm {FULL_ID}" in machine.changes


def test_a_container_with_a_grace_period_is_stopped_before_it_is_removed(
    machine: Machine,
) -> None:
    machine.lock(ended())
    machine.answer(machine.state(pending(CONTAINER, "x-runner", destroyGraceSeconds=120)), listed("container"), made())
    machine.recover()
    assert [change.partition(" container ")[2] for change in machine.changes[:2]] == [
        f"stop --time 120 {FULL_ID}",
        f"rm --force --volumes {FULL_ID}",
    ]
    assert machine.said[0] == (
        f"removing container x-runner ({SHORT_ID}), which an interrupted update made; it has up to 120 s to stop"
    )


@pytest.mark.parametrize("label", ["", "other"])
def test_an_object_of_that_name_without_our_label_is_left(machine: Machine, label: str) -> None:
    machine.answer(machine.state(pending(CONTAINER, "x")), listed("container", label))
    machine.recover()
    assert machine.changes == [f"pulumi stack import --stack {STACK}"]
    assert machine.said[0] == (
        f"left container x ({SHORT_ID}) alone, because it has no label dindrunner.stack=dev: "
        "rename or remove it, or set another settings.name"
    )


def test_an_object_that_the_state_knows_is_never_touched(machine: Machine) -> None:
    known = {"urn": "urn:pulumi:dev::p::docker::old", "type": CONTAINER, "id": FULL_ID}
    machine.answer(machine.state(pending(CONTAINER, "x"), known=[known]), listed("container"))
    machine.recover()
    assert machine.changes == [f"pulumi stack import --stack {STACK}"]


def test_pending_operations_other_than_creations_are_left_to_pulumi(machine: Machine) -> None:
    operations = [pending(CONTAINER, "x", "updating"), pending(CONTAINER, "y", "deleting")]
    machine.answer(machine.state(*operations), listed("container"))
    machine.recover()
    assert machine.changes == []


def test_a_pending_runner_is_named_because_gitlab_may_have_made_it(
    machine: Machine,
) -> None:
    machine.answer(machine.state(pending("gitlab:index/userRunner:UserRunner", "r", description="dev docker")))
    machine.recover()
    assert machine.said[0] == (
        "GitLab may have made runner 'dev docker': if it lists two, delete the one that has never contacted it"
    )


@pytest.mark.parametrize("moment", ["2026-01-02T03:04:04.999999999Z", "2026-01-02T03:30:00+01:00"])
@pytest.mark.parametrize("locked", [True, False])
def test_an_object_of_another_clones_stack_of_that_name_is_left(machine: Machine, moment: str, locked: bool) -> None:
    if locked:
        machine.lock(ended())
    machine.answer(machine.state(pending(CONTAINER, "x")), listed("container"), made(moment))
    machine.recover()
    assert [change for change in machine.changes if change.startswith("docker")] == []
    assert machine.said[0] == (
        f"left container x ({SHORT_ID}) alone, because nothing shows that the interrupted update made it: if no other "
        f"stack uses it, remove it with `docker --host {DEFAULT_HOST} container rm {SHORT_ID}`"
    )


def test_without_a_lock_nothing_tells_when_the_update_began_and_nothing_is_removed(machine: Machine) -> None:
    machine.answer(machine.state(pending(CONTAINER, "x")), listed("container"), made())
    machine.recover()
    assert machine.changes == [f"pulumi stack import --stack {STACK}"]


def test_a_network_that_something_uses_is_left_and_the_lock_with_it(machine: Machine) -> None:
    machine.lock(ended())
    used = {"words": ["docker", "network", "rm"], "stderr": "network x has active endpoints\n", "code": 1}
    machine.answer(machine.state(pending(NETWORK, "x")), listed("network"), made(kind="network"), used)
    with pytest.raises(ToolchainError) as caught:
        machine.recover()
    assert str(caught.value) == (
        "docker --host unix:///var/run/docker.sock network rm (the engine of the interrupted update has to answer): "
        "failed with exit code 1.\n    network x has active endpoints"
    )
    assert machine.changes == [f"docker --host {DEFAULT_HOST} network rm {FULL_ID}"]


def test_an_engine_that_fails_is_an_error_and_the_pending_creations_stay(machine: Machine) -> None:
    broken = {"words": ["docker"], "stderr": "Cannot connect\n", "code": 1}
    machine.answer(machine.state(pending(CONTAINER, "x")), broken)
    with pytest.raises(ToolchainError) as caught:
        machine.recover()
    assert str(caught.value) == (
        "docker --host unix:///var/run/docker.sock container ls (the engine of the interrupted update has to answer): "
        "failed with exit code 1.\n    Cannot connect"
    )
    assert machine.changes == []


def test_an_engine_that_hangs_is_given_up_after_a_while(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "DOCKER_SECONDS", 1)
    machine.answer(machine.state(pending(CONTAINER, "x")), {"words": ["docker"], "seconds": 30})
    with pytest.raises(ToolchainError) as caught:
        machine.recover()
    assert str(caught.value) == (
        "docker --host unix:///var/run/docker.sock container ls (the engine of the interrupted update has to answer): "
        "not finished after 1.0 s, stopped."
    )


def test_a_command_that_is_missing_is_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine.root))
    with pytest.raises(ToolchainError) as caught:
        machine.recover()
    assert str(caught.value) == (
        "pulumi stack export --stack dev (see docs/pitfalls.md): cannot run pulumi: No such file or directory"
    )


def test_two_recoveries_do_not_run_at_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "WAIT_SECONDS", 0)
    path = machine.root / "state" / "recover.lock"
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ToolchainError) as caught:
            machine.recover()
    assert str(caught.value) == (f"waited 0.0 s for another process that holds {path}; see `fuser {path}`")
    machine.recover()


def test_a_project_without_a_name_is_an_error(machine: Machine) -> None:
    (machine.root / "Pulumi.yaml").write_text("runtime: {name: python}\n")
    with pytest.raises(ToolchainError) as caught:
        machine.recover()
    assert str(caught.value) == f"{machine.root}/Pulumi.yaml has no name of the project: write `name: ...`"


@pytest.mark.parametrize("text", ['name: "p"\n', "# one\nname:   'p' # two\n", "runtime:\n  name: q\nname: p\n"])
def test_the_name_of_the_project_is_found_however_it_is_written(machine: Machine, text: str) -> None:
    (machine.root / "Pulumi.yaml").write_text(text)
    machine.lock(ended())
    machine.recover()
    assert machine.changes == [f"pulumi cancel --yes --stack {STACK}"]


def test_the_command_prints_an_error_and_fails(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.answer({"words": ["pulumi"], "stderr": "error: no stack named 'dev' found\n", "code": 255})
    before = signal.getsignal(signal.SIGTERM)
    assert command_line.main(["recover", STACK]) == 1
    signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == (
        "error: pulumi stack export --stack dev (see docs/pitfalls.md): failed with exit code 255.\n"
        "    error: no stack named 'dev' found\n"
    )
