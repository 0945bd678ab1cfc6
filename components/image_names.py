"""Names of images in their parts, the versions in their tags, and whether one pins its image.

Pure, and standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

Version: TypeAlias = tuple[int, ...]

NEWEST = 10**9
"""Stands for each part of a version that a tag leaves open: such a tag moves on with the releases."""

_MOVING_WORDS = frozenset({"latest", "edge", "nightly"})
"""Parts of a tag that say that its image changes, whatever else the tag says."""


@dataclass(frozen=True)
class Reference:
    """An image's name in its parts.

    repository: with registry, as Docker completes it: `docker.io/library/docker`.
    tag: empty where there is none and the digest decides; `latest` where there is neither.
    digest: with its algorithm, `sha256:...`; empty where there is none.
    """

    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, image: str) -> Reference:
        """Take `[registry/]repository[:tag][@digest]` apart.

        https://github.com/distribution/reference/blob/v0.6.0/normalize.go
        """
        name, _, digest = image.partition("@")
        path, colon, tag = name.rpartition(":")
        if not colon or "/" in tag:
            path, tag = name, "" if digest else "latest"
        registry, slash, rest = path.partition("/")
        if not slash or not (set(".:") & set(registry) or registry == "localhost" or registry != registry.lower()):
            registry, rest = "docker.io", path
        if registry == "index.docker.io":
            registry = "docker.io"
        if registry == "docker.io" and "/" not in rest:
            rest = f"library/{rest}"
        return cls(f"{registry}/{rest}", tag, digest)


def version_of(text: str | None) -> Version:
    """A version of three parts; the parts that are left open are the newest."""
    parts = [int(part) for part in text.split(".")] if text else []
    return tuple([*parts, NEWEST, NEWEST, NEWEST][:3])


def is_newest(image: str) -> bool:
    """Whether an image is named without saying which one: by no tag, or by `latest`, and by no digest."""
    name = Reference.parse(image)
    return name.tag in ("", "latest") and not name.digest


def moving(image: object) -> str:
    """Why an image may change under its name; "" where it may not, or where variables decide what it is.

    Pinned is what names a digest, a version of two numbers or more, a date, or a commit.
    """
    if not isinstance(image, str) or not image or "$" in image or re.search(r"(^|sha256:)[0-9a-f]{64}$", image):
        return ""
    tag = Reference.parse(image).tag
    if is_newest(image) and not image.endswith(":latest"):
        return "has no tag, which is latest"
    if _MOVING_WORDS & set(re.split(r"[-_.]", tag)):
        return "changes all the time"
    # Of postgres:16-alpine3.22 the version is that of what it is built on.
    tag = re.sub(r"^(v?\d+)-[a-z]{2,}\d[\d.]*$", r"\1", tag)
    if re.search(r"\d+\.\d+|\d{8}", tag) or re.fullmatch(r"(?=.*\d)[0-9a-f]{7,64}", tag):
        return ""
    return "has a tag that moves from version to version"
