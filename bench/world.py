"""The real parts that rows are measured on: a sandbox GitLab, stacks, daemons and jobs, those of the engine tests."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from gitlab.v4.objects import Project as GitLabProject
from gitlab.v4.objects import ProjectPipeline

from components.daemon_json import daemon_json
from components.defaults import DAEMON_IMAGE, RUNNER_IMAGE
from lab import images
from tests.engine.world import (
    Sandbox,
    Stack,
    docker,
    make_stack,
    run,
    running_sandbox,
    toolchain_environment,
    trace,
    unique,
)

SUBNET = "10.231.0.0/16"
"""Of networks in daemons, which else would lie over those on the outside, where the registry is."""
T = TypeVar("T")

ENDED = {"success", "failed", "canceled", "skipped"}
JOB_SECONDS = 900


@dataclasses.dataclass
class World:
    """Parts that are made when a row asks for them, and removed at the end.

    directory: where they have their files. takes_long: whether rows are measured that take hours. quick: whether it is
    enough to see that each row measures, with fewer runners and jobs than it says.
    """

    directory: Path
    takes_long: bool = False
    quick: bool = False
    closing: ExitStack = dataclasses.field(default_factory=ExitStack)
    _shared: dict[str, Any] = dataclasses.field(default_factory=dict)

    @cached_property
    def environment(self) -> dict[str, str]:
        """The toolchain's."""
        return toolchain_environment()

    @cached_property
    def images(self) -> Mapping[str, str]:
        """The images by role: local ones, where no registry answers."""
        return {"dind": DAEMON_IMAGE, "runner": RUNNER_IMAGE, **(images.recorded() or {})}

    @cached_property
    def sandbox(self) -> Sandbox:
        """A sandbox GitLab of the measure's own."""
        place = self.directory / "sandbox"
        place.mkdir()
        return self.closing.enter_context(running_sandbox(place, self.environment))

    def shared(self, key: str, make: Callable[[], T]) -> T:
        """What is made once for all rows that name the key."""
        if key not in self._shared:
            self._shared[key] = make()
        made: T = self._shared[key]
        return made

    def stack(self, key: str, **settings: Any) -> Stack:
        """A stack that is up with these settings, the same one for each row that names the key."""

        def made() -> Stack:
            stack = self.new_stack(**settings)
            stack.up()
            return stack

        return self.shared(key, made)

    def new_stack(self, **settings: Any) -> Stack:
        """A stack that is nowhere yet; the engine is cleared of it at the end."""
        name = unique("bench")
        stack = make_stack(self.directory / name, name, self.environment, self.sandbox)
        self.closing.callback(self.remove, stack)
        stack.configure(**settings)
        return stack

    def remove(self, stack: Stack) -> None:
        """Take a stack from the engine and from the sandbox."""
        stack.remove_leftovers()
        for runner in self.sandbox.runners_of(stack.name):
            self.sandbox.client.runners.delete(runner.id)

    def job_seconds(self, project: GitLabProject, what: str) -> float:
        """How long a green job of its own pipeline took, as GitLab says."""
        pipeline = self.sandbox.run_pipeline(project, {"WHAT": what})
        self.sandbox.finish(project, pipeline, what)
        return float(self.sandbox.job(project, pipeline, what).duration)

    def pipeline_seconds(self, project: GitLabProject, what: str) -> float:
        """How long it took from asking for a pipeline of green jobs to the end of the last one."""
        began = time.monotonic()
        self.wait_until_green(project, self.sandbox.run_pipeline(project, {"WHAT": what}))
        return time.monotonic() - began

    def wait_until_green(self, project: GitLabProject, pipeline: ProjectPipeline) -> None:
        """Wait for the end of a pipeline, all of whose jobs have to pass."""
        end = time.monotonic() + JOB_SECONDS
        while pipeline.status not in ENDED:
            assert time.monotonic() < end, f"the pipeline has not ended after {JOB_SECONDS} s"
            time.sleep(0.2)
            pipeline.refresh()
        for job in pipeline.jobs.list(all=True):
            if job.status != "success":
                log = trace(self.sandbox.job(project, pipeline, job.name))
                raise AssertionError(f"job {job.name} is {job.status}:\n{log}")


def timed(*command: str, **options: Any) -> float:
    """The seconds that a command took, which has to end well. options: as of `run`."""
    began = time.monotonic()
    run(*command, **options)
    return time.monotonic() - began


@dataclasses.dataclass(frozen=True)
class Daemon:
    """A Docker-in-Docker daemon, as a stack starts it. name: of its container."""

    name: str
    tls: bool

    def client(self, script: str) -> str:
        """What a shell script printed whose docker commands go over the daemon's own transport."""
        address = (
            ("DOCKER_HOST=tcp://127.0.0.1:2376", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/certs/client")
            if self.tls
            else ("DOCKER_HOST=tcp://127.0.0.1:2375",)
        )
        options = [word for each in address for word in ("--env", each)]
        return docker("exec", *options, self.name, "sh", "-ec", script, seconds=JOB_SECONDS)

    def timed(self, script: str) -> float:
        """The seconds of a script, without those that it took to get into the container."""
        # In the container's shell, whose clock is this machine's.
        output = self.client(f"from=$(date +%s%N); ({script}) >&2; echo $(($(date +%s%N) - from))")
        return int(output.splitlines()[-1]) / 1e9


@contextmanager
def daemon(world: World, *, tls: bool = True, **more: Any) -> Iterator[tuple[Daemon, float]]:
    """A fresh daemon with nothing in it, and how long it took until it answered over its transport.

    more: keys of its configuration, beside those that stacks give it.
    """
    made = Daemon(unique("bench-dind"), tls)
    file = world.directory / f"{made.name}.json"
    registry = world.sandbox.described["registry"]
    rendered = daemon_json(subnet=SUBNET, cache_budget_gib=20, insecure_registries=[registry])
    file.write_text(json.dumps(json.loads(rendered) | more))
    directory, arguments = ("/certs", []) if tls else ("", ["--tls=false"])
    began = time.monotonic()
    docker(
        *("run", "--detach", "--privileged", "--name", made.name, "--env", f"DOCKER_TLS_CERTDIR={directory}"),
        *("--volume", f"{file}:/etc/docker/daemon.json:ro", world.images["dind"], *arguments),
    )
    try:
        made.client("for i in $(seq 600); do docker info >/dev/null 2>&1 && exit; sleep 0.05; done; docker info")
        yield made, time.monotonic() - began
    finally:
        docker("rm", "--force", "--volumes", made.name)
