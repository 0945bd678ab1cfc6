"""A job's trace as it was printed: without what runners put before each line. Pure.

From 18.7 on gitlab-runner begins each line with its time, the number of its stream, O or E for what it was printed to,
and a `+` where it goes on with what the same stream had last: `2026-11-30T00:00:00.000000Z 00O text`. Older ones, and
those with FF_TIMESTAMPS off, send lines as they are.
"""

from __future__ import annotations

import re

_HEADER = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z ([0-9a-f]{2}[OE])([+ ])")


def plain(trace: str) -> str:
    """The lines without their headers, those that go on joined to the ones that they continue."""
    lines: list[str] = []
    last: dict[str, int] = {}
    for line in trace.split("\n"):
        header = _HEADER.match(line)
        text = line[header.end() :] if header else line
        stream = header[1] if header else ""
        if header and header[2] == "+" and stream in last:
            lines[last[stream]] += text
            continue
        last[stream] = len(lines)
        lines.append(text)
    return "\n".join(lines)
