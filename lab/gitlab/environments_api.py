"""Environments, protected ones and deployments in GitLab's REST API.

https://docs.gitlab.com/api/environments/, https://docs.gitlab.com/api/protected_environments/ and
https://docs.gitlab.com/api/deployments/
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from lab.gitlab import environments, stopping
from lab.gitlab.auth import Box, Project, User
from lab.gitlab.ci_environments import TIERS
from lab.gitlab.core import ApiError, Sandbox, forbidden, not_found
from lab.gitlab.params import Given, Id
from lab.gitlab.store import Row, now
from lab.gitlab.views import as_job, as_user, paginate

router = APIRouter()

_PATH = "/projects/{id}/environments"
_ONE = _PATH + "/{environment_id}"
_PROTECTED = "/projects/{id}/protected_environments"


def _environment(environment_id: Id, sandbox: Box, project: Project) -> Row:
    sql = "SELECT * FROM environments WHERE id = ? AND project_id = ?"
    row = sandbox.store.one(sql, environment_id, project["id"])
    if row is None:
        raise not_found("Environment")
    return row


Environment = Annotated[Row, Depends(_environment)]


@router.get(_PATH)
def list_environments(request: Request, sandbox: Box, project: Project, given: Given) -> Response:
    """The environments of a project, by `name`, `search` or `states`."""
    name, search = given.string("name"), given.string("search") or ""
    states = given.string("states", allowed=("available", "stopping", "stopped"))
    given.check()
    rows = sandbox.store.all("SELECT * FROM environments WHERE project_id = ? ORDER BY id", project["id"])
    found = [
        row for row in rows if name in (None, row["name"]) and search in row["name"] and states in (None, row["state"])
    ]
    return paginate(request, found, _as_environment)


@router.post(_PATH, status_code=201)
def create_environment(sandbox: Box, project: Project, given: Given) -> Row:
    """Makes an environment; jobs make theirs themselves."""
    name, url = given.string("name", required=True) or "", given.string("external_url")
    tier = given.string("tier", allowed=TIERS)
    given.check()
    if environments.named(sandbox, project["id"], name):
        raise ApiError(400, {"message": {"name": ["has already been taken"]}})
    return _as_environment(environments.create(sandbox, project["id"], name, tier=tier, url=url))


@router.get(_ONE)
def get_environment(sandbox: Box, environment: Environment) -> Row:
    """An environment with its newest successful deployment."""
    done = environments.deployments(sandbox, environment["project_id"], environment["name"])
    last = next((_as_deployment(sandbox, job) for job in reversed(done) if job["status"] == "success"), None)
    return _as_environment(environment) | {"last_deployment": last}


@router.put(_ONE)
def update_environment(sandbox: Box, environment: Environment, given: Given) -> Row:
    """Changes the address or the tier of an environment."""
    values = {"external_url": given.string("external_url"), "tier": given.string("tier", allowed=TIERS)}
    given.check()
    changes = {name: value for name, value in values.items() if value is not None} | {"updated_at": now()}
    sandbox.store.update("environments", environment["id"], **changes)
    return _as_environment(environment | changes)


@router.delete(_ONE, status_code=204)
def delete_environment(sandbox: Box, environment: Environment) -> None:
    """Deletes an environment that is stopped."""
    if environment["state"] != "stopped":
        raise forbidden()
    sandbox.store.execute("DELETE FROM environments WHERE id = ?", environment["id"])


@router.post(_ONE + "/stop")
def stop_environment(sandbox: Box, user: User, environment: Environment, given: Given) -> Row:
    """Stops an environment by its `on_stop` job; with `force` without that job."""
    force = given.boolean("force")
    given.check()
    stopping.stop(sandbox, environment, user, force=bool(force))
    return _as_environment(sandbox.store.get("environments", environment["id"]))


def _as_environment(row: Row) -> Row:
    keys = ("id", "name", "slug", "external_url", "state", "tier", "auto_stop_at", "created_at", "updated_at")
    return {key: row[key] for key in keys}


@router.get("/projects/{id}/deployments")
def list_deployments(request: Request, sandbox: Box, project: Project, given: Given) -> Response:
    """The deployments of a project, oldest first, by `environment` and `status`."""
    name, status = given.string("environment"), given.string("status")
    sort = given.string("sort", allowed=("asc", "desc")) or "asc"
    given.string("order_by", allowed=("id", "iid", "created_at", "updated_at", "finished_at", "ref"))
    given.check()
    jobs = environments.deployments(sandbox, project["id"], name)
    found = [job for job in jobs if status in (None, _status(job))]
    shown = found if sort == "asc" else found[::-1]
    return paginate(request, shown, lambda job: _as_deployment(sandbox, job))


@router.get("/projects/{id}/deployments/{deployment_id}")
def get_deployment(deployment_id: Id, sandbox: Box, project: Project) -> Row:
    """A deployment; its number is its job's."""
    for job in environments.deployments(sandbox, project["id"]):
        if job["id"] == deployment_id:
            return _as_deployment(sandbox, job)
    raise not_found("Deployment")


