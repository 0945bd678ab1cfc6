"""docs/use/outputs.md lists just the outputs that each target has, with their types and whether they can be null."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stacks.outputs import VERSION
from stacks.targets import TARGETS
from tests.unit import test_docker_host, test_gke, test_raspberry_pi
from tests.unit.recording import Recording, Secret, in_the_clear
from tests.unit.samples import TOKEN, WITH_CLIENT, runner

PAGE = (Path(__file__).resolve().parents[2] / "docs/use/outputs.md").read_text()
TYPES = {"text": str, "number": int, "boolean": bool, "list of texts": list, "table": dict}

IN_A_GROUP: Mapping[str, Any] = {"gitlab": {"url": "https://gitlab.example.com", "scope": "group", "group": 7}}
ON_THE_HOST: Mapping[str, Any] = {"runners": [runner(kind="host-docker", token=TOKEN)], **IN_A_GROUP}
PODS_ALONE: Mapping[str, Any] = {"runners": [runner(kind="plain", token=TOKEN)], **IN_A_GROUP}
SHELL: Mapping[str, Any] = {"runner_image": WITH_CLIENT, "runners": [runner(executor="shell")]}


@pytest.fixture(scope="module", name="recordings")
def _recordings() -> Mapping[str, list[Recording]]:
    """Stacks of each target; between them everything is null once that can be."""
    host, pi, gke = test_docker_host.record, test_raspberry_pi.record, test_gke.record
    return {
        "docker-host": [host(), host(**ON_THE_HOST), host(**SHELL)],
        "raspberry-pi": [
            pi(),
            pi(**ON_THE_HOST),
            pi(orchestrator="swarm"),
            pi(runner_image="runner:1", **ON_THE_HOST),
        ],
        "gke": [gke(), gke(**PODS_ALONE), gke(network={"policy": False})],
    }


def documented(target: str) -> dict[str, tuple[str, str]]:
    """Type and null column of each output of a target, by its path."""
    found: dict[str, tuple[str, str]] = {}
    for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        if title in ("Every target", f"Only {target}"):
            rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
            assert rows
            found |= {path: (kind, null) for path, kind, null in rows}
    return found


def paths(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every output with its path, as the page writes it."""
    for name, below in value.items():
        path = f"{above}.{'<name>' if above == 'runners' else name}".lstrip(".")
        yield path, below
        if isinstance(below, dict):
            yield from paths(below, path)


def is_a(kind: str, value: Any) -> bool:
    """Whether a value has a type of the page's."""
    return isinstance(value, TYPES[kind]) and (kind == "boolean") == isinstance(value, bool)


@pytest.mark.parametrize("target", TARGETS)
def test_the_page_lists_just_the_outputs_that_a_target_has(
    recordings: Mapping[str, list[Recording]], target: str
) -> None:
    assert {path for each in recordings[target] for path, _ in paths(each.outputs)} == set(documented(target))


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_always_has_all_of_its_outputs(recordings: Mapping[str, list[Recording]], target: str) -> None:
    first, *others = (set(each.outputs) for each in recordings[target])
    assert all(each == first for each in others)


@pytest.mark.parametrize("target", TARGETS)
def test_every_output_has_the_documented_type_and_is_null_only_where_that_is_documented(
    recordings: Mapping[str, list[Recording]], target: str
) -> None:
    page = documented(target)
    for each in recordings[target]:
        for path, value in paths(each.outputs):
            kind, null = page[path]
            assert (value is None and null != "never") or is_a(kind, value), (path, value)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_do_without_a_daemon(recordings: Mapping[str, list[Recording]], target: str) -> None:
    assert any(each.outputs["daemon"] is None for each in recordings[target])


def test_what_is_documented_as_null_sometimes_is(recordings: Mapping[str, list[Recording]]) -> None:
    every = [pair for found in recordings.values() for each in found for pair in paths(each.outputs)]
    null = {path for path, value in every if value is None}
    assert null == {path for target in TARGETS for path, (_, when) in documented(target).items() if when != "never"}


def test_the_page_names_the_version(recordings: Mapping[str, list[Recording]]) -> None:
    assert f"| `version` | number | never | Of the outputs: `{VERSION}`. |" in PAGE
    assert {each.outputs["version"] for found in recordings.values() for each in found} == {VERSION}


@pytest.mark.parametrize("target", TARGETS)
def test_no_output_is_or_holds_a_secret(recordings: Mapping[str, list[Recording]], target: str) -> None:
    for each in recordings[target]:
        clear = in_the_clear(each.outputs)
        assert not any("glrt-" in text or "glpat-" in text for text in clear)
        assert not any(isinstance(value, Secret) for _, value in paths(each.outputs))
