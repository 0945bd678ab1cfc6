"""Merge requests: opened, kept up with their branches, their pipelines and variables, merged.

What GitLab does: https://docs.gitlab.com/ci/pipelines/merge_request_pipelines/
"""

from __future__ import annotations

import re

from lab.gitlab import pipelines, stopping
from lab.gitlab.auth import owns
from lab.gitlab.core import ApiError, Sandbox
from lab.gitlab.repository import GitError
from lab.gitlab.store import Row, now

_LONGEST_DESCRIPTION = 2700
"""Characters of the description that a job gets."""


def create(sandbox: Sandbox, user: Row, source: Row, target: Row, values: Row) -> Row:
    """Opens a merge request between two projects, or within one, and starts its pipeline.

    values: source_branch, target_branch, title, description, labels.
    Raises ApiError 400, 409 or 422, as GitLab does, where the branches do not fit.
    """
    if source["id"] != target["id"] and source["forked_from_id"] != target["id"]:
        raise ApiError(422, {"error": ["Source project is not a fork of the target project"]})
    if source["id"] == target["id"] and values["source_branch"] == values["target_branch"]:
        raise ApiError(422, {"error": ["You can't use same project/branch for source and target"]})
    for project, name in ((source, "source_branch"), (target, "target_branch")):
        if values[name] not in sandbox.repository(project["id"]).branches():
            raise ApiError(400, {"message": {name: ["does not exist"]}})
    with sandbox.store.transaction():
        require_only_one(sandbox, target, source["id"], values["source_branch"], values["target_branch"])
        merge_request = sandbox.store.insert(
            "merge_requests",
            **{"labels": [], "description": None, **values},
            force_remove_source_branch=False,
            iid=sandbox.store.next_iid(target["id"], "merge_requests"),
            project_id=target["id"],
            source_project_id=source["id"],
            state="opened",
            sha="",
            base_sha="",
            author_id=user["id"],
            created_at=now(),
            updated_at=now(),
        )
        merge_request = catch_up(sandbox, merge_request)
    start_pipeline(sandbox, merge_request, user)
    return merge_request


def require_only_one(
    sandbox: Sandbox, target: Row, source_id: int | None, source_branch: str, target_branch: str
) -> None:
    """Raises ApiError 409 where another open merge request is from the same branch to the same branch."""
    sql = (
        "SELECT iid FROM merge_requests WHERE state = 'opened' AND project_id = ? AND source_project_id = ? "
        "AND source_branch = ? AND target_branch = ?"
    )
    if other := sandbox.store.one(sql, target["id"], source_id, source_branch, target_branch):
        message = f"Another open merge request already exists for this source branch: !{other['iid']}"
        raise ApiError(409, {"message": [message]})


def catch_up(sandbox: Sandbox, merge_request: Row) -> Row:
    """Takes over the head of the source branch, also as refs/merge-requests/N/head of the target's repository."""
    sha = source_head(sandbox, merge_request)
    if sha is None:
        return merge_request
    repository = sandbox.repository(merge_request["project_id"])
    source = sandbox.repository(merge_request["source_project_id"])
    repository.fetch(source, sha, reference(merge_request))
    base = repository.merge_base(f"refs/heads/{merge_request['target_branch']}", sha)
    changes = {"sha": sha, "base_sha": base or sha, "updated_at": now()}
    sandbox.store.update("merge_requests", merge_request["id"], **changes)
    return merge_request | changes


def reference(merge_request: Row) -> str:
    """The reference of a merge request's head in the target's repository."""
    return f"refs/merge-requests/{merge_request['iid']}/head"


def source_head(sandbox: Sandbox, merge_request: Row) -> str | None:
    """The newest commit of the source branch; None where the branch or its project is gone."""
    if merge_request["source_project_id"] is None:
        return None
    repository = sandbox.repository(merge_request["source_project_id"])
    return repository.branches().get(merge_request["source_branch"])


def source_moved(sandbox: Sandbox, project: Row, user: Row, branch: str) -> None:
    """Brings the open merge requests from a branch up to date, and starts their pipelines."""
    sql = "SELECT * FROM merge_requests WHERE state = 'opened' AND source_project_id = ? AND source_branch = ?"
    with sandbox.store.transaction():
        moved = [catch_up(sandbox, merge_request) for merge_request in sandbox.store.all(sql, project["id"], branch)]
    for merge_request in moved:
        start_pipeline(sandbox, merge_request, user)


def target_moved(sandbox: Sandbox, project: Row, user: Row, branch: str) -> None:
    """Notes open merge requests as merged whose commits came into the target branch by other ways."""
    repository = sandbox.repository(project["id"])
    sql = "SELECT * FROM merge_requests WHERE state = 'opened' AND project_id = ? AND target_branch = ?"
    with sandbox.store.transaction():
        for merge_request in sandbox.store.all(sql, project["id"], branch):
            sha = merge_request["sha"]
            if sha != merge_request["base_sha"] and repository.merge_base(f"refs/heads/{branch}", sha) == sha:
                merged(sandbox, merge_request, user, None)


def start_pipeline(sandbox: Sandbox, merge_request: Row, user: Row) -> Row | None:
    """The pipeline of a new commit: a fork's runs in the fork, with its variables and runners. None without jobs."""
    where, ref = _place(sandbox, merge_request)
    known = snapshot(sandbox, merge_request)
    return pipelines.create_for_merge_request(sandbox, where, user, ref, known)


