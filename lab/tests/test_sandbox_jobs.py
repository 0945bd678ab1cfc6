"""The sandbox's pipelines and what it says to a runner: scheduling, traces, results, artifacts."""

from __future__ import annotations

import io
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gitlab
import pytest
import yaml
from gitlab.v4.objects import Project, ProjectPipeline

from lab.gitlab import app, pipelines, runner_api
from lab.gitlab.store import now
from lab.tests.live_sandbox import Live, git, running

ONE = "job: {script: [echo hello]}"
STAGES = """
stages: [build, test, deploy]
compile: {stage: build, script: [make]}
unit: {stage: test, script: [make test]}
lint: {stage: test, script: [make lint], allow_failure: true}
ship: {stage: deploy, script: [make ship]}
mourn: {stage: deploy, script: [echo], when: on_failure}
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("sandbox"), registry="172.17.0.1:5005") as found:
        yield found


GRACEFUL = {"features": {"cancel_gracefully": True}}
"""What a runner says that runs after_script of a job which was cancelled."""


def start(project: Project, **variables: str) -> ProjectPipeline:
    given = [{"key": key, "value": value} for key, value in variables.items()]
    return project.pipelines.create({"ref": "main", "variables": given})


def other_branch(project: Project) -> None:
    """A pipeline on a branch that is not protected."""
    file = {"action": "create", "file_path": ".gitlab-ci.yml", "content": ONE}
    project.commits.create({"branch": "other", "commit_message": "a branch", "actions": [file]})


def statuses(pipeline: ProjectPipeline) -> dict[str, str]:
    return {job.name: job.status for job in pipeline.jobs.list(get_all=True)}


def variables_of(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["key"]: variable for variable in job["variables"]}


def test_a_runner_without_a_job_gets_204(live: Live) -> None:
    answer = live.runner(live.project()).ask()
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_runner_is_told_whether_anything_has_come_since_it_asked_last(live: Live) -> None:
    project = live.project(ONE)
    runner = live.runner(project, tag_list=["x"], run_untagged=False)
    first, second = (runner.ask().headers["X-GitLab-Last-Update"] for _ in range(2))
    start(project)
    third = runner.ask()
    assert (third.status_code, first == second, first == third.headers["X-GitLab-Last-Update"]) == (204, True, False)
    live.call("PUT", f"runners/{runner.id}", json={"paused": True})
    assert runner.ask().headers["X-GitLab-Last-Update"] != third.headers["X-GitLab-Last-Update"]


def test_a_runner_has_one_uuid_for_ever(live: Live) -> None:
    project = live.project("\n".join(f"{name}: {{script: [x]}}" for name in "abc"))
    start(project)
    one, other = live.runner(project), live.runner(project)
    found = [runner.job()["runner_info"]["uuid"] for runner in (one, one, other)]
    assert (found[0] == found[1], found[0] == found[2], len(found[0])) == (True, False, 36)


def test_a_job_carries_everything_that_a_runner_needs(live: Live) -> None:
    text = """
image: {name: "alpine:$VERSION", entrypoint: [""]}
variables: {VERSION: "3"}
job:
  services:
    - name: postgres:15
      alias: db
      variables: {POSTGRES_PASSWORD: s, PORT: 5433}
      docker: {platform: linux/arm64, user: "70:70"}
      kubernetes: {user: 1000}
  before_script: [one]
  script: [two]
  after_script: [three]
  timeout: 30 minutes
  artifacts: {paths: [out/], expire_in: 1 week, when: always}
  cache: {key: k, paths: [.cache]}
