"""What a killed update left is found and removed, on a state and commands that are made up."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stacks import recover

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
        return [line for line in joined if " ls " not in line and "stack export" not in line]

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
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    recover.recover(STACK)
    assert machine.calls == [["pulumi", "stack", "export", "--stack", STACK]]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("url", ["s3://bucket", "https://api.pulumi.com", "", "file:///nowhere/at/all"])
def test_another_backend_and_a_state_that_is_not_there_are_left_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    machine.lock(ended())
    recover.recover(STACK)
    assert machine.calls == []


def test_the_lock_of_a_process_that_has_ended_is_cancelled(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = ended()
    machine.lock(pid)
    recover.recover(STACK)
    assert machine.changes == [f"pulumi cancel --yes --stack {STACK}"]
    assert capsys.readouterr().out == (
        f"recover: removed the lock of process {pid}, which has ended (taken at 2026-01-02T03:04:05Z)\n"
    )


def test_the_lock_of_a_process_that_is_no_pulumi_any_more_is_cancelled(
    machine: Machine, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    other = start("another")
    machine.lock(other.pid)
    recover.recover(STACK)
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
    recover.recover(STACK)
    zombie.wait()
    assert machine.changes == [f"pulumi cancel --yes --stack {STACK}"]


def test_while_an_update_runs_nothing_is_touched(
    machine: Machine, start: Callable[[str], subprocess.Popen[bytes]], capsys: pytest.CaptureFixture[str]
) -> None:
    update = start("pulumi-alive")
    machine.lock(ended())
    machine.lock(update.pid)
    machine.answer(machine.state(pending(CONTAINER, "x")), listed("container"))
    recover.recover(STACK)
    update.kill()
    update.wait()
    assert machine.calls == []
    assert capsys.readouterr().out == ""


def test_an_update_that_begins_while_the_state_is_read_is_left_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.answer(machine.state(pending(CONTAINER, "x")), listed("container"))
    found = iter([[], [recover.Lock(os.getpid(), "elsewhere", "now")]])
    monkeypatch.setattr(recover, "_locks", lambda _: next(found))
    recover.recover(STACK)
    assert machine.changes == []


@pytest.mark.parametrize("pid", [1, "one", None])
def test_the_lock_of_another_machine_and_one_that_nobody_understands_are_left(machine: Machine, pid: object) -> None:
    machine.lock(pid, host="another-machine")
    recover.recover(STACK)
    assert machine.calls == []


def test_containers_and_then_networks_with_our_label_are_removed_and_the_pending_creations_dropped(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.lock(ended())
    machine.answer(
        machine.state(pending(NETWORK, "x"), pending(CONTAINER, "x-dind"), engine={"host": "tcp://far:2375"}),
        listed("container"),
        listed("network", identity="f" * 64),
    )
    recover.recover(STACK)
    docker = "docker --host tcp://far:2375"
    assert machine.changes == [
        f"{docker} container rm --force --volumes {FULL_ID}",
        f"{docker} network rm {'f' * 64}",
        f"pulumi cancel --yes --stack {STACK}",
        f"pulumi stack import --stack {STACK}",
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"recover: removing container x-dind ({SHORT_ID}), which an interrupted update made"
    assert lines[1] == "recover: removing network x (ffffffffffff), which an interrupted update made"
    assert lines[3:] == [
        "recover: dropped the interrupted creation of x-resource, x-dind-resource from the state of stack dev"
    ]


def test_objects_are_looked_up_by_their_whole_name(machine: Machine) -> None:
    machine.answer(machine.state(pending(CONTAINER, "a.b-dind")))
    recover.recover(STACK)
    looked = next(call for call in machine.calls if "ls" in call)
    assert looked[looked.index("--filter") + 1] == r"name=^a\.b\-dind$"
    assert "--all" in looked


@pytest.mark.parametrize(("variable", "host"), [("tcp://near:2375", "tcp://near:2375"), (None, recover.DEFAULT_HOST)])
def test_a_provider_without_a_host_takes_that_of_the_environment_or_the_default(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str | None, host: str
) -> None:
    if variable:
        monkeypatch.setenv("DOCKER_HOST", variable)
    machine.answer(machine.state(pending(NETWORK, "x")), listed("network"))
    recover.recover(STACK)
    assert f"docker --host {host} network rm {FULL_ID}" in machine.changes


def test_a_container_with_a_grace_period_is_stopped_before_it_is_removed(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.answer(machine.state(pending(CONTAINER, "x-runner", destroyGraceSeconds=120)), listed("container"))
    recover.recover(STACK)
    assert [change.partition(" container ")[2] for change in machine.changes[:2]] == [
        f"stop --time 120 {FULL_ID}",
        f"rm --force --volumes {FULL_ID}",
    ]
    assert capsys.readouterr().out.splitlines()[0] == (
        f"recover: removing container x-runner ({SHORT_ID}), which an interrupted update made; "
        "it has up to 120 s to stop"
    )


@pytest.mark.parametrize("label", ["", "other"])
def test_an_object_of_that_name_without_our_label_is_left(
    machine: Machine, capsys: pytest.CaptureFixture[str], label: str
) -> None:
    machine.answer(machine.state(pending(CONTAINER, "x")), listed("container", label))
    recover.recover(STACK)
    assert machine.changes == [f"pulumi stack import --stack {STACK}"]
    assert capsys.readouterr().out.splitlines()[0] == (
        f"recover: left container x ({SHORT_ID}) alone, because it has no label dindrunner.stack=dev: "
        "rename or remove it, or set another settings.name"
    )


def test_an_object_that_the_state_knows_is_never_touched(machine: Machine) -> None:
    known = {"urn": "urn:pulumi:dev::p::docker::old", "type": CONTAINER, "id": FULL_ID}
    machine.answer(machine.state(pending(CONTAINER, "x"), known=[known]), listed("container"))
    recover.recover(STACK)
    assert machine.changes == [f"pulumi stack import --stack {STACK}"]


def test_pending_operations_other_than_creations_are_left_to_pulumi(machine: Machine) -> None:
    operations = [pending(CONTAINER, "x", "updating"), pending(CONTAINER, "y", "deleting")]
    machine.answer(machine.state(*operations), listed("container"))
    recover.recover(STACK)
    assert machine.changes == []


def test_a_pending_runner_is_named_because_gitlab_may_have_made_it(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.answer(machine.state(pending("gitlab:index/userRunner:UserRunner", "r", description="dev docker")))
    recover.recover(STACK)
    assert capsys.readouterr().out.splitlines()[0] == (
        "recover: GitLab may have made runner 'dev docker': if it lists two, delete the one that has never contacted it"
    )


def test_a_network_that_something_uses_is_left_and_the_lock_with_it(machine: Machine) -> None:
    machine.lock(ended())
    used = {"words": ["docker", "container", f"network={FULL_ID}"], "stdout": "one\ntwo\n"}
    machine.answer(machine.state(pending(NETWORK, "x")), used, listed("network"))
    with pytest.raises(recover.RecoveryError) as caught:
        recover.recover(STACK)
    assert str(caught.value) == (
        f"network x ({SHORT_ID}), which an interrupted update made, is used by one, two: "
        "remove or disconnect that, then try again"
    )
    assert machine.changes == []


def test_an_engine_that_fails_is_an_error_and_the_pending_creations_stay(machine: Machine) -> None:
    broken = {"words": ["docker"], "stderr": "Cannot connect\n", "code": 1}
    machine.answer(machine.state(pending(CONTAINER, "x")), broken)
    with pytest.raises(recover.RecoveryError) as caught:
        recover.recover(STACK)
    assert str(caught.value) == (
        "`docker --host unix:///var/run/docker.sock container ls` failed: Cannot connect: "
        "the engine of the interrupted update has to answer"
    )
    assert machine.changes == []


def test_an_engine_that_hangs_is_given_up_after_a_while(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "DOCKER_SECONDS", 1)
    machine.answer(machine.state(pending(CONTAINER, "x")), {"words": ["docker"], "seconds": 30})
    with pytest.raises(recover.RecoveryError) as caught:
        recover.recover(STACK)
    assert str(caught.value) == (
        "`docker --host unix:///var/run/docker.sock container ls` has not ended within 1 s: "
        "the engine of the interrupted update has to answer"
    )


def test_a_command_that_is_missing_is_an_error(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(machine.root))
    with pytest.raises(recover.RecoveryError) as caught:
        recover.recover(STACK)
    assert str(caught.value) == "pulumi is not in PATH: run `. .toolchain/env` first"


def test_two_recoveries_do_not_run_at_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "WAIT_SECONDS", 0)
    path = machine.root / "state" / "recover.lock"
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(recover.RecoveryError) as caught:
            recover.recover(STACK)
    assert str(caught.value) == (
        f"waited 0 s for another recovery, which holds {path}: see who does with `fuser {path}`"
    )
    recover.recover(STACK)


def test_the_command_prints_an_error_on_one_line_and_fails(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.answer({"words": ["pulumi"], "stderr": "error: no stack named 'dev' found\n", "code": 255})
    monkeypatch.setattr(sys, "argv", ["recover", STACK])
    assert recover.main() == 1
    assert capsys.readouterr().err == (
        "recover: `pulumi stack export --stack dev` failed: error: no stack named 'dev' found: see docs/pitfalls.md\n"
    )


def test_the_command_wants_one_stack(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["recover"])
    assert recover.main() == 2
    assert capsys.readouterr().err == "usage: python -m stacks.recover STACK\n"
