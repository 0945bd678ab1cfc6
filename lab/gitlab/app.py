"""The web application: GitLab's API, git over HTTP, and the sandbox's own pages below /-/sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lab.gitlab import (
    environments_api,
    forks,
    git_http,
    issues,
    merge_requests_api,
    notes,
    pipelines,
    pipelines_api,
    projects,
    repository_api,
    runner_api,
    runner_tokens,
    runners,
    schedules,
    stopping,
    variables_api,
)
from lab.gitlab.auth import User, require_admin
from lab.gitlab.core import SANDBOX, ApiError, Sandbox
from lab.gitlab.gate import Fault, Faults, Gate, Peers
from lab.gitlab.params import Given

SWEEP_SECONDS = 5.0
_MODULES = (
    *(runner_api, runner_tokens, runners, projects, forks, variables_api, repository_api, pipelines_api),
    *(merge_requests_api, issues, notes, schedules, environments_api),
)
_LOG = logging.getLogger("uvicorn.error")

ABOUT = {
    "what": "A small GitLab for trying out gitlab-dind-runners. It is not GitLab.",
    "does": [
        "runners: create, read, update, delete, list, rotate tokens (REST), with personal access tokens and scopes",
        "jobs: request, trace, update, artifacts, as gitlab-runner wants them",
        "git over HTTP, groups, projects, forks, CI/CD variables, branches, commits, files",
        "merge requests, issues, notes; pipelines of merge requests and of schedules; environments",
        "pipelines from .gitlab-ci.yml and its own includes, with rules; what is not supported is refused by name",
    ],
    "does_not": [
        "no web pages, users' passwords, OAuth, GraphQL, approvals, packages, webhooks",
        "no parallel jobs, child pipelines, merged results; docs/lab/sandbox.md has the whole list",
    ],
    "documentation": "docs/lab/sandbox.md",
}


def create_app(sandbox: Sandbox, *, peers: Peers | None = None) -> Gate:
    """The application for one sandbox; `peers` says who may connect (default: this machine and its containers)."""
    faults = Faults()
    app = FastAPI(title="Sandbox GitLab", lifespan=_sweeping, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.sandbox = sandbox
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _broken)

    @app.get("/")
    def about() -> dict[str, Any]:
        """What this is."""
        return ABOUT

    @app.get("/-/sandbox")
    def marker() -> dict[str, Any]:
        """That this is no real GitLab; for everybody."""
        return SANDBOX

    @app.get("/-/sandbox/requests")
    def requests(user: User) -> list[dict[str, Any]]:
        """The newest requests: time, method, path, status, duration."""
        require_admin(user)
        return list(faults.requests)

    @app.get("/-/sandbox/faults")
    def list_faults(user: User) -> list[dict[str, Any]]:
        """The faults in force."""
        require_admin(user)
        return [asdict(fault) for fault in faults.faults]

    @app.post("/-/sandbox/faults", status_code=201)
    def add_fault(user: User, given: Given) -> dict[str, Any]:
        """Adds a fault."""
        require_admin(user)
        fault = Fault.read(dict(given.values))
        faults.faults.append(fault)
        return asdict(fault)

    @app.delete("/-/sandbox/faults", status_code=204)
    def clear_faults(user: User) -> None:
        """Removes all faults."""
        require_admin(user)
        faults.faults.clear()

    for module in _MODULES:
        app.include_router(module.router, prefix="/api/v4")
    app.include_router(git_http.router)
    return Gate(app, faults, peers or Peers())


@contextlib.asynccontextmanager
async def _sweeping(app: FastAPI) -> AsyncIterator[None]:
    async def sweep() -> None:
        while True:
            try:
                await run_in_threadpool(pipelines.sweep, app.state.sandbox)
                await run_in_threadpool(stopping.stop_expired, app.state.sandbox)
            except Exception:
                _LOG.exception("looking for what is lost or over failed; the next try is in %s s", SWEEP_SECONDS)
            await asyncio.sleep(SWEEP_SECONDS)

    task = asyncio.create_task(sweep())
    yield
    task.cancel()


def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"{error.status_code} {error.detail}"}, error.status_code, error.headers)


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    names = dict.fromkeys(str(problem["loc"][-1]) for problem in error.errors())
    return JSONResponse({"error": ", ".join(f"{name} is invalid" for name in names)}, 400)


def _broken(_: Request, __: Exception) -> Response:
    return JSONResponse({"message": "500 Internal Server Error"}, 500)
