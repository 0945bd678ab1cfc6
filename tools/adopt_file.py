"""Reads a config.toml of GitLab Runner. Pure, except for `read`."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MOST_BYTES = 1024 * 1024
"""A config.toml with a thousand runners has half of that."""


class AdoptError(Exception):
    """The file cannot be adopted as it is; the text says why and what to do."""


class MisusedError(AdoptError):
    """The command was called in a way that makes no sense."""


def read(name: str) -> dict[str, Any]:
    """The tables of a file, or of standard input for `-`. Raises AdoptError, or MisusedError where there is no file."""
    try:
        if name == "-":
            content = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MisusedError(
            f"{name}: cannot be read ({reason}): name the runner's config.toml, mostly "
            "/etc/gitlab-runner/config.toml, or - for standard input"
        ) from None
    return parsed(content, "standard input" if name == "-" else name)


def parsed(content: bytes, name: str) -> dict[str, Any]:
    """The tables in the content of a file of that name, which the messages of AdoptError begin with."""
    if len(content) > MOST_BYTES:
        raise AdoptError(f"{name}: is larger than {MOST_BYTES // 1024} KiB, so it is no config.toml: name another file")
    try:
        # As GitLab Runner's own parser does, a mark of the byte order is passed over.
        tables = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise AdoptError(
            f"{name}: is no text (byte {error.start} is not UTF-8): name the runner's config.toml"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise AdoptError(f"{name}: is no TOML: {_without_values(str(error))}: correct that place") from None
    except (ValueError, RecursionError):
        raise AdoptError(f"{name}: is no TOML that a runner reads: a number or a nesting is too large") from None
    runners = tables.get("runners")
    if isinstance(runners, Mapping):
        raise AdoptError(f"{name}: runners is one table, so no runner is found: write [[runners]], with two brackets")
    if not isinstance(runners, list) or not runners:
        raise AdoptError(f"{name}: has no [[runners]], so there is nothing to adopt: name the runner's config.toml")
    if not all(isinstance(runner, Mapping) for runner in runners):
        raise AdoptError(f"{name}: runners is no list of tables, so no runner is found: write [[runners]]")
    return tables


def _without_values(message: str) -> str:
    """A message of the TOML parser without what it quotes of the file, which may be a token."""
    place = re.search(r" \((at [^()]*)\)$", message)
    text = message[: place.start()] if place else message
    text = re.sub(r"\(.*\)|(['\"]).{5,}\1", "...", text, flags=re.DOTALL)
    where = place[1].removeprefix("at ") if place else ""
    return f"{where}: {text}" if where else text
