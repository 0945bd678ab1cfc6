"""`.gitlab-ci.yml` to jobs. Pure: text in, a Config out; what is not supported is refused by name.

Keywords and their meaning: https://docs.gitlab.com/ci/yaml/
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from lab.gitlab import ci_environments
from lab.gitlab.ci_keywords import JOB_WHEN, JobReader
from lab.gitlab.ci_reader import CiYamlError

DEFAULT_STAGES = ("build", "test", "deploy")
_DEFAULT_KEYS = {
    *("image", "services", "before_script", "after_script", "tags", "artifacts", "cache"),
    *("retry", "timeout", "interruptible"),
}
_JOB_KEYS = _DEFAULT_KEYS | {
    *("stage", "variables", "script", "needs", "dependencies", "rules", "when", "allow_failure", "extends"),
    *("environment", "resource_group"),
}
_GLOBAL_KEYS = {"default", "stages", "variables", "workflow"}
_OLD_DEFAULTS = ("image", "services", "before_script", "after_script", "cache")
"""Keywords that may also stand at the top of the file instead of below `default`."""
_FLATTEN = "write out what it means, as `gitlab-ci-local --preview` does"
_NO_JOBS = {"pages": "leave it out", "spec": _FLATTEN}
"""Keywords at the top of the file that are no jobs and not supported, each with its remedy."""
_WORKFLOW_WHEN = ("always", "never")

_MOST_BYTES = 2 * 1024**2
"""Of a file with what it includes, its aliases written out: GitLab's own limit."""
_MOST_JOBS_BYTES = 2 * _MOST_BYTES
"""Of all jobs, each with what it extends, the defaults and the variables that all have."""
_NODE_BYTES = 40
"""Of every list, mapping and text, besides the text itself."""
_MOST_DEPTH = 100
_MOST_INCLUDES = 150
_TOO_BIG = "The parsed YAML is too big"
# Its events tell the size, before anything is made of them.
_EVENTS = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Read = Callable[[str], bytes | None]
"""What reads a file of the project, None where there is none."""


@dataclass(frozen=True)
class Config:
    """A whole configuration.

    merged: as it was written, with what it includes and extends. stages: in order, with .pre and .post.
    workflow: its rules, None without. jobs: by name, variables not expanded.
    """

    merged: dict[str, Any]

    stages: tuple[str, ...]
    variables: dict[str, str]
    workflow: list[dict[str, Any]] | None
    jobs: dict[str, dict[str, Any]]
    warnings: list[str]


