"""The stand-in plugins over gRPC, as the engine calls them; neither needs a cluster for this."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from sandbox.gitlab_plugin.values import UNKNOWN
from tests.plugins.base import Plugin, is_secret, secret, to_struct, to_values
from tests.plugins.kubernetes.plugin import KubernetesPlugin
from tests.plugins.tls.plugin import TlsPlugin

KEY = "urn:pulumi:dev::app::tls:index/privateKey:PrivateKey::key"
SECRET = "urn:pulumi:dev::app::dindrunner:kubernetes:RunnerContainer$kubernetes:core/v1:Secret::config"
CONFIG = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"a": secret(UNKNOWN)}}


@contextmanager
def served(plugin: Plugin) -> Iterator[Any]:
    """A client of the plugin."""
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        provider_pb2_grpc.add_ResourceProviderServicer_to_server(plugin, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield provider_pb2_grpc.ResourceProviderStub(channel)
        finally:
            server.stop(None).wait()


def test_a_key_is_previewed_created_and_left_alone() -> None:
    inputs = to_struct({"algorithm": "ED25519"})
    with served(TlsPlugin()) as stub:
        previewed = stub.Create(provider_pb2.CreateRequest(urn=KEY, properties=inputs, preview=True), timeout=20)
        made = stub.Create(provider_pb2.CreateRequest(urn=KEY, properties=inputs), timeout=20)
        request = provider_pb2.DiffRequest(urn=KEY, id=made.id, olds=made.properties, news=inputs)
        assert stub.Diff(request, timeout=20).changes == provider_pb2.DiffResponse.DIFF_NONE

    assert to_values(previewed.properties)["privateKeyPem"] == secret(UNKNOWN)
    assert is_secret(to_values(made.properties)["privateKeyPem"])
    assert len(made.id) == 40


def test_a_type_that_is_not_served_is_an_error_with_its_text_alone() -> None:
    with served(TlsPlugin()) as stub, pytest.raises(grpc.RpcError) as error:
        stub.Check(provider_pb2.CheckRequest(urn=KEY.replace("PrivateKey", "Other")), timeout=20)

    assert "does not serve tls:index/privateKey:Other" in error.value.details()
    assert "Traceback" not in error.value.details()


def test_an_unexpected_failure_shows_its_place_and_not_its_text() -> None:
    with served(KubernetesPlugin()) as stub, pytest.raises(grpc.RpcError) as error:
        request = provider_pb2.CheckRequest(urn=SECRET, news=to_struct({"stringData": secret("no mapping")}))
        stub.Check(request, timeout=20)

    assert error.value.details().startswith("the stand-in kubernetes plugin failed: AttributeError in objects.py")
    assert "no mapping" not in error.value.details()


def test_unknown_and_secret_values_survive_a_preview_without_a_cluster() -> None:
    with served(KubernetesPlugin()) as stub:
        checked = stub.Check(provider_pb2.CheckRequest(urn=SECRET, news=to_struct(CONFIG)), timeout=20)
        request = provider_pb2.CreateRequest(urn=SECRET, properties=checked.inputs, preview=True)
        previewed = to_values(stub.Create(request, timeout=20).properties)

    assert not checked.failures
    assert previewed["stringData"] == secret({"a": UNKNOWN})
    assert previewed["kind"] == "Secret"


def test_an_object_needs_a_name_that_is_known_or_will_be() -> None:
    with served(KubernetesPlugin()) as stub:

        def reasons(metadata: Any) -> list[str]:
            news = to_struct({**CONFIG, "metadata": metadata})
            answer = stub.Check(provider_pb2.CheckRequest(urn=SECRET, news=news), timeout=20)
            return [each.reason for each in answer.failures]

        assert reasons({"name": UNKNOWN}) == reasons(UNKNOWN) == []
        assert "metadata.name is missing" in reasons({})[0]
        assert "generateName is not possible" in reasons({"generateName": "x-"})[0]


def test_nothing_is_created_without_a_cluster_and_a_cancelled_plugin_knows_it() -> None:
    plugin = KubernetesPlugin()
    with served(plugin) as stub:
        with pytest.raises(grpc.RpcError) as error:
            known = to_struct({**CONFIG, "stringData": {"a": "b"}})
            stub.Create(provider_pb2.CreateRequest(urn=SECRET, properties=known), timeout=20)
        stub.Cancel(empty_pb2.Empty(), timeout=20)

    assert error.value.details().startswith("configured Kubernetes cluster is unreachable: ")
    assert plugin.cancelled.is_set()
