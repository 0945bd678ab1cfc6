"""What the consumer reads of a runner stack's outputs: checked, typed, and made into variables and a file.

The outputs are described in docs/use/outputs.md of gitlab-dind-runners.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pulumi import RunError

VERSION = 1
"""Of the outputs, as this program knows them."""

BUILDS = ("dind", "host-docker", "job-dind")
"""Kinds of runners whose jobs build images."""

VARIABLES = ("TAG", "TAGS", "IMAGE")
"""The CI/CD variables that are made, by the ends of their keys."""


class OutputsError(RunError):
    """The outputs are not what is needed: what is wrong and what to do, which Pulumi shows without a traceback."""


@dataclass(frozen=True)
class Runner:
    """One of the stack's runners.

    image: of jobs that name none; None where they have none. protected: whether it takes the jobs of protected branches
    and tags only.
    """

    name: str
    kind: str
    tags: tuple[str, ...]
    image: str | None
    protected: bool


@dataclass(frozen=True)
class Runners:
    """A stack's runners, and the one that a project builds on. stack: its name; url: base URL of their GitLab."""

    stack: str
    url: str
    all: tuple[Runner, ...]
    builder: Runner

    @property
    def variables(self) -> dict[str, str]:
        """Values of the CI/CD variables, by the ends of their keys. None is secret."""
        others = {tag for runner in self.all if runner is not self.builder for tag in runner.tags}
        own = [tag for tag in self.builder.tags if tag not in others]
        values = (own or self.builder.tags)[0], json.dumps(self.builder.tags), self.builder.image or ""
        return dict(zip(VARIABLES, values, strict=True))

    @property
    def fragment(self) -> str:
        """YAML for `include`: for each runner that has tags a job to extend, by the name `.on-<runner>`."""
        jobs = "".join(_job(runner) for runner in self.all if runner.tags)
        return f"# Made by Pulumi from the outputs of {self.stack}: change it there.\n{jobs}"


def check_name(stack: str) -> str:
    """The whole name of a stack. Raises OutputsError where a part of it is missing."""
    if len([part for part in stack.split("/") if part]) != 3:
        raise OutputsError(
            f"runners-stack is {stack!r}: write the whole name, organization/gitlab-dind-runners/<stack> (with Pulumi "
            "Cloud, your organization's own name)"
        )
    return stack


def read(stack: str, outputs: Mapping[str, Any], *, project: str, runner: str | None = None) -> Runners:
    """The runners of a stack for a project.

    stack: name of the stack, for messages. outputs: all of the stack's. project: full path or ID. runner: name of the
    one to build on; not needed where only one builds. Raises OutputsError.
    """
    if not outputs:
        raise OutputsError(f"stack {stack} has no outputs: it was never deployed, or is destroyed; bring it up first")
    found = _Reader(stack, outputs)
    version = found.at("version")
    if version != VERSION:
        raise OutputsError(
            f"stack {stack} has outputs of version {version}, and this program knows version {VERSION}: "
            "take the program that belongs to the stack's"
        )
    _check_scope(stack, found, project)
    runners = tuple(_runner(found, name) for name in found.at("runners"))
    builder = _builder(stack, runners, runner)
    if builder.kind == "dind" and found.at("daemon") is None:
        raise OutputsError(f"stack {stack} has no daemon, which runner {builder.name} builds with: bring it up again")
    if not builder.tags:
        raise OutputsError(
            f"runner {builder.name} of stack {stack} has no tags, so no job can ask for it: give it tags in that stack"
        )
    return Runners(stack=stack, url=found.at("gitlab.url"), all=runners, builder=builder)


@dataclass(frozen=True)
class _Reader:
    stack: str
    outputs: Mapping[str, Any]

    def at(self, *path: str) -> Any:
        """An output, by its names; those of one string are parted by dots."""
        names = [name for part in path for name in part.split(".")]
        value: Any = self.outputs
        for name in names:
            if not isinstance(value, Mapping) or name not in value:
                raise OutputsError(
                    f"stack {self.stack} has no output {'.'.join(names)}: it was deployed by an older version of "
                    "gitlab-dind-runners; bring it up again with a newer one"
                )
            value = value[name]
        return value


def _runner(found: _Reader, name: str) -> Runner:
    return Runner(
        name=name,
        kind=found.at("runners", name, "kind"),
        tags=tuple(found.at("runners", name, "tags")),
        image=found.at("runners", name, "image"),
        protected=found.at("runners", name, "access_level") == "ref_protected",
    )


def _builder(stack: str, runners: tuple[Runner, ...], wanted: str | None) -> Runner:
    listed = ", ".join(f"{runner.name} ({runner.kind})" for runner in runners)
    if wanted is not None and wanted not in {runner.name for runner in runners}:
        raise OutputsError(f"stack {stack} has no runner {wanted!r}: it has {listed}")
    builders = [runner for runner in runners if runner.kind in BUILDS and wanted in (None, runner.name)]
    match builders:
        case [only]:
            return only
        case []:
            raise OutputsError(
                f"stack {stack} has no {'runner' if wanted is None else f'runner {wanted}'} that builds images: "
                f"it has {listed}; add one of kind dind there"
            )
        case _:
            raise OutputsError(f"stack {stack} has several runners that build: choose one by `runner`, of {listed}")


def _check_scope(stack: str, found: _Reader, project: str) -> None:
    """Where both are written as paths, they can be compared; otherwise GitLab alone knows."""
    scope = found.at("gitlab.scope")
    served = found.at("gitlab", scope) if scope in ("group", "project") else None
    if served is None or served.isdecimal() or project.isdecimal():
        return
    # GitLab does not tell capitals in paths from small letters.
    path, root = project.lower(), served.lower()
    inside = path == root if scope == "project" else path.startswith(f"{root}/")
    if not inside:
        raise OutputsError(f"stack {stack} serves the {scope} {served} alone, and not {project}")


def _job(runner: Runner) -> str:
    lines = [f".on-{runner.name}:", f"  tags: {json.dumps(runner.tags, ensure_ascii=False)}"]
    if runner.image and runner.kind in BUILDS:
        # Or the project's `default: image` would have no Docker client.
        lines.append(f"  image: {json.dumps(runner.image)}")
    if runner.protected:
        lines += [
            "  rules:",
            "    # The runner takes no others; without this, the jobs of other branches would wait for ever.",
            '    - if: $CI_COMMIT_REF_PROTECTED == "true"',
        ]
    return "\n".join(lines) + "\n"
