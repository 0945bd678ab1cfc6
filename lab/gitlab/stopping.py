"""Stopping environments: with their merge request, or when their time is over."""

from __future__ import annotations

from lab.gitlab import environments, pipelines
from lab.gitlab.auth import owns
from lab.gitlab.core import Sandbox
from lab.gitlab.store import Row, now


def _stop(sandbox: Sandbox, environment: Row) -> None:
    """Plays the `on_stop` job of the newest deployment; without one it just counts as stopped."""
    with sandbox.store.transaction():
        if sandbox.store.get("environments", environment["id"])["state"] != "available":
            return
        job = _stop_job(sandbox, environment)
        state = "stopping" if job else "stopped"
        sandbox.store.update("environments", environment["id"], state=state, auto_stop_at=None, updated_at=now())
        if job:
            pipelines.play_job(sandbox, job)


def _stop_job(sandbox: Sandbox, environment: Row) -> Row | None:
    done = [
        job
        for job in environments.deployments(sandbox, environment["project_id"], environment["name"])
        if job["status"] == "success"
    ]
    name = done[-1]["environment"]["on_stop"] if done else None
    jobs = pipelines.current_jobs(sandbox, done[-1]["pipeline_id"]) if name else []
    return next((job for job in jobs if job["name"] == name and job["status"] == "manual"), None)


def stop_of_merge_request(sandbox: Sandbox, merge_request: Row, user: Row) -> None:
    """Stops the environments to which a merge request's pipelines have deployed, as GitLab does when it is over.

    Those that the user may not stop stay: who closes a merge request need not own the project.
    """
    sql = "SELECT * FROM pipelines WHERE json_extract(merge_request, '$.id') = ?"
    for pipeline in sandbox.store.all(sql, merge_request["id"]):
        if not owns(user, sandbox.store.get("projects", pipeline["project_id"])):
            continue
        for job in environments.deployments(sandbox, pipeline["project_id"]):
            environment = environments.named(sandbox, job["project_id"], job["environment"]["name"])
            if environment and job["pipeline_id"] == pipeline["id"]:
                _stop(sandbox, environment)


def stop_expired(sandbox: Sandbox) -> None:
    """Stops the environments whose `auto_stop_in` is over."""
    for environment in sandbox.store.all("SELECT * FROM environments WHERE auto_stop_at < ?", now()):
        _stop(sandbox, environment)
