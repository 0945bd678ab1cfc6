"""The policies: what each is called, what it asks for, and what happens to a stack that violates it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from policy import rules, rules_stack
from policy.resources import Resource

MANDATORY = "mandatory"
ADVISORY = "advisory"


@dataclass(frozen=True, kw_only=True)
class ResourcePolicy:
    """A policy for one resource at a time.

    name: by which a configuration sets the level. demand: one sentence. level: the default, MANDATORY or ADVISORY.
    rule: yields a message for each violation.
    """

    name: str
    demand: str
    level: str
    rule: Callable[[Resource], Iterator[str]]


@dataclass(frozen=True, kw_only=True)
class StackPolicy:
    """A policy for a whole stack. rule: yields the resource and a message for each violation."""

    name: str
    demand: str
    level: str
    rule: Callable[[Sequence[Resource]], Iterator[tuple[Resource, str]]]


POLICIES: tuple[ResourcePolicy | StackPolicy, ...] = (
    ResourcePolicy(
        name="plaintext-daemon",
        demand="No Docker daemon takes connections over TCP without TLS.",
        level=MANDATORY,
        rule=rules.plaintext_daemon,
    ),
    ResourcePolicy(
        name="unpinned-image",
        demand="Every image is named by a version or a digest.",
        level=MANDATORY,
        rule=rules.unpinned_image,
    ),
    StackPolicy(
        name="unpinned-job-image",
        demand="So is every image of jobs, also while config.toml is unknown.",
        level=MANDATORY,
        rule=rules_stack.unpinned_job_image,
    ),
    ResourcePolicy(
        name="published-port",
        demand="The daemon is reached on the stack's own network only.",
        level=MANDATORY,
        rule=rules.published_port,
    ),
    StackPolicy(
        name="host-socket",
        demand="Only a runner of kind host-docker is given the host's Docker socket.",
        level=MANDATORY,
        rule=rules_stack.host_socket,
    ),
    StackPolicy(
        name="open-runner",
        demand="A runner with privileged builds takes jobs of protected branches only.",
        level=MANDATORY,
        rule=rules_stack.open_runner,
    ),
    ResourcePolicy(
        name="missing-limit",
        demand="The daemon and the jobs have a limit of memory.",
        # There is no number that fits every machine, so the settings have no default.
        level=ADVISORY,
        rule=rules.missing_limit,
    ),
    StackPolicy(
        name="unprotected-cache",
        demand="The layer cache outlives the stack.",
        # A stack that is only tried out should leave nothing behind.
        level=ADVISORY,
        rule=rules_stack.unprotected_cache,
    ),
    StackPolicy(
        name="unjudged-config",
        demand="What the policies read is known.",
        level=ADVISORY,
        rule=rules_stack.unjudged_config,
    ),
)
"""All of them, those that protect somebody's machine first."""
