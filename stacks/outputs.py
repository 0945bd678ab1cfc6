"""What every target exports: the interface that other infrastructure reads (docs/use/outputs.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import pulumi

from components.kinds import TRAITS, Executor
from components.registration import RunnerRegistration
from stacks.registrations import description
from stacks.settings.common import Common, GitLab, Runner
from stacks.stack import Stack

VERSION = 1
"""Of the outputs. It rises when one of them goes, or means something else; a new one alone does not raise it."""


def common_outputs(stack: Stack[Common, object], registrations: Mapping[str, RunnerRegistration]) -> dict[str, Any]:
    """The outputs that all targets have: version, target, prefix, gitlab, concurrent, runners, ci_snippet."""
    settings = stack.settings
    return {
        "version": VERSION,
        "target": settings.target,
        "prefix": stack.prefix,
        "gitlab": _gitlab(settings.gitlab),
        "concurrent": settings.jobs_at_once,
        "runners": _runners(stack, registrations),
        "ci_snippet": ci_snippet(settings.runners),
    }


class _Daemon(Protocol):
    """The daemon of any platform. On a cluster the container is the pod, and the volume the claim."""

    endpoint: str
    container_name: pulumi.Output[str]
    volume_name: pulumi.Output[str]


def daemon_output(settings: Common, made: _Daemon | None) -> dict[str, Any] | None:
    """The output `daemon`; None where the runners need none."""
    if made is None:
        return None
    return {
        "endpoint": made.endpoint,
        "transport": settings.daemon.transport.value,
        "container": made.container_name,
        "volume": made.volume_name,
    }


def _gitlab(gitlab: GitLab) -> dict[str, str | None]:
    """Whom the runners serve; paths and IDs both as texts."""
    return {
        "url": gitlab.url.rstrip("/"),
        "scope": gitlab.scope.value,
        "group": None if gitlab.group is None else str(gitlab.group),
        "project": None if gitlab.project is None else str(gitlab.project),
    }


def _runners(stack: Stack[Common, object], registrations: Mapping[str, RunnerRegistration]) -> dict[str, Any]:
    """By the runner's name. id: None where it brings its own token; GitLab may then know other tags."""
    return {
        runner.name: {
            "id": registrations[runner.name].runner_id if runner.name in registrations else None,
            "kind": runner.kind.value,
            "executor": runner.executor.value,
            "tags": list(runner.tags),
            "run_untagged": runner.run_untagged,
            "access_level": runner.access_level,
            "maximum_timeout": runner.maximum_timeout,
            "limit": runner.limit,
            "paused": runner.paused,
            "image": runner.image if runner.executor is not Executor.SHELL else None,
            "helper_image": runner.helper_image,
            "description": description(stack, runner),
        }
        for runner in stack.settings.runners
    }


def ci_snippet(runners: Iterable[Runner]) -> str:
    """A `.gitlab-ci.yml` fragment: one job a runner, with its tags."""
    return "\n".join(_job(runner) for runner in runners)


def _job(runner: Runner) -> str:
    # A JSON string is a YAML string, so nothing needs other quoting.
    tags = f"  tags: {json.dumps(list(runner.tags), ensure_ascii=False)}\n" if runner.tags else ""
    script = "".join(f"    - {json.dumps(line)}\n" for line in TRAITS[runner.kind].script)
    # The suffix keeps the job's name from being a keyword (`default`, `image`) or another type (`1`, `on`).
    return f"{runner.name}-job:\n{tags}  script:\n{script}"
