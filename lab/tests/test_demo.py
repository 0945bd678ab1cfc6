"""The demo against a GitLab that plays a prepared pipeline: what it prints, what it writes, how it exits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gitlab.v4.objects import Project

from lab import demo
from lab.gitlab import seed
from lab.tests.live_sandbox import running

TRACES = Path(__file__).parent / "traces"
COLD = (TRACES / "docker-20.10-cold.txt").read_text()
WARM = (TRACES / "docker-20.10-warm.txt").read_text()
PIP = "[app 2/3] RUN pip install --no-cache-dir --root-user-action=ignore -r requirements.txt"


@dataclass
class FakeTime:
    """Time passes only when somebody sleeps."""

    seconds: float = 0.0

    def clock(self) -> demo.Clock:
        return demo.Clock(now=lambda: self.seconds, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class FakePipeline:
    """One pipeline whose jobs advance with each refresh through the states given for them."""

    id: int
    jobs_states: Mapping[str, list[str]]
    durations: Mapping[str, float]
    refreshed: int = 0
    cancelled: bool = False
    status: str = "created"

    def refresh(self) -> None:
        self.refreshed += 1
        states = [self._state(name) for name in self.jobs_states]
        if any(state in ("failed", "canceled") for state in states):
            self.status = "failed"
        else:
            self.status = "success" if all(state == "success" for state in states) else "running"

    def cancel(self) -> None:
        self.cancelled = True

    @property
    def jobs(self) -> SimpleNamespace:
        return SimpleNamespace(list=self._list)

    def _state(self, name: str) -> str:
        states = self.jobs_states[name]
        return states[min(self.refreshed, len(states)) - 1]

    def _list(self, *, get_all: bool) -> list[SimpleNamespace]:
        assert get_all
        jobs = [
            SimpleNamespace(
                id=self.id * 10 + n, name=name, stage=name, status=self._state(name), duration=self.durations.get(name)
            )
            for n, name in enumerate(self.jobs_states)
        ]
        return jobs[::-1]  # As GitLab: the newest first.


@dataclass
class FakeProject:
    """As much of python-gitlab's Project as the demo uses."""

    script: list[FakePipeline]
    traces: Mapping[int, str]
    runner_states: list[list[tuple[str, bool]]] = field(default_factory=lambda: [[("online", False)]])
    default_branch: str = "main"
    created: list[dict[str, Any]] = field(default_factory=list)
    asked_tags: list[list[str]] = field(default_factory=list)
    silent_seconds: float = 2.0

    @property
    def pipelines(self) -> SimpleNamespace:
        return SimpleNamespace(create=self._create)

    @property
    def runners(self) -> SimpleNamespace:
        return SimpleNamespace(list=self._runners)

    @property
    def manager(self) -> SimpleNamespace:
        seen = datetime.now(UTC) - timedelta(seconds=self.silent_seconds)
        runners = SimpleNamespace(get=lambda _: SimpleNamespace(contacted_at=seen.isoformat()))
        return SimpleNamespace(gitlab=SimpleNamespace(runners=runners))

    @property
    def jobs(self) -> SimpleNamespace:
        def get(number: int) -> SimpleNamespace:
            return SimpleNamespace(trace=lambda: self.traces.get(number, "").encode())

        return SimpleNamespace(get=get)

    def _create(self, data: dict[str, Any]) -> FakePipeline:
        self.created.append(data)
        return self.script[len(self.created) - 1]

    def _runners(self, *, tag_list: list[str], get_all: bool) -> list[SimpleNamespace]:
        assert get_all
        self.asked_tags.append(tag_list)
        states = self.runner_states[min(len(self.asked_tags), len(self.runner_states)) - 1]
        return [
            SimpleNamespace(id=n, description=f"runner-{n}", status=status, paused=paused)
            for n, (status, paused) in enumerate(states, start=1)
        ]


