"""What stands before the API: who may connect at all, faults on purpose, the log of requests."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab.gitlab.core import ApiError

LOGGED_REQUESTS = 1000
LONGEST_DELAY = 300.0
_OWN = "/-/sandbox"
_REFRESH_SECONDS = 1.0


@dataclass
class Fault:
    """What to do to requests whose `METHOD /path` the expression finds.

    match: regular expression. status: answered instead of the real thing, None for the real one. body: answered with
    it, JSON. delay_seconds: waited before the answer. when: `before` the request is handled, or `after` it: then it has
    had its effect, whatever is answered. times: how often, None for always.
    """

    match: str
    status: int | None = None
    body: Any = None
    delay_seconds: float = 0.0
    when: str = "before"
    times: int | None = 1

    @classmethod
    def read(cls, given: dict[str, Any]) -> Fault:
        """From a request's parameters. Raises ApiError 400 that names what is wrong."""
        unknown = sorted(set(given) - {"match", "status", "body", "delay_seconds", "when", "times"})
        if unknown:
            known = "match, status, delay_seconds, when, times, body"
            raise ApiError(400, {"error": f"{', '.join(unknown)}: unknown; a fault has {known}"})
        try:
            re.compile(given["match"])
        except (KeyError, TypeError, re.error) as error:
            raise ApiError(
                400, {"error": f"match: has to be a regular expression for `METHOD /path` ({error})"}
            ) from None
        fault = cls(**given)
        number = int | float
        if fault.status is not None and not (isinstance(fault.status, int) and 200 <= fault.status <= 599):
            raise ApiError(400, {"error": f"status: {fault.status!r} has to be a number from 200 to 599"})
        if not isinstance(fault.delay_seconds, number) or not 0 <= fault.delay_seconds <= LONGEST_DELAY:
            raise ApiError(
                400, {"error": f"delay_seconds: {fault.delay_seconds!r} has to be from 0 to {LONGEST_DELAY:.0f}"}
            )
        if fault.when not in ("before", "after"):
            raise ApiError(400, {"error": f"when: {fault.when!r} has to be before or after"})
        if fault.times is not None and not (isinstance(fault.times, int) and fault.times > 0):
            raise ApiError(
                400, {"error": f"times: {fault.times!r} has to be a whole number above 0, or null for always"}
            )
        if fault.status is None and not fault.delay_seconds:
            raise ApiError(400, {"error": "a fault needs a status, delay_seconds or both"})
        return fault


@dataclass
class Faults:
    """The faults that are in force, and the newest requests. Both are gone when the process ends."""

    faults: list[Fault] = field(default_factory=list)
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=LOGGED_REQUESTS))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: str) -> Fault | None:
        """The first fault for `METHOD /path`, counted."""
        with self._lock:
            fault = next((one for one in self.faults if re.search(one.match, request)), None)
            if fault and fault.times is not None:
                fault.times -= 1
                if not fault.times:
                    self.faults.remove(fault)
            return fault


class Gate:
    """ASGI: refuses strangers, keeps encoded slashes apart, applies faults, logs method, path and status."""

    def __init__(self, app: ASGIApp, faults: Faults, peers: Peers) -> None:
        self._app = app
        self._faults = faults
        self._peers = peers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer = (scope.get("client") or ("", 0))[0]
        if not self._peers.allowed(peer):
            message = f"403 Forbidden - {peer} is neither this machine nor in a Docker network of it"
            await _answer(send, 403, {"message": message})
            return
        if scope["path"].startswith("/api/"):
            scope = {**scope, "path": _escaped(scope)}
        began, status = time.monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._serve(scope, receive, watched)
        finally:
            entry = {"time": time.time(), "method": scope["method"], "path": scope["path"], "status": status}
            self._faults.requests.append(entry | {"milliseconds": round((time.monotonic() - began) * 1000)})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = scope["path"].startswith(_OWN)
        fault = None if own else self._faults.take(f"{scope['method']} {scope['path']}")
        if fault and fault.when == "before":
            await asyncio.sleep(fault.delay_seconds)
        if fault is None or (fault.when == "before" and fault.status is None):
            await self._app(scope, receive, send)
            return
        real: list[Message] = []
        if fault.when == "after":
            await self._app(scope, receive, _kept(real))
            await asyncio.sleep(fault.delay_seconds)
        if fault.status is None:
            for message in real:
                await send(message)
            return
        body = fault.body
        if body is None:
            body = {"message": f"{fault.status} {HTTPStatus(fault.status).phrase}"} if fault.status in _STATUSES else {}
        await _answer(send, fault.status, body)


def _kept(messages: list[Message]) -> Send:
    """Takes an answer in place of the client."""

    async def keep(message: Message) -> None:
        messages.append(message)

    return keep


_STATUSES = {status.value for status in HTTPStatus}


def _escaped(scope: Scope) -> str:
    """The decoded path, but with `%2F` where a slash is part of a name, such as a project's full path."""
    raw = scope.get("raw_path") or scope["path"].encode()
    return "/".join(unquote(part).replace("/", "%2F") for part in raw.decode("latin-1").partition("?")[0].split("/"))


async def _answer(send: Send, status: int, body: Any) -> None:
    content = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content if status not in (204, 304) else b""})


class Peers:
    """Who may connect: this machine, and containers, whose networks are bridges of this machine."""

    def __init__(self, routes: Path = Path("/proc/net/route"), interfaces: Path = Path("/sys/class/net")) -> None:
        self._routes = routes
        self._interfaces = interfaces
        self._networks: list[ipaddress.IPv4Network] = []
        self._read_at = 0.0

    def allowed(self, address: str) -> bool:
        """Whether this address is this machine's own or in a network of one of its bridges."""
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        if peer.is_loopback or self._on_bridge(peer):
            return True
        if time.monotonic() - self._read_at > _REFRESH_SECONDS:
            # Networks come and go: only an unknown peer is worth another look.
            self._networks, self._read_at = bridge_networks(self._routes, self._interfaces), time.monotonic()
        return self._on_bridge(peer) or _is_own(address)

    def _on_bridge(self, peer: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(peer in network for network in self._networks)


def bridge_networks(routes: Path, interfaces: Path) -> list[ipaddress.IPv4Network]:
    """The networks that this machine reaches by a bridge of its own, without a gateway or a network card (Linux)."""
    networks = []
    for line in routes.read_text().splitlines()[1:] if routes.exists() else []:
        interface, destination, gateway, *_, mask, _, _, _ = line.split()
        if int(gateway, 16) == 0 and int(mask, 16) and _is_virtual_bridge(interfaces, interface):
            address, netmask = (socket.inet_ntoa(int(word, 16).to_bytes(4, "little")) for word in (destination, mask))
            networks.append(ipaddress.ip_network(f"{address}/{netmask}"))
    return [network for network in networks if isinstance(network, ipaddress.IPv4Network)]


def _is_virtual_bridge(interfaces: Path, name: str) -> bool:
    """Whether an interface is a bridge that joins no network card: then its network ends on this machine."""
    ports = interfaces / name / "brif"
    joined = [port.name for port in ports.iterdir()] if ports.exists() else []
    return (interfaces / name / "bridge").exists() and not any(
        (interfaces / port / "device").exists() for port in joined
    )


def _is_own(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # No packet is sent. Only from an address of its own does a machine reach it; a bind may succeed for any.
            probe.connect((address, 9))
        except OSError:
            return False
        return str(probe.getsockname()[0]) == address
