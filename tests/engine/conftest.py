"""Fixtures of the tests on real parts. With CI set, what is missing is a failure; otherwise a skip that says why."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.world import ROOT, Sandbox, Stack, docker, make_stack, run, toolchain_environment, unique


def missing(what: str) -> None:
    """End a test that cannot run here."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment of the toolchain, applied to this process as well."""
    if not (ROOT / ".toolchain" / "env").exists():
        missing("there is no toolchain: run python3 -m toolchain up")
    found = toolchain_environment()
    os.environ["PATH"] = found["PATH"]
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode:
        missing("no Docker engine answers: run python3 -m toolchain up")
    return found


@pytest.fixture(scope="session")
def sandbox(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox GitLab on ports of its own."""
    state = tmp_path_factory.mktemp("sandbox")
    info = state / "sandbox.json"
    command = [sys.executable, "-m", "sandbox"]
    options = ["--state", str(state / "state"), "--info", str(info)]
    ports = ["--port", str(_free_port()), "--registry-port", str(_free_port())]
    run(*command, "up", *options, *ports, cwd=ROOT, env=environment)
    yield Sandbox(info)
    run(*command, "down", *options, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def new_stack(
    environment: dict[str, str], sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Stack]]:
    """Makes stacks, and destroys what the tests left of them."""
    made: list[Stack] = []

    def make() -> Stack:
        name = unique()
        directory: Path = tmp_path_factory.mktemp("stack") / name
        made.append(make_stack(directory, name, environment, sandbox))
        return made[-1]

    yield make
    for stack in made:
        if stack.has_resources:
            stack.pulumi("cancel", "--yes", check=False)
            stack.pulumi("destroy", "--yes", "--skip-preview", check=False)
        _remove_leftovers(stack)


def _remove_leftovers(stack: Stack) -> None:
    label = f"label=dindrunner.stack={stack.name}"
    for kind, options in (("container", ["--force", "--volumes"]), ("network", []), ("volume", [])):
        every = ["--all"] if kind == "container" else []
        for name in docker(kind, "ls", *every, "--quiet", "--filter", label).splitlines():
            docker(kind, "rm", *options, name, check=False)
    for image in docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines():
        if stack.name in image:
            docker("rmi", image, check=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
