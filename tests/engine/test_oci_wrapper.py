"""The OCI wrapper as a daemon calls it, with a script in the place of the real runc."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from toolchain.engine import OCI_WRAPPER
from toolchain.gobuild import build

LACKING = "sys_time"
WANTED = ["CAP_CHOWN", "CAP_SYS_TIME", "CAP_FROM_THE_FUTURE"]
KEPT = ["CAP_CHOWN", "CAP_FROM_THE_FUTURE"]
PROCESS = {
    "args": ["sh", "-c", "echo <&>"],
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 18446744073709551615, "soft": 1024}],
    "capabilities": {"bounding": WANTED, "effective": WANTED, "permitted": WANTED, "inheritable": []},
}
STRIPPED = {**PROCESS, "capabilities": {"bounding": KEPT, "effective": KEPT, "permitted": KEPT, "inheritable": []}}


@pytest.fixture(scope="module")
def wrapper() -> Path:
    return build(OCI_WRAPPER, say=print)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of a privileged container; beside it in `bin` the wrapper's `runc` to be called."""
    (tmp_path / "bundle").mkdir()
    write(tmp_path / "bundle" / "config.json", {"ociVersion": "1.0.2", "process": PROCESS, "root": {"path": "rootfs"}})
    return tmp_path / "bundle"


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def call(
    wrapper: Path, folder: Path, *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the wrapper, first on PATH as `runc`, without one capability; the next `runc` prints its arguments."""
    first, second = folder / "first", folder / "second"
    for directory in (first, second):
        directory.mkdir(exist_ok=True)
    if not (first / "runc").exists():
        (first / "runc").symlink_to(wrapper)
    (second / "runc").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n')
    (second / "runc").chmod(0o755)
    return subprocess.run(
        ["setpriv", "--bounding-set", f"-{LACKING}", "--", "runc", *map(str, arguments)],
        env={"PATH": f"{first}:{second}:{os.environ['PATH']}"},
        cwd=cwd,
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("form", [["--bundle", "{}"], ["--bundle={}"], ["-b", "{}"], ["-bundle", "{}"]])
@pytest.mark.parametrize("command", ["create", "run"])
def test_a_bundle_loses_the_lacking_capability_and_nothing_else(
    wrapper: Path, bundle: Path, tmp_path: Path, command: str, form: list[str]
) -> None:
    arguments = ["--root", "/run/create", "--systemd-cgroup", command, "--pid-file", "p", *form, "id"]
    done = call(wrapper, tmp_path, *[word.format(bundle) for word in arguments])
    assert done.stdout.splitlines() == [word.format(bundle) for word in arguments]
    assert done.returncode == 7
    assert read(bundle / "config.json") == {
        "ociVersion": "1.0.2",
        "process": STRIPPED,
        "root": {"path": "rootfs"},
    }
    assert "18446744073709551615" in (bundle / "config.json").read_text()


def test_without_an_option_the_bundle_is_the_working_directory(wrapper: Path, bundle: Path, tmp_path: Path) -> None:
    assert call(wrapper, tmp_path, "create", "id", cwd=bundle).returncode == 7
    assert read(bundle / "config.json")["process"] == STRIPPED


@pytest.mark.parametrize("form", [["--process", "{}"], ["--process={}"], ["-p", "{}"]])
def test_an_exec_loses_the_lacking_capability(wrapper: Path, tmp_path: Path, form: list[str]) -> None:
    file = tmp_path / "process.json"
    write(file, PROCESS)
    done = call(wrapper, tmp_path, "--log", "exec", "exec", *[word.format(file) for word in form], "--detach", "id")
    assert done.returncode == 7
    assert read(file) == STRIPPED


def test_an_exec_that_starts_a_command_called_like_an_option_keeps_its_arguments(wrapper: Path, tmp_path: Path) -> None:
    done = call(wrapper, tmp_path, "exec", "id", "--", "tool", "--process", "nowhere.json")
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize("command", [["state", "id"], ["--version"], ["kill", "--all", "id", "9"], []])
def test_other_commands_go_through_untouched(wrapper: Path, bundle: Path, tmp_path: Path, command: list[str]) -> None:
    before = (bundle / "config.json").read_bytes()
    done = call(wrapper, tmp_path, *command, cwd=bundle)
    assert done.stdout == "".join(f"{word}\n" for word in command) or not command
    assert done.returncode == 7
    assert (bundle / "config.json").read_bytes() == before


def test_a_missing_bundle_is_left_for_runc_to_report(wrapper: Path, tmp_path: Path) -> None:
    assert call(wrapper, tmp_path, "create", "--bundle", tmp_path / "nowhere", "id").returncode == 7


def test_a_broken_configuration_is_named(wrapper: Path, bundle: Path, tmp_path: Path) -> None:
    (bundle / "config.json").write_text("{")
    done = call(wrapper, tmp_path, "create", "--bundle", bundle, "id")
    assert done.returncode == 1
    assert done.stderr == f"oci-wrapper: {bundle}/config.json: unexpected end of JSON input\n"
