"""Finds in GitLab the runners that a killed update made but did not record: part of `toolchain.recover`.

Such a runner is of the pending creation's scope, has exactly its description and its maintenance note, has never
contacted GitLab, and is not in the state. GitLab is asked as the state's provider says. The provider's token is
decrypted for that alone: from Pulumi's standard output it goes into a header, and into no file, message or error.

What of GitLab's API is used: https://docs.gitlab.com/api/runners/. No packages are, so that this runs before they are
installed.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from toolchain.shared import Say
from toolchain.state import PULUMI_SECONDS

TYPE = "gitlab:index/userRunner:UserRunner"
LISTS = {
    "instance_type": ("runners/all", "", ""),
    "group_type": ("groups/{}/runners", "groupId", "groups"),
    "project_type": ("projects/{}/runners", "projectId", "projects"),
}
"""By runner type: the list that has it, the input that names its group or project, and where the details name them."""

ANSWER_SECONDS = 10.0
"""Limit for each answer of GitLab."""
LATE_SECONDS = 10.0
"""How long a runner is looked for that is not there: a slow GitLab may still be making it."""
POLL_SECONDS = 2.0
PAGE = 100
"""As many runners as GitLab lists at once."""
MOST_PAGES = 20
MOST_BYTES = 4 * 2**20


class Unanswered(Exception):
    """GitLab cannot be asked, or does not do what it is asked for; the text goes on after `but`."""


@dataclass(frozen=True)
class Orphan:
    """A runner that nothing but GitLab knows. identity: GitLab's ID. description: GitLab's name for it."""

    identity: int
    description: str
    gitlab: _GitLab = field(repr=False)

    def delete(self, say: Say) -> None:
        """Delete it, and say so; where GitLab does not, say what to do by hand."""
        try:
            if self.gitlab.delete(f"runners/{self.identity}"):
                say(
                    f"deleted runner {self.identity} ({self.description!r}) in GitLab, which an interrupted update made"
                )
        except Unanswered as error:
            say(_by_hand(self.description, error))


def find_orphans(
    stack: str, pending: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]], say: Say
) -> list[Orphan]:
    """What GitLab has of the pending creations; where it cannot be asked, says what to do by hand.

    pending, known: resources of the stack's state, its secrets encrypted.
    """
    recorded = {str(resource.get("id")) for resource in known if resource["type"] == TYPE}
    found = []
    for creation in pending:
        if creation["type"] != TYPE:
            continue
        inputs = creation.get("inputs") or {}
        try:
            found += _orphans(_gitlab(stack, creation.get("provider")), inputs, recorded)
        except Unanswered as error:
            say(_by_hand(inputs.get("description"), error))
    return found


def _by_hand(description: object, error: Unanswered) -> str:
    return (
        f"GitLab may have made runner {description!r}, but {error}: if it lists two, delete the one that has never "
        "contacted it"
    )


def _orphans(gitlab: _GitLab, inputs: Mapping[str, Any], recorded: set[str]) -> list[Orphan]:
    give_up = time.monotonic() + LATE_SECONDS
    while True:
        found = [
            Orphan(runner["id"], runner["description"], gitlab)
            for runner in _never_contacted(gitlab, inputs)
            if str(runner["id"]) not in recorded
        ]
        if found or time.monotonic() >= give_up:
            return found
        time.sleep(POLL_SECONDS)


def _never_contacted(gitlab: _GitLab, inputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The details of the runners that these inputs describe and that have never contacted GitLab."""
    names = {"runner_type": "runnerType", "description": "description", "maintenance_note": "maintenanceNote"}
    wanted = {key: inputs.get(name) for key, name in names.items()}
    # Less than that would fit the runners of others.
    if wanted["runner_type"] not in LISTS or not all(wanted.values()):
        raise Unanswered("the state does not say which runner it is")
    path, scope, owners = LISTS[str(wanted["runner_type"])]
    owner = _number(inputs.get(scope)) if scope else None
    for listed in gitlab.pages(f"{path.format(owner)}?type={wanted['runner_type']}&status=never_contacted"):
        if listed.get("description") != wanted["description"]:
            continue
        details = gitlab.get(f"runners/{_number(listed.get('id'))}")
        if details is None or any(details.get(key) != value for key, value in wanted.items()):
            continue
        # The list of a group has the runners of the groups above it, too.
        is_elsewhere = any(one.get("id") != owner for one in details.get(owners) or ())
        if not is_elsewhere and details.get("contacted_at", "unknown") is None:
            yield details


def _number(value: object) -> int:
    """Pulumi's numbers may be 3.0."""
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise Unanswered("there is no number where the state or GitLab has to have one")


def _gitlab(stack: str, provider: object) -> _GitLab:
    """The GitLab of a provider `urn::id`, by the state with its secrets."""
    inputs = next(
        (one.get("inputs") for one in _decrypted(stack) if f"{one['urn']}::{one.get('id')}" == provider), None
    )
    if not inputs:
        raise Unanswered("the state does not have its provider")
    url, token, ca_file = (_revealed(inputs.get(name)) for name in ("baseUrl", "token", "cacertFile"))
    if not url or not re.fullmatch("https?://[^@]+", url):
        raise Unanswered("the state does not have the URL of GitLab")
    if not token or not re.fullmatch("[!-~]+", token):
        raise Unanswered("the state does not have a token for GitLab")
    url = url.rstrip("/").removesuffix("/api/v4")
    return _GitLab(url, token, _opener(url, ca_file))


