"""The GitLab plugin over gRPC, as the engine calls it, against a fake GitLab."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from pulumi.runtime.proto import provider_pb2

from lab.plugins.gitlab import gitlab_api
from lab.plugins.values import UNKNOWN, secret
from lab.tests.fake_gitlab import TOKEN, FakeGitLab, running
from lab.tests.plugin_engine import Engine, Failed, failures, plain, serving, struct, wait_for

URN = "urn:pulumi:dev::app::dindrunner:index:RunnerRegistration$gitlab:index/userRunner:UserRunner::runner"
PROJECT_RUNNER = {
    "runnerType": "project_type",
    "projectId": 7,
    "description": "build",
    "tagLists": ["docker", "arm"],
    "maintenanceNote": "app/dev",
}
OFFICIAL = (
    "This plugin stands in for the official one and serves the sandbox only; for any other GitLab install the official "
    "one: pulumi plugin install resource gitlab 10.4.0 --reinstall"
)


def known(state: dict[str, Any]) -> dict[str, Any]:
    """The outputs as the engine hands them back: without the marks of secrets."""
    return {name: value["value"] if name == "token" else value for name, value in state.items()}


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with running() as fake:
        yield fake


@pytest.fixture
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    for name in ("GITLAB_TOKEN", "GITLAB_BASE_URL", "GITLAB_EARLY_AUTH_CHECK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gitlab_api._Repetition, "sleep", lambda *_: None)
    with serving(URN) as engine:
        yield engine


@pytest.fixture
def engine(unconfigured: Engine, gitlab: FakeGitLab) -> Engine:
    unconfigured.configure(gitlab)
    return unconfigured


# --- Which GitLab it works with, and how it is configured


@pytest.mark.parametrize("suffix", ["", "/", "/api/v4", "/api/v4/"])
def test_the_base_url_is_taken_with_and_without_the_path_of_the_api(
    unconfigured: Engine, gitlab: FakeGitLab, suffix: str
) -> None:
    unconfigured.configure(gitlab, baseUrl=gitlab.url + suffix)
    assert [each.path for each in gitlab.requests] == ["/-/sandbox", "/api/v4/user"]


def test_the_token_is_sent_as_a_bearer_token_and_only_after_gitlab_said_that_it_is_the_sandbox(
    engine: Engine, gitlab: FakeGitLab
) -> None:
    engine.create(PROJECT_RUNNER)
    assert [each.authorization for each in gitlab.requests] == [None] + [f"Bearer {TOKEN}"] * 3


def test_a_gitlab_that_is_not_the_sandbox_is_refused_before_the_token_is_sent(
    unconfigured: Engine, gitlab: FakeGitLab
) -> None:
    gitlab.sandbox = False
    with pytest.raises(Failed) as failed:
        unconfigured.configure(gitlab)
    assert str(failed.value) == (
        f"refused to work with GitLab at {gitlab.url}: it does not say that it is the sandbox "
        f"(GET {gitlab.url}/-/sandbox answered 404); no token was sent. {OFFICIAL}"
    )
    assert [(each.path, each.authorization) for each in gitlab.requests] == [("/-/sandbox", None)]


@pytest.mark.parametrize("answer", ['{"sandbox": false}', '{"sandbox": "yes"}', "[1]", "true", "not json"])
def test_only_a_clear_yes_makes_a_sandbox(unconfigured: Engine, gitlab: FakeGitLab, answer: str) -> None:
    gitlab.fail("GET", "/-/sandbox", 200, body=answer)
    with pytest.raises(Failed, match=r"^refused to work with GitLab at "):
        unconfigured.configure(gitlab)


def test_a_redirect_does_not_make_a_sandbox(unconfigured: Engine, gitlab: FakeGitLab) -> None:
    with running() as other:
        gitlab.fail("GET", "/-/sandbox", 302, headers={"Location": f"{other.url}/-/sandbox"})
        with pytest.raises(Failed, match=r"/-/sandbox answered 302\); no token was sent"):
            unconfigured.configure(gitlab)
        assert other.requests == []


def test_a_redirect_of_the_api_is_not_followed(engine: Engine, gitlab: FakeGitLab) -> None:
    with running() as other:
        gitlab.fail("GET", "/api/v4/runners/41", 302, headers={"Location": f"{other.url}/api/v4/runners/41"})
        with pytest.raises(Failed) as failed:
            engine.read("41")
        assert other.requests == []
    assert str(failed.value) == (
        f"could not read runner 41: GitLab at {gitlab.url} answered 302: 302 on purpose. A redirect is not followed: "
        "set base_url to the address that it leads to"
    )


def test_a_gitlab_that_is_not_there_is_named_with_the_remedy(unconfigured: Engine) -> None:
    with running() as gone:
        pass
    with pytest.raises(Failed) as failed:
        unconfigured.configure(gone)
    assert str(failed.value) == (
        f"GitLab at {gone.url} cannot be reached: Connection refused. If it is the sandbox, start it: "
        f"python -m lab up. {OFFICIAL}"
    )


def test_a_wrong_token_is_found_before_anything_is_touched(unconfigured: Engine, gitlab: FakeGitLab) -> None:
    with pytest.raises(Failed) as failed:
        unconfigured.configure(gitlab, token="glpat-wrong")
    assert str(failed.value) == (
        f"could not check the token: GitLab at {gitlab.url} answered 401: 401 Unauthorized. The token is wrong, "
        "expired or revoked: set a valid one (GITLAB_TOKEN, or the provider's token)"
    )


def test_a_token_that_may_not_read_its_owner_is_good_enough(unconfigured: Engine, gitlab: FakeGitLab) -> None:
    gitlab.fail("GET", "/api/v4/user", 403, body={"error": "insufficient_scope"})
    unconfigured.configure(gitlab)
    assert unconfigured.create(PROJECT_RUNNER)[0] == "41"


def test_without_the_early_check_nothing_is_asked_until_it_is_needed(unconfigured: Engine, gitlab: FakeGitLab) -> None:
    gitlab.sandbox = False
    unconfigured.configure(gitlab, earlyAuthCheck="false")
    assert gitlab.requests == []
    with pytest.raises(Failed, match=r"^refused to work with GitLab at "):
        unconfigured.create(PROJECT_RUNNER)
    assert [each.path for each in gitlab.requests] == ["/-/sandbox"]


def test_address_and_token_come_from_the_environment_where_the_configuration_is_silent(
    unconfigured: Engine, gitlab: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITLAB_BASE_URL", gitlab.url)
    monkeypatch.setenv("GITLAB_TOKEN", TOKEN)
    unconfigured.call("Configure", provider_pb2.ConfigureRequest())
    assert gitlab.sent("GET", "/user")[0].authorization == f"Bearer {TOKEN}"


def test_a_missing_token_is_named(unconfigured: Engine, gitlab: FakeGitLab) -> None:
    with pytest.raises(Failed) as failed:
        unconfigured.configure(gitlab, token=None)
    assert str(failed.value) == (
        f"no token for GitLab at {gitlab.url}: set GITLAB_TOKEN, or the provider's token as a secret"
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"baseUrl": "gitlab.com"}, "base_url is 'gitlab.com': it has to be like https://gitlab.example.com/api/v4/"),
        (
            {"baseUrl": "https://me:glpat-x@gitlab.com"},
            "base_url holds a user name or a password: leave them out, and set the token instead",
        ),
        ({"earlyAuthCheck": "perhaps"}, "earlyAuthCheck is 'perhaps': it has to be true or false"),
        ({"token": 1}, "token has to be a string"),
        *(
            (
                {name: value},
                f"the sandbox's GitLab plugin does not serve {name!r}, only baseUrl, earlyAuthCheck, token: unset it",
            )
            for name, value in {"cacertFile": "/ca.pem", "headers": '{"A": "secret"}', "insecure": "true"}.items()
        ),
        (
            {"tokn": "glpat-x"},
            "unknown setting 'tokn': the sandbox's GitLab plugin serves baseUrl, earlyAuthCheck, token",
        ),
    ],
)
def test_a_wrong_configuration_is_named_before_anything_is_asked(
    unconfigured: Engine, config: dict[str, Any], expected: str
) -> None:
    assert unconfigured.check_config(**config) == {next(iter(config)): expected}


def test_a_configuration_as_the_sdk_sends_it_is_taken(unconfigured: Engine) -> None:
    config = {
        "baseUrl": UNKNOWN,
        "token": UNKNOWN,
        "insecure": "false",
        "earlyAuthCheck": "false",
        "enableAutoCiSupport": "false",
        "version": "10.4.0",
        "__internal": {},
    }
    assert unconfigured.check_config(**config) == {}


def test_a_secret_configuration_is_read_as_the_engine_sends_it(unconfigured: Engine, gitlab: FakeGitLab) -> None:
    unconfigured.configure(gitlab, token=secret(TOKEN))
    assert gitlab.sent("GET", "/user")[0].authorization == f"Bearer {TOKEN}"


# --- Check


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        (
            {"runnerType": None, "projectId": None},
            {"runnerType": "runner_type is missing: set it to one of instance_type, group_type, project_type"},
        ),
        (
            {"runnerType": "shared"},
            {"runnerType": "runner_type is 'shared': it has to be one of instance_type, group_type, project_type"},
        ),
        ({"projectId": None}, {"projectId": "project_id is missing: a runner of project_type needs it"}),
        ({"groupId": 3}, {"groupId": "group_id is set: a runner of project_type takes none"}),
        (
            {"runnerType": "group_type"},
            {
                "groupId": "group_id is missing: a runner of group_type needs it",
                "projectId": "project_id is set: a runner of group_type takes none",
            },
        ),
        ({"runnerType": "instance_type"}, {"projectId": "project_id is set: a runner of instance_type takes none"}),
        (
            {"accessLevel": "protected"},
            {"accessLevel": "access_level is 'protected': it has to be one of not_protected, ref_protected"},
        ),
        ({"maximumTimeout": 599}, {"maximumTimeout": "maximum_timeout is 599 s: GitLab takes 600 s or more"}),
        ({"maximumTimeout": 600}, {}),
        (
            {"maintenanceNote": "x" * 1025},
            {"maintenanceNote": "maintenance_note has 1025 characters: GitLab takes up to 1024"},
        ),
        ({"projectId": "7"}, {"projectId": "project_id is '7': it has to be a whole number"}),
        ({"paused": "no"}, {"paused": "paused is 'no': it has to be a boolean"}),
        ({"tagLists": "docker"}, {"tagLists": "tag_lists is 'docker': it has to be a list of strings"}),
        (
            {"tags": ["a"]},
            {
                "tags": "UserRunner has no input 'tags': it knows runner_type, group_id, project_id, access_level, "
                "description, locked, maintenance_note, maximum_timeout, paused, tag_lists, untagged"
            },
        ),
        ({"projectId": UNKNOWN, "runnerType": UNKNOWN, "maximumTimeout": UNKNOWN, "tagLists": ["a", UNKNOWN]}, {}),
        ({"projectId": UNKNOWN}, {}),
    ],
)
def test_wrong_inputs_are_named_with_their_remedy(
    unconfigured: Engine, change: dict[str, Any], expected: dict[str, str]
) -> None:
    assert unconfigured.check(PROJECT_RUNNER | change) == expected


def test_other_resources_of_the_official_plugin_are_refused_by_name(unconfigured: Engine) -> None:
    with pytest.raises(Failed) as failed:
        unconfigured.of("gitlab:index/project:Project").check({})
    assert str(failed.value) == (
        "the sandbox's GitLab plugin does not serve the resource gitlab:index/project:Project, only "
        "gitlab:index/userRunner:UserRunner, gitlab:index/projectVariable:ProjectVariable, "
        "gitlab:index/repositoryFile:RepositoryFile. The official plugin serves them all: "
        "pulumi plugin install resource gitlab 10.4.0 --reinstall"
    )


# --- Create


def test_a_created_runner_has_an_id_a_secret_token_and_what_gitlab_decided(engine: Engine, gitlab: FakeGitLab) -> None:
    number, state = engine.create(PROJECT_RUNNER | {"maximumTimeout": 600.0})
    assert number == "41"
    assert state == {
        "runnerType": "project_type",
        "projectId": 7,
        "accessLevel": "not_protected",
        "description": "build",
        "locked": False,
        "maintenanceNote": "app/dev",
        "maximumTimeout": 600,
        "paused": False,
        "tagLists": ["docker", "arm"],
        "untagged": True,
        "token": secret("glrt-secret-41"),
    }
    assert gitlab.sent("POST")[0].body == {
        "runner_type": "project_type",
        "project_id": 7,
        "description": "build",
        "maintenance_note": "app/dev",
        "maximum_timeout": 600,
        "tag_list": ["docker", "arm"],
    }


def test_a_preview_of_a_creation_asks_nothing_and_leaves_open_what_gitlab_decides(
    engine: Engine, gitlab: FakeGitLab
) -> None:
    number, state = engine.create(PROJECT_RUNNER | {"projectId": UNKNOWN}, preview=True)
    assert number == ""
    assert state == PROJECT_RUNNER | {
        "projectId": UNKNOWN,
        "token": UNKNOWN,
        "accessLevel": UNKNOWN,
        "locked": UNKNOWN,
        "maximumTimeout": UNKNOWN,
        "paused": UNKNOWN,
        "untagged": UNKNOWN,
    }
    assert gitlab.sent("POST") == []


def test_the_ids_of_a_large_gitlab_are_written_out(engine: Engine, gitlab: FakeGitLab) -> None:
    gitlab.fail("POST", "/api/v4/user/runners", 502)
    with pytest.raises(Failed, match="create the runner 'build' of project 12345678: ") as failed:
        engine.create(PROJECT_RUNNER | {"projectId": 12345678})
    assert "look for the runner 'build' of project 12345678 with" in str(failed.value)
    assert [each.path for each in gitlab.sent("GET", "/projects")] == [
        "/api/v4/projects/12345678/runners?type=project_type&per_page=100"
    ]
    with pytest.raises(Failed, match="could not look up the group '1234567': "):
        engine.invoke("gitlab:index/getGroup:getGroup", groupId=1234567)
    assert gitlab.sent("GET", "/groups")[0].path == "/api/v4/groups/1234567"


def test_what_gitlab_refuses_is_shown_in_its_own_words(engine: Engine, gitlab: FakeGitLab) -> None:
    with pytest.raises(Failed) as failed:
        engine.create({"runnerType": "instance_type", "untagged": False})
    assert str(failed.value) == (
        f"could not create the runner '' of the instance: GitLab at {gitlab.url} answered 400: "
        '{"tags_list": ["can not be empty when runner is not allowed to pick untagged jobs"]}'
    )


@pytest.mark.parametrize(
    ("status", "body", "remedy"),
    [
        (
            403,
            {"error": "insufficient_scope", "error_description": "..."},
            "insufficient_scope. Give the token the scope create_runner (or api), and its owner the role Owner of the "
            "group, or Maintainer of the project; only an administrator can make an instance's runner",
        ),
        (
            404,
            {"message": "404 Project Not Found"},
            "404 Project Not Found. Check group_id or project_id, and that the token's owner is a member there",
        ),
        (429, {"message": "Slow down"}, "Slow down. This is GitLab's rate limit: wait a minute and repeat"),
    ],
)
def test_a_refused_creation_says_what_to_do(
    engine: Engine, gitlab: FakeGitLab, status: int, body: dict[str, str], remedy: str
) -> None:
    gitlab.fail("POST", "/api/v4/user/runners", status, body=body, times=99)
    with pytest.raises(Failed) as failed:
        engine.create(PROJECT_RUNNER)
    assert str(failed.value) == (
        f"could not create the runner 'build' of project 7: GitLab at {gitlab.url} answered {status}: {remedy}"
    )
    assert gitlab.runners == {}


def test_a_creation_is_repeated_after_a_rate_limit_because_nothing_was_done(engine: Engine, gitlab: FakeGitLab) -> None:
    gitlab.fail("POST", "/api/v4/user/runners", 429, headers={"Retry-After": "3600"}, times=2)
    engine.create(PROJECT_RUNNER)
    assert len(gitlab.sent("POST")) == 3
    assert list(gitlab.runners) == [41]


@pytest.mark.parametrize(
    ("status", "delay", "cause"),
    [
        (502, 0.0, "answered 502: 502 on purpose. GitLab itself has failed: look into its log, and repeat"),
        (201, 2.5, "did not answer within 1 s"),
        (None, 0.0, "cannot be reached: Remote end closed connection without response"),
    ],
)
def test_a_creation_with_an_unknown_outcome_is_not_repeated_and_says_which_runner_to_look_for(
    engine: Engine,
    gitlab: FakeGitLab,
    status: int | None,
    delay: float,
    cause: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if delay:
        monkeypatch.setattr(gitlab_api, "ANSWER_SECONDS", 1.0)
    gitlab.fail("POST", "/api/v4/user/runners", status, delay=delay, after_the_work=True)
    with pytest.raises(Failed) as failed:
        engine.create(PROJECT_RUNNER)
    assert str(failed.value) == (
        f"could not create the runner 'build' of project 7: GitLab at {gitlab.url} {cause}. The runner may exist all "
        "the same, or appear yet: before the next pulumi up, look for the runner 'build' of project 7 with the "
        "maintenance note 'app/dev' that has never connected, and delete it (there now: #41)"
    )
    assert len(gitlab.sent("POST")) == 1


def test_an_answer_without_id_and_token_is_an_unknown_outcome_too(engine: Engine, gitlab: FakeGitLab) -> None:
    gitlab.fail("POST", "/api/v4/user/runners", 201, body={"surprise": True})
    with pytest.raises(Failed) as failed:
        engine.create(PROJECT_RUNNER)
    assert str(failed.value) == (
        f"could not create the runner 'build' of project 7: GitLab at {gitlab.url} answered without the runner's id "
        "and token. The runner may exist all the same, or appear yet: before the next pulumi up, look for the runner "
        "'build' of project 7 with the maintenance note 'app/dev' that has never connected, and delete it "
        "(there now: none)"
    )


def test_a_runner_that_cannot_be_read_after_its_creation_goes_into_the_state_with_its_token(
    engine: Engine, gitlab: FakeGitLab
) -> None:
    gitlab.fail("GET", "/api/v4/runners/41", 503, times=99)
    with pytest.raises(Failed) as failed:
        engine.create(PROJECT_RUNNER)
    text = (
        "the runner 'build' of project 7 has been created (id 41), but could not read runner 41: GitLab at "
        f"{gitlab.url} answered 503: 503 on purpose. GitLab itself has failed: look into its log, and repeat. "
        "Repeat pulumi up: it goes on with this runner"
    )
    assert str(failed.value) == text
    incomplete = failed.value.incomplete
    assert incomplete is not None
    assert (incomplete.id, list(incomplete.reasons)) == ("41", [text])
    assert plain(incomplete.properties) == PROJECT_RUNNER | {"token": secret("glrt-secret-41")}


def test_a_runner_that_nobody_waits_for_any_more_is_deleted_again(engine: Engine, gitlab: FakeGitLab) -> None:
    gitlab.be_slow("POST", "/api/v4/user/runners", 0.2)
    call = engine.stub.Create.future(provider_pb2.CreateRequest(urn=URN, properties=struct(PROJECT_RUNNER)))
    wait_for("the creation", lambda: 41 in gitlab.runners)
    call.cancel()
    wait_for("the deletion", lambda: gitlab.runners == {})


def test_a_changed_configuration_is_told_by_name_so_that_the_provider_can_be_replaced(unconfigured: Engine) -> None:
    old = {"baseUrl": "http://one/api/v4/", "token": TOKEN}
    for news, diffs in ((old, []), (old | {"baseUrl": "http://two/api/v4/"}, ["baseUrl"])):
        request = provider_pb2.DiffRequest(urn=URN, old_inputs=struct(old), news=struct(news))
        response = unconfigured.call("DiffConfig", request)
        assert (list(response.diffs), list(response.detailedDiff), list(response.replaces)) == (diffs, diffs, [])
        assert response.changes == (response.DIFF_SOME if diffs else response.DIFF_NONE)


# --- Diff


STATE = {
    "runnerType": "project_type",
    "projectId": 7,
    "accessLevel": "not_protected",
    "description": "build",
    "locked": False,
    "maintenanceNote": "app/dev",
    "maximumTimeout": 0,
    "paused": False,
    "tagLists": ["docker", "arm"],
    "untagged": True,
    "token": "glrt-secret-41",
}


@pytest.mark.parametrize(
    ("change", "diffs"),
    [
        ({}, {}),
        ({"tagLists": ["arm", "docker"]}, {}),
        ({"tagLists": ["arm"]}, {"tagLists": "UPDATE"}),
        ({"tagLists": None, "description": None, "maintenanceNote": None}, {}),
        ({"description": "other", "paused": True}, {"description": "UPDATE", "paused": "UPDATE"}),
        ({"maximumTimeout": 900}, {"maximumTimeout": "UPDATE"}),
        ({"description": UNKNOWN}, {"description": "UPDATE"}),
        ({"projectId": 8}, {"projectId": "UPDATE_REPLACE"}),
        ({"projectId": UNKNOWN}, {"projectId": "UPDATE_REPLACE"}),
        (
            {"runnerType": "group_type", "projectId": None, "groupId": 3},
            {"runnerType": "UPDATE_REPLACE", "projectId": "DELETE_REPLACE", "groupId": "ADD_REPLACE"},
        ),
    ],
)
def test_only_the_scope_needs_a_new_runner_and_what_the_program_leaves_out_stays(
    unconfigured: Engine, change: dict[str, Any], diffs: dict[str, str]
) -> None:
    response = unconfigured.diff(STATE, PROJECT_RUNNER | change)
    kinds = {name: provider_pb2.PropertyDiff.Kind.Name(each.kind) for name, each in response.detailedDiff.items()}
    assert kinds == diffs
    assert sorted(response.diffs) == sorted(diffs)
    assert sorted(response.replaces) == sorted(name for name, kind in diffs.items() if kind.endswith("_REPLACE"))
    assert response.changes == (response.DIFF_SOME if diffs else response.DIFF_NONE)
    assert not response.deleteBeforeReplace


def test_ignored_changes_are_no_changes(unconfigured: Engine) -> None:
    response = unconfigured.diff(STATE, PROJECT_RUNNER | {"projectId": 8, "description": "x"}, ("projectId",))
    assert list(response.diffs) == ["description"]


# --- Update


def test_an_update_sends_what_can_change_in_place_and_keeps_id_and_token(engine: Engine, gitlab: FakeGitLab) -> None:
    number, state = engine.create(PROJECT_RUNNER)
    after = engine.update(number, known(state), PROJECT_RUNNER | {"paused": True, "tagLists": []})
    assert gitlab.sent("PUT")[0].body == {
        "description": "build",
        "maintenance_note": "app/dev",
        "paused": True,
        "tag_list": [],
    }
    assert after == state | {"paused": True, "tagLists": []}


def test_an_update_leaves_out_what_is_ignored(engine: Engine, gitlab: FakeGitLab) -> None:
    number, state = engine.create(PROJECT_RUNNER)
    engine.update(number, known(state), PROJECT_RUNNER, ignore=("description", "tagLists"))
    assert gitlab.sent("PUT")[0].body == {"maintenance_note": "app/dev"}


def test_an_update_of_nothing_only_reads(engine: Engine, gitlab: FakeGitLab) -> None:
    inputs = {"runnerType": "instance_type"}
    number, state = engine.create(inputs)
    assert engine.update(number, known(state), inputs) == state
    assert gitlab.sent("PUT") == []


def test_a_preview_of_an_update_keeps_what_is_known(engine: Engine, gitlab: FakeGitLab) -> None:
    after = engine.update("41", STATE, PROJECT_RUNNER | {"description": UNKNOWN}, preview=True)
    assert after == STATE | {"description": UNKNOWN, "token": secret("glrt-secret-41")}
    assert gitlab.sent("PUT") == []


def test_an_update_of_a_runner_that_is_gone_says_how_to_get_a_new_one(engine: Engine, gitlab: FakeGitLab) -> None:
    with pytest.raises(Failed) as failed:
        engine.update("41", STATE, PROJECT_RUNNER)
    assert str(failed.value) == (
        f"could not update runner 41: GitLab at {gitlab.url} answered 404: 404 Not found. It was deleted outside of "
        "Pulumi: run pulumi refresh, then pulumi up makes a new one"
    )


# --- Read


def test_a_refresh_finds_no_drift_where_there_is_none(engine: Engine, gitlab: FakeGitLab) -> None:
    number, state = engine.create(PROJECT_RUNNER)
    gitlab.runners[41]["tag_list"].reverse()
    assert engine.read(number, known(state), PROJECT_RUNNER) == (number, state, PROJECT_RUNNER)


def test_a_refresh_takes_over_what_was_changed_outside_and_keeps_the_token(engine: Engine, gitlab: FakeGitLab) -> None:
    number, state = engine.create(PROJECT_RUNNER)
    gitlab.runners[41] |= {"description": "by hand", "paused": True, "tag_list": ["z", "docker"]}
    _, after, inputs = engine.read(number, known(state), PROJECT_RUNNER)
    assert after == state | {"description": "by hand", "paused": True, "tagLists": ["docker", "z"]}
    assert inputs == PROJECT_RUNNER | {"description": "by hand", "tagLists": ["docker", "z"]}


def test_a_runner_that_was_deleted_outside_is_gone(engine: Engine) -> None:
    assert engine.read("41", STATE, PROJECT_RUNNER) == ("", {}, {})


def test_an_import_reads_everything_but_the_token(engine: Engine, gitlab: FakeGitLab) -> None:
    engine.create(PROJECT_RUNNER)
    gitlab.runners[41]["projects"].append({"id": 99})
    number, state, inputs = engine.read("41")
    assert number == "41"
    assert "token" not in state
    assert inputs == PROJECT_RUNNER | {
        "tagLists": ["arm", "docker"],
        "accessLevel": "not_protected",
        "locked": False,
        "paused": False,
        "untagged": True,
    }


def test_what_is_not_an_id_cannot_be_imported(engine: Engine) -> None:
    with pytest.raises(Failed) as failed:
        engine.read("../user")
    assert str(failed.value) == (
        "'../user' is not the id of a runner: it is the number after # in GitLab's list of runners"
    )


# --- Delete


def test_a_deleted_runner_is_gone_and_deleting_it_again_is_no_error(engine: Engine, gitlab: FakeGitLab) -> None:
    number, _ = engine.create(PROJECT_RUNNER)
    engine.delete(number)
    assert gitlab.runners == {}
    engine.delete(number)


def test_a_deletion_without_the_right_says_which_scope_is_missing(engine: Engine, gitlab: FakeGitLab) -> None:
    gitlab.fail("DELETE", "/api/v4/runners/41", 403, body={"message": "403 Forbidden"})
    with pytest.raises(Failed) as failed:
        engine.delete("41")
    assert str(failed.value) == (
        f"could not delete runner 41: GitLab at {gitlab.url} answered 403: 403 Forbidden. Give the token the scope "
        "manage_runner (or api), and its owner the right to manage this runner"
    )


# --- Repetition and secrets


@pytest.mark.parametrize(("status", "times"), [(500, 5), (502, 5), (503, 5), (504, 5), (429, 5), (None, 1)])
def test_what_is_idempotent_is_repeated_until_it_works(
    engine: Engine, gitlab: FakeGitLab, status: int | None, times: int
) -> None:
    number, state = engine.create(PROJECT_RUNNER)
    gitlab.fail("PUT", "/api/v4/runners/41", status, times=times)
    engine.update(number, known(state), PROJECT_RUNNER | {"paused": True})
    assert gitlab.runners[41]["paused"] is True


def test_repetitions_end(engine: Engine, gitlab: FakeGitLab) -> None:
    gitlab.fail("GET", "/api/v4/runners/41", 500, times=99)
    with pytest.raises(Failed) as failed:
        engine.read("41")
    assert str(failed.value) == (
        f"could not read runner 41: GitLab at {gitlab.url} answered 500: 500 on purpose. GitLab itself has failed: "
        "look into its log, and repeat"
    )
    assert len(gitlab.sent("GET", "/runners/41")) == 6


def test_an_answer_that_does_not_come_ends_the_wait(
    engine: Engine, gitlab: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gitlab_api, "ANSWER_SECONDS", 0.3)
    gitlab.fail("GET", "/api/v4/runners/41", 200, delay=1.0, times=99)
    with pytest.raises(Failed) as failed:
        engine.read("41")
    assert str(failed.value) == f"could not read runner 41: GitLab at {gitlab.url} did not answer within 0.3 s"
    assert len(gitlab.sent("GET", "/runners/41")) == 2


def test_gitlab_cannot_ask_for_a_pause_of_any_length() -> None:
    response = urllib3.HTTPResponse(headers={"Retry-After": "3600"})
    assert gitlab_api._Repetition().get_retry_after(response) == 15


def test_a_token_in_an_answer_is_not_shown(engine: Engine, gitlab: FakeGitLab) -> None:
    gitlab.fail("GET", "/api/v4/runners/41", 400, body={"message": f"bad token {TOKEN}"})
    with pytest.raises(Failed) as failed:
        engine.read("41")
    assert str(failed.value).endswith("answered 400: bad token [secret]")


def test_no_secret_is_printed(
    unconfigured: Engine, gitlab: FakeGitLab, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    unconfigured.configure(gitlab)
    number, state = unconfigured.create(PROJECT_RUNNER)
    unconfigured.update(number, known(state), PROJECT_RUNNER)
    unconfigured.delete(number)
    printed = "".join(capfd.readouterr()) + caplog.text
    assert "/api/v4/user/runners" in caplog.text
    assert TOKEN not in printed
    assert "glrt-secret-41" not in printed


# --- Functions


def test_a_project_is_found_by_its_path(engine: Engine) -> None:
    found = engine.invoke("gitlab:index/getProject:getProject", pathWithNamespace="demo/app")
    assert plain(getattr(found, "return")) == {
        "id": "7",
        "name": "app",
        "path": "app",
        "pathWithNamespace": "demo/app",
        "defaultBranch": "main",
    }


def test_a_group_is_found_by_its_path_and_by_its_id(engine: Engine) -> None:
    by_path = plain(getattr(engine.invoke("gitlab:index/getGroup:getGroup", fullPath="demo"), "return"))
    by_id = plain(getattr(engine.invoke("gitlab:index/getGroup:getGroup", groupId=3), "return"))
    assert by_path == by_id == {"id": "3", "groupId": 3, "name": "Demo", "path": "demo", "fullPath": "demo"}


def test_a_project_that_is_not_there_is_named(engine: Engine, gitlab: FakeGitLab) -> None:
    with pytest.raises(Failed) as failed:
        engine.invoke("gitlab:index/getProject:getProject", pathWithNamespace="demo/other")
    assert str(failed.value) == (
        f"could not look up the project 'demo/other': GitLab at {gitlab.url} answered 404: 404 Not found. Check its "
        "path (as in the address of its page), and that the token's owner is a member of it"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "give either id or pathWithNamespace of the project, not none"),
        ({"id": "7", "pathWithNamespace": "demo/app"}, "give either id or pathWithNamespace of the project, not both"),
    ],
)
def test_a_project_is_looked_up_by_one_thing(engine: Engine, arguments: dict[str, str], expected: str) -> None:
    response = engine.invoke("gitlab:index/getProject:getProject", **arguments)
    assert failures(response) == {"pathWithNamespace": expected}


def test_other_functions_of_the_official_plugin_are_refused_by_name(engine: Engine) -> None:
    with pytest.raises(Failed, match=r"^the sandbox's GitLab plugin does not serve the function gitlab:index/getUser"):
        engine.invoke("gitlab:index/getUser:getUser")
