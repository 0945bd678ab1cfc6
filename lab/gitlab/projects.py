"""Users, tokens, groups and projects in GitLab's REST API.

https://docs.gitlab.com/api/rest/
"""

from __future__ import annotations

import re
import shutil
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from lab.gitlab.auth import (
    SCOPES,
    Box,
    Group,
    Project,
    SeenProject,
    User,
    find,
    make_token,
    require_admin,
    scoped,
    sees,
)
from lab.gitlab.core import REVISION, VERSION, ApiError, Sandbox, not_found
from lab.gitlab.params import Given, Id, Params
from lab.gitlab.store import Row, now
from lab.gitlab.views import as_group, as_project, as_user, paginate

router = APIRouter()

DEFAULT_BRANCH = "main"
DEFAULT_TIMEOUT = 3600
SHORTEST_TIMEOUT, LONGEST_TIMEOUT = 600, 30 * 86400
VISIBILITIES = ("private", "internal", "public")
_PATH = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.\-]*")


@router.get("/version")
def version(_: User) -> Row:
    """GitLab's version."""
    return {"version": VERSION, "revision": REVISION}


@router.get("/user")
def current_user(sandbox: Box, user: Annotated[Row, scoped("read_user")]) -> Row:
    """Whose token this is."""
    return as_user(sandbox, user) | {"is_admin": user["admin"], "created_at": user["created_at"]}


@router.post("/users", status_code=201)
def create_user(sandbox: Box, user: User, given: Given) -> Row:
    """Makes a user who is no administrator and owns what they make, for trying out permissions."""
    require_admin(user)
    username, name = given.string("username", required=True), given.string("name", required=True)
    given.check()
    if sandbox.store.one("SELECT 1 FROM users WHERE username = ?", username):
        raise ApiError(409, {"message": "Username has already been taken"})
    return as_user(sandbox, sandbox.store.insert("users", username=username, name=name, admin=False, created_at=now()))


@router.post("/users/{user_id}/personal_access_tokens", status_code=201)
def create_token(user_id: Id, sandbox: Box, user: User, given: Given) -> Row:
    """Makes a personal access token with some scopes; the answer is the only place where it ever stands."""
    require_admin(user)
    name, scopes = given.string("name", required=True), given.strings("scopes")
    expires_at = given.string("expires_at")
    given.check()
    if not scopes or not set(scopes) <= set(SCOPES):
        raise ApiError(400, {"error": "scopes does not have a valid value"})
    try:
        expires = date.fromisoformat(expires_at).isoformat() if expires_at else None
    except ValueError:
        raise ApiError(400, {"error": "expires_at is invalid"}) from None
    owner = sandbox.store.one("SELECT * FROM users WHERE id = ?", user_id)
    if owner is None:
        raise not_found("User")
    row, token = make_token(sandbox.store, owner, name or "", scopes, expires)
    shown = {key: row[key] for key in ("id", "name", "revoked", "created_at", "scopes", "user_id", "expires_at")}
    return shown | {"active": True, "token": token}


@router.delete("/personal_access_tokens/{token_id}", status_code=204)
def revoke_token(token_id: Id, sandbox: Box, user: User) -> None:
    """Revokes a personal access token."""
    require_admin(user)
    if not sandbox.store.execute("UPDATE tokens SET revoked = 1 WHERE id = ?", token_id):
        raise not_found()


@router.get("/groups")
def list_groups(request: Request, sandbox: Box, user: User) -> Response:
    """Groups that the user may see."""
    rows = _visible(sandbox, "groups", user)
    return paginate(request, rows, lambda row: as_group(sandbox, row))


@router.post("/groups", status_code=201)
def create_group(sandbox: Box, user: User, given: Given) -> Row:
    """Makes a group, or with `parent_id` a subgroup."""
    name, path = given.string("name", required=True), _path(given, required=True)
    parent_id = given.integer("parent_id")
    given.check()
    parent = find(sandbox.store, "groups", str(parent_id), user) if parent_id else None
    return as_group(sandbox, make_group(sandbox, user, name or path, path, parent))


def make_group(sandbox: Sandbox, user: Row, name: str, path: str, parent: Row | None = None) -> Row:
    """Makes a group. Raises ApiError 400 where its path is taken."""
    full_path = f"{parent['full_path']}/{path}" if parent else path
    _require_free(sandbox, full_path, 'Failed to save group {:path=>["has already been taken"]}')
    values = {"name": name, "path": path, "full_path": full_path, "parent_id": parent["id"] if parent else None}
    return sandbox.store.insert("groups", **values, creator_id=user["id"], created_at=now())


