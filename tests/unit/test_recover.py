"""What a killed update left is found and removed, on a state and commands that are made up."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
SERVICE = "docker:index/service:Service"
SECRET = "docker:index/secret:Secret"
RUNNER = "gitlab:index/userRunner:UserRunner"
FULL_ID = "0123456789abcdef" * 4
SHORT_ID = "0123456789ab"
SWARM_ID = "1m3rlcr7h83aqpx60mlo76a2e"
BEGAN = "2026-01-02T03:04:05Z"
JUST_AFTER, JUST_BEFORE = "2026-01-02T03:04:15.000000001Z", "2026-01-02T03:03:55.999999999Z"
TASK = {"containerSpec": {"stopGracePeriod": "1h1m1s"}}
PROVIDER = "urn:pulumi:dev::p::pulumi:providers:docker::engine"
FAKE = """#!{python} -IS
import json, os, sys, time  # no more for all: it is started hundreds of times
here, _, name = os.path.abspath(__file__).rpartition("/")
words = [name, *sys.argv[1:]]
with open(f"{{here}}/calls", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
said = words
if name == "ssh":
    import shlex
    said = [*words, *shlex.split(words[-1])]
for answer in json.load(open(f"{{here}}/answers")):
    if all(word in said for word in answer["words"]):
        if "times" in answer:
            used = f"{{here}}/used-{{'-'.join(answer['words'])}}"
            with open(used, "a") as uses:
                uses.write("x")
            if os.stat(used).st_size > answer["times"]:
                continue
        if name == "pulumi" and "import" in words:
            with open(f"{{here}}/imported", "w") as imported:
                imported.write(sys.stdin.read())
        sys.stdin.close()
        time.sleep(answer.get("seconds", 0))
        print(answer.get("stdout", ""), end="")
        if "clock" in answer:
            import datetime
            now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=answer["clock"])
            print(json.dumps(now.isoformat()))
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
        return [line for line in joined if not re.search(" (ls|inspect|info) ", line) and "stack export" not in line]

    @property
    def imported(self) -> list[str]:
        """The IDs of the resources in the state that was imported last, without the provider's."""
        state = json.loads((self.root / "bin" / "imported").read_text())
        return [resource["id"] for resource in state["deployment"]["resources"][1:]]

    def lock(self, pid: object, host: str | None = None) -> Path:
        self.locks.mkdir(parents=True, exist_ok=True)
        content = {"pid": pid, "hostname": host or socket.gethostname(), "timestamp": BEGAN}
        path = self.locks / f"{time.monotonic_ns()}.json"
        path.write_text(json.dumps(content))
        return path

    def answer(self, *answers: Mapping[str, Any]) -> None:
        """What commands that have all these words say; the first that fits."""
        always = [
            {"words": ["docker", "info", "{{json .SystemTime}}"], "clock": 0},
            {"words": ["docker", "info"], "stdout": "active\n"},
            {"words": ["pulumi", "import"]},
        ]
        (self.root / "bin" / "answers").write_text(json.dumps([*answers, *always]))

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
    for name in ("pulumi", "docker", "ssh"):
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


def pending(type_: str, name: str, operation: str = "creating", identity: str = "", **inputs: Any) -> dict[str, Any]:
    urn = f"urn:pulumi:dev::p::{type_}::{name}-resource"
    resource = {"urn": urn, "type": type_, "provider": f"{PROVIDER}::1", "inputs": {"name": name, **inputs}}
    return {"type": operation, "resource": {**resource, **({"id": identity} if identity else {})}}


def there(
    kind: str, name: str, label: str = STACK, identity: str = FULL_ID, moment: str = JUST_AFTER
) -> list[dict[str, Any]]:
    """The answers of an engine that has this."""
    labels = {"dindrunner.stack": label} if label else None
    told: dict[str, Any]
    match kind:
        case "container":
            told = {"Id": identity, "Name": f"/{name}", "Created": moment, "Config": {"Labels": labels}}
        case "network":
            told = {"Id": identity, "Name": name, "Created": moment, "Labels": labels}
        case _:
            told = {"ID": identity, "CreatedAt": moment, "Spec": {"Name": name, "Labels": labels}}
    return [
        {"words": ["docker", kind, "ls", "--quiet"], "stdout": f"{identity[:12]}\n"},
        {"words": ["docker", kind, "inspect", "{{json .}}", identity[:12]], "stdout": f"{json.dumps(told)}\n"},
    ]


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


