"""Small servers on this machine, for tests of what is asked over HTTP."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler, str | None], None]
"""What answers a request with this token."""


class Quiet(BaseHTTPRequestHandler):
    """A handler that logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has given up waiting is what some tests are about."""


@contextmanager
def listening(handler: Callable[..., BaseHTTPRequestHandler], certificate: Path | None = None) -> Iterator[str]:
    """The URL of a server on a free port of 127.0.0.1; over TLS where it has a file with certificate and key."""
    with _Listener(("127.0.0.1", 0), handler) as server:
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Server:
    """A server on this machine, and the requests it has had: path and token of each."""

    url: str
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def tokens(self) -> list[str | None]:
        return [token for _, token in self.requests]


@contextmanager
def serving(reply: Reply, certificate: Path | None = None) -> Iterator[Server]:
    """A server that answers every GET with `reply`."""
    requests: list[tuple[str, str | None]] = []

    class Handler(Quiet):
        def do_GET(self) -> None:
            token = self.headers.get("PRIVATE-TOKEN")
            requests.append((self.path, token))
            reply(self, token)

    with listening(Handler, certificate) as url:
        yield Server(url, requests)


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def always(status: int, body: bytes, headers: dict[str, str] | None = None) -> Reply:
    return lambda handler, _: answer(handler, status, body, headers)


def self_signed(directory: Path, name: str = "server") -> Path:
    """A file with a certificate for 127.0.0.1 that signs itself, and its key."""
    key, file = directory / f"{name}.key", directory / f"{name}.pem"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, *subject, "-keyout", str(key), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    file.write_text(file.read_text() + key.read_text())
    return file
