"""GitLab Runner's own strict reading (`gitlab-runner lint`) of what the program renders. It needs no Docker engine."""

from __future__ import annotations

import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import yaml

from components.config_toml import render
from components.job_pods import JobPods
from components.runner_keys import KEYS, By, Fit
from lab import images
from stacks.gke.settings import GkeSettings
from stacks.settings.common import Common
from stacks.settings.places import leaves
from stacks.settings.shared import merged
from stacks.targets import parse
from tests.generated import generate
from tests.unit.samples import gke, plain, runner
from toolchain import gobuild

ROOT = Path(__file__).resolve().parents[2]
KEY = "gitlab-dind-runners:settings"
SEED, GENERATED = 194, 200
LINT_SECONDS = 60

Lint = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def lint(tmp_path_factory: pytest.TempPathFactory) -> Lint:
    """Has the text of a config.toml read by the gitlab-runner that the stand-in image has."""
    program = gobuild.build(images.RUNNER, say=print)
    folder = tmp_path_factory.mktemp("lint")

    def read(text: str) -> subprocess.CompletedProcess[str]:
        file = folder / f"{hash(text):x}.toml"
        file.write_text(text)
        return subprocess.run(
            [program, "lint", "--config", file], text=True, capture_output=True, timeout=LINT_SECONDS, check=False
        )

    return read


def toml(settings: Common) -> str:
    """The config.toml of a stack with these settings."""
    tokens = {runner.name: f"glrt-{runner.name}" for runner in settings.runners}
    if not isinstance(settings, GkeSettings):
        return render(settings.spec(), tokens)
    pods = JobPods(
        namespace="ci",
        service_account="ci-job",
        client_secret="ci-dind-client" if settings.daemon.transport == "tls" else None,
        labels={"dindrunner.stack": "ci"},
        client_labels={"dindrunner.client": "true"},
        annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
    )
    return render(settings.spec("ci-dind"), tokens, pods)


def examples() -> dict[str, Common]:
    """Every settings of a stack file in the repository, by the file's path."""
    found: dict[str, Common] = {}
    for file in sorted([*ROOT.glob("Pulumi.*.yaml"), *ROOT.glob("examples/*/Pulumi.*.yaml")]):
        raw = (yaml.safe_load(file.read_text()).get("config") or {}).get(KEY)
        if raw is not None:
            found[str(file.relative_to(ROOT))] = parse(_complete(file, raw))
    return found


def _complete(file: Path, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The settings on top of what the example's stacks share, with the URL of the sandbox, which `up` fills in."""
    project = yaml.safe_load((file.parent / "Pulumi.yaml").read_text()).get("config") or {}
    shared = project.get("gitlab-dind-runners:shared", {}).get("value", {})
    complete = merged(shared, dict(raw))
    assert isinstance(complete, dict)
    sandbox = complete["gitlab"].get("url") == "sandbox"
    return complete | ({"gitlab": complete["gitlab"] | {"url": "http://127.0.0.1:1"}} if sandbox else {})


def tables(settings: Common) -> Iterator[str]:
    """The names of the tables below `[[runners]]` that the settings render."""
    for entry in tomllib.loads(toml(settings))["runners"]:
        yield from (name for name, value in entry.items() if isinstance(value, dict))
        yield from (f"cache.{name}" for name, value in entry.get("cache", {}).items() if isinstance(value, dict))


def test_the_runner_reads_every_example_without_a_complaint(lint: Lint) -> None:
    found = examples()
    assert {type(settings).__name__ for settings in found.values()} == {
        "DockerHostSettings",
        "RaspberryPiSettings",
        "GkeSettings",
    }
    complaints = {path: done.stderr for path, settings in found.items() if (done := lint(toml(settings))).returncode}
    assert complaints == {}


def test_the_runner_reads_what_generated_settings_render_without_a_complaint(lint: Lint) -> None:
    texts = [toml(settings) for settings in generate(SEED, GENERATED)]
    assert len(set(texts)) == GENERATED
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lint, texts))
    assert [(text, each.stderr) for text, each in zip(texts, done, strict=True) if each.returncode] == []


