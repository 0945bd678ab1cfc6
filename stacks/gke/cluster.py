"""Finds what does not fit a cluster, and fills in what settings leave to it.

Pure: `stacks.gke.questions` asks for the facts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from components.defaults import cache_budget_gib
from components.labels import kubernetes_labels
from components.transport import Transport
from stacks.gke.settings import Claim, GkeSettings
from stacks.settings.mistakes import Mistake, SettingsError, refuse, shown
from stacks.settings.versions import CRON_JOBS, ONE_POD_CLAIMS, plain_version, written

PRIVILEGED = "pod-security.kubernetes.io/enforce"
AUTOPILOT = re.compile("autogke|autopilot", re.IGNORECASE)
"""What Autopilot's admission calls itself where it refuses a pod."""

POLICY_ENFORCERS = frozenset(
    {
        "anetd",  # GKE Dataplane V2
        "antrea-agent",
        "calico-node",
        "canal",
        "cilium",
        "kube-network-policies",
        "kube-router",
        "weave-net",
    }
)
"""DaemonSets that make NetworkPolicy objects mean something; on GKE the first, or Calico."""

PREFIX = r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"
"""A Service's name begins with a letter (RFC 1035), and a CronJob's leaves room for a suffix."""

LABEL_VALUE = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to get to the cluster.

    title: how messages call it. context: of the kubeconfig; None is its only one.
    provider_kubeconfig: what the provider is given, a path or a content without secrets; None is its own default.
    """

    title: str
    context: str | None
    provider_kubeconfig: str | None


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """A namespace that is there."""

    labels: Mapping[str, str]
    is_ending: bool = False


@dataclass(frozen=True, kw_only=True)
class StorageClass:
    """A storage class. is_csi: whether a CSI driver serves it, and so knows ReadWriteOncePod."""

    name: str
    is_csi: bool
    is_default: bool = False
    can_grow: bool = False


@dataclass(frozen=True, kw_only=True)
class ClaimFound:
    """A claim that is there. size_gib: whole GiB that it asks for. stack: by its label, the one that made it."""

    name: str
    size_gib: int
    access_modes: tuple[str, ...]
    storage_class: str | None = None
    phase: str = "Bound"
    stack: str | None = None
    users: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a cluster said of itself; None, or empty, where these credentials may not ask.

    missing_rights: what these credentials may not do, though the stack has to, as `verb resource`.
    namespace: the stack's; None where it is not there.
    owner: the stack that a runner of this name belongs to; None where there is no such runner.
    claim: the one that the settings name, or the stack's own; None where it is not there.
    refusal: why the cluster does not take a privileged pod; None where it does.
    enforcers: DaemonSets that enforce NetworkPolicy; None where nobody can tell.
    pod_ranges: addresses of the nodes' pods.
    most_cpus, most_memory_mib: what the largest node has for pods.
    version: of Kubernetes, as the API server says it; empty where it does not.
    """

    access: Access
    missing_rights: tuple[str, ...] = ()
    namespace: Namespace | None = None
    owner: str | None = None
    storage_classes: tuple[StorageClass, ...] | None = None
    claim: ClaimFound | None = None
    refusal: str | None = None
    enforcers: tuple[str, ...] | None = None
    pod_ranges: tuple[ipaddress.IPv4Network, ...] = ()
    most_cpus: float | None = None
    most_memory_mib: int | None = None
    version: str = ""

    def is_before(self, version: tuple[int, int]) -> bool:
        """Whether its Kubernetes is known to be older than this one."""
        found = plain_version(self.version)
        return found is not None and found[:2] < version


def check_prefix(prefix: str, stack: str) -> None:
    """Raise SettingsError where Kubernetes does not take names and labels with these."""
    if not re.fullmatch(PREFIX, prefix):
        raise SettingsError(
            f"settings.name: is needed, as {shown(prefix)}, with which the stack's objects would begin, is no name for "
            "Kubernetes: choose one of up to 40 lower-case letters, digits and dashes that begins with a letter and "
            "does not end with a dash"
        )
    if not re.fullmatch(LABEL_VALUE, stack):
        raise SettingsError(
            f"the stack's name {shown(stack)} is no label in Kubernetes: make a stack whose name has at most 63 "
            "letters, digits, - . _"
        )


