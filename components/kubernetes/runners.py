"""A namespace with runners, as a whole: network, certificates, daemon, pruner, registrations and runner.

Annotations are not postponed here: the SDK's analyzer has to read them; see `components/runners.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from ..defaults import (
    CLAIM_GIB,
    CLUSTER_DAEMON_SUBNET,
    CLUSTER_MTU,
    PRUNE_SCHEDULE,
    UNUSED_HOURS,
    cache_budget_gib,
)
from ..inputs import recorded, taken
from ..job_pods import JobPods
from ..kinds import Executor, client_environment
from ..labels import CLIENT, kubernetes_labels
from ..runners import RunnersArgs, Whole, declared, runner_ids
from ..specs import DaemonSpec
from ..transport import Transport
from .certificates import DaemonCertificates, DaemonCertificatesArgs
from .daemon import ClaimArgs, DindDaemon, DindDaemonArgs
from .names import STAYS, daemon_name, host_names, job_account_name
from .network import RunnerNetwork, RunnerNetworkArgs
from .pruner import DaemonPruner, DaemonPrunerArgs
from .runner import RunnerContainer, RunnerContainerArgs

METRICS_PORT = 9252


@dataclass(frozen=True, kw_only=True)
class KubernetesRunnersArgs(RunnersArgs):
    """Inputs of KubernetesRunners. The provider has to change Secrets and ConfigMaps in place
    (`enable_secret_mutable`, `enable_config_map_mutable`). Otherwise new content replaces an object that pods use.
    """

    namespace: str | None = None
    """Namespace of everything that is made. Default: the prefix."""
    create_namespace: bool | None = None
    """Whether the namespace is made here. Default: yes. An existing one has to allow privileged pods."""
    policy: bool | None = None
    """Whether a NetworkPolicy keeps all but runner and jobs from the daemon. Default: yes."""
    claim_gib: int | None = None
    """Size of the claim with the layer cache. Default: 100."""
    storage_class: pulumi.Input[str] | None = None
    """Storage class of the claim. Default: the cluster's."""
    access_mode: pulumi.Input[str] | None = None
    """Access mode of the claim: `ReadWriteOnce` (default), or `ReadWriteOncePod` if the class is CSI."""
    existing_claim: str | None = None
    """An existing claim of the namespace to use instead."""
    protect: bool | None = None
    """Whether the claim, and with it its namespace, is protected. Default: yes."""
    prune_schedule: pulumi.Input[str] | None = None
    """When unused images, containers and volumes are removed: cron's five fields, UTC. Default: Sunday at midnight."""
    unused_hours: pulumi.Input[int] | None = None
    """Age in hours from which unused things are removed. Default: 168."""


