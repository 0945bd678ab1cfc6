"""Issues in GitLab's REST API.

https://docs.gitlab.com/api/issues/
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from lab.gitlab import issuables
from lab.gitlab.auth import Box, SeenProject, User
from lab.gitlab.core import Sandbox
from lab.gitlab.params import Given, Id
from lab.gitlab.store import Row, now
from lab.gitlab.views import as_user, paginate

router = APIRouter()

_PATH = "/projects/{id}/issues"
_ONE = _PATH + "/{iid}"


@router.get(_PATH)
def list_issues(request: Request, sandbox: Box, project: SeenProject, given: Given) -> Response:
    """The issues of a project, by `state`, `labels`, `search`, `iids`, `author_id`."""
    rows = sandbox.store.all("SELECT * FROM issues WHERE project_id = ?", project["id"])
    found = issuables.listed(given, rows, "opened", "closed")
    return paginate(request, found, lambda row: _shown(sandbox, project, row))


@router.post(_PATH, status_code=201)
def create_issue(sandbox: Box, project: SeenProject, user: User, given: Given) -> Row:
    """Opens an issue."""
    values = {"labels": [], **issuables.texts(given), "project_id": project["id"], "author_id": user["id"]}
    with sandbox.store.transaction():
        iid = sandbox.store.next_iid(project["id"], "issues")
        row = sandbox.store.insert("issues", iid=iid, state="opened", **values, created_at=now(), updated_at=now())
    return _shown(sandbox, project, row)


@router.put(_ONE)
def update_issue(iid: Id, sandbox: Box, project: SeenProject, user: User, given: Given) -> Row:
    """Changes title, description or labels, closes or reopens."""
    row = issuables.find(sandbox.store, "issues", project, iid)
    issuables.require_writer(user, project, row)
    event = given.string("state_event", allowed=("close", "reopen"))
    changes = issuables.texts(given, row)
    if event == "close" and row["state"] == "opened":
        changes |= {"state": "closed", "closed_at": now()}
    if event == "reopen":
        changes |= {"state": "opened", "closed_at": None}
    sandbox.store.update("issues", row["id"], **changes, updated_at=now())
    return _shown(sandbox, project, sandbox.store.get("issues", row["id"]))


def _shown(sandbox: Sandbox, project: Row, row: Row) -> dict[str, Any]:
    keys = ("id", "iid", "project_id", "title", "description", "state", "labels", "created_at", "updated_at")
    notes: Any = sandbox.store.one("SELECT count(*) AS number FROM notes WHERE issue_id = ?", row["id"])
    return {key: row[key] for key in (*keys, "closed_at")} | {
        "author": as_user(sandbox, sandbox.store.get("users", row["author_id"])),
        "assignees": [],
        "user_notes_count": notes["number"],
        "confidential": False,
        "issue_type": "issue",
        "references": {
            "short": f"#{row['iid']}",
            "relative": f"#{row['iid']}",
            "full": f"{project['full_path']}#{row['iid']}",
        },
        "web_url": f"{sandbox.url}/{project['full_path']}/-/issues/{row['iid']}",
    }
