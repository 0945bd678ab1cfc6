"""Runners in GitLab's REST API: create, read, update, delete, list.

https://docs.gitlab.com/api/runners/ and https://docs.gitlab.com/api/users/#create-a-runner-linked-to-a-user
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from lab.gitlab import runner_tokens
from lab.gitlab.auth import Box, Group, Project, User, owns, require_admin, scoped
from lab.gitlab.core import ApiError, Sandbox, bad_request, forbidden, not_found
from lab.gitlab.params import Given, Id, Params
from lab.gitlab.runner_api import serves
from lab.gitlab.store import Row, now
from lab.gitlab.views import as_manager, as_user, contact, paginate

router = APIRouter()

RunnerUser = Annotated[Row, scoped("manage_runner")]

RUNNER_TYPES = ("instance_type", "group_type", "project_type")
ACCESS_LEVELS = ("not_protected", "ref_protected")
STATUSES = ("online", "offline", "stale", "never_contacted")
SHORTEST_TIMEOUT = 600
LONGEST_NOTE = 1024


@router.post("/user/runners", status_code=201)
def create_runner(sandbox: Box, given: Given, user: Annotated[Row, scoped("create_runner")]) -> Row:
    """Makes a runner; the answer is the only place where its token ever stands."""
    runner_type = given.string("runner_type", required=True, allowed=RUNNER_TYPES)
    group_id = given.integer("group_id", required=runner_type == "group_type")
    project_id = given.integer("project_id", required=runner_type == "project_type")
    settings = _settings(given)
    given.check()
    scope = None
    if runner_type == "group_type":
        scope = sandbox.store.one("SELECT * FROM groups WHERE id = ?", group_id)
    elif runner_type == "project_type":
        scope = sandbox.store.one("SELECT * FROM projects WHERE id = ?", project_id)
    if runner_type != "instance_type" and scope is None:
        raise bad_request("Missing/invalid scope")
    if not (user["admin"] or (scope and owns(user, scope))):
        raise forbidden("Insufficient permissions")
    defaults: Row = {
        "paused": False,
        "locked": False,
        "run_untagged": True,
        "tags": [],
        "access_level": ACCESS_LEVELS[0],
    }
    values = defaults | settings
    if errors := _invalid(values):
        raise bad_request(
            " and ".join(f"{field.replace('_', ' ').capitalize()} {error}" for field, error in errors.items())
        )
    token, stored = runner_tokens.made(sandbox, runner_type or "")
    with sandbox.store.transaction():
        runner = sandbox.store.insert(
            "runners",
            **stored,
            runner_type=runner_type,
            group_id=group_id if runner_type == "group_type" else None,
            creator_id=user["id"],
            created_at=now(),
            info={},
            **values,
        )
        if runner_type == "project_type":
            sandbox.store.execute("INSERT INTO runner_projects VALUES (?, ?)", runner["id"], project_id)
    return {"id": runner["id"], "token": token, "token_expires_at": runner["token_expires_at"]}


def _settings(given: Params) -> Row:
    """Only what a request names."""
    values = {
        "description": given.string("description"),
        "maintenance_note": given.string("maintenance_note"),
        "paused": given.boolean("paused"),
        "locked": given.boolean("locked"),
        "run_untagged": given.boolean("run_untagged"),
        "tag_list": given.strings("tag_list"),
        "access_level": given.string("access_level", allowed=ACCESS_LEVELS),
        "maximum_timeout": given.integer("maximum_timeout"),
    }
    # These can be emptied; for the others GitLab takes null as not given.
    nullable = {"description", "maintenance_note", "maximum_timeout"}
    named = {key: value for key, value in values.items() if key in given and (value is not None or key in nullable)}
    return {"tags" if key == "tag_list" else key: value for key, value in named.items()}


def _invalid(values: Row) -> dict[str, str]:
    errors = {}
    if not values["tags"] and not values["run_untagged"]:
        errors["tags_list"] = "can not be empty when runner is not allowed to pick untagged jobs"
    if values.get("maximum_timeout") is not None and values["maximum_timeout"] < SHORTEST_TIMEOUT:
        errors["maximum_timeout"] = "needs to be at least 10 minutes"
    if len(values.get("maintenance_note") or "") > LONGEST_NOTE:
        errors["maintenance_note"] = f"is too long (maximum is {LONGEST_NOTE} characters)"
    return errors


@router.get("/runners")
def list_own(request: Request, sandbox: Box, user: User, given: Given) -> Response:
    """Group and project runners that the user owns."""
    runners = [
        runner for runner in _all(sandbox) if runner["runner_type"] != "instance_type" and _may(sandbox, user, runner)
    ]
    return _listed(request, runners, given)


@router.get("/runners/all")
def list_all(request: Request, sandbox: Box, user: User, given: Given) -> Response:
    """Every runner, for administrators."""
    require_admin(user)
    return _listed(request, _all(sandbox), given)


@router.get("/groups/{id}/runners")
def list_of_group(request: Request, sandbox: Box, group: Group, given: Given) -> Response:
    """Runners of a group and of those above it, and everybody's."""
    above = _ancestors(group["full_path"])
    groups = {row["id"] for row in sandbox.store.all("SELECT * FROM groups") if row["full_path"] in above}
    runners = [row for row in _all(sandbox) if row["runner_type"] == "instance_type" or row["group_id"] in groups]
    return _listed(request, runners, given)


