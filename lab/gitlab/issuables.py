"""What merge requests and issues have in common: title, description, labels, states, how they are listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.gitlab.auth import owns
from lab.gitlab.core import ApiError, forbidden, not_found
from lab.gitlab.params import Params
from lab.gitlab.store import Row, Store

LONGEST_TITLE, LONGEST_DESCRIPTION = 255, 1024 * 1024


def find(store: Store, table: str, project: Row, iid: int) -> Row:
    """The merge request or issue of a project with this number. Raises ApiError 404."""
    row = store.one(f"SELECT * FROM {table} WHERE project_id = ? AND iid = ?", project["id"], iid)
    if row is None:
        raise not_found()
    return row


def require_writer(user: Row, project: Row, thing: Row) -> None:
    """Raises ApiError 403 for anybody but the project's owners and whoever wrote the thing."""
    if not owns(user, project) and thing["author_id"] != user["id"]:
        raise forbidden()


def texts(given: Params, old: Row | None = None) -> Row:
    """Title, description and labels, as far as they are given. Raises ApiError 400 for what is too long or empty."""
    title, description = given.string("title", required=old is None), given.string("description")
    labels, more, less = (given.strings(name) for name in ("labels", "add_labels", "remove_labels"))
    given.check()
    errors = {
        name: [f"is too long (maximum is {most} characters)"]
        for name, text, most in (
            ("title", title, LONGEST_TITLE),
            ("description", description, LONGEST_DESCRIPTION),
        )
        if text is not None and len(text) > most
    }
    if title is not None and not title.strip():
        raise ApiError(400, {"error": "title is empty"})
    if errors:
        raise ApiError(400, {"message": errors})
    if labels is None and (more or less):
        labels = list(dict.fromkeys([*(old or {}).get("labels", []), *(more or [])]))
        labels = [label for label in labels if label not in (less or [])]
    found = {"title": title, "description": description, "labels": labels}
    return {name: value for name, value in found.items() if value is not None}


def listed(given: Params, rows: Sequence[Row], *states: str) -> list[Row]:
    """The rows that a list's parameters ask for, in their order: newest first, unless they say otherwise."""
    state = given.string("state", allowed=(*states, "all"))
    order = given.string("order_by", allowed=("created_at", "updated_at", "title")) or "created_at"
    sort = given.string("sort", allowed=("asc", "desc")) or "desc"
    labels, iids = given.strings("labels") or [], given.values.get("iids", [])
    search, author = (given.string("search") or "").lower(), given.integer("author_id")
    given.check()
    wanted = [str(iid) for iid in (iids if isinstance(iids, list) else [iids])]

    def fits(row: Row) -> bool:
        return (
            (state in (None, "all") or row["state"] == state)
            and set(labels) <= set(row["labels"])
            and (not wanted or str(row["iid"]) in wanted)
            and (author is None or row["author_id"] == author)
            and (not search or any(search in (row[name] or "").lower() for name in ("title", "description")))
        )

    def key(row: Row) -> Any:
        return row[order], row["id"]

    return sorted(filter(fits, rows), key=key, reverse=sort == "desc")
