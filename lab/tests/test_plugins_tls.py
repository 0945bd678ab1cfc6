"""The stand-in tls plugin: real keys and certificates, verified by openssl, and what the engine is told of a change."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.plugins.base import PluginError
from lab.plugins.tls import certificates, resources
from lab.plugins.tls.resources import RESOURCES
from lab.plugins.values import UNKNOWN, is_secret, revealed, secret

KEY = RESOURCES["tls:index/privateKey:PrivateKey"]
REQUEST = RESOURCES["tls:index/certRequest:CertRequest"]
SELF_SIGNED = RESOURCES["tls:index/selfSignedCert:SelfSignedCert"]
SIGNED = RESOURCES["tls:index/locallySignedCert:LocallySignedCert"]
NAMES = {"dnsNames": ["dind", "dind.ci.svc"], "ipAddresses": ["10.0.0.7", "fd00::1"]}
EC = {"algorithm": "ECDSA", "ecdsaCurve": "P256"}
OPENSSL = shutil.which("openssl")


def made(resource: resources.Resource, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a new resource, without marks."""
    assert not resources.check(resource, inputs)
    plain: dict[str, Any] = revealed(resources.create(resource, inputs)[1])
    return plain


def key_pem() -> str:
    return str(made(KEY, EC)["privateKeyPem"])


def authority(pem: str) -> dict[str, Any]:
    return made(
        SELF_SIGNED,
        {
            "privateKeyPem": pem,
            "subject": {"commonName": "the CA", "organization": "tests"},
            "validityPeriodHours": 48,
            "allowedUses": ["cert_signing", "crl_signing", "digital_signature"],
            "isCaCertificate": True,
        },
    )


def server(pem: str, ca_pem: str, ca: Mapping[str, Any]) -> dict[str, Any]:
    request = made(REQUEST, {"privateKeyPem": pem, "subject": {"commonName": "dind"}, **NAMES})
    return made(
        SIGNED,
        {
            "caCertPem": ca["certPem"],
            "caPrivateKeyPem": ca_pem,
            "certRequestPem": request["certRequestPem"],
            "validityPeriodHours": 24,
            "allowedUses": ["digital_signature", "key_encipherment", "server_auth"],
        },
    )


