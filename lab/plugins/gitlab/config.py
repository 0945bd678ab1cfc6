"""The provider's configuration: the settings of the official provider, checked and typed. Knows no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lab.plugins.values import UNKNOWN, Failure

_SERVED = {"baseUrl", "token", "earlyAuthCheck"}
_NOT_SERVED = {
    *("cacertFile", "clientCert", "clientKey", "insecure"),  # the sandbox speaks plain HTTP
    *("configFile", "context", "enableAutoCiSupport", "headers", "retries"),
}
_ENGINES_OWN = {"version", "pluginDownloadURL", "pluginChecksums", "parameterization"}
"""Keys that the engine adds to every provider's configuration."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to reach GitLab.

    base_url: without `/api/v4` and without a slash at the end; default `GITLAB_BASE_URL`, else https://gitlab.com.
    token: default `GITLAB_TOKEN`; None where there is none.
    early_auth_check: whether the token is tried before anything else; default `GITLAB_EARLY_AUTH_CHECK`, else True.
    """

    base_url: str
    token: str | None = field(default=None, repr=False)
    early_auth_check: bool = True


def parse(config: Mapping[str, Any], environment: Mapping[str, str]) -> Settings | list[Failure]:
    """The settings, or everything that is wrong with them.

    Booleans come as the SDK sends them, in JSON. Unknown values (in a preview) pass unchecked.
    """
    reader = _Reader({key: value for key, value in config.items() if value is not None})
    reader.refuse_what_is_not_served()
    base_url = reader.base_url(environment)
    early = environment.get("GITLAB_EARLY_AUTH_CHECK", "true").lower() not in {"0", "f", "false"}
    settings = Settings(
        base_url=base_url,
        token=reader.text("token") or environment.get("GITLAB_TOKEN") or None,
        early_auth_check=reader.boolean("earlyAuthCheck", early),
    )
    return reader.failures or settings


class _Reader:
    """Reads one setting after the other and collects what is wrong."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.failures: list[Failure] = []
        self._config = config

    def fail(self, key: str, reason: str) -> None:
        self.failures.append(Failure(key, reason))

    def refuse_what_is_not_served(self) -> None:
        for key in sorted(set(self._config) - _ENGINES_OWN):
            served = ", ".join(sorted(_SERVED))
            if key in _NOT_SERVED and self._json(key) not in (False, "", {}):
                self.fail(key, f"the sandbox's GitLab plugin does not serve {key!r}, only {served}: unset it")
            elif key not in _SERVED | _NOT_SERVED and not key.startswith("__"):
                self.fail(key, f"unknown setting {key!r}: the sandbox's GitLab plugin serves {served}")

    def base_url(self, environment: Mapping[str, str]) -> str:
        value = self.text("baseUrl") or environment.get("GITLAB_BASE_URL") or "https://gitlab.com"
        if value == UNKNOWN:
            return value
        parts = urlsplit(value)
        if parts.username or parts.password:
            self.fail("baseUrl", "base_url holds a user name or a password: leave them out, and set the token instead")
        elif parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            self.fail("baseUrl", f"base_url is {value!r}: it has to be like https://gitlab.example.com/api/v4/")
        return value.rstrip("/").removesuffix("/api/v4").rstrip("/")

    def text(self, key: str) -> str | None:
        value = self._config.get(key)
        if value is None or isinstance(value, str):
            return value
        # It can be the token: its value is not shown.
        self.fail(key, f"{key} has to be a string")
        return None

    def boolean(self, key: str, default: bool) -> bool:
        value = self._json(key, default)
        if not isinstance(value, bool) and value != UNKNOWN:
            self.fail(key, f"{key} is {value!r}: it has to be true or false")
        return value is True

    def _json(self, key: str, default: Any = "") -> Any:
        value = self._config.get(key, default)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            return value
