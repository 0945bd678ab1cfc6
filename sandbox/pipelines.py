"""Pipelines: made from `.gitlab-ci.yml`, moved on as their jobs end, retried, cancelled, timed out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sandbox import ci_yaml, variables
from sandbox.ci_rules import matching_rule
from sandbox.core import NULL_SHA, ApiError, Sandbox
from sandbox.repository import Repository
from sandbox.store import Row, now, seconds_between

CONFIG_FILE = ".gitlab-ci.yml"
WAITING = ("created", "pending")
ACTIVE = (*WAITING, "running")
LOST_RUNNER_SECONDS = 60
"""A job that runs this much longer than its timeout has lost its runner, which would have stopped it."""


def create(
    sandbox: Sandbox,
    project: Row,
    user: Row,
    ref: str,
    *,
    source: str,
    given: Sequence[Row] = (),
    before_sha: str = NULL_SHA,
) -> Row:
    """Makes a pipeline for a branch or tag and queues its first jobs. `given`: variables (key, value, variable_type).

    Raises ApiError 400 with GitLab's message where the reference or a usable .gitlab-ci.yml is missing, or where no
    job is left.
    """
    repository = Repository(sandbox.repository(project["id"]))
    branch, tag = repository.branches().get(ref), repository.tags().get(ref)
    sha = branch or tag
    if sha is None:
        raise _refused("Reference not found")
    text = repository.read(sha, CONFIG_FILE)
    if text is None:
        raise _refused("Missing CI config file")
    try:
        config = ci_yaml.parse(text)
    except ci_yaml.CiYamlError as error:
        raise _refused(*error.errors) from None
    with sandbox.store.transaction():
        latest = sandbox.store.one("SELECT max(iid) AS iid FROM pipelines WHERE project_id = ?", project["id"])
        pipeline = sandbox.store.insert(
            "pipelines",
            iid=((latest or {}).get("iid") or 0) + 1,
            project_id=project["id"],
            ref=ref,
            tag=branch is None,
            sha=sha,
            before_sha=before_sha,
            source=source,
            status="created",
            variables=list(given),
            user_id=user["id"],
            created_at=now(),
            updated_at=now(),
        )
        specs = _selected_jobs(sandbox, project, pipeline, config)
        if not specs:
            raise _refused(
                "Pipeline will not run for the selected trigger. "
                "The rules configuration prevented any jobs from being added to the pipeline."
            )
        for spec in specs:
            _insert_job(sandbox, pipeline, spec, config.stages.index(spec["stage"]))
        # Runners fetch this reference: the branch may have moved on, or be gone, when a job starts.
        repository.set_ref(f"refs/pipelines/{pipeline['id']}", sha)
        return process(sandbox, pipeline["id"])


def create_for_push(sandbox: Sandbox, project: Row, user: Row, ref: str, before_sha: str) -> Row | None:
    """The pipeline of a push; none where the branch has no .gitlab-ci.yml, a bad one, or its message says [skip ci]."""
    commit = Repository(sandbox.repository(project["id"])).commit(ref)
    if commit is None or any(mark in commit["message"].lower() for mark in ("[skip ci]", "[ci skip]")):
        return None
    try:
        return create(sandbox, project, user, ref, source="push", before_sha=before_sha)
    except ApiError:
        return None


def _refused(*messages: str) -> ApiError:
    return ApiError(400, {"message": {"base": list(messages)}})


def _selected_jobs(sandbox: Sandbox, project: Row, pipeline: Row, config: ci_yaml.Config) -> list[dict[str, Any]]:
    """The jobs whose rules hold, with variables merged and tags expanded."""
    jobs = []
    for spec in config.jobs.values():
        own = config.variables | spec["variables"]
        known = variables.for_rules(sandbox, project, pipeline, own)
        rule = matching_rule(spec["rules"], known)
        if rule is None or spec["when"] == "never":
            continue
        jobs.append(
            spec
            | {key: rule[key] for key in ("when", "allow_failure") if key in rule}
            | {"variables": own | dict(rule.get("variables", {}))}
            | {"tags": [variables.expand(tag, known) for tag in spec["tags"]]}
        )
    _check_needs(jobs)
    return jobs


def _check_needs(jobs: Sequence[dict[str, Any]]) -> None:
    names = {job["name"] for job in jobs}
    for job in jobs:
        for need in job["needs"] or []:
            if need["job"] not in names and not need["optional"]:
                raise _refused(
                    f"'{job['name']}' job needs '{need['job']}' job, "
                    f"but '{need['job']}' does not exist in the pipeline."
                )


def _insert_job(sandbox: Sandbox, pipeline: Row, spec: dict[str, Any], stage_index: int, attempt: int = 0) -> Row:
    return sandbox.store.insert(
        "jobs",
        pipeline_id=pipeline["id"],
        project_id=pipeline["project_id"],
        name=spec["name"],
        stage=spec["stage"],
        stage_index=stage_index,
        status="created",
        spec=spec,
        tags=spec["tags"],
        allow_failure=spec["allow_failure"] is True,
        attempt=attempt,
        created_at=now(),
    )


def current_jobs(sandbox: Sandbox, pipeline_id: int) -> list[Row]:
    """The jobs of a pipeline in order, of retried ones the newest."""
    sql = "SELECT * FROM jobs WHERE pipeline_id = ? AND NOT retried ORDER BY stage_index, id"
    return sandbox.store.all(sql, pipeline_id)


def process(sandbox: Sandbox, pipeline_id: int) -> Row:
    """Queues or skips the jobs whose turn it is and brings the pipeline's own status up to date; returns it."""
    with sandbox.store.transaction():
        changed = True
        while changed:
            changed = False
            jobs = current_jobs(sandbox, pipeline_id)
            for job in jobs:
                if job["status"] == "created" and (status := _next_status(job, jobs)):
                    sandbox.store.update("jobs", job["id"], status=status, queued_at=now())
                    changed = True
        _update_pipeline(sandbox, pipeline_id)
        return sandbox.store.get("pipelines", pipeline_id)


