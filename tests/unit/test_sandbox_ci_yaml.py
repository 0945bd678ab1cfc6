"""The sandbox's reading of .gitlab-ci.yml: what it makes of it, and what it refuses by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandbox.ci_rules import RuleError, holds, matching_rule
from sandbox.ci_yaml import CiYamlError, duration, parse

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fastapi-app" / ".gitlab-ci.yml"


def job_of(text: str, name: str = "a") -> dict[str, Any]:
    return parse(text).jobs[name]


def errors_of(text: str) -> list[str]:
    with pytest.raises(CiYamlError) as caught:
        parse(text)
    return caught.value.errors


def test_the_sample_project_is_understood_without_a_warning() -> None:
    config = parse(SAMPLE.read_text())
    assert (list(config.jobs), config.warnings) == (["build", "test"], [])


def test_defaults_reach_jobs_and_a_job_replaces_them() -> None:
    text = """
default: {image: x, tags: [t], before_script: [one]}
a: {script: s}
b: {script: s, image: y, before_script: []}
"""
    assert (job_of(text)["image"], job_of(text)["tags"], job_of(text)["before_script"]) == (
        {"name": "x"},
        ["t"],
        ["one"],
    )
    assert (job_of(text, "b")["image"], job_of(text, "b")["before_script"]) == ({"name": "y"}, [])


def test_extends_merges_mappings_and_replaces_lists() -> None:
    text = """