"""
    project = live.project(text)
    pipeline = start(project)
    answer = live.runner(project).ask()
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "application/json")
    job = answer.json()
    assert job["image"] == {"name": "alpine:3", "entrypoint": [""]}
    assert job["services"] == [
        {
            "name": "postgres:15",
            "alias": "db",
            "variables": [{"key": "POSTGRES_PASSWORD", "value": "s"}, {"key": "PORT", "value": "5433"}],
            "executor_opts": {"docker": {"platform": "linux/arm64", "user": "70:70"}, "kubernetes": {"user": 1000}},
        }
    ]
    assert job["steps"] == [
        {"name": "script", "script": ["one", "two"], "timeout": 1800, "when": "on_success", "allow_failure": False},
        {"name": "after_script", "script": ["three"], "timeout": 1800, "when": "always", "allow_failure": True},
    ]
    assert (job["runner_info"]["timeout"], job["runner_info"]["runner_session_url"]) == (1800, None)
    git_info = {key: job["git_info"][key] for key in ("ref", "sha", "ref_type", "depth", "refspecs")}
    reference = f"refs/pipelines/{pipeline.id}"
    assert git_info == {
        "ref": "main",
        "sha": pipeline.sha,
        "ref_type": "branch",
        "depth": 20,
        "refspecs": [f"+{reference}:{reference}", "+refs/heads/main:refs/remotes/origin/main"],
    }
    assert job["git_info"]["repo_url"].endswith(
        f"@{live.url.removeprefix('http://')}/{project.path_with_namespace}.git"
    )
    (artifacts,) = job["artifacts"]
    assert (artifacts["paths"], artifacts["expire_in"], artifacts["when"]) == (["out/"], "1 week", "always")
    assert job["cache"][0]["key"] == "k-protected"
    assert job["credentials"] == [
        {"type": "registry", "url": "172.17.0.1:5005", "username": "gitlab-ci-token", "password": job["token"]}
    ]


def test_a_job_says_to_whom_it_belongs(live: Live) -> None:
    top = live.client.groups.create({"name": "top", "path": "top"})
    below = live.client.groups.create({"name": "below", "path": "below", "parent_id": top.id})
    project = live.client.projects.create({"name": "An App", "path": "app", "namespace_id": below.id})
    action = {"action": "create", "file_path": ".gitlab-ci.yml", "content": ONE}
    project.commits.create({"branch": "main", "commit_message": "one [skip ci]", "actions": [action]})
    pipeline = start(project)
    info = live.runner(project).job()["job_info"]
    assert 0 <= info.pop("time_in_queue_seconds") < 10
    job = pipeline.jobs.list()[0]
    assert info == {
        "id": job.id,
        "name": "job",
        "stage": "test",
        "pipeline_id": pipeline.id,
        "project_id": project.id,
        "project_name": "An App",
        "project_full_path": "top/below/app",
        "namespace_id": below.id,
        "root_namespace_id": top.id,
        "organization_id": 1,
        "user_id": 1,
        "project_jobs_running_on_instance_runners_count": "+Inf",
    }


@pytest.mark.parametrize(
    ("given", "depth"),
    [("3", 3), ("$DEEP", 7), ("0", 0), ("", 0), ("all", 0), ("12 commits", 12)],
)
def test_the_clones_depth_is_what_git_depth_says(live: Live, given: str, depth: int) -> None:
    project = live.project(ONE)
    start(project, GIT_DEPTH=given, DEEP="7")
    found = live.runner(project).job()["git_info"]
    branches = ["+refs/heads/main:refs/remotes/origin/main"]
    everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
    assert (found["depth"], found["refspecs"][1:]) == (depth, branches if depth else everything)


def test_the_jobs_own_git_depth_wins(live: Live) -> None:
    project = live.project("variables: {GIT_DEPTH: 2}\na: {script: [x]}\nb: {script: [x], variables: {GIT_DEPTH: 5}}")
    start(project)
    runner = live.runner(project)
    assert [runner.job()["git_info"]["depth"] for _ in range(2)] == [2, 5]


def test_a_jobs_status_is_left_to_its_runner(live: Live) -> None:
    """What GitLab sent would win over the runner's own value: after_script would never see a failure."""
    project = live.project(ONE)
    start(project)
    assert "CI_JOB_STATUS" not in variables_of(live.runner(project).job())


