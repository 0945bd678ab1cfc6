"""What a swarm does not fit is refused with the remedy, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.board import Board
from tests.engine.world import Sandbox, Stack


@pytest.fixture(scope="module")
def stack(swarm_board: Board, new_stack: Callable[..., Stack]) -> Stack:
    """The stack that is refused in all of these tests."""
    return new_stack(swarm_board, orchestrator="swarm")


def refused(stack: Stack, sandbox: Sandbox, **settings: Any) -> list[str]:
    """What is said to the settings; AssertionError where they are not refused, or something is made all the same."""
    stack.configure(**settings)
    done = stack.pulumi("preview", check=False)
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert "Traceback" not in output
    assert stack.leftovers() == []
    assert sandbox.runners_of(stack.name) == []
    return [line.strip() for line in output.splitlines() if line.strip().startswith("settings.")]


def test_a_label_that_no_node_has_is_refused(stack: Stack, swarm_board: Board, sandbox: Sandbox) -> None:
    assert refused(stack, sandbox, swarm={"node_label": "disk=ssd"}) == [
        "settings.swarm.node_label: 'disk=ssd' matches no node of the swarm: run `docker node update --label-add "
        f"disk=ssd {swarm_board.name}`, or remove the setting"
    ]


def test_a_label_of_another_node_is_refused(stack: Stack, swarm_board: Board, sandbox: Sandbox) -> None:
    node = swarm_board.docker("info", "--format", "{{.Swarm.NodeID}}")
    swarm_board.docker("node", "update", "--label-add", "disk=ssd", node)
    # The engine that is asked is another node then.
    with swarm_board.pretending(info={"Name": "pi-2", "Swarm": {"NodeID": "another"}}):
        assert refused(stack, sandbox, swarm={"node_label": "disk=ssd"}) == [
            f"settings.swarm.node_label: 'disk=ssd' matches {swarm_board.name}, but the daemon and its certificates "
            "are on pi-2 alone: give only that node the label (run `docker node update --label-add disk=ssd pi-2`), or "
            "remove the setting"
        ]
    stack.configure(swarm={"node_label": "disk=ssd"})
    stack.pulumi("preview")


def test_a_node_that_takes_no_tasks_is_refused(stack: Stack, swarm_board: Board, sandbox: Sandbox) -> None:
    swarm_board.docker("node", "update", "--availability", "drain", swarm_board.name)
    try:
        assert refused(stack, sandbox) == [
            f"settings.orchestrator: 'swarm' starts nothing on {swarm_board.name}, whose availability is drain: run "
            f"`docker node update --availability active {swarm_board.name}`"
        ]
    finally:
        swarm_board.docker("node", "update", "--availability", "active", swarm_board.name)
    stack.configure()
    stack.pulumi("preview")
