"""Parts of a command that run beside each other: order, errors, interrupts."""

from __future__ import annotations

import _thread
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from toolchain.parts import Part, do_parts
from toolchain.shared import Stopped, ToolchainError, file_lock, run


def _quiet(_: str) -> None:
    pass


def test_parts_that_do_not_need_each_other_run_beside_each_other() -> None:
    both = threading.Barrier(2, timeout=10)
    do_parts([Part("one", both.wait), Part("other", both.wait)], say=_quiet)


def test_a_part_begins_when_all_that_it_needs_is_done() -> None:
    done: list[str] = []

    def slowly(name: str) -> None:
        time.sleep(0.05)
        done.append(name)

    parts = [
        Part("last", lambda: done.append("last"), needs=("one", "other")),
        Part("other", lambda: slowly("other"), needs=("one",)),
        Part("one", lambda: slowly("one")),
    ]
    do_parts(parts, say=_quiet)
    assert done == ["one", "other", "last"]


def test_what_took_long_is_told_at_the_end_the_longest_first() -> None:
    said: list[str] = []
    parts = [Part("quick", lambda: None), Part("one", lambda: time.sleep(1.05)), Part("two", lambda: time.sleep(1.3))]
    do_parts(parts, say=said.append)
    assert re.fullmatch(r"beside each other: two 1\.\d s, one 1\.\d s", said[0])
    assert len(said) == 1


def test_nothing_is_told_where_nothing_took_long() -> None:
    said: list[str] = []
    do_parts([Part("one", lambda: None), Part("other", lambda: None)], say=said.append)
    do_parts([], say=said.append)
    assert said == []


def test_the_first_error_names_its_part_and_stops_the_commands_of_the_others(tmp_path: Path) -> None:
    started, ended = tmp_path / "started", tmp_path / "ended"
    later: list[str] = []

    def fail() -> None:
        while not started.exists():
            time.sleep(0.01)
        raise ToolchainError("its disk is full")

    long = ["sh", "-c", f"trap 'touch {ended}; exit 1' TERM; touch {started}; sleep 60 & wait"]
    parts = [
        Part("engine", lambda: run(long, limit=60)),
        Part("images", lambda: later.append("images"), needs=("engine",)),
        Part("plugin", fail),
    ]
    began = time.monotonic()
    with pytest.raises(ToolchainError) as caught:
        do_parts(parts, say=_quiet)
    assert str(caught.value) == "plugin: its disk is full"
    assert time.monotonic() - began < 20
    assert ended.exists()
    assert later == []
    assert run(["echo", "again"], limit=10) == "again\n"


def test_a_part_that_waits_for_a_lock_gives_up_when_another_fails(tmp_path: Path) -> None:
    waits = threading.Event()
    seen: list[str] = []

    def wait_for_lock() -> None:
        try:
            with file_lock(tmp_path / "lock", say=lambda _: waits.set()):
                pass
        except Stopped as error:
            seen.append(str(error))
            raise

    def fail() -> None:
        waits.wait(10)
        raise ToolchainError("gone")

    with (
        file_lock(tmp_path / "lock", say=_quiet),
        pytest.raises(ToolchainError, match=r"^two: gone$"),
    ):
        do_parts([Part("one", wait_for_lock), Part("two", fail)], say=_quiet)
    assert seen == [f"waiting for {tmp_path / 'lock'}: given up"]


def test_a_command_that_was_stopped_is_not_replaced_by_another(tmp_path: Path) -> None:
    started = tmp_path / "started"
    others: list[str] = []

    def try_two() -> None:
        try:
            run(["sh", "-c", f"touch {started}; sleep 60"], limit=60)
        except ToolchainError:
            others.append("the other source")

    def fail() -> None:
        while not started.exists():
            time.sleep(0.01)
        raise ToolchainError("gone")

    with pytest.raises(ToolchainError, match=r"^two: gone$"):
        do_parts([Part("one", try_two), Part("two", fail)], say=_quiet)
    assert others == []


def test_an_interrupt_stops_the_commands_and_is_passed_on(tmp_path: Path) -> None:
    started = tmp_path / "started"

    def interrupt() -> None:
        while not started.exists():
            time.sleep(0.01)
        _thread.interrupt_main()

    parts = [
        Part("engine", lambda: run(["sh", "-c", f"touch {started}; sleep 60"], limit=60)),
        Part("user", interrupt),
        Part("images", lambda: None, needs=("engine",)),
    ]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        do_parts(parts, say=_quiet)
    assert time.monotonic() - began < 20


def test_after_a_second_interrupt_nothing_more_is_run(tmp_path: Path) -> None:
    started = tmp_path / "started"
    later: list[str] = []

    def build() -> None:
        # It takes its time to end, as a build does that is asked to.
        run(["sh", "-c", f"trap '' TERM; touch {started}; sleep 1"], limit=60)
        later.append("the next command")

    def interrupt_twice() -> None:
        while not started.exists():
            time.sleep(0.01)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

    with pytest.raises(KeyboardInterrupt):
        do_parts([Part("one", build), Part("user", interrupt_twice)], say=_quiet)
    assert later == []
    assert run(["echo", "again"], limit=10) == "again\n"


@pytest.mark.parametrize("needs", [("nobody",), ("one",)])
def test_a_part_that_can_never_begin_is_a_mistake_that_is_told(needs: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"^parts that wait for each other, or for one that is not there: \['one'\]$"):
        do_parts([Part("one", lambda: None, needs=needs)], say=_quiet)
