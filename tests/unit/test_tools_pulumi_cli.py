"""How Pulumi is run: its limit, its progress, and what is known before it has said anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import pulumi_cli
from tools.__main__ import main
from tools.failures import Kind
from tools.pulumi_cli import Stack

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "config:\n  gitlab-dind-runners:settings: {target: docker-host}\n"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack with its state in a directory, in the current one."""
    (tmp_path / "Pulumi.yaml").write_text("name: gitlab-dind-runners\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/state")
    return Stack("dev")


def pulumi_does(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have a program of that name on PATH."""
    (directory / "bin").mkdir()
    program = directory / "bin/pulumi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_a_preview_that_does_not_end_is_ended(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_does(tmp_path, monkeypatch, 'case "$*" in *config*) exit 1;; esac; echo asking >&2; exec sleep 60')
    monkeypatch.setattr(pulumi_cli, "PREVIEW_SECONDS", 0.5)
    monkeypatch.setattr(pulumi_cli, "PROGRESS_SECONDS", 0.2)
    began = time.monotonic()
    failure = stack.preview().failure
    assert time.monotonic() - began < 5
    assert failure is not None
    assert failure.kind is Kind.TIME
    assert failure.output == "asking"
    assert "... 0 s, 0 resources looked at" in capsys.readouterr().out


def test_without_pulumi_it_is_said_how_to_get_it(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    failure = stack.preview().failure
    assert failure is not None
    assert failure.lines == ("pulumi is not on PATH: run: . .toolchain/env",)


def test_what_an_update_prints_reaches_the_log_without_secrets(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_does(tmp_path, monkeypatch, "echo token glpat-abcdefghij0123456789; echo bad >&2; exit 3")
    assert stack.run_loud(["up"]).status == 3
    assert set(capsys.readouterr().out.splitlines()) == {"token [secret]", "bad"}


def test_a_key_of_several_lines_reaches_no_log_of_an_update(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        "-----BEGIN PRIVATE KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
        "abc=",
        "-----END PRIVATE KEY-----",
        "done: 1",
    ]
    pulumi_does(tmp_path, monkeypatch, "\n".join(f"echo '{line}'" for line in lines))
    assert stack.run_loud(["up"]).status == 0
    assert capsys.readouterr().out.splitlines() == ["[secret]"] * 4 + ["done: 1"]


# Ctrl-C, or a cancelled job, by Pulumi itself so that it comes at the right moment; it then ends what it has begun.
INTERRUPTED = """left=1000
trap 'echo "^C received; cancelling."; left=10' INT
sleep 0.5; kill -INT %s
while [ $left -gt 0 ]; do sleep 0.1; left=$((left - 1)); done
echo "lock given back"; exit 1"""


@pytest.mark.parametrize("told", ["$PPID", "$PPID $$"], ids=["this process", "every process"])
def test_an_update_that_is_interrupted_is_told_so_once_and_ends_what_it_has_begun(
    told: str, stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_does(tmp_path, monkeypatch, INTERRUPTED % told)
    monkeypatch.setattr(pulumi_cli, "KILL_SECONDS", 0.2)
    monkeypatch.setattr(pulumi_cli, "HEARD_SECONDS", 0.3)
    with pytest.raises(KeyboardInterrupt):
        stack.run_loud(["up"])
    said = "interrupted: what Pulumi is doing is ended first; interrupt once more to drop it"
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(["^C received; cancelling.", said, "lock given back"])


def test_a_second_interrupt_drops_what_an_update_is_doing(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Told again, it says no more: a third interrupt would be for whatever comes after this test.
    script = "trap 'trap \"\" INT; kill -INT $PPID' INT\nsleep 0.5; kill -INT $PPID\nwhile :; do sleep 0.1; done"
    pulumi_does(tmp_path, monkeypatch, script)
    monkeypatch.setattr(pulumi_cli, "KILL_SECONDS", 0.5)
    monkeypatch.setattr(pulumi_cli, "HEARD_SECONDS", 0.1)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        stack.run_loud(["up"])
    assert time.monotonic() - began < 5
    assert "interrupt once more" in capsys.readouterr().out


def test_a_job_that_gitlab_cancels_asks_pulumi_to_end_once_and_leaves_no_file(stack: Stack, tmp_path: Path) -> None:
    temporary, program = tmp_path / "tmp", tmp_path / "bin" / "pulumi"
    temporary.mkdir()
    program.parent.mkdir()
    # As a runner does it: the whole group of processes is told.
    program.write_text(
        '#!/bin/sh\ncase "$*" in *config*) exit 1;; esac\n'
        f"trap 'echo INT >>{tmp_path}/asked; exit 1' INT\ntrap 'echo TERM >>{tmp_path}/asked' TERM\n"
        "sleep 0.5; kill -TERM -$PPID\nwhile :; do sleep 0.1; done\n"
    )
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "tools", "preview", "--stack", stack.name],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("CI_")},
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(temporary),
        },
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert (tmp_path / "asked").read_text() == "INT\n"
    assert list(temporary.iterdir()) == []


def test_a_lock_in_local_files_is_known_with_its_holder(stack: Stack, tmp_path: Path) -> None:
    assert stack.lock() == ""
    locks = tmp_path / "state/.pulumi/locks/organization/gitlab-dind-runners/dev"
    locks.mkdir(parents=True)
    (locks / "0.json").write_text('{"pid": 42, "username": "anna", "hostname": "ci-7", "timestamp": "2026-11-21"}')
    assert stack.lock() == "anna@ci-7 (pid 42) since 2026-11-21"


@pytest.mark.usefixtures("stack")
def test_a_stack_without_a_file_is_told_before_pulumi_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI_MERGE_REQUEST_IID", raising=False)
    assert main(["preview", "--stack", "other"]) == 1
    assert capsys.readouterr().out == (
        "Preview of stack other: failed: Pulumi.other.yaml: is missing: copy Pulumi.dev.yaml and change its settings\n"
    )


@pytest.mark.parametrize("command", ["preview", "drift", "up", "destroy"])
@pytest.mark.parametrize("name", ["", "a b", "dev --> @all", "dev\n/merge", "größe", "a/b", "\x1b[31m", "x" * 101])
def test_a_name_that_pulumi_does_not_take_is_refused_before_it_reaches_a_note(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rest = "use up to 100 letters, digits, - _ and .\n"
    assert main([command, "--stack", name]) == 1
    assert capsys.readouterr() == ("", f"--stack: {name[:100]!r} is no name of a stack: {rest}")
    (tmp_path / "Pulumi.yaml").write_text(json.dumps({"name": name}))
    assert main([command, "--stack", "dev"]) == 1
    assert capsys.readouterr() == ("", f"Pulumi.yaml: name: {name[:100]!r} is no name of a project: {rest}")
    assert os.listdir() == ["Pulumi.yaml"]


@pytest.mark.parametrize("words", [[], ["preview"], ["nonsense"], ["up", "--stack", "dev", "--out", "x"]])
def test_wrong_usage_ends_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: python -m tools" in capsys.readouterr().err
