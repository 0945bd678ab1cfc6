"""ProjectVariable and RepositoryFile of the GitLab plugin over gRPC, as the engine calls it, against a fake GitLab."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from lab.plugins.gitlab import gitlab_api
from lab.plugins.values import UNKNOWN
from lab.tests.fake_gitlab import FakeGitLab, running
from lab.tests.plugin_engine import Engine, Failed, plain, serving, struct, wait_for

VARIABLE = {"project": "demo/app", "key": "TAG", "value": "docker"}
VARIABLE_ID = "demo/app:TAG:*"
VARIABLE_STATE = VARIABLE | {
    "description": "",
    "environmentScope": "*",
    "hidden": False,
    "masked": False,
    "protected": False,
    "raw": False,
    "variableType": "env_var",
}
FILE = {
    "project": "demo/app",
    "branch": "main",
    "filePath": ".gitlab/runners.yml",
    "content": "one\n",
    "encoding": "text",
    "commitMessage": "Take over",
}
FILE_ID = "demo/app:main:.gitlab/runners.yml"


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with running() as fake:
        yield fake


@pytest.fixture
def plugin(gitlab: FakeGitLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(gitlab_api._Repetition, "sleep", lambda *_: None)
    with serving("") as engine:
        engine.configure(gitlab)
        yield engine


@pytest.fixture
def variables(plugin: Engine) -> Engine:
    return plugin.of("gitlab:index/projectVariable:ProjectVariable")


@pytest.fixture
def files(plugin: Engine) -> Engine:
    return plugin.of("gitlab:index/repositoryFile:RepositoryFile")


def kinds(response: Any) -> dict[str, str]:
    """What a diff says of each property."""
    return {name: provider_pb2.PropertyDiff.Kind.Name(each.kind) for name, each in response.detailedDiff.items()}


# --- ProjectVariable


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"project": None}, {"project": "project is missing: set it"}),
        ({"key": "A-B"}, {"key": "key is 'A-B': GitLab takes up to 255 letters, digits and underscores"}),
        ({"variableType": "env"}, {"variableType": "variable_type is 'env': it has to be one of env_var, file"}),
        ({"value": 5}, {"value": "value has to be a string"}),
        (
            {"masked": True},
            {"value": "value cannot be masked: it has to be one line of 8 characters or more, without spaces"},
        ),
        ({"masked": True, "value": "long-enough"}, {}),
        ({"masked": True, "value": UNKNOWN}, {}),
        (
            {"scope": "*"},
            {
                "scope": "ProjectVariable has no input 'scope': it knows project, key, value, description, "
                "environment_scope, masked, protected, raw, variable_type"
            },
        ),
    ],
)
def test_wrong_inputs_of_a_variable_are_named_with_their_remedy_but_never_its_value(
    variables: Engine, change: dict[str, Any], expected: dict[str, str]
) -> None:
    assert variables.check(VARIABLE | change) == expected


def test_a_created_variable_has_an_id_of_project_key_and_scope_and_what_gitlab_decided(
    variables: Engine, gitlab: FakeGitLab
) -> None:
    assert variables.create(VARIABLE) == (VARIABLE_ID, VARIABLE_STATE)
    scoped = VARIABLE | {"environmentScope": "prod/*", "raw": True, "description": "of the stack"}
    assert variables.create(scoped) == ("demo/app:TAG:prod/*", VARIABLE_STATE | scoped)
    assert gitlab.sent("POST")[1].body == {
        "key": "TAG",
        "value": "docker",
        "environment_scope": "prod/*",
        "raw": True,
        "description": "of the stack",
    }


def test_a_preview_of_a_variable_asks_nothing_and_leaves_open_what_gitlab_decides(
    variables: Engine, gitlab: FakeGitLab
) -> None:
    number, state = variables.create(VARIABLE | {"raw": True}, preview=True)
    decided = dict.fromkeys(set(VARIABLE_STATE) - set(VARIABLE), UNKNOWN)
    assert (number, state) == ("", {**decided, **VARIABLE, "raw": True})
    assert variables.update(VARIABLE_ID, VARIABLE_STATE, VARIABLE | {"value": "new"}, preview=True) == (
        VARIABLE_STATE | {"value": "new"}
    )
    assert gitlab.sent("POST") == gitlab.sent("PUT") == []


def test_a_key_that_is_taken_says_how_to_take_the_variable_over(variables: Engine, gitlab: FakeGitLab) -> None:
    variables.create(VARIABLE)
    with pytest.raises(Failed) as failed:
        variables.create(VARIABLE)
    assert str(failed.value) == (
        f"could not create the variable TAG of project demo/app: GitLab at {gitlab.url} answered 400: "
        '{"key": ["(TAG) has already been taken"]}. The variable exists: take it over by the resource option '
        "import_='demo/app:TAG:*', or delete it"
    )


def test_a_variable_whose_creation_has_an_unknown_outcome_is_told(variables: Engine, gitlab: FakeGitLab) -> None:
    gitlab.fail("POST", "/api/v4/projects/demo%2Fapp/variables", 502)
    with pytest.raises(Failed) as failed:
        variables.create(VARIABLE | {"environmentScope": "prod"})
    assert str(failed.value) == (
        f"could not create the variable TAG of project demo/app for environment prod: GitLab at {gitlab.url} answered "
        "502: 502 on purpose. GitLab itself has failed: look into its log, and repeat. The variable may exist all the "
        "same: repeat pulumi up; where that finds it, take it over by the resource option import_='demo/app:TAG:prod'"
    )
    assert len(gitlab.sent("POST")) == 1


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (404, "Check project, and that the token's owner is a member there"),
        (
            403,
            "Give the token the scope api, and its owner the role Maintainer of the project, or for a file the right "
            "to push to its branch",
        ),
    ],
)
def test_a_refused_variable_says_what_to_do(variables: Engine, gitlab: FakeGitLab, status: int, remedy: str) -> None:
    gitlab.fail("POST", "/api/v4/projects/demo%2Fapp/variables", status)
    with pytest.raises(Failed) as failed:
        variables.create(VARIABLE)
    assert str(failed.value) == (
        f"could not create the variable TAG of project demo/app: GitLab at {gitlab.url} answered {status}: {status} on "
        f"purpose. {remedy}"
    )


@pytest.mark.parametrize(
    ("change", "diffs"),
    [
        ({}, {}),
        ({"value": "arm"}, {"value": "UPDATE"}),
        ({"raw": True, "variableType": "file"}, {"raw": "UPDATE", "variableType": "UPDATE"}),
        ({"environmentScope": "*"}, {}),
        ({"environmentScope": "prod"}, {"environmentScope": "UPDATE_REPLACE"}),
        ({"key": "OTHER", "project": "demo/b"}, {"key": "UPDATE_REPLACE", "project": "UPDATE_REPLACE"}),
    ],
)
def test_a_variable_is_replaced_where_its_id_changes_and_the_old_one_goes_first(
    variables: Engine, change: dict[str, Any], diffs: dict[str, str]
) -> None:
    response = variables.diff(VARIABLE_STATE, VARIABLE | change)
    assert kinds(response) == diffs
    assert response.deleteBeforeReplace


def test_a_scope_that_is_taken_out_of_the_program_needs_a_new_variable(variables: Engine) -> None:
    response = variables.diff(VARIABLE_STATE | {"environmentScope": "prod"}, VARIABLE)
    assert kinds(response) == {"environmentScope": "DELETE_REPLACE"}


def test_a_variable_is_changed_in_place_and_only_the_one_of_its_scope(variables: Engine, gitlab: FakeGitLab) -> None:
    number, state = variables.create(VARIABLE)
    variables.create(VARIABLE | {"environmentScope": "prod"})
    after = variables.update(number, state, VARIABLE | {"value": "arm", "raw": True}, ignore=("raw",))
    assert after == state | {"value": "arm"}
    assert {scope: each["value"] for (_, scope), each in gitlab.variables.items()} == {"*": "arm", "prod": "docker"}


def test_a_refresh_takes_over_a_variable_that_was_changed_outside_and_misses_one_that_is_gone(
    variables: Engine, gitlab: FakeGitLab
) -> None:
    number, state = variables.create(VARIABLE)
    assert variables.read(number, state, VARIABLE) == (number, state, VARIABLE)
    gitlab.variables["TAG", "*"] |= {"value": "by hand", "protected": True}
    _, after, inputs = variables.read(number, state, VARIABLE)
    assert after == state | {"value": "by hand", "protected": True}
    assert inputs == VARIABLE | {"value": "by hand"}
    gitlab.variables.clear()
    assert variables.read(number, state, VARIABLE) == ("", {}, {})


@pytest.mark.parametrize("number", [VARIABLE_ID, "demo/app:TAG"])
def test_a_variable_is_imported_by_its_id_of_either_form(variables: Engine, number: str) -> None:
    variables.create(VARIABLE)
    given = {name: value for name, value in VARIABLE_STATE.items() if name not in ("description", "hidden")}
    assert variables.read(number) == (number, VARIABLE_STATE, given)


def test_what_is_not_an_id_of_a_variable_cannot_be_imported(variables: Engine) -> None:
    with pytest.raises(Failed) as failed:
        variables.read("TAG")
    assert str(failed.value) == (
        "'TAG' is not the id of a variable: write <project>:<key>:<environment scope>, "
        "for example my-group/my-project:KEY:*"
    )


def test_a_deleted_variable_is_gone_and_deleting_it_again_is_no_error(variables: Engine, gitlab: FakeGitLab) -> None:
    number, state = variables.create(VARIABLE)
    for _ in range(2):
        variables.delete(number, state)
        assert gitlab.variables == {}


def test_a_variable_that_nobody_waits_for_any_more_is_deleted_again(variables: Engine, gitlab: FakeGitLab) -> None:
    gitlab.be_slow("POST", "/api/v4/projects/demo%2Fapp/variables", 0.2)
    call = variables.stub.Create.future(provider_pb2.CreateRequest(urn=variables.urn, properties=struct(VARIABLE)))
    wait_for("the creation", lambda: bool(gitlab.variables))
    call.cancel()
    wait_for("the deletion", lambda: gitlab.variables == {})


# --- RepositoryFile


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        (
            {"filePath": "/ci.yml"},
            {"filePath": "file_path is '/ci.yml': it has to begin at the top of the project, without / or ./"},
        ),
        ({"encoding": "base64"}, {"encoding": "encoding is 'base64': it has to be one of text"}),
        ({"encoding": None}, {"encoding": "encoding is missing: set it to one of text"}),
        ({"commitMessage": None}, {"commitMessage": "commit_message is missing: set it"}),
        ({"content": UNKNOWN}, {}),
    ],
)
def test_wrong_inputs_of_a_file_are_named_with_their_remedy(
    files: Engine, change: dict[str, Any], expected: dict[str, str]
) -> None:
    assert files.check(FILE | change) == expected


def test_a_created_file_is_a_commit_on_its_branch_with_an_id_of_project_branch_and_path(
    files: Engine, gitlab: FakeGitLab
) -> None:
    number, state = files.create(FILE)
    assert number == FILE_ID
    assert gitlab.sent("POST")[0].body == {
        "branch": "main",
        "encoding": "text",
        "content": "one\n",
        "commit_message": "Take over",
    }
    assert state == FILE | {
        "executeFilemode": False,
        "blobId": "blob-commit-41",
        "commitId": "commit-41",
        "lastCommitId": "commit-41",
        "contentSha256": hashlib.sha256(b"one\n").hexdigest(),
        "fileName": "runners.yml",
        "ref": "main",
        "size": 4,
    }


def test_a_preview_of_a_file_asks_nothing(files: Engine, gitlab: FakeGitLab) -> None:
    _, state = files.create(FILE, preview=True)
    assert {name for name, value in state.items() if value == UNKNOWN} == {
        *("blobId", "commitId", "contentSha256", "fileName", "lastCommitId", "ref", "size", "executeFilemode")
    }
    assert gitlab.sent("GET", "/projects") == gitlab.sent("POST") == []


def test_a_file_that_exists_is_not_overwritten(files: Engine, gitlab: FakeGitLab) -> None:
    files.create(FILE)
    with pytest.raises(Failed) as failed:
        files.create(FILE | {"content": "two\n"})
    assert str(failed.value) == (
        "could not create the file .gitlab/runners.yml on branch main of project demo/app: GitLab at "
        f"{gitlab.url} answered 400: A file with this name already exists. Take it over by the resource option "
        "import_='demo/app:main:.gitlab/runners.yml'"
    )


def test_a_file_that_cannot_be_read_after_its_commit_goes_into_the_state(files: Engine, gitlab: FakeGitLab) -> None:
    gitlab.fail("GET", "/api/v4/projects/demo%2Fapp/repository", 503, times=99)
    with pytest.raises(Failed) as failed:
        files.create(FILE)
    incomplete = failed.value.incomplete
    assert incomplete is not None
    assert (incomplete.id, plain(incomplete.properties)) == (FILE_ID, FILE)
    assert str(failed.value).endswith("Repeat pulumi up: it goes on with this file")


@pytest.mark.parametrize(
    ("change", "diffs"),
    [
        ({}, {}),
        ({"content": "two\n"}, {"content": "UPDATE"}),
        ({"commitMessage": "x"}, {"commitMessage": "UPDATE"}),
        ({"branch": "next"}, {"branch": "UPDATE_REPLACE"}),
        ({"filePath": "x.yml"}, {"filePath": "UPDATE_REPLACE"}),
    ],
)
def test_a_file_is_replaced_where_its_id_changes(files: Engine, change: dict[str, Any], diffs: dict[str, str]) -> None:
    _, state = files.create(FILE)
    assert kinds(files.diff(state, FILE | change)) == diffs


def test_an_update_commits_a_new_content_and_only_that(files: Engine, gitlab: FakeGitLab) -> None:
    number, state = files.create(FILE)
    quiet = files.update(number, state, FILE | {"commitMessage": "Later"})
    assert gitlab.sent("PUT") == []
    assert quiet == state | {"commitMessage": "Later"}
    after = files.update(number, quiet, FILE | {"content": "two\n", "commitMessage": "Second"})
    assert gitlab.sent("PUT")[0].body == {
        "branch": "main",
        "encoding": "text",
        "content": "two\n",
        "commit_message": "Second",
        "last_commit_id": "commit-41",
    }
    assert (after["content"], after["commitId"], after["size"]) == ("two\n", "commit-42", 4)
    preview = files.update(number, state, FILE | {"content": "two\n"}, preview=True)
    assert (preview["commitId"], preview["content"]) == (UNKNOWN, "two\n")


def test_a_commit_in_between_is_not_overwritten(files: Engine, gitlab: FakeGitLab) -> None:
    number, state = files.create(FILE)
    gitlab.files["main", FILE["filePath"]]["commit_id"] = "commit-of-another"
    with pytest.raises(Failed, match="update a file that has changed"):
        files.update(number, state, FILE | {"content": "two\n"})


def test_a_refresh_takes_over_a_file_that_was_changed_outside_and_misses_one_that_is_gone(
    files: Engine, gitlab: FakeGitLab
) -> None:
    number, state = files.create(FILE)
    assert files.read(number, state, FILE) == (number, state, FILE)
    gitlab.files["main", FILE["filePath"]]["content"] = encoded("by hand")
    _, after, inputs = files.read(number, state, FILE)
    assert (after["content"], inputs) == ("by hand", FILE | {"content": "by hand"})
    gitlab.files["main", FILE["filePath"]]["content"] = base64.b64encode(b"\xff").decode()
    assert files.read(number, state, FILE)[2] == FILE | {"content": "\N{REPLACEMENT CHARACTER}"}
    gitlab.files.clear()
    assert files.read(number, state, FILE) == ("", {}, {})


def test_a_file_is_imported_by_its_id(files: Engine) -> None:
    files.create(FILE)
    number, _, inputs = files.read(FILE_ID)
    assert number == FILE_ID
    assert inputs == {
        "project": "demo/app",
        "branch": "main",
        "filePath": ".gitlab/runners.yml",
        "content": "one\n",
        "encoding": "text",
    }
    with pytest.raises(Failed) as failed:
        files.read("main:ci.yml")
    assert str(failed.value) == (
        "'main:ci.yml' is not the id of a file: write <project>:<branch>:<path>, "
        "for example my-group/my-project:main:README.md"
    )


def test_a_deleted_file_is_a_commit_with_its_message_and_deleting_it_again_is_none(
    files: Engine, gitlab: FakeGitLab
) -> None:
    number, state = files.create(FILE | {"commitMessage": "Away & gone"})
    files.delete(number, state)
    files.delete(number, state)
    assert gitlab.files == {}
    (deleted,) = gitlab.sent("DELETE")
    assert deleted.path.endswith("runners.yml?branch=main&commit_message=Away+%26+gone")
