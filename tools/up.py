"""`python -m tools up`: brings a stack up. Made for a pipeline that has previewed it: nobody is asked."""

from __future__ import annotations

import argparse
import sys

from tools import options
from tools.engine import Stack, complain, say
from tools.failures import Failure, Kind
from tools.report import FAILED
from tools.settings_check import check

PARALLEL = ("--parallel", "8")
"""As the Makefile has it: each is a connection of its own to an engine by SSH, and sshd refuses some above 10."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    options.add_stack(parser)
    options.add_policies(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0, or 1 where it failed."""
    stack = Stack(arguments.stack)
    # Before the stack itself is made in the backend.
    mistakes = check(stack.directory, stack.name).mistakes
    if mistakes:
        complain(Failure(Kind.SETTINGS, (f"the settings of stack {stack.name} are wrong", *mistakes)), stack.masker)
        return FAILED
    failure = stack.create()
    if failure:
        complain(failure, stack.masker)
        return FAILED
    stack.learn_secrets()
    if stack.toolchain("recover") is None:
        return FAILED
    say(f"pulumi up of stack {stack.name}")
    # A first preview could not know config.toml, so the policies are asked again.
    done = stack.run_loud(["up", "--yes", "--skip-preview", *PARALLEL, *options.policy_options(arguments)])
    if done.status:
        # What the engine said is in the log already.
        print(f"\nup of stack {stack.name} failed:", file=sys.stderr)
        complain(stack.explain(done), stack.masker, with_output=False)
        return FAILED
    return 0
