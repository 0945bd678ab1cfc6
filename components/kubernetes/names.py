"""Names, labels and annotations that a stack's objects carry on a cluster. Pure."""

from __future__ import annotations

CLIENT_LABEL = {"dindrunner.client": "true"}
"""Carried by the pods that may reach the daemon."""

STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
"""Keeps the cluster's autoscaler from ending a pod, and the jobs with it, to save a node."""


def labels(prefix: str, stack: str, component: str) -> dict[str, str]:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/, and the stack's name."""
    return {
        "app.kubernetes.io/name": "gitlab-dind-runners",
        **selector(prefix, component),
        "app.kubernetes.io/managed-by": "pulumi",
        "dindrunner.stack": stack,
    }


def selector(prefix: str, component: str) -> dict[str, str]:
    """The labels that tell one stack's pods from all others; they never change."""
    return {"app.kubernetes.io/instance": prefix, "app.kubernetes.io/component": component}


def service_name(prefix: str) -> str:
    """The host name of a stack's daemon inside its namespace."""
    return f"{prefix}-dind"


def host_names(prefix: str, namespace: str) -> list[str]:
    """Every name by which the cluster's DNS knows the daemon, through its Service and as a pod."""
    service = service_name(prefix)
    hosts = [service, f"{service}-0.{service}"]
    suffixes = ["", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local"]
    return [f"{host}{suffix}" for host in hosts for suffix in suffixes]
