"""What the default versions were tested with, and which versions go together.

Pure, and standard library only. docs/use/versions.md is the same for people, and a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from components.defaults import CLIENT_IMAGE, DAEMON_IMAGE, RUNNER_IMAGE
from components.image_names import NEWEST, Reference, Version, version_of

DEFAULTS: Mapping[str, str] = {
    "daemon.image": DAEMON_IMAGE,
    "runner_image": RUNNER_IMAGE,
    "runners[].image": CLIENT_IMAGE,
    "runners[].job_daemon_image": DAEMON_IMAGE,
}
"""By the setting's path. GitLab Runner's helper has the version of the runner."""

TESTED: Mapping[str, tuple[str, ...]] = {
    "Docker": ("28.5.2", "29"),
    "GitLab Runner": ("19.4.0",),
    "Kubernetes": ("1.34.12",),
    "Pulumi CLI": ("3.276.0",),
    "Pulumi YAML": ("1.38.1",),
    "docker plugin": ("5.2.0",),
    "kubernetes plugin": ("4.25.0",),
    "gitlab plugin": ("10.4.0",),
}
"""What the tests run on; docs/use/versions.md says how each was come by."""

Api: TypeAlias = tuple[int, int]
"""A version of Docker's API: (1, 44)."""

DOCKER_API: Mapping[Version, Api] = {
    (18, 9): (1, 39),
    (19, 3): (1, 40),
    (20, 10): (1, 41),
    (23, 0): (1, 42),
    (24, 0): (1, 43),
    (25, 0): (1, 44),
    (26, 0): (1, 45),
    (27, 0): (1, 46),
    (27, 2): (1, 47),
    (28, 0): (1, 48),
    (28, 1): (1, 49),
    (28, 2): (1, 50),
    (28, 3): (1, 51),
    (29, 0): (1, 52),
    (29, 2): (1, 53),
    (29, 3): (1, 54),
    (29, 6): (1, 55),
    (29, 8): (1, 56),
}
"""The newest API that Docker speaks, daemon and client alike, by the first release that has it.

https://docs.docker.com/reference/api/engine/#api-version-matrix; of 29: the `moby/api` in docker/cli's vendor.mod.
"""

DOCKER_OLDEST_API: Mapping[Version, Api] = {
    (18, 9): (1, 12),
    (25, 0): (1, 24),
    (29, 0): (1, 44),
    (29, 3): (1, 40),
}
"""The oldest API that Docker speaks, daemon and client alike: raised for 29.0, and lowered again by 29.3.

https://github.com/moby/moby/pull/51186, https://github.com/moby/moby/pull/52067
"""

RUNNER_API: Mapping[Version, Api] = {
    (11, 9): (1, 25),
    (14, 10): (1, 41),
    (15, 10): (1, 42),
    (16, 3): (1, 43),
    (17, 5): (1, 44),
    (17, 11): (1, 47),
    (18, 6): (1, 48),
    (18, 7): (1, 50),
    (18, 9): (1, 51),
    (19, 2): (1, 55),
}
"""The newest API that GitLab Runner speaks, by the first release that has it: that of the Docker client in its go.mod.

Before 14.10 it spoke 1.25 and nothing else: https://gitlab.com/gitlab-org/gitlab-runner/-/merge_requests/3322
"""

RUNNER_OLDEST_API: Mapping[Version, Api] = {(11, 9): (1, 25), (14, 10): (1, 24), (19, 2): (1, 40)}
"""The oldest API that GitLab Runner speaks: that of the Docker client in its go.mod."""

FIRST_BY_YEAR: Version = (17, 3)
"""The first Docker whose version begins with a year; all that is newer goes on from there."""

BY_DATE: Version = (100,)
"""No Docker has such a version: it is a date, of an image that somebody has made."""

OLDEST_ENGINE: Version = (20, 10)
"""The oldest Docker on which a stack ever ran, as its host and as its daemon; `host-gateway` came with it."""

OLDEST_HOST_API: Api = (1, 40)
"""Docker's clients from 29.3 on, and GitLab Runner from 19.2 on, talk to no engine below it: Docker 19.03."""

CLIENT_PLUGINS: Version = (20, 10, 15)
"""The first official image of Docker that has buildx and compose: https://github.com/docker-library/docker/pull/361"""

NETWORKS_MTU: Version = (24, 0)
"""The first daemon with `default-network-opts`; one from before it refuses to start with a key that it does not know.

https://docs.docker.com/engine/release-notes/24.0/ (moby/moby#43197)
"""

CRON_JOBS: tuple[int, int] = (1, 21)
"""The first Kubernetes with CronJobs in batch/v1: https://kubernetes.io/docs/reference/using-api/deprecation-guide/"""

