"""The keywords of a job in `.gitlab-ci.yml`, read into what a runner and the scheduler need. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.gitlab.ci_reader import Reader, flat
from lab.gitlab.ci_rules import RuleError, holds

JOB_WHEN = ("on_success", "on_failure", "always", "never", "manual")
_ARTIFACT_KEYS = {"paths", "exclude", "name", "expire_in", "when", "untracked", "reports", "expose_as"}
_CACHE_KEYS = {"key", "paths", "untracked", "policy", "when", "unprotect", "fallback_keys"}
_ARTIFACT_WHEN = ("on_success", "on_failure", "always")
_POLICIES = ("pull-push", "pull", "push")
_MOST_KEY_FILES = 2
_MOST_FALLBACK_KEYS = 5
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
        if "expose_as" in found and not found.get("paths"):
            self.wrong(where, "can't be blank: expose_as needs paths")
        self.text(f"{where}:expose_as", found.get("expose_as"))
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
        """The caches; the key of one that is made from files is still {files, prefix}."""
        result = []
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            found = self.keys(where, item, _CACHE_KEYS)
            key = found.get("key", "default")
            others = self.texts(f"{where}:fallback_keys", found.get("fallback_keys"))
            if len(others) > _MOST_FALLBACK_KEYS:
                self.wrong(f"{where}:fallback_keys", f"has too many entries (maximum {_MOST_FALLBACK_KEYS})")
            result.append(
                {
                    "key": key if isinstance(key, str) else self._cache_key(f"{where}:key", key),
                    "untracked": self.flag(f"{where}:untracked", found.get("untracked")),
                    "paths": self.texts(f"{where}:paths", found.get("paths")),
                    "policy": self.choice(f"{where}:policy", found.get("policy"), _POLICIES),
                    "when": self.choice(f"{where}:when", found.get("when"), _ARTIFACT_WHEN),
                    "unprotect": self.flag(f"{where}:unprotect", found.get("unprotect")),
                    "fallback_keys": others,
                }
            )
        return result

    def _cache_key(self, where: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self.wrong(where, "should be a hash, a string or a symbol")
            return {}
        found = self.keys(where, value, {"files", "prefix"})
        files = self.texts(f"{where}:files", found.get("files"))
        if not files:
            self.wrong(f"{where}:files", "config requires at least 1 item")
        elif len(files) > _MOST_KEY_FILES:
            self.wrong(f"{where}:files", f"config has too many items (maximum is {_MOST_KEY_FILES})")
        return {"files": files, "prefix": self.text(f"{where}:prefix", found.get("prefix"))}

    def retry(self, where: str, value: Any) -> dict[str, Any]:
        """How often at most, and after which failures or exit codes."""
        found = self.keys(where, value, {"max", "when", "exit_codes"}) if isinstance(value, Mapping) else {"max": value}
        most = 0 if found.get("max") is None else found["max"]
        if not isinstance(most, int) or isinstance(most, bool) or not 0 <= most <= 2:
            self.wrong(where, "should be an integer from 0 to 2")
            most = 0
        codes = self.exit_codes(f"{where}:exit_codes", found.get("exit_codes"))
        reasons = self.texts(f"{where}:when", found.get("when")) or ([] if codes else ["always"])
        if unknown := [reason for reason in reasons if reason not in _RETRY_WHEN]:
            self.wrong(f"{where}:when", f"is not one of the failures that can be retried: {', '.join(unknown)}")
        return {"max": most, "when": reasons, "exit_codes": codes}

    def exit_codes(self, where: str, value: Any) -> list[int]:
        codes = [] if value is None else value if isinstance(value, list) else [value]
        if all(isinstance(code, int) and not isinstance(code, bool) for code in codes):
            return list(codes)
        self.wrong(where, "should be an integer or an array of integers")
        return []

    def allow_failure(self, where: str, value: Any) -> tuple[bool | None, list[int]]:
        """Whether a job may fail, None where the job does not say, and the exit codes with which alone it may."""
        if isinstance(value, Mapping):
            found = self.keys(where, value, {"exit_codes"})
            if found.get("exit_codes") in (None, []):
                self.wrong(f"{where}:exit_codes", "can't be blank")
            return False, self.exit_codes(f"{where}:exit_codes", found.get("exit_codes"))
        if value is None or isinstance(value, bool):
            return value, []
        self.wrong(where, "should be a boolean value, or a hash with exit_codes")
        return None, []

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
            found = self.keys(here, item, {"if", "changes", "exists", "when", "variables", *keys})
            found = {key: setting for key, setting in found.items() if setting is not None}
            try:
                if "if" in found:
                    holds(self.text(f"{here}:if", found["if"]), {})
            except RuleError as error:
                self.wrong(here, f"if {error}")
            if "changes" in found:
                found["changes"] = self._paths(f"{here}:changes", found["changes"], "compare_to")
            if "exists" in found:
                found["exists"] = self._paths(f"{here}:exists", found["exists"])["paths"]
            if "when" in found:
                self.choice(f"{here}:when", found["when"], when)
            if "allow_failure" in found:
                self.flag(f"{here}:allow_failure", found["allow_failure"])
            result.append({**found, "variables": self.variables(f"{here}:variables", found.get("variables"))})
        return result

    def _paths(self, where: str, value: Any, *further: str) -> dict[str, Any]:
        """A list of paths, or {paths: …} with further texts."""
        found = self.keys(where, value, {"paths", *further}) if isinstance(value, Mapping) else {"paths": value}
        texts = {key: self.text(f"{where}:{key}", found.get(key)) for key in further}
        return {"paths": self.texts(where, found.get("paths")), **texts}
