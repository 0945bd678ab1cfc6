"""The Docker-in-Docker daemon as a pod, and the claim with its layer cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from ..defaults import CLAIM_GIB, DAEMON_IMAGE, READY_SECONDS
from ..inputs import mapped, recorded, taken
from ..labels import kubernetes_labels, selector
from ..paths import DOCKER_SOCKET
from ..transport import CERTS_DIR, Transport
from .certificates import DaemonCertificates
from .names import STAYS, claim_name, daemon_name, digest
from .resources import StackArgs, metadata, requirements
from .spelling import memory_quantity

STOP_SECONDS = 60
"""How long the daemon may stop its containers; dockerd itself gives them 15 s."""

START_SECONDS = 600
"""How long scheduling, a new node, its volume and pulling the image may take."""

PROBE_SECONDS = 5

RESTART_SECONDS = 600
"""How long a start may take before the pod is restarted: after a crash, with many layers, it takes minutes."""

# `mtu` in daemon.json is for the first bridge only. For the others dockerd has an option, from version 24 on.
# A privileged container sees the node's own groups where those are of version 2, and dockerd would put what it starts
# beside the pods, out of reach of the pod's limits: https://github.com/kubernetes/kubernetes/issues/119669
SCRIPT = """\
group=$(sed -n 's/^0:://p' /proc/self/cgroup)
case "$group" in
*kubepods*) set -- "--cgroup-parent=${group%/*}" "$@" ;;
esac
if [ -n "${NETWORK_MTU:-}" ] && dockerd --help | grep -q -e --default-network-opt; then
    set -- "--default-network-opt=bridge=com.docker.network.driver.mtu=$NETWORK_MTU" "$@"
