"""Removes unused images, containers, networks and volumes from the daemon, from time to time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from ..defaults import DAEMON_IMAGE, PRUNE_SCHEDULE, UNUSED_HOURS
from ..inputs import mapped, recorded, taken
from ..labels import CLIENT, kubernetes_labels
from ..transport import CLIENT_CERTS_DIR
from .resources import StackArgs, metadata

RUN_SECONDS = 3600
"""How long one run may take, and how late it may start."""

USER = 1000
"""Any user but root: the client writes nothing."""

# Where a NetworkPolicy is enforced, a new pod may have to wait until its address is known everywhere. `--volumes` and a
# filter by age exclude each other, so volumes have a command of their own.
SCRIPT = """\
set -eu
for attempt in $(seq 30); do docker version >/dev/null 2>&1 && break; sleep 2; done
set -x
docker system df
docker system prune --all --force --filter until={unused_hours}h
docker volume prune --force
docker system df
"""


@dataclass(frozen=True, kw_only=True)
class DaemonPrunerArgs(StackArgs):
    """Inputs of a DaemonPruner, beyond `StackArgs`.

    image: image with a shell and the Docker client.
    environment: how the client finds the daemon. client_secret: the Secret with its certificate; None without TLS.
    schedule: five fields as for cron, in UTC. unused_hours: what is older and unused is removed.
    """

    environment: Mapping[str, pulumi.Input[str]]
    image: pulumi.Input[str] = DAEMON_IMAGE
    client_secret: pulumi.Input[str] | None = None
    schedule: pulumi.Input[str] = PRUNE_SCHEDULE
    unused_hours: pulumi.Input[int] = UNUSED_HOURS


class DaemonPruner(pulumi.ComponentResource):
    """A CronJob whose runs never overlap. A failed run is kept with its log: `kubectl get jobs` shows it.

    cron_job: the CronJob, and cron_job_name its name.
    """

    cron_job: k8s.batch.v1.CronJob
    cron_job_name: pulumi.Output[str]

    def __init__(
        self, name: str, args: DaemonPrunerArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(DaemonPrunerArgs, args)
        super().__init__("dindrunner:kubernetes:DaemonPruner", name, recorded(args), opts)
        self.cron_job = k8s.batch.v1.CronJob(
            f"{name}-cronjob",
            metadata=metadata(args, "pruner", f"{args.prefix}-prune"),
            spec=k8s.batch.v1.CronJobSpecArgs(
                schedule=args.schedule,
                time_zone="Etc/UTC",
                concurrency_policy="Forbid",
                starting_deadline_seconds=RUN_SECONDS,
                successful_jobs_history_limit=1,
                failed_jobs_history_limit=3,
                job_template=k8s.batch.v1.JobTemplateSpecArgs(
                    spec=k8s.batch.v1.JobSpecArgs(
                        backoff_limit=1,
                        active_deadline_seconds=RUN_SECONDS,
                        template=k8s.core.v1.PodTemplateSpecArgs(
                            metadata=k8s.meta.v1.ObjectMetaArgs(
                                labels={**kubernetes_labels(args.prefix, args.stack, "pruner"), **CLIENT}
                            ),
                            spec=_pod(args),
                        ),
                    )
                ),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.cron_job_name = self.cron_job.metadata.name
        self.register_outputs({"cron_job_name": self.cron_job_name})


def _pod(args: DaemonPrunerArgs) -> k8s.core.v1.PodSpecArgs:
    secret = args.client_secret
    return k8s.core.v1.PodSpecArgs(
        restart_policy="Never",
        automount_service_account_token=False,
        enable_service_links=False,
        security_context=k8s.core.v1.PodSecurityContextArgs(
            run_as_non_root=True,
            run_as_user=USER,
            seccomp_profile=k8s.core.v1.SeccompProfileArgs(type="RuntimeDefault"),
        ),
        containers=[
            k8s.core.v1.ContainerArgs(
                name="prune",
                image=args.image,
                command=["sh", "-c", mapped(args.unused_hours, lambda hours: SCRIPT.format(unused_hours=hours))],
                env=[k8s.core.v1.EnvVarArgs(name=key, value=value) for key, value in args.environment.items()],
                security_context=k8s.core.v1.SecurityContextArgs(
                    allow_privilege_escalation=False,
                    capabilities=k8s.core.v1.CapabilitiesArgs(drop=["ALL"]),
                ),
                resources=k8s.core.v1.ResourceRequirementsArgs(
                    requests={"cpu": "50m", "memory": "64Mi"}, limits={"memory": "256Mi"}
                ),
                volume_mounts=[
                    k8s.core.v1.VolumeMountArgs(name="certificates", mount_path=CLIENT_CERTS_DIR, read_only=True)
                ]
                if secret is not None
                else None,
            )
        ],
        volumes=[
            k8s.core.v1.VolumeArgs(name="certificates", secret=k8s.core.v1.SecretVolumeSourceArgs(secret_name=secret))
        ]
        if secret is not None
        else None,
    )
