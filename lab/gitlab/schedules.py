"""Pipeline schedules in GitLab's REST API. Nothing plays by itself here: there is no clock, only `play`.

https://docs.gitlab.com/api/pipeline_schedules/
"""

from __future__ import annotations

from fastapi import APIRouter

from lab.gitlab import pipelines
from lab.gitlab.auth import Box, Project, User
from lab.gitlab.core import ApiError, not_found
from lab.gitlab.params import Given, Id
from lab.gitlab.store import Row, now

router = APIRouter()

_PATH = "/projects/{id}/pipeline_schedules"


@router.post(_PATH, status_code=201)
def create_schedule(sandbox: Box, project: Project, user: User, given: Given) -> Row:
    """Makes a schedule."""
    values: Row = {name: given.string(name, required=True) for name in ("description", "ref", "cron")}
    given.check()
    if sandbox.repository(project["id"]).sha(values["ref"]) is None:
        raise ApiError(400, {"message": {"ref": ["is ambiguous"]}})
    values |= {"cron_timezone": "UTC", "active": True, "variables": [], "created_at": now(), "updated_at": now()}
    row = sandbox.store.insert("schedules", project_id=project["id"], owner_id=user["id"], **values)
    return {key: row[key] for key in ("id", "description", "ref", "cron", "cron_timezone", "active", "created_at")}


@router.post(_PATH + "/{schedule_id}/play", status_code=201)
def play_schedule(schedule_id: Id, sandbox: Box, project: Project, user: User) -> Row:
    """Starts the schedule's pipeline now."""
    sql = "SELECT * FROM schedules WHERE id = ? AND project_id = ?"
    row = sandbox.store.one(sql, schedule_id, project["id"])
    if row is None:
        raise not_found("Pipeline Schedule")
    # GitLab answers before it knows whether there are jobs for it; here that is told, with 400.
    pipelines.create(sandbox, project, user, row["ref"], source="schedule")
    return {"message": "201 Created"}
