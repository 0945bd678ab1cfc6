"""What every target exports: the interface that other infrastructure reads (docs/outputs.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.kinds import Executor
from components.registration import RunnerRegistration
from stacks.ci_snippet import ci_snippet
from stacks.common import GitLab
from stacks.load import Stack
from stacks.registrations import description

VERSION = 1
"""Of the outputs. It rises when one of them goes, or means something else; a new one alone does not raise it."""


def common_outputs(stack: Stack[Any], registrations: Mapping[str, RunnerRegistration]) -> dict[str, Any]:
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


def _gitlab(gitlab: GitLab) -> dict[str, str | None]:
    """Whom the runners serve; paths and IDs both as texts."""
    return {
        "url": gitlab.url.rstrip("/"),
        "scope": gitlab.scope.value,
        "group": None if gitlab.group is None else str(gitlab.group),
        "project": None if gitlab.project is None else str(gitlab.project),
    }


def _runners(stack: Stack[Any], registrations: Mapping[str, RunnerRegistration]) -> dict[str, Any]:
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
