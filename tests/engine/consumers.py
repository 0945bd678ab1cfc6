"""examples/consumer as a stack of its own that reads another one's outputs, through the real engine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from gitlab.v4.objects import Project as GitLabProject

from tests.engine.world import ROOT, Sandbox, Stack, run

FILE = ".gitlab/runners.yml"
PIPELINE = """\
include:
  - local: .gitlab/runners.yml
build:
  extends: .on-docker
  script: [docker info --format alive]
by variables:
  tags: [$DIND_RUNNER_TAG]
  image: $DIND_RUNNER_IMAGE
  script: [docker info --format alive]
"""
"""Two jobs that ask for the runner `docker`, by the file that the consumer commits, and by its variables."""


@dataclass(frozen=True)
class Consumer:
    """One stack of the consumer, in the same backend as the stack that it reads."""

    directory: Path
    reads: Stack
    environment: Mapping[str, str]

    def configure(self, project: GitLabProject, stack: str = "", **settings: Any) -> None:
        """Write its settings; stack: the name of the one to read, where it is another."""
        given = {
            "runners-stack": f"organization/gitlab-dind-runners/{stack or self.reads.name}",
            "project": project.path_with_namespace,
            "branch": "main",
            **settings,
        }
        file = self.directory / "Pulumi.consumer.yaml"
        salt = (
            [line for line in file.read_text().splitlines() if line.startswith("encryptionsalt")]
            if file.exists()
            else []
        )
        config = {f"gitlab-dind-consumer:{key}": value for key, value in given.items()}
        file.write_text("\n".join([*salt, yaml.safe_dump({"config": config})]))

    def pulumi(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A pulumi command on it."""
        return run(
            "pulumi", *arguments, "--stack", "consumer", "--non-interactive", "--color=never",
            check=check, cwd=self.directory, env=dict(self.environment),
        )  # fmt: skip

    def up(self) -> dict[str, Any]:
        """Bring it up; its outputs."""
        self.pulumi("up", "--yes", "--skip-preview")
        return dict(json.loads(self.pulumi("stack", "output", "--json").stdout))

    def refusal(self) -> str:
        """What a preview says that fails, on one line."""
        done = self.pulumi("preview", check=False)
        assert done.returncode != 0, done.stdout
        return " ".join((done.stdout + done.stderr).split())


@contextmanager
def running_consumer(directory: Path, stack: Stack, sandbox: Sandbox) -> Iterator[Consumer]:
    """The consumer of a stack in a new directory; what it has made is destroyed at the end."""
    directory.mkdir()
    for entry in ("Pulumi.yaml", "__main__.py", "outputs.py"):
        (directory / entry).symlink_to(ROOT / "examples" / "consumer" / entry)
    (directory / ".venv").symlink_to(ROOT / ".venv")
    # A passphrase of its own: it shall read the outputs without that of the stack.
    own = {"GITLAB_TOKEN": sandbox.token, "PULUMI_CONFIG_PASSPHRASE": "the consumer's"}
    consumer = Consumer(directory, stack, {**stack.environment, **own})
    consumer.pulumi("stack", "init")
    try:
        yield consumer
    finally:
        consumer.pulumi("destroy", "--yes", "--skip-preview", check=False)


def variables_of(project: GitLabProject) -> dict[str, str]:
    """The project's CI/CD variables that the consumer makes."""
    return {each.key: each.value for each in project.variables.list(all=True) if each.key.startswith("DIND_")}


def file_of(project: GitLabProject) -> str:
    """The file that the consumer commits."""
    return project.files.get(FILE, ref="main").decode().decode()
