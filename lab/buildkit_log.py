"""Read BuildKit's plain progress out of a job's trace: which steps came from the cache, and how long the others took.

Pure: text in, builds out. Understands the output of Docker 20.10's built-in BuildKit and of buildx, between anything
else that a job prints, with GitLab's section markers, colours and the runner's timestamps in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lab.traces import plain

RESOLUTION = 0.1
"""BuildKit prints seconds with one decimal: what it calls 0.0 s took less than this."""

_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LINE = re.compile(r"^#(\d+) (.+)$")
_DONE = re.compile(r"^DONE (\d+(?:\.\d+)?)s$")
_IN_STAGE = re.compile(r"^\[\s*(?:(?P<stage>\S.*?)\s+)?\d+/\d+\] (?P<instruction>[A-Z]+)\b")


@dataclass(frozen=True)
class Step:
    """One step of a build, named as BuildKit does: `[app 3/4] RUN pip install ...`, `exporting to image`."""

    name: str
    cached: bool = False
    seconds: float | None = None
    """None while BuildKit has not said that the step is done; a cached step is never said to be."""

    @property
    def stage(self) -> str:
        """The Dockerfile's stage, empty where the step belongs to none or the stage has no name."""
        match = _IN_STAGE.match(self.name)
        return (match["stage"] or "") if match else ""

    @property
    def instruction(self) -> str:
        """The Dockerfile's instruction (`RUN`), empty where the step executes none."""
        match = _IN_STAGE.match(self.name)
        return match["instruction"] if match else ""

    @property
    def is_layer(self) -> bool:
        """Whether a second build can have the step from the cache.

        `FROM` is none: a base image that is there already is sometimes said to be cached, sometimes to be done.
        """
        return self.instruction not in ("", "FROM")


@dataclass(frozen=True)
class Build:
    """One `docker build`, its steps in the order in which they started."""

    steps: tuple[Step, ...]

    @property
    def target(self) -> str:
        """The stage that was built: the one of the last step that belongs to a stage."""
        return next((step.stage for step in reversed(self.steps) if step.stage), "")

    @property
    def layers(self) -> tuple[Step, ...]:
        """The steps that can come from the cache."""
        return tuple(step for step in self.steps if step.is_layer)

    @property
    def seconds(self) -> float:
        """The time of all steps together, the work done: steps that ran side by side both count."""
        return sum(step.seconds or 0.0 for step in self.steps)


def parse_builds(trace: str) -> list[Build]:
    """All builds in a trace, in order; empty where BuildKit printed nothing."""
    builds: list[dict[int, Step]] = []
    for number, text in _progress(trace):
        if not builds or _starts_a_build(number, text, builds[-1]):
            builds.append({})
        steps = builds[-1]
        step = steps.get(number)
        if step is None:
            steps[number] = Step(text)
        elif text == "CACHED":
            steps[number] = Step(step.name, cached=True)
        elif done := _DONE.match(text):
            steps[number] = Step(step.name, step.cached, float(done[1]))
    return [Build(tuple(steps.values())) for steps in builds]


def _progress(trace: str) -> Iterator[tuple[int, str]]:
    """The lines of BuildKit, as number of the step and text."""
    for line in re.split(r"[\r\n]+", _ESCAPE.sub("", plain(trace))):
        if match := _LINE.match(line):
            yield int(match[1]), match[2].strip()


def _starts_a_build(number: int, text: str, steps: dict[int, Step]) -> bool:
    """Numbers begin anew with each build, at 0 with newer versions, at 1 with older ones."""
    if number == 0:
        return text.startswith("building with")
    return number == 1 and 1 in steps and steps[1].seconds is not None and text.startswith("[internal]")
