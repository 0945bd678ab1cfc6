"""Pipelines, jobs and the linter in GitLab's REST API.

https://docs.gitlab.com/api/pipelines/ and https://docs.gitlab.com/api/jobs/
"""

from __future__ import annotations

import json
from typing import Any

import yaml
from fastapi import APIRouter, Request, Response

from lab.gitlab import ci_yaml, pipelines
from lab.gitlab.auth import Box, Project, User
from lab.gitlab.ci_jobs import Commit
from lab.gitlab.ci_reader import CiYamlError
from lab.gitlab.core import ApiError, Sandbox, bad_request, not_found
from lab.gitlab.params import Given, Id
from lab.gitlab.runner_api import artifacts_file
from lab.gitlab.store import Row
from lab.gitlab.views import as_job, as_pipeline, paginate

router = APIRouter()


@router.post("/projects/{id}/pipeline", status_code=201)
def create_pipeline(sandbox: Box, project: Project, user: User, given: Given) -> Row:
    """Starts a pipeline for a branch or tag, with `variables` [{key, value}] if wanted."""
    ref = given.string("ref", required=True) or ""
    given.check()
    if "inputs" in given:
        raise bad_request("inputs of a pipeline are not supported by the sandbox GitLab")
    wanted = _pipeline_variables(given.values.get("variables", []))
    return as_pipeline(sandbox, pipelines.create(sandbox, project, user, ref, source="api", given=wanted))


def _pipeline_variables(value: Any) -> list[Row]:
    items = [{"key": key, "value": text} for key, text in value.items()] if isinstance(value, dict) else value
    try:
        items = [json.loads(item) if isinstance(item, str) else item for item in items]
        return [
            {
                "key": str(item["key"]),
                "value": str(item["value"]),
                "variable_type": item.get("variable_type", "env_var"),
            }
            for item in items
        ]
    except (TypeError, KeyError, ValueError, AttributeError):
        raise ApiError(400, {"error": "variables is invalid"}) from None


@router.get("/projects/{id}/pipelines")
def list_pipelines(request: Request, sandbox: Box, project: Project, given: Given) -> Response:
    """The pipelines, newest first; by `ref`, `sha`, `source`, `status` if wanted."""
    wanted = {name: text for name in ("ref", "sha", "source", "status") if (text := given.string(name)) is not None}
    given.check()
    rows = sandbox.store.all("SELECT * FROM pipelines WHERE project_id = ? ORDER BY id DESC", project["id"])
    shown = [row for row in rows if all(row[name] == text for name, text in wanted.items())]
    return paginate(request, shown, lambda row: as_pipeline(sandbox, row))


@router.get("/projects/{id}/pipelines/{pipeline_id}")
def get_pipeline(pipeline_id: Id, sandbox: Box, project: Project) -> Row:
    """A pipeline."""
    return as_pipeline(sandbox, _pipeline(sandbox, project, pipeline_id))


@router.get("/projects/{id}/pipelines/{pipeline_id}/jobs")
def list_pipeline_jobs(pipeline_id: Id, request: Request, sandbox: Box, project: Project, given: Given) -> Response:
    """The jobs of a pipeline, newest first, those with a status of `scope`; `include_retried` adds those that were."""
    pipeline = _pipeline(sandbox, project, pipeline_id)
    retried, scope = given.boolean("include_retried"), given.strings("scope")
    given.check()
    rows = sandbox.store.all("SELECT * FROM jobs WHERE pipeline_id = ? ORDER BY id DESC", pipeline["id"])
    shown = [row for row in rows if (retried or not row["retried"]) and (not scope or row["status"] in scope)]
    return paginate(request, shown, lambda row: as_job(sandbox, row))


@router.post("/projects/{id}/pipelines/{pipeline_id}/cancel", status_code=201)
def cancel_pipeline(pipeline_id: Id, sandbox: Box, project: Project) -> Row:
    """Cancels a pipeline."""
    return as_pipeline(sandbox, pipelines.cancel_pipeline(sandbox, _pipeline(sandbox, project, pipeline_id)["id"]))


def _pipeline(sandbox: Sandbox, project: Row, pipeline_id: int) -> Row:
    sql = "SELECT * FROM pipelines WHERE id = ? AND project_id = ?"
    row = sandbox.store.one(sql, pipeline_id, project["id"])
    if row is None:
        raise not_found("Pipeline")
    return row


@router.get("/projects/{id}/jobs")
def list_jobs(request: Request, sandbox: Box, project: Project, given: Given) -> Response:
    """The jobs of a project, newest first, those with a status of `scope`."""
    scope = given.strings("scope")
    given.check()
    rows = sandbox.store.all("SELECT * FROM jobs WHERE project_id = ? ORDER BY id DESC", project["id"])
    return paginate(
        request, [row for row in rows if not scope or row["status"] in scope], lambda row: as_job(sandbox, row)
    )


@router.get("/projects/{id}/jobs/{job_id}")
def get_job(job_id: Id, sandbox: Box, project: Project) -> Row:
    """A job."""
    return as_job(sandbox, _job(sandbox, project, job_id))


@router.get("/projects/{id}/jobs/{job_id}/trace")
def get_trace(job_id: Id, sandbox: Box, project: Project) -> Response:
    """What a job printed, so far."""
    path = sandbox.trace(_job(sandbox, project, job_id)["id"])
    return Response(path.read_bytes() if path.exists() else b"", media_type="text/plain")


@router.get("/projects/{id}/jobs/{job_id}/artifacts")
def get_artifacts(job_id: Id, sandbox: Box, project: Project) -> Response:
    """A job's artifacts, a zip archive."""
    return artifacts_file(sandbox, _job(sandbox, project, job_id))


@router.post("/projects/{id}/jobs/{job_id}/play")
def play_job(job_id: Id, sandbox: Box, project: Project, given: Given) -> Row:
    """Starts a manual job."""
    if "job_variables_attributes" in given or "job_inputs" in given:
        raise bad_request("variables and inputs of a played job are not supported by the sandbox GitLab")
    return as_job(sandbox, pipelines.play_job(sandbox, _job(sandbox, project, job_id)))


@router.post("/projects/{id}/jobs/{job_id}/cancel", status_code=201)
def cancel_job(job_id: Id, sandbox: Box, project: Project, given: Given) -> Row:
    """Cancels a job, with `force` also where the runner still clears up."""
    force = given.boolean("force") or False
    given.check()
    return as_job(sandbox, pipelines.cancel_job(sandbox, _job(sandbox, project, job_id), force=force))


def _job(sandbox: Sandbox, project: Row, job_id: int) -> Row:
    row = sandbox.store.one("SELECT * FROM jobs WHERE id = ? AND project_id = ?", job_id, project["id"])
    if row is None:
        raise not_found()
    return row


@router.post("/projects/{id}/ci/lint")
def lint(sandbox: Box, project: Project, given: Given) -> Row:
    """Whether a `.gitlab-ci.yml` (`content`) is one that the sandbox can run."""
    content = given.string("content", required=True)
    given.check()
    sha = sandbox.repository(project["id"]).sha(project["default_branch"])
    commit = Commit(sandbox, project, sha) if sha else None
    try:
        config = ci_yaml.parse(content or "", *([commit.read] if commit else []))
    except CiYamlError as error:
        return {"valid": False, "errors": error.errors, "warnings": [], "merged_yaml": None}
    # By way of JSON: parts that are the same object would become anchors.
    merged = yaml.safe_dump(json.loads(json.dumps(config.merged, default=str)), sort_keys=False)
    return {"valid": True, "errors": [], "warnings": config.warnings, "merged_yaml": merged}