def test_every_answer_to_a_runner_that_has_a_body_says_that_it_is_json(live: Live) -> None:
    """gitlab-runner of the 19 series finds no jobs, and does not take a verification, in anything else."""
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    job = runner.job()
    answers = [
        live.call("POST", "runners/verify", json={"token": runner.token}),
        live.call("POST", "runners/verify", json={"token": "glrt-wrong"}),
        live.call("POST", "runners/reset_authentication_token", json={"token": runner.token}),
        runner.end(job, "running"),
        runner.end(job | {"token": "wrong"}),
        runner.trace(job, b"x", 20),
        runner.upload(job, {"a": "b"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 403, 201, 200, 403, 416, 201]
    assert {answer.headers["Content-Type"] for answer in answers} == {"application/json"}


def test_protected_references_have_caches_of_their_own(live: Live) -> None:
    project = live.project("job: {script: [x], cache: {key: k, paths: [y]}}")
    start(project)
    runner = live.runner(project)
    project.branches.create({"branch": "other", "ref": "main"})
    project.pipelines.create({"ref": "other"})
    assert [runner.job()["cache"][0]["key"] for _ in range(2)] == ["k-protected", "k-non_protected"]


def test_predefined_variables_are_those_of_gitlab(live: Live) -> None:
    project = live.project("job: {script: [x], tags: [x]}")
    pipeline = start(project)
    job = live.runner(project, tag_list=["y", "x"]).job()
    found = variables_of(job)
    expected = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_JOB_ID": str(job["id"]),
        "CI_JOB_NAME": "job",
        "CI_JOB_STAGE": "test",
        "CI_PROJECT_ID": str(project.id),
        "CI_PROJECT_PATH": project.path_with_namespace,
        "CI_PROJECT_PATH_SLUG": project.path_with_namespace.replace("/", "-"),
        "CI_PIPELINE_ID": str(pipeline.id),
        "CI_PIPELINE_SOURCE": "api",
        "CI_COMMIT_SHA": pipeline.sha,
        "CI_COMMIT_SHORT_SHA": pipeline.sha[:8],
        "CI_COMMIT_BRANCH": "main",
        "CI_COMMIT_REF_NAME": "main",
        "CI_COMMIT_REF_SLUG": "main",
        "CI_DEFAULT_BRANCH": "main",
        "CI_SERVER_URL": live.url,
        "CI_SERVER_HOST": "127.0.0.1",
        "CI_SERVER_FQDN": live.url.removeprefix("http://"),
        "CI_SERVER_VERSION": "19.4.0-sandbox",
        "CI_PROJECT_NAMESPACE_ID": str(project.namespace["id"]),
        "CI_API_V4_URL": f"{live.url}/api/v4",
        "CI_REGISTRY": "172.17.0.1:5005",
        "CI_REGISTRY_IMAGE": f"172.17.0.1:5005/{project.path_with_namespace}",
        "CI_REGISTRY_USER": "gitlab-ci-token",
        "CI_REGISTRY_PASSWORD": job["token"],
        "CI_JOB_TOKEN": job["token"],
    }
    assert {key: found[key]["value"] for key in expected} == expected
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["CI_JOB_STARTED_AT"]["value"])
    assert {"CI_JOB_MANUAL", "CI_COMMIT_TAG"}.isdisjoint(found)
    secret = [key for key, variable in found.items() if variable["masked"] and not variable["public"]]
    assert sorted(secret) == ["CI_JOB_TOKEN", "CI_REGISTRY_PASSWORD", "CI_REPOSITORY_URL"]


def test_a_tags_job_knows_its_tag_and_no_branch(live: Live, tmp_path: Path) -> None:
    project = live.project(ONE)
    address = live.url.replace("http://", f"http://root:{live.token}@") + f"/{project.path_with_namespace}.git"
    git("clone", "-q", address, "clone", cwd=tmp_path)
    git("tag", "v1.0", cwd=tmp_path / "clone")
    git("push", "-q", "origin", "v1.0", cwd=tmp_path / "clone")
    project.pipelines.create({"ref": "v1.0"})
    found = variables_of(live.runner(project).job())
    assert [found[name]["value"] for name in ("CI_COMMIT_TAG", "CI_COMMIT_REF_NAME")] == ["v1.0", "v1.0"]
    assert "CI_COMMIT_BRANCH" not in found


def test_a_played_job_knows_that_somebody_has_started_it(live: Live) -> None:
    project = live.project("job: {script: [x], when: manual}")
    pipeline = start(project)
    project.jobs.get(pipeline.jobs.list()[0].id).play()
    assert variables_of(live.runner(project).job())["CI_JOB_MANUAL"]["value"] == "true"


def test_the_pipelines_variables_win_over_the_projects_and_those_over_the_files(live: Live) -> None:
    project = live.project("variables: {A: file, B: file, C: file}\njob: {script: [x], variables: {C: job}}")
    project.variables.create({"key": "A", "value": "project"})
    project.variables.create({"key": "B", "value": "project-secret", "masked": True})
    start(project, A="pipeline")
    found = variables_of(live.runner(project).job())
    assert [found[key]["value"] for key in "ABC"] == ["pipeline", "project-secret", "job"]
    assert [found[key]["masked"] for key in "ABC"] == [False, True, False]


def test_protected_variables_stay_on_the_default_branch(live: Live) -> None:
    project = live.project(ONE)
    project.variables.create({"key": "SECRET", "value": "x", "protected": True})
    other_branch(project)
    start(project)
    runner = live.runner(project)
    assert ["SECRET" in variables_of(runner.job()) for _ in range(2)] == [False, True]


