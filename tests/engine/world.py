"""The real parts that engine and fault tests drive: the Pulumi CLI, the Docker engine, the sandbox GitLab, jobs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import gitlab
import pytest
import yaml
from gitlab.v4.objects import Project as GitLabProject
from gitlab.v4.objects import ProjectJob, ProjectPipeline, RunnerAll

from lab.traces import plain
from toolchain.debian import install_packages
from toolchain.shared import cache_dir, file_lock, make_say

ROOT = Path(__file__).resolve().parents[2]
STEP_SECONDS = 300
JOB_SECONDS = 240

T = TypeVar("T")


def missing(what: str) -> None:
    """End a test that cannot run here: a failure with CI set, otherwise a skip that says why."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def wait_for(what: str, seconds: float, probe: Callable[[], T | None]) -> T:
    """The first result of `probe` that is not None; AssertionError, naming `what`, after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := probe()) is not None:
            return found
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds} s for {what}")


def run(
    *command: str, check: bool = True, seconds: float = STEP_SECONDS, **options: Any
) -> subprocess.CompletedProcess[str]:
    """A finished command with its output as text; AssertionError with that output where it failed."""
    done = subprocess.run(command, text=True, capture_output=True, timeout=seconds, check=False, **options)
    assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done


def docker(*arguments: str, host: str | None = None, check: bool = True, seconds: float = STEP_SECONDS) -> str:
    """What a docker command against the engine at `host`, None for this machine's, printed, stripped."""
    options = ("--host", host) if host else ()
    return run("docker", *options, *arguments, check=check, seconds=seconds).stdout.strip()


def inspect(container: str) -> Any:
    """`docker inspect` of one container."""
    return json.loads(docker("inspect", container))[0]


def unique(prefix: str = "t") -> str:
    """A name that no other test, nor another run, uses."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def install(packages: Iterable[str], as_root: Sequence[str]) -> None:
    """Have Debian packages on this machine; lanes take turns, as apt's update does not wait for another one's lock."""
    with file_lock(cache_dir() / "apt.lock", say=make_say()):
        install_packages(packages, list(as_root))


@dataclass(frozen=True)
class Sandbox:
    """A sandbox GitLab of the tests' own. info: the file that describes it."""

    info: Path

    @property
    def described(self) -> dict[str, Any]:
        """What the file says."""
        return dict(json.loads(self.info.read_text()))

    @property
    def token(self) -> str:
        """The root user's token."""
        return Path(self.described["token_file"]).read_text().strip()

    @property
    def client(self) -> gitlab.Gitlab:
        """The real API client."""
        return gitlab.Gitlab(self.described["url"], private_token=self.token)

    def fault(self, **fault: Any) -> None:
        """Have the sandbox fail on purpose; see docs/lab/sandbox.md."""
        self.client.http_post("/../../-/sandbox/faults", post_data=fault)

    def runners_of(self, stack: str) -> list[RunnerAll]:
        """The runners of a stack that it knows."""
        return [r for r in self.client.runners_all.list(get_all=True) if r.description.startswith(f"{stack} ")]

    def project(self, files: Mapping[str, str]) -> GitLabProject:
        """A new project in the demo group whose default branch has these files."""
        group = self.client.groups.get(self.described["group"])
        project = self.client.projects.create({"name": unique("p"), "namespace_id": group.id})
        for variable in self.client.projects.get(self.described["project"]).variables.list(all=True):
            project.variables.create({"key": variable.key, "value": variable.value})
        url = f"{self.described['url']}/{project.path_with_namespace}.git".replace("://", f"://root:{self.token}@")
        with scratch_repository(files) as repository:
            run("git", "push", "--quiet", url, "HEAD:refs/heads/main", cwd=repository)
        return project

    def run_pipeline(self, project: GitLabProject, variables: Mapping[str, str] | None = None) -> ProjectPipeline:
        """Start a pipeline on the default branch."""
        given = [{"key": key, "value": value} for key, value in (variables or {}).items()]
        return project.pipelines.create({"ref": "main", "variables": given})

    def job(self, project: GitLabProject, pipeline: ProjectPipeline, name: str) -> ProjectJob:
        """A pipeline's job with its trace."""
        found = next(job for job in pipeline.jobs.list(all=True) if job.name == name)
        return project.jobs.get(found.id)

    def wait_for_job(self, project: GitLabProject, pipeline: ProjectPipeline, name: str, *states: str) -> ProjectJob:
        """The job once it is in one of the states."""

        def probe() -> ProjectJob | None:
            job = self.job(project, pipeline, name)
            return job if job.status in states else None

        try:
            return wait_for(f"job {name} to be {' or '.join(states)}", JOB_SECONDS, probe)
        except AssertionError as error:
            job = self.job(project, pipeline, name)
            raise AssertionError(f"{error}; it is {job.status}:\n{trace(job)}") from None

    def finish(self, project: GitLabProject, pipeline: ProjectPipeline, name: str) -> str:
        """The trace of a job that has to end well."""
        job = self.wait_for_job(project, pipeline, name, "success", "failed", "canceled", "skipped")
        assert job.status == "success", trace(job)
        return trace(job)


