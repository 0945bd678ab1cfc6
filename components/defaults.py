"""The defaults that settings and components share, each with its reason. Pure, and standard library only.

Renovate finds the images here by the rules in renovate.json.
"""

DAEMON_IMAGE = "docker:28.5.2-dind"
"""Docker Official Image, the latest daemon of the 28.x series: it still serves clients down to API 1.24."""

CLIENT_IMAGE = "docker:28.5.2-cli"
"""Docker Official Image with the client, buildx and compose: all that a Docker build needs, and no more to trust."""

RUNNER_IMAGE = "gitlab/gitlab-runner:v19.4.0"
"""GitLab's own image. It should not be newer than the GitLab that it talks to."""

GITLAB_URL = "https://gitlab.com"

REQUEST_CONCURRENCY = 2
"""With 1, GitLab Runner's own default, it warns at every load that a request which GitLab holds open delays others."""

JOB_SECONDS = 3600
"""How long a job may take (GitLab's own default), and how long a stopped runner may finish its jobs."""

READY_SECONDS = 120
"""How long an update waits for the daemon: a small board takes 10 s for certificates."""

CACHE_BUDGET_GIB = 20
"""Some ten images."""

DAEMON_SUBNET = "10.199.0.0/16"
"""Outside Docker's own pools: an inner network that equals one of the host's would cut the jobs off."""

CLUSTER_DAEMON_SUBNET = "172.29.0.0/16"
"""On a cluster: Google takes the networks of nodes and pods from 10.0.0.0/8."""

CLUSTER_MTU = 1400
"""Below the 1460 of a node on Google's default network, with room for what the cluster's network adds."""

CLAIM_GIB = 100

PRUNE_SCHEDULE = "0 0 * * 0"
"""Sunday at midnight, UTC."""

UNUSED_HOURS = 168
"""A week."""


def jobs_at_once(runners: int) -> int:
    """Of all runners together: four, or the number of runners if that is more."""
    return max(4, runners)


def cache_budget_gib(claim_gib: int) -> int:
    """A part of the claim's size: images and the containers of running jobs need room as well."""
    return max(claim_gib * 6 // 10, 1)
