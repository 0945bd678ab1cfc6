"""Run the sample project's pipeline twice, cold and warm, and show what the daemon's layer cache is worth.

The first pipeline builds with `--no-cache`, the second one as it is. The exit status is 0 only when both passed and the
second build had every layer from the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gitlab
import requests
import yaml
from gitlab.v4.objects import Project

from lab.buildkit_log import RESOLUTION, Build, parse_builds
from lab.lifecycle import use_next_daemon
from lab.traces import plain
from toolchain.shared import make_say

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "examples" / "fastapi-app" / ".gitlab-ci.yml"

RUNNER_LIMIT = 60.0
"""Seconds to wait for a runner: it contacts GitLab within seconds of its start."""

SILENT_LIMIT = 60.0
"""Seconds after which a runner that has not contacted GitLab counts as gone; a live one does every few seconds."""

PIPELINE_LIMIT = 900.0
"""Seconds for one pipeline: a cold one with slow downloads takes a few minutes."""

HEARTBEAT = 15.0
"""Seconds after which a pipeline in which nothing has changed gets a progress line."""

TRACE_LINES = 40
"""Lines of a failed job's trace that are shown."""

_FROM_DOCKER_ITSELF = r"\n+(?:See 'docker --help'|Usage:  docker \[OPTIONS\] COMMAND)"
"""What follows where `docker` took the options of a command that it does not know for its own."""
LACKS = {
    "compose": re.compile(
        r"docker: 'compose' is not a docker command|docker: unknown command: docker compose"
        rf"|unknown (?:shorthand )?flag: [^\n]+{_FROM_DOCKER_ITSELF}"
    ),
    "buildx": re.compile(
        r"docker: 'buildx' is not a docker command|docker: unknown command: docker buildx"
        r"|buildx component is missing or broken|DEPRECATED: The legacy builder"
        r"|^Sending build context to Docker daemon",
        re.MULTILINE,
    ),
}
"""By plugin of Docker's client what a job prints whose image lacks it: of 20.10, and of newer ones."""

ENDED = frozenset({"success", "failed", "canceled", "skipped"})
"""States of a pipeline that do not change any more."""


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(frozen=True)
class JobRun:
    """One job that has ended."""

    id: int
    name: str
    stage: str
    status: str
    seconds: float
    builds: tuple[Build, ...]
    lacks: tuple[str, ...]
    """The plugins that the Docker client of its image lacks."""

    @property
    def build_seconds(self) -> float:
        """What BuildKit says its steps took."""
        return sum(build.seconds for build in self.builds)


@dataclass(frozen=True)
class PipelineRun:
    """One pipeline that has ended."""

    label: str
    id: int
    status: str
    seconds: float
    jobs: tuple[JobRun, ...]

    @property
    def builds(self) -> tuple[Build, ...]:
        """All builds of all jobs."""
        return tuple(build for job in self.jobs for build in job.builds)


