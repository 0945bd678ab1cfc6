"""What a gitlab-runner talks to: verify, jobs, traces, artifacts.

What it answers follows GitLab's own lib/api/ci/runner.rb.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import UploadFile

from lab.gitlab import job_payload, pipelines, runner_tokens, variables
from lab.gitlab.auth import Box
from lab.gitlab.ci_reader import duration
from lab.gitlab.core import ApiError, Sandbox, bad_request, digest, forbidden, new_token
from lab.gitlab.params import Given, Id, Params
from lab.gitlab.store import Row, now

router = APIRouter()

TRACE_INTERVAL_SECONDS = 3
"""How often a runner is asked to send what a job printed (GitLab's own while somebody watches)."""
ARTIFACTS_LIFETIME_SECONDS = 30 * 86400
"""Of artifacts whose job names no `expire_in`: GitLab's default."""

LARGEST_ARTIFACTS = 100 * 2**20
"""Bytes of a job's artifacts at most: GitLab's default."""

_INFO = ("name", "version", "revision", "platform", "architecture", "executor", "features")
_NO_SYSTEM_ID = "<legacy>"
"""What stands for the machine of a runner that does not tell which it is, as in GitLab."""


def _runner(sandbox: Box, given: Given) -> Row:
    """The runner whose token a request carries. ApiError 403 for anything else, and where the token has expired."""
    token = given.string("token", required=True) or ""
    given.string("system_id")
    given.check()
    return _runner_of_token(sandbox, token)


def _runner_of_token(sandbox: Sandbox, token: str) -> Row:
    runner = sandbox.store.one("SELECT * FROM runners WHERE digest = ?", digest(token))
    if runner is None or (runner["token_expires_at"] and runner["token_expires_at"] <= now()):
        raise forbidden()
    return runner


Runner = Annotated[Row, Depends(_runner)]


def _manager(runner: Runner, request: Request, sandbox: Box, given: Given) -> Row:
    """The process behind a runner's request, by its `system_id`; both are noted as seen."""
    told = given.values.get("info")
    seen: Row = {"contacted_at": now(), "ip_address": request.client.host if request.client else None}
    if isinstance(told, dict):
        seen["info"] = {key: told[key] for key in _INFO if key in told}
    sandbox.store.update("runners", runner["id"], **seen)
    system_id = str(given.values.get("system_id") or _NO_SYSTEM_ID)
    with sandbox.store.transaction():
        sql = "SELECT * FROM runner_managers WHERE runner_id = ? AND system_id = ?"
        manager = sandbox.store.one(sql, runner["id"], system_id)
        if manager is None:
            values = {"info": {}, "created_at": now(), **seen}
            return sandbox.store.insert("runner_managers", runner_id=runner["id"], system_id=system_id, **values)
        sandbox.store.update("runner_managers", manager["id"], **seen)
        return manager | seen


Manager = Annotated[Row, Depends(_manager)]


def _running_job(job_id: Id, request: Request, sandbox: Box, given: Given) -> Row:
    """The job that a request is about, authenticated by its own token. ApiError 403, as GitLab says it, else."""
    token = request.headers.get("job-token") or str(given.values.get("token", ""))
    job = sandbox.store.one("SELECT * FROM jobs WHERE id = ? AND token_digest = ?", job_id, digest(token))
    if job is None:
        raise forbidden()
    if job["status"] not in pipelines.RUNNING:
        raise _not_running(job)
    return job


def _not_running(job: Row) -> ApiError:
    return forbidden("Job is not running", {"Job-Status": job["status"]})


RunningJob = Annotated[Row, Depends(_running_job)]


def _heartbeat(sandbox: Sandbox, job: Row) -> None:
    """Notes a job's runner as seen. Not for artifacts: those come from where the job runs."""
    for table, row_id in (("runners", job["runner_id"]), ("runner_managers", job["manager_id"])):
        if row_id:
            sandbox.store.update(table, row_id, contacted_at=now())


def job_of_token(sandbox: Sandbox, token: str) -> Row | None:
    """The running job that a job token belongs to."""
    sql = "SELECT * FROM jobs WHERE token_digest = ? AND status IN ('running', 'canceling')"
    return sandbox.store.one(sql, digest(token)) if token else None


@router.post("/runners/verify")
def verify(runner: Runner, _: Manager, given: Given) -> Row:
    """Whether a runner's token is good, and until when."""
    return {"id": runner["id"], "token": given.values["token"], "token_expires_at": runner["token_expires_at"]}


@router.post("/runners")
def register() -> None:
    """Registration tokens are gone in GitLab, and were never here."""
    raise ApiError(410, {"message": "410 Gone - runner registration disallowed"})


@router.post("/runners/reset_authentication_token", status_code=201)
def reset_own_token(runner: Runner, _: Manager, sandbox: Box) -> Row:
    """A runner asks for a new token; the old one is dead at once."""
    return runner_tokens.renew(sandbox, runner)


@router.get("/runners/router/discovery")
def discover_router(request: Request, sandbox: Box) -> None:
    """Where a runner can have its jobs pushed to it: nowhere, as in a GitLab without its agent server."""
    _runner_of_token(sandbox, request.headers.get("runner-token", ""))
    raise ApiError(501, {"message": "Job Router is not available. Please contact your administrator."})


@router.post("/jobs/request")
def request_job(runner: Runner, manager: Manager, sandbox: Box) -> Response:
    """Gives the runner the oldest job that it may run: 201 with the job, or 204."""
    with sandbox.store.transaction():
        pending = sandbox.store.all("SELECT * FROM jobs WHERE status = 'pending' ORDER BY queued_at, id")
        for job in [] if runner["paused"] else pending:
            if can_run(sandbox, runner, job):
                return JSONResponse(_start(sandbox, runner, manager, job), 201)
    return Response(status_code=204, headers={"X-GitLab-Last-Update": _queue(runner, pending)})


def _queue(runner: Row, pending: Sequence[Row]) -> str:
    """What a runner sends back when it asks again: the same as long as no job has come, for it or for another one.

    GitLab answers such a request at once, or keeps it waiting; here every request is looked at anew.
    """
    seen = [runner["paused"], *((job["id"], job["queued_at"]) for job in pending)]
    return digest(json.dumps(seen))[:32]


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


def _start(sandbox: Sandbox, runner: Row, manager: Row, job: Row) -> Row:
    """Gives a job to a runner and makes its payload."""
    project = sandbox.store.get("projects", job["project_id"])
    pipeline = sandbox.store.get("pipelines", job["pipeline_id"])
    spec = job["spec"]
    timeout = spec["timeout"] or project["build_timeout"]
    timeout = min(timeout, runner["maximum_timeout"] or timeout)
    token = new_token("glcbt")
    changes = {"status": "running", "runner_id": runner["id"], "manager_id": manager["id"], "timeout": timeout}
    changes |= {"started_at": now()}
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
    """A runner says how a job goes: still running, or how it ended. It learns whether somebody has cancelled it."""
    state = given.string("state")
    reason, exit_code = given.string("failure_reason"), given.integer("exit_code")
    given.check()
    _heartbeat(sandbox, job)
    ends = state in ("success", "failed")
    if ends and not pipelines.finish(sandbox, job, state or "", failure_reason=reason, exit_code=exit_code):
        raise _not_running(sandbox.store.get("jobs", job["id"]))
    headers = {"Job-Status": sandbox.store.get("jobs", job["id"])["status"]}
    status = 200 if ends or state == "running" else 400
    return JSONResponse(str(status), status, headers)


@router.patch("/jobs/{job_id}/trace")
async def append_trace(job: RunningJob, request: Request, sandbox: Box) -> Response:
    """A piece of a job's log, with its place in `Content-Range: start-end`."""
    content_range = request.headers.get("content-range")
    if content_range is None:
        raise ApiError(400, {"error": "400 Missing header Content-Range"})
    place = re.fullmatch(r"(?:bytes )?(\d+)-(-?\d+)(?:/.*)?", content_range.strip())
    if place is None:
        raise ApiError(400, {"error": f"400 Content-Range is not start-end: {content_range}"})
    fits, size = await run_in_threadpool(_append, sandbox, job, int(place[1]), await request.body())
    await run_in_threadpool(_heartbeat, sandbox, job)
    headers = {
        "Job-Status": job["status"],
        "Range": f"0-{size}",
        "X-GitLab-Trace-Update-Interval": str(TRACE_INTERVAL_SECONDS),
    }
    if not fits:
        raise ApiError(416, {"error": "416 Range Not Satisfiable"}, headers)
    return Response(status_code=202, headers=headers)


def _append(sandbox: Sandbox, job: Row, start: int, content: bytes) -> tuple[bool, int]:
    """Whether `content` fits, and the log's size then; nothing is written where it would leave a hole."""
    path = sandbox.trace(job["id"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if start > size:
            return False, size
        file.seek(start)
        file.truncate()
        return True, start + file.write(content)


@router.post("/jobs/{job_id}/artifacts/authorize")
def authorize_artifacts(_: RunningJob, given: Given) -> Row:
    """Whether a job may send artifacts of `filesize` bytes: to this address, for there is no object storage."""
    size = given.integer("filesize")
    _archive_only(given)
    if size is not None and size > LARGEST_ARTIFACTS:
        raise _too_large()
    return {"MaximumSize": LARGEST_ARTIFACTS}


@router.post("/jobs/{job_id}/artifacts", status_code=201)
def upload_artifacts(job: RunningJob, given: Given, sandbox: Box) -> str:
    """A job's artifacts, a zip archive."""
    archive = given.values.get("file")
    if not isinstance(archive, UploadFile):
        raise ApiError(400, {"error": "file is missing"})
    _archive_only(given)
    if (archive.size or 0) > LARGEST_ARTIFACTS:
        raise _too_large()
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


def _archive_only(given: Params) -> None:
    """Raises ApiError 400 for artifacts of another kind, or in another form, than a zip archive."""
    kind, form = given.string("artifact_type") or "archive", given.string("artifact_format") or "zip"
    given.check()
    if kind != "archive":
        raise bad_request(f"artifact type {kind} is not supported by the sandbox GitLab")
    if form != "zip":
        raise bad_request(f"artifact format {form} is not supported by the sandbox GitLab")


def _too_large() -> ApiError:
    return ApiError(413, {"message": "413 Request Entity Too Large"})


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
