"""An `up` that is killed at any moment can be repeated, on a real engine that withholds its answer at that moment."""

from __future__ import annotations

import re
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.engine.world import Sandbox, Stack, docker, inspect, wait_for
from tests.faults.kills import children, kill, recover

HELD_SECONDS = 120


class WithholdingEngine:
    """A socket that passes everything on to the engine, but can keep back its answer to one kind of request."""

    def __init__(self, path: Path, engine: str) -> None:
        self.address = f"unix://{path}"
        self._engine = engine.removeprefix("unix://")
        self._request: re.Pattern[bytes] | None = None
        self._answered = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def withholding(self, request: str) -> Iterator[Callable[[], None]]:
        """Keep back answers to requests that fit this expression; yields what waits until the engine gave one."""

        def wait() -> None:
            assert self._answered.wait(HELD_SECONDS), f"waited {HELD_SECONDS} s for a request like {request}"

        self._answered.clear()
        self._request = re.compile(request.encode())
        try:
            yield wait
        finally:
            self._request = None

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(self._engine)
            withheld = threading.Event()
            threading.Thread(target=self._pass_requests, args=(client, engine, withheld), daemon=True).start()
            threading.Thread(target=self._pass_answers, args=(engine, client, withheld), daemon=True).start()

    def _pass_requests(self, client: socket.socket, engine: socket.socket, withheld: threading.Event) -> None:
        with suppress(OSError):
            for chunk in _chunks(client):
                if self._request and self._request.search(chunk):
                    withheld.set()
                engine.sendall(chunk)
            engine.shutdown(socket.SHUT_WR)

    def _pass_answers(self, engine: socket.socket, client: socket.socket, withheld: threading.Event) -> None:
        # The killed side closes its end at any time.
        with suppress(OSError):
            for chunk in _chunks(engine):
                if withheld.is_set():
                    self._answered.set()
                else:
                    client.sendall(chunk)
        if not withheld.is_set():
            client.close()


def _chunks(source: socket.socket) -> Iterator[bytes]:
    while chunk := source.recv(65536):
        yield chunk


@pytest.fixture(scope="module")
def engine(environment: dict[str, str]) -> Iterator[WithholdingEngine]:
    """Has to outlive the stacks: ask for it before them."""
    address = environment.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not address.startswith("unix://"):
        pytest.skip(f"the engine is not at a local socket but at {address}")
    # The path of a socket has to be short.
    with tempfile.TemporaryDirectory() as directory:
        made = WithholdingEngine(Path(directory) / "docker.sock", address)
        yield made
        made.close()


@contextmanager
def killed(stack: Stack, engine: WithholdingEngine, request: str) -> Iterator[int]:
    """An `up` that has been killed as soon as the engine had done what `request` asks; its process's number."""
    with engine.withholding(request) as wait:
        update = stack.start("up", "--yes", "--skip-preview")
        wait()
        assert recover(stack) == "", "an update that runs has been disturbed"
        started = children(update.pid)
        update.send_signal(signal.SIGKILL)
        update.wait()
    try:
        yield update.pid
    finally:
        # Plugins outlive a killed engine for minutes.
        kill(started)


def runners_of(stack: Stack, sandbox: Sandbox) -> int:
    """How many runners of it GitLab has."""
    return sum(runner.description == f"{stack.name} docker" for runner in sandbox.client.runners_all.list(get_all=True))


@pytest.mark.parametrize(
    ("request_", "leftover"),
    [
        ("/networks/create", "network {prefix}"),
        (r"/containers/create\?name=[\w-]+-dind[& ]", "container {prefix}-dind"),
        ("/containers/[0-9a-f]+/start", "container {prefix}-dind"),
        (r"/containers/create\?name=[\w-]+-runner-config[& ]", "container {prefix}-runner-config"),
    ],
    ids=["network", "daemon-made", "daemon-started", "registered"],
)
def test_an_up_that_is_killed_can_be_repeated(
    engine: WithholdingEngine, new_stack: Callable[[], Stack], sandbox: Sandbox, request_: str, leftover: str
) -> None:
    stack = new_stack()
    stack.configure(docker_host=engine.address)
    with killed(stack, engine, request_) as pid:
        said = recover(stack)
        assert f"removed the lock of process {pid}" in said
        assert f"removing {leftover.format(prefix=stack.prefix)} (" in said
        assert recover(stack) == ""
        assert "pending operations" not in stack.up()
    stack.pulumi("preview", "--expect-no-changes")
    assert runners_of(stack, sandbox) == 1
    networks = docker("network", "ls", "--filter", f"label=dindrunner.stack={stack.name}", "--quiet").split()
    assert len(networks) == 1
    assert inspect(f"{stack.prefix}-dind")["State"]["Health"]["Status"] == "healthy"


