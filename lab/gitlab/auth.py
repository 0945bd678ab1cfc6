"""Who asks, and what they may do: personal access tokens with scopes, runner tokens, job tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request

from lab.gitlab.core import ApiError, Sandbox, digest, forbidden, new_token, not_found
from lab.gitlab.store import Row, Store, now

SCOPES = (
    *("api", "read_api", "read_user", "create_runner", "manage_runner", "read_repository", "write_repository"),
    *("read_registry", "write_registry"),
)
"""Scopes that a personal access token can have here."""


async def box(request: Request) -> Sandbox:
    """The sandbox that serves this request."""
    sandbox: Sandbox = request.app.state.sandbox
    return sandbox


Box = Annotated[Sandbox, Depends(box)]


def make_token(store: Store, user: Row, name: str, scopes: list[str], expires_at: str | None = None) -> tuple[Row, str]:
    """Makes a personal access token; returns its row and the token itself, which is not stored."""
    token = new_token("glpat")
    row = store.insert(
        "tokens",
        user_id=user["id"],
        name=name,
        scopes=scopes,
        digest=digest(token),
        expires_at=expires_at,
        created_at=now(),
    )
    return row, token


def user_of_token(store: Store, token: str, *scopes: str) -> Row:
    """The user of a personal access token that has one of the scopes. Raises ApiError 401 or 403, as GitLab does."""
    row = store.one("SELECT * FROM tokens WHERE digest = ?", digest(token)) if token else None
    if row is None:
        raise ApiError(401, {"message": "401 Unauthorized"})
    if row["revoked"]:
        raise _invalid("Token was revoked. You have to re-authorize from the user.")
    if row["expires_at"] and row["expires_at"] <= now()[:10]:
        raise _invalid("Token is expired. You can either do re-authorization or token refresh.")
    if not set(scopes) & set(row["scopes"]):
        error = "The request requires higher privileges than provided by the access token."
        body = {"error": "insufficient_scope", "error_description": error, "scope": " ".join(scopes)}
        raise ApiError(403, body)
    return store.get("users", row["user_id"])


def _invalid(description: str) -> ApiError:
    return ApiError(401, {"error": "invalid_token", "error_description": description})


def _token_of(request: Request) -> str:
    kind, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = request.headers.get("private-token") or request.query_params.get("private_token")
    return given or (bearer.strip() if kind.lower() == "bearer" else "")


def scoped(*extra: str) -> Any:
    """A dependency: the user who asks, by a token with `api`, with `read_api` for reading, or with an extra scope."""

    def dependency(request: Request, sandbox: Box) -> Row:
        reading = ("read_api",) if request.method in ("GET", "HEAD") else ()
        return user_of_token(sandbox.store, _token_of(request), "api", *reading, *extra)

    return Depends(dependency)


User = Annotated[Row, scoped()]
"""A FastAPI dependency: the user who asks."""


def require_admin(user: Row) -> None:
    """Raises ApiError 403 for anybody but an administrator."""
    if not user["admin"]:
        raise ApiError(403, {"message": "403 Forbidden"})


def owns(user: Row, thing: Row) -> bool:
    """Whether a user may see and change a group, a project or a runner: administrators and whoever made it."""
    return bool(user["admin"] or thing["creator_id"] == user["id"])


def sees(user: Row, thing: Row) -> bool:
    """Whether a user may read a group, a project or a runner: its owners, and of other than private ones everybody."""
    return owns(user, thing) or thing.get("visibility", "private") != "private"


def find(store: Store, table: str, reference: str, user: Row, *, reading: bool = False) -> Row:
    """The group or project with this ID or full path. Raises ApiError 404 where the user may not see it, and 403 where
    they may, but do not own it, unless they are only `reading`."""
    column = "id" if reference.isdigit() else "full_path"
    row = store.one(f"SELECT * FROM {table} WHERE {column} = ?", reference)
    if row is None or not sees(user, row):
        raise not_found(table.removesuffix("s").capitalize())
    if not reading and not owns(user, row):
        raise forbidden()
    return row


def _finder(table: str, *, reading: bool = False) -> Callable[[Request, Sandbox, Row], Row]:
    def dependency(request: Request, sandbox: Box, user: User) -> Row:
        # Slashes within a segment arrive escaped, see sandbox.app.
        return find(sandbox.store, table, request.path_params["id"].replace("%2F", "/"), user, reading=reading)

    return dependency


Project = Annotated[Row, Depends(_finder("projects"))]
"""A FastAPI dependency: the project that the path's `id` names, by number or by URL-encoded path."""
SeenProject = Annotated[Row, Depends(_finder("projects", reading=True))]
"""The same, also for those who may only read it."""
Group = Annotated[Row, Depends(_finder("groups"))]
"""The same for a group."""
