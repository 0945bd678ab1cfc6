"""The gitlab-runner and helper built here: what they are, what they have, what they lack. No Docker engine needed."""

from __future__ import annotations

import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from components.config_toml import render
from lab import images
from lab.gitlab.registry import free_port
from stacks.targets import parse
from tests.engine.world import wait_for
from tests.unit.samples import plain
from tests.unit.samples import runner as runner_settings
from toolchain import gobuild

COMMAND_SECONDS = 60
NO_GITLAB = {"url": "http://127.0.0.1:1", "scope": "instance"}
RUNNERS_COMMANDS = {"lint", "list", "register", "reset-token", "run", "run-single", "unregister", "verify"}
JOBS_COMMANDS = {
    "artifacts-downloader",
    "artifacts-uploader",
    "cache-archiver",
    "cache-extractor",
    "cache-init",
    "health-check",
    "probe-url",
    "read-logs",
    "verify-version",
}
"""What jobs call: with executor shell in the runner itself, elsewhere in the helper."""
SERVICE_COMMANDS = {"install", "uninstall", "start", "stop", "restart", "status"}


@pytest.fixture(scope="module")
def runner() -> Path:
    """The program of the image `runner`."""
    return gobuild.build(images.RUNNER, say=print)


@pytest.fixture(scope="module")
def helper() -> Path:
    """The program of the image `helper`."""
    return gobuild.build(images.HELPER, say=print)


def called(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], text=True, capture_output=True, timeout=COMMAND_SECONDS, check=False)


def commands(program: Path) -> set[str]:
    """Those that the program's help lists."""
    listed = called(program, "--help").stdout.partition("COMMANDS:")[2].partition("GLOBAL OPTIONS:")[0]
    return set(re.findall(r"^ {3}([a-z-]+)", listed, re.MULTILINE)) - {"help"}


def test_the_runner_says_that_it_is_no_official_build_and_what_it_lacks(runner: Path) -> None:
    told = called(runner, "--version").stdout
    assert re.search(rf"^Version: +{re.escape(images.RUNNER_VERSION)}$", told, re.MULTILINE)
    assert re.search(r"^Build: +from Go modules, not the official one$", told, re.MULTILINE)
    assert re.search(r"^Executors: +docker, shell, custom$", told, re.MULTILINE)
    for missing in ("docker-autoscaler", "wrapper", "gcs", "job inputs", "run: steps"):
        assert missing in told.partition("Not in it:")[2]


def test_the_runner_and_its_helper_have_one_version_and_one_revision(runner: Path, helper: Path) -> None:
    lines = [called(program, "--version").stdout.splitlines()[:3] for program in (runner, helper)]
    assert lines[0] == lines[1]


def test_the_runner_has_the_commands_of_its_own_of_jobs_and_of_the_service(runner: Path) -> None:
    assert commands(runner) == RUNNERS_COMMANDS | JOBS_COMMANDS | SERVICE_COMMANDS


def test_the_helper_has_the_commands_that_jobs_call(helper: Path) -> None:
    assert commands(helper) >= JOBS_COMMANDS


@pytest.mark.parametrize("command", ["wrapper", "fleeting", "steps", "proxy-exec", "exec"])
def test_the_runner_refuses_a_command_that_it_lacks_and_says_where_that_is_written(runner: Path, command: str) -> None:
    done = called(runner, command)
    assert done.returncode == 1
    wanted = f'gitlab-runner built from Go modules has no command "{command}": see --help and --version'
    assert wanted in done.stderr


def test_the_helper_refuses_to_mask_what_it_could_not_mask(helper: Path, tmp_path: Path) -> None:
    done = called(helper, "proxy-exec", "--temp-dir", str(tmp_path), "true")
    assert done.returncode == 1
    assert "gitlab-runner built from Go modules has no proxy-exec (add-mask)" in done.stderr


@contextmanager
def running(program: Path, folder: Path, **settings: Any) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The runner with what these settings render, and the file of its log; its GitLab does not answer."""
    parsed = parse(plain(gitlab=NO_GITLAB, **settings))
    config, log = folder / "config.toml", folder / "log"
    config.write_text(render(parsed.spec(), {each.name: f"glrt-{each.name}" for each in parsed.runners}))
    with log.open("wb") as out:
        process = subprocess.Popen([program, "run", "--config", config], stdout=out, stderr=out)
    try:
        wait_for("the runner", COMMAND_SECONDS, lambda: "Initializing executor providers" in log.read_text() or None)
        yield process, log
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("runners", "warns"),
    [
        ([runner_settings()], False),
        ([runner_settings(limit=1)], False),
        ([runner_settings(request_concurrency=1)], True),
    ],
)
def test_with_the_default_of_two_requests_at_once_the_runner_does_not_warn_of_long_polling(
    runner: Path, tmp_path: Path, runners: list[dict[str, Any]], warns: bool
) -> None:
    with running(runner, tmp_path, runners=runners) as (_, log):
        assert ("Long polling issues detected" in log.read_text()) is warns


def test_a_running_one_says_that_it_is_ready_and_ends_on_sigquit_with_exit_code_0(runner: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port('127.0.0.1')}"
    with running(runner, tmp_path, metrics_address=address) as (process, log):
        with urllib.request.urlopen(f"http://{address}/health/ready", timeout=10) as answer:
            assert (answer.status, answer.read()) == (200, b"ready\n")
        process.send_signal(signal.SIGQUIT)
        assert process.wait(timeout=COMMAND_SECONDS) == 0
        assert "Starting graceful shutdown, waiting for builds to finish" in log.read_text()
        assert "Can exit now!" in log.read_text()
