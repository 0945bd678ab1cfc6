"""What a runner gets with a job: everything that it needs to run it.

Its fields are those of GitLab's lib/api/entities/ci/job_request, and of gitlab-runner's common/spec.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence

from lab.gitlab import pipelines, variables
from lab.gitlab.core import Sandbox
from lab.gitlab.store import Row, now, seconds_between

GIT_DEPTH = 20
"""Commits that a job's clone has where no variable GIT_DEPTH says otherwise: GitLab's default of new projects."""
ORGANIZATION_ID = 1
"""The one organisation that there is, as in a GitLab that nobody has divided into several."""

_FEATURES = {
    "trace_sections": True,
    "token_mask_prefixes": ["glpat-", "glrt-", "glcbt-"],
    # Where one is missing here, a runner says a coarser one instead.
    "failure_reasons": list(pipelines.FAILURE_REASONS),
}


def of(sandbox: Sandbox, runner: Row, job: Row, found: Sequence[variables.Variable], token: str) -> Row:
    """The payload of a job that a runner has just been given, with the variables that were found for it."""
    project = sandbox.store.get("projects", job["project_id"])
    pipeline = sandbox.store.get("pipelines", job["pipeline_id"])
    spec, known = job["spec"], variables.values(found)
    steps = [_step("script", [*spec["before_script"], *spec["script"]], job["timeout"], "on_success")]
    if spec["after_script"]:
        steps.append(_step("after_script", spec["after_script"], job["timeout"], "always"))
    return {
        "id": job["id"],
        "token": token,
        "allow_git_fetch": True,
        "job_info": _job_info(sandbox, job, project, pipeline),
        "git_info": _git_info(sandbox, project, pipeline, known, token),
        "runner_info": {"uuid": _uuid(sandbox, runner), "timeout": job["timeout"], "runner_session_url": None},
        "variables": found,
        "steps": steps,
        "hooks": [],
        "image": spec["image"]
        and _image(spec["image"]) | {"name": variables.expand_or_keep(spec["image"]["name"], known)},
        "services": [_image(service) for service in spec["services"]],
        "artifacts": [_artifacts(spec["artifacts"])] if spec["artifacts"] else [],
        "cache": [_cache(cache, variables.is_protected(project, pipeline)) for cache in spec["cache"]],
        "credentials": _credentials(sandbox, token),
        "dependencies": _dependencies(sandbox, job, token),
        "features": _FEATURES,
    }


def _uuid(sandbox: Sandbox, runner: Row) -> str:
    """The same for a runner for ever, and no other one's."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{sandbox.url}/runners/{runner['id']}"))


def _job_info(sandbox: Sandbox, job: Row, project: Row, pipeline: Row) -> Row:
    group = root = sandbox.store.get("groups", project["group_id"])
    while root["parent_id"]:
        root = sandbox.store.get("groups", root["parent_id"])
    return {
        "id": job["id"],
        "name": job["name"],
        "stage": job["stage"],
        "pipeline_id": job["pipeline_id"],
        "project_id": project["id"],
        "project_name": project["name"],
        "project_full_path": project["full_path"],
        "namespace_id": group["id"],
        "root_namespace_id": root["id"],
        "organization_id": ORGANIZATION_ID,
        "user_id": pipeline["user_id"],
        "time_in_queue_seconds": seconds_between(job["queued_at"], now()),
        "project_jobs_running_on_instance_runners_count": "+Inf",  # as of runners that are no instance's
    }


def _git_info(sandbox: Sandbox, project: Row, pipeline: Row, known: Mapping[str, str], token: str) -> Row:
    depth = _depth(known)
    reference = f"refs/pipelines/{pipeline['id']}"
    return {
        "repo_url": variables.repository_url(sandbox, project, token),
        "repo_object_format": "sha1",
        "ref": pipeline["ref"],
        "sha": pipeline["sha"],
        "before_sha": pipeline["before_sha"],
        "ref_type": "tag" if pipeline["tag"] else "branch",
        "refspecs": [f"+{reference}:{reference}", *_refspecs(pipeline, depth)],
        "depth": depth,
        "protected": variables.is_protected(project, pipeline),
    }


def _depth(known: Mapping[str, str]) -> int:
    """How many commits a job's clone has, 0 for all; a GIT_DEPTH that begins with no number is 0, as in GitLab."""
    given = known.get("GIT_DEPTH")
    number = re.match(r"\s*[+-]?\d+", str(GIT_DEPTH) if given is None else variables.expand_or_keep(given, known))
    return int(number[0]) if number else 0


def _refspecs(pipeline: Row, depth: int) -> list[str]:
    """What a job's clone has besides its pipeline's own reference: its branch or tag; with all commits every one."""
    if depth <= 0:
        return ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
    ref = pipeline["ref"]
    if pipeline["tag"]:
        return [f"+refs/tags/{ref}:refs/tags/{ref}"]
    # A merge request's own reference is fetched as the pipeline's.
    return [] if ref.startswith("refs/merge-requests/") else [f"+refs/heads/{ref}:refs/remotes/origin/{ref}"]


def _step(name: str, script: list[str], timeout: int, when: str) -> Row:
    # What after_script does never fails a job.
    return {"name": name, "script": script, "timeout": timeout, "when": when, "allow_failure": name != "script"}


def _image(wanted: Row) -> Row:
    """An image or a service: its variables as a list, what is for one executor alone below `executor_opts`."""
    options = {key: wanted[key] for key in ("docker", "kubernetes") if key in wanted}
    result = {key: value for key, value in wanted.items() if key not in options}
    if "variables" in wanted:
        result["variables"] = [{"key": key, "value": value} for key, value in wanted["variables"].items()]
    return result | ({"executor_opts": options} if options else {})


def _artifacts(wanted: Row) -> Row:
    named = {key: wanted[key] for key in ("name", "untracked", "paths", "exclude", "when")}
    expire_in = str(wanted["expire_in"]) if wanted["expire_in"] else ""
    return named | {"expire_in": expire_in, "artifact_type": "archive", "artifact_format": "zip"}


def _cache(wanted: Row, protected: bool) -> Row:
    """A cache; protected references have their own, so that no other branch's job can put something into it."""
    return wanted | {"key": f"{wanted['key']}-{'protected' if protected else 'non_protected'}"}


def _credentials(sandbox: Sandbox, token: str) -> list[Row]:
    if not sandbox.registry:
        return []
    return [{"type": "registry", "url": sandbox.registry, "username": variables.JOB_USER, "password": token}]


def _dependencies(sandbox: Sandbox, job: Row, token: str) -> list[Row]:
    """The jobs whose artifacts this job gets: those it names, else those it needs, else all of earlier stages."""
    spec = job["spec"]
    result = []
    for other in pipelines.current_jobs(sandbox, job["pipeline_id"]):
        if spec["needs"] is not None:
            wanted = any(need["job"] == other["name"] and need["artifacts"] for need in spec["needs"])
        else:
            wanted = other["stage_index"] < job["stage_index"]
        if spec["dependencies"] is not None:
            wanted = other["name"] in spec["dependencies"]
        if wanted and other["artifacts_size"] is not None:
            file = {"filename": other["artifacts_name"], "size": other["artifacts_size"]}
            result.append({"id": other["id"], "token": token, "name": other["name"], "artifacts_file": file})
    return result
