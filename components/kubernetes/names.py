"""Names and annotations that a stack's objects carry on a cluster. Pure."""

from __future__ import annotations

import hashlib

STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
"""Keeps the cluster's autoscaler from ending a pod, and its jobs, to save a node."""


def daemon_name(prefix: str) -> str:
    """The name of the daemon's objects. Because the Service has it, it is the daemon's host name in the namespace."""
    return f"{prefix}-dind"


def claim_name(prefix: str) -> str:
    """The name of the claim that a stack makes for its daemon."""
    return f"{daemon_name(prefix)}-data"


def runner_name(prefix: str) -> str:
    """The name of the runner's objects."""
    return f"{prefix}-runner"


def job_account_name(prefix: str) -> str:
    """The name of the service account of the jobs' pods."""
    return f"{prefix}-job"


def host_names(prefix: str, namespace: str) -> list[str]:
    """Every name by which the cluster's DNS knows the daemon, through its Service and as a pod."""
    service = daemon_name(prefix)
    hosts = [service, f"{service}-0.{service}"]
    suffixes = ["", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local"]
    return [f"{host}{suffix}" for host in hosts for suffix in suffixes]


def digest(text: str) -> str:
    """A short digest of a text: with it, an object's name or annotation changes when the text does."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
