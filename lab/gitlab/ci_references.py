"""YAML with `!reference [job, keyword]`. Pure.

https://docs.gitlab.com/ci/yaml/yaml_optimization/#reference-tags
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from lab.gitlab.ci_reader import CiYamlError


@dataclass(frozen=True)
class Reference:
    """What stands for another part of the configuration."""

    path: tuple[str, ...]

    def __str__(self) -> str:
        return f"!reference {json.dumps(self.path)}"


class _Loader(yaml.SafeLoader):
    pass


def _reference(loader: yaml.SafeLoader, node: yaml.Node) -> Reference:
    path = loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else []
    if not path or not all(isinstance(key, str) for key in path):
        raise CiYamlError(["Invalid configuration format: !reference needs a list of texts, as in [.job, script]"])
    return Reference(tuple(path))


_Loader.add_constructor("!reference", _reference)


def load(text: str) -> Any:
    """A YAML document, its references not resolved. Raises yaml.YAMLError, ValueError (a date that there is not)."""
    return yaml.load(text, _Loader)


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what its references mean. Raises CiYamlError in GitLab's words."""
    return {key: _resolved(value, config, ()) for key, value in config.items()}


def _resolved(value: Any, config: Mapping[str, Any], seen: tuple[Reference, ...]) -> Any:
    if isinstance(value, Reference):
        if value in seen:
            raise CiYamlError([f"{value} is part of a circular chain"])
        return _resolved(_found(value, config), config, (*seen, value))
    if isinstance(value, Mapping):
        return {key: _resolved(item, config, seen) for key, item in value.items()}
    return [_resolved(item, config, seen) for item in value] if isinstance(value, list) else value


def _found(reference: Reference, config: Mapping[str, Any]) -> Any:
    found: Any = config
    for key in reference.path:
        found = found.get(key) if isinstance(found, Mapping) else None
    if found is None:
        raise CiYamlError([f"{reference} could not be found"])
    return found
