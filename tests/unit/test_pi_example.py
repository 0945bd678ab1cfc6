"""The example stack for a Raspberry Pi is accepted, and says what it is meant to show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

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
