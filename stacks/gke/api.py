"""Asks the API server of a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError, NewConnectionError

ANSWER_SECONDS = 15
"""How long the API server may take for one answer, and how long connecting to it may take."""


class NoAnswer(Exception):
    """The API server does not answer, or not as one; the text says why."""


class NotKubernetes(Exception):
    """Something else answers."""


class Api:
    """GET and POST of plain objects, with the kubeconfig's credentials."""

    def __init__(self, configuration: client.Configuration) -> None:
        self.host: str = configuration.host
        self._client = client.ApiClient(configuration)

    def get(self, path: str) -> Any:
        return self._call(path, "GET", None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call(path, "POST", body)

    def _call(self, path: str, method: str, body: Mapping[str, Any] | None) -> Any:
        """The answer. Raises ApiException for a refusal, NoAnswer where there is none, NotKubernetes for no JSON."""
        serialized = self._client.param_serialize(
            method,
            path,
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*serialized, _request_timeout=ANSWER_SECONDS)
            text = answer.read()  # type: ignore[no-untyped-call]
            found = json.loads(text)
        except ApiException as error:
            # Status 0 is the client's own way to say that TLS failed.
            raise NoAnswer(one_line(error.reason)) from None
        except NewConnectionError as error:  # the library counts a refused connection among the timeouts
            raise NoAnswer(one_line(error).rpartition(": ")[2]) from None
        except (TimeoutError, urllib3.exceptions.TimeoutError):
            raise NoAnswer(f"no answer within {ANSWER_SECONDS} s") from None
        except (HTTPError, OSError) as error:
            raise NoAnswer(one_line(error).rpartition(": ")[2]) from None
        except ValueError:
            raise NotKubernetes from None
        if not 200 <= answer.status < 300:
            raise ApiException(status=answer.status, reason=answer.reason, body=text)
        return found


def message(error: ApiException) -> str:
    """What the API server says, without the rest of its answer."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.status}"


def one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
