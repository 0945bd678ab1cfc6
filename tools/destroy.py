"""`python -m tools destroy`: destroys a stack and removes it. Protected resources stay, and are named."""

from __future__ import annotations

import argparse

from tools import options
from tools.failures import Kind
from tools.pulumi_cli import Stack, complain, say
from tools.report import FAILED


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
    if not stack.change("destroy", "--exclude-protected") or stack.toolchain("remove") is None:
        return FAILED
    if kept:
        say(stack.masker.log(kept.rstrip()))
    return 0
