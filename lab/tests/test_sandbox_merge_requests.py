"""Merge requests, forks and notes of the sandbox, through python-gitlab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gitlab
import pytest
from gitlab.v4.objects import Project, ProjectMergeRequest

from lab.gitlab import merge_requests
from lab.gitlab.core import ApiError
from lab.tests.live_sandbox import Live, git, refused, running, values_of

CI = """
both: {script: [x]}
only merge requests: {script: [x], rules: [{if: $CI_PIPELINE_SOURCE == "merge_request_event"}]}
"""
RULES = 'workflow: {rules: [{if: $CI_PIPELINE_SOURCE == "merge_request_event"}]}\njob: {script: [x]}\n'


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("sandbox")) as found:
        yield found


def commit(project: Project, branch: str, message: str = "change", **files: str) -> str:
    """Commits files on a branch, made from main where it is new."""
    actions = [{"action": "create", "file_path": name, "content": text} for name, text in files.items()]
    wanted = {"branch": branch, "start_branch": "main", "commit_message": message, "actions": actions}
    return str(project.commits.create(wanted).id)


def propose(project: Project, branch: str = "topic", **values: Any) -> ProjectMergeRequest:
    """A merge request into main."""
    wanted = {"source_branch": branch, "target_branch": "main", "title": f"Take {branch}", **values}
    return project.mergerequests.create(wanted)


def opened(live: Live, ci_yaml: str = CI, **values: Any) -> tuple[Project, ProjectMergeRequest]:
    """A project with a merge request from a branch with one more file."""
    project = live.project(ci_yaml)
    commit(project, "topic", "a file", file="1")
    return project, propose(project, **values)


def stranger(live: Live) -> tuple[gitlab.Gitlab, int]:
    """Another user, and the ID of a group of theirs."""
    live.count += 1
    name = f"u{live.count}"
    user = live.client.users.create({"username": name, "name": name, "email": "x@y.invalid", "password": "-"})
    client = gitlab.Gitlab(live.url, private_token=live.token_with("api", user=user.id))
    return client, client.groups.create({"name": name, "path": name}).id


def forked(live: Live, ci_yaml: str = CI) -> tuple[Project, Project, ProjectMergeRequest]:
    """A public project, somebody else's fork of it, and a merge request from there."""
    parent = live.project(ci_yaml)
    parent.visibility = "public"
    parent.save()
    client, group = stranger(live)
    fork = client.projects.get(client.projects.get(parent.id).forks.create({"namespace_id": group}).id)
    commit(fork, "topic", file="1")
    return parent, fork, propose(fork, target_project_id=parent.id)


def test_a_merge_request_is_created_read_listed_and_changed(live: Live) -> None:
    project, made = opened(live, description="Why", labels=["a", "b"])
    found = project.mergerequests.get(made.iid)
    assert (found.iid, found.state, found.title, found.description) == (1, "opened", "Take topic", "Why")
    assert (found.source_branch, found.target_branch, found.labels) == ("topic", "main", ["a", "b"])
    assert (found.author["username"], found.sha) == ("root", project.branches.get("topic").commit["id"])
    assert found.diff_refs["base_sha"] == project.branches.get("main").commit["id"]
    assert (found.merge_status, found.has_conflicts, found.detailed_merge_status) == (
        "can_be_merged",
        False,
        "mergeable",
    )
    assert found.references["full"] == f"{project.path_with_namespace}!1"
    found.title, found.labels = "Another", ["c"]
    found.save()
    assert [other.title for other in project.mergerequests.list(labels=["c"], state="opened")] == ["Another"]
    assert project.mergerequests.list(labels=["a"]) == []
    assert [len(project.mergerequests.list(search=text)) for text in ("anoth", "why", "nothing")] == [1, 1, 0]
    assert [len(project.mergerequests.list(source_branch=name)) for name in ("topic", "main")] == [1, 0]
    assert refused(404, project.mergerequests.get, 2) == "404 Not found"


def test_a_closed_merge_request_can_be_opened_again_but_not_merged(live: Live) -> None:
    project, found = opened(live)
    found.state_event = "close"
    found.save()
    assert (found.state, found.detailed_merge_status, found.closed_at is None) == ("closed", "not_open", False)
    assert refused(405, found.merge) == "405 Method Not Allowed"
    commit(project, "topic", other="2")
    assert len(found.pipelines.list(get_all=True)) == 1  # those of a closed one do not follow its branch
    found.state_event = "reopen"
    found.save()
    assert (found.state, found.sha) == ("opened", project.branches.get("topic").commit["id"])


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"source_branch": "gone"}, 400, {"source_branch": ["does not exist"]}),
        ({"target_branch": "gone"}, 400, {"target_branch": ["does not exist"]}),
        ({"source_branch": "main"}, 422, ["You can't use same project/branch for source and target"]),
        ({"title": " "}, 400, "title is empty"),
        ({"title": "x" * 256}, 400, {"title": ["is too long (maximum is 255 characters)"]}),
        ({"target_project_id": 99999}, 404, "404 Project Not Found"),
        ({}, 409, ["Another open merge request already exists for this source branch: !1"]),
    ],
)
def test_a_merge_request_that_cannot_be_is_refused(
    live: Live, changes: dict[str, Any], status: int, message: Any
) -> None:
    project, _ = opened(live)
    assert refused(status, propose, project, **{"branch": "topic", **changes}) == message