def test_stages_run_one_after_the_other(live: Live) -> None:
    project = live.project(STAGES)
    pipeline = start(project)
    runner = live.runner(project)
    assert pipeline.status == "pending"
    compile_job = runner.job()
    assert (compile_job["job_info"]["name"], runner.next_name()) == ("compile", None)
    runner.end(compile_job)
    unit, lint = runner.job(), runner.job()
    assert (unit["job_info"]["name"], lint["job_info"]["name"], runner.next_name()) == ("unit", "lint", None)
    runner.end(lint, "failed", failure_reason="script_failure", exit_code=2)
    runner.end(unit)
    ship = runner.job()
    runner.end(ship)
    pipeline.refresh()
    assert pipeline.status == "success"
    expected = {"compile": "success", "unit": "success", "lint": "failed", "ship": "success", "mourn": "skipped"}
    assert statuses(pipeline) == expected
    assert pipeline.duration is not None


def test_a_failed_stage_skips_the_later_ones_but_for_on_failure(live: Live) -> None:
    project = live.project(STAGES)
    pipeline = start(project)
    runner = live.runner(project)
    runner.end(runner.job(), "failed", failure_reason="script_failure", exit_code=1)
    assert runner.next_name() == "mourn"
    assert statuses(pipeline) == {
        "compile": "failed",
        "unit": "skipped",
        "lint": "skipped",
        "ship": "skipped",
        "mourn": "running",
    }
    failed = next(job for job in pipeline.jobs.list(get_all=True) if job.name == "compile")
    assert (failed.failure_reason, failed.exit_code) == ("script_failure", 1)


def test_needs_lets_a_job_start_before_its_stage(live: Live) -> None:
    text = """
stages: [one, two, three]
fast: {stage: one, script: [x]}
slow: {stage: one, script: [x]}
last: {stage: three, script: [x], needs: [fast]}
now: {stage: three, script: [x], needs: []}
"""
    project = live.project(text)
    start(project)
    runner = live.runner(project)
    fast = runner.job()
    assert [runner.next_name() for _ in range(3)] == ["slow", "now", None]
    runner.end(fast)
    assert runner.next_name() == "last"


def test_retry_runs_a_failed_job_again_as_often_as_it_says(live: Live) -> None:
    project = live.project("job: {script: [x], retry: 2}")
    pipeline = start(project)
    runner = live.runner(project)
    runner.end(runner.job(), "failed", failure_reason="runner_system_failure")
    runner.end(runner.job(), "failed", failure_reason="runner_system_failure")
    assert pipeline.jobs.list(get_all=True)[0].status == "pending"
    runner.end(runner.job(), "failed", failure_reason="script_failure")
    assert runner.ask().status_code == 204
    assert len(pipeline.jobs.list(include_retried=True, get_all=True)) == 3
    pipeline.refresh()
    assert pipeline.status == "failed"


def test_rules_choose_jobs_by_branch_source_and_variables(live: Live) -> None:
    text = """
main-only: {script: [x], rules: [{if: '$CI_COMMIT_BRANCH == "main"'}]}
pushed: {script: [x], rules: [{if: '$CI_PIPELINE_SOURCE == "push"'}]}
asked: {script: [x], rules: [{if: '$FULL', variables: {DEPTH: all}}]}
"""
    project = live.project(text)
    assert set(statuses(start(project))) == {"main-only"}
    assert set(statuses(start(project, FULL="1"))) == {"main-only", "asked"}


@pytest.mark.parametrize(
    ("ci_yaml", "ref", "message"),
    [
        (ONE, "nowhere", "Reference not found"),
        (None, "main", "Missing CI config file"),
        (
            "job: {script: [x], parallel: 2}",
            "main",
            "jobs:job:parallel is not supported by the sandbox GitLab: leave it out",
        ),
        (
            "job: {script: [x], rules: [{when: never}]}",
            "main",
            "Pipeline will not run for the selected trigger. "
            "The rules configuration prevented any jobs from being added to the pipeline.",
        ),
    ],
)
def test_a_pipeline_that_cannot_be_is_refused_in_gitlabs_words(
    live: Live, ci_yaml: str | None, ref: str, message: str
) -> None:
    project = live.project(ci_yaml, {"README.md": "x"})
    with pytest.raises(gitlab.GitlabCreateError) as caught:
        project.pipelines.create({"ref": ref})
    assert (caught.value.response_code, str(caught.value.error_message)) == (400, str({"base": [message]}))
    assert project.pipelines.list(get_all=True) == []


