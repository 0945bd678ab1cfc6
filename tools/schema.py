"""`python -m tools schema`: the JSON schema of stack files, by which editors complete, explain and check settings."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from stacks.settings.mistakes import Model, models_in
from stacks.targets import TARGETS, model
from tools.stack_files import SETTINGS_KEY

FILE = Path(__file__).resolve().parents[1] / "settings.schema.json"


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_options: argparse.Namespace) -> int:
    """Write the file."""
    FILE.write_text(written())
    print(FILE.name)
    return 0


def written() -> str:
    """The schema's text: a line for each setting, so that changes can be read."""
    return _lines(schema(), 4) + "\n"


def schema() -> dict[str, Any]:
    """The schema of `Pulumi.<stack>.yaml`.

    It refuses nothing that the program takes: settings may be missing, or null, as the shared ones in Pulumi.yaml may
    have them; and a text may be encrypted. Where the stack's own file names no target, any target's settings will do.
    """
    models = [model(target) for target in TARGETS]
    _, generated = models_json_schema([(each, "validation") for each in models], ref_template="#/$defs/{model}")
    definitions = {name: _plain(each) for name, each in generated["$defs"].items()}
    rows = set(re.findall(r'"items": {"\$ref": "#/\$defs/(\w+)"}', json.dumps(definitions)))
    for each in {each for top in models for each in _models(top)}:
        _explain(definitions[each.__name__], each)
    for name in definitions.keys() - rows:
        _relax(definitions[name])
    references = {target: {"$ref": f"#/$defs/{each.__name__}"} for target, each in zip(TARGETS, models, strict=True)}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Pulumi.<stack>.yaml of gitlab-dind-runners",
        "type": "object",
        "properties": {"config": {"type": "object", "properties": {SETTINGS_KEY: _by_target(references)}}},
        "$defs": definitions,
    }


def _by_target(references: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their target, so that an editor speaks of the mistakes in those of one target alone."""
    cases = [
        {"if": {"properties": {"target": {"const": target}}, "required": ["target"]}, "then": reference}
        for target, reference in references.items()
    ]
    unnamed = {"if": {"not": {"required": ["target"]}}, "then": {"anyOf": list(references.values())}}
    properties = {"target": {"enum": list(references), "description": "What the stack runs on."}}
    return {"type": "object", "properties": properties, "allOf": [*cases, unnamed]}


def _plain(value: Any) -> Any:
    """What pydantic generates, without titles, long defaults and docstrings, and with texts that may be encrypted."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _plain(each) for name, each in value.items() if not _is_noise(name, each)}
    if kept.get("type") == "string" and not {"enum", "const"} & set(kept):
        # As `pulumi config set --secret --path` writes it: {secure: ...}.
        kept |= {"type": ["string", "object"], "required": ["secure"]}
    one, *others = kept.get("anyOf", [None])
    if others == [{"type": "null"}]:
        del kept["anyOf"]
        return _or_null(one) | kept
    return kept


def _is_noise(name: str, value: Any) -> bool:
    is_text = isinstance(value, str)
    return (name in ("title", "description") and is_text) or (
        name == "default" and (value is None or isinstance(value, dict))
    )


def _relax(definition: dict[str, Any]) -> None:
    """Let null be there, and a table be without a setting: it is merged with a shared one, which null takes back."""
    if "properties" in definition:
        definition.pop("required", None)
        definition["properties"] = {name: _or_null(each) for name, each in definition["properties"].items()}
    definition |= _or_null(definition)


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with null beside what it takes. One that refers to another leaves that to the other."""
    if "const" in schema or "$ref" in schema:
        return schema
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    enum = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [*(each for each in types if each != "null"), "null"]} | enum


def _explain(definition: dict[str, Any], explained: type[Model]) -> None:
    """Say of each setting what the docstrings of its model, and of those that it builds on, say of it."""
    told: dict[str, str] = {}
    for each in reversed(explained.mro()):
        for name, text in _entries(inspect.cleandoc(each.__doc__ or "")):
            before = re.sub(r" ?Default.*", "", told.get(name, "")) if text.startswith("Default") else ""
            told[name] = f"{before} {text}".strip()
    for name, setting in definition["properties"].items():
        if not told.get(name, "see there").startswith("see there"):
            setting["description"] = told[name]


def _entries(docstring: str) -> Iterator[tuple[str, str]]:
    """The names and texts in a docstring: `dns, mtu (bytes): text`, on as many lines as are indented."""
    for names, text in re.findall(
        r"^([a-z_]+(?: \([^)]*\))?(?:, [a-z_]+)*): (.*(?:\n    .*)*)", docstring, re.MULTILINE
    ):
        for name in re.sub(r" \(.*?\)", "", names).split(", "):
            yield name, " ".join(text.split())


def _models(top: type[Model]) -> Iterator[type[Model]]:
    """A model and those of all tables in it."""
    yield top
    for field in top.model_fields.values():
        for below in models_in(field.annotation):
            yield from _models(below)


def _lines(value: Any, depth: int, indent: str = "") -> str:
    """JSON with tables on lines of their own down to a depth, and each below it on one line."""
    if not isinstance(value, dict) or not value or not depth:
        return json.dumps(value, ensure_ascii=False)
    inner = indent + "  "
    items = [f"{inner}{json.dumps(name)}: {_lines(each, depth - 1, inner)}" for name, each in value.items()]
    return "{\n" + ",\n".join(items) + f"\n{indent}}}"