def test_a_project_that_is_no_fork_is_no_source(live: Live) -> None:
    project, other = opened(live)[0], live.project(CI)
    message = refused(422, propose, project, target_project_id=other.id)
    assert message == ["Source project is not a fork of the target project"]


def test_a_merge_makes_a_commit_and_starts_the_target_branchs_pipeline(live: Live) -> None:
    project, found = opened(live)
    before = project.branches.get("main").commit["id"]
    found.merge()
    found = project.mergerequests.get(1)
    head = project.branches.get("main").commit
    assert (found.state, found.merge_commit_sha, found.merge_user["username"]) == ("merged", head["id"], "root")
    assert head["parent_ids"] == [before, found.sha]
    assert head["message"].strip() == (
        f"Merge branch 'topic' into 'main'\n\nTake topic\n\nSee merge request {project.path_with_namespace}!1"
    )
    assert project.files.raw(file_path="file", ref="main") == b"1"
    newest = project.pipelines.list(get_all=True)[0]
    assert (newest.source, newest.ref, newest.sha) == ("push", "main", head["id"])
    assert refused(405, found.merge) == "405 Method Not Allowed"


def test_who_merges_at_the_same_time_as_somebody_else_comes_too_late(live: Live) -> None:
    project, found = opened(live)
    store = live.sandbox.store
    seen, user = store.get("merge_requests", found.id), store.get("users", 1)
    found.merge()
    head = project.branches.get("main").commit["id"]
    with pytest.raises(ApiError, match="405 Method Not Allowed"):
        merge_requests.merge(live.sandbox, seen, user)
    assert project.branches.get("main").commit["id"] == head


def test_branches_in_conflict_are_not_merged(live: Live) -> None:
    project, found = opened(live)
    commit(project, "main", file="2")
    assert project.mergerequests.get(1).detailed_merge_status == "conflict"
    assert refused(422, found.merge) == "Branch cannot be merged"
    assert project.mergerequests.get(1).state == "opened"


@pytest.mark.parametrize("title", ["Draft: x", "[Draft] x"])
def test_a_draft_is_not_merged(live: Live, title: str) -> None:
    _, found = opened(live, title=title)
    assert (found.draft, found.detailed_merge_status) == (True, "draft_status")
    assert refused(405, found.merge) == "405 Method Not Allowed"


def test_commits_that_came_by_a_push_count_as_merged(live: Live, tmp_path: Path) -> None:
    project, found = opened(live)
    url = f"{live.url.replace('://', f'://x:{live.token}@')}/{project.path_with_namespace}.git"
    git("clone", "--quiet", url, str(tmp_path / "a"))
    git("merge", "--quiet", "--no-edit", "origin/topic", cwd=tmp_path / "a")
    git("push", "--quiet", "origin", "main", cwd=tmp_path / "a")
    assert project.mergerequests.get(found.iid).state == "merged"


def test_opening_and_pushing_start_pipelines_of_the_merge_request(live: Live) -> None:
    project, found = opened(live)
    (first,) = found.pipelines.list(get_all=True)
    assert (first.source, first.ref, first.sha) == ("merge_request_event", "refs/merge-requests/1/head", found.sha)
    names = {job.name for job in project.pipelines.get(first.id).jobs.list(get_all=True)}
    assert names == {"both", "only merge requests"}
    sha = commit(project, "topic", other="2")
    second = found.pipelines.list(get_all=True)[0]
    assert (second.sha, project.mergerequests.get(1).head_pipeline["id"]) == (sha, second.id)
    branch = next(one for one in project.pipelines.list(get_all=True) if one.sha == sha and one.source == "push")
    assert {job.name for job in project.pipelines.get(branch.id).jobs.list(get_all=True)} == {"both"}
    third = found.pipelines.create({})
    assert (third.source, third.id > second.id) == ("merge_request_event", True)
    url = f"{live.url.replace('://', f'://x:{live.token}@')}/{project.path_with_namespace}.git"
    assert git("ls-remote", url, "refs/merge-requests/1/head").stdout.split()[0] == sha


