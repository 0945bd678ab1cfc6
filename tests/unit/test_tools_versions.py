"""`python -m tools versions`: default, set and newest, against registries of the test's own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from components.defaults import CLIENT_IMAGE, DAEMON_IMAGE, RUNNER_IMAGE
from tests.unit.web import Quiet, listening
from tools import versions
from tools.__main__ import main

HELPER = "registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper"
RELEASES = [{"tag_name": f"v{version}"} for version in ("19.9.3", "19.10.0", "18.11.2", "19.10.0-rc1")]
TAGS = {
    "library/docker": [
        "29-dind",
        "28.6.0-dind",
        "29.9.1-dind",
        "29.10.0-dind-rootless",
        "30.0.0-rc.1-dind",
        "29.9.1-cli",
    ],
    "library/alpine": ["3.24.2", "3.24", "latest", "20260101"],
}
NOT_JSON = "<html>"


class Registries:
    """What Docker Hub and GitLab answer. asked: paths, with their queries."""

    def __init__(self) -> None:
        self.answer: Callable[[str], str] = usual
        self.asked: list[str] = []


def usual(path: str) -> str:
    if path.startswith("/releases"):
        return json.dumps(RELEASES)
    repository = path.removeprefix("/hub/").partition("/tags?")[0]
    return json.dumps({"results": [{"name": name} for name in TAGS.get(repository, [])]})


@pytest.fixture(name="registries")
def _registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registries]:
    registries = Registries()

    class Handler(Quiet):
        def do_GET(self) -> None:
            registries.asked.append(self.path)
            body = registries.answer(self.path).encode()
            # A client that has given up waiting is what one test is about.
            with suppress(ConnectionError):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with listening(Handler) as url:
        monkeypatch.setattr(versions, "HUB", f"{url}/hub")
        monkeypatch.setattr(versions, "RELEASES", f"{url}/releases")
        yield registries


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DINDRUNNER_SANDBOX", raising=False)


def shown(capsys: pytest.CaptureFixture[str], settings: str | None, stack: str = "dev") -> tuple[list[list[str]], str]:
    """The table's cells, and what was said besides."""
    if settings is not None:
        Path(f"Pulumi.{stack}.yaml").write_text(settings)
    assert main(["versions", "--stack", stack]) == 0
    out, error = capsys.readouterr()
    return [line.split() for line in out.splitlines()], error


OWN = """
config:
  gitlab-dind-runners:settings:
    target: docker-host
    daemon: {image: "docker:28.5.1-dind"}
    runners:
      - name: one
        token: {secure: v1:abc}
        image: alpine:3.22
        helper_image: registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper:arm-v18.5.0
      - name: two
        kind: job-dind
        image: registry.example.com/tools:3
"""


@pytest.mark.usefixtures("registries")
def test_each_image_has_a_line_with_default_set_and_newest(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, OWN) == (
        [
            ["setting", "default", "set", "newest"],
            ["daemon.image", DAEMON_IMAGE, "docker:28.5.1-dind", "29.9.1-dind"],
            ["runner_image", RUNNER_IMAGE, "-", "v19.10.0"],
            ["runners[0].image", CLIENT_IMAGE, "alpine:3.22", "3.24.2"],
            ["runners[0].helper_image", "-", f"{HELPER}:arm-v18.5.0", "arm-v19.10.0"],
            ["runners[1].image", CLIENT_IMAGE, "registry.example.com/tools:3", "unknown"],
            ["runners[1].job_daemon_image", DAEMON_IMAGE, "-", "29.9.1-dind"],
        ],
        "",
    )


@pytest.mark.usefixtures("registries")
def test_what_stacks_share_counts_as_set(capsys: pytest.CaptureFixture[str]) -> None:
    shared = "config:\n  gitlab-dind-runners:shared: {value: {runner_image: 'gitlab/gitlab-runner:alpine-v18.0.0'}}\n"
    Path("Pulumi.yaml").write_text(shared)
    table, _ = shown(capsys, "config:\n  gitlab-dind-runners:settings: {runners: []}\n")
    assert table[2] == ["runner_image", RUNNER_IMAGE, "gitlab/gitlab-runner:alpine-v18.0.0", "alpine-v19.10.0"]


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            None,
            "what stack dev sets is unknown: Pulumi.dev.yaml: is missing: copy Pulumi.dev.yaml and change its "
            "settings\n",
        ),
        (
            "config: [",
            "what stack dev sets is unknown: Pulumi.dev.yaml: is no YAML: line 1: expected the node content, but found "
            "'<stream end>'\n",
        ),
        ("config: {gitlab-dind-runners:settings: [1]}", "what stack dev sets is unknown: it is no table\n"),
        (
            "config: {gitlab-dind-runners:settings: 'token: s3cret'}",
            "what stack dev sets is unknown: settings: is no table: write target, gitlab and runners below it\n",
        ),
    ],
    ids=["no file", "no YAML", "no table", "a text"],
)
def test_settings_that_cannot_be_read_are_no_reason_to_fail(
    capsys: pytest.CaptureFixture[str], settings: str | None, said: str
) -> None:
    table, error = shown(capsys, settings)
    assert [row[2] for row in table] == ["set", "-", "-", "-"]
    assert error == said


