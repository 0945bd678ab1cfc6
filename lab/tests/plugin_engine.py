"""Calls the GitLab plugin over gRPC, as the engine does, with plain values."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf import json_format, struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc, status_pb2

from lab.plugins.base import Plugin
from lab.plugins.gitlab.plugin import GitLabPlugin
from lab.tests.fake_gitlab import TOKEN, FakeGitLab


class Failed(Exception):
    """The plugin answered with an error; the text is what the engine shows. incomplete: the state that came with it."""

    def __init__(self, error: grpc.RpcError) -> None:
        super().__init__(error.details())
        self.incomplete: provider_pb2.ErrorResourceInitFailed | None = None
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self.incomplete = provider_pb2.ErrorResourceInitFailed()
                status_pb2.Status.FromString(value).details[0].Unpack(self.incomplete)


@dataclass
class Engine:
    """Calls the plugin for one resource. urn: the resource's."""

    stub: Any
    urn: str

    def of(self, resource_type: str) -> Engine:
        """The same plugin, for a resource of another type."""
        return replace(self, urn=f"urn:pulumi:dev::app::{resource_type}::it")

    def call(self, method: str, request: Any) -> Any:
        try:
            return getattr(self.stub, method)(request, timeout=20)
        except grpc.RpcError as error:
            raise Failed(error) from None

    def check_config(self, **config: Any) -> dict[str, str]:
        return failures(self.call("CheckConfig", provider_pb2.CheckRequest(news=struct(config))))

    def configure(self, gitlab: FakeGitLab, **config: Any) -> None:
        arguments = {"baseUrl": f"{gitlab.url}/api/v4/", "token": TOKEN} | config
        self.call("Configure", provider_pb2.ConfigureRequest(args=struct(arguments), acceptSecrets=True))

    def check(self, inputs: dict[str, Any]) -> dict[str, str]:
        return failures(self.call("Check", provider_pb2.CheckRequest(urn=self.urn, news=struct(inputs))))

    def diff(self, state: dict[str, Any], inputs: dict[str, Any], ignore: tuple[str, ...] = ()) -> Any:
        request = provider_pb2.DiffRequest(
            urn=self.urn, id="41", olds=struct(state), news=struct(inputs), ignoreChanges=ignore
        )
        return self.call("Diff", request)

    def create(self, inputs: dict[str, Any], preview: bool = False) -> tuple[str, dict[str, Any]]:
        request = provider_pb2.CreateRequest(urn=self.urn, properties=struct(inputs), preview=preview)
        response = self.call("Create", request)
        return response.id, plain(response.properties)

    def read(
        self, number: str, state: dict[str, Any] | None = None, inputs: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        request = provider_pb2.ReadRequest(
            urn=self.urn, id=number, properties=struct(state or {}), inputs=struct(inputs or {})
        )
        response = self.call("Read", request)
        return response.id, plain(response.properties), plain(response.inputs)

    def update(
        self,
        number: str,
        state: dict[str, Any],
        inputs: dict[str, Any],
        preview: bool = False,
        ignore: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        request = provider_pb2.UpdateRequest(
            urn=self.urn, id=number, olds=struct(state), news=struct(inputs), preview=preview, ignoreChanges=ignore
        )
        return plain(self.call("Update", request).properties)

    def delete(self, number: str, state: dict[str, Any] | None = None) -> None:
        self.call("Delete", provider_pb2.DeleteRequest(urn=self.urn, id=number, properties=struct(state or {})))

    def invoke(self, token: str, **arguments: Any) -> Any:
        return self.call("Invoke", provider_pb2.InvokeRequest(tok=token, args=struct(arguments)))


def struct(values: dict[str, Any]) -> struct_pb2.Struct:
    result = struct_pb2.Struct()
    result.update(values)
    return result


def plain(values: struct_pb2.Struct) -> dict[str, Any]:
    result: dict[str, Any] = json_format.MessageToDict(values)
    return result


def failures(response: Any) -> dict[str, str]:
    return {each.property: each.reason for each in response.failures}


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    """AssertionError, naming `what`, after 5 s."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, f"waited 5 s for {what}"
        time.sleep(0.01)


@contextmanager
def served(plugin: Plugin) -> Iterator[Any]:
    """A client of a plugin."""
    server = grpc.server(ThreadPoolExecutor(4))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(plugin, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield provider_pb2_grpc.ResourceProviderStub(channel)
    server.stop(0).wait()


@contextmanager
def serving(urn: str) -> Iterator[Engine]:
    """A GitLab plugin of its own, not configured yet."""
    with served(GitLabPlugin()) as stub:
        yield Engine(stub, urn)