def test_workflow_rules_decide_which_pipelines_there_are(live: Live) -> None:
    project, found = opened(live, RULES)
    assert {one.source for one in project.pipelines.list(get_all=True)} == {"merge_request_event"}
    commit(project, "topic", "quiet [skip ci]", other="2")
    assert len(found.pipelines.list(get_all=True)) == 1


def test_a_job_of_a_merge_request_gets_gitlabs_variables(live: Live, tmp_path: Path) -> None:
    project, found = opened(live, RULES, description="d" * 3000, labels=["b", "a"])
    base = project.branches.get("main").commit["id"]
    job = live.runner(project).job()
    pipeline = found.pipelines.list(get_all=True)[0].id
    variables = values_of(job)
    path = project.path_with_namespace
    expected = {
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_COMMIT_REF_NAME": "topic",
        "CI_COMMIT_REF_PROTECTED": "false",
        "CI_MERGE_REQUEST_ID": str(found.id),
        "CI_MERGE_REQUEST_IID": "1",
        "CI_MERGE_REQUEST_REF_PATH": "refs/merge-requests/1/head",
        "CI_MERGE_REQUEST_PROJECT_ID": str(project.id),
        "CI_MERGE_REQUEST_PROJECT_PATH": path,
        "CI_MERGE_REQUEST_PROJECT_URL": f"{live.url}/{path}",
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": str(project.id),
        "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": path,
        "CI_MERGE_REQUEST_SOURCE_PROJECT_URL": f"{live.url}/{path}",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_PROTECTED": "false",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED": "true",
        "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": "",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        "CI_MERGE_REQUEST_EVENT_TYPE": "detached",
        "CI_MERGE_REQUEST_TITLE": "Take topic",
        "CI_MERGE_REQUEST_DRAFT": "false",
        "CI_MERGE_REQUEST_DESCRIPTION": "d" * 2700,
        "CI_MERGE_REQUEST_DESCRIPTION_IS_TRUNCATED": "true",
        "CI_MERGE_REQUEST_LABELS": "a,b",
        "CI_MERGE_REQUEST_SQUASH_ON_MERGE": "false",
    }
    assert {key: variables.get(key) for key in expected} == expected
    assert "CI_COMMIT_BRANCH" not in variables
    reference = f"refs/pipelines/{pipeline}"
    wanted = (job["git_info"]["ref"], job["git_info"]["refspecs"], job["git_info"]["sha"])
    assert wanted == ("refs/merge-requests/1/head", [f"+{reference}:{reference}"], found.sha)
    git("init", "--quiet", str(tmp_path))
    git("fetch", "--quiet", job["git_info"]["repo_url"], *job["git_info"]["refspecs"], cwd=tmp_path)
    git("checkout", "--quiet", found.sha, cwd=tmp_path)
    assert (tmp_path / "file").read_text() == "1"


def test_a_merge_request_gets_no_protected_variables(live: Live) -> None:
    project = live.project(RULES)
    for key, protected in (("SECRET", True), ("PLAIN", False)):
        project.variables.create({"key": key, "value": "x", "protected": protected})
    commit(project, "topic", file="1")
    propose(project)
    variables = values_of(live.runner(project).job())
    assert ("PLAIN" in variables, "SECRET" in variables) == (True, False)


def test_a_forks_merge_request_runs_in_the_fork_without_the_parents_variables(live: Live) -> None:
    parent, fork, found = forked(live)
    parent.variables.create({"key": "SECRET", "value": "parents"})
    fork.variables.create({"key": "OWN", "value": "forks"})
    assert (found.project_id, found.source_project_id) == (parent.id, fork.id)
    (pipeline,) = found.pipelines.list(get_all=True)
    assert (pipeline.project_id, pipeline.ref) == (fork.id, "topic")
    for one in fork.pipelines.list(get_all=True):
        if one.source == "push":
            one.cancel()
    assert live.runner(parent).ask().status_code == 204
    variables = values_of(live.runner(fork).job())
    assert ("SECRET" in variables, variables["OWN"]) == (False, "forks")
    ids = [variables[f"CI_{name}_ID"] for name in ("PROJECT", "MERGE_REQUEST_PROJECT", "MERGE_REQUEST_SOURCE_PROJECT")]
    assert ids == [str(fork.id), str(parent.id), str(fork.id)]
    assert variables["CI_PROJECT_VISIBILITY"] == "public"
    assert "CI_COMMIT_BRANCH" not in variables
    of_parent = variables["CI_REPOSITORY_URL"].replace(fork.path_with_namespace, parent.path_with_namespace)
    assert "refs/merge-requests/1/head" in git("ls-remote", of_parent).stdout
    parent.visibility = "private"
    parent.save()
    assert "not found" in git("ls-remote", of_parent, check=False).stderr


