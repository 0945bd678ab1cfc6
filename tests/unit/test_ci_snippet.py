"""The `.gitlab-ci.yml` fragment in a stack's outputs."""

from __future__ import annotations

import pytest
import yaml

from stacks.outputs import ci_snippet
from stacks.targets import parse
from tests.unit.samples import TOKEN, plain, runner

BUILD = ["docker build --tag $CI_PROJECT_PATH_SLUG:$CI_COMMIT_SHORT_SHA ."]


def snippet(*runners: dict[str, object]) -> object:
    return yaml.safe_load(ci_snippet(parse(plain(runners=list(runners))).runners))


@pytest.mark.parametrize(
    ("kind", "script"),
    [
        ("plain", ["echo hello from $CI_RUNNER_DESCRIPTION"]),
        ("dind", BUILD),
        ("host-docker", BUILD),
        ("job-dind", BUILD),
    ],
)
def test_a_runner_gets_a_job_that_fits_its_kind(kind: str, script: list[str]) -> None:
    assert snippet(runner(kind=kind)) == {"docker-job": {"tags": ["docker"], "script": script}}


def test_every_runner_has_a_job_of_its_own() -> None:
    jobs = snippet(runner(name="a"), runner(name="b", kind="plain", tags=["x", "y"]))
    assert jobs == {
        "a-job": {"tags": ["docker"], "script": BUILD},
        "b-job": {"tags": ["x", "y"], "script": ["echo hello from $CI_RUNNER_DESCRIPTION"]},
    }


def test_a_runner_for_untagged_jobs_needs_no_tags() -> None:
    assert snippet(runner(tags=[], run_untagged=True)) == {"docker-job": {"script": BUILD}}


def test_a_runner_whose_tags_only_gitlab_knows_gets_a_job_without_any() -> None:
    assert snippet(runner(tags=[], token=TOKEN)) == {"docker-job": {"script": BUILD}}


@pytest.mark.parametrize("name", ["default", "image", "on", "1", "null", "1e3"])
def test_no_name_of_a_runner_turns_into_a_keyword_or_a_number(name: str) -> None:
    assert snippet(runner(name=name)) == {f"{name}-job": {"tags": ["docker"], "script": BUILD}}


@pytest.mark.parametrize("tag", ["yes", "1.5", "a:b", "#1", "'", '"', "\\", "größe", "🏃", "[x]", "*x"])
def test_tags_keep_their_meaning_in_yaml(tag: str) -> None:
    assert snippet(runner(tags=[tag])) == {"docker-job": {"tags": [tag], "script": BUILD}}
