"""The sandbox as a process: `python -m lab up`, `status`, `token`, `down`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import requests

from lab.__main__ import main
from lab.gitlab import server, store
from toolchain.shared import ToolchainError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Own:
    """A sandbox of a test's own. said: its progress lines."""

    directory: Path
    port: int
    said: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def info(self) -> Path:
        return self.directory / "sandbox.json"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return (self.state / "root-token").read_text().strip()

    @property
    def pid(self) -> int:
        return int(json.loads((self.state / "processes.json").read_text())["pid"])

    def up(self, host: str = "127.0.0.1") -> None:
        server.up(state=self.state, host=host, port=self.port, registry_port=0, info=self.info, say=self.said.append)

    def down(self) -> None:
        server.down(state=self.state, info=self.info, say=self.said.append)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Own]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Own(tmp_path, port)
    yield found
    found.down()


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and path.read_bytes() != b""


def test_the_command_line_starts_it_and_stops_it(own: Own) -> None:
    def call(command: str, *more: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "lab", command, "--state", str(own.state), *more]
        return subprocess.run(words, cwd=ROOT, text=True, capture_output=True, timeout=60, check=True)

    info = ["--info", str(own.info)]
    up = call("up", "--host", "127.0.0.1", "--port", str(own.port), "--registry-port", "0", *info)
    pid = own.pid
    assert requests.get(own.url, timeout=5).status_code == 200
    # It leads a session of its own: the end of the terminal is not its end.
    assert os.getsid(pid) == pid
    said = up.stdout + up.stderr + own.info.read_text() + (own.state / "sandbox.log").read_text()
    assert own.token not in said
    assert "sandbox: stopped" in call("down", *info).stderr
    assert not runs(pid)


def test_up_is_repeated_without_a_change_and_down_leaves_no_process(
    own: Own, capsys: pytest.CaptureFixture[str]
) -> None:
    own.up()
    info = json.loads(own.info.read_text())
    assert (info["url"], info["registry"], info["project"]) == (own.url, None, "demo/fastapi-app")
    assert own.info.stat().st_mode & 0o777 == 0o600
    pid = own.pid
    own.up()
    assert own.said[-1] == f"sandbox: running at {own.url}"
    assert own.pid == pid
    assert main(["status", "--state", str(own.state)]) == 0
    assert json.loads(capsys.readouterr().out)["url"] == own.url
    own.down()
    assert not runs(pid)
    assert not own.info.exists()
    assert main(["status", "--state", str(own.state)]) == 3
    own.down()
    assert own.said[-2:] == ["sandbox: stopped", "sandbox: not running"]


def test_the_token_command_prints_the_administrators_token_or_makes_another(
    own: Own, capsys: pytest.CaptureFixture[str]
) -> None:
    own.up()
    assert main(["token", "--state", str(own.state)]) == 0
    assert main(["token", "--state", str(own.state), "--scopes", "read_api"]) == 0
    root, reading = capsys.readouterr().out.split()
    assert root == own.token
    statuses = [
        requests.post(
            f"{own.url}/api/v4/user/runners",
            headers={"PRIVATE-TOKEN": token},
            data={"runner_type": "instance_type"},
            timeout=5,
        ).status_code
        for token in (root, reading)
    ]
    assert statuses == [201, 403]
    assert main(["token", "--state", str(own.state), "--scopes", "api,all"]) == 1
    assert capsys.readouterr().err.startswith("error: --scopes: all unknown; known are api, read_api, ")


def test_a_token_needs_a_sandbox(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "--state", str(tmp_path)]) == 1
    words = f"error: {tmp_path}/root-token is missing: start the sandbox with `python -m lab up`\n"
    assert capsys.readouterr().err == words


def test_a_state_of_another_kind_is_told_with_a_remedy(own: Own) -> None:
    own.state.mkdir()
    (own.state / "gitlab.db").write_text("no database, but long enough to be taken for one" * 100)
    with pytest.raises(ToolchainError) as caught:
        own.up()
    path = own.state / "gitlab.db"
    assert str(caught.value) == f"{path} is no state of this sandbox (file is not a database): delete {own.state}"
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA user_version = 2")
    with pytest.raises(ToolchainError, match=r"sandbox \(its tables are of version 2, not 3\): delete "):
        own.up()


