"""The JSON schema of stack files: what editors are told is what the program takes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from stacks.targets import TARGETS, model
from tests.generated import generate
from tests.unit.samples import gke, pi, plain, runner
from tools import schema
from tools.stack_files import SETTINGS_KEY

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(
    path.relative_to(ROOT)
    for path in [*ROOT.glob("Pulumi.*.yaml"), *(ROOT / "examples/environments").glob("Pulumi.*.yaml")]
)
SAMPLES: dict[str, Callable[..., dict[str, Any]]] = {"docker-host": plain, "raspberry-pi": pi, "gke": gke}


def refusals(settings: object) -> list[str]:
    """Where the schema refuses settings, as an editor marks it."""
    errors = Draft7Validator(schema.schema()).iter_errors({"config": {SETTINGS_KEY: settings}})
    return [".".join(map(str, list(error.absolute_path)[2:])) for error in errors]


def test_the_file_is_what_the_models_say_now() -> None:
    assert schema.FILE.read_text() == schema.written(), "run: python -m tools schema"


def test_it_is_a_schema_and_all_that_it_refers_to_is_there() -> None:
    text = schema.FILE.read_text()
    Draft7Validator.check_schema(json.loads(text))
    assert set(re.findall(r'"#/\$defs/(\w+)"', text)) == set(json.loads(text)["$defs"])


@pytest.mark.parametrize("file", EXAMPLES, ids=str)
def test_every_example_names_it_and_keeps_to_it(file: Path) -> None:
    text = (ROOT / file).read_text()
    (named,) = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", text, re.MULTILINE)
    assert (ROOT / file.parent / named).resolve() == schema.FILE
    assert list(Draft7Validator(schema.schema()).iter_errors(yaml.safe_load(text))) == []


def test_it_takes_whatever_the_program_takes() -> None:
    validator = Draft7Validator(schema.schema())
    for settings in generate(seed=22, count=100):
        raw = settings.model_dump(mode="json", exclude_unset=True)
        assert list(validator.iter_errors({"config": {SETTINGS_KEY: raw}})) == []


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "more",
    [
        {"gitlab": {"url": "sandbox"}},
        {"gitlab": {"scope": "project", "group": None, "project": "a/b"}},
        {"daemon": None, "concurrent": None},
        {"runners": [runner(token={"secure": "v1:abc"}, pull_policy="never", environment={"A": {"secure": "v1:d"}})]},
    ],
    ids=["sandbox", "null takes a shared value back", "null for a table", "encrypted"],
)
def test_it_takes_what_stands_in_a_file_before_it_is_settings(target: str, more: dict[str, Any]) -> None:
    assert refusals(SAMPLES[target](**more)) == []


def test_it_takes_a_file_whose_target_is_in_the_shared_settings() -> None:
    assert refusals({"daemon": {"cache_budget_gib": 10}}) == []
    assert refusals({"daemon": {"cache_budget_gb": 10}}) != []


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"targe": "gke"}, ""),
        ({"target": "docker"}, "target"),
        (plain(concurent=4), ""),
        (plain(concurrent="4"), "concurrent"),
        (plain(daemon={"transport": "tsl"}), "daemon.transport"),
        (plain(daemon={"cpus": 0}), "daemon.cpus"),
        (plain(daemon={"claim": {}}), "daemon"),
        (plain(runner_image="no image"), "runner_image"),
        (plain(runners=[]), "runners"),
        (plain(runners=[{"tags": ["a"]}]), "runners.0"),
        (plain(runners=[runner(kind="dnd")]), "runners.0.kind"),
        (plain(runners=[runner(tags=["two words"])]), "runners.0.tags.0"),
        (pi(platform="arm64"), "platform"),
        (gke(daemon={"claim": {"size_gib": 1}}), "daemon.claim.size_gib"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_it_marks_what_the_program_would_refuse(settings: dict[str, Any], where: str) -> None:
    assert refusals(settings) == [where]


@pytest.mark.parametrize("target", TARGETS)
def test_it_explains_every_setting_that_is_no_table(target: str) -> None:
    definitions = schema.schema()["$defs"]
    tables = {name for name, each in definitions.items() if "properties" in each}
    unexplained = {
        f"{name}.{setting}"
        for name in (each.__name__ for each in schema._models(model(target)))
        for setting, told in definitions[name]["properties"].items()
        if "description" not in told and not any(f"#/$defs/{table}" in json.dumps(told) for table in tables)
    }
    assert unexplained - {f"{model(target).__name__}.target"} == set()


def test_a_models_own_words_on_a_default_replace_those_that_it_builds_on() -> None:
    definitions = schema.schema()["$defs"]
    assert definitions["PiDaemon"]["properties"]["cache_budget_gib"]["description"] == (
        "GiB that BuildKit's garbage collection leaves in the layer cache. Default 8: a card of 32 GB keeps room for "
        "the system."
    )