def run_pipeline(sandbox: Sandbox, merge_request: Row, user: Row) -> Row:
    """A pipeline that somebody wants now: owners of the target run a fork's in the target, as GitLab has it.

    Raises ApiError 400 where there are no jobs for it.
    """
    target = sandbox.store.get("projects", merge_request["project_id"])
    where, ref = (target, reference(merge_request)) if owns(user, target) else _place(sandbox, merge_request)
    known = snapshot(sandbox, merge_request)
    return pipelines.create(sandbox, where, user, ref, source="merge_request_event", merge_request=known)


def _place(sandbox: Sandbox, merge_request: Row) -> tuple[Row, str]:
    source = sandbox.store.get("projects", merge_request["source_project_id"])
    same = merge_request["project_id"] == source["id"]
    return source, reference(merge_request) if same else merge_request["source_branch"]


def snapshot(sandbox: Sandbox, merge_request: Row) -> Row:
    """What a pipeline remembers of its merge request: it may be changed or deleted while jobs run."""
    target = sandbox.store.get("projects", merge_request["project_id"])
    source = sandbox.store.get("projects", merge_request["source_project_id"])
    description = merge_request["description"] or ""
    named = {
        "ID": merge_request["id"],
        "IID": merge_request["iid"],
        "REF_PATH": reference(merge_request),
        "PROJECT_ID": target["id"],
        "PROJECT_PATH": target["full_path"],
        "PROJECT_URL": f"{sandbox.url}/{target['full_path']}",
        "TARGET_BRANCH_NAME": merge_request["target_branch"],
        "TARGET_BRANCH_PROTECTED": merge_request["target_branch"] == target["default_branch"],
        "TARGET_BRANCH_SHA": "",  # known for merged results only, which are not here
        "SOURCE_PROJECT_ID": source["id"],
        "SOURCE_PROJECT_PATH": source["full_path"],
        "SOURCE_PROJECT_URL": f"{sandbox.url}/{source['full_path']}",
        "SOURCE_BRANCH_NAME": merge_request["source_branch"],
        "SOURCE_BRANCH_PROTECTED": merge_request["source_branch"] == source["default_branch"],
        "SOURCE_BRANCH_SHA": "",
        "DIFF_BASE_SHA": merge_request["base_sha"],
        "EVENT_TYPE": "detached",
        "TITLE": merge_request["title"],
        "DRAFT": is_draft(merge_request),
        "DESCRIPTION": description[:_LONGEST_DESCRIPTION],
        "DESCRIPTION_IS_TRUNCATED": len(description) > _LONGEST_DESCRIPTION,
        "SQUASH_ON_MERGE": False,
        **({"LABELS": ",".join(sorted(merge_request["labels"]))} if merge_request["labels"] else {}),
    }
    variables = {
        f"CI_MERGE_REQUEST_{name}": str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in named.items()
    }
    keys = ("id", "iid", "project_id", "sha", "base_sha", "source_branch")
    return {key: merge_request[key] for key in keys} | {"variables": variables}


def is_draft(merge_request: Row) -> bool:
    """Whether the title says that it is not to be merged yet."""
    return re.match(r"(\[draft\]|\(draft\)|draft:)", merge_request["title"].lower()) is not None


def status(sandbox: Sandbox, merge_request: Row) -> str:
    """Whether it can be merged, as GitLab's `detailed_merge_status` has it."""
    target = sandbox.store.get("projects", merge_request["project_id"])
    repository = sandbox.repository(target["id"])
    if merge_request["state"] != "opened":
        return "not_open"
    if is_draft(merge_request):
        return "draft_status"
    head = repository.branches().get(merge_request["target_branch"])
    if head is None or source_head(sandbox, merge_request) is None or merge_request["sha"] == merge_request["base_sha"]:
        return "commits_status"
    return "conflict" if repository.conflicts(merge_request["target_branch"], merge_request["sha"]) else "mergeable"


def merge(sandbox: Sandbox, merge_request: Row, user: Row) -> str:
    """Makes a merge commit on the target branch, and returns that branch's commit of before.

    Raises ApiError 405 or 422, as GitLab does, where it cannot be merged.
    """
    with sandbox.store.transaction():
        merge_request = sandbox.store.get("merge_requests", merge_request["id"])  # as it is now
        project = sandbox.store.get("projects", merge_request["project_id"])
        repository = sandbox.repository(project["id"])
        branch, sha = merge_request["target_branch"], merge_request["sha"]
        found = status(sandbox, merge_request)
        if found == "conflict":
            raise _unmergeable()
        if found != "mergeable":
            raise ApiError(405, {"message": "405 Method Not Allowed"})
        before = repository.branches()[branch]
        try:
            commit = repository.merge(branch, sha, _message(project, merge_request), user)
        except GitError:  # somebody has pushed in this moment
            raise _unmergeable() from None
        merged(sandbox, merge_request, user, commit)
        return before


def _unmergeable() -> ApiError:
    return ApiError(422, {"message": "Branch cannot be merged"})


def _message(project: Row, merge_request: Row) -> str:
    return (
        f"Merge branch '{merge_request['source_branch']}' into '{merge_request['target_branch']}'\n\n"
        f"{merge_request['title']}\n\nSee merge request {project['full_path']}!{merge_request['iid']}"
    )


def merged(sandbox: Sandbox, merge_request: Row, user: Row, commit: str | None) -> None:
    """Notes that it has been merged, and by which commit, and stops its environments."""
    changes = {"state": "merged", "merged_at": now(), "updated_at": now(), "merge_user_id": user["id"]}
    sandbox.store.update("merge_requests", merge_request["id"], **changes, merge_commit_sha=commit)
    stopping.stop_of_merge_request(sandbox, merge_request, user)
