"""The example stack for a Raspberry Pi is accepted, and says what it is meant to show."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.kinds import Kind
from stacks.raspberry_pi.settings import Orchestrator, RaspberryPiSettings
from stacks.targets import parse

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "Pulumi.pi.yaml"
KEY = "gitlab-dind-runners:settings"


def raw() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text())["config"][KEY])


def test_the_example_has_a_board_by_ssh_and_two_kinds_of_runners() -> None:
    settings = parse(raw())
    assert isinstance(settings, RaspberryPiSettings)
    assert settings.engine.by_ssh
    assert settings.orchestrator is Orchestrator.DOCKER
    assert [runner.kind for runner in settings.runners] == [Kind.PLAIN, Kind.DIND]


def test_no_runner_of_the_example_takes_the_jobs_of_the_other_one() -> None:
    tags = [set(runner.tags) for runner in parse(raw()).runners]
    assert not tags[0] & tags[1]


def test_the_example_spells_out_what_guards_its_runners() -> None:
    for runner in raw()["runners"]:
        assert {"tags", "limit", "locked", "run_untagged", "pull_policy"} <= set(runner)
        assert (runner["locked"], runner["run_untagged"]) == (True, False)


def test_the_lines_that_are_commented_out_are_accepted_as_well() -> None:
    text = re.sub(r"^    # (?=daemon: )", "    ", FILE.read_text(), flags=re.MULTILINE)
    settings = parse(yaml.safe_load(text)["config"][KEY])
    assert settings.daemon.data_path == "/mnt/ssd/gitlab-dind"
    assert parse({**raw(), "orchestrator": "swarm"})


def test_the_example_holds_no_secret() -> None:
    content = yaml.safe_load(FILE.read_text())
    assert set(content) == {"config"}
    assert not re.search(r"secure:|glpat-|glrt-|encryptionsalt", FILE.read_text())


@pytest.mark.parametrize(
    ("settings", "done"),
    [
        (FILE.read_text(), "python3 -m toolchain install"),
        ("docker_host: tcp://far:2376\n", "python3 -m toolchain install"),
        ("# docker_host: ssh://pi@board\n", "python3 -m toolchain up"),
        ("docker_host: ssh://pi@board\ngitlab: {url: sandbox}\n", "python3 -m lab prepare"),
    ],
    ids=["example", "tcp", "comment", "sandbox"],
)
def test_an_engine_is_started_here_unless_the_stack_is_elsewhere_and_images_made_where_it_uses_the_sandbox(
    tmp_path: Path, settings: str, done: str
) -> None:
    assert calls_of_make(tmp_path, "stack", settings)[0] == done


@pytest.mark.parametrize(
    ("settings", "engine", "done"),
    [
        ("target: docker-host\n", "ssh://pi@board", "python3 -m toolchain install"),
        ("target: docker-host\n", "tcp://far:2376", "python3 -m toolchain install"),
        ("target: docker-host\n", "unix:///run/docker.sock", "python3 -m toolchain up"),
        ("target: docker-host\n", "", "python3 -m toolchain up"),
        ("# docker_host: unix:///x\n", "ssh://pi@board", "python3 -m toolchain install"),
        ("docker_host: unix:///run/docker.sock\n", "ssh://pi@board", "python3 -m toolchain up"),
        ("docker_host: ssh://pi@board\n", "unix:///run/docker.sock", "python3 -m toolchain install"),
        ("gitlab: {url: sandbox}\n", "ssh://pi@board", "python3 -m lab prepare"),
    ],
    ids=["ssh", "tcp", "local", "none", "comment", "local settings", "settings elsewhere", "sandbox"],
)
def test_the_engine_of_the_environment_counts_where_the_settings_name_none(
    tmp_path: Path, settings: str, engine: str, done: str
) -> None:
    assert calls_of_make(tmp_path, "stack", settings, engine)[0] == done


def test_destroying_a_stack_on_an_engine_of_the_environment_starts_none_here(tmp_path: Path) -> None:
    calls = calls_of_make(tmp_path, "destroy", "target: docker-host\n", "ssh://pi@board")
    assert calls[:2] == ["pulumi stack ls --json", "pulumi stack select pi"]


def test_destroying_a_stack_elsewhere_starts_no_engine_here_and_names_what_it_keeps_there(tmp_path: Path) -> None:
    calls = calls_of_make(tmp_path, "destroy", FILE.read_text())
    assert calls == [
        "pulumi stack ls --json",
        "pulumi stack select pi",
        "python3 -m toolchain recover pi",
        "python3 -m toolchain kept pi",
        "pulumi --non-interactive destroy --yes --exclude-protected --parallel 8 --stack pi",
        "python3 -m toolchain remove pi",
    ]


def test_destroying_a_stack_of_this_machine_starts_its_engine(tmp_path: Path) -> None:
    calls = calls_of_make(tmp_path, "destroy", "target: docker-host\n")
    assert calls[:3] == ["pulumi stack ls --json", "python3 -m toolchain engine up", "pulumi stack select pi"]


def calls_of_make(directory: Path, target: str, settings: str, engine: str | None = None) -> list[str]:
    """What make calls for stack pi with these settings, and this engine as $DOCKER_HOST."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    (directory / ".toolchain").mkdir()
    (directory / ".toolchain" / "env").touch()
    (directory / "Pulumi.pi.yaml").write_text(settings)
    for name, more in {"pulumi": """echo '[{"name": "pi"}]'""", "python": "", "python3": ""}.items():
        (directory / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "$CALLS"\n{more}\n')
        (directory / name).chmod(0o755)
    environment = {"PATH": f"{directory}:{os.environ['PATH']}", "CALLS": str(directory / "calls")}
    if engine is not None:
        environment["DOCKER_HOST"] = engine
    command = ["make", "--file", str(ROOT / "Makefile"), target, "STACK=pi"]
    subprocess.run(command, cwd=directory, env=environment, capture_output=True, timeout=60, check=True)
    return (directory / "calls").read_text().splitlines()
