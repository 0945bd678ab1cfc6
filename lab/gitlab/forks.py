"""Forks of projects in GitLab's REST API.

https://docs.gitlab.com/api/project_forks/
"""

from __future__ import annotations

from fastapi import APIRouter

from lab.gitlab.auth import Box, SeenProject, User, find
from lab.gitlab.core import ApiError, bad_request
from lab.gitlab.params import Given
from lab.gitlab.projects import VISIBILITIES, make_project
from lab.gitlab.store import Row
from lab.gitlab.views import as_project

router = APIRouter()


@router.post("/projects/{id}/fork", status_code=201)
def fork_project(sandbox: Box, project: SeenProject, user: User, given: Given) -> Row:
    """Copies a project's branches and tags into a new one of a group; there are no personal namespaces here."""
    namespace = given.string("namespace_path") or given.string("namespace_id") or given.string("namespace")
    name, path = given.string("name") or project["name"], given.string("path") or project["path"]
    visibility = given.string("visibility", allowed=VISIBILITIES) or project["visibility"]
    given.check()
    if VISIBILITIES.index(visibility) > VISIBILITIES.index(project["visibility"]):
        why = f"{visibility} is not allowed since the fork source project has lower visibility."
        raise ApiError(400, {"message": {"visibility_level": [why]}})
    if not namespace:
        raise bad_request("the sandbox GitLab has no personal namespaces: give namespace_id or namespace_path")
    group = find(sandbox.store, "groups", namespace, user)
    if sandbox.store.one("SELECT 1 FROM projects WHERE full_path = ?", f"{group['full_path']}/{path}"):
        raise ApiError(409, {"message": ["Name has already been taken", "Path has already been taken"]})
    settings = {key: project[key] for key in ("description", "default_branch", "build_timeout")}
    settings |= {"visibility": visibility, "forked_from_id": project["id"]}
    fork = make_project(sandbox, user, group, name, path, **settings)
    sandbox.repository(fork["id"]).copy(sandbox.repository(project["id"]))
    return as_project(sandbox, fork) | {"import_status": "finished"}
