"""What a machine is prepared with for stacks on the sandbox, in which order, and what the doctor says of it."""

from __future__ import annotations

import pytest

from lab import images, prepare
from lab.__main__ import main
from toolchain import __main__ as command_line
from toolchain import doctor, engine, pulumi
from toolchain.shared import ToolchainError


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
