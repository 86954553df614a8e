"""Keys that a login service publishes: which are used, and when they are fetched."""

from __future__ import annotations

import base64
import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from helpers.clocks import FakeClock
from helpers.login.keys import ALL_KEYS, URL, FakeUrl, jwks_verifier, settle
from helpers.login.service import (
    PUBLIC_KINDS,
    USER,
    LoginService,
    attacker,
    jwks,
    service,
)
from jwt import PyJWS

from tokenserver.errors import KeysUnavailable, LoginError, NotAuthenticated
from tokenserver.login import jwks as login_jwks
from tokenserver.login.jwks import (
    FETCH_PAUSE_SECONDS,
    KEYS_SECONDS,
    REFRESH_SECONDS,
    FetchError,
    JwksKeys,
    fetch,
)


@pytest.fixture
def clock() -> FakeClock:
    """The clock of the keys' age."""
    return FakeClock()


@pytest.fixture
def url() -> FakeUrl:
    """A JWKS URL that has the keys of our services."""
    return FakeUrl(jwks(*ALL_KEYS))


@pytest.fixture
def keys(url: FakeUrl, clock: FakeClock) -> JwksKeys:
    """The keys at *url*, not fetched yet."""
    return JwksKeys(URL, url, clock)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tokenserver")


# --- JWK sets -------------------------------------------------------------------


def is_accepted(content: bytes | dict[str, Any], token: str) -> bool:
    """Return whether *token* is accepted with the keys of one JWK, or of *content*."""
    content = content if isinstance(content, bytes) else jwks(content)
    keys = JwksKeys(URL, FakeUrl(content), FakeClock())
    try:
        return jwks_verifier(keys).user(token) == USER
    except (NotAuthenticated, KeysUnavailable):
        return False


@pytest.mark.parametrize("kind", PUBLIC_KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"use": ...},
        {"alg": ...},
        {"key_ops": ["verify"], "use": ...},
        {"key_ops": ["sign", "verify"]},
        {"x5c": ["nonsense"], "x5t": 5, "more": {"a": [1]}},
    ],
    ids=str,
)
def test_a_jwk_to_verify_with_is_used(kind: str, change: dict[str, Any]) -> None:
    ours = service(kind)

    assert is_accepted(ours.jwk(**change), ours.sign())


@pytest.mark.parametrize("kind", PUBLIC_KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"use": None},
        {"use": ["sig"]},
        {"key_ops": []},
        {"key_ops": ["encrypt"]},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"key_ops": None},
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "RS512"},
        {"alg": "PS256"},
        {"alg": "ES384"},
        {"alg": None},
        {"alg": "RSA-OAEP"},
        {"kty": ...},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "AKP"},
        {"kty": ["RSA"]},
        {"kid": 5},
        {"kid": None, "kty": None},
        {"kid": ["RS256-1"]},
        {"kid": ...},
        {"kid": "other"},
        {"n": ..., "x": ...},
        {"n": "AAAA", "x": "AAAA"},
        {"n": "!", "x": "!"},
        {"n": 5, "x": 5},
        {"d": "AAAA"},
    ],
    ids=str,
)
def test_a_jwk_that_is_not_for_us_is_skipped(kind: str, change: dict[str, Any]) -> None:
    ours = service(kind)
    theirs = ours.jwk(**change)
    good = service("ES256" if kind == "RS256" else "RS256")

    assert not is_accepted(theirs, ours.sign())
    for content in (jwks(theirs, good.jwk()), jwks(good.jwk(), theirs)):
        assert not is_accepted(content, ours.sign())
        assert is_accepted(content, good.sign())


@pytest.mark.parametrize("kind", PUBLIC_KINDS)
def test_a_private_key_that_is_published_is_skipped(kind: str) -> None:
    ours = service(kind)
    algorithm = PyJWS().get_algorithm_by_name(kind)
    private = algorithm.to_jwk(ours.private, as_dict=True) | {"kid": ours.kid}
    private.pop("key_ops", None)

    assert "d" in private
    assert not is_accepted(private, ours.sign())


@pytest.mark.parametrize(
    "make",
    [
        lambda: LoginService("RS256", rsa.generate_private_key(65537, 1024)),
        lambda: LoginService("ES384", ec.generate_private_key(ec.SECP384R1())),
        lambda: LoginService("EdDSA", ed448.Ed448PrivateKey.generate()),
    ],
    ids=["RSA of 1024 bits", "P-384", "Ed448"],
)
def test_a_jwk_of_a_kind_not_accepted_is_skipped(
    make: Callable[[], LoginService],
) -> None:
    weak = make()
    good = service("RS256")
    content = jwks(weak.jwk(kid="weak", alg=...), good.jwk())

    for algorithm in (weak.kind, "ES256"):
        header = weak.header(kid="weak", alg=algorithm)
        assert not is_accepted(content, weak.sign(header=header))
    assert is_accepted(content, good.sign())


