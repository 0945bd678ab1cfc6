"""GitLab's REST API, by python-gitlab: limits, repetitions, errors that say what to do, and only with the sandbox."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import gitlab
import requests
import urllib3
from requests.adapters import HTTPAdapter

from lab.plugins.gitlab import INSTALL_OFFICIAL, VERSION
from lab.plugins.gitlab.config import Settings
from lab.plugins.gitlab.errors import GitLabError, OutcomeUnknown

CONNECT_SECONDS = 5.0
"""Limit for a connection to GitLab."""
ANSWER_SECONDS = 20.0
"""Limit for an answer; the sandbox answers in milliseconds."""
REPETITIONS = 5
"""How often a request is sent again after an answer that asks for it; as in the official plugin."""
LONGEST_PAUSE = 15
"""Seconds between two attempts, also where GitLab asks for more by `Retry-After`."""

OFFICIAL = (
    "This plugin stands in for the official one and serves the sandbox only; for any other GitLab install the official "
    f"one: {INSTALL_OFFICIAL}"
)


class _Repetition(urllib3.Retry):
    """What is sent again: idempotent requests after 429 and 5xx and broken connections, others if nothing was done."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        # GitLab does not begin with a request that it answers with 429.
        return status_code == 429 or super().is_retry(method, status_code, has_retry_after)

    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        wanted = super().get_retry_after(response)
        return None if wanted is None else min(wanted, LONGEST_PAUSE)


class _Session(requests.Session):
    """Follows no redirect: it would carry the token to another address."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002  requests' signature
        return None


class GitLab:
    """A GitLab that has said that it is the sandbox. Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = _session()
        self._api = gitlab.Gitlab(
            settings.base_url,
            oauth_token=settings.token,
            user_agent=f"dindrunner-sandbox-gitlab-plugin/{VERSION}",
            session=self._session,
        )
        self._admission = threading.Lock()
        self._admitted = False

    @property
    def base_url(self) -> str:
        """Where it is, without `/api/v4`."""
        return self._settings.base_url

    def check_access(self) -> None:
        """Raises GitLabError where this is not the sandbox, it cannot be reached, or it does not know the token."""
        try:
            self.get("/user", doing="check the token")
        except GitLabError as error:
            # A token for runners alone may not read its owner: 403 proves that GitLab knows it.
            if error.status in {401, None}:
                raise

    def get(self, path: str, *, doing: str, if_missing: str = "") -> Any:
        """What GitLab has at a path of its API. doing, if_missing: for the error's text."""
        return self._request("get", path, doing=doing, if_missing=if_missing)

    def post(self, path: str, body: Mapping[str, Any], *, doing: str, if_missing: str = "") -> Any:
        """Makes something. Sent once; raises OutcomeUnknown where it may have been made in spite of an error."""
        return self._request("post", path, body, doing=doing, if_missing=if_missing)

    def put(self, path: str, body: Mapping[str, Any], *, doing: str, if_missing: str = "") -> Any:
        """Changes something."""
        return self._request("put", path, body, doing=doing, if_missing=if_missing)

    def delete(self, path: str, *, doing: str) -> None:
        """Deletes something; not finding it is as good."""
        try:
            self._request("delete", path, doing=doing)
        except GitLabError as error:
            if error.status != 404:
                raise

    def _request(
        self, verb: str, path: str, body: Mapping[str, Any] | None = None, *, doing: str, if_missing: str = ""
    ) -> Any:
        self._admit()
        try:
            # Repetition and its limits are the session's.
            response = self._api.http_request(
                verb,
                path,
                post_data=None if body is None else dict(body),
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),  # type: ignore[arg-type]  # handed to requests as it is
                obey_rate_limit=False,
                retry_transient_errors=False,
            )
            return response.json() if response.content else None
        except gitlab.GitlabError as error:
            status = error.response_code or 0
            text = f"could not {doing}: {self._answered(status, error.error_message)}"
            remedy = _remedy(verb, path, status, if_missing)
            # A server that fails, or a proxy before it, can have done the work first.
            kind = OutcomeUnknown if verb == "post" and status >= 500 else GitLabError
            raise kind(f"{text}. {remedy}" if remedy else text, status) from None
        except requests.RequestException as error:
            text = f"could not {doing}: GitLab at {self.base_url} {_cause(error)}"
            raise (OutcomeUnknown if verb == "post" and _was_sent(error) else GitLabError)(text) from None

    def _admit(self) -> None:
        """Asks once, without the token, whether this is the sandbox."""
        with self._admission:
            if self._admitted:
                return
            if not self._settings.token:
                raise GitLabError(
                    f"no token for GitLab at {self.base_url}: set GITLAB_TOKEN, or the provider's token as a secret"
                )
            marker = f"{self.base_url}/-/sandbox"
            try:
                response = self._session.get(
                    marker,
                    timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                raise GitLabError(
                    f"GitLab at {self.base_url} {_cause(error)}. If it is the sandbox, start it: "
                    f"python -m lab up. {OFFICIAL}"
                ) from None
            if not _is_sandbox(response):
                raise GitLabError(
                    f"refused to work with GitLab at {self.base_url}: it does not say that it is the sandbox "
                    f"(GET {marker} answered {response.status_code}); no token was sent. {OFFICIAL}"
                )
            self._admitted = True

    def _answered(self, status: int, message: str | bytes | Mapping[str, Any]) -> str:
        text = message.decode(errors="replace") if isinstance(message, bytes) else message
        if not isinstance(text, str):
            text = json.dumps(text)
        text = " ".join(text.split())[:300]
        if self._settings.token:
            text = text.replace(self._settings.token, "[secret]")
        return f"GitLab at {self.base_url} answered {status}: {text or 'nothing'}"


def _session() -> requests.Session:
    session = _Session()
    # No proxy and no .netrc of the user's: the sandbox is on this machine, and credentials are the token alone.
    session.trust_env = False
    repetition = _Repetition(
        total=REPETITIONS,
        connect=2,
        read=1,
        other=2,
        status=REPETITIONS,
        redirect=0,
        status_forcelist={500, 502, 503, 504},
        allowed_methods={"GET", "PUT", "DELETE"},
        backoff_factor=0.2,
        backoff_max=LONGEST_PAUSE,
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=repetition))
    return session


