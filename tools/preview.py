"""`python -m tools preview`: what an update would change, in the log, as artifacts, and as a note."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from tools import options
from tools.gitlab_api import NotPosted, Posted, environment_place, post_note
from tools.markdown import code
from tools.merge_request import BACKEND, TOKEN, MergeRequest, merge_request, missing_variables
from tools.note import GITLAB_LIMIT, Report, marker
from tools.pulumi_cli import Previewed, Stack, say
from tools.report import FAILED, NOT_POSTED, publish
from tools.settings_check import changed_settings, check

_PROTECTED = "the project has none, or they are protected, and a merge request's pipeline gets no protected ones"

_SAID = {
    Posted.MADE: "the note on merge request !{iid} was made",
    Posted.UPDATED: "the note on merge request !{iid} was updated",
    Posted.SAME: "the note on merge request !{iid} already says so",
    Posted.GONE: "there is no merge request !{iid} any more: nothing was posted",
    Posted.CLOSED: "merge request !{iid} is closed or merged: nothing was posted",
    Posted.OUTDATED: "merge request !{iid} has a newer commit, whose own pipeline says what is so: nothing was posted",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    options.add_stack(parser)
    options.add_out(parser)
    options.add_policies(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0, 1 where it failed or a policy refuses the update, 3 where only the note could not be posted."""
    stack = Stack(arguments.stack)
    request = merge_request(os.environ)
    base = request.base_commit if request else ""
    report = Report(
        project=stack.project,
        stack=stack.name,
        commit=os.environ.get("CI_COMMIT_SHORT_SHA", ""),
        settings=changed_settings(_checkout(stack), stack.name, base),
    )
    missing = missing_variables(os.environ, needs_passphrase=not stack.secrets_provider) if request else []
    if request and BACKEND in missing:
        return _check_only(stack, report, request, missing, arguments.out)
    previewed = stack.preview(options.policy_options(arguments))
    report = _filled(report, previewed, stack)
    text = publish(report, stack.masker, arguments.out)
    status = FAILED if report.problem or report.mandatory else 0
    posted = _post(request, report, text(GITLAB_LIMIT)) if request else 0
    return status or posted


def _checkout(stack: Stack) -> Path:
    """The checkout with the stack's file in its history; the program may be a clone of its own, with a copy of it."""
    checkout = Path(os.environ.get("CI_PROJECT_DIR", stack.directory))
    return checkout if (checkout / stack.settings_file.name).exists() else stack.directory


def _check_only(stack: Stack, report: Report, request: MergeRequest, missing: list[str], out: Path | None) -> int:
    """What can be told without the state, of which a fork's pipeline, and others without variables, know nothing."""
    checked = check(stack.directory, stack.name)
    why = "a fork's pipeline gets no variables of the project" if request.is_from_fork else _PROTECTED
    remarks = [
        f"This pipeline has no {', '.join(missing)} ({why}): only the settings were checked, as far as files tell. Not "
        "told: what the update would create, change, replace or delete, whether policies are kept, and whether GitLab, "
        "the engine or the cluster answers. No note is posted.",
    ]
    if request.is_from_fork:
        remarks.append(
            "A member of the project can run the pipeline of this merge request in the project itself, after a look at "
            "its changes."
        )
    if checked.encrypted:
        remarks.append(f"Encrypted, so not looked at: {', '.join(checked.encrypted)}")
    problem = (f"the settings of stack {stack.name} are wrong", *checked.mistakes) if checked.mistakes else ()
    publish(replace(report, problem=problem, remarks=remarks), stack.masker, out)
    return FAILED if problem else 0


def _filled(report: Report, previewed: Previewed, stack: Stack) -> Report:
    remarks = []
    if previewed.is_new:
        remarks.append(f"The backend has no stack {code(stack.name)} yet: everything is new")
    if holder := stack.lock():
        remarks.append(
            f"The stack is locked by {code(holder)}: another update runs, or one was killed (then: "
            f"{code(f'pulumi cancel --stack {stack.name}')}). What is shown may be outdated, and `up` would not start"
        )
    return replace(
        report,
        plan=previewed.plan,
        problem=previewed.failure.lines if previewed.failure else (),
        output=previewed.failure.output if previewed.failure else "",
        violations=previewed.violations,
        mandatory=previewed.mandatory,
        remarks=remarks,
    )


def _post(request: MergeRequest, report: Report, text: str) -> int:
    place = environment_place(request.project)
    if place is None:
        say(f"no note on merge request !{request.iid}: {TOKEN} is not set (a project access token with scope api)")
        return 0
    try:
        mark = marker(report.project, report.stack)
        posted = post_note(place, request.iid, mark, text, request.head_commit)
    except NotPosted as problem:
        print(f"the note on merge request !{request.iid} could not be posted: {problem}", file=sys.stderr, flush=True)
        return NOT_POSTED
    say(_SAID[posted].format(iid=request.iid))
    return 0