def check_cluster(settings: GkeSettings, facts: Facts, prefix: str, stack: str) -> None:
    """Raise SettingsError, with a line for each mistake, where the settings do not fit the cluster."""
    refuse(
        [
            *_rights_mistakes(facts, settings.namespace_for(prefix)),
            *_version_mistakes(settings, facts),
            *_namespace_mistakes(settings, facts, prefix, stack),
            *(_daemon_mistakes(settings, facts, stack) if settings.needs_daemon else ()),
        ]
    )


def _rights_mistakes(facts: Facts, namespace: str) -> Iterator[Mistake]:
    if facts.missing_rights:
        yield Mistake(
            "cluster",
            facts.access.title,
            f"does not let these credentials do in namespace {namespace} what the stack needs: "
            f"{', '.join(facts.missing_rights)}. Have somebody grant it, for example by the role "
            "roles/container.admin in Google Cloud, or by a RoleBinding to ClusterRole admin",
        )


def _version_mistakes(settings: GkeSettings, facts: Facts) -> Iterator[Mistake]:
    if not settings.needs_daemon:
        return
    if settings.prune is not None and facts.is_before(CRON_JOBS):
        yield Mistake(
            "cluster",
            facts.access.title,
            f"runs Kubernetes {facts.version}, which has no CronJob of batch/v1, as prune needs it: upgrade it to "
            f"{written(CRON_JOBS)} or newer, or set prune: null",
        )
    wanted = settings.daemon.claim.access_mode
    # A claim that is there says itself what the cluster knows: one with the feature switched on may be older.
    is_new = facts.claim is None and settings.daemon.existing_claim is None
    if wanted == "ReadWriteOncePod" and is_new and facts.is_before(ONE_POD_CLAIMS):
        yield Mistake(
            "daemon.claim.access_mode",
            wanted,
            f"is not known to Kubernetes {facts.version}: upgrade it to {written(ONE_POD_CLAIMS)} or newer, or use "
            "ReadWriteOnce",
        )


def _namespace_mistakes(settings: GkeSettings, facts: Facts, prefix: str, stack: str) -> Iterator[Mistake]:
    name, found = settings.namespace_for(prefix), facts.namespace
    if found is None:
        if not settings.create_namespace and "get namespaces" not in facts.missing_rights:
            yield Mistake("namespace", name, "is not there: create it, or set create_namespace: true")
    elif found.is_ending:
        yield Mistake("namespace", name, "is being deleted: wait until it is gone (kubectl get namespaces)")
    elif settings.create_namespace:
        if not kubernetes_labels(prefix, stack, "namespace").items() <= found.labels.items():
            yield Mistake(
                "namespace",
                name,
                "is there already and belongs to something else: choose another, or set create_namespace: false to "
                "live in it",
            )
    elif settings.needs_daemon and found.labels.get(PRIVILEGED) in ("baseline", "restricted"):
        yield Mistake(
            "namespace",
            name,
            f"refuses privileged pods ({PRIVILEGED}={found.labels[PRIVILEGED]}), and the daemon is one: run "
            f"kubectl label --overwrite namespace {name} {PRIVILEGED}=privileged, or choose another",
        )
    if facts.owner not in (None, stack):
        yield Mistake("name", prefix, f"is taken in namespace {name} by stack {facts.owner}: choose another")