@pytest.mark.parametrize(
    ("job_tags", "runner_settings", "runs"),
    [
        ([], {}, True),
        ([], {"run_untagged": False, "tag_list": ["a"]}, False),
        (["a"], {"tag_list": ["a", "b"]}, True),
        (["a", "c"], {"tag_list": ["a", "b"]}, False),
        ([], {"paused": True}, False),
        ([], {"access_level": "ref_protected"}, True),
    ],
)
def test_a_runner_gets_the_jobs_that_its_settings_allow(
    live: Live, job_tags: list[str], runner_settings: dict[str, Any], runs: bool
) -> None:
    project = live.project(f"job: {{script: [x], tags: {job_tags}}}")
    start(project)
    assert live.runner(project, **runner_settings).ask().status_code == (201 if runs else 204)


def test_a_runner_for_protected_references_leaves_other_branches_alone(live: Live) -> None:
    project = live.project(ONE)
    other_branch(project)
    assert live.runner(project, access_level="ref_protected").ask().status_code == 204
    assert live.runner(project).ask().status_code == 201


def test_a_runner_of_another_project_gets_nothing(live: Live) -> None:
    start(live.project(ONE))
    assert live.runner(live.project()).ask().status_code == 204


def test_the_shorter_of_the_jobs_and_the_runners_timeout_counts(live: Live) -> None:
    project = live.project("a: {script: [x]}\nb: {script: [x], timeout: 11 minutes}")
    start(project)
    runner = live.runner(project, maximum_timeout=900)
    assert [runner.job()["runner_info"]["timeout"] for _ in range(2)] == [900, 660]


def test_a_runner_that_asks_is_seen(live: Live) -> None:
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    runner.job()
    shown = live.client.runners.get(runner.id)
    assert (shown.status, shown.online, shown.version, shown.architecture) == ("online", True, "19.4.0", "arm64")
    assert (shown.ip_address, shown.job_execution_status) == ("127.0.0.1", "active")


def test_a_trace_grows_piece_by_piece(live: Live) -> None:
    project = live.project(ONE)
    pipeline = start(project)
    runner = live.runner(project)
    job = runner.job()
    first = runner.trace(job, b"hello ", 0)
    assert (first.status_code, first.headers["Range"], first.headers["Job-Status"]) == (202, "0-6", "running")
    assert runner.trace(job, b"world", 6).headers["Range"] == "0-11"
    hole = runner.trace(job, b"!", 20)
    assert (hole.status_code, hole.headers["Range"]) == (416, "0-11")
    # A piece that is sent again replaces what it overlaps.
    assert runner.trace(job, b"there", 6).headers["Range"] == "0-11"
    assert project.jobs.get(pipeline.jobs.list()[0].id).trace() == b"hello there"
    missing = live.call("PATCH", f"jobs/{job['id']}/trace", headers={"JOB-TOKEN": job["token"]}, data=b"x")
    assert (missing.status_code, missing.json()) == (400, {"error": "400 Missing header Content-Range"})


def test_a_foreign_token_changes_no_job(live: Live) -> None:
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    job = runner.job()
    assert runner.end(job | {"token": "glcbt-wrong"}).status_code == 403
    assert runner.trace(job | {"token": runner.token}, b"x", 0).status_code == 403


def test_a_runner_whose_log_is_gone_is_told_to_begin_anew(live: Live) -> None:
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    job = runner.job()
    runner.trace(job, b"hello", 0)
    live.sandbox.trace(job["id"]).unlink()
    lost = runner.trace(job, b"!", 5)
    assert (lost.status_code, lost.headers["Range"]) == (416, "0-0")
    assert runner.trace(job, b"hello!", 0).headers["Range"] == "0-6"


def test_a_runner_learns_that_its_job_was_cancelled(live: Live) -> None:
    project = live.project(ONE)
    pipeline = start(project)
    runner = live.runner(project)
    job = runner.job()
    pipeline.cancel()
    for answer in (runner.trace(job, b"x", 0), runner.end(job, "running")):
        assert (answer.status_code, answer.headers["Job-Status"]) == (403, "canceled")
        assert answer.json() == {"message": "403 Forbidden - Job is not running"}
    pipeline.refresh()
    assert pipeline.status == "canceled"


