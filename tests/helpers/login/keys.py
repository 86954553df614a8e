"""Verifiers that trust our login services, with keys from files and from URLs."""

from __future__ import annotations

import threading

from helpers.clocks import FakeClock
from helpers.login.service import PUBLIC_KINDS, RULES, jwks, service
from helpers.machine import PATIENCE_SECONDS
from tokenserver.login.jwks import JwksKeys
from tokenserver.login.keys import Keys, public_key, secret_key
from tokenserver.login.verifier import LoginRules, LoginVerifier

URL = "https://login.example.com/jwks.json?token=of-the-url"
ALL_KEYS = [service(kind).jwk() for kind in PUBLIC_KINDS]


class FakeUrl:
    """A JWKS URL that answers with *content*, or raises it."""

    def __init__(self, content: bytes | Exception) -> None:
        self.content = content
        self.fetched = 0
        self.is_open = threading.Event()
        self.is_open.set()

    def __call__(self, url: str) -> bytes:
        self.fetched += 1
        self.is_open.wait(PATIENCE_SECONDS)
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def file_key(kind: str) -> Keys:
    """Return the key of our service, as read from a file."""
    read = secret_key if kind == "HS256" else public_key
    return read("login.key", service(kind).file)


def verifier(kind: str, rules: LoginRules = RULES) -> LoginVerifier:
    """Return a verifier of our service's tokens with a key from a file."""
    return LoginVerifier(rules, file_key(kind))


def jwks_verifier(keys: JwksKeys) -> LoginVerifier:
    """Return a verifier with keys from a URL."""
    return LoginVerifier(RULES, keys)


def published_keys() -> JwksKeys:
    """Return the keys of all our services, at a URL that answers."""
    return JwksKeys(URL, FakeUrl(jwks(*ALL_KEYS)), FakeClock())


def settle() -> None:
    """Wait until the fetches in the background have ended."""
    for thread in threading.enumerate():
        if thread.name == "login keys":
            thread.join(PATIENCE_SECONDS)