@pytest.mark.parametrize(
    ("request_", "leftover"),
    [
        ("^DELETE /[^/]+/containers/", ""),
        (r"/containers/create\?name=[\w-]+-dind[& ]", "removing container {prefix}-dind ("),
    ],
    ids=["runner-removed", "daemon-made"],
)
def test_the_layer_cache_outlives_an_up_that_is_killed_while_it_replaces_the_daemon(
    engine: WithholdingEngine, new_stack: Callable[[], Stack], sandbox: Sandbox, request_: str, leftover: str
) -> None:
    stack = new_stack()
    stack.configure(docker_host=engine.address)
    stack.up()
    docker("exec", f"{stack.prefix}-dind", "touch", "/var/lib/docker/cached")
    stack.configure(docker_host=engine.address, daemon={"cache_budget_gib": 7})
    with killed(stack, engine, request_) as pid:
        said = recover(stack)
        assert f"removed the lock of process {pid}" in said
        assert leftover.format(prefix=stack.prefix) in said
        stack.up()
    docker("exec", f"{stack.prefix}-dind", "test", "-e", "/var/lib/docker/cached")
    stack.pulumi("preview", "--expect-no-changes")
    assert runners_of(stack, sandbox) == 1


@pytest.mark.parametrize("scope", ["group", "project", "instance"])
def test_a_runner_that_gitlab_had_made_when_an_up_was_killed_is_not_made_twice(
    new_stack: Callable[[], Stack], sandbox: Sandbox, scope: str
) -> None:
    stack = new_stack()
    owner = {} if scope == "instance" else {scope: sandbox.described[scope]}
    stack.configure(gitlab={"url": "sandbox", "scope": scope, **owner})
    # The plugin gives up before that, so that nothing but the time of the kill decides.
    sandbox.fault(match="^POST /api/v4/user/runners$", when="after", delay_seconds=200)
    update = stack.start("up", "--yes", "--skip-preview")
    (orphan,) = wait_for("the runner in GitLab", HELD_SECONDS, lambda: sandbox.runners_of(stack.name) or None)
    # A plugin that outlives the engine would get the answer; a machine that goes down takes all of them with it.
    kill([update.pid, *children(update.pid)])
    update.communicate()
    assert [runner.id for runner in sandbox.runners_of(stack.name)] == [orphan.id]
    said = recover(stack)
    assert f"deleted runner {orphan.id} ('{stack.name} docker') in GitLab, which an interrupted update made\n" in said
    assert re.search("dropped the interrupted creation of .*docker-runner", said)
    assert "GitLab may have made" not in said
    assert sandbox.runners_of(stack.name) == []
    assert recover(stack) == ""
    said += stack.up()
    (runner,) = sandbox.runners_of(stack.name)
    assert stack.outputs()["runners"]["docker"]["id"] == str(runner.id) != str(orphan.id)
    wait_for("the runner to be online", HELD_SECONDS, lambda: sandbox.client.runners.get(runner.id).online or None)
    stack.expect_no_changes()
    assert secrets_in(stack, said, sandbox.token) == []


def secrets_in(stack: Stack, said: str, token: str) -> list[str]:
    """Where a token of GitLab's stands: in what was said, or in files of the stack."""
    texts = {"said": said}
    texts |= {str(file): file.read_text() for file in (stack.directory / "state").rglob("*") if file.is_file()}
    return [where for where, text in texts.items() if token in text or "glpat-" in text or "glrt-" in text]
