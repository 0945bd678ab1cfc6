"""Certificate requests and certificates as upstream's `createCertificate` makes them. Pure but for the clock."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.plugins.base import PluginError, Values
from lab.plugins.tls import keys

CLOCK_OFFSET = "STAND_IN_TLS_CLOCK_OFFSET_HOURS"
"""Environment variable: whole hours, with sign, by which the clock is moved when issuing and when looking at an end."""

KEY_USAGES = {
    "digital_signature": "digital_signature",
    "key_encipherment": "key_encipherment",
    "cert_signing": "key_cert_sign",
    "crl_signing": "crl_sign",
}
_OTHER_USAGES = ("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only")
EXTENDED_KEY_USAGES = {"server_auth": ExtendedKeyUsageOID.SERVER_AUTH, "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH}
SUBJECT = {"organization": NameOID.ORGANIZATION_NAME, "commonName": NameOID.COMMON_NAME}
"""The fields of a subject, in the order in which Go writes them."""


def now() -> datetime:
    """The time, moved by the environment."""
    offset = os.environ.get(CLOCK_OFFSET) or "0"
    try:
        return datetime.now(UTC) + timedelta(hours=int(offset))
    except ValueError:
        raise PluginError(f"{CLOCK_OFFSET} is {offset!r}: it has to be a whole number of hours") from None


def ready_for_renewal(validity_end_time: str, early_renewal_hours: float) -> bool:
    """Whether the certificate has ended, or ends within the hours before which it shall be renewed."""
    return now() >= datetime.fromisoformat(validity_end_time) - timedelta(hours=early_renewal_hours)


def request(inputs: Values) -> tuple[str, dict[str, Any]]:
    """A new certificate request: its id and what the resource has besides its inputs."""
    key = keys.parse(inputs["privateKeyPem"], "private_key_pem")
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(inputs.get("subject") or {}))
    if names := alternative_names(inputs):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not inputs.get("subject"))
    signed = builder.sign(key, hashes.SHA256())
    return hashlib.sha1(signed.public_bytes(Encoding.DER)).hexdigest(), {
        "certRequestPem": signed.public_bytes(Encoding.PEM).decode(),
        "keyAlgorithm": keys.ALGORITHM,
    }


def self_signed(inputs: Values) -> tuple[str, dict[str, Any]]:
    """A new certificate signed by its own key: its id and what the resource has besides its inputs."""
    key = keys.parse(inputs["privateKeyPem"], "private_key_pem")
    own_name = subject(inputs.get("subject") or {})
    serial, outputs = _issue(
        inputs,
        name=own_name,
        alternatives=alternative_names(inputs),
        public_key=key.public_key(),
        issuer=own_name,
        issuer_key_id=None,
        key=key,
    )
    return serial, {**outputs, "keyAlgorithm": keys.ALGORITHM}


def locally_signed(inputs: Values) -> tuple[str, dict[str, Any]]:
    """A new certificate for a request, signed by a CA: its id and what the resource has besides its inputs."""
    key = keys.parse(inputs["caPrivateKeyPem"], "ca_private_key_pem")
    try:
        authority = x509.load_pem_x509_certificate(inputs["caCertPem"].encode())
    except ValueError:
        raise PluginError("ca_cert_pem holds no certificate in PEM format") from None
    try:
        asked = x509.load_pem_x509_csr(inputs["certRequestPem"].encode())
    except ValueError:
        raise PluginError("cert_request_pem holds no certificate request in PEM format") from None
    if authority.public_key() != key.public_key():
        raise PluginError("ca_private_key_pem is not the key of the certificate in ca_cert_pem")
    serial, outputs = _issue(
        inputs,
        name=asked.subject,
        alternatives=_asked_names(asked),
        public_key=asked.public_key(),
        issuer=authority.subject,
        issuer_key_id=_key_id(authority),
        key=key,
    )
    return serial, {**outputs, "caKeyAlgorithm": keys.ALGORITHM}


def subject(fields: Mapping[str, Any]) -> x509.Name:
    """The distinguished name."""
    return x509.Name([_attribute(field, oid, fields[field]) for field, oid in SUBJECT.items() if fields.get(field)])


def _attribute(field: str, oid: x509.ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    try:
        return x509.NameAttribute(oid, value)
    except ValueError as error:
        raise PluginError(f"subject.{field} is {value!r}: {error}") from None


def alternative_names(inputs: Values) -> list[x509.GeneralName]:
    """The subject's alternative names: dnsNames, ipAddresses."""
    names: list[x509.GeneralName] = []
    for value in inputs.get("dnsNames") or []:
        try:
            names.append(x509.DNSName(value))
        except ValueError:
            raise PluginError(f"dns_names holds {value!r}: only ASCII is possible") from None
    for value in inputs.get("ipAddresses") or []:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(value)))
        except ValueError:
            raise PluginError(f"ip_addresses holds {value!r}: that is no IP address") from None
    return names


def _issue(
    inputs: Values,
    *,
    name: x509.Name,
    alternatives: list[x509.GeneralName],
    public_key: Any,
    issuer: x509.Name,
    issuer_key_id: bytes | None,
    key: keys.PrivateKey,
) -> tuple[str, dict[str, Any]]:
    is_ca = bool(inputs.get("isCaCertificate"))
    if is_ca and not name.rdns:
        raise PluginError("subject is empty: the certificate of an authority (is_ca_certificate) needs a name")
    start = now().replace(microsecond=0)
    end = start + timedelta(hours=inputs["validityPeriodHours"])
    serial = secrets.randbits(128) or 1
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
    )
    own_key_id = x509.SubjectKeyIdentifier.from_public_key(public_key)
    has_key_id = is_ca or bool(inputs.get("setSubjectKeyId"))
    for extension, critical in _usage(inputs.get("allowedUses") or []):
        builder = builder.add_extension(extension, critical)
    builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    if has_key_id:
        builder = builder.add_extension(own_key_id, critical=False)
    if issuer_key_id:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(issuer_key_id, None, None), critical=False)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=not name.rdns)
    signed = builder.sign(key, hashes.SHA256())
    return str(serial), {
        "certPem": signed.public_bytes(Encoding.PEM).decode(),
        "readyForRenewal": False,
        "validityStartTime": _rfc3339(start),
        "validityEndTime": _rfc3339(end),
    }


def _usage(allowed: list[str]) -> list[tuple[x509.ExtensionType, bool]]:
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if plain := {KEY_USAGES[each] for each in allowed if each in KEY_USAGES}:
        usages = {name: name in plain for name in (*KEY_USAGES.values(), *_OTHER_USAGES)}
        extensions.append((x509.KeyUsage(**usages), True))
    if extended := [EXTENDED_KEY_USAGES[each] for each in allowed if each in EXTENDED_KEY_USAGES]:
        extensions.append((x509.ExtendedKeyUsage(extended), False))
    return extensions


def _asked_names(asked: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        return list(asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _key_id(certificate: x509.Certificate) -> bytes | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None


def _rfc3339(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
