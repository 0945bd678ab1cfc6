"""What the engine module decides before it starts anything."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from toolchain import docker, engine
from toolchain.debian import ROOT_PATH
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


def test_an_interface_that_has_just_gone_has_no_mtu(tmp_path: Path) -> None:
    (tmp_path / "eth0").mkdir()
    (tmp_path / "eth0" / "mtu").write_text("1400\n")
    (tmp_path / "veth1").symlink_to(tmp_path / "gone")
    (tmp_path / "bonding_masters").write_text("")
    assert engine._mtus(tmp_path) == {"eth0": 1400}


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


def test_the_daemon_of_a_machine_does_not_look_for_programs_where_users_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[object]] = []

    def popen(command: list[object], **_: object) -> None:
        started.append(command)
        raise KeyboardInterrupt

    (tmp_path / "docker").touch(mode=0o755)
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin")
    monkeypatch.setattr(engine, "find_program", lambda name: f"/opt/docker/{name}")
    monkeypatch.setattr("subprocess.Popen", popen)
    (tmp_path / "engine").mkdir()
    path = engine.daemon_path(pytest.fail)
    assert path == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/docker"
    with pytest.raises(KeyboardInterrupt):
        engine._start(path, ["sudo", "-n"])
    assert started[0][:4] == ["sudo", "-n", "env", f"PATH={path}"]
    assert "group" not in json.loads((tmp_path / "engine" / "daemon.json").read_text())


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> docker.Edition:
    """A Docker in the cache of a machine that has none; its runc starts."""
    monkeypatch.setenv("DINDRUNNER_CACHE", str(tmp_path))
    edition = docker.Edition(docker.NEWEST, (docker.Deb("docker.io_28.5.2+dfsg4-5_amd64.deb", ""),))
    edition.programs.mkdir(parents=True)
    program(edition.programs / "runc", "exit 0")
    program(edition.programs / "dockerd", "exit 0")
    program(edition.programs / "docker", "exit 0")
    monkeypatch.setattr(docker, "ensure", lambda _: edition)
    monkeypatch.setattr(docker, "unpacked", lambda: edition)
    monkeypatch.setattr(engine, "find_program", {"iptables": "/usr/sbin/iptables"}.get)
    monkeypatch.setattr(engine, "TOOLCHAIN_DIR", tmp_path / ".toolchain")
    monkeypatch.setenv("PATH", "/nowhere")
    return edition


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_machine_without_docker_gets_the_pinned_one_and_its_client(unpacked: docker.Edition, tmp_path: Path) -> None:
    assert engine.daemon_path(pytest.fail) == f"{unpacked.programs}:{ROOT_PATH}"
    engine._link_client(pytest.fail)
    assert (tmp_path / ".toolchain" / "bin" / "docker").samefile(unpacked.programs / "docker")


def test_the_client_of_another_checkout_is_not_relied_on(
    unpacked: docker.Edition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / ".toolchain" / "bin"
    other.mkdir(parents=True)
    program(other / "docker", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}/.toolchain/bin:{other}")
    engine._link_client(pytest.fail)
    assert (tmp_path / ".toolchain" / "bin" / "docker").samefile(unpacked.programs / "docker")


@pytest.mark.parametrize("asked", [1, 2])
def test_who_finds_an_engine_that_has_just_come_up_gets_its_client_as_well(
    asked: int, unpacked: docker.Edition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[str | None] = [*[None] * asked, "28.5.2"]
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "_server_version", lambda _: answers.pop(0))
    monkeypatch.setattr(engine, "_refused", lambda _: False)
    monkeypatch.setattr(engine, "root_prefix", lambda _: [])
    engine.up(pytest.fail)
    assert answers == []
    assert (tmp_path / ".toolchain" / "bin" / "docker").samefile(unpacked.programs / "docker")


def test_an_engine_elsewhere_is_asked_by_the_pinned_client_where_there_is_no_other(
    unpacked: docker.Edition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2376")
    program(unpacked.programs / "docker", "[ \"$1 $DOCKER_HOST\" = 'version tcp://192.0.2.1:2376' ] && echo 27.1.1")
    engine.up(pytest.fail)
    assert engine.status() == engine.Status(host="tcp://192.0.2.1:2376", version="27.1.1", ours=False)
    assert (tmp_path / ".toolchain" / "bin" / "docker").samefile(unpacked.programs / "docker")


def test_a_client_of_the_machines_own_stays_in_use(
    unpacked: docker.Edition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del unpacked
    (tmp_path / "own").mkdir()
    program(tmp_path / "own" / "docker", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}/.toolchain/bin:{tmp_path}/own")
    link = tmp_path / ".toolchain" / "bin" / "docker"
    link.parent.mkdir(parents=True)
    program(link, "exit 1")  # from when the machine had none
    engine._link_client(pytest.fail)
    assert not link.exists()
    assert engine.client(pytest.fail) == tmp_path / "own" / "docker"


def test_a_c_library_that_is_too_old_for_the_pinned_runc_gets_that_of_its_own_suite(
    unpacked: docker.Edition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def unpack(name: str, folder: Path, _as_root: list[str]) -> None:
        fetched.append(name)
        (folder / "usr" / "sbin").mkdir(parents=True)

    program(unpacked.programs / "runc", "echo version GLIBC_2.38 not found >&2; exit 1")
    monkeypatch.setattr(engine, "unpack_package", unpack)
    monkeypatch.setattr(engine, "root_prefix", lambda _: [])
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"VERSION_ID": "12"})
    path = engine.daemon_path(lambda _: None)
    assert path == f"{tmp_path}/docker/runc-12/usr/sbin:{unpacked.programs}:{ROOT_PATH}"
    assert engine.daemon_path(pytest.fail) == path
    assert fetched == ["runc"]


def test_without_any_pinned_docker_the_machines_own_suite_is_asked_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[str] = []
    program(tmp_path / "apt-get", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(docker, "ensure", lambda _: None)
    monkeypatch.setattr(engine, "find_program", lambda _: None)
    monkeypatch.setattr(engine, "root_prefix", lambda _: [])
    monkeypatch.setattr(engine, "install_packages", lambda packages, _: installed.extend(packages))
    said: list[str] = []
    assert engine.daemon_path(said.append) == ROOT_PATH
    assert said[0] == "Docker: installing docker.io of this machine's own suite, which may be years older"
    assert installed == ["docker.io", "iptables"]


def test_a_machine_without_apt_is_told_to_install_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(docker, "ensure", lambda _: None)
    monkeypatch.setattr(engine, "find_program", lambda _: None)
    with pytest.raises(ToolchainError) as error:
        engine.daemon_path(pytest.fail)
    assert str(error.value) == (
        "no Docker engine here and no apt-get to get one with: install Docker "
        "(https://docs.docker.com/engine/install/) and try again"
    )
