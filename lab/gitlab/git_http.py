"""git over HTTP, through `git http-backend`: clone with a job's token, clone and push with a personal one."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import gzip
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from lab.gitlab import pushes
from lab.gitlab.auth import Box, owns, sees, user_of_token
from lab.gitlab.core import ApiError, Sandbox
from lab.gitlab.repository import plain_environment
from lab.gitlab.runner_api import job_of_token
from lab.gitlab.store import Row
from lab.gitlab.variables import JOB_USER

router = APIRouter()

_CHUNK = 64 * 1024
_LENGTH = 4
"""Digits before each line of git's protocol, which say how long it is with them."""
_BRANCHES = "refs/heads/"
_PASSED = {"content-type": "CONTENT_TYPE", "content-encoding": "HTTP_CONTENT_ENCODING", "git-protocol": "GIT_PROTOCOL"}


@router.api_route("/{path:path}.git/{service:path}", methods=["GET", "POST"])
async def serve(path: str, service: str, request: Request, sandbox: Box) -> Response:
    """One request of a git client."""
    if service not in ("info/refs", "git-upload-pack", "git-receive-pack"):
        raise ApiError(404, {"message": "404 Not found"})
    pushing = "git-receive-pack" in (service, request.query_params.get("service"))
    project, user = await run_in_threadpool(_authorize, sandbox, path, request, pushing)
    repository = sandbox.repository(project["id"])
    environment = {
        **plain_environment(),
        "GIT_PROJECT_ROOT": str(repository.path),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{service}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.url.query,
        "REMOTE_USER": user["username"] if user else JOB_USER,
        **{variable: request.headers[name] for name, variable in _PASSED.items() if name in request.headers},
    }
    # All of it first: the backend may answer earlier, and once an answer has begun the rest cannot be read any more.
    with tempfile.TemporaryFile(buffering=0) as spool:
        async for chunk in request.stream():
            spool.write(chunk)
        spool.seek(0)
        wanted = _wanted(spool, request) if service == "git-receive-pack" else {}
        spool.seek(0)
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", stdin=spool, stdout=asyncio.subprocess.PIPE, env=environment
        )
    try:
        status, headers = await _head(process)
    except BaseException:
        await _stop(process)
        raise

    async def body() -> AsyncIterator[bytes]:
        try:
            while chunk := await process.stdout.read(_CHUNK) if process.stdout else b"":
                yield chunk
            if user and wanted:
                # Before the answer ends: whoever pushed can ask for the pipeline at once.
                await run_in_threadpool(_pushed, sandbox, project, user, wanted)
        finally:
            await _stop(process)

    return StreamingResponse(body(), status, headers)


def _authorize(sandbox: Sandbox, path: str, request: Request, pushing: bool) -> tuple[Row, Row | None]:
    """The project and, unless a job asks, the user. ApiError 401, 403 or 404 as GitLab has them."""
    project = sandbox.store.one("SELECT * FROM projects WHERE full_path = ?", path.strip("/"))
    header = request.headers.get("authorization", "")
    if project and project["visibility"] == "public" and not pushing and not header:
        return project, None
    name, password = _basic(header)
    if name == JOB_USER:
        job = job_of_token(sandbox, password)
        if job is None:
            raise _unauthorized()
        if project is None or _hidden(job, project, pushing):
            raise ApiError(404, {"message": "404 Project Not Found"})
        if pushing:
            raise ApiError(403, {"message": "403 Forbidden - a job's token cannot push"})
        return project, None
    try:
        user = user_of_token(
            sandbox.store, password, "api", "write_repository", *([] if pushing else ["read_repository"])
        )
    except ApiError as error:
        if error.status == 401:
            raise _unauthorized() from None
        raise
    if project is None or not (owns if pushing else sees)(user, project):
        raise ApiError(404, {"message": "404 Project Not Found"})
    return project, user


def _hidden(job: Row, project: Row, pushing: bool) -> bool:
    """Whether a job may not read a repository: those of other projects only where they are not private."""
    return bool(job["project_id"] != project["id"] and (pushing or project["visibility"] == "private"))


def _basic(header: str) -> tuple[str, str]:
    kind, _, encoded = header.partition(" ")
    try:
        name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _unauthorized() from None
    if kind.lower() != "basic" or not password:
        raise _unauthorized()
    return name, password


def _unauthorized() -> ApiError:
    return ApiError(401, {"message": "HTTP Basic: Access denied"}, {"WWW-Authenticate": 'Basic realm="GitLab"'})


async def _head(process: asyncio.subprocess.Process) -> tuple[int, dict[str, str]]:
    """The status and headers that a CGI program prints before its body."""
    status, headers = 200, {}
    while process.stdout and (line := (await process.stdout.readline()).decode("latin-1").strip()):
        name, _, value = line.partition(": ")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value
    if not headers:
        raise ApiError(500, {"message": "500 git http-backend did not answer"})
    return status, headers


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Does not leave the program behind where the client went away."""
    if process.stdout is None or not process.stdout.at_eof():
        # Not process.terminate(): that would take the exit status away from asyncio, which complains.
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
    await process.wait()


def _wanted(body: IO[bytes], request: Request) -> dict[str, tuple[str, str]]:
    """The branches that a push is to move, each with its old and its new commit.

    They stand in lines before the pack: https://git-scm.com/docs/gitprotocol-pack#_reference_update_request_and_packfile_transfer
    """
    zipped = request.headers.get("content-encoding") == "gzip"
    lines = gzip.GzipFile(fileobj=body) if zipped else body
    wanted = {}
    with contextlib.suppress(ValueError, OSError, EOFError):  # no push: git itself will say so
        while (size := int(lines.read(4), 16)) > _LENGTH:
            match lines.read(size - _LENGTH).decode().partition("\0")[0].split():
                case [old, new, ref] if ref.startswith(_BRANCHES):  # not where the history of a shallow clone begins
                    wanted[ref.removeprefix(_BRANCHES)] = old, new
    return wanted


def _pushed(sandbox: Sandbox, project: Row, user: Row, wanted: dict[str, tuple[str, str]]) -> None:
    # Not just all that have moved: another push or a merge may have moved a branch at the same time.
    now = sandbox.repository(project["id"]).branches()
    for branch, (old, new) in wanted.items():
        if now.get(branch) == new:
            pushes.pushed(sandbox, project, user, branch, old)
