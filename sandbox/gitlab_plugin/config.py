"""The provider's configuration: the settings of the official provider, checked and typed. Knows no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sandbox.gitlab_plugin.values import UNKNOWN, Failure

_KNOWN = {
    "baseUrl",
    "cacertFile",
    "clientCert",
    "clientKey",
    "configFile",
    "context",
    "earlyAuthCheck",
    "enableAutoCiSupport",
    "headers",
    "insecure",
    "retries",
    "token",
}
_NOT_SERVED = {"configFile", "context", "enableAutoCiSupport"}
_ENGINES_OWN = {"version", "pluginDownloadURL", "pluginChecksums", "parameterization"}
"""Keys that the engine adds to every provider's configuration."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to reach GitLab.

    base_url: without `/api/v4` and without a slash at the end; default `GITLAB_BASE_URL`, else https://gitlab.com.
    token: default `GITLAB_TOKEN`; None where there is none.
    verify: False, True or the file with the certificates to trust (`insecure`, `cacertFile`).
    client_cert: the files with the client's certificate and its key.
    headers: added to every request with the token.
    retries: how often a request is sent again after an answer that asks for it; 5 as in the official provider.
    early_auth_check: whether the token is tried before anything else; default `GITLAB_EARLY_AUTH_CHECK`, else True.
    """

    base_url: str
    token: str | None = field(default=None, repr=False)
    verify: bool | str = True
    client_cert: tuple[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    retries: int = 5
    early_auth_check: bool = True


def parse(config: Mapping[str, Any], environment: Mapping[str, str]) -> Settings | list[Failure]:
    """The settings, or everything that is wrong with them.

    Booleans, numbers and maps come as the SDK sends them, in JSON. Unknown values (in a preview) pass unchecked.
    """
    reader = _Reader({key: value for key, value in config.items() if value is not None})
    reader.refuse_what_is_not_served()
    base_url = reader.base_url(environment)
    insecure = reader.boolean("insecure", False)
    cacert_file = reader.file("cacertFile")
    client_cert, client_key = reader.file("clientCert"), reader.file("clientKey")
    if (client_cert is None) != (client_key is None):
        reader.fail("clientKey", "client_cert and client_key go together: set both or none")
    early = environment.get("GITLAB_EARLY_AUTH_CHECK", "true").lower() not in {"0", "f", "false"}
    settings = Settings(
        base_url=base_url,
        token=reader.text("token") or environment.get("GITLAB_TOKEN") or None,
        verify=False if insecure else cacert_file or True,
        client_cert=(client_cert, client_key) if client_cert and client_key else None,
        headers=reader.headers(),
        retries=reader.count("retries", 5),
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
            if key in _NOT_SERVED and self._json(key) not in (False, ""):
                self.fail(key, f"the sandbox's GitLab plugin does not serve {key!r}: unset it, and set a token instead")
            elif key not in _KNOWN and not key.startswith("__"):
                self.fail(key, f"unknown setting {key!r}: the GitLab provider knows {', '.join(sorted(_KNOWN))}")

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

    def count(self, key: str, default: int) -> int:
        value = self._json(key, default)
        if value == UNKNOWN:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or not 0 <= value <= 10:
            self.fail(key, f"{key} is {value!r}: it has to be a whole number from 0 to 10")
            return default
        return int(value)

    def headers(self) -> dict[str, str]:
        value = self._json("headers", {})
        if value == UNKNOWN:
            return {}
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            # A header can be a secret: its value is not shown.
            self.fail("headers", "headers has to be a map of strings")
            return {}
        return value

    def file(self, key: str) -> str | None:
        value = self.text(key)
        if value and value != UNKNOWN and not Path(value).is_file():
            self.fail(key, f"{key} is {value!r}: there is no such file")
        return value or None

    def _json(self, key: str, default: Any = "") -> Any:
        value = self._config.get(key, default)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            return value
