"""Platforms of machines and of images: what official images are published for, and what fits which machine.

Pure: no I/O, no Pulumi here. A platform is written as Docker does: `os/architecture[/variant]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from components.image_names import Reference, Version, version_of


class Platform(StrEnum):
    """What a stack's machine can be."""

    ARM64 = "linux/arm64"
    ARM_V7 = "linux/arm/v7"
    AMD64 = "linux/amd64"

    @property
    def architecture(self) -> str:
        """The architecture, as Go names it: arm64, arm or amd64."""
        return self.value.split("/")[1]

    @property
    def helper(self) -> str:
        """How the tags of GitLab Runner's helper image name the architecture.

        https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v19.3.0/helpers/container/helperimage/linux_info.go
        """
        return "x86_64" if self is Platform.AMD64 else self.architecture


RUNS: Mapping[Platform, frozenset[str]] = {
    Platform.ARM64: frozenset({"linux/arm64"}),
    Platform.ARM_V7: frozenset({"linux/arm/v7", "linux/arm/v6", "linux/arm/v5"}),
    Platform.AMD64: frozenset({"linux/amd64"}),
}
"""What a machine runs, from containerd's rules. Stricter in two points, where not every machine or kernel can follow:
no 32-bit ARM on arm64, no 386 on amd64.
https://github.com/containerd/platforms/blob/v1.0.0-rc.1/compare.go (platformVector)
"""

BOTH = frozenset({"linux/amd64", "linux/arm64"})
WITHOUT_V7 = BOTH | {"linux/arm/v6"}
EVERY = WITHOUT_V7 | {"linux/arm/v7"}
"""Every platform in the table: it leaves out those that no stack can ask for, such as s390x and riscv64."""


@dataclass(frozen=True)
class Release:
    """What the tags of a repository are published for.

    tags: matches them whole; its group `version` is their version.
    since: platforms by the first version that has them; nothing is known of versions before the first.
    """

    tags: str
    since: Mapping[Version, frozenset[str]]

    def platforms(self, tag: str) -> frozenset[str] | None:
        """The platforms of a tag; None where the table does not know."""
        found = re.fullmatch(self.tags, tag)
        if found is None:
            return None
        version = version_of(found["version"])
        known = [first for first in self.since if first <= version]
        return self.since[max(known)] if known else None


FULL = r"(?P<version>\d+\.\d+\.\d+)"
PARTIAL = r"(?P<version>\d+(?:\.\d+){0,2})"
RUNNER_TAGS = rf"(?:(?:alpine[\d.]*|ubuntu)-)?v{FULL}"
RUNNER_REPOSITORIES = ("docker.io/gitlab/gitlab-runner", "registry.gitlab.com/gitlab-org/gitlab-runner")
HELPER_REPOSITORY = "registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper"
HELPER_SINCE = (16, 0, 0)
"""Older helper images name a wrong platform: https://gitlab.com/gitlab-org/gitlab-runner/-/issues/30909"""

# The runner: no 32-bit ARM in any version; releases before 15.1 were not looked up.
# https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v19.3.0/dockerfiles/runner/docker-bake.hcl (platforms)
# https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v19.3.0/scripts/pusher/runner-images.json (tags)
RUNNER = (
    Release(RUNNER_TAGS, {(15, 1, 0): BOTH}),
    Release(r"(?P<version>)(?:latest|alpine[\d.]*|ubuntu)", {(15, 1, 0): BOTH}),
    Release(rf"ubi-fips-v{FULL}", {(15, 1, 0): frozenset({"linux/amd64"})}),
)

# Docker: 32-bit ARM left with 20.10.8 (commit 17dae54ee6ef) and came back with 24.0.6 (commit 08aa3a28b258).
# 28.5.2: https://github.com/docker-library/official-images/blob/14266b10edd53650bee281b2435c0fb54b50b95a/library/docker
DOCKER = {(20, 10): EVERY, (20, 10, 8): BOTH, (24, 0, 6): EVERY}

