"""The resource `gitlab:index/userRunner:UserRunner` as the official provider has it. Pure: no network, no engine.

Every property but `token` and the ids is both input and output: where the program says nothing, GitLab's value is taken
over into the state and left alone, also when a setting is taken out of the program again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.gitlab_plugin.values import UNKNOWN, Failure, present, secret

TYPE = "gitlab:index/userRunner:UserRunner"

RUNNER_TYPES = ("instance_type", "group_type", "project_type")
ACCESS_LEVELS = ("not_protected", "ref_protected")
MINIMUM_TIMEOUT = 600
"""Seconds: GitLab refuses less than 10 minutes."""
MAXIMUM_NOTE = 1024
"""Characters of a maintenance note."""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Property:
    """One input: its names in Pulumi, in the program and in GitLab's API, and whether a change needs a new runner."""

    name: str
    python: str
    api: str
    kind: str
    replaces: bool = False


PROPERTIES = (
    Property("runnerType", "runner_type", "runner_type", "string", replaces=True),
    Property("groupId", "group_id", "group_id", "whole number", replaces=True),
    Property("projectId", "project_id", "project_id", "whole number", replaces=True),
    Property("accessLevel", "access_level", "access_level", "string"),
    Property("description", "description", "description", "string"),
    Property("locked", "locked", "locked", "boolean"),
    Property("maintenanceNote", "maintenance_note", "maintenance_note", "string"),
    Property("maximumTimeout", "maximum_timeout", "maximum_timeout", "whole number"),
    Property("paused", "paused", "paused", "boolean"),
    Property("tagLists", "tag_lists", "tag_list", "list of strings"),
    Property("untagged", "untagged", "run_untagged", "boolean"),
)
_BY_NAME = {each.name: each for each in PROPERTIES}
_SCOPE_IDS = {"group_type": "groupId", "project_type": "projectId"}


def check(inputs: Values) -> list[Failure]:
    """Everything that is wrong with the inputs. Unknown values (in a preview) pass unchecked."""
    failures = [
        Failure(name, f"UserRunner has no input {name!r}: it knows {', '.join(each.python for each in PROPERTIES)}")
        for name in sorted(set(inputs) - set(_BY_NAME))
        if not name.startswith("__")
    ]
    known = {name: value for name, value in inputs.items() if name in _BY_NAME and not _is_unknown(value)}
    wrong = [_BY_NAME[name] for name, value in known.items() if not _fits(_BY_NAME[name].kind, value)]
    failures += [
        Failure(each.name, f"{each.python} is {known[each.name]!r}: it has to be a {each.kind}") for each in wrong
    ]
    for each in wrong:
        del known[each.name]

    failures += _check_choice("runnerType", RUNNER_TYPES, known)
    failures += _check_choice("accessLevel", ACCESS_LEVELS, known)
    if "runnerType" not in inputs:
        failures.append(Failure("runnerType", f"runner_type is missing: set it to one of {', '.join(RUNNER_TYPES)}"))
    failures += _check_scope(known.get("runnerType"), inputs)
    timeout = known.get("maximumTimeout")
    if timeout is not None and timeout < MINIMUM_TIMEOUT:
        text = f"maximum_timeout is {timeout:g} s: GitLab takes {MINIMUM_TIMEOUT} s or more"
        failures.append(Failure("maximumTimeout", text))
    note = known.get("maintenanceNote", "")
    if len(note) > MAXIMUM_NOTE:
        text = f"maintenance_note has {len(note)} characters: GitLab takes up to {MAXIMUM_NOTE}"
        failures.append(Failure("maintenanceNote", text))
    return failures


def changed(state: Values, inputs: Values, ignored: Collection[str] = ()) -> list[Property]:
    """The properties in which GitLab differs from what the program asks for, in the order of `PROPERTIES`.

    Only the ids of the scope can be taken away; what else the program leaves out stays as GitLab has it.
    """
    return [each for each in PROPERTIES if each.name not in ignored and _differs(each, state, inputs)]


def to_api(inputs: Values, properties: Collection[Property] = PROPERTIES) -> dict[str, Any]:
    """The body of a request that sets these properties."""
    return {
        each.api: int(inputs[each.name]) if each.kind == "whole number" else inputs[each.name]
        for each in properties
        if each.name in inputs
    }


def updates_of(inputs: Values, ignored: Collection[str]) -> dict[str, Any]:
    """The body of the request that updates a runner in place."""
    return to_api(inputs, [each for each in PROPERTIES if not each.replaces and each.name not in ignored])


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
    if before:
        return {name: state[name] if name in _BY_NAME and name in state else value for name, value in before.items()}
    return {each.name: state[each.name] for each in PROPERTIES if state.get(each.name) or state.get(each.name) is False}


def preview_of_create(inputs: Values) -> dict[str, Any]:
    """The outputs that a preview can promise: GitLab decides the others."""
    decided_by_gitlab = [each.name for each in PROPERTIES if not each.replaces]
    return {**dict.fromkeys(decided_by_gitlab, UNKNOWN), "token": UNKNOWN, **inputs}


def preview_of_update(state: Values, inputs: Values) -> dict[str, Any]:
    """The outputs after an update in place: what the program does not set stays as it is."""
    return _with_token({**state, **inputs}, state.get("token"))


def outputs_after_create(inputs: Values, token: str) -> dict[str, Any]:
    """The outputs of a runner whose description could not be read after its creation."""
    return _with_token(inputs, token)


def describe(inputs: Values) -> str:
    """Names the runner in a message, as a person would look for it in GitLab."""
    scope = {"group_type": "group {groupId:g}", "project_type": "project {projectId:g}"}.get(inputs["runnerType"])
    where = scope.format(**inputs) if scope else "the instance"
    return f"the runner {inputs.get('description', '')!r} of {where}"


def _with_token(state: Values, token: str | None) -> dict[str, Any]:
    # An imported runner has no token: GitLab tells it at the creation only.
    return {**state, "token": secret(token)} if token else dict(state)


def _is_unknown(value: Any) -> bool:
    return value == UNKNOWN or (isinstance(value, list) and UNKNOWN in value)


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "whole number":
            return not isinstance(value, bool) and isinstance(value, int | float) and value == int(value)
        case "list of strings":
            return isinstance(value, list) and all(isinstance(each, str) for each in value)
        case _:
            return isinstance(value, str)


def _check_choice(name: str, choices: tuple[str, ...], known: Values) -> list[Failure]:
    if name not in known or known[name] in choices:
        return []
    return [Failure(name, f"{_BY_NAME[name].python} is {known[name]!r}: it has to be one of {', '.join(choices)}")]


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


def _differs(each: Property, state: Values, inputs: Values) -> bool:
    old, new = state.get(each.name), inputs.get(each.name)
    if new is None:
        return each.replaces and old is not None
    if _is_unknown(new) or old is None:
        return True
    return set(old) != set(new) if each.kind == "list of strings" else bool(old != new)


def _tags(tags: list[str], before: Values) -> list[str]:
    """GitLab keeps tags as a set: the order that was there before is kept, or else they are sorted."""
    known = before.get("tagLists")
    return list(known) if isinstance(known, list) and set(known) == set(tags) else sorted(tags)


def _scope_id(name: str, owners: list[Mapping[str, Any]] | None, before: Values) -> int | None:
    if (known := before.get(name)) is not None:
        return int(known)
    # The first one is the owner; the official provider leaves it out, and so replaces a runner that was imported.
    return int(owners[0]["id"]) if owners else None
