"""What a row of the measure is, how it is taken in pairs, and what is made of the figures."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.world import World

Take = Callable[[], float]
"""One measurement: does the work, and says how much of the row's unit it took."""
Sides = tuple[Take, Take]
"""What is measured of both sides, A before B."""
Say = Callable[[str], None]


class NotRun(Exception):
    """A row cannot be measured on this machine; the text says why, and how it could be."""


@dataclass(frozen=True)
class Row:
    """One claim about speed.

    id: unique; what stands before a space is what `--rows` chooses by. what: what is measured, as a quotient where
    the figure is one. a, b: the two sides. unit: of each side. figure: what the goal is about, `ratio` (A ÷ B),
    `difference` (A - B) or `a` (A alone, with B for comparison). limit: the goal, a lower bound where `at_least`.
    sides: prepares both sides for as long as they are measured. takes_long: only measured where it is asked for.
    """

    id: str
    what: str
    a: str
    b: str
    limit: float
    sides: Callable[[World], AbstractContextManager[Sides]]
    unit: str = "s"
    figure: str = "ratio"
    at_least: bool = False
    takes_long: bool = False

    @property
    def goal(self) -> str:
        """The goal as people write it."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.figure_unit}"

    @property
    def figure_unit(self) -> str:
        """What stands after the figure: nothing after a ratio."""
        return "" if self.figure == "ratio" else f" {self.unit}"


@dataclass(frozen=True)
class Result:
    """What has come out of a row. why: the reason where it was not run, or else empty.

    pairs: A and B as they were taken. load: the machine's average of the last minute before and after.
    """

    id: str
    what: str
    a: str
    b: str
    unit: str
    figure: str
    limit: float
    at_least: bool
    goal: str
    pairs: list[tuple[float, float]] = field(default_factory=list)
    why: str = ""
    broken: bool = False
    began: str = ""
    commit: str = ""
    load: tuple[float, float] = (0.0, 0.0)

    @property
    def figures(self) -> list[float]:
        """One figure a pair."""
        return [combined(self.figure, a, b) for a, b in self.pairs]

    @property
    def median(self) -> float | None:
        """The median of the pairs' figures."""
        return statistics.median(self.figures) if self.pairs else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is; None where the row was not run."""
        if self.median is None:
            return None
        return self.median >= self.limit if self.at_least else self.median <= self.limit

    @property
    def verdict(self) -> str:
        """The same in words."""
        return {True: "met", False: "missed", None: "failed" if self.broken else "not run"}[self.met]

    def as_json(self) -> dict[str, Any]:
        """The result with what follows from the pairs, for those who read the file."""
        derived: dict[str, Any] = {"verdict": self.verdict}
        if self.pairs:
            a, b = zip(*self.pairs, strict=True)
            derived |= {
                "median": self.median,
                "spread": spread(self.figures),
                "median_a": statistics.median(a),
                "median_b": statistics.median(b),
                "spread_a": spread(a),
                "spread_b": spread(b),
            }
        return asdict(self) | derived

    @staticmethod
    def from_json(raw: dict[str, Any]) -> Result:
        """The result of the file."""
        known = {name: raw[name] for name in Result.__dataclass_fields__}
        return Result(**known | {"pairs": [tuple(pair) for pair in raw["pairs"]], "load": tuple(raw["load"])})


def combined(figure: str, a: float, b: float) -> float:
    """What the goal is about, of one pair."""
    return {"ratio": lambda: a / b, "difference": lambda: a - b, "a": lambda: a}[figure]()


def spread(values: Sequence[float]) -> tuple[float, float]:
    """The quartiles, between which lies the middle half; of fewer than four values the least and the greatest."""
    if len(values) < 4:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def alternating(sides: Sides, pairs: int) -> Iterator[tuple[float, float]]:
    """Pairs of A and B; which of both is first changes each time, as the second may gain by what the first has done."""
    a, b = sides
    for number in range(pairs):
        if number % 2:
            of_b = b()
            yield a(), of_b
        else:
            of_a = a()
            yield of_a, b()


def _pairs(row: Row, world: World, pairs: int) -> Iterator[tuple[float, float]]:
    """The pairs of a row; NotRun where there are none."""
    if row.takes_long and not world.takes_long:
        raise NotRun("it takes long: --long measures it as well, best with --pairs 1")
    with row.sides(world) as sides:
        yield from alternating(sides, pairs)


def measured(row: Row, world: World, *, pairs: int, commit: str, say: Say) -> Result:
    """A row's result, also where it cannot be run or something breaks: the other rows go on."""
    known = {name: getattr(row, name) for name in ("id", "what", "a", "b", "unit", "figure", "limit", "at_least")}
    began, before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), os.getloadavg()[0]
    taken: list[tuple[float, float]] = []
    why, broken = "", False
    say(f"{row.id}: {row.what}; goal {row.goal}")
    try:
        for pair in _pairs(row, world, pairs):
            taken.append(pair)
            say("  " + ", ".join(f"{side} {n:.2f} {row.unit}" for side, n in zip((row.a, row.b), pair, strict=True)))
    except NotRun as reason:
        why = str(reason)
        say(f"  not run: {why}")
    except Exception as error:
        why, broken, taken = f"{type(error).__name__}: {str(error).strip()[-600:]}", True, []
        say(f"  failed: {why}")
    return Result(
        **known, goal=row.goal, pairs=taken, why=why, broken=broken,
        began=began, commit=commit, load=(before, os.getloadavg()[0]),
    )  # fmt: skip
