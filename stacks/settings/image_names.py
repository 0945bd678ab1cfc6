"""Names of images in their parts, and the versions in their tags. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Version: TypeAlias = tuple[int, ...]

NEWEST = 10**9
"""Stands for each part of a version that a tag leaves open: such a tag moves on with the releases."""


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
