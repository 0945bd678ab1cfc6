"""`python -m tools up`: brings a stack up. Made for a pipeline that has previewed it: nobody is asked."""

from __future__ import annotations

import argparse

from tools import options
from tools.failures import Failure, Kind
from tools.pulumi_cli import Stack, complain
from tools.report import FAILED
from tools.settings_check import check


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
    # A first preview could not know config.toml, so the policies are asked again.
    return 0 if stack.change("up", *options.policy_options(arguments)) else FAILED
