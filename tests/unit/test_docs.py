"""The documents say what the code does: settings and their defaults, examples, links, make targets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic.fields import FieldInfo

from stacks import sandbox
from stacks.mistakes import Model
from stacks.settings import DockerHostSettings, Settings, parse

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTINGS_KEY = "gitlab-dind-runners:settings"
SMALLEST = {
    "target": "docker-host",
    "gitlab": {"scope": "project", "project": "group/project"},
    "runners": [{"name": "docker", "tags": ["docker"]}],
}


def text_of(document: Path) -> str:
    return (ROOT / document).read_text()


def settings_of(model: type[Model], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting with its path, as docs/settings.md writes it: `daemon.image`, `runners[].name`."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Model):
                yield from settings_of(part, f"{prefix}{name}{'[]' if part is not field.annotation else ''}.")


def documented_settings() -> dict[str, str]:
    """The default column of each row of the tables in docs/settings.md, by the setting's path."""
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\| ([^|]*) \|", text_of(Path("docs/settings.md")), re.MULTILINE)
    assert len(rows) == len({path for path, _ in rows}), "a setting has two rows"
    return dict(rows)


def as_documented(field: FieldInfo) -> str:
    """How the default column starts."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    match value:
        case None:
            return "none"
        case Model():
            return "`{}`"
        case bool() | dict():
            return f"`{json.dumps(value)}`"
        case tuple():
            return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


def examples(document: Path) -> Iterator[Mapping[str, Any]]:
    """The settings in a document's YAML blocks, completed where they are a part; a pipeline's first line says so."""
    for language, text in FENCE.findall(text_of(document)):
        if language != "yaml" or text.startswith("# .gitlab-ci.yml\n"):
            continue
        content = yaml.safe_load(text)
        yield content["config"][SETTINGS_KEY] if "config" in content else {**SMALLEST, **content}


def parse_example(raw: Mapping[str, Any]) -> Settings:
    if sandbox.uses_sandbox(raw):
        url = "http://172.17.0.1:8929"
        found = sandbox.Sandbox(url=url, token_file=Path("token"), registry=None, images=None, group="g", project="g/p")
        raw = sandbox.resolve(raw, found)
    return parse(raw)


def anchors(document: Path) -> set[str]:
    """The anchors that GitLab gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(document)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_setting_is_documented_and_nothing_else_is() -> None:
    settings = {path for path, _ in settings_of(DockerHostSettings)}
    documented = set(documented_settings())
    assert sorted(settings - documented) == [], "missing in docs/settings.md"
    assert sorted(documented - settings) == [], "documented, but no setting"


@pytest.mark.parametrize(("path", "field"), list(settings_of(DockerHostSettings)), ids=lambda value: str(value)[:40])
def test_documented_defaults_are_those_of_the_models(path: str, field: FieldInfo) -> None:
    # After a colon stands what happens where there is no default.
    assert re.sub(r"^none: .*", "none", documented_settings()[path]) == as_documented(field)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_settings_in_examples_are_accepted(document: Path) -> None:
    for raw in examples(document):
        parse_example(raw)


def test_readme_and_settings_page_have_examples_that_are_checked() -> None:
    assert len(list(examples(Path("README.md")))) >= 1
    assert len(list(examples(Path("docs/settings.md")))) >= 6


def test_stack_files_of_the_project_are_accepted() -> None:
    files = sorted(ROOT.glob("Pulumi.*.yaml"))
    assert files
    for file in files:
        parse_example(yaml.safe_load(file.read_text())["config"][SETTINGS_KEY])


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_relative_links_lead_somewhere(document: Path) -> None:
    dead = []
    for target, anchor in re.findall(r"\]\(([^)\s#]*)#?([^)\s]*)\)", FENCE.sub("", text_of(document))):
        if "://" in target:
            continue
        file = (ROOT / document).parent / target if target else ROOT / document
        if not file.exists() or (anchor and anchor not in anchors(file.resolve().relative_to(ROOT))):
            dead.append(f"{target}#{anchor}")
    assert dead == []


def test_documents_that_sources_name_exist() -> None:
    folders = ("components", "examples", "sandbox", "stacks", "tests", "toolchain")
    sources = [
        *ROOT.glob("*.py"),
        *ROOT.glob("*.yaml"),
        *(path for name in folders for path in (ROOT / name).rglob("*.py")),
    ]
    named = {name for path in sources for name in re.findall(r"docs/[a-z0-9/-]+\.md", path.read_text())}
    assert "docs/settings.md" in named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_make_targets_that_are_named_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make\s+([a-z]+)", text_of(document), re.MULTILINE))
    assert sorted(named - targets) == []


def test_readme_names_every_command_for_users() -> None:
    readme = text_of(Path("README.md"))
    for target in re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE):
        assert f"make {target}" in readme or target == "help"
