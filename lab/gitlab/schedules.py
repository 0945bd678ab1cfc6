"""Pipeline schedules in GitLab's REST API. Nothing plays by itself here: there is no clock, only `play`.

https://docs.gitlab.com/api/pipeline_schedules/
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from lab.gitlab import pipelines
from lab.gitlab.auth import Box, Project, User
from lab.gitlab.core import ApiError, Sandbox, not_found
from lab.gitlab.params import Given, Id, Params
from lab.gitlab.store import Row, now
from lab.gitlab.views import as_user, paginate

router = APIRouter()

_PATH = "/projects/{id}/pipeline_schedules"
_ONE = _PATH + "/{schedule_id}"
_FIELDS = 5
"""Of a cron expression: minute, hour, day, month, weekday."""


def _schedule(schedule_id: Id, sandbox: Box, project: Project) -> Row:
    sql = "SELECT * FROM schedules WHERE id = ? AND project_id = ?"
    row = sandbox.store.one(sql, schedule_id, project["id"])
    if row is None:
        raise not_found("Pipeline Schedule")
    return row


Schedule = Annotated[Row, Depends(_schedule)]


@router.get(_PATH)
def list_schedules(request: Request, sandbox: Box, project: Project) -> Response:
    """The schedules of a project."""
    rows = sandbox.store.all("SELECT * FROM schedules WHERE project_id = ? ORDER BY id", project["id"])
    return paginate(request, rows, lambda row: _shown(sandbox, row))


@router.post(_PATH, status_code=201)
def create_schedule(sandbox: Box, project: Project, user: User, given: Given) -> Row:
    """Makes a schedule."""
    values = {"cron_timezone": "UTC", "active": True, **_values(sandbox, project, given, new=True)}
    who = {"project_id": project["id"], "owner_id": user["id"], "variables": []}
    return _details(sandbox, sandbox.store.insert("schedules", **who, **values, created_at=now(), updated_at=now()))


@router.get(_ONE)
def get_schedule(sandbox: Box, schedule: Schedule) -> Row:
    """A schedule with its variables and its newest pipeline."""
    return _details(sandbox, schedule)


@router.put(_ONE)
def update_schedule(sandbox: Box, project: Project, schedule: Schedule, given: Given) -> Row:
    """Changes a schedule."""
    changes = _values(sandbox, project, given) | {"updated_at": now()}
    sandbox.store.update("schedules", schedule["id"], **changes)
    return _details(sandbox, schedule | changes)


@router.delete(_ONE, status_code=204)
def delete_schedule(sandbox: Box, schedule: Schedule) -> None:
    """Deletes a schedule; its pipelines stay."""
    sandbox.store.execute("DELETE FROM schedules WHERE id = ?", schedule["id"])


@router.post(_ONE + "/play", status_code=201)
def play_schedule(sandbox: Box, project: Project, user: User, schedule: Schedule) -> Row:
    """Starts the schedule's pipeline now."""
    # GitLab answers before it knows whether there are jobs for it; here that is told, with 400.
    given = schedule["variables"]
    pipeline = pipelines.create(sandbox, project, user, schedule["ref"], source="schedule", given=given)
    sandbox.store.update("schedules", schedule["id"], last_pipeline_id=pipeline["id"])
    return {"message": "201 Created"}


@router.get(_ONE + "/pipelines")
def list_schedule_pipelines(request: Request, sandbox: Box, schedule: Schedule) -> Response:
    """The newest pipeline of a schedule, if there was one."""
    rows = sandbox.store.all("SELECT * FROM pipelines WHERE id = ?", schedule["last_pipeline_id"])
    keys = ("id", "iid", "project_id", "sha", "ref", "status", "source", "created_at", "updated_at")
    return paginate(request, rows, lambda row: {key: row[key] for key in keys})


@router.post(_ONE + "/variables", status_code=201)
def create_variable(sandbox: Box, schedule: Schedule, given: Given) -> Row:
    """Adds a variable for the schedule's pipelines."""
    variable = {name: given.string(name, required=True) for name in ("key", "value")}
    variable["variable_type"] = given.string("variable_type", allowed=("env_var", "file")) or "env_var"
    given.check()
    if variable["key"] in [known["key"] for known in schedule["variables"]]:
        raise ApiError(400, {"message": {"variables": [f"have duplicate values ({variable['key']})"]}})
    sandbox.store.update("schedules", schedule["id"], variables=[*schedule["variables"], variable])
    return variable


@router.put(_ONE + "/variables/{key}")
def update_variable(key: str, sandbox: Box, schedule: Schedule, given: Given) -> Row:
    """Changes a variable of a schedule."""
    value, kind = given.string("value"), given.string("variable_type", allowed=("env_var", "file"))
    given.check()
    variable = _variable(schedule, key)
    variable |= {name: new for name, new in (("value", value), ("variable_type", kind)) if new is not None}
    sandbox.store.update("schedules", schedule["id"], variables=schedule["variables"])
    return variable


@router.delete(_ONE + "/variables/{key}")
def delete_variable(key: str, sandbox: Box, schedule: Schedule) -> Row:
    """Removes a variable of a schedule."""
    variable = _variable(schedule, key)
    rest = [known for known in schedule["variables"] if known is not variable]
    sandbox.store.update("schedules", schedule["id"], variables=rest)
    return variable


def _variable(schedule: Row, key: str) -> Row:
    found: Row | None = next((known for known in schedule["variables"] if known["key"] == key), None)
    if found is None:
        raise not_found("Pipeline Schedule Variable")
    return found


def _values(sandbox: Sandbox, project: Row, given: Params, *, new: bool = False) -> Row:
    values: Row = {name: given.string(name, required=new) for name in ("description", "ref", "cron")}
    values |= {"cron_timezone": given.string("cron_timezone"), "active": given.boolean("active")}
    given.check()
    if values["cron"] is not None and len(values["cron"].split()) != _FIELDS:
        raise ApiError(400, {"message": {"cron": ["syntax is invalid"]}})
    if values["ref"] is not None:
        values["ref"] = values["ref"].removeprefix("refs/heads/").removeprefix("refs/tags/")
        if sandbox.repository(project["id"]).sha(values["ref"]) is None:
            raise ApiError(400, {"message": {"ref": ["is ambiguous"]}})
    return {name: value for name, value in values.items() if value is not None}


def _shown(sandbox: Sandbox, row: Row) -> Row:
    keys = ("id", "description", "ref", "cron", "cron_timezone", "active", "created_at", "updated_at")
    owner = as_user(sandbox, sandbox.store.get("users", row["owner_id"]))
    return {key: row[key] for key in keys} | {"next_run_at": None, "owner": owner}


def _details(sandbox: Sandbox, row: Row) -> Row:
    last = sandbox.store.one("SELECT id, sha, ref, status FROM pipelines WHERE id = ?", row["last_pipeline_id"])
    return _shown(sandbox, row) | {"last_pipeline": last, "variables": row["variables"]}
