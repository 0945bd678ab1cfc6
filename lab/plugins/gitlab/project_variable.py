"""The resource `gitlab:index/projectVariable:ProjectVariable` as the official provider has it: a CI/CD variable.

Its id is `<project>:<key>:<environment scope>`, with the project as the program writes it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from lab.plugins.gitlab import properties
from lab.plugins.gitlab.errors import GitLabError, OutcomeUnknown
from lab.plugins.gitlab.properties import Property, Values
from lab.plugins.values import Failure, present

if TYPE_CHECKING:
    from lab.plugins.gitlab.gitlab_api import GitLab

__all__ = [
    "DELETED_FIRST", "TYPE", "changed", "check", "create", "delete", "inputs_of", "preview_of_create",
    "preview_of_update", "read", "undo_create", "update",
]  # fmt: skip

TYPE = "gitlab:index/projectVariable:ProjectVariable"
DELETED_FIRST = True
EVERYWHERE = "*"
"""The environment scope of a variable that names none."""
SHORTEST_MASKED = 8
"""Characters of a value that GitLab can mask."""

PROPERTIES = (
    Property("project", "project", replaces=True, required=True),
    Property("key", "key", replaces=True, required=True),
    Property("value", "value", required=True),
    Property("description", "description"),
    Property("environmentScope", "environment_scope", replaces=True),
    Property("masked", "masked", "boolean"),
    Property("protected", "protected", "boolean"),
    Property("raw", "raw", "boolean"),
    Property("variableType", "variable_type", choices=("env_var", "file")),
)


def check(inputs: Values) -> list[Failure]:
    """Everything that is wrong with the inputs. Unknown values (in a preview) pass unchecked."""
    known, failures = properties.check("ProjectVariable", PROPERTIES, inputs)
    if "key" in known and not re.fullmatch(r"[A-Za-z0-9_]{1,255}", known["key"]):
        text = f"key is {known['key']!r}: GitLab takes up to 255 letters, digits and underscores"
        failures.append(Failure("key", text))
    if "value" in known and known.get("masked") and not _can_be_masked(known["value"]):
        text = f"value cannot be masked: it has to be one line of {SHORTEST_MASKED} characters or more, without spaces"
        failures.append(Failure("value", text))
    return failures


def changed(state: Values, inputs: Values, ignored: Collection[str] = ()) -> list[Property]:
    """The properties in which GitLab differs from what the program asks for; see `properties.changed`."""
    # Where the program leaves the scope out, that of everywhere is no change.
    scope = {"environmentScope": EVERYWHERE} if state.get("environmentScope") == EVERYWHERE else {}
    return properties.changed(PROPERTIES, state, {**scope, **inputs}, ignored)


def preview_of_create(inputs: Values) -> dict[str, Any]:
    """The outputs that a preview can promise: GitLab decides the others."""
    return properties.preview_of_create((*(each.name for each in PROPERTIES), "hidden"), inputs)


def preview_of_update(state: Values, inputs: Values) -> dict[str, Any]:
    """The outputs after an update in place: what the program does not set stays as it is."""
    return {**state, **inputs}


def inputs_of(state: Values, before: Values | None) -> dict[str, Any]:
    """The inputs that describe its present state: those that were set before, or all of them for an import."""
    return properties.inputs_of(PROPERTIES, state, before)


def create(gitlab: GitLab, inputs: Values) -> tuple[str, dict[str, Any]]:
    """Makes the variable; its id and outputs.

    Raises GitLabError where there is none, or where nobody knows whether there is one.
    """
    project, key = inputs["project"], inputs["key"]
    scope = inputs.get("environmentScope", EVERYWHERE)
    variable_id = f"{project}:{key}:{scope}"
    wanted = properties.to_api(PROPERTIES, {name: value for name, value in inputs.items() if name != "project"})
    try:
        made = gitlab.post(
            f"/projects/{_quoted(project)}/variables",
            wanted,
            doing=f"create {_described(variable_id)}",
            if_missing="check project, and that the token's owner is a member there",
        )
    except OutcomeUnknown as error:
        text = "The variable may exist all the same: repeat pulumi up; where that finds it"
        raise GitLabError(f"{error}. {text}, {_import(variable_id)}", error.status) from None
    except GitLabError as error:
        if error.status == 400 and "already been taken" in str(error):
            raise GitLabError(f"{error}. The variable exists: {_import(variable_id)}, or delete it", 400) from None
        raise
    return variable_id, _state(made, inputs)


def read(gitlab: GitLab, resource_id: str, before: Values) -> dict[str, Any] | None:
    """The outputs of a variable as it is now; None where GitLab does not have it any more."""
    project, _, _ = _parts(resource_id)
    try:
        found = gitlab.get(_path(resource_id), doing=f"read {_described(resource_id)}")
    except GitLabError as error:
        if error.status == 404:
            return None
        raise
    return _state(found, {"project": project, **before})


def update(
    gitlab: GitLab, resource_id: str, before: Values, inputs: Values, ignored: Collection[str] = ()
) -> dict[str, Any]:
    """Changes a variable in place; its outputs."""
    changeable = [each for each in PROPERTIES if not each.replaces and each.name not in ignored]
    found = gitlab.put(
        _path(resource_id),
        properties.to_api(changeable, inputs),
        doing=f"update {_described(resource_id)}",
        if_missing="it was deleted outside of Pulumi: run pulumi refresh, then pulumi up makes a new one",
    )
    return _state(found, {**before, **inputs})


def delete(gitlab: GitLab, resource_id: str, state: Values) -> None:  # noqa: ARG001  as every resource's
    """Deletes a variable, whether or not it is still there."""
    gitlab.delete(_path(resource_id), doing=f"delete {_described(resource_id)}")


def undo_create(gitlab: GitLab, resource_id: str) -> None:
    """Deletes a variable that nobody remembers: the next `up` would find its key taken."""
    delete(gitlab, resource_id, {})


def _state(variable: Mapping[str, Any], before: Values) -> dict[str, Any]:
    """The outputs for a variable as GitLab describes it. before: has the project."""
    return present(
        {
            "project": before["project"],
            "key": variable["key"],
            "value": variable.get("value") or "",
            "description": variable.get("description") or "",
            "environmentScope": variable.get("environment_scope") or EVERYWHERE,
            "hidden": False,
            "masked": bool(variable.get("masked")),
            "protected": bool(variable.get("protected")),
            "raw": bool(variable.get("raw")),
            "variableType": variable.get("variable_type") or "env_var",
        }
    )


def _can_be_masked(value: str) -> bool:
    return len(value) >= SHORTEST_MASKED and not re.search(r"\s", value)


def _parts(variable_id: str) -> tuple[str, str, str]:
    """Project, key and scope. Older versions of the official provider have ids without the scope."""
    parts = variable_id.split(":", 2)
    if len(parts) < 2 or not all(parts):
        raise GitLabError(
            f"{variable_id!r} is not the id of a variable: write <project>:<key>:<environment scope>, "
            "for example my-group/my-project:KEY:*"
        )
    return parts[0], parts[1], parts[2] if len(parts) == 3 else EVERYWHERE


def _path(variable_id: str) -> str:
    project, key, scope = _parts(variable_id)
    wanted = urlencode({"filter[environment_scope]": scope})
    return f"/projects/{_quoted(project)}/variables/{_quoted(key)}?{wanted}"


def _described(variable_id: str) -> str:
    project, key, scope = _parts(variable_id)
    return f"the variable {key} of project {project}" + ("" if scope == EVERYWHERE else f" for environment {scope}")


def _import(variable_id: str) -> str:
    return f"take it over by the resource option import_={variable_id!r}"


def _quoted(text: str) -> str:
    return quote(text, safe="")
