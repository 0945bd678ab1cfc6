"""What real jobs take on a stack's runners: the sample project's image build, alone, beside others, after a crash."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml
from gitlab.v4.objects import Project as GitLabProject

from bench.measure import Row, Sides
from bench.world import ENDED, World
from tests.engine.world import ROOT, Stack, trace

SAMPLE = ROOT / "examples" / "fastapi-app"
AT_ONCE, QUICK_AT_ONCE = 16, 2
RECOVERY_SECONDS = 120


def stack_of(world: World) -> Stack:
    """A stack that takes jobs one after the other by one tag, and many at once by another."""
    return world.stack(
        "jobs",
        runners=[
            {"name": "docker", "tags": ["bench-one"], "limit": 1},
            {"name": "many", "tags": ["bench-many"], "limit": AT_ONCE},
        ],
        concurrent=AT_ONCE,
    )


def pipeline(sample: Mapping[str, Any], jobs: int) -> dict[str, Any]:
    """The sample's pipeline with its build as it is, and chosen by $WHAT: once, so many times at once or in a row; and
    an empty job."""

    def job(what: str, tag: str, of: Mapping[str, Any]) -> dict[str, Any]:
        return {**of, "stage": "build", "tags": [tag], "rules": [{"if": f'$WHAT == "{what}"'}]}

    build = {key: value for key, value in sample["build"].items() if key not in ("rules", "stage")}
    nothing = {"script": ["true"], "before_script": []}
    each = range(1, jobs + 1)
    return {
        "default": {key: value for key, value in sample["default"].items() if key != "tags"},
        "stages": ["build"],
        "variables": sample["variables"],
        "build": job("build", "bench-one", build),
        "empty": job("empty", "bench-one", nothing),
        **{f"at once {number}": job("many", "bench-many", build) for number in each},
        **{f"in a row {number}": job("row", "bench-one", build) for number in each},
    }


def project_of(world: World) -> GitLabProject:
    """The sample project, whose build has passed once: all that follow are warm."""
    files = {
        str(path.relative_to(SAMPLE)): path.read_text()
        for path in sorted(SAMPLE.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    made = pipeline(yaml.safe_load(files[".gitlab-ci.yml"]), QUICK_AT_ONCE if world.quick else AT_ONCE)
    project = world.sandbox.project(files | {".gitlab-ci.yml": yaml.safe_dump(made, sort_keys=False)})
    stack_of(world)
    world.job_seconds(project, "build")
    return project


@contextmanager
def overhead(world: World) -> Iterator[Sides]:
    """On the same runner."""
    project = project_of(world)
    yield lambda: world.job_seconds(project, "build"), lambda: world.job_seconds(project, "empty")


@contextmanager
def at_once(world: World) -> Iterator[Sides]:
    """From asking for the pipeline to the end of its last job; each has to pass."""
    project = project_of(world)
    yield lambda: world.pipeline_seconds(project, "many"), lambda: world.pipeline_seconds(project, "row")


@contextmanager
def after_a_crash(world: World) -> Iterator[Sides]:
    """The daemon's process is killed, and jobs are asked for until one has passed with every layer from the cache."""
    stack, project = stack_of(world), project_of(world)

    def take() -> float:
        daemon = f"{stack.prefix}-dind"
        process = stack.inspect(daemon)["State"]["Pid"]
        # The end of the container ends the command in it, too.
        stack.docker("exec", daemon, "sh", "-c", "kill -9 $(pidof dockerd)", check=False)
        began = time.monotonic()
        while time.monotonic() < began + RECOVERY_SECONDS:
            running = world.sandbox.run_pipeline(project, {"WHAT": "build"})
            job = world.sandbox.wait_for_job(project, running, "build", *ENDED)
            if job.status == "success":
                seconds = time.monotonic() - began
                assert "CACHED" in trace(job), f"the cache is gone:\n{trace(job)}"
                assert stack.inspect(daemon)["State"]["Pid"] != process, "the daemon was not killed"
                return seconds
        raise AssertionError(f"no job has passed within {RECOVERY_SECONDS} s")

    yield take, lambda: world.pipeline_seconds(project, "build")


ROWS = (
    Row(
        "P7", "the daemon is killed → next green build, from the cache",
        "after the kill", "without", 10, after_a_crash, figure="a",
    ),
    Row("P8", "warm build job ÷ a job that does nothing", "build job", "empty job", 1.3, overhead),
    Row("P9", f"{AT_ONCE} warm build jobs: at once ÷ one after the other", "at once", "in a row", 0.7, at_once),
)  # fmt: skip