def _daemon_mistakes(settings: GkeSettings, facts: Facts, stack: str) -> Iterator[Mistake]:
    if facts.refusal is not None:
        yield _refusal(facts, facts.refusal)
    for addresses in facts.pod_ranges:
        if settings.daemon.subnet.overlaps(addresses):
            yield Mistake(
                "daemon.subnet",
                str(settings.daemon.subnet),
                f"overlaps {addresses}, where the cluster's pods are, which the daemon would then not reach: choose "
                "another",
            )
            break
    yield from (
        _existing_claim_mistakes(settings, facts)
        if settings.daemon.existing_claim
        else _claim_mistakes(settings.daemon.claim, facts, stack)
    )


def _refusal(facts: Facts, reason: str) -> Mistake:
    if AUTOPILOT.search(reason):
        return Mistake(
            "cluster",
            facts.access.title,
            "is a GKE Autopilot cluster, which refuses privileged pods, and a Docker daemon needs one: use a Standard "
            "cluster",
        )
    return Mistake(
        "cluster",
        facts.access.title,
        f"refuses a privileged pod, and a Docker daemon needs one ({reason}): have the stack's namespace "
        "exempted from that policy",
    )


def _existing_claim_mistakes(settings: GkeSettings, facts: Facts) -> Iterator[Mistake]:
    name, claim = settings.daemon.existing_claim, facts.claim
    where = "daemon.existing_claim"
    if claim is None:
        yield Mistake(where, name, f"is not there in namespace {settings.namespace}: create it, or remove the setting")
        return
    if claim.phase == "Lost":
        yield Mistake(where, name, "has lost its volume: use another claim, or remove the setting")
    if not {"ReadWriteOncePod", "ReadWriteOnce"} & set(claim.access_modes):
        yield Mistake(
            where,
            name,
            f"has access mode {', '.join(claim.access_modes)}, and a daemon needs its disk for itself: use a claim "
            "with ReadWriteOncePod or ReadWriteOnce",
        )
    if claim.users:
        yield Mistake(
            where,
            name,
            f"is in use by pod {', '.join(claim.users)}, and two would corrupt it: stop that, or use another",
        )
    if "cache_budget_gib" in settings.daemon.model_fields_set:
        budget = settings.daemon.cache_budget_gib
        if budget * 10 > claim.size_gib * 9:
            yield Mistake(
                "daemon.cache_budget_gib",
                budget,
                f"leaves too little of claim {name} of {claim.size_gib} GiB for images and containers: use "
                f"{cache_budget_gib(claim.size_gib)} or less",
            )


def _claim_mistakes(wanted: Claim, facts: Facts, stack: str) -> Iterator[Mistake]:
    if facts.claim is not None and facts.claim.stack != stack:
        yield Mistake(
            "daemon.claim",
            facts.claim.name,
            "is there already and belongs to something else: name it in daemon.existing_claim to use it, or choose "
            "another name for the stack",
        )
    elif facts.claim is not None:
        yield from _change_mistakes(wanted, facts.claim, facts)
    elif facts.storage_classes is not None:
        yield from _class_mistakes(wanted, facts, facts.storage_classes)


def _class_mistakes(wanted: Claim, facts: Facts, classes: tuple[StorageClass, ...]) -> Iterator[Mistake]:
    chosen = _chosen_class(wanted, facts)
    known = f"use one of {', '.join(sorted(each.name for each in classes))}" if classes else "make one first"
    if chosen is None and wanted.storage_class:
        yield Mistake("daemon.claim.storage_class", wanted.storage_class, f"is no class of the cluster: {known}")
    elif chosen is None:
        yield Mistake("daemon.claim.storage_class", None, f"is needed, as the cluster has no default class: {known}")
    elif wanted.access_mode == "ReadWriteOncePod" and not chosen.is_csi:
        yield Mistake(
            "daemon.claim.access_mode",
            wanted.access_mode,
            f"cannot be had of class {chosen.name}, which no CSI driver serves: use ReadWriteOnce, or another class",
        )


