"""How the sandbox's rows look in GitLab's REST API, and its pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from lab.gitlab.core import ApiError, Sandbox
from lab.gitlab.store import Row, now, seconds_between

ONLINE_SECONDS = 2 * 3600
"""A runner that was seen this lately is online, as in GitLab."""
STALE_SECONDS = 7 * 86400
"""One that was not seen this long is stale."""
_PER_PAGE, _MOST_PER_PAGE = 20, 100


def paginate(request: Request, rows: Sequence[Row], show: Callable[[Row], Any]) -> Response:
    """One page of a list, with GitLab's pagination headers."""

    def number(name: str, default: int) -> int:
        text = request.query_params.get(name, str(default))
        if not re.fullmatch("[1-9][0-9]{0,8}", text):
            raise ApiError(400, {"error": f"{name} does not have a valid value"})
        return int(text)

    page, per_page = number("page", 1), min(number("per_page", _PER_PAGE), _MOST_PER_PAGE)
    pages = max(1, -(-len(rows) // per_page))
    link = {"first": 1, "last": pages}
    link |= {"next": page + 1} if page < pages else {}
    link |= {"prev": page - 1} if page > 1 else {}
    query = [
        (name, value) for name, value in request.query_params.multi_items() if name not in ("page", "private_token")
    ]
    base = request.app.state.sandbox.url + request.scope["path"]

    def address(target: int) -> str:
        return f"{base}?{urlencode([*query, ('page', target)])}"

    headers = {
        "X-Total": str(len(rows)),
        "X-Total-Pages": str(pages),
        "X-Page": str(page),
        "X-Per-Page": str(per_page),
        "X-Next-Page": str(link.get("next", "")),
        "X-Prev-Page": str(link.get("prev", "")),
        "Link": ", ".join(f'<{address(target)}>; rel="{kind}"' for kind, target in link.items()),
    }
    start = (page - 1) * per_page
    return JSONResponse([show(row) for row in rows[start : start + per_page]], headers=headers)


def as_user(sandbox: Sandbox, user: Row) -> Row:
    """A user as GitLab shows them everywhere."""
    address = f"{sandbox.url}/{user['username']}"
    return {"id": user["id"], "username": user["username"], "name": user["name"], "state": "active", "web_url": address}


def as_group(sandbox: Sandbox, group: Row) -> Row:
    """A group as GitLab shows it."""
    shown = {key: group[key] for key in ("id", "name", "path", "full_path", "parent_id", "created_at")}
    full_name = " / ".join(group["full_path"].split("/"))
    return shown | {
        "full_name": full_name,
        "visibility": "private",
        "web_url": f"{sandbox.url}/groups/{group['full_path']}",
    }


def as_project(sandbox: Sandbox, project: Row) -> Row:
    """A project as GitLab shows it."""
    group = sandbox.store.get("groups", project["group_id"])
    url = f"{sandbox.url}/{project['full_path']}"
    fork = sandbox.store.one("SELECT * FROM projects WHERE id = ?", project["forked_from_id"])
    keys = ("id", "name", "path", "description", "default_branch", "created_at", "build_timeout", "creator_id")
    return {key: project[key] for key in keys} | {
        "name_with_namespace": f"{group['name']} / {project['name']}",
        "path_with_namespace": project["full_path"],
        "namespace": {key: group[key] for key in ("id", "name", "path", "full_path", "parent_id")} | {"kind": "group"},
        "http_url_to_repo": f"{url}.git",
        "web_url": url,
        "visibility": project["visibility"],
        "merge_method": "merge",
        "forked_from_project": fork and {key: fork[key] for key in ("id", "name", "path", "default_branch")},
        "archived": False,
        "empty_repo": not sandbox.repository(project["id"]).branches(),
    }


def as_variable(row: Row) -> Row:
    """A CI/CD variable as GitLab shows it."""
    keys = ("key", "value", "variable_type", "masked", "hidden", "protected", "raw", "environment_scope", "description")
    return {key: row[key] for key in keys}


def as_pipeline(sandbox: Sandbox, pipeline: Row) -> Row:
    """A pipeline as GitLab shows it."""
    project = sandbox.store.get("projects", pipeline["project_id"])
    keys = ("id", "iid", "project_id", "sha", "ref", "status", "source", "tag", "before_sha")
    times = ("created_at", "updated_at", "started_at", "finished_at")
    return {key: pipeline[key] for key in (*keys, *times)} | {
        "duration": seconds_between(pipeline["started_at"], pipeline["finished_at"]),
        "queued_duration": seconds_between(pipeline["created_at"], pipeline["started_at"]),
        "web_url": f"{sandbox.url}/{project['full_path']}/-/pipelines/{pipeline['id']}",
        "user": as_user(sandbox, sandbox.store.get("users", pipeline["user_id"])),
        "yaml_errors": None,
        "coverage": None,
    }


def contact(thing: Row) -> str:
    """How GitLab calls a runner, or a process of one, by when it was seen last."""
    silent = seconds_between(thing["contacted_at"], now())
    if silent is None:
        return "never_contacted"
    return "online" if silent < ONLINE_SECONDS else "offline" if silent < STALE_SECONDS else "stale"


def as_manager(sandbox: Sandbox, manager: Row) -> Row:
    """A process of a runner as GitLab shows it."""
    sql = "SELECT 1 FROM jobs WHERE manager_id = ? AND status IN ('running', 'canceling')"
    busy = sandbox.store.one(sql, manager["id"])
    told = ("version", "revision", "platform", "architecture")
    return {key: manager[key] for key in ("id", "system_id", "created_at", "contacted_at", "ip_address")} | {
        **{key: manager["info"].get(key) for key in told},
        "status": contact(manager),
        "job_execution_status": "active" if busy else "idle",
    }


def as_job(sandbox: Sandbox, job: Row) -> Row:
    """A job as GitLab shows it."""
    pipeline = sandbox.store.get("pipelines", job["pipeline_id"])
    project = sandbox.store.get("projects", job["project_id"])
    runner = sandbox.store.one("SELECT * FROM runners WHERE id = ?", job["runner_id"])
    manager = sandbox.store.one("SELECT * FROM runner_managers WHERE id = ?", job["manager_id"])
    size = job["artifacts_size"]
    archive = {"filename": job["artifacts_name"], "size": size}
    keys = ("id", "name", "stage", "status", "allow_failure", "failure_reason", "exit_code", "created_at", "queued_at")
    return {key: job[key] for key in (*keys, "started_at", "finished_at", "artifacts_expire_at")} | {
        "ref": pipeline["ref"],
        "tag": pipeline["tag"],
        "tag_list": job["tags"],
        "coverage": None,
        "erased_at": None,
        "duration": seconds_between(job["started_at"], job["finished_at"] or now()),
        "queued_duration": seconds_between(job["queued_at"], job["started_at"] or now()),
        "user": as_user(sandbox, sandbox.store.get("users", pipeline["user_id"])),
        "commit": sandbox.repository(project["id"]).commit(pipeline["sha"]),
        "pipeline": {key: pipeline[key] for key in ("id", "iid", "project_id", "sha", "ref", "status", "source")},
        "project": {
            "id": project["id"],
            "path_with_namespace": project["full_path"],
            "ci_job_token_scope_enabled": False,
        },
        "web_url": f"{sandbox.url}/{project['full_path']}/-/jobs/{job['id']}",
        "runner": runner and {key: runner[key] for key in ("id", "description", "runner_type", "paused")},
        "runner_manager": manager and as_manager(sandbox, manager),
        "artifacts": [] if size is None else [archive | {"file_type": "archive", "file_format": "zip"}],
        **({} if size is None else {"artifacts_file": archive}),
    }
