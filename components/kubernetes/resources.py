"""Requests and limits of a container."""

from __future__ import annotations

import pulumi_kubernetes as k8s

from components.kubernetes.spelling import quantities


def requirements(
    cpu_request: float, memory_request_mib: int, cpus: float | None, memory_mib: int | None
) -> k8s.core.v1.ResourceRequirementsArgs:
    """As `quantities` spells them."""
    found = quantities(cpu_request, memory_request_mib, cpus, memory_mib)
    return k8s.core.v1.ResourceRequirementsArgs(requests=found["requests"], limits=found.get("limits"))
