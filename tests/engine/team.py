"""A team's project in the sandbox with its stack files, and a real gitlab-runner on this machine for its pipelines."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from gitlab.v4.objects import Project as GitLabProject
from gitlab.v4.objects import ProjectJob, ProjectMergeRequest, ProjectPipeline

from lab import images
from tests.engine.world import ROOT, Sandbox, Stack, run, trace, unique, wait_for
from tests.unit.ci_repository import of_stack_files
from toolchain import ci_local
from toolchain.gobuild import build

ENDED = ("success", "failed", "canceled", "skipped", "manual")
PIPELINE_SECONDS = 180


@dataclass(frozen=True)
class Team:
    """The project, and the stack that its pipelines deploy."""

    sandbox: Sandbox
    project: GitLabProject
    stack: Stack

    @property
    def settings_file(self) -> str:
        """The file with the stack's settings."""
        return f"Pulumi.{self.stack.name}.yaml"

    def settings(self, **changes: Any) -> str:
        """The text of that file on the default branch with these settings changed."""
        content = yaml.safe_load(self.project.files.get(self.settings_file, ref="main").decode())
        content["config"]["gitlab-dind-runners:settings"] |= changes
        return yaml.safe_dump(content)

    def commit(self, files: Mapping[str, str], branch: str = "main", project: GitLabProject | None = None) -> str:
        """Change files on a branch, which is made from the default branch; the commit's SHA."""
        project = project or self.project
        actions = [{"action": "update", "file_path": file, "content": text} for file, text in files.items()]
        start = {} if branch == "main" else {"start_branch": "main"}
        message = f"change {', '.join(files)}"
        made = project.commits.create({"branch": branch, **start, "commit_message": message, "actions": actions})
        return str(made.id)

    def propose(self, files: Mapping[str, str], source: GitLabProject | None = None) -> ProjectMergeRequest:
        """Open a merge request that changes whole files, from a new branch of the project or of a fork."""
        source = source or self.project
        branch = unique("change")
        self.commit(files, branch, source)
        given = {"source_branch": branch, "target_branch": "main", "title": branch}
        opened = source.mergerequests.create({**given, "target_project_id": self.project.id})
        return self.project.mergerequests.get(opened.iid)

    def pipeline(self, source: str, commit: str) -> ProjectPipeline:
        """The default branch's pipeline for a commit that a push or a schedule started, once it is there."""

        def probe() -> ProjectPipeline | None:
            pipelines = self.project.pipelines.list(get_all=True)
            return next((one for one in pipelines if (one.source, one.sha) == (source, commit)), None)

        return wait_for(f"the pipeline of {commit} by a {source}", 20, probe)

    def end_of(self, pipeline: int, project: GitLabProject | None = None) -> dict[str, ProjectJob]:
        """The jobs of a pipeline by name, once all have ended or wait for somebody. pipeline: its ID."""
        project = project or self.project

        def probe() -> dict[str, ProjectJob] | None:
            jobs = project.pipelines.get(pipeline).jobs.list(get_all=True)
            if all(job.status in ENDED for job in jobs):
                return {job.name: project.jobs.get(job.id) for job in jobs}
            return None

        return wait_for(f"the end of pipeline {pipeline}", PIPELINE_SECONDS, probe)

    def until(self, pipeline: int, name: str, status: str) -> ProjectJob:
        """A job of a pipeline once it has a status."""

        def probe() -> ProjectJob | None:
            job = self.sandbox.job(self.project, self.project.pipelines.get(pipeline), name)
            return job if job.status == status else None

        return wait_for(f"job {name} to be {status}", PIPELINE_SECONDS, probe)

    def preview(
        self, merge_request: ProjectMergeRequest, source: GitLabProject | None = None, status: str = "success"
    ) -> str:
        """The trace of the job that previews the stack for a merge request; AssertionError where it ended otherwise."""
        [pipeline] = merge_request.pipelines.list(get_all=True)
        job = self.end_of(pipeline.id, source)[f"preview {self.stack.name}"]
        assert job.status == status, trace(job)
        return trace(job)

    def deploy(self, commit: str) -> dict[str, ProjectJob]:
        """The jobs that preview and deploy a commit of the default branch; AssertionError where one ended badly."""
        jobs = self.end_of(self.pipeline("push", commit).id)
        for job in jobs.values():
            assert job.status == "success", f"{job.name} is {job.status}:\n{trace(job)}"
        return jobs


def notes(merge_request: ProjectMergeRequest) -> list[str]:
    """The texts of a merge request's notes that people or tools wrote."""
    return [note.body for note in merge_request.notes.list(get_all=True) if not note.system]


def artifacts(job: ProjectJob) -> dict[str, str]:
    """The text files among a job's artifacts; none where it has none."""
    if not getattr(job, "artifacts_file", None):
        return {}
    archive = zipfile.ZipFile(io.BytesIO(job.artifacts()))
    return {name: archive.read(name).decode() for name in archive.namelist() if not name.endswith("/")}