def test_a_state_that_another_process_holds_is_not_to_be_deleted(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    own.state.mkdir()
    path = own.state / "gitlab.db"
    monkeypatch.setattr(store, "_LOCK_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ToolchainError) as caught:
            own.up()
    assert str(caught.value) == (
        f"{path} cannot be used (database is locked): look for another process that holds it (`fuser {path}`), a full "
        "disk or a file system that is read-only, then repeat"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_command_ends_without_a_traceback(own: Own, number: signal.Signals) -> None:
    own.state.mkdir()
    with (own.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = [sys.executable, "-m", "lab", "up", "--state", str(own.state), "--host", "127.0.0.1"]
        # A test run in the background has SIGINT ignored, and its children with it.
        heeding = partial(signal.signal, number, signal.SIG_DFL)
        with subprocess.Popen(words, cwd=ROOT, text=True, stderr=subprocess.PIPE, preexec_fn=heeding) as up:
            assert up.stderr is not None
            assert "waiting for another process that holds" in up.stderr.readline()
            up.send_signal(number)
            try:
                _, said = up.communicate(timeout=10)
            finally:
                up.kill()
            assert (said, up.returncode) == ("interrupted; the same command goes on from here\n", 130)


def test_a_killed_sandbox_comes_back_with_its_state(own: Own) -> None:
    own.up()
    token, pid = own.token, own.pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    own.up()
    assert own.pid != pid
    assert own.token == token


def test_a_process_that_is_not_the_sandbox_is_left_alone(own: Own) -> None:
    own.state.mkdir()
    with subprocess.Popen(["sleep", "60"]) as other:
        (own.state / "processes.json").write_text(json.dumps({"pid": other.pid, "registry_pid": other.pid}))
        own.down()
        assert other.poll() is None
        other.kill()


def test_a_port_in_use_is_told_with_a_remedy(own: Own) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", own.port))
        taken.listen()
        with pytest.raises(ToolchainError) as caught:
            own.up()
    assert str(caught.value) == (
        f"--port: 127.0.0.1:{own.port} is in use by another program (`ss -ltnp 'sport = :{own.port}'` shows it); "
        "stop that one, or choose another port with --port"
    )


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            "0.0.0.0",
            "--host: 0.0.0.0 would listen in every network of this machine; leave --host out to listen on Docker's "
            "default bridge only, or give one address",
        ),
        ("localhost", "--host: 'localhost' is no IPv4 address; give one of this machine's, such as docker0's"),
        ("::", "--host: '::' is no IPv4 address; give one of this machine's, such as docker0's"),
        (
            "203.0.113.9",
            "--host: 203.0.113.9 is no address of this machine; give one that the stack's containers can reach",
        ),
    ],
)
def test_an_address_that_cannot_be_is_refused(own: Own, host: str, message: str) -> None:
    with pytest.raises(ToolchainError) as caught:
        own.up(host)
    assert str(caught.value) == message


def test_a_sandbox_that_does_not_start_shows_its_last_lines(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ROOT", own.directory)  # where `python -m lab` finds nothing
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(ToolchainError) as caught:
        own.up()
    first, *lines = str(caught.value).splitlines()
    log = own.state / "sandbox.log"
    assert first == f"the sandbox at {own.url} ended with exit code 1 before it answered. The last lines of {log}:"
    assert lines[-1].endswith("No module named lab")
    assert not own.info.exists()


def test_a_request_in_flight_does_not_keep_it_from_stopping(own: Own) -> None:
    own.up()
    headers = {"PRIVATE-TOKEN": own.token}
    faults = f"{own.url}/-/sandbox/faults"
    requests.post(faults, json={"match": "/version", "delay_seconds": 200}, headers=headers, timeout=5)
    with socket.create_connection(("127.0.0.1", own.port), timeout=5) as waiting:
        waiting.sendall(b"GET /api/v4/version HTTP/1.1\r\nHost: x\r\n\r\n")
        pid, began = own.pid, time.monotonic()
        own.down()
        assert time.monotonic() - began < 10
    assert not runs(pid)
