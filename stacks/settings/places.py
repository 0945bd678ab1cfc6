"""Where the values of plain tables stand. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Where a value stands: ("runners", 0, "docker", "image")."""


def leaves(
    value: object, path: Path = (), *, is_one: Callable[[object], bool] = lambda _: False
) -> Iterator[tuple[Path, object]]:
    """Every value with its place: each item of a list by itself, and tables and lists that are empty as they are.

    is_one: whether a table or list counts as one value.
    """
    if isinstance(value, (Mapping, list)) and value and not is_one(value):
        for key, below in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from leaves(below, (*path, key), is_one=is_one)
    else:
        yield path, value


def written(path: Path) -> str:
    """A place as Pulumi's CLI writes it: `runners[0].docker.image`, `sysctls["net.ipv4.ip_forward"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", part):
            text += f".{part}"
        else:
            text += f"[{json.dumps(part)}]"
    return text.removeprefix(".")
