"""What follows when a branch has a new commit, whoever brought it: a push, the API or a merge."""

from __future__ import annotations

from sandbox import merge_requests, pipelines
from sandbox.core import Sandbox
from sandbox.repository import NULL_SHA
from sandbox.store import Row


def pushed(sandbox: Sandbox, project: Row, user: Row, branch: str, before: str | None) -> None:
    """Starts the branch's pipeline, and those of the merge requests from it.

    before: its old commit, None or zeros for a new branch.
    """
    pipelines.create_for_push(sandbox, project, user, branch, before or NULL_SHA)
    merge_requests.source_moved(sandbox, project, user, branch)
    merge_requests.target_moved(sandbox, project, user, branch)
