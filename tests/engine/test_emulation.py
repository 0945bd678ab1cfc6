"""A job in an arm64 image, in a daemon on the board: on a machine that is none, by emulation."""

from __future__ import annotations

from collections.abc import Callable

from tests.engine.board import Board
from tests.engine.emulation import MACHINE, PLATFORM, arm64_image, ensure_emulation
from tests.engine.world import Sandbox, Stack, unique

PIPELINE = """\
arm64:
  image: {image}
  tags: [{tag}]
  script:
    - echo "on $(uname -m)"
"""


def test_a_job_runs_in_an_arm64_image(board: Board, new_stack: Callable[..., Stack], sandbox: Sandbox) -> None:
    with ensure_emulation():
        stack = new_stack(board)
        stack.configure(runners=[stack.runner(kind="plain")])
        stack.up()
        daemon = ("docker", "--host", board.local_url, "exec", "--interactive", f"{stack.prefix}-dind", "docker")
        image = arm64_image(f"dindrunner.local/arm64:{unique()}", daemon)
        columns = "{{.Os}}/{{.Architecture}}"
        told = stack.docker("exec", f"{stack.prefix}-dind", "docker", "image", "inspect", "--format", columns, image)
        assert told == PLATFORM
        project = sandbox.project({".gitlab-ci.yml": PIPELINE.format(image=image, tag=stack.name)})
        trace = sandbox.finish(project, sandbox.run_pipeline(project), "arm64")
        assert f"on {MACHINE}" in trace
        stack.pulumi("destroy", "--yes", "--skip-preview")
