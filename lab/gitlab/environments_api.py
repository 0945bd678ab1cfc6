"""Environments in GitLab's REST API, to be read: jobs make, start and stop theirs.

https://docs.gitlab.com/api/environments/
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from lab.gitlab.auth import Box, Project
from lab.gitlab.params import Given
from lab.gitlab.store import Row
from lab.gitlab.views import paginate

router = APIRouter()


@router.get("/projects/{id}/environments")
def list_environments(request: Request, sandbox: Box, project: Project, given: Given) -> Response:
    """The environments of a project, by `name`."""
    name = given.string("name")
    given.check()
    rows = sandbox.store.all("SELECT * FROM environments WHERE project_id = ? ORDER BY id", project["id"])
    return paginate(request, [row for row in rows if name in (None, row["name"])], _shown)


def _shown(row: Row) -> Row:
    keys = ("id", "name", "slug", "external_url", "state", "tier", "auto_stop_at", "created_at", "updated_at")
    return {key: row[key] for key in keys}
