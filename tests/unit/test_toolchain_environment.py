"""`.toolchain/env` in real shells, the project's virtual environment, and the recipe of a build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolchain import gobuild, shared, venv
from toolchain.envfile import env_text
from toolchain.gobuild import GoBinary
from toolchain.shared import ToolchainError

_SHOW = "python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'"


@pytest.fixture(params=["sh", "bash"])
def shell(request: pytest.FixtureRequest) -> str:
    """A shell that is on this machine."""
    name = str(request.param)
    if not shutil.which(name):
        pytest.skip(f"{name} is not installed")
    return name


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose path needs quoting."""
    root = tmp_path / "it's a $HOME clone"
    (root / ".toolchain").mkdir(parents=True)
    (root / ".toolchain" / "env").write_text(env_text(root))
    return root


def source(shell: str, root: Path, *, times: int = 1, **variables: str) -> dict[str, str]:
    """The environment after sourcing the file, with the shell's strictest options, in the root directory."""
    script = 'set -eu; cd /; for _ in $TIMES; do . "$FILE"; done; ' + _SHOW
    outer = {"PATH": "/usr/bin:/bin", "FILE": str(root / ".toolchain" / "env"), "TIMES": "x " * times, **variables}
    done = subprocess.run([shell, "-c", script], env=outer, capture_output=True, text=True, check=True, timeout=30)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_sourcing_the_file_gives_everything_that_pulumi_needs(shell: str, checkout: Path) -> None:
    toolchain = checkout / ".toolchain"
    found = source(shell, checkout)
    assert found["PATH"] == f"{checkout}/.venv/bin:{toolchain}/bin:/usr/bin:/bin"
    assert found["PULUMI_HOME"] == str(toolchain / "pulumi-home")
    assert found["PULUMI_BACKEND_URL"] == f"file://{toolchain}/state"
    assert found["PULUMI_SKIP_UPDATE_CHECK"] == "true"
    assert found["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true"
    assert found["PULUMI_CONFIG_PASSPHRASE"] == "sandbox"
    assert found["DINDRUNNER_SANDBOX"] == str(toolchain / "sandbox.json")


def test_sourcing_it_again_changes_nothing(shell: str, checkout: Path) -> None:
    once, twice = source(shell, checkout), source(shell, checkout, times=2)
    assert {**once, "TIMES": ""} == {**twice, "TIMES": ""}


@pytest.mark.parametrize("chosen", ["mine", ""])
def test_a_passphrase_of_the_users_is_kept_even_an_empty_one(shell: str, checkout: Path, chosen: str) -> None:
    assert source(shell, checkout, PULUMI_CONFIG_PASSPHRASE=chosen)["PULUMI_CONFIG_PASSPHRASE"] == chosen


def test_a_passphrase_file_of_the_users_is_not_overruled(shell: str, checkout: Path) -> None:
    found = source(shell, checkout, PULUMI_CONFIG_PASSPHRASE_FILE="/run/secrets/passphrase")
    assert "PULUMI_CONFIG_PASSPHRASE" not in found


def test_another_backend_is_chosen_by_its_own_variable_only(shell: str, checkout: Path) -> None:
    found = source(shell, checkout, PULUMI_BACKEND_URL="s3://company", DINDRUNNER_BACKEND_URL="s3://runners")
    assert found["PULUMI_BACKEND_URL"] == "s3://runners"
    found = source(shell, checkout, PULUMI_BACKEND_URL="s3://company")
    assert found["PULUMI_BACKEND_URL"] == f"file://{checkout}/.toolchain/state"


def test_a_docker_host_of_the_users_is_kept(shell: str, checkout: Path) -> None:
    assert source(shell, checkout, DOCKER_HOST="tcp://pi:2376")["DOCKER_HOST"] == "tcp://pi:2376"


@pytest.mark.parametrize("changed", ["requirements.txt", "requirements-dev.txt", "constraints.txt"])
def test_the_packages_are_installed_again_when_a_requirement_changes(changed: str, tmp_path: Path) -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt"):
        (tmp_path / name).write_text("pytest==9.2.0\n")
    marker = tmp_path / "requirements.sha256"
    before = venv.requirements_digest(tmp_path)
    assert not venv.is_current(marker, before)
    marker.write_text(before + "\n")
    assert not venv.is_current(marker, before)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert venv.is_current(marker, before)
    (tmp_path / changed).write_text("pytest==9.2.1\n")
    assert not venv.is_current(marker, venv.requirements_digest(tmp_path))


def test_a_python_without_ensurepip_is_reported_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venv, "_can_make_venv", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    minor = sys.version_info.minor
    with pytest.raises(ToolchainError) as caught:
        venv.make_venv(tmp_path / "venv", say=print)
    assert str(caught.value) == (
        f"{sys.executable} cannot make virtual environments (its ensurepip is missing). Install it and repeat; "
        f"on Debian and Ubuntu: sudo sh -c 'apt-get update && apt-get install --yes python3.{minor}-venv'"
    )


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Go module in a checkout of the test's own."""
    directory = tmp_path / "toolchain" / "go" / "tool"
    directory.mkdir(parents=True)
    (directory / "go.mod").write_text("module example.test/tool\n\ngo 1.25.11\n")
    (directory / "go.sum").write_text("")
    monkeypatch.setattr(gobuild, "ROOT", tmp_path)
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path / "cache"))
    return directory


