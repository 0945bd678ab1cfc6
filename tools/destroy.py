"""`python -m tools destroy`: destroys a stack and forgets it; what it protects stays, and is named."""

from __future__ import annotations

import argparse
import sys

from tools import options
from tools.engine import Stack, complain, say
from tools.failures import Kind
from tools.report import FAILED
from tools.up import PARALLEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    options.add_stack(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: 0, also where there is no such stack; 1 where it failed."""
    stack = Stack(arguments.stack)
    failure = stack.find()
    if failure and failure.kind is Kind.UNKNOWN_STACK:
        say(f"there is no stack {stack.name}")
        return 0
    if failure:
        complain(failure, stack.masker)
        return FAILED
    stack.learn_secrets()
    # What stays has to be asked before the state forgets it.
    if stack.toolchain("recover") is None or (kept := stack.toolchain("kept")) is None:
        return FAILED
    say(f"pulumi destroy of stack {stack.name}")
    done = stack.run_loud(["destroy", "--yes", "--skip-preview", "--exclude-protected", *PARALLEL])
    if done.status:
        print(f"\ndestroy of stack {stack.name} failed:", file=sys.stderr)
        complain(stack.explain(done), stack.masker, with_output=False)
        return FAILED
    if stack.toolchain("remove") is None:
        return FAILED
    if kept:
        say(stack.masker.text(kept.rstrip()))
    return 0
