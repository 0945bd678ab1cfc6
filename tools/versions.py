"""`python -m tools versions`: the version of each image of a stack: the default, what is set, and the newest known."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from components.defaults import CLIENT_IMAGE, DAEMON_IMAGE, RUNNER_IMAGE
from components.image_names import Reference
from components.kinds import Builder, builder_of
from stacks.raspberry_pi.platforms import HELPER_REPOSITORY, RUNNER_REPOSITORIES
from stacks.settings import sandbox
from stacks.settings.mistakes import SettingsError
from tools import options
from tools.stack_files import read, without_secure

ANSWER_SECONDS = 5.0
"""How long a registry may take for all that is asked of it."""

MOST_BYTES = 4 * 1024**2
HUB = "https://hub.docker.com/v2/repositories"
RELEASES = "https://gitlab.com/api/v4/projects/gitlab-org%2Fgitlab-runner/releases"

BEFORE = r"(?:[a-z][a-z0-9_.]*-)*"
FULL = r"v?\d+\.\d+\.\d+"
"""What stands before the version in a tag (`alpine-`, `x86_64-`), and a version without open parts."""

NOT_SET = "-"
UNREACHABLE = "unreachable"
UNKNOWN = "unknown"
"""What stands in place of a version that a stack does not set, that nobody answers for, or that nobody can know."""


@dataclass(frozen=True)
class Line:
    """A setting. default: an image; empty where it has none. given: what the stack sets; empty where it does not."""

    path: str
    default: str
    given: str

    @property
    def image(self) -> str:
        """What holds."""
        return self.given or self.default


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    options.add_stack(parser)


def run(arguments: argparse.Namespace) -> int:
    """Exit status: always 0, as nothing depends on it."""
    raw, problem = _settings(Path(), arguments.stack)
    found = list(lines(raw))
    newest = newest_of({line.image for line in found})
    rows = [("setting", "default", "set", "newest")]
    rows += [(line.path, line.default or NOT_SET, line.given or NOT_SET, newest[line.image]) for line in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    if problem:
        print(problem, file=sys.stderr)
    return 0


def _settings(directory: Path, stack: str) -> tuple[Mapping[str, Any], str]:
    """A stack's plain settings, right or not, and why they could not be read, if so."""
    try:
        raw = without_secure(read(directory, stack))
        running = os.environ.get("DINDRUNNER_SANDBOX")
        if running and sandbox.uses_sandbox(raw):
            raw = sandbox.resolve(raw, sandbox.read(running))
    except (SettingsError, AttributeError, TypeError) as error:
        return {}, f"what stack {stack} sets is unknown: {error}"
    return (raw, "") if isinstance(raw, Mapping) else ({}, f"what stack {stack} sets is unknown: it is no table")


def lines(raw: Mapping[str, Any]) -> Iterator[Line]:
    """A line for each image of these plain settings."""
    yield Line("daemon.image", DAEMON_IMAGE, _image(raw.get("daemon"), "image"))
    yield Line("runner_image", RUNNER_IMAGE, _image(raw, "runner_image"))
    runners = raw.get("runners")
    for index, runner in enumerate(runners if isinstance(runners, list) and runners else [{}]):
        where = f"runners[{index}]"
        yield Line(f"{where}.image", CLIENT_IMAGE, _image(runner, "image"))
        if helper := _image(runner, "helper_image"):
            yield Line(f"{where}.helper_image", "", helper)
        own = _image(runner, "job_daemon_image")
        if own or (isinstance(runner, Mapping) and builder_of(runner.get("kind")) is Builder.OWN):
            yield Line(f"{where}.job_daemon_image", DAEMON_IMAGE, own)


def _image(table: object, key: str) -> str:
    value = table.get(key) if isinstance(table, Mapping) else None
    return value if isinstance(value, str) else ""


def newest_of(images: set[str]) -> dict[str, str]:
    """The newest tag of the same kind for each image; one word where it is not to be had."""
    asked = {image: _asked(image) for image in images}
    until = time.monotonic() + ANSWER_SECONDS
    return {image: _within(future, until - time.monotonic()) for image, future in asked.items()}


def _asked(image: str) -> Future[str]:
    """In a thread that nobody waits for: a socket's own limit covers neither name resolution nor an answer in drops."""
    future: Future[str] = Future()

    def ask() -> None:
        try:
            future.set_result(newest(image))
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return future


def _within(future: Future[str], seconds: float) -> str:
    try:
        return future.result(max(seconds, 0))
    except FutureTimeout:
        return UNREACHABLE


def newest(image: str) -> str:
    """The newest tag that differs from an image's own in its version only, of official images."""
    reference = Reference.parse(image)
    kind = re.fullmatch(rf"(?P<before>{BEFORE})v?\d+(?:\.\d+){{0,2}}(?P<after>(?:-[a-z-]+)?)", reference.tag)
    if kind is None:
        return UNKNOWN
    before, after = kind["before"], kind["after"]
    try:
        if reference.repository in (*RUNNER_REPOSITORIES, HELPER_REPOSITORY):
            tags = [f"{before}{each['tag_name']}{after}" for each in _json(f"{RELEASES}?per_page=50")]
        elif reference.repository.startswith("docker.io/library/"):
            tags = _hub_tags(reference.repository.removeprefix("docker.io/"), after.strip("-"))
        else:
            return UNKNOWN
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return UNREACHABLE
    known = [found for tag in tags if (found := re.fullmatch(rf"{re.escape(before)}({FULL}){re.escape(after)}", tag))]
    return max(known, key=_version)[0] if known else UNKNOWN


def _version(found: re.Match[str]) -> list[int]:
    return [int(part) for part in found[1].removeprefix("v").split(".")]


def _hub_tags(repository: str, part: str) -> list[str]:
    """The latest tags of a repository of Docker Hub with this part in them."""
    found = _json(f"{HUB}/{repository}/tags?page_size=100&ordering=last_updated&name={part}")
    return [str(each["name"]) for each in found["results"]]


def _json(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
        return json.loads(answer.read(MOST_BYTES))
