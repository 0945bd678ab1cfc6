"""The keywords of a job in `.gitlab-ci.yml`, read into what a runner and the scheduler need. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.gitlab.ci_reader import Reader, flat
from lab.gitlab.ci_rules import RuleError, holds

JOB_WHEN = ("on_success", "on_failure", "always", "never", "manual")
_ARTIFACT_KEYS = {"paths", "exclude", "name", "expire_in", "when", "untracked", "reports"}
_CACHE_KEYS = {"key", "paths", "untracked", "policy", "when"}
_ARTIFACT_WHEN = ("on_success", "on_failure", "always")
_POLICIES = ("pull-push", "pull", "push")
_EXECUTOR_OPTIONS = {"docker": {"platform", "user"}, "kubernetes": {"user"}}
"""Of images and services, by executor."""
_RETRY_WHEN = (
    *("always", "unknown_failure", "script_failure", "api_failure", "stuck_or_timeout_failure"),
    *("runner_system_failure", "runner_configuration_error", "runner_external_dependency_failure"),
    *("runner_interrupted", "runner_unsupported", "stale_schedule", "job_execution_timeout"),
    *("stuck_pending_with_matching_runners", "stuck_pending_no_matching_runners"),
    *("no_updates_running", "no_updates_canceling", "server_timeout_running", "server_timeout_canceling"),
    *("archived_failure", "unmet_prerequisites", "scheduler_failure", "data_integrity_failure"),
)


class JobReader(Reader):
    """Reads what stands in a job."""

    def image(self, where: str, value: Any, extra: tuple[str, ...] = ()) -> dict[str, Any] | None:
        """An image, or with `extra` keys a service; the executors' own options are still where the file has them."""
        if value is None:
            return None
        if isinstance(value, str):
            return {"name": value}
        found = self.keys(where, value, {"name", "entrypoint", "pull_policy", *_EXECUTOR_OPTIONS, *extra})
        if not isinstance(found.get("name"), str):
            self.wrong(where, "name should be a string")
            return None
        return {key: self._image_option(f"{where}:{key}", key, item) for key, item in found.items()}

    def _image_option(self, where: str, key: str, value: Any) -> Any:
        if key in ("entrypoint", "command", "pull_policy"):
            return self.texts(where, value)
        if key == "variables":
            return self.variables(where, value)
        if key in _EXECUTOR_OPTIONS:
            # A user may be a number.
            options = self.keys(where, value, _EXECUTOR_OPTIONS[key])
            return {name: item if isinstance(item, int) else self.text(where, item) for name, item in options.items()}
        return self.text(where, value)

    def services(self, where: str, value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list | None):
            self.wrong(where, "config should be an array")
            return []
        found = [self.image(where, item, ("alias", "command", "variables")) for item in value or []]
        return [item for item in found if item]

    def artifacts(self, where: str, value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        found = self.keys(where, value, _ARTIFACT_KEYS)
        if "reports" in found:
            self.warnings.append(f"{where}:reports is ignored by the sandbox GitLab")
        result = {
            "name": self.text(f"{where}:name", found.get("name")),
            "untracked": self.flag(f"{where}:untracked", found.get("untracked")),
            "paths": self.texts(f"{where}:paths", found.get("paths")),
            "exclude": self.texts(f"{where}:exclude", found.get("exclude")),
            "when": self.choice(f"{where}:when", found.get("when"), _ARTIFACT_WHEN),
            "expire_in": found.get("expire_in"),
        }
        if result["expire_in"] != "never":
            self.seconds(f"{where}:expire_in", result["expire_in"])
        return result if result["paths"] or result["untracked"] else None

    def cache(self, where: str, value: Any) -> list[dict[str, Any]]:
        result = []
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            found = self.keys(where, item, _CACHE_KEYS)
            result.append(
                {
                    "key": self.text(f"{where}:key", found.get("key"), "default"),
                    "untracked": self.flag(f"{where}:untracked", found.get("untracked")),
                    "paths": self.texts(f"{where}:paths", found.get("paths")),
                    "policy": self.choice(f"{where}:policy", found.get("policy"), _POLICIES),
                    "when": self.choice(f"{where}:when", found.get("when"), _ARTIFACT_WHEN),
                }
            )
        return result

    def retry(self, where: str, value: Any) -> dict[str, Any]:
        """How often at most, and after which failures."""
        found = self.keys(where, value, {"max", "when"}) if isinstance(value, Mapping) else {"max": value}
        most = 0 if found.get("max") is None else found["max"]
        if not isinstance(most, int) or isinstance(most, bool) or not 0 <= most <= 2:
            self.wrong(where, "should be an integer from 0 to 2")
            most = 0
        reasons = self.texts(f"{where}:when", found.get("when")) or ["always"]
        if unknown := [reason for reason in reasons if reason not in _RETRY_WHEN]:
            self.wrong(f"{where}:when", f"is not one of the failures that can be retried: {', '.join(unknown)}")
        return {"max": most, "when": reasons}

    def needs(self, where: str, value: Any) -> list[dict[str, Any]] | None:
        if value is None:
            return None
        if not isinstance(value, list):
            self.wrong(where, "config should be an array")
            return None
        result = []
        for item in value:
            found = {"job": item} if isinstance(item, str) else self.keys(where, item, {"job", "artifacts", "optional"})
            if "job" not in found:
                self.wrong(where, "config should name a job of this pipeline")
                continue
            flags = {name: self.flag(where, found.get(name), name == "artifacts") for name in ("artifacts", "optional")}
            result.append({"job": self.text(where, found["job"]), **flags})
        return result

    def rules(
        self, where: str, value: Any, keys: tuple[str, ...] = ("allow_failure",), when: tuple[str, ...] = JOB_WHEN
    ) -> list[dict[str, Any]] | None:
        """The rules of a job or, with less `when` and no further `keys`, of a workflow."""
        if value is None:
            return None
        result = []
        for number, item in enumerate(flat(value)):
            here = f"{where}:rules:rule[{number}]"
            found = self.keys(here, item, {"if", "changes", "when", "variables", *keys})
            found = {key: setting for key, setting in found.items() if setting is not None}
            try:
                if "if" in found:
                    holds(self.text(f"{here}:if", found["if"]), {})
            except RuleError as error:
                self.wrong(here, f"if {error}")
            if "changes" in found:
                place, paths = f"{here}:changes", found["changes"]
                paths = self.keys(place, paths, {"paths"}).get("paths") if isinstance(paths, Mapping) else paths
                found["changes"] = self.texts(place, paths)
            if "when" in found:
                self.choice(f"{here}:when", found["when"], when)
            if "allow_failure" in found:
                self.flag(f"{here}:allow_failure", found["allow_failure"])
            result.append({**found, "variables": self.variables(f"{here}:variables", found.get("variables"))})
        return result
