"""The sandbox's reading of .gitlab-ci.yml: what it makes of it, and what it refuses by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.gitlab.ci_environments import slug, tier
from lab.gitlab.ci_reader import CiYamlError, duration
from lab.gitlab.ci_yaml import parse

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


TOO_BIG = "The parsed YAML is too big"
TEN_OF_TEN = range(1, 10)
BOMBS = {
    "aliases": ".a0: &a0 [x, x]\n"
    + "".join(f".a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in TEN_OF_TEN)
    + "a: {script: *a9}",
    "merged mappings": ".a0: &a0 {k: v}\n"
    + "".join(f".a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in TEN_OF_TEN)
    + "a: {script: s, variables: *a9}",
    "a long text many times": f".a: &a [&t {'x' * 9999}, {', '.join(['*t'] * 999)}]\na: {{script: *a}}",
    "defaults of many jobs": f"default: {{before_script: [{'x, ' * 999}x]}}\n"
    + "".join(f"a{n}: {{script: s}}\n" for n in range(999)),
    "variables of many jobs": f"variables: {{{', '.join(f'V{n}: x' for n in range(999))}}}\n"
    + "".join(f"a{n}: {{script: s}}\n" for n in range(999)),
    "a template of many jobs": f".a: {{script: [{'x, ' * 999}x]}}\n"
    + "".join(f"a{n}: {{extends: .a}}\n" for n in range(999)),
    "a large file": "a: {script: s}\n" + "# nothing\n" * 250_000,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_file_that_means_more_than_fits_is_refused_before_that_is_made(kind: str) -> None:
    assert errors_of(BOMBS[kind]) == [TOO_BIG]


def test_templates_that_extend_each_other_many_times_over_are_read_once() -> None:
    text = ".a0: {script: [s]}\n" + "".join(
        f".a{n}: {{extends: [{', '.join([f'.a{n - 1}'] * 10)}]}}\n" for n in range(1, 30)
    )
    assert job_of(f"{text}a: {{extends: .a29}}")["script"] == ["s"]


def test_a_file_that_is_nested_too_deeply_is_refused() -> None:
    for depth in (200, 200_000):
        assert errors_of(f"a: {'[' * depth}{']' * depth}") == [
            "Invalid configuration format: it is nested too deeply, or an anchor contains itself"
        ]


def test_files_that_include_each_other_are_read_so_often_and_no_more() -> None:
    reads: list[str] = []

    def read(file: str) -> bytes:
        reads.append(file)
        return b"include: [a.yml, a.yml]"

    with pytest.raises(CiYamlError) as caught:
        parse("include: a.yml", read)
    assert caught.value.errors == ["Maximum of 150 nested includes are allowed!"]
    assert len(reads) == 150


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
    ("keywords", "place"),
    [
        ("parallel: 3", "parallel"),
        ("trigger: x", "trigger"),
        ("scrpt: t", "scrpt"),
        ("only: [main]", "only"),
        ("inputs: {x: {}}", "inputs"),
        ("run: [{name: x}]", "run"),
        ("services: [{name: x, ports: [80]}]", "services:ports"),
        ("image: {name: x, docker: {privileged: true}}", "image:docker:privileged"),
        ("rules: [{changes: {paths: [x], regex: y}}]", "rules:rule[0]:changes:regex"),
        ("rules: [{exists: [x]}]", "rules:rule[0]:exists"),
        ("retry: {max: 1, exit_codes: 3}", "retry:exit_codes"),
        ("cache: {paths: [y], fallback_keys: [a]}", "cache:fallback_keys"),
        ("rules: [{if: '$A', needs: [b]}]", "rules:rule[0]:needs"),
        ("environment: {name: prod, kubernetes: {}}", "environment:kubernetes"),
        ("artifacts: {paths: x, exprie_in: 1d}", "artifacts:exprie_in"),
    ],
)
def test_a_keyword_that_is_not_there_is_refused_by_name(keywords: str, place: str) -> None:
    message = f"jobs:a:{place} is not supported by the sandbox GitLab: leave it out"
    assert errors_of(f"a: {{script: s, {keywords}}}") == [message]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            "retry: {max: 1, when: [bad_weather]}",
            "retry:when is not one of the failures that can be retried: bad_weather",
        ),
        ("rules: [{if: '$A =~ /(/'}]", "rules:rule[0] if invalid expression syntax"),
        ("rules: [{changes: 3}]", "rules:rule[0]:changes config should be an array of strings"),
        ("rules: [{if: '$A', allow_failure: [1]}]", "rules:rule[0]:allow_failure should be a boolean value"),
        (
            "when: delayed",
            "when should be one of: on_success, on_failure, always, never, manual "
            "(the sandbox GitLab does not support it)",
        ),
        ("allow_failure: sometimes", "allow_failure should be a boolean value"),
        ("cache: {key: {files: [x]}, paths: [y]}", "cache:key should be a string"),
        ("services: [{name: x, variables: [A]}]", "services:variables config should be a hash of key value pairs"),
        (
            "services: [{name: x, variables: {A: [1]}}]",
            "services:variables config should be a hash of key value pairs, value of A can be a string or a number",
        ),
        ("services: [{name: x, docker: arm64}]", "services:docker config should be a hash"),
        ("image: {name: x, docker: {platform: [y]}}", "image:docker should be a string"),
        ("retry: 5", "retry should be an integer from 0 to 2"),
        ("timeout: soon", "timeout should be a duration"),
        ("rules: [{if: '$A =='}]", "rules:rule[0] if invalid expression syntax"),
        (
            "environment: /prod",
            "environment:name can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, "
            "but it cannot start or end with '/'",
        ),
        (
            "environment: {name: prod, action: go}",
            "environment:action should be start, prepare, stop, verify, or access",
        ),
        (
            "environment: {name: prod, deployment_tier: live}",
            "environment:deployment_tier must be one of production, staging, testing, development, or other",
        ),
        ("environment: {name: prod, auto_stop_in: soon}", "environment:auto_stop_in should be a duration"),
        ("resource_group: [x]", "resource_group should be a string"),
        ("interruptible: maybe", "interruptible should be a boolean value"),
    ],
)
def test_a_keyword_with_a_wrong_value_is_refused_in_gitlabs_words(keywords: str, message: str) -> None:
    assert errors_of(f"a: {{script: s, {keywords}}}") == [f"jobs:a:{message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workflow: {name: x}\na: {script: s}", "workflow:name is not supported by the sandbox GitLab: leave it out"),
        (
            "workflow: {rules: [{when: manual}]}\na: {script: s}",
            "workflow:rules:rule[0]:when should be one of: always, never",
        ),
        (
            "workflow: {rules: [{when: never, allow_failure: true}]}\na: {script: s}",
            "workflow:rules:rule[0]:allow_failure is not supported by the sandbox GitLab: leave it out",
        ),
        (
            "spec: {inputs: {}}\na: {script: s}",
            "spec is not supported by the sandbox GitLab: write out what it means, as `gitlab-ci-local --preview` does",
        ),
        ("pages: {script: s}\na: {script: s}", "pages is not supported by the sandbox GitLab: leave it out"),
        (
            "a: {script: &s [one, *s]}",
            "Invalid configuration format: it is nested too deeply, or an anchor contains itself",
        ),
        (
            ".a: &a {variables: {A: &b [*b]}, next: *a}\nb: {extends: .a, script: &s [[*s]]}",
            "Invalid configuration format: it is nested too deeply, or an anchor contains itself",
        ),
        ("a: {script: s, variables: {DAY: 2020-99-99}}", "Invalid configuration format: month must be in 1..12"),
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
        ("a: {script: s, extends: .b}", "a unknown keys in `extends` (.b)"),
        ("a: {script: s, extends: a}", "a circular dependency detected in `extends`"),
        ("a: {script: s, environment: {name: p, on_stop: b}}", "a job: on_stop job b is not defined"),
        (
            "a: {script: s, environment: {name: p, on_stop: b}}\nb: {script: s}",
            "a job: on_stop job b does not have environment defined",
        ),
        (
            "a: {script: s, environment: {name: p, on_stop: b}}\nb: {script: s, environment: q}",
            "a job: on_stop job b have different environment name",
        ),
        (
            "a: {script: s, environment: {name: p, on_stop: b}}\nb: {script: s, environment: p}",
            "a job: on_stop job b needs to have action stop defined",
        ),
        ("", "Please provide content of .gitlab-ci.yml"),
        ("- a", "Invalid configuration format"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(text: str, message: str) -> None:
    assert errors_of(text) == [message]


def test_every_error_of_a_file_is_told_at_once() -> None:
    assert len(errors_of("workflow: {name: x}\na: {parallel: 2}\nb: {script: s, retry: 9}")) == 4


def test_reports_are_ignored_with_a_warning() -> None:
    config = parse("a: {script: s, artifacts: {paths: [x], reports: {junit: r.xml}}}")
    assert config.warnings == ["jobs:a:artifacts:reports is ignored by the sandbox GitLab"]


def test_an_environment_may_be_a_name_or_a_mapping() -> None:
    text = """
