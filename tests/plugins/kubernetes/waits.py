"""When an object is as it was asked for, and when it is gone; follows the official plugin's await package.

Not waited for, unlike there: Pod, Job, DaemonSet, Ingress, ReplicationController, and the annotation `waitFor`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.plugins.base import PluginError, Values
from tests.plugins.kubernetes.api import ApiError, Cluster
from tests.plugins.kubernetes.objects import annotation, described, is_true, known_text, metadata

DEFAULT_SECONDS = 600.0
CLAIM_SECONDS = 300.0
_POLL_SECONDS = 0.5
_SETTLED_SECONDS = 10.0
_LAST_EVENTS = 5
_SKIP = "pulumi.com/skipAwait"
_SKIPS_DELETE = ("Namespace", "Pod", "ReplicationController", "DaemonSet", "Deployment", "StatefulSet", "Job")

Reason = str | None
"""What an object lacks to be ready; None where it is."""


class NotReady(PluginError):
    """The wait ended first. live: the object as it was last seen."""

    def __init__(self, text: str, live: Values) -> None:
        super().__init__(text)
        self.live = live


class Waiter:
    """Waits on one cluster until `cancelled`."""

    def __init__(self, cluster: Cluster, cancelled: threading.Event) -> None:
        self._cluster = cluster
        self._cancelled = cancelled

    def until_ready(self, live: Values, inputs: Values, timeout: float, *, updating: bool) -> Values:
        """The object once it is ready. timeout: seconds, 0 for the default of its kind. Raises NotReady."""
        if is_true(inputs, _SKIP):
            return live
        limit = seconds(inputs, timeout, CLAIM_SECONDS if live.get("kind") == "PersistentVolumeClaim" else 0)
        lacks = self._readiness(live, updating=updating)
        end = time.monotonic() + limit
        while reason := lacks(live):
            if reason := self._interrupted(end, limit, reason):
                raise NotReady(f"{reason}{self._news(live)}", live)
            live = self._cluster.get(live) or live
        return live

    def not_ready(self, live: Values, inputs: Values) -> Reason:
        """What the object lacks at this moment, as a refresh shows it."""
        if is_true(inputs, _SKIP) or live.get("kind") not in ("Deployment", "StatefulSet"):
            return None
        return self._readiness(live, updating=True)(live)

    def until_gone(self, live: Values, inputs: Values, timeout: float) -> None:
        """Returns once the object is gone; with foreground propagation its pods went before it. Raises NotReady."""
        if is_true(inputs, _SKIP) and live.get("kind") in _SKIPS_DELETE:
            return
        limit = seconds(inputs, timeout)
        end = time.monotonic() + limit
        uid = known_text(live, "uid")
        while (left := self._cluster.get(live)) and uid in ("", known_text(left, "uid")):
            finalizers = ", ".join(metadata(left).get("finalizers") or []) or "none"
            if reason := self._interrupted(end, limit, f"it still exists (finalizers: {finalizers})"):
                raise NotReady(f"{described(left)} is not gone: {reason}{self._news(left)}", left)

    def _interrupted(self, end: float, limit: float, reason: str) -> Reason:
        """Lets some time pass; says so where there is none left."""
        if self._cancelled.wait(_POLL_SECONDS):
            return f"cancelled while {reason}"
        return f"{reason} after {limit:g} s" if time.monotonic() > end else None

    def _readiness(self, live: Values, *, updating: bool) -> Callable[[Values], Reason]:
        match (live.get("apiVersion"), live.get("kind")):
            case ("apps/v1", "Deployment"):
                return deployment_lacks
            case ("apps/v1", "StatefulSet"):
                return stateful_set_lacks
            case ("v1", "PersistentVolumeClaim"):
                first_consumer = not updating and self._binds_at_first_consumer(live)
                return lambda claim: claim_lacks(claim, first_consumer=first_consumer)
            case ("v1", "Service"):
                return self._service_lacks()
            case _:
                return lambda _: None

    def _binds_at_first_consumer(self, claim: Values) -> bool:
        name = (claim.get("spec") or {}).get("storageClassName")
        if not name:
            return False
        storage_class = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
        try:
            found = self._cluster.get(storage_class)
        except ApiError:
            return False
        return bool(found) and (found or {}).get("volumeBindingMode") == "WaitForFirstConsumer"

    def _service_lacks(self) -> Callable[[Values], Reason]:
        """A Service with a selector and an address waits until its endpoints have been ready for a while."""
        seen: dict[str, Any] = {}

        def lacks(service: Values) -> Reason:
            spec = service.get("spec") or {}
            balanced = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress")
            if spec.get("type") == "LoadBalancer" and not balanced:
                return "it has no address of a load balancer"
            if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None" or not spec.get("selector"):
                return None
            endpoints = self._cluster.get({**service, "kind": "Endpoints"})
            if endpoints is None:
                return "it has no Endpoints"
            if known_text(endpoints, "resourceVersion") != seen.get("version"):
                seen.update(version=known_text(endpoints, "resourceVersion"), since=time.monotonic())
            if any(subset.get("notReadyAddresses") for subset in endpoints.get("subsets") or []):
                return "some of its pods are not ready"
            settled = time.monotonic() - seen["since"] >= _SETTLED_SECONDS
            return None if settled else "its Endpoints changed just now"

        return lacks

    def _news(self, obj: Values) -> str:
        """The object's pods and the last events of all that it made, as the end of a text."""
        name, namespace = known_text(obj, "name"), known_text(obj, "namespace")
        if not namespace:
            return ""
        try:
            pods = [each for each in self._cluster.list("v1", "Pod", namespace) if _is_of(each.get("metadata"), name)]
            found = self._cluster.list("v1", "Event", namespace)
        except ApiError as error:
            return f"; its pods and events cannot be read: {error}"
        events = [each for each in found if _is_of(each.get("involvedObject"), name)]
        events.sort(key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime") or ""))
        lines = [*map(_pod_line, pods), *map(_event_line, events[-_LAST_EVENTS:])]
        return "".join(f"\n  {line}" for line in lines)


def seconds(inputs: Values, timeout: float, default: float = 0) -> float:
    """How long to wait: what the resource's options say, else its annotation, else the default."""
    if timeout:
        return timeout
    given = annotation(inputs, "pulumi.com/timeoutSeconds")
    return float(given) if given.isdigit() else default or DEFAULT_SECONDS


def deployment_lacks(live: Values) -> Reason:
    """Like `kubectl rollout status`, and the conditions that the official plugin looks at."""
    status, wanted = live.get("status") or {}, (live.get("spec") or {}).get("replicas", 1)
    if not _is_observed(live):
        return "the Deployment controller has not seen it"
    conditions = {each.get("type"): each for each in status.get("conditions") or []}
    progressing = conditions.get("Progressing") or {}
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if ready < wanted or updated < wanted:
        why = f" ({progressing['message']})" if progressing.get("status") == "False" else ""
        return f"{ready} of {wanted} pods are ready, {updated} are of the newest revision{why}"
    if status.get("replicas", 0) > updated:
        return f"{status['replicas'] - updated} pods of an older revision are left"
    if (conditions.get("Available") or {}).get("status") != "True":
        return "it is not available"
    return None


def stateful_set_lacks(live: Values) -> Reason:
    """Pods of the newest revision, all ready."""
    spec, status = live.get("spec") or {}, live.get("status") or {}
    wanted = spec.get("replicas", 1)
    if not _is_observed(live):
        return "the StatefulSet controller has not seen it"
    ready, present = status.get("readyReplicas", 0), status.get("replicas", 0)
    if ready != wanted or present != wanted:
        return f"{ready} of {wanted} pods are ready, {present} exist"
    by_hand = (spec.get("updateStrategy") or {}).get("type") == "OnDelete" and metadata(live).get("generation", 1) > 1
    current = status.get("currentRevision") and status.get("currentRevision") == status.get("updateRevision")
    if not by_hand and not (current and status.get("currentReplicas", 0) == wanted):
        return "its pods are not all of the newest revision"
    return None


def claim_lacks(live: Values, *, first_consumer: bool) -> Reason:
    """Bound, or waiting for its first pod where its class has it so."""
    phase = (live.get("status") or {}).get("phase")
    if phase == "Bound" or (first_consumer and phase == "Pending"):
        return None
    return f"the claim is {phase or 'new'}, not Bound"


def _is_observed(live: Values) -> bool:
    observed = (live.get("status") or {}).get("observedGeneration", 0)
    return bool(observed >= metadata(live).get("generation", 1))


def _is_of(reference: Values | None, name: str) -> bool:
    found = str((reference or {}).get("name", ""))
    return found == name or found.startswith(f"{name}-")


def _pod_line(pod: Values) -> str:
    phase = "Terminating" if known_text(pod, "deletionTimestamp") else (pod.get("status") or {}).get("phase", "Unknown")
    return f"Pod {known_text(pod, 'name')}: {phase}"


def _event_line(event: Values) -> str:
    about = event.get("involvedObject") or {}
    return f"{about.get('kind')} {about.get('name')}: {event.get('reason')}: {event.get('message')}"
