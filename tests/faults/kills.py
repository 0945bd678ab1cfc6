"""Ends an update and all that it started at once, and recovers from it as a person does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.engine.world import ROOT, Stack, run


def children(pid: int) -> list[int]:
    """The processes that a process started, and theirs."""
    # Each thread has its own.
    lists = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    found = [int(child) for each in lists for child in each]
    return found + [grandchild for child in found for grandchild in children(child)]


def kill(processes: Iterable[int]) -> None:
    """Kill those that are still there."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def recover(stack: Stack) -> str:
    """What the recovery says."""
    command = ("python", "-m", "toolchain", "recover", stack.name)
    return run(*command, cwd=stack.directory, env={**stack.environment, "PYTHONPATH": str(ROOT)}).stderr
