"""The resource UserRunner: makes, reads, changes and deletes runners in GitLab."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from lab.plugins.gitlab import user_runner
from lab.plugins.gitlab.errors import GitLabError, OutcomeUnknown
from lab.plugins.gitlab.properties import Values
from lab.plugins.gitlab.resource import CreatedIncompletely
from lab.plugins.gitlab.user_runner import (
    TYPE,
    changed,
    check,
    inputs_of,
    preview_of_create,
    preview_of_update,
)

if TYPE_CHECKING:
    from lab.plugins.gitlab.gitlab_api import GitLab

__all__ = [
    "DELETED_FIRST", "TYPE", "changed", "check", "create", "delete", "inputs_of", "preview_of_create",
    "preview_of_update", "read", "undo_create", "update",
]  # fmt: skip

DELETED_FIRST = False


def create(gitlab: GitLab, inputs: Values) -> tuple[str, dict[str, Any]]:
    """Makes a runner; its id and outputs, the token among them.

    Raises CreatedIncompletely, and GitLabError where there is no runner, or where nobody knows whether there is one.
    """
    what = user_runner.describe(inputs)
    try:
        created = gitlab.post(
            "/user/runners",
            user_runner.to_api(inputs),
            doing=f"create {what}",
            if_missing="check group_id or project_id, and that the token's owner is a member there",
        )
        runner_id, token = str(int(created["id"])), str(created["token"])
    except OutcomeUnknown as error:
        raise GitLabError(f"{error}. {_how_to_find(gitlab, inputs)}", error.status) from None
    except (KeyError, TypeError, ValueError):
        text = f"could not create {what}: GitLab at {gitlab.base_url} answered without the runner's id and token"
        raise GitLabError(f"{text}. {_how_to_find(gitlab, inputs)}") from None
    made = {**inputs, "token": token}
    try:
        return runner_id, user_runner.to_state(_get(gitlab, runner_id), made)
    except GitLabError as error:
        text = f"{what} has been created (id {runner_id}), but {error}. Repeat pulumi up: it goes on with this runner"
        raise CreatedIncompletely(runner_id, user_runner.outputs_after_create(inputs, token), text) from None


def read(gitlab: GitLab, resource_id: str, before: Values) -> dict[str, Any] | None:
    """The outputs of a runner as it is now; None where GitLab does not have it any more."""
    if not resource_id.isdecimal():
        raise GitLabError(
            f"{resource_id!r} is not the id of a runner: it is the number after # in GitLab's list of runners"
        )
    try:
        return user_runner.to_state(_get(gitlab, resource_id), before)
    except GitLabError as error:
        if error.status == 404:
            return None
        raise


def update(
    gitlab: GitLab, resource_id: str, before: Values, inputs: Values, ignored: Collection[str] = ()
) -> dict[str, Any]:
    """Changes a runner in place; its outputs."""
    body = user_runner.updates_of(inputs, ignored)
    # GitLab refuses an update of nothing.
    runner = _put(gitlab, resource_id, body) if body else _get(gitlab, resource_id)
    return user_runner.to_state(runner, {**before, **inputs})


def delete(gitlab: GitLab, resource_id: str, state: Values) -> None:  # noqa: ARG001  as every resource's
    """Deletes a runner, whether or not it is still there."""
    gitlab.delete(f"/runners/{resource_id}", doing=f"delete runner {resource_id}")


def undo_create(gitlab: GitLab, resource_id: str) -> None:
    """Deletes a runner that nobody remembers: the next `up` would make another one."""
    delete(gitlab, resource_id, {})


def _get(gitlab: GitLab, runner_id: str) -> Any:
    return gitlab.get(f"/runners/{runner_id}", doing=f"read runner {runner_id}")


def _put(gitlab: GitLab, runner_id: str, body: Mapping[str, Any]) -> Any:
    return gitlab.put(
        f"/runners/{runner_id}",
        body,
        doing=f"update runner {runner_id}",
        if_missing="it was deleted outside of Pulumi: run pulumi refresh, then pulumi up makes a new one",
    )


def _how_to_find(gitlab: GitLab, inputs: Values) -> str:
    """Tells how to find the runner that a creation with an unknown outcome may have left: nobody has its token."""
    note = inputs.get("maintenanceNote")
    what = user_runner.describe(inputs) + (f" with the maintenance note {note!r}" if note else "")
    return (
        f"The runner may exist all the same, or appear yet: before the next pulumi up, look for {what} that has never "
        f"connected, and delete it{_candidates(gitlab, inputs)}"
    )


def _candidates(gitlab: GitLab, inputs: Values) -> str:
    runner_type = inputs["runnerType"]
    collection = {
        "group_type": f"/groups/{int(inputs.get('groupId', 0))}/runners",
        "project_type": f"/projects/{int(inputs.get('projectId', 0))}/runners",
    }.get(runner_type, "/runners/all")
    try:
        runners = gitlab.get(f"{collection}?type={runner_type}&per_page=100", doing="list the runners")
    except GitLabError:
        return ""
    ids = [
        f"#{each['id']}"
        for each in runners
        if each.get("description") == inputs.get("description", "") and each.get("status") == "never_contacted"
    ]
    return f" (there now: {', '.join(ids) or 'none'})"
