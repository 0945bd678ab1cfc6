"""The API server's answers, as plain values and errors with a text.

On the transport and the credentials of the PyPI client `kubernetes`. Its DynamicClient is not used: it keeps its
discovery in a file of the machine's temporary directory, and wraps every object.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import urllib3
from kubernetes.client import ApiClient

from tests.plugins.base import PluginError, Values
from tests.plugins.kubernetes.objects import known_text

REQUEST_SECONDS = 60.0
_RETRIES = urllib3.Retry(total=2, connect=2, read=1, redirect=0, status=0, other=0, backoff_factor=0.5)
_APPLY = "application/apply-patch+yaml"
_JSON = "application/json"


class ApiError(PluginError):
    """The API server refused. status: of HTTP. reason: Kubernetes' own, such as AlreadyExists."""

    def __init__(self, text: str, status: int = 0, reason: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason

    @property
    def is_not_found(self) -> bool:
        """Whether the object, its namespace or its kind does not exist."""
        return self.status == HTTPStatus.NOT_FOUND


class NoSuchKind(ApiError):
    """The API server does not serve this kind."""


class Unreachable(ApiError):
    """Nothing answers, or not as an API server."""


@dataclass(frozen=True)
class _Kind:
    plural: str
    namespaced: bool


class Cluster:
    """One API server. namespace: for objects that name none. Every request has its limit."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._client = client
        self._kinds: dict[str, dict[str, _Kind]] = {}
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        """The API server's address."""
        return str(self._client.configuration.host)

    def check_access(self) -> None:
        """Raises ApiError where the API server cannot be reached or does not know the user."""
        self._request("GET", "/api")

    def get(self, obj: Values) -> dict[str, Any] | None:
        """The object as it is now; None where it does not exist."""
        try:
            return self._request("GET", self._path(obj, named=True))
        except NoSuchKind:
            raise
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    def create(self, obj: Values, *, manager: str, dry_run: bool = False) -> dict[str, Any]:
        """A new object, with strict validation. Raises ApiError, reason AlreadyExists, where there is one."""
        query = {"fieldManager": manager, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return self._request("POST", self._path(obj), query=query, body=obj)

    def set_managers(self, live: Values, entries: list[dict[str, Any]]) -> None:
        """Writes down who manages which fields of an object, unless it changed meanwhile."""
        patch: list[Values] = [
            {"op": "replace", "path": "/metadata/managedFields", "value": entries},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": known_text(live, "resourceVersion")},
        ]
        self._request("PATCH", self._path(live, named=True), body=patch, content_type="application/json-patch+json")

    def apply(self, obj: Values, *, manager: str, force: bool = False, dry_run: bool = False) -> dict[str, Any]:
        """Server-side apply with strict validation; returns the object as it is then (or would be)."""
        query = {"fieldManager": manager, "force": "true" if force else "false", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        return self._request("PATCH", self._path(obj, named=True), query=query, body=obj, content_type=_APPLY)

    def delete(self, obj: Values, propagation: str) -> None:
        """Asks for the object's deletion. Raises ApiError with is_not_found where it is gone already."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        self._request("DELETE", self._path(obj, named=True), body=options)

    def list(self, api_version: str, kind: str, namespace: str, **query: str) -> list[dict[str, Any]]:
        """The objects of a kind in a namespace."""
        like = {"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace}}
        found: list[dict[str, Any]] = self._request("GET", self._path(like), query=query).get("items") or []
        return found

    def serves(self, obj: Values) -> bool:
        """Whether the API server knows the object's kind."""
        try:
            self._kind(str(obj.get("apiVersion")), str(obj.get("kind")))
        except NoSuchKind:
            return False
        return True

    def _path(self, obj: Values, *, named: bool = False) -> str:
        api_version, kind = str(obj.get("apiVersion")), str(obj.get("kind"))
        known = self._kind(api_version, kind)
        path = _group_path(api_version)
        if known.namespaced:
            path += f"/namespaces/{quote(known_text(obj, 'namespace') or self.namespace, safe='')}"
        path += f"/{known.plural}"
        return f"{path}/{quote(known_text(obj, 'name'), safe='')}" if named else path

    def _kind(self, api_version: str, kind: str) -> _Kind:
        with self._lock:
            if kind not in self._kinds.get(api_version, {}):
                self._kinds[api_version] = self._discovered(api_version)
            if found := self._kinds[api_version].get(kind):
                return found
        raise NoSuchKind(f"the API server has no kind {kind} in {api_version}", HTTPStatus.NOT_FOUND, "NotFound")

    def _discovered(self, api_version: str) -> dict[str, _Kind]:
        try:
            answer = self._request("GET", _group_path(api_version))
        except ApiError as error:
            if error.is_not_found:
                text = f"the API server does not serve {api_version}"
                raise NoSuchKind(text, HTTPStatus.NOT_FOUND, "NotFound") from None
            raise
        return {
            each["kind"]: _Kind(each["name"], bool(each["namespaced"]))
            for each in answer.get("resources") or []
            if "/" not in each["name"]
        }

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Values | Sequence[Values] | None = None,
        content_type: str = _JSON,
    ) -> dict[str, Any]:
        headers = {"Accept": _JSON, "Content-Type": content_type}
        _, url, headers, _, _ = self._client.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers, auth_settings=["BearerToken"]
        )
        try:
            answer = self._client.rest_client.pool_manager.request(
                method,
                url,
                headers=headers,
                body=None if body is None else json.dumps(body).encode(),
                timeout=urllib3.Timeout(connect=10, read=REQUEST_SECONDS),
                retries=_RETRIES,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(f"the API server {self.host} cannot be reached: {_cause(error)}") from None
        try:
            found = json.loads(answer.data)
        except ValueError:
            found = None
        values: dict[str, Any] = found if isinstance(found, dict) else {}
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise _refused(answer.status, values)
        if not values:
            raise Unreachable(f"{self.host} does not answer as an API server does")
        return values


def _group_path(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _refused(status: int, values: Values) -> ApiError:
    text = str(values.get("message") or f"the API server answered with {status}")
    if status == HTTPStatus.UNAUTHORIZED:
        text = "the API server does not accept the kubeconfig's credentials (Unauthorized)"
    return ApiError(text, status, str(values.get("reason") or ""))


def _cause(error: BaseException) -> str:
    """The innermost text: urllib3 wraps it several times over."""
    while isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    text = str(error)
    return text.rsplit(": ", 1)[-1] if "Errno" in text else text
