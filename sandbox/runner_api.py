"""What a gitlab-runner talks to: verify, jobs, traces, artifacts.

What it answers follows GitLab's own lib/api/ci/runner.rb.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import UploadFile

from sandbox import job_payload, pipelines, variables
from sandbox.auth import Box
from sandbox.ci_reader import duration
from sandbox.core import ApiError, Sandbox, digest, forbidden, new_token
from sandbox.params import Given, Id, Params
from sandbox.store import Row, now

router = APIRouter()

TRACE_INTERVAL_SECONDS = 3
"""How often a runner is asked to send what a job printed (GitLab's own while somebody watches)."""
ARTIFACTS_LIFETIME_SECONDS = 30 * 86400
"""Of artifacts whose job names no `expire_in`: GitLab's default."""

_INFO = ("name", "version", "revision", "platform", "architecture", "executor")


def _runner(request: Request, sandbox: Box, given: Given) -> Row:
    """The runner whose token a request carries, noted as seen. ApiError 403 for anything else."""
    given.string("token", required=True)
    given.check()
    runner = sandbox.store.one("SELECT * FROM runners WHERE digest = ?", digest(str(given.values["token"])))
    if runner is None:
        raise forbidden()
    info = given.values.get("info")
    seen: Row = {"contacted_at": now(), "ip_address": request.client.host if request.client else None}
    if isinstance(info, dict):
        seen["info"] = {key: info[key] for key in _INFO if key in info}
    sandbox.store.update("runners", runner["id"], **seen)
    return runner


Runner = Annotated[Row, Depends(_runner)]


def _running_job(job_id: Id, request: Request, sandbox: Box, given: Given) -> Row:
    """The job that a request is about, authenticated by its own token. ApiError 403, as GitLab says it, else."""
    token = request.headers.get("job-token") or str(given.values.get("token", ""))
    job = sandbox.store.one("SELECT * FROM jobs WHERE id = ? AND token_digest = ?", job_id, digest(token))
    if job is None:
        raise forbidden()
    if job["status"] != "running":
        raise _not_running(job)
    if job["runner_id"]:
        sandbox.store.update("runners", job["runner_id"], contacted_at=now())
    return job


def _not_running(job: Row) -> ApiError:
    return forbidden("Job is not running", {"Job-Status": job["status"]})


RunningJob = Annotated[Row, Depends(_running_job)]


def job_of_token(sandbox: Sandbox, token: str) -> Row | None:
    """The running job that a job token belongs to."""
    sql = "SELECT * FROM jobs WHERE token_digest = ? AND status = 'running'"
    return sandbox.store.one(sql, digest(token)) if token else None


@router.post("/runners/verify")
def verify(runner: Runner, given: Given) -> Row:
    """Whether a runner's token is good."""
    return {"id": runner["id"], "token": given.values["token"], "token_expires_at": None}


@router.post("/runners")
def register() -> None:
    """Registration tokens are gone in GitLab, and were never here."""
    raise ApiError(410, {"message": "410 Gone - runner registration disallowed"})


@router.delete("/runners", status_code=204)
def unregister(runner: Runner, sandbox: Box) -> None:
    """A runner deletes itself."""
    sandbox.store.execute("DELETE FROM runners WHERE id = ?", runner["id"])


@router.post("/runners/reset_authentication_token", status_code=201)
def reset_own_token(runner: Runner, sandbox: Box) -> Row:
    """A runner asks for a new token; the old one is dead at once."""
    token = new_token("glrt")
    sandbox.store.update("runners", runner["id"], digest=digest(token))
    return {"token": token, "token_expires_at": None}


@router.post("/jobs/request")
def request_job(runner: Runner, sandbox: Box) -> Response:
    """Gives the runner the oldest job that it may run: 201 with the job, or 204."""
    if not runner["paused"]:
        with sandbox.store.transaction():
            for job in sandbox.store.all("SELECT * FROM jobs WHERE status = 'pending' ORDER BY queued_at, id"):
                if can_run(sandbox, runner, job):
                    return JSONResponse(_start(sandbox, runner, job), 201)
    return Response(status_code=204)


def can_run(sandbox: Sandbox, runner: Row, job: Row) -> bool:
    """Whether GitLab would give this job to this runner: tags, scope, protection."""
    tags = set(job["tags"])
    if not (tags <= set(runner["tags"]) and (tags or runner["run_untagged"])):
        return False
    project = sandbox.store.get("projects", job["project_id"])
    pipeline = sandbox.store.get("pipelines", job["pipeline_id"])
    if runner["access_level"] == "ref_protected" and not variables.is_protected(project, pipeline):
        return False
    return serves(sandbox, runner, project)


def serves(sandbox: Sandbox, runner: Row, project: Row) -> bool:
    """Whether a runner is there for a project: everybody's, its group's or a group above's, or its own."""
    if runner["runner_type"] == "instance_type":
        return True
    if runner["runner_type"] == "group_type":
        group = sandbox.store.get("groups", runner["group_id"])
        return bool(project["full_path"].startswith(f"{group['full_path']}/"))
    sql = "SELECT 1 FROM runner_projects WHERE runner_id = ? AND project_id = ?"
    return sandbox.store.one(sql, runner["id"], project["id"]) is not None


def _start(sandbox: Sandbox, runner: Row, job: Row) -> Row:
    """Gives a job to a runner and makes its payload."""
    project = sandbox.store.get("projects", job["project_id"])
    pipeline = sandbox.store.get("pipelines", job["pipeline_id"])
    spec = job["spec"]
    timeout = spec["timeout"] or project["build_timeout"]
    timeout = min(timeout, runner["maximum_timeout"] or timeout)
    token = new_token("glcbt")
    changes = {"status": "running", "runner_id": runner["id"], "timeout": timeout, "started_at": now()}
    sandbox.store.update("jobs", job["id"], token_digest=digest(token), **changes)
    pipelines.process(sandbox, pipeline["id"])
    user = sandbox.store.get("users", pipeline["user_id"])
    found = variables.of_job(sandbox, project, pipeline, job | changes, runner, user, timeout, token)
    known = variables.values(found)
    if job["environment"]:
        environment = job["environment"] | {"url": known.get("CI_ENVIRONMENT_URL")}
        sandbox.store.update("jobs", job["id"], environment=environment)
    return job_payload.of(sandbox, runner, job | changes, found, token)


@router.put("/jobs/{job_id}")
def update_job(job: RunningJob, given: Given, sandbox: Box) -> Response:
    """A runner says how a job goes: still running, or how it ended."""
    state = given.string("state")
    reason, exit_code = given.string("failure_reason"), given.integer("exit_code")
    given.check()
    headers = {"X-GitLab-Trace-Update-Interval": str(TRACE_INTERVAL_SECONDS)}
    if state not in ("running", "success", "failed"):
        return JSONResponse("400", 400, headers)
    if state != "running" and not pipelines.finish(sandbox, job, state, failure_reason=reason, exit_code=exit_code):
        raise _not_running(sandbox.store.get("jobs", job["id"]))
    return JSONResponse("200", 200, headers)


@router.patch("/jobs/{job_id}/trace")
async def append_trace(job: RunningJob, request: Request, sandbox: Box) -> Response:
    """A piece of a job's log, with its place in `Content-Range: start-end`."""
    content_range = request.headers.get("content-range")
    if content_range is None:
        raise ApiError(400, {"error": "400 Missing header Content-Range"})
    place = re.fullmatch(r"(?:bytes )?(\d+)-(-?\d+)(?:/.*)?", content_range.strip())
    if place is None:
        raise ApiError(400, {"error": f"400 Content-Range is not start-end: {content_range}"})
    size = await run_in_threadpool(_append, sandbox, job, int(place[1]), await request.body())
    headers = {
        "Job-Status": job["status"],
        "Range": f"0-{abs(size)}",
        "X-GitLab-Trace-Update-Interval": str(TRACE_INTERVAL_SECONDS),
    }
    if size < 0:
        raise ApiError(416, {"error": "416 Range Not Satisfiable"}, headers)
    return Response(status_code=202, headers=headers)


def _append(sandbox: Sandbox, job: Row, start: int, content: bytes) -> int:
    """The log's new size; negated, and nothing written, where `content` would leave a hole."""
    path = sandbox.trace(job["id"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        # An empty log has no negative size: a hole in it would look like success.
        if start > size:
            return -size if size else -1
        file.seek(start)
        file.truncate()
        return start + file.write(content)


@router.post("/jobs/{job_id}/artifacts", status_code=201)
def upload_artifacts(job: RunningJob, given: Given, sandbox: Box) -> str:
    """A job's artifacts, a zip archive."""
    archive = given.values.get("file")
    if not isinstance(archive, UploadFile):
        raise ApiError(400, {"error": "file is missing"})
    kind = given.string("artifact_type") or "archive"
    if kind != "archive":
        raise ApiError(
            400, {"message": f"400 Bad request - artifact type {kind} is not supported by the sandbox GitLab"}
        )
    expire_at = _expiry(given)
    path = sandbox.artifacts(job["id"])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        shutil.copyfileobj(archive.file, file)
    size = partial.stat().st_size
    os.replace(partial, path)
    name = archive.filename or "artifacts.zip"
    sandbox.store.update("jobs", job["id"], artifacts_name=name, artifacts_size=size, artifacts_expire_at=expire_at)
    return "201"


def _expiry(given: Params) -> str | None:
    expire_in = given.string("expire_in")
    if expire_in == "never":
        return None
    try:
        return now(after=duration(expire_in) if expire_in else ARTIFACTS_LIFETIME_SECONDS)
    except ValueError:
        raise ApiError(400, {"message": "400 Bad request - expire_in is no duration"}) from None


@router.get("/jobs/{job_id}/artifacts")
def download_artifacts(job_id: Id, request: Request, given: Given, sandbox: Box) -> FileResponse:
    """The artifacts of a job, for itself or for another running job of its project."""
    token = request.headers.get("job-token") or str(given.values.get("token", ""))
    asking = job_of_token(sandbox, token)
    job = sandbox.store.one("SELECT * FROM jobs WHERE id = ?", job_id)
    if asking is None or job is None or asking["project_id"] != job["project_id"]:
        raise forbidden()
    return artifacts_file(sandbox, job)


def artifacts_file(sandbox: Sandbox, job: Row) -> FileResponse:
    """The archive as an answer; ApiError 404 where there is none (any more)."""
    expired = job["artifacts_expire_at"] and job["artifacts_expire_at"] < now()
    if job["artifacts_size"] is None or expired:
        raise ApiError(404, {"message": "404 Not found"})
    return FileResponse(sandbox.artifacts(job["id"]), media_type="application/zip", filename=job["artifacts_name"])
