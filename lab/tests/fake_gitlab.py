"""As much of GitLab as the tests of the GitLab plugin need: runners, one project with variables and files, one group.

It records every request and can be told to fail: see `FakeGitLab.fail`.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "glpat-the-secret-of-the-tests"
PROJECT = {"id": 7, "path_with_namespace": "demo/app", "name": "app", "path": "app", "default_branch": "main"}
GROUP = {"id": 3, "full_path": "demo", "name": "Demo", "path": "demo", "parent_id": None}


@dataclass(frozen=True)
class Request:
    """One request as it came in; authorization: the header, or None."""

    method: str
    path: str
    authorization: str | None
    body: dict[str, Any]


@dataclass
class Fault:
    """What happens to the next `times` requests of this method below this path, instead of (or after) the real thing.

    status: None closes the connection without an answer, 0 gives the real one. delay: seconds before the answer.
    """

    method: str
    path: str
    status: int | None
    body: Any
    headers: Mapping[str, str]
    delay: float
    after_the_work: bool
    times: int


@dataclass
class FakeGitLab:
    """Its state; `running()` serves it."""

    url: str
    sandbox: bool = True
    token: str = TOKEN
    runners: dict[int, dict[str, Any]] = field(default_factory=dict)
    variables: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    files: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(41))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(
        self,
        method: str,
        path: str,
        status: int | None = 500,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        after_the_work: bool = False,
        times: int = 1,
    ) -> None:
        """Lets the next requests fail; after_the_work: they have had their effect by then."""
        text = {"message": f"{status} on purpose"} if body is None else body
        self.faults.append(Fault(method, path, status, text, headers or {}, delay, after_the_work, times))

    def be_slow(self, method: str, path: str, seconds: float) -> None:
        """Lets the next request have its effect at once, but its answer come late."""
        self.fail(method, path, 0, delay=seconds, after_the_work=True)

    def sent(self, method: str, path: str = "/") -> list[Request]:
        """The requests of this method below this path of the API, in their order."""
        return [each for each in self.requests if each.method == method and each.path.startswith(f"/api/v4{path}")]

    def work(self, request: Request) -> tuple[int, Any]:
        """Does what a request asks for; the status and the body of the answer."""
        if request.path == "/-/sandbox":
            return (200, {"sandbox": True}) if self.sandbox else (404, "<html>not found</html>")
        if request.authorization != f"Bearer {self.token}":
            return 401, {"message": "401 Unauthorized"}
        address = urlsplit(request.path)
        parts = address.path.removeprefix("/api/v4/").split("/")
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        match request.method, parts:
            case "GET", ["user"]:
                return 200, {"id": 1, "username": "root"}
            case "GET", ["projects", "demo%2Fapp" | "7"]:
                return 200, PROJECT
            case "GET", ["groups", "demo" | "3"]:
                return 200, GROUP
            case "POST", ["user", "runners"]:
                return self._create(request.body)
            case "GET", [("projects" | "groups"), _, "runners"] | ["runners", "all"]:
                return 200, list(self.runners.values())
            case "POST", ["projects", "demo%2Fapp" | "7", "variables"]:
                return self._create_variable(request.body)
            case method, ["projects", "demo%2Fapp" | "7", "variables", key]:
                return self._variable(method, (key, query["filter[environment_scope]"]), request.body)
            case method, ["projects", "demo%2Fapp" | "7", "repository", "files", path]:
                branch = query.get("ref") or query.get("branch") or request.body["branch"]
                return self._file(method, (branch, unquote(path)), request.body)
            case method, ["runners", text] if int(text) in self.runners:
                return self._one(method, int(text), request.body)
        return 404, {"message": "404 Not found"}

    def _create(self, body: dict[str, Any]) -> tuple[int, Any]:
        if not body.get("tag_list") and body.get("run_untagged") is False:
            return 400, {
                "message": {"tags_list": ["can not be empty when runner is not allowed to pick untagged jobs"]}
            }
        number = next(self.ids)
        self.runners[number] = {
            "id": number,
            "status": "never_contacted",
            "description": None,
            "paused": False,
            "locked": False,
            "run_untagged": True,
            "tag_list": [],
            "access_level": "not_protected",
            "maximum_timeout": None,
            "maintenance_note": None,
            "groups": [{"id": body["group_id"]}] if "group_id" in body else [],
            "projects": [{"id": body["project_id"]}] if "project_id" in body else [],
        } | {key: value for key, value in body.items() if key not in {"group_id", "project_id"}}
        return 201, {"id": number, "token": f"glrt-secret-{number}", "token_expires_at": None}

    def _create_variable(self, body: dict[str, Any]) -> tuple[int, Any]:
        key = body["key"], body.get("environment_scope", "*")
        if key in self.variables:
            return 400, {"message": {"key": [f"({key[0]}) has already been taken"]}}
        defaults = {"description": None, "variable_type": "env_var", "protected": False, "raw": False, "masked": False}
        self.variables[key] = {**defaults, "environment_scope": "*", "hidden": False, **body}
        return 201, self.variables[key]

    def _variable(self, method: str, key: tuple[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        if key not in self.variables:
            return 404, {"message": "404 Variable Not Found"}
        if method == "DELETE":
            del self.variables[key]
            return 204, None
        self.variables[key] |= body
        return 200, self.variables[key]

    def _file(self, method: str, key: tuple[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        exists = key in self.files
        match method:
            case "GET":
                return (200, self.files[key]) if exists else (404, {"message": "404 File Not Found"})
            case "POST" if exists:
                return 400, {"message": "A file with this name already exists"}
            case "PUT" | "DELETE" if not exists:
                return 400, {"message": "A file with this name doesn't exist"}
            case "DELETE":
                del self.files[key]
                return 204, None
        if exists and body.get("last_commit_id", self.files[key]["commit_id"]) != self.files[key]["commit_id"]:
            return 400, {"message": "You are attempting to update a file that has changed"}
        content = body["content"].encode()
        commit = f"commit-{next(self.ids)}"
        self.files[key] = {
            "file_name": key[1].rpartition("/")[2],
            "file_path": key[1],
            "size": len(content),
            "encoding": "base64",
            "content": base64.b64encode(content).decode(),
            "content_sha256": hashlib.sha256(content).hexdigest(),
            "ref": key[0],
            "blob_id": f"blob-{commit}",
            "commit_id": commit,
            "last_commit_id": commit,
            "execute_filemode": False,
        }
        return 200 if exists else 201, {"file_path": key[1], "branch": key[0]}

    def _one(self, method: str, number: int, body: dict[str, Any]) -> tuple[int, Any]:
        if method == "DELETE":
            del self.runners[number]
            return 204, None
        self.runners[number] |= body
        return 200, self.runners[number]


@contextmanager
def running() -> Iterator[FakeGitLab]:
    """A FakeGitLab that listens on a free port of 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.daemon_threads = True
    gitlab = FakeGitLab(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = _handler(gitlab)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield gitlab
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(gitlab: FakeGitLab) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            request = Request(self.command, self.path, self.headers.get("Authorization"), body)
            with gitlab.lock:
                gitlab.requests.append(request)
                fault = self._fault()
                status, answer = gitlab.work(request) if fault is None or fault.after_the_work else (0, None)
            if fault is None:
                self._answer(status, answer, {})
                return
            time.sleep(fault.delay)
            if fault.status == 0:
                fault = replace(fault, status=status, body=answer)
            if fault.status is None:
                self.close_connection = True
                return
            # A client that has given up waiting is what some tests are about.
            with suppress(ConnectionError):
                self._answer(fault.status, fault.body, fault.headers)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _fault(self) -> Fault | None:
            for fault in gitlab.faults:
                if fault.times and fault.method == self.command and self.path.startswith(fault.path):
                    fault.times -= 1
                    return fault
            return None

        def _answer(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
            payload = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    return Handler