PUBLISHED: Mapping[str, tuple[Release, ...]] = {
    "docker.io/library/docker": (
        Release(rf"(?:{PARTIAL}-)?(?:cli|dind|git)(?:-alpine[\d.]+)?", DOCKER),
        # A version alone is the daemon's image, with the client in it.
        Release(rf"{PARTIAL}(?:-alpine[\d.]+)?|latest", DOCKER),
        # Commit ac94e2efa09b added arm64.
        Release(rf"(?:{PARTIAL}-)?dind-rootless", {(20, 10, 7): BOTH}),
    ),
    **dict.fromkeys(RUNNER_REPOSITORIES, RUNNER),
    # A tag for each platform.
    # https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v19.3.0/dockerfiles/runner-helper/docker-bake.hcl
    HELPER_REPOSITORY: tuple(
        Release(
            rf"(?:(?:alpine[\d.]*|alpine-latest|ubuntu)-)?{platform.helper}-v{FULL}",
            {HELPER_SINCE: frozenset({platform.value})},
        )
        for platform in Platform
    ),
    # https://github.com/docker-library/official-images/blob/37079fb336f572a88700cf32e5e1f6be54a04e8f/library/registry
    # 2.7: commit 386382d8b124.
    "docker.io/library/registry": (Release(rf"{PARTIAL}|latest", {(2, 7): WITHOUT_V7, (2, 8): EVERY}),),
    # https://github.com/docker-library/official-images/blob/37079fb336f572a88700cf32e5e1f6be54a04e8f/library/alpine
    # arm/v7: commit 889772fcf5b4.
    "docker.io/library/alpine": (Release(rf"{PARTIAL}|latest", {(3, 6): WITHOUT_V7, (3, 9, 2): EVERY}),),
}
"""What official images are published for, by repository, read from the files that they are built from."""


def published(image: str) -> frozenset[str] | None:
    """The platforms that an official image is published for; None where the table does not know the image.

    A digest may stand for one platform's image out of many, so the table knows no image by digest.
    """
    reference = Reference.parse(image)
    if reference.digest:
        return None
    for release in PUBLISHED.get(reference.repository, ()):
        if (platforms := release.platforms(reference.tag)) is not None:
            return platforms
    return None


def fits(platform: Platform, offered: Iterable[str]) -> bool:
    """Whether a machine of this platform runs an image that is offered for these."""
    return any(_normal(one) in RUNS[platform] for one in offered)


def manifest_platforms(text: str) -> frozenset[str]:
    """The platforms in what `docker manifest inspect --verbose IMAGE` prints.

    That is a list for an image of many platforms and one object for an image of one, in every version of the client:
    https://github.com/docker/cli/blob/v20.10.24/cli/manifest/types/types.go
    ValueError where the text is no manifest, or one that says no platform.
    """
    try:
        content = json.loads(text)
    except ValueError:
        raise ValueError("is no manifest: not JSON") from None
    entries = content if isinstance(content, list) else [content]
    found = frozenset(_normal(platform) for entry in entries for platform in _platform_of(entry))
    if not found:
        raise ValueError("is no manifest: names no platform")
    return found


def helper_image(runner_image: str, platform: Platform) -> str | None:
    """The helper image that belongs to an official runner image.

    None where no full version says which, or one that is too old to go by; GitLab Runner then chooses by itself.
    """
    reference = Reference.parse(runner_image)
    tag = re.fullmatch(RUNNER_TAGS, reference.tag)
    if reference.repository not in RUNNER_REPOSITORIES or tag is None or version_of(tag["version"]) < HELPER_SINCE:
        return None
    return f"{HELPER_REPOSITORY}:{platform.helper}-v{tag['version']}"


def _normal(platform: str) -> str:
    """The same platform as containerd writes it: a variant that every such machine has is left out."""
    os, _, rest = platform.lower().partition("/")
    architecture, _, variant = rest.partition("/")
    # On 32-bit ARM, containerd's default is v7.
    usual = {"arm64": ("v8", ""), "amd64": ("v1", ""), "arm": ("", "v7")}
    if architecture in usual and variant == usual[architecture][0]:
        variant = usual[architecture][1]
    return "/".join(part for part in (os, architecture, variant) if part)


def _platform_of(entry: Any) -> Iterator[str]:
    """The platform of one manifest; none for what is no image, such as an attestation (unknown/unknown)."""
    descriptor = entry.get("Descriptor") if isinstance(entry, dict) else None
    platform = descriptor.get("platform") if isinstance(descriptor, dict) else None
    if not isinstance(platform, dict):
        return
    parts = [platform.get(key) for key in ("os", "architecture", "variant")]
    if parts[0] and parts[1] and "unknown" not in parts:
        yield "/".join(str(part) for part in parts if part)
