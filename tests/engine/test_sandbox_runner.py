"""The sandbox GitLab and the real gitlab-runner, with the shell executor: nothing of Docker's is between them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gitlab.v4.objects import Project, ProjectPipeline

from lab.images import RUNNER, RUNNER_VERSION
from lab.tests.live_sandbox import Live, running
from tests.engine.world import missing, trace, wait_for
from toolchain.gobuild import cached_path

STOP_SECONDS = 20
PIPELINE_SECONDS = 120

ALL = r"""
stages: [build, test]
made:
  stage: build
  variables: {GIT_DEPTH: 2}
  script:
    - echo "$(git rev-list --count HEAD) commits, token $CI_JOB_TOKEN"
    - echo artifact > out.txt
    - cat .cache/note || mkdir .cache && echo "kept by $CI_PIPELINE_ID" > .cache/note
  after_script: ['echo "it was a $CI_JOB_STATUS"']
  artifacts: {paths: [out.txt]}
  cache: {key: k, paths: [.cache]}
taken:
  script: [cat out.txt, 'printf "10%%\r"; sleep 0.2; printf "20%%\r\n"', "head -c 9000 /dev/zero | tr '\\0' x"]
forgiven:
  script: [exit 42]
  after_script: ['echo "it was a $CI_JOB_STATUS"']
  allow_failure: true
again:
  script: ['[ -e $CI_BUILDS_DIR/tried ] || { touch $CI_BUILDS_DIR/tried; exit 7; }']
  retry: 1
"""
LONG = r"""
long:
  script: [echo started, 'while sleep 1; do echo tick; done']
  after_script: ['echo "it was $CI_JOB_STATUS"', echo cleared up > up.txt]
  artifacts: {paths: [up.txt], when: always}
"""
OF_MERGE_REQUESTS = r"""
job:
  script: ['echo "$(cat new) in $CI_PROJECT_PATH"']
  rules: [{if: $CI_PIPELINE_SOURCE == "merge_request_event"}]
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A sandbox with a runner that takes every job with the tag `shell`, one process for the whole module."""
    program = cached_path(RUNNER)
    if not program.exists():
        missing(f"{program} is missing: run `python3 -m lab images`")
    with running(tmp_path_factory.mktemp("sandbox")) as found:
        wanted = {"runner_type": "instance_type", "tag_list": ["shell"], "run_untagged": True}
        token = found.call("POST", "user/runners", json=wanted).json()["token"]
        with runner(program, tmp_path_factory.mktemp("runner"), found.url, token):
            yield found


@contextmanager
def runner(program: Path, directory: Path, url: str, token: str) -> Iterator[None]:
    """A gitlab-runner that is stopped at the end of the block; its log is shown where it had to be killed."""
    config, log = directory / "config.toml", directory / "log"
    config.write_text(
        "concurrent = 4\ncheck_interval = 1\n[[runners]]\n"
        f'url = "{url}"\ntoken = "{token}"\nexecutor = "shell"\nrequest_concurrency = 2\n'
        f'builds_dir = "{directory}/builds"\ncache_dir = "{directory}/cache"\n'
    )
    command = [str(program), "run", "--working-directory", str(directory), "--config", str(config)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    with log.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"the runner did not stop:\n{log.read_text()[-4000:]}") from None


def ended(project: Project) -> ProjectPipeline:
    """A pipeline of the default branch, once it has ended."""
    return until_ended(project.pipelines.create({"ref": "main"}))


def until_ended(pipeline: ProjectPipeline) -> ProjectPipeline:
    """The pipeline once it has ended."""

    def probe() -> ProjectPipeline | None:
        pipeline.refresh()
        return pipeline if pipeline.finished_at else None

    return wait_for("the pipeline", PIPELINE_SECONDS, probe)


def traces(project: Project, pipeline: ProjectPipeline) -> dict[str, str]:
    return {job.name: trace(project.jobs.get(job.id)) for job in pipeline.jobs.list(get_all=True)}


def test_a_pipeline_runs_as_on_gitlab(live: Live) -> None:
    project = live.project(ALL)
    for number in (1, 2):
        change = {"action": "create", "file_path": f"file{number}", "content": "x"}
        project.commits.create({"branch": "main", "commit_message": f"{number} [skip ci]", "actions": [change]})
    first = ended(project)
    said = traces(project, first)
    assert first.status == "success", "\n".join(said.values())
    # Of three commits; the token is not shown.
    assert "2 commits, token [MASKED]\n" in said["made"]
    assert "it was a success\n" in said["made"]
    assert "\nartifact\n" in said["taken"]
    assert "\n10%\r20%\r\n" in said["taken"]
    assert "x" * 9000 in said["taken"]
    # The runner's own status, after a script that has failed.
    assert "it was a failed\n" in said["forgiven"]
    jobs = {job.name: job for job in first.jobs.list(get_all=True)}
    forgiven = jobs["forgiven"]
    assert (forgiven.status, forgiven.exit_code, forgiven.failure_reason) == ("failed", 42, "script_failure")
    assert forgiven.allow_failure
    tries = [job for job in first.jobs.list(include_retried=True, get_all=True) if job.name == "again"]
    assert [(job.status, job.exit_code) for job in tries] == [("success", None), ("failed", 7)]
    # The second one finds what the first one has put into the cache.
    assert f"kept by {first.id}\n" in traces(project, ended(project))["made"]


def test_a_cancelled_job_clears_up_before_it_has_ended(live: Live) -> None:
    project = live.project(LONG)
    pipeline = project.pipelines.create({"ref": "main"})
    job = project.jobs.get(pipeline.jobs.list()[0].id)
    wait_for("the script", PIPELINE_SECONDS, lambda: "\ntick\n" in trace(job) or None)
    job.cancel()
    assert project.jobs.get(job.id).status == "canceling"

    def probe() -> str | None:
        status = str(project.jobs.get(job.id).status)
        return status if status != "canceling" else None

    status = wait_for("the job", PIPELINE_SECONDS, probe)
    assert status == "canceled", trace(job)
    assert "it was canceled\n" in trace(job)


def test_the_commit_of_a_forks_merge_request_is_fetched_in_the_fork_and_in_its_parent(live: Live) -> None:
    parent = live.project(OF_MERGE_REQUESTS)
    group = live.client.groups.create({"name": "forks", "path": "forks"})
    fork = live.client.projects.get(parent.forks.create({"namespace_id": group.id}).id)
    change = {"action": "create", "file_path": "new", "content": "from the fork"}
    fork.commits.create({"branch": "topic", "start_branch": "main", "commit_message": "new", "actions": [change]})
    wanted = {"source_branch": "topic", "target_branch": "main", "title": "t", "target_project_id": parent.id}
    request = parent.mergerequests.get(fork.mergerequests.create(wanted).iid)
    (in_fork,) = fork.pipelines.list(source="merge_request_event", get_all=True)
    in_parent = parent.pipelines.get(request.pipelines.create().id)
    for project, pipeline in ((fork, in_fork), (parent, in_parent)):
        said = traces(project, until_ended(project.pipelines.get(pipeline.id)))
        assert f"from the fork in {project.path_with_namespace}\n" in said["job"]


def test_the_runner_is_known_with_its_version_and_its_machine(live: Live) -> None:
    (known,) = live.client.runners_all.list(get_all=True)

    def managers() -> list[dict[str, str]] | None:
        return live.call("GET", f"runners/{known.id}/managers").json() or None

    (manager,) = wait_for("the runner's first request", 30, managers)
    assert manager["version"] == RUNNER_VERSION
    assert manager["system_id"].startswith("s_")
