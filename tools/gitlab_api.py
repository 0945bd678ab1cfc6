"""Writes to GitLab: the note on a merge request, the issue about drift. Each is found again and kept up to date."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import gitlab
import requests
from gitlab.exceptions import GitlabError, GitlabParsingError

from tools.merge_request import TOKEN
from tools.secrets import Masker

T = TypeVar("T")

REQUEST_SECONDS = 20.0
PAGE = 100
WAITS = (1.0, 3.0, 9.0)
"""Seconds between the attempts; a GitLab that restarts takes longer, and the job can be retried."""

_TRANSIENT = (408, 409, 429)


class Posted(Enum):
    """What happened to a text."""

    MADE = "made"
    UPDATED = "updated"
    SAME = "already says so"
    GONE = "there is nothing to post to"
    CLOSED = "closed"
    OUTDATED = "there is a newer commit"
    NONE = "not needed"


class NotPosted(Exception):
    """GitLab could not be told; the text says why, and what helps."""


@dataclass(frozen=True)
class Place:
    """Where to post. url: GitLab's base URL. project: its ID or path. ca_file: of GitLab's own CA."""

    url: str
    project: str
    token: str
    ca_file: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], project: str) -> Place:
        """The GitLab of this pipeline; project: ID or path."""
        api = environment.get("CI_API_V4_URL", "").removesuffix("/").removesuffix("/api/v4")
        return cls(
            url=api or environment.get("CI_SERVER_URL", "https://gitlab.com"),
            project=project,
            token=environment.get(TOKEN, "").strip(),
            ca_file=environment.get("CI_SERVER_TLS_CA_FILE") or None,
        )

    def client(self) -> gitlab.Gitlab:
        """A client that retries nothing by itself: a note that was made, but not answered, would be made again."""
        return gitlab.Gitlab(
            self.url,
            private_token=self.token,
            timeout=REQUEST_SECONDS,
            ssl_verify=self.ca_file or True,
            retry_transient_errors=False,
            keep_base_url=True,
        )


def post_note(place: Place, iid: int, mark: str, text: str, head: str = "") -> Posted:
    """Have one note that begins with `mark` say `text`, unless the merge request has gone on since commit `head`.

    Raises NotPosted.
    """
    return _with_retries(place, lambda: _post_note(place, iid, mark, text, head))


def keep_issue(place: Place, mark: str, title: str, text: str | None, change: str) -> tuple[Posted, str]:
    """Have one open issue that begins with `mark` say `text`, or none be open where `text` is None.

    change: said in a note where an issue that is there changes. Returns what was done, and the issue's address.
    Raises NotPosted.
    """
    return _with_retries(place, lambda: _keep_issue(place, mark, title, text, change))


def _post_note(place: Place, iid: int, mark: str, text: str, head: str) -> Posted:
    client = place.client()
    client.auth()
    project = client.projects.get(place.project)
    try:
        merge_request = project.mergerequests.get(iid)
    except GitlabError as error:
        if error.response_code == 404:
            return Posted.GONE
        raise
    if merge_request.state in ("closed", "merged"):
        return Posted.CLOSED
    if head and merge_request.sha != head:
        return Posted.OUTDATED
    found = [
        note
        for note in merge_request.notes.list(iterator=True, per_page=PAGE, order_by="created_at", sort="asc")
        if not note.system and _is_own(client, note.author) and (note.body or "").lstrip().startswith(mark)
    ]
    # Two pipelines at once may have made two.
    for other in found[1:]:
        other.delete()
    if not found:
        merge_request.notes.create({"body": text})
        return Posted.MADE
    if _same(found[0].body, text):
        return Posted.SAME
    found[0].body = text
    found[0].save()
    return Posted.UPDATED


def _keep_issue(place: Place, mark: str, title: str, text: str | None, change: str) -> tuple[Posted, str]:
    client = place.client()
    client.auth()
    project = client.projects.get(place.project)
    own = client.user.id if client.user else None
    issues = project.issues.list(
        iterator=True, per_page=PAGE, author_id=own, scope="all", order_by="created_at", sort="asc"
    )
    marked = [
        one for one in issues if _is_own(client, one.author) and (one.description or "").lstrip().startswith(mark)
    ]
    issue = next((one for one in marked if one.state == "opened"), marked[-1] if marked else None)
    if text is None:
        if issue is None or issue.state != "opened":
            return Posted.NONE, ""
        issue.notes.create({"body": change})
        issue.state_event = "close"
        issue.save()
        return Posted.CLOSED, str(issue.web_url)
    if issue is None:
        return Posted.MADE, str(project.issues.create({"title": title, "description": text}).web_url)
    if issue.state == "opened" and _same(issue.description, text):
        return Posted.SAME, str(issue.web_url)
    if issue.state != "opened":
        issue.state_event = "reopen"
    issue.description = text
    issue.save()
    issue.notes.create({"body": change})
    return Posted.UPDATED, str(issue.web_url)


def _is_own(client: gitlab.Gitlab, author: Mapping[str, Any]) -> bool:
    return client.user is not None and author.get("id") == client.user.id


def _same(there: str, wanted: str) -> bool:
    """GitLab trims texts, and forms give other line ends."""
    return there.replace("\r\n", "\n").strip() == wanted.strip()


def _with_retries(place: Place, attempt: Callable[[], T]) -> T:
    """What an attempt returns, which looks at what is there first, so that it can be made again."""
    masker = Masker([place.token])
    for wait in (*WAITS, None):
        try:
            return attempt()
        except GitlabError as error:
            problem = _problem(error, place)
            if problem.is_final or wait is None:
                raise NotPosted(masker.text(problem.text)) from None
        except requests.exceptions.RequestException as error:
            if wait is None or isinstance(error, (requests.exceptions.SSLError, requests.exceptions.InvalidURL)):
                raise NotPosted(masker.text(_no_answer(error, place))) from None
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


@dataclass(frozen=True)
class _Problem:
    text: str
    is_final: bool


def _problem(error: GitlabError, place: Place) -> _Problem:
    status = error.response_code
    said = str(error.error_message)[:300]
    if isinstance(error, GitlabParsingError):
        return _Problem(f"{place.url} answers something that is no GitLab API: check CI_API_V4_URL", True)
    if status == 401:
        return _Problem(
            f"{place.url} does not take {TOKEN} ({said}): it is wrong, revoked or expired; make a new project "
            "access token with scope api and role Reporter, and set it as a masked CI/CD variable",
            True,
        )
    if status == 403:
        return _Problem(
            f"{TOKEN} may not write to project {place.project} of {place.url} ({said}): it needs scope api and at "
            "least role Reporter",
            True,
        )
    if status == 404:
        return _Problem(
            f"{place.url} shows {TOKEN} no project {place.project}, or not all of it ({said}): make the token in "
            "that project",
            # A note that was deleted a moment ago is answered so, too.
            False,
        )
    is_transient = status is None or status >= 500 or status in _TRANSIENT
    tried = f" after {len(WAITS) + 1} attempts" if is_transient else ""
    return _Problem(f"{place.url} answers with status {status}{tried}: {said}; retry the job later", not is_transient)


def _no_answer(error: requests.exceptions.RequestException, place: Place) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return f"{place.url} has a certificate that is not trusted: name its CA in CI_SERVER_TLS_CA_FILE ({error})"
    kind = "answers too slowly" if isinstance(error, requests.exceptions.Timeout) else "does not answer"
    return f"{place.url} {kind} after {len(WAITS) + 1} attempts: check CI_API_V4_URL, or retry the job later ({error})"


def environment_place(project: str) -> Place | None:
    """The place of this process's environment; None where there is no token for it."""
    place = Place.from_environment(os.environ, project)
    return place if place.token else None
