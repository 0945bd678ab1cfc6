"""Jobs that tests have a stack's runners take: an image build, and one that goes on until a test ends it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from gitlab.v4.objects import Project as GitLabProject

from tests.engine.world import STEP_SECONDS, Sandbox, Stack, trace, wait_for

DOCKERFILE = """\
ARG BASE
FROM $BASE
RUN echo first layer, slowly && sleep 3
COPY answer.txt /
RUN cat /answer.txt
"""


def project_files(tag: str) -> dict[str, str]:
    """Files of a project with the jobs `build` and `long` for runners with the tag; the variable WHAT chooses one."""
    pipeline = f"""\
build:
  tags: [{tag}]
  script:
    - docker build --progress=plain --build-arg BASE=$PYTHON_IMAGE --tag built:$CI_PIPELINE_ID .
  rules:
    - if: $WHAT == "build"
long:
  tags: [{tag}]
  script:
    - docker run --detach --rm --name long-$CI_JOB_ID --entrypoint sleep $PYTHON_IMAGE 600
    - echo started
    - docker wait long-$CI_JOB_ID || true
    - echo ended well
  rules:
    - if: $WHAT == "long"
"""
    return {".gitlab-ci.yml": pipeline, "Dockerfile": DOCKERFILE, "answer.txt": "42\n"}


def start_long_job(sandbox: Sandbox, project: GitLabProject) -> tuple[int, Callable[[], None]]:
    """Start a job that goes on until `end_long_job`; its ID, and what waits for its good end."""
    running = sandbox.run_pipeline(project, {"WHAT": "long"})
    job = sandbox.wait_for_job(project, running, "long", "running")
    wait_for_script(project, job.id)

    def finish() -> None:
        assert "ended well" in sandbox.finish(project, running, "long")

    return job.id, finish


def wait_for_script(project: GitLabProject, job_id: int) -> None:
    """Until a long job has come to what it waits for."""
    wait_for("the job's script", 60, lambda: "started\n" in trace(project.jobs.get(job_id)).replace("\r", "") or None)


def start_beside_job(stack: Stack, *command: str) -> subprocess.Popen[str]:
    """A pulumi command on a stack whose runner has a long job, once it has asked the runner to end and waits for it."""
    runner = stack.runner_container()
    running = stack.start(*command)

    def waits() -> bool | None:
        assert running.poll() is None, f"{command[0]} did not wait for the job: {running.communicate()[0]}"
        return "waiting for builds to finish" in stack.log(runner) or None

    wait_for("the runner to be asked to end", STEP_SECONDS, waits)
    return running


def finish_command(running: subprocess.Popen[str]) -> None:
    """Wait for the good end of what `start_beside_job` started."""
    output, _ = running.communicate(timeout=STEP_SECONDS)
    assert running.returncode == 0, output


def end_long_job(stack: Stack, job_id: int) -> None:
    """Let the job's script go on, by ending the container in the daemon that it waits for."""
    stack.docker("exec", f"{stack.prefix}-dind", "docker", "kill", f"long-{job_id}")
