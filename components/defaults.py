"""The defaults that settings and components share, each with its reason. Pure, and standard library only.

Renovate finds the images here by the rules in renovate.json.
"""

DAEMON_IMAGE = "docker:28.5.2-dind"
"""Docker Official Image, the daemon of the latest 28.x series: clients down to API 1.24 are still served."""

CLIENT_IMAGE = "docker:28.5.2-cli"
"""Docker Official Image with the client, buildx and compose: what a Docker build needs, nothing more to trust."""

RUNNER_IMAGE = "gitlab/gitlab-runner:v19.4.0"
"""GitLab's own image; its version should not be newer than the GitLab it talks to."""

GITLAB_URL = "https://gitlab.com"

REQUEST_CONCURRENCY = 2
"""With one, GitLab Runner's own default, it warns at every load that a request held open by GitLab delays others."""

JOB_SECONDS = 3600
"""How long a job may take, GitLab's own default, and how long a runner that is stopped may finish its jobs."""

READY_SECONDS = 120
"""How long an update waits for the daemon: a small board takes 10 s for certificates."""

CACHE_BUDGET_GIB = 20
"""Some ten images."""

DAEMON_SUBNET = "10.199.0.0/16"
"""Outside Docker's own pools, because an inner network equal to one of the host's cuts the jobs off."""

CLUSTER_DAEMON_SUBNET = "172.29.0.0/16"
"""On a cluster: Google's networks, nodes and pods alike, are cut from 10.0.0.0/8."""

CLUSTER_MTU = 1400
"""Below the 1460 of a node on Google's default network, with room for what the cluster's network adds."""

CLAIM_GIB = 100

PRUNE_SCHEDULE = "0 0 * * 0"
"""Sunday at midnight, UTC."""

UNUSED_HOURS = 168
"""A week."""


def jobs_at_once(runners: int) -> int:
    """Of all runners together: four, or one for each runner where that is more."""
    return max(4, runners)


def cache_budget_gib(claim_gib: int) -> int:
    """Of a claim of this size: images, and containers of running jobs, need room as well."""
    return max(claim_gib * 6 // 10, 1)
