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
    """Runs make in a directory of its own, where pulumi and python3 answer with the given shell commands."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    (tmp_path / ".toolchain").mkdir()
    (tmp_path / ".toolchain" / "env").touch()
    (tmp_path / "Pulumi.dev.yaml").write_text("gitlab: {url: sandbox}\n")

    def run(*arguments: str, stacks: str = "echo '[]'", python3: str = "") -> subprocess.CompletedProcess[str]:
        for name, more in {"pulumi": stacks, "python": "", "python3": python3}.items():
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


def test_the_last_stack_takes_the_sandbox_and_the_engine_with_it(make: Make, tmp_path: Path) -> None:
    assert make("stop", stacks="""echo '[{"name": "dev", "resourceCount": 0}]'""").returncode == 0
    assert calls(tmp_path)[1:] == ["python -m lab down", "python3 -m toolchain engine down"]


def test_the_sandbox_and_the_engine_stay_while_another_stack_is_up(make: Make, tmp_path: Path) -> None:
    done = make("stop", stacks="""echo '[{"name": "dev", "resourceCount": 12}]'""")
    assert done.stdout == "the sandbox and the engine stay, because another stack is still up (pulumi stack ls)\n"
    assert calls(tmp_path) == ["pulumi stack ls --json", "python3 -m toolchain is-up"]


def test_nothing_is_stopped_where_pulumi_cannot_tell_which_stacks_are_up(make: Make, tmp_path: Path) -> None:
    assert make("stop", stacks="exit 255").returncode != 0
    assert calls(tmp_path) == ["pulumi stack ls --json"]


def test_the_sandboxs_ports_are_passed_on(make: Make, tmp_path: Path) -> None:
    assert make("stack", "SANDBOX_ARGS=--port 9929 --registry-port 9005").returncode == 0
    assert "python -m lab up --port 9929 --registry-port 9005" in calls(tmp_path)


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


NEXT_IMAGE = "dindrunner.local/dind-next:29-0a1b2c3d"


def test_the_demo_leaves_a_stack_as_it_is(make: Make, tmp_path: Path) -> None:
    assert make("demo").returncode == 0
    assert calls(tmp_path) == ["python -m lab demo"]


def test_the_demo_on_the_next_daemon_gives_the_stack_that_one_in_settings_of_its_own(
    make: Make, tmp_path: Path
) -> None:
    done = make("demo", "DAEMON=next", python3=f"echo {NEXT_IMAGE}")
    assert done.returncode == 0, done.stderr
    settings = ".toolchain/Pulumi.dev-next.yaml"
    path = "gitlab-dind-runners:settings.daemon.image"
    assert calls(tmp_path) == [
        "python3 -m lab next-daemon",
        "python3 -m toolchain recover dev",
        f"pulumi config set --stack dev --config-file {settings} --path {path} {NEXT_IMAGE}",
        f"pulumi --non-interactive up --yes --parallel 8 --stack dev --config-file {settings}",
        "python -m lab demo",
    ]
    assert (tmp_path / settings).read_text() == (tmp_path / "Pulumi.dev.yaml").read_text()


@pytest.mark.parametrize("failing", ["python3", "pulumi"])
def test_there_is_no_demo_where_the_stack_did_not_get_the_next_daemon(make: Make, tmp_path: Path, failing: str) -> None:
    done = make("demo", "DAEMON=next", **({"python3": "exit 1"} if failing == "python3" else {"stacks": "exit 1"}))
    assert done.returncode != 0
    assert "python -m lab demo" not in calls(tmp_path)


def test_another_daemon_than_the_next_one_is_refused(make: Make, tmp_path: Path) -> None:
    done = make("demo", "DAEMON=29")
    assert done.returncode != 0
    assert "DAEMON is 29: write DAEMON=next, or leave it out for the stack's own daemon\n" in done.stderr
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize(
    "settings", ["gitlab: {url: https://gitlab.com}\n", "target: gke\ngitlab: {url: sandbox}\n"], ids=["GitLab", "gke"]
)
def test_only_a_stack_of_the_sandbox_on_this_machine_gets_the_next_daemon(
    make: Make, tmp_path: Path, settings: str
) -> None:
    (tmp_path / "Pulumi.prod.yaml").write_text(settings)
    done = make("demo", "DAEMON=next", "STACK=prod")
    assert done.returncode != 0
    why = "one of the next series is for stacks on this machine whose GitLab is the sandbox"
    assert f"stack prod keeps its daemon: {why}\n" in done.stderr
    assert not (tmp_path / "calls").exists()


def test_no_daemon_is_made_for_a_stack_without_settings(make: Make, tmp_path: Path) -> None:
    done = make("demo", "DAEMON=next", "STACK=nope")
    assert done.returncode != 0
    assert "there is no Pulumi.nope.yaml: copy Pulumi.dev.yaml and change its settings" in done.stderr
    assert not (tmp_path / "calls").exists()
