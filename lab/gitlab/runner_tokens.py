"""The tokens of runners, and how long they are good.

https://docs.gitlab.com/ci/runners/configure_runners/#automatically-rotate-runner-authentication-tokens
"""

from __future__ import annotations

from fastapi import APIRouter

from lab.gitlab.auth import Box, User, require_admin
from lab.gitlab.core import ApiError, Sandbox, digest, new_token
from lab.gitlab.params import Given
from lab.gitlab.store import Row, now

router = APIRouter()

_INTERVALS = {
    "instance_type": "runner_token_expiration_interval",
    "group_type": "group_runner_token_expiration_interval",
    "project_type": "project_runner_token_expiration_interval",
}
"""The instance's setting for each kind of runner."""
SHORTEST_INTERVAL = 7200
"""Seconds, as in GitLab."""


def made(sandbox: Sandbox, runner_type: str) -> tuple[str, Row]:
    """A new token for a runner of this kind, and what is stored of it."""
    token = new_token("glrt")
    seconds = _settings(sandbox)[_INTERVALS[runner_type]]
    return token, {"digest": digest(token), "token_expires_at": now(after=seconds) if seconds else None}


def renew(sandbox: Sandbox, runner: Row) -> Row:
    """A new token, as GitLab tells it; the old one is dead at once."""
    token, stored = made(sandbox, runner["runner_type"])
    sandbox.store.update("runners", runner["id"], **stored)
    return {"token": token, "token_expires_at": stored["token_expires_at"]}


def _settings(sandbox: Sandbox) -> dict[str, int | None]:
    found = {row["name"]: row["value"] for row in sandbox.store.all("SELECT * FROM settings")}
    return {name: found.get(name) for name in _INTERVALS.values()}


@router.get("/application/settings")
def get_settings(sandbox: Box, user: User) -> Row:
    """Those of the instance's settings that are known here: how many seconds new tokens of runners are good."""
    require_admin(user)
    return _settings(sandbox)


@router.put("/application/settings")
def change_settings(sandbox: Box, given: Given, user: User) -> Row:
    """Changes them; null or an empty text: for ever. Others are refused by name."""
    require_admin(user)
    unknown = sorted(set(given.values) - set(_INTERVALS.values()) - {"private_token"})
    if unknown:
        raise ApiError(400, {"error": f"{', '.join(unknown)}: not a setting that the sandbox GitLab knows"})
    wanted = {name: given.integer(name) for name in given.values if name in _INTERVALS.values()}
    given.check()
    if short := [name for name, seconds in wanted.items() if seconds is not None and seconds < SHORTEST_INTERVAL]:
        words = [f"must be greater than or equal to {SHORTEST_INTERVAL}"]
        raise ApiError(400, {"message": dict.fromkeys(short, words)})
    for name, seconds in wanted.items():
        sandbox.store.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, seconds)
    return _settings(sandbox)
