"""GitLab Runner as a Deployment, which makes a pod for every job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from ..defaults import JOB_SECONDS, RUNNER_IMAGE
from ..inputs import mapped, recorded, taken
from ..labels import CLIENT, kubernetes_labels, selector
from ..paths import CA_FILE, CONFIG_DIR
from .certificates import encoded
from .names import STAYS, digest, job_account_name, runner_name
from .resources import StackArgs, metadata, requirements

SECRET_DIR = "/run/gitlab-runner"
"""Where the Secret with config.toml is mounted."""

USER = 1000
"""Any user but root: the runner writes only to volumes of its pod."""

CPU_REQUEST, MEMORY_REQUEST_MIB = 0.1, 128
"""What the node reserves for it: a runner waits most of the time."""

START_SECONDS = 600
"""How long scheduling, a new node and pulling the image may take."""

KILL_SECONDS = 60
"""How long the runner may take to delete its jobs' pods, after the jobs' own time."""

HEAR_SECONDS = 30
"""How long a runner may take from its start until it listens to signals."""

DELETE_SECONDS = 120
"""How long the cluster may then take until the pod is gone."""

# The Secret's files are read-only and change in place. The runner reads config.toml every 3 s, and keeps the ID by
# which GitLab tells its pods apart in the same folder. Kubernetes ends a pod with SIGTERM unless the image says
# otherwise, but that would abort the jobs. SIGQUIT lets them finish. When their time is over, SIGTERM makes the
# runner end them in GitLab and delete their pods. A runner that is killed would leave them running.
SCRIPT = f"""\
set -u
umask 077
update() {{
    cmp -s {SECRET_DIR}/config.toml {CONFIG_DIR}/config.toml && return
    cp {SECRET_DIR}/config.toml {CONFIG_DIR}/config.toml.new && mv {CONFIG_DIR}/config.toml.new {CONFIG_DIR}/config.toml
}}
deadline=
drain() {{
    trap '' TERM QUIT INT
    told=$(date +%s)
    deadline=$((told + DRAIN_SECONDS))
}}
trap drain TERM QUIT INT
update || exit 1
gitlab-runner run --config {CONFIG_DIR}/config.toml --working-directory {CONFIG_DIR} &
runner=$!
while kill -0 "$runner" 2>/dev/null; do
    update
    if [ -n "$deadline" ]; then
        now=$(date +%s)
        # Never both at once, of which it hears one.
        [ "$now" -lt "$deadline" ] || {{ kill -TERM "$runner" 2>/dev/null; break; }}
        # More than once, as a runner that is still starting does not hear it.
        [ "$now" -gt $((told + {HEAR_SECONDS})) ] || kill -QUIT "$runner" 2>/dev/null
    fi
    sleep 3 &
    wait "$!"
done
wait "$runner"
"""

JOB_RULES = (
    (["pods"], ["create", "delete", "get", "list", "watch"]),
    (["pods/attach", "pods/exec"], ["create", "delete", "get", "patch"]),
    (["pods/log"], ["get", "list"]),
    (["configmaps", "secrets"], ["create", "delete", "get", "update"]),
    (["services"], ["create", "get"]),
    (["serviceaccounts"], ["get"]),
    (["events"], ["list", "watch"]),
)
"""What GitLab Runner does for its jobs, as its documentation lists it, in the stack's own namespace:
https://docs.gitlab.com/runner/executors/kubernetes/#configure-runner-api-permissions"""


@dataclass(frozen=True, kw_only=True)
class RunnerContainerArgs(StackArgs):
    """Inputs of a RunnerContainer, beyond `StackArgs`.

    image: image with gitlab-runner and a shell. config_toml: its configuration, a secret.
    drain_seconds: how long it may finish its jobs before it is killed.
    daemon: the StatefulSet that its jobs use; None: they use none.
    cpus, memory_mib: limits; None: no limit. metrics_port: of its Prometheus metrics; None: there are none.
    ca_pem: GitLab's CA, where it is none that the system trusts.
    """

    config_toml: pulumi.Input[str]
    image: pulumi.Input[str] = RUNNER_IMAGE
    drain_seconds: int = JOB_SECONDS
    daemon: pulumi.Resource | None = None
    cpus: pulumi.Input[float] | None = None
    memory_mib: pulumi.Input[int] | None = None
    metrics_port: pulumi.Input[int] | None = None
    ca_pem: pulumi.Input[str] | None = None