def test_a_build_is_kept_under_a_hash_of_all_that_it_is_made_from(module: Path) -> None:
    spec = GoBinary("tool", ".", "1.0.0")
    first = gobuild.cached_path(spec)
    assert first.name == "tool"
    assert gobuild.cached_path(spec) == first
    others = [
        GoBinary("tool", ".", "1.0.1"),
        GoBinary("tool", "./other", "1.0.0"),
        GoBinary("tool", ".", "1.0.0", ldflags="-X main.a=b"),
        GoBinary("tool", ".", "1.0.0", tags="small"),
    ]
    assert len({first, *(gobuild.cached_path(other) for other in others)}) == 1 + len(others)
    (module / "main.go").write_text("package main\n")
    assert gobuild.cached_path(spec) != first


def test_a_build_that_is_in_the_cache_needs_no_go(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = GoBinary("tool", ".", "1.0.0")
    built = gobuild.cached_path(spec)
    built.parent.mkdir(parents=True)
    built.write_text("program")
    monkeypatch.setenv("PATH", str(module))
    assert gobuild.build(spec, say=print) == built


def test_the_modules_of_what_is_built_already_are_not_downloaded(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(gobuild, "run", lambda command, **_: asked.append(" ".join(command[1:])))
    monkeypatch.setattr(gobuild, "find_go", lambda **_: module)
    spec = GoBinary("tool", "./cmd", "1.0.0", tags="small")
    gobuild.fetch(spec, say=print)
    assert asked == ["list -mod=readonly -deps -f  -tags small ./cmd"]
    built = gobuild.cached_path(spec)
    built.parent.mkdir(parents=True)
    built.write_text("program")
    gobuild.fetch(spec, say=print)
    assert len(asked) == 1


def test_a_compiler_that_was_ended_for_lack_of_memory_is_told_with_the_remedy(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = module / "go"
    go.write_text("#!/bin/sh\necho 'compile: signal: killed'\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setattr(gobuild, "find_go", lambda **_: go)
    monkeypatch.setattr(gobuild, "log_dir", lambda: module.parent)
    with pytest.raises(ToolchainError) as caught:
        gobuild.build(GoBinary("tool", ".", "1.0.0"), say=lambda _: None)
    assert str(caught.value) == (
        "there was too little memory for the compiler, and the kernel ended it: free some and repeat, which goes on "
        "from there. building tool 1.0.0 from Go modules: failed with exit code 1. Its whole output is in "
        f"{module.parent}/go-build-tool.log.\n    compile: signal: killed"
    )


def test_a_module_without_its_checksums_is_refused(module: Path) -> None:
    (module / "go.sum").unlink()
    with pytest.raises(ToolchainError) as caught:
        gobuild.cached_path(GoBinary("tool", ".", "1.0.0"))
    assert str(caught.value) == f"{module} holds no go.mod and go.sum: the checkout is not complete"


@pytest.mark.usefixtures("module")
def test_go_has_to_be_as_new_as_the_newest_module_asks() -> None:
    assert gobuild.needed_go_version() == (1, 25, 11)


def test_a_failed_build_leaves_nothing_in_the_cache(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (module / "main.go").write_text("package main\n\nfunc main() { undefined() }\n")
    monkeypatch.setattr(gobuild, "log_dir", lambda: module.parent)
    spec = GoBinary("tool", ".", "1.0.0")
    with pytest.raises(ToolchainError, match="undefined: undefined"):
        gobuild.build(spec, say=lambda _: None)
    assert [path.suffix for path in gobuild.cached_path(spec).parent.parent.iterdir()] == [".lock"]


@pytest.fixture
def fake_pip(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the commands that make environments by one that makes an empty python; returns what was run."""
    ran: list[str] = []

    def run(command: list[str | Path], **_: object) -> str:
        ran.append(" ".join(map(str, command[1:3])))
        if command[2] == "venv":
            python = Path(command[3]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()
        return ""

    monkeypatch.setattr(venv, "run", run)
    return ran


def test_an_environment_that_is_whole_is_left_alone(tmp_path: Path, fake_pip: list[str]) -> None:
    python = venv.make_venv(tmp_path / "venv", say=lambda _: None)
    (python.parent / "tool").touch()
    assert venv.make_venv(tmp_path / "venv", say=lambda _: None) == python
    assert (python.parent / "tool").exists()
    assert fake_pip.count("-m venv") == 1


def test_an_environment_that_was_interrupted_is_made_anew(
    tmp_path: Path, fake_pip: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venv, "VENV_DIR", tmp_path / "venv")
    monkeypatch.setattr(venv, "MARKER", tmp_path / "venv" / "requirements.sha256")
    monkeypatch.setattr(venv, "TOOLCHAIN_DIR", tmp_path)
    assert venv.ensure_project_venv(say=lambda _: None)
    half_installed = tmp_path / "venv" / "half-installed"
    half_installed.touch()
    (tmp_path / "venv" / "unfinished").touch()
    venv.MARKER.unlink()
    assert venv.ensure_project_venv(say=lambda _: None)
    assert not half_installed.exists()
    assert not (tmp_path / "venv" / "unfinished").exists()
    assert fake_pip.count("-m venv") == 2
    assert not venv.ensure_project_venv(say=lambda _: None)


def test_what_a_killed_run_has_left_at_work_on_an_environment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As venv does it: a process of its own puts pip into the environment, and outlives what has started it.
    work = 'mkdir -p "$0/bin"; touch "$0/bin/python"; sleep 1; mkdir -p "$0"; touch "$0/late"'
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport subprocess, sys\n"
        f"if '-c' not in sys.argv: subprocess.run(['sh', '-c', {work!r}, sys.argv[-1]])\n"
    )
    program.chmod(0o755)
    code = (
        "import sys; from pathlib import Path; from toolchain import venv\n"
        f"sys.executable = {str(program)!r}; venv.make_venv(Path({str(tmp_path / 'venv')!r}), say=print)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=shared.ROOT, stdout=subprocess.DEVNULL) as killed:
        while not (tmp_path / "venv/bin/python").exists():
            assert killed.poll() is None
            time.sleep(0.02)
        killed.kill()
    said: list[str] = []
    program.write_text('#!/bin/sh\n[ "$2" = venv ] || exit 0\nmkdir "$3/bin"; touch "$3/bin/python"\n')
    monkeypatch.setattr(sys, "executable", str(program))
    venv.make_venv(tmp_path / "venv", say=said.append)
    assert said[0] == f"waiting for another process that holds {tmp_path}/venv/unfinished"
    time.sleep(1)
    assert sorted(path.name for path in (tmp_path / "venv").iterdir()) == ["bin"]
