"""The resource `gitlab:index/repositoryFile:RepositoryFile` as the official provider has it: a file on a branch.

Its id is `<project>:<branch>:<path>`, with the project as the program writes it. Every change is a commit.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from lab.plugins.gitlab import properties
from lab.plugins.gitlab.errors import GitLabError, OutcomeUnknown
from lab.plugins.gitlab.properties import Property, Values
from lab.plugins.gitlab.resource import CreatedIncompletely
from lab.plugins.values import Failure, present

if TYPE_CHECKING:
    from lab.plugins.gitlab.gitlab_api import GitLab

__all__ = [
    "DELETED_FIRST", "TYPE", "changed", "check", "create", "delete", "inputs_of", "preview_of_create",
    "preview_of_update", "read", "undo_create", "update",
]  # fmt: skip

TYPE = "gitlab:index/repositoryFile:RepositoryFile"
DELETED_FIRST = True

PROPERTIES = (
    Property("project", "project", replaces=True, required=True),
    Property("branch", "branch", replaces=True, required=True),
    Property("filePath", "file_path", replaces=True, required=True),
    Property("content", "content", required=True),
    Property("encoding", "encoding", required=True, choices=("text",)),
    Property("commitMessage", "commit_message", required=True),
)
_FOUND_OUT = ("blobId", "commitId", "contentSha256", "fileName", "lastCommitId", "ref", "size")
"""Outputs that GitLab alone decides."""


def check(inputs: Values) -> list[Failure]:
    """Everything that is wrong with the inputs. Unknown values (in a preview) pass unchecked."""
    known, failures = properties.check("RepositoryFile", PROPERTIES, inputs)
    if known.get("filePath", "").startswith(("/", "./")):
        text = f"file_path is {known['filePath']!r}: it has to begin at the top of the project, without / or ./"
        failures.append(Failure("filePath", text))
    return failures


def changed(state: Values, inputs: Values, ignored: Collection[str] = ()) -> list[Property]:
    """The properties in which GitLab differs from what the program asks for; see `properties.changed`."""
    return properties.changed(PROPERTIES, state, inputs, ignored)


def preview_of_create(inputs: Values) -> dict[str, Any]:
    """The outputs that a preview can promise: GitLab decides the others."""
    return properties.preview_of_create((*_FOUND_OUT, "executeFilemode"), inputs)


def preview_of_update(state: Values, inputs: Values) -> dict[str, Any]:
    """The outputs after an update in place: with another content there is another commit."""
    unknown = _FOUND_OUT if _needs_commit(state, inputs, ()) else ()
    return {**state, **properties.preview_of_create(unknown, inputs)}


def inputs_of(state: Values, before: Values | None) -> dict[str, Any]:
    """The inputs that describe its present state: those that were set before, or all of them for an import."""
    return properties.inputs_of(PROPERTIES, state, before)


def create(gitlab: GitLab, inputs: Values) -> tuple[str, dict[str, Any]]:
    """Commits the file; its id and outputs.

    Raises CreatedIncompletely, and GitLabError where there is no commit, or where nobody knows whether there is one.
    """
    file_id = f"{inputs['project']}:{inputs['branch']}:{inputs['filePath']}"
    try:
        gitlab.post(
            _path(file_id),
            _commit(inputs),
            doing=f"create {_described(file_id)}",
            if_missing="check project, and that the token's owner may push there",
        )
    except OutcomeUnknown as error:
        text = f"{error}. The file may have been committed all the same: look at the branch before the next pulumi up"
        raise GitLabError(text, error.status) from None
    except GitLabError as error:
        if error.status == 400 and "already exists" in str(error):
            raise GitLabError(f"{error}. Take it over by the resource option import_={file_id!r}", 400) from None
        raise
    try:
        return file_id, _read(gitlab, file_id, inputs)
    except GitLabError as error:
        text = f"{_described(file_id)} has been committed, but {error}. Repeat pulumi up: it goes on with this file"
        raise CreatedIncompletely(file_id, inputs, text) from None


def read(gitlab: GitLab, resource_id: str, before: Values) -> dict[str, Any] | None:
    """The outputs of a file as it is now; None where its branch does not have it any more."""
    found = _find(gitlab, resource_id)
    return None if found is None else _state(found, resource_id, before)


def update(
    gitlab: GitLab, resource_id: str, before: Values, inputs: Values, ignored: Collection[str] = ()
) -> dict[str, Any]:
    """Commits what has changed; the outputs. A new message alone is for the next commit."""
    if _needs_commit(before, inputs, ignored):
        kept = {name: before[name] for name in ignored if name in before}
        # With the last commit, nobody's commit in between is overwritten unseen.
        last = {"last_commit_id": before.get("lastCommitId")}
        gitlab.put(
            _path(resource_id),
            present({**_commit({**inputs, **kept}), **last}),
            doing=f"update {_described(resource_id)}",
            if_missing="it was deleted outside of Pulumi: run pulumi refresh, then pulumi up makes a new one",
        )
    return _read(gitlab, resource_id, {**before, **inputs})


def delete(gitlab: GitLab, resource_id: str, state: Values) -> None:
    """Deletes a file by a commit, whether or not it is still there."""
    if _find(gitlab, resource_id) is None:
        return
    wanted = {"branch": state["branch"], "commit_message": state.get("commitMessage")}
    gitlab.delete(f"{_path(resource_id)}?{urlencode(present(wanted))}", doing=f"delete {_described(resource_id)}")


def undo_create(gitlab: GitLab, resource_id: str) -> None:
    """Nothing: the commit is in the branch's history, and the next `up` says how to take the file over."""


