"""The gRPC service of the `tls` plugin: translates between the engine's messages and the resources."""

# ruff: noqa: ARG002  the signatures are gRPC's

from __future__ import annotations

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2  # type: ignore[import-untyped]

from lab.plugins.base import Plugin, PluginError, explains_errors, to_failures, to_struct, to_values, type_of
from lab.plugins.proto import provider_pb2
from lab.plugins.tls import resources
from lab.plugins.tls.resources import RESOURCES, Resource
from toolchain.pulumi import TLS_VERSION


class TlsPlugin(Plugin):
    """Keys and certificates: nothing outside of the state."""

    name = "tls"
    version = TLS_VERSION

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        """Its settings (a proxy) concern nothing that is served here."""
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        # The engine then marks as secret the outputs that were secret inputs.
        return provider_pb2.ConfigureResponse(supportsPreview=True, acceptSecrets=False, acceptResources=False)

    @explains_errors
    def Check(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        failures = resources.check(_resource(request.urn), to_values(request.news))
        return provider_pb2.CheckResponse(inputs=request.news, failures=to_failures(failures))

    @explains_errors
    def Diff(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        resource = _resource(request.urn)
        changed = resources.changed(resource, to_values(request.olds), to_values(request.news), request.ignoreChanges)
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=list(changed),
            replaces=[name for name, kind in changed.items() if kind.endswith("_REPLACE")],
            deleteBeforeReplace=False,
            hasDetailedDiff=True,
            detailedDiff={
                name: provider_pb2.PropertyDiff(kind=provider_pb2.PropertyDiff.Kind.Value(kind))
                for name, kind in changed.items()
            },
        )

    @explains_errors
    def Create(self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        resource, inputs = _resource(request.urn), to_values(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=to_struct(resources.preview_of_create(resource, inputs)))
        resource_id, state = resources.create(resource, inputs)
        return provider_pb2.CreateResponse(id=resource_id, properties=to_struct(state))

    @explains_errors
    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        resource, state = _resource(request.urn), to_values(request.properties)
        if not set(resource.computed) & set(state):
            raise PluginError("it cannot be imported: it exists nowhere but in the state of the stack that made it")
        return provider_pb2.ReadResponse(
            id=request.id, properties=to_struct(resources.read(resource, state)), inputs=request.inputs
        )

    @explains_errors
    def Update(self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        state = resources.updated(_resource(request.urn), to_values(request.olds), to_values(request.news))
        return provider_pb2.UpdateResponse(properties=to_struct(state))

    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        return empty_pb2.Empty()


def _resource(urn: str) -> Resource:
    token = type_of(urn)
    if token not in RESOURCES:
        raise PluginError(f"the stand-in tls plugin does not serve {token}, only {', '.join(RESOURCES)}")
    return RESOURCES[token]