@contextmanager
def team(sandbox: Sandbox, stack: Stack, directory: Path) -> Iterator[Team]:
    """A project with the stack's files and the example's pipeline, and a runner on this machine for its group."""
    program = program_repository(directory / "program")
    project = sandbox.project(
        {
            "Pulumi.yaml": (ROOT / "Pulumi.yaml").read_text(),
            f"Pulumi.{stack.name}.yaml": (stack.directory / f"Pulumi.{stack.name}.yaml").read_text(),
            ".gitlab-ci.yml": _pipeline(directory / "pipeline", program, stack.name),
            "README.md": "The stacks of a team.\n",
            "Pulumi.review.yaml": _review_settings(stack),
        }
    )
    secrets = {
        "DINDRUNNER_BACKEND_URL": stack.environment["PULUMI_BACKEND_URL"],
        "DINDRUNNER_NOTE_TOKEN": sandbox.token,
    }
    for key, value in secrets.items():
        project.variables.create({"key": key, "value": value, "masked": key == "DINDRUNNER_NOTE_TOKEN"})
    with _runner(sandbox, directory / "runner", stack):
        yield Team(sandbox, project, stack)


def program_repository(directory: Path) -> Path:
    """A git repository, in `directory`, that has this working tree as version v0.1.0 of the program."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout
    files = [file for file in listed.split("\0") if file and (ROOT / file).is_file()]
    directory.mkdir(parents=True)
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    from_input = ("--pathspec-from-file=-", "--pathspec-file-nul")
    run("git", "init", "--quiet", "--initial-branch=main", cwd=directory)
    run("git", "--work-tree", str(ROOT), "add", "--force", *from_input, cwd=directory, input="\0".join(files))
    run("git", *identity, "commit", "--quiet", "--message=program [skip ci]", cwd=directory)
    run("git", "tag", "v0.1.0", cwd=directory)
    return directory


def _pipeline(directory: Path, program: Path, stack: str) -> str:
    """The example's pipeline with this program, for this one stack, as gitlab-ci-local flattens it."""
    repository = of_stack_files(directory, ci_local.ensure(lambda _: None))
    file = directory / ".gitlab-ci.yml"
    content = yaml.safe_load(file.read_text())
    first, *_, review = content["include"]
    first["inputs"] = {"stack": stack, "environment": "production"}
    review["inputs"] = {"settings": "Pulumi.review.yaml"}
    variables = {**content["variables"], "PROGRAM_URL": str(program)}
    file.write_text(yaml.safe_dump({**content, "variables": variables, "include": [first, review]}))
    return repository.flat()


def _review_settings(stack: Stack) -> str:
    """Settings of review stacks: no daemon, and names that no other test uses."""
    settings = {
        "target": "docker-host",
        "name": f"{stack.prefix}-review",
        "gitlab": {"url": "sandbox", "scope": "group", "group": "demo"},
        "runners": [{"name": "plain", "kind": "plain", "tags": [f"{stack.name}-review"]}],
    }
    return yaml.safe_dump({"config": {"gitlab-dind-runners:settings": settings}})


@contextmanager
def _runner(sandbox: Sandbox, directory: Path, stack: Stack) -> Iterator[None]:
    """The real gitlab-runner with its shell executor, as a process with a home of its own."""
    home = directory / "home"
    home.mkdir(parents=True)
    # As a machine would have it on which the tools are installed, but for the tests' own sandbox.
    (directory / ".toolchain").mkdir()
    (directory / ".venv").symlink_to(ROOT / ".venv")
    (directory / ".toolchain" / "env").write_text(
        f". {ROOT}/.toolchain/env\nexport DINDRUNNER_SANDBOX={stack.environment['DINDRUNNER_SANDBOX']}\n"
    )
    group = sandbox.client.groups.get(sandbox.described["group"])
    given = {"runner_type": "group_type", "group_id": group.id, "tag_list": "deploy", "run_untagged": True}
    made: Any = sandbox.client.http_post("/user/runners", post_data={**given, "description": f"{stack.name} deploys"})
    config = directory / "config.toml"
    config.write_text(
        f"""\
concurrent = 3
check_interval = 1
[[runners]]
  name = "deploys"
  url = {json.dumps(sandbox.described["url"])}
  token = {json.dumps(made["token"])}
  executor = "shell"
  builds_dir = {json.dumps(str(directory / "builds"))}
  cache_dir = {json.dumps(str(directory / "cache"))}
  environment = [{json.dumps(f"TOOLCHAIN_ENV={directory}/.toolchain/env")}]
"""
    )
    program = build(images.RUNNER, say=lambda _: None)
    environment = {"HOME": str(home), "PATH": stack.environment["PATH"]}
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [program, "run", "--config", config, "--working-directory", directory],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(40)
            finally:
                process.kill()
                sandbox.client.runners.delete(made["id"])