@router.get("/projects/{id}/runners")
def list_of_project(request: Request, sandbox: Box, project: Project, given: Given) -> Response:
    """Runners that are there for a project."""
    return _listed(request, [row for row in _all(sandbox) if serves(sandbox, row, project)], given)


@router.get("/runners/{runner_id}")
def get_runner(runner_id: Id, sandbox: Box, user: RunnerUser) -> Row:
    """A runner with everything but its token."""
    runner = _get(sandbox, runner_id)
    if runner["runner_type"] != "instance_type":
        _require(sandbox, user, runner)
    return as_runner_details(sandbox, runner)


@router.put("/runners/{runner_id}")
def update_runner(runner_id: Id, sandbox: Box, given: Given, user: RunnerUser) -> Row:
    """Changes what the request names."""
    runner = _get(sandbox, runner_id)
    _require(sandbox, user, runner)
    settings = _settings(given)
    given.check()
    if not settings:
        names = "description, paused, tag_list, run_untagged, locked, access_level, maximum_timeout, "
        names += "maintenance_note"
        raise ApiError(400, {"error": f"{names} are missing, at least one parameter must be provided"})
    if errors := _invalid(runner | settings):
        raise ApiError(400, {"message": {field: [error] for field, error in errors.items()}})
    sandbox.store.update("runners", runner_id, **settings)
    return as_runner_details(sandbox, _get(sandbox, runner_id))


@router.delete("/runners/{runner_id}", status_code=204)
def delete_runner(runner_id: Id, sandbox: Box, user: RunnerUser) -> None:
    """Deletes a runner; its process gets 403 from then on."""
    runner = _get(sandbox, runner_id)
    _require(sandbox, user, runner)
    sandbox.store.execute("DELETE FROM runners WHERE id = ?", runner_id)


@router.post("/runners/{runner_id}/reset_authentication_token", status_code=201)
def reset_token(runner_id: Id, sandbox: Box, user: RunnerUser) -> Row:
    """A new token; the old one is dead at once."""
    runner = _get(sandbox, runner_id)
    _require(sandbox, user, runner)
    return runner_tokens.renew(sandbox, runner)


@router.get("/runners/{runner_id}/managers")
def runner_managers(runner_id: Id, request: Request, sandbox: Box, user: RunnerUser) -> Response:
    """The processes that a runner's token was seen from, the newest first."""
    runner = _get(sandbox, runner_id)
    if runner["runner_type"] != "instance_type":
        _require(sandbox, user, runner)
    rows = sandbox.store.all("SELECT * FROM runner_managers WHERE runner_id = ? ORDER BY id DESC", runner_id)
    return paginate(request, rows, lambda row: as_manager(sandbox, row))


