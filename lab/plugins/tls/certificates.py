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
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lab.plugins.base import PluginError, Values
from lab.plugins.tls import keys

CLOCK_OFFSET = "STAND_IN_TLS_CLOCK_OFFSET_HOURS"
"""Environment variable: whole hours, with sign, by which the clock is moved when issuing and when looking at an end."""

KEY_USAGES = {
    "digital_signature": "digital_signature",
    "content_commitment": "content_commitment",
    "key_encipherment": "key_encipherment",
    "data_encipherment": "data_encipherment",
    "key_agreement": "key_agreement",
    "cert_signing": "key_cert_sign",
    "crl_signing": "crl_sign",
    "encipher_only": "encipher_only",
    "decipher_only": "decipher_only",
}
EXTENDED_KEY_USAGES = {
    "any_extended": "2.5.29.37.0",
    "server_auth": "1.3.6.1.5.5.7.3.1",
    "client_auth": "1.3.6.1.5.5.7.3.2",
    "code_signing": "1.3.6.1.5.5.7.3.3",
    "email_protection": "1.3.6.1.5.5.7.3.4",
    "ipsec_end_system": "1.3.6.1.5.5.7.3.5",
    "ipsec_tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec_user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp_signing": "1.3.6.1.5.5.7.3.9",
    "microsoft_server_gated_crypto": "1.3.6.1.4.1.311.10.3.3",
    "netscape_server_gated_crypto": "2.16.840.1.113730.4.1",
    "microsoft_commercial_code_signing": "1.3.6.1.4.1.311.2.1.22",
    "microsoft_kernel_code_signing": "1.3.6.1.4.1.311.61.1.1",
}
SUBJECT = {
    "country": NameOID.COUNTRY_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "locality": NameOID.LOCALITY_NAME,
    "province": NameOID.STATE_OR_PROVINCE_NAME,
    "streetAddresses": NameOID.STREET_ADDRESS,
    "postalCode": NameOID.POSTAL_CODE,
    "commonName": NameOID.COMMON_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "emailAddress": NameOID.EMAIL_ADDRESS,
}
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
    signed = builder.sign(key, keys.signature_hash(key))
    return hashlib.sha1(signed.public_bytes(Encoding.DER)).hexdigest(), {
        "certRequestPem": signed.public_bytes(Encoding.PEM).decode(),
        "keyAlgorithm": keys.algorithm_of(key),
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
    return serial, {**outputs, "keyAlgorithm": keys.algorithm_of(key)}


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
    return serial, {**outputs, "caKeyAlgorithm": keys.algorithm_of(key)}


def subject(fields: Mapping[str, Any]) -> x509.Name:
    """The distinguished name."""
    attributes = []
    for field, oid in SUBJECT.items():
        value = fields.get(field)
        for each in value if isinstance(value, list) else [value]:
            if each:
                attributes.append(_attribute(field, oid, each))
    return x509.Name(attributes)


def _attribute(field: str, oid: x509.ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    try:
        return x509.NameAttribute(oid, value)
    except ValueError as error:
        raise PluginError(f"subject.{field} is {value!r}: {error}") from None


def alternative_names(inputs: Values) -> list[x509.GeneralName]:
    """The subject's alternative names: dnsNames, ipAddresses, uris."""
    names: list[x509.GeneralName] = []
    for value in inputs.get("dnsNames") or []:
        names.append(_general_name("dns_names", x509.DNSName, value))
    for value in inputs.get("ipAddresses") or []:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(value)))
        except ValueError:
            raise PluginError(f"ip_addresses holds {value!r}: that is no IP address") from None
    for value in inputs.get("uris") or []:
        names.append(_general_name("uris", x509.UniformResourceIdentifier, value))
    return names


def _general_name(
    what: str, kind: type[x509.DNSName] | type[x509.UniformResourceIdentifier], value: str
) -> x509.GeneralName:
    try:
        return kind(value)
    except ValueError:
        raise PluginError(f"{what} holds {value!r}: only ASCII is possible") from None


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
    if inputs.get("setAuthorityKeyId"):
        if not has_key_id:
            raise PluginError("set_authority_key_id needs set_subject_key_id or is_ca_certificate")
        issuer_key_id = own_key_id.digest
    for extension, critical in _usage(inputs.get("allowedUses") or []):
        builder = builder.add_extension(extension, critical)
    # As in Go, 0 stands for no limit.
    longest = inputs.get("maxPathLength") or -1
    builder = builder.add_extension(
        x509.BasicConstraints(ca=is_ca, path_length=longest if is_ca and longest > 0 else None), critical=True
    )
    if has_key_id:
        builder = builder.add_extension(own_key_id, critical=False)
    if issuer_key_id:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(issuer_key_id, None, None), critical=False)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=not name.rdns)
    signed = builder.sign(key, keys.signature_hash(key))
    return str(serial), {
        "certPem": signed.public_bytes(Encoding.PEM).decode(),
        "readyForRenewal": False,
        "validityStartTime": _rfc3339(start),
        "validityEndTime": _rfc3339(end),
    }


def _usage(allowed: list[str]) -> list[tuple[x509.ExtensionType, bool]]:
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if plain := {KEY_USAGES[each] for each in allowed if each in KEY_USAGES}:
        try:
            usage = x509.KeyUsage(**{name: name in plain for name in KEY_USAGES.values()})
        except ValueError as error:
            raise PluginError(f"allowed_uses: {error}") from None
        extensions.append((usage, True))
    if extended := [EXTENDED_KEY_USAGES[each] for each in allowed if each in EXTENDED_KEY_USAGES]:
        extensions.append((x509.ExtendedKeyUsage([x509.ObjectIdentifier(each) for each in extended]), False))
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
