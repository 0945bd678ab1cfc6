"""Asks a cluster what it is and has, and what these credentials may do there, before anything is touched."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kubernetes.client.exceptions import ApiException

from components.kubernetes.names import claim_name, runner_name
from components.kubernetes.runner import JOB_RULES
from components.kubernetes.spelling import quantities
from components.labels import STACK, selector
from components.quantities import amount
from stacks.gke.api import Api, NoAnswer, NotKubernetes, message
from stacks.gke.cluster import POLICY_ENFORCERS, Access, ClaimFound, Facts, Namespace, StorageClass
from stacks.gke.credentials import connected
from stacks.gke.settings import GkeSettings
from stacks.settings.mistakes import SettingsError, shown

MANAGED = (
    *(("", kind) for kind in ("configmaps", "persistentvolumeclaims", "secrets", "serviceaccounts", "services")),
    *(("apps", kind) for kind in ("deployments", "statefulsets")),
    ("batch", "cronjobs"),
    ("networking.k8s.io", "networkpolicies"),
    *(("rbac.authorization.k8s.io", kind) for kind in ("rolebindings", "roles")),
)
"""API groups and kinds of the stack's own objects in its namespace."""

MANAGING = ("create", "delete", "get", "list", "patch", "watch")
"""The provider waits for each deletion by watching the kind; without the right to, it waits for ever."""

WATCHED = (("", "pods"), ("apps", "replicasets"))
WATCHING = ("list", "watch")
"""What the provider looks at while it waits for pods."""

_OTHER_REFUSALS = (
    "violates PodSecurity",  # the namespace says so itself
    "pods is forbidden: User",  # asked for apart
    "error looking up service account",  # a new namespace has none yet
    "exceeded quota",  # of which the daemon that is there may have the most
)

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"

T = TypeVar("T")


def ask_cluster(settings: GkeSettings, prefix: str) -> Facts:
    """What the cluster says. Raises SettingsError, with the remedy, where it does not."""
    with connected(settings.cluster) as (access, api):
        where = "settings.cluster.name" if settings.cluster.name else "settings.cluster.context"
        at = f"{where}: {shown(access.title)} ({api.host})"
        try:
            return _facts(settings, prefix, access, api)
        except NoAnswer as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise SettingsError(
                    f"{at} has a certificate that the kubeconfig's CA does not vouch for: get new credentials, for "
                    "example with gcloud container clusters get-credentials"
                ) from None
            raise SettingsError(
                f"{at} does not answer ({error}): check the address, and that this machine reaches it (VPN, "
                "authorized networks of the cluster)"
            ) from None
        except ApiException as error:
            if error.status in (401, 403):
                raise SettingsError(
                    f"{at} does not accept these credentials (status {error.status}): renew them, for example with "
                    "gcloud auth login, or gcloud container clusters get-credentials"
                ) from None
            raise SettingsError(f"{at} does not answer as it should ({message(error)}): check the address") from None
        except NotKubernetes:
            raise SettingsError(f"{at} answers what no API server of Kubernetes does: check the address") from None


def _facts(settings: GkeSettings, prefix: str, access: Access, api: Api) -> Facts:
    # Anybody who is let in may ask this, so that a refusal is one of the credentials.
    _may(api, "", "namespaces", "get", "default")
    name = settings.namespace_for(prefix)
    found = _asked(lambda: api.get(f"/api/v1/namespaces/{name}"))
    namespace = _namespace(found) if found else None
    claim = settings.daemon.existing_claim or claim_name(prefix)
    takes_pods = namespace is None or not namespace.is_ending
    return Facts(
        access=access,
        missing_rights=_missing_rights(settings, name, api),
        namespace=namespace,
        storage_classes=_asked(lambda: _storage_classes(api)),
        owner=_asked(lambda: _owner(api, name, runner_name(prefix))),
        claim=_asked(lambda: _claim(api, name, claim, prefix)),
        refusal=_refusal(api, name if namespace else "default", settings)
        if settings.needs_daemon and takes_pods
        else None,
        enforcers=_asked(lambda: _enforcers(api)),
        version=_asked(lambda: _version(api)) or "",
        **(_asked(lambda: _about_nodes(api)) or {}),
    )


def _missing_rights(settings: GkeSettings, namespace: str, api: Api) -> tuple[str, ...]:
    """What the stack has to do and these credentials may not, as `verb resource`."""
    wanted = [(group, kind, verb) for group, kind in MANAGED for verb in MANAGING]
    wanted += [(group, kind, verb) for group, kind in WATCHED for verb in WATCHING]
    # Nobody can hand out a right that they do not have.
    wanted += [("", kind, verb) for kinds, verbs in JOB_RULES for kind in kinds for verb in verbs]
    wanted += [("", "namespaces", verb) for verb in (MANAGING if settings.create_namespace else ["get"])]
    wanted = list(dict.fromkeys(wanted))

    def may(right: tuple[str, str, str]) -> bool:
        return _may(api, *right, None if right[1] == "namespaces" and settings.create_namespace else namespace)

    with ThreadPoolExecutor(8) as pool:
        allowed = list(pool.map(may, wanted))
    return tuple(
        f"{verb} {kind}{f'.{group}' if group else ''}"
        for (group, kind, verb), yes in zip(wanted, allowed, strict=True)
        if not yes
    )


