"""The certificates by which the daemon and its clients prove who they are, and the Secrets that hold them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pulumi_tls as tls

from ..inputs import mapped, recorded, taken
from .names import daemon_name, digest
from .resources import StackArgs, metadata

DAY_HOURS = 24
CA_DAYS = 3650
"""Its key is only in the stack's state, whose owner can make another CA at any time."""


@dataclass(frozen=True, kw_only=True)
class DaemonCertificatesArgs(StackArgs):
    """Inputs of DaemonCertificates, beyond `StackArgs`.

    names, addresses: host names and IP addresses in the daemon's certificate.
    valid_days: how long the certificates of daemon and clients are valid. renew_days: how many days before that time
        is over the next update makes a new one.
    """

    names: pulumi.Input[Sequence[pulumi.Input[str]]]
    addresses: pulumi.Input[Sequence[pulumi.Input[str]]] = ("127.0.0.1",)
    valid_days: pulumi.Input[int] = 365
    renew_days: pulumi.Input[int] = 60


class DaemonCertificates(pulumi.ComponentResource):
    """The stack's own CA, and what it signs: one certificate for the daemon, one for all clients.

    The CA's key is in no Secret. A renewed certificate keeps its key, so what the other side holds stays valid.

    server_secret, client_secret: names of the Secrets with ca.pem, cert.pem and key.pem.
    fingerprint: changes when the daemon has to be started again.
    """

    server_secret: pulumi.Output[str]
    client_secret: pulumi.Output[str]
    fingerprint: pulumi.Output[str]

    def __init__(
        self, name: str, args: DaemonCertificatesArgs | Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = taken(DaemonCertificatesArgs, args)
        super().__init__("dindrunner:kubernetes:DaemonCertificates", name, recorded(args), opts)
        child = pulumi.ResourceOptions(parent=self)
        ca_key = _key(f"{name}-ca-key", child)
        ca = tls.SelfSignedCert(
            f"{name}-ca",
            private_key_pem=ca_key.private_key_pem,
            subject=tls.SelfSignedCertSubjectArgs(common_name=f"{args.prefix} docker CA"),
            is_ca_certificate=True,
            set_subject_key_id=True,
            allowed_uses=["cert_signing", "crl_signing", "digital_signature"],
            validity_period_hours=CA_DAYS * DAY_HOURS,
            # The certificates that it signs must not outlive it.
            early_renewal_hours=mapped(args.valid_days, _hours),
            opts=child,
        )
        server_key, server = self._certificate(name, "server", args, ca_key, ca)
        client_key, client = self._certificate(name, "client", args, ca_key, ca)
        daemon = daemon_name(args.prefix)
        self.server_secret = self._secret(name, "server", args, ca, server, server_key, f"{daemon}-server")
        # A new CA means a new Secret: running pods keep their certificate until the daemon is started again.
        client_name = ca.cert_pem.apply(lambda pem: f"{daemon}-client-{digest(pem)[:8]}")
        self.client_secret = self._secret(name, "client", args, ca, client, client_key, client_name)
        self.fingerprint = pulumi.Output.all(ca.cert_pem, server.cert_pem).apply(lambda pems: digest("".join(pems)))
        self.register_outputs(
            {
                "server_secret": self.server_secret,
                "client_secret": self.client_secret,
                "fingerprint": self.fingerprint,
            }
        )

    def _certificate(
        self, name: str, role: str, args: DaemonCertificatesArgs, ca_key: tls.PrivateKey, ca: tls.SelfSignedCert
    ) -> tuple[tls.PrivateKey, tls.LocallySignedCert]:
        child = pulumi.ResourceOptions(parent=self)
        key = _key(f"{name}-{role}-key", child)
        request = tls.CertRequest(
            f"{name}-{role}-request",
            private_key_pem=key.private_key_pem,
            subject=tls.CertRequestSubjectArgs(common_name=f"{args.prefix} docker {role}"),
            dns_names=mapped(args.names, list) if role == "server" else None,
            ip_addresses=mapped(args.addresses, list) if role == "server" else None,
            opts=child,
        )
        certificate = tls.LocallySignedCert(
            f"{name}-{role}",
            cert_request_pem=request.cert_request_pem,
            ca_private_key_pem=ca_key.private_key_pem,
            ca_cert_pem=ca.cert_pem,
            allowed_uses=["digital_signature", f"{role}_auth"],
            validity_period_hours=mapped(args.valid_days, _hours),
            early_renewal_hours=mapped(args.renew_days, _hours),
            opts=child,
        )
        return key, certificate

    def _secret(
        self,
        name: str,
        role: str,
        args: DaemonCertificatesArgs,
        ca: tls.SelfSignedCert,
        certificate: tls.LocallySignedCert,
        key: tls.PrivateKey,
        secret_name: pulumi.Input[str],
    ) -> pulumi.Output[str]:
        files = {"ca.pem": ca.cert_pem, "cert.pem": certificate.cert_pem, "key.pem": key.private_key_pem}
        secret = k8s.core.v1.Secret(
            f"{name}-{role}-secret",
            metadata=metadata(args, "certificates", secret_name),
            data={file: text.apply(encoded) for file, text in files.items()},
            opts=pulumi.ResourceOptions(parent=self),
        )
        return secret.metadata.name


def _hours(days: int) -> int:
    return days * DAY_HOURS


def encoded(text: str) -> str:
    """A text as a Secret holds it."""
    return base64.b64encode(text.encode()).decode()


def _key(name: str, opts: pulumi.ResourceOptions) -> tls.PrivateKey:
    return tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve="P256", opts=opts)
