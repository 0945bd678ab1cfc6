"""`.gitlab-ci.yml` to jobs. Pure: text in, a Config out; what is not supported is refused by name.

Keywords and their meaning: https://docs.gitlab.com/ci/yaml/
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from sandbox.ci_rules import RuleError, holds

DEFAULT_STAGES = ("build", "test", "deploy")
_DEFAULT_KEYS = {
    *("image", "services", "before_script", "after_script", "tags", "artifacts", "cache"),
    *("retry", "timeout", "interruptible"),
}
_JOB_KEYS = _DEFAULT_KEYS | {
    *("stage", "variables", "script", "needs", "dependencies", "rules", "when", "allow_failure", "extends"),
}
_GLOBAL_KEYS = {"default", "stages", "variables"}
_OLD_DEFAULTS = ("image", "services", "before_script", "after_script", "cache")
"""Keywords that may also stand at the top of the file instead of below `default`."""

_NOT_HERE = {"include", "spec", "workflow", "pages"}
"""Keywords at the top of the file that are no jobs."""
_ARTIFACT_KEYS = {"paths", "exclude", "name", "expire_in", "when", "untracked", "reports"}
_CACHE_KEYS = {"key", "paths", "untracked", "policy", "when"}
_JOB_WHEN = ("on_success", "on_failure", "always", "never")
_ARTIFACT_WHEN = ("on_success", "on_failure", "always")
_POLICIES = ("pull-push", "pull", "push")
_LONGEST = 10 * 365 * 86400
"""Seconds of the longest duration."""
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 7 * 86400),
    **dict.fromkeys(("mo", "mos", "month", "months"), 30 * 86400),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), 365 * 86400),
}


class CiYamlError(Exception):
    """The file cannot be used; `errors` says all that is wrong with it."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


@dataclass(frozen=True)
class Config:
    """A whole file. stages: in order, with .pre and .post. jobs: by name, as their payload needs them."""

    stages: tuple[str, ...]
    variables: dict[str, str]
    jobs: dict[str, dict[str, Any]]
    warnings: list[str]