@dataclass
class _Limits:
    """What is left of what a configuration may be: a few lines with aliases or `extends` can mean gigabytes."""

    size: int = _MOST_BYTES
    jobs_size: int = _MOST_JOBS_BYTES
    includes: int = _MOST_INCLUDES
    extended: dict[str, Any] = field(default_factory=dict)

    def load(self, text: str | bytes) -> Any:
        """What a file says. Raises CiYamlError where it is too big, RecursionError where it is nested too deeply."""
        self.size -= len(text)
        if self.size >= 0:
            self.size -= _written_out(text, self.size)
        if self.size < 0:
            raise CiYamlError([_TOO_BIG])
        return yaml.safe_load(text)

    def take(self, value: Any) -> None:
        """Count something that a job has. Raises CiYamlError where it is too much."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            self.jobs_size -= _NODE_BYTES + (len(one) if isinstance(one, str) else 0)
            if self.jobs_size < 0:
                raise CiYamlError([_TOO_BIG])
            waiting += [*one, *one.values()] if isinstance(one, Mapping) else one if isinstance(one, list) else []


def _written_out(text: str | bytes, most: int) -> int:
    """The size of a text with its aliases written out, or some size above `most`."""
    anchors: dict[str, int | None] = {}
    sizes: list[int] = [0]
    names: list[str | None] = []
    try:
        for event in yaml.parse(text, Loader=_EVENTS):
            match event:
                case yaml.CollectionStartEvent():
                    names.append(event.anchor)
                    sizes.append(_NODE_BYTES)
                    if event.anchor:
                        anchors[event.anchor] = None
                    if len(names) > _MOST_DEPTH:
                        raise RecursionError
                    continue
                case yaml.CollectionEndEvent():
                    name, size = names.pop(), sizes.pop()
                case yaml.ScalarEvent():
                    name, size = event.anchor, _NODE_BYTES + len(event.value)
                case yaml.AliasEvent():
                    found = anchors.get(event.anchor, 0)
                    if found is None:
                        raise RecursionError
                    name, size = None, found
                case _:
                    continue
            if name:
                anchors[name] = size
            sizes[-1] += size
            if sizes[-1] > most:
                break
    except yaml.YAMLError:
        # Told by what reads it.
        pass
    return max(sizes)


def parse(text: str | bytes, read: Read = lambda _: None) -> Config:
    """The whole configuration, with what it includes. Raises CiYamlError with everything that is wrong with it."""
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        limits = _Limits()
        return _parse(_with_includes(limits.load(plain), read, limits), limits)
    except RecursionError:
        raise CiYamlError(
            ["Invalid configuration format: it is nested too deeply, or an anchor contains itself"]
        ) from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        raise CiYamlError([f"Invalid configuration format: {' '.join(str(error).split())}"]) from None


def _with_includes(content: Any, read: Read, limits: _Limits) -> Any:
    """A file's content with the project's own files that it includes merged below it."""
    if not isinstance(content, dict) or "include" not in content:
        return content
    result: Any = {}
    wanted = content["include"]
    for item in wanted if isinstance(wanted, list) else [wanted]:
        file = item["local"] if isinstance(item, Mapping) and set(item) == {"local"} else item
        if not isinstance(file, str):
            shown = json.dumps(item, default=str)
            raise CiYamlError([f"include: {shown} is not supported by the sandbox GitLab: {_FLATTEN}"])
        limits.includes -= 1
        if limits.includes < 0:
            raise CiYamlError([f"Maximum of {_MOST_INCLUDES} nested includes are allowed!"])
        text = read(file.lstrip("/"))
        if text is None:
            raise CiYamlError([f"Local file `{file.lstrip('/')}` does not exist!"])
        result = _merged(result, _with_includes(limits.load(text), read, limits))
    return _merged(result, {key: value for key, value in content.items() if key != "include"})


def _parse(raw: Any, limits: _Limits) -> Config:
    if not isinstance(raw, dict) or not raw:
        raise CiYamlError(
            ["Please provide content of .gitlab-ci.yml" if raw is None else "Invalid configuration format"]
        )
    reader = JobReader()
    special = _GLOBAL_KEYS | set(_NO_JOBS) | set(_OLD_DEFAULTS)
    templates = {str(key): value for key, value in raw.items() if key not in special}
    extended = {name: _extended(name, templates, reader, limits) for name in templates}
    config = {str(key): value for key, value in raw.items()} | extended
    for key in sorted(set(config) & set(_NO_JOBS)):
        reader.wrong(key, f"is not supported by the sandbox GitLab: {_NO_JOBS[key]}")
    defaults = reader.keys("default", config.get("default", {}), _DEFAULT_KEYS)
    defaults = {key: config[key] for key in _OLD_DEFAULTS if key in config} | defaults
    stages = (".pre", *(reader.texts("stages", config.get("stages")) or DEFAULT_STAGES), ".post")
    workflow = reader.keys("workflow", config.get("workflow") or {}, {"rules"})
    visible = [name for name in templates if not name.startswith(".")]
    for name in visible:
        limits.take([config[name], defaults, config.get("variables")])
    jobs = {name: _job(name, config[name], defaults, stages, reader) for name in visible}
    if not jobs:
        reader.wrong("jobs", "config should contain at least one visible job")
    _check_references(jobs, stages, reader)
    result = Config(
        merged=config,
        stages=stages,
        variables=reader.variables("variables", config.get("variables")),
        workflow=reader.rules("workflow", workflow.get("rules"), keys=(), when=_WORKFLOW_WHEN),
        jobs=jobs,
        warnings=reader.warnings,
    )
    if reader.errors:
        raise CiYamlError(reader.errors)
    return result


def _job(
    name: str, raw: Any, defaults: Mapping[str, Any], stages: tuple[str, ...], reader: JobReader
) -> dict[str, Any]:
    where = f"jobs:{name}"
    own = reader.keys(where, raw, _JOB_KEYS)
    found = dict(defaults) | own
    if "script" not in found:
        reader.wrong(where, "script can't be blank")
    stage = reader.text(f"{where}:stage", found.get("stage"), "test")
    if stage not in stages:
        reader.wrong(f"{name} job:", f"chosen stage {stage} does not exist; available stages are {', '.join(stages)}")
        stage = stages[-1]
    # None: what counts is said by the rule that holds, or follows from `when`.
    allow_failure = found.get("allow_failure")
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
        "when": reader.choice(f"{where}:when", found.get("when"), JOB_WHEN),
        "allow_failure": None if allow_failure is None else reader.flag(f"{where}:allow_failure", allow_failure),
        "retry": reader.retry(f"{where}:retry", found.get("retry")),
        "timeout": reader.seconds(f"{where}:timeout", found.get("timeout")),
        "environment": ci_environments.read(reader, f"{where}:environment", found.get("environment")),
        "resource_group": reader.text(f"{where}:resource_group", found.get("resource_group")),
        "interruptible": reader.flag(f"{where}:interruptible", found.get("interruptible")),
    }


def _extended(
    name: str, templates: Mapping[str, Any], reader: JobReader, limits: _Limits, seen: tuple[str, ...] = ()
) -> Any:
    """The job with what its `extends` names merged below it: mappings key by key, anything else replaced."""
    if name not in limits.extended:
        limits.extended[name] = _extended_anew(name, templates, reader, limits, seen)
    return limits.extended[name]


def _extended_anew(
    name: str, templates: Mapping[str, Any], reader: JobReader, limits: _Limits, seen: tuple[str, ...]
) -> Any:
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
            found = _extended(parent, templates, reader, limits, (*seen, name))
            limits.take(found)
            result = _merged(result, found)
    return _merged(result, {key: value for key, value in raw.items() if key != "extends"})


def _merged(base: Any, over: Any) -> Any:
    """Mappings key by key; anything else is replaced."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return copy.deepcopy(over)
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}


