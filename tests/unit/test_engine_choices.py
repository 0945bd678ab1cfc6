"""What the engine module decides before it starts anything."""

from __future__ import annotations

import json
import socket
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


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A daemon of ours that runs on a machine that is made up; the commands that were run on it."""
    ran: list[list[str]] = []
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path))
    monkeypatch.setattr(engine, "_our_pid", lambda: 4711)
    monkeypatch.setattr(engine, "root_prefix", lambda _: ["sudo", "-n"])
    monkeypatch.setattr(engine, "run", lambda command, **_: ran.append(command))
    return ran


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "engine: left running, because it does not say which containers use it"),
        ('[{"Names": ["/b"]}, {"Names": ["/a"]}]', "engine: left running, because containers use it: a, b"),
    ],
)
def test_an_engine_is_stopped_only_when_it_says_that_no_container_uses_it(
    answer: str | None, said: str, ours: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(engine, "_ask", lambda *_: answer)
    engine.down(lines.append)
    assert lines == [said]
    assert ours == []


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A socket that exists but refuses this user, as long as the list has an item."""
    refuses = [True]
    monkeypatch.setattr(engine, "_refused", lambda _: bool(refuses))
    monkeypatch.setattr(engine, "_server_version", lambda _: None if refuses else "28.5.1")
    return refuses


@pytest.mark.usefixtures("refusing")
def test_a_service_whose_socket_refuses_the_user_is_not_waited_for() -> None:
    with pytest.raises(ToolchainError) as error:
        engine._wait_ready("journalctl -u docker shows why")
    assert str(error.value) == (
        "unix:///var/run/docker.sock exists, but this user may not open it: add the user to the group docker and log "
        "in again, or set DOCKER_HOST"
    )


def test_the_socket_of_our_own_daemon_is_given_to_the_user_alone(
    ours: list[list[str]], refusing: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **_: object) -> None:
        ours.append(command)
        refusing.clear()

    monkeypatch.setattr(engine, "run", run)
    monkeypatch.setattr("os.getuid", lambda: 1234)
    with subprocess.Popen(["sleep", "60"]) as daemon:
        engine._wait_ready("its log", daemon, ["sudo", "-n"])
        daemon.kill()
    assert ours == [["sudo", "-n", "chown", "1234", "/var/run/docker.sock"]]


def test_a_socket_that_may_not_be_opened_is_told_from_one_that_nobody_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "docker.sock")
    assert not engine._refused(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        assert not engine._refused(path)

    class Refusing(socket.socket):
        def connect(self, _: object) -> None:
            raise PermissionError

    monkeypatch.setattr(socket, "socket", Refusing)
    assert engine._refused(path)


def test_the_daemon_does_not_look_for_programs_where_the_user_may_write_before_those_of_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[object]] = []

    def popen(command: list[object], **_: object) -> None:
        started.append(command)
        raise KeyboardInterrupt

    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin")
    monkeypatch.setattr(engine, "lacks_capabilities", lambda *_: False)
    monkeypatch.setattr(engine, "find_program", lambda _: "/opt/docker/dockerd")
    monkeypatch.setattr("subprocess.Popen", popen)
    (tmp_path / "engine").mkdir()
    with pytest.raises(KeyboardInterrupt):
        engine._start(print, ["sudo", "-n"])
    assert started[0][:5] == [
        *("sudo", "-n", "env"),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/docker",
        Path("/opt/docker/dockerd"),
    ]
    assert "group" not in json.loads((tmp_path / "engine" / "daemon.json").read_text())
