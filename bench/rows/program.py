"""What the program itself takes: its time, its memory, its imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import NotRun, Row, Sides, Take
from bench.world import World
from tests.engine.world import ROOT, Stack, run
from toolchain.shared import unpack

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
BEFORE = "939f160"
"""The commit against which the imports are held: every target's modules came with every program there."""
NOW = ("stacks.load", "stacks.docker_host.settings", "stacks.docker_host.fit", "stacks.docker_host.build")
THEN = ("stacks.load", "stacks.docker_host", "stacks.raspberry_pi", "stacks.gke")


def previewed(stack: Stack, program: str, figure: str) -> float:
    """What a program of `PROGRAMS` wrote of itself in a preview of the stack."""
    main, figures = stack.directory / "__main__.py", stack.directory / "figures.json"
    main.unlink()
    main.symlink_to(PROGRAMS / f"{program}.py")
    run(
        "pulumi", "preview", "--stack", stack.name, "--non-interactive",
        cwd=stack.directory, env={**stack.environment, "BENCH_FIGURES": str(figures)},
    )  # fmt: skip
    return float(json.loads(figures.read_text())[figure])


@contextmanager
def own_time(world: World) -> Iterator[Sides]:
    """Of a stack that is nowhere yet."""
    stack = world.new_stack()
    yield lambda: previewed(stack, "timed", "own"), lambda: previewed(stack, "timed", "imports")


@contextmanager
def peak_memory(world: World) -> Iterator[Sides]:
    """Of the same."""
    stack = world.new_stack()
    yield lambda: previewed(stack, "timed", "peak"), lambda: previewed(stack, "empty", "peak")


def imported(directory: Path, modules: tuple[str, ...]) -> Take:
    """Has a new Python import modules of a directory and say how long it took."""
    program = f"import time; t = time.perf_counter(); import {', '.join(modules)}; print(time.perf_counter() - t)"

    def take() -> float:
        return float(run(sys.executable, "-c", program, cwd=directory).stdout)

    take()  # What Python compiles stays.
    return take


@contextmanager
def imports(world: World) -> Iterator[Sides]:
    """Of this checkout and of an earlier commit, with the same Python and the same SDKs."""
    before = world.directory / "before"
    before.mkdir()
    archive = before / "it.tar"
    with archive.open("wb") as out:
        done = subprocess.run(["git", "archive", BEFORE, "stacks", "components"], cwd=ROOT, stdout=out, timeout=60)
    if done.returncode:
        raise NotRun(f"commit {BEFORE}, against which it is held, is not in this clone: git fetch --unshallow")
    unpack(archive, before)
    yield imported(ROOT, NOW), imported(before, THEN)


ROWS = (
    Row(
        "P10 time", "the program's own time in a preview: settings, checks, components",
        "load, check, build", "its imports, beside", 0.5, own_time, figure="a",
    ),
    Row(
        "P10 memory", "peak memory of the program in a preview, beside that of one that does nothing",
        "program", "empty program", 150, peak_memory, unit="MiB", figure="difference",
    ),
    Row("P11", f"import time of the program: now ÷ commit {BEFORE}", "now", "before", 0.6, imports),
)  # fmt: skip
