"""The documents say what the code does: settings and their defaults, examples, links, make targets."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin
from xml.etree import ElementTree

import pytest
import yaml
from pydantic.fields import FieldInfo

from components.defaults import DAEMON_IMAGE, RUNNER_IMAGE
from components.kinds import Kind
from stacks.gke import cluster
from stacks.gke.cluster import Access, ClaimFound, Facts, StorageClass
from stacks.gke.settings import GkeSettings
from stacks.raspberry_pi.board import Board, fitted
from stacks.raspberry_pi.platforms import Platform, helper_image
from stacks.raspberry_pi.settings import Orchestrator, RaspberryPiSettings
from stacks.settings import sandbox
from stacks.settings.common import Common
from stacks.settings.mistakes import Model, SettingsError
from stacks.targets import TARGETS, model, parse

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = (".ci", "bench", "components", "docs", "examples", "lab", "policy", "stacks", "tests", "toolchain", "tools")
FILES = [*ROOT.iterdir(), *(path for name in FOLDERS for path in (ROOT / name).rglob("*"))]
# What people and programs write, and where they may name a page of the documents.
TEXTS = sorted(
    path.relative_to(ROOT)
    for path in FILES
    if path.name == "Makefile" or path.suffix in {".md", ".py", ".go", ".yaml", ".yml", ".json", ".toml", ".dot"}
)
PAGES = [path for path in TEXTS if path.suffix == ".md"]
LINK = re.compile(r"\]\(([^)\s#]*)#?([^)\s]*)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTINGS = Path("docs/use/settings.md")
SETTINGS_KEY = "gitlab-dind-runners:settings"
SHARED_KEY = "gitlab-dind-runners:shared"
SMALLEST: Mapping[str, Any] = {
    "target": "docker-host",
    "gitlab": {"scope": "project", "project": "group/project"},
    "runners": [{"name": "docker", "tags": ["docker"]}],
}
MODELS = {target: model(target) for target in TARGETS}
PARTS: Mapping[str, Mapping[str, Any]] = {"gke": {"cluster": {"context": "ci"}}}
"""What the smallest settings of a target need besides."""


def text_of(document: Path) -> str:
    return (ROOT / document).read_text()


def settings_of(model: type[Model], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting with its path, as docs/use/settings.md writes it: `daemon.image`, `runners[].name`."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Model):
                yield from settings_of(part, f"{prefix}{name}{'[]' if get_origin(field.annotation) is tuple else ''}.")


def documented_settings() -> dict[str, str]:
    """The default column of each row of the tables of settings in docs/use/settings.md, by the setting's path."""
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\| ([^|]*) \|[^|]*\|$", text_of(SETTINGS), re.MULTILINE)
    assert len(rows) == len({path for path, _ in rows}), "a setting has two rows"
    return dict(rows)


def documented_default(path: str, target: str) -> str:
    """What the default column says for a target: `docker-host's; raspberry-pi: its own; gke: its own`, or the first."""
    common, *own = documented_settings()[path].split("; ")
    defaults = dict(text.split(": ", 1) for text in own)
    assert set(defaults) < set(TARGETS), f"the default of {path} names no target: {own}"
    return defaults.get(target, common)


def section(title: str) -> str:
    """A section of docs/use/settings.md, without those below the next heading of any level."""
    (text,) = re.findall(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text_of(SETTINGS), re.MULTILINE | re.DOTALL)
    return str(text)


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
    """The settings in a document's YAML blocks, completed where they are a part.

    The first line of a pipeline says what it is, and a program in Pulumi YAML its runtime.
    """
    for language, text in FENCE.findall(text_of(document)):
        if language != "yaml" or text.startswith("# .gitlab-ci.yml"):
            continue
        content = yaml.safe_load(text)
        if content.get("runtime") == "yaml":
            continue
        config = content.get("config", {})
        if SETTINGS_KEY in config:
            yield config[SETTINGS_KEY]
        else:
            part = config[SHARED_KEY]["value"] if SHARED_KEY in config else content
            yield {**SMALLEST, **PARTS.get(part.get("target", ""), {}), **part}


def parse_example(raw: Mapping[str, Any]) -> Common:
    if sandbox.uses_sandbox(raw):
        url = "http://172.17.0.1:8929"
        found = sandbox.Sandbox(url=url, token_file=Path("token"), registry=None, images=None, group="g", project="g/p")
        raw = sandbox.resolve(raw, found)
    return parse(raw)