def test_a_secret_in_a_jwk_set_is_not_used() -> None:
    ours = service("HS256")
    k = base64.urlsafe_b64encode(ours.private).rstrip(b"=").decode()
    content = jwks({"kty": "oct", "k": k, "kid": ours.kid}, *ALL_KEYS)

    assert not is_accepted(content, ours.sign())


@pytest.mark.parametrize("kind", PUBLIC_KINDS)
def test_keys_of_one_kid_and_kind_serve_no_token(kind: str) -> None:
    ours, theirs = service(kind), attacker(kind)
    other = service("ES256" if kind == "RS256" else "RS256")

    for content in (
        jwks(ours.jwk(), theirs.jwk()),
        jwks(theirs.jwk(), ours.jwk()),
        jwks(ours.jwk(), ours.jwk()),
    ):
        assert not is_accepted(content, ours.sign())
        assert not is_accepted(content, theirs.sign())
    assert is_accepted(jwks(ours.jwk(), theirs.jwk(use="enc")), ours.sign())
    assert is_accepted(jwks(ours.jwk(), other.jwk(kid=ours.kid)), ours.sign())


@pytest.mark.parametrize("kind", PUBLIC_KINDS)
def test_a_token_without_kid_needs_the_only_key_of_its_kind(kind: str) -> None:
    ours, theirs = service(kind), attacker(kind)
    token = ours.sign(header=ours.header(kid=...))

    assert is_accepted(jwks(*ALL_KEYS), token)
    assert is_accepted(jwks(ours.jwk(kid=...)), token)
    assert not is_accepted(jwks(ours.jwk(), theirs.jwk(kid="2")), token)
    assert not is_accepted(jwks(ours.jwk(kid=...), theirs.jwk(kid="2")), token)
    assert is_accepted(jwks(ours.jwk(), theirs.jwk(kid="2", use="enc")), token)
    assert not is_accepted(jwks(theirs.jwk()), token)
    assert not is_accepted(jwks(ours.jwk(kid=5)), token)


def test_a_key_serves_only_tokens_of_its_kid(keys: JwksKeys) -> None:
    ours = service("RS256")
    header = ours.header(kid=service("ES256").kid)

    with pytest.raises(NotAuthenticated, match="do not select one key"):
        jwks_verifier(keys).user(ours.sign(header=header))


