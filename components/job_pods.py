"""The `[runners.kubernetes]` table of config.toml: how GitLab Runner makes a job's pod. Pure.

Keys and their meaning: https://docs.gitlab.com/runner/executors/kubernetes/#configuration-settings
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .kinds import Gifts, needs_daemon
from .specs import RunnerSpec, TolerationSpec
from .transport import CLIENT_CERTS_DIR

POLL_SECONDS = 600
"""How long a job's pod may take to start. GitLab Runner's own 180 s are too few if a node has to be added first."""


@dataclass(frozen=True, kw_only=True)
class JobPods:
    """What is the same for all job pods of a stack.

    namespace: where they run. service_account: their account, which has no rights.
    client_secret: the Secret with the client's certificate; None without TLS.
    labels, annotations: of every pod. client_labels: additional labels of the pods that may reach the daemon.
    """

    namespace: str
    service_account: str
    client_secret: str | None
    labels: Mapping[str, str]
    client_labels: Mapping[str, str]
    annotations: Mapping[str, str]


def kubernetes_table(runner: RunnerSpec, given: Gifts, pods: JobPods) -> dict[str, Any]:
    """The table for one runner; given: what its kind gives its jobs."""
    table: dict[str, Any] = {
        "namespace": pods.namespace,
        "image": runner.image,
        # GitLab Runner before 13.11 knows the plain string only.
        "pull_policy": only_or_all(runner.pull_policy),
        "privileged": runner.privileged,
        "service_account": pods.service_account,
        "automount_service_account_token": False,
        "poll_timeout": POLL_SECONDS,
        "pod_labels": {**pods.labels, **(pods.client_labels if needs_daemon(runner.kind, runner.executor) else {})},
        "pod_annotations": dict(pods.annotations),
        **_resources(runner),
    }
    if runner.helper_image:
        table["helper_image"] = runner.helper_image
    if runner.node_selector:
        table["node_selector"] = dict(runner.node_selector)
    if runner.tolerations:
        table["node_tolerations"] = _tolerations(runner.tolerations)
    if given.client_certificate and pods.client_secret:
        mount = {"name": pods.client_secret, "mount_path": CLIENT_CERTS_DIR, "read_only": True}
        table["volumes"] = {"secret": [mount]}
    return table


def only_or_all(values: Sequence[str]) -> str | list[str]:
    """One value by itself, several as a list."""
    return values[0] if len(values) == 1 else list(values)


def _resources(runner: RunnerSpec) -> dict[str, str]:
    limits = _quantities(runner.cpus, runner.memory_mib)
    requests = _quantities(runner.cpu_request or runner.cpus, runner.memory_request_mib or runner.memory_mib)
    resources: dict[str, str] = {}
    for owner in ("", "service_"):
        # A service has the same limits as the job's container, because a job starts both.
        resources |= {f"{owner}{what}_limit": amount for what, amount in limits.items()}
        resources |= {f"{owner}{what}_request": amount for what, amount in requests.items()}
    return resources


def _quantities(cpus: float | None, memory_mib: int | None) -> dict[str, str]:
    cpu = {"cpu": f"{cpus:g}"} if cpus else {}
    return cpu | ({"memory": f"{memory_mib}Mi"} if memory_mib else {})


def _tolerations(wanted: Sequence[TolerationSpec]) -> dict[str, str]:
    """Effects by taint, as GitLab Runner spells them: no value means any value, an empty effect any effect."""
    found: dict[str, str] = {}
    for each in wanted:
        taint = f"{each.key}={each.value}" if each.value is not None else each.key
        found[taint] = each.effect if found.get(taint, each.effect) == each.effect else ""
    return found
