"""A stack's state as the Pulumi CLI exports it, and the Docker engines in it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.docker_client import DockerEngine
from toolchain.engine import docker_host
from toolchain.shared import Say, run

PULUMI_SECONDS = 60.0


def pulumi(*arguments: str, stack: str, stdin: str = "") -> str:
    """What a Pulumi command on the stack printed. Raises ToolchainError where it fails."""
    return pulumi_text(*arguments, "--stack", stack, stdin=stdin)


def pulumi_text(*arguments: str, stdin: str = "") -> str:
    """What a Pulumi command printed. Raises ToolchainError where it fails."""
    command = ["pulumi", "--non-interactive", "--color=never", *arguments]
    what = f"pulumi {' '.join(arguments)} (see docs/use/pitfalls.md)"
    return run(command, limit=PULUMI_SECONDS, what=what, stdin=stdin.encode())


def export(stack: str) -> dict[str, Any]:
    """The state; its `deployment` is never None."""
    state: dict[str, Any] = json.loads(pulumi("stack", "export", stack=stack))
    return {**state, "deployment": state["deployment"] or {}}


def engine_of(resource: Mapping[str, Any], resources: Sequence[Mapping[str, Any]]) -> DockerEngine:
    """The engine that a resource was made on, by its provider among the stack's resources."""
    name = resource.get("provider")
    provider = next((one for one in resources if f"{one['urn']}::{one.get('id')}" == name), {})
    inputs = provider.get("inputs") or {}
    options = inputs.get("sshOpts") or []
    # Pulumi keeps what is no text as JSON.
    words = json.loads(options) if isinstance(options, str) else options
    return DockerEngine(host=inputs.get("host") or docker_host(), ssh_options=tuple(words))


def kept(stack: str) -> list[str]:
    """A line for each volume and claim that outlives the stack, with what removes it."""
    resources = export(stack)["deployment"].get("resources") or []
    return [*_kept_volumes(resources), *_kept_claims(resources)]


def remove(stack: str, say: Say) -> None:
    """Removes a stack that was destroyed, but not its settings; one with protected resources stays, to know them."""
    if not export(stack)["deployment"].get("resources"):
        pulumi("stack", "rm", "--yes", "--preserve-config", stack=stack)
        return
    say(f"stack {stack} stays, because it has protected resources: the next `make up` uses them again")


def stacks() -> list[dict[str, Any]]:
    """The project's stacks, as Pulumi lists them."""
    found: list[dict[str, Any]] = json.loads(pulumi_text("stack", "ls", "--json"))
    return found


def is_up() -> bool:
    """Whether any stack has more than what it keeps while it is down."""
    return any(_runs(export(one["name"])["deployment"]) for one in stacks() if one.get("resourceCount"))


def _runs(deployment: Mapping[str, Any]) -> bool:
    return any(
        one.get("custom") and not one.get("protect") and not one["type"].startswith("pulumi:providers:")
        for one in deployment.get("resources") or []
    )


def _kept_volumes(resources: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in resources:
        if one["type"] == "docker:index/volume:Volume" and one.get("retainOnDelete"):
            command = engine_of(one, resources).docker("volume", "rm", one["id"])
            yield f"kept: {one['id']} ({shlex.join(command)})"


def _kept_claims(resources: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in resources:
        if one["type"] == "kubernetes:core/v1:PersistentVolumeClaim" and one.get("protect"):
            yield (
                f"kept: claim {one['id']}, and the namespace that it is in (to delete it, set daemon.claim.protect: "
                "false, and run make up and make down)"
            )