def anchors(document: Path) -> set[str]:
    """The anchors that GitLab gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(document)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_setting_of_every_target_is_documented_and_nothing_else_is() -> None:
    settings = {path for model in MODELS.values() for path, _ in settings_of(model)}
    documented = set(documented_settings())
    assert sorted(settings - documented) == [], "missing in docs/use/settings.md"
    assert sorted(documented - settings) == [], "documented, but no setting"


@pytest.mark.parametrize("target", ["raspberry-pi", "gke"])
def test_settings_that_only_one_target_has_stand_apart(target: str) -> None:
    others = {path for other, model in MODELS.items() if other != target for path, _ in settings_of(model)}
    own = {path for path, _ in settings_of(MODELS[target])}
    apart = set(re.findall(r"^\| `([^`]+)` \|.*\|.*\|.*\|$", section(f"Only for {target}"), re.MULTILINE))
    assert apart == own - others


def test_every_target_is_documented() -> None:
    (types,) = re.findall(r"^\| `target` \| ([^|]*) \|", text_of(SETTINGS), re.MULTILINE)
    assert types == ", ".join(f"`{target}`" for target in TARGETS)


@pytest.mark.parametrize(
    ("target", "path", "field"),
    [(target, path, field) for target, model in MODELS.items() for path, field in settings_of(model)],
    ids=lambda value: str(value)[:40],
)
def test_documented_defaults_are_those_of_the_models(target: str, path: str, field: FieldInfo) -> None:
    documented, expected = documented_default(path, target), as_documented(field)
    if expected == "none" and f"; {target}: " in documented_settings()[path]:
        # In words, and taken from elsewhere: the next test.
        assert not documented.startswith("`")
    else:
        # After a colon stands what happens where there is no default.
        assert re.sub(r"^none: .*", "none", documented) == expected


def filled_in(cores: int, memory_mib: int) -> dict[str, object]:
    """What a board with these facts fills into the smallest settings, by path."""
    open_settings = parse({**SMALLEST, "target": "raspberry-pi"})
    assert isinstance(open_settings, RaspberryPiSettings)
    board = Board(hostname="pi", architecture="arm64", cores=cores, memory_mib=memory_mib)
    before, after = (dict(leaves(each.model_dump())) for each in (open_settings, fitted(open_settings, board)))
    return {path: value for path, value in after.items() if value != before[path]}


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every single value in dumped settings, with the path that docs/use/settings.md gives it."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaves(below, f"{path}.{key}".lstrip("."))
    elif isinstance(value, tuple) and value and isinstance(value[0], dict):
        yield from leaves(value[0], f"{path}[]")
    else:
        yield path, value


def first_column(title: str) -> set[str]:
    """The settings in the first column of a section's table."""
    return set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE))))


def test_what_is_documented_to_come_from_the_board_does_and_nothing_else() -> None:
    small, big = filled_in(2, 920), filled_in(8, 7811)
    from_board = {path for path, value in big.items() if small[path] != value}
    documented = {
        path for path in documented_settings() if documented_default(path, "raspberry-pi") == "from the board"
    }
    assert documented == from_board
    assert first_column("What the board decides") == from_board


def test_what_a_board_gets_whatever_it_is_is_documented() -> None:
    small, big = filled_in(2, 920), filled_in(8, 7811)
    assert {path: value for path, value in big.items() if small[path] == value} == {
        "runner_memory_mib": 256,
        "runners[].helper_image": helper_image(RUNNER_IMAGE, Platform.ARM64),
    }
    assert documented_default("runner_memory_mib", "raspberry-pi").startswith("256,")
    helper = documented_default("runners[].helper_image", "raspberry-pi")
    assert helper == "the one that belongs to `runner_image`"


def on_cluster(**settings: object) -> GkeSettings:
    parsed = parse({**SMALLEST, "target": "gke", **PARTS["gke"], **settings})
    assert isinstance(parsed, GkeSettings)
    return parsed


def decided(settings: GkeSettings, facts: Facts) -> dict[str, object]:
    """What a cluster with these facts fills into the settings, by path."""
    before, after = (dict(leaves(each.model_dump())) for each in (settings, cluster.fitted(settings, facts)))
    return {path: value for path, value in after.items() if value != before[path]}