def _may(api: Api, group: str, kind: str, verb: str, namespace: str | None) -> bool:
    resource, _, subresource = kind.partition("/")
    attributes = {"group": group, "resource": resource, "subresource": subresource, "verb": verb}
    if namespace is not None:
        attributes["namespace"] = namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    try:
        return bool(answer["status"]["allowed"])
    except (LookupError, TypeError):
        raise NotKubernetes from None


def _namespace(found: Any) -> Namespace:
    metadata = found["metadata"]
    return Namespace(labels=metadata.get("labels") or {}, is_ending="deletionTimestamp" in metadata)


def _storage_classes(api: Api) -> tuple[StorageClass, ...]:
    drivers = {each["metadata"]["name"] for each in api.get("/apis/storage.k8s.io/v1/csidrivers")["items"]}
    return tuple(
        StorageClass(
            name=each["metadata"]["name"],
            is_csi=each["provisioner"] in drivers,
            is_default=(each["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true",
            can_grow=bool(each.get("allowVolumeExpansion")),
        )
        for each in api.get("/apis/storage.k8s.io/v1/storageclasses")["items"]
    )


def _owner(api: Api, namespace: str, runner: str) -> str:
    metadata = api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{runner}")["metadata"]
    return str((metadata.get("labels") or {}).get(STACK, "nobody"))


def _claim(api: Api, namespace: str, name: str, prefix: str) -> ClaimFound:
    found = api.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
    pods = (_asked(lambda: api.get(f"/api/v1/namespaces/{namespace}/pods")) or {}).get("items", [])
    spec = found["spec"]
    return ClaimFound(
        name=name,
        size_gib=int(gibibytes(spec["resources"]["requests"]["storage"])),
        access_modes=tuple(spec["accessModes"]),
        storage_class=spec.get("storageClassName"),
        phase=found["status"].get("phase", "Pending"),
        stack=(found["metadata"].get("labels") or {}).get(STACK),
        users=tuple(pod["metadata"]["name"] for pod in pods if _uses(pod, name) and not _is_own(pod, prefix)),
    )


def _uses(pod: Any, claim: str) -> bool:
    claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["spec"].get("volumes", [])]
    return claim in claims and pod["status"].get("phase") not in ("Succeeded", "Failed")


def _is_own(pod: Any, prefix: str) -> bool:
    return bool(selector(prefix, "daemon").items() <= pod["metadata"].get("labels", {}).items())


def _refusal(api: Api, namespace: str, settings: GkeSettings) -> str | None:
    """Why the cluster's admission refuses a privileged pod; Pod Security, which the namespace says itself, apart."""
    daemon = settings.daemon
    container = {
        "name": "dind",
        "image": daemon.image,
        "securityContext": {"privileged": True},
        # A quota of the namespace asks for them.
        "resources": quantities(daemon.cpu_request, daemon.memory_request_mib, daemon.cpus, daemon.memory_mib),
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "dindrunner-check"},
        "spec": {"automountServiceAccountToken": False, "containers": [container]},
    }
    try:
        api.post(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
    except ApiException as error:
        reason = message(error)
        if error.status in (400, 403, 422) and not any(each in reason for each in _OTHER_REFUSALS):
            return reason
    return None


def _enforcers(api: Api) -> tuple[str, ...]:
    names = {each["metadata"]["name"] for each in api.get("/apis/apps/v1/daemonsets")["items"]}
    return tuple(sorted(names & POLICY_ENFORCERS))


def _version(api: Api) -> str:
    """The version of Kubernetes: v1.34.4-gke.1193000. Empty where the API server says something else."""
    found = api.get("/version")
    version = found.get("gitVersion") if isinstance(found, dict) else None
    return version.removeprefix("v") if isinstance(version, str) else ""


def _about_nodes(api: Api) -> dict[str, Any]:
    """The facts that come from the nodes, by name."""
    nodes = api.get("/api/v1/nodes")["items"]
    ranges = {text for node in nodes for text in node["spec"].get("podCIDRs", [])}
    # A node that has just been added has none of it yet.
    free = [node.get("status", {}).get("allocatable", {}) for node in nodes]
    return {
        "pod_ranges": tuple(ipaddress.IPv4Network(text) for text in sorted(ranges) if ":" not in text),
        "most_cpus": max((_amount(each["cpu"]) for each in free if "cpu" in each), default=None),
        "most_memory_mib": max(
            (int(_amount(each["memory"]) / 1024**2) for each in free if "memory" in each), default=None
        ),
    }


def gibibytes(quantity: str) -> float:
    """A quantity of bytes, such as `100Gi` or `5e10`, in GiB."""
    return _amount(quantity) / 1024**3


def _amount(quantity: str) -> float:
    found = amount(quantity)
    assert found is not None, f"the API server knows no quantity {quantity}"
    return found


def _asked(ask: Callable[[], T]) -> T | None:
    """An answer; None where there is no such thing, or these credentials may not ask for it."""
    try:
        return ask()
    except ApiException as error:
        if error.status not in (403, 404):
            raise
        return None
