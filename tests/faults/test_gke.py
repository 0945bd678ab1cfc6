"""Target `gke` when an `up` is killed, or the API server goes away, at a bad moment."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.cluster.stacks import SMALL, GkeStack
from tests.engine.world import Sandbox, wait_for
from tests.faults.kills import children, kill, recover

SEEN_SECONDS = 90


def kill_update(stack: GkeStack, moment: Callable[[], object]) -> int:
    """Start an update and kill it, and all that it started, as soon as `moment` is true; its process's number."""
    update = stack.start("up", "--yes", "--skip-preview")
    wait_for("the moment of the kill", SEEN_SECONDS, lambda: moment() or None)
    started = children(update.pid)
    update.send_signal(signal.SIGKILL)
    kill(started)
    update.communicate()
    return update.pid


@pytest.mark.parametrize(
    "made", ["namespace", "pvc/{}-dind-data", "statefulset/{}-dind", "deployment/{}-runner"], ids=lambda made: made[:5]
)
def test_an_up_that_is_killed_can_be_repeated(
    new_gke_stack: Callable[..., GkeStack], sandbox: Sandbox, made: str
) -> None:
    stack = new_gke_stack()
    kind = made.format(stack.prefix) if "/" in made else f"{made}/{stack.prefix}"
    pid = kill_update(stack, lambda: stack.kubectl("get", kind, "--output=name", check=False))
    assert f"removed the lock of process {pid}" in recover(stack)
    assert "pending operations" not in stack.up()
    stack.expect_no_changes()
    assert len(sandbox.runners_of(stack.name)) == 1
    assert len(stack.kubectl("get", "statefulsets,deployments", "--output=name").split()) == 2


def test_an_up_that_is_killed_while_it_replaces_the_daemon_keeps_the_cache(
    new_gke_stack: Callable[..., GkeStack],
) -> None:
    stack = new_gke_stack()
    stack.up()
    before = stack.uid("daemon")
    stack.exec("daemon", "touch", "/var/lib/docker/cached")
    stack.configure(daemon={**SMALL, "memory_request_mib": 300})
    gone = f"statefulset/{stack.prefix}-dind"
    uid = stack.object("statefulset", "dind")["metadata"]["uid"]

    def is_replaced() -> bool:
        found = stack.kubectl("get", gone, "--output=jsonpath={.metadata.uid}", check=False)
        return bool(found != uid)

    kill_update(stack, is_replaced)
    recover(stack)
    stack.up()
    assert stack.uid("daemon") != before
    stack.exec("daemon", "test", "-e", "/var/lib/docker/cached")
    stack.expect_no_changes()


def test_an_api_server_that_goes_away_is_named_and_the_next_up_goes_on(
    new_gke_stack: Callable[..., GkeStack],
) -> None:
    stack = new_gke_stack()
    update = stack.start("up", "--yes", "--skip-preview")
    made = f"pvc/{stack.prefix}-dind-data"
    wait_for("the claim", SEEN_SECONDS, lambda: stack.kubectl("get", made, "--output=name", check=False) or None)
    stack.cluster.stop_api_server()
    try:
        # The plugin waits ten minutes for what it has made to become ready, with or without a server; nobody would.
        update.send_signal(signal.SIGINT)
        said, _ = update.communicate(timeout=SEEN_SECONDS)
        assert update.returncode != 0, said
        refused = stack.pulumi("preview", check=False)
        assert f"'{stack.cluster.context}' ({stack.cluster.url}) does not answer" in refused.stdout + refused.stderr
    finally:
        stack.cluster.start_api_server()
    recover(stack)
    stack.up()
    stack.expect_no_changes()
