"""Environments: made by jobs, started and stopped as these end.

A deployment is a job that has run for an environment, so there is no table of its own for them.
"""

from __future__ import annotations

from lab.gitlab import ci_environments
from lab.gitlab.core import Sandbox
from lab.gitlab.store import Row, now

_DEPLOYMENTS = (
    "SELECT * FROM jobs WHERE project_id = ? AND started_at IS NOT NULL AND environment IS NOT NULL "
    "AND json_extract(environment, '$.action') = 'start'"
)


def _create(sandbox: Sandbox, project_id: int, name: str, tier: str) -> Row:
    return sandbox.store.insert(
        "environments",
        project_id=project_id,
        name=name,
        slug=ci_environments.slug(name),
        tier=tier,
        state="available",
        created_at=now(),
        updated_at=now(),
    )


def named(sandbox: Sandbox, project_id: int, name: str) -> Row | None:
    """The environment of a project with this name."""
    return sandbox.store.one("SELECT * FROM environments WHERE project_id = ? AND name = ?", project_id, name)


def job_changed(sandbox: Sandbox, job: Row) -> None:
    """Follows a job with an environment: made when the job is, started or stopped when the job has succeeded."""
    wanted = job["environment"]
    row = named(sandbox, job["project_id"], wanted["name"])
    row = row or _create(sandbox, job["project_id"], wanted["name"], wanted["tier"])
    changes: Row = {}
    if job["status"] == "success" and wanted["action"] == "start":
        lasts = wanted["auto_stop_in"]
        changes = {"state": "available", "auto_stop_at": now(after=lasts) if lasts else None, "tier": wanted["tier"]}
        changes |= {"external_url": wanted["url"]} if wanted["url"] else {}
    if job["status"] == "success" and wanted["action"] == "stop":
        changes = {"state": "stopped", "auto_stop_at": None}
    if job["status"] in ("failed", "canceled") and wanted["action"] == "stop" and row["state"] == "stopping":
        changes = {"state": "available"}
    if changes:
        sandbox.store.update("environments", row["id"], **changes, updated_at=now())


def deployments(sandbox: Sandbox, project_id: int, environment: str | None = None) -> list[Row]:
    """The jobs that have deployed, or do so now, oldest first."""
    rows = sandbox.store.all(f"{_DEPLOYMENTS} ORDER BY id", project_id)
    return [row for row in rows if environment in (None, row["environment"]["name"])]