def test_what_is_documented_to_come_from_the_cluster_does_and_nothing_else() -> None:
    access = Access(title="ci", context="ci", provider_kubeconfig=None)
    by_csi = StorageClass(name="standard-rwo", is_csi=True, is_default=True)
    made = decided(on_cluster(daemon={"claim": {"size_gib": 200}}), Facts(access=access, storage_classes=(by_csi,)))
    assert made == {"daemon.claim.access_mode": "ReadWriteOncePod", "daemon.cache_budget_gib": 120}
    assert first_column("What the cluster decides") == set(made)
    assert decided(on_cluster(), Facts(access=access)) == {"daemon.claim.access_mode": "ReadWriteOnce"}
    found = ClaimFound(name="x", size_gib=100, access_modes=("ReadWriteOnce",))
    kept = decided(on_cluster(), Facts(access=access, storage_classes=(by_csi,), claim=found))
    assert kept == {"daemon.claim.access_mode": "ReadWriteOnce"}


def test_every_kind_has_a_column_and_is_among_the_values_of_its_setting() -> None:
    (columns,) = re.findall(r"^\| \| (.*`dind`.*) \|$", text_of(Path("docs/use/transports-and-kinds.md")), re.MULTILINE)
    assert re.findall(r"`([a-z-]+)`", columns) == list(Kind)
    (values,) = re.findall(r"^\| `runners\[\]\.kind` \| ([^|]*) \| `dind` \|", text_of(SETTINGS), re.MULTILINE)
    assert re.findall(r"`([a-z-]+)`", values) == list(Kind)


REFUSED: Mapping[str, tuple[object, ...]] = {
    "network.subnet": ("10.90.0.0/24",),
    "daemon.transport": ("socket",),
    "daemon.endpoint": ("tcp://docker:2376",),
    "daemon.data_path": ("/mnt/disk",),
    "daemon.existing_volume": ("docker-cache",),
    "daemon.keep_cache": (True, False),
    "runners[].kind": ("host-docker", "job-dind"),
    "runners[].executor": ("docker", "shell"),
    "runners[].job_daemon_image": (DAEMON_IMAGE,),
    "runners[].volumes": (["/data"],),
    "runners[].shm_size_mib": (64,),
    "runners[].network_mode": ("bridge",),
    "docker_host": ("unix:///var/run/docker.sock",),
    "host_socket": ("/var/run/docker.sock",),
}
"""Values of settings that do not go with target gke."""


def test_what_is_documented_to_be_refused_on_a_cluster_is() -> None:
    listed = first_column("Refused with gke")
    assert listed == set(REFUSED)
    for path, values in REFUSED.items():
        part, _, name = path.rpartition(".")
        for value in values:
            wrong = {name: value}
            settings = {"runners": [{**SMALLEST["runners"][0], **wrong}]} if part == "runners[]" else {part: wrong}
            with pytest.raises(SettingsError, match=re.escape(name)):
                on_cluster(**(settings if part else wrong))


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_settings_in_examples_are_accepted(document: Path) -> None:
    for raw in examples(document):
        parse_example(raw)


def test_readme_and_settings_page_have_examples_that_are_checked() -> None:
    assert len(list(examples(Path("README.md")))) >= 1
    assert len(list(examples(SETTINGS))) >= 8


def test_what_the_readme_sets_with_plain_pulumi_are_whole_settings() -> None:
    found = re.findall(
        r"^pulumi config set --path '?settings\.([^\s']+)'? (\S+)$", text_of(Path("README.md")), re.MULTILINE
    )
    settings = dict(found)
    runner = {"name": settings.pop("runners[0].name"), "tags": [settings.pop("runners[0].tags[0]")]}
    gitlab = {path.removeprefix("gitlab."): settings.pop(path) for path in list(settings) if path.startswith("gitlab.")}
    parse_example({**settings, "gitlab": gitlab, "runners": [runner]})


def test_every_target_and_orchestrator_has_an_example_that_is_checked() -> None:
    found = [parse_example(raw) for document in DOCUMENTS for raw in examples(document)]
    assert {settings.target for settings in found} == set(TARGETS)
    boards = [settings for settings in found if isinstance(settings, RaspberryPiSettings)]
    assert {settings.orchestrator for settings in boards} == set(Orchestrator)


def test_stack_files_of_the_project_are_accepted() -> None:
    files = sorted(ROOT.glob("Pulumi.*.yaml"))
    assert files
    for file in files:
        parse_example(yaml.safe_load(file.read_text())["config"][SETTINGS_KEY])


def leads_somewhere(page: str, anchor: str) -> bool:
    """Whether there is such a file or folder, and, where an anchor is named, a heading of that name in it."""
    place = Path(os.path.normpath(page))
    return (ROOT / place).exists() and (not anchor or (place.suffix == ".md" and anchor in anchors(place)))