fi
exec dockerd-entrypoint.sh "$@"
"""


@dataclass(frozen=True, kw_only=True)
class ClaimArgs:
    """The claim to make. size_gib: in GiB. storage_class: None: the cluster's default. protect: Pulumi's option."""

    size_gib: pulumi.Input[int] = CLAIM_GIB
    access_mode: pulumi.Input[str] = "ReadWriteOnce"
    storage_class: pulumi.Input[str] | None = None
    protect: bool = True


@dataclass(frozen=True, kw_only=True)
class DindDaemonArgs(StackArgs):
    """Inputs of a DindDaemon, beyond `StackArgs`.

    image: image with the interface of the official docker:dind.
    certificates: of the daemon; None: plaintext on port 2375.
    daemon_json: content of /etc/docker/daemon.json; see `components.daemon_json`.
    network_mtu: in bytes, of the networks that jobs make in the daemon; None: Docker's default.
    claim: the claim to make, or the name of one that is there.
    cpu_request, memory_request_mib: what the node reserves. cpus, memory_mib: limits; None: no limit.
    node_selector, tolerations: which nodes it may run on.
    ready_timeout_seconds: how long an update waits for the daemon's answer once its container runs.
    """

    image: pulumi.Input[str] = DAEMON_IMAGE
    claim: ClaimArgs | str = field(default_factory=ClaimArgs)
    certificates: DaemonCertificates | None = None
    daemon_json: pulumi.Input[str] = "{}"
    network_mtu: pulumi.Input[int] | None = None
    cpu_request: pulumi.Input[float] = 1
    memory_request_mib: pulumi.Input[int] = 2048
    cpus: pulumi.Input[float] | None = None
    memory_mib: pulumi.Input[int] | None = None
    node_selector: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    tolerations: Sequence[k8s.core.v1.TolerationArgs] = ()
    ready_timeout_seconds: int = READY_SECONDS


class DindDaemon(pulumi.ComponentResource):
    """A StatefulSet of one dockerd, the only user of its claim (two would corrupt it).

    Any change of the pod replaces the StatefulSet. The old one is deleted first, so that the engine ends the runner
    before it, which finishes its jobs. The claim stays.

    A second pod, if somebody scales, cannot start: a ReadWriteOncePod claim serves one pod, a ReadWriteOnce one serves
    one node, and no node takes two of these pods.

    stateful_set: the StatefulSet, and container_name its pod. endpoint: DOCKER_HOST for pods of the namespace.
    volume_name: name of the claim.
    """

    stateful_set: k8s.apps.v1.StatefulSet
    container_name: pulumi.Output[str]
    endpoint: str
    volume_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: DindDaemonArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(DindDaemonArgs, args)
        super().__init__("dindrunner:kubernetes:DindDaemon", name, recorded(args), opts)
        transport = Transport.TLS if args.certificates else Transport.TCP
        self.endpoint = transport.endpoint(daemon_name(args.prefix))
        self.volume_name = self._claim(name, args)
        config = k8s.core.v1.ConfigMap(
            f"{name}-config",
            metadata=metadata(args, "daemon", daemon_name(args.prefix)),
            data={"daemon.json": args.daemon_json},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.stateful_set = k8s.apps.v1.StatefulSet(
            f"{name}-statefulset",
            metadata=metadata(args, "daemon", daemon_name(args.prefix)),
            spec=k8s.apps.v1.StatefulSetSpecArgs(
                replicas=1,
                service_name=daemon_name(args.prefix),
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(args.prefix, "daemon")),
                template=k8s.core.v1.PodTemplateSpecArgs(
                    metadata=k8s.meta.v1.ObjectMetaArgs(
                        labels=kubernetes_labels(args.prefix, args.stack, "daemon"), annotations=_annotations(args)
                    ),
                    spec=_pod(args, transport, self.volume_name, config.metadata.name),
                ),
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                replace_on_changes=["spec"],
                # Two daemons on one claim corrupt it: the old one is deleted first.
                delete_before_replace=True,
                custom_timeouts=pulumi.CustomTimeouts(
                    create=f"{args.ready_timeout_seconds + START_SECONDS}s", delete=f"{STOP_SECONDS + 240}s"
                ),
            ),
        )
        self.container_name = self.stateful_set.metadata.name.apply(lambda pods: f"{pods}-0")
        self.register_outputs(
            {"endpoint": self.endpoint, "container_name": self.container_name, "volume_name": self.volume_name}
        )

    def _claim(self, name: str, args: DindDaemonArgs) -> pulumi.Output[str]:
        if isinstance(args.claim, str):
            return pulumi.Output.from_input(args.claim)
        claim = k8s.core.v1.PersistentVolumeClaim(
            f"{name}-data",
            # The daemon waits for the claim. The provider must not: some classes bind a claim only to its first pod.
            metadata=metadata(args, "daemon", claim_name(args.prefix), {"pulumi.com/skipAwait": "true"}),
            spec=k8s.core.v1.PersistentVolumeClaimSpecArgs(
                access_modes=[args.claim.access_mode],
                storage_class_name=args.claim.storage_class,
                resources=k8s.core.v1.VolumeResourceRequirementsArgs(
                    requests={"storage": mapped(args.claim.size_gib, lambda gib: memory_quantity(gib * 1024))}
                ),
            ),
            opts=pulumi.ResourceOptions(parent=self, protect=args.claim.protect),
        )
        return claim.metadata.name


def _annotations(args: DindDaemonArgs) -> dict[str, pulumi.Input[str]]:
    """Marks of what the pod has to be replaced for, although its specification does not name it."""
    changes: dict[str, pulumi.Input[str]] = {
        **STAYS,
        "dindrunner.config": mapped(args.daemon_json, digest),
    }
    if args.certificates:
        changes["dindrunner.certificates"] = args.certificates.fingerprint
    return changes


def _pod(
    args: DindDaemonArgs, transport: Transport, claim: pulumi.Input[str], config: pulumi.Input[str]
) -> k8s.core.v1.PodSpecArgs:
    volumes = [
        k8s.core.v1.VolumeArgs(
            name="data", persistent_volume_claim=k8s.core.v1.PersistentVolumeClaimVolumeSourceArgs(claim_name=claim)
        ),
        k8s.core.v1.VolumeArgs(name="config", config_map=k8s.core.v1.ConfigMapVolumeSourceArgs(name=config)),
    ]
    mounts = [
        k8s.core.v1.VolumeMountArgs(name="data", mount_path="/var/lib/docker"),
        # Only the file, because older daemons keep a key of their own beside it.
        k8s.core.v1.VolumeMountArgs(name="config", mount_path="/etc/docker/daemon.json", sub_path="daemon.json"),
    ]
    if args.certificates:
        secret = k8s.core.v1.SecretVolumeSourceArgs(secret_name=args.certificates.server_secret, default_mode=0o400)
        volumes.append(k8s.core.v1.VolumeArgs(name="certificates", secret=secret))
        # If the image's entrypoint finds these and no CA's key, it makes no certificates of its own.
        mounts.append(
            k8s.core.v1.VolumeMountArgs(name="certificates", mount_path=f"{CERTS_DIR}/server", read_only=True)
        )
    return k8s.core.v1.PodSpecArgs(
        # Jobs control the daemon, and through it everything in its pod.
        automount_service_account_token=False,
        enable_service_links=False,
        termination_grace_period_seconds=STOP_SECONDS,
        node_selector=dict(args.node_selector) or None,
        tolerations=list(args.tolerations) or None,
        affinity=_one_a_node(args.prefix),
        containers=[
            k8s.core.v1.ContainerArgs(
                name="dind",
                image=args.image,
                command=["sh", "-c", SCRIPT, "sh"],
                # Given explicitly: else dockerd waits 15 s before it opens a port without TLS, and newer ones refuse.
                args=None if transport is Transport.TLS else ["--tls=false"],
                env=_environment(args, transport),
                ports=[k8s.core.v1.ContainerPortArgs(name="docker", container_port=transport.port or 0)],
                security_context=k8s.core.v1.SecurityContextArgs(privileged=True),
                resources=requirements(args.cpu_request, args.memory_request_mib, args.cpus, args.memory_mib),
                volume_mounts=mounts,
                startup_probe=_probe(failures=-(-max(args.ready_timeout_seconds, RESTART_SECONDS) // PROBE_SECONDS)),
                # No liveness probe: a daemon that is slow under its jobs' load must not be killed for it.
                readiness_probe=_probe(failures=3),
            )
        ],
        volumes=volumes,
    )


def _environment(args: DindDaemonArgs, transport: Transport) -> list[k8s.core.v1.EnvVarArgs]:
    values: dict[str, pulumi.Input[str]] = {"DOCKER_TLS_CERTDIR": CERTS_DIR if transport is Transport.TLS else ""}
    if args.network_mtu is not None:
        values["NETWORK_MTU"] = mapped(args.network_mtu, str)
    return [k8s.core.v1.EnvVarArgs(name=name, value=value) for name, value in values.items()]


def _probe(failures: int) -> k8s.core.v1.ProbeArgs:
    """`docker info` by the daemon's own socket, because the client's key is not in the daemon's pod."""
    command = ["docker", "--host", f"unix://{DOCKER_SOCKET}", "info"]
    return k8s.core.v1.ProbeArgs(
        exec_=k8s.core.v1.ExecActionArgs(command=command),
        period_seconds=PROBE_SECONDS,
        timeout_seconds=10,
        failure_threshold=failures,
    )


def _one_a_node(prefix: str) -> k8s.core.v1.AffinityArgs:
    return k8s.core.v1.AffinityArgs(
        pod_anti_affinity=k8s.core.v1.PodAntiAffinityArgs(
            required_during_scheduling_ignored_during_execution=[
                k8s.core.v1.PodAffinityTermArgs(
                    label_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(prefix, "daemon")),
                    topology_key="kubernetes.io/hostname",
                )
            ]
        )
    )
