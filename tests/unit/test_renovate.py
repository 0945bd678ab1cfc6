"""The rules in renovate.json find every version that is not to be looked for by hand; docs/use/versions.md is true."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import defaults
from stacks.raspberry_pi.platforms import Platform, helper_image
from stacks.settings import versions
from stacks.settings.places import leaves
from stacks.settings.versions import DEFAULTS, TESTED
from toolchain import pulumi

ROOT = Path(__file__).resolve().parents[2]
CONFIG: Mapping[str, Any] = json.loads((ROOT / "renovate.json").read_text())
PAGE = (ROOT / "docs/use/versions.md").read_text()
FULL_VERSION = re.compile(r"[^:]+:[^@]*\d+\.\d+[^@]*(@.*)?")
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s]+)$", re.MULTILINE)
# https://docs.renovatebot.com/modules/manager/pip_requirements/
REQUIREMENTS = r"/(^|/)[\w-]*requirements([-._]\w+)?\.(txt|pip)$/"
# https://docs.renovatebot.com/modules/manager/gomod/
GO_MODULES = r"/(^|/)go\.mod$/"


@dataclass(frozen=True)
class Found:
    """What a rule makes of a place in a file."""

    file: str
    name: str
    value: str
    datasource: str


def files() -> Iterator[str]:
    """The checkout's own files."""
    for path in ROOT.rglob("*"):
        place = path.relative_to(ROOT)
        if path.is_file() and (not place.parts[0].startswith(".") or place.parts[0] == ".gitlab-ci.yml"):
            yield str(place)


FILES = tuple(files())


def matches(pattern: str, file: str) -> bool:
    """Whether a pattern of a manager, which stands between slashes, is for a file."""
    assert pattern[0] == pattern[-1] == "/", f"{pattern} would be a glob"
    return re.search(pattern[1:-1], file) is not None


def run(manager: Mapping[str, Any]) -> Iterator[Found]:
    """What a manager finds; Renovate's regular expressions are those of JavaScript."""
    for file in FILES:
        if not any(matches(pattern, file) for pattern in manager["managerFilePatterns"]):
            continue
        for text in manager["matchStrings"]:
            for hit in re.finditer(text.replace("(?<", "(?P<"), (ROOT / file).read_text()):
                groups = hit.groupdict()
                name = groups.get("depName") or manager["depNameTemplate"]
                yield Found(file, name, groups["currentValue"], manager["datasourceTemplate"])


FOUND = tuple(found for manager in CONFIG["customManagers"] for found in run(manager))


@pytest.mark.parametrize("image", sorted(set(DEFAULTS.values())))
@pytest.mark.parametrize("file", ["components/defaults.py", "docs/use/versions.md", "docs/use/settings.md"])
def test_every_default_image_is_found_in_the_code_and_on_its_pages(image: str, file: str) -> None:
    name, _, tag = image.partition(":")
    assert Found(file, name, tag, "docker") in FOUND


def images_of_stacks() -> Iterator[tuple[str, str]]:
    """Every image that a stack file of the project or of an example pins by version, with the file."""
    for file in FILES:
        if re.fullmatch(r"Pulumi(\.[^.]+)?\.yaml", Path(file).name):
            for path, value in leaves(yaml.safe_load((ROOT / file).read_text())):
                if str(path[-1]).endswith("image") and isinstance(value, str) and FULL_VERSION.fullmatch(value):
                    yield file, value


@pytest.mark.parametrize(("file", "image"), sorted(set(images_of_stacks())))
def test_every_image_of_a_stack_file_is_found(file: str, image: str) -> None:
    name, _, tag = image.partition(":")
    assert Found(file, name, tag, "docker") in FOUND


def test_there_are_images_in_stack_files_of_the_project_and_of_the_examples() -> None:
    assert {file.partition("/")[0] for file, _ in images_of_stacks()} == {
        "Pulumi.gke.yaml",
        "Pulumi.pi.yaml",
        "examples",
    }


def test_the_helper_image_on_the_page_about_boards_is_found_and_is_the_default_runners() -> None:
    there = {found.name + ":" + found.value for found in FOUND if found.file == "docs/use/raspberry-pi.md"}
    runner = DEFAULTS["runner_image"]
    assert there == {helper_image(runner, Platform.ARM64), helper_image(runner, Platform.ARM_V7)}


def test_the_example_of_a_pinned_image_in_the_policies_is_the_default_daemon() -> None:
    (found,) = [found for found in FOUND if found.file == "policy/rules.py"]
    assert f"{found.name}:{found.value}" == defaults.DAEMON_IMAGE


def test_the_pulumi_cli_that_is_downloaded_is_found() -> None:
    wanted = Found("toolchain/pulumi.py", "pulumi/pulumi", pulumi.OFFICIAL_CLI, "github-releases")
    assert [found for found in FOUND if found.file == wanted.file] == [wanted]


def test_the_examples_are_not_left_out_as_they_are_by_the_preset() -> None:
    assert CONFIG["extends"] == ["config:recommended"]
    assert CONFIG["ignorePaths"] == ["tests/**", "lab/tests/**"], "without it, `**/examples/**` holds"


def test_nothing_is_found_that_registries_do_not_have() -> None:
    helper = "registry.gitlab.com/gitlab-org/gitlab-runner/gitlab-runner-helper"
    assert {found.name for found in FOUND} == {"docker", "gitlab/gitlab-runner", "alpine", helper, "pulumi/pulumi"}


