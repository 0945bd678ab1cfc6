"""examples/consumer reads deployed stacks and tells projects of the sandbox GitLab how to use their runners."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gitlab
import pytest
import yaml
from gitlab.v4.objects import Project as GitLabProject

from tests.engine.board import Board
from tests.engine.consumers import PIPELINE, Consumer, file_of, running_consumer, variables_of
from tests.engine.world import Sandbox, Stack


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack]) -> Stack:
    """A stack with a runner that builds and one that does not, up."""
    made = new_stack()
    configure(made, made.name)
    made.up()
    return made


def configure(stack: Stack, tag: str) -> None:
    plain = stack.runner(name="plain", kind="plain", tags=["anywhere"], access_level="not_protected")
    stack.configure(concurrent=3, runners=[stack.runner(tags=["anywhere", tag], limit=2), plain])


@pytest.fixture(scope="module")
def project(sandbox: Sandbox) -> GitLabProject:
    """A project that includes the file that the consumer commits."""
    return sandbox.project({".gitlab-ci.yml": PIPELINE})


@pytest.fixture(scope="module")
def consumer(
    stack: Stack, project: GitLabProject, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Consumer]:
    """A consumer of the stack, configured."""
    with running_consumer(tmp_path_factory.mktemp("consumer") / "work", stack, sandbox) as made:
        made.configure(project)
        yield made


def test_a_project_gets_variables_and_a_file_that_say_what_the_stacks_outputs_do(
    stack: Stack, consumer: Consumer, project: GitLabProject
) -> None:
    runners, made = stack.outputs()["runners"], consumer.up()
    assert variables_of(project) == {
        "DIND_RUNNER_TAG": stack.name,
        "DIND_RUNNER_TAGS": json.dumps(["anywhere", stack.name]),
        "DIND_RUNNER_IMAGE": runners["docker"]["image"],
    }
    assert made == {"fragment": file_of(project), "runner": "docker"}
    assert yaml.safe_load(file_of(project)) == {
        ".on-docker": {
            "tags": ["anywhere", stack.name],
            "image": runners["docker"]["image"],
            "rules": [{"if": '$CI_COMMIT_REF_PROTECTED == "true"'}],
        },
        ".on-plain": {"tags": ["anywhere"]},
    }
    assert file_of(project).startswith(
        f"# Made by Pulumi from the outputs of organization/gitlab-dind-runners/{stack.name}:"
    )


def test_what_was_made_is_what_a_second_look_finds(consumer: Consumer) -> None:
    consumer.pulumi("preview", "--expect-no-changes")
    consumer.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_gitlab_finds_the_pipeline_valid_and_the_file_brings_the_runners_tags(
    stack: Stack, project: GitLabProject
) -> None:
    found = project.ci_lint.create({"content": PIPELINE, "include_merged_yaml": True})
    assert (found.valid, found.errors) == (True, [])
    assert yaml.safe_load(found.merged_yaml)["build"]["tags"] == ["anywhere", stack.name]


def test_the_stacks_runner_takes_jobs_that_use_the_file_or_the_variables(
    stack: Stack, sandbox: Sandbox, project: GitLabProject
) -> None:
    expected = int(stack.outputs()["runners"]["docker"]["id"])
    pipeline = sandbox.run_pipeline(project)
    for job in ("build", "by variables"):
        assert sandbox.wait_for_job(project, pipeline, job, "running", "success").runner["id"] == expected
    # What such jobs then do is the same with any pipeline.
    pipeline.cancel()


def test_a_new_tag_of_the_runner_comes_to_the_project_with_the_next_up(
    stack: Stack, consumer: Consumer, project: GitLabProject
) -> None:
    configure(stack, f"{stack.name}-new")
    stack.up()
    consumer.up()
    assert variables_of(project)["DIND_RUNNER_TAG"] == f"{stack.name}-new"
    assert yaml.safe_load(file_of(project))[".on-docker"]["tags"] == ["anywhere", f"{stack.name}-new"]


def test_a_stack_that_nobody_knows_or_that_is_not_up_or_older_is_told(
    stack: Stack, consumer: Consumer, project: GitLabProject
) -> None:
    consumer.configure(project, "nobody")
    name = "organization/gitlab-dind-runners/nobody"
    assert f'unknown stack "{name}"' in consumer.refusal()

    nobody = replace(stack, name="nobody")
    nobody.pulumi("stack", "init")
    assert (
        f"error: stack {name} has no outputs: it was never deployed, or is destroyed; bring it up first"
        in consumer.refusal()
    )

    old = json.loads(
        stack.pulumi("stack", "export").stdout.replace(f"urn:pulumi:{stack.name}::", "urn:pulumi:nobody::")
    )
    (root,) = [each for each in old["deployment"]["resources"] if each["type"] == "pulumi:pulumi:Stack"]
    del root["outputs"]["version"]
    old["deployment"]["resources"] = [root]
    file = stack.directory / "old.json"
    file.write_text(json.dumps(old))
    nobody.pulumi("stack", "import", "--file", str(file))
    assert (
        f"error: stack {name} has no output version: it was deployed by an older version of gitlab-dind-runners; bring "
        "it up again with a newer one"
    ) in consumer.refusal()
    consumer.configure(project)


def test_destroy_removes_the_variables_and_the_file_and_leaves_the_stack(
    stack: Stack, consumer: Consumer, project: GitLabProject
) -> None:
    consumer.pulumi("destroy", "--yes", "--skip-preview")
    assert variables_of(project) == {}
    with pytest.raises(gitlab.GitlabGetError, match="404"):
        file_of(project)
    assert stack.outputs()["runners"]["docker"]["id"]


def test_a_stack_on_a_board_is_read_as_one_on_a_docker_host_is(
    new_stack: Callable[..., Stack], board: Board, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack = new_stack(board)
    stack.up()
    project = sandbox.project({".gitlab-ci.yml": PIPELINE})
    with running_consumer(tmp_path / "work", stack, sandbox) as consumer:
        consumer.configure(project)
        consumer.up()
        image = stack.outputs()["runners"]["docker"]["image"]
        assert variables_of(project) == {
            "DIND_RUNNER_TAG": stack.name,
            "DIND_RUNNER_TAGS": json.dumps([stack.name]),
            "DIND_RUNNER_IMAGE": image,
        }
        found = project.ci_lint.create({"content": PIPELINE, "include_merged_yaml": True})
        assert (found.valid, yaml.safe_load(found.merged_yaml)["build"]["tags"]) == (True, [stack.name])
    assert variables_of(project) == {}