def openssl(*arguments: str | Path, text: str = "") -> str:
    if OPENSSL is None:
        pytest.skip("there is no openssl on this machine")
    done = subprocess.run([OPENSSL, *arguments], input=text, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_key_can_be_read_by_openssl_and_is_secret() -> None:
    key_id, outputs = resources.create(KEY, EC)

    assert [name for name, value in outputs.items() if is_secret(value)] == ["privateKeyPem"]
    plain = revealed(outputs)
    assert plain["privateKeyPem"].startswith("-----BEGIN EC PRIVATE KEY-----\n")
    assert openssl("pkey", "-pubout", text=plain["privateKeyPem"]) == plain["publicKeyPem"]
    assert len(key_id) == 40


def test_openssl_verifies_a_signed_certificate_against_its_authority_and_finds_every_name(tmp_path: Path) -> None:
    ca_key = key_pem()
    ca = authority(ca_key)
    leaf = server(key_pem(), ca_key, ca)
    (tmp_path / "ca.pem").write_text(ca["certPem"])
    (tmp_path / "leaf.pem").write_text(leaf["certPem"])

    checks = ("-x509_strict", "-purpose", "sslserver", "-verify_hostname", "dind.ci.svc", "-CAfile")
    assert "OK" in openssl("verify", *checks, tmp_path / "ca.pem", tmp_path / "leaf.pem")
    described = openssl("x509", "-noout", "-text", text=leaf["certPem"])
    assert "DNS:dind, DNS:dind.ci.svc, IP Address:10.0.0.7, IP Address:FD00:0:0:0:0:0:0:1" in described
    assert "CA:FALSE" in described
    assert "TLS Web Server Authentication" in described
    assert leaf["caKeyAlgorithm"] == "ECDSA"


def test_a_certificate_of_another_authority_is_not_verified(tmp_path: Path) -> None:
    ca_key, other_key = key_pem(), key_pem()
    (tmp_path / "ca.pem").write_text(authority(other_key)["certPem"])
    (tmp_path / "leaf.pem").write_text(server(key_pem(), ca_key, authority(ca_key))["certPem"])

    done = subprocess.run(
        [OPENSSL or "openssl", "verify", "-CAfile", tmp_path / "ca.pem", tmp_path / "leaf.pem"],
        capture_output=True,
        timeout=30,
    )
    assert done.returncode != 0


def test_an_authority_has_its_key_id_and_its_uses() -> None:
    described = openssl("x509", "-noout", "-text", text=authority(key_pem())["certPem"])

    assert "CA:TRUE" in described
    assert "Certificate Sign, CRL Sign" in described
    assert "X509v3 Subject Key Identifier" in described
    assert "Subject: O = tests, CN = the CA" in described


def test_the_id_of_a_certificate_is_its_serial_number() -> None:
    inputs = {"privateKeyPem": key_pem(), "validityPeriodHours": 1, "allowedUses": ["client_auth"]}
    serial, outputs = resources.create(SELF_SIGNED, inputs)

    assert openssl("x509", "-noout", "-serial", text=outputs["certPem"]).strip() == f"serial={int(serial):032X}"


def test_the_moved_clock_issues_certificates_of_the_past_and_decides_on_their_renewal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = {
        "privateKeyPem": secret(key_pem()),
        "validityPeriodHours": 100,
        "earlyRenewalHours": 10,
        "allowedUses": ["server_auth"],
    }
    monkeypatch.setenv(certificates.CLOCK_OFFSET, "-91")
    state = resources.create(SELF_SIGNED, inputs)[1]

    assert resources.changed(SELF_SIGNED, state, inputs) == {}
    assert resources.read(SELF_SIGNED, state)["readyForRenewal"] is False
    monkeypatch.delenv(certificates.CLOCK_OFFSET)
    assert resources.changed(SELF_SIGNED, state, inputs) == {"readyForRenewal": "UPDATE_REPLACE"}
    assert resources.read(SELF_SIGNED, state)["readyForRenewal"] is True


def test_a_certificate_that_was_due_is_left_alone_when_it_shall_be_renewed_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = {"privateKeyPem": key_pem(), "validityPeriodHours": 100, "allowedUses": [], "earlyRenewalHours": 99}
    monkeypatch.setenv(certificates.CLOCK_OFFSET, "-2")
    state = resources.create(SELF_SIGNED, inputs)[1]
    monkeypatch.delenv(certificates.CLOCK_OFFSET)
    due = resources.read(SELF_SIGNED, state)

    later = {**inputs, "earlyRenewalHours": 1}
    assert resources.changed(SELF_SIGNED, due, later) == {"earlyRenewalHours": "UPDATE", "readyForRenewal": "UPDATE"}
    after = resources.updated(SELF_SIGNED, due, later)
    assert (after["readyForRenewal"], after["earlyRenewalHours"]) == (False, 1)
    assert after["certPem"] == state["certPem"]
    assert is_secret(after["privateKeyPem"])


def test_every_input_but_the_renewal_hours_replaces_and_defaults_are_no_change() -> None:
    inputs = {"privateKeyPem": key_pem(), "validityPeriodHours": 1, "allowedUses": ["server_auth"]}
    state = resources.create(SELF_SIGNED, inputs)[1]

    assert resources.changed(SELF_SIGNED, state, {**inputs, "isCaCertificate": False, "earlyRenewalHours": 0}) == {}
    assert resources.changed(SELF_SIGNED, state, {**inputs, "dnsNames": ["a"]}) == {"dnsNames": "ADD_REPLACE"}
    assert resources.changed(SELF_SIGNED, state, {**inputs, "allowedUses": []}) == {"allowedUses": "UPDATE_REPLACE"}
    assert resources.changed(SELF_SIGNED, state, {**inputs, "privateKeyPem": UNKNOWN}) == {
        "privateKeyPem": "UPDATE_REPLACE"
    }
    assert resources.changed(SELF_SIGNED, state, {**inputs, "dnsNames": ["a"]}, ignored=["dnsNames"]) == {}


def test_a_preview_promises_the_inputs_and_leaves_the_rest_unknown() -> None:
    previewed = resources.preview_of_create(SIGNED, {"caCertPem": UNKNOWN, "validityPeriodHours": 24})

    assert previewed["validityPeriodHours"] == 24
    assert {previewed[name] for name in SIGNED.computed} == {UNKNOWN}


@pytest.mark.parametrize(
    ("resource", "inputs", "failing"),
    [
        (KEY, {}, {"algorithm", "ecdsaCurve"}),
        (KEY, {"algorithm": "RSA", "ecdsaCurve": "P384", "rsaBits": 2048}, {"algorithm", "ecdsaCurve", "rsaBits"}),
        (KEY, {"algorithm": UNKNOWN, "ecdsaCurve": "P256"}, set()),
        (
            SELF_SIGNED,
            {"privateKeyPem": secret(UNKNOWN), "validityPeriodHours": -1},
            {"validityPeriodHours", "allowedUses"},
        ),
        (REQUEST, {"privateKeyPem": "x", "subject": {"commonname": "x"}}, {"subject"}),
        (REQUEST, {"privateKeyPem": "x", "dnsname": ["a"]}, {"dnsname"}),
    ],
)
def test_wrong_inputs_are_named(resource: resources.Resource, inputs: dict[str, Any], failing: set[str]) -> None:
    assert {each.property for each in resources.check(resource, inputs)} == failing


def test_an_error_about_a_key_does_not_show_it() -> None:
    with pytest.raises(PluginError) as error:
        resources.create(REQUEST, {"privateKeyPem": secret("not a key")})

    assert "not a key" not in str(error.value)
    assert "private_key_pem holds no private key in PEM format" in str(error.value)


def test_the_key_of_another_authority_is_refused() -> None:
    with pytest.raises(PluginError, match="is not the key of the certificate in ca_cert_pem"):
        server(key_pem(), key_pem(), authority(key_pem()))
