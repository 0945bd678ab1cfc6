"""The pipelines' YAML: which jobs there are in which pipeline, by gitlab-ci-local, and what only GitLab sees to."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.gitlab import ci_yaml
from tests.unit.ci_repository import (
    BACKEND,
    MERGE_REQUEST,
    OF_THIS_PROJECT,
    ROOT,
    CiRepository,
    of_stack_files,
    of_the_project,
)
from toolchain import ci_local
from toolchain.shared import ToolchainError

CHECKS = {"lint": "on_success", "type check": "on_success", "unit tests": "on_success"}
SCHEDULE = {"CI_PIPELINE_SOURCE": "schedule"}


@pytest.fixture(scope="module")
def program() -> Path:
    """gitlab-ci-local."""
    try:
        return ci_local.ensure(lambda _: None)
    except ToolchainError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def own(program: Path, tmp_path_factory: pytest.TempPathFactory) -> CiRepository:
    """The project's own repository."""
    return of_the_project(tmp_path_factory.mktemp("own") / "it", program)


@pytest.fixture(scope="module")
def example(program: Path, tmp_path_factory: pytest.TempPathFactory) -> CiRepository:
    """A repository that holds only stack files."""
    return of_stack_files(tmp_path_factory.mktemp("stacks") / "it", program)


