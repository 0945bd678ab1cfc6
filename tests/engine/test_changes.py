"""Changes of a living stack: after each, nothing is left to do, and jobs go on."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.engine.jobs import end_long_job, finish_command, project_files, start_beside_job, start_long_job
from tests.engine.world import Sandbox, Stack, docker, inspect, running_sandbox

MIB = 1024**2
DAEMON = {"cpus": 1.5, "dns": ["9.9.9.9"], "registry_mirrors": ["http://127.0.0.1:9"]}


@pytest.fixture(scope="module")
def second_sandbox(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Another GitLab."""
    with running_sandbox(tmp_path_factory.mktemp("second-sandbox"), environment) as running:
        yield running


@pytest.fixture(scope="module")
def subnet(environment: dict[str, str]) -> str:  # noqa: ARG001 - needs an engine that answers
    """A subnet that no network of the engine overlaps, in a range that is meant for tests and routed nowhere."""
    networks = docker("network", "ls", "--quiet").split()
    form = "{{range .IPAM.Config}}{{println .Subnet}}{{end}}"
    taken = docker("network", "inspect", "--format", form, *networks).split()
    while True:
        # The upper half of 198.18.0.0/15, as boards and nodes take of the lower.
        found = ipaddress.ip_network(f"198.19.{random.randrange(256)}.0/24")
        if not any(found.overlaps(ipaddress.ip_network(other)) for other in taken if ":" not in other):
            return str(found)


@pytest.fixture(scope="module")
def stack(
    second_sandbox: Sandbox,  # noqa: ARG001 - ends after the stack
    new_stack: Callable[[], Stack],
    subnet: str,
) -> Stack:
    """The stack that the tests of this module change, up with every limit and network setting."""
    made = new_stack()
    made.configure(daemon={**DAEMON, "memory_mib": 1024}, **others(subnet))
    made.up()
    return made


def others(subnet: str) -> dict[str, Any]:
    """Settings beside the daemon's."""
    return {"network": {"mtu": 1400, "subnet": subnet}, "log_level": "debug", "metrics_address": ":9252"}


def change(stack: Stack, **settings: Any) -> None:
    """Bring the stack up with the settings, after which it has to be what they say."""
    stack.configure(**settings)
    stack.up()
    stack.expect_no_changes()


def test_limits_and_network_settings_hold_and_the_memory_limit_can_be_raised_and_removed(
    stack: Stack, subnet: str
) -> None:
    stack.expect_no_changes()
    limits = inspect(f"{stack.prefix}-dind")["HostConfig"]
    assert (limits["NanoCpus"], limits["Memory"]) == (1_500_000_000, 1024 * MIB)
    made = json.loads(docker("network", "inspect", stack.prefix))[0]
    assert made["Options"]["com.docker.network.driver.mtu"] == "1400"
    assert made["IPAM"]["Config"][0]["Subnet"] == subnet
    inside = json.loads(docker("exec", f"{stack.prefix}-dind", "docker", "info", "--format", "{{json .}}"))
    assert inside["RegistryConfig"]["Mirrors"] == ["http://127.0.0.1:9/"]
    assert 'log_level = "debug"\n' in stack.config_toml()
    assert 'listen_address = ":9252"\n' in stack.config_toml()
    change(stack, daemon={**DAEMON, "memory_mib": 2048}, **others(subnet))
    assert inspect(f"{stack.prefix}-dind")["HostConfig"]["Memory"] == 2048 * MIB
    change(stack, daemon=DAEMON, **others(subnet))
    assert inspect(f"{stack.prefix}-dind")["HostConfig"]["Memory"] == 0


def test_transport_alias_network_and_runners_change_without_harm_to_a_job(stack: Stack, sandbox: Sandbox) -> None:
    project = sandbox.project(project_files(stack.name))
    job, finish = start_long_job(sandbox, project)
    second = stack.runner(name="second")
    stack.configure(daemon={"transport": "socket"}, runners=[stack.runner(), second])
    up = start_beside_job(stack, "up", "--yes", "--skip-preview")
    end_long_job(stack, job)
    finish_command(up)
    finish()
    stack.expect_no_changes()
    assert f"{stack.prefix}-dind-certs-client" not in stack.leftovers()
    assert {r.description for r in sandbox.runners_of(stack.name)} == {f"{stack.name} docker", f"{stack.name} second"}
    change(stack, daemon={"endpoint": "tcp://builder:2376"}, runners=[second], network={"mtu": 1300})
    assert [r.description for r in sandbox.runners_of(stack.name)] == [f"{stack.name} second"]
    assert 'host = "tcp://builder:2376"\n' in stack.config_toml()
    sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")


def test_another_gitlab_gets_the_runner_and_keeps_those_of_others(
    stack: Stack, sandbox: Sandbox, second_sandbox: Sandbox
) -> None:
    (old,) = sandbox.runners_of(stack.name)
    same_id = 0
    while same_id < old.id:
        other = {"runner_type": "instance_type", "description": "somebody else's", "run_untagged": True}
        same_id = dict(second_sandbox.client.http_post("/user/runners", post_data=other))["id"]  # type: ignore[arg-type]
    moved = dataclasses.replace(
        stack, environment={**stack.environment, "DINDRUNNER_SANDBOX": str(second_sandbox.info)}
    )
    moved.up()
    moved.expect_no_changes()
    assert sandbox.runners_of(stack.name) == []
    assert [r.description for r in second_sandbox.runners_of(stack.name)] == [old.description]
    project = second_sandbox.project(project_files(stack.name))
    second_sandbox.finish(project, second_sandbox.run_pipeline(project, {"WHAT": "build"}), "build")
    moved.pulumi("destroy", "--yes", "--skip-preview")
    assert [r.id for r in second_sandbox.client.runners_all.list(get_all=True)].count(old.id) == 1
    assert second_sandbox.client.runners.get(old.id).description == "somebody else's"
    assert second_sandbox.runners_of(stack.name) == []
    assert stack.leftovers() == []
