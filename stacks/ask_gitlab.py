"""Asks GitLab whether it is one, and whether it takes the token, before anything is touched."""

from __future__ import annotations

import json
import re
import ssl
import threading
import urllib.error
import urllib.request
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPException

from stacks.settings.mistakes import SettingsError

TIMEOUT_SECONDS = 10
MOST_BYTES = 65536


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    location: str | None = None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """urllib would take the token along to wherever the server sends it."""

    def redirect_request(self, *_: object) -> None:
        return None


def check_gitlab(url: str, token: str | None, *, direct: bool = False, ca_file: str | None = None) -> str | None:
    """GitLab's version; None where it does not say it, which it does to tokens that may read.

    Raises SettingsError where `url` answers as no GitLab, or where GitLab does not know `token`.

    The token is sent only once the server has answered as a GitLab without it, and never to where that redirects.
    direct: past the proxies of the environment, which do not reach a GitLab on this machine.
    ca_file: PEM file with the CA that vouches for the server; None for those of the system.
    """
    opener = _opener(direct, ca_file)
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise SettingsError(
            "gitlab:token: (hidden) has characters that no token has: copy it again, without spaces and line ends"
        )
    probe = f"{url.rstrip('/')}/api/v4/version"
    answer = _get(opener, url, probe, None)
    if not _is_gitlab(answer):
        raise SettingsError(
            f"settings.gitlab.url: {url!r} answers something that is no GitLab API (GET {probe}: status "
            f"{answer.status}): give the base URL of a GitLab, for example https://gitlab.com"
        )
    if token is not None:
        answer = _get(opener, url, probe, token)
    if token is not None and answer.status == 401:
        raise SettingsError(
            f"gitlab:token: is not accepted by {url}: it may be expired; create one with scope api "
            "and export it as GITLAB_TOKEN"
        )
    return _version(answer)


def _version(answer: _Answer) -> str | None:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    version = found.get("version") if isinstance(found, dict) and answer.status == 200 else None
    return version if isinstance(version, str) else None


def _opener(direct: bool, ca_file: str | None) -> urllib.request.OpenerDirector:
    try:
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file))
    except OSError as error:
        raise SettingsError(
            f"settings.gitlab.ca_file: {ca_file!r} cannot be read as PEM certificates ({error.strerror or error}): "
            "give the file of the CA that signed GitLab's certificate"
        ) from None
    return urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({} if direct else None), tls)


def _get(opener: urllib.request.OpenerDirector, url: str, probe: str, token: str | None) -> _Answer:
    try:
        answer = _in_time(opener, probe, token)
    except (HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise SettingsError(
                f"settings.gitlab.url: {url!r} has a certificate that is not trusted ({reason.verify_message}): "
                "name its CA in settings.gitlab.ca_file"
            ) from None
        raise SettingsError(
            f"settings.gitlab.url: {url!r} does not answer within {TIMEOUT_SECONDS} s ({str(reason) or 'timed out'}): "
            "check the URL, and that this machine reaches it"
        ) from None
    if 300 <= answer.status < 400:
        raise SettingsError(
            f"settings.gitlab.url: {url!r} redirects to {answer.location!r} (GET {probe}: status {answer.status}): "
            "give the base URL that GitLab itself answers at"
        )
    return answer


def _in_time(opener: urllib.request.OpenerDirector, probe: str, token: str | None) -> _Answer:
    """The answer, or TimeoutError: a socket's own limit covers neither name resolution nor an answer in drops."""
    future: Future[_Answer] = Future()

    def request() -> None:
        try:
            future.set_result(_request(opener, probe, token))
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=request, daemon=True).start()
    return future.result(TIMEOUT_SECONDS)


def _request(opener: urllib.request.OpenerDirector, probe: str, token: str | None) -> _Answer:
    request = urllib.request.Request(probe, headers={"PRIVATE-TOKEN": token} if token else {})
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            return _Answer(response.status, response.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return _Answer(error.code, error.read(MOST_BYTES), error.headers.get("Location"))


def _is_gitlab(answer: _Answer) -> bool:
    """GitLab's API answers an object with its version, or with a message that repeats the status."""
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(content, dict):
        return False
    if answer.status == 200:
        return isinstance(content.get("version"), str)
    return answer.status in (401, 403) and str(content.get("message")).startswith(str(answer.status))
