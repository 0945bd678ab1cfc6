"""What the keywords of `.gitlab-ci.yml` do to pipelines: workflow, changes, manual jobs, resource groups, …"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import gitlab
import pytest
from gitlab.v4.objects import Project, ProjectPipeline

from lab.gitlab import pipelines
from lab.gitlab.core import ApiError
from lab.tests.live_sandbox import Live, running

CHANGES = """
code: {script: [x], rules: [{changes: ["src/**/*"]}]}
docs: {script: [x], rules: [{changes: {paths: [guide/*.md]}}]}
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("sandbox")) as found:
        yield found


def commit(project: Project, branch: str, files: Mapping[str, str], *, message: str = "change") -> str:
    """Commits files, as a push of one commit does; a new branch begins at main."""
    actions = [{"action": "update", "file_path": file, "content": text} for file, text in files.items()]
    wanted = {"branch": branch, "start_branch": "main", "commit_message": message, "actions": actions}
    made = project.commits.create(wanted)
    return str(made.id)


def newest(project: Project) -> ProjectPipeline | None:
    return next(iter(project.pipelines.list(get_all=True)), None)


def start(project: Project, ref: str = "main", **variables: str) -> ProjectPipeline:
    given = [{"key": key, "value": value} for key, value in variables.items()]
    return project.pipelines.create({"ref": ref, "variables": given})


def statuses(pipeline: ProjectPipeline) -> dict[str, str]:
    return {job.name: job.status for job in pipeline.jobs.list(get_all=True)}


def job_id(pipeline: ProjectPipeline, name: str) -> int:
    return next(int(job.id) for job in pipeline.jobs.list(get_all=True) if job.name == name)


def play(project: Project, pipeline: ProjectPipeline, name: str) -> None:
    project.jobs.get(job_id(pipeline, name), lazy=True).play()


def refusal(project: Project, ref: str = "main") -> str:
    with pytest.raises(gitlab.GitlabCreateError) as caught:
        start(project, ref)
    assert caught.value.response_code == 400
    return str(caught.value.error_message)


def test_workflow_rules_decide_whether_there_is_a_pipeline_and_give_it_variables(live: Live) -> None:
    text = """
workflow: {rules: [{if: $SKIP, when: never}, {if: $DEEP, variables: {DEPTH: deep}}, {when: always}]}
variables: {DEPTH: flat}
a: {script: [x]}
"""
    project = live.project(text)
    message = str({"base": ["Pipeline filtered out by workflow rules."]})
    with pytest.raises(gitlab.GitlabCreateError) as caught:
        start(project, SKIP="1")
    assert (caught.value.response_code, str(caught.value.error_message)) == (400, message)
    runner = live.runner(project)
    found = []
    for variables in ({"DEEP": "1"}, {}):
        start(project, **variables)
        found += [item["value"] for item in runner.job()["variables"] if item["key"] == "DEPTH"]
    assert found == ["deep", "flat"]


EXPLODING = "variables:\n" + "".join(f"  V{n}: {f'$V{n + 1}' * 10}\n" for n in range(12))


@pytest.mark.parametrize("place", ["tags: [$V0]", "environment: $V0", "resource_group: $V0"])
@pytest.mark.parametrize("variables", [EXPLODING, "variables:\n" + "".join(f"  V{n}: $V{n + 1}\n" for n in range(999))])
def test_variables_that_become_too_long_are_refused(live: Live, place: str, variables: str) -> None:
    message = (
        "jobs:a variables in its tags, environment or resource group become too long: those of a pipeline have room "
        "for 262144 characters, and for 100 variables within each other"
    )
    assert refusal(live.project(f"{variables}a: {{script: [x], {place}}}")) == str({"base": [message]})


def test_variables_that_become_too_long_for_a_runner_stay_as_they_stand(live: Live) -> None:
    project = live.project(f"{EXPLODING}a: {{script: [x], image: $V0, environment: {{name: p, url: http://$V0}}}}")
    runner = live.runner(project, run_untagged=True)
    start(project, GIT_DEPTH="$V0")
    job = runner.job()
    assert job["image"]["name"] == "$V0"
    assert job["git_info"]["depth"] == 0


def test_a_path_of_changes_that_becomes_too_long_is_refused(live: Live) -> None:
    text = f"variables: {{V: {'x' * 3000}}}\na: {{script: [x], rules: [{{changes: [$V$V]}}]}}"
    project = live.project(text, {"file": "1"})
    commit(project, "main", {"file": "2"})
    assert newest(project) is None


def test_a_pipeline_of_too_many_jobs_is_refused(live: Live) -> None:
    project = live.project("".join(f"a{number}: {{script: [x]}}\n" for number in range(501)))
    assert refusal(project) == str({"base": ["The number of jobs has exceeded the limit of 500."]})


def test_a_hostile_file_is_refused_while_others_are_answered(live: Live) -> None:
    aliases = "".join(f".a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))
    project = live.project(f".a0: &a0 [x, x]\n{aliases}a: {{script: *a19}}")
    message = str({"base": ["The parsed YAML is too big"]})
    with ThreadPoolExecutor() as pool:
        refusals = [pool.submit(refusal, project) for _ in range(4)]
        assert live.call("GET", "version").status_code == 200
        assert [one.result() for one in refusals] == [message] * 4
    assert newest(project) is None


def test_a_push_that_the_workflow_leaves_out_makes_no_pipeline(live: Live) -> None:
    project = live.project("workflow: {rules: [{if: $NEVER}]}\na: {script: [x]}")
    commit(project, "main", {"file": "x"})
    assert newest(project) is None


def test_changes_compare_a_push_with_what_was_there_before(live: Live) -> None:
    project = live.project(CHANGES, {"src/a/b.py": "1", "guide/x.md": "1"})
    commit(project, "main", {"src/a/b.py": "2"})
    pipeline = newest(project)
    assert pipeline is not None
    assert (pipeline.source, set(statuses(pipeline))) == ("push", {"code"})
    commit(project, "main", {"guide/x.md": "2"})
    pipeline = newest(project)
    assert pipeline is not None
    assert set(statuses(pipeline)) == {"docs"}
    commit(project, "main", {"README.md": "2"})
    assert newest(project).id == pipeline.id  # type: ignore[union-attr]


def test_changes_hold_for_what_has_nothing_to_compare_with(live: Live) -> None:
    project = live.project(CHANGES, {"guide/x.md": "1"})
    assert set(statuses(start(project))) == {"code", "docs"}


def test_a_merge_request_is_compared_with_where_it_began(live: Live) -> None:
    rule = "{if: '$CI_PIPELINE_SOURCE == \"merge_request_event\"', changes: ['src/**/*']}"
    text = f"code: {{script: [x], rules: [{rule}]}}\nany: {{script: [x], rules: [{{if: $CI_MERGE_REQUEST_IID}}]}}"
    project = live.project(text, {"src/a.py": "1"})
    commit(project, "topic", {"src/a.py": "2"})
    commit(project, "main", {"src/b.py": "2"})
    commit(project, "topic", {"README.md": "2"})
    project.mergerequests.create({"source_branch": "topic", "target_branch": "main", "title": "t"})
    pipeline = newest(project)
    assert pipeline is not None
    assert (pipeline.source, set(statuses(pipeline))) == ("merge_request_event", {"code", "any"})
    commit(project, "other", {"README.md": "2"})
    project.mergerequests.create({"source_branch": "other", "target_branch": "main", "title": "t"})
    assert set(statuses(newest(project))) == {"any"}  # type: ignore[arg-type]


def test_a_manual_job_of_rules_holds_the_pipeline_until_it_is_played(live: Live) -> None:
    text = """
stages: [one, two, three]
first: {stage: one, script: [x]}
gate: {stage: two, script: [x], rules: [{when: manual}]}
last: {stage: three, script: [x]}
"""
    project = live.project(text)
    pipeline = start(project)
    runner = live.runner(project)
    runner.end(runner.job())
    pipeline.refresh()
    assert (pipeline.status, pipeline.finished_at) == ("manual", None)
    assert statuses(pipeline) == {"first": "success", "gate": "manual", "last": "created"}
    assert runner.next_name() is None
    play(project, pipeline, "gate")
    for _ in range(2):
        runner.end(runner.job())
    pipeline.refresh()
    assert (pipeline.status, statuses(pipeline)["last"]) == ("success", "success")


def test_a_manual_job_without_rules_holds_nothing_and_wakes_what_needs_it(live: Live) -> None:
    text = """
stages: [one, two]
extra: {stage: one, script: [x], when: manual}
next: {stage: two, script: [x]}
after: {stage: two, script: [x], needs: [extra]}
"""
    project = live.project(text)
    pipeline = start(project)
    runner = live.runner(project)
    assert statuses(pipeline) == {"extra": "manual", "next": "pending", "after": "skipped"}
    runner.end(runner.job())
    pipeline.refresh()
    assert pipeline.status == "success"
    play(project, pipeline, "extra")
    assert runner.next_name() == "extra"
    assert statuses(pipeline) == {"extra": "running", "next": "success", "after": "created"}


def test_allow_failure_of_a_manual_job_is_what_is_written(live: Live) -> None:
    text = """
a: {script: [x], when: manual, allow_failure: false}
b: {script: [x], rules: [{when: manual, allow_failure: true}]}
c: {script: [x], when: manual}
"""
    pipeline = start(live.project(text))
    assert {job.name: job.allow_failure for job in pipeline.jobs.list(get_all=True)} == {
        "a": False,
        "b": True,
        "c": True,
    }
    assert pipeline.status == "manual"


def test_a_manual_job_after_a_failure_is_skipped(live: Live) -> None:
    project = live.project("stages: [a, b]\na: {stage: a, script: [x]}\nb: {stage: b, script: [x], when: manual}")
    pipeline = start(project)
    runner = live.runner(project)
    runner.end(runner.job(), "failed", failure_reason="script_failure")
    assert statuses(pipeline) == {"a": "failed", "b": "skipped"}


def test_a_played_job_can_be_played_again_and_retried_without_being_asked_for(live: Live) -> None:
    project = live.project("a: {script: [x], when: manual, retry: 1}")
    pipeline = start(project)
    runner = live.runner(project)
    play(project, pipeline, "a")
    runner.end(runner.job(), "failed", failure_reason="script_failure")
    assert runner.next_name() == "a"
    project.jobs.get(job_id(pipeline, "a"), lazy=True).cancel()
    play(project, pipeline, "a")
    runner.end(runner.job())
    assert statuses(pipeline) == {"a": "success"}


def test_what_is_no_manual_job_cannot_be_played(live: Live) -> None:
    project = live.project("a: {script: [x]}\nb: {script: [x], when: manual}")
    pipeline = start(project)
    answer = live.call("POST", f"projects/{project.id}/jobs/{job_id(pipeline, 'a')}/play")
    assert (answer.status_code, answer.json()) == (400, {"message": "400 Bad request - Unplayable Job"})
    path = f"projects/{project.id}/jobs/{job_id(pipeline, 'b')}/play"
    answer = live.call("POST", path, json={"job_variables_attributes": [{"key": "A", "value": "1"}]})
    message = "400 Bad request - variables and inputs of a played job are not supported by the sandbox GitLab"
    assert (answer.status_code, answer.json()) == (400, {"message": message})
    answer = live.call("POST", path)
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")


def test_of_a_resource_group_one_job_runs_at_a_time_over_all_pipelines(live: Live) -> None:
    project = live.project("up: {script: [x], resource_group: stack-$NAME}")
    first, second, third = start(project, NAME="a"), start(project, NAME="a"), start(project, NAME="b")
    assert [statuses(pipeline)["up"] for pipeline in (first, second, third)] == [
        *("pending", "waiting_for_resource", "pending"),
    ]
    assert second.status == "waiting_for_resource"
    runner = live.runner(project)
    running_job = runner.job()
    assert (runner.next_name(), runner.next_name()) == ("up", None)
    runner.end(running_job, "failed", failure_reason="script_failure")
    second.refresh()
    assert (second.status, statuses(second)["up"], runner.next_name()) == ("pending", "pending", "up")


@pytest.mark.parametrize("cancelled", ["holder", "waiting"])
def test_a_cancelled_job_gives_its_resource_back_or_waits_no_more(live: Live, cancelled: str) -> None:
    project = live.project("up: {script: [x], resource_group: stack}")
    first, second = start(project), start(project)
    (first if cancelled == "holder" else second).cancel()
    assert [statuses(pipeline)["up"] for pipeline in (first, second)] == (
        ["canceled", "pending"] if cancelled == "holder" else ["pending", "canceled"]
    )


def test_a_resource_group_is_a_projects_own(live: Live) -> None:
    text = "up: {script: [x], resource_group: stack}"
    assert [statuses(start(live.project(text)))["up"] for _ in range(2)] == ["pending", "pending"]


def test_retry_counts_only_the_failures_that_it_names(live: Live) -> None:
    project = live.project("a: {script: [x], retry: {max: 2, when: [runner_system_failure]}}")
    pipeline = start(project)
    runner = live.runner(project)
    runner.end(runner.job(), "failed", failure_reason="runner_system_failure")
    runner.end(runner.job(), "failed", failure_reason="script_failure")
    assert (runner.next_name(), statuses(pipeline)) == (None, {"a": "failed"})


def test_an_optional_need_that_is_not_there_is_left_out(live: Live) -> None:
    text = """
stages: [one, two]
a: {stage: one, script: [x], rules: [{if: $A}]}
b: {stage: one, script: [x]}
c: {stage: two, script: [x], needs: [{job: a, optional: true}, b]}
"""
    project = live.project(text)
    pipeline = start(project)
    runner = live.runner(project)
    runner.end(runner.job())
    assert statuses(pipeline) == {"b": "success", "c": "pending"}


def test_a_job_knows_its_environment(live: Live) -> None:
    text = """
variables: {PLACE: eu}
up:
  script: [x]
  environment: {name: review/$PLACE, url: "https://$CI_ENVIRONMENT_SLUG.$ZONE", auto_stop_in: 2 days}
  rules: [{when: always, variables: {ZONE: example.com}}]
"""
    project = live.project(text)
    start(project)
    found = {item["key"]: item["value"] for item in live.runner(project).job()["variables"]}
    slug = found["CI_ENVIRONMENT_SLUG"]
    assert {key: value for key, value in found.items() if key.startswith("CI_ENVIRONMENT_")} == {
        "CI_ENVIRONMENT_NAME": "review/eu",
        "CI_ENVIRONMENT_SLUG": slug,
        "CI_ENVIRONMENT_URL": f"https://{slug}.example.com",
        "CI_ENVIRONMENT_ACTION": "start",
        "CI_ENVIRONMENT_TIER": "development",
    }
    assert slug.startswith("review-eu-")


def test_a_pipeline_takes_no_inputs_of_its_own(live: Live) -> None:
    project = live.project("a: {script: [x]}")
    answer = live.call("POST", f"projects/{project.id}/pipeline", json={"ref": "main", "inputs": {"x": "z"}})
    message = "400 Bad request - inputs of a pipeline are not supported by the sandbox GitLab"
    assert (answer.status_code, answer.json()) == (400, {"message": message})


def test_lists_of_jobs_and_pipelines_are_narrowed_down(live: Live) -> None:
    project = live.project("a: {script: [x]}\nb: {script: [x], when: manual}")
    pipeline = start(project)
    assert [job.name for job in pipeline.jobs.list(scope="manual", get_all=True)] == ["b"]
    assert [job.name for job in project.jobs.list(scope=["pending", "running"], get_all=True)] == ["a"]
    assert [found.id for found in project.pipelines.list(sha=pipeline.sha, source="api", get_all=True)] == [pipeline.id]
    assert project.pipelines.list(ref="other", get_all=True) == []


def test_files_of_the_project_are_included_below_its_own(live: Live) -> None:
    files = {
        "ci/one.yml": "include: {local: two.yml}\n.all: {script: [one]}",
        "two.yml": ".all: {script: [two], tags: [x]}",
    }
    project = live.project("include: /ci/one.yml\na: {extends: .all}", files)
    job = live.sandbox.store.get("jobs", job_id(start(project), "a"))
    assert (job["spec"]["script"], job["tags"]) == (["one"], ["x"])


@pytest.mark.parametrize(
    ("include", "error"),
    [
        ("gone.yml", "Local file `gone.yml` does not exist!"),
        (
            "{project: a/b, file: c.yml}",
            'include: {"project": "a/b", "file": "c.yml"} is not supported by the sandbox GitLab: write out what it '
            "means, as `gitlab-ci-local --preview` does",
        ),
    ],
)
def test_what_cannot_be_included_is_told(live: Live, include: str, error: str) -> None:
    project = live.project(f"include: {include}\na: {{script: [x]}}")
    assert refusal(project) == str({"base": [error]})


def test_a_job_that_has_been_played_meanwhile_is_not_played_again(live: Live) -> None:
    project = live.project("a: {script: [x], when: manual}")
    pipeline = start(project)
    store = live.sandbox.store
    seen = store.get("jobs", job_id(pipeline, "a"))
    play(project, pipeline, "a")
    live.runner(project).job()
    with pytest.raises(ApiError, match="Unplayable Job"):
        pipelines.play_job(live.sandbox, seen)
    assert statuses(pipeline) == {"a": "running"}


def test_a_newer_commit_cancels_older_pipelines_of_its_branch_that_may_be_interrupted(live: Live) -> None:
    text = "stages: [a, b]\na: {stage: a, script: [x], interruptible: true}\nb: {stage: b, script: [x]}"
    project = live.project(text)
    runner = live.runner(project)
    first = start(project)
    job = runner.job()
    commit(project, "main", {"file": "1"})
    second = newest(project)
    assert second is not None
    assert (statuses(first), statuses(second)) == (
        {"a": "canceled", "b": "canceled"},
        {"a": "pending", "b": "created"},
    )
    assert runner.end(job).headers["Job-Status"] == "canceled"
    runner.end(runner.job())
    assert runner.next_name() == "b"
    commit(project, "main", {"file": "2"})
    assert statuses(second) == {"a": "success", "b": "running"}
