"""The note and the issue: made once, found again, kept up to date, through the real client on the sandbox's API."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gitlab
import pytest
from gitlab.v4.objects import Project, ProjectMergeRequest

from lab.tests.live_sandbox import Live, running
from tools import gitlab_api
from tools.gitlab_api import NotPosted, Place, Posted, keep_issue, post_note
from tools.note import Report, note_text
from tools.steps import Plan, Step

MARK = "<!-- gitlab-dind-runners preview: p/dev -->"
TITLE = "Drift of stack dev"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with running(tmp_path_factory.mktemp("sandbox")) as found:
        yield found


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch, live: Live) -> Iterator[None]:
    monkeypatch.setattr(gitlab_api, "WAITS", (0.01, 0.01))
    yield
    live.call("DELETE", "/-/sandbox/faults")


@pytest.fixture
def project(live: Live) -> Project:
    return live.project(files={"a": "1"})


@pytest.fixture
def merge_request(project: Project) -> ProjectMergeRequest:
    action = {"action": "create", "file_path": "b", "content": "2"}
    project.commits.create({"branch": "topic", "start_branch": "main", "commit_message": "b", "actions": [action]})
    made = project.mergerequests.create({"source_branch": "topic", "target_branch": "main", "title": "b"})
    assert isinstance(made, ProjectMergeRequest)
    return made


def place(live: Live, project: Project, **values: str) -> Place:
    return Place(**{"url": live.url, "project": str(project.id), "token": live.token, **values})


def bodies(merge_request: ProjectMergeRequest) -> list[str]:
    notes = merge_request.notes.list(get_all=True, sort="asc")
    return [note.body for note in notes if not note.system]


def fail(live: Live, match: str, **fault: object) -> None:
    assert live.call("POST", "/-/sandbox/faults", json={"match": match, **fault}).status_code == 201


def test_the_place_is_that_of_the_pipeline() -> None:
    variables = {
        "CI_API_V4_URL": "https://git.example/gl/api/v4",
        "DINDRUNNER_NOTE_TOKEN": " t\n",
        "CI_SERVER_TLS_CA_FILE": "/c",
    }
    assert Place.from_environment(variables, "7") == Place("https://git.example/gl", "7", "t", "/c")


def test_a_note_is_made_then_updated_in_place_and_left_alone_where_it_says_the_same(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    where = place(live, project)
    assert post_note(where, merge_request.iid, MARK, f"{MARK}\none\n") is Posted.MADE
    assert post_note(where, merge_request.iid, MARK, f"{MARK}\ntwo") is Posted.UPDATED
    assert post_note(where, merge_request.iid, MARK, f"{MARK}\r\ntwo\n".replace("\r", "")) is Posted.SAME
    assert bodies(merge_request) == [f"{MARK}\ntwo"]


def test_a_pipeline_that_a_newer_commit_has_overtaken_leaves_the_note_alone(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    where, earlier = place(live, project), merge_request.sha
    assert post_note(where, merge_request.iid, MARK, f"{MARK}\nold", earlier) is Posted.MADE
    action = {"action": "update", "file_path": "b", "content": "3"}
    newer = project.commits.create({"branch": "topic", "commit_message": "c", "actions": [action]}).id
    assert post_note(where, merge_request.iid, MARK, f"{MARK}\nnew", newer) is Posted.UPDATED
    assert post_note(where, merge_request.iid, MARK, f"{MARK}\nold", earlier) is Posted.OUTDATED
    assert bodies(merge_request) == [f"{MARK}\nnew"]


def test_the_note_is_found_behind_pages_of_others(
    live: Live, project: Project, merge_request: ProjectMergeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gitlab_api, "PAGE", 3)
    for number in range(7):
        merge_request.notes.create({"body": f"note {number}"})
    where = place(live, project)
    assert post_note(where, merge_request.iid, MARK, f"{MARK}\none") is Posted.MADE
    assert post_note(where, merge_request.iid, MARK, f"{MARK}\ntwo") is Posted.UPDATED
    assert len(bodies(merge_request)) == 8


def test_a_note_that_was_deleted_by_hand_is_made_anew(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    where = place(live, project)
    post_note(where, merge_request.iid, MARK, MARK)
    for note in merge_request.notes.list(get_all=True):
        note.delete()
    assert post_note(where, merge_request.iid, MARK, MARK) is Posted.MADE


def test_the_note_of_another_stack_and_what_quotes_the_marker_stay(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    others = [f"see {MARK}", MARK.replace("dev", "prod")]
    for body in others:
        merge_request.notes.create({"body": body})
    assert post_note(place(live, project), merge_request.iid, MARK, f"{MARK}\none") is Posted.MADE
    assert bodies(merge_request) == [*others, f"{MARK}\none"]


def test_gitlab_takes_a_note_that_was_cut_at_its_limit_and_not_one_that_was_not(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    volumes = [Step("create", f"urn:pulumi:dev::p::x:y:Z::v{number}", new={"a": "x" * 9000}) for number in range(150)]
    report = Report("p", "dev", plan=Plan(steps=tuple(volumes), counts={"create": 150}))
    where = place(live, project)
    with pytest.raises(NotPosted, match="is too long"):
        post_note(where, merge_request.iid, MARK, note_text(report, limit=10**9))
    assert post_note(where, merge_request.iid, MARK, note_text(report)) is Posted.MADE
    assert len(bodies(merge_request)[0]) > 980_000


def test_somebody_elses_note_is_not_touched(live: Live, project: Project, merge_request: ProjectMergeRequest) -> None:
    user = live.client.users.create(
        {"username": f"u{project.id}", "name": "u", "email": "u@u.invalid", "password": "-"}
    )
    project.visibility = "public"
    project.save()
    client = gitlab.Gitlab(live.url, private_token=live.token_with("api", user=user.id))
    theirs = (
        client.projects.get(project.id).mergerequests.get(merge_request.iid).notes.create({"body": f"{MARK}\nfake"})
    )
    assert post_note(place(live, project), merge_request.iid, MARK, f"{MARK}\nreal") is Posted.MADE
    assert {note.id: note.body for note in merge_request.notes.list(get_all=True)}[theirs.id] == f"{MARK}\nfake"


def test_of_two_notes_that_two_pipelines_made_at_once_one_is_left(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    for _ in range(2):
        merge_request.notes.create({"body": MARK})
    assert post_note(place(live, project), merge_request.iid, MARK, f"{MARK}\nx") is Posted.UPDATED
    assert bodies(merge_request) == [f"{MARK}\nx"]


def test_a_merge_request_that_is_gone_or_closed_gets_no_note(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    where = place(live, project)
    merge_request.state_event = "close"
    merge_request.save()
    assert post_note(where, merge_request.iid, MARK, MARK) is Posted.CLOSED
    assert post_note(where, merge_request.iid + 1, MARK, MARK) is Posted.GONE


def test_a_gitlab_that_fails_for_a_moment_is_asked_again(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    fail(live, "^POST .*/notes", status=502, times=2)
    assert post_note(place(live, project), merge_request.iid, MARK, MARK) is Posted.MADE
    assert bodies(merge_request) == [MARK]


def test_a_note_whose_making_was_not_answered_is_not_made_twice(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    fail(live, "^POST .*/notes", status=504, times=1, when="after")
    assert post_note(place(live, project), merge_request.iid, MARK, MARK) is Posted.SAME
    assert bodies(merge_request) == [MARK]


def test_a_gitlab_that_goes_on_failing_is_given_up(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    fail(live, "^POST .*/notes", status=503, times=None)
    with pytest.raises(
        NotPosted, match=r"^http://127.0.0.1:\d+ answers with status 503 after 3 attempts: .*retry the job"
    ):
        post_note(place(live, project), merge_request.iid, MARK, MARK)


def test_a_gitlab_that_is_too_slow_is_given_up(
    live: Live, project: Project, merge_request: ProjectMergeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gitlab_api, "REQUEST_SECONDS", 0.2)
    fail(live, "^GET .*/notes", delay_seconds=1, times=None)
    began = time.monotonic()
    with pytest.raises(
        NotPosted, match="answers too slowly after 3 attempts: check CI_API_V4_URL, or retry the job later"
    ):
        post_note(place(live, project), merge_request.iid, MARK, MARK)
    assert time.monotonic() - began < 5


def test_a_gitlab_that_is_not_there_is_told_without_the_token(live: Live, project: Project) -> None:
    where = place(live, project, url="http://127.0.0.1:1", token="planted-token")
    with pytest.raises(NotPosted, match=r"^http://127\.0\.0\.1:1 does not answer after 3 attempts") as caught:
        post_note(where, 1, MARK, MARK)
    assert "planted" not in str(caught.value)


def test_a_token_that_is_refused_is_told_with_the_remedy_at_once(live: Live, project: Project) -> None:
    with pytest.raises(NotPosted) as caught:
        post_note(place(live, project, token="glpat-wrong"), 1, MARK, MARK)
    assert str(caught.value) == (
        f"{live.url} does not take DINDRUNNER_NOTE_TOKEN (401 Unauthorized): it is wrong, revoked or expired; make a "
        "new project access token with scope api and role Reporter, and set it as a masked CI/CD variable"
    )


def test_a_token_that_may_only_read_is_told_what_it_needs(
    live: Live, project: Project, merge_request: ProjectMergeRequest
) -> None:
    with pytest.raises(
        NotPosted, match=r"may not write to project \d+ of .*: it needs scope api and at least role Reporter$"
    ):
        post_note(place(live, project, token=live.token_with("read_api")), merge_request.iid, MARK, MARK)


def test_a_project_that_the_token_does_not_see_is_no_merge_request_that_is_gone(live: Live) -> None:
    with pytest.raises(NotPosted, match=r"shows DINDRUNNER_NOTE_TOKEN no project 9999, or not all of it"):
        post_note(Place(live.url, "9999", live.token), 1, MARK, MARK)


def issues(project: Project) -> list[tuple[str, str]]:
    return [(issue.state, issue.description) for issue in project.issues.list(get_all=True, state="all")]


def test_an_issue_is_opened_kept_closed_and_opened_again(live: Live, project: Project) -> None:
    where = place(live, project)
    assert keep_issue(where, MARK, TITLE, None, "none") == (Posted.NONE, "")
    made, address = keep_issue(where, MARK, TITLE, f"{MARK}\none", "first")
    assert (made, issues(project)) == (Posted.MADE, [("opened", f"{MARK}\none")])
    assert keep_issue(where, MARK, TITLE, f"{MARK}\none", "same") == (Posted.SAME, address)
    assert keep_issue(where, MARK, TITLE, f"{MARK}\ntwo", "changed") == (Posted.UPDATED, address)
    assert keep_issue(where, MARK, TITLE, None, "over") == (Posted.CLOSED, address)
    assert issues(project) == [("closed", f"{MARK}\ntwo")]
    assert keep_issue(where, MARK, TITLE, f"{MARK}\ntwo", "again") == (Posted.UPDATED, address)
    assert issues(project) == [("opened", f"{MARK}\ntwo")]
    issue = project.issues.list(get_all=True)[0]
    said = [note.body for note in issue.notes.list(get_all=True, sort="asc") if not note.system]
    assert (issue.title, said) == (TITLE, ["changed", "over", "again"])