def test_a_runner_that_can_is_given_the_time_to_clear_up_after_a_job(live: Live) -> None:
    project = live.project("a: {script: [x], after_script: [y], resource_group: one}\nb: {script: [x], needs: [a]}")
    pipeline = start(project)
    runner = live.runner(project)
    job = runner.job(**GRACEFUL)
    project.jobs.get(job["id"]).cancel()
    pipeline.refresh()
    assert (pipeline.status, statuses(pipeline)) == ("canceling", {"a": "canceling", "b": "created"})
    told = [runner.trace(job, b"x", 0), runner.end(job, "running")]
    assert [(answer.status_code, answer.headers["Job-Status"]) for answer in told] == [
        (202, "canceling"),
        (200, "canceling"),
    ]
    # after_script may send artifacts, and nobody else gets the resource meanwhile.
    assert runner.upload(job, {"out": "x"}).status_code == 201
    other = start(project)
    assert statuses(other)["a"] == "waiting_for_resource"
    ended = runner.end(job, "failed", failure_reason="script_failure", exit_code=1)
    assert (ended.status_code, ended.headers["Job-Status"]) == (200, "canceled")
    pipeline.refresh()
    assert (pipeline.status, statuses(pipeline)) == ("canceled", {"a": "canceled", "b": "skipped"})
    shown = project.jobs.get(job["id"])
    assert (shown.failure_reason, shown.exit_code, shown.finished_at is not None) == (None, 1, True)
    assert statuses(other)["a"] == "pending"


@pytest.mark.parametrize("features", [None, [], "cancel_gracefully", {"cancel_gracefully": False}])
def test_a_runner_that_says_nothing_of_it_is_given_no_time_to_clear_up(live: Live, features: object) -> None:
    project = live.project(ONE)
    start(project)
    job = live.runner(project).job(features=features)
    assert live.call("POST", f"projects/{project.id}/jobs/{job['id']}/cancel").json()["status"] == "canceled"


def test_a_job_that_clears_up_for_too_long_is_cancelled_by_force(live: Live) -> None:
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    job = runner.job(**GRACEFUL)
    path = f"projects/{project.id}/jobs/{job['id']}/cancel"
    assert live.call("POST", path).json()["status"] == "canceling"
    assert live.call("POST", path).status_code == 403
    assert live.call("POST", path, json={"force": True}).json()["status"] == "canceled"
    answer = runner.end(job, "running")
    assert (answer.status_code, answer.headers["Job-Status"]) == (403, "canceled")


def test_a_job_whose_runner_was_lost_while_it_cleared_up_is_cancelled(live: Live) -> None:
    project = live.project("job: {script: [x], timeout: 10 minutes, retry: 2}")
    pipeline = start(project)
    live.runner(project).job(**GRACEFUL)
    pipeline.cancel()
    assert statuses(pipeline) == {"job": "canceling"}
    pipelines.sweep(live.sandbox, clock=lambda: now(after=661))
    assert statuses(pipeline) == {"job": "canceled"}


def test_a_job_that_was_cancelled_meanwhile_stays_cancelled(live: Live) -> None:
    project = live.project(ONE)
    pipeline = start(project)
    found = live.runner(project).job()
    job = live.sandbox.store.get("jobs", found["id"])
    pipeline.cancel()
    assert pipelines.finish(live.sandbox, job, "success") is False
    assert project.jobs.get(found["id"]).status == "canceled"


