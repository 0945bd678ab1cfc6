"""What goes wrong around a stack: bad settings, a daemon that never starts, an interrupted or failing `up`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.engine.world import Sandbox, Stack, docker, wait_for


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runners": []}, "settings.runners: must not be empty"),
        ({"concurent": 2}, "settings.concurent: is no setting: did you mean concurrent?"),
        (
            {"daemon": {"endpoint": "tcp://docker:2375"}},
            "settings.daemon.endpoint: 'tcp://docker:2375' has port 2375, which does not fit transport tls: use 2376",
        ),
        (
            {"gitlab": {"url": "http://127.0.0.1:9", "scope": "instance"}},
            "PULUMI_CONFIG_PASSPHRASE: is the sandbox's, which everybody knows",
        ),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_touched(
    new_stack: Callable[[], Stack], settings: dict[str, Any], message: str
) -> None:
    stack = new_stack()
    stack.configure(**settings)
    output = stack.up(check=False)
    assert message in output, output
    assert "Traceback" not in output
    assert stack.leftovers() == []


def test_a_daemon_that_never_becomes_ready_fails_up_with_the_end_of_its_log(new_stack: Callable[[], Stack]) -> None:
    stack = new_stack()
    # btrfs is no choice on an ext4 or overlay file system: dockerd says so and ends.
    stack.configure(daemon={"storage_driver": "btrfs", "ready_timeout_seconds": 10})
    output = stack.up(check=False)
    assert f"last lines of the log of container {stack.prefix}-dind" in output, output
    assert "error initializing graphdriver" in output or "btrfs" in output, output
    stack.configure()
    stack.up()
    stack.pulumi("preview", "--expect-no-changes")


def test_an_up_that_is_interrupted_can_be_repeated(new_stack: Callable[[], Stack], sandbox: Sandbox) -> None:
    stack = new_stack()
    up = stack.start("up", "--yes", "--skip-preview")
    wait_for("the daemon's container", 120, lambda: f"{stack.prefix}-dind" in stack.leftovers() or None)
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=200)
    stack.up()
    stack.pulumi("preview", "--expect-no-changes")
    runners = [r for r in sandbox.client.runners_all.list(all=True) if r.description == f"{stack.name} docker"]
    assert len(runners) == 1


def test_a_gitlab_that_fails_once_does_not_leave_a_second_runner(
    new_stack: Callable[[], Stack], sandbox: Sandbox
) -> None:
    stack = new_stack()
    sandbox.fault(match="POST /api/v4/user/runners", status=503, times=1)
    output = stack.up(check=False)
    assert "503" in output, output
    stack.up()
    runners = [r for r in sandbox.client.runners_all.list(all=True) if r.description == f"{stack.name} docker"]
    assert len(runners) == 1


def test_a_runner_deleted_in_gitlab_is_found_by_refresh_and_made_again(
    new_stack: Callable[[], Stack], sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.up()
    sandbox.client.runners.delete(stack.outputs()["runners"]["docker"]["id"])
    stack.pulumi("refresh", "--yes")
    stack.up()
    stack.pulumi("preview", "--expect-no-changes")
    assert sandbox.client.runners.get(stack.outputs()["runners"]["docker"]["id"]).description == f"{stack.name} docker"


def test_a_container_removed_by_hand_is_found_by_refresh_and_made_again(new_stack: Callable[[], Stack]) -> None:
    stack = new_stack()
    stack.up()
    docker("rm", "--force", f"{stack.prefix}-dind")
    time.sleep(1)
    stack.pulumi("refresh", "--yes")
    stack.up()
    stack.pulumi("preview", "--expect-no-changes")
