"""The gRPC service that the Pulumi engine talks to: translates between its messages and this package's functions.

On the service's own definition, not on `pulumi.provider.experimental`: that one puts Python's traceback into every
error, has no values that are unknown in a preview, and cannot report a resource that was created but not completely.
"""

# ruff: noqa: ARG002  the signatures are gRPC's

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, NoReturn, TypeVar

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2, json_format, struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from lab.plugins.gitlab import (
    INSTALL_OFFICIAL,
    VERSION,
    config,
    lookups,
    project_variable,
    repository_file,
    runners,
)
from lab.plugins.gitlab.gitlab_api import GitLab, GitLabError
from lab.plugins.gitlab.properties import Property, Values
from lab.plugins.gitlab.resource import CreatedIncompletely, Resource
from lab.plugins.gitlab.values import Failure, present, revealed

_SERVED: tuple[Resource, ...] = (runners, project_variable, repository_file)
RESOURCES: Mapping[str, Resource] = {each.TYPE: each for each in _SERVED}
"""What is served, by type."""

_THREADS = 16
_PARENT_CHECK_SECONDS = 1.0

Response = TypeVar("Response")


def serve() -> None:
    """Serves on a free port of 127.0.0.1, prints it, and ends when the engine that started it is gone."""
    # Its warning of every repetition would be shown to the user; what is left of it in the end is an error with a text.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    engine = os.getppid()
    # Its end waits for what has begun, so that a runner for an engine that was killed is deleted again.
    with ThreadPoolExecutor(_THREADS) as pool:
        server = grpc.server(pool, options=_GRPC_CHANNEL_OPTIONS)
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(Plugin(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        print(port, flush=True)
        # A killed engine kills nobody: without this the process would stay for ever.
        while os.getppid() == engine and server.wait_for_termination(_PARENT_CHECK_SECONDS):
            pass
        server.stop(grace=None)


def _explains_errors(method: Callable[..., Response]) -> Callable[..., Response]:
    """Answers with the text of an expected error; the engine shows it as it is."""

    @wraps(method)
    def call(self: Plugin, request: Any, context: grpc.ServicerContext) -> Response:
        try:
            return method(self, request, context)
        except GitLabError as error:
            _abort(context, str(error))

    return call


class Plugin(provider_pb2_grpc.ResourceProviderServicer):
    """One provider with one configuration. What is not here the engine takes as "not implemented"."""

    def __init__(self) -> None:
        self._gitlab: GitLab | None = None

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=VERSION)

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        parsed = config.parse(_values(request.news), os.environ)
        return _checked(request, parsed if isinstance(parsed, list) else [])

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        """By name, as a resource option that replaces the provider on changes needs it."""
        old, new = _values(request.old_inputs), _values(request.news)
        changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        update = provider_pb2.PropertyDiff(kind=provider_pb2.PropertyDiff.UPDATE, inputDiff=True)
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            hasDetailedDiff=True,
            detailedDiff=dict.fromkeys(changed, update),
        )

    @_explains_errors
    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        settings = config.parse(_values(request.args), os.environ)
        if isinstance(settings, list):
            raise GitLabError("; ".join(failure.reason for failure in settings))
        self._gitlab = GitLab(settings)
        if settings.early_auth_check:
            self._gitlab.check_access()
        # The engine then marks as secret the outputs that were secret inputs.
        return provider_pb2.ConfigureResponse(supportsPreview=True, acceptSecrets=False, acceptResources=False)

    @_explains_errors
    def Invoke(self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext) -> provider_pb2.InvokeResponse:
        lookup = lookups.LOOKUPS.get(request.tok)
        if lookup is None:
            raise _not_served("function", request.tok, lookups.LOOKUPS)
        arguments = _values(request.args)
        if failures := lookups.check(lookup, arguments):
            return provider_pb2.InvokeResponse(failures=_failures(failures))
        found = lookups.look_up(self._configured(), lookup, arguments)
        return provider_pb2.InvokeResponse(**{"return": _struct(found)})

    @_explains_errors
    def Check(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        return _checked(request, _resource(request.urn).check(_values(request.news)))

    @_explains_errors
    def Diff(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        resource = _resource(request.urn)
        state, inputs = _values(request.olds), _values(request.news)
        changed = resource.changed(state, inputs, request.ignoreChanges)
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=[each.name for each in changed],
            replaces=[each.name for each in changed if each.replaces],
            deleteBeforeReplace=resource.DELETED_FIRST,
            hasDetailedDiff=True,
            detailedDiff={each.name: _property_diff(each, state, inputs) for each in changed},
        )

    @_explains_errors
    def Create(self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        resource, inputs = _resource(request.urn), _values(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=_struct(resource.preview_of_create(inputs)))
        try:
            resource_id, state = resource.create(self._configured(), inputs)
        except CreatedIncompletely as error:
            self._undo_unless_awaited(resource, error.resource_id, context)
            _abort_with_state(context, error)
        self._undo_unless_awaited(resource, resource_id, context)
        return provider_pb2.CreateResponse(id=resource_id, properties=_struct(state))

    @_explains_errors
    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        resource, inputs = _resource(request.urn), _values(request.inputs)
        state = resource.read(self._configured(), request.id, {**inputs, **_values(request.properties)})
        if state is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(
            id=request.id, properties=_struct(state), inputs=_struct(resource.inputs_of(state, inputs))
        )

    @_explains_errors
    def Update(self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        resource = _resource(request.urn)
        before, inputs = _values(request.olds), _values(request.news)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=_struct(resource.preview_of_update(before, inputs)))
        state = resource.update(self._configured(), request.id, before, inputs, request.ignoreChanges)
        return provider_pb2.UpdateResponse(properties=_struct(state))

    @_explains_errors
    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        _resource(request.urn).delete(self._configured(), request.id, _values(request.properties))
        return empty_pb2.Empty()

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """Every request has its limit: what has begun is let end, so that nothing half-made is forgotten."""
        return empty_pb2.Empty()

    def _undo_unless_awaited(self, resource: Resource, resource_id: str, context: grpc.ServicerContext) -> None:
        """An engine that was killed meanwhile remembers nothing, and would make another one next time."""
        if not context.is_active():
            resource.undo_create(self._configured(), resource_id)

    def _configured(self) -> GitLab:
        if self._gitlab is None:
            raise GitLabError("the engine has not configured the GitLab plugin")
        return self._gitlab


def _values(struct: struct_pb2.Struct) -> dict[str, Any]:
    return present(revealed(json_format.MessageToDict(struct)))


def _struct(values: dict[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def _failures(failures: Iterable[Failure]) -> list[provider_pb2.CheckFailure]:
    return [provider_pb2.CheckFailure(property=each.property, reason=each.reason) for each in failures]


def _checked(request: provider_pb2.CheckRequest, failures: list[Failure]) -> provider_pb2.CheckResponse:
    return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(failures))


def _property_diff(each: Property, state: Values, inputs: Values) -> provider_pb2.PropertyDiff:
    kind = "ADD" if each.name not in state else "UPDATE" if each.name in inputs else "DELETE"
    return provider_pb2.PropertyDiff(kind=provider_pb2.PropertyDiff.Kind.Value(kind + "_REPLACE" * each.replaces))


def _resource(urn: str) -> Resource:
    resource_type = urn.split("::")[2].split("$")[-1]
    if resource_type not in RESOURCES:
        raise _not_served("resource", resource_type, RESOURCES)
    return RESOURCES[resource_type]


def _not_served(what: str, token: str, served: Iterable[str]) -> GitLabError:
    return GitLabError(
        f"the sandbox's GitLab plugin does not serve the {what} {token}, only {', '.join(served)}. The official plugin "
        f"serves them all: {INSTALL_OFFICIAL}"
    )


def _abort_with_state(context: grpc.ServicerContext, error: CreatedIncompletely) -> NoReturn:
    """Fails the creation, but hands the engine the id and the state, so that it is not made twice."""
    details = provider_pb2.ErrorResourceInitFailed(
        id=error.resource_id, properties=_struct(dict(error.state)), reasons=[str(error)]
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
    status.details.add().Pack(details)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    _abort(context, str(error))


def _abort(context: grpc.ServicerContext, text: str) -> NoReturn:
    context.abort(grpc.StatusCode.UNKNOWN, text)
    raise AssertionError("abort raises an exception of its own")