def test_the_generated_settings_have_every_target_and_every_table() -> None:
    made = list(generate(SEED, GENERATED))
    targets = Counter(settings.target for settings in made)
    assert min(targets[name] for name in ("docker-host", "raspberry-pi", "gke")) >= GENERATED // 10
    seen = Counter(name for settings in made for name in tables(settings))
    wanted = ("docker", "kubernetes", "cache", "cache.s3", "cache.gcs", "cache.azure", "feature_flags")
    assert min(seen[name] for name in wanted) >= 5, seen


def test_the_same_seed_generates_the_same_settings() -> None:
    assert list(generate(7, 20)) == list(generate(7, 20))
    assert list(generate(7, 20)) != list(generate(8, 20))


WITH_CACHE = plain(runners=[runner(cache={"Type": "s3", "s3": {"BucketName": "b"}})])


@pytest.mark.parametrize(
    ("settings", "place", "key"),
    [
        (plain(), (), "concurent"),
        (plain(), ("runners", 0), "runners.limits"),
        (plain(), ("runners", 0, "docker"), "runners.docker.priviledged"),
        (WITH_CACHE, ("runners", 0, "cache"), "runners.cache.Typ"),
        (WITH_CACHE, ("runners", 0, "cache", "s3"), "runners.cache.s3.Bucket"),
        (gke(), ("runners", 0, "kubernetes"), "runners.kubernetes.name_space"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_runner_names_a_key_that_it_does_not_know(
    lint: Lint, settings: dict[str, Any], place: tuple[str | int, ...], key: str
) -> None:
    config: Any = tomllib.loads(toml(parse(settings)))
    table = config
    for step in place:
        table = table[step]
    assert lint(tomli_w.dumps(config)).returncode == 0
    table[key.rpartition(".")[2]] = 1
    done = lint(tomli_w.dumps(config))
    assert done.returncode == 1
    assert f"unknown key: {key}" in done.stderr


def test_the_runner_refuses_a_value_of_another_type(lint: Lint) -> None:
    done = lint(toml(parse(plain())).replace("concurrent = 4", 'concurrent = "four"'))
    assert done.returncode == 1
    assert "decoding config" in done.stderr


SAMPLES: dict[str, object] = {
    "text": "x",
    "flag": True,
    "whole": 1,
    "number": 1.5,
    "duration": "2m",
    "time": "2026-01-01T00:00:00Z",
}


COMPARED = {"monitoring", "log_field_dual_emit_target", "shell"}
"""No sample will do for them, as the runner parses their values, or knows only some."""


def sample(kind: str) -> object:
    """A value of a type in the table of keys."""
    if kind.startswith("["):
        return [sample(kind[1:-1])]
    return {"label": sample(kind[1:-1])} if kind.startswith("{") else SAMPLES[kind.partition("|")[0]]


def everything(at: str, spelled: Callable[[str], str]) -> dict[str, Any]:
    """A table with every key that the checks let through."""
    found: dict[str, Any] = {}
    for key in KEYS.values():
        if key.table == at and key.by not in (By.SETTING, By.IN_PART) and key.fit is not Fit.UNSERVED:
            below = everything(key.path, spelled)
            value = below or (sample(key.type) if "table" not in key.type else {})
            if key.name not in COMPARED:
                found[spelled(key.name)] = [value] if key.type == "[table]" else value
    return found


@pytest.mark.parametrize("spelled", [str, str.upper])
@pytest.mark.parametrize("make", [plain, gke])
def test_the_runner_reads_every_key_that_the_checks_let_through(
    lint: Lint, make: Callable[..., dict[str, Any]], spelled: Callable[[str], str]
) -> None:
    extra = everything("runners", spelled)
    del extra[spelled("kubernetes" if make is plain else "docker")]
    only = runner(cache=everything("runners.cache", spelled), extra=extra)
    text = toml(parse(make(extra=everything("", spelled), runners=[only])))
    assert len(list(leaves(tomllib.loads(text)))) > 150
    done = lint(text)
    assert done.returncode == 0, done.stderr
