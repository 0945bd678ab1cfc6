"""The rows of the measure, in the order of their numbers."""

from __future__ import annotations

from bench.measure import Row
from bench.rows import clones, daemons, jobs, program, stacks, terraform

ROWS: tuple[Row, ...] = tuple(
    sorted(
        (row for part in (clones, daemons, jobs, program, stacks, terraform) for row in part.ROWS),
        key=lambda row: int(row.id.split()[0].removeprefix("P")),
    )
)


def chosen(words: str) -> list[Row]:
    """The rows that words like `P1,P4` stand for, all for none. Raises ValueError for a word that stands for none."""
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    for word in wanted:
        if not any(word in (row.id, row.id.split()[0]) for row in ROWS):
            raise ValueError(f"--rows: {word} is no row: use some of {', '.join(dict.fromkeys(_numbers()))}")
    return [row for row in ROWS if not wanted or {row.id, row.id.split()[0]} & set(wanted)]


def _numbers() -> list[str]:
    return [row.id.split()[0] for row in ROWS]