class KubernetesRunners(pulumi.ComponentResource):
    """Runners of a GitLab on a cluster, whose jobs are pods, and a daemon beside them where jobs build with it."""

    namespace: pulumi.Output[str]
    """The namespace of everything."""
    network_name: pulumi.Output[str] | None
    """The NetworkPolicy."""
    deployment_name: pulumi.Output[str]
    """The runner's Deployment."""
    endpoint: pulumi.Output[str] | None
    """DOCKER_HOST of the daemon, in the namespace."""
    daemon_container_name: pulumi.Output[str] | None
    """The daemon's pod."""
    volume_name: pulumi.Output[str] | None
    """The claim with the layer cache."""
    runner_ids: pulumi.Output[Mapping[str, str]]
    """GitLab's IDs of the runners, by their names."""

    def __init__(self, name: str, args: KubernetesRunnersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        args = taken(KubernetesRunnersArgs, args)
        super().__init__("dindrunner:index:KubernetesRunners", name, recorded(args), opts)
        whole = Whole(
            name=name,
            args=args,
            executor=Executor.KUBERNETES,
            default_subnet=CLUSTER_DAEMON_SUBNET,
            default_mtu=CLUSTER_MTU,
            metrics_address=f":{METRICS_PORT}",
        )
        child = pulumi.ResourceOptions(parent=self)
        network = RunnerNetwork(f"{name}-network", _network_args(whole, args), child)
        certificates = daemon = None
        if whole.needs_daemon:
            certificates = DaemonCertificates(f"{name}-certificates", _certificates_args(whole, args, network), child)
            daemon = DindDaemon(f"{name}-dind", _daemon_args(whole, args, network, certificates), child)
            DaemonPruner(f"{name}-prune", _pruner_args(whole, args, network, daemon, certificates), child)
        registrations = whole.register(child)
        config = whole.config_toml(
            registrations,
            DaemonSpec(transport=Transport.TLS, host=daemon_name(whole.prefix)),
            pods=_job_pods(whole, args, certificates),
        )
        runner_args = RunnerContainerArgs(
            prefix=whole.prefix,
            stack=pulumi.get_stack(),
            namespace=network.namespace,
            image=whole.runner_image,
            config_toml=config,
            drain_seconds=whole.drain_seconds,
            daemon=daemon.stateful_set if daemon else None,
            cpus=args.runner_cpus,
            memory_mib=args.runner_memory_mib,
            metrics_port=METRICS_PORT,
            ca_pem=args.ca_pem,
        )
        runner = RunnerContainer(f"{name}-runner", runner_args, child)
        self.namespace = network.namespace
        self.network_name = network.policy
        self.deployment_name = runner.deployment_name
        self.endpoint = pulumi.Output.from_input(daemon.endpoint) if daemon else None
        self.daemon_container_name = daemon.container_name if daemon else None
        self.volume_name = daemon.volume_name if daemon else None
        self.runner_ids = runner_ids(registrations)
        self.register_outputs(declared(self))


def _namespace(whole: Whole, args: KubernetesRunnersArgs) -> str:
    return args.namespace or whole.prefix


def _network_args(whole: Whole, args: KubernetesRunnersArgs) -> RunnerNetworkArgs:
    return RunnerNetworkArgs(
        prefix=whole.prefix,
        stack=pulumi.get_stack(),
        namespace=_namespace(whole, args),
        create_namespace=args.create_namespace is not False,
        protect=whole.needs_daemon and args.protect is not False,
        port=Transport.TLS.port if whole.needs_daemon else None,
        policy=args.policy is not False,
    )


def _certificates_args(whole: Whole, args: KubernetesRunnersArgs, network: RunnerNetwork) -> DaemonCertificatesArgs:
    return DaemonCertificatesArgs(
        prefix=whole.prefix,
        stack=pulumi.get_stack(),
        namespace=network.namespace,
        names=[*host_names(whole.prefix, _namespace(whole, args)), "localhost"],
    )


def _daemon_args(
    whole: Whole, args: KubernetesRunnersArgs, network: RunnerNetwork, certificates: DaemonCertificates
) -> DindDaemonArgs:
    claim_gib = args.claim_gib or CLAIM_GIB
    claim = ClaimArgs(
        size_gib=claim_gib,
        access_mode="ReadWriteOnce" if args.access_mode is None else args.access_mode,
        storage_class=args.storage_class,
        protect=args.protect is not False,
    )
    return DindDaemonArgs(
        prefix=whole.prefix,
        stack=pulumi.get_stack(),
        namespace=network.namespace,
        image=whole.daemon_image,
        claim=args.existing_claim or claim,
        certificates=certificates,
        # None, because the daemon's pod asks dockerd whether it knows an option for the MTU of its networks.
        daemon_json=whole.daemon_json(networks_mtu=None, cache_budget_gib=cache_budget_gib(claim_gib)),
        network_mtu=args.mtu or CLUSTER_MTU,
        cpus=args.daemon_cpus,
        memory_mib=args.daemon_memory_mib,
    )


def _pruner_args(
    whole: Whole,
    args: KubernetesRunnersArgs,
    network: RunnerNetwork,
    daemon: DindDaemon,
    certificates: DaemonCertificates,
) -> DaemonPrunerArgs:
    return DaemonPrunerArgs(
        prefix=whole.prefix,
        stack=pulumi.get_stack(),
        namespace=network.namespace,
        # The daemon's own image has a client that fits the daemon.
        image=whole.daemon_image,
        environment=dict(client_environment(Transport.TLS, daemon.endpoint)),
        client_secret=certificates.client_secret,
        schedule=PRUNE_SCHEDULE if args.prune_schedule is None else args.prune_schedule,
        unused_hours=UNUSED_HOURS if args.unused_hours is None else args.unused_hours,
    )


def _job_pods(
    whole: Whole, args: KubernetesRunnersArgs, certificates: DaemonCertificates | None
) -> pulumi.Output[JobPods]:
    stack = pulumi.get_stack()
    secret = pulumi.Output.from_input(certificates.client_secret if certificates else None)
    return secret.apply(
        lambda client_secret: JobPods(
            namespace=_namespace(whole, args),
            service_account=job_account_name(whole.prefix),
            client_secret=client_secret,
            labels=kubernetes_labels(whole.prefix, stack, "job"),
            client_labels=CLIENT,
            annotations=STAYS,
        )
    )
