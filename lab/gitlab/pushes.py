"""What follows when a branch has a new commit, whoever brought it: a push, the API or a merge."""

from __future__ import annotations

from lab.gitlab import merge_requests, pipelines
from lab.gitlab.core import Sandbox
from lab.gitlab.repository import NULL_SHA
from lab.gitlab.store import Row


def pushed(sandbox: Sandbox, project: Row, user: Row, branch: str, before: str | None) -> None:
    """Starts the branch's pipeline, and those of the merge requests from it.

    before: its old commit, None or zeros for a new branch.
    """
    pipelines.create_for_push(sandbox, project, user, branch, before or NULL_SHA)
    merge_requests.source_moved(sandbox, project, user, branch)
    merge_requests.target_moved(sandbox, project, user, branch)
