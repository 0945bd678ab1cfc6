"""What stands before the sandbox's API: strangers, faults on purpose, the log of requests."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gitlab
import pytest

from lab.gitlab.gate import Faults, Gate, Peers, bridge_networks
from lab.tests.live_sandbox import Live, running

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
br-1\t00001CAC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
br-1\t0000000A\t01001CAC\t0003\t0\t0\t0\t000000FF\t0\t0\t0
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("sandbox")) as found:
        yield found


@pytest.fixture(autouse=True)
def no_faults(live: Live) -> Iterator[None]:
    yield
    assert live.call("DELETE", "/-/sandbox/faults").status_code == 204


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """The routes and network interfaces of a machine with two bridges."""
    (tmp_path / "route").write_text(ROUTES)
    for bridge in ("docker0", "br-1"):
        (tmp_path / "net" / bridge / "bridge").mkdir(parents=True)
    (tmp_path / "net" / "eth0").mkdir()
    return tmp_path / "route", tmp_path / "net"


def fault(live: Live, **settings: Any) -> None:
    answer = live.call("POST", "/-/sandbox/faults", json=settings)
    assert answer.status_code == 201, answer.text


def test_bridges_are_found_and_other_networks_left_out(machine: tuple[Path, Path]) -> None:
    assert [str(network) for network in bridge_networks(*machine)] == ["172.17.0.0/16", "172.28.0.0/16"]


def test_a_bridge_that_joins_a_network_card_is_not_dockers(machine: tuple[Path, Path]) -> None:
    routes, interfaces = machine
    for port in ("veth1", "eth0"):
        (interfaces / "br-1" / "brif" / port).mkdir(parents=True)
    (interfaces / "veth1").mkdir()
    assert Peers(routes, interfaces).allowed("172.28.3.4")
    (interfaces / "eth0" / "device").mkdir()
    assert not Peers(routes, interfaces).allowed("172.28.3.4")


def test_an_address_that_can_be_bound_is_not_yet_this_machines(
    machine: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "bind", lambda *_: None)  # as with net.ipv4.ip_nonlocal_bind
    assert not Peers(*machine).allowed("203.0.113.9")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [("127.0.0.1", True), ("172.17.0.5", True), ("172.28.3.4", True), ("192.0.2.77", False), ("10.1.2.3", False),
     ("203.0.113.9", False), ("", False)],
)  # fmt: skip
def test_this_machine_and_its_containers_may_connect(machine: tuple[Path, Path], address: str, allowed: bool) -> None:
    assert Peers(*machine).allowed(address) is allowed


def test_a_stranger_is_refused_before_anything_else_happens(machine: tuple[Path, Path]) -> None:
    sent: list[Any] = []

    async def app(*_: Any) -> None:
        raise AssertionError("the request went through")

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "client": ("203.0.113.9", 1)}
    asyncio.run(Gate(app, Faults(), Peers(*machine))(scope, receive, send))
    assert sent[0]["status"] == 403
    words = b'{"message": "403 Forbidden - 203.0.113.9 is neither this machine nor in a Docker network of it"}'
    assert sent[1]["body"] == words


def test_a_header_does_not_say_who_connects(live: Live) -> None:
    answer = live.call("GET", "user", headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.status_code == 200


def test_a_fault_fails_as_often_as_it_says(live: Live) -> None:
    fault(live, match="^GET /api/v4/user$", status=503, times=2)
    assert [live.call("GET", "user").status_code for _ in range(3)] == [503, 503, 200]
    assert live.call("GET", "/-/sandbox/faults").json() == []


def test_a_fault_answers_with_what_it_is_told(live: Live) -> None:
    fault(live, match="POST /api/v4/user/runners", status=409, body={"message": "409 Conflict - busy"})
    with pytest.raises(gitlab.GitlabHttpError, match="409 Conflict - busy"):
        live.client.http_post("/user/runners", post_data={"runner_type": "instance_type"})
    fault(live, match="version", status=502)
    assert live.call("GET", "version").json() == {"message": "502 Bad Gateway"}


def test_a_fault_without_a_status_only_delays(live: Live) -> None:
    fault(live, match="/version", delay_seconds=0.3)
    began = time.monotonic()
    assert live.call("GET", "version").status_code == 200
    assert 0.3 <= time.monotonic() - began < 3


def test_a_fault_for_always_stays_until_it_is_cleared(live: Live) -> None:
    fault(live, match="/version", status=500, times=None)
    assert [live.call("GET", "version").status_code for _ in range(3)] == [500] * 3
    live.call("DELETE", "/-/sandbox/faults")
    assert live.call("GET", "version").status_code == 200


def test_a_fault_after_a_request_hides_what_it_has_done(live: Live) -> None:
    fault(live, match="^POST /api/v4/user/runners$", when="after", status=502)
    wanted = {"runner_type": "instance_type", "description": "hidden", "run_untagged": True}
    assert live.call("POST", "user/runners", json=wanted).status_code == 502
    assert [runner["description"] for runner in live.call("GET", "runners/all").json()] == ["hidden"]


def test_a_fault_after_a_request_may_only_delay_its_answer(live: Live) -> None:
    fault(live, match="/version", when="after", delay_seconds=0.1)
    answer = live.call("GET", "version")
    assert (answer.status_code, "version" in answer.json()) == (200, True)
    assert live.call("GET", "/-/sandbox/faults").json() == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"match": "x"}, "a fault needs a status, delay_seconds or both"),
        ({"match": "x", "status": 99}, "status: 99 has to be a number from 200 to 599"),
        ({"match": "x", "status": 500, "times": 0}, "times: 0 has to be a whole number above 0, or null for always"),
        ({"match": "x", "delay_seconds": 1000}, "delay_seconds: 1000 has to be from 0 to 300"),
        ({"match": "x", "code": 500}, "code: unknown; a fault has match, status, delay_seconds, when, times, body"),
        ({"match": "x", "status": 500, "when": "later"}, "when: 'later' has to be before or after"),
    ],
)
def test_a_wrong_fault_is_refused(live: Live, settings: dict[str, Any], message: str) -> None:
    answer = live.call("POST", "/-/sandbox/faults", json=settings)
    assert (answer.status_code, answer.json()) == (400, {"error": message})


def test_a_fault_needs_a_regular_expression(live: Live) -> None:
    answer = live.call("POST", "/-/sandbox/faults", json={"match": "(", "status": 500})
    assert answer.json()["error"].startswith("match: has to be a regular expression for `METHOD /path` (")


def test_faults_and_the_log_are_the_administrators(live: Live) -> None:
    user = live.call("POST", "users", json={"username": "bob", "name": "Bob"}).json()
    token = live.token_with("api", user=user["id"])
    for method, path in (("GET", "requests"), ("POST", "faults"), ("DELETE", "faults"), ("GET", "faults")):
        assert live.call(method, f"/-/sandbox/{path}", token=token).status_code == 403
        assert live.call(method, f"/-/sandbox/{path}", token="").status_code == 401


def test_the_log_shows_requests_without_their_secrets(live: Live) -> None:
    live.call("GET", f"user?private_token={live.token}", token="")
    live.call("GET", "projects/none%2Fsuch")
    log = live.call("GET", "/-/sandbox/requests")
    assert live.token not in log.text
    shown = [(entry["method"], entry["path"], entry["status"]) for entry in log.json()[-2:]]
    assert shown == [("GET", "/api/v4/user", 200), ("GET", "/api/v4/projects/none%2Fsuch", 404)]
