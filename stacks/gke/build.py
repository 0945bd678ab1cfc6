"""Target `gke`: namespace, daemon, runner and registrations on a Kubernetes cluster."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.job_pods import JobPods
from components.kinds import client_environment
from components.kubernetes import (
    ClaimArgs,
    DaemonCertificates,
    DaemonCertificatesArgs,
    DaemonPruner,
    DaemonPrunerArgs,
    DindDaemon,
    DindDaemonArgs,
    RunnerContainer,
    RunnerContainerArgs,
    RunnerNetwork,
    RunnerNetworkArgs,
)
from components.kubernetes.names import STAYS, daemon_name, host_names, job_account_name
from components.labels import CLIENT, kubernetes_labels
from components.transport import Transport
from stacks.gke.cluster import Facts, warnings_about_cluster
from stacks.gke.settings import GkeDaemon, GkeSettings, Prune, Toleration
from stacks.options import made_by
from stacks.outputs import common_outputs, daemon_output
from stacks.registrations import ca_pem, config_toml, register
from stacks.settings.daemon_file import daemon_file
from stacks.settings.values import is_address
from stacks.stack import Stack, warnings_of


def build(stack: Stack[GkeSettings, Facts]) -> dict[str, Any]:
    """Make the stack's resources.

    Outputs: namespace, network (the NetworkPolicy), service, claim, daemon (None for what the settings leave out), and
    those of `common_outputs`.
    """
    settings, facts = stack.settings, stack.facts
    for warning in [*warnings_of(stack), *warnings_about_cluster(settings, facts)]:
        pulumi.log.warn(warning)
    on_cluster = made_by(_provider(stack))
    network = RunnerNetwork("network", _network_args(stack), on_cluster)
    certificates = daemon = None
    if settings.needs_daemon:
        if settings.daemon.transport is Transport.TLS:
            certificates = DaemonCertificates("certificates", _certificates_args(stack, network), on_cluster)
        daemon = DindDaemon("dind", _daemon_args(stack, network, certificates), on_cluster)
        if settings.prune is not None:
            DaemonPruner("prune", _pruner_args(stack, network, daemon, certificates, settings.prune), on_cluster)
    registrations = register(stack)
    config = config_toml(settings, registrations, _job_pods(stack, certificates), daemon_name(stack.prefix))
    RunnerContainer("runner", _runner_args(stack, network, daemon, config), on_cluster)
    return {
        **common_outputs(stack, registrations),
        "namespace": network.namespace,
        "network": network.policy,
        "service": network.service,
        "claim": daemon.volume_name if daemon else None,
        "daemon": daemon_output(settings, daemon),
    }


def _provider(stack: Stack[GkeSettings, Facts]) -> k8s.Provider:
    access = stack.facts.access
    return k8s.Provider(
        "cluster",
        kubeconfig=access.provider_kubeconfig,
        context=access.context,
        # What a cluster is, even where its address or certificate changes: another one is made everything anew on.
        cluster_identifier=access.title,
        # Otherwise new content of either makes a new object, under the pods that use it.
        enable_secret_mutable=True,
        enable_config_map_mutable=True,
    )


def _network_args(stack: Stack[GkeSettings, Facts]) -> RunnerNetworkArgs:
    settings = stack.settings
    return RunnerNetworkArgs(
        prefix=stack.prefix,
        stack=stack.name,
        namespace=settings.namespace_for(stack.prefix),
        create_namespace=settings.create_namespace,
        protect=settings.needs_daemon and settings.daemon.claim.protect,
        port=settings.daemon.transport.port if settings.needs_daemon else None,
        policy=settings.network.policy,
    )


def _certificates_args(stack: Stack[GkeSettings, Facts], network: RunnerNetwork) -> DaemonCertificatesArgs:
    wanted = stack.settings.daemon.certificate_names or ()
    return DaemonCertificatesArgs(
        prefix=stack.prefix,
        stack=stack.name,
        namespace=network.namespace,
        names=[
            *host_names(stack.prefix, stack.settings.namespace_for(stack.prefix)),
            "localhost",
            *(name for name in wanted if not is_address(name)),
        ],
        addresses=["127.0.0.1", *(name for name in wanted if is_address(name))],
    )


def _daemon_args(
    stack: Stack[GkeSettings, Facts], network: RunnerNetwork, certificates: DaemonCertificates | None
) -> DindDaemonArgs:
    wanted = stack.settings.daemon
    given = {
        "prefix": stack.prefix,
        "stack": stack.name,
        "namespace": network.namespace,
        "claim": wanted.existing_claim or ClaimArgs(**wanted.claim.named_as_in(ClaimArgs)),
        "certificates": certificates,
        "daemon_json": daemon_file(stack.settings, asks_dockerd=True),
        "network_mtu": stack.settings.network.mtu,
        "node_selector": {**wanted.node_selector, **wanted.dedicated_node},
        "tolerations": [_toleration(each) for each in (*wanted.tolerations, *_dedicated(wanted))],
    }
    return DindDaemonArgs(**wanted.named_as_in(DindDaemonArgs) | given)


def _dedicated(daemon: GkeDaemon) -> list[Toleration]:
    return [Toleration(key=key, value=value) for key, value in daemon.dedicated_node.items()]


def _toleration(wanted: Toleration) -> k8s.core.v1.TolerationArgs:
    return k8s.core.v1.TolerationArgs(
        key=wanted.key,
        operator="Exists" if wanted.value is None else "Equal",
        value=wanted.value,
        effect=wanted.effect,
    )


def _pruner_args(
    stack: Stack[GkeSettings, Facts],
    network: RunnerNetwork,
    daemon: DindDaemon,
    certificates: DaemonCertificates | None,
    wanted: Prune,
) -> DaemonPrunerArgs:
    settings = stack.settings
    return DaemonPrunerArgs(
        prefix=stack.prefix,
        stack=stack.name,
        namespace=network.namespace,
        # The daemon's own image has the client that fits it.
        image=settings.daemon.image,
        environment=client_environment(settings.daemon.transport, daemon.endpoint),
        client_secret=certificates.client_secret if certificates else None,
        **wanted.named_as_in(DaemonPrunerArgs),
    )


def _job_pods(stack: Stack[GkeSettings, Facts], certificates: DaemonCertificates | None) -> pulumi.Output[JobPods]:
    secret = pulumi.Output.from_input(certificates.client_secret if certificates else None)
    return secret.apply(
        lambda client_secret: JobPods(
            namespace=stack.settings.namespace_for(stack.prefix),
            service_account=job_account_name(stack.prefix),
            client_secret=client_secret,
            labels=kubernetes_labels(stack.prefix, stack.name, "job"),
            client_labels=CLIENT,
            annotations=STAYS,
        )
    )


def _runner_args(
    stack: Stack[GkeSettings, Facts], network: RunnerNetwork, daemon: DindDaemon | None, config: pulumi.Output[str]
) -> RunnerContainerArgs:
    settings = stack.settings
    return RunnerContainerArgs(
        prefix=stack.prefix,
        stack=stack.name,
        namespace=network.namespace,
        image=settings.runner_image,
        config_toml=config,
        drain_seconds=settings.drain_seconds,
        daemon=daemon.stateful_set if daemon else None,
        cpus=settings.runner_cpus,
        memory_mib=settings.runner_memory_mib,
        metrics_port=int(settings.metrics_address.rpartition(":")[2]) if settings.metrics_address else None,
        ca_pem=ca_pem(settings),
    )
