"""`include`: one configuration out of several files. Pure: what reads the files is given.

https://docs.gitlab.com/ci/yaml/#include
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import yaml

from lab.gitlab import ci_references
from lab.gitlab.ci_inputs import interpolated
from lab.gitlab.ci_reader import CiYamlError
from lab.gitlab.ci_rules import expand_known, matches

MOST = 150
"""Files that a configuration may include in all, however deep: GitLab's own limit."""

_KEYS = ("local", "project", "file", "ref", "inputs")
_ELSEWHERE = {"remote", "template", "component", "artifact"}


class Place(Protocol):
    """One commit of a project, to read files from."""

    def read(self, file: str) -> bytes | None:
        """A file's content, None where there is none."""

    def files(self) -> Sequence[str]:
        """The paths of all files."""

    def project_at(self, path: str, ref: str) -> Place:
        """Another project at a reference (HEAD: its default branch). Raises CiYamlError in GitLab's words."""


def combined(text: str, place: Place, variables: Mapping[str, str]) -> Any:
    """A file's content with what it includes merged below it.

    variables: those that may stand in an `include`. Raises CiYamlError, yaml.YAMLError, ValueError.
    """
    return _Includer(variables).with_includes(ci_references.load(interpolated(text, {})), place)


def merged(base: Any, over: Any) -> Any:
    """Mappings key by key; anything else is replaced."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return copy.deepcopy(over)
    return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}


@dataclass
class _Includer:
    variables: Mapping[str, str]
    count: int = 0

    def with_includes(self, content: Any, place: Place) -> Any:
        if not isinstance(content, dict) or "include" not in content:
            return content
        result: Any = {}
        wanted = content["include"]
        for item in wanted if isinstance(wanted, list) else [] if wanted is None else [wanted]:
            result = merged(result, self._included(self._specified(item), place))
        return merged(result, {key: value for key, value in content.items() if key != "include"})

    def _specified(self, item: Any) -> Mapping[str, Any]:
        """One include as a mapping whose keys are known, its variables expanded."""
        if isinstance(item, str):
            item = {"remote" if item.startswith(("http://", "https://")) else "local": item}
        if not isinstance(item, Mapping):
            raise CiYamlError(["include config should be an array of hashes or strings"])
        if elsewhere := sorted(str(key) for key in item if key not in _KEYS):
            remedy = "include the file by `local` or `project`" if elsewhere[0] in _ELSEWHERE else "leave it out"
            raise CiYamlError([f"include:{elsewhere[0]} is not supported by the sandbox GitLab: {remedy}"])
        if "local" in item and "project" in item:
            raise CiYamlError(["Each include must use only one of: `local`, `project`"])
        if not ("local" in item or ("project" in item and "file" in item)):
            hint = "does not have a valid subkey for include. Valid subkeys are: `local`, `project`"
            raise CiYamlError([f"`{json.dumps(item, default=str)}` {hint}"])
        return {key: self._expanded(value) if key != "inputs" else value for key, value in item.items()}

    def _expanded(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._expanded(item) for item in value]
        return expand_known(value, self.variables) if isinstance(value, str) else value

    def _included(self, item: Mapping[str, Any], place: Place) -> Any:
        inputs = item.get("inputs") or {}
        if not isinstance(inputs, Mapping):
            raise CiYamlError(["include:inputs config should be a hash"])
        if "local" in item:
            names, label = _names(item["local"], place), "Local file `{}`"
        else:
            place = place.project_at(str(item["project"]), str(item.get("ref") or "HEAD"))
            names = item["file"] if isinstance(item["file"], list) else [item["file"]]
            label = f"Project `{str(item['project']).lower()}` file `{{}}`"
        result: Any = {}
        for name in names:
            result = merged(result, self._file(name, place, label, inputs))
        return result

    def _file(self, name: Any, place: Place, label: str, inputs: Mapping[str, Any]) -> Any:
        if self.count >= MOST:
            raise CiYamlError([f"Maximum of {MOST} nested includes are allowed!"])
        self.count += 1
        if not isinstance(name, str):
            raise CiYamlError([f"Included file `{name}` needs to be a string"])
        file = name.lstrip("/")
        if not file.lower().endswith((".yml", ".yaml")):
            raise CiYamlError([f"Included file `{file}` does not have YAML extension!"])
        text = place.read(file)
        if text is None or not text.strip():
            raise CiYamlError([f"{label.format(file)} {'does not exist' if text is None else 'is empty'}!"])
        try:
            content = ci_references.load(interpolated(text.decode("utf-8-sig"), inputs))
        except CiYamlError as error:
            raise CiYamlError([f"`{file}`: {problem}" for problem in error.errors]) from None
        except (yaml.YAMLError, ValueError) as error:
            raise CiYamlError([f"`{file}`: Invalid configuration format: {' '.join(str(error).split())}"]) from None
        if not isinstance(content, dict) or not content:
            raise CiYamlError([f"Included file `{file}` does not have valid YAML syntax!"])
        return self.with_includes(content, place)


def _names(local: Any, place: Place) -> list[Any]:
    """The files that a `local` means, of which a * may mean several."""
    if not isinstance(local, str) or "*" not in local:
        return [local]
    return [file for file in sorted(place.files()) if matches(local.lstrip("/"), file)]
