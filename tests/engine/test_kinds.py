"""Every runner kind, executor and transport, with a real job each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.engine.world import STEP_SECONDS, Sandbox, Stack, inspect

BUILD = "printf 'FROM %s\\nRUN echo built\\n' $PYTHON_IMAGE > Dockerfile && docker build --tag built:$CI_JOB_ID ."
"""An image build as a user would write it: nothing about where the daemon is."""


def pipeline(stack: Stack, scripts: Mapping[str, str]) -> str:
    """A job for each runner, by its name, which is also its tag's end."""
    return "\n".join(
        f"{name}:\n  tags: [{stack.name}-{name}]\n  script:\n    - |\n      {script}\n"
        for name, script in scripts.items()
    )


def run_jobs(stack: Stack, sandbox: Sandbox, scripts: Mapping[str, str]) -> dict[str, str]:
    """The traces of the jobs, by the runners' names; each has to end well."""
    project = sandbox.project({".gitlab-ci.yml": pipeline(stack, scripts)})
    running = sandbox.run_pipeline(project)
    return {name: sandbox.finish(project, running, name) for name in scripts}


def runner(stack: Stack, name: str, **settings: object) -> dict[str, object]:
    """Settings of a runner that is asked for by its name."""
    return {"name": name, "tags": [f"{stack.name}-{name}"], "pull_policy": "if-not-present", **settings}


def test_every_kind_runs_its_jobs(new_stack: Callable[[], Stack], sandbox: Sandbox) -> None:
    stack = new_stack()
    stack.configure(
        runners=[
            runner(stack, "plain", kind="plain"),
            runner(stack, "dind", kind="dind", environment={"GREETING": "hello"}, shm_size_mib=96),
            runner(stack, "host", kind="host-docker"),
            runner(stack, "job", kind="job-dind"),
            runner(stack, "shell", kind="dind", executor="shell"),
        ]
    )
    output = stack.up()
    assert "host-docker hands the host's Docker socket to every job of runner host" in output
    traces = run_jobs(
        stack,
        sandbox,
        {
            "plain": 'test -z "$DOCKER_HOST" && test ! -e /certs && test ! -e /var/run/docker.sock && echo no docker',
            "dind": f"{BUILD} && echo $GREETING && df -k /dev/shm && hostname && docker ps --format {{{{.Image}}}}",
            "host": "docker ps --format {{.Names}}",
            "job": "until docker info >/dev/null 2>&1; do sleep 1; done; docker images --quiet | wc -l; echo fresh",
            "shell": f"{BUILD} && id --user --name",
        },
    )
    assert "no docker" in traces["plain"]
    assert "hello" in traces["dind"]
    assert "98304" in traces["dind"], "64 MiB of /dev/shm are Docker's default"
    assert f"{stack.prefix}-dind" in traces["host"]
    assert "\n0\nfresh" in traces["job"].replace("\r", "")
    assert "gitlab-runner" in traces["shell"]
    assert inspect(f"{stack.prefix}-runner")["HostConfig"]["Privileged"] is False
    stack.remove_job_volumes("host")


@pytest.mark.parametrize("transport", ["socket", "tcp"])
def test_a_job_builds_over_the_transport(new_stack: Callable[[], Stack], sandbox: Sandbox, transport: str) -> None:
    stack = new_stack()
    stack.configure(daemon={"transport": transport}, runners=[runner(stack, "dind")])
    output = stack.up()
    assert ("tcp is plaintext and asks for no certificate" in output) is (transport == "tcp")
    run_jobs(stack, sandbox, {"dind": BUILD})
    stack.pulumi("preview", "--expect-no-changes")
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert stack.leftovers() == []


def test_two_stacks_live_side_by_side_and_a_kept_cache_outlives_its_stack(
    new_stack: Callable[[], Stack], sandbox: Sandbox
) -> None:
    first, second = new_stack(), new_stack()
    for stack in (first, second):
        stack.configure(daemon={"keep_cache": stack is second}, runners=[runner(stack, "dind")])
    for up in [stack.start("up", "--yes", "--skip-preview") for stack in (first, second)]:
        output, _ = up.communicate(timeout=STEP_SECONDS)
        assert up.returncode == 0, output
    first.pulumi("destroy", "--yes", "--skip-preview")
    assert first.leftovers() == []
    run_jobs(second, sandbox, {"dind": BUILD})
    second.pulumi("destroy", "--yes", "--skip-preview")
    assert second.leftovers() == [f"{second.prefix}-dind-data"]
    second.up()
    trace = run_jobs(second, sandbox, {"dind": BUILD})["dind"]
    assert "Using cache" in trace or "CACHED" in trace, trace
