"""The part of a plugin that is the protocol: the process, and the values and errors that pass to and from the engine.

On the gRPC service's own definition, not on `pulumi.provider.experimental`: that one puts Python's traceback into every
error, has no values that are unknown in a preview, and cannot report a resource that was created but not completely.
"""

# ruff: noqa: ARG002  the signatures are gRPC's

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, NoReturn, TypeVar

import grpc  # type: ignore[import-untyped]
from google.protobuf import empty_pb2, json_format, struct_pb2  # type: ignore[import-untyped]

from lab.plugins.proto import plugin_pb2, provider_pb2, provider_pb2_grpc
from lab.plugins.values import Failure

_THREADS = 32
_PARENT_CHECK_SECONDS = 1.0
_OPTIONS = [
    ("grpc.max_receive_message_length", 400 * 1024 * 1024),
    ("grpc.server_max_unrequested_time_in_server", 30 * 60),
]
"""As the SDK's: what is longer than 4 MiB, or waits for more than 30 s for a thread, would be refused."""

Values = Mapping[str, Any]
Response = TypeVar("Response")


class PluginError(Exception):
    """An expected failure; its text is shown as it is."""


# The process


def serve(plugin: Plugin) -> None:
    """Serves on a free port of 127.0.0.1, prints it, and ends when the engine that started it is gone."""
    engine = os.getppid()
    # Its end waits for what has begun, so that a runner for an engine that was killed is deleted again.
    with ThreadPoolExecutor(_THREADS) as pool:
        server = grpc.server(pool, options=_OPTIONS)
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(plugin, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        print(port, flush=True)
        # A killed engine kills nobody: without this the process would stay for ever.
        while os.getppid() == engine and server.wait_for_termination(_PARENT_CHECK_SECONDS):
            pass
        server.stop(grace=None)


def explains_errors(method: Callable[..., Response]) -> Callable[..., Response]:
    """Answers with the text of an expected error, and with the place alone of any other: its text may hold a secret."""

    @wraps(method)
    def call(self: Plugin, request: Any, context: grpc.ServicerContext) -> Response:
        try:
            return method(self, request, context)
        except PluginError as error:
            _abort(context, str(error))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__} in {os.path.basename(place.filename)}, line {place.lineno}"
            _abort(context, f"the stand-in {self.name} plugin failed: {text}")

    return call


class Plugin(provider_pb2_grpc.ResourceProviderServicer):
    """A plugin's gRPC service. What a subclass lacks the engine takes as "not implemented"."""

    name = ""
    version = ""

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self.version)

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        """Takes every configuration."""
        return provider_pb2.CheckResponse(inputs=request.news)

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """What has begun goes on, so that nothing half-made is forgotten: every request has its limit."""
        return empty_pb2.Empty()


def _abort(context: grpc.ServicerContext, text: str) -> NoReturn:
    context.abort(grpc.StatusCode.UNKNOWN, text)
    raise AssertionError("abort raises an exception of its own")


# Messages


def to_values(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A message's values, with whole numbers as int; secrets keep their marks."""
    values: dict[str, Any] = _whole_numbers(json_format.MessageToDict(struct))
    return values


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def to_struct(values: Values) -> struct_pb2.Struct:
    """The values as a message."""
    struct = struct_pb2.Struct()
    struct.update(dict(values))
    return struct


def to_failures(failures: Iterable[Failure]) -> list[provider_pb2.CheckFailure]:
    """The failures as messages."""
    return [provider_pb2.CheckFailure(property=each.property, reason=each.reason) for each in failures]


def type_of(urn: str) -> str:
    """The type of the resource that a URN names."""
    return urn.split("::")[2].split("$")[-1]
