"""A stack: its settings, checked and complete, and what was asked for it before anything is touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import pulumi

from stacks.settings.combinations import warnings_about_versions
from stacks.settings.common import Common
from stacks.settings.versions import Engine
from stacks.settings.warnings import warnings_about

S_co = TypeVar("S_co", bound=Common, covariant=True)
F_co = TypeVar("F_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Stack(Generic[S_co, F_co]):
    """A stack of one target.

    settings: checked, and complete. facts: what the target's machine or cluster said of itself.
    prefix: of every name that the stack makes; unique on a host, unless the settings choose one.
    gitlab_token: for GitLab's API; None where every runner brings a token of its own.
    gitlab_version: None where GitLab does not say it.
    """

    name: str
    project: str
    prefix: str
    settings: S_co
    facts: F_co
    gitlab_token: pulumi.Output[str] | None = None
    gitlab_version: str | None = None


def warnings_of(stack: Stack[Common, object], engine: Engine | None = None) -> Iterator[str]:
    """What a preview of a stack of any target should say aloud. engine: of the machine, where it says its version."""
    yield from warnings_about(stack.settings)
    yield from warnings_about_versions(stack.settings, gitlab_version=stack.gitlab_version, engine=engine)