def _status(job: Row) -> str:
    """Of a job's deployment, which runs until the job has ended."""
    return "running" if job["status"] == "canceling" else str(job["status"])


def _as_deployment(sandbox: Sandbox, job: Row) -> Row:
    pipeline = sandbox.store.get("pipelines", job["pipeline_id"])
    environment = environments.named(sandbox, job["project_id"], job["environment"]["name"])
    return {
        "id": job["id"],
        "iid": job["id"],
        "ref": pipeline["ref"],
        "sha": pipeline["sha"],
        "status": _status(job),
        "created_at": job["created_at"],
        "updated_at": job["finished_at"] or job["started_at"],
        "user": as_user(sandbox, sandbox.store.get("users", pipeline["user_id"])),
        "environment": environment and _as_environment(environment),
        "deployable": as_job(sandbox, job),
    }


@router.get(_PROTECTED)
def list_protected(request: Request, sandbox: Box, project: Project) -> Response:
    """The protected environments of a project."""
    sql = "SELECT * FROM protected_environments WHERE project_id = ? ORDER BY id"
    return paginate(request, sandbox.store.all(sql, project["id"]), _as_protected)


@router.post(_PROTECTED, status_code=201)
def protect(sandbox: Box, project: Project, given: Given) -> Row:
    """Protects an environment: `deploy_access_levels` names users (`user_id`) or a role (`access_level` 30, 40, 60)."""
    name, wanted = given.string("name", required=True), given.values.get("deploy_access_levels")
    given.check()
    if not isinstance(wanted, list) or not wanted:
        raise ApiError(400, {"error": "deploy_access_levels is missing"})
    if sandbox.store.one(_FIND_PROTECTED, project["id"], name):
        raise ApiError(409, {"message": f"Protected environment '{name}' already exists"})
    levels = [_level(sandbox, number, item) for number, item in enumerate(wanted, 1)]
    values = {"project_id": project["id"], "name": name, "deploy_access_levels": levels}
    return _as_protected(sandbox.store.insert("protected_environments", **values))


def _level(sandbox: Sandbox, number: int, item: Any) -> Row:
    user_id = item.get("user_id") if isinstance(item, dict) else None
    level: Any = item.get("access_level") if isinstance(item, dict) else None
    user = sandbox.store.one("SELECT * FROM users WHERE id = ?", user_id)
    if level not in environments.ACCESS_LEVELS and user is None:
        raise ApiError(422, {"message": ["Deploy access levels is invalid"]})
    return {
        "id": number,
        "access_level": None if user else level,
        "access_level_description": user["name"] if user else environments.ACCESS_LEVELS[level],
        "user_id": user and user["id"],
        "group_id": None,
        "group_inheritance_type": 0,
    }


_FIND_PROTECTED = "SELECT * FROM protected_environments WHERE project_id = ? AND name = ?"


@router.get(_PROTECTED + "/{name:path}")
def get_protected(name: str, sandbox: Box, project: Project) -> Row:
    """A protected environment."""
    row = sandbox.store.one(_FIND_PROTECTED, project["id"], name.replace("%2F", "/"))
    if row is None:
        raise not_found()
    return _as_protected(row)


@router.delete(_PROTECTED + "/{name:path}", status_code=204)
def unprotect(name: str, sandbox: Box, project: Project) -> None:
    """Lets everybody who may run jobs deploy to an environment again."""
    sql = "DELETE FROM protected_environments WHERE project_id = ? AND name = ?"
    if not sandbox.store.execute(sql, project["id"], name.replace("%2F", "/")):
        raise not_found()


def _as_protected(row: Row) -> Row:
    return {key: row[key] for key in ("name", "deploy_access_levels")} | {
        "required_approval_count": 0,
        "approval_rules": [],
    }
