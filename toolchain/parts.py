"""Runs the parts of a command in parallel, each as soon as the parts that it needs are done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from toolchain.shared import Say, ToolchainError, elapsed, resume_commands, stop_commands

_WORTH_TELLING = 1.0


@dataclass(frozen=True)
class Part:
    """A part of a command. name: unique, for people. needs: the names of those that have to be done before it."""

    name: str
    work: Callable[[], object]
    needs: tuple[str, ...] = ()


def do_parts(parts: Sequence[Part], *, say: Say) -> None:
    """Does them all, and says at the end which took how long, where that is worth telling.

    The first one that fails stops the others, with the commands that they run, and what it says is raised as a
    ToolchainError that names it; so does an interrupt, which is raised as it is. What is done by then stays done.
    """
    took: dict[str, float] = {}
    try:
        with ThreadPoolExecutor(max_workers=max(1, len(parts)), thread_name_prefix="part") as pool:
            try:
                _do_all(parts, pool, took)
            except BaseException:
                stop_commands()
                raise
    finally:
        # Not before the last thread has ended: after a second interrupt it would go on with its next command.
        resume_commands()
    told = sorted((seconds, name) for name, seconds in took.items() if seconds >= _WORTH_TELLING)
    if len(told) > 1:
        say("beside each other: " + ", ".join(f"{name} {elapsed(seconds)}" for seconds, name in reversed(told)))


def _do_all(parts: Sequence[Part], pool: ThreadPoolExecutor, took: dict[str, float]) -> None:
    """Begins each part when what it needs is done, and puts its seconds into `took`."""
    waiting = {part.name: part for part in parts}
    running: dict[Future[float], str] = {}
    while waiting or running:
        for part in [part for part in waiting.values() if took.keys() >= set(part.needs)]:
            running[pool.submit(_timed, part.work)] = waiting.pop(part.name).name
        if not running:
            raise ValueError(f"parts that wait for each other, or for one that is not there: {list(waiting)}")
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            name = running.pop(future)
            took[name] = _result(name, future)


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _result(name: str, future: Future[float]) -> float:
    try:
        return future.result()
    except ToolchainError as error:
        raise ToolchainError(f"{name}: {error}") from error