def _is_sandbox(response: requests.Response) -> bool:
    try:
        answer = response.json()
    except ValueError:
        return False
    return response.status_code == 200 and isinstance(answer, dict) and answer.get("sandbox") is True


def _remedy(verb: str, path: str, status: int, if_missing: str) -> str:
    match status:
        case _ if 300 <= status < 400:
            return "A redirect is not followed: set base_url to the address that it leads to"
        case 401:
            return "The token is wrong, expired or revoked: set a valid one (GITLAB_TOKEN, or the provider's token)"
        case 403 if path.startswith("/projects/") and verb != "get":
            return (
                "Give the token the scope api, and its owner the role Maintainer of the project, or for a file the "
                "right to push to its branch"
            )
        case 403 if verb == "post":
            return (
                "Give the token the scope create_runner (or api), and its owner the role Owner of the group, or "
                "Maintainer of the project; only an administrator can make an instance's runner"
            )
        case 403 if path.startswith("/runners/"):
            return "Give the token the scope manage_runner (or api), and its owner the right to manage this runner"
        case 403:
            return "Give the token the scope read_api (or api)"
        case 404 if if_missing:
            return if_missing[0].upper() + if_missing[1:]
        case 429:
            return "This is GitLab's rate limit: wait a minute and repeat"
        case _ if status >= 500:
            return "GitLab itself has failed: look into its log, and repeat"
        case _:
            return ""


def _cause(error: requests.RequestException) -> str:
    """Says in a few words what went wrong with a connection, without the address and the objects in requests' text."""
    innermost: BaseException = error
    while inner := _inner(innermost):
        if isinstance(inner, urllib3.exceptions.ReadTimeoutError):
            return f"did not answer within {ANSWER_SECONDS:g} s"
        if type(inner) is urllib3.exceptions.ConnectTimeoutError:
            return f"did not accept a connection within {CONNECT_SECONDS:g} s"
        innermost = inner
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return "answered with something that is not JSON"
    text = innermost.strerror if isinstance(innermost, OSError) and innermost.strerror else str(innermost)
    return f"cannot be reached: {text}"


def _inner(error: BaseException) -> BaseException | None:
    for inner in (getattr(error, "reason", None), error.__cause__, error.__context__, *error.args):
        if isinstance(inner, BaseException):
            return inner
    return None


def _was_sent(error: requests.RequestException) -> bool:
    """Whether GitLab can have received the request: not where there was no connection at all."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return not isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
