"""What every test shares: a marker by its directory, and the real parts, which are imported where a test asks for them.

Unit tests need none of those. With CI set, a part that is missing is a failure; otherwise a skip that says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

from tests import lanes
from toolchain.shared import ROOT, end_with_parent, log_dir

if TYPE_CHECKING:
    from tests.cluster.control_plane import ControlPlane
    from tests.cluster.node import Node
    from tests.cluster.stacks import GkeStack
    from tests.engine.board import Board
    from tests.engine.world import Sandbox, Stack

_DIRECTORIES = ("unit", "engine", "faults", "cluster")
_BUILDER_STOP_SECONDS = 60
_END_SECONDS = 300
_nodes: list[WorkerController] = []
_builder: subprocess.Popen[bytes] | None = None
"""What builds the programs that only tests need."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many processes as there are lanes at once, or none but this one."""
    return lanes.workers(config.args, config.option.keyword)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Each process takes the next lane, in the order of the collection."""
    config.option.loadscopereorder = False
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lanes.lane
    return scheduler


def pytest_configure_node(node: WorkerController) -> None:
    """Remember each process that runs lanes."""
    _nodes.append(node)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the marker that has its directory's name, and put the lanes in order."""
    for item in items:
        item.add_marker(next((name for name in _DIRECTORIES if name in item.path.parts), _DIRECTORIES[0]))
    items.sort(key=lambda item: lanes.place(item.nodeid))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Without lanes, this process has collected the tests."""
    if "PYTEST_XDIST_WORKER" not in os.environ and not session.config.option.collectonly:
        _build_parts(session.config, [item.nodeid for item in session.items])


def pytest_xdist_node_collection_finished(node: WorkerController, ids: list[str]) -> None:
    """With lanes, each process has, and this one hears of it."""
    _build_parts(node.config, ids)


def _build_parts(config: pytest.Config, ids: list[str]) -> None:
    """Build what the chosen tests will ask for while others run."""
    global _builder
    from lab import programs

    absent = programs.absent() if not _builder and lanes.ask_for_parts(ids) else []
    if absent:
        log = log_dir() / "test-parts.log"
        with log.open("wb") as out:
            _builder = subprocess.Popen(
                [sys.executable, "-m", "lab.programs"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=end_with_parent,
            )
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.write_line(f"building beside the tests: {', '.join(absent)}; its log is {log}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Leave nothing behind: neither what lanes have started, where somebody interrupts them, nor a build."""
    for node in _nodes:
        node.shutdown()
    # What comes after this gives them seconds, and stopping a board takes longer.
    end = time.monotonic() + _END_SECONDS
    for node in _nodes:
        with suppress(node.channel.TimeoutError, node.channel.RemoteError):
            node.channel.waitclose(max(0.0, end - time.monotonic()))
    if _builder:
        _builder.terminate()
        try:
            _builder.wait(timeout=_BUILDER_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _builder.kill()


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment of the toolchain, applied to this process as well."""
    from tests.engine.world import ROOT, missing, toolchain_environment

    if not (ROOT / ".toolchain" / "env").exists():
        missing("there is no toolchain: run python3 -m lab prepare")
    found = toolchain_environment()
    os.environ["PATH"] = found["PATH"]
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode:
        missing("no Docker engine answers: run python3 -m lab prepare")
    return found


@pytest.fixture(scope="session")
def sandbox(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox GitLab on ports of its own."""
    from tests.engine.world import running_sandbox

    with running_sandbox(tmp_path_factory.mktemp("sandbox"), environment) as running:
        yield running


@pytest.fixture(scope="session")
def board(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A board of the tests' own, whose engine may ask the sandbox's registry."""
    from tests.engine.board import running_board

    with running_board(tmp_path_factory.mktemp("board"), registry=sandbox.described["registry"]) as running:
        yield running


@pytest.fixture(scope="module")
def swarm_board(board: Board) -> Iterator[Board]:
    """The board while it is a swarm of one manager."""
    with board.swarm():
        yield board


@pytest.fixture(scope="module")
def new_stack(
    environment: dict[str, str], sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Stack]]:
    """Makes stacks, on this machine or on a board, and removes from its engine what the tests left of them."""
    from tests.engine.world import make_stack, unique

    made: list[Stack] = []

    def make(board: Board | None = None, **settings: Any) -> Stack:
        name = unique()
        where = {"host": board.local_url, "settings": board.stack_settings() | settings} if board else {}
        made.append(make_stack(tmp_path_factory.mktemp("stack") / name, name, environment, sandbox, **where))
        return made[-1]

    yield make
    for stack in made:
        stack.remove_leftovers()


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server with nothing behind it that would run a pod."""
    from tests.cluster.control_plane import running_control_plane

    with running_control_plane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="module")
def node(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A cluster of one node, which may ask the sandbox's registry; it is too much to have it run beside other tests."""
    from tests.cluster.node import running_node

    with running_node(tmp_path_factory.mktemp("node"), registry=sandbox.described["registry"]) as running:
        yield running


@pytest.fixture(scope="session")
def cluster_environment(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The toolchain's environment, with a Pulumi home that has the plugins for clusters."""
    from lab.plugins.install import install_into
    from toolchain import pulumi
    from toolchain.shared import make_say

    pulumi.ensure(pulumi.kubernetes_plugin(), say=make_say())
    home = tmp_path_factory.mktemp("pulumi-home")
    install_into(home)
    return {**environment, "PULUMI_HOME": str(home)}


@pytest.fixture(scope="module")
def new_gke_stack(
    cluster_environment: dict[str, str], sandbox: Sandbox, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., GkeStack]:
    """Makes stacks on the node, with which goes what the tests left of them."""
    from tests.cluster.stacks import make_gke_stack

    directory = tmp_path_factory.mktemp("stacks")

    def make(**settings: Any) -> GkeStack:
        return make_gke_stack(directory, cluster_environment, sandbox, node, **settings)

    return make
