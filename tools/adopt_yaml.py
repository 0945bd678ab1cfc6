"""Prints settings with comments, as a stack file has them. Pure."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from stacks.settings.places import Path

WIDTH = 120
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*")
"""Texts that no reader of YAML takes for something else, but for the words below."""

_WORDS = re.compile(r"true|false|yes|no|on|off|y|n|null", re.IGNORECASE)


def lines(value: Mapping[str, Any], comments: Mapping[Path, Sequence[str]], indent: int = 0) -> Iterator[str]:
    """A table in block style, with the comments of each setting above it."""
    yield from _table(value, comments, indent, ())


def _table(value: Mapping[str, Any], comments: Mapping[Path, Sequence[str]], indent: int, path: Path) -> Iterator[str]:
    for key, below in value.items():
        here = (*path, key)
        for text in comments.get(here, ()):
            yield from comment(text, indent)
        head = f"{' ' * indent}{scalar(key)}:"
        if isinstance(below, Mapping) and below:
            yield head
            yield from _table(below, comments, indent + 2, here)
        elif isinstance(below, list) and any(isinstance(item, Mapping) and item for item in below):
            yield head
            yield from _list(below, comments, indent + 2, here)
        else:
            yield f"{head} {flow(below)}"


def _list(value: Sequence[Any], comments: Mapping[Path, Sequence[str]], indent: int, path: Path) -> Iterator[str]:
    for index, item in enumerate(value):
        if isinstance(item, Mapping) and item:
            first, *others = _table(item, comments, indent + 2, (*path, index))
            yield f"{' ' * indent}- {first.lstrip()}"
            yield from others
        else:
            yield f"{' ' * indent}- {flow(item)}"


def flow(value: object) -> str:
    """A value on one line."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{scalar(key)}: {flow(below)}" for key, below in value.items()) + "}"
        case [*items]:
            return "[" + ", ".join(flow(item) for item in items) + "]"
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
    return scalar(str(value))


def scalar(text: str) -> str:
    """A text, in quotes where it could be read as something else."""
    if _PLAIN.fullmatch(text) and not _WORDS.fullmatch(text):
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=math.inf)
    return quoted.strip()


def comment(text: str, indent: int = 0) -> Iterator[str]:
    """A comment, in lines that are short enough, but for commands, which have to be copied whole."""
    start = f"{' ' * indent}# "
    for line in text.split("\n"):
        safe = "".join(each if each.isprintable() else "?" for each in line)
        deeper = " " * (len(safe) - len(safe.lstrip()))
        yield from textwrap.wrap(
            safe.strip(),
            10**6 if "pulumi config set" in safe else WIDTH,
            initial_indent=start + deeper,
            subsequent_indent=start + deeper + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        ) or [start.rstrip()]
