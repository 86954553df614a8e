"""Keys from files: what is one, and what others may know is none."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from helpers.login.keys import file_key, published_keys, verifier
from helpers.login.service import (
    PUBLIC_KINDS,
    RULES,
    USER,
    LoginService,
    jwks,
    service,
    to_json,
)

from tokenserver.errors import ConfigError, NotAuthenticated
from tokenserver.login.keys import public_key, secret_key
from tokenserver.login.verifier import LoginVerifier


@pytest.mark.parametrize("line_end", [b"", b"\n", b"\r\n"])
def test_one_line_end_is_no_part_of_a_secret(line_end: bytes) -> None:
    ours = LoginService("HS256", b"0123456789" * 4)
    key = secret_key("f", ours.private + line_end)

    assert LoginVerifier(RULES, key).user(ours.sign()) == USER


@pytest.mark.parametrize("end", [b"\n\n", b"\n\r\n", b" ", b" \n", b"\r"])
def test_more_than_one_line_end_is_part_of_a_secret(end: bytes) -> None:
    ours = LoginService("HS256", b"0123456789" * 4)
    key = secret_key("f", ours.private + end)

    with pytest.raises(NotAuthenticated):
        LoginVerifier(RULES, key).user(ours.sign())


def test_a_secret_has_32_bytes_or_more() -> None:
    assert secret_key("f", b"x" * 32 + b"\n").algorithm == "HS256"
    with pytest.raises(ConfigError, match=r"f: has 31 bytes; .* 32 or more"):
        secret_key("f", b"x" * 31 + b"\n")
    with pytest.raises(ConfigError, match="f: has 0 bytes"):
        secret_key("f", b"\n")


@pytest.mark.parametrize(
    "secret",
    [
        b"sk-" + b"0123456789abcdef" * 2,
        b"{" + b"!$%keys" * 8,
        b"-----" * 8,
        bytes(range(200, 240)),
        base64.b64encode(hashlib.sha512(b"x").digest()),
        b"0" * 40,
        b"[" * 40,
    ],
)
def test_a_secret_may_look_like_this(secret: bytes) -> None:
    ours = LoginService("HS256", secret)

    assert LoginVerifier(RULES, secret_key("f", secret)).user(ours.sign()) == USER


def ssh(kind: str) -> bytes:
    """Return our public key as OpenSSH writes it."""
    public = service(kind).private.public_key()
    written: bytes = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return written


RSA = service("RS256")
NO_SECRETS = {
    "PEM": RSA.file,
    "PEM of a curve": service("ES256").file,
    "PEM of Ed25519": service("EdDSA").file,
    "private PEM": RSA.private_pem,
    "PEM with text before": b"key of login:\n" + RSA.file,
    "certificate": b"-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----",
    "certificate that is cut off": b"-----BEGIN CERTIFICATE-----\nMIICMIICMIIC",
    "OpenSSH": ssh("RS256"),
    "OpenSSH of a curve": ssh("ES256"),
    "OpenSSH of Ed25519": ssh("EdDSA"),
    "OpenSSH of a security key": b"sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5",
    "SSH2": b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAAB3NzaC1yc2EAAAADAQABAAABAQ\n",
    "DER": RSA.der,
    "DER in base64": base64.b64encode(RSA.der),
    "DER in base64 with line ends": base64.encodebytes(RSA.der),
    "JWK": to_json(RSA.jwk()),
    "JWK with a byte order mark": b"\xef\xbb\xbf" + to_json(RSA.jwk()),
    "JWK in UTF-16": to_json(RSA.jwk()).decode().encode("utf-16"),
    "JWK cut off": to_json(RSA.jwk())[:-5],
    "JWK in lines": b'\n {\n "x": "123456789012345678901234567890",\n "kty": "oct"}',
    "JWK set": jwks(RSA.jwk()),
    "JWK in a list": b'["a", {"kty": "oct", "k": "0123456789012345678901234567890"}]',
}


@pytest.mark.parametrize("name", NO_SECRETS)
def test_what_others_may_know_is_no_secret(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        secret_key("login.key", NO_SECRETS[name])

    assert str(caught.value).startswith("login.key: is a public key, a certificate or")


@pytest.mark.parametrize("kind", PUBLIC_KINDS)
def test_a_public_key_decides_its_algorithm(kind: str) -> None:
    assert public_key("f", service(kind).file).algorithm == kind
    assert public_key("f", b"comment\n" + service(kind).file).algorithm == kind
    windows = service(kind).file.replace(b"\n", b"\r\n")
    assert public_key("f", windows).algorithm == kind


def pem(key: Any) -> bytes:
    """Return the public key of *key* in PEM."""
    written: bytes = key.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return written


NO_PUBLIC_KEYS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "a secret": lambda: b"x" * 64,
    "RSA of 1024 bits": lambda: pem(rsa.generate_private_key(65537, 1024)),
    "P-384": lambda: pem(ec.generate_private_key(ec.SECP384R1())),
    "secp256k1": lambda: pem(ec.generate_private_key(ec.SECP256K1())),
    "Ed448": lambda: pem(ed448.Ed448PrivateKey.generate()),
    "two keys": lambda: RSA.file + service("ES256").file,
    "a key and a certificate": lambda: RSA.file + NO_SECRETS["certificate"],
    "certificate": lambda: NO_SECRETS["certificate"],
    "OpenSSH": lambda: ssh("RS256"),
    "DER": lambda: RSA.der,
    "JWK": lambda: to_json(RSA.jwk()),
    "not base64": lambda: RSA.file.replace(b"A", b"!"),
    "cut off": lambda: RSA.file[:200],
}


@pytest.mark.parametrize("name", NO_PUBLIC_KEYS)
def test_other_keys_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        public_key("login.pem", NO_PUBLIC_KEYS[name]())

    assert str(caught.value) == (
        "login.pem: must be one public key in PEM (RSA of 2048 bits or more, EC P-256 "
        "and Ed25519); for a certificate, openssl x509 -pubkey -noout prints it"
    )


@pytest.mark.parametrize("kind", PUBLIC_KINDS)
def test_a_private_key_is_refused(kind: str) -> None:
    private = service(kind).private_pem
    for content in (private, private + service(kind).file):
        with pytest.raises(ConfigError, match="f: is a private key"):
            public_key("f", content)


def test_nothing_shows_a_key() -> None:
    secret = file_key("HS256")
    shown = [
        f"{thing!r} {thing}"
        for thing in (
            secret,
            published_keys(),
            verifier("HS256"),
            file_key("RS256"),
            RULES,
        )
    ]

    for text in shown:
        assert "secret" not in text
        assert "of-the-url" not in text
    assert repr(secret) == "Key(algorithm='HS256')"
