"""What adoption makes of GitLab Runner's keys, by their table. Pure."""

from __future__ import annotations

from components.runner_keys import KEYS, By, Fit

RENAMED = {"pre_clone_script": "pre_get_sources_script", "post_clone_script": "post_get_sources_script"}
"""Names that GitLab Runner 16 and newer do not know any more."""


def _free(table: str, *fits: Fit) -> frozenset[str]:
    """The keys of a table that `extra` alone sets, with one of these fits. `services` are looked at one by one."""
    rows = (key for key in KEYS.values() if key.table == table and key.by is By.NOBODY and key.name != "services")
    return frozenset(key.name for key in rows if key.fit in fits)


def _gone(table: str) -> dict[str, str]:
    """Why the keys of a table are not taken over."""
    lost = (key for key in KEYS.values() if key.table == table and key.fit in (Fit.LOST, Fit.UNSERVED))
    return {key.name: key.needs for key in lost}


def _settings(table: str) -> frozenset[str]:
    """The keys of a table that the settings, or the program, have."""
    rows = (key for key in KEYS.values() if key.table == table)
    return frozenset(key.name for key in rows if key.by is not By.NOBODY or key.name == "services")


DOCKER, KUBERNETES = "runners.docker", "runners.kubernetes"
GLOBAL_EXTRA, RUNNER_EXTRA, DOCKER_EXTRA, KUBERNETES_EXTRA = (
    _free(table, Fit.SAFE, Fit.TRUSTED) for table in ("", "runners", DOCKER, KUBERNETES)
)
"""Carried in `extra` as they are."""
GLOBAL_GONE, RUNNER_GONE, KUBERNETES_GONE = (_gone(table) for table in ("", "runners", KUBERNETES))
RUNNER_SETTINGS, DOCKER_SETTINGS, KUBERNETES_SETTINGS = map(_settings, ("runners", DOCKER, KUBERNETES))
DOCKER_OF_ITS_MACHINE = _free(DOCKER, Fit.HOST)
DOCKER_UNSAFE, KUBERNETES_UNSAFE = _free(DOCKER, Fit.WALL), _free(KUBERNETES, Fit.WALL)

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