class RunnerContainer(pulumi.ComponentResource):
    """A Deployment of one runner. Its only rights are to make pods for jobs in its namespace.

    A change of config.toml reaches the runner within two minutes, and touches no job. A change of the pod replaces the
    Deployment: the old runner finishes its jobs first.

    deployment: the Deployment, and deployment_name its name.
    """

    deployment: k8s.apps.v1.Deployment
    deployment_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: RunnerContainerArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(RunnerContainerArgs, args)
        super().__init__("dindrunner:kubernetes:RunnerContainer", name, recorded(args), opts)
        config = k8s.core.v1.Secret(
            f"{name}-config",
            metadata=metadata(args, "runner", f"{runner_name(args.prefix)}-config"),
            data=_files(args),
            opts=pulumi.ResourceOptions(parent=self),
        )
        account = self._account(f"{name}-account", args, runner_name(args.prefix)).metadata.name
        job_account = self._account(f"{name}-job-account", args, job_account_name(args.prefix))
        binding = self._rights(name, args, account)
        self.deployment = k8s.apps.v1.Deployment(
            f"{name}-deployment",
            metadata=metadata(args, "runner", runner_name(args.prefix)),
            spec=k8s.apps.v1.DeploymentSpecArgs(
                replicas=1,
                # Two runners with one token would take the same runner's jobs, and count `concurrent` twice.
                strategy=k8s.apps.v1.DeploymentStrategyArgs(type="Recreate"),
                progress_deadline_seconds=START_SECONDS,
                selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(args.prefix, "runner")),
                template=k8s.core.v1.PodTemplateSpecArgs(
                    metadata=k8s.meta.v1.ObjectMetaArgs(
                        labels={**kubernetes_labels(args.prefix, args.stack, "runner"), **CLIENT},
                        annotations={**STAYS, **_certificate(args.ca_pem)},
                    ),
                    spec=_pod(args, account, config.metadata.name),
                ),
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                # Without its rights, or its jobs' account, it fails at the first job: both have to outlive it.
                depends_on=[binding, job_account],
                # The runner is deleted before the daemon, and finishes its jobs first.
                replace_with=[args.daemon] if args.daemon else None,
                # The provider waits until the jobs have ended when it deletes, but not when it updates in place.
                replace_on_changes=["spec.template"],
                delete_before_replace=True,
                # The engine must not give up before the jobs have ended.
                custom_timeouts=pulumi.CustomTimeouts(
                    create=f"{START_SECONDS}s", delete=f"{args.drain_seconds + KILL_SECONDS + DELETE_SECONDS}s"
                ),
            ),
        )
        self.deployment_name = self.deployment.metadata.name
        self.register_outputs({"deployment_name": self.deployment_name})

    def _account(self, name: str, args: RunnerContainerArgs, account_name: str) -> k8s.core.v1.ServiceAccount:
        return k8s.core.v1.ServiceAccount(
            name,
            metadata=metadata(args, "runner", account_name),
            automount_service_account_token=False,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _rights(self, name: str, args: RunnerContainerArgs, account: pulumi.Output[str]) -> k8s.rbac.v1.RoleBinding:
        role = k8s.rbac.v1.Role(
            f"{name}-role",
            metadata=metadata(args, "runner", runner_name(args.prefix)),
            rules=[
                k8s.rbac.v1.PolicyRuleArgs(api_groups=[""], resources=resources, verbs=verbs)
                for resources, verbs in JOB_RULES
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        return k8s.rbac.v1.RoleBinding(
            f"{name}-role-binding",
            metadata=metadata(args, "runner", runner_name(args.prefix)),
            role_ref=k8s.rbac.v1.RoleRefArgs(
                api_group="rbac.authorization.k8s.io", kind="Role", name=role.metadata.name
            ),
            subjects=[k8s.rbac.v1.SubjectArgs(kind="ServiceAccount", name=account, namespace=args.namespace)],
            opts=pulumi.ResourceOptions(parent=self),
        )


def _certificate(ca_pem: pulumi.Input[str] | None) -> dict[str, pulumi.Input[str]]:
    """A file that is mounted alone does not change under a running pod."""
    return {"dindrunner.ca": mapped(ca_pem, digest)} if ca_pem is not None else {}


def _files(args: RunnerContainerArgs) -> dict[str, pulumi.Input[str]]:
    files: dict[str, pulumi.Input[str]] = {
        "config.toml": pulumi.Output.secret(args.config_toml).apply(encoded),
    }
    if args.ca_pem is not None:
        files["gitlab-ca.pem"] = mapped(args.ca_pem, encoded)
    return files


def _pod(args: RunnerContainerArgs, account: pulumi.Input[str], config: pulumi.Input[str]) -> k8s.core.v1.PodSpecArgs:
    return k8s.core.v1.PodSpecArgs(
        service_account_name=account,
        automount_service_account_token=True,
        enable_service_links=False,
        termination_grace_period_seconds=args.drain_seconds + KILL_SECONDS,
        security_context=k8s.core.v1.PodSecurityContextArgs(
            run_as_non_root=True,
            run_as_user=USER,
            run_as_group=USER,
            fs_group=USER,
            seccomp_profile=k8s.core.v1.SeccompProfileArgs(type="RuntimeDefault"),
        ),
        affinity=_away_from_daemon(args.prefix),
        containers=[
            k8s.core.v1.ContainerArgs(
                name="runner",
                image=args.image,
                command=["sh", "-c", SCRIPT],
                env=[
                    k8s.core.v1.EnvVarArgs(name="HOME", value=CONFIG_DIR),
                    k8s.core.v1.EnvVarArgs(name="DRAIN_SECONDS", value=str(args.drain_seconds)),
                ],
                ports=[k8s.core.v1.ContainerPortArgs(name="metrics", container_port=args.metrics_port)]
                if args.metrics_port
                else None,
                security_context=k8s.core.v1.SecurityContextArgs(
                    allow_privilege_escalation=False,
                    read_only_root_filesystem=True,
                    capabilities=k8s.core.v1.CapabilitiesArgs(drop=["ALL"]),
                ),
                resources=requirements(CPU_REQUEST, MEMORY_REQUEST_MIB, args.cpus, args.memory_mib),
                volume_mounts=_mounts(args),
            )
        ],
        volumes=[
            k8s.core.v1.VolumeArgs(
                name="config", secret=k8s.core.v1.SecretVolumeSourceArgs(secret_name=config, default_mode=0o440)
            ),
            k8s.core.v1.VolumeArgs(name="state", empty_dir=k8s.core.v1.EmptyDirVolumeSourceArgs()),
            k8s.core.v1.VolumeArgs(name="tmp", empty_dir=k8s.core.v1.EmptyDirVolumeSourceArgs()),
        ],
    )


def _mounts(args: RunnerContainerArgs) -> Sequence[k8s.core.v1.VolumeMountArgs]:
    mounts = [
        k8s.core.v1.VolumeMountArgs(name="config", mount_path=SECRET_DIR, read_only=True),
        k8s.core.v1.VolumeMountArgs(name="state", mount_path=CONFIG_DIR),
        k8s.core.v1.VolumeMountArgs(name="tmp", mount_path="/tmp"),
    ]
    if args.ca_pem is not None:
        ca = k8s.core.v1.VolumeMountArgs(name="config", mount_path=CA_FILE, sub_path="gitlab-ca.pem", read_only=True)
        mounts.append(ca)
    return mounts


def _away_from_daemon(prefix: str) -> k8s.core.v1.AffinityArgs:
    """On another node, if there is one: a job that breaks out of the daemon does not find the runner's rights there."""
    return k8s.core.v1.AffinityArgs(
        pod_anti_affinity=k8s.core.v1.PodAntiAffinityArgs(
            preferred_during_scheduling_ignored_during_execution=[
                k8s.core.v1.WeightedPodAffinityTermArgs(
                    weight=100,
                    pod_affinity_term=k8s.core.v1.PodAffinityTermArgs(
                        label_selector=k8s.meta.v1.LabelSelectorArgs(match_labels=selector(prefix, "daemon")),
                        topology_key="kubernetes.io/hostname",
                    ),
                )
            ]
        )
    )
