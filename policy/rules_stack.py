"""Rules that have to see several resources of a stack together. They judge outputs. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from components.image_names import moving
from components.kinds import TRAITS, Builder, Kind
from components.labels import ROLE
from policy.config_toml import Entry, entries_of, text_of
from policy.resources import (
    CONTAINER,
    SERVICE,
    STACK,
    UNKNOWN,
    USER_RUNNER,
    VOLUME,
    Resource,
    at,
    labels_of,
    pod_of,
    table,
    tables,
)
from policy.rules import pin

Found = tuple[Resource, str]
"""A violation: the resource and the message."""

HOST_DOCKER = Kind.HOST_DOCKER
BUILDING_KINDS = frozenset(kind for kind, traits in TRAITS.items() if traits.builder is not Builder.NONE)
"""Those whose jobs have a Docker daemon at their command, and with it all rights on its machine."""

SOCKETS = (PurePosixPath("/var/run/docker.sock"), PurePosixPath("/run/docker.sock"))
SOCKET_OF_DAEMON = "unix:///run/dind/"
"""Where the daemon of transport `socket` listens, which is not the host's."""


def host_socket(resources: Sequence[Resource]) -> Iterator[Found]:
    """The host's Docker socket in a container, or in the jobs of a runner, that is not of kind host-docker."""
    kinds = kinds_of(resources)
    wanted = HOST_DOCKER in kinds.values()
    for resource in resources:
        for path, source in _host_paths(resource):
            is_its_own = wanted and role_of(resource) == "runner" and PurePosixPath(str(source)).suffix == ".sock"
            if reaches_socket(source) and not is_its_own:
                yield (
                    resource,
                    f"{resource.name} {path}: {source} hands over the host's Docker, and with it the host: remove it; "
                    f"only a runner of kind {HOST_DOCKER} is given that",
                )
        for entry in entries_of(resource):
            if kinds.get(entry.name) != HOST_DOCKER:
                yield from ((resource, f"{resource.name} {entry.where} {text}") for text in _jobs_on_host(entry))


def _jobs_on_host(entry: Entry) -> Iterator[str]:
    remedy = f"remove it from {entry.setting}.extra, or set {entry.setting}.kind: {HOST_DOCKER}"
    if entry.docker:
        # GitLab Runner's own default.
        host = str(entry.docker.get("host") or f"unix://{SOCKETS[0]}")
        # Paths that jobs in the daemon mount are paths of its machine, where the socket is the daemon's own.
        if host.startswith("unix://") and not host.startswith(SOCKET_OF_DAEMON):
            yield f"docker.host: {host} runs the jobs on the host's Docker, and kind is not {HOST_DOCKER}: {remedy}"
            for source in filter(reaches_socket, entry.mounted):
                yield f"docker.volumes: {source} hands over the host's Docker to every job: {remedy}"
    for index, volume in enumerate(tables(at(entry.kubernetes, "volumes").get("host_path"))):
        source = str(volume.get("host_path") or volume.get("mount_path", ""))
        if reaches_socket(source):
            yield (
                f"kubernetes.volumes.host_path[{index}]: {source} hands over the node's Docker to every job: remove it "
                f"from {entry.setting}.extra"
            )


def reaches_socket(source: object) -> bool:
    """Whether a path of the host is Docker's socket there, or a directory that holds it."""
    if not isinstance(source, str) or not source.startswith("/"):
        return False
    # Docker takes two leading slashes for one.
    path = PurePosixPath(posixpath.normpath("/" + source.lstrip("/")))
    # A host may have its socket elsewhere (settings.host_socket), but calls it by its engine.
    return path.name in ("docker.sock", "podman.sock") or any(socket.is_relative_to(path) for socket in SOCKETS)


def _host_paths(resource: Resource) -> Iterator[tuple[str, object]]:
    """The host's paths that a resource mounts, by the path of the property."""
    props = resource.props
    if resource.type == CONTAINER:
        for index, volume in enumerate(tables(props.get("volumes"))):
            yield f"volumes[{index}].hostPath", volume.get("hostPath")
        yield from _binds("mounts", props.get("mounts"))
    elif resource.type == SERVICE:
        where = "taskSpec.containerSpec.mounts"
        yield from _binds(where, at(props, "taskSpec", "containerSpec").get("mounts"))
    elif resource.type == VOLUME:
        yield "driverOpts.device", at(props, "driverOpts").get("device")
    elif pod := pod_of(resource):
        for index, volume in enumerate(tables(pod.spec.get("volumes"))):
            yield f"{pod.where}volumes[{index}].hostPath.path", at(volume, "hostPath").get("path")