def test_an_owner_of_the_parent_may_run_a_forks_merge_request_there_and_merge_it(live: Live) -> None:
    parent, fork, found = forked(live)
    as_author = fork.manager.gitlab.projects.get(parent.id).mergerequests.get(found.iid)
    assert refused(401, as_author.merge) == "401 Unauthorized"
    theirs = parent.mergerequests.get(found.iid)
    assert theirs.pipelines.create({}).project_id == parent.id
    theirs.merge()
    assert parent.files.raw(file_path="file", ref="main") == b"1"
    assert fork.forked_from_project["id"] == parent.id


def test_who_closes_a_forks_merge_request_stops_nothing_in_the_parent(live: Live) -> None:
    text = """
up: {script: [x], environment: {name: review, on_stop: down}}
down: {script: [x], when: manual, environment: {name: review, action: stop}}
"""
    parent, fork, found = forked(live, text)
    parent.mergerequests.get(found.iid).pipelines.create({})
    runner = live.runner(parent)
    runner.end(runner.job())
    fork.manager.gitlab.projects.get(parent.id).mergerequests.update(found.iid, {"state_event": "close"})
    assert parent.mergerequests.get(found.iid).state == "closed"
    assert [one.state for one in parent.environments.list(get_all=True)] == ["available"]


def test_a_fork_is_seen_by_no_more_people_than_its_parent(live: Live) -> None:
    parent = live.project(CI)
    parent.visibility = "internal"
    parent.save()
    client, group = stranger(live)
    theirs = client.projects.get(parent.id)
    why = "public is not allowed since the fork source project has lower visibility."
    wanted = {"namespace_id": group, "visibility": "public"}
    assert refused(400, theirs.forks.create, wanted) == {"visibility_level": [why]}
    fork = client.projects.get(theirs.forks.create({"namespace_id": group, "visibility": "private"}).id)
    assert fork.visibility == "private"


def test_a_stranger_reads_a_public_project_but_changes_nothing_there(live: Live, tmp_path: Path) -> None:
    parent, fork, found = forked(live)
    client, _ = stranger(live)
    seen = client.projects.get(parent.id)
    assert [one.iid for one in seen.mergerequests.list(get_all=True)] == [1]
    assert refused(403, seen.variables.list) == "403 Forbidden"
    assert refused(403, commit, seen, "other", x="1") == "403 Forbidden"
    note = client.projects.get(parent.id).mergerequests.get(1).notes.create({"body": "Nice"})
    user: Any = client.http_get("/user")
    assert note.author["username"] == user["username"]
    assert refused(403, fork.manager.gitlab.projects.get(parent.id).mergerequests.get(1).notes.delete, note.id)
    git("clone", "--quiet", f"{live.url}/{parent.path_with_namespace}.git", str(tmp_path / "a"))
    private = live.project(CI)
    assert refused(404, client.projects.get, private.id) == "404 Project Not Found"
    found.manager.gitlab.projects.get(parent.id).mergerequests.update(1, {"title": "Mine"})
    assert parent.mergerequests.get(1).title == "Mine"


def test_notes_are_written_listed_changed_and_deleted(live: Live) -> None:
    project, found = opened(live)
    for body in ("one", "two", "three"):
        found.notes.create({"body": body})
    notes = found.notes.list(get_all=True)
    assert [note.body for note in notes] == ["three", "two", "one"]
    assert [note.body for note in found.notes.list(sort="asc", order_by="created_at", per_page=2, page=1)] == [
        "one",
        "two",
    ]
    first = notes[-1]
    assert (first.system, first.author["username"], first.noteable_type, first.noteable_iid) == (
        False,
        "root",
        "MergeRequest",
        1,
    )
    first.body = "changed"
    first.save()
    assert [note.body for note in found.notes.list(order_by="updated_at")] == ["changed", "three", "two"]
    first.delete()
    assert project.mergerequests.get(1).user_notes_count == 2


def test_a_note_has_a_million_characters_at_most(live: Live) -> None:
    _, found = opened(live)
    note = found.notes.create({"body": "é" * 1_000_000})
    assert [len(one.body) for one in found.notes.list(get_all=True)] == [1_000_000]
    too_long = '{:note=>["is too long (maximum is 1000000 characters)"]}'
    assert refused(400, found.notes.create, {"body": "x" * 1_000_001}) == f"400 Bad request - Note {too_long}"
    note.body = "x" * 1_000_001
    assert refused(400, note.save) == f"400 Bad request - Failed to save note {too_long}"
    blank = '400 Bad request - Note {:note=>["can\'t be blank"]}'
    assert refused(400, found.notes.create, {"body": " "}) == blank