def _next_status(job: Row, jobs: Sequence[Row]) -> str | None:
    needs = job["spec"]["needs"]
    if needs is None:
        before = [other for other in jobs if other["stage_index"] < job["stage_index"]]
    else:
        names = {need["job"] for need in needs}
        before = [other for other in jobs if other["name"] in names]
    if any(other["status"] in ACTIVE for other in before):
        return None
    failed = any(other["status"] in ("failed", "canceled") and not other["allow_failure"] for other in before)
    skipped = needs is not None and any(other["status"] == "skipped" for other in before)
    runs = {"on_success": not failed and not skipped, "on_failure": failed, "always": True}[job["spec"]["when"]]
    return "pending" if runs else "skipped"


def _update_pipeline(sandbox: Sandbox, pipeline_id: int) -> None:
    pipeline = sandbox.store.get("pipelines", pipeline_id)
    jobs = current_jobs(sandbox, pipeline_id)
    statuses = {job["status"] for job in jobs}
    counted = {job["status"] for job in jobs if not job["allow_failure"]}
    if statuses & set(ACTIVE):
        status = "pending" if statuses <= set(WAITING) else "running"
    elif "failed" in counted:
        status = "failed"
    elif "canceled" in counted:
        status = "canceled"
    else:
        status = "skipped" if statuses == {"skipped"} else "success"
    started = pipeline["started_at"] or min((job["started_at"] for job in jobs if job["started_at"]), default=None)
    finished = None if status in ACTIVE else pipeline["finished_at"] or now()
    times = {"started_at": started, "finished_at": finished, "updated_at": now()}
    sandbox.store.update("pipelines", pipeline_id, status=status, **times)


