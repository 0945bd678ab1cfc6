"""What make calls in which case, with commands that only write down that they were called."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDER = '#!/bin/sh\necho "$(basename "$0") $*" >> "$CALLS"\n'

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runs make in a directory of its own, where python3 answers with the given shell commands."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    (tmp_path / ".toolchain").mkdir()
    (tmp_path / ".toolchain" / "env").touch()
    (tmp_path / "Pulumi.dev.yaml").touch()

    def run(*arguments: str, python3: str = "") -> subprocess.CompletedProcess[str]:
        for name, more in {"pulumi": "", "python": "", "python3": python3}.items():
            program = tmp_path / name
            program.write_text(RECORDER + more + "\n")
            program.chmod(0o755)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
        command = ["make", "--file", str(ROOT / "Makefile"), *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def calls(directory: Path) -> list[str]:
    return (directory / "calls").read_text().splitlines()


def test_a_stack_gets_what_its_settings_ask_for_before_pulumi_is_called(make: Make, tmp_path: Path) -> None:
    assert make("stack").returncode == 0
    assert calls(tmp_path) == [
        "python3 -m lab prepare --stack dev",
        "python -m lab up --stack dev",
        "pulumi --non-interactive stack select --create dev",
    ]


@pytest.mark.parametrize("target", ["up", "preview", "refresh"])
def test_nothing_is_begun_where_a_stack_does_not_get_it(make: Make, tmp_path: Path, target: str) -> None:
    assert make(target, python3="exit 1").returncode != 0
    assert calls(tmp_path) == ["python3 -m lab prepare --stack dev"]


def test_a_stack_is_taken_down_with_what_it_was_the_last_to_use(make: Make, tmp_path: Path) -> None:
    assert make("down", "STACK=pi", "SANDBOX_ARGS=--port 9929").returncode == 0
    assert calls(tmp_path) == ["python -m lab take-down pi --port 9929"]


def test_where_nothing_was_set_up_nothing_is_taken_down(make: Make, tmp_path: Path) -> None:
    (tmp_path / ".toolchain" / "env").unlink()
    done = make("down")
    assert (done.returncode, done.stdout) == (0, "nothing was set up here\n")
    assert not (tmp_path / "calls").exists()


def test_the_sandboxs_ports_are_passed_on(make: Make, tmp_path: Path) -> None:
    assert make("stack", "SANDBOX_ARGS=--port 9929 --registry-port 9005").returncode == 0
    assert "python -m lab up --stack dev --port 9929 --registry-port 9005" in calls(tmp_path)


def test_what_a_killed_update_left_is_cleared_away_before_an_update_and_never_for_a_preview(
    make: Make, tmp_path: Path
) -> None:
    assert make("preview").returncode == 0
    assert "python3 -m toolchain recover dev" not in calls(tmp_path)
    assert make("up").returncode == 0
    assert calls(tmp_path)[-2:] == [
        "python3 -m toolchain recover dev",
        "pulumi --non-interactive up --yes --parallel 8 --stack dev",
    ]


def test_versions_are_shown_for_the_stack_that_is_named(make: Make, tmp_path: Path) -> None:
    assert make("versions", "STACK=pi").returncode == 0
    assert calls(tmp_path) == ["python -m tools versions --stack pi"]


def test_the_demo_leaves_a_stack_as_it_is(make: Make, tmp_path: Path) -> None:
    assert make("demo").returncode == 0
    assert calls(tmp_path) == ["python -m lab demo"]


def test_the_demo_on_another_daemon_knows_which_stack_is_to_have_it(make: Make, tmp_path: Path) -> None:
    assert make("demo", "DAEMON=next", "ARGS=--limit 60").returncode == 0
    assert calls(tmp_path) == ["python -m lab demo --stack dev --daemon next --limit 60"]


def test_no_daemon_is_made_for_a_stack_without_settings(make: Make, tmp_path: Path) -> None:
    done = make("demo", "DAEMON=next", "STACK=nope")
    assert done.returncode != 0
    assert "there is no Pulumi.nope.yaml: copy Pulumi.dev.yaml and change its settings" in done.stderr
    assert not (tmp_path / "calls").exists()
