"""What the engine module decides before it starts anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from toolchain import engine
from toolchain.shared import ToolchainError

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
"""


def test_containers_get_the_mtu_of_the_default_route_with_the_lowest_metric() -> None:
    assert engine.default_route_mtu(ROUTES, {"tun0": 1280, "wlan0": 1500, "eth0": 1400}) == 1400


def test_half_of_all_addresses_is_no_default_route() -> None:
    routes = ROUTES.splitlines()[0] + "\ntun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n"
    assert engine.default_route_mtu(routes, {"tun0": 1280}) == 1500


def test_without_a_default_route_the_mtu_is_the_one_of_docker() -> None:
    assert engine.default_route_mtu(ROUTES.splitlines()[0], {"eth0": 1400}) == 1500


@pytest.mark.parametrize(
    ("bounding", "lacks"),
    [("000001ffffffffff", False), ("000001fffeffffff", True), ("000003ffffffffff", False), ("0000000000000000", True)],
)
def test_a_bounding_set_lacks_something_if_any_of_the_kernels_capabilities_is_absent(
    bounding: str, lacks: bool
) -> None:
    status = f"Name:\tpython3\nCapEff:\t000001ffffffffff\nCapBnd:\t{bounding}\n"
    assert engine.lacks_capabilities(status, last_capability=40) is lacks


def test_an_engine_chosen_by_the_user_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(ToolchainError) as error:
        engine.up(print)
    assert str(error.value) == (
        f"DOCKER_HOST is unix://{tmp_path}/docker.sock, and no Docker engine answers there: start it, or unset "
        "DOCKER_HOST to use the one of this machine"
    )


def test_who_is_not_root_and_cannot_sudo_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError) as error:
        engine.root_prefix("a Docker engine has to be started")
    assert str(error.value) == (
        "a Docker engine has to be started, and that needs root: run as root, allow sudo without a password, or start "
        "Docker yourself (https://docs.docker.com/engine/install/) and try again"
    )


def test_root_commands_of_a_sudoer_go_through_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\nexit 0\n")
    sudo.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert engine.root_prefix("it") == ["sudo", "-n"]


def test_a_process_that_took_over_our_pid_is_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path))
    said: list[str] = []
    with subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "engine").mkdir()
        (tmp_path / "engine" / "dockerd.pid").write_text(str(other.pid))
        engine.down(said.append)
        assert other.poll() is None
        other.kill()
    assert said == ["engine: none that was started here"]
