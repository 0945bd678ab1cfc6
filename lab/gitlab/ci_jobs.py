"""The jobs of a pipeline: those of `.gitlab-ci.yml` that its rules let through, with variables expanded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.gitlab import ci_environments, ci_yaml, variables
from lab.gitlab.ci_reader import CiYamlError, duration
from lab.gitlab.ci_rules import Facts, RuleError, matching_rule
from lab.gitlab.core import Sandbox
from lab.gitlab.repository import NULL_SHA, GitError, Repository
from lab.gitlab.store import Row

MOST_JOBS = 500
"""As a free group on gitlab.com may have in a pipeline."""

CONFIG_FILE = ".gitlab-ci.yml"


class NoPipeline(Exception):
    """There is nothing to run; `messages` says why, as GitLab does."""

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


@dataclass(frozen=True)
class Commit:
    """A project's commit."""

    sandbox: Sandbox
    project: Row
    sha: str

    @property
    def repository(self) -> Repository:
        return self.sandbox.repository(self.project["id"])

    def read(self, file: str) -> bytes | None:
        """A file's content, None where there is none."""
        return self.repository.read(self.sha, file)


def configured(commit: Commit) -> ci_yaml.Config:
    """What a commit's `.gitlab-ci.yml` says. Raises NoPipeline."""
    text = commit.read(CONFIG_FILE)
    if text is None:
        raise NoPipeline("Missing CI config file")
    try:
        return ci_yaml.parse(text, commit.read)
    except CiYamlError as error:
        raise NoPipeline(*error.errors) from None


def specified(commit: Commit, config: ci_yaml.Config, pipeline: Row) -> list[dict[str, Any]]:
    """The jobs of a pipeline that is about to be made. Raises NoPipeline."""
    if len(config.jobs) > MOST_JOBS:
        raise NoPipeline(f"The number of jobs has exceeded the limit of {MOST_JOBS}.")
    asked = _Asked(commit, pipeline)
    workflow = _rule("workflow", config.workflow, asked.facts(config.variables))
    if workflow is None:
        raise NoPipeline("Pipeline filtered out by workflow rules.")
    common = config.variables | dict(workflow.get("variables", {}))
    jobs = [made for spec in config.jobs.values() if (made := _made(asked, common, spec))]
    if not jobs:
        raise NoPipeline(
            "Pipeline will not run for the selected trigger. "
            "The rules configuration prevented any jobs from being added to the pipeline."
        )
    _check_needs(jobs)
    return jobs


class _Asked:
    """What all jobs of a pipeline ask for, looked up once."""

    def __init__(self, commit: Commit, pipeline: Row) -> None:
        self.known: Callable[[Mapping[str, str]], dict[str, str]]
        self.known = variables.for_rules(commit.sandbox, commit.project, pipeline)
        self.changed = functools.cache(functools.partial(_changed, commit, pipeline))
        self.budget = variables.Budget()

    def facts(self, own: Mapping[str, str]) -> Facts:
        return Facts(self.known(own), self.changed)


def _changed(commit: Commit, pipeline: Row) -> Sequence[str] | None:
    base = (pipeline["merge_request"] or {}).get("base_sha") or pipeline["before_sha"]
    try:
        # New branches, tags, schedules and what is started by hand have nothing to compare with.
        return None if base == NULL_SHA else commit.repository.changed_files(base, pipeline["sha"])
    except GitError:
        return None


def _rule(name: str, rules: Sequence[Mapping[str, Any]] | None, facts: Facts) -> Mapping[str, Any] | None:
    try:
        return matching_rule(rules, facts)
    except RuleError as error:
        raise NoPipeline(f"Failed to parse rule for {name}: {error}") from None


def _made(asked: _Asked, common: Mapping[str, str], spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """A job as its rules want it, None where they leave it out."""
    own = {**common, **spec["variables"]}
    rule = _rule(spec["name"], spec["rules"], asked.facts(own))
    when = spec["when"] if rule is None else rule.get("when", spec["when"])
    if rule is None or when == "never":
        return None
    own |= rule.get("variables", {})
    known = asked.known(own)
    known |= {"CI_JOB_NAME": spec["name"], "CI_JOB_STAGE": spec["stage"]}
    allow_failure = rule.get("allow_failure", spec["allow_failure"])
    if allow_failure is None:
        allow_failure = when == "manual" and spec["rules"] is None
    try:
        environment = spec["environment"] and _environment(spec["environment"], known, asked.budget)
        if environment:
            known |= {"CI_ENVIRONMENT_NAME": environment["name"], "CI_ENVIRONMENT_SLUG": environment["slug"]}
        return {
            **spec,
            "when": when,
            "allow_failure": allow_failure,
            "variables": own,
            "tags": [variables.expand(tag, known, asked.budget) for tag in spec["tags"]],
            "environment": environment,
            "resource_group": variables.expand(spec["resource_group"], known, asked.budget),
        }
    except variables.TooLong:
        raise NoPipeline(
            f"jobs:{spec['name']} variables in its tags, environment or resource group become too long: those of a "
            f"pipeline have room for {variables.MOST_EXPANDED} characters, and for {variables.MOST_WITHIN} variables "
            "within each other"
        ) from None


def _environment(wanted: Mapping[str, Any], known: Mapping[str, str], budget: variables.Budget) -> dict[str, Any]:
    """Expanded, but for the URL: a job's own variables may stand in it."""
    name = variables.expand(wanted["name"], known, budget)
    stop_in = variables.expand(wanted["auto_stop_in"] or "", known, budget)
    try:
        seconds = duration(stop_in) if stop_in else None
    except ValueError:
        seconds = None
    return {
        **wanted,
        "name": name,
        "slug": ci_environments.slug(name),
        "auto_stop_in": seconds,
        "tier": wanted["tier"] or ci_environments.tier(name),
    }


def _check_needs(jobs: Sequence[Mapping[str, Any]]) -> None:
    names = {job["name"] for job in jobs}
    for job in jobs:
        for need in job["needs"] or []:
            if need["job"] not in names and not need["optional"]:
                raise NoPipeline(
                    f"'{job['name']}' job needs '{need['job']}' job, "
                    f"but '{need['job']}' does not exist in the pipeline."
                )
