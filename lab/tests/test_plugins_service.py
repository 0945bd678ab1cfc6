"""The stand-in plugin over gRPC, as the engine calls it."""

from __future__ import annotations

import grpc  # type: ignore[import-untyped]
import pytest
from pulumi.runtime.proto import provider_pb2

from lab.plugins.base import to_struct, to_values
from lab.plugins.tls import resources
from lab.plugins.tls.plugin import TlsPlugin
from lab.plugins.values import UNKNOWN, is_secret, secret
from lab.tests.plugin_engine import served

KEY = "urn:pulumi:dev::app::tls:index/privateKey:PrivateKey::key"


def test_a_key_is_previewed_created_and_left_alone() -> None:
    inputs = to_struct({"algorithm": "ECDSA", "ecdsaCurve": "P256"})
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


def test_an_unexpected_failure_shows_its_place_and_not_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AttributeError("a private text")

    monkeypatch.setattr(resources, "check", fail)
    with served(TlsPlugin()) as stub, pytest.raises(grpc.RpcError) as error:
        stub.Check(provider_pb2.CheckRequest(urn=KEY), timeout=20)

    assert error.value.details().startswith("the stand-in tls plugin failed: AttributeError in test_plugins_service.py")
    assert "a private text" not in error.value.details()
