"""Notes over HTTP, kept in Postgres."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

import psycopg
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from psycopg.rows import class_row
from psycopg_pool import ConnectionPool, PoolTimeout
from pydantic import BaseModel, Field

LOG = logging.getLogger("uvicorn.error")

SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (
    id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    title text NOT NULL,
    body text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
"""


class NoteIn(BaseModel):
    """What a client sends."""

    title: str = Field(min_length=1, max_length=200)
    body: str = ""


class Note(NoteIn):
    """What the database holds."""

    id: int
    created_at: datetime


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the pool at the address in DATABASE_URL, and make the table where it is missing."""
    # `check` replaces connections that a restart of the database has cut.
    check = ConnectionPool.check_connection
    with ConnectionPool(os.environ["DATABASE_URL"], max_size=4, timeout=5, check=check, open=False) as pool:
        pool.wait(timeout=30)
        with pool.connection() as connection:
            connection.execute(SCHEMA)
        app.state.pool = pool
        yield


def database(request: Request) -> Iterator[psycopg.Connection]:
    """One transaction a request: committed when the handler returns, rolled back when it raises."""
    with request.app.state.pool.connection() as connection:
        yield connection


Database = Annotated[psycopg.Connection, Depends(database)]

app = FastAPI(title="Notes", lifespan=lifespan)


@app.get("/health")
def health(request: Request) -> dict[str, str]:
    """200 when the database answers, 503 when it does not."""
    try:
        with request.app.state.pool.connection(timeout=2) as connection:
            connection.execute("SELECT 1")
    except (psycopg.Error, PoolTimeout) as error:
        # The error may name hosts and users: it is for the log alone.
        LOG.warning("the database does not answer: %s", error)
        raise HTTPException(503, "the database does not answer") from error
    return {"status": "ok"}


@app.post("/notes", status_code=201)
def create_note(note: NoteIn, database: Database) -> Note:
    """Store a new note."""
    cursor = database.cursor(row_factory=class_row(Note))
    cursor.execute("INSERT INTO notes (title, body) VALUES (%s, %s) RETURNING *", (note.title, note.body))
    return _found(cursor.fetchone())


@app.get("/notes")
def list_notes(
    database: Database,
    search: str = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> list[Note]:
    """The newest notes whose title or body contains `search`, at most `limit` of them."""
    cursor = database.cursor(row_factory=class_row(Note))
    cursor.execute(
        "SELECT * FROM notes WHERE strpos(lower(title || ' ' || body), lower(%s)) > 0 ORDER BY id DESC LIMIT %s",
        (search, limit),
    )
    return cursor.fetchall()


@app.get("/notes/{note_id}")
def read_note(note_id: int, database: Database) -> Note:
    """One note, or 404."""
    cursor = database.cursor(row_factory=class_row(Note))
    cursor.execute("SELECT * FROM notes WHERE id = %s", (note_id,))
    return _found(cursor.fetchone())


@app.put("/notes/{note_id}")
def replace_note(note_id: int, note: NoteIn, database: Database) -> Note:
    """Replace title and body of one note, or 404."""
    cursor = database.cursor(row_factory=class_row(Note))
    cursor.execute("UPDATE notes SET title = %s, body = %s WHERE id = %s RETURNING *", (note.title, note.body, note_id))
    return _found(cursor.fetchone())


@app.delete("/notes/{note_id}", status_code=204)
def delete_note(note_id: int, database: Database) -> None:
    """Delete one note, or 404."""
    if database.execute("DELETE FROM notes WHERE id = %s", (note_id,)).rowcount == 0:
        raise HTTPException(404, "no such note")


def _found(note: Note | None) -> Note:
    if note is None:
        raise HTTPException(404, "no such note")
    return note
