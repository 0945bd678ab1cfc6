"""The gRPC service of the `gitlab` plugin: translates between the engine's messages and this package's functions."""

# ruff: noqa: ARG002  the signatures are gRPC's

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2, struct_pb2  # type: ignore[import-untyped]

from lab.plugins.base import Plugin, explains_errors, to_failures, to_struct, to_values, type_of
from lab.plugins.gitlab import (
    INSTALL_OFFICIAL,
    VERSION,
    config,
    lookups,
    project_variable,
    repository_file,
    runners,
)
from lab.plugins.gitlab.errors import GitLabError
from lab.plugins.gitlab.properties import Property, Values
from lab.plugins.gitlab.resource import CreatedIncompletely, Resource
from lab.plugins.proto import provider_pb2, status_pb2
from lab.plugins.values import Failure, present, revealed

if TYPE_CHECKING:
    from lab.plugins.gitlab.gitlab_api import GitLab

_SERVED: tuple[Resource, ...] = (runners, project_variable, repository_file)
RESOURCES: Mapping[str, Resource] = {each.TYPE: each for each in _SERVED}
"""What is served, by type."""


class GitLabPlugin(Plugin):
    """One provider with one configuration."""

    name = "gitlab"
    version = VERSION

    def __init__(self) -> None:
        self._gitlab: GitLab | None = None

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

    @explains_errors
    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        settings = config.parse(_values(request.args), os.environ)
        if isinstance(settings, list):
            raise GitLabError("; ".join(failure.reason for failure in settings))
        # Here, so that the engine does not wait for these libraries before it has anything to ask.
        from lab.plugins.gitlab.gitlab_api import GitLab

        self._gitlab = GitLab(settings)
        if settings.early_auth_check:
            self._gitlab.check_access()
        # The engine then marks as secret the outputs that were secret inputs.
        return provider_pb2.ConfigureResponse(supportsPreview=True, acceptSecrets=False, acceptResources=False)

    @explains_errors
    def Invoke(self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext) -> provider_pb2.InvokeResponse:
        lookup = lookups.LOOKUPS.get(request.tok)
        if lookup is None:
            raise _not_served("function", request.tok, lookups.LOOKUPS)
        arguments = _values(request.args)
        if failures := lookups.check(lookup, arguments):
            return provider_pb2.InvokeResponse(failures=to_failures(failures))
        found = lookups.look_up(self._configured(), lookup, arguments)
        return provider_pb2.InvokeResponse(**{"return": to_struct(found)})

    @explains_errors
    def Check(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        return _checked(request, _resource(request.urn).check(_values(request.news)))

    @explains_errors
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

    @explains_errors
    def Create(self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        resource, inputs = _resource(request.urn), _values(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=to_struct(resource.preview_of_create(inputs)))
        try:
            resource_id, state = resource.create(self._configured(), inputs)
        except CreatedIncompletely as error:
            self._undo_unless_awaited(resource, error.resource_id, context)
            raise _with_state(context, error) from None
        self._undo_unless_awaited(resource, resource_id, context)
        return provider_pb2.CreateResponse(id=resource_id, properties=to_struct(state))

    @explains_errors
    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        resource, inputs = _resource(request.urn), _values(request.inputs)
        state = resource.read(self._configured(), request.id, {**inputs, **_values(request.properties)})
        if state is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(
            id=request.id, properties=to_struct(state), inputs=to_struct(resource.inputs_of(state, inputs))
        )

    @explains_errors
    def Update(self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        resource = _resource(request.urn)
        before, inputs = _values(request.olds), _values(request.news)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=to_struct(resource.preview_of_update(before, inputs)))
        state = resource.update(self._configured(), request.id, before, inputs, request.ignoreChanges)
        return provider_pb2.UpdateResponse(properties=to_struct(state))

    @explains_errors
    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        _resource(request.urn).delete(self._configured(), request.id, _values(request.properties))
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
    return present(revealed(to_values(struct)))


def _checked(request: provider_pb2.CheckRequest, failures: list[Failure]) -> provider_pb2.CheckResponse:
    return provider_pb2.CheckResponse(inputs=request.news, failures=to_failures(failures))


def _property_diff(each: Property, state: Values, inputs: Values) -> provider_pb2.PropertyDiff:
    kind = "ADD" if each.name not in state else "UPDATE" if each.name in inputs else "DELETE"
    return provider_pb2.PropertyDiff(kind=provider_pb2.PropertyDiff.Kind.Value(kind + "_REPLACE" * each.replaces))


def _resource(urn: str) -> Resource:
    resource_type = type_of(urn)
    if resource_type not in RESOURCES:
        raise _not_served("resource", resource_type, RESOURCES)
    return RESOURCES[resource_type]


def _not_served(what: str, token: str, served: Iterable[str]) -> GitLabError:
    return GitLabError(
        f"the sandbox's GitLab plugin does not serve the {what} {token}, only {', '.join(served)}. The official plugin "
        f"serves them all: {INSTALL_OFFICIAL}"
    )


def _with_state(context: grpc.ServicerContext, error: CreatedIncompletely) -> GitLabError:
    """Hands the engine the id and the state of what was made, so that it is not made twice, beside the error."""
    details = provider_pb2.ErrorResourceInitFailed(
        id=error.resource_id, properties=to_struct(dict(error.state)), reasons=[str(error)]
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
    status.details.add().Pack(details)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    return GitLabError(str(error))