def passing(number: int, build: float, test: float) -> FakePipeline:
    states = {"build": ["pending", "running", "success"], "test": ["created", "created", "running", "success"]}
    return FakePipeline(number, states, {"build": build, "test": test})


def two_runs(warm_trace: str = WARM, cold_trace: str = COLD) -> FakeProject:
    return FakeProject([passing(1, 20.0, 12.0), passing(2, 10.0, 12.0)], {10: cold_trace, 20: warm_trace})


def play(project: FakeProject, limit: float = 100) -> tuple[int, list[str]]:
    said: list[str] = []
    status = demo.demo(cast(Project, project), limit=limit, say=said.append, clock=FakeTime().clock())
    return status, said


def lines_with(said: Iterable[str], start: str) -> list[str]:
    return [line for line in said if line.startswith(start)]


def test_the_first_pipeline_is_built_without_the_cache_and_the_second_with_it() -> None:
    project = two_runs()
    status, _ = play(project)
    assert status == 0
    assert project.created == [
        {"ref": "main", "variables": [{"key": "BUILD_FLAGS", "value": "--no-cache"}]},
        {"ref": "main", "variables": []},
    ]


def test_each_change_of_a_job_is_told_with_the_time_since_the_start() -> None:
    _, said = play(two_runs())
    assert lines_with(said, "cold: ") == [
        "cold: pipeline 1 on main has started",
        "cold:     0 s  build    pending",
        "cold:     0 s  test     created",
        "cold:     1 s  build    running",
        "cold:     2 s  build    success",
        "cold:     2 s  test     running",
        "cold:     3 s  test     success",
    ]


def test_a_job_that_runs_long_is_mentioned_again_and_again() -> None:
    slow = FakePipeline(1, {"build": ["running"] * 40 + ["failed"]}, {})
    _, said = play(FakeProject([slow], {}))
    assert lines_with(said, "cold:    ") == [
        "cold:     0 s  build    running",
        "cold:    15 s  build    running",
        "cold:    30 s  build    running",
        "cold:    40 s  build    failed",
    ]


def test_the_table_has_the_jobs_the_builds_and_the_whole_of_both_runs_and_their_ratio() -> None:
    _, said = play(two_runs())
    start = said.index("") + 1
    assert said[start : start + 5] == [
        "                      cold      warm   cold/warm",
        "build               20.0 s    10.0 s         2.0",
        "  docker build       7.7 s     0.1 s        77.0",
        "test                12.0 s    12.0 s         1.0",
        "pipeline             3.0 s     3.0 s         1.0",
    ]


def test_the_steps_of_the_warm_build_are_listed() -> None:
    _, said = play(two_runs())
    assert "warm build of app: 4 of 4 steps from the cache" in said
    assert f"  CACHED  {PIP}" in said


def test_a_good_demo_ends_with_the_ratio_in_a_sentence() -> None:
    status, said = play(two_runs())
    assert (status, said[-1]) == (
        0,
        "passed: every step of the warm build came from the cache; docker build was 77 or more times as fast, "
        "the whole pipeline 1.0 times",
    )


def test_a_step_of_the_warm_build_that_was_not_cached_fails_the_demo_and_is_named() -> None:
    status, said = play(two_runs(warm_trace=WARM.replace("#8 CACHED", "#8 DONE 5.0s", 1)))
    assert status == 1
    assert lines_with(said, "FAILED: ") == [
        f"FAILED: the warm build ran a step that should have come from the cache: {PIP}"
    ]
    assert f"  5.0 s   {PIP}" in said


def test_a_cold_build_from_the_cache_fails_the_demo_since_there_is_nothing_to_compare() -> None:
    status, said = play(two_runs(cold_trace=COLD.replace("#8 DONE 5.1s", "#8 CACHED")))
    assert status == 1
    assert lines_with(said, "FAILED: ") == [
        f"FAILED: the cold build took a step from the cache, so --no-cache was ignored: {PIP}"
    ]


