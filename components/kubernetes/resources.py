"""What all components for a cluster give to their objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from ..inputs import mapped
from ..labels import kubernetes_labels
from .spelling import quantities

PATCH_FORCE = {"pulumi.com/patchForce": "true"}
"""The next update undoes changes by hand; otherwise it would fail, because the field has another owner then."""


@dataclass(frozen=True, kw_only=True)
class StackArgs:
    """Inputs of every component.

    prefix: prefix of the names in the namespace. stack: value of the `dindrunner.stack` label. namespace: its name.
    """

    prefix: str
    stack: str
    namespace: pulumi.Input[str]


def metadata(
    args: StackArgs, component: str, name: pulumi.Input[str], annotations: dict[str, str] | None = None
) -> k8s.meta.v1.ObjectMetaArgs:
    """Name, namespace and labels of an object of this component."""
    return k8s.meta.v1.ObjectMetaArgs(
        name=name,
        namespace=args.namespace,
        labels=kubernetes_labels(args.prefix, args.stack, component),
        annotations={**PATCH_FORCE, **(annotations or {})},
    )


def requirements(
    cpu_request: pulumi.Input[float],
    memory_request_mib: pulumi.Input[int],
    cpus: pulumi.Input[float] | None,
    memory_mib: pulumi.Input[int] | None,
) -> pulumi.Input[k8s.core.v1.ResourceRequirementsArgs]:
    """Requests and limits of a container, as `quantities` spells them."""
    given: list[Any] = [cpu_request, memory_request_mib, cpus, memory_mib]
    return mapped(given, lambda known: _requirements(quantities(*known)))


def _requirements(found: dict[str, dict[str, str]]) -> k8s.core.v1.ResourceRequirementsArgs:
    return k8s.core.v1.ResourceRequirementsArgs(requests=found["requests"], limits=found.get("limits"))
