"""A `.gitlab-ci.yml` fragment for a stack's runners. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from stacks.common import Kind, Runner

SCRIPTS = {
    Kind.PLAIN: ["echo hello from $CI_RUNNER_DESCRIPTION"],
    Kind.DIND: ["docker build --tag $CI_PROJECT_PATH_SLUG:$CI_COMMIT_SHORT_SHA ."],
    Kind.HOST_DOCKER: ["docker build --tag $CI_PROJECT_PATH_SLUG:$CI_COMMIT_SHORT_SHA ."],
    Kind.JOB_DIND: ["docker build --tag $CI_PROJECT_PATH_SLUG:$CI_COMMIT_SHORT_SHA ."],
}
"""What a job of each kind may do; the runner injects how it finds its daemon."""


def ci_snippet(runners: Iterable[Runner]) -> str:
    """One job a runner, with its tags; YAML text."""
    return "\n".join(_job(runner) for runner in runners)


def _job(runner: Runner) -> str:
    # A JSON string is a YAML string, so nothing needs other quoting.
    tags = f"  tags: {json.dumps(list(runner.tags), ensure_ascii=False)}\n" if runner.tags else ""
    script = "".join(f"    - {json.dumps(line)}\n" for line in SCRIPTS[runner.kind])
    # The suffix keeps the job's name from being a keyword (`default`, `image`) or another type (`1`, `on`).
    return f"{runner.name}-job:\n{tags}  script:\n{script}"
