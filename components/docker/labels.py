"""What every Docker object of a stack carries."""

from __future__ import annotations

import pulumi_docker as docker


def labels_for(stack: str, role: str) -> dict[str, str]:
    """The labels by which a stack's objects are found: `docker ps --filter label=dindrunner.stack=<stack>`."""
    return {"dindrunner.stack": stack, "dindrunner.role": role}


def container_labels(stack: str, role: str) -> list[docker.ContainerLabelArgs]:
    """`labels_for`, as a container takes them."""
    return [docker.ContainerLabelArgs(label=key, value=value) for key, value in labels_for(stack, role).items()]


def volume_labels(stack: str, role: str) -> list[docker.VolumeLabelArgs]:
    """`labels_for`, as a volume takes them."""
    return [docker.VolumeLabelArgs(label=key, value=value) for key, value in labels_for(stack, role).items()]


def network_labels(stack: str) -> list[docker.NetworkLabelArgs]:
    """`labels_for`, as a network takes them."""
    return [docker.NetworkLabelArgs(label=key, value=value) for key, value in labels_for(stack, "network").items()]