def test_traces_without_any_build_fail_the_demo() -> None:
    status, said = play(two_runs(warm_trace="$ true\n"))
    assert status == 1
    assert lines_with(said, "FAILED: ") == [
        "FAILED: the warm pipeline 2 has no output of BuildKit in its traces to judge by"
    ]


@pytest.mark.parametrize("header", ["", "2026-11-30T00:00:00.000000Z 00O "])
def test_a_failed_job_ends_the_demo_with_the_last_lines_of_its_trace(header: str) -> None:
    failing = FakePipeline(1, {"build": ["success"], "test": ["failed"]}, {"build": 20.0, "test": 1.0})
    lines = [*(f"line {n}" for n in range(100)), "section_end:1:x\r\x1b[0KERROR: Job failed: exit code 1"]
    trace = "".join(f"{header}{line}\n" for line in lines)
    project = FakeProject([failing], {10: COLD, 11: trace})
    status, said = play(project)
    assert status == 1
    assert len(project.created) == 1
    shown = lines_with(said, "  | ")
    assert (len(shown), shown[0], shown[-1]) == (40, "  | line 61", "  | \x1b[0KERROR: Job failed: exit code 1")
    assert lines_with(said, "the last lines") == ["the last lines of the trace of job test (11):"]
    assert said[-1] == "FAILED: the cold pipeline 1 ended as failed, job test failed"


UNKNOWN_OPTION = "unknown flag: --detach\n"
OLDER_BUILD = "Sending build context to Docker daemon  28.16kB\r\r\nStep 1/5 : ARG BASE\n"
NO_BUILDX = (
    "DEPRECATED: The legacy builder is deprecated and will be removed in a future release.\n"
    "            Install the buildx component to build images with BuildKit:\n"
    "            https://docs.docker.com/go/buildx/\n\n"
    "unknown flag: --progress\n\nUsage:  docker build [OPTIONS] PATH | URL | -\n"
)


@pytest.mark.parametrize(
    ("plugin", "trace"),
    [
        ("compose", f"{UNKNOWN_OPTION}See 'docker --help'.\n\nUsage:  docker [OPTIONS] COMMAND\n"),
        ("compose", f"{UNKNOWN_OPTION}\r\n\r\nUsage:  docker [OPTIONS] COMMAND [ARG...]\r\n"),
        ("compose", "unknown shorthand flag: 'd' in -d\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n"),
        ("compose", "docker: 'compose' is not a docker command.\nSee 'docker --help'\n"),
        ("compose", "docker: unknown command: docker compose\n\nRun 'docker --help' for more information\n"),
        ("buildx", NO_BUILDX),
        ("buildx", "ERROR: BuildKit is enabled but the buildx component is missing or broken.\n"),
        ("buildx", "docker: 'buildx' is not a docker command.\nSee 'docker --help'\n"),
        ("buildx", "docker: unknown command: docker buildx\n\nRun 'docker --help' for more information\n"),
    ],
)
def test_a_plugin_that_the_image_of_a_failed_job_lacks_is_named(plugin: str, trace: str) -> None:
    failing = FakePipeline(1, {"build": ["failed"]}, {"build": 1.0})
    status, said = play(FakeProject([failing], {10: trace}))
    assert status == 1
    assert lines_with(said, "FAILED: ") == [
        "FAILED: the cold pipeline 1 ended as failed, job build failed",
        f"FAILED: the image of job build has no {plugin}, a plugin of Docker's client: name one that has buildx and "
        "compose as runners[].image (docs/use/pitfalls.md#an-image-without-buildx-or-compose)",
    ]


def test_the_legacy_builder_fails_the_demo_even_where_it_builds() -> None:
    status, said = play(two_runs(cold_trace=OLDER_BUILD, warm_trace=OLDER_BUILD))
    assert status == 1
    assert lines_with(said, "FAILED: ")[0] == (
        "FAILED: the image of job build has no buildx, a plugin of Docker's client: name one that has buildx and "
        "compose as runners[].image (docs/use/pitfalls.md#an-image-without-buildx-or-compose)"
    )


