"""Makes settings of target gke from `[runners.kubernetes]`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from components.defaults import CLIENT_IMAGE
from components.job_pods import POLL_SECONDS
from components.kinds import Kind
from components.quantities import amount
from components.transport import CLIENT_CERTS_DIR
from stacks.settings.places import Path
from tools import adopt_keys as keys
from tools.adopt_docker import is_dind, table, variables
from tools.adopt_draft import Draft

_VOLUMES = ("pvc", "config_map", "secret", "empty_dir", "csi", "nfs")


def kind_of(entry: Mapping[str, Any]) -> Kind:
    """Whether the jobs of a runner with executor kubernetes build images, as far as its table shows it."""
    pods = table(entry.get("kubernetes"))
    volumes = [each for mounts in table(pods.get("volumes")).values() if isinstance(mounts, list) for each in mounts]
    has_client = any(str(table(each).get("mount_path", "")).startswith("/certs") for each in volumes)
    # A host_path that is left out is the same as the mount_path.
    paths = [table(each).get("host_path") or table(each).get("mount_path") for each in volumes]
    has_socket = any(str(path).endswith("docker.sock") for path in paths)
    services = pods.get("services")
    has_daemon = any(is_dind(table(each).get("name")) for each in (services if isinstance(services, list) else ()))
    builds = has_client or has_socket or has_daemon or pods.get("privileged") is True
    return Kind.DIND if builds or "DOCKER_HOST" in variables(entry) else Kind.PLAIN


def kubernetes_settings(draft: Draft, entry: Mapping[str, Any], source: Path, runner: Path) -> None:
    """The settings of one runner with executor kubernetes."""
    pods, here, extra = table(entry.get("kubernetes")), (*source, "kubernetes"), (*runner, "extra", "kubernetes")
    _namespace(draft, pods, here)
    for key in ("image", "helper_image"):
        if pods.get(key):
            draft.put((*runner, key), pods[key], (*here, key))
    if "image" in pods and not pods["image"]:
        draft.agreed[(*here, "image")] = f"jobs that name no image get the default, {CLIENT_IMAGE}"
    draft.change((*here, "privileged"), "false: jobs build with the stack's daemon and need no privileges")
    draft.refuse((*here, "service_account"), "jobs have an account of the stack's own, without rights")
    draft.change((*here, "automount_service_account_token"), "false, as jobs have no business with the cluster's API")
    if pods.get("poll_timeout") not in (None, 0, POLL_SECONDS):
        draft.put((*extra, "poll_timeout"), pods["poll_timeout"], (*here, "poll_timeout"))
    for key in ("pod_labels", "pod_annotations"):
        _own_labels(draft, pods, key, here, extra)
    _sizes(draft, pods, here, runner)
    _nodes(draft, pods, here, runner)
    _volumes(draft, pods, here, extra)
    _services(draft, pods, here, extra)
    for key, value in pods.items():
        if not keys.says_something(key, value):
            continue
        if key in keys.KUBERNETES_EXTRA:
            draft.put((*extra, key), value, (*here, key))
        elif key in keys.KUBERNETES_GONE:
            draft.refuse((*here, key), keys.KUBERNETES_GONE[key])
        elif key in keys.KUBERNETES_UNSAFE:
            draft.change(
                (*here, key),
                f"left out, as it can make the wall around a job lower: write it in extra.kubernetes.{key} where jobs "
                "need it",
            )


def _namespace(draft: Draft, pods: Mapping[str, Any], here: Path) -> None:
    name, source = pods.get("namespace"), (*here, "namespace")
    if not name:
        draft.refuse(source, "the stack has a namespace of its own: set namespace to choose one")
        return
    if "namespace" in draft.settings:
        draft.refuse(source, "all jobs of a stack run in its one namespace")
        return
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        draft.refuse(source, "it is no name of a namespace: set namespace")
        return
    draft.put(("namespace",), name, source)
    draft.put(
        ("create_namespace",),
        False,
        None,
        "The namespace is there, and has to allow privileged pods. Remove both lines for one of the stack's own.",
    )


def _own_labels(draft: Draft, pods: Mapping[str, Any], key: str, here: Path, extra: Path) -> None:
    for name, value in table(pods.get(key)).items():
        if name.startswith(("dindrunner.", "app.kubernetes.io/")):
            draft.refuse((*here, key, name), "the stack sets it itself, and tells its pods by it")
        else:
            draft.put((*extra, key, name), value, (*here, key, name))


def _sizes(draft: Draft, pods: Mapping[str, Any], here: Path, runner: Path) -> None:
    for what, kind, setting in (
        ("cpu", "limit", "cpus"),
        ("memory", "limit", "memory_mib"),
        ("cpu", "request", "cpu_request"),
        ("memory", "request", "memory_request_mib"),
    ):
        key = f"{what}_{kind}"
        value, service = pods.get(key), pods.get(f"service_{key}")
        found = amount(value)
        if found is not None and what == "cpu" and round(found, 1) == found > 0:
            draft.put((*runner, setting), found, (*here, key))
        elif found is not None and what == "memory" and found % 2**20 == 0 and found >= 64 * 2**20:
            draft.put((*runner, setting), int(found) // 2**20, (*here, key))
        elif value:
            draft.put((*runner, "extra", "kubernetes", key), value, (*here, key))
        if service and service != value:
            draft.put((*runner, "extra", "kubernetes", f"service_{key}"), service, (*here, f"service_{key}"))


def _nodes(draft: Draft, pods: Mapping[str, Any], here: Path, runner: Path) -> None:
    if pods.get("node_selector"):
        draft.put((*runner, "node_selector"), pods["node_selector"], (*here, "node_selector"))
    for taint, effect in table(pods.get("node_tolerations")).items():
        key, equals, value = taint.partition("=")
        for each in [effect] if effect else ["NoSchedule", "NoExecute"]:
            toleration = {"key": key, **({"value": value} if equals else {}), "effect": each}
            draft.append((*runner, "tolerations"), toleration, (*here, "node_tolerations", taint))


def _volumes(draft: Draft, pods: Mapping[str, Any], here: Path, extra: Path) -> None:
    for kind, mounts in table(pods.get("volumes")).items():
        for index, mount in enumerate(mounts if isinstance(mounts, list) else ()):
            source = (*here, "volumes", kind, index)
            if kind == "host_path":
                draft.change(source, "left out: it hands a job the files, or the Docker socket, of its node")
            elif str(table(mount).get("mount_path", "")).startswith(CLIENT_CERTS_DIR):
                draft.change(source, "jobs of kind dind get the certificates of the stack's own daemon")
            elif kind in _VOLUMES and isinstance(mount, Mapping):
                draft.append((*extra, "volumes", kind), mount, source)


def _services(draft: Draft, pods: Mapping[str, Any], here: Path, extra: Path) -> None:
    services = pods.get("services")
    for index, service in enumerate(services if isinstance(services, list) else ()):
        source = (*here, "services", index)
        if is_dind(table(service).get("name")):
            draft.change(source, "left out: jobs build with the stack's one daemon, which keeps its cache")
        elif isinstance(service, Mapping):
            draft.append((*extra, "services"), service, source)