def _get(sandbox: Sandbox, runner_id: int) -> Row:
    runner = sandbox.store.one("SELECT * FROM runners WHERE id = ?", runner_id)
    if runner is None:
        raise not_found("Runner")
    return runner


def _all(sandbox: Sandbox) -> list[Row]:
    return sandbox.store.all("SELECT * FROM runners ORDER BY id DESC")


def _projects(sandbox: Sandbox, runner: Row) -> list[Row]:
    sql = "SELECT p.* FROM projects p JOIN runner_projects r ON r.project_id = p.id WHERE r.runner_id = ?"
    return sandbox.store.all(sql, runner["id"])


def _ancestors(full_path: str) -> set[str]:
    parts = full_path.split("/")
    return {"/".join(parts[: length + 1]) for length in range(len(parts))}


def _may(sandbox: Sandbox, user: Row, runner: Row) -> bool:
    """Whether a user may change a runner: its maker, or who owns its group or one of its projects."""
    groups = [sandbox.store.get("groups", runner["group_id"])] if runner["group_id"] else []
    return any(owns(user, thing) for thing in (runner, *groups, *_projects(sandbox, runner)))


def _require(sandbox: Sandbox, user: Row, runner: Row) -> None:
    if not _may(sandbox, user, runner):
        raise forbidden("No access granted")


def _listed(request: Request, runners: Sequence[Row], given: Params) -> Response:
    runner_type = given.string("type", allowed=RUNNER_TYPES)
    status = given.string("status", allowed=STATUSES)
    paused, tags = given.boolean("paused"), given.strings("tag_list")
    given.check()
    chosen = [
        runner
        for runner in runners
        if runner_type in (None, runner["runner_type"])
        and paused in (None, runner["paused"])
        and set(tags or ()) <= set(runner["tags"])
        and status in (None, contact(runner))
    ]
    return paginate(request, chosen, as_runner)


def _is_busy(sandbox: Sandbox, runner: Row) -> bool:
    sql = "SELECT 1 FROM jobs WHERE runner_id = ? AND status IN ('running', 'canceling')"
    return sandbox.store.one(sql, runner["id"]) is not None


def as_runner(runner: Row) -> dict[str, Any]:
    """A runner as GitLab's lists show it."""
    status = contact(runner)
    return {
        "id": runner["id"],
        "description": runner["description"],
        "ip_address": runner["ip_address"],
        "active": not runner["paused"],
        "paused": runner["paused"],
        "is_shared": runner["runner_type"] == "instance_type",
        "runner_type": runner["runner_type"],
        "name": runner["info"].get("name"),
        "online": None if status == "never_contacted" else status == "online",
        "created_at": runner["created_at"],
        "status": status,
    }


def as_runner_details(sandbox: Sandbox, runner: Row) -> dict[str, Any]:
    """A runner as GitLab shows it alone."""
    groups = [sandbox.store.get("groups", runner["group_id"])] if runner["group_id"] else []
    brief = ("id", "name", "path")
    return as_runner(runner) | {
        "created_by": as_user(sandbox, sandbox.store.get("users", runner["creator_id"])),
        "job_execution_status": "active" if _is_busy(sandbox, runner) else "idle",
        "tag_list": sorted(runner["tags"]),
        "run_untagged": runner["run_untagged"],
        "locked": runner["locked"],
        "maximum_timeout": runner["maximum_timeout"],
        "access_level": runner["access_level"],
        "version": runner["info"].get("version"),
        "revision": runner["info"].get("revision"),
        "platform": runner["info"].get("platform"),
        "architecture": runner["info"].get("architecture"),
        "contacted_at": runner["contacted_at"],
        "maintenance_note": runner["maintenance_note"],
        "projects": [
            {key: row[key] for key in brief} | {"path_with_namespace": row["full_path"]}
            for row in _projects(sandbox, runner)
        ],
        "groups": [
            {"id": row["id"], "name": row["name"], "web_url": f"{sandbox.url}/groups/{row['full_path']}"}
            for row in groups
        ],
    }
