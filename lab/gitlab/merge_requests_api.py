"""Merge requests in GitLab's REST API.

https://docs.gitlab.com/api/merge_requests/
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from lab.gitlab import issuables, merge_requests, pushes, stopping
from lab.gitlab.auth import Box, Project, SeenProject, User, find, owns
from lab.gitlab.core import ApiError, Sandbox, bad_request, forbidden
from lab.gitlab.params import Given, Id
from lab.gitlab.store import Row, now
from lab.gitlab.views import as_pipeline, as_user, paginate

router = APIRouter()

_PATH = "/projects/{id}/merge_requests"
_ONE = _PATH + "/{iid}"


@router.get(_PATH)
def list_merge_requests(request: Request, sandbox: Box, project: SeenProject, given: Given) -> Response:
    """The merge requests into a project, by `state`, `source_branch`, `target_branch`, `labels`, `search`, `iids`."""
    rows = sandbox.store.all("SELECT * FROM merge_requests WHERE project_id = ?", project["id"])
    for name in ("source_branch", "target_branch"):
        branch = given.string(name)
        rows = [row for row in rows if branch in (None, row[name])]
    found = issuables.listed(given, rows, "opened", "closed", "locked", "merged")
    return paginate(request, found, lambda row: as_merge_request(sandbox, row))


@router.post(_PATH, status_code=201)
def create_merge_request(sandbox: Box, project: Project, user: User, given: Given) -> Row:
    """Opens a merge request from a branch of this project, into this one or with `target_project_id` another."""
    branches = {name: given.string(name, required=True) for name in ("source_branch", "target_branch")}
    target_id = given.integer("target_project_id")
    values = issuables.texts(given) | branches
    target = find(sandbox.store, "projects", str(target_id), user, reading=True) if target_id else project
    return as_merge_request(sandbox, merge_requests.create(sandbox, user, project, target, values))


@router.get(_ONE)
def get_merge_request(iid: Id, sandbox: Box, project: SeenProject) -> Row:
    """A merge request."""
    return as_merge_request(sandbox, issuables.find(sandbox.store, "merge_requests", project, iid))


@router.put(_ONE)
def update_merge_request(iid: Id, sandbox: Box, project: SeenProject, user: User, given: Given) -> Row:
    """Changes title, description or labels, closes or reopens."""
    event = given.string("state_event", allowed=("close", "reopen"))
    with sandbox.store.transaction():
        row = issuables.find(sandbox.store, "merge_requests", project, iid)
        issuables.require_writer(user, project, row)
        changes = issuables.texts(given, row)
        if event == "close" and row["state"] == "opened":
            changes |= {"state": "closed", "closed_at": now()}
            stopping.stop_of_merge_request(sandbox, row, user)
        if event == "reopen" and row["state"] == "closed":
            where = (row["source_project_id"], row["source_branch"], row["target_branch"])
            merge_requests.require_only_one(sandbox, project, *where)
            changes |= {"state": "opened", "closed_at": None}
        sandbox.store.update("merge_requests", row["id"], **changes, updated_at=now())
        row = sandbox.store.get("merge_requests", row["id"])
        if row["state"] == "opened":
            row = merge_requests.catch_up(sandbox, row)
    return as_merge_request(sandbox, row)


@router.put(_ONE + "/merge")
def merge_merge_request(iid: Id, sandbox: Box, project: SeenProject, user: User, given: Given) -> Row:
    """Merges. Then the target branch's pipeline starts."""
    row = issuables.find(sandbox.store, "merge_requests", project, iid)
    if not owns(user, project):
        raise ApiError(401, {"message": "401 Unauthorized"})
    if given.values:
        raise bad_request(f"{', '.join(given.values)}: not supported by the sandbox GitLab")
    before = merge_requests.merge(sandbox, row, user)
    pushes.pushed(sandbox, project, user, row["target_branch"], before)
    return as_merge_request(sandbox, sandbox.store.get("merge_requests", row["id"]))


@router.get(_ONE + "/pipelines")
def list_pipelines(iid: Id, request: Request, sandbox: Box, project: SeenProject) -> Response:
    """A merge request's pipelines, newest first, in whichever project they ran."""
    rows = _pipelines(sandbox, issuables.find(sandbox.store, "merge_requests", project, iid))
    return paginate(request, rows, lambda row: as_pipeline(sandbox, row))


@router.post(_ONE + "/pipelines", status_code=201)
def create_pipeline(iid: Id, sandbox: Box, project: SeenProject, user: User) -> Row:
    """Starts a pipeline for a merge request's newest commit."""
    row = issuables.find(sandbox.store, "merge_requests", project, iid)
    source = sandbox.store.one("SELECT * FROM projects WHERE id = ?", row["source_project_id"])
    if source is None or not (owns(user, project) or owns(user, source)):
        raise forbidden()
    return as_pipeline(sandbox, merge_requests.run_pipeline(sandbox, row, user))


def _pipelines(sandbox: Sandbox, merge_request: Row) -> list[Row]:
    sql = "SELECT * FROM pipelines WHERE json_extract(merge_request, '$.id') = ? ORDER BY id DESC"
    return sandbox.store.all(sql, merge_request["id"])


def as_merge_request(sandbox: Sandbox, row: Row) -> Row:
    """A merge request as GitLab shows it."""
    store = sandbox.store
    project = store.get("projects", row["project_id"])
    found, draft = merge_requests.status(sandbox, row), merge_requests.is_draft(row)
    newest = next(iter(_pipelines(sandbox, row)), None)
    merger = store.one("SELECT * FROM users WHERE id = ?", row["merge_user_id"])
    notes: Any = store.one("SELECT count(*) AS number FROM notes WHERE merge_request_id = ?", row["id"])
    keys = (
        *("id", "iid", "project_id", "source_project_id", "source_branch", "target_branch", "title", "description"),
        *("state", "labels", "sha", "created_at", "updated_at", "closed_at", "merged_at", "merge_commit_sha"),
    )
    return {key: row[key] for key in keys} | {
        "target_project_id": row["project_id"],
        "author": as_user(sandbox, store.get("users", row["author_id"])),
        "merge_user": merger and as_user(sandbox, merger),
        "draft": draft,
        "work_in_progress": draft,
        "merge_status": "cannot_be_merged" if found in ("conflict", "commits_status") else "can_be_merged",
        "detailed_merge_status": found,
        "has_conflicts": found == "conflict",
        "diff_refs": {"base_sha": row["base_sha"], "head_sha": row["sha"], "start_sha": row["base_sha"]},
        "head_pipeline": newest and as_pipeline(sandbox, newest),
        "user_notes_count": notes["number"],
        "squash": False,
        "assignees": [],
        "reviewers": [],
        "reference": f"!{row['iid']}",
        "references": {
            "short": f"!{row['iid']}",
            "relative": f"!{row['iid']}",
            "full": f"{project['full_path']}!{row['iid']}",
        },
        "web_url": f"{sandbox.url}/{project['full_path']}/-/merge_requests/{row['iid']}",
    }
