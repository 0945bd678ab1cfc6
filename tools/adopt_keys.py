"""The keys of GitLab Runner's config.toml, by what can be done with them. Pure.

Names and meaning: https://docs.gitlab.com/runner/configuration/advanced-configuration/, and for pods
https://docs.gitlab.com/runner/executors/kubernetes/#configuration-settings.
"""

from __future__ import annotations

GLOBAL_EXTRA = frozenset({"log_format", "shutdown_timeout", "connection_max_age", "sentry_dsn", "labels"})
"""Carried in `extra` of the stack as they are."""

GLOBAL_GONE = {
    "user": "the runner runs as the user of its image",
    "session_server": "no port of the runner is published, so no browser would reach its web terminal",
    "experimental": "it is experimental: write it in extra, where it is needed",
    "machine": "there is no autoscaling: the stack has one machine or one cluster",
}

RUNNER_EXTRA = frozenset(
    {
        "output_limit",
        "builds_dir",
        "cache_dir",
        "clone_url",
        "pre_get_sources_script",
        "post_get_sources_script",
        "pre_build_script",
        "post_build_script",
        "shell",
        "custom_build_dir",
        "unhealthy_requests_limit",
        "unhealthy_interval",
        "job_status_final_update_retry_limit",
        "strict_check_interval",
        "prepare_timeout",
        "get_sources_timeout",
        "debug_trace_disabled",
        "safe_directory_checkout",
        "clean_git_config",
        "proxy_exec",
        "artifact",
        "labels",
        "feature_flags",
        "step_runner_image",
    }
)
"""Carried in `extra` of the runner as they are."""

RENAMED = {"pre_clone_script": "pre_get_sources_script", "post_clone_script": "post_get_sources_script"}
"""Names that GitLab Runner 16 and newer do not know any more."""

RUNNER_GONE = {
    "id": "the registration's own note, which nothing reads",
    "token_obtained_at": "the registration's own note, which nothing reads",
    "token_expires_at": "the registration's own note; the stack does not renew a token by itself",
    "tls-cert-file": "the runner's container has no certificate of a client for GitLab",
    "tls-key-file": "the runner's container has no certificate of a client for GitLab",
    "referees": "only executor docker+machine has metrics of its machines",
    "monitoring": "it is experimental: write it in extra, where it is needed",
    "experimental": "it is experimental: write it in extra, where it is needed",
    "use_slot_cgroups": "the cgroups would have to be made on the daemon's machine first",
    "slot_cgroup_template": "the cgroups would have to be made on the daemon's machine first",
    "instance": "executor instance is not supported",
    "ssh": "executor ssh is not supported",
    "parallels": "executor parallels is not supported",
    "virtualbox": "executor virtualbox is not supported",
    "machine": "executor docker+machine is not supported",
    "custom": "executor custom is not supported",
    "autoscaler": "the executors with autoscaling are not supported",
}

RUNNER_SETTINGS = frozenset(
    {
        "name",
        "url",
        "token",
        "executor",
        "limit",
        "request_concurrency",
        "environment",
        "tls-ca-file",
        "cache",
        "docker",
        "kubernetes",
    }
)

SIZES = frozenset({"cpus", "memory", "service_cpus", "service_memory"})

DOCKER_SETTINGS = SIZES | {
    "host",
    "tls_verify",
    "tls_cert_path",
    "image",
    "privileged",
    "services_privileged",
    "allowed_privileged_services",
    "pull_policy",
    "volumes",
    "shm_size",
    "network_mode",
    "helper_image",
    "services",
    "extra_hosts",
}

DOCKER_EXTRA = frozenset(
    {
        "hostname",
        "memory_swap",
        "memory_reservation",
        "cpuset_cpus",
        "cpuset_mems",
        "cpu_shares",
        "service_memory_swap",
        "service_memory_reservation",
        "service_cpuset_cpus",
        "service_cpu_shares",
        "dns",
        "dns_search",
        "disable_entrypoint_overwrite",
        "user",
        "allowed_users",
        "group_add",
        "cap_drop",
        "disable_cache",
        "volume_keep",
        "cache_dir",
        "services_limit",
        "wait_for_services_timeout",
        "allowed_images",
        "allowed_pull_policies",
        "allowed_services",
        "tmpfs",
        "services_tmpfs",
        "sysctls",
        "helper_image_flavor",
        "container_labels",
        "enable_ipv6",
        "ulimit",
        "network_mtu",
        "log_options",
        "mac_address",
    }
)
"""Carried in `extra.docker` as they are: they mean the same in any daemon."""