@dataclass(frozen=True)
class Clock:
    """Time and rest, so that tests need neither."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def main(argv: Sequence[str]) -> int:
    """Run the demo; 0 when both pipelines passed and the warm one came from the cache, 130 interrupted, else 1."""
    parser = argparse.ArgumentParser(prog="python -m lab demo", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--info", type=Path, default=_default_info(), help="what `sandbox up` wrote (%(default)s)")
    parser.add_argument("--limit", type=float, default=PIPELINE_LIMIT, help="seconds for one pipeline (%(default)s)")
    parser.add_argument("--stack", default="dev", help="which one it is that runs the jobs (%(default)s)")
    parser.add_argument("--daemon", help="next: give that stack a daemon of the next series before")
    options = parser.parse_args(argv)
    if options.daemon and (code := use_next_daemon(options.stack, options.daemon, make_say())):
        return code
    try:
        project = connect(options.info)
        return demo(project, limit=options.limit, say=_say, clock=Clock())
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
    except (gitlab.GitlabError, requests.RequestException) as error:
        print(f"demo: GitLab does not answer as it should: {error}. See `make doctor`.", file=sys.stderr)
    except KeyboardInterrupt:
        print("demo: interrupted; a pipeline that was running goes on", file=sys.stderr)
        return 130
    return 1


def demo(project: Project, *, limit: float, say: Callable[[str], None], clock: Clock) -> int:
    """Both pipelines, the table and the verdict; the exit status."""
    wait_for_runner(project, sample_tags(SAMPLE), say=say, clock=clock)
    runs: list[PipelineRun] = []
    for label, flags in (("cold", "--no-cache"), ("warm", "")):
        run = run_pipeline(project, label, flags, limit=limit, say=say, clock=clock)
        runs.append(run)
        if run.status != "success":
            break
    problems = find_problems(runs)
    for line in ["", *table(runs), "", *cache_lines(runs), ""]:
        say(line)
    for problem in problems:
        say(f"FAILED: {problem}")
    if not problems:
        say(f"passed: {verdict(runs)}")
    return 1 if problems else 0


def connect(info_file: Path) -> Project:
    """The sample project, as the sandbox's administrator; raises DemoError where there is no sandbox."""
    try:
        info = json.loads(info_file.read_text())
        token = Path(info["token_file"]).read_text().strip()
    except FileNotFoundError as error:
        raise DemoError(f"there is no sandbox: {error.filename} is missing. Run `make up` first.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DemoError(f"{info_file} is not what `sandbox up` writes: {error!r}. Run `make up`.") from error
    session = requests.Session()
    session.trust_env = False  # a proxy of the user's does not reach this machine's own addresses
    client = gitlab.Gitlab(info["url"], private_token=token, timeout=30, session=session)
    try:
        project = client.projects.get(info["project"])
    except requests.ConnectionError as error:
        raise DemoError(f"the sandbox at {info['url']} does not answer. Run `make up` first.") from error
    # Only now: retries would take minutes to notice that there is no sandbox.
    client.retry_transient_errors = True
    return project


def sample_tags(ci_file: Path) -> frozenset[str]:
    """The tags that the sample project's jobs ask for."""
    return frozenset(yaml.safe_load(ci_file.read_text())["default"]["tags"])


def wait_for_runner(project: Project, tags: frozenset[str], *, say: Callable[[str], None], clock: Clock) -> None:
    """Return as soon as a runner with these tags is online; raises DemoError after RUNNER_LIMIT seconds."""
    wanted = ", ".join(sorted(tags))
    start = clock.now()
    said = False
    while True:
        runners = project.runners.list(tag_list=sorted(tags), get_all=True)
        states = [(runner.description or runner.id, _state(project, runner)) for runner in runners]
        online = [name for name, state in states if state == "online"]
        if online:
            say(f"runner: {online[0]} is online ({wanted})")
            return
        if clock.now() - start >= RUNNER_LIMIT:
            found = ", ".join(f"{name} is {state}" for name, state in states) or "none"
            raise DemoError(
                f"no runner with the tags {wanted} came online within {RUNNER_LIMIT:.0f} s (found: {found}). "
                "Run `make up`, then `make demo` again."
            )
        if not said:
            say(f"runner: waiting for one with the tags {wanted}, {RUNNER_LIMIT:.0f} s at most")
            said = True
        clock.sleep(1)


def _state(project: Project, runner: Any) -> str:
    """What to think of a runner; GitLab calls one online for hours after it was last seen."""
    if runner.paused:
        return "paused"
    if runner.status != "online":
        return str(runner.status)
    seen = datetime.fromisoformat(project.manager.gitlab.runners.get(runner.id).contacted_at)
    silent = (datetime.now(UTC) - seen).total_seconds()
    return "online" if silent <= SILENT_LIMIT else f"silent for {silent:.0f} s"


def run_pipeline(
    project: Project, label: str, build_flags: str, *, limit: float, say: Callable[[str], None], clock: Clock
) -> PipelineRun:
    """Start a pipeline on the default branch and follow it to its end; raises DemoError after `limit` seconds."""
    variables = [{"key": "BUILD_FLAGS", "value": build_flags}] if build_flags else []
    pipeline = project.pipelines.create({"ref": project.default_branch, "variables": variables})
    start = spoken = clock.now()
    say(f"{label}: pipeline {pipeline.id} on {project.default_branch} has started")
    states: dict[str, str] = {}
    while True:
        pipeline.refresh()
        jobs = sorted(pipeline.jobs.list(get_all=True), key=lambda job: int(job.id))
        elapsed = clock.now() - start
        for job in jobs:
            quiet = clock.now() - spoken >= HEARTBEAT and job.status == "running"
            if states.get(job.name) != job.status or quiet:
                states[job.name] = job.status
                spoken = clock.now()
                say(f"{label}: {elapsed:5.0f} s  {job.name:<8} {job.status}")
        if pipeline.status in ENDED:
            break
        if elapsed >= limit:
            pipeline.cancel()
            seen = ", ".join(f"{name} {state}" for name, state in states.items())
            raise DemoError(f"the {label} pipeline {pipeline.id} had not ended after {limit:.0f} s ({seen}): cancelled")
        clock.sleep(1)
    ended = tuple(_ended(project, job, say) for job in jobs)
    return PipelineRun(label, int(pipeline.id), pipeline.status, round(elapsed, 1), ended)


def find_problems(runs: Sequence[PipelineRun]) -> list[str]:
    """Why the demo has failed, a sentence each; empty when it has not."""
    jobs = {job.name: job for run in runs for job in run.jobs}
    lacking = [
        f"the image of job {job.name} has no {plugin}, a plugin of Docker's client: name one that has buildx and "
        "compose as runners[].image (docs/use/pitfalls.md#an-image-without-buildx-or-compose)"
        for job in jobs.values()
        for plugin in job.lacks
    ]
    failed = [run for run in runs if run.status != "success"]
    if failed:
        return [
            f"the {run.label} pipeline {run.id} ended as {run.status}"
            + "".join(f", job {job.name} {job.status}" for job in run.jobs if job.status in ("failed", "canceled"))
            for run in failed
        ] + lacking
    problems = lacking
    for run in runs:
        if not any(build.layers for build in run.builds):
            problems.append(f"the {run.label} pipeline {run.id} has no output of BuildKit in its traces to judge by")
        for step in (step for build in run.builds for step in build.layers):
            # Only RUN: there are versions that take a WORKDIR from the cache in spite of --no-cache.
            if run.label == "cold" and step.cached and step.instruction == "RUN":
                problems.append(f"the cold build took a step from the cache, so --no-cache was ignored: {step.name}")
            if run.label == "warm" and not step.cached:
                problems.append(f"the warm build ran a step that should have come from the cache: {step.name}")
    return problems


def table(runs: Sequence[PipelineRun]) -> list[str]:
    """Times of the jobs, of the builds in them and of the whole, a column for each pipeline and one for the ratio."""
    lines = [f"{'':<16}" + "".join(f"{run.label:>10}" for run in runs) + f"{'cold/warm':>12}"]
    for name, seconds in _rows(runs):
        cells = "".join(f"{'-' if value is None else _shown(value):>10}" for value in seconds)
        ratio = _ratio(seconds)
        lines.append(f"{name:<16}{cells}" + ("" if ratio is None else f"{ratio:>12.1f}"))
    return lines


def cache_lines(runs: Sequence[PipelineRun]) -> list[str]:
    """For each build of the warm pipeline its steps: from the cache, or how long they took."""
    lines: list[str] = []
    for build in (build for run in runs if run.label == "warm" for build in run.builds):
        cached = sum(step.cached for step in build.layers)
        lines.append(
            f"warm build of {build.target or 'an image'}: {cached} of {len(build.layers)} steps from the cache"
        )
        for step in build.layers:
            state = "CACHED" if step.cached else f"{step.seconds or 0.0:.1f} s"
            lines.append(f"  {state:<8}{step.name}")
    return lines


def verdict(runs: Sequence[PipelineRun]) -> str:
    """The ratio in one sentence."""
    ratios = {name: _ratio(seconds) for name, seconds in _rows(runs)}
    return (
        "every step of the warm build came from the cache; "
        f"docker build was {ratios['  docker build']:.0f} or more times as fast, "
        f"the whole pipeline {ratios['pipeline']:.1f} times"
    )


def _rows(runs: Sequence[PipelineRun]) -> list[tuple[str, list[float | None]]]:
    """Name and seconds by pipeline of each job, below it of its builds, and of the whole."""
    rows: list[tuple[str, list[float | None]]] = []
    by_name = [{job.name: job for job in run.jobs} for run in runs]
    for name in dict.fromkeys(name for jobs in by_name for name in jobs):
        found = [jobs.get(name) for jobs in by_name]
        rows.append((name, [job.seconds if job else None for job in found]))
        if any(job and job.builds for job in found):
            rows.append(("  docker build", [job.build_seconds if job else None for job in found]))
    rows.append(("pipeline", [run.seconds for run in runs]))
    return rows


def _shown(seconds: float) -> str:
    """Seconds, no finer than BuildKit says them."""
    return f"{seconds:.1f} s" if seconds >= RESOLUTION else f"<{RESOLUTION:.1f} s"


def _ratio(seconds: Sequence[float | None]) -> float | None:
    """Cold by warm. A warm time below what BuildKit can say counts as that, so the ratio is rather too small."""
    if len(seconds) < 2 or seconds[0] is None or seconds[1] is None:
        return None
    return round(seconds[0] / max(seconds[1], RESOLUTION), 1)


def _ended(project: Project, job: Any, say: Callable[[str], None]) -> JobRun:
    """The job with what its trace says; the end of the trace is printed where the job has failed."""
    trace = project.jobs.get(job.id).trace()
    text = plain(trace.decode(errors="replace")) if isinstance(trace, bytes) else ""
    if job.status == "failed":
        lines = [line.rsplit("\r", 1)[-1] for line in text.rstrip().split("\n")]
        say(f"the last lines of the trace of job {job.name} ({job.id}):")
        for line in lines[-TRACE_LINES:]:
            say(f"  | {line}")
    lacks = tuple(plugin for plugin, output in LACKS.items() if output.search(text.replace("\r", "")))
    builds = tuple(parse_builds(text))
    return JobRun(int(job.id), job.name, job.stage, job.status, float(job.duration or 0.0), builds, lacks)


def _default_info() -> Path:
    return Path(os.environ.get("DINDRUNNER_SANDBOX") or ROOT / ".toolchain" / "sandbox.json")


def _say(line: str) -> None:
    print(line, flush=True)