def _change_mistakes(wanted: Claim, found: ClaimFound, facts: Facts) -> Iterator[Mistake]:
    """What cannot be changed on a claim that is there."""
    for where, value, fixed in (
        ("storage_class", wanted.storage_class, found.storage_class),
        ("access_mode", wanted.access_mode, ", ".join(found.access_modes)),
    ):
        if value is not None and value != fixed:
            yield Mistake(
                f"daemon.claim.{where}",
                value,
                f"cannot be had any more, as claim {found.name} is there with {fixed}: keep that, or delete the claim "
                "first (daemon.claim.protect: false, make up, make down)",
            )
    if wanted.size_gib < found.size_gib:
        yield Mistake(
            "daemon.claim.size_gib",
            wanted.size_gib,
            f"is less than the {found.size_gib} GiB that claim {found.name} has, and no claim shrinks: keep "
            f"{found.size_gib}",
        )
    chosen = next((each for each in facts.storage_classes or () if each.name == found.storage_class), None)
    if wanted.size_gib > found.size_gib and chosen is not None and not chosen.can_grow:
        yield Mistake(
            "daemon.claim.size_gib",
            wanted.size_gib,
            f"is more than the {found.size_gib} GiB that claim {found.name} has, and its class {chosen.name} lets no "
            f"claim grow (allowVolumeExpansion): keep {found.size_gib}",
        )


def _chosen_class(wanted: Claim, facts: Facts) -> StorageClass | None:
    for each in facts.storage_classes or ():
        if each.name == wanted.storage_class or (wanted.storage_class is None and each.is_default):
            return each
    return None


def fitted(settings: GkeSettings, facts: Facts) -> GkeSettings:
    """The settings with what they leave open and the cluster decides.

    daemon.claim.access_mode: that of the claim that is there; else ReadWriteOncePod where a CSI driver serves the
    class and Kubernetes knows it, and ReadWriteOnce where not, or nobody can tell. daemon.cache_budget_gib: 60 % of
    the claim.
    """
    daemon, chosen = settings.daemon, _chosen_class(settings.daemon.claim, facts)
    size = daemon.claim.size_gib
    if daemon.existing_claim and facts.claim is not None:
        size = facts.claim.size_gib
    update: dict[str, object] = {}
    if "cache_budget_gib" not in daemon.model_fields_set:
        update["cache_budget_gib"] = cache_budget_gib(size)
    if daemon.claim.access_mode is None:
        takes_one_pod = chosen is not None and chosen.is_csi and not facts.is_before(ONE_POD_CLAIMS)
        mode = "ReadWriteOncePod" if takes_one_pod else "ReadWriteOnce"
        if facts.claim is not None and not daemon.existing_claim:
            # It cannot be changed without losing what is on it.
            mode = facts.claim.access_modes[0]
        update["claim"] = daemon.claim.model_copy(update={"access_mode": mode})
    return settings.model_copy(update={"daemon": daemon.model_copy(update=update)})


def warnings_about_cluster(settings: GkeSettings, facts: Facts) -> Iterator[str]:
    """A line for each thing about the cluster that somebody should know."""
    if not settings.needs_daemon:
        return
    yield from _policy_warnings(settings, facts)
    for name, most in (("cpu_request", facts.most_cpus), ("memory_request_mib", facts.most_memory_mib)):
        wanted = getattr(settings.daemon, name)
        if most is not None and wanted > most:
            yield (
                f"settings.daemon.{name}: {wanted:.10g} is more than any node of {facts.access.title} has for pods "
                f"({most:.10g}): the daemon waits until there is one that has it"
            )


def _policy_warnings(settings: GkeSettings, facts: Facts) -> Iterator[str]:
    if not settings.network.policy or facts.enforcers:
        return
    has_tls = settings.daemon.transport is Transport.TLS
    then = "where only the client's certificate keeps it out" if has_tls else "and is root in the daemon"
    what = "does not say whether it enforces" if facts.enforcers is None else "does not seem to enforce"
    yield (
        f"settings.network.policy: {facts.access.title} {what} NetworkPolicy, without which every pod of the cluster "
        f"reaches the daemon's port, {then}. On GKE, use Dataplane V2, or see "
        "https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy"
    )
