"""What teams need of the sandbox beyond merge requests: issues, schedules, environments, scoped variables, files."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gitlab.v4.objects import Project

from lab.gitlab import pushes, stopping
from lab.gitlab.store import Store
from lab.tests.live_sandbox import Live, refused, running, values_of

JOB = "job: {script: [x]}\n"
REVIEW = """
workflow: {rules: [{if: $CI_PIPELINE_SOURCE == "merge_request_event"}]}
deploy:
  script: [x]
  environment:
    {name: review/$CI_MERGE_REQUEST_IID, url: "https://$CI_ENVIRONMENT_SLUG.x", on_stop: clean, auto_stop_in: 1 day}
clean:
  script: [x]
  when: manual
  allow_failure: true
  environment: {name: review/$CI_MERGE_REQUEST_IID, action: stop}
"""
PRODUCTION = "deploy: {script: [x], environment: prod}\n"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("sandbox")) as found:
        yield found


def move(live: Live, project: Project, branch: str, sha: str) -> None:
    """Moves a branch as a push does."""
    before = project.branches.get(branch).commit["id"]
    live.sandbox.repository(project.id).set_ref(f"refs/heads/{branch}", sha)
    store = live.sandbox.store
    pushes.pushed(live.sandbox, store.get("projects", project.id), store.get("users", 1), branch, before)


def reviewed(live: Live) -> Project:
    """A project with a merge request whose review environment has been deployed."""
    project = live.project(REVIEW)
    project.branches.create({"branch": "topic", "ref": "main"})
    file = {"branch": "topic", "content": "1", "commit_message": "one", "file_path": "file"}
    project.files.create(file)
    project.mergerequests.create({"source_branch": "topic", "target_branch": "main", "title": "x"})
    runner = live.runner(project)
    runner.end(runner.job())
    return project


def test_issues_are_written_listed_changed_and_closed(live: Live) -> None:
    project = live.project()
    issue = project.issues.create({"title": "Drift of stack dev", "description": "marker", "labels": "a,b"})
    project.issues.create({"title": "Other"})
    assert (issue.iid, issue.state, issue.labels, issue.author["username"]) == (1, "opened", ["a", "b"], "root")
    assert [found.title for found in project.issues.list(search="MARKER", state="opened")] == ["Drift of stack dev"]
    assert [found.iid for found in project.issues.list(labels=["a"], sort="asc")] == [1]
    issue.notes.create({"body": "more"})
    issue.state_event = "close"
    issue.description = "changed"
    issue.save()
    assert (issue.state, issue.description, issue.user_notes_count) == ("closed", "changed", 1)
    assert [found.iid for found in project.issues.list(state="opened")] == [2]
    issue.state_event = "reopen"
    issue.add_labels = ["c"]
    issue.save()
    assert (issue.state, issue.closed_at, issue.labels) == ("opened", None, ["a", "b", "c"])
    assert [note.body for note in issue.notes.list(get_all=True)] == ["more"]
    assert refused(400, project.issues.create, {"title": "x", "description": "x" * 1_048_577}) == {
        "description": ["is too long (maximum is 1048576 characters)"]
    }


def test_a_schedule_plays_when_it_is_told_to(live: Live) -> None:
    project = live.project(JOB)
    wanted = {"ref": "main", "cron": "0 4 * * *", "description": "drift"}
    schedule = project.pipelineschedules.create(wanted)
    assert project.pipelines.list(get_all=True) == []
    schedule.play()
    found = values_of(live.runner(project).job())
    assert (found["CI_PIPELINE_SOURCE"], found["CI_COMMIT_BRANCH"]) == ("schedule", "main")
    assert refused(400, project.pipelineschedules.create, wanted | {"ref": "gone"}) == {"ref": ["is ambiguous"]}


def test_a_job_gets_the_variables_of_its_environment(live: Live) -> None:
    text = "prod: {script: [x], environment: review/one}\nplain: {script: [x]}\n"
    project = live.project(text)
    for scope in ("*", "review/*", "review/one", "other"):
        project.variables.create({"key": "A", "value": f"for {scope}", "environment_scope": scope})
    project.variables.create({"key": "B", "value": "x", "environment_scope": "review/*"})
    project.pipelines.create({"ref": "main"})
    runner = live.runner(project)
    jobs = {job["job_info"]["name"]: values_of(job) for job in (runner.job(), runner.job())}
    assert [jobs[name].get("A") for name in ("prod", "plain")] == ["for review/one", "for *"]
    assert [jobs[name].get("B") for name in ("prod", "plain")] == ["x", None]
    assert jobs["prod"]["CI_ENVIRONMENT_NAME"] == "review/one"


def test_variables_of_one_key_are_told_apart_by_their_scope(live: Live) -> None:
    project = live.project()
    for scope in ("a", "b"):
        project.variables.create({"key": "K", "value": scope, "environment_scope": scope, "description": "why"})
    assert refused(409, project.variables.get, "K") == (
        "There are multiple variables with provided parameters. Please use 'filter[environment_scope]'"
    )
    found = project.variables.get("K", filter={"environment_scope": "b"})
    assert (found.value, found.environment_scope, found.description) == ("b", "b", "why")
    project.variables.update("K", {"value": "new", "filter": {"environment_scope": "b"}})
    project.variables.delete("K", filter={"environment_scope": "a"})
    assert project.variables.get("K").value == "new"
    taken = {"key": ["(K) has already been taken"]}
    assert refused(400, project.variables.create, {"key": "K", "value": "x", "environment_scope": "b"}) == taken
    assert refused(404, project.variables.get, "K", filter={"environment_scope": "a"}) == "404 Variable Not Found"


def test_a_job_makes_its_environment_and_gives_it_an_address_once_it_has_ended_well(live: Live) -> None:
    variables = "{HOST: $CI_COMMIT_REF_NAME.$ZONE, ZONE: x}"
    project = live.project(
        f"job: {{script: [x], variables: {variables}, environment: {{name: prod, url: https://$HOST}}}}"
    )
    project.pipelines.create({"ref": "main"})
    (environment,) = project.environments.list(get_all=True)
    assert (environment.name, environment.state, environment.tier, environment.external_url) == (
        "prod",
        "available",
        "production",
        None,
    )
    runner = live.runner(project)
    job = runner.job()
    assert values_of(job)["CI_ENVIRONMENT_URL"] == "https://main.x"
    runner.end(job)
    assert [found.external_url for found in project.environments.list(get_all=True)] == ["https://main.x"]


def test_a_raw_variable_stands_in_an_environments_address_as_it_is(live: Live) -> None:
    project = live.project("job: {script: [x], environment: {name: prod, url: https://x/$PATHS$LOOP}}")
    project.variables.create({"key": "PATHS", "value": "$CI_JOB_ID", "raw": True})
    project.variables.create({"key": "LOOP", "value": "/$LOOP"})
    project.pipelines.create({"ref": "main"})
    assert values_of(live.runner(project).job())["CI_ENVIRONMENT_URL"] == "https://x/$CI_JOB_ID/$LOOP"


@pytest.mark.parametrize("by", ["close", "merge", "push", "time"])
def test_an_environment_is_stopped_by_its_job(live: Live, by: str) -> None:
    project = reviewed(live)
    (environment,) = project.environments.list(name="review/1")
    assert (environment.state, environment.auto_stop_at is None) == ("available", False)
    merge_request = project.mergerequests.get(1)
    if by == "close":
        merge_request.state_event = "close"
        merge_request.save()
    elif by == "merge":
        merge_request.merge()
    elif by == "push":
        move(live, project, "main", project.branches.get("topic").commit["id"])
    else:
        live.sandbox.store.update("environments", environment.id, auto_stop_at="2000-01-01T00:00:00.000Z")
        stopping.stop_expired(live.sandbox)
    assert [one.state for one in project.environments.list(get_all=True)] == ["stopping"]
    runner = live.runner(project)
    job = runner.job()
    assert (job["job_info"]["name"], values_of(job)["CI_ENVIRONMENT_ACTION"]) == ("clean", "stop")
    runner.end(job)
    assert [one.state for one in project.environments.list(get_all=True)] == ["stopped"]


def test_files_are_committed_read_changed_and_deleted(live: Live) -> None:
    project = live.project(JOB)
    made = {"file_path": "a/b.txt", "branch": "main", "content": "one\n", "commit_message": "one"}
    project.files.create(made)
    found = project.files.get(file_path="a/b.txt", ref="main")
    assert (found.decode(), found.size, found.file_name) == (b"one\n", 4, "b.txt")
    assert found.blob_id == "5626abf0f72e58d7a153368ba57db4c673c0e171"
    assert refused(400, project.files.create, made) == "A file with this name already exists"
    last = found.last_commit_id
    found.content = "two\n"
    found.save(branch="main", commit_message="two")
    assert project.files.raw(file_path="a/b.txt", ref="main") == b"two\n"
    late = {"branch": "main", "content": "x", "commit_message": "x", "last_commit_id": last}
    address = f"projects/{project.id}/repository/files/a%2Fb.txt"
    assert live.call("PUT", address, json=late).json() == {
        "message": "You are attempting to update a file that has changed since you started"
    }
    project.files.delete(file_path="a/b.txt", branch="main", commit_message="gone")
    assert refused(404, project.files.get, file_path="a/b.txt", ref="main") == "404 File Not Found"
    missing = live.call("DELETE", address, json={"branch": "main", "commit_message": "x"})
    assert (missing.status_code, missing.json()) == (400, {"message": "A file with this name doesn't exist"})
    assert len(project.pipelines.list(get_all=True)) == 3


def test_branches_are_made_read_and_deleted(live: Live) -> None:
    project = live.project(JOB)
    made = project.branches.create({"branch": "a/b", "ref": "main"})
    assert (made.name, made.default, made.protected) == ("a/b", False, False)
    assert project.branches.get("main").protected is True
    assert [one.name for one in project.branches.list(search="a/")] == ["a/b"]
    assert project.commits.get("main").id == made.commit["id"]
    assert refused(400, project.branches.create, {"branch": "a/b", "ref": "main"}) == "Branch already exists"
    assert refused(400, project.branches.create, {"branch": "c", "ref": "gone"}) == "Invalid reference name: gone"
    made.delete()
    assert refused(404, project.branches.get, "a/b") == "404 Branch Not Found"
    assert refused(400, project.branches.delete, "main") == "Cannot remove HEAD branch"


def test_a_branch_of_an_impossible_name_is_refused(live: Live) -> None:
    project = live.project(JOB)
    assert refused(400, project.branches.create, {"branch": "a..b", "ref": "main"}) == "Branch name is invalid"
    action = {"action": "create", "file_path": "x", "content": "x"}
    wanted = {"branch": "a..b", "start_branch": "main", "commit_message": "x", "actions": [action]}
    assert refused(400, project.commits.create, wanted) == "400 Bad request - Branch name is invalid"


def test_two_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "gitlab.db"
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("PRAGMA journal_mode = WAL")
    holder.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(2) as pool:
        stores = [pool.submit(Store, path) for _ in range(2)]
        time.sleep(0.1)  # both are now at the point where they wait to write
        holder.execute("COMMIT")
        for store in stores:
            store.result().close()
    holder.close()


def test_what_fails_within_a_transaction_is_undone_alone_where_its_error_is_caught(tmp_path: Path) -> None:
    store = Store(tmp_path / "gitlab.db")
    with store.transaction():
        store.insert("users", username="kept", name="", admin=False, created_at="")
        with pytest.raises(KeyError), store.transaction():
            store.insert("users", username="undone", name="", admin=False, created_at="")
            raise KeyError
    assert [row["username"] for row in store.all("SELECT * FROM users")] == ["kept"]
    store.close()
