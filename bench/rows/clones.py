"""What a newcomer and a pipeline wait for: a clone of the last commit, with caches and without. It takes hours."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.measure import NotRun, Row, Sides
from bench.world import World, timed
from tests.engine.world import ROOT, run
from toolchain import engine
from toolchain.shared import make_say

HOURS = 3 * 3600
UP, DOWN, CI = ("make", "up"), ("make", "down"), (".ci/run",)


@contextmanager
def _engine_stopped() -> Iterator[None]:
    """Without this machine's engine, which has images already. NotRun where it is somebody else's, or in use."""
    say = make_say()
    engine.down(say)
    if engine.status().version:
        raise NotRun("a Docker engine is in use here, which this row has to start anew")
    try:
        yield
    finally:
        engine.up(say)


def _environment(cache: Path | None) -> dict[str, str]:
    """Without what `make` and this checkout's toolchain have put there. cache: of everything, None for the user's."""
    ours = re.compile(r"(MAKE|MFLAGS|PULUMI_|DINDRUNNER_(?!CACHE)|CI$|VIRTUAL_ENV)")
    given = {name: value for name, value in os.environ.items() if not ours.match(name)}
    given["PATH"] = os.pathsep.join(each for each in given["PATH"].split(os.pathsep) if not each.startswith(str(ROOT)))
    if cache is None:
        return given
    own = {"HOME": "home", "GOPATH": "go", "GOCACHE": "go-build", "DINDRUNNER_CACHE": "own", "XDG_CACHE_HOME": "cache"}
    (cache / "home").mkdir(parents=True)
    # How registries are reached is the user's own.
    settings = {"GOENV": run("go", "env", "GOENV").stdout.strip(), "NPM_CONFIG_USERCONFIG": str(Path.home() / ".npmrc")}
    return given | settings | {name: str(cache / folder) for name, folder in own.items()}


def in_clone(id: str, what: str, command: tuple[str, ...], limit: float, *, cold: bool) -> Row:
    """A row that times a command in a new clone."""

    def take() -> float:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            clone, cache = Path(name) / "clone", Path(name) / "cache"
            run("git", "clone", "--quiet", str(ROOT), str(clone))
            options: dict[str, Any] = {"cwd": clone, "env": _environment(cache if cold else None), "seconds": HOURS}
            try:
                return timed(*command, **options)
            finally:
                run(*DOWN, **options)
                # Go keeps what it has downloaded from being removed.
                run("chmod", "--recursive", "u+w", name)

    @contextmanager
    def sides(_: World) -> Iterator[Sides]:
        with _engine_stopped():
            yield take, lambda: limit

    return Row(id, what, " ".join(command), "goal", limit, sides, figure="a", takes_long=True)


ROWS = (
    in_clone("P12 cold", "bare machine → running runner, from registries alone", UP, 600, cold=True),
    in_clone("P12 warm", "the same with caches", UP, 20, cold=False),
    in_clone("P13 cold", "`.ci/run` with empty caches", CI, 75 * 60, cold=True),
    in_clone("P13 warm", "`.ci/run` with warm caches", CI, 40 * 60, cold=False),
)
