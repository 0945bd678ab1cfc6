"""Typed settings of target `gke`: runner and daemon on a cluster that is there already. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from components.defaults import (
    CLAIM_GIB,
    CLUSTER_DAEMON_SUBNET,
    CLUSTER_MTU,
    PRUNE_SCHEDULE,
    UNUSED_HOURS,
    cache_budget_gib,
)
from components.kinds import TRAITS, Executor
from components.specs import RunnerSpec, TolerationSpec
from components.transport import Transport
from stacks.settings.common import Common, Daemon, Network, Runner
from stacks.settings.mistakes import Model, fail
from stacks.settings.values import (
    MOST,
    CertificateName,
    CloudLocation,
    CloudProject,
    ClusterName,
    Count,
    Cpus,
    Flag,
    KubernetesName,
    Labels,
    ObjectName,
    Schedule,
    Subnet,
    listen_address,
)


def _check_requests(model: GkeDaemon | GkeRunner) -> None:
    """Fail where a request is above its limit, which the API server refuses."""
    for name, limit, request in (
        ("cpu_request", model.cpus, model.cpu_request),
        ("memory_request_mib", model.memory_mib, model.memory_request_mib),
    ):
        if limit is not None and request is not None and request > limit and name in model.model_fields_set:
            fail(name, request, f"is more than the limit {limit:.10g}: lower it, or raise the limit")


def _refuse(model: Model, names: Iterable[str], why: str) -> None:
    """Fail where a setting of the other targets is given."""
    for name in names:
        if name in model.model_fields_set:
            value = getattr(model, name)
            shown = str(value) if isinstance(value, ipaddress.IPv4Network) else value
            fail(name, shown, f"does not go with target gke: {why}; remove it")


NodeMemory = Annotated[int, Field(strict=True, ge=64, le=MOST)]


class Cluster(Model):
    """The cluster, by kubeconfig and context, or by its name in Google Cloud.

    context: name in the kubeconfig. Never the current one unasked, because another terminal may change that.
    kubeconfig: path of the file. Default: $KUBECONFIG, else ~/.kube/config.
    project, location, name: of the cluster, as `gcloud container clusters list` shows it, instead of those two; it is
        reached with the credentials that gcloud has.
    """

    context: Annotated[str, Field(min_length=1)] | None = None
    kubeconfig: Annotated[str, Field(min_length=1)] | None = None
    project: CloudProject | None = None
    location: CloudLocation | None = None
    name: ClusterName | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        in_google_cloud = {part: getattr(self, part) for part in ("project", "location", "name")}
        if not any(in_google_cloud.values()):
            if self.context is None:
                fail(
                    "context",
                    None,
                    "is needed: name a context of the kubeconfig (kubectl config get-contexts), or give project, "
                    "location and name of the cluster",
                )
            return self
        for part in ("context", "kubeconfig"):
            if getattr(self, part) is not None:
                fail(part, getattr(self, part), "does not go with project, location and name: give one or the other")
        for part, value in in_google_cloud.items():
            if value is None:
                fail(part, None, "is needed to find the cluster in Google Cloud: give project, location and name")
        return self


class Toleration(Model):
    """A taint of nodes that a pod puts up with.

    key, effect: of the taint.
    value: of the taint. Default: any.
    """

    key: Annotated[str, Field(min_length=1)]
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class GkeNetwork(Network):
    """How pods reach the daemon, and who may.

    subnet: pods get their addresses from the cluster.
    mtu: bytes, of the networks inside the daemon. Default 1400: below the 1460 of a node on Google's default network,
        with room for what the cluster's network adds.
    policy: whether a NetworkPolicy lets only this stack's runner and jobs reach the daemon's port. Default yes.
    """

    mtu: Annotated[int, Field(strict=True, ge=576, le=9000)] | None = CLUSTER_MTU
    policy: Flag = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        _refuse(self, ["subnet"], "pods get their addresses from the cluster")
        return self


class Claim(Model):
    """The persistent volume claim that holds the layer cache.

    size_gib: GiB. Default 100. It can grow where the class allows that, and never shrink.
    storage_class: Default: the cluster's default class.
    access_mode: Default: `ReadWriteOncePod`, at most one pod, where the class is CSI, else `ReadWriteOnce`.
    protect: whether it stays where it is, with its namespace, when the stack is destroyed, and Pulumi refuses to
        replace it. Default yes: the cache is hours of work.
    """

    size_gib: Annotated[int, Field(strict=True, ge=5, le=65536)] = CLAIM_GIB
    storage_class: ObjectName | None = None
    access_mode: Literal["ReadWriteOncePod", "ReadWriteOnce"] | None = None
    protect: Flag = True


class GkeDaemon(Daemon):
    """`Daemon`, in a pod.

    certificate_names: more names than those of the Service and of the pod, which are always in the certificate.
    cpus (in tenths), memory_mib: limits of the pod. Default: none.
    cpu_request (in tenths), memory_request_mib: what the node sets aside for it. Default 1 and 2048: a pod without
        requests is the first to be evicted.
    subnet: Default 172.29.0.0/16, because Google's networks, nodes and pods alike, are cut from 10.0.0.0/8.
    cache_budget_gib: Default: 60 % of the claim, as images, and containers of running jobs, need room as well.
    claim: see there.
    existing_claim: a claim of the namespace to use in its place; it is never changed and never deleted.
    node_selector, tolerations: which nodes it may run on.
    dedicated_node: `key: value` of a label and of a taint with effect NoSchedule, of nodes that are the daemon's alone.
    """

    certificate_names: tuple[CertificateName, ...] | None = None
    cache_budget_gib: Count = 60
    subnet: Subnet = ipaddress.IPv4Network(CLUSTER_DAEMON_SUBNET)
    cpu_request: Cpus = 1.0
    memory_request_mib: NodeMemory = 2048
    claim: Claim = Claim()
    existing_claim: ObjectName | None = None
    node_selector: Labels = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    dedicated_node: Labels = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_pod(self) -> Self:
        if self.transport is Transport.SOCKET:
            fail("transport", self.transport, "does not go with target gke, as pods share no socket: use tls")
        _refuse(self, ["endpoint"], "the Service has its name from the stack")
        _refuse(self, ["data_path"], "the layer cache is on a claim: use claim.storage_class")
        _refuse(self, ["existing_volume"], "the layer cache is on a claim: use existing_claim")
        _refuse(self, ["keep_cache"], "the claim says so itself: use claim.protect")
        if self.existing_claim is not None and "claim" in self.model_fields_set:
            fail("claim", {}, "has no use with existing_claim, which is taken as it is: remove one of them")
        too_much = self.cache_budget_gib * 10 > self.claim.size_gib * 9
        if too_much and self.existing_claim is None and "cache_budget_gib" in self.model_fields_set:
            fail(
                "cache_budget_gib",
                self.cache_budget_gib,
                f"leaves too little of a claim of {self.claim.size_gib} GiB for images and containers: use "
                f"{cache_budget_gib(self.claim.size_gib)} or less, or raise claim.size_gib",
            )
        if len(self.dedicated_node) > 1:
            fail("dedicated_node", ", ".join(self.dedicated_node), "has more than one label: give the node pool's own")
        _check_requests(self)
        return self

    def _check_names(self) -> None:
        """The Service's names are added later, when the stack's name is known."""


class GkeRunner(Runner):
    """`Runner`, whose jobs are pods.

    executor: `kubernetes`.
    kind: `dind` or `plain`.
    cpus (in tenths), memory_mib: limits of a job's container, and of each of its services. Default: none.
    cpu_request (in tenths), memory_request_mib: what the node sets aside for a job. Default: as the limits, else none.
    node_selector, tolerations: which nodes the jobs may run on.
    """

    EXECUTORS: ClassVar[tuple[Executor, ...]] = (Executor.KUBERNETES,)

    executor: Executor = Executor.KUBERNETES
    cpu_request: Cpus | None = None
    memory_request_mib: NodeMemory | None = None
    node_selector: Labels = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()

    @model_validator(mode="after")
    def _check_pod(self) -> Self:
        if why := TRAITS[self.kind].refused.get(Executor.KUBERNETES):
            fail("kind", self.kind, why)
        _refuse(self, ["job_daemon_image"], "no job has a daemon of its own")
        _check_requests(self)
        _refuse(self, ["volumes", "shm_size_mib", "network_mode"], "jobs are pods: write [runners.kubernetes] in extra")
        return self

    def spec(self) -> RunnerSpec:
        """What its `[[runners]]` entry is rendered from."""
        tolerations = [TolerationSpec(**dict(each)) for each in self.tolerations]
        return replace(super().spec(), tolerations=tolerations)


class Prune(Model):
    """What removes from the daemon, once in a while, what BuildKit's own garbage collection does not know.

    schedule: five fields as for cron, UTC. Default `0 0 * * 0`: Sunday at midnight.
    unused_hours: images, containers and networks that are older, and that nothing uses, go. Default 168, a week.
    """

    schedule: Schedule = PRUNE_SCHEDULE
    unused_hours: Annotated[int, Field(strict=True, ge=1, le=8760)] = UNUSED_HOURS


class GkeSettings(Common):
    """A cluster on Google Kubernetes Engine (Standard), or any other whose nodes allow privileged pods.

    cluster: see there.
    namespace: of everything that the stack makes. Default: `name`, or `<project>-<stack>`.
    create_namespace: whether the stack makes the namespace, and owns it. Default yes. One that is there has to allow
        privileged pods.
    network, daemon, runners: see there.
    prune: see there. Null switches it off.
    metrics_address: `host:port` of GitLab Runner's Prometheus metrics. Default `:9252`, reachable inside the cluster.
    runner_memory_mib: Default 512, several times what a runner takes.
    """

    target: Literal["gke"]
    cluster: Cluster
    namespace: KubernetesName | None = None
    create_namespace: Flag = True
    network: GkeNetwork = GkeNetwork()
    daemon: GkeDaemon = GkeDaemon()
    runners: Annotated[tuple[GkeRunner, ...], Field(min_length=1)]
    prune: Prune | None = Prune()
    metrics_address: Annotated[str, AfterValidator(listen_address)] | None = ":9252"
    runner_memory_mib: NodeMemory = 512

    @model_validator(mode="after")
    def _check_namespace(self) -> Self:
        if self.daemon.existing_claim is not None and self.create_namespace:
            fail(
                "create_namespace",
                True,
                f"does not go with daemon.existing_claim {self.daemon.existing_claim}, whose namespace is there "
                "already: set create_namespace: false, and namespace",
            )
        if not self.create_namespace and self.namespace is None:
            fail("namespace", None, "is needed with create_namespace: false: name the one that is there")
        return self

    def namespace_for(self, prefix: str) -> str:
        """The namespace of a stack whose objects' names begin with `prefix`."""
        return self.namespace or prefix


SETTINGS = GkeSettings
"""What `stacks.targets` takes for this target."""