def test_lost_jobs_are_looked_for_again_after_a_failure(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called = threading.Semaphore(0)

    def failing(_: object) -> None:
        called.release()
        raise RuntimeError("disk full")

    monkeypatch.setattr(pipelines, "sweep", failing)
    monkeypatch.setattr(app, "SWEEP_SECONDS", 0.01)
    with running(tmp_path_factory.mktemp("sandbox")):
        assert all(called.acquire(timeout=5) for _ in range(2))
    assert "RuntimeError: disk full" in capsys.readouterr().err


def test_a_job_says_that_it_still_runs(live: Live) -> None:
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    job = runner.job()
    answer = runner.end(job, "running")
    assert (answer.status_code, answer.json()) == (200, "200")
    assert runner.end(job, "odd").status_code == 400
    assert project.jobs.get(job["id"]).status == "running"


def test_an_ended_job_tells_its_status_and_asks_for_no_further_update(live: Live) -> None:
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    job = runner.job()
    interval = "X-GitLab-Trace-Update-Interval"
    assert runner.trace(job, b"x", 0).headers[interval] == "3"
    answer = runner.end(job, "failed", failure_reason="script_failure", exit_code=3)
    assert (answer.headers["Job-Status"], interval in answer.headers) == ("failed", False)


def test_a_failure_that_gitlab_does_not_know_is_an_unknown_one(live: Live) -> None:
    project = live.project("a: {script: [x]}\nb: {script: [x]}\nc: {script: [x]}")
    start(project)
    runner = live.runner(project)
    found = []
    for given in ("runner_interrupted", "image_pull_failure", None):
        job = runner.job()
        assert "runner_interrupted" in job["features"]["failure_reasons"]
        assert "image_pull_failure" not in job["features"]["failure_reasons"]
        runner.end(job, "failed", failure_reason=given)
        found.append(project.jobs.get(job["id"]).failure_reason)
    assert found == ["runner_interrupted", "unknown_failure", "unknown_failure"]


@pytest.mark.parametrize(
    ("when", "reason", "again"),
    [
        ("stuck_or_timeout_failure", "no_updates_running", True),
        ("job_execution_timeout", "server_timeout_running", True),
        ("runner_system_failure", "runner_interrupted", False),
    ],
)
def test_a_job_is_retried_after_the_failures_that_it_names(live: Live, when: str, reason: str, again: bool) -> None:
    project = live.project(f"job: {{script: [x], retry: {{max: 1, when: {when}}}}}")
    start(project)
    runner = live.runner(project)
    runner.end(runner.job(), "failed", failure_reason=reason)
    assert (runner.next_name() == "job") is again


def test_a_job_whose_runner_is_lost_fails_a_minute_after_its_timeout(live: Live) -> None:
    project = live.project("job: {script: [x], timeout: 10 minutes}")
    pipeline = start(project)
    live.runner(project).job()
    pipelines.sweep(live.sandbox, clock=lambda: now(after=659))
    assert statuses(pipeline) == {"job": "running"}
    pipelines.sweep(live.sandbox, clock=lambda: now(after=661))
    assert pipeline.jobs.list()[0].failure_reason == "server_timeout_running"


def test_later_stages_get_the_artifacts_of_earlier_ones(live: Live) -> None:
    text = """
stages: [build, test]
one: {stage: build, script: [x], artifacts: {paths: [out]}}
two: {stage: build, script: [x], artifacts: {paths: [out]}}
all: {stage: test, script: [x]}
some: {stage: test, script: [x], dependencies: [two]}
none: {stage: test, script: [x], dependencies: []}
needs: {stage: test, script: [x], needs: [one, {job: two, artifacts: false}]}
"""
    project = live.project(text)
    start(project)
    runner = live.runner(project)
    for _ in range(2):
        job = runner.job()
        name = job["job_info"]["name"]
        assert runner.upload(job, {"out/name": name}, expire_in="1 week").status_code == 201
        runner.end(job)
    jobs = [runner.job() for _ in range(4)]
    found = {job["job_info"]["name"]: [other["name"] for other in job["dependencies"]] for job in jobs}
    assert found == {"all": ["one", "two"], "some": ["two"], "none": [], "needs": ["one"]}
    asking = jobs[0]
    dependency = asking["dependencies"][0]
    assert dependency["artifacts_file"]["filename"] == "artifacts.zip"
    download = f"jobs/{dependency['id']}/artifacts"
    answer = live.call("GET", download, token="", headers={"JOB-TOKEN": dependency["token"]})
    assert len(answer.content) == dependency["artifacts_file"]["size"]
    assert zipfile.ZipFile(io.BytesIO(answer.content)).read("out/name") == b"one"
    runner.end(asking)
    # A job's token dies with its job.
    assert live.call("GET", download, token="", headers={"JOB-TOKEN": asking["token"]}).status_code == 403


def test_artifacts_are_read_by_users_until_they_expire(live: Live) -> None:
    project = live.project("job: {script: [x], artifacts: {paths: [out]}}")
    start(project)
    runner = live.runner(project)
    job = runner.job()
    runner.upload(job, {"out/a": "A"}, expire_in="10 minutes")
    runner.end(job)
    shown = project.jobs.get(job["id"])
    assert zipfile.ZipFile(io.BytesIO(shown.artifacts())).read("out/a") == b"A"
    expires = datetime.fromisoformat(shown.artifacts_expire_at) - datetime.now(UTC)
    assert timedelta(minutes=9) < expires <= timedelta(minutes=10)
    pipelines.sweep(live.sandbox, clock=lambda: now(after=601))
    with pytest.raises(gitlab.GitlabGetError, match="404 Not found"):
        project.jobs.get(job["id"]).artifacts()
    assert not live.sandbox.artifacts(job["id"]).exists()


def test_a_refused_upload_leaves_the_artifacts_as_they_were(live: Live) -> None:
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    job = runner.job()
    runner.upload(job, {"out/a": "A"})
    for wrong in ("soon", "9" * 30):
        answer = runner.upload(job, {"out/a": "B"}, expire_in=wrong)
        words = {"message": "400 Bad request - expire_in is no duration"}
        assert (answer.status_code, answer.json()) == (400, words)
    assert zipfile.ZipFile(io.BytesIO(project.jobs.get(job["id"]).artifacts())).read("out/a") == b"A"


def test_artifacts_are_sent_to_gitlab_itself_for_there_is_no_object_storage(live: Live) -> None:
    project = live.project("a: {script: [x], stage: build}\nb: {script: [x]}")
    start(project)
    runner = live.runner(project)
    job = runner.job()
    headers = {"JOB-TOKEN": job["token"]}
    path = f"jobs/{job['id']}/artifacts"
    allowed = live.call("POST", f"{path}/authorize", token="", headers=headers, json={"filesize": 100})
    assert (allowed.status_code, allowed.json()) == (200, {"MaximumSize": 100 * 2**20})
    runner.upload(job, {"out": "x"})
    runner.end(job)
    asking = runner.job()
    headers = {"JOB-TOKEN": asking["token"]}
    answer = live.call("GET", f"{path}?direct_download=true", token="", headers=headers, allow_redirects=False)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip")


def test_artifacts_that_are_too_large_are_refused(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_api, "LARGEST_ARTIFACTS", 1000)
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    job = runner.job()
    path = f"jobs/{job['id']}/artifacts/authorize"
    answers = [
        live.call("POST", path, headers={"JOB-TOKEN": job["token"]}, json={"filesize": 1001}),
        runner.upload(job, {"a": "x" * 1001}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()) == (413, {"message": "413 Request Entity Too Large"})
    assert runner.upload(job, {"a": "x"}).status_code == 201


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"artifact_type": "junit"}, "artifact type junit is not supported by the sandbox GitLab"),
        ({"artifact_format": "tarzstd"}, "artifact format tarzstd is not supported by the sandbox GitLab"),
    ],
)
def test_artifacts_of_another_kind_are_refused_by_name(live: Live, query: dict[str, str], message: str) -> None:
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    answer = runner.upload(runner.job(), {"a": "b"}, **query)
    assert (answer.status_code, answer.json()) == (400, {"message": f"400 Bad request - {message}"})