@pytest.mark.usefixtures("registries")
def test_a_file_that_cannot_be_read_is_not_called_missing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("Pulumi.dev.yaml").write_bytes(b"\xff\xfe")
    why = "Pulumi.dev.yaml: cannot be read (it is no text): put it right, or write it anew"
    assert shown(capsys, None)[1] == f"what stack dev sets is unknown: {why}\n"
    Path("Pulumi.prod.yaml").mkdir()
    assert "Pulumi.prod.yaml: cannot be read (Is a directory): put it right" in shown(capsys, None, "prod")[1]


@pytest.mark.usefixtures("registries")
def test_settings_that_are_wrong_are_shown_as_far_as_they_go(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = "config:\n  gitlab-dind-runners:settings: {daemon: 7, runner_image: [], runners: [text, {image: 3}]}\n"
    table, error = shown(capsys, wrong)
    assert ([row[2] for row in table], error) == (["set", "-", "-", "-", "-"], "")


def test_the_stand_ins_of_a_running_sandbox_are_what_is_set(
    registries: Registries, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {role: f"dindrunner.local/{role}:1" for role in ("daemon", "runner", "helper", "job", "job_daemon")}
    found = {
        **{"url": "http://127.0.0.1:1", "token_file": "token", "registry": None, "group": "g", "project": "g/p"},
        "images": names | {"host_helper": "dindrunner.local/helper:1", "host_job": "dindrunner.local/job:1"},
    }
    Path("sandbox.json").write_text(json.dumps(found))
    own = "config:\n  gitlab-dind-runners:settings: {gitlab: {url: sandbox}, runners: [{name: a}]}\n"
    assert [row[2] for row in shown(capsys, own)[0]] == ["set", "-", "-", "-"]
    monkeypatch.setenv("DINDRUNNER_SANDBOX", "sandbox.json")
    table, _ = shown(capsys, own)
    assert [row[2:] for row in table[1:3]] == [
        ["dindrunner.local/daemon:1", "unknown"],
        ["dindrunner.local/runner:1", "unknown"],
    ]
    assert len(registries.asked) == 3, "nobody serves the stand-ins, so nobody is asked for them"


@pytest.mark.parametrize("answer", ["", NOT_JSON, "[]", "{}", '{"results": [{}]}', '[{"name": 1}]'])
def test_answers_that_make_no_sense_are_as_good_as_none(
    registries: Registries, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    registries.answer = lambda _: answer
    table, error = shown(capsys, OWN)
    assert {row[3] for row in table[1:]} <= {"unreachable", "unknown"}
    assert (table[1][3], error) == ("unreachable", "")


def test_registries_that_do_not_answer_in_time_are_not_waited_for(
    registries: Registries, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "ANSWER_SECONDS", 0.3)

    def late(path: str) -> str:
        time.sleep(1)
        return usual(path)

    registries.answer = late
    begun = time.monotonic()
    table, _ = shown(capsys, OWN)
    assert time.monotonic() - begun < 0.9
    assert [row[3] for row in table[1:3]] == ["unreachable", "unreachable"]


def test_registries_that_are_not_there_are_said_to_be_so_in_one_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(versions, "HUB", "http://127.0.0.1:1")
    monkeypatch.setattr(versions, "RELEASES", "http://127.0.0.1:1")
    table, error = shown(capsys, OWN)
    assert [row[3] for row in table[1:]] == ["unreachable"] * 4 + ["unknown", "unreachable"]
    assert error == ""


def test_each_registry_is_asked_for_each_image_once(registries: Registries, capsys: pytest.CaptureFixture[str]) -> None:
    shown(capsys, "config:\n  gitlab-dind-runners:settings: {runners: [{name: a}, {name: b}]}\n")
    assert sorted(registries.asked) == [
        "/hub/library/docker/tags?page_size=100&ordering=last_updated&name=cli",
        "/hub/library/docker/tags?page_size=100&ordering=last_updated&name=dind",
        "/releases?per_page=50",
    ]
