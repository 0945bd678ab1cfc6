"""`python -m tools drift`: compares a stack with what is really there, and keeps an issue about the difference."""

from __future__ import annotations

import argparse
import os
import sys

from tools import options
from tools.gitlab_api import NotPosted, Posted, environment_place, keep_issue
from tools.note import GITLAB_LIMIT, Report, marker
from tools.pulumi_cli import Stack, say
from tools.report import DRIFTED, FAILED, NOT_POSTED, publish

_SAID = {
    Posted.MADE: "opened the issue {address}",
    Posted.UPDATED: "updated the issue {address}",
    Posted.SAME: "the issue {address} already says so",
    Posted.CLOSED: "closed the issue {address}",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    options.add_stack(parser)
    options.add_out(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0 without drift, 4 with it; 1 where that could not be found out, 3 where only the issue failed."""
    stack = Stack(arguments.stack)
    found = stack.drift()
    report = Report(
        project=stack.project,
        stack=stack.name,
        title="Drift",
        is_drift=True,
        plan=found.plan,
        problem=found.failure.lines if found.failure else (),
        output=found.failure.output if found.failure else "",
        remarks=_remedies(stack.name) if found.plan and found.plan.has_changes else (),
    )
    text = publish(report, stack.masker, arguments.out, what="drift")
    if found.plan is None or found.failure:
        return FAILED
    has_drifted = found.plan.has_changes
    posted = _post(report, text(GITLAB_LIMIT) if has_drifted else None)
    return DRIFTED if has_drifted else posted


def _remedies(stack: str) -> tuple[str, ...]:
    return (
        f"To take over what is really there: make refresh STACK={stack}",
        f"To have it again as the settings say: make refresh STACK={stack}, then make up STACK={stack}",
    )


def _post(report: Report, text: str | None) -> int:
    project = os.environ.get("CI_PROJECT_ID", "")
    place = environment_place(project) if project else None
    if place is None:
        return 0
    change = f"{report.title}: {report.summary}"
    if os.environ.get("CI_JOB_URL"):
        change += f" ([job]({os.environ['CI_JOB_URL']}))"
    mark = marker(report.project, report.stack, "drift")
    try:
        posted, address = keep_issue(place, mark, f"Drift of stack {report.stack}", text, change)
    except NotPosted as problem:
        print(f"the issue about drift could not be kept: {problem}", file=sys.stderr, flush=True)
        return NOT_POSTED
    if posted in _SAID:
        say(_SAID[posted].format(address=address))
    return 0