def test_a_pipeline_that_does_not_end_is_cancelled_at_the_limit() -> None:
    endless = FakePipeline(1, {"build": ["running"], "test": ["created"]}, {})
    with pytest.raises(demo.DemoError) as caught:
        play(FakeProject([endless], {}), limit=5)
    assert str(caught.value) == "the cold pipeline 1 had not ended after 5 s (build running, test created): cancelled"
    assert endless.cancelled


def test_the_demo_waits_for_a_runner_with_the_tags_of_the_sample() -> None:
    project = two_runs()
    project.runner_states = [[], [("offline", False)], [("online", True)], [("online", False)]]
    status, said = play(project)
    assert status == 0
    assert project.asked_tags == [["dind"]] * 4
    assert lines_with(said, "runner: ") == [
        "runner: waiting for one with the tags dind, 60 s at most",
        "runner: runner-1 is online (dind)",
    ]


@pytest.mark.parametrize(
    ("states", "found"), [([], "none"), ([("stale", False), ("online", True)], "runner-1 is stale, runner-2 is paused")]
)
def test_without_a_runner_nothing_is_started_and_the_remedy_is_told(states: list[tuple[str, bool]], found: str) -> None:
    project = two_runs()
    project.runner_states = [states]
    with pytest.raises(demo.DemoError) as caught:
        play(project)
    assert str(caught.value) == (
        f"no runner with the tags dind came online within 60 s (found: {found}). Run `make up`, then `make demo` again."
    )
    assert project.created == []


def test_a_runner_that_has_been_silent_for_more_than_a_minute_is_not_there() -> None:
    project = two_runs()
    project.silent_seconds = 61.2
    with pytest.raises(demo.DemoError, match=r"\(found: runner-1 is silent for 6\d s\)"):
        play(project)
    assert project.created == []


def test_a_proxy_of_the_users_is_not_for_the_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with running(tmp_path) as live:
        seed.demo_project(live.sandbox, {}, say=lambda _: None)
        info = {"url": live.url, "token_file": str(tmp_path / "root-token"), "project": seed.PROJECT}
        (tmp_path / "sandbox.json").write_text(json.dumps(info))
        assert demo.connect(tmp_path / "sandbox.json").path_with_namespace == seed.PROJECT


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda _: None,
            "demo: there is no sandbox: {folder}/sandbox.json is missing. Run `make up` first.\n",
        ),
        (
            lambda folder: (folder / "sandbox.json").write_text("{}"),
            "demo: {folder}/sandbox.json is not what `sandbox up` writes: KeyError('token_file'). Run `make up`.\n",
        ),
        (
            lambda folder: (folder / "sandbox.json").write_text('{"token_file": "' + str(folder) + '/token"}'),
            "demo: there is no sandbox: {folder}/token is missing. Run `make up` first.\n",
        ),
    ],
    ids=["no info file", "another file", "no token file"],
)
def test_without_a_sandbox_the_remedy_is_told(
    write: Callable[[Path], object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    assert demo.main(["--info", str(tmp_path / "sandbox.json")]) == 1
    assert capsys.readouterr().err == message.format(folder=tmp_path)


def test_a_sandbox_that_does_not_answer_is_told_by_its_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("secret-token\n")
    info = {"url": "http://127.0.0.1:9", "token_file": str(tmp_path / "token"), "project": "demo/fastapi-app"}
    (tmp_path / "sandbox.json").write_text(json.dumps(info))
    assert demo.main(["--info", str(tmp_path / "sandbox.json")]) == 1
    message = capsys.readouterr().err
    assert message == "demo: the sandbox at http://127.0.0.1:9 does not answer. Run `make up` first.\n"


def test_the_info_file_is_the_one_that_the_environment_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINDRUNNER_SANDBOX", str(tmp_path / "other.json"))
    assert demo.main([]) == 1
    assert f"{tmp_path}/other.json is missing" in capsys.readouterr().err
