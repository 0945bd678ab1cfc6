"""The resource `gitlab:index/userRunner:UserRunner` as the official provider has it. Pure: no network, no engine."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lab.plugins.gitlab import properties
from lab.plugins.gitlab.properties import Property, Values
from lab.plugins.values import Failure, present, secret

TYPE = "gitlab:index/userRunner:UserRunner"

RUNNER_TYPES = ("instance_type", "group_type", "project_type")
ACCESS_LEVELS = ("not_protected", "ref_protected")
MINIMUM_TIMEOUT = 600
"""Seconds: GitLab refuses less than 10 minutes."""
MAXIMUM_NOTE = 1024
"""Characters of a maintenance note."""

PROPERTIES = (
    Property("runnerType", "runner_type", replaces=True, required=True, choices=RUNNER_TYPES),
    Property("groupId", "group_id", "whole number", replaces=True),
    Property("projectId", "project_id", "whole number", replaces=True),
    Property("accessLevel", "access_level", choices=ACCESS_LEVELS),
    Property("description", "description"),
    Property("locked", "locked", "boolean"),
    Property("maintenanceNote", "maintenance_note"),
    Property("maximumTimeout", "maximum_timeout", "whole number"),
    Property("paused", "paused", "boolean"),
    Property("tagLists", "tag_lists", "list of strings", api="tag_list"),
    Property("untagged", "untagged", "boolean", api="run_untagged"),
)
_BY_NAME = {each.name: each for each in PROPERTIES}
_SCOPE_IDS = {"group_type": "groupId", "project_type": "projectId"}


def check(inputs: Values) -> list[Failure]:
    """Everything that is wrong with the inputs. Unknown values (in a preview) pass unchecked."""
    known, failures = properties.check("UserRunner", PROPERTIES, inputs)
    failures += _check_scope(known.get("runnerType"), inputs)
    timeout = known.get("maximumTimeout")
    if timeout is not None and timeout < MINIMUM_TIMEOUT:
        text = f"maximum_timeout is {int(timeout)} s: GitLab takes {MINIMUM_TIMEOUT} s or more"
        failures.append(Failure("maximumTimeout", text))
    note = known.get("maintenanceNote", "")
    if len(note) > MAXIMUM_NOTE:
        text = f"maintenance_note has {len(note)} characters: GitLab takes up to {MAXIMUM_NOTE}"
        failures.append(Failure("maintenanceNote", text))
    return failures


def changed(state: Values, inputs: Values, ignored: Collection[str] = ()) -> list[Property]:
    """The properties in which GitLab differs from what the program asks for; see `properties.changed`."""
    return properties.changed(PROPERTIES, state, inputs, ignored)


def to_api(inputs: Values) -> dict[str, Any]:
    """The body of the request that makes the runner."""
    return properties.to_api(PROPERTIES, inputs)


def updates_of(inputs: Values, ignored: Collection[str]) -> dict[str, Any]:
    """The body of the request that updates a runner in place."""
    changeable = [each for each in PROPERTIES if not each.replaces and each.name not in ignored]
    return properties.to_api(changeable, inputs)


def to_state(runner: Mapping[str, Any], before: Values) -> dict[str, Any]:
    """The outputs for a runner as GitLab describes it.

    before: the inputs or outputs so far. From them come what GitLab does not tell (the token) and what it may tell
    otherwise without a change (the order of the tags, the project of a runner that is shared by several).
    """
    kind = runner["runner_type"]
    state: dict[str, Any] = {
        "runnerType": kind,
        "groupId": _scope_id("groupId", runner.get("groups"), before) if kind == "group_type" else None,
        "projectId": _scope_id("projectId", runner.get("projects"), before) if kind == "project_type" else None,
        "accessLevel": runner.get("access_level") or "",
        "description": runner.get("description") or "",
        "locked": bool(runner.get("locked")),
        "maintenanceNote": runner.get("maintenance_note") or "",
        # 0 stands for none, as in the official provider.
        "maximumTimeout": runner.get("maximum_timeout") or 0,
        "paused": bool(runner.get("paused")),
        "tagLists": _tags(runner.get("tag_list") or [], before),
        "untagged": bool(runner.get("run_untagged")),
    }
    return present(_with_token(state, before.get("token")))


def inputs_of(state: Values, before: Values | None) -> dict[str, Any]:
    """The inputs that describe a runner's present state: those that were set before, or all of them for an import."""
    return properties.inputs_of(PROPERTIES, state, before)


def preview_of_create(inputs: Values) -> dict[str, Any]:
    """The outputs that a preview can promise: GitLab decides the others."""
    decided_by_gitlab = [each.name for each in PROPERTIES if not each.replaces]
    return properties.preview_of_create([*decided_by_gitlab, "token"], inputs)


def preview_of_update(state: Values, inputs: Values) -> dict[str, Any]:
    """The outputs after an update in place: what the program does not set stays as it is."""
    return _with_token({**state, **inputs}, state.get("token"))


def outputs_after_create(inputs: Values, token: str) -> dict[str, Any]:
    """The outputs of a runner whose description could not be read after its creation."""
    return _with_token(inputs, token)


def describe(inputs: Values) -> str:
    """Names the runner in a message, as a person would look for it in GitLab."""
    match inputs["runnerType"]:
        case "group_type":
            where = f"group {int(inputs['groupId'])}"
        case "project_type":
            where = f"project {int(inputs['projectId'])}"
        case _:
            where = "the instance"
    return f"the runner {inputs.get('description', '')!r} of {where}"


def _with_token(state: Values, token: str | None) -> dict[str, Any]:
    # An imported runner has no token: GitLab tells it at the creation only.
    return {**state, "token": secret(token)} if token else dict(state)


def _check_scope(runner_type: str | None, inputs: Values) -> list[Failure]:
    """A group's runner needs a group, a project's a project, and nothing else; the id itself may still be unknown."""
    if runner_type not in RUNNER_TYPES:
        return []
    failures = []
    for name in _SCOPE_IDS.values():
        wanted = name == _SCOPE_IDS.get(runner_type)
        if wanted and name not in inputs:
            failures.append(Failure(name, f"{_BY_NAME[name].python} is missing: a runner of {runner_type} needs it"))
        if not wanted and name in inputs:
            failures.append(Failure(name, f"{_BY_NAME[name].python} is set: a runner of {runner_type} takes none"))
    return failures


def _tags(tags: list[str], before: Values) -> list[str]:
    """GitLab keeps tags as a set: the order that was there before is kept, or else they are sorted."""
    known = before.get("tagLists")
    return list(known) if isinstance(known, list) and set(known) == set(tags) else sorted(tags)


def _scope_id(name: str, owners: list[Mapping[str, Any]] | None, before: Values) -> int | None:
    if (known := before.get(name)) is not None:
        return int(known)
    # The first one is the owner; the official provider leaves it out, and so replaces a runner that was imported.
    return int(owners[0]["id"]) if owners else None
