"""What `python -m tools target` says of a stack, from files that are right, encrypted and wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stacks.settings.mistakes import SettingsError
from tools.__main__ import main
from tools.target import describe

ROOT = Path(__file__).resolve().parents[2]
PI = (ROOT / "Pulumi.pi.yaml").read_text()


def described(directory: Path, own: str, *, shared: str = "", engine: str | None = None) -> dict[str, Any]:
    """What is said of a stack with these settings of its own, in YAML, and these shared ones."""
    (directory / "Pulumi.yaml").write_text(
        f"name: gitlab-dind-runners\nconfig: {{gitlab-dind-runners:shared: {{value: {shared}}}}}\n" if shared else ""
    )
    (directory / "Pulumi.it.yaml").write_text(
        own if "\n" in own else f"config: {{gitlab-dind-runners:settings: {own}}}"
    )
    return describe(directory, "it", engine)


def line(target: str, *, sandbox: bool = False, elsewhere: bool = False, cluster: bool = False) -> dict[str, Any]:
    """What the command prints, read again."""
    where = {"gitlab_is_sandbox": sandbox, "engine_is_elsewhere": elsewhere, "is_on_cluster": cluster}
    return {"target": target, **where}


def facts(directory: Path, own: str, *, shared: str = "", engine: str | None = None) -> tuple[str, str]:
    """The same in two words: which GitLab, and whose engine."""
    told = described(directory, own, shared=shared, engine=engine)
    return (
        "sandbox" if told["gitlab_is_sandbox"] else "GitLab",
        "elsewhere" if told["engine_is_elsewhere"] else "here",
    )


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ("dev", line("docker-host", sandbox=True)),
        ("pi", line("raspberry-pi", elsewhere=True)),
        ("gke", line("gke", elsewhere=True, cluster=True)),
    ],
)
def test_the_projects_stacks_are_told_in_a_line_of_json(
    stack: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert main(["target", stack]) == 0
    [printed] = capsys.readouterr().out.splitlines()
    assert json.loads(printed) == expected


def test_a_board_whose_jobs_deploy_to_a_cluster_is_no_cluster(tmp_path: Path) -> None:
    told = described(tmp_path, PI.replace("        limit: 2\n", "        environment: {deploy_target: gke-prod}\n"))
    assert told == line("raspberry-pi", elsewhere=True)


@pytest.mark.parametrize(
    ("own", "engine", "said"),
    [
        ("{target: docker-host, gitlab: {url: sandbox}}", None, ("sandbox", "here")),
        ("{target: docker-host, gitlab: {url: https://sandbox.example.com}}", None, ("GitLab", "here")),
        ("{target: docker-host, runners: [{environment: {url: sandbox}}]}", None, ("GitLab", "here")),
        ("{target: docker-host, docker_host: 'tcp://far:2376'}", None, ("GitLab", "elsewhere")),
        ("{target: docker-host, runners: [{environment: {docker_host: 'tcp://d:1'}}]}", None, ("GitLab", "here")),
        ("{target: docker-host, docker_host: 'ssh://pi@b', gitlab: {url: sandbox}}", None, ("sandbox", "elsewhere")),
        ("{target: docker-host}", "ssh://pi@board", ("GitLab", "elsewhere")),
        ("{target: raspberry-pi}", "tcp://far:2376", ("GitLab", "elsewhere")),
        ("{target: docker-host}", "unix:///run/docker.sock", ("GitLab", "here")),
        ("{target: docker-host}", "", ("GitLab", "here")),
        ("{target: docker-host, docker_host: 'unix:///run/d.sock'}", "ssh://pi@board", ("GitLab", "here")),
        ("{target: docker-host, docker_host: 'ssh://pi@board'}", "unix:///run/d.sock", ("GitLab", "elsewhere")),
        ("{target: gke}", "unix:///run/docker.sock", ("GitLab", "elsewhere")),
    ],
)
def test_gitlab_and_engine_are_those_of_the_settings_and_of_the_environment_where_these_are_silent(
    tmp_path: Path, own: str, engine: str | None, said: tuple[str, str]
) -> None:
    assert facts(tmp_path, own, engine=engine) == said


@pytest.mark.parametrize(
    ("shared", "own", "said"),
    [
        ("{target: docker-host, gitlab: {url: sandbox}}", "{gitlab: {scope: project}}", ("sandbox", "here")),
        ("{docker_host: 'ssh://pi@board'}", "{target: docker-host}", ("GitLab", "elsewhere")),
        ("{docker_host: 'ssh://pi@board'}", "{target: docker-host, docker_host: null}", ("GitLab", "here")),
        ("{gitlab: {url: sandbox}}", "{target: docker-host, gitlab: null}", ("GitLab", "here")),
        ("{target: gke}", "{target: docker-host}", ("GitLab", "here")),
    ],
)
def test_what_stacks_share_counts_where_the_stacks_own_settings_neither_say_it_nor_take_it_away(
    tmp_path: Path, shared: str, own: str, said: tuple[str, str]
) -> None:
    assert facts(tmp_path, own, shared=shared) == said


def test_the_engine_of_the_environment_counts_where_the_stack_takes_the_shared_one_away(tmp_path: Path) -> None:
    shared, own = "{docker_host: 'unix:///run/docker.sock'}", "{target: docker-host, docker_host: null}"
    assert facts(tmp_path, own, shared=shared, engine="ssh://pi@board") == ("GitLab", "elsewhere")


def test_settings_that_were_set_as_a_text_in_json_are_read_as_pulumi_gives_them_to_the_program(tmp_path: Path) -> None:
    text = json.dumps({"target": "docker-host", "gitlab": {"url": "sandbox"}})
    assert facts(tmp_path, f"config:\n  gitlab-dind-runners:settings: '{text}'\n") == ("sandbox", "here")


def test_settings_of_a_project_of_another_name_are_below_its_name(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: ours\n")
    (tmp_path / "Pulumi.it.yaml").write_text("config: {ours:settings: {target: gke}}\n")
    assert describe(tmp_path, "it", None)["target"] == "gke"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("{target: docker-host, runners: [{token: {secure: v1:abc}}]}", ("GitLab", "here")),
        ("{target: docker-host, gitlab: {url: {secure: v1:abc}}}", ("GitLab", "here")),
        ("{target: docker-host, gitlab: {secure: v1:abc}}", ("GitLab", "here")),
        ("{target: docker-host, docker_host: {secure: v1:abc}}", ("GitLab", "elsewhere")),
    ],
)
def test_what_is_encrypted_is_neither_the_sandbox_nor_this_machines_engine(
    tmp_path: Path, own: str, said: tuple[str, str]
) -> None:
    assert facts(tmp_path, own, shared="{gitlab: {scope: project}}") == said


TARGETS = "use one of docker-host, raspberry-pi, gke"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("{target: gke-prod}", f"settings.target: 'gke-prod' is not known: {TARGETS}"),
        ("{gitlab: {url: sandbox}}", f"settings.target: none is not known: {TARGETS}"),
        ("{target: {secure: v1:abc}}", f"settings.target: (encrypted) is not known: {TARGETS}"),
        ("'token: s3cret'", "settings: is no table: write target, gitlab and runners below it"),
        ("[gke]", "settings: ['gke'] is no table: write target, gitlab and runners below it"),
        ("{secure: v1:abc}", "settings: (encrypted) is no table: write target, gitlab and runners below it"),
        (
            "{target: docker-host, docker_host: pi@board}",
            "settings.docker_host: 'pi@board' is no Docker engine: write it as unix:///path, tcp://host:port or "
            "ssh://user@host",
        ),
        (
            "{target: docker-host, docker_host: 5}",
            "settings.docker_host: 5 is not accepted: should be a valid string",
        ),
        (
            "config:\n  a: [\n",
            "Pulumi.it.yaml: is no YAML: line 3: expected the node content, but found '<stream end>'",
        ),
        (
            "config: {}\n",
            "settings: is missing in Pulumi.it.yaml: copy those of Pulumi.dev.yaml and change them",
        ),
    ],
)
def test_a_file_that_does_not_say_it_is_told_with_place_value_and_remedy(tmp_path: Path, own: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        described(tmp_path, own)
    assert str(caught.value) == said


def test_shared_settings_that_are_wrong_are_told_too(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        described(tmp_path, "{target: gke}", shared="[gke]")
    assert str(caught.value) == (
        "shared: is no table: write what all stacks have in common below its `value` in Pulumi.yaml"
    )
    (tmp_path / "Pulumi.yaml").write_text("name: [\n")
    with pytest.raises(SettingsError, match=r"^Pulumi.yaml: is no YAML: line 2: "):
        describe(tmp_path, "it", None)


def test_a_missing_file_is_told_and_nothing_is_printed_that_could_be_taken_for_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["target", "nope"]) == 1
    said = "Pulumi.nope.yaml: is missing: copy Pulumi.dev.yaml and change its settings\n"
    assert capsys.readouterr() == ("", said)
