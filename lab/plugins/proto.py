"""The messages of the engine's protocol, from the SDK's files without the SDK: that takes longer than all the rest."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2
else:
    # Python looks for what is below this module where the SDK has it.
    __path__ = [f"{each}/runtime/proto" for each in find_spec("pulumi").submodule_search_locations]
    _MODULES = ("plugin_pb2", "provider_pb2", "provider_pb2_grpc", "status_pb2")
    plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2 = (import_module(f"{__name__}.{each}") for each in _MODULES)

__all__ = ["plugin_pb2", "provider_pb2", "provider_pb2_grpc", "status_pb2"]
