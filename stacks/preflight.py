"""Asks GitLab whether it is one, and whether it takes the token, before anything is touched."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from stacks.settings import SettingsError

TIMEOUT_SECONDS = 10


def check_gitlab(url: str, token: str | None) -> None:
    """Raise SettingsError where `url` answers as no GitLab, or where GitLab does not know `token`.

    The token is sent only once the server has answered as a GitLab without it.
    """
    probe = f"{url.rstrip('/')}/api/v4/version"
    status, body = _get(probe, None)
    if status not in (200, 401, 403) or not _is_gitlab_json(body):
        raise SettingsError(
            f"settings.gitlab.url: {url!r} answers something that is no GitLab API (GET {probe}: status {status}): "
            "give the base URL of a GitLab, for example https://gitlab.com"
        )
    if token is not None and _get(probe, token)[0] == 401:
        raise SettingsError(
            f"gitlab:token: is not accepted by {url}: it may be expired; create one with scope create_runner "
            "and export it as GITLAB_TOKEN"
        )


def _get(url: str, token: str | None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={"PRIVATE-TOKEN": token} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return response.status, response.read(65536)
    except urllib.error.HTTPError as error:
        return error.code, error.read(65536)
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise SettingsError(
            f"settings.gitlab.url: {url!r} does not answer within {TIMEOUT_SECONDS} s ({reason}): "
            "check the URL, and that this machine reaches it"
        ) from None


def _is_gitlab_json(body: bytes) -> bool:
    """GitLab's API answers an object: the version, or why not (`message` or `error`)."""
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and bool({"version", "message", "error"} & set(answer))