def _decrypted(stack: str) -> list[Mapping[str, Any]]:
    """The resources with their secrets, through a pipe, because the text must reach no file."""
    command = ["pulumi", "--non-interactive", "stack", "export", "--show-secrets", "--stack", stack]
    failed = Unanswered(
        "its token cannot be read (`pulumi stack export --show-secrets` failed: is PULUMI_CONFIG_PASSPHRASE right?)"
    )
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PULUMI_SECONDS, check=False
        )
        if done.returncode == 0:
            return json.loads(done.stdout)["deployment"]["resources"] or []
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError, KeyError):
        pass
    raise failed


def _revealed(value: object) -> str | None:
    """A text of the state; a secret one is an object with the text as JSON."""
    if isinstance(value, Mapping):
        try:
            value = json.loads(value["plaintext"])
        except (ValueError, TypeError, KeyError):
            return None
    return value if isinstance(value, str) else None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would take the token along to wherever the server sends it."""

    def redirect_request(self, *_: object) -> None:
        return None


def _opener(url: str, ca_file: str | None) -> urllib.request.OpenerDirector:
    try:
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file))
    except OSError as error:
        raise Unanswered(f"the CA file {ca_file!r} cannot be read ({error.strerror or 'no PEM'})") from None
    proxies = urllib.request.ProxyHandler({} if _is_sandbox(url) else None)
    return urllib.request.build_opener(_NoRedirects, proxies, tls)


def _is_sandbox(url: str) -> bool:
    """Whether this is the sandbox, which is on this machine, where the environment's proxies do not reach it."""
    try:
        described = json.loads(Path(os.environ["DINDRUNNER_SANDBOX"]).read_bytes())
        return bool(described["url"].rstrip("/") == url)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


@dataclass(frozen=True)
class _Answer:
    status: int
    next_page: str
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class _GitLab:
    """A GitLab at its base URL. Paths are below its API; errors are Unanswered, and never in the server's words."""

    url: str
    token: str = field(repr=False)
    opener: urllib.request.OpenerDirector = field(repr=False)

    def get(self, path: str) -> Mapping[str, Any] | None:
        """An object; None where it does not exist."""
        answer = self._ask("GET", path, 200, 404)
        return None if answer.status == 404 else self._read(answer, dict)

    def pages(self, path: str) -> list[Mapping[str, Any]]:
        """A list of objects, whole; path: with a query."""
        found: list[Mapping[str, Any]] = []
        page = "1"
        for _ in range(MOST_PAGES):
            answer = self._ask("GET", f"{path}&per_page={PAGE}&page={page}", 200)
            found += self._read(answer, list)
            page = answer.next_page
            if not page.isdecimal():
                return found
        raise Unanswered(f"{self.url} has more than {MOST_PAGES} pages of runners that have never contacted it")

    def delete(self, path: str) -> bool:
        """Whether it was still there."""
        return self._ask("DELETE", path, 200, 204, 404).status != 404

    def _ask(self, method: str, path: str, *expected: int) -> _Answer:
        try:
            answer = self._in_time(method, path)
        except (HTTPException, OSError, ValueError) as error:
            raise Unanswered(f"{self.url} {_why(error)}") from None
        if answer.status not in expected:
            raise Unanswered(f"{self.url} answers {method} {path.partition('?')[0]} with status {answer.status}")
        return answer

    def _in_time(self, method: str, path: str) -> _Answer:
        """The answer, or TimeoutError: a socket's own limit covers neither name resolution nor an answer in drops."""
        future: Future[_Answer] = Future()

        def request() -> None:
            try:
                future.set_result(self._request(method, path))
            except Exception as error:
                future.set_exception(error)

        threading.Thread(target=request, daemon=True).start()
        return future.result(ANSWER_SECONDS)

    def _request(self, method: str, path: str) -> _Answer:
        request = urllib.request.Request(
            f"{self.url}/api/v4/{path}", headers={"PRIVATE-TOKEN": self.token}, method=method
        )
        try:
            with self.opener.open(request, timeout=ANSWER_SECONDS) as response:
                return _Answer(response.status, response.headers.get("X-Next-Page") or "", response.read(MOST_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                return _Answer(error.code, "", b"")

    def _read(self, answer: _Answer, kind: type) -> Any:
        try:
            content = json.loads(answer.body)
        except (ValueError, RecursionError):
            content = None
        items = content if isinstance(content, list) else [content]
        if not isinstance(content, kind) or not all(isinstance(item, Mapping) for item in items):
            raise Unanswered(f"{self.url} answers something that is no GitLab API")
        return content


def _why(error: Exception) -> str:
    """What went wrong with a connection; what the server sent is left out, because it can repeat the token."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"has a certificate that is not trusted ({reason.verify_message})"
    if isinstance(reason, TimeoutError):
        return f"does not answer within {ANSWER_SECONDS:g} s"
    if isinstance(reason, OSError) and reason.strerror:
        return f"does not answer ({reason.strerror})"
    return "does not answer as a GitLab does"