def test_artifacts_of_a_job_that_ended_are_refused(live: Live) -> None:
    project = live.project(ONE)
    start(project)
    runner = live.runner(project)
    job = runner.job()
    runner.end(job)
    assert runner.upload(job, {"a": "b"}).status_code == 403


def test_the_linter_tells_errors_and_warnings(live: Live) -> None:
    project = live.project(ONE)
    answer = live.call(
        "POST", f"projects/{project.id}/ci/lint", json={"content": "include: x.yml\njob: {script: y}"}
    ).json()
    assert (answer["valid"], answer["errors"]) == (False, ["Local file `x.yml` does not exist!"])
    good = project.ci_lint.create({"content": "job: {script: y, artifacts: {reports: {junit: x}}}"})
    assert good.warnings == ["jobs:job:artifacts:reports is ignored by the sandbox GitLab"]


def test_the_linter_shows_what_a_file_and_its_includes_come_to(live: Live) -> None:
    included = ".base: &base {tags: [a], script: [x]}\nb: *base"
    project = live.project(ONE, {"more.yml": included})
    found = project.ci_lint.create({"content": "include: more.yml\nc: {extends: .base}"})
    base = {"tags": ["a"], "script": ["x"]}
    assert (found.valid, yaml.safe_load(found.merged_yaml)) == (True, {".base": base, "b": base, "c": base})
    assert "&" not in found.merged_yaml
    empty = project.ci_lint.create({"content": ""})
    assert (empty.valid, empty.errors) == (False, ["Please provide content of .gitlab-ci.yml"])


def test_project_variables_are_created_read_changed_and_deleted(live: Live) -> None:
    project = live.project()
    variable = project.variables.create({"key": "KEY", "value": "value"})
    variable.value = "other"
    variable.save()
    assert project.variables.get("KEY").value == "other"
    with pytest.raises(gitlab.GitlabCreateError, match="has already been taken"):
        project.variables.create({"key": "KEY", "value": "x"})
    with pytest.raises(gitlab.GitlabCreateError, match="is invalid"):
        project.variables.create({"key": "SHORT", "value": "x y", "masked": True})
    variable.delete()
    assert project.variables.list(get_all=True) == []


def test_many_runners_never_get_the_same_job(live: Live) -> None:
    names = [f"j{number}" for number in range(12)]
    project = live.project("\n".join(f"{name}: {{script: [x]}}" for name in names))
    start(project)
    runner = live.runner(project)
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: runner.next_name(), range(14)))
    assert sorted(name for name in found if name) == sorted(names)
    assert found.count(None) == 2
    assert time.monotonic() - began < 10
