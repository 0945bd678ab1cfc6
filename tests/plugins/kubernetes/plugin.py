"""The gRPC service of the `kubernetes` plugin: translates between the engine's messages and the cluster."""

# ruff: noqa: ARG002  the signatures are gRPC's

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2

from sandbox.gitlab_plugin.values import Failure, revealed
from tests.plugins import VERSIONS
from tests.plugins.base import (
    CreatedIncompletely,
    Plugin,
    PluginError,
    Values,
    explains_errors,
    has_unknown,
    is_unknown,
    masked,
    to_failures,
    to_struct,
    to_values,
    type_of,
)
from tests.plugins.kubernetes import config, diff, objects
from tests.plugins.kubernetes.api import ApiError, Cluster, NoSuchKind
from tests.plugins.kubernetes.force_new import force_new
from tests.plugins.kubernetes.waits import NotReady, Waiter

_TRIES = 5
"""How often a creation is tried where something that it needs, like its namespace, does not exist yet."""


class KubernetesPlugin(Plugin):
    """One provider with one configuration.

    A cluster that cannot be reached fails no preview of what is to be created, as with the official plugin: only what
    has to ask it does.
    """

    name = "kubernetes"
    version = VERSIONS["kubernetes"]

    def __init__(self) -> None:
        super().__init__()
        self._settings = config.Settings()
        self._namespace = ""
        self._cluster: Cluster | None = None
        self._unreachable = "the engine has not configured the kubernetes plugin"

    @explains_errors
    def DiffConfig(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        changed, replaces = config.changed(to_values(request.olds), to_values(request.news))
        some = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=some, diffs=changed, replaces=replaces)

    @explains_errors
    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        self._settings = config.parse(request.variables, os.environ)
        self._namespace = self._settings.namespace or ""
        try:
            client, self._namespace = config.connect(self._settings)
            cluster = Cluster(client, self._namespace)
            cluster.check_access()
            self._cluster = cluster
        except PluginError as error:
            self._unreachable = str(error)
        return provider_pb2.ConfigureResponse(supportsPreview=True, acceptSecrets=True, acceptResources=False)

    @explains_errors
    def Check(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        if self._cluster is None and self._settings.skip_update_unreachable:
            return provider_pb2.CheckResponse(inputs=request.olds)
        api_version, kind = objects.kind_of(type_of(request.urn))
        given = to_values(request.news)
        inputs = objects.normalised({**revealed(given), "apiVersion": api_version, "kind": kind})
        failures = _wrong_names(inputs)
        if objects.is_namespaced(kind) and not objects.metadata(inputs).get("namespace"):
            inputs = objects.with_metadata(inputs, namespace=self._namespace)
        checked = objects.with_marks(inputs, given)
        return provider_pb2.CheckResponse(inputs=to_struct(checked), failures=to_failures(failures))

    @explains_errors
    def Diff(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        old_inputs, live = objects.of_state(to_values(request.olds))
        inputs = objects.normalised(revealed(to_values(request.news)))
        changes, replaces = self._changes(objects.normalised(old_inputs), live, inputs)
        changes = diff.without_ignored(changes, request.ignoreChanges)
        replaces = [path for path in replaces if path in changes]
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changes else provider_pb2.DiffResponse.DIFF_NONE,
            replaces=replaces,
            deleteBeforeReplace=bool(replaces) and _is_same_place(inputs, live),
            hasDetailedDiff=True,
            detailedDiff={path: _property_diff(kind) for path, kind in changes.items()},
        )

    @explains_errors
    def Create(self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        given = to_values(request.properties)
        inputs = objects.without_nulls(revealed(given))
        if request.preview and (has_unknown(inputs) or self._cluster is None or not self._cluster.serves(inputs)):
            return provider_pb2.CreateResponse(properties=request.properties)
        cluster, manager = self._reached(), objects.manager_of({}, inputs)
        with _hiding(given):
            try:
                live = self._created(cluster, inputs, manager, preview=request.preview)
            except ApiError as error:
                if request.preview and _is_no_error_in_preview(error):
                    return provider_pb2.CreateResponse(properties=request.properties)
                raise PluginError(f"{objects.described(inputs)} was not created: {_explained(error)}") from None
            if request.preview:
                promised = {key: value for key, value in live.items() if key != "status"}
                return provider_pb2.CreateResponse(
                    properties=to_struct(objects.to_state(inputs, promised, given, manager))
                )
            live = dict(self._ready(live, inputs, given, manager, request.timeout, updating=False))
        state = objects.to_state(inputs, live, given, manager)
        return provider_pb2.CreateResponse(id=objects.name_of(live), properties=to_struct(state))

    @explains_errors
    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        if self._cluster is None and self._settings.delete_unreachable:
            return provider_pb2.ReadResponse()
        if self._cluster is None and self._settings.skip_update_unreachable:
            return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)
        state, given = to_values(request.properties), to_values(request.inputs)
        api_version, kind = objects.kind_of(type_of(request.urn))
        namespace, _, name = request.id.rpartition("/")
        wanted = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}
        with _hiding(state, given):
            try:
                live = self._reached().get(wanted)
            except NoSuchKind:
                live = None
            if live is None:
                return provider_pb2.ReadResponse()
            old_inputs = objects.normalised(revealed(given))
            inputs = objects.live_inputs(live, old_inputs) if old_inputs else objects.imported_inputs(live)
            seen = objects.to_state(inputs, live, given, objects.manager_of(revealed(state), old_inputs))
            marked = objects.with_marks(inputs, given)
            if old_inputs and (reason := self._waiter().not_ready(live, old_inputs)):
                raise CreatedIncompletely(f"{objects.described(live)}: {reason}", request.id, seen, marked)
        return provider_pb2.ReadResponse(id=request.id, properties=to_struct(seen), inputs=to_struct(marked))

    @explains_errors
    def Update(self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        state, given = to_values(request.olds), to_values(request.news)
        inputs = objects.normalised(revealed(given))
        if request.preview and (has_unknown(inputs) or self._cluster is None or not self._cluster.serves(inputs)):
            return provider_pb2.UpdateResponse(properties=request.news)
        cluster, manager = self._reached(), objects.manager_of(revealed(state), inputs)
        with _hiding(state, given):
            try:
                live = cluster.get(inputs)
                if live is None:
                    raise PluginError(f"{objects.described(inputs)} is gone: refresh the stack")
                paths = [path for each in request.ignoreChanges if (path := _plain_path(each))]
                wanted = objects.with_live_values(inputs, live, paths)
                managers = objects.taken_over(live, manager)
                if managers and not request.preview:
                    cluster.set_managers(live, managers)
                force = self._is_forced(inputs) or bool(managers and request.preview)
                live = cluster.apply(wanted, manager=manager, force=force, dry_run=request.preview)
            except ApiError as error:
                if request.preview and error.reason == "Forbidden":
                    return provider_pb2.UpdateResponse(properties=request.news)
                raise PluginError(f"update of {objects.described(inputs)} failed: {_explained(error)}") from None
            if not request.preview:
                live = dict(self._ready(live, inputs, given, manager, request.timeout, updating=True))
        return provider_pb2.UpdateResponse(properties=to_struct(objects.to_state(inputs, live, given, manager)))

    @explains_errors
    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        if self._cluster is None and self._settings.delete_unreachable:
            return empty_pb2.Empty()
        state = to_values(request.properties)
        inputs, live = objects.of_state(state)
        propagation = (objects.annotation(inputs, "pulumi.com/deletionPropagationPolicy") or "Foreground").title()
        with _hiding(state):
            try:
                self._reached().delete(live, propagation)
                self._waiter().until_gone(live, inputs, request.timeout)
            except ApiError as error:
                if not error.is_not_found:
                    raise PluginError(f"{objects.described(live)} was not deleted: {error}") from None
        return empty_pb2.Empty()

    def _changes(self, old_inputs: Values, live: Values, inputs: Values) -> tuple[dict[str, str], list[str]]:
        before = diff.pruned(live, old_inputs)
        wanted = diff.without_dropped(inputs, old_inputs, live)
        for field in ("apiVersion", "kind"):
            before.setdefault(field, live.get(field, inputs.get(field)))
        if objects.is_namespaced(str(inputs.get("kind"))):
            before = _with_namespace(before)
            wanted = _with_namespace(wanted)
        else:
            before, wanted = objects.with_metadata(before, namespace=""), objects.with_metadata(wanted, namespace="")
        if objects.known_text(wanted, "name"):
            before = objects.with_metadata(before, name=objects.known_text(live, "name"))
        fields = force_new(
            inputs,
            secret_mutable=self._settings.enable_secret_mutable,
            config_map_mutable=self._settings.enable_config_map_mutable,
        )
        changes = diff.detailed(before, wanted, fields)
        return changes, diff.replacing(changes)

    def _created(self, cluster: Cluster, inputs: Values, manager: str, *, preview: bool) -> dict[str, Any]:
        for attempt in range(_TRIES):
            try:
                if not self._settings.upsert_existing_objects:
                    return cluster.create(inputs, manager=objects.FIELD_MANAGER, dry_run=preview)
                return cluster.apply(inputs, manager=manager, force=preview or self._is_forced(inputs), dry_run=preview)
            except ApiError as error:
                if preview or not error.is_not_found or attempt == _TRIES - 1 or self.cancelled.is_set():
                    raise
            time.sleep(2**attempt / 2)
        raise AssertionError("the last attempt returns or raises")

    def _ready(
        self, live: Values, inputs: Values, given: Values, manager: str, timeout: float, *, updating: bool
    ) -> Values:
        try:
            return self._waiter().until_ready(live, inputs, timeout, updating=updating)
        except (NotReady, ApiError) as error:
            seen = error.live if isinstance(error, NotReady) else live
            state = objects.to_state(inputs, seen, given, manager)
            text = f"{objects.described(live)} was applied, but is not ready: {error}"
            raise CreatedIncompletely(text, objects.name_of(live), state) from None

    def _is_forced(self, inputs: Values) -> bool:
        """Whether fields of other managers are taken over rather than refused."""
        return self._settings.enable_patch_force or objects.is_true(inputs, "pulumi.com/patchForce")

    def _reached(self) -> Cluster:
        if self._cluster is None:
            raise PluginError(f"configured Kubernetes cluster is unreachable: {self._unreachable}")
        return self._cluster

    def _waiter(self) -> Waiter:
        return Waiter(self._reached(), self.cancelled)


@contextmanager
def _hiding(*values: Values) -> Iterator[None]:
    """No error that passes shows a secret of these values."""
    try:
        yield
    except PluginError as error:
        error.args = (masked(str(error), objects.texts_to_hide(*values)),)
        raise


def _wrong_names(inputs: Values) -> list[Failure]:
    fields = inputs.get("metadata")
    if is_unknown(fields) or objects.metadata(inputs).get("name"):
        return []
    if objects.metadata(inputs).get("generateName"):
        return [Failure("metadata", "metadata.generateName is not possible with server-side apply: set metadata.name")]
    return [Failure("metadata", "metadata.name is missing: the stand-in kubernetes plugin makes up no names")]


def _with_namespace(obj: Values) -> dict[str, Any]:
    """ "default" where no namespace is named, so that it is no difference."""
    given = objects.metadata(obj).get("namespace")
    return dict(obj) if given else objects.with_metadata(obj, namespace="default")


def _is_same_place(inputs: Values, live: Values) -> bool:
    """Whether the new object would have the old one's name, so that the old one has to go first."""
    same = (objects.known_text(inputs, field) == objects.known_text(live, field) for field in ("name", "namespace"))
    return all(same) and bool(objects.known_text(inputs, "name"))


def _property_diff(kind: str) -> provider_pb2.PropertyDiff:
    return provider_pb2.PropertyDiff(
        kind=provider_pb2.PropertyDiff.Kind.Value(kind), inputDiff=kind.startswith("DELETE")
    )


def _is_no_error_in_preview(error: ApiError) -> bool:
    """What another step of the same update will have settled, or what only a dry run may not do."""
    return error.reason in ("AlreadyExists", "Forbidden") or error.is_not_found


def _plain_path(path: str) -> list[str]:
    """The fields of a path; none where it goes into a list."""
    parts = diff.parsed(path)
    return [part for part in parts if isinstance(part, str)] if all(isinstance(part, str) for part in parts) else []


def _explained(error: ApiError) -> str:
    if error.reason == "AlreadyExists":
        return f"{error}: import it (pulumi import), or choose another name"
    if error.reason == "Conflict":
        return f"{error}\nThese fields have other managers; the annotation pulumi.com/patchForce takes them over."
    return str(error)
