"""The gitlab-runner and helper built here: what they are, what they have, what they lack. No Docker engine needed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from toolchain import gobuild, images

COMMAND_SECONDS = 60
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
    assert re.search(r"^Executors: +docker, kubernetes, shell, custom$", told, re.MULTILINE)
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
