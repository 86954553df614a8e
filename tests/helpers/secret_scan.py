"""A search for secrets in logs, and in replies that are not token documents.

Each test runs within watched_logs(), and each Reply is checked when it is made.  The
secrets are those made by the tests: remember_secrets() notes key pairs and tokens of
the STS stand-in, login tokens, and the secrets that sign them.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import pytest

from helpers.login.service import LoginService
from localcloud.sts import StsStandIn
from tokenserver.login import keys as login_keys
from tokenserver.logs import JsonFormatter, LogFormatter

LOGGERS = ("tokenserver", "localcloud")
SCANNED_BYTES = 1 << 16  # of a reply: some are objects of many megabytes

# So that a scan costs the same however many secrets there are, their beginnings are
# kept, and looked up at each place of a run of such characters.  What is shorter, such
# as the "secret" of some tests, is also a word.
BEGINNING = 16
RUN = re.compile(rf"[A-Za-z0-9_+/=-]{{{BEGINNING},}}")
LOGIN_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}")  # of anybody

_beginnings: set[str] = set()
_others: set[str] = set()  # those that are no run of such characters
_tokens: set[str] = set()  # beginnings of security tokens, which a signed URL has


class SecretShown(AssertionError):
    """A secret is in a place where others may read it."""


def remember(*secrets: str) -> None:
    """Treat *secrets* as secret from now on."""
    for secret in secrets:
        if RUN.match(secret):
            _beginnings.add(secret[:BEGINNING])
        elif len(secret) >= BEGINNING:
            _others.add(secret)


def secret_in(text: str, is_signed: bool = False) -> str:
    """Return the beginning of a secret in *text*, or "" if there is none.

    One that is signed may have a security token.
    """
    beginnings = _beginnings - _tokens if is_signed else _beginnings
    if "%" in text:
        text += unquote(text)
    if match := LOGIN_TOKEN.search(text):
        return match[0][:BEGINNING]
    for secret in list(_others):
        if secret in text:
            return secret
    for run in RUN.findall(text):
        for begin in range(len(run) - BEGINNING + 1):
            if run[begin : begin + BEGINNING] in beginnings:
                return str(run[begin : begin + BEGINNING])
    return ""


def check_text(where: str, text: str, is_signed: bool = False) -> None:
    """Raise SecretShown if *text* contains a secret."""
    if secret := secret_in(text, is_signed):
        raise SecretShown(f"{where} shows {secret[:8]}...: {text[:500]}")


def check_reply(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise SecretShown if a reply of ours contains a secret.

    A token document may contain its own, and a form or URL has a security token.  An
    error of OSS shows the signed string of a request, which contains the token too.
    """
    if headers.get("server") != "sts-server":
        return
    check_text("a header", "\n".join(f"{k}: {v}" for k, v in headers.items()))
    if status != 200 or b'"SecurityToken"' not in body:
        is_signed = status == 200 and b"x-oss-security-token" in body
        text = body[:SCANNED_BYTES].decode("latin-1")
        check_text("a reply", text, is_signed)


class _Watch(logging.Handler):
    """Checks each record in the formats that the server writes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[SecretShown] = []

    def emit(self, record: logging.LogRecord) -> None:
        for formatter in (LogFormatter(), JsonFormatter()):
            try:
                check_text("the log", formatter.format(record))
            except SecretShown as error:
                self.found.append(error)


@contextlib.contextmanager
def watched_logs(*names: str) -> Iterator[None]:
    """Raise SecretShown at the end if a secret was logged meanwhile."""
    watch = _Watch()
    loggers = [logging.getLogger(name) for name in names or LOGGERS]
    for logger in loggers:
        logger.addHandler(watch)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(watch)
    if watch.found:
        raise watch.found[0]


@contextlib.contextmanager
def remember_secrets() -> Iterator[None]:
    """Remember each secret that a test makes."""
    with pytest.MonkeyPatch.context() as patch:

        def after(owner: Any, name: str, note: Callable[[Any], None]) -> None:
            """Call *note* with the result of each call of the function."""
            function = getattr(owner, name)

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                result = function(*args, **kwargs)
                note(result)
                return result

            patch.setattr(owner, name, wrapper)

        after(StsStandIn, "add_user", lambda user: remember(user.access_key_secret))
        after(StsStandIn, "_issue", remember_issued)
        after(LoginService, "sign", remember_login_token)
        after(login_keys, "secret_key", lambda key: remember_bytes(key.key))
        yield


def remember_issued(token: Any) -> None:
    """Treat issued credentials as secret, except for the AccessKeyId."""
    remember(token.access_key_secret, token.security_token)
    _tokens.add(token.security_token[:BEGINNING])


def remember_login_token(token: str) -> None:
    """Treat a login token as secret, and its claims and signature by themselves."""
    header, _, rest = token.partition(".")
    remember(*rest.split("."), token if not header.startswith("eyJ") else "")


def remember_bytes(secret: bytes) -> None:
    """Treat a secret as secret in every encoding."""
    remember(
        secret.decode("latin-1").strip(),
        repr(secret)[2:-1].strip(),
        secret.hex(),
        base64.b64encode(secret).decode(),
        base64.urlsafe_b64encode(secret).decode(),
    )
