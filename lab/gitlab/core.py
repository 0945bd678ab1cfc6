"""What every part of the sandbox shares: where its state lies, how it is reached, and GitLab's errors."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.gitlab.repository import Repository
from lab.gitlab.store import Store

VERSION = "19.4.0-sandbox"
"""What /api/v4/version says: the GitLab whose API is imitated, and that it is an imitation."""

REVISION = "sandbox"
"""What it says as its revision."""

SANDBOX = {"sandbox": True, "project": "gitlab-dind-runners"}
"""What GET /-/sandbox says, so that a client can tell this GitLab from a real one before it sends a token."""


@dataclass(frozen=True)
class Sandbox:
    """One sandbox.

    state: its directory. url: where clients and containers reach it, without a slash at the end.
    registry: host:port of the container registry beside it, None without one.
    """

    state: Path
    url: str
    store: Store
    registry: str | None = None

    def repository(self, project_id: int) -> Repository:
        """The git repository of a project."""
        return Repository(self.state / "repositories" / f"{project_id}.git")

    def trace(self, job_id: int) -> Path:
        """The log of a job."""
        return self.state / "traces" / f"{job_id}.log"

    def artifacts(self, job_id: int) -> Path:
        """The artifacts archive of a job."""
        return self.state / "artifacts" / f"{job_id}.zip"


class ApiError(Exception):
    """An answer of GitLab's other than success: status, JSON body and headers."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}


def bad_request(message: str) -> ApiError:
    """400, as GitLab says it where a service refuses."""
    return ApiError(400, {"message": f"400 Bad request - {message}"})


def forbidden(message: str = "", headers: dict[str, str] | None = None) -> ApiError:
    """403, with a reason or without."""
    return ApiError(403, {"message": f"403 Forbidden - {message}" if message else "403 Forbidden"}, headers)


def not_found(what: str = "") -> ApiError:
    """404 for `what`, as GitLab capitalises it ("Project", "Runner"); just "Not found" where it does not tell."""
    return ApiError(404, {"message": f"404 {what} Not Found" if what else "404 Not found"})


def new_token(prefix: str) -> str:
    """A new secret with GitLab's prefix for its kind."""
    return f"{prefix}-{secrets.token_urlsafe(24)}"


def digest(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()