DOCKER_OF_ITS_MACHINE = frozenset(
    {
        "runtime",
        "gpus",
        "service_gpus",
        "cgroup_parent",
        "service_cgroup_parent",
        "service_slot_cgroup_template",
        "isolation",
        "volumes_from",
        "links",
        "volume_driver",
        "volume_driver_ops",
    }
)
"""They name something that the daemon's machine has, so they mean the same only where the daemon stays the same."""

DOCKER_UNSAFE = frozenset(
    {
        "cap_add",
        "devices",
        "device_cgroup_rules",
        "services_devices",
        "security_opt",
        "services_security_opt",
        "userns_mode",
        "pid_mode",
        "ipcmode",
        "oom_kill_disable",
        "oom_score_adjust",
        "allowed_privileged_images",
    }
)
"""Each makes the wall around a job lower."""

KUBERNETES_SIZES = frozenset(
    f"{owner}{what}_{kind}" for owner in ("", "service_") for what in ("cpu", "memory") for kind in ("limit", "request")
)

KUBERNETES_SETTINGS = KUBERNETES_SIZES | {
    "image",
    "namespace",
    "pull_policy",
    "privileged",
    "service_account",
    "automount_service_account_token",
    "poll_timeout",
    "pod_labels",
    "pod_annotations",
    "helper_image",
    "node_selector",
    "node_tolerations",
    "volumes",
    "services",
}

KUBERNETES_EXTRA = (
    frozenset(
        f"{owner}{what}_{kind}"
        for owner in ("helper_", "pod_")
        for what in ("cpu", "memory")
        for kind in ("limit", "request")
    )
    | frozenset(
        f"{owner}ephemeral_storage_{kind}" for owner in ("", "helper_", "service_") for kind in ("limit", "request")
    )
    | {
        "runtime_class_name",
        "allowed_images",
        "allowed_pull_policies",
        "allowed_services",
        "allowed_users",
        "allowed_groups",
        "affinity",
        "image_pull_secrets",
        "use_service_account_image_pull_secrets",
        "helper_image_flavor",
        "helper_image_autoset_arch_and_os",
        "pod_termination_grace_period_seconds",
        "cleanup_grace_period_seconds",
        "cleanup_resources_timeout",
        "poll_interval",
        "resource_availability_check_max_attempts",
        "retry_limit",
        "retry_backoff_max",
        "retry_limits",
        "scheduler_name",
        "pod_security_context",
        "host_aliases",
        "cap_drop",
        "dns_policy",
        "dns_config",
        "priority_class_name",
        "logs_base_dir",
        "scripts_base_dir",
        "print_pod_warning_events",
        "pod_disruption_budget",
    }
)
"""Carried in `extra.kubernetes` as they are."""

KUBERNETES_UNSAFE = frozenset(
    {
        "allow_privilege_escalation",
        "cap_add",
        "pod_spec",
        "container_lifecycle",
        "init_permissions_container_security_context",
        "build_container_security_context",
        "helper_container_security_context",
        "service_container_security_context",
    }
)
"""Each can make the wall around a job lower."""

KUBERNETES_ACCESS = frozenset({"host", "context", "cert_file", "key_file", "ca_file", "bearer_token"})
"""How a runner outside the cluster gets in."""

KUBERNETES_GONE = {
    "namespace_per_job": "the jobs' pods run in the stack's namespace, where they reach the daemon",
    "autoscaler": "it holds nodes free for pods to come: use the cluster's own autoscaler",
    "suspend_pvc_size": "jobs that are suspended are not supported",
    "suspend_pvc_storage_class": "jobs that are suspended are not supported",
}

ALWAYS_MEANT = frozenset(
    {
        "services_privileged",
        "enabled",
        "safe_directory_checkout",
        "clean_git_config",
        "proxy_exec",
        "allow_privilege_escalation",
        "automount_service_account_token",
        "print_pod_warning_events",
        "pod_disruption_budget",
        "strict_check_interval",
        "services_limit",
        "run_as_non_root",
        "run_as_user",
        "run_as_group",
        "fs_group",
        "DualStack",
        "PathStyle",
        "pod_termination_grace_period_seconds",
        "cleanup_grace_period_seconds",
    }
)
"""Where false, or 0, is something else than nothing at all."""


def says_something(key: str, value: object) -> bool:
    """Whether a value means more than to leave its key out: `gitlab-runner register` writes many that are not."""
    return bool(value) or (key in ALWAYS_MEANT and value in (0, False))
