"""Makes, reads and deletes objects of any kind on an API server, strictly checked.

On the transport of the PyPI client `kubernetes`, whose DynamicClient cannot ask for strict validation and keeps what it
has found out in a file that all of the machine's test runs would share.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import urllib3
from kubernetes.client import ApiClient

_REQUEST_SECONDS = 60.0

Object = Mapping[str, Any]


class ApiError(Exception):
    """The API server refused, with its own text. status: of HTTP."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status

    @property
    def is_not_found(self) -> bool:
        """Whether the object, its namespace or its kind does not exist."""
        return self.status == HTTPStatus.NOT_FOUND


class Cluster:
    """One API server. namespace: for objects that name none."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._client = client
        self._served: dict[str, dict[str, Any]] = {}

    def get(self, obj: Object) -> dict[str, Any] | None:
        """The object as it is now; None where it does not exist."""
        try:
            return self._request("GET", self._path(obj))
        except ApiError as error:
            if error.is_not_found:
                return None
            raise

    def apply(self, obj: Object, *, manager: str, dry_run: bool = False) -> dict[str, Any]:
        """Server-side apply with strict validation; returns the object as it is then (or would be)."""
        query = {"fieldManager": manager, "force": "false", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        return self._request("PATCH", self._path(obj), query, obj, "application/apply-patch+yaml")

    def delete(self, obj: Object, propagation: str) -> None:
        """Ask for the object's deletion. Raises ApiError with is_not_found where it is gone already."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        self._request("DELETE", self._path(obj), body=options)

    def _path(self, obj: Object) -> str:
        group = f"/apis/{obj['apiVersion']}" if "/" in obj["apiVersion"] else f"/api/{obj['apiVersion']}"
        if group not in self._served:
            found = self._request("GET", group)["resources"]
            self._served[group] = {each["kind"]: each for each in found if "/" not in each["name"]}
        kind = self._served[group][obj["kind"]]
        metadata = obj["metadata"]
        place = (
            f"/namespaces/{quote(metadata.get('namespace') or self.namespace, safe='')}" if kind["namespaced"] else ""
        )
        return f"{group}{place}/{kind['name']}/{quote(metadata['name'], safe='')}"

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        _, url, headers, _, _ = self._client.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers, auth_settings=["BearerToken"]
        )
        answer = self._client.rest_client.pool_manager.request(
            method,
            url,
            headers=headers,
            body=None if body is None else json.dumps(body).encode(),
            timeout=urllib3.Timeout(connect=10, read=_REQUEST_SECONDS),
        )
        values: dict[str, Any] = json.loads(answer.data)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise ApiError(values["message"], answer.status)
        return values
