"""A stack that is up has nothing to change when it is previewed by today's program.

For that, the program has to ask for the same resources as the one that brought it up: the engine compares a resource's
place (type, name, parents), its inputs and its provider. `earlier_stacks.jsonl` has these of the stacks below, as the
program asked for them before its components became a package (docs/decisions/0012-components-as-a-package.md). Where a
change is meant to reach stacks that are up, CHANGELOG.md says so, and this makes the file anew:

    python -m tests.unit.test_earlier_stacks > tests/unit/earlier_stacks.jsonl
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit import test_docker_host, test_gke, test_raspberry_pi
from tests.unit.recording import Recorded, Recording, Secret
from tests.unit.samples import runner

FILE = Path(__file__).with_name("earlier_stacks.jsonl")
# The versions of images move with every release, and the preview then shows it.
IMAGES: dict[str, Any] = {"runner_image": "mine/runner:1", "daemon": {"image": "mine/dind:1"}}
OF_JOBS = {"image": "mine/job:1", "helper_image": "mine/helper:1"}
DIND = runner(tags=["dind", "build"], limit=2, cpus=1.5, memory_mib=2048, environment={"TZ": "UTC"}, **OF_JOBS)
PLAIN = runner(name="plain", kind="plain", tags=["plain"], run_untagged=True, locked=False, **OF_JOBS)
PER_JOB = runner(name="per-job", kind="job-dind", tags=["own"], privileged=True, job_daemon_image="mine/dind:1")
OF_HOST = runner(name="host", kind="host-docker", tags=["host"], volumes=["/data"], **OF_JOBS)
ALL = {"runners": [DIND, PLAIN, PER_JOB | OF_JOBS, OF_HOST], "concurrent": 6}
NETWORK = {"subnet": "10.90.0.0/24", "mtu": 1400}
FULL_DAEMON: dict[str, Any] = {"cpus": 2, "memory_mib": 4096, "keep_cache": True, "dns": ["192.0.2.53"]}
STACKS: Mapping[str, tuple[Callable[..., Recording], Mapping[str, Any]]] = {
    "docker-host": (test_docker_host.record, {**IMAGES, "runners": [runner(**OF_JOBS)]}),
    "docker-host with much": (
        test_docker_host.record,
        {**ALL, **IMAGES, "network": NETWORK, "daemon": {**IMAGES["daemon"], **FULL_DAEMON}, "drain_seconds": 600},
    ),
    "docker-host by a socket": (
        test_docker_host.record,
        {**IMAGES, "runners": [DIND], "daemon": {**IMAGES["daemon"], "transport": "socket", "data_path": "/srv/cache"}},
    ),
    "raspberry-pi": (test_raspberry_pi.record, {**ALL, **IMAGES}),
    "raspberry-pi on a swarm": (
        test_raspberry_pi.record,
        {**ALL, **IMAGES, "orchestrator": "swarm", "network": NETWORK, "swarm": {"node_label": "ci=true"}},
    ),
    "gke": (test_gke.record, {**IMAGES, "runners": [runner(**OF_JOBS)]}),
    "gke with much": (
        test_gke.record,
        {
            **IMAGES,
            "runners": [DIND, PLAIN],
            "concurrent": 6,
            "namespace": "ci",
            "daemon": {
                **IMAGES["daemon"],
                "cpus": 2,
                "memory_mib": 4096,
                "claim": {"size_gib": 50, "storage_class": "standard-rwo", "protect": False},
                "dedicated_node": {"dedicated": "docker"},
            },
        },
    ),
}


def asked(recording: Recording) -> dict[str, dict[str, Any]]:
    """What the engine compares of each resource, by its type and name."""
    found = {f"{each.type} {each.name}": _compared(each) for each in recording.resources}
    assert len(found) == len(recording.resources)
    return found


def _compared(resource: Recorded) -> dict[str, Any]:
    compared = {"parent": resource.parent, "provider": resource.provider, "inputs": resource.inputs}
    return dict(json.loads(json.dumps(compared, default=_plain)))


def _plain(value: object) -> dict[str, Any]:
    assert isinstance(value, Secret)
    return {"secret": value.value}


def earlier(stack: str) -> dict[str, dict[str, Any]]:
    """The same, as the file has it."""
    lines = map(json.loads, FILE.read_text().splitlines())
    return {line["resource"]: line["asked"] for line in lines if line["stack"] == stack}


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_that_is_up_has_nothing_to_change(stack: str) -> None:
    record, settings = STACKS[stack]
    now, then = asked(record(**settings)), earlier(stack)
    assert sorted(now) == sorted(then)
    for resource, known in then.items():
        assert now[resource] == known, f"an update of {resource}"


def test_the_file_has_no_other_stacks() -> None:
    assert {json.loads(line)["stack"] for line in FILE.read_text().splitlines()} == set(STACKS)


if __name__ == "__main__":
    for title, (recorded, given) in STACKS.items():
        for key, value in sorted(asked(recorded(**given)).items()):
            line = {"stack": title, "resource": key, "asked": value}
            print(json.dumps(line, sort_keys=True, separators=(",", ":")))