@pytest.mark.parametrize("document", PAGES, ids=str)
def test_relative_links_lead_somewhere(document: Path) -> None:
    text = FENCE.sub("", text_of(document))
    links = [(target, anchor) for target, anchor in LINK.findall(text) if "://" not in target]
    assert [
        f"{target}#{anchor}"
        for target, anchor in links
        if not leads_somewhere(str(document.parent / target if target else document), anchor)
    ] == []


def test_links_are_written_in_the_one_way_that_is_looked_for() -> None:
    other = re.compile(r"<(?:a|img) |^\[[^\]]+\]: |\]\[", re.MULTILINE)
    assert [str(page) for page in PAGES if other.search(FENCE.sub("", text_of(page)))] == []


def test_pages_and_headings_that_texts_name_are_there() -> None:
    """Also in messages, settings files and pipelines, and with the heading after a `#` or between quotes."""
    named = [
        (str(file), name, anchor)
        for file in TEXTS
        for name, anchor in re.findall(r"(?<![\w/.^-])(docs/[\w./-]*\w)(?:#([\w-]+))?", text_of(file))
    ]
    assert ("Makefile", "docs/use/policy.md", "") in named
    assert ("lab/demo.py", "docs/use/pitfalls.md", "an-image-without-buildx-or-compose") in named
    assert [found for found in named if not leads_somewhere(*found[1:])] == []
    quoted = [
        (str(file), name, heading)
        for file in TEXTS
        for name, heading in re.findall(r"(README\.md|docs/[\w./-]+\.md), \"([^\"]+)\"", text_of(file))
    ]
    assert "Pulumi.dev.yaml" in {file for file, _, _ in quoted}
    assert [found for found in quoted if f"# {found[2]}\n" not in text_of(Path(found[1]))] == []


@pytest.mark.parametrize(
    ("index", "pages"),
    [("docs/README.md", "use/*.md"), ("docs/README.md", "lab/*.md"), ("docs/decisions/README.md", "0*.md")],
)
def test_every_page_is_in_an_index(index: str, pages: str) -> None:
    folder = (ROOT / index).parent
    linked = {target for target, _ in LINK.findall(text_of(Path(index)))}
    there = {str(path.relative_to(folder)) for path in folder.glob(pages)}
    assert there
    assert there <= linked


PICTURES = sorted((ROOT / "docs/pictures").glob("*.svg"))


def test_every_picture_has_a_source_and_a_place_where_it_is_shown() -> None:
    assert [path.with_suffix(".txt") for path in PICTURES] == sorted((ROOT / "docs/pictures").glob("*.txt"))
    shown = {
        os.path.normpath(page.parent / target)
        for page in PAGES
        for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text_of(page))
    }
    assert shown == {str(path.relative_to(ROOT)) for path in [*PICTURES, *(ROOT / "docs/use").glob("*.svg")]}


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_drawn_from_its_source_as_it_is_now(picture: Path) -> None:
    source, tool = picture.with_suffix(".txt"), ROOT / "docs/pictures/draw.py"
    digest = hashlib.sha256(source.read_bytes() + tool.read_bytes()).hexdigest()
    assert picture.read_text().endswith(f"<!-- Drawn from {source.name}, {digest} -->\n"), "run docs/pictures/draw.py"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_fits_a_page_has_a_background_and_needs_nothing_from_elsewhere(picture: Path) -> None:
    text = picture.read_text()
    root = ElementTree.fromstring(text)
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names.isdisjoint({"script", "image", "foreignObject", "a", "use"})
    assert re.findall(r"href|@import|@font-face|url\((?!#)|on\w+=", text) == []
    assert re.findall(r"\w+://\S+", text) == ['http://www.w3.org/2000/svg"']
    assert 700 < int(root.attrib["width"]) <= 800
    background = next(element for element in root if element.tag.endswith("rect"))
    assert all(background.attrib[side] == root.attrib[side] for side in ("width", "height"))
    assert re.search(r"rect\.backdrop \{[^}]*fill: #ffffff", text)
    assert not re.search(r"[{}\"]", "".join(element.text or "" for element in root.iter() if "text" in element.tag))


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_make_targets_that_are_named_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make\s+([a-z]+)", text_of(document), re.MULTILINE))
    assert sorted(named - targets) == []


def test_readme_names_every_command_for_users() -> None:
    readme = text_of(Path("README.md"))
    for target in re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE):
        assert f"make {target}" in readme or target == "help"
