"""The policy pack in the real engine: what passes, what is refused, and when."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from policy.catalog import ADVISORY, MANDATORY, POLICIES
from tests.engine.world import ROOT, Stack, run

STRICT = ("--policy-pack-config", str(ROOT / "policy" / "strict.json"))
DAEMON_BY_HAND = """
import pulumi_docker

pulumi_docker.Container(
    "by-hand",
    image="docker:28.5.2-dind",
    privileged=True,
    ports=[pulumi_docker.ContainerPortArgs(internal=2376, external=2376)],
)
"""
"""What somebody might add to the program."""

Violations = dict[str, dict[str, list[str]]]
"""Messages by level and policy."""


@pytest.fixture(scope="module")
def stack(new_stack: Callable[[], Stack]) -> Stack:
    """A stack that is not up."""
    return new_stack()


def judged(stack: Stack, command: str, *options: str) -> tuple[subprocess.CompletedProcess[str], Violations]:
    """A command under the policies, and what they found."""
    log = stack.directory / "events.json"
    pack = ("--policy-pack", stack.environment["DINDRUNNER_POLICY_PACK"], "--event-log", str(log))
    done = run(
        "pulumi", command, "--stack", stack.name, "--non-interactive", "--color=never", *pack, *options,
        check=False, cwd=stack.directory, env={**stack.environment, "PULUMI_DEBUG_COMMANDS": "1"},
    )  # fmt: skip
    found: Violations = {}
    for line in log.read_text().splitlines():
        if event := json.loads(line).get("policyEvent"):
            demand, _, message = str(event["message"]).strip().partition("\n")
            assert demand == next(each.demand for each in POLICIES if each.name == event["policyName"])
            found.setdefault(event["enforcementLevel"], {}).setdefault(event["policyName"], []).append(message)
    return done, found


def previewed(stack: Stack, *options: str, **settings: Any) -> tuple[subprocess.CompletedProcess[str], Violations]:
    """A preview with these settings."""
    stack.configure(**settings)
    return judged(stack, "preview", *options)


def test_a_stack_with_defaults_passes_and_is_told_what_is_advisory(stack: Stack) -> None:
    done, found = previewed(stack)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {level: sorted(by_name) for level, by_name in found.items()} == {
        ADVISORY: ["missing-limit", "unjudged-config", "unprotected-cache"]
    }
    assert "dind-container memory: no limit, so builds may take all of the host's: set settings.daemon.memory_mib" in (
        done.stdout
    )
    # The engine complains of plugins that it finds in unusual places.
    assert "from $PATH" not in done.stdout + done.stderr


def test_the_strict_levels_refuse_what_is_advisory_otherwise_and_accept_a_stack_that_heeds_it(stack: Stack) -> None:
    done, found = previewed(stack, *STRICT)
    assert done.returncode == 1
    assert {level: sorted(by_name) for level, by_name in found.items()} == {
        ADVISORY: ["unjudged-config"],
        MANDATORY: ["missing-limit", "unprotected-cache"],
    }
    done, found = previewed(stack, *STRICT, daemon={"memory_mib": 2048, "keep_cache": True})
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(found) == [ADVISORY]


def test_every_mandatory_policy_refuses_a_stack_that_violates_it_with_the_remedy(stack: Stack) -> None:
    program = stack.directory / "__main__.py"
    program.unlink()
    program.write_text((ROOT / "__main__.py").read_text() + DAEMON_BY_HAND)
    try:
        done, found = previewed(
            stack,
            daemon={"transport": "tcp", "image": "docker:dind", "data_path": "/var/run"},
            runners=[stack.runner(access_level="not_protected", image="docker:cli")],
        )
    finally:
        program.unlink()
        program.symlink_to(ROOT / "__main__.py")
    assert done.returncode == 1
    remedies = {
        "plaintext-daemon": "set settings.daemon.transport: tls",
        "unpinned-image": "set settings.daemon.image to an image with a version, for example docker:28.5.2-dind, or "
        "with a digest",
        "unpinned-job-image": "set the image of runner docker to an image with a version, for example "
        "docker:28.5.2-dind, or with a digest",
        "published-port": "publishes port 2376 of the daemon: remove it, as nobody outside the stack's network needs "
        "the daemon",
        "host-socket": "/var/run hands over the host's Docker, and with it the host: remove it; only a runner of kind "
        "host-docker is given that",
        "open-runner": "set settings.runners (docker).access_level: ref_protected, or kind: plain without privileged",
    }
    assert sorted(remedies) == sorted(policy.name for policy in POLICIES if policy.level == MANDATORY)
    assert {name: [text[-len(remedies[name]) :] for text in texts] for name, texts in found[MANDATORY].items()} == {
        name: [remedy] for name, remedy in remedies.items()
    }
    for texts in found[MANDATORY].values():
        assert texts[0] in done.stdout
    assert not stack.has_resources


def test_a_configuration_that_a_preview_cannot_read_yet_is_judged_before_it_is_written(stack: Stack) -> None:
    # Needs no daemon, which would take its time.
    stack.configure(runners=[stack.runner(kind="host-docker", extra={"docker": {"services": [{"name": "db:edge"}]}})])
    done, found = judged(stack, "up", "--yes")
    assert done.returncode == 1
    assert found[MANDATORY] == {
        "unpinned-image": [
            "runner-config config.toml runners[0] (docker) docker.services[0].name: db:edge changes all the time: set "
            "settings.runners[0].job_daemon_image to an image with a version, for example docker:28.5.2-dind, or with "
            "a digest"
        ]
    }
    containers = stack.docker("ps", "--all", "--filter", f"label=dindrunner.stack={stack.name}", "--format={{.Names}}")
    assert not [name for name in containers.splitlines() if name.startswith(f"{stack.prefix}-runner")]
    assert "glrt-" not in done.stdout + done.stderr


def test_once_the_runners_are_registered_nothing_is_left_unjudged(stack: Stack) -> None:
    done, found = previewed(stack, runners=[stack.runner(extra={"docker": {"services": [{"name": "db:edge"}]}})])
    assert done.returncode == 1
    assert found[MANDATORY] == {
        "unpinned-image": [
            "runner-config config.toml runners[0] (docker) docker.services[0].name: db:edge changes all the time: set "
            "settings.runners[0].job_daemon_image to an image with a version, for example docker:28.5.2-dind, or with "
            "a digest"
        ]
    }
    assert "unjudged-config" not in found[ADVISORY]