def _binds(where: str, mounts: object) -> Iterator[tuple[str, object]]:
    for index, mount in enumerate(tables(mounts)):
        if mount.get("type") == "bind":
            yield f"{where}[{index}].source", mount.get("source")


def role_of(resource: Resource) -> str:
    """The role of a Docker container or a Swarm service, "" where its labels name none."""
    return labels_of(resource.props).get(ROLE, "")


def unprotected_cache(resources: Sequence[Resource]) -> Iterator[Found]:
    """A layer cache that goes with the stack."""
    for resource in resources:
        if resource.protect:
            continue
        if resource.type == VOLUME and role_of(resource) == "data":
            # What is in a directory of the host stays there; whether a volume is kept, its component says.
            in_directory = bool(at(resource.props, "driverOpts").get("device"))
            kept = resource.parent is not None and resource.parent.props.get("keep_cache") is True
            if not in_directory and not kept:
                yield (
                    resource,
                    f"{resource.name}: the layer cache goes when the stack is destroyed: set "
                    "settings.daemon.keep_cache: true",
                )
        if resource.on_kubernetes and resource.kind == "PersistentVolumeClaim":
            yield (
                resource,
                f"{resource.name}: the layer cache goes when the stack is destroyed: set "
                "settings.daemon.claim.protect: true",
            )


def open_runner(resources: Sequence[Resource]) -> Iterator[Found]:
    """A runner with privileged builds that takes jobs of branches that anybody may push to."""
    kinds = kinds_of(resources)
    entries = {entry.name: entry for resource in resources for entry in entries_of(resource)}
    for resource in resources:
        if resource.type != USER_RUNNER or resource.props.get("accessLevel") in ("ref_protected", UNKNOWN):
            continue
        name = resource.parent.name if resource.parent else resource.name
        entry, kind = entries.get(name), kinds.get(name, "")
        reason = f"kind {kind}" if kind in BUILDING_KINDS else entry.grants if entry else ""
        if reason:
            # Which is what GitLab makes of a runner that says nothing.
            level = resource.props.get("accessLevel") or "not_protected"
            setting = entry.setting if entry else f"settings.runners ({name})"
            yield (
                resource,
                f"{resource.name} accessLevel: {level} lets whoever can push any branch run privileged builds "
                f"({reason}): set {setting}.access_level: ref_protected, or kind: plain without privileged",
            )


def unpinned_job_image(resources: Sequence[Resource]) -> Iterator[Found]:
    """An image of jobs that may change under its name, by the stack's outputs, while config.toml is unknown."""
    if not any(text_of(resource) is UNKNOWN for resource in resources):
        return
    for stack in (resource for resource in resources if resource.type == STACK):
        for name, runner in table(stack.props.get("runners")).items():
            for key in ("image", "helper_image"):
                image = table(runner).get(key)
                if why := moving(image):
                    yield stack, f"output runners.{name}.{key}: {image} {why}: {pin(f'the {key} of runner {name}')}"


def unjudged_config(resources: Sequence[Resource]) -> Iterator[Found]:
    """A config.toml that nobody can read yet."""
    for resource in resources:
        if text_of(resource) is UNKNOWN:
            yield (
                resource,
                f"{resource.name}: config.toml is unknown until its runners are registered, so what it says of the "
                "jobs' limits, volumes, rights and services can't be judged before the first up: run that with the "
                "same policies",
            )


def kinds_of(resources: Sequence[Resource]) -> Mapping[str, Any]:
    """The kind of each runner by its name, as the stack's output `runners` says; empty where it says nothing."""
    for resource in resources:
        if resource.type == STACK:
            runners = table(resource.props.get("runners"))
            return {name: table(runner).get("kind") for name, runner in runners.items()}
    return {}
