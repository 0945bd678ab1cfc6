"""What a stack takes: previews and updates by its size, and the way from `up` to the first job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from bench.measure import Row, Sides, Take
from bench.world import World
from tests.engine.world import Stack

MANY, QUICK_MANY = 100, 5
CHECK_INTERVAL = 3
"""The default of the settings."""
UNCHANGED = "--expect-no-changes"
EMPTY = "empty:\n  tags: [{tag}]\n  variables: {{GIT_STRATEGY: none}}\n  script: ['true']\n"


def large(world: World) -> Stack:
    """The stack with many runners."""
    return of_size(world, QUICK_MANY if world.quick else MANY)


def of_size(world: World, runners: int) -> Stack:
    """A stack with so many runners, which ask for jobs too seldom to be noticed."""
    names = [f"r{number}" for number in range(runners)]
    return world.stack(
        f"{runners} runners", runners=[{"name": name, "tags": [name], "limit": 1} for name in names], check_interval=60
    )


def command(stack: Stack, name: str, *options: str) -> Take:
    """Times a pulumi command."""
    update = () if name == "preview" else ("--yes", "--skip-preview")

    def take() -> float:
        began = time.monotonic()
        stack.pulumi(name, *update, *options)
        return time.monotonic() - began

    return take


@contextmanager
def preview(world: World) -> Iterator[Sides]:
    """Of a stack that is up."""
    many, one = large(world), of_size(world, 1)
    yield command(many, "preview", UNCHANGED), command(one, "preview", UNCHANGED)


@contextmanager
def no_op_up(world: World) -> Iterator[Sides]:
    """Of the same stacks."""
    many, one = large(world), of_size(world, 1)
    yield command(many, "up", UNCHANGED), command(one, "up", UNCHANGED)


@contextmanager
def first_job(world: World) -> Iterator[Sides]:
    """A new stack each time, whose first job is asked for when `up` has ended."""

    def take() -> float:
        stack = world.new_stack(check_interval=CHECK_INTERVAL)
        project = world.sandbox.project({".gitlab-ci.yml": EMPTY.format(tag=stack.name)})
        stack.up()
        asked = time.time()
        pipeline = world.sandbox.run_pipeline(project)
        job = world.sandbox.wait_for_job(project, pipeline, "empty", "running", "success", "failed")
        world.sandbox.finish(project, pipeline, "empty")
        stack.pulumi("destroy", "--yes", "--skip-preview")
        return max(datetime.fromisoformat(job.started_at).timestamp() - asked, 0.0)

    yield take, lambda: float(CHECK_INTERVAL)


ROWS = (
    Row("P4 preview", f"preview: {MANY} runners ÷ 1", f"{MANY} runners", "1 runner", 1.5, preview),
    Row("P4 up", f"`up` that changes nothing: {MANY} runners ÷ 1", f"{MANY} runners", "1 runner", 1.5, no_op_up),
    Row("P5", "`up` has ended → first job accepted ÷ `check_interval`", "accepted", "check_interval", 2, first_job),
)