@router.get("/groups/{id}")
def get_group(sandbox: Box, group: Group) -> Row:
    """A group."""
    return as_group(sandbox, group)


@router.get("/projects")
def list_projects(request: Request, sandbox: Box, user: User) -> Response:
    """Projects that the user may see."""
    rows = _visible(sandbox, "projects", user)
    return paginate(request, rows, lambda row: as_project(sandbox, row))


@router.post("/projects", status_code=201)
def create_project(sandbox: Box, user: User, given: Given) -> Row:
    """Makes an empty project in a group (there are no personal namespaces here)."""
    path, name = _path(given, fallback="name"), given.string("name")
    namespace_id = given.integer("namespace_id", required=True)
    values = _settings(given)
    group = find(sandbox.store, "groups", str(namespace_id), user)
    return as_project(sandbox, make_project(sandbox, user, group, name or path, path, **values))


def _settings(given: Params) -> Row:
    values: Row = {
        "description": given.string("description"),
        "build_timeout": given.integer("build_timeout"),
        "visibility": given.string("visibility", allowed=VISIBILITIES),
    }
    given.check()
    if not SHORTEST_TIMEOUT <= (values["build_timeout"] or DEFAULT_TIMEOUT) <= LONGEST_TIMEOUT:
        raise ApiError(400, {"message": {"build_timeout": ["needs to be between 10 minutes and 1 month"]}})
    return {name: value for name, value in values.items() if value is not None}


def make_project(sandbox: Sandbox, user: Row, group: Row, name: str, path: str, **settings: Any) -> Row:
    """Makes a project with an empty repository; `settings` are columns. Raises ApiError 400 where its path is taken."""
    full_path = f"{group['full_path']}/{path}"
    _require_free(sandbox, full_path, {"name": ["has already been taken"], "path": ["has already been taken"]})
    project = sandbox.store.insert(
        "projects",
        name=name,
        path=path,
        full_path=full_path,
        group_id=group["id"],
        creator_id=user["id"],
        created_at=now(),
        **{"default_branch": DEFAULT_BRANCH, "build_timeout": DEFAULT_TIMEOUT, **settings},
    )
    sandbox.repository(project["id"]).create(project["default_branch"])
    return project


@router.get("/projects/{id}")
def get_project(sandbox: Box, project: SeenProject) -> Row:
    """A project."""
    return as_project(sandbox, project)


@router.put("/projects/{id}")
def update_project(sandbox: Box, project: Project, given: Given) -> Row:
    """Changes a project's description, timeout or visibility."""
    values = _settings(given)
    if values:
        sandbox.store.update("projects", project["id"], **values)
    return as_project(sandbox, project | values)


@router.delete("/projects/{id}", status_code=202)
def delete_project(sandbox: Box, project: Project) -> Row:
    """Deletes a project with everything in it."""
    for job in sandbox.store.all("SELECT * FROM jobs WHERE project_id = ?", project["id"]):
        sandbox.trace(job["id"]).unlink(missing_ok=True)
        sandbox.artifacts(job["id"]).unlink(missing_ok=True)
    sandbox.store.execute("DELETE FROM projects WHERE id = ?", project["id"])
    shutil.rmtree(sandbox.repository(project["id"]).path, ignore_errors=True)
    return {"message": "202 Accepted"}


def _visible(sandbox: Sandbox, table: str, user: Row) -> list[Row]:
    return [row for row in sandbox.store.all(f"SELECT * FROM {table} ORDER BY id DESC") if sees(user, row)]


def _path(given: Params, *, required: bool = False, fallback: str = "") -> str:
    path = given.string("path", required=required)
    if path is None and fallback:
        path = re.sub(r"[^a-z0-9_.\-]+", "-", (given.string(fallback, required=True) or "").lower()).strip("-")
    if path and (not _PATH.fullmatch(path) or path.endswith((".git", "."))):
        raise ApiError(400, {"message": {"path": ["can contain only letters, digits, '_', '-' and '.'"]}})
    return path or ""


def _require_free(sandbox: Sandbox, full_path: str, message: Any) -> None:
    for table in ("groups", "projects"):
        if sandbox.store.one(f"SELECT 1 FROM {table} WHERE lower(full_path) = ?", full_path.lower()):
            raise ApiError(400, {"message": message})
