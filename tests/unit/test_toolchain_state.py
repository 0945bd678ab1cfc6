"""What a stack keeps while it is down, and which stacks are up, from states as Pulumi exports them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from toolchain import state

PROVIDER = {"urn": "urn:p::cluster", "type": "pulumi:providers:kubernetes", "custom": True, "id": "1"}
COMPONENT = {"urn": "urn:c::dind", "type": "dindrunner:kubernetes:DindDaemon"}
CLAIM = {
    "urn": "urn:v::dind-data",
    "type": "kubernetes:core/v1:PersistentVolumeClaim",
    "custom": True,
    "id": "ci/ci-dind-data",
    "protect": True,
}
POD = {"urn": "urn:d::runner", "type": "kubernetes:apps/v1:Deployment", "custom": True, "id": "ci/ci-runner"}
VOLUME = {
    "urn": "urn:o::dind-data",
    "type": "docker:index/volume:Volume",
    "custom": True,
    "id": "ci-dind-data",
    "retainOnDelete": True,
    "provider": "urn:p::engine::2",
}
ENGINE = {
    "urn": "urn:p::engine",
    "type": "pulumi:providers:docker",
    "custom": True,
    "id": "2",
    "inputs": {"host": "ssh://pi@board"},
}

Pulumi = Callable[[Mapping[str, list[Mapping[str, Any]]]], list[str]]


@pytest.fixture
def pulumi(monkeypatch: pytest.MonkeyPatch) -> Pulumi:
    """Makes Pulumi have these stacks, by name their resources; returns the commands that it was given."""

    def have(stacks: Mapping[str, list[Mapping[str, Any]]]) -> list[str]:
        given: list[str] = []

        def answer(command: list[str], **_: object) -> str:
            words = [str(word) for word in command[3:]]
            given.append(" ".join(words))
            if words[:2] == ["stack", "ls"]:
                return json.dumps([{"name": name, "resourceCount": len(found)} for name, found in stacks.items()])
            return json.dumps({"deployment": {"resources": stacks[words[-1]]} if stacks[words[-1]] else None})

        monkeypatch.setattr(state, "run", answer)
        return given

    return have


def test_a_volume_that_is_kept_is_named_with_the_command_that_removes_it(pulumi: Pulumi) -> None:
    pulumi({"pi": [ENGINE, VOLUME, {**VOLUME, "retainOnDelete": False}]})
    assert state.kept("pi") == ["kept: ci-dind-data (ssh -l pi -- board 'docker volume rm ci-dind-data')"]


def test_a_claim_that_is_protected_is_named_with_the_setting_that_gives_it_up(pulumi: Pulumi) -> None:
    pulumi({"gke": [PROVIDER, CLAIM, {**CLAIM, "protect": False}]})
    assert state.kept("gke") == [
        "kept: claim ci/ci-dind-data, and the namespace that it is in (to delete it, set daemon.claim.protect: false, "
        "and run make up and make down)"
    ]


def test_a_destroyed_stack_is_removed_without_its_settings(pulumi: Pulumi) -> None:
    given = pulumi({"gke": []})
    said: list[str] = []
    state.remove("gke", said.append)
    assert given[-1] == "stack rm --yes --preserve-config --stack gke"
    assert said == []


def test_a_stack_with_something_protected_stays_and_says_so(pulumi: Pulumi) -> None:
    given = pulumi({"gke": [PROVIDER, CLAIM]})
    said: list[str] = []
    state.remove("gke", said.append)
    assert given == ["stack export --stack gke"]
    assert said == ["stack gke stays, because it has protected resources: the next `make up` uses them again"]


@pytest.mark.parametrize(
    ("stacks", "up"),
    [
        ({}, False),
        ({"dev": []}, False),
        ({"gke": [PROVIDER, COMPONENT, CLAIM]}, False),
        ({"gke": [PROVIDER, COMPONENT, CLAIM, POD]}, True),
        ({"gke": [PROVIDER, CLAIM], "dev": [ENGINE, VOLUME]}, True),
    ],
)
def test_a_stack_is_up_if_it_has_more_than_what_it_keeps(
    pulumi: Pulumi, stacks: dict[str, list[Mapping[str, Any]]], up: bool
) -> None:
    pulumi(stacks)
    assert state.is_up() is up