def _needs_commit(state: Values, inputs: Values, ignored: Collection[str]) -> bool:
    return any(each.name == "content" for each in changed(state, inputs, ignored))


def _commit(inputs: Values) -> dict[str, Any]:
    names = {"branch": "branch", "encoding": "encoding", "content": "content", "commitMessage": "commit_message"}
    return {api: inputs[name] for name, api in names.items()}


def _find(gitlab: GitLab, file_id: str) -> Mapping[str, Any] | None:
    _, branch, _ = _parts(file_id)
    try:
        found: Mapping[str, Any] = gitlab.get(
            f"{_path(file_id)}?{urlencode({'ref': branch})}", doing=f"read {_described(file_id)}"
        )
    except GitLabError as error:
        if error.status == 404:
            return None
        raise
    return found


def _read(gitlab: GitLab, file_id: str, before: Values) -> dict[str, Any]:
    found = _find(gitlab, file_id)
    if found is None:
        raise GitLabError(f"could not read {_described(file_id)}: GitLab at {gitlab.base_url} does not have it")
    return _state(found, file_id, before)


def _state(file: Mapping[str, Any], file_id: str, before: Values) -> dict[str, Any]:
    """The outputs for a file as GitLab describes it. before: has the message of commits."""
    project, branch, path = _parts(file_id)
    return present(
        {
            "project": project,
            "branch": branch,
            "filePath": path,
            # What has become binary outside of Pulumi is not taken for what it was.
            "content": base64.b64decode(file["content"]).decode(errors="replace"),
            "encoding": "text",
            "commitMessage": before.get("commitMessage"),
            "executeFilemode": False,
            "blobId": file.get("blob_id"),
            "commitId": file.get("commit_id"),
            "contentSha256": file.get("content_sha256"),
            "fileName": file.get("file_name"),
            "lastCommitId": file.get("last_commit_id"),
            "ref": file.get("ref"),
            "size": file.get("size"),
        }
    )


def _parts(file_id: str) -> tuple[str, str, str]:
    """Project, branch and path."""
    parts = file_id.split(":", 2)
    if len(parts) < 3 or not all(parts):
        raise GitLabError(
            f"{file_id!r} is not the id of a file: write <project>:<branch>:<path>, "
            "for example my-group/my-project:main:README.md"
        )
    return parts[0], parts[1], parts[2]


def _path(file_id: str) -> str:
    project, _, path = _parts(file_id)
    return f"/projects/{quote(project, safe='')}/repository/files/{quote(path, safe='')}"


def _described(file_id: str) -> str:
    project, branch, path = _parts(file_id)
    return f"the file {path} on branch {branch} of project {project}"