ONE_POD_CLAIMS: tuple[int, int] = (1, 27)
"""The first Kubernetes that takes ReadWriteOncePod unasked:
https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes"""


@dataclass(frozen=True)
class ApiRange:
    """What a client or a daemon speaks of Docker's API."""

    oldest: Api
    newest: Api


@dataclass(frozen=True)
class Engine:
    """A Docker engine that was asked. name: how messages call it. version: as it says it itself."""

    name: str
    version: str
    api: ApiRange


T = TypeVar("T")

_DOCKER_TAG = r"(\d+(?:\.\d+){0,2})(?:-(?!rc|beta|alpha)[A-Za-z0-9.-]*)?"
_RUNNER_TAG = r"(?:[a-z][a-z0-9._]*(?:-[a-z0-9._]+)*-)?v(\d+\.\d+\.\d+)"
_STAND_IN_TAG = r"(\d+(?:\.\d+){0,2})(?:-[A-Za-z0-9.-]*)?"
_DOCKER_REPOSITORY = re.compile(r"[^/]+/(?:.+/)?library/docker")
_RUNNER_REPOSITORY = re.compile(r"[^/]+/(?:.+/)?(?:gitlab|gitlab-org)/gitlab-runner")
_HELPER_REPOSITORY = re.compile(r"[^/]+/(?:.+/)?gitlab-org/gitlab-runner/gitlab-runner-helper")
_STAND_IN = re.compile(r"(?:[^/]+/)?dindrunner\.local/([a-z]+)(?:-[a-z0-9-]+)?")
"""The images that this project builds where no registry is reached: docs/lab/images.md."""


def docker_version(image: str) -> Version | None:
    """The version of the Docker daemon or client in an image; None where its name does not say.

    Official images, mirrors that keep their names, and this project's own stand-ins. Parts that a tag leaves open are
    the newest.
    """
    version = _version(image, _DOCKER_REPOSITORY, _DOCKER_TAG, ("dind", "job"))
    # moby's own modules count from 2.0 again, and a mirror's own images may have a date.
    return version if version and FIRST_BY_YEAR <= version < BY_DATE else None


def runner_version(image: str) -> Version | None:
    """The version of GitLab Runner in an image; None where its name does not say."""
    return _version(image, _RUNNER_REPOSITORY, _RUNNER_TAG, ("runner",))


def helper_version(image: str) -> Version | None:
    """The version of GitLab Runner's helper in an image; None where its name does not say."""
    return _version(image, _HELPER_REPOSITORY, rf"{_RUNNER_TAG}(?:-pwsh)?", ("helper",))


def _version(image: str, repository: re.Pattern[str], tags: str, roles: tuple[str, ...]) -> Version | None:
    reference = Reference.parse(image)
    if repository.fullmatch(reference.repository):
        found = re.fullmatch(tags, reference.tag)
    elif (stand_in := _STAND_IN.search(image.rpartition(":")[0])) and stand_in[1] in roles:
        found = re.fullmatch(_STAND_IN_TAG, reference.tag)
    else:
        return None
    return version_of(found[1]) if found else None


def docker_api(version: Version) -> ApiRange | None:
    """What a Docker daemon or client of this version speaks; None where nobody knows."""
    return _range(DOCKER_OLDEST_API, DOCKER_API, version)


def runner_api(version: Version) -> ApiRange | None:
    """What GitLab Runner of this version speaks with its executor docker; None where nobody knows."""
    return _range(RUNNER_OLDEST_API, RUNNER_API, version)


def _range(oldest: Mapping[Version, Api], newest: Mapping[Version, Api], version: Version) -> ApiRange | None:
    low, high = at(oldest, version), at(newest, version)
    return ApiRange(low, high) if low and high else None


def at(table: Mapping[Version, T], version: Version) -> T | None:
    """What holds for a version, of a table by first versions; None before the first."""
    known = [first for first in table if first <= version]
    return table[max(known)] if known else None


def first_with(table: Mapping[Version, Api], api: Api) -> Version | None:
    """The first version that speaks an API; None where none does."""
    return min((version for version, newest in table.items() if newest >= api), default=None)


def written(version: Version) -> str:
    """A version as people write it, without the parts that are left open."""
    return ".".join(str(part) for part in version if part < NEWEST)


def docker_written(version: Version) -> str:
    """A version of Docker of two parts: before 20.10 the second one was a month, of two digits."""
    return f"{version[0]}.{version[1]:02}" if version < OLDEST_ENGINE else written(version)


def plain_version(text: str) -> Version | None:
    """The version in what a program says of itself, such as `28.5.2+dfsg4`, `v1.34.4-gke.1` or `19.4.0-ee`."""
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else None