def documents(file: str) -> list[Any]:
    """The YAML documents of one of the files; a `!reference` as the list that it is written as."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!reference", lambda loader, node: loader.construct_sequence(node))  # type: ignore[arg-type]
    return list(yaml.load_all((ROOT / file).read_text(), Loader))


@pytest.mark.parametrize(
    ("changed", "variables", "expected"),
    [
        ("components/names.py", MERGE_REQUEST, {"preview pi": "on_success", "preview gke": "on_success"}),
        ("Pulumi.pi.yaml", MERGE_REQUEST | BACKEND, {"preview pi": "on_success"}),
        ("docs/use/pitfalls.md", MERGE_REQUEST | BACKEND, {}),
        (
            "docs/use/pitfalls.md",
            BACKEND,
            {"preview pi": "on_success", "up pi": "manual", "preview gke": "on_success", "up gke": "manual"},
        ),
        ("docs/use/pitfalls.md", {"ROOT_RUNNER": "yes"}, {"all tests": "manual"}),
    ],
)
def test_a_change_of_the_project_previews_what_it_can_touch_and_deploys_only_from_the_default_branch_to_a_backend(
    changed: str, variables: dict[str, str], expected: dict[str, str], own: CiRepository
) -> None:
    own.change(changed)
    assert own.jobs(variables) == CHECKS | expected


def test_a_schedule_of_the_project_looks_for_drift_and_does_nothing_else(own: CiRepository) -> None:
    own.change("components/names.py")
    assert own.jobs(SCHEDULE | BACKEND) == {"drift pi": "on_success", "drift gke": "on_success"}


@pytest.mark.parametrize(
    ("changed", "variables", "expected"),
    [
        # Of a fork, which has no backend.
        ("Pulumi.staging.yaml", MERGE_REQUEST, {"preview staging": "on_success"}),
        # Of a fork, run by a member in the project that it was forked from.
        ("Pulumi.staging.yaml", MERGE_REQUEST | BACKEND, {"preview staging": "on_success"}),
        (
            "Pulumi.staging.yaml",
            MERGE_REQUEST | BACKEND | OF_THIS_PROJECT,
            {"preview staging": "on_success", "review": "manual", "stop review": "manual"},
        ),
        (
            "README.md",
            BACKEND,
            {
                "preview staging": "on_success",
                "up staging": "on_success",
                "preview prod": "on_success",
                "up prod": "manual",
            },
        ),
        ("README.md", SCHEDULE | BACKEND, {"drift staging": "on_success", "drift prod": "on_success"}),
    ],
)
def test_a_repository_of_stack_files_gets_the_same_jobs_from_another_project(
    changed: str, variables: dict[str, str], expected: dict[str, str], example: CiRepository
) -> None:
    example.change(changed)
    assert example.jobs(variables) == expected


@pytest.mark.parametrize("repository", ["own", "example"])
def test_the_sandbox_takes_the_pipelines_once_they_are_flat(repository: str, request: pytest.FixtureRequest) -> None:
    config = ci_yaml.parse(request.getfixturevalue(repository).flat())
    assert config.warnings == []
    assert {job["stage"] for job in config.jobs.values()} <= {*config.stages}
    ups = [job for name, job in config.jobs.items() if name.startswith("up ")]
    assert [job["tags"] for job in ups] == [["deploy"], ["deploy"]]


def test_every_stack_of_the_project_but_the_sandboxs_has_its_jobs() -> None:
    [pipeline] = documents(".gitlab-ci.yml")
    stacks = [file.name.split(".")[1] for file in ROOT.glob("Pulumi.*.yaml")]
    assert sorted(include["inputs"]["stack"] for include in pipeline["include"]) == sorted({*stacks} - {"dev"})


def test_an_update_never_runs_twice_at_once_nor_after_a_preview_that_failed_nor_is_cut_off() -> None:
    _, jobs = documents("examples/ci/stack.yml")
    stack = "$[[ inputs.stack ]]"
    up = jobs[f"up {stack}"]
    assert up["needs"] == [f"preview {stack}"]
    assert up["resource_group"] == jobs[f"drift {stack}"]["resource_group"] == stack
    assert up["interruptible"] is False
    # Longer than the longest drain that is the default, and than GitLab's own hour.
    assert up["timeout"] == "3 hours"


def prepared(directory: Path, after: str, **variables: str) -> str:
    """What a job in this directory prints that the shared steps have prepared; `python3` only says how it is called."""
    [jobs] = documents("examples/ci/toolchain.yml")
    (directory / "bin").mkdir()
    python = directory / "bin" / "python3"
    python.write_text('#!/bin/sh\necho "$@"\nmkdir -p .toolchain\n: >.toolchain/env\n')
    python.chmod(0o755)
    script = "\n".join(["set -eo pipefail", *jobs[".toolchain"]["before_script"], after])
    environment = {"PATH": f"{directory}/bin:{os.environ['PATH']}", "HOME": str(directory), **variables}
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("file", "stack"), [("Pulumi.a.yaml", "a"), ("Pulumi.review.yaml", "review"), ("", "")])
def test_a_job_gets_the_plugins_that_its_stack_needs(file: str, stack: str, tmp_path: Path) -> None:
    assert prepared(tmp_path, "", SETTINGS=file) == f"-m toolchain install --stack {stack}\n"


def test_a_job_that_is_given_an_ssh_key_offers_it_and_knows_the_host(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    # GitLab may take the line's end from a variable, and browsers give other ones.
    key.write_text(key.read_text().strip().replace("\n", "\r\n"))
    (tmp_path / "hosts").write_text("builder.example.com ssh-ed25519 AAAA\n")
    after = 'ssh-add -L; cat ~/.ssh/known_hosts; echo "$SSH_AUTH_SOCK"'
    printed = prepared(tmp_path, after, SSH_KEY=str(key), SSH_KNOWN_HOSTS=str(tmp_path / "hosts")).splitlines()
    assert printed[1].split()[:2] == (tmp_path / "key.pub").read_text().split()[:2]
    assert printed[2] == "builder.example.com ssh-ed25519 AAAA"
    # The agent takes it away when it ends.
    end = time.monotonic() + 5
    while Path(printed[3]).exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(printed[3]).exists()


def test_whoever_lists_the_inputs_reads_what_each_is_for() -> None:
    for file in ("stack", "review"):
        header, _ = documents(f"examples/ci/{file}.yml")
        assert all(len(given["description"]) > 20 for given in header["spec"]["inputs"].values())


def test_stopping_a_review_stack_needs_no_branch() -> None:
    _, jobs = documents("examples/ci/review.yml")
    stop = jobs["stop review"]
    assert stop["variables"] == {"GIT_STRATEGY": "none"}
    assert stop["environment"]["name"] == jobs["review"]["environment"]["name"]
    assert jobs["review"]["environment"]["on_stop"] == "stop review"
    assert (stop["environment"]["action"], stop["extends"], jobs["review"]["extends"]) == ("stop", ".review", ".review")
