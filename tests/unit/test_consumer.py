"""What examples/consumer makes of a stack's outputs, and what it refuses."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.consumer.outputs import VARIABLES, VERSION, OutputsError, Runners, check_name, read
from stacks.outputs import VERSION as CURRENT
from tests.unit import test_docker_host, test_gke, test_raspberry_pi
from tests.unit.samples import WITH_CLIENT, runner

CONSUMER = Path(__file__).resolve().parents[2] / "examples" / "consumer"
STACK = "organization/gitlab-dind-runners/prod"
TWO = [
    runner(name="docker", tags=["linux", "dind"], image="job:1"),
    runner(name="plain", kind="plain", tags=["linux"], access_level="not_protected"),
]
RECORD: Mapping[str, Callable[..., Any]] = {
    "docker-host": test_docker_host.record,
    "raspberry-pi": test_raspberry_pi.record,
    "gke": test_gke.record,
}


def outputs_of(target: str = "docker-host", **settings: Any) -> dict[str, Any]:
    """The outputs of a stack with these settings."""
    return copy.deepcopy(RECORD[target](**{"runners": TWO, **settings}).outputs)


def consumed(outputs: Mapping[str, Any], project: str = "demo/app", chosen: str | None = None) -> Runners:
    return read(STACK, outputs, project=project, runner=chosen)


def refusal(outputs: Mapping[str, Any], project: str = "demo/app", chosen: str | None = None) -> str:
    with pytest.raises(OutputsError) as refused:
        consumed(outputs, project, chosen)
    return str(refused.value)


@pytest.mark.parametrize("target", RECORD)
def test_variables_and_file_are_the_same_for_every_target(target: str) -> None:
    made = consumed(outputs_of(target))
    assert made.variables == {
        "TAG": "dind",
        "TAGS": '["linux", "dind"]',
        "IMAGE": "job:1",
    }
    assert made.fragment == (
        f"# Made by Pulumi from the outputs of {STACK}: change it there.\n"
        ".on-docker:\n"
        '  tags: ["linux", "dind"]\n'
        '  image: "job:1"\n'
        "  rules:\n"
        "    # The runner takes no others; without this, the jobs of other branches would wait for ever.\n"
        '    - if: $CI_COMMIT_REF_PROTECTED == "true"\n'
        ".on-plain:\n"
        '  tags: ["linux"]\n'
    )
    assert made.url == "https://gitlab.example.com"


def test_the_consumer_knows_the_present_version_of_the_outputs() -> None:
    assert VERSION == CURRENT


def test_a_tag_that_others_have_too_is_taken_where_there_is_no_other() -> None:
    made = consumed(outputs_of(runners=[runner(tags=["linux"]), runner(name="plain", kind="plain", tags=["linux"])]))
    assert made.variables["TAG"] == "linux"


def test_a_shell_has_no_image_and_any_tag_stays_what_it_is() -> None:
    shell = runner(executor="shell", tags=['"b":ü'], access_level="not_protected")
    made = consumed(outputs_of(runner_image=WITH_CLIENT, runners=[shell]))
    assert made.variables["IMAGE"] == ""
    assert yaml.safe_load(made.fragment) == {".on-docker": {"tags": ['"b":ü']}}
    assert yaml.safe_load(made.variables["TAGS"]) == ['"b":ü']


def test_the_runner_can_be_chosen_among_several_that_build() -> None:
    outputs = outputs_of(runners=[runner(name="a", tags=["a"]), runner(name="b", kind="job-dind", tags=["b"])])
    assert consumed(outputs, chosen="b").variables["TAG"] == "b"
    assert refusal(outputs) == (
        f"stack {STACK} has several runners that build: choose one by `runner`, of a (dind), b (job-dind)"
    )
    assert refusal(outputs, chosen="c") == f"stack {STACK} has no runner 'c': it has a (dind), b (job-dind)"


def test_a_stack_that_was_never_deployed_is_told() -> None:
    assert refusal({}) == (f"stack {STACK} has no outputs: it was never deployed, or is destroyed; bring it up first")


@pytest.mark.parametrize(
    "path",
    ["version", "gitlab", "gitlab.url", "daemon", "runners", "runners.docker.kind", "runners.plain.access_level"],
)
def test_an_output_that_an_older_version_did_not_have_is_named(path: str) -> None:
    outputs = outputs_of()
    *above, name = path.split(".")
    table = outputs
    for key in above:
        table = table[key]
    del table[name]
    missing = "gitlab.scope" if path == "gitlab" else path
    assert refusal(outputs) == (
        f"stack {STACK} has no output {missing}: it was deployed by an older version of gitlab-dind-runners; bring it "
        "up again with a newer one"
    )


def test_outputs_of_another_version_are_not_guessed_at() -> None:
    assert refusal(outputs_of() | {"version": 2}) == (
        f"stack {STACK} has outputs of version 2, and this program knows version 1: take the program that belongs to "
        "the stack's"
    )


@pytest.mark.parametrize("target", RECORD)
def test_a_stack_whose_runners_build_nothing_is_told(target: str) -> None:
    outputs = outputs_of(target, runners=[runner(name="plain", kind="plain")])
    assert refusal(outputs) == (
        f"stack {STACK} has no runner that builds images: it has plain (plain); add one of kind dind there"
    )
    assert refusal(outputs, chosen="plain") == refusal(outputs).replace("no runner that", "no runner plain that")


def test_only_a_runner_that_builds_with_the_daemon_needs_one() -> None:
    on_the_host = outputs_of(runners=[runner(name="host", kind="host-docker")])
    assert on_the_host["daemon"] is None
    assert consumed(on_the_host).builder.kind == "host-docker"
    assert refusal(outputs_of() | {"daemon": None}) == (
        f"stack {STACK} has no daemon, which runner docker builds with: bring it up again"
    )


def test_a_runner_without_tags_cannot_be_asked_for() -> None:
    outputs = outputs_of(runners=[runner(tags=[], run_untagged=True)])
    assert refusal(outputs) == (
        f"runner docker of stack {STACK} has no tags, so no job can ask for it: give it tags in that stack"
    )


@pytest.mark.parametrize(
    ("gitlab", "project", "served"),
    [
        ({"scope": "project", "project": "demo/app"}, "demo/other", "the project demo/app"),
        ({"scope": "group", "group": "demo"}, "demonstration/app", "the group demo"),
        ({"scope": "project", "project": "demo/app"}, "demo/app", None),
        ({"scope": "group", "group": "demo"}, "demo/below/app", None),
        ({"scope": "project", "project": "demo/app"}, "Demo/App", None),
        ({"scope": "group", "group": "Demo"}, "demo/app", None),
        ({"scope": "instance"}, "any/app", None),
        ({"scope": "project", "project": 7}, "demo/app", None),
        ({"scope": "group", "group": "demo"}, "7", None),
    ],
)
def test_a_project_that_the_runners_do_not_serve_is_told_where_that_can_be_known(
    gitlab: dict[str, Any], project: str, served: str | None
) -> None:
    outputs = outputs_of(gitlab={"url": "https://gitlab.example.com", **gitlab})
    if served is None:
        assert consumed(outputs, project).builder.name == "docker"
    else:
        assert refusal(outputs, project) == f"stack {STACK} serves {served} alone, and not {project}"


@pytest.mark.parametrize("name", ["prod", "gitlab-dind-runners/prod", "organization//prod"])
def test_a_name_that_is_not_whole_is_told(name: str) -> None:
    with pytest.raises(OutputsError) as refused:
        check_name(name)
    assert str(refused.value) == (
        f"runners-stack is {name!r}: write the whole name, organization/gitlab-dind-runners/<stack> (with Pulumi "
        "Cloud, your organization's own name)"
    )
    assert check_name(STACK) == STACK


def test_the_readme_names_every_variable_and_every_setting_of_the_example() -> None:
    readme = (CONSUMER / "README.md").read_text()
    assert re.findall(r"^\| variable `(\w+)` \|", readme, re.MULTILINE) == [f"DIND_RUNNER_{end}" for end in VARIABLES]
    example = (CONSUMER / "Pulumi.example.yaml").read_text()
    settings = re.findall(r"^ +#? ?gitlab-dind-consumer:([a-z-]+):", example, re.MULTILINE)
    rows = re.findall(r"^\| `([a-z-]+)` \|", readme, re.MULTILINE)
    assert rows == settings
    program = (CONSUMER / "__main__.py").read_text()
    assert set(re.findall(r'config\.(?:get|require)\("([a-z-]+)"', program)) == set(settings)


def test_the_example_takes_the_versions_of_the_project() -> None:
    pinned = (CONSUMER.parents[1] / "requirements.txt").read_text().splitlines()
    assert set((CONSUMER / "requirements.txt").read_text().splitlines()) < set(pinned)
