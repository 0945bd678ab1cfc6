"""What is called around `pulumi up` and `pulumi destroy`, in which case; nothing is started, stopped or destroyed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import demo, images, lifecycle
from toolchain import engine
from toolchain.shared import ROOT, ToolchainError

NEXT_IMAGE = "dindrunner.local/dind-next:29-0a1b2c3d"
SANDBOX = "{target: docker-host, gitlab: {url: sandbox}}"
ON_GITLAB = "{target: docker-host, gitlab: {url: https://gitlab.com}}"
BOARD = (ROOT / "Pulumi.pi.yaml").read_text()
CLUSTER = (ROOT / "Pulumi.gke.yaml").read_text()
DESTROY = "pulumi --non-interactive destroy --yes --exclude-protected --parallel 8 --stack"


class Recorded:
    """A directory in which every call is only written down."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "calls"
        self.file.touch()
        self.directory = directory

    def note(self, *words: object) -> None:
        with self.file.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    @property
    def calls(self) -> list[str]:
        """All of them in order, those of Pulumi as they are typed."""
        return self.file.read_text().replace("pulumi --non-interactive --color=never", "pulumi").splitlines()

    def have(self, stack: str, settings: str) -> None:
        """A stack with these settings."""
        text = settings if "\n" in settings else f"config: {{gitlab-dind-runners:settings: {settings}}}\n"
        (self.directory / f"Pulumi.{stack}.yaml").write_text(text)

    def answer(self, commands: str) -> None:
        """What Pulumi answers, as a shell script."""
        program = self.directory / "pulumi"
        program.write_text(f'#!/bin/sh\necho "pulumi $*" >> "{self.file}"\n{commands}\n')
        program.chmod(0o755)

    def destroy(self, stack: str) -> int:
        return lifecycle.destroy(stack, lambda: self.note("sandbox up"), print)

    def stop(self, stack: str) -> None:
        lifecycle.stop(stack, lambda: self.note("sandbox down"), print)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """With the stacks dev, on the sandbox, pi and gke, which Pulumi knows."""
    made = Recorded(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    for stack, settings in {"dev": SANDBOX, "pi": BOARD, "gke": CLUSTER}.items():
        made.have(stack, settings)
    made.answer("""echo '[{"name": "dev"}, {"name": "pi"}, {"name": "gke"}, {"name": "prod"}]'""")
    monkeypatch.setattr(lifecycle, "TOOLCHAIN_DIR", tmp_path)
    monkeypatch.setattr(engine, "up", lambda _: made.note("engine up"))
    monkeypatch.setattr(engine, "down", lambda _: made.note("engine down"))
    monkeypatch.setattr(lifecycle, "recover", lambda stack, _: made.note("recover", stack))
    monkeypatch.setattr(lifecycle, "remove", lambda stack, _: made.note("remove", stack))

    def kept(stack: str) -> list[str]:
        made.note("kept", stack)
        return [f"kept: {stack}-data"]

    monkeypatch.setattr(lifecycle, "kept", kept)
    return made


def test_the_sandbox_is_started_for_a_stack_that_names_it_and_for_no_other(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.have("prod", ON_GITLAB)
    for stack in ("pi", "gke", "prod", "dev"):
        lifecycle.start_sandbox(stack, lambda stack=stack: recorded.note("sandbox up for", stack))  # type: ignore[misc]
    assert recorded.calls == ["sandbox up for dev"]
    assert capsys.readouterr().out == "== sandbox GitLab\n"


def test_a_stack_of_this_machine_is_destroyed_with_engine_and_sandbox_up_and_what_it_keeps_is_named(
    recorded: Recorded, capfd: pytest.CaptureFixture[str]
) -> None:
    recorded.answer("""case "$*" in *ls*) echo '[{"name": "dev"}]';; *destroy*) echo destroying;; esac""")
    assert recorded.destroy("dev") == 0
    assert recorded.calls == [
        "pulumi stack ls --json",
        "engine up",
        "sandbox up",
        "pulumi stack select dev",
        "recover dev",
        "kept dev",
        f"{DESTROY} dev",
        "remove dev",
    ]
    assert capfd.readouterr().out == ("== pulumi destroy of stack dev\n== sandbox GitLab\ndestroying\nkept: dev-data\n")


@pytest.mark.parametrize("stack", ["pi", "gke"])
def test_destroying_a_stack_elsewhere_starts_no_engine_here_and_names_what_it_keeps_there(
    recorded: Recorded, stack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recorded.destroy(stack) == 0
    assert recorded.calls == [
        "pulumi stack ls --json",
        f"pulumi stack select {stack}",
        f"recover {stack}",
        f"kept {stack}",
        f"{DESTROY} {stack}",
        f"remove {stack}",
    ]
    assert capsys.readouterr().out.endswith(f"kept: {stack}-data\n")


def test_destroying_a_stack_on_an_engine_of_the_environment_starts_none_here(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://pi@board")
    recorded.have("prod", ON_GITLAB)
    assert recorded.destroy("prod") == 0
    assert recorded.calls[:2] == ["pulumi stack ls --json", "pulumi stack select prod"]


@pytest.mark.parametrize("settings", [ON_GITLAB, ""], ids=["settings", "none any more"])
def test_destroying_a_stack_of_this_machine_starts_its_engine(recorded: Recorded, settings: str) -> None:
    if settings:
        recorded.have("prod", settings)
    assert recorded.destroy("prod") == 0
    assert recorded.calls[:3] == ["pulumi stack ls --json", "engine up", "pulumi stack select prod"]


def test_a_stack_that_is_not_there_is_said_and_nothing_is_touched(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recorded.destroy("nope") == 0
    assert recorded.calls == ["pulumi stack ls --json"]
    assert capsys.readouterr().out == "== pulumi destroy of stack nope\nthere is no stack nope\n"


def test_a_stack_that_could_not_be_destroyed_is_not_forgotten_and_pulumis_exit_code_is_kept(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.answer("""case "$*" in *ls*) echo '[{"name": "dev"}]';; *destroy*) exit 255;; esac""")
    assert recorded.destroy("dev") == 255
    assert recorded.calls[-1] == f"{DESTROY} dev"
    assert "kept" not in capsys.readouterr().out


def test_nothing_is_destroyed_where_pulumi_cannot_tell_which_stacks_there_are(recorded: Recorded) -> None:
    recorded.answer("exit 255")
    with pytest.raises(ToolchainError):
        recorded.destroy("dev")
    assert recorded.calls == ["pulumi stack ls --json"]


def states(*resources: str) -> str:
    """A shell script as which Pulumi has stack dev, with these resources."""
    listed = f'[{{"name": "dev", "resourceCount": {len(resources)}}}]'
    return f"""case "$*" in *ls*) echo '{listed}';; *export*)
echo '{{"deployment": {{"resources": [{", ".join(resources)}]}}}}';; esac"""


CONTAINER = '{"type": "docker:index/container:Container", "custom": true}'
CLAIM = '{"type": "kubernetes:core/v1:PersistentVolumeClaim", "custom": true, "protect": true}'


@pytest.mark.parametrize("resources", [(), (CLAIM,)], ids=["nothing", "what is protected"])
def test_the_last_stack_takes_the_sandbox_and_the_engine_with_it(
    recorded: Recorded, resources: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.answer(states(*resources))
    recorded.stop("dev")
    assert recorded.calls[-2:] == ["sandbox down", "engine down"]
    assert capsys.readouterr().out == "== sandbox GitLab and Docker engine\n"


def test_the_sandbox_and_the_engine_stay_while_another_stack_is_up(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.answer(states(CLAIM, CONTAINER))
    recorded.stop("nope")
    assert recorded.calls == ["pulumi stack ls --json", "pulumi stack export --stack dev"]
    assert capsys.readouterr().out == (
        "the sandbox and the engine stay, because another stack is still up (pulumi stack ls)\n"
    )


def test_nothing_is_stopped_where_pulumi_cannot_tell_which_stacks_are_up(recorded: Recorded) -> None:
    recorded.answer("exit 255")
    with pytest.raises(ToolchainError):
        recorded.stop("dev")
    assert recorded.calls == ["pulumi stack ls --json"]


def test_nothing_is_destroyed_or_stopped_where_the_settings_do_not_say_where_the_stack_is(recorded: Recorded) -> None:
    recorded.have("dev", "{target: dev}")
    for end in (recorded.destroy, recorded.stop):
        with pytest.raises(ToolchainError) as caught:
            end("dev")
        assert str(caught.value) == ("settings.target: 'dev' is not known: use one of docker-host, raspberry-pi, gke")
    assert recorded.calls == ["pulumi stack ls --json"]


@pytest.mark.parametrize("stack", ["pi", "gke"])
def test_a_stack_elsewhere_stops_nothing_here(
    recorded: Recorded, stack: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.stop(stack)
    assert recorded.calls == []
    assert capsys.readouterr().out == ""


def test_the_demo_on_the_next_daemon_gives_the_stack_that_one_in_settings_of_its_own(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(images, "ensure_next", lambda _: NEXT_IMAGE)
    recorded.answer("")
    assert lifecycle.use_next_daemon("dev", "next", print) == 0
    file = tmp_path / "Pulumi.dev-next.yaml"
    path = "gitlab-dind-runners:settings.daemon.image"
    assert recorded.calls == [
        "recover dev",
        f"pulumi config set --stack dev --config-file {file} --path {path} {NEXT_IMAGE}",
        f"pulumi --non-interactive up --yes --parallel 8 --stack dev --config-file {file}",
    ]
    assert file.read_text() == (tmp_path / "Pulumi.dev.yaml").read_text()
    assert capfd.readouterr().out == "== stack dev with a daemon of the next series, until the next make up\n"


@pytest.mark.parametrize("failing", ["image", "pulumi"])
def test_there_is_no_demo_where_the_stack_did_not_get_the_next_daemon(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def image(_: object) -> str:
        if failing == "image":
            raise ToolchainError("no daemon of the next series is made")
        return NEXT_IMAGE

    monkeypatch.setattr(images, "ensure_next", image)
    monkeypatch.setattr(demo, "connect", lambda _: pytest.fail("the demo has begun"))
    recorded.answer("""case "$*" in *up*) exit 255;; esac""")
    if failing == "pulumi":
        assert demo.main(["--stack", "dev", "--daemon", "next"]) == 255
    else:
        with pytest.raises(ToolchainError):
            demo.main(["--stack", "dev", "--daemon", "next"])


def test_another_daemon_than_the_next_one_is_refused(recorded: Recorded) -> None:
    with pytest.raises(ToolchainError) as caught:
        demo.main(["--stack", "dev", "--daemon", "29"])
    assert str(caught.value) == "DAEMON is 29: write DAEMON=next, or leave it out for the stack's own daemon"
    assert recorded.calls == []


@pytest.mark.parametrize("settings", [ON_GITLAB, "{target: gke, gitlab: {url: sandbox}}"], ids=["GitLab", "gke"])
def test_only_a_stack_of_the_sandbox_on_this_machine_gets_the_next_daemon(recorded: Recorded, settings: str) -> None:
    recorded.have("prod", settings)
    with pytest.raises(ToolchainError) as caught:
        lifecycle.use_next_daemon("prod", "next", print)
    assert str(caught.value) == (
        "stack prod keeps its daemon: one of the next series is for stacks on this machine whose GitLab is the sandbox"
    )
    assert recorded.calls == []


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    assert holds()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_pulumi_end_what_it_is_doing_and_nothing_follows(
    recorded: Recorded, number: signal.Signals
) -> None:
    """By Ctrl-C, which the terminal sends to both, and by a signal to this process alone."""
    # Pulumi says that all went well where it had not begun yet.
    begin = "trap 'echo ended >> calls; exit 0' INT; echo begun >> calls; while :; do sleep 0.05; done"
    answers = (
        """case "$*" in *ls*) echo '[{"name": "pi"}]';; *export*) echo '{"deployment": null}';; *destroy*) %s;; esac"""
    )
    recorded.answer(answers % begin)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PULUMI_BACKEND_URL": "s3://state"}
    command = [sys.executable, "-m", "lab", "take-down", "pi"]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    wait_until(lambda: "begun" in recorded.calls)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(timeout=30) == 130
    assert recorded.calls[-1] == "ended"


def test_a_signal_while_pulumi_is_being_started_leaves_no_pulumi_behind(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Popen(subprocess.Popen[bytes]):
        def __init__(self, command: list[str]) -> None:
            super().__init__(command)
            signal.raise_signal(signal.SIGTERM)

    recorded.answer("sleep 0.2; echo ended >> calls")
    monkeypatch.setattr(subprocess, "Popen", Popen)
    with pytest.raises(KeyboardInterrupt):
        lifecycle._on_terminal("destroy")
    assert recorded.calls == ["pulumi --non-interactive destroy", "ended"]
