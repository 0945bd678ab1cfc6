"""A `.gitlab-ci.yml` fragment for a stack's runners. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from components.kinds import TRAITS
from stacks.common import Runner


def ci_snippet(runners: Iterable[Runner]) -> str:
    """One job a runner, with its tags; YAML text."""
    return "\n".join(_job(runner) for runner in runners)


def _job(runner: Runner) -> str:
    # A JSON string is a YAML string, so nothing needs other quoting.
    tags = f"  tags: {json.dumps(list(runner.tags), ensure_ascii=False)}\n" if runner.tags else ""
    script = "".join(f"    - {json.dumps(line)}\n" for line in TRAITS[runner.kind].script)
    # The suffix keeps the job's name from being a keyword (`default`, `image`) or another type (`1`, `on`).
    return f"{runner.name}-job:\n{tags}  script:\n{script}"
