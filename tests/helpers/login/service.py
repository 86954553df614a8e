"""Login services for tests, and their tokens."""

from __future__ import annotations

import base64
import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt import PyJWS

from tokenserver.login.verifier import LoginRules

KINDS = ("HS256", "RS256", "ES256", "EdDSA")
PUBLIC_KINDS = KINDS[1:]
ISSUER = "https://login.example.com/"
AUDIENCE = "app"
USER = "alice"
LEEWAY_SECONDS = 60
RULES = LoginRules(ISSUER, (AUDIENCE, "other-app"), LEEWAY_SECONDS)


def encode_part(content: bytes) -> str:
    """Return *content* as a part of a token."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def to_json(value: Any) -> bytes:
    """Return *value* in the JSON of login services."""
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True)
class LoginService:
    """Signs login tokens with one key; *kind* is its algorithm."""

    kind: str
    private: Any = field(repr=False)  # bytes, or a private key of cryptography

    @property
    def kid(self) -> str:
        """The name of the key."""
        return f"{self.kind}-1"

    @functools.cached_property
    def file(self) -> bytes:
        """The content of the key file of a server that trusts this service."""
        if isinstance(self.private, bytes):
            return self.private
        public: bytes = self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        return public

    @functools.cached_property
    def der(self) -> bytes:
        """The public key in DER."""
        public: bytes = self.private.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return public

    @functools.cached_property
    def private_pem(self) -> bytes:
        """The private key in PEM, which no server should have."""
        private: bytes = self.private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        return private

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """Return the public key as a JWK; a change to ... removes a member."""
        algorithm = PyJWS().get_algorithm_by_name(self.kind)
        public = self.private.public_key()
        members = algorithm.to_jwk(public, as_dict=True)
        members |= {"kid": self.kid, "use": "sig", "alg": self.kind}
        members.pop("key_ops", None)
        return changed(members, changes)

    def header(self, **changes: Any) -> dict[str, Any]:
        """Return the header of its tokens; a change to ... removes a field."""
        fields = {"alg": self.kind, "typ": "JWT", "kid": self.kid}
        return changed(fields, changes)

    def sign(
        self,
        claims: dict[str, Any] | bytes | None = None,
        header: dict[str, Any] | bytes | None = None,
        algorithm: str = "",
    ) -> str:
        """Return a token, by default a valid one; bytes are put into it unchanged."""
        header = self.header() if header is None else header
        claims = claims_now() if claims is None else claims
        header = header if isinstance(header, bytes) else to_json(header)
        claims = claims if isinstance(claims, bytes) else to_json(claims)
        signed = f"{encode_part(header)}.{encode_part(claims)}"
        signature = self.signature(signed.encode(), algorithm)
        return f"{signed}.{encode_part(signature)}"

    def signature(self, content: bytes, algorithm: str = "") -> bytes:
        """Return the signature of *content* in the format of JWS."""
        signer = PyJWS().get_algorithm_by_name(algorithm or self.kind)
        return signer.sign(content, self.private)


@functools.cache
def service(kind: str, name: str = "ours") -> LoginService:
    """Return the login service *name*, always with the same key."""
    make: dict[str, Callable[[], Any]] = {
        "HS256": lambda: f"a secret of {name} that has 32 bytes".encode().ljust(40),
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }
    return LoginService(kind, make[kind]())


def attacker(kind: str) -> LoginService:
    """Return a service that nobody trusts."""
    return service(kind, "attacker")


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return *values* with *changes*; a change to ... removes the value."""
    return {k: v for k, v in (values | changes).items() if v is not ...}


def claims_now(**changes: Any) -> dict[str, Any]:
    """Return valid claims; a change to ... removes one."""
    now = int(time.time())
    values = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": USER,
        "iat": now,
        "nbf": now,
        "exp": now + 600,
    }
    return changed(values, changes)


def authentication(folder: Path, kind: str = "HS256", **changes: Any) -> dict[str, Any]:
    """Return the Authentication of a server that trusts our service.

    The key goes into *folder*; a change to ... removes a setting.
    """
    path = folder / f"{kind}.key"
    path.touch(mode=0o600)
    path.write_bytes(service(kind).file)
    key = "SecretFile" if kind == "HS256" else "PublicKeyFile"
    values = {"Issuer": ISSUER, "Audience": AUDIENCE, key: str(path)}
    return changed(values, changes)


def login_token(user: str, kind: str = "HS256") -> str:
    """Return a login token of *user* by our service."""
    return service(kind).sign(claims_now(sub=user))


def bearer(user: str) -> dict[str, str]:
    """Return the header with a login token of *user*."""
    return {"Authorization": f"Bearer {login_token(user)}"}


def jwks(*keys: dict[str, Any]) -> bytes:
    """Return a JWK set."""
    return to_json({"keys": list(keys)})
