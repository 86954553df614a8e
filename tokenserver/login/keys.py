"""Keys that verify login tokens, each with the one algorithm it is used with.

This module and tokenserver.login.verifier import PyJWT, so they are imported only where
users log in.

Sources: RFC 7518 (algorithms), RFC 8037 (EdDSA), RFC 8725 (best current practices).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidKeyError
from jwt import __version__ as pyjwt_version
from jwt.algorithms import HMACAlgorithm

from tokenserver.errors import ConfigError

if tuple(map(int, pyjwt_version.split(".")[:2])) < (2, 14):
    # Older versions accept a public key in DER as a secret.
    raise ImportError(f"it is version {pyjwt_version}, and 2.14 or later is needed")

MIN_SECRET_BYTES = 32  # RFC 7518 section 3.2
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
ACCEPTED_KEYS = f"RSA of {MIN_RSA_BITS} bits or more, EC P-256 and Ed25519"


@dataclass(frozen=True, eq=False)
class Key:
    """A key and the only algorithm it is used with (RFC 8725 section 3.1)."""

    algorithm: str
    key: Any = field(repr=False)  # bytes, or a public key of cryptography

    @property
    def algorithms(self) -> frozenset[str]:
        """What a token may be signed with."""
        return frozenset((self.algorithm,))

    def find(self, _header: Mapping[str, Any]) -> Key:
        """Return this key, whatever the header is."""
        return self


class Keys(Protocol):
    """The keys of a verifier."""

    @property
    def algorithms(self) -> frozenset[str]:
        """What tokens may be signed with."""

    def find(self, header: Mapping[str, Any]) -> Key:
        """Return the key for a token with this header.

        Its alg is a supported one, and its kid, if it has one, is a string.  Raises
        LoginError.
        """


# These are not secrets: a PEM, an SSH key (RFC 4716 and OpenSSH), a JWK or a JWK set.
# They may be public, and then anyone could sign with HS256.
NO_SECRET = re.compile(
    rb"----[- ]BEGIN |\A\s*(?:sk-)?(?:ssh|ecdsa)-|\A[^\w{]*\{.*\"(?:kty|keys)\"",
    re.DOTALL,
)


def secret_key(where: str, content: bytes) -> Key:
    """Return the HS256 key in the file *where*, without the line end after it.

    Raises ConfigError if it is too short, or a public key (RFC 8725 section 2.1).
    """
    secret = re.sub(rb"\r?\n\Z", b"", content)
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"{where}: has {len(secret)} bytes; an HS256 secret has {MIN_SECRET_BYTES} "
            "or more"
        )
    try:
        is_secret = not NO_SECRET.search(secret)
        algorithm = HMACAlgorithm(HMACAlgorithm.SHA256)
        algorithm.prepare_key(secret)  # it knows DER too
        algorithm.prepare_key(base64.b64decode(secret) or secret)
    except InvalidKeyError:
        is_secret = False
    except ValueError:  # not base64, and so no DER in base64
        pass
    if not is_secret:
        raise ConfigError(
            f"{where}: is a public key, a certificate or a JWK; an HS256 secret is "
            "random bytes that nobody else knows"
        )
    return Key("HS256", secret)


def public_key(where: str, content: bytes) -> Key:
    """Return the public key in the file *where*, in PEM.

    The kind of key decides the algorithm.  Raises ConfigError for other kinds.
    """
    if b"PRIVATE KEY" in content:
        raise ConfigError(f"{where}: is a private key; it must be the public key")
    try:
        key = load_pem_public_key(content)
    except Exception:  # ValueError and others; their texts are long
        key = None
    algorithm = algorithm_of(key)
    if not algorithm or content.count(b"-----BEGIN ") != 1:
        raise ConfigError(
            f"{where}: must be one public key in PEM ({ACCEPTED_KEYS}); for "
            "a certificate, openssl x509 -pubkey -noout prints it"
        )
    return Key(algorithm, key)


def algorithm_of(key: Any) -> str:
    """Return the algorithm that *key* is used with, or "" for other kinds of keys."""
    if isinstance(key, RSAPublicKey):
        return "RS256" if key.key_size >= MIN_RSA_BITS else ""
    if isinstance(key, EllipticCurvePublicKey):
        return "ES256" if isinstance(key.curve, SECP256R1) else ""
    return "EdDSA" if isinstance(key, Ed25519PublicKey) else ""