.base: {variables: {A: "1", B: "1"}, script: [base], tags: [x]}
.more: {extends: .base, variables: {B: "2"}}
a: {extends: .more, script: [own], variables: {C: 3}}
"""
    job = job_of(text)
    assert job["variables"] == {"A": "1", "B": "2", "C": "3"}
    assert (job["script"], job["tags"]) == (["own"], ["x"])


def test_anchors_and_nested_scripts_become_one_list_of_lines() -> None:
    text = ".s: &s [one, two]\na: {script: [*s, [[three]], four]}"
    assert job_of(text)["script"] == ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90),
        ("3600", 3600),
        ("20 minutes", 1200),
        ("1h 30m", 5400),
        ("1 hour and 5 mins", 3900),
        ("2 weeks", 1209600),
    ],
)
def test_durations_are_read_as_gitlab_writes_them(value: Any, seconds: int) -> None:
    assert duration(value) == seconds


@pytest.mark.parametrize("value", ["soon", "", "3 parsecs", "-5", 0, True, "9" * 30, "²"])
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        duration(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "include: x.yml\na: {script: s}",
            "include is not supported by the sandbox GitLab: put the jobs into .gitlab-ci.yml itself",
        ),
        ("a: {script: s, parallel: 3}", "jobs:a:parallel is not supported by the sandbox GitLab: leave it out"),
        (
            "a: {script: s, environment: prod}",
            "jobs:a:environment is not supported by the sandbox GitLab: leave it out",
        ),
        ("a: {script: s, scrpt: t}", "jobs:a:scrpt is not supported by the sandbox GitLab: leave it out"),
        ("a: {script: s, only: [main]}", "jobs:a:only is not supported by the sandbox GitLab: leave it out"),
        (
            "a: {script: s, retry: {max: 1, when: always}}",
            "jobs:a:retry:when is not supported by the sandbox GitLab: leave it out",
        ),
        (
            "workflow: {rules: []}\na: {script: s}",
            "workflow is not supported by the sandbox GitLab: leave it out",
        ),
        (
            "a: {script: s, rules: [{if: '$A =~ /(/'}]}",
            "jobs:a:rules:rule[0] if =~ is not supported by the sandbox GitLab, only ==, !=, && and ||",
        ),
        (
            "a: {script: s, rules: [{if: '$A', allow_failure: [1]}]}",
            "jobs:a:rules:rule[0]:allow_failure should be a boolean value",
        ),
        (
            "a: {script: &s [one, *s]}",
            "Invalid configuration format: it is nested too deeply, or an anchor contains itself",
        ),
        (
            ".a: &a {variables: {A: &b [*b]}, next: *a}\nb: {extends: .a, script: &s [[*s]]}",
            "Invalid configuration format: it is nested too deeply, or an anchor contains itself",
        ),
        (
            "a: {script: s, variables: {DAY: 2020-99-99}}",
            "Invalid configuration format: month must be in 1..12",
        ),
        ("a: {image: x}", "jobs:a script can't be blank"),
        ("stages: [one]", "jobs config should contain at least one visible job"),
        (
            "a: {script: s, stage: last}",
            "a job: chosen stage last does not exist; available stages are .pre, build, test, deploy, .post",
        ),
        ("a: {script: s, needs: [b]}", "a job: undefined need: b"),
        ("a: {script: s, dependencies: [b]}", "a job: undefined dependency: b"),
        (
            "a: {script: s, stage: build, needs: [b]}\nb: {script: s}",
            "a job: needs b is not defined in current or prior stages",
        ),
        (
            "a: {script: s, when: manual}",
            "jobs:a:when should be one of: on_success, on_failure, always, never "
            "(the sandbox GitLab does not support it)",
        ),
        ("a: {script: s, retry: 5}", "jobs:a:retry should be an integer from 0 to 2"),
        ("a: {script: s, timeout: soon}", "jobs:a:timeout should be a duration"),
        ("a: {script: s, rules: [{if: '$A =='}]}", "jobs:a:rules:rule[0] if invalid expression syntax"),
        (
            "a: {script: s, rules: [{changes: [x]}]}",
            "jobs:a:rules:rule[0]:changes is not supported by the sandbox GitLab: leave it out",
        ),
        ("a: {script: s, extends: .b}", "a unknown keys in `extends` (.b)"),
        ("a: {script: s, extends: a}", "a circular dependency detected in `extends`"),
        (
            "a: {script: s, cache: {key: {files: [x]}, paths: [y]}}",
            "jobs:a:cache:key should be a string: the sandbox GitLab does not support keys made from files",
        ),
        (
            "a: {script: s, artifacts: {paths: x, exprie_in: 1d}}",
            "jobs:a:artifacts:exprie_in is not supported by the sandbox GitLab: leave it out",
        ),
        ("", "Please provide content of .gitlab-ci.yml"),
        ("- a", "Invalid configuration format"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(text: str, message: str) -> None:
    assert errors_of(text) == [message]


def test_a_reference_tag_is_named_in_the_message() -> None:
    (message,) = errors_of("a: {script: !reference [.b, script]}")
    assert message.startswith("Invalid configuration format: `!reference` is not supported by the sandbox GitLab: ")


def test_every_error_of_a_file_is_told_at_once() -> None:
    assert len(errors_of("include: x\na: {parallel: 2}\nb: {script: s, retry: 9}")) == 4


def test_reports_are_ignored_with_a_warning() -> None:
    config = parse("a: {script: s, artifacts: {paths: [x], reports: {junit: r.xml}}}")
    assert config.warnings == ["jobs:a:artifacts:reports is ignored by the sandbox GitLab"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('$CI_COMMIT_BRANCH == "main"', True),
        ("$CI_COMMIT_BRANCH != 'main'", False),
        ("$EMPTY", False),
        ("$MISSING == null", True),
        ('$MISSING == ""', False),
        ('$CI_COMMIT_BRANCH == "main" && $CI_PIPELINE_SOURCE == "api"', True),
        ('$CI_COMMIT_BRANCH == "main" && $CI_PIPELINE_SOURCE == "push" || $MISSING', False),
        ('$MISSING && $CI_COMMIT_BRANCH || "text"', True),
    ],
)
def test_if_expressions_hold_as_in_gitlab(expression: str, expected: bool) -> None:
    variables = {"CI_COMMIT_BRANCH": "main", "CI_PIPELINE_SOURCE": "api", "EMPTY": ""}
    assert holds(expression, variables) is expected


@pytest.mark.parametrize("expression", ["", "$A ==", "== $A", "($A", "$A $B", "a == b", "$A || $B ==", "$A =~ /x/"])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(RuleError):
        holds(expression, {})


def test_the_first_rule_that_holds_decides() -> None:
    rules = [{"if": '$X == "1"', "when": "never"}, {"if": "$X", "when": "always"}, {"when": "on_failure"}]
    assert matching_rule(rules, {"X": "1"}) is None
    assert matching_rule(rules, {"X": "2"}) == {"if": "$X", "when": "always"}
    assert matching_rule(rules, {}) == {"when": "on_failure"}
    assert matching_rule([{"if": "$X"}], {}) is None
    assert matching_rule(None, {}) == {}
