"""Escapes texts of others for GitLab's Markdown, so that they are shown as they are and do nothing. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

# Terminal colours, what turns the direction of a text, and other characters that only have an effect.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def clean(text: str) -> str:
    """Without characters that are not seen."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def code(text: str) -> str:
    """In a line: neither HTML nor mentions, references or formatting take effect in code."""
    text = " ".join(clean(text).split())
    fence = "`" * (_longest_run(text) + 1)
    # A space beside a backtick, which is not shown, keeps it apart from the fence.
    space = " " if not text or "`" in (text[0], text[-1]) else ""
    return f"{fence}{space}{text}{space}{fence}"


def html_code(text: str) -> str:
    """As `code`, inside of an HTML element, where Markdown has no effect, but mentions have."""
    return f"<code>{html.escape(' '.join(clean(text).split()))}</code>"


def fenced(lines: Iterable[str], language: str = "") -> str:
    """A block of code, in a fence that is longer than any in it. No line begins with `/`, as quick actions do."""
    text = "\n".join(_harmless(line) for line in clean("\n".join(lines)).splitlines())
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)


def _harmless(line: str) -> str:
    return f" {line}" if line.startswith("/") else line