def finish(
    sandbox: Sandbox, job: Row, status: str, *, failure_reason: str | None = None, exit_code: int | None = None
) -> bool:
    """Ends a job, retries it where `retry` says so, and moves its pipeline on; False where it does not run any more."""
    reason = (failure_reason or "unknown_failure") if status == "failed" else None
    sql = "UPDATE jobs SET status = ?, failure_reason = ?, exit_code = ?, finished_at = ?"
    with sandbox.store.transaction():
        values = (status, reason, exit_code, now(), job["id"])
        if not sandbox.store.execute(f"{sql} WHERE id = ? AND status = 'running'", *values):
            return False
        if reason and job["attempt"] < job["spec"]["retry"]["max"]:
            _clone(sandbox, job, job["attempt"] + 1)
        process(sandbox, job["pipeline_id"])
        return True


def retry_job(sandbox: Sandbox, job: Row) -> Row:
    """Runs an ended job again, and what was skipped because of it. Raises ApiError 403 where it cannot be retried."""
    if job["retried"] or job["status"] not in ("failed", "canceled", "success"):
        raise ApiError(403, {"message": "403 Forbidden - Job is not retryable"})
    with sandbox.store.transaction():
        clone = _clone(sandbox, job, 0)
        _wake_skipped(sandbox, job["pipeline_id"])
        process(sandbox, job["pipeline_id"])
        return sandbox.store.get("jobs", clone["id"])


def retry_pipeline(sandbox: Sandbox, pipeline_id: int) -> Row:
    """Runs a pipeline's failed and cancelled jobs again, and what was skipped because of them."""
    with sandbox.store.transaction():
        for job in current_jobs(sandbox, pipeline_id):
            if job["status"] in ("failed", "canceled"):
                _clone(sandbox, job, 0)
        _wake_skipped(sandbox, pipeline_id)
        return process(sandbox, pipeline_id)


def _clone(sandbox: Sandbox, job: Row, attempt: int) -> Row:
    sandbox.store.update("jobs", job["id"], retried=True)
    pipeline = sandbox.store.get("pipelines", job["pipeline_id"])
    sandbox.store.update("pipelines", pipeline["id"], finished_at=None)
    return _insert_job(sandbox, pipeline, job["spec"], job["stage_index"], attempt)


def _wake_skipped(sandbox: Sandbox, pipeline_id: int) -> None:
    sql = "UPDATE jobs SET status = 'created' WHERE pipeline_id = ? AND status = 'skipped' AND NOT retried"
    sandbox.store.execute(sql, pipeline_id)


def cancel_job(sandbox: Sandbox, job: Row) -> Row:
    """Cancels a job that has not ended; its runner learns it with the next thing that it sends."""
    if job["status"] not in ACTIVE:
        raise ApiError(403, {"message": "403 Forbidden"})
    with sandbox.store.transaction():
        sandbox.store.update("jobs", job["id"], status="canceled", finished_at=now())
        process(sandbox, job["pipeline_id"])
        return sandbox.store.get("jobs", job["id"])


def cancel_pipeline(sandbox: Sandbox, pipeline_id: int) -> Row:
    """Cancels every job of a pipeline that has not ended."""
    sql = "UPDATE jobs SET status = 'canceled', finished_at = ? WHERE pipeline_id = ? AND status IN (?, ?, ?)"
    with sandbox.store.transaction():
        sandbox.store.execute(sql, now(), pipeline_id, *ACTIVE)
        return process(sandbox, pipeline_id)


def sweep(sandbox: Sandbox, *, clock: Callable[[], str] = now) -> None:
    """Fails jobs whose runner is lost, and removes artifacts that have expired."""
    for job in sandbox.store.all("SELECT * FROM jobs WHERE status = 'running'"):
        ran = seconds_between(job["started_at"], clock()) or 0.0
        if ran > job["timeout"] + LOST_RUNNER_SECONDS:
            finish(sandbox, job, "failed", failure_reason="stuck_or_timeout_failure")
    expired = "SELECT * FROM jobs WHERE artifacts_size IS NOT NULL AND artifacts_expire_at < ?"
    for job in sandbox.store.all(expired, clock()):
        sandbox.artifacts(job["id"]).unlink(missing_ok=True)
        sandbox.store.update("jobs", job["id"], artifacts_size=None)
