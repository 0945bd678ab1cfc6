"""What a request to GitLab may end with. Apart from the requests, whose libraries are imported when there is one."""

from __future__ import annotations

from lab.plugins.base import PluginError


class GitLabError(PluginError):
    """GitLab did not do what it was asked for; the text says what, why and the remedy.

    status: None where there was no answer.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class OutcomeUnknown(GitLabError):
    """A request that must not be repeated may or may not have had its effect."""
