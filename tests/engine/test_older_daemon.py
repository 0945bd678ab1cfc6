"""The images that are made where only an older Debian can be had: its Docker runs jobs, and is upgraded under one."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable

import pytest

from lab import images
from tests.engine.jobs import end_long_job, project_files, start_long_job
from tests.engine.world import Sandbox, Stack, docker, inspect, missing, run
from toolchain import engine
from toolchain.shared import cache_dir, file_lock


@pytest.fixture(scope="module")
def older(environment: dict[str, str]) -> dict[str, str]:
    """The names of the images with that Docker: the daemon's and the job's."""
    del environment
    if images.registry_answers():
        missing("a container registry answers here: the local images are not in use")
    recipe = images.Recipe.with_docker(None)
    recipe = dataclasses.replace(recipe, roles=tuple(r for r in recipe.roles if r.name in ("dind", "tools", "job")))
    with file_lock(cache_dir() / "images" / "lock", say=print):
        images._build_missing(recipe, str(engine.client(print)), print)
    return images.image_names(recipe)


def load(image: str, daemon: str) -> None:
    """Give a daemon an image that no registry has."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
        run("docker", "exec", "--interactive", daemon, "docker", "load", "--quiet", stdin=saved.stdout)


def server_version(daemon: str) -> str:
    """What the daemon in a container says of itself."""
    return docker("exec", daemon, "docker", "version", "--format", "{{.Server.Version}}")


def test_docker_20_10_runs_jobs_and_is_upgraded_under_one_with_its_images(
    new_stack: Callable[[], Stack], sandbox: Sandbox, older: dict[str, str]
) -> None:
    stack = new_stack()
    daemon = f"{stack.prefix}-dind"
    stack.configure(
        daemon={"image": older["dind"]}, runners=[stack.runner(image=older["job"], pull_policy="if-not-present")]
    )
    stack.up()
    stack.expect_no_changes()
    assert server_version(daemon).startswith("20.10.")
    load(older["job"], daemon)
    project = sandbox.project(project_files(stack.name))
    for uses in (0, 3):
        trace = sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")
        assert "Step 5/5" in trace, "without buildx it is the legacy builder"
        assert trace.count("Using cache") == uses
    kept = docker("exec", daemon, "docker", "images", "--quiet", "built").splitlines()
    volumes = docker("volume", "ls", "--quiet", "--filter", f"label=dindrunner.stack={stack.name}")
    old = inspect(daemon)["Id"]
    job_id, finish = start_long_job(sandbox, project)
    stack.configure()
    up = stack.start("up", "--yes", "--skip-preview")
    time.sleep(5)
    assert inspect(daemon)["Id"] == old, "the daemon went under the running job"
    end_long_job(stack, job_id)
    output, _ = up.communicate(timeout=200)
    assert up.returncode == 0, output
    finish()
    stack.expect_no_changes()
    assert server_version(daemon).startswith("28.5.2")
    assert docker("volume", "ls", "--quiet", "--filter", f"label=dindrunner.stack={stack.name}") == volumes
    assert docker("exec", daemon, "docker", "images", "--quiet", "built").splitlines() == kept
    for cached in (0, 3):
        trace = sandbox.finish(project, sandbox.run_pipeline(project, {"WHAT": "build"}), "build")
        assert trace.count("CACHED") == cached, trace
