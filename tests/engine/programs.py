"""Programs of somebody who uses the components: each in a directory of its own, with a stack and its state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engine.world import ROOT, STEP_SECONDS, Sandbox, run, unique


@dataclass(frozen=True)
class Program:
    """A program and its stack."""

    directory: Path
    name: str
    environment: Mapping[str, str]

    def pulumi(self, *arguments: str) -> str:
        """What a pulumi command on the stack printed."""
        words = ("pulumi", *arguments, "--stack", self.name, "--non-interactive", "--color=never")
        return run(*words, cwd=self.directory, env=dict(self.environment), seconds=STEP_SECONDS).stdout

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs."""
        return dict(json.loads(self.pulumi("stack", "output", "--json")))

    @contextmanager
    def up(self, settings: Mapping[str, str]) -> Iterator[None]:
        """The stack with these settings, by their paths, is up, and is destroyed again."""
        if settings:
            given = [f"--plaintext={path}={value}" for path, value in settings.items()]
            self.pulumi("config", "set-all", "--path", *given)
        try:
            self.pulumi("up", "--yes", "--skip-preview")
            yield
        finally:
            self.pulumi("destroy", "--yes", "--skip-preview")


def new_program(directory: Path, files: Mapping[str, str], environment: Mapping[str, str], sandbox: Sandbox) -> Program:
    """A program of these files in an empty directory, with a new stack, whose GitLab is the sandbox."""
    (directory / "state").mkdir()
    for file, text in files.items():
        (directory / file).write_text(text)
    private = {
        **environment,
        "PULUMI_BACKEND_URL": f"file://{directory}/state",
        "PULUMI_CONFIG_PASSPHRASE": "stranger",
        "GITLAB_TOKEN": sandbox.token,
        "GITLAB_BASE_URL": f"{sandbox.described['url']}/api/v4/",
    }
    made = Program(directory, unique(), private)
    made.pulumi("stack", "init")
    return made


WHOLE = """\
import json
import os

import pulumi
from components.{platform} import {whole}

made = {whole}("ci", json.loads(os.environ["ARGS"]))
for name in type(made).__annotations__:
    pulumi.export(name, getattr(made, name))
"""


def program_of_whole(
    whole: str, directory: Path, environment: Mapping[str, str], sandbox: Sandbox, **args: Any
) -> Program:
    """A program that makes nothing but one whole, with the least that it needs, `args` and an engine in `environment`.

    whole: the class, by its platform's module: `swarm.SwarmRunners`.
    """
    platform, _, name = whole.partition(".")
    images = sandbox.described["images"] or {}
    of_jobs = {"image": images["job"], "helper_image": images["helper"]} if images else {}
    given = {
        "gitlab_url": sandbox.described["url"],
        "scope": "group",
        "group": sandbox.described["group"],
        "runners": [{"name": "docker", "tags": ["whole"], **of_jobs}],
        **({"runner_image": images["runner"], "daemon_image": images["daemon"]} if images else {}),
        **args,
    }
    files = {
        "Pulumi.yaml": "name: whole\nruntime: python\n",
        "__main__.py": WHOLE.format(platform=platform, whole=name),
    }
    private = {**environment, "PYTHONPATH": str(ROOT), "ARGS": json.dumps(given)}
    return new_program(directory, files, private, sandbox)
