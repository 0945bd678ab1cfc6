"""The toolchain's command line: what runs in which order, exit codes, last words."""

from __future__ import annotations

import errno
import signal

import pytest

from toolchain import __main__ as command_line
from toolchain import doctor, engine, pulumi
from toolchain.doctor import Row
from toolchain.engine import Status
from toolchain.parts import Part
from toolchain.program import Told
from toolchain.pulumi import release_platform
from toolchain.shared import ToolchainError


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, by name; nothing is done in earnest."""
    names: list[str] = []
    monkeypatch.setattr(command_line, "install", lambda *_: names.append("install"))
    monkeypatch.setattr(command_line, "up", lambda _: names.append("up"))
    monkeypatch.setattr(command_line, "clean", lambda _: names.append("clean"))
    monkeypatch.setattr(engine, "up", lambda _: names.append("engine up"))
    monkeypatch.setattr(engine, "down", lambda _: names.append("engine down"))
    return names


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["up"], ["up"]),
        (["install"], ["install"]),
        (["clean"], ["clean"]),
        (["engine", "up"], ["engine up"]),
        (["engine", "down"], ["engine down"]),
    ],
)
def test_a_command_does_what_it_is_named_after(arguments: list[str], expected: list[str], done: list[str]) -> None:
    assert command_line.main(arguments) == 0
    assert done == expected


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts of `up` and `install` in the order in which they were done; nothing is done in earnest."""
    names: list[str] = []
    monkeypatch.setattr(command_line, "ensure_program", lambda name, _: names.append(name))
    monkeypatch.setattr(command_line, "ensure_project_venv", lambda **_: names.append("packages"))
    monkeypatch.setattr(command_line, "ensure_env_file", lambda: names.append("env"))
    monkeypatch.setattr(pulumi, "fetch_modules", lambda _: names.append("modules"))
    monkeypatch.setattr(pulumi, "ensure", lambda tool, **_: names.append(tool.name))
    monkeypatch.setattr(engine, "up", lambda _: names.append("engine"))
    return names


def test_up_does_everything_and_what_depends_on_something_after_it(parts: list[str]) -> None:
    assert command_line.main(["up"]) == 0
    assert sorted(parts[:-1]) == sorted(
        ["git", "packages", "modules", "pulumi", "docker plugin", "gitlab plugin", "engine"]
    )
    assert parts[-1] == "env"
    assert parts.index("pulumi") < parts.index("docker plugin")


def test_parts_of_others_are_done_beside_those_of_up(parts: list[str]) -> None:
    own = Part("lab", lambda: parts.append("lab"), needs=(command_line.ENGINE,))
    command_line.up(lambda _: None, [own])
    assert parts.index("engine") < parts.index("lab") < parts.index("env")


def test_install_needs_no_engine(parts: list[str]) -> None:
    assert command_line.main(["install"]) == 0
    assert "engine" not in parts
    assert parts[-1] == "env"


@pytest.mark.parametrize(
    ("target", "plugins"), [("docker-host", []), ("raspberry-pi", []), ("gke", ["kubernetes plugin", "tls plugin"])]
)
def test_install_for_a_stack_has_the_plugins_that_this_one_needs(
    parts: list[str], monkeypatch: pytest.MonkeyPatch, target: str, plugins: list[str]
) -> None:
    def answer(stack: str) -> Told:
        assert (stack, "packages" in parts) == ("it", True)
        return Told(target, gitlab_is_sandbox=False, engine_is_elsewhere=False, is_on_cluster=target == "gke")

    monkeypatch.setattr(command_line, "ask", answer)
    assert command_line.main(["install", "--stack", "it"]) == 0
    assert parts[parts.index("env") + 1 :] == plugins
    assert "engine" not in parts


def test_install_leaves_it_to_the_preview_to_say_what_is_wrong_with_a_stacks_settings(
    parts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: str) -> Told:
        raise ToolchainError("settings.target: 'gke-prod' is not known: use one of docker-host, raspberry-pi, gke")

    monkeypatch.setattr(command_line, "ask", refuse)
    assert command_line.main(["install", "--stack", "it"]) == 0
    assert parts[-1] == "env"
    assert capsys.readouterr().err.splitlines()[-1].partition("] ")[2] == (
        "stack it gets no plugins of its own, because its target is not known: settings.target: 'gke-prod' is not "
        "known: use one of docker-host, raspberry-pi, gke"
    )


def test_a_part_that_fails_is_named(
    parts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise ToolchainError("apt-get: failed with exit code 100.")

    monkeypatch.setattr(engine, "up", fail)
    assert command_line.main(["up"]) == 1
    assert capsys.readouterr().err == "error: Docker engine: apt-get: failed with exit code 100.\n"
    assert "env" not in parts


def test_a_full_disk_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/cache/go/pulumi")

    monkeypatch.setattr(command_line, "install", fill)
    assert command_line.main(["install"]) == 1
    assert capsys.readouterr().err == (
        "error: /cache/go/pulumi: no space is left on its device: free some (`docker system df` and "
        "`du -sh ~/.cache` show what takes it) and repeat; what is done already is kept\n"
    )


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ToolchainError("Docker cannot be installed"), 1, "error: Docker cannot be installed\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from here\n"),
    ],
)
def test_what_goes_wrong_is_said_without_a_traceback(
    error: BaseException, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(command_line, "install", fail)
    assert command_line.main(["install"]) == code
    assert capsys.readouterr().err == text


def test_a_termination_is_handled_as_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "install", lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert command_line.main(["install"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("version", "code", "text"), [("20.10.24", 0, "Docker 20.10.24"), (None, 1, "nothing answers")]
)
def test_the_engines_status_is_told_in_words_and_by_the_exit_code(
    version: str | None, code: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "status", lambda: Status("unix:///run/docker.sock", version, ours=False))
    assert command_line.main(["engine", "status"]) == code
    assert capsys.readouterr().out == f"unix:///run/docker.sock: {text}\n"


@pytest.mark.parametrize(("needed", "code"), [(True, 1), (False, 0)])
def test_the_doctor_fails_where_something_needed_is_missing(
    needed: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Row("it", "", "missing", "get it", needed=needed)])
    assert command_line.main(["doctor"]) == code


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [("linux", "x86_64", "linux-x64"), ("linux", "aarch64", "linux-arm64"), ("darwin", "arm64", "darwin-arm64")],
)
def test_a_machine_is_named_as_the_releases_name_it(
    system: str, machine: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert release_platform() == name


def test_a_machine_without_a_release_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "armv7l")
    with pytest.raises(ToolchainError) as caught:
        release_platform()
    assert str(caught.value) == "there is no Pulumi release for linux on armv7l"