GARBAGE = {
    "empty": b"",
    "no JSON": b"<html>",
    "a list": b"[]",
    "null": b"null",
    "an object": b"{}",
    "no keys": jwks(),
    "keys an object": b'{"keys":{}}',
    "keys null": b'{"keys":null}',
    "no key for us": jwks({"kty": "oct", "k": "AAAA"}, service("RS256").jwk(use="enc")),
    "keys that are none": b'{"keys":[1,null,"x",[],{}]}',
    "101 keys": jwks(*[service("RS256").jwk(kid=str(n)) for n in range(101)]),
    "keys twice": b'{"keys":[],' + jwks(*ALL_KEYS)[1:],
    "a name twice in a key": jwks(*ALL_KEYS).replace(b'"use"', b'"use":"sig","use"'),
    "NaN": jwks(*ALL_KEYS)[:-1] + b',"x":NaN}',
    "deep": jwks(*ALL_KEYS)[:-1] + b',"x":' + b"[" * 9999 + b"]" * 9999 + b"}",
    "UTF-16": jwks(*ALL_KEYS).decode().encode("utf-16"),
    "cut off": jwks(*ALL_KEYS)[:-1],
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_has_no_keys_and_replaces_none(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock, url = FakeClock(), FakeUrl(GARBAGE[name])
    keys = JwksKeys(URL, url, clock)
    verify = jwks_verifier(keys)

    with pytest.raises(KeysUnavailable) as caught:
        verify.user(service("RS256").sign())
    assert re.fullmatch(
        r"no keys from https://login.example.com/jwks.json: the answer .*",
        caught.value.reason,
    )
    url.content = jwks(*ALL_KEYS)
    clock.now += FETCH_PAUSE_SECONDS
    assert verify.user(service("RS256").sign()) == USER
    url.content = GARBAGE[name]
    clock.now += REFRESH_SECONDS
    assert verify.user(service("RS256").sign()) == USER
    settle()
    assert verify.user(service("RS256").sign()) == USER
    assert url.fetched == 3
    assert len(caplog.messages) == 3
    assert "of-the-url" not in caplog.text


def test_a_hundred_keys_are_accepted() -> None:
    ours = service("RS256")
    content = jwks(*[ours.jwk(kid=str(n)) for n in range(100)])

    assert is_accepted(content, ours.sign(header=ours.header(kid="99")))


# --- When keys are fetched ------------------------------------------------------


def test_keys_are_fetched_for_the_first_token_and_kept(
    keys: JwksKeys, url: FakeUrl, clock: FakeClock
) -> None:
    verify = jwks_verifier(keys)
    assert url.fetched == 0

    for kind in PUBLIC_KINDS:
        assert verify.user(service(kind).sign()) == USER
    clock.now += REFRESH_SECONDS - 1
    assert verify.user(service("RS256").sign()) == USER

    assert url.fetched == 1


def test_a_token_that_is_refused_for_its_form_fetches_nothing(
    keys: JwksKeys, url: FakeUrl
) -> None:
    for token in ("", "a.b.c", service("RS256").sign(b"{}"), service("HS256").sign()):
        with pytest.raises(NotAuthenticated):
            jwks_verifier(keys).user(token)

    assert url.fetched == 0


def test_old_keys_go_on_while_new_ones_are_fetched(
    keys: JwksKeys, url: FakeUrl, clock: FakeClock
) -> None:
    verify = jwks_verifier(keys)
    verify.user(service("RS256").sign())
    clock.now += REFRESH_SECONDS
    url.is_open.clear()
    url.content = jwks(service("ES256").jwk())

    for _ in range(3):  # none of them waits
        assert verify.user(service("RS256").sign()) == USER
    url.is_open.set()
    settle()

    assert url.fetched == 2
    with pytest.raises(NotAuthenticated):  # the removed key
        verify.user(service("RS256").sign())
    assert verify.user(service("ES256").sign()) == USER


def test_a_new_kid_is_fetched_at_once(
    keys: JwksKeys, url: FakeUrl, clock: FakeClock
) -> None:
    verify = jwks_verifier(keys)
    verify.user(service("RS256").sign())
    theirs = attacker("RS256")  # who is the new key of our service, for once
    token = theirs.sign(header=theirs.header(kid="RS256-2"))
    url.content = jwks(theirs.jwk(kid="RS256-2"))
    clock.now += FETCH_PAUSE_SECONDS

    assert verify.user(token) == USER
    assert url.fetched == 2


def test_a_flood_of_unknown_kids_costs_one_fetch_in_five_seconds(
    keys: JwksKeys, url: FakeUrl, clock: FakeClock
) -> None:
    verify = jwks_verifier(keys)
    ours = service("EdDSA")

    def flood(count: int) -> None:
        for number in range(count):
            header = ours.header(kid=f"unknown-{number}")
            with pytest.raises(NotAuthenticated, match="do not select one key"):
                verify.user(ours.sign(header=header))

    flood(50)
    assert url.fetched == 1
    clock.now += FETCH_PAUSE_SECONDS - 0.1
    flood(50)
    assert url.fetched == 1
    clock.now += 0.1
    flood(50)
    assert url.fetched == 2
    for second in range(60):
        clock.now += 1
        flood(5)
        assert url.fetched == 2 + (second + 1) // 5
    assert verify.user(ours.sign()) == USER


@pytest.mark.parametrize("is_known", [True, False])
def test_64_threads_share_one_fetch(
    keys: JwksKeys, url: FakeUrl, is_known: bool
) -> None:
    verify = jwks_verifier(keys)
    ours = service("EdDSA")
    token = ours.sign(header=ours.header(**{} if is_known else {"kid": "unknown"}))
    url.is_open.clear()

    def ask(_number: int) -> str:
        try:
            return verify.user(token)
        except LoginError as error:
            return type(error).__name__

    with ThreadPoolExecutor(64) as pool:
        answers = [pool.submit(ask, number) for number in range(64)]
        time.sleep(0.2)  # lets the others arrive; without it the test is only weaker
        assert not any(answer.done() for answer in answers)
        url.is_open.set()
        outcomes = {answer.result() for answer in answers}

    assert outcomes == {USER if is_known else "NotAuthenticated"}
    assert url.fetched == 1


def test_64_threads_while_keys_change_see_one_set_or_the_other(
    url: FakeUrl, clock: FakeClock
) -> None:
    keys = JwksKeys(URL, url, clock)
    verify = jwks_verifier(keys)
    tokens = [service(kind).sign() for kind in PUBLIC_KINDS]
    stop = threading.Event()

    def turn() -> None:
        while not stop.is_set():
            clock.now += REFRESH_SECONDS
            url.content = jwks(*ALL_KEYS[:: 1 if url.fetched % 2 else -1])
            time.sleep(0.002)

    turning = threading.Thread(target=turn)
    turning.start()
    try:
        with ThreadPoolExecutor(64) as pool:
            users = set(pool.map(verify.user, tokens * 100))
    finally:
        stop.set()
        turning.join()
    settle()

    assert users == {USER}
    assert url.fetched > 1


def test_waiters_of_a_fetch_that_fails_are_refused(
    keys: JwksKeys, url: FakeUrl
) -> None:
    url.content = FetchError("HTTP 500")
    url.is_open.clear()
    verify = jwks_verifier(keys)

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(verify.user, service("RS256").sign()) for _ in range(8)]
        time.sleep(0.1)
        url.is_open.set()
        errors = [answer.exception() for answer in answers]

    for error in errors:
        assert isinstance(error, KeysUnavailable)
        assert error.reason.endswith("/jwks.json: HTTP 500")
    assert url.fetched == 1


def test_a_waiter_does_not_wait_for_ever(
    keys: JwksKeys, url: FakeUrl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_jwks, "FETCH_SECONDS", 0.1)
    url.is_open.clear()
    verify = jwks_verifier(keys)
    leader = threading.Thread(target=verify.user, args=(service("RS256").sign(),))
    leader.start()
    try:
        while keys._flight is None:
            time.sleep(0.001)
        with pytest.raises(KeysUnavailable, match="too slow"):
            verify.user(service("RS256").sign())
    finally:
        url.is_open.set()
        leader.join()


def test_the_first_fetch_is_tried_again_after_five_seconds(
    keys: JwksKeys, url: FakeUrl, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    url.content = ConnectionRefusedError(111, "Connection refused")
    verify = jwks_verifier(keys)

    for _ in range(10):
        with pytest.raises(KeysUnavailable) as caught:
            verify.user(service("RS256").sign())
    clock.now += FETCH_PAUSE_SECONDS
    with pytest.raises(KeysUnavailable):
        verify.user(service("RS256").sign())
    assert url.fetched == 2
    url.content = jwks(*ALL_KEYS)
    clock.now += FETCH_PAUSE_SECONDS
    assert verify.user(service("RS256").sign()) == USER

    place = "https://login.example.com/jwks.json"
    assert caught.value.reason == f"no keys from {place}: Connection refused"
    assert caplog.messages == [
        f"no keys from {place}: Connection refused; "
        "the previous keys are used for 24 hours",
        f"keys from {place} again",
    ]


def test_the_last_good_keys_go_on_for_a_day(
    keys: JwksKeys, url: FakeUrl, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    verify = jwks_verifier(keys)
    ours = service("RS256")
    verify.user(ours.sign())
    url.content = TimeoutError()
    fetched_at = clock.now

    while clock.now < fetched_at + KEYS_SECONDS - 3600:
        clock.now += 3599
        assert verify.user(ours.sign()) == USER
        settle()
        with pytest.raises(NotAuthenticated):
            verify.user(ours.sign(header=ours.header(kid="unknown")))
    clock.now = fetched_at + KEYS_SECONDS - 0.1
    assert verify.user(ours.sign()) == USER
    settle()
    clock.now = fetched_at + KEYS_SECONDS
    with pytest.raises(KeysUnavailable, match="TimeoutError"):
        verify.user(ours.sign())
    url.content = jwks(*ALL_KEYS)
    clock.now += FETCH_PAUSE_SECONDS
    assert verify.user(ours.sign()) == USER

    assert len(caplog.messages) == 2
    assert caplog.messages[1].endswith(" again")


def test_the_age_of_keys_counts_from_when_they_were_asked_for(
    url: FakeUrl, clock: FakeClock
) -> None:
    def slow(where: str) -> bytes:
        clock.now += 4
        return url(where)

    keys = JwksKeys(URL, slow, clock)
    verify = jwks_verifier(keys)
    verify.user(service("RS256").sign())
    clock.now += REFRESH_SECONDS - 4
    verify.user(service("RS256").sign())
    settle()

    assert url.fetched == 2


def test_a_fetch_that_breaks_in_an_odd_way_is_a_failed_one(
    url: FakeUrl, clock: FakeClock
) -> None:
    def broken(where: str) -> bytes:
        raise SystemExit

    verify = jwks_verifier(JwksKeys(URL, broken, clock))
    for _ in range(2):
        with pytest.raises(KeysUnavailable, match="SystemExit"):
            verify.user(service("RS256").sign())


def test_without_a_thread_keys_are_fetched_at_once(
    keys: JwksKeys, url: FakeUrl, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    verify = jwks_verifier(keys)
    verify.user(service("RS256").sign())
    clock.now += REFRESH_SECONDS
    monkeypatch.setattr(threading.Thread, "start", no_thread)

    assert verify.user(service("RS256").sign()) == USER
    assert url.fetched == 2
    with pytest.raises(RuntimeError):
        fetch("http://127.0.0.1:9/")
