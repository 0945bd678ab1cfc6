"""A daemon of the series after the default's: the kinds, the transports, an upgrade, the cache, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from lab import images
from tests.engine import test_kinds
from tests.engine.jobs import end_long_job, finish_command, project_files, start_beside_job, start_long_job
from tests.engine.world import Sandbox, Stack, docker, inspect, missing, run, unique, wait_for

READY_SECONDS = 60
BUILD = "cd $(mktemp -d) && echo hello > a && printf 'FROM scratch\\nCOPY a /\\n' > Dockerfile && docker build -t a ."


@pytest.fixture(scope="module")
def next_daemon(environment: dict[str, str]) -> str:
    """The image of the daemon."""
    del environment
    if images.registry_answers():
        missing("a container registry answers here: the local images are not in use")
    return images.ensure_next(print)


@pytest.fixture(scope="module")
def new_next(new_stack: Callable[[], Stack], next_daemon: str) -> Callable[[], Stack]:
    """Makes stacks with that daemon."""

    def make() -> Stack:
        return replace(new_stack(), settings={"target": "docker-host", "daemon": {"image": next_daemon}})

    return make


def ask(daemon: str, *question: str) -> str:
    """What the client in a daemon's container answers."""
    return docker("exec", daemon, "docker", *question)


def test_every_kind_runs_its_jobs(new_next: Callable[[], Stack], sandbox: Sandbox) -> None:
    test_kinds.test_every_kind_runs_its_jobs(new_next, sandbox)


@pytest.mark.parametrize("transport", ["socket", "tcp"])
def test_a_job_builds_over_the_transport(
    new_stack: Callable[[], Stack], next_daemon: str, sandbox: Sandbox, transport: str
) -> None:
    stack = new_stack()
    stack.configure(daemon={"transport": transport, "image": next_daemon}, runners=[test_kinds.runner(stack, "dind")])
    stack.up()
    test_kinds.run_jobs(stack, sandbox, {"dind": test_kinds.BUILD})
    stack.pulumi("preview", "--expect-no-changes")


def test_the_daemon_of_a_stack_is_upgraded_under_a_job_and_keeps_the_cache(
    new_stack: Callable[[], Stack], next_daemon: str, sandbox: Sandbox
) -> None:
    stack = new_stack()
    stack.configure()
    stack.up()
    daemon = f"{stack.prefix}-dind"
    assert ask(daemon, "version", "--format", "{{.Server.Version}}").startswith("28.5.2")
    project = sandbox.project(project_files(stack.name))
    cold = sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")
    assert "CACHED" not in cold
    old = inspect(daemon)["Id"]
    job_id, finish = start_long_job(sandbox, project)
    stack.configure(daemon={"image": next_daemon})
    up = start_beside_job(stack, "up", "--yes", "--skip-preview")
    assert inspect(daemon)["Id"] == old, "the daemon went under the running job"
    end_long_job(stack, job_id)
    finish_command(up)
    finish()
    assert ask(daemon, "version", "--format", "{{.Server.Version}} {{.Server.MinAPIVersion}}") == (
        f"{images.NEXT_VERSION} 1.40"
    )
    # The store that the older daemon made stays in use.
    assert ask(daemon, "info", "--format", "{{.Driver}}") == "overlay2"
    warm = sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")
    assert warm.count("CACHED") == 3, warm


@pytest.fixture
def volume() -> Iterator[str]:
    """A volume for one daemon after the other."""
    name = unique("t-next")
    yield name
    docker("rm", "--force", "--volumes", f"{name}-daemon", check=False)
    docker("volume", "rm", name, check=False)


def start(image: str, volume: str) -> str:
    """A daemon on the volume, in the place of the one before; its name."""
    name = f"{volume}-daemon"
    docker("rm", "--force", "--volumes", name, check=False)
    docker(
        *("run", "--detach", "--privileged", "--name", name, "--env", "DOCKER_TLS_CERTDIR="),
        *("--volume", f"{volume}:/var/lib/docker", image),
    )
    ready = ("docker", "exec", name, "docker", "info")
    wait_for("the daemon", READY_SECONDS, lambda: run(*ready, check=False).returncode == 0 or None)
    return name


def test_a_new_daemon_keeps_images_in_containerd_where_an_older_one_neither_sees_nor_frees_them(
    next_daemon: str, volume: str
) -> None:
    daemon = start(next_daemon, volume)
    assert ask(daemon, "info", "--format", "{{.Driver}} {{.DriverStatus}}").startswith(
        "overlayfs [[driver-type io.containerd.snapshotter.v1]]"
    )
    docker("exec", daemon, "sh", "-ec", BUILD)
    assert ask(daemon, "images", "--quiet", "a")
    used = ("sh", "-c", "du -s /var/lib/docker/containerd | cut -f1")
    kept = int(docker("exec", daemon, *used))
    daemon = start(images.ensure(print)["dind"], volume)
    assert ask(daemon, "info", "--format", "{{.Driver}}") == "overlay2"
    assert ask(daemon, "images", "--quiet") == ""
    ask(daemon, "system", "prune", "--all", "--force")
    assert int(docker("exec", daemon, *used)) >= kept // 2 > 0
    daemon = start(next_daemon, volume)
    assert ask(daemon, "info", "--format", "{{.Driver}}") in ("overlay2", "overlayfs")


def test_what_the_prune_of_jobs_and_clusters_asks_for_is_removed(next_daemon: str, volume: str) -> None:
    daemon = start(next_daemon, volume)
    docker("exec", daemon, "sh", "-ec", BUILD)
    ask(daemon, "network", "create", "left")
    ask(daemon, "volume", "create", "left")
    ask(daemon, "image", "prune", "--all", "--force")
    ask(daemon, "container", "prune", "--force")
    ask(daemon, "network", "prune", "--force")
    ask(daemon, "volume", "prune", "--all", "--force")
    assert ask(daemon, "images", "--quiet") == ""
    assert "left" not in ask(daemon, "network", "ls") + ask(daemon, "volume", "ls")
    ask(daemon, "builder", "prune", "--all", "--force")
    assert "0B" in ask(daemon, "system", "df", "--format", "{{.Type}} {{.Size}}").split("Build Cache ")[1]
