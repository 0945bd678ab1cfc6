"""Private keys, as the resource `PrivateKey` makes them and the others take them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from lab.plugins.base import PluginError, secret

CURVES: Mapping[str, Callable[[], ec.EllipticCurve]] = {
    "P224": ec.SECP224R1,
    "P256": ec.SECP256R1,
    "P384": ec.SECP384R1,
    "P521": ec.SECP521R1,
}
ALGORITHMS = ("RSA", "ECDSA", "ED25519")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def generate(algorithm: str, curve: str, rsa_bits: int) -> tuple[str, dict[str, Any]]:
    """A new key: its id (the SHA-1 of the public key) and the outputs of the resource.

    curve matters to ECDSA only, rsa_bits to RSA only.
    """
    key: PrivateKey
    match algorithm:
        case "RSA":
            key = rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)
        case "ECDSA":
            key = ec.generate_private_key(CURVES[curve]())
        case _:
            key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha1(der).hexdigest(), {
        "algorithm": algorithm,
        "ecdsaCurve": curve,
        "rsaBits": rsa_bits,
        "privateKeyPem": secret(_private_pem(key)),
        "privateKeyPemPkcs8": secret(_text(key, PrivateFormat.PKCS8)),
        "privateKeyOpenssh": secret(_text(key, PrivateFormat.OpenSSH) if _known_to_ssh(key) else ""),
        "publicKeyPem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        **_ssh_outputs(key),
    }


def parse(pem: str, what: str) -> PrivateKey:
    """The key in a PEM text; `what` names the input in an error, which never shows the text."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PluginError(f"{what} holds no private key in PEM format that can be read without a password") from None
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        return key
    raise PluginError(f"{what} holds a key of another algorithm than {', '.join(ALGORITHMS)}")


def algorithm_of(key: PrivateKey) -> str:
    """One of `ALGORITHMS`."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RSA"
    return "ECDSA" if isinstance(key, ec.EllipticCurvePrivateKey) else "ED25519"


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """The hash that Go's `crypto/x509` would sign with."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384() if key.curve.key_size == 384 else hashes.SHA512()
    return hashes.SHA256()


def _private_pem(key: PrivateKey) -> str:
    """The traditional format, but for ED25519, which has none."""
    modern = isinstance(key, ed25519.Ed25519PrivateKey)
    return _text(key, PrivateFormat.PKCS8 if modern else PrivateFormat.TraditionalOpenSSL)


def _text(key: PrivateKey, form: PrivateFormat) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def _known_to_ssh(key: PrivateKey) -> bool:
    return not (isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp224r1")


def _ssh_outputs(key: PrivateKey) -> dict[str, str]:
    """Empty texts for the one curve that OpenSSH does not know, as upstream has it."""
    names = ("publicKeyOpenssh", "publicKeyFingerprintMd5", "publicKeyFingerprintSha256")
    if not _known_to_ssh(key):
        return dict.fromkeys(names, "")
    public = key.public_key()
    line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    md5 = serialization.ssh_key_fingerprint(public, hashes.MD5()).hex(":")
    sha256 = _base64_without_padding(serialization.ssh_key_fingerprint(public, hashes.SHA256()))
    return dict(zip(names, (f"{line}\n", md5, f"SHA256:{sha256}"), strict=True))


def _base64_without_padding(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")
