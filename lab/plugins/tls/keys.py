"""Private keys, as the resource `PrivateKey` makes them and the others take them: ECDSA on P-256."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from lab.plugins.base import PluginError, Values
from lab.plugins.values import secret

ALGORITHM, CURVE = "ECDSA", "P256"

PrivateKey = ec.EllipticCurvePrivateKey


def generate(_: Values) -> tuple[str, dict[str, Any]]:
    """A new key: its id (the SHA-1 of the public key) and the outputs of the resource."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    return hashlib.sha1(der).hexdigest(), {
        "privateKeyPem": secret(pem),
        "publicKeyPem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    }


def parse(pem: str, what: str) -> PrivateKey:
    """The key in a PEM text; `what` names the input in an error, which never shows the text."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PluginError(f"{what} holds no private key in PEM format that can be read without a password") from None
    if isinstance(key, PrivateKey):
        return key
    raise PluginError(f"{what} holds a key of another algorithm than {ALGORITHM}")
