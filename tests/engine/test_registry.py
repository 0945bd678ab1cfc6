"""The sandbox's registry as a process: where it listens, how it ends, what it keeps."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.gitlab import registry
from tests.engine.world import docker, unique
from toolchain.shared import ToolchainError

LOOPBACK = "127.0.0.1"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The port and the process of a registry."""
    port = registry.free_port(LOOPBACK)
    pid = registry.start(LOOPBACK, port, tmp_path / "storage", tmp_path / "log" / "registry.log")
    yield port, pid
    registry.stop(pid, tmp_path / "log" / "registry.log")


def listeners(port: int) -> list[str]:
    found = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True, timeout=10)
    return [line.split()[3] for line in found.stdout.splitlines()]


def test_it_listens_on_the_given_address_alone(running: tuple[int, int]) -> None:
    port, _ = running
    assert listeners(port) == [f"{LOOPBACK}:{port}"]


def test_it_ends_when_stopped_and_a_second_stop_does_nothing(running: tuple[int, int], tmp_path: Path) -> None:
    port, pid = running
    for _ in range(2):
        registry.stop(pid, tmp_path / "log" / "registry.log")
        assert listeners(port) == []


def test_a_taken_port_is_an_error(running: tuple[int, int], tmp_path: Path) -> None:
    port, pid = running
    with pytest.raises(ToolchainError) as error:
        registry.start(LOOPBACK, port, tmp_path / "other", tmp_path / "other.log")
    assert str(error.value) == (
        f"--registry-port: {LOOPBACK}:{port} is in use by another program (`ss -ltnp 'sport = :{port}'` shows it); "
        "stop that one, or choose another port with --registry-port"
    )
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/v2/", timeout=10) as answer:
        assert answer.status == 200
    assert registry.runs(pid, tmp_path / "log" / "registry.log")


def test_images_are_put_in_once_and_seen_by_a_registry_that_runs_already(
    environment: dict[str, str], running: tuple[int, int], tmp_path: Path
) -> None:
    del environment
    port, _ = running
    tag = unique("1.0")
    (tmp_path / "empty").write_text("")
    subprocess.run(["tar", "-cf", tmp_path / "tiny.tar", "-C", tmp_path, "empty"], check=True, timeout=30)
    images = {role: f"t-registry/{role}:{tag}" for role in ("job", "runner")}
    said: list[str] = []
    try:
        for image in images.values():
            docker("import", str(tmp_path / "tiny.tar"), image)
        log = tmp_path / "seed.log"
        assert registry.seed(images, tmp_path / "storage", log, say=said.append) == {"job": f"dindrunner/job:{tag}"}
        assert said[0] == f"putting the image dindrunner/job:{tag} into the registry …"
        said.clear()
        registry.seed(images, tmp_path / "storage", log, say=said.append)
        assert said == []
        assert docker("images", "--quiet", "--filter", f"reference={LOOPBACK}*/*/*:{tag}") == ""
    finally:
        docker("rmi", *images.values(), check=False)
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/v2/_catalog", timeout=10) as answer:
        assert json.load(answer) == {"repositories": ["dindrunner/job"]}
