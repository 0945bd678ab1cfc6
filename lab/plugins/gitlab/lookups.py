"""The functions `getProject` and `getGroup`: the properties of them that identify a project or a group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lab.plugins.values import Failure, present

if TYPE_CHECKING:
    from lab.plugins.gitlab.gitlab_api import GitLab


@dataclass(frozen=True)
class Lookup:
    """A function of the SDK.

    noun: what it looks for; path: the API's collection; by_id, by_path: its arguments, of which exactly one is given.
    outputs: names in the SDK and in the API.
    """

    noun: str
    path: str
    by_id: str
    by_path: str
    outputs: Mapping[str, str]


LOOKUPS = {
    "gitlab:index/getProject:getProject": Lookup(
        "project",
        "/projects",
        "id",
        "pathWithNamespace",
        {
            "name": "name",
            "nameWithNamespace": "name_with_namespace",
            "path": "path",
            "pathWithNamespace": "path_with_namespace",
            "description": "description",
            "defaultBranch": "default_branch",
            "visibility": "visibility",
            "archived": "archived",
            "createdAt": "created_at",
            "webUrl": "web_url",
            "httpUrlToRepo": "http_url_to_repo",
            "sshUrlToRepo": "ssh_url_to_repo",
        },
    ),
    "gitlab:index/getGroup:getGroup": Lookup(
        "group",
        "/groups",
        "groupId",
        "fullPath",
        {
            "groupId": "id",
            "name": "name",
            "fullName": "full_name",
            "path": "path",
            "fullPath": "full_path",
            "description": "description",
            "parentId": "parent_id",
            "visibilityLevel": "visibility",
            "createdAt": "created_at",
            "webUrl": "web_url",
        },
    ),
}


def check(lookup: Lookup, arguments: Mapping[str, Any]) -> list[Failure]:
    """Exactly one of the id and the path has to be given."""
    given = [name for name in (lookup.by_id, lookup.by_path) if arguments.get(name) not in (None, "")]
    if len(given) == 1:
        return []
    text = f"give either {lookup.by_id} or {lookup.by_path} of the {lookup.noun}, not {'both' if given else 'none'}"
    return [Failure(lookup.by_path, text)]


def look_up(gitlab: GitLab, lookup: Lookup, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The project or group as the SDK knows it. Raises GitLabError, also where there is none."""
    value = arguments.get(lookup.by_id) or arguments[lookup.by_path]
    key = str(int(value) if isinstance(value, float) and value.is_integer() else value)
    found = gitlab.get(
        f"{lookup.path}/{quote(key, safe='')}",
        doing=f"look up the {lookup.noun} {key!r}",
        if_missing="check its path (as in the address of its page), and that the token's owner is a member of it",
    )
    return {"id": str(found["id"]), **present({name: found.get(api) for name, api in lookup.outputs.items()})}
