"""Traces as old and new runners send them, and what was printed."""

from __future__ import annotations

import pytest

from lab.traces import plain

TIME = "2026-11-30T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("trace", "printed"),
    [
        ("", ""),
        ("one\ntwo\n", "one\ntwo\n"),
        (f"{TIME} 00O one\n{TIME} 01E two\n", "one\ntwo\n"),
        # Empty lines, and a piece that ends within a line.
        (f"{TIME} 00O \n{TIME} 00O tw", "\ntw"),
        # A line that was sent in pieces goes on, also behind what another stream printed meanwhile.
        (f"{TIME} 01O 10 %\r\n{TIME} 01E oops\n{TIME} 01O+20 %\n", "10 %\r20 %\noops\n"),
        (f"{TIME} 01O a\n{TIME} 01O+b\n{TIME} 01O+c\n{TIME} 01O d\n", "abc\nd\n"),
        # What a job itself prints looks like no header, and one that continues nothing is a line of its own.
        (f"{TIME} text\n2026-11-30 00O text\n", f"{TIME} text\n2026-11-30 00O text\n"),
        (f"{TIME} 01O+only\n", "only\n"),
        (f"plain\n{TIME} 00O dated\nplain again\n", "plain\ndated\nplain again\n"),
    ],
)
def test_the_headers_of_lines_are_no_part_of_what_was_printed(trace: str, printed: str) -> None:
    assert plain(trace) == printed


def test_a_header_that_a_job_has_printed_stays() -> None:
    assert plain(f"{TIME} 01O {TIME} 00O twice\n") == f"{TIME} 00O twice\n"