def trace(job: ProjectJob) -> str:
    """A job's log, without the times that newer runners put before each line."""
    text = job.trace()
    return plain(text.decode() if isinstance(text, bytes) else str(text))


@contextmanager
def scratch_repository(files: Mapping[str, str]) -> Iterator[Path]:
    """A git repository with one commit of these files."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        for file, text in files.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_text(text)
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        run("git", "init", "--quiet", "--initial-branch=main", cwd=path)
        run("git", "add", "--all", cwd=path)
        run("git", *identity, "commit", "--quiet", "--message=files [skip ci]", cwd=path)
        yield path


@dataclass(frozen=True)
class Stack:
    """A stack of this very program, in a directory and a state of its own.

    host: address of its engine for the tests' own questions, None for this machine's. settings: of its target.
    """

    directory: Path
    name: str
    environment: Mapping[str, str]
    host: str | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: {"target": "docker-host"})

    @property
    def prefix(self) -> str:
        """Prefix of its names on the engine."""
        return f"gitlab-dind-runners-{self.name}"

    def runner(self, **settings: Any) -> dict[str, Any]:
        """Settings of a runner that the stack's name is the tag of, for one job at once."""
        return {"name": "docker", "tags": [self.name], "limit": 1, **settings}

    @property
    def has_resources(self) -> bool:
        """Whether its state holds anything."""
        states = (self.directory / "state").rglob(f"stacks/*/{self.name}.json")
        return any(json.loads(state.read_text())["checkpoint"]["latest"].get("resources") for state in states)

    def configure(self, **settings: Any) -> None:
        """Write the stack's settings; the default is one dind runner for the demo project."""
        given = {
            **self.settings,
            "gitlab": {"url": "sandbox", "scope": "group", "group": "demo"},
            "runners": [self.runner()],
            "check_interval": 1,
            "drain_seconds": 120,
            **settings,
        }
        text = yaml.safe_dump({"config": {"gitlab-dind-runners:settings": given}})
        file = self.directory / f"Pulumi.{self.name}.yaml"
        kept = (
            [line for line in file.read_text().splitlines() if line.startswith("encryptionsalt")]
            if file.exists()
            else []
        )
        file.write_text("\n".join([*kept, text]))

    def pulumi(
        self, *arguments: str, check: bool = True, seconds: float = STEP_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """A pulumi command on this stack."""
        return run(
            "pulumi", *arguments, "--stack", self.name, "--non-interactive", "--color=never",
            check=check, seconds=seconds, cwd=self.directory, env=dict(self.environment),
        )  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A pulumi command on this stack that runs on."""
        return subprocess.Popen(
            ["pulumi", *arguments, "--stack", self.name, "--non-interactive", "--color=never"],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.directory, env=dict(self.environment),
        )  # fmt: skip

    def up(self, check: bool = True) -> str:
        """Bring it up; what that printed."""
        done = self.pulumi("up", "--yes", "--skip-preview", check=check)
        return done.stdout + done.stderr

    def expect_no_changes(self) -> None:
        """AssertionError where the stack's state is not what the settings say, or not what is there."""
        self.pulumi("preview", "--expect-no-changes")
        self.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")

    def outputs(self) -> dict[str, Any]:
        """Its outputs."""
        return dict(json.loads(self.pulumi("stack", "output", "--json").stdout))

    def config_toml(self) -> str:
        """The runner's configuration as it stands in the volume."""
        return self.docker("exec", self.runner_container(), "cat", "/etc/gitlab-runner/config.toml")

    def token(self) -> str:
        """The token in the runner's configuration."""
        return str(re.findall(r'token = "(glrt-[^"]+)"', self.config_toml())[0])

    def docker(self, *arguments: str, check: bool = True, seconds: float = STEP_SECONDS) -> str:
        """What a docker command against its engine printed, stripped."""
        return docker(*arguments, host=self.host, check=check, seconds=seconds)

    def log(self, container: str) -> str:
        """What a container of it has printed, on both streams."""
        options = ("--host", self.host) if self.host else ()
        done = run("docker", *options, "logs", container, check=False)
        return done.stdout + done.stderr

    def remove_job_volumes(self, runner: str) -> None:
        """Remove what GitLab Runner keeps on the host for the next jobs of this runner, which has to be something."""
        tokens = {each["name"]: each["token"] for each in tomllib.loads(self.config_toml())["runners"]}
        label = "com.gitlab.gitlab-runner"
        of_caches = ("--filter", f"label={label}.type=cache")
        listed = self.docker(
            "volume", "ls", *of_caches, "--format", f'{{{{.Name}}}} {{{{.Label "{label}.runner.id"}}}}'
        )
        # Of the ID, which is a part of the token, the first and the last character may be exchanged.
        kept = [name for name, runner_id in map(str.split, listed.splitlines()) if runner_id[1:8] in tokens[runner]]
        assert kept, f"runner {runner} kept nothing on the host: {listed}"
        self.docker("volume", "rm", *kept)

    def inspect(self, name: str) -> Any:
        """`docker inspect` of one of its containers, or of its service."""
        return json.loads(self.docker("inspect", name))[0]

    def runner_container(self) -> str:
        """The ID of the runner's container, which on a swarm is that of the service's task."""
        role = ("--filter", f"label=dindrunner.stack={self.name}", "--filter", "label=dindrunner.role=runner")
        return self.docker("ps", "--quiet", "--no-trunc", *role)

    def leftovers(self) -> list[str]:
        """What of it is on the engine, and in its swarm."""
        label = f"label=dindrunner.stack={self.name}"
        found = self.docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").splitlines()
        for kind in ("volume", "network", *self._swarm_kinds()):
            found += self.docker(kind, "ls", "--filter", label, "--format", "{{.Name}}").splitlines()
        return sorted(found)

    def remove_leftovers(self) -> None:
        """Remove from the engine what carries the stack's label or name."""
        label = f"label=dindrunner.stack={self.name}"
        kinds = [*self._swarm_kinds(), "container", "network", "volume"]
        for kind in kinds:
            every = ["--all"] if kind == "container" else []
            options = ["--force", "--volumes"] if kind == "container" else []
            if names := self.docker(kind, "ls", *every, "--quiet", "--filter", label).split():
                self.docker(kind, "rm", *options, *names, check=False)
        every = self.docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
        if images := [image for image in every if self.name in image]:
            self.docker("rmi", *images, check=False)

    def _swarm_kinds(self) -> tuple[str, ...]:
        """What only a manager of a swarm can be asked for."""
        is_manager = self.docker("info", "--format", "{{.Swarm.ControlAvailable}}") == "true"
        return ("service", "secret") if is_manager else ()


def make_stack(directory: Path, name: str, environment: Mapping[str, str], sandbox: Sandbox, **where: Any) -> Stack:
    """A new stack in `directory`, whose program is the working tree's; `where`: host and settings of `Stack`."""
    directory.mkdir(parents=True)
    for entry in ("Pulumi.yaml", "__main__.py", "components", "stacks", ".venv"):
        (directory / entry).symlink_to(ROOT / entry)
    state = directory / "state"
    state.mkdir()
    private = {
        **environment,
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": "sandbox",
        "DINDRUNNER_SANDBOX": str(sandbox.info),
    }
    stack = Stack(directory, name, private, **where)
    stack.configure()
    stack.pulumi("stack", "init")
    return stack


@contextmanager
def running_sandbox(directory: Path, environment: Mapping[str, str]) -> Iterator[Sandbox]:
    """A new sandbox GitLab on ports of its own, with its state in `directory`."""
    info = directory / "sandbox.json"
    command = [sys.executable, "-m", "lab"]
    options = ["--state", str(directory / "state"), "--info", str(info)]
    ports = ["--port", str(_free_port()), "--registry-port", str(_free_port())]
    run(*command, "up", *options, *ports, cwd=ROOT, env=environment)
    try:
        yield Sandbox(info)
    finally:
        run(*command, "down", *options, cwd=ROOT, env=environment)


def toolchain_environment() -> dict[str, str]:
    """The environment of a shell that has sourced `.toolchain/env`."""
    script = f". {ROOT}/.toolchain/env && env -0"
    text = run("sh", "-c", script, env={**os.environ}).stdout
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
