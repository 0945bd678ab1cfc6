"""Notes on merge requests and issues in GitLab's REST API.

https://docs.gitlab.com/api/notes/
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from lab.gitlab import issuables
from lab.gitlab.auth import Box, SeenProject, User
from lab.gitlab.core import Sandbox, bad_request, not_found
from lab.gitlab.params import Given, Id
from lab.gitlab.store import Row, now
from lab.gitlab.views import as_user, paginate

router = APIRouter()

LONGEST = 1_000_000
"""Characters of a note, in GitLab as well."""

_COLUMNS = {"merge_requests": ("merge_request_id", "MergeRequest"), "issues": ("issue_id", "Issue")}
_PATH = "/projects/{id}/{kind}/{iid}/notes"
_ONE = _PATH + "/{note_id}"


def _noteable(kind: str, iid: Id, sandbox: Box, project: SeenProject) -> Row:
    if kind not in _COLUMNS:
        raise not_found()
    return issuables.find(sandbox.store, kind, project, iid)


Noteable = Annotated[Row, Depends(_noteable)]


def _note(kind: str, note_id: Id, sandbox: Box, noteable: Noteable) -> Row:
    sql = f"SELECT * FROM notes WHERE id = ? AND {_COLUMNS[kind][0]} = ?"
    row = sandbox.store.one(sql, note_id, noteable["id"])
    if row is None:
        raise not_found()
    return row


Note = Annotated[Row, Depends(_note)]


@router.get(_PATH)
def list_notes(kind: str, request: Request, sandbox: Box, noteable: Noteable, given: Given) -> Response:
    """The notes, newest first, unless `order_by` and `sort` say otherwise."""
    order = given.string("order_by", allowed=("created_at", "updated_at")) or "created_at"
    sort = given.string("sort", allowed=("asc", "desc")) or "desc"
    given.check()
    sql = f"SELECT * FROM notes WHERE {_COLUMNS[kind][0]} = ? ORDER BY {order} {sort}, id {sort}"
    rows = sandbox.store.all(sql, noteable["id"])
    return paginate(request, rows, lambda row: _shown(sandbox, kind, noteable, row))


@router.post(_PATH, status_code=201)
def create_note(kind: str, sandbox: Box, project: SeenProject, user: User, noteable: Noteable, given: Given) -> Row:
    """Writes a note."""
    body = _body(given, "Note")
    who = {"project_id": project["id"], _COLUMNS[kind][0]: noteable["id"], "author_id": user["id"]}
    note = sandbox.store.insert("notes", **who, body=body, created_at=now(), updated_at=now())
    return _shown(sandbox, kind, noteable, note)


@router.put(_ONE)
def update_note(
    kind: str, sandbox: Box, project: SeenProject, user: User, noteable: Noteable, note: Note, given: Given
) -> Row:
    """Writes a note anew."""
    issuables.require_writer(user, project, note)
    changes = {"body": _body(given, "Failed to save note"), "updated_at": now()}
    sandbox.store.update("notes", note["id"], **changes)
    return _shown(sandbox, kind, noteable, note | changes)


@router.delete(_ONE, status_code=204)
def delete_note(sandbox: Box, project: SeenProject, user: User, note: Note) -> None:
    """Deletes a note."""
    issuables.require_writer(user, project, note)
    sandbox.store.execute("DELETE FROM notes WHERE id = ?", note["id"])


def _body(given: Given, refusal: str) -> str:
    body = given.string("body", required=True) or ""
    given.check()
    wrong = "can't be blank" if not body.strip() else ""
    if len(body) > LONGEST:
        wrong = f"is too long (maximum is {LONGEST} characters)"
    if wrong:
        raise bad_request(f'{refusal} {{:note=>["{wrong}"]}}')
    return body


def _shown(sandbox: Sandbox, kind: str, noteable: Row, note: Row) -> dict[str, Any]:
    return {key: note[key] for key in ("id", "body", "created_at", "updated_at", "project_id")} | {
        "type": None,
        "attachment": None,
        "author": as_user(sandbox, sandbox.store.get("users", note["author_id"])),
        "system": False,
        "noteable_id": noteable["id"],
        "noteable_type": _COLUMNS[kind][1],
        "noteable_iid": noteable["iid"],
        "resolvable": False,
        "confidential": False,
        "internal": False,
    }
