"""Pipelines: made from `.gitlab-ci.yml`, moved on as their jobs end, played, retried, cancelled, timed out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.gitlab import environments
from lab.gitlab.ci_jobs import Commit, NoPipeline, configured, specified
from lab.gitlab.core import ApiError, Sandbox, bad_request, forbidden
from lab.gitlab.repository import NULL_SHA
from lab.gitlab.store import Row, now, seconds_between

WAITING = ("created", "pending", "waiting_for_resource")
RUNNING = ("running", "canceling")
"""What a runner has: it works, or clears up after it was told to stop."""
ACTIVE = (*WAITING, *RUNNING)
ENDED = ("success", "failed", "canceled")
FAILURE_REASONS = (
    *("unknown_failure", "script_failure", "api_failure", "stuck_or_timeout_failure", "runner_system_failure"),
    *("runner_configuration_error", "runner_external_dependency_failure", "runner_interrupted"),
    *("missing_dependency_failure", "runner_unsupported", "stale_schedule", "job_execution_timeout"),
    *("job_execution_server_timeout", "stuck_pending_with_matching_runners", "stuck_pending_no_matching_runners"),
    *("no_updates_running", "no_updates_canceling", "server_timeout_running", "server_timeout_canceling"),
    *("archived_failure", "unmet_prerequisites", "scheduler_failure", "data_integrity_failure"),
    *("forward_deployment_failure", "user_blocked", "project_deleted", "ci_quota_exceeded", "pipeline_loop_detected"),
    *("trace_size_exceeded", "builds_disabled", "environment_creation_failure", "deployment_rejected"),
    *("failed_outdated_deployment_job", "runner_provisioning_timeout", "protected_environment_failure"),
    *("job_token_expired", "job_router_failure"),
)
"""Why a job can have failed, as GitLab tells its runners; what is not among them is an `unknown_failure`."""
_ALSO_RETRIED = {
    "stuck_or_timeout_failure": (
        *("stuck_pending_with_matching_runners", "stuck_pending_no_matching_runners"),
        *("no_updates_running", "no_updates_canceling"),
    ),
    "job_execution_timeout": ("server_timeout_running", "server_timeout_canceling"),
}
"""Reasons that `retry: when` of an older file means: GitLab 19.1 gave them names of their own."""
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
    merge_request: Row | None = None,
) -> Row:
    """Makes a pipeline for a branch, a tag or a merge request and queues its first jobs.

    source: push, merge_request_event, schedule, api, web. given: variables (key, value, variable_type).
    before_sha: what a push has replaced. merge_request: id, iid, project_id (the target's), sha, source_branch,
    base_sha (where its branches parted), variables (CI_MERGE_REQUEST_*).

    Raises ApiError 400 with GitLab's message where the reference or a usable .gitlab-ci.yml is missing, or where no
    job is left.
    """
    repository = sandbox.repository(project["id"])
    branch = None if merge_request else repository.branches().get(ref)
    sha = merge_request["sha"] if merge_request else branch or repository.tags().get(ref)
    if sha is None:
        raise _refused("Reference not found")
    commit = Commit(sandbox, project, sha)
    try:
        # Not while the store is held: it takes a moment, and others wait for that.
        config = configured(commit)
    except NoPipeline as error:
        raise _refused(*error.messages) from None
    with sandbox.store.transaction():
        latest = sandbox.store.one("SELECT max(iid) AS iid FROM pipelines WHERE project_id = ?", project["id"])
        pipeline = sandbox.store.insert(
            "pipelines",
            iid=((latest or {}).get("iid") or 0) + 1,
            project_id=project["id"],
            ref=ref,
            tag=not (merge_request or branch),
            sha=sha,
            before_sha=before_sha,
            source=source,
            status="created",
            variables=list(given),
            merge_request=merge_request,
            user_id=user["id"],
            created_at=now(),
            updated_at=now(),
        )
        try:
            specs = specified(commit, config, pipeline)
        except NoPipeline as error:
            raise _refused(*error.messages) from None
        for spec in specs:
            _insert_job(sandbox, pipeline, spec, config.stages.index(spec["stage"]))
        # Runners fetch this reference: the branch may have moved on, or be gone, when a job starts.
        repository.set_ref(f"refs/pipelines/{pipeline['id']}", sha)
        _cancel_redundant(sandbox, pipeline)
        return process(sandbox, pipeline["id"])


def create_for_push(sandbox: Sandbox, project: Row, user: Row, ref: str, before_sha: str) -> Row | None:
    """The pipeline of a push; none where the branch has no .gitlab-ci.yml, a bad one, or its message says [skip ci]."""
    return _create_unasked(sandbox, project, user, ref, ref, source="push", before_sha=before_sha)


def create_for_merge_request(sandbox: Sandbox, project: Row, user: Row, ref: str, merge_request: Row) -> Row | None:
    """The pipeline of a merge request that was opened or has new commits; none as for a push."""
    how = {"source": "merge_request_event", "merge_request": merge_request}
    return _create_unasked(sandbox, project, user, ref, merge_request["sha"], **how)


def _create_unasked(sandbox: Sandbox, project: Row, user: Row, ref: str, revision: str, **how: Any) -> Row | None:
    commit = sandbox.repository(project["id"]).commit(revision)
    if commit is None or any(mark in commit["message"].lower() for mark in ("[skip ci]", "[ci skip]")):
        return None
    try:
        return create(sandbox, project, user, ref, **how)
    except ApiError:
        return None


def _refused(*messages: str) -> ApiError:
    return ApiError(400, {"message": {"base": list(messages)}})


def _cancel_redundant(sandbox: Sandbox, pipeline: Row) -> None:
    """Cancels older pipelines of the same reference unless a job that is not interruptible has started there."""
    sql = (
        "SELECT * FROM pipelines WHERE project_id = ? AND ref = ? AND id < ? AND sha != ? "
        "AND status IN ('created', 'pending', 'running', 'waiting_for_resource')"
    )
    for old in sandbox.store.all(sql, pipeline["project_id"], pipeline["ref"], pipeline["id"], pipeline["sha"]):
        started = [job for job in current_jobs(sandbox, old["id"]) if job["started_at"]]
        if all(job["spec"]["interruptible"] for job in started):
            cancel_pipeline(sandbox, old["id"])


def _insert_job(sandbox: Sandbox, pipeline: Row, spec: dict[str, Any], stage_index: int, attempt: int = 0) -> Row:
    job = sandbox.store.insert(
        "jobs",
        pipeline_id=pipeline["id"],
        project_id=pipeline["project_id"],
        name=spec["name"],
        stage=spec["stage"],
        stage_index=stage_index,
        status="created",
        spec=spec,
        tags=spec["tags"],
        allow_failure=spec["allow_failure"],
        environment=spec["environment"],
        resource_group=spec["resource_group"] or None,
        attempt=attempt,
        created_at=now(),
    )
    _told(sandbox, job)
    return job


def _told(sandbox: Sandbox, job: Row) -> None:
    """Lets the environment of a job know its status."""
    if job["environment"]:
        environments.job_changed(sandbox, job)


def _change(sandbox: Sandbox, job: Row, **values: Any) -> None:
    sandbox.store.update("jobs", job["id"], **values)
    _told(sandbox, sandbox.store.get("jobs", job["id"]))


def _enqueue(sandbox: Sandbox, job: Row) -> None:
    """A job's turn has come: it waits for a runner, or first for the other jobs of its resource group."""
    _change(sandbox, job, status="waiting_for_resource" if job["resource_group"] else "pending", queued_at=now())


def _hand_out_resources(sandbox: Sandbox, project_id: int) -> None:
    """Queues one waiting job of each resource group of which no job is queued or runs, whatever its pipeline."""
    sql = """
        SELECT min(id) AS id, pipeline_id FROM jobs
        WHERE project_id = ?1 AND status = 'waiting_for_resource' AND resource_group NOT IN (
            SELECT resource_group FROM jobs
            WHERE project_id = ?1 AND status IN ('pending', 'running', 'canceling') AND resource_group IS NOT NULL)
        GROUP BY resource_group"""
    for job in sandbox.store.all(sql, project_id):
        sandbox.store.update("jobs", job["id"], status="pending", queued_at=now())
        _update_pipeline(sandbox, job["pipeline_id"])


def current_jobs(sandbox: Sandbox, pipeline_id: int) -> list[Row]:
    """The jobs of a pipeline in order, of retried ones the newest."""
    sql = "SELECT * FROM jobs WHERE pipeline_id = ? AND NOT retried ORDER BY stage_index, id"
    return sandbox.store.all(sql, pipeline_id)


def process(sandbox: Sandbox, pipeline_id: int) -> Row:
    """Queues or skips the jobs whose turn it is and brings the pipeline's own status up to date; returns it."""
    with sandbox.store.transaction():
        pipeline = sandbox.store.get("pipelines", pipeline_id)
        changed = True
        while changed:
            changed = False
            jobs = current_jobs(sandbox, pipeline_id)
            for job in jobs:
                status = _next_status(job, jobs) if job["status"] == "created" else None
                changed = changed or status is not None
                if status == "pending":
                    _enqueue(sandbox, job)
                elif status:
                    _change(sandbox, job, status=status)
        _hand_out_resources(sandbox, pipeline["project_id"])
        _update_pipeline(sandbox, pipeline_id)
        return sandbox.store.get("pipelines", pipeline_id)


def _next_status(job: Row, jobs: Sequence[Row]) -> str | None:
    needs = job["spec"]["needs"]
    if needs is None:
        before = [other for other in jobs if other["stage_index"] < job["stage_index"]]
    else:
        names = {need["job"] for need in needs}
        before = [other for other in jobs if other["name"] in names]
    if any(other["status"] in ACTIVE or _blocks(other) for other in before):
        return None
    failed = any(other["status"] in ("failed", "canceled") and not other["allow_failure"] for other in before)
    skipped = needs is not None and any(other["status"] in ("skipped", "manual") for other in before)
    when = job["spec"]["when"]
    passed = not failed and not skipped
    runs = {"on_success": passed, "manual": passed, "on_failure": failed, "always": True}[when]
    return "skipped" if not runs else "manual" if when == "manual" else "pending"


def _blocks(job: Row) -> bool:
    """Whether a pipeline waits for somebody who plays this job."""
    return bool(job["status"] == "manual" and not job["allow_failure"])


def _update_pipeline(sandbox: Sandbox, pipeline_id: int) -> None:
    pipeline = sandbox.store.get("pipelines", pipeline_id)
    jobs = current_jobs(sandbox, pipeline_id)
    status = _status(jobs)
    started = pipeline["started_at"] or min((job["started_at"] for job in jobs if job["started_at"]), default=None)
    finished = None if status in (*ACTIVE, "manual") else pipeline["finished_at"] or now()
    times = {"started_at": started, "finished_at": finished, "updated_at": now()}
    sandbox.store.update("pipelines", pipeline_id, status=status, **times)


def _status(jobs: Sequence[Row]) -> str:
    """A pipeline's status, from its jobs'. A manual job that may fail counts as one that is skipped."""
    statuses = {"skipped" if job["status"] == "manual" and job["allow_failure"] else job["status"] for job in jobs}
    counted = {job["status"] for job in jobs if not job["allow_failure"]}
    if "canceling" in statuses:
        return "canceling"
    if statuses & {"pending", "running"}:
        return "pending" if statuses <= {"created", "pending", "skipped"} else "running"
    if "waiting_for_resource" in statuses:
        return "waiting_for_resource"
    if "manual" in statuses:
        return "manual"
    if "created" in statuses:
        return "created"
    if "failed" in counted:
        return "failed"
    if "canceled" in counted:
        return "canceled"
    return "skipped" if statuses == {"skipped"} else "success"


def finish(
    sandbox: Sandbox, job: Row, status: str, *, failure_reason: str | None = None, exit_code: int | None = None
) -> bool:
    """Ends a job, retries it where `retry` says so, and moves its pipeline on; False where it does not run any more.

    One that was told to stop is cancelled, however it has ended.
    """
    with sandbox.store.transaction():
        job = sandbox.store.get("jobs", job["id"])
        if job["status"] not in RUNNING:
            return False
        status = "canceled" if job["status"] == "canceling" else status
        reason = _failure_reason(failure_reason) if status == "failed" else None
        _change(sandbox, job, status=status, failure_reason=reason, exit_code=exit_code, finished_at=now())
        if reason and job["attempt"] < job["spec"]["retry"]["max"] and _is_retried(job["spec"], reason):
            _run_again(sandbox, job, job["attempt"] + 1)
        process(sandbox, job["pipeline_id"])
        return True


def _is_retried(spec: Mapping[str, Any], reason: str) -> bool:
    wanted = {wider for when in spec["retry"]["when"] for wider in (when, *_ALSO_RETRIED.get(when, ()))}
    return bool({reason, "always"} & wanted)


def _failure_reason(given: str | None) -> str:
    return given if given in FAILURE_REASONS else "unknown_failure"


def play_job(sandbox: Sandbox, job: Row) -> Row:
    """Starts a manual job, also one that has ended. Raises ApiError 400 for others."""
    with sandbox.store.transaction():
        job = sandbox.store.get("jobs", job["id"])  # as it is now: somebody else may have played it
        if job["spec"]["when"] != "manual" or job["retried"] or job["status"] not in ("manual", *ENDED):
            raise bad_request("Unplayable Job")
        if job["status"] == "manual":
            _enqueue(sandbox, job)
        else:
            job = _run_again(sandbox, job, 0)
        _wake_skipped(sandbox, job["pipeline_id"])
        process(sandbox, job["pipeline_id"])
        return sandbox.store.get("jobs", job["id"])


def _run_again(sandbox: Sandbox, job: Row, attempt: int) -> Row:
    """A copy of an ended job; a manual one is not asked for again."""
    again = _clone(sandbox, job, attempt)
    if job["spec"]["when"] == "manual":
        _enqueue(sandbox, again)
    return again


def _clone(sandbox: Sandbox, job: Row, attempt: int) -> Row:
    sandbox.store.update("jobs", job["id"], retried=True)
    pipeline = sandbox.store.get("pipelines", job["pipeline_id"])
    sandbox.store.update("pipelines", pipeline["id"], finished_at=None)
    return _insert_job(sandbox, pipeline, job["spec"], job["stage_index"], attempt)


def _wake_skipped(sandbox: Sandbox, pipeline_id: int) -> None:
    sql = "UPDATE jobs SET status = 'created' WHERE pipeline_id = ? AND status = 'skipped' AND NOT retried"
    sandbox.store.execute(sql, pipeline_id)


def cancel_job(sandbox: Sandbox, job: Row, *, force: bool = False) -> Row:
    """Cancels a job that has not ended; its runner learns it with the next thing that it sends.

    force: also one whose runner still clears up. Raises ApiError 403 where there is nothing to cancel.
    """
    with sandbox.store.transaction():
        job = sandbox.store.get("jobs", job["id"])
        if job["status"] not in ACTIVE or (job["status"] == "canceling" and not force):
            raise forbidden()
        _cancel(sandbox, job, force=force)
        process(sandbox, job["pipeline_id"])
        return sandbox.store.get("jobs", job["id"])


def cancel_pipeline(sandbox: Sandbox, pipeline_id: int) -> Row:
    """Cancels every job of a pipeline that has not ended."""
    with sandbox.store.transaction():
        for job in current_jobs(sandbox, pipeline_id):
            if job["status"] in ACTIVE:
                _cancel(sandbox, job)
        return process(sandbox, pipeline_id)


def _cancel(sandbox: Sandbox, job: Row, *, force: bool = False) -> None:
    """A runner that can gets the time to run after_script: its job is `canceling` until it says that it has ended."""
    if job["status"] in RUNNING and not force and _cancels_gracefully(sandbox, job):
        _change(sandbox, job, status="canceling")
    else:
        _change(sandbox, job, status="canceled", finished_at=now())


def _cancels_gracefully(sandbox: Sandbox, job: Row) -> bool:
    manager = sandbox.store.one("SELECT * FROM runner_managers WHERE id = ?", job["manager_id"])
    features = manager["info"].get("features") if manager else None
    return isinstance(features, dict) and bool(features.get("cancel_gracefully"))


def sweep(sandbox: Sandbox, *, clock: Callable[[], str] = now) -> None:
    """Fails jobs whose runner is lost, and removes artifacts that have expired."""
    for job in sandbox.store.all("SELECT * FROM jobs WHERE status IN ('running', 'canceling')"):
        ran = seconds_between(job["started_at"], clock()) or 0.0
        if ran > job["timeout"] + LOST_RUNNER_SECONDS:
            finish(sandbox, job, "failed", failure_reason="server_timeout_running")
    expired = "SELECT * FROM jobs WHERE artifacts_size IS NOT NULL AND artifacts_expire_at < ?"
    for job in sandbox.store.all(expired, clock()):
        sandbox.artifacts(job["id"]).unlink(missing_ok=True)
        sandbox.store.update("jobs", job["id"], artifacts_size=None)