def _check_references(jobs: Mapping[str, Mapping[str, Any]], stages: tuple[str, ...], reader: JobReader) -> None:
    """Every job that is named by another one has to be there, and what is needed not to run later."""
    for name, job in jobs.items():
        needed = [need["job"] for need in job["needs"] or [] if not need["optional"]]
        for kind, others in (("needs", needed), ("dependencies", job["dependencies"] or [])):
            for other in others:
                if other not in jobs:
                    reader.wrong(f"{name} job:", f"undefined {kind[:-1] if kind == 'needs' else 'dependency'}: {other}")
                elif stages.index(jobs[other]["stage"]) > stages.index(job["stage"]) or other == name:
                    reader.wrong(f"{name} job:", f"{kind} {other} is not defined in current or prior stages")
        environment = job["environment"] or {}
        if (other := environment.get("on_stop")) and (problem := _stop_problem(environment, jobs.get(other))):
            reader.wrong(f"{name} job:", f"on_stop job {other} {problem}")


def _stop_problem(started: Mapping[str, Any], stopping: Mapping[str, Any] | None) -> str:
    """Why a job cannot stop the environment that another one starts; nothing where it can."""
    if stopping is None:
        return "is not defined"
    if stopping["environment"] is None:
        return "does not have environment defined"
    if stopping["environment"]["name"] != started["name"]:
        return "have different environment name"
    return "" if stopping["environment"]["action"] == "stop" else "needs to have action stop defined"
