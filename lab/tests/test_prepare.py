"""What a machine is prepared with for stacks on the sandbox, in which order, and what the doctor says of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import images, prepare
from lab.__main__ import main
from toolchain import __main__ as command_line
from toolchain import doctor, engine, pulumi
from toolchain.program import Told
from toolchain.shared import ROOT, ToolchainError
from tools.target import describe


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts of `prepare` in the order in which they were done; nothing is done in earnest."""
    names: list[str] = []
    monkeypatch.setattr(command_line, "ensure_program", lambda name, _: names.append(name))
    monkeypatch.setattr(command_line, "ensure_project_venv", lambda **_: names.append("packages"))
    monkeypatch.setattr(command_line, "ensure_env_file", lambda: names.append("env"))
    monkeypatch.setattr(pulumi, "fetch_modules", lambda _: names.append("modules"))
    monkeypatch.setattr(pulumi, "ensure", lambda tool, **_: names.append(tool.name))
    monkeypatch.setattr(engine, "up", lambda _: names.append("engine"))
    monkeypatch.setattr(prepare, "build", lambda spec, **_: names.append(spec.name))
    monkeypatch.setattr(images, "ensure", lambda _: names.append("images"))
    monkeypatch.setattr(images, "recorded", lambda: {"dind": "dindrunner.local/dind:1"})
    return names


def test_the_images_are_made_on_the_engine_and_the_registry_that_serves_them_is_built(parts: list[str]) -> None:
    assert main(["prepare"]) == 0
    assert {"git", "packages", "modules", "pulumi", "docker plugin", "gitlab plugin"} < set(parts)
    assert parts.index("engine") < parts.index("images") < parts.index("registry")
    assert parts[-1] == "env"


def test_no_registry_is_built_where_there_are_no_images_to_serve(
    parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "recorded", lambda: {})
    assert main(["prepare"]) == 0
    assert "registry" not in parts


IMAGES = {"engine", "images", "registry"}
ENGINE = {"engine"}
CLUSTER = {"kubernetes plugin", "tls plugin"}


@pytest.mark.parametrize(
    ("settings", "docker_host", "wanted"),
    [
        ("Pulumi.dev.yaml", None, IMAGES),
        ("Pulumi.pi.yaml", None, set()),
        ("Pulumi.gke.yaml", None, CLUSTER),
        ("Pulumi.gke.yaml", "", CLUSTER),
        ("Pulumi.gke.yaml", "unix:///run/docker.sock", CLUSTER),
        ("Pulumi.gke.yaml", "ssh://pi@board", CLUSTER),
        ("{docker_host: 'tcp://far:2376'}", None, set()),
        ("{docker_host: 'ssh://pi@board', gitlab: {url: sandbox}}", None, IMAGES),
        ("{}", "ssh://pi@board", set()),
        ("{}", "tcp://far:2376", set()),
        ("{}", "unix:///run/docker.sock", ENGINE),
        ("{}", "", ENGINE),
        ("{docker_host: 'unix:///run/docker.sock'}", "ssh://pi@board", ENGINE),
        ("{docker_host: 'ssh://pi@board'}", "unix:///run/docker.sock", set()),
        ("{gitlab: {url: sandbox}}", "ssh://pi@board", IMAGES),
    ],
)
def test_an_engine_is_started_here_unless_the_stack_is_elsewhere_and_images_made_where_it_uses_the_sandbox(
    parts: list[str],
    settings: str,
    docker_host: str | None,
    wanted: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker_host or "")
    if docker_host is None:
        monkeypatch.delenv("DOCKER_HOST")
    own = f"config: {{gitlab-dind-runners:settings: {settings}}}"
    text = (ROOT / settings).read_text() if settings.startswith("Pulumi.") else own
    (tmp_path / "Pulumi.it.yaml").write_text(text)
    (tmp_path / "Pulumi.yaml").write_text(
        "config: {gitlab-dind-runners:shared: {value: {target: docker-host, gitlab: {scope: instance}}}}"
    )

    def answer(stack: str) -> Told:
        # The packages have to be there before the program can be asked, and what nobody asks for is done meanwhile.
        assert "packages" in parts
        return Told(**describe(tmp_path, stack, os.environ.get("DOCKER_HOST")))

    for module in (command_line, prepare):
        monkeypatch.setattr(module, "ask", answer)
    assert main(["prepare", "--stack", "it"]) == 0
    assert set(parts) & {*IMAGES, *CLUSTER} == wanted
    assert {"git", "packages", "modules", "pulumi", "docker plugin", "gitlab plugin", "env"} <= set(parts)


def test_settings_that_are_wrong_are_told_and_nothing_is_started(
    parts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: str) -> Told:
        raise ToolchainError("settings.target: 'gke-prod' is not known: use one of docker-host, raspberry-pi, gke")

    monkeypatch.setattr(command_line, "ask", refuse)
    assert main(["prepare", "--stack", "it"]) == 1
    assert capsys.readouterr().err == (
        "error: settings of stack it: settings.target: 'gke-prod' is not known: use one of docker-host, raspberry-pi, "
        "gke\n"
    )
    assert not {*IMAGES, "env"} & set(parts)


def test_images_that_cannot_be_made_are_named(
    parts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise ToolchainError("debootstrap: failed with exit code 1.")

    monkeypatch.setattr(images, "ensure", fail)
    assert main(["prepare"]) == 1
    assert capsys.readouterr().err == "error: images: debootstrap: failed with exit code 1.\n"
    assert not {"registry", "env"} & set(parts)


def test_the_images_alone_can_be_made(parts: list[str]) -> None:
    assert main(["images"]) == 0
    assert parts == ["images"]


@pytest.mark.parametrize(
    ("recorded", "line"),
    [
        (None, "images: run `python3 -m lab images`"),
        ({}, "pulled from their registries"),
        ({"job": "j", "dind": "d"}, "made here: dind, job; cache in "),
    ],
)
def test_the_doctor_tells_of_the_images(
    recorded: dict[str, str] | None, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(images, "recorded", lambda: recorded)
    monkeypatch.setattr(doctor, "examine", list)
    assert main(["doctor"]) == (1 if recorded is None else 0)
    assert line in capsys.readouterr().out
