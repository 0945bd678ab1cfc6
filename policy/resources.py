"""Resources as the rules see them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from components.labels import COMPONENT, ROLE

CONTAINER = "docker:index/container:Container"
SERVICE = "docker:index/service:Service"
VOLUME = "docker:index/volume:Volume"
REMOTE_IMAGE = "docker:index/remoteImage:RemoteImage"
SWARM_SECRET = "docker:index/secret:Secret"
USER_RUNNER = "gitlab:index/userRunner:UserRunner"
STACK = "pulumi:pulumi:Stack"


class _Unknown(Enum):
    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "(unknown)"


UNKNOWN: Final = _Unknown.UNKNOWN
"""Stands in properties for what a preview cannot know, such as the token of a runner that is not registered yet."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource.

    props: plain data, UNKNOWN where a preview cannot know it. Rules for single resources get inputs, rules for stacks
    get outputs. protect: Pulumi's option. parent: the component that it belongs to; None if a rule cannot see it.
    """

    type: str
    name: str
    props: Mapping[str, Any]
    urn: str = ""
    protect: bool = False
    parent: Resource | None = None

    @property
    def kind(self) -> str:
        """The last part of the type, for example `StatefulSet`."""
        return self.type.rpartition(":")[2]

    @property
    def on_kubernetes(self) -> bool:
        """Whether it is an object of a cluster."""
        return self.type.startswith("kubernetes:")


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container that a resource runs, whatever runs it.

    where: path to its own properties, with a dot at the end unless empty. role: `daemon`, `runner`, another, or "".
    words: its entrypoint and arguments. environment: its variables, those that are known.
    """

    where: str
    image: object
    role: str
    privileged: bool
    words: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_daemon(self) -> bool:
        """Whether it is a Docker daemon: nothing else in a stack is privileged."""
        return self.role == "daemon" or self.privileged


def containers_of(resource: Resource) -> Iterator[Container]:
    """The containers that a Docker container, a Swarm service or an object with a pod runs."""
    props = resource.props
    if resource.type == CONTAINER:
        yield Container(
            where="",
            image=props.get("image"),
            role=labels_of(props).get(ROLE, ""),
            privileged=props.get("privileged") is True,
            words=[*strings(props.get("entrypoints")), *strings(props.get("command"))],
            environment=variables(props.get("envs")),
        )
    elif resource.type == SERVICE:
        spec = at(props, "taskSpec", "containerSpec")
        yield Container(
            where="taskSpec.containerSpec.",
            image=spec.get("image"),
            role=labels_of(spec).get(ROLE, ""),
            privileged=False,
            words=[*strings(spec.get("commands")), *strings(spec.get("args"))],
            environment={key: value for key, value in table(spec.get("env")).items() if isinstance(value, str)},
        )
    elif pod := pod_of(resource):
        for key in ("initContainers", "containers", "ephemeralContainers"):
            for index, each in enumerate(tables(pod.spec.get(key))):
                yield _in_pod(f"{pod.where}{key}[{index}].", pod.role, each)


def _in_pod(where: str, role: str, container: Mapping[str, Any]) -> Container:
    # An API server leaves out a value that is empty.
    pairs = {
        each.get("name"): each.get("value", "") for each in tables(container.get("env")) if "valueFrom" not in each
    }
    return Container(
        where=where,
        image=container.get("image"),
        role=role,
        privileged=at(container, "securityContext").get("privileged") is True,
        words=[*strings(container.get("command")), *strings(container.get("args"))],
        environment={str(key): value for key, value in pairs.items() if isinstance(value, str)},
    )


@dataclass(frozen=True)
class Pod:
    """A pod that an object of a cluster makes. where: path to its specification, with a dot at the end."""

    where: str
    spec: Mapping[str, Any]
    role: str

    @property
    def is_daemon(self) -> bool:
        """Whether a container of it is a Docker daemon."""
        found = tables(self.spec.get("containers"))
        return self.role == "daemon" or any(_in_pod("", "", each).privileged for each in found)


def pod_of(resource: Resource) -> Pod | None:
    """The pod of a Pod, of a workload that has a template of it, or of a CronJob; None for anything else."""
    if not resource.on_kubernetes:
        return None
    for path in (("spec", "jobTemplate", "spec", "template"), ("spec", "template"), ()):
        pod = at(resource.props, *path)
        spec = table(pod.get("spec"))
        if isinstance(spec.get("containers"), list):
            role = at(pod, "metadata", "labels").get(COMPONENT)
            return Pod("".join(f"{key}." for key in (*path, "spec")), spec, str(role or ""))
    return None


def labels_of(props: Mapping[str, Any]) -> dict[str, str]:
    """Docker's labels, which are a list of pairs."""
    found = {each.get("label"): each.get("value") for each in tables(props.get("labels"))}
    return {str(key): value for key, value in found.items() if isinstance(value, str)}


def table(value: object) -> Mapping[str, Any]:
    """The value where it is a table that is known, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def tables(value: object) -> list[Mapping[str, Any]]:
    """A list's tables, with an empty one in place of anything else, so that they keep their places."""
    return [table(each) for each in value] if isinstance(value, list) else []


def strings(value: object) -> list[str]:
    """A list's texts that are known."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def number(value: object) -> int | None:
    """The value where it is a number, which comes from the engine with a fraction."""
    return int(value) if isinstance(value, int | float) else None


def variables(value: object) -> dict[str, str]:
    """A list of `NAME=value` as a table."""
    return dict(each.split("=", 1) for each in strings(value) if "=" in each)


def at(value: object, *path: str) -> Mapping[str, Any]:
    """The table at a path, else an empty one."""
    for key in path:
        value = table(value).get(key)
    return table(value)
