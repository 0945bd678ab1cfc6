"""What the toolchain learns of a stack by asking the program, which runs in the environment of its packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from toolchain import program
from toolchain.program import Told, ask
from toolchain.shared import VENV_DIR, ToolchainError


@pytest.fixture(autouse=True)
def stack_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of stack files, and no answer from before."""
    if not (VENV_DIR / "bin" / "python").exists():
        pytest.skip("there is no .venv: run python3 -m toolchain install")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    ask.cache_clear()
    yield tmp_path
    ask.cache_clear()


def test_the_program_is_asked_once_for_the_stack_files_of_the_directory(stack_files: Path) -> None:
    # A module of that name there is not taken for the program.
    (stack_files / "tools.py").write_text("raise SystemExit(7)")
    file = stack_files / "Pulumi.it.yaml"
    file.write_text("config: {gitlab-dind-runners:settings: {target: docker-host, gitlab: {url: sandbox}}}")
    assert ask("it") == Told("docker-host", gitlab_is_sandbox=True, engine_is_elsewhere=False, is_on_cluster=False)
    file.unlink()
    assert ask("it").gitlab_is_sandbox


def test_what_is_wrong_is_said_in_the_programs_own_words() -> None:
    with pytest.raises(ToolchainError) as caught:
        ask("nope")
    assert str(caught.value) == "Pulumi.nope.yaml: is missing: copy Pulumi.dev.yaml and change its settings"


def test_a_program_that_does_not_answer_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_ANSWER_SECONDS", 0.001)
    with pytest.raises(ToolchainError) as caught:
        ask("it")
    assert str(caught.value) == "the settings of stack it were not read within 0.001 s: try again"


@pytest.mark.parametrize(
    ("target", "sandbox", "elsewhere", "here"),
    [
        ("docker-host", True, False, True),
        ("docker-host", False, False, True),
        ("docker-host", False, True, False),
        # The sandbox needs this machine's engine for itself.
        ("raspberry-pi", True, True, True),
        ("gke", True, True, True),
        ("gke", False, True, False),
    ],
)
def test_an_engine_is_needed_here_for_the_stack_or_for_the_sandbox(
    target: str, sandbox: bool, elsewhere: bool, here: bool
) -> None:
    on_cluster = target == "gke"
    told = Told(target, gitlab_is_sandbox=sandbox, engine_is_elsewhere=elsewhere, is_on_cluster=on_cluster)
    assert told.needs_engine_here is here