def test_images_are_found_with_digest_and_registry_as_well() -> None:
    (pattern,) = CONFIG["customManagers"][0]["matchStrings"]
    digest = "sha256:" + "0" * 64
    text = f"image: mirror.example.com:5000/library/docker:28.5.2-dind@{digest}, gitlab/gitlab-runner:alpine-v19.4.0"
    hits = [hit.groupdict() for hit in re.finditer(pattern.replace("(?<", "(?P<"), text)]
    assert hits == [
        {
            "depName": "mirror.example.com:5000/library/docker",
            "currentValue": "28.5.2-dind",
            "currentDigest": digest,
        },
        {"depName": "gitlab/gitlab-runner", "currentValue": "alpine-v19.4.0", "currentDigest": None},
    ]


def test_every_file_with_pins_of_python_packages_or_go_modules_has_a_manager() -> None:
    patterns = [REQUIREMENTS, *CONFIG["pip_requirements"]["managerFilePatterns"], GO_MODULES]
    pinned = [file for file in FILES if Path(file).suffix == ".txt" and PIN.search((ROOT / file).read_text())]
    modules = [file for file in FILES if Path(file).name == "go.mod"]
    assert {"requirements.txt", "requirements-dev.txt", "constraints.txt", "examples/consumer/requirements.txt"} < set(
        pinned
    )
    assert len(modules) > 5
    assert [file for file in (*pinned, *modules) if not any(matches(each, file) for each in patterns)] == []


def test_every_pipeline_of_the_examples_has_a_manager() -> None:
    # https://docs.renovatebot.com/modules/manager/gitlabci/
    patterns = [r"/\.gitlab-ci\.ya?ml$/", *CONFIG["gitlabci"]["managerFilePatterns"]]
    named = [
        file for file in FILES if file.endswith(".yml") and re.search(r"^ *image:", (ROOT / file).read_text(), re.M)
    ]
    assert "examples/ci/toolchain.yml" in named
    assert [file for file in named if not any(matches(each, file) for each in patterns)] == []


# docs/use/versions.md


def rows(heading: str) -> list[tuple[str, ...]]:
    """The rows of the table that begins with this line."""
    (text,) = re.findall(rf"^{re.escape(heading)}\n\|[-|]+\|\n((?:\|.*\|\n)+)", PAGE, re.MULTILINE)
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in str(text).splitlines()]


def test_the_page_has_the_defaults() -> None:
    expected = [(f"`{path}`", f"`{image}`") for path, image in DEFAULTS.items()]
    assert rows("| Setting | Default |") == expected


def test_the_page_has_what_the_tests_run_on() -> None:
    expected = [(part, version) for part, found in TESTED.items() for version in found]
    assert [row[:2] for row in rows("| Part | Version | Where it comes from |")] == expected


@pytest.mark.parametrize(
    ("heading", "table", "is_docker"),
    [
        ("| Docker (daemon or client) | Newest API |", versions.DOCKER_API, True),
        ("| Docker (daemon or client) | Oldest API |", versions.DOCKER_OLDEST_API, True),
        ("| GitLab Runner | Newest API | |", versions.RUNNER_API, False),
        ("| GitLab Runner | Oldest API |", versions.RUNNER_OLDEST_API, False),
    ],
)
def test_the_page_has_the_tables_of_apis(
    heading: str, table: Mapping[tuple[int, ...], tuple[int, int]], is_docker: bool
) -> None:
    write = versions.docker_written if is_docker else versions.written
    assert [row[:2] for row in rows(heading)] == [
        (write(version), versions.written(api)) for version, api in table.items()
    ]


def test_the_page_has_what_is_needed_of_kubernetes() -> None:
    found = [row[0] for row in rows("| Kubernetes | What the stack needs of it |")]
    assert found == [versions.written(versions.CRON_JOBS), versions.written(versions.ONE_POD_CLAIMS)]


@pytest.mark.parametrize(
    ("part", "file", "text"),
    [
        ("docker plugin", "requirements.txt", "pulumi-docker=={}\n"),
        ("gitlab plugin", "requirements.txt", "pulumi-gitlab=={}\n"),
        ("Kubernetes", "lab/programs.py", '_KUBERNETES_VERSION = "v{}"\n'),
        ("kubernetes plugin", "requirements.txt", "pulumi-kubernetes=={}\n"),
        ("GitLab Runner", "lab/images.py", 'RUNNER_VERSION = "{}"\n'),
        ("Pulumi CLI", "toolchain/pulumi.py", 'version="{}"'),
        ("Pulumi CLI", "lab/go/language-yaml/go.mod", "github.com/pulumi/pulumi/pkg/v3 v{} "),
        ("Pulumi YAML", "lab/go/language-yaml/go.mod", "github.com/pulumi/pulumi-yaml v{} "),
        ("Pulumi YAML", "lab/programs.py", '_YAML_VERSION = "{}"\n'),
    ],
)
def test_what_the_tests_run_on_is_what_is_pinned(part: str, file: str, text: str) -> None:
    (version,) = TESTED[part]
    assert text.format(version) in (ROOT / file).read_text(), f"correct TESTED in stacks/settings/versions.py: {part}"
