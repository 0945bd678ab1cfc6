"""Branches, commits and files of a repository in GitLab's REST API.

https://docs.gitlab.com/api/branches/, https://docs.gitlab.com/api/commits/, https://docs.gitlab.com/api/repository_files/
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, NoReturn

from fastapi import APIRouter, Request, Response

from lab.gitlab import pushes
from lab.gitlab.auth import Box, Project, SeenProject, User
from lab.gitlab.core import ApiError, Sandbox, bad_request, not_found
from lab.gitlab.params import Given, Params
from lab.gitlab.repository import GitError, Repository
from lab.gitlab.store import Row
from lab.gitlab.views import paginate

router = APIRouter()

_BASE = "/projects/{id}/repository"
_FILE = _BASE + "/files/{file:path}"


@router.post(_BASE + "/commits", status_code=201)
def create_commit(sandbox: Box, project: Project, user: User, given: Given) -> Row:
    """Commits files on a branch: actions `create`, `update`, `delete`. Starts a pipeline, as a push does."""
    actions = given.values.get("actions")
    message = given.string("commit_message", required=True) or ""
    branch = _branch(sandbox, project, given)
    if not isinstance(actions, list) or not all(isinstance(action, dict) for action in actions):
        raise ApiError(400, {"error": "actions is invalid"})
    files: dict[str, bytes | None] = {}
    for action in actions:
        kind, file = action.get("action"), str(action.get("file_path"))
        if kind not in ("create", "update", "delete"):
            raise bad_request(f"action {kind} is not supported by the sandbox GitLab (create, update, delete are)")
        files[file] = None if kind == "delete" else _content(file, action)
    return _commit(sandbox, project, user, branch, files, message)


def _branch(sandbox: Sandbox, project: Row, given: Params) -> str:
    """The branch to commit on, made from `start_branch` or `start_sha` where it is not there yet."""
    branch = given.string("branch", required=True) or ""
    start = given.string("start_branch") or given.string("start_sha")
    given.check()
    repository = sandbox.repository(project["id"])
    if start and branch not in repository.branches():
        sha = repository.sha(start)
        if sha is None:
            raise bad_request(f"Cannot find branch '{start}'")
        try:
            repository.set_ref(f"refs/heads/{branch}", sha)
        except GitError:
            raise bad_request("Branch name is invalid") from None
    return branch


def _content(file: str, values: Mapping[str, Any]) -> bytes:
    content = str(values.get("content", ""))
    try:
        return base64.b64decode(content) if values.get("encoding") == "base64" else content.encode()
    except binascii.Error:
        raise bad_request(f"content of {file} is not base64") from None


def _commit(
    sandbox: Sandbox, project: Row, user: Row, branch: str, files: Mapping[str, bytes | None], message: str
) -> Row:
    repository = sandbox.repository(project["id"])
    before = repository.branches().get(branch)
    try:
        sha = repository.commit_files(branch, before, files, message, user)
    except GitError as error:
        raise bad_request(str(error)) from None
    if sha is None:
        raise bad_request("A commit needs a change")
    pushes.pushed(sandbox, project, user, branch, before)
    return repository.commit(sha) or {}


@router.get(_BASE + "/commits/{ref:path}")
def get_commit(ref: str, sandbox: Box, project: SeenProject) -> Row:
    """A commit, by its hash or a branch's or tag's name."""
    return sandbox.repository(project["id"]).commit(_plain(ref)) or _missing("Commit")


@router.get(_BASE + "/branches")
def list_branches(request: Request, sandbox: Box, project: SeenProject, given: Given) -> Response:
    """The branches, by name; `search` names a part of it."""
    search = given.string("search") or ""
    given.check()
    branches = sandbox.repository(project["id"]).branches()
    found = [{"name": name} for name in sorted(branches) if search in name]
    return paginate(request, found, lambda row: _as_branch(sandbox, project, row["name"]))


@router.post(_BASE + "/branches", status_code=201)
def create_branch(sandbox: Box, project: Project, user: User, given: Given) -> Row:
    """Makes a branch at `ref`. Starts a pipeline, as a push does."""
    branch, ref = given.string("branch", required=True) or "", given.string("ref", required=True) or ""
    given.check()
    repository = sandbox.repository(project["id"])
    if branch in repository.branches():
        raise ApiError(400, {"message": "Branch already exists"})
    sha = repository.sha(ref)
    if sha is None:
        raise ApiError(400, {"message": f"Invalid reference name: {ref}"})
    try:
        repository.set_ref(f"refs/heads/{branch}", sha)
    except GitError:
        raise ApiError(400, {"message": "Branch name is invalid"}) from None
    pushes.pushed(sandbox, project, user, branch, None)
    return _as_branch(sandbox, project, branch)


@router.get(_BASE + "/branches/{branch:path}")
def get_branch(branch: str, sandbox: Box, project: SeenProject) -> Row:
    """A branch with its newest commit."""
    return _as_branch(sandbox, project, _plain(branch))


@router.delete(_BASE + "/branches/{branch:path}", status_code=204)
def delete_branch(branch: str, sandbox: Box, project: Project) -> None:
    """Deletes a branch, other than the default one."""
    name = _as_branch(sandbox, project, _plain(branch))["name"]
    if name == project["default_branch"]:
        raise ApiError(400, {"message": "Cannot remove HEAD branch"})
    sandbox.repository(project["id"]).set_ref(f"refs/heads/{name}", None)


def _as_branch(sandbox: Sandbox, project: Row, name: str) -> Row:
    repository = sandbox.repository(project["id"])
    sha = repository.branches().get(name) or _missing("Branch")
    default = name == project["default_branch"]
    address = f"{sandbox.url}/{project['full_path']}/-/tree/{name}"
    commit = repository.commit(sha)
    return {"name": name, "commit": commit, "default": default, "protected": default, "merged": False} | {
        "can_push": True,
        "web_url": address,
    }


@router.get(_FILE)
def get_file(file: str, sandbox: Box, project: SeenProject, given: Given) -> Any:
    """A file at `ref` (default: the default branch), as base64; below `/raw` as it is."""
    ref = given.string("ref") or project["default_branch"]
    given.check()
    repository = sandbox.repository(project["id"])
    sha = repository.sha(project["default_branch"] if ref == "HEAD" else ref) or _missing("Commit")
    raw, path = file.endswith("/raw"), _plain(file.removesuffix("/raw"))
    content = repository.read(sha, path)
    if content is None:
        raise not_found("File")
    if raw:
        return Response(content, media_type="text/plain")
    return _as_file(repository, sha, ref, path, content)


def _as_file(repository: Repository, sha: str, ref: str, path: str, content: bytes) -> Row:
    return {
        "file_name": path.rpartition("/")[2],
        "file_path": path,
        "size": len(content),
        "encoding": "base64",
        "content": base64.b64encode(content).decode(),
        "content_sha256": hashlib.sha256(content).hexdigest(),
        "ref": ref,
        "blob_id": hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest(),
        "commit_id": sha,
        "last_commit_id": repository.last_change(sha, path),
        "execute_filemode": False,
    }


@router.post(_FILE, status_code=201)
def create_file(file: str, sandbox: Box, project: Project, user: User, given: Given) -> Row:
    """Commits a new file."""
    return _change_file(sandbox, project, user, given, _plain(file), new=True)


@router.put(_FILE)
def update_file(file: str, sandbox: Box, project: Project, user: User, given: Given) -> Row:
    """Commits another content of a file; with `last_commit_id` only where nobody has changed it since."""
    return _change_file(sandbox, project, user, given, _plain(file))


@router.delete(_FILE, status_code=204)
def delete_file(file: str, sandbox: Box, project: Project, user: User, given: Given) -> None:
    """Commits that a file is gone."""
    _change_file(sandbox, project, user, given, _plain(file), gone=True)


def _change_file(
    sandbox: Sandbox, project: Row, user: Row, given: Params, file: str, *, new: bool = False, gone: bool = False
) -> Row:
    message = given.string("commit_message", required=True) or ""
    given.string("content", required=not gone)
    last = given.string("last_commit_id")
    branch = _branch(sandbox, project, given)
    repository = sandbox.repository(project["id"])
    head = repository.branches().get(branch)
    there = head is not None and repository.read(head, file) is not None
    wrong = "already exists" if there else "doesn't exist"
    if there is new:
        raise ApiError(400, {"message": f"A file with this name {wrong}"})
    if last and head and repository.last_change(head, file) != last:
        raise ApiError(400, {"message": "You are attempting to update a file that has changed since you started"})
    content = None if gone else _content(file, given.values)
    if content is None or head is None or repository.read(head, file) != content:  # a commit needs a change
        _commit(sandbox, project, user, branch, {file: content}, message)
    return {"file_path": file, "branch": branch}


def _plain(path: str) -> str:
    # Slashes within a segment arrive escaped, see sandbox.app.
    return path.replace("%2F", "/")


def _missing(what: str) -> NoReturn:
    raise not_found(what)
