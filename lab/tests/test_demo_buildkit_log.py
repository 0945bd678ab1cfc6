"""The parser of BuildKit's output, on recorded traces of the sample project's build job."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.buildkit_log import Build, Step, parse_builds

TRACES = Path(__file__).parent / "traces"
VERSIONS = ["docker-20.10", "gitlab-runner-19.4"]
"""The first one prints as Docker's own BuildKit, the second one as buildx, with a current runner's timestamps."""

APP_LAYERS = [
    "[base 2/2] WORKDIR /srv",
    "[app 1/3] COPY requirements.txt .",
    "[app 2/3] RUN pip install --no-cache-dir --root-user-action=ignore -r requirements.txt",
    "[app 3/3] COPY app app",
]


def recorded(name: str) -> list[Build]:
    return parse_builds((TRACES / f"{name}.txt").read_text())


def layer_names(build: Build) -> list[str]:
    return [step.name for step in build.layers]


def cached_names(build: Build) -> list[str]:
    return [step.name for step in build.layers if step.cached]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("run", ["cold", "warm"])
def test_each_build_of_a_trace_is_told_from_the_next_one(version: str, run: str) -> None:
    builds = recorded(f"{version}-{run}")
    assert [build.target for build in builds] == ["app", "tests"]
    assert sorted(layer_names(builds[0])) == sorted(APP_LAYERS)
    assert len(builds[1].layers) == 4


@pytest.mark.parametrize("version", VERSIONS)
def test_in_a_warm_build_every_layer_is_cached(version: str) -> None:
    for build in recorded(f"{version}-warm"):
        assert cached_names(build) == layer_names(build)


@pytest.mark.parametrize("version", VERSIONS)
def test_in_a_cold_build_nothing_is_cached_but_a_workdir_that_was_there_already(version: str) -> None:
    cached = {name for build in recorded(f"{version}-cold") for name in cached_names(build)}
    assert cached == {"[base 2/2] WORKDIR /srv"}


def test_the_seconds_of_a_build_are_those_of_its_steps() -> None:
    app, tests = recorded("docker-20.10-cold")
    assert [round(build.seconds, 1) for build in (app, tests)] == [5.1, 2.6]
    assert [step.seconds for step in app.layers] == [0.0, 0.0, 5.1, 0.0]


def test_a_trace_without_buildkit_has_no_builds() -> None:
    assert parse_builds("$ echo hello\nhello\n# a comment\n#no step\n#12\n") == []


def test_an_empty_trace_has_no_builds() -> None:
    assert parse_builds("") == []


def test_section_markers_colours_and_carriage_returns_are_no_part_of_a_name() -> None:
    trace = "section_start:1700000000:step_script\r\x1b[0K#1 [app 1/2] COPY a .\r\n\x1b[32;1m#1 CACHED\x1b[0;m\r\n"
    assert parse_builds(trace) == [Build((Step("[app 1/2] COPY a .", cached=True),))]


def test_the_timestamps_of_newer_runners_are_no_part_of_a_name() -> None:
    trace = (
        "2026-11-21T10:00:00.123456Z 00O #4 [2/3] RUN make\n"
        "2026-11-21T10:00:01.123456Z 01E #4 0.512 compiling\n"
        "2026-11-21T10:00:02.123456Z 01E #4 DONE 1.7s\n"
    )
    assert parse_builds(trace) == [Build((Step("[2/3] RUN make", seconds=1.7),))]


@pytest.mark.parametrize("run", ["cold", "warm"])
def test_a_trace_says_the_same_with_the_timestamps_of_newer_runners_as_without(run: str) -> None:
    trace = (TRACES / f"docker-20.10-{run}.txt").read_text()
    dated = "".join(f"2026-11-21T10:00:00.123456Z 01E {line}\n" for line in trace.splitlines())
    assert parse_builds(dated) == recorded(f"docker-20.10-{run}")


def test_a_line_that_a_runner_has_sent_in_two_pieces_is_one() -> None:
    trace = "2026-11-21T10:00:00.123456Z 01E #4 [2/3] RUN\n2026-11-21T10:00:00.123456Z 01E+ make\n"
    assert parse_builds(trace) == [Build((Step("[2/3] RUN make"),))]


def test_a_step_without_a_named_stage_is_a_layer_of_no_stage() -> None:
    (build,) = parse_builds("#5 [ 2/10] RUN make\n#5 CACHED\n")
    assert (build.target, [step.stage for step in build.layers]) == ("", [""])


def test_a_stage_of_another_platform_keeps_it_in_its_name() -> None:
    (build,) = parse_builds("#5 [linux/arm64 app 2/3] RUN make\n#5 CACHED\n")
    assert build.target == "linux/arm64 app"


def test_a_base_image_is_no_layer_whether_cached_or_not() -> None:
    assert not Step("[app 1/4] FROM docker.io/library/python:3.11").is_layer
    assert not Step("[app 1/4] FROM docker.io/library/python:3.11", cached=True).is_layer


def test_what_buildkit_does_for_itself_is_no_layer() -> None:
    names = ["[internal] load build context", "exporting to image", "importing cache manifest from registry/app:main"]
    assert [name for name in names if Step(name).is_layer] == []


def test_a_step_that_is_interrupted_by_the_output_of_another_stays_one_step() -> None:
    trace = (
        "#1 [a 1/2] RUN one\n#1 0.1 x\n#1 ...\n\n#2 [b 1/2] RUN two\n#2 DONE 0.2s\n\n"
        "#1 [a 1/2] RUN one\n#1 0.4 y\n#1 DONE 0.5s\n"
    )
    assert parse_builds(trace) == [Build((Step("[a 1/2] RUN one", seconds=0.5), Step("[b 1/2] RUN two", seconds=0.2)))]


def test_a_step_that_failed_or_never_ended_is_neither_cached_nor_timed() -> None:
    (build,) = parse_builds("#3 [2/3] RUN false\n#3 ERROR: executor failed running [false]\n#4 [3/3] COPY a b\n")
    assert [(step.cached, step.seconds) for step in build.steps] == [(False, None), (False, None)]
    assert build.seconds == 0.0


def test_what_a_step_prints_is_never_taken_for_its_state() -> None:
    (build,) = parse_builds("#3 [2/3] RUN tell\n#3 0.2 CACHED\n#3 0.3 #4 [3/3] DONE 9.9s\n#3 DONE 0.4s\n")
    assert build.steps == (Step("[2/3] RUN tell", seconds=0.4),)