def test_attributes_that_a_killed_pulumi_had_begun_to_write_are_removed(
    machine: Machine, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    lock = machine.lock(ended())
    states = machine.root / "state" / ".pulumi" / "stacks" / "p"
    states.mkdir(parents=True)
    whole, others = states / f"{STACK}.json.bak.attrs", states / "other.json.attrs"
    torn = [states / f"{STACK}.json.attrs", lock.with_name(f"{lock.name}.attrs")]
    for path, text in {whole: "{}", others: "", torn[0]: "", torn[1]: '{"user.'}.items():
        path.write_text(text)
    update = start("pulumi-alive")
    running = machine.lock(update.pid)
    machine.recover()
    assert all(path.exists() for path in torn)
    update.kill()
    update.wait()
    running.unlink()
    machine.recover()
    assert [path.exists() for path in (whole, others, *torn)] == [True, True, False, False]


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
    machine.answer(machine.state(pending(CONTAINER, "x")), *there("container", "x"))
    machine.recover()
    update.kill()
    update.wait()
    assert machine.calls == []
    assert machine.said == []


def test_an_update_that_begins_while_the_state_is_read_is_left_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.answer(machine.state(pending(CONTAINER, "x")), *there("container", "x"))
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
        *there("container", "x-dind"),
        *there("network", "x", identity="f" * 64),
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


@pytest.mark.parametrize(
    ("type_", "kind"), [(CONTAINER, "container"), (NETWORK, "network"), (SERVICE, "service"), (SECRET, "secret")]
)
def test_objects_whose_names_are_longer_are_found_too_and_left_in_peace(
    machine: Machine, type_: str, kind: str
) -> None:
    machine.lock(ended())
    machine.answer(machine.state(pending(type_, "x-run")), *there(kind, "x-runner"))
    machine.recover()
    looked = next(call for call in machine.calls if "ls" in call)
    assert looked[looked.index("--filter") + 1] == "name=x-run"
    assert ("--all" in looked) is (kind == "container")
    assert [change for change in machine.changes if change.startswith("docker")] == []
    assert not any(line.startswith("left ") for line in machine.said)


@pytest.mark.parametrize(("variable", "host"), [("tcp://near:2375", "tcp://near:2375"), (None, DEFAULT_HOST)])
def test_a_provider_without_a_host_takes_that_of_the_environment_or_the_default(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str | None, host: str
) -> None:
    if variable:
        monkeypatch.setenv("DOCKER_HOST", variable)
    machine.lock(ended())
    machine.answer(machine.state(pending(NETWORK, "x")), *there("network", "x"))
    machine.recover()
    assert f"docker --host {host} network rm {FULL_ID}" in machine.changes


def test_a_container_with_a_grace_period_is_stopped_before_it_is_removed(
    machine: Machine,
) -> None:
    machine.lock(ended())
    machine.answer(
        machine.state(pending(CONTAINER, "x-runner", destroyGraceSeconds=120)), *there("container", "x-runner")
    )
    machine.recover()
    assert [change.partition(" container ")[2] for change in machine.changes[:2]] == [
        f"stop -t 120 {FULL_ID}",
        f"rm --force --volumes {FULL_ID}",
    ]
    assert machine.said[0] == (
        f"removing container x-runner ({SHORT_ID}), which an interrupted update made; it has up to 120 s to stop"
    )


@pytest.mark.parametrize("label", ["", "other"])
def test_an_object_of_that_name_without_our_label_is_left(machine: Machine, label: str) -> None:
    machine.answer(machine.state(pending(CONTAINER, "x")), *there("container", "x", label))
    machine.recover()
    assert machine.changes == [f"pulumi stack import --stack {STACK}"]
    assert machine.said[0] == (
        f"left container x ({SHORT_ID}) alone, because it has no label dindrunner.stack=dev: "
        "rename or remove it, or set another settings.name"
    )


def test_an_object_that_the_state_knows_is_never_touched(machine: Machine) -> None:
    known = {"urn": "urn:pulumi:dev::p::docker::old", "type": CONTAINER, "id": FULL_ID}
    machine.answer(machine.state(pending(CONTAINER, "x"), known=[known]), *there("container", "x"))
    machine.recover()
    assert machine.changes == [f"pulumi stack import --stack {STACK}"]


def test_pending_operations_other_than_creations_are_left_to_pulumi(machine: Machine) -> None:
    operations = [pending(CONTAINER, "x", "updating"), pending(CONTAINER, "y", "deleting")]
    machine.answer(machine.state(*operations), *there("container", "x"))
    machine.recover()
    assert machine.changes == []


def test_a_pending_runner_of_a_gitlab_that_cannot_be_asked_is_named_and_the_recovery_goes_on(machine: Machine) -> None:
    machine.lock(ended())
    secrets = {"words": ["pulumi", "export", "--show-secrets"], "stdout": "glpat-x", "stderr": "glpat-x", "code": 255}
    machine.answer(secrets, machine.state(pending(RUNNER, "r", description="dev docker")))
    machine.recover()
    assert machine.said[0] == (
        "GitLab may have made runner 'dev docker', but its token cannot be read (`pulumi stack export --show-secrets` "
        "failed: is PULUMI_CONFIG_PASSPHRASE right?): if it lists two, delete the one that has never contacted it"
    )
    assert machine.changes == [f"pulumi cancel --yes --stack {STACK}", f"pulumi stack import --stack {STACK}"]
    assert machine.said[-1] == "dropped the interrupted creation of r-resource from the state of stack dev"


def test_a_runner_that_gitlab_had_made_is_deleted_while_the_lock_is_still_held(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.lock(ended())
    machine.answer(machine.state(pending(RUNNER, "r")))
    orphan = FakeOrphan(machine)
    monkeypatch.setattr(recover, "find_orphans", lambda *_: [orphan])
    machine.recover()
    assert orphan.changes_before == []
    assert machine.changes == [f"pulumi cancel --yes --stack {STACK}", f"pulumi stack import --stack {STACK}"]


def test_the_runner_of_an_update_that_begins_while_gitlab_is_asked_is_left_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    orphan = FakeOrphan(machine)
    updates: list[subprocess.Popen[bytes]] = []

    def find(*_: object) -> list[FakeOrphan]:
        updates.append(start("pulumi-alive"))
        machine.lock(updates[0].pid)
        return [orphan]

    machine.answer(machine.state(pending(RUNNER, "r")))
    monkeypatch.setattr(recover, "find_orphans", find)
    machine.recover()
    updates[0].kill()
    updates[0].wait()
    assert orphan.changes_before is None
    assert machine.changes == []


def test_secrets_are_not_in_the_state_that_is_imported(machine: Machine) -> None:
    provider = {"urn": "urn:p", "id": "1", "type": "pulumi:providers:gitlab", "inputs": {"token": "glpat-x"}}
    text = json.dumps({"version": 3, "deployment": {"resources": [provider]}})
    shown = {"words": ["pulumi", "export", "--show-secrets"], "stdout": text}
    machine.answer(shown, machine.state(pending(RUNNER, "r")))
    machine.recover()
    assert "glpat-x" not in (machine.root / "bin" / "imported").read_text()


@dataclass
class FakeOrphan:
    """Keeps what had been changed when it was deleted; None before that."""

    machine: Machine
    changes_before: list[str] | None = None

    def delete(self, _: object) -> None:
        self.changes_before = self.machine.changes


@pytest.mark.parametrize("moment", [JUST_BEFORE, "2026-01-02T03:30:00+01:00"])
@pytest.mark.parametrize("locked", [True, False])
def test_an_object_of_another_clones_stack_of_that_name_is_left(machine: Machine, moment: str, locked: bool) -> None:
    if locked:
        machine.lock(ended())
    machine.answer(machine.state(pending(CONTAINER, "x")), *there("container", "x", moment=moment))
    machine.recover()
    assert [change for change in machine.changes if change.startswith("docker")] == []
    assert machine.said[0] == (
        f"left container x ({SHORT_ID}) alone, because nothing shows that the interrupted update made it: if no other "
        f"stack uses it, remove it with `docker --host {DEFAULT_HOST} container rm --force --volumes {SHORT_ID}`"
    )


def test_without_a_lock_nothing_tells_when_the_update_began_and_nothing_is_removed(machine: Machine) -> None:
    machine.answer(machine.state(pending(CONTAINER, "x")), *there("container", "x"))
    machine.recover()
    assert machine.changes == [f"pulumi stack import --stack {STACK}"]


def test_a_network_that_something_uses_is_left_and_the_lock_with_it(machine: Machine) -> None:
    machine.lock(ended())
    used = {"words": ["docker", "network", "rm"], "stderr": "network x has active endpoints\n", "code": 1}
    machine.answer(machine.state(pending(NETWORK, "x")), *there("network", "x"), used)
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
        "pulumi stack export --stack dev (see docs/use/pitfalls.md): cannot run pulumi: No such file or directory"
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


def test_a_board_is_asked_by_ssh_with_the_providers_options(machine: Machine) -> None:
    machine.lock(ended())
    options = ["-o", "BatchMode=yes", "-o", "IdentityFile=/keys/pi"]
    engine = {"host": "ssh://pi@board:2222", "sshOpts": json.dumps(options)}
    machine.answer(machine.state(pending(CONTAINER, "x-dind"), engine=engine), *there("container", "x-dind"))
    machine.recover()
    to_the_board = ["ssh", *options, "-l", "pi", "-p", "2222", "--", "board"]
    asked = [call for call in machine.calls if call[0] != "pulumi"]
    assert [call[:-1] for call in asked] == [to_the_board] * len(asked)
    assert asked[-1][-1] == f"docker container rm --force --volumes {FULL_ID}"


@pytest.mark.parametrize("options", [["-v"], '["-v"]', [], "", None])
def test_the_providers_options_are_read_as_a_list_and_as_its_text(machine: Machine, options: object) -> None:
    engine = {"host": "ssh://board"} | ({} if options is None else {"sshOpts": options})
    machine.answer(machine.state(pending(NETWORK, "x"), engine=engine))
    machine.recover()
    looked = next(call for call in machine.calls if call[0] == "ssh")
    assert looked[1:-1] == [*(["-v"] if options else []), "--", "board"]


def test_an_object_that_is_left_on_a_board_is_named_with_a_command_that_removes_it_there(machine: Machine) -> None:
    machine.answer(machine.state(pending(NETWORK, "x"), engine={"host": "ssh://pi@board"}), *there("network", "x"))
    machine.recover()
    assert machine.said[0] == (
        f"left network x ({SHORT_ID}) alone, because nothing shows that the interrupted update made it: if no other "
        f"stack uses it, remove it with `ssh -l pi -- board 'docker network rm {SHORT_ID}'`"
    )


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_the_engines_own_clock_says_what_the_interrupted_update_made(machine: Machine, seconds: int) -> None:
    machine.lock(ended())
    clock = {"words": ["docker", "info", "{{json .SystemTime}}"], "clock": seconds}
    moments = [datetime.fromisoformat(moment) + timedelta(seconds=seconds) for moment in (JUST_BEFORE, JUST_AFTER)]
    before = there("container", "x", moment=moments[0].isoformat())
    after = there("network", "x", moment=moments[1].isoformat())
    machine.answer(machine.state(pending(CONTAINER, "x"), pending(NETWORK, "x")), clock, *before, *after)
    machine.recover()
    docker = [change for change in machine.changes if change.startswith("docker")]
    assert docker == [f"docker --host {DEFAULT_HOST} network rm {FULL_ID}"]


def test_a_service_goes_first_and_its_tasks_have_ended_before_its_secret_and_its_network_go(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "POLL_SECONDS", 0)
    machine.lock(ended())
    operations = [pending(NETWORK, "x"), pending(SECRET, "x-config"), pending(SERVICE, "x-runner", taskSpec=TASK)]
    machine.answer(
        machine.state(*operations),
        *there("service", "x-runner", identity=SWARM_ID),
        *there("secret", "x-config", identity="ppwfvztciuwm6n93q09txztsf"),
        *there("network", "x", identity="jl6lfsv91mcdeoedz0g4jt0nt"),
        {"words": ["docker", "container", "ls"], "stdout": "98d9dc4e1f26\n", "times": 2},
    )
    machine.recover()
    docker = f"docker --host {DEFAULT_HOST}"
    assert machine.changes[:3] == [
        f"{docker} service rm {SWARM_ID}",
        f"{docker} secret rm ppwfvztciuwm6n93q09txztsf",
        f"{docker} network rm jl6lfsv91mcdeoedz0g4jt0nt",
    ]
    tasks = f"{docker} container ls --all --quiet --filter label=com.docker.swarm.service.id={SWARM_ID}"
    calls = [" ".join(call) for call in machine.calls]
    looks = [place for place, call in enumerate(calls) if call == tasks]
    assert len(looks) == 3
    assert calls.index(machine.changes[0]) < looks[0]
    assert looks[-1] < calls.index(machine.changes[1])
    assert machine.said[:2] == [
        f"removing service x-runner ({SWARM_ID[:12]}), which an interrupted update made; it has up to 3661 s to stop",
        "waiting up to 62 min 01 s for the jobs of service x-runner, which is being stopped",
    ]


@pytest.mark.parametrize(("label", "identity"), [("other", SWARM_ID), ("", SWARM_ID)])
def test_a_secret_of_another_stack_is_left(machine: Machine, label: str, identity: str) -> None:
    machine.lock(ended())
    machine.answer(machine.state(pending(SECRET, "x-config")), *there("secret", "x-config", label, identity))
    machine.recover()
    assert [change for change in machine.changes if change.startswith("docker")] == []
    assert machine.said[0] == (
        f"left secret x-config ({SWARM_ID[:12]}) alone, because it has no label dindrunner.stack=dev: "
        "rename or remove it, or set another settings.name"
    )


def test_an_engine_that_has_left_its_swarm_is_not_asked_for_what_only_a_swarm_has(machine: Machine) -> None:
    left = {"words": ["docker", "info", "{{.Swarm.LocalNodeState}}"], "stdout": "inactive\n"}
    machine.answer(machine.state(pending(SERVICE, "x-runner"), pending(SECRET, "x-config")), left)
    machine.recover()
    assert not any("ls" in call for call in machine.calls)
    assert machine.changes == [f"pulumi stack import --stack {STACK}"]


def known_swarm_resources() -> list[dict[str, Any]]:
    return [
        {"urn": "urn:pulumi:dev::p::service", "type": SERVICE, "id": SWARM_ID},
        {"urn": "urn:pulumi:dev::p::secret", "type": SECRET, "id": "new"},
        {"urn": "urn:pulumi:dev::p::secret", "type": SECRET, "id": "old", "delete": True},
    ]


def test_a_service_and_a_secret_that_the_interrupted_update_has_removed_are_dropped_from_the_state(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "POLL_SECONDS", 0)
    operations = [
        pending(SERVICE, "x-runner", "deleting", SWARM_ID, taskSpec=TASK),
        pending(SECRET, "x-config", "deleting", "old"),
    ]
    machine.answer(
        machine.state(*operations, known=known_swarm_resources()),
        {"words": ["docker", "container", "ls"], "stdout": "98d9dc4e1f26\n", "times": 2},
    )
    machine.recover()
    assert machine.changes == [f"pulumi stack import --stack {STACK}"]
    assert machine.imported == ["new"]
    assert machine.said == [
        "waiting up to 62 min 01 s for the jobs of service x-runner, which is being stopped",
        "dropped service x-runner from the state of stack dev, because it is gone",
        "dropped secret x-config from the state of stack dev, because it is gone",
    ]


RECORDED = {
    "urn": "urn:pulumi:dev::p::service",
    "type": SERVICE,
    "id": SWARM_ID,
    "inputs": {"name": "x-runner", "taskSpec": TASK},
}


def test_a_service_whose_jobs_took_longer_than_the_provider_waits_is_dropped_once_they_have_ended(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "POLL_SECONDS", 0)
    task = {"words": ["docker", "container", "ls"], "stdout": "98d9dc4e1f26\n", "times": 2}
    machine.answer(machine.state(known=[RECORDED, {"urn": "u", "type": SECRET, "id": "kept"}]), task)
    machine.recover()
    assert machine.imported == ["kept"]
    assert machine.said == [
        "waiting up to 62 min 01 s for the jobs of service x-runner, which is being stopped",
        "dropped service x-runner from the state of stack dev, because it is gone",
    ]


def test_a_service_that_is_there_is_left_alone(machine: Machine) -> None:
    machine.answer(machine.state(known=[RECORDED]), *there("service", "x-runner", identity=SWARM_ID))
    machine.recover()
    assert (machine.changes, machine.said) == ([], [])


def test_a_swarm_that_cannot_be_asked_is_left_to_the_update(machine: Machine) -> None:
    machine.answer(machine.state(known=[RECORDED]), {"words": ["docker"], "stderr": "no route", "code": 1})
    machine.recover()
    assert (machine.changes, machine.said) == ([], [])


def test_a_service_whose_deletion_had_not_begun_is_left_to_pulumi(machine: Machine) -> None:
    machine.lock(ended())
    machine.answer(
        machine.state(pending(SERVICE, "x-runner", "deleting", SWARM_ID), known=known_swarm_resources()),
        *there("service", "x-runner", identity=SWARM_ID),
    )
    machine.recover()
    looked = next(call for call in machine.calls if "ls" in call)
    assert looked[looked.index("--filter") + 1] == f"id={SWARM_ID}"
    assert machine.changes == [f"pulumi cancel --yes --stack {STACK}"]


def test_what_a_swarm_had_that_the_engine_has_left_is_dropped_from_the_state(machine: Machine) -> None:
    left = {"words": ["docker", "info", "{{.Swarm.LocalNodeState}}"], "stdout": "inactive\n"}
    operation = pending(SECRET, "x-config", "deleting", "old")
    machine.answer(machine.state(operation, known=known_swarm_resources()), left)
    machine.recover()
    assert machine.imported == [SWARM_ID, "new"]


def test_tasks_that_do_not_end_are_an_error_and_the_lock_stays(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recover, "TASK_SECONDS", 0)
    machine.lock(ended())
    task = {"words": ["docker", "container", "ls"], "stdout": "98d9dc4e1f26\n"}
    machine.answer(machine.state(pending(SERVICE, "x-runner", "deleting", SWARM_ID)), task)
    with pytest.raises(ToolchainError) as caught:
        machine.recover()
    assert str(caught.value) == (
        "waited 0.0 s for the containers of service x-runner, which is gone: see `docker --host "
        f"{DEFAULT_HOST} container ls --all --quiet --filter label=com.docker.swarm.service.id={SWARM_ID}`, "
        "and try again"
    )
    assert machine.changes == []


def test_the_module_needs_no_packages_so_that_it_runs_before_they_are_installed() -> None:
    isolated = [sys.executable, "-S", "-c", "import toolchain.recover, sys; sys.exit('pulumi' in sys.modules)"]
    root = Path(__file__).resolve().parents[2]
    subprocess.run(isolated, cwd=root, check=True, timeout=60)


def test_the_command_prints_an_error_and_fails(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.answer({"words": ["pulumi"], "stderr": "error: no stack named 'dev' found\n", "code": 255})
    assert command_line.main(["recover", STACK]) == 1
    assert capsys.readouterr().err == (
        "error: pulumi stack export --stack dev (see docs/use/pitfalls.md): failed with exit code 255.\n"
        "    error: no stack named 'dev' found\n"
    )


def test_volumes_that_outlive_a_stack_are_named_with_the_command_that_removes_them(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = {"urn": "urn:pulumi:dev::p::v", "type": "docker:index/volume:Volume", "provider": f"{PROVIDER}::1"}
    known: list[dict[str, Any]] = [
        {**volume, "id": "x-dind-data", "retainOnDelete": True},
        {**volume, "id": "x-dind-certs-ca"},
    ]
    for host in ({}, {"host": "ssh://pi@board", "sshOpts": '["-v"]'}):
        machine.answer(machine.state(known=known, engine=host))
        assert command_line.main(["kept", STACK]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"kept: x-dind-data (docker --host {DEFAULT_HOST} volume rm x-dind-data)",
        "kept: x-dind-data (ssh -v -l pi -- board 'docker volume rm x-dind-data')",
    ]
