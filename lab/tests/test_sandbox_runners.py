"""The sandbox's users, tokens and runners, as API clients see them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gitlab
import pytest
import requests

from lab.gitlab.store import now
from lab.tests.live_sandbox import Live, running


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("sandbox")) as found:
        yield found


def create(live: Live, **settings: Any) -> requests.Response:
    return live.call("POST", "user/runners", data=settings)


def test_everybody_may_ask_whether_this_is_the_sandbox(live: Live) -> None:
    answer = requests.get(f"{live.url}/-/sandbox", timeout=5)
    assert answer.json() == {"sandbox": True, "project": "gitlab-dind-runners"}


def test_the_front_page_says_what_it_is_not(live: Live) -> None:
    about = requests.get(live.url, timeout=5).json()
    assert about["what"] == "A small GitLab for trying out gitlab-dind-runners. It is not GitLab."
    assert about["does_not"]


@pytest.mark.parametrize("path", ["user", "version", "projects", "runners", "runners/all"])
def test_nothing_is_told_without_a_token(live: Live, path: str) -> None:
    answer = live.call("GET", path, token="")
    assert (answer.status_code, answer.json()) == (401, {"message": "401 Unauthorized"})


def test_a_wrong_token_is_refused(live: Live) -> None:
    with pytest.raises(gitlab.GitlabAuthenticationError, match="401 Unauthorized"):
        gitlab.Gitlab(live.url, private_token="glpat-wrong").auth()


def test_tokens_are_taken_from_both_headers(live: Live) -> None:
    answer = live.call("GET", "user", token="", headers={"Authorization": f"Bearer {live.token}"})
    assert (answer.json()["username"], answer.json()["is_admin"]) == ("root", True)
    live.client.auth()
    assert live.client.version() == ("19.4.0-sandbox", "sandbox")


def test_a_revoked_token_is_refused(live: Live) -> None:
    made = live.call("POST", "users/1/personal_access_tokens", json={"name": "t", "scopes": ["api"]}).json()
    assert live.call("GET", "user", token=made["token"]).status_code == 200
    live.call("DELETE", f"personal_access_tokens/{made['id']}")
    answer = live.call("GET", "user", token=made["token"])
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


def test_a_token_that_has_expired_is_refused(live: Live) -> None:
    wanted = {"name": "t", "scopes": ["api"], "expires_at": "2020-01-01"}
    made = live.call("POST", "users/1/personal_access_tokens", json=wanted).json()
    answer = live.call("GET", "user", token=made["token"])
    assert answer.json() == {
        "error": "invalid_token",
        "error_description": "Token is expired. You can either do re-authorization or token refresh.",
    }


def test_unknown_scopes_are_refused(live: Live) -> None:
    answer = live.call("POST", "users/1/personal_access_tokens", json={"name": "t", "scopes": ["everything"]})
    assert (answer.status_code, answer.json()) == (400, {"error": "scopes does not have a valid value"})


def test_a_reading_token_cannot_create_a_runner(live: Live) -> None:
    answer = live.call("POST", "user/runners", token=live.token_with("read_api"), data={"runner_type": "instance_type"})
    assert answer.status_code == 403
    assert answer.json() == {
        "error": "insufficient_scope",
        "error_description": "The request requires higher privileges than provided by the access token.",
        "scope": "api create_runner",
    }


def test_a_token_for_runners_creates_them_and_does_nothing_else(live: Live) -> None:
    token = live.token_with("create_runner")
    answer = live.call("POST", "user/runners", token=token, data={"runner_type": "instance_type"})
    assert answer.status_code == 201
    assert live.call("GET", "projects", token=token).status_code == 403
    assert live.call("DELETE", f"runners/{answer.json()['id']}", token=token).status_code == 403
    assert (
        live.call("DELETE", f"runners/{answer.json()['id']}", token=live.token_with("manage_runner")).status_code == 204
    )


def test_a_created_runner_shows_its_token_once(live: Live) -> None:
    project = live.project()
    made = create(live, runner_type="project_type", project_id=project.id, tag_list="dind,arm", description="d").json()
    assert made["token"].startswith("glrt-")
    assert made["token_expires_at"] is None
    shown = live.client.runners.get(made["id"]).attributes
    assert made["token"] not in str(shown)
    expected = {
        "description": "d",
        "active": True,
        "paused": False,
        "is_shared": False,
        "runner_type": "project_type",
        "online": None,
        "status": "never_contacted",
        "tag_list": ["arm", "dind"],
        "run_untagged": True,
        "locked": False,
        "access_level": "not_protected",
        "maximum_timeout": None,
        "maintenance_note": None,
        "contacted_at": None,
        "job_execution_status": "idle",
    }
    assert {key: shown[key] for key in expected} == expected
    assert [entry["path_with_namespace"] for entry in shown["projects"]] == [project.path_with_namespace]


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        ({}, {"error": "runner_type is missing, runner_type does not have a valid value"}),
        ({"runner_type": "mine"}, {"error": "runner_type does not have a valid value"}),
        ({"runner_type": "group_type"}, {"error": "group_id is missing"}),
        ({"runner_type": "project_type", "project_id": "x"}, {"error": "project_id is invalid"}),
        ({"runner_type": "project_type", "project_id": "999"}, {"message": "400 Bad request - Missing/invalid scope"}),
        (
            {"runner_type": "instance_type", "access_level": "all"},
            {"error": "access_level does not have a valid value"},
        ),
        ({"runner_type": "instance_type", "paused": "maybe"}, {"error": "paused is invalid"}),
        (
            {"runner_type": "instance_type", "maximum_timeout": "599"},
            {"message": "400 Bad request - Maximum timeout needs to be at least 10 minutes"},
        ),
        (
            {"runner_type": "instance_type", "run_untagged": "false"},
            {
                "message": "400 Bad request - Tags list can not be empty when runner is not allowed to pick "
                "untagged jobs"
            },
        ),
        (
            {"runner_type": "instance_type", "maintenance_note": "x" * 1025},
            {"message": "400 Bad request - Maintenance note is too long (maximum is 1024 characters)"},
        ),
    ],
)
def test_a_wrong_runner_is_refused_in_gitlabs_words(live: Live, settings: dict[str, str], body: dict[str, str]) -> None:
    answer = create(live, **settings)
    assert (answer.status_code, answer.json()) == (400, body)


def test_who_is_no_administrator_makes_runners_for_their_own_projects_only(live: Live) -> None:
    user = live.call("POST", "users", json={"username": "ann", "name": "Ann"}).json()
    token = live.token_with("api", user=user["id"])
    refused = live.call("POST", "user/runners", token=token, data={"runner_type": "instance_type"})
    assert (refused.status_code, refused.json()) == (403, {"message": "403 Forbidden - Insufficient permissions"})
    foreign = live.project()
    assert live.call("GET", f"projects/{foreign.id}", token=token).json() == {"message": "404 Project Not Found"}
    group = live.call("POST", "groups", token=token, data={"name": "hers", "path": "hers"}).json()
    own = live.call("POST", "user/runners", token=token, data={"runner_type": "group_type", "group_id": group["id"]})
    assert own.status_code == 201
    assert live.call("GET", "runners/all", token=token).status_code == 403
    assert [runner["id"] for runner in live.call("GET", "runners", token=token).json()] == [own.json()["id"]]


def test_an_update_changes_what_it_names(live: Live) -> None:
    made = create(live, runner_type="instance_type", tag_list="a,b", description="old", maximum_timeout=3600).json()
    runner = live.client.runners.get(made["id"])
    runner.tag_list, runner.description = ["c"], "new"
    runner.save()
    live.call("PUT", f"runners/{made['id']}", json={"paused": True, "maximum_timeout": None})
    shown = live.client.runners.get(made["id"])
    assert (shown.tag_list, shown.description, shown.paused, shown.active) == (["c"], "new", True, False)
    assert (shown.maximum_timeout, shown.run_untagged) == (None, True)


def test_a_wrong_update_changes_nothing(live: Live) -> None:
    made = create(live, runner_type="instance_type", tag_list="a").json()
    path = f"runners/{made['id']}"
    answer = live.call("PUT", path, json={"run_untagged": False, "tag_list": []})
    words = "can not be empty when runner is not allowed to pick untagged jobs"
    assert (answer.status_code, answer.json()) == (400, {"message": {"tags_list": [words]}})
    assert live.call("PUT", path, json={}).json()["error"].endswith("at least one parameter must be provided")
    assert live.client.runners.get(made["id"]).tag_list == ["a"]


def test_a_deleted_runner_is_gone_for_clients_and_for_itself(live: Live) -> None:
    made = create(live, runner_type="instance_type").json()
    live.client.runners.delete(made["id"])
    with pytest.raises(gitlab.GitlabGetError, match="404 Runner Not Found"):
        live.client.runners.get(made["id"])
    assert live.call("POST", "runners/verify", json={"token": made["token"]}).status_code == 403
    assert live.call("POST", "jobs/request", json={"token": made["token"]}).status_code == 403


def test_a_runner_verifies_itself(live: Live) -> None:
    made = create(live, runner_type="instance_type").json()
    live.client.runners.verify(made["token"])
    with pytest.raises(gitlab.GitlabVerifyError, match="403 Forbidden"):
        live.client.runners.verify("glrt-wrong")


@pytest.mark.parametrize("own", [True, False])
def test_a_rotated_token_replaces_the_old_one(live: Live, own: bool) -> None:
    made = create(live, runner_type="instance_type").json()
    path = "runners/reset_authentication_token" if own else f"runners/{made['id']}/reset_authentication_token"
    new = live.call("POST", path, json={"token": made["token"]} if own else None).json()
    assert new["token"] != made["token"]
    assert live.call("POST", "runners/verify", json={"token": made["token"]}).status_code == 403
    assert live.call("POST", "runners/verify", json={"token": new["token"]}).json()["id"] == made["id"]


def test_the_processes_of_a_runner_are_told_apart_by_their_system_id(live: Live) -> None:
    project = live.project("a: {script: [x]}")
    runner = live.runner(project)
    path = f"runners/{runner.id}/managers"
    assert live.call("GET", path).json() == []
    runner.ask("s_1")
    runner.ask("r_2", version="19.3.0")
    live.call("POST", "runners/verify", json={"token": runner.token, "info": {}})
    legacy, second, first = live.call("GET", path).json()
    assert [legacy["system_id"], second["system_id"], first["system_id"]] == ["<legacy>", "r_2", "s_1"]
    assert {key: second[key] for key in ("version", "platform", "status", "job_execution_status", "ip_address")} == {
        "version": "19.3.0",
        "platform": "linux",
        "status": "online",
        "job_execution_status": "idle",
        "ip_address": "127.0.0.1",
    }
    project.pipelines.create({"ref": "main"})
    assert runner.ask("s_1").status_code == 201
    states = {one["system_id"]: one["job_execution_status"] for one in live.call("GET", path).json()}
    assert states == {"<legacy>": "idle", "r_2": "idle", "s_1": "active"}
    (job,) = project.jobs.list(get_all=True)
    assert (job.runner["id"], job.runner_manager["system_id"]) == (runner.id, "s_1")


def test_there_is_no_job_router(live: Live) -> None:
    runner = live.runner(live.project())
    path = "runners/router/discovery"
    answer = live.call("GET", path, token="", headers={"RUNNER-TOKEN": runner.token})
    words = {"message": "Job Router is not available. Please contact your administrator."}
    assert (answer.status_code, answer.json()) == (501, words)
    assert live.call("GET", path, token="").status_code == 403


def test_tokens_of_runners_expire_where_the_instance_says_so(live: Live) -> None:
    keys = [f"{kind}runner_token_expiration_interval" for kind in ("", "group_", "project_")]
    path = "application/settings"
    assert live.call("GET", path).json() == dict.fromkeys(keys)
    try:
        assert live.call("PUT", path, json={keys[2]: 7200}).json()[keys[2]] == 7200
        made = create(live, runner_type="project_type", project_id=live.project().id).json()
        assert create(live, runner_type="instance_type").json()["token_expires_at"] is None
        expires = datetime.fromisoformat(made["token_expires_at"]) - datetime.now(UTC)
        assert timedelta(minutes=119) < expires <= timedelta(minutes=120)
        verified = live.call("POST", "runners/verify", json={"token": made["token"]}).json()
        assert verified == {key: made[key] for key in ("id", "token", "token_expires_at")}
        live.sandbox.store.update("runners", made["id"], token_expires_at=now(after=-1))
        for call in ("runners/verify", "jobs/request"):
            assert live.call("POST", call, json={"token": made["token"]}).status_code == 403
        # An owner can still give it a new one, which is good as long as the setting says now.
        live.call("PUT", path, json={keys[2]: None})
        new = live.call("POST", f"runners/{made['id']}/reset_authentication_token").json()
        assert new["token_expires_at"] is None
        assert live.call("POST", "runners/verify", json={"token": new["token"]}).status_code == 200
    finally:
        live.call("PUT", path, json=dict.fromkeys(keys))


@pytest.mark.parametrize(
    ("given", "body"),
    [
        (
            {"runner_token_expiration_interval": 60},
            {"message": {"runner_token_expiration_interval": ["must be greater than or equal to 7200"]}},
        ),
        (
            {"signup_enabled": False},
            {"error": "signup_enabled: not a setting that the sandbox GitLab knows"},
        ),
        ({"runner_token_expiration_interval": "soon"}, {"error": "runner_token_expiration_interval is invalid"}),
    ],
)
def test_a_wrong_setting_of_the_instance_is_refused(live: Live, given: dict[str, Any], body: dict[str, Any]) -> None:
    answer = live.call("PUT", "application/settings", json=given)
    assert (answer.status_code, answer.json()) == (400, body)


def test_settings_of_the_instance_are_for_administrators(live: Live) -> None:
    user = live.call("POST", "users", json={"username": "eve", "name": "Eve"}).json()
    token = live.token_with("api", user=user["id"])
    for method in ("GET", "PUT"):
        assert live.call(method, "application/settings", token=token, json={}).status_code == 403


def test_registration_tokens_are_gone(live: Live) -> None:
    answer = live.call("POST", "runners", json={"token": "GR1348941", "description": "old"})
    assert (answer.status_code, answer.json()) == (410, {"message": "410 Gone - runner registration disallowed"})


def test_lists_are_filtered_and_paged(live: Live) -> None:
    project = live.project()
    runners = [live.runner(project, tag_list=["list", f"n{number}"], paused=number == 2) for number in range(3)]
    ids = [runner.id for runner in runners]
    found = live.client.runners_all.list(tag_list=["list"], get_all=True)
    assert sorted(runner.id for runner in found) == ids
    assert [runner.id for runner in live.client.runners_all.list(tag_list=["list", "n1"], get_all=True)] == [ids[1]]
    assert [runner.id for runner in live.client.runners.list(tag_list=["list"], paused=True, get_all=True)] == [ids[2]]
    assert len(project.runners.list(type="project_type", get_all=True)) == 3
    page = live.call("GET", f"projects/{project.encoded_id}/runners?per_page=2&page=2&type=project_type")
    assert [entry["id"] for entry in page.json()] == ids[:1]
    headers = {
        name: page.headers[name] for name in ("X-Total", "X-Total-Pages", "X-Page", "X-Next-Page", "X-Prev-Page")
    }
    assert list(headers.values()) == ["3", "2", "2", "", "1"]
    assert f"<{live.url}/api/v4/projects/" in page.headers["Link"]
    assert live.call("GET", "runners?status=sleepy").json() == {"error": "status does not have a valid value"}


def test_a_group_runner_serves_projects_of_its_group_only(live: Live) -> None:
    project, other = live.project(), live.project()
    group = project.namespace["id"]
    made = create(live, runner_type="group_type", group_id=group).json()
    assert made["id"] in [runner.id for runner in live.client.groups.get(group).runners.list(get_all=True)]
    assert made["id"] in [runner.id for runner in project.runners.list(get_all=True)]
    assert made["id"] not in [runner.id for runner in other.runners.list(get_all=True)]


def test_unknown_addresses_answer_as_gitlabs(live: Live) -> None:
    assert live.call("GET", "nonsense").json() == {"error": "404 Not Found"}
    assert live.call("GET", "runners/abc").json() == {"error": "runner_id is invalid"}
    assert live.call("GET", "projects/no%2Fsuch").json() == {"message": "404 Project Not Found"}


@pytest.mark.parametrize(
    ("method", "path", "given", "body"),
    [
        ("GET", f"runners/{'9' * 23}", {}, {"error": "runner_id is invalid"}),
        ("GET", "runners?per_page=²", {}, {"error": "per_page does not have a valid value"}),
        ("GET", f"runners?page={'9' * 23}", {}, {"error": "page does not have a valid value"}),
        (
            "POST",
            "user/runners",
            {"runner_type": "instance_type", "maximum_timeout": 10**30},
            {"error": "maximum_timeout is invalid"},
        ),
        (
            "POST",
            "users/1/personal_access_tokens",
            {"name": "t", "scopes": ["api"], "expires_at": "soon"},
            {"error": "expires_at is invalid"},
        ),
        (
            "POST",
            "projects",
            {"name": "p", "namespace_id": 1, "build_timeout": -5},
            {"message": {"build_timeout": ["needs to be between 10 minutes and 1 month"]}},
        ),
    ],
)
def test_what_cannot_be_is_refused_not_taken_or_stumbled_over(
    live: Live, method: str, path: str, given: dict[str, Any], body: dict[str, Any]
) -> None:
    answer = live.call(method, path, json=given)
    assert (answer.status_code, answer.json()) == (400, body)


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        runner = first.runner(first.project("a: {script: [x]}"), description="kept")
        token = first.token
    with running(tmp_path) as second:
        assert second.token == token
        assert second.client.runners.get(runner.id).description == "kept"
        project = second.client.projects.get("g1/app")
        project.pipelines.create({"ref": "main"})
        assert second.call("POST", "jobs/request", json={"token": runner.token}).status_code == 201


def test_tokens_are_stored_as_digests_and_the_files_are_for_the_owner_only(tmp_path: Path) -> None:
    with running(tmp_path) as live:
        runner = live.runner(live.project())
        stored = b"".join(path.read_bytes() for path in tmp_path.glob("gitlab.db*"))
        assert runner.token.encode() not in stored
        assert live.token.encode() not in stored
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()}
    assert set(modes.values()) == {0o600}
