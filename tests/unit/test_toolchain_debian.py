"""What is done as root on the machine, and what is said where that is not possible."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from toolchain import debian
from toolchain.shared import ToolchainError


def test_who_is_not_root_and_cannot_sudo_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError) as error:
        debian.root_prefix("a Docker engine has to be started")
    assert str(error.value) == (
        "a Docker engine has to be started, and that needs root: run as root, allow sudo without a password, or start "
        "Docker yourself (https://docs.docker.com/engine/install/) and try again"
    )


def test_root_commands_of_a_sudoer_go_through_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "sudo")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert debian.root_prefix("it") == ["sudo", "-n"]


@pytest.mark.parametrize("sudo", ["exit 1", "exec /bin/sleep 20"])
def test_a_sudo_that_refuses_or_does_not_answer_is_none(
    sudo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "sudo", sudo)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(debian, "_SUDO_LIMIT", 0.2)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"^it, and that needs root: "):
        debian.root_prefix("it")


def program(directory: Path, name: str, text: str = "exit 0") -> str:
    """The path of a program, which by itself does nothing."""
    file = directory / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


def test_programs_of_root_are_found_outside_of_the_users_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = program(tmp_path, "dockerd")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(debian, "ROOT_PATH", str(tmp_path))
    assert debian.find_program("dockerd") == mine
    assert debian.find_program("no-such-program") is None


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that were run, without what all have in front; the first installation is refused by dpkg."""
    ran: list[str] = []

    def run(command: list[str], **_: object) -> str:
        ran.append(" ".join(command).partition("noninteractive ")[2].replace(" -qq -o DPkg::Lock::Timeout=300", ""))
        if " install " in ran[-1] and ran.count(ran[-1]) == 1:
            raise ToolchainError("E: dpkg was interrupted, you must manually run 'dpkg --configure -a'")
        return ""

    monkeypatch.setattr(debian, "run", run)
    monkeypatch.setattr(debian, "log_dir", lambda: tmp_path)
    return ran


def test_an_interrupted_installation_is_completed_and_no_package_is_ever_removed(commands: list[str]) -> None:
    debian.install_packages(["docker.io", "iptables"], ["sudo", "-n"])
    install = "apt-get install --yes --no-install-recommends --no-remove docker.io iptables"
    assert commands == ["apt-get update", install, "dpkg --configure -a", install]


def test_a_package_that_cannot_be_installed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> str:
        if "install" in command:
            raise ToolchainError("E: Packages need to be removed but remove is disabled.")
        return ""

    monkeypatch.setattr(debian, "run", run)
    monkeypatch.setattr(debian, "log_dir", lambda: tmp_path)
    with pytest.raises(ToolchainError, match=r"^E: Packages need to be removed but remove is disabled\.$"):
        debian.install_packages(["docker.io"], [])


@pytest.mark.parametrize("apt", [True, False])
def test_a_missing_git_that_may_not_be_installed_is_named(
    apt: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if apt:
        program(tmp_path, "apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError) as error:
        debian.ensure_program("git", print)
    assert str(error.value) == (
        "git is missing: install it (on Debian and Ubuntu: sudo apt-get install git) and try again"
    )


def test_a_missing_git_is_installed_by_root(
    commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    debian.ensure_program("git", lambda _: None)
    assert commands[-1] == "apt-get install --yes --no-install-recommends --no-remove git"


def test_parts_that_run_beside_each_other_take_turns_with_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(command: list[str], **_: object) -> str:
        ran.append(threading.current_thread().name + " " + " ".join(word for word in command if word in _VERBS))
        time.sleep(0.02)
        return ""

    monkeypatch.setattr(debian, "run", run)
    monkeypatch.setattr(debian, "log_dir", lambda: tmp_path)
    threads = [
        threading.Thread(target=debian.install_packages, args=([name], []), name=name) for name in ("git", "mmdebstrap")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, other = (ran[0].split()[0], ran[-1].split()[0])
    assert {one, other} == {"git", "mmdebstrap"}
    assert ran == [f"{one} update", f"{one} install", f"{other} update", f"{other} install"]


_VERBS = ("update", "install")