a: {script: s, environment: prod}
b:
  script: s
  environment: {name: review/$X, url: "https://$X.example", on_stop: c, auto_stop_in: 2 days, deployment_tier: other}
c: {script: s, environment: {name: review/$X, action: stop}}
"""
    plain = {"url": None, "on_stop": None, "auto_stop_in": None, "tier": None}
    assert job_of(text)["environment"] == {**plain, "name": "prod", "action": "start"}
    assert job_of(text, "b")["environment"] == {
        "name": "review/$X",
        "url": "https://$X.example",
        "action": "start",
        "on_stop": "c",
        "auto_stop_in": "2 days",
        "tier": "other",
    }
    assert job_of(text, "c")["environment"] == {**plain, "name": "review/$X", "action": "stop"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("prod", "prod"),
        ("review/12", "review-12-"),
        ("Staging", "staging-"),
        ("12", "env-12-"),
        ("a" * 30, "a" * 17 + "-"),
    ],
)
def test_an_environments_slug_starts_with_a_letter_and_tells_names_apart(name: str, expected: str) -> None:
    found = slug(name)
    assert found == expected if found == name else found.startswith(expected)
    assert len(found) <= 24


def test_environments_whose_names_differ_in_one_sign_have_different_slugs() -> None:
    assert len({slug(name) for name in ("review/a", "review-a", "review.a", "review a", "Review-a")}) == 5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("production", "production"),
        ("live/eu", "production"),
        ("staging", "staging"),
        ("review/7", "development"),
        ("qa", "testing"),
        ("somewhere", "other"),
    ],
)
def test_the_tier_of_an_environment_is_guessed_from_its_name(name: str, expected: str) -> None:
    assert tier(name) == expected


def test_retry_says_how_often_and_after_what() -> None:
    assert job_of("a: {script: s, retry: 2}")["retry"] == {"max": 2, "when": ["always"]}
    text = "a: {script: s, retry: {max: 1, when: runner_system_failure}}"
    assert job_of(text)["retry"] == {"max": 1, "when": ["runner_system_failure"]}
