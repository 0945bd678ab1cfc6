"""The labels that every Docker object of a stack carries."""

from __future__ import annotations

import pulumi_docker as docker

from ..labels import docker_labels


def container_labels(stack: str, role: str) -> list[docker.ContainerLabelArgs]:
    """`docker_labels`, as a container takes them."""
    return [docker.ContainerLabelArgs(label=key, value=value) for key, value in docker_labels(stack, role).items()]


def volume_labels(stack: str, role: str) -> list[docker.VolumeLabelArgs]:
    """`docker_labels`, as a volume takes them."""
    return [docker.VolumeLabelArgs(label=key, value=value) for key, value in docker_labels(stack, role).items()]


def network_labels(stack: str) -> list[docker.NetworkLabelArgs]:
    """`docker_labels`, as a network takes them."""
    return [docker.NetworkLabelArgs(label=key, value=value) for key, value in docker_labels(stack, "network").items()]
