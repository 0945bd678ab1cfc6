"""The sandbox's state: one SQLite file, rows in and out as dictionaries."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lab.gitlab import schema
from toolchain.shared import ToolchainError

Row = dict[str, Any]
"""One row: JSON and boolean columns are decoded, times are ISO 8601 in UTC, as GitLab's API shows them."""

_JSON = {"scopes", "tags", "spec", "variables", "info", "labels", "merge_request", "environment"}
_BOOLEAN = {
    *("admin", "revoked", "masked", "hidden", "protected", "raw", "paused", "locked"),
    *("run_untagged", "tag", "allow_failure", "retried", "active"),
}

_OUTER = "BEGIN IMMEDIATE", "COMMIT", ["ROLLBACK"]
_INNER = "SAVEPOINT block", "RELEASE block", ["ROLLBACK TO block", "RELEASE block"]
"""How a transaction begins, how it ends, and what undoes it."""

_LOCK_SECONDS = 20.0
"""How long to wait for another process that writes."""


def now(*, after: float = 0.0) -> str:
    """The time as GitLab's API writes it, `after` seconds from now. Such texts sort by time."""
    return (datetime.now(UTC) + timedelta(seconds=after)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds from one time to another, None where either is missing."""
    if not (start and end):
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


class Store:
    """The SQLite file. Threads and processes may share it: whoever changes more than one row does so in `with store:`.

    Raises ToolchainError where the file cannot be used, is something else, or was made by a version with other tables.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Made before SQLite does: it holds the values of CI/CD variables.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(
                path, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            with self.transaction():  # two processes may open a new file at once
                self._make_tables()
        except (sqlite3.OperationalError, OSError) as error:
            raise ToolchainError(
                f"{path} cannot be used ({error}): look for another process that holds it (`fuser {path}`), a full "
                "disk or a file system that is read-only, then repeat"
            ) from None
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise ToolchainError(f"{path} is no state of this sandbox ({error}): delete {path.parent}") from None

    def _make_tables(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, schema.VERSION):
            raise sqlite3.DatabaseError(f"its tables are of version {version}, not {schema.VERSION}")
        for statement in f"{schema.TABLES} PRAGMA user_version = {schema.VERSION}".split(";"):
            self._connection.execute(statement)  # executescript would end the transaction

    def close(self) -> None:
        """Closes the file; what was committed stays."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block or none; so too of a block within another one, whose error may be caught there."""
        with self._lock:
            begin, end, undo = _INNER if self._depth else _OUTER
            self._connection.execute(begin)
            self._depth += 1
            try:
                yield
            except BaseException:
                for statement in undo:
                    self._connection.execute(statement)
                raise
            else:
                self._connection.execute(end)
            finally:
                self._depth -= 1

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Every row of a query."""
        with self._lock:
            return [_decode(row) for row in self._connection.execute(sql, values)]

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row of a query."""
        rows = self.all(sql, *values)
        return rows[0] if rows else None

    def get(self, table: str, row_id: int) -> Row:
        """The row with this ID; KeyError where there is none."""
        row = self.one(f"SELECT * FROM {table} WHERE id = ?", row_id)
        if row is None:
            raise KeyError(f"{table} {row_id}")
        return row

    def next_iid(self, project_id: int, kind: str) -> int:
        """The next number within a project; that of something deleted is not given again."""
        sql = "INSERT INTO iids VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last"
        return int(self.all(sql, project_id, kind)[0]["last"])

    def execute(self, sql: str, *values: Any) -> int:
        """Runs a statement; returns how many rows it changed."""
        with self._lock:
            return self._connection.execute(sql, values).rowcount

    def insert(self, table: str, **values: Any) -> Row:
        """Adds a row and returns it with its ID."""
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        with self._lock:
            cursor = self._connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", _encode(values))
            return self.all(f"SELECT * FROM {table} WHERE rowid = ?", cursor.lastrowid)[0]

    def update(self, table: str, row_id: int, **values: Any) -> None:
        """Changes columns of the row with this ID."""
        names = ", ".join(f"{name} = ?" for name in values)
        self.execute(f"UPDATE {table} SET {names} WHERE id = ?", *_encode(values), row_id)


def _encode(values: Row) -> list[Any]:
    return [json.dumps(value) if name in _JSON else value for name, value in values.items()]


def _decode(row: sqlite3.Row) -> Row:
    decoded: Row = {}
    for name in row.keys():  # noqa: SIM118 (iterating over a Row gives its values)
        value = row[name]
        if name in _JSON and value is not None:
            value = json.loads(value)
        elif name in _BOOLEAN and value is not None:
            value = bool(value)
        decoded[name] = value
    return decoded
