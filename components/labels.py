"""Labels by which a stack's objects are found. Pure, and standard library only."""

from __future__ import annotations

STACK = "dindrunner.stack"
"""Its value is the stack's name, on every platform: `docker ps --filter label=dindrunner.stack=<stack>`."""

ROLE = "dindrunner.role"
"""Its value says what an object of a Docker engine is for."""

INSTANCE, COMPONENT = "app.kubernetes.io/instance", "app.kubernetes.io/component"
"""Prefix and role of an object of a cluster."""

CLIENT = {"dindrunner.client": "true"}
"""Carried by the pods that may reach the daemon."""


def docker_labels(stack: str, role: str) -> dict[str, str]:
    """The labels of every object of a Docker engine."""
    return {STACK: stack, ROLE: role}


def kubernetes_labels(prefix: str, stack: str, component: str) -> dict[str, str]:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/, and the stack's name."""
    return {
        "app.kubernetes.io/name": "gitlab-dind-runners",
        **selector(prefix, component),
        "app.kubernetes.io/managed-by": "pulumi",
        STACK: stack,
    }


def selector(prefix: str, component: str) -> dict[str, str]:
    """The labels that tell one stack's pods from all others; they never change."""
    return {INSTANCE: prefix, COMPONENT: component}
