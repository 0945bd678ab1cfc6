"""Repositories with this project's pipeline files, as gitlab-ci-local sees them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "my-group/gitlab-dind-runners"
MERGE_REQUEST = {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_IID": "7"}
BACKEND = {"DINDRUNNER_BACKEND_URL": "s3://state"}
# gitlab-ci-local says of every project that its ID is 1217.
OF_THIS_PROJECT = {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1217"}


@dataclass(frozen=True)
class CiRepository:
    """A git repository on its default branch, main, and what runs its pipelines."""

    directory: Path
    program: Path

    def change(self, *files: str) -> None:
        """Have these files, and no others, differ from the default branch as the server has it."""
        self._git("reset", "--quiet", "--hard", "origin/main")
        for file in files:
            path = self.directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((path.read_text() if path.exists() else "") + "# changed\n")
        self._git("add", "--all")
        commit(self.directory)

    def jobs(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The jobs of a pipeline with these variables, each with its `when`; AssertionError where it warns."""
        done = self.run("--list-json", variables=variables)
        warnings = [line for line in done.stderr.splitlines() if not line.startswith(("parsing and ", "json schema "))]
        assert not warnings, "\n".join(warnings)
        return {job["name"]: job["when"] for job in json.loads(done.stdout) if job["when"] != "never"}

    def flat(self) -> str:
        """Its pipeline with what it includes and extends, as the sandbox takes it."""
        [file] = yaml.safe_load_all((self.directory / ".gitlab-ci.yml").read_text())
        jobs = yaml.safe_load(self.run("--preview", variables={}).stdout)
        return yaml.safe_dump({key: file[key] for key in ("workflow", "variables") if key in file} | jobs)

    def run(
        self, *arguments: str, variables: Mapping[str, str], check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """gitlab-ci-local with these arguments; AssertionError with its output where it failed."""
        # Without it a job with an image is told a directory of the container that it does not run in.
        variables = {**variables, "CI_PROJECT_DIR": str(self.directory)}
        options = [word for name, value in variables.items() for word in ("--variable", f"{name}={value}")]
        if "CI_MERGE_REQUEST_IID" in variables:
            options += ["--unset-variable", "CI_COMMIT_BRANCH"]
        options += ["--ignore-predefined-vars", ",".join(variables), "--home", str(self.directory.parent)]
        command = [str(self.program), *arguments, *options]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.directory, check=True, capture_output=True, timeout=30)


def of_the_project(directory: Path, program: Path) -> CiRepository:
    """A repository with the project's own pipeline; of the rest only what matters to it."""
    for entry in (".gitlab-ci.yml", "pyproject.toml", *(path.name for path in ROOT.glob("Pulumi*.yaml"))):
        _copy(ROOT / entry, directory / entry)
    shutil.copytree(ROOT / "examples" / "ci", directory / "examples" / "ci")
    return _repository(directory, program)


def of_stack_files(directory: Path, program: Path) -> CiRepository:
    """A repository that holds only stack files, with the example's pipeline, which includes from another project."""
    shutil.copytree(ROOT / "examples" / "environments", directory)
    _copy(ROOT / "examples" / "ci" / ".gitlab-ci.yml", directory / ".gitlab-ci.yml")
    repository = _repository(directory, program)
    # Where gitlab-ci-local keeps what it has fetched.
    fetched = directory / ".gitlab-ci-local" / "includes" / "gitlab.example.com" / PROGRAM / "v0.1.0"
    shutil.copytree(ROOT / "examples" / "ci", fetched / "examples" / "ci")
    return repository


def commit(directory: Path) -> None:
    """Commit what is staged, if anything."""
    command = ["git", "commit", "--quiet", "--allow-empty", "--message=files"]
    subprocess.run(command, cwd=directory, check=True, timeout=30)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _repository(directory: Path, program: Path) -> CiRepository:
    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=directory, check=True, timeout=30)

    (directory / ".gitignore").write_text(".gitlab-ci-local/\n")
    git("init", "--quiet", "--initial-branch=main")
    # Whose commits they are; gitlab-ci-local, too, asks for it.
    git("config", "user.name", "test")
    git("config", "user.email", "test@example.com")
    git("remote", "add", "origin", "https://gitlab.example.com/my-group/stacks.git")
    git("add", "--all")
    commit(directory)
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    return CiRepository(directory, program)
