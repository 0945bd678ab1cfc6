"""A stack's namespace, the name of the daemon in it, and who may reach the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from ..inputs import recorded, taken
from ..labels import CLIENT, kubernetes_labels, selector
from .names import daemon_name
from .resources import PATCH_FORCE, StackArgs, metadata


@dataclass(frozen=True, kw_only=True)
class RunnerNetworkArgs(StackArgs):
    """Inputs of a RunnerNetwork, beyond `StackArgs`.

    create_namespace: whether the namespace is made here. protect: whether such a namespace is protected.
    port: of the daemon; None: there is no daemon.
    policy: whether a NetworkPolicy keeps all but the stack's own pods from the daemon.
    """

    create_namespace: bool = True
    protect: bool = False
    port: int | None = 2376
    policy: bool = True


class RunnerNetwork(pulumi.ComponentResource):
    """A namespace where privileged pods are allowed, a headless Service and a NetworkPolicy for the daemon.

    namespace: name of the namespace. service, policy: names of these two; None: there is none.
    """

    namespace: pulumi.Output[str]
    service: pulumi.Output[str] | None = None
    policy: pulumi.Output[str] | None = None

    def __init__(
        self, name: str, args: RunnerNetworkArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(RunnerNetworkArgs, args)
        super().__init__("dindrunner:kubernetes:RunnerNetwork", name, recorded(args), opts)
        self.namespace = self._namespace(name, args)
        # What is in the namespace has to wait for it.
        inside = replace(args, namespace=self.namespace)
        if args.port is not None:
            self.service = self._service(name, inside, args.port)
            if args.policy:
                self.policy = self._policy(name, inside)
        self.register_outputs({"namespace": self.namespace, "service": self.service, "policy": self.policy})

    def _namespace(self, name: str, args: RunnerNetworkArgs) -> pulumi.Output[str]:
        if not args.create_namespace:
            return pulumi.Output.from_input(args.namespace)
        namespace = k8s.core.v1.Namespace(
            f"{name}-namespace",
            metadata=k8s.meta.v1.ObjectMetaArgs(
                name=args.namespace,
                annotations=PATCH_FORCE,
                labels={
                    **kubernetes_labels(args.prefix, args.stack, "namespace"),
                    # The daemon is privileged, and only its namespace has to allow that.
                    "pod-security.kubernetes.io/enforce": "privileged",
                },
            ),
            # Deleting the namespace would delete the claim in it.
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        return namespace.metadata.name

    def _service(self, name: str, args: RunnerNetworkArgs, port: int) -> pulumi.Output[str]:
        service = k8s.core.v1.Service(
            f"{name}-service",
            metadata=metadata(args, "daemon", daemon_name(args.prefix)),
            spec=k8s.core.v1.ServiceSpecArgs(
                cluster_ip="None",
                selector=selector(args.prefix, "daemon"),
                ports=[k8s.core.v1.ServicePortArgs(name="docker", port=port, target_port="docker")],
                # There is no other daemon to use while this one is slow to answer a probe.
                publish_not_ready_addresses=True,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return service.metadata.name

    def _policy(self, name: str, args: RunnerNetworkArgs) -> pulumi.Output[str]:
        clients = {"app.kubernetes.io/instance": args.prefix, **CLIENT}
        policy = k8s.networking.v1.NetworkPolicy(
            f"{name}-policy",
            metadata=metadata(args, "daemon", daemon_name(args.prefix)),
            spec=k8s.networking.v1.NetworkPolicySpecArgs(
                pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(args.prefix, "daemon")),
                policy_types=["Ingress"],
                ingress=[
                    k8s.networking.v1.NetworkPolicyIngressRuleArgs(
                        # Pods of this namespace only, as there is no namespace selector; and all ports, because a job
                        # that has the daemon also wants what it publishes there.
                        from_=[
                            k8s.networking.v1.NetworkPolicyPeerArgs(
                                pod_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=clients)
                            )
                        ],
                    )
                ],
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return policy.metadata.name
