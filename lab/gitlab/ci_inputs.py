"""`spec: inputs` in the header of a file, and `$[[ inputs.NAME ]]` in the rest of it. Pure.

https://docs.gitlab.com/ci/inputs/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from lab.gitlab.ci_reader import NOT_HERE, CiYamlError

_DIVIDER = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)
_BLOCK = re.compile(r"\$\[\[(.*?)\]\]")
_INPUT_KEYS = {"default", "description", "options", "regex", "type"}
_TYPES: dict[str, tuple[type, ...]] = {"array": (list,), "boolean": (bool,), "number": (int, float), "string": (str,)}


def interpolated(text: str, given: Mapping[str, Any]) -> str:
    """A file's content with its inputs filled in, without its header. Raises CiYamlError in GitLab's words."""
    header, content = _split(text)
    if header is None:
        if given:
            raise CiYamlError(["Given inputs not defined in the `spec` section of the included configuration file"])
        return content
    values = _values(_specified(header), given)
    return _BLOCK.sub(lambda block: _filled(block[1].strip(), values), content)


def _split(text: str) -> tuple[Mapping[str, Any] | None, str]:
    """The header, None without one, and the content."""
    documents = [part for part in _DIVIDER.split(text) if part.strip()]
    first = yaml.safe_load(documents[0]) if len(documents) > 1 else None
    if not (isinstance(first, Mapping) and "spec" in first):
        return None, text
    if len(documents) > 2:
        raise CiYamlError(["Invalid configuration format: there may be a header and one document, and no more"])
    return first, documents[1]


def _specified(header: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = header["spec"] or {}
    inputs = (spec.get("inputs") if isinstance(spec, Mapping) else None) or {}
    if not isinstance(spec, Mapping) or not isinstance(inputs, Mapping):
        raise CiYamlError(["header:spec:inputs config should be a hash"])
    errors = [f"header:{key} {NOT_HERE}" for key in header if key != "spec"]
    errors += [f"header:spec:{key} {NOT_HERE}" for key in spec if key != "inputs"]
    for name, wanted in inputs.items():
        if not isinstance(wanted, Mapping | None):
            errors.append(f"header:spec:inputs:{name} config should be a hash")
            continue
        errors += [f"header:spec:inputs:{name}:{key} {NOT_HERE}" for key in wanted or {} if key not in _INPUT_KEYS]
        if not isinstance((wanted or {}).get("options", []), list):
            errors.append(f"header:spec:inputs:{name}:options config should be an array")
        if (wanted or {}).get("type", "string") not in list(_TYPES):
            errors.append(f"unknown input specification for `{name}` (valid types: {', '.join(_TYPES)})")
    if errors:
        raise CiYamlError(errors)
    return inputs


def _values(inputs: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    errors = []
    if unknown := [str(name) for name in given if name not in inputs]:
        errors.append(f"unknown input arguments: {', '.join(unknown)}")
    values = {}
    for name, wanted in inputs.items():
        wanted = wanted or {}
        value = given.get(name)
        source = "default" if value is None else "provided"
        if value is None and "default" not in wanted:
            errors.append(f"`{name}` input: required value has not been provided")
            continue
        values[str(name)] = value = wanted.get("default") if value is None else value
        errors += [f"`{name}` input: {problem}" for problem in _problems(wanted, value, source)]
    if errors:
        raise CiYamlError([", ".join(errors[:3])])
    return values


def _problems(wanted: Mapping[str, Any], value: Any, source: str) -> list[str]:
    kind = wanted.get("type", "string")
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return [f"{source} value is not {'an' if kind == 'array' else 'a'} {kind}"]
    options, regex = wanted.get("options"), wanted.get("regex")
    if options is not None and kind not in ("string", "number"):
        return ["Options can only be used with string and number inputs"]
    if options is not None and value not in options:
        return [f"`{value}` cannot be used because it is not in the list of allowed options"]
    if regex is not None and kind != "string":
        return ["RegEx validation can only be used with string inputs"]
    try:
        if regex is not None and not re.search(str(regex), str(value)):
            return [f"{source} value does not match required RegEx pattern"]
    except re.error:
        return ["invalid regular expression"]
    return []


def _filled(block: str, values: Mapping[str, Any]) -> str:
    """What stands for `inputs.NAME`: a text as it is, anything else as JSON, which is YAML too."""
    access, *functions = (part.strip() for part in block.split("|"))
    if functions:
        raise CiYamlError([f"`{functions[0]}` in $[[ {block} ]] is not supported by the sandbox GitLab: leave it out"])
    kind, _, name = access.partition(".")
    if not name:
        raise CiYamlError(["invalid interpolation access pattern"])
    if kind != "inputs" or name not in values:
        raise CiYamlError([f"unknown interpolation key: `{kind if kind != 'inputs' else name}`"])
    value = values[name]
    return value if isinstance(value, str) else json.dumps(value, default=str)