@dataclass
class _Reader:
    """Collects what is wrong, with the place where it stands."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def wrong(self, where: str, what: str) -> None:
        self.errors.append(f"{where} {what}")

    def keys(self, where: str, value: Any, allowed: set[str]) -> dict[str, Any]:
        """The mapping that `value` has to be, without the keys that the sandbox does not know."""
        if not isinstance(value, Mapping):
            self.wrong(where, "config should be a hash")
            return {}
        for key in sorted(str(key) for key in value if key not in allowed):
            self.wrong(f"{where}:{key}", "is not supported by the sandbox GitLab: leave it out")
        return {str(key): item for key, item in value.items() if key in allowed}

    def text(self, where: str, value: Any, default: str = "") -> str:
        if value is None:
            return default
        if isinstance(value, str):
            return value
        self.wrong(where, "should be a string")
        return default

    def texts(self, where: str, value: Any) -> list[str]:
        values = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            self.wrong(where, "config should be an array of strings")
            return []
        return list(values)

    def flag(self, where: str, value: Any, default: bool = False) -> bool:
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.wrong(where, "should be a boolean value")
        return default

    def choice(self, where: str, value: Any, allowed: tuple[str, ...]) -> str:
        if value is None or value in allowed:
            return value or allowed[0]
        hint = " (the sandbox GitLab does not support it)" if value in ("manual", "delayed") else ""
        self.wrong(where, f"should be one of: {', '.join(allowed)}{hint}")
        return allowed[0]

    def seconds(self, where: str, value: Any) -> int | None:
        if value is None:
            return None
        try:
            return duration(value)
        except ValueError:
            self.wrong(where, "should be a duration")
            return None

    def script(self, where: str, value: Any) -> list[str]:
        lines = list(_flat(value))
        if all(isinstance(line, str) for line in lines):
            return lines
        self.wrong(where, "config should be a string or a nested array of strings up to 10 levels deep")
        return []

    def variables(self, where: str, value: Any) -> dict[str, str]:
        result = {}
        for name, item in (self.keys(where, value, set(value)) if isinstance(value, Mapping) else {}).items():
            plain = item
            if isinstance(item, Mapping):
                plain = self.keys(f"{where}:{name}", item, {"value", "description", "options"}).get("value", "")
            if not isinstance(plain, str | int | float):
                self.wrong(
                    where, f"config should be a hash of key value pairs, value of {name} can be a string or a number"
                )
                continue
            result[name] = str(plain).lower() if isinstance(plain, bool) else str(plain)
        if value is not None and not isinstance(value, Mapping):
            self.wrong(where, "config should be a hash of key value pairs")
        return result

    def image(self, where: str, value: Any, extra: tuple[str, ...] = ()) -> dict[str, Any] | None:
        if value is None:
            return None
        if isinstance(value, str):
            return {"name": value}
        found = self.keys(where, value, {"name", "entrypoint", "pull_policy", *extra})
        if not isinstance(found.get("name"), str):
            self.wrong(where, "name should be a string")
            return None
        lists = {
            key: self.texts(f"{where}:{key}", found[key])
            for key in found
            if key in ("entrypoint", "command", "pull_policy")
        }
        return {**{key: self.text(f"{where}:{key}", found[key]) for key in found if key not in lists}, **lists}

    def services(self, where: str, value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list | None):
            self.wrong(where, "config should be an array")
            return []
        found = [self.image(where, item, ("alias", "command")) for item in value or []]
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
            key = found.get("key", "default")
            if not isinstance(key, str):
                self.wrong(
                    f"{where}:key", "should be a string: the sandbox GitLab does not support keys made from files"
                )
                continue
            result.append(
                {
                    "key": key,
                    "untracked": self.flag(f"{where}:untracked", found.get("untracked")),
                    "paths": self.texts(f"{where}:paths", found.get("paths")),
                    "policy": self.choice(f"{where}:policy", found.get("policy"), _POLICIES),
                    "when": self.choice(f"{where}:when", found.get("when"), _ARTIFACT_WHEN),
                }
            )
        return result

    def retry(self, where: str, value: Any) -> dict[str, int]:
        found = self.keys(where, value, {"max"}).get("max") if isinstance(value, Mapping) else value
        most = 0 if found is None else found
        if not isinstance(most, int) or not 0 <= most <= 2:
            self.wrong(where, "should be an integer from 0 to 2")
            most = 0
        return {"max": most}

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

    def rules(self, where: str, value: Any) -> list[dict[str, Any]] | None:
        if value is None:
            return None
        result = []
        for number, item in enumerate(_flat(value)):
            here = f"{where}:rules:rule[{number}]"
            found = self.keys(here, item, {"if", "when", "variables", "allow_failure"})
            found = {key: setting for key, setting in found.items() if setting is not None}
            try:
                if "if" in found:
                    holds(self.text(f"{here}:if", found["if"]), {})
            except RuleError as error:
                self.wrong(here, f"if {error}")
            if "when" in found:
                self.choice(f"{here}:when", found["when"], _JOB_WHEN)
            if "allow_failure" in found:
                self.flag(f"{here}:allow_failure", found["allow_failure"])
            result.append({**found, "variables": self.variables(f"{here}:variables", found.get("variables"))})
        return result


def parse(text: str | bytes) -> Config:
    """The whole file. Raises CiYamlError with everything that is wrong with it."""
    try:
        return _parse(yaml.safe_load(text))
    except RecursionError:
        raise CiYamlError(
            ["Invalid configuration format: it is nested too deeply, or an anchor contains itself"]
        ) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        hint = ": `!reference` is not supported by the sandbox GitLab" if "!reference" in str(error) else ""
        raise CiYamlError([f"Invalid configuration format{hint}: {' '.join(str(error).split())}"]) from None


def _parse(raw: Any) -> Config:
    if not isinstance(raw, dict) or not raw:
        raise CiYamlError(
            ["Please provide content of .gitlab-ci.yml" if raw is None else "Invalid configuration format"]
        )
    reader = _Reader()
    for key in sorted(str(key) for key in raw if key in _NOT_HERE):
        remedy = "put the jobs into .gitlab-ci.yml itself" if key == "include" else "leave it out"
        reader.wrong(key, f"is not supported by the sandbox GitLab: {remedy}")
    defaults = reader.keys("default", raw.get("default", {}), _DEFAULT_KEYS)
    defaults = {key: raw[key] for key in _OLD_DEFAULTS if key in raw} | defaults
    stages = (".pre", *(reader.texts("stages", raw.get("stages")) or DEFAULT_STAGES), ".post")
    special = _GLOBAL_KEYS | _NOT_HERE | set(_OLD_DEFAULTS)
    templates = {str(key): value for key, value in raw.items() if key not in special}
    jobs = {
        name: _job(name, _extended(name, templates, reader), defaults, stages, reader)
        for name in templates
        if not name.startswith(".")
    }
    if not jobs:
        reader.wrong("jobs", "config should contain at least one visible job")
    _check_references(jobs, stages, reader)
    config = Config(
        stages=stages,
        variables=reader.variables("variables", raw.get("variables")),
        jobs=jobs,
        warnings=reader.warnings,
    )
    if reader.errors:
        raise CiYamlError(reader.errors)
    return config


def _job(name: str, raw: Any, defaults: Mapping[str, Any], stages: tuple[str, ...], reader: _Reader) -> dict[str, Any]:
    where = f"jobs:{name}"
    own = reader.keys(where, raw, _JOB_KEYS)
    found = dict(defaults) | own
    if "script" not in found:
        reader.wrong(where, "script can't be blank")
    stage = reader.text(f"{where}:stage", found.get("stage"), "test")
    if stage not in stages:
        reader.wrong(f"{name} job:", f"chosen stage {stage} does not exist; available stages are {', '.join(stages)}")
        stage = stages[-1]
    return {
        "name": name,
        "stage": stage,
        "image": reader.image(f"{where}:image", found.get("image")),
        "services": reader.services(f"{where}:services", found.get("services")),
        "variables": reader.variables(f"{where}:variables", found.get("variables")),
        "before_script": reader.script(f"{where}:before_script", found.get("before_script")),
        "script": reader.script(f"{where}:script", found.get("script")),
        "after_script": reader.script(f"{where}:after_script", found.get("after_script")),
        "tags": reader.texts(f"{where}:tags", found.get("tags")),
        "artifacts": reader.artifacts(f"{where}:artifacts", found.get("artifacts")),
        "cache": reader.cache(f"{where}:cache", found.get("cache")),
        "needs": reader.needs(f"{where}:needs", found.get("needs")),
        "dependencies": None if found.get("dependencies") is None else reader.texts(where, found["dependencies"]),
        "rules": reader.rules(where, found.get("rules")),
        "when": reader.choice(f"{where}:when", found.get("when"), _JOB_WHEN),
        "allow_failure": reader.flag(f"{where}:allow_failure", found.get("allow_failure")),
        "retry": reader.retry(f"{where}:retry", found.get("retry")),
        "timeout": reader.seconds(f"{where}:timeout", found.get("timeout")),
    }


def _extended(name: str, templates: Mapping[str, Any], reader: _Reader, seen: tuple[str, ...] = ()) -> Any:
    """The job with what its `extends` names merged below it: mappings key by key, anything else replaced."""
    raw = templates[name]
    if not isinstance(raw, dict) or "extends" not in raw:
        return raw
    result: dict[str, Any] = {}
    for parent in reader.texts(f"jobs:{name}:extends", raw["extends"]):
        if parent not in templates:
            reader.wrong(name, f"unknown keys in `extends` ({parent})")
        elif parent in (*seen, name):
            reader.wrong(name, "circular dependency detected in `extends`")
        else:
            result = _merged(result, _extended(parent, templates, reader, (*seen, name)))
    return _merged(result, {key: value for key, value in raw.items() if key != "extends"})


def _merged(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return copy.deepcopy(over)
    return base | {key: _merged(base.get(key), value) for key, value in over.items()}


def _check_references(jobs: Mapping[str, Mapping[str, Any]], stages: tuple[str, ...], reader: _Reader) -> None:
    """Every job that is needed or depended upon has to be there, and not to run later."""
    for name, job in jobs.items():
        needed = [need["job"] for need in job["needs"] or [] if not need["optional"]]
        for kind, others in (("needs", needed), ("dependencies", job["dependencies"] or [])):
            for other in others:
                if other not in jobs:
                    reader.wrong(f"{name} job:", f"undefined {kind[:-1] if kind == 'needs' else 'dependency'}: {other}")
                elif stages.index(jobs[other]["stage"]) > stages.index(job["stage"]) or other == name:
                    reader.wrong(f"{name} job:", f"{kind} {other} is not defined in current or prior stages")


def _flat(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        return [value]
    return [line for item in value for line in _flat(item)]


def duration(value: Any) -> int:
    """Seconds of a duration as GitLab writes them (`3600`, `20 minutes`, `1h 30m`). Raises ValueError for others."""
    text = str(value).strip().lower()
    text = f"{text} s" if re.fullmatch("[0-9]+", text) else text
    pairs = re.findall(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", text)
    rest = re.sub(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)|,|\band\b|\s", "", text)
    seconds = sum(float(number) * _UNITS.get(unit, 0) for number, unit in pairs)
    if rest or any(unit not in _UNITS for _, unit in pairs) or not 1 <= seconds <= _LONGEST:
        raise ValueError(f"{value!r} is no duration")
    return round(seconds)
