"""A project's CI/CD variables in GitLab's REST API.

https://docs.gitlab.com/api/project_level_variables/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from lab.gitlab.auth import Box, Project
from lab.gitlab.core import ApiError, Sandbox, not_found
from lab.gitlab.params import Given, Params
from lab.gitlab.store import Row
from lab.gitlab.views import as_variable, paginate

router = APIRouter()

_KEY = re.compile(r"[a-zA-Z0-9_]{1,255}")
_SECRET = re.compile(r"[\w+/=@:.~\-]{8,}")  # what GitLab can mask: one line, no spaces, 8 characters at least
_DEFAULTS: Row = {
    "value": "",
    "variable_type": "env_var",
    "environment_scope": "*",
    **dict.fromkeys(("masked", "protected", "raw"), False),
}
_PATH = "/projects/{id}/variables"
_ONE = _PATH + "/{key}"


@router.get(_PATH)
def list_variables(request: Request, sandbox: Box, project: Project) -> Response:
    """The project's CI/CD variables."""
    rows = sandbox.store.all("SELECT * FROM variables WHERE project_id = ? ORDER BY id", project["id"])
    return paginate(request, rows, as_variable)


@router.post(_PATH, status_code=201)
def create_variable(sandbox: Box, project: Project, given: Given) -> Row:
    """Makes a CI/CD variable; of one key there may be several, for different environments."""
    key = given.string("key", required=True) or ""
    values = _DEFAULTS | _values(given)
    given.check()
    if not _KEY.fullmatch(key):
        raise ApiError(400, {"message": {"key": ["can contain only letters, digits and '_'."]}})
    _check(sandbox, project, values | {"key": key, "id": None})
    return as_variable(sandbox.store.insert("variables", project_id=project["id"], key=key, **values))


def _variable(key: str, sandbox: Box, project: Project, given: Given) -> Row:
    """The variable of a path, of several the one that `filter[environment_scope]` names. ApiError 404 or 409 else."""
    nested = given.values.get("filter")
    scope = given.values.get("filter[environment_scope]")
    if isinstance(nested, Mapping):
        scope = nested.get("environment_scope", scope)
    rows = sandbox.store.all("SELECT * FROM variables WHERE project_id = ? AND key = ?", project["id"], key)
    rows = [row for row in rows if scope in (None, row["environment_scope"])]
    if len(rows) > 1:
        hint = "There are multiple variables with provided parameters. Please use 'filter[environment_scope]'"
        raise ApiError(409, {"message": hint})
    if not rows:
        raise not_found("Variable")
    return rows[0]


Variable = Annotated[Row, Depends(_variable)]


@router.get(_ONE)
def get_variable(variable: Variable) -> Row:
    """A CI/CD variable."""
    return as_variable(variable)


@router.put(_ONE)
def update_variable(sandbox: Box, project: Project, variable: Variable, given: Given) -> Row:
    """Changes a CI/CD variable."""
    values = _values(given)
    given.check()
    _check(sandbox, project, variable | values)
    if values:
        sandbox.store.update("variables", variable["id"], **values)
    return as_variable(variable | values)


@router.delete(_ONE, status_code=204)
def delete_variable(sandbox: Box, variable: Variable) -> None:
    """Deletes a CI/CD variable."""
    sandbox.store.execute("DELETE FROM variables WHERE id = ?", variable["id"])


def _values(given: Params) -> Row:
    values = {
        **{name: given.string(name) for name in ("value", "environment_scope", "description")},
        "variable_type": given.string("variable_type", allowed=("env_var", "file")),
        **{name: given.boolean(name) for name in ("masked", "protected", "raw")},
    }
    return {key: value for key, value in values.items() if value is not None}


def _check(sandbox: Sandbox, project: Row, wanted: Row) -> None:
    """Raises ApiError 400 where a variable cannot be masked, or is there already for its environments."""
    if wanted["masked"] and not _SECRET.fullmatch(wanted["value"]):
        raise ApiError(400, {"message": {"value": ["is invalid"]}})
    sql = "SELECT 1 FROM variables WHERE project_id = ? AND key = ? AND environment_scope = ? AND id IS NOT ?"
    scope = wanted["environment_scope"]
    if sandbox.store.one(sql, project["id"], wanted["key"], scope, wanted["id"]):
        raise ApiError(400, {"message": {"key": [f"({wanted['key']}) has already been taken"]}})
