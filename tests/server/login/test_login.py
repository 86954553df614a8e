"""Whose token it is: what a login token must be, and where its keys come from."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import ssl
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)
from helpers.clocks import FakeClock
from helpers.login.attacks import ATTACKS, Attack
from helpers.login.jwks_server import JwksServer, answering, jwks_server
from helpers.login.service import (
    AUDIENCE,
    ISSUER,
    KINDS,
    LEEWAY_SECONDS,
    PUBLIC_KINDS,
    RULES,
    USER,
    LoginService,
    attacker,
    claims_now,
    jwks,
    service,
    to_json,
)
from helpers.login.users import ANY_USERS, USERS, accepted
from helpers.machine import PATIENCE_SECONDS
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from jwt import PyJWS

from tokenserver.errors import (
    ConfigError,
    KeysUnavailable,
    LoginError,
    NotAuthenticated,
    UserNotAllowed,
)
from tokenserver.login import jwks as login_jwks
from tokenserver.login.jwks import (
    FETCH_PAUSE_SECONDS,
    KEYS_SECONDS,
    MAX_FETCHES,
    REFRESH_SECONDS,
    FetchError,
    JwksKeys,
    fetch,
)
from tokenserver.login.keys import Keys, public_key, secret_key
from tokenserver.login.users import role_session_name, user_id
from tokenserver.login.verifier import LoginRules, LoginVerifier

URL = "https://login.example.com/jwks.json?token=of-the-url"
ALL_KEYS = [service(kind).jwk() for kind in PUBLIC_KINDS]


class FakeUrl:
    """A JWKS URL that answers with *content*, or fails with it."""

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


def settle() -> None:
    """Wait for what is fetched in the background."""
    for thread in threading.enumerate():
        if thread.name == "login keys":
            thread.join(PATIENCE_SECONDS)


# --- Tokens ---------------------------------------------------------------------

SOURCES = [
    *(pytest.param(kind, False, id=f"{kind} file") for kind in KINDS),
    *(pytest.param(kind, True, id=f"{kind} JWKS") for kind in PUBLIC_KINDS),
]


def verifier_of(kind: str, is_jwks: bool) -> LoginVerifier:
    """Return a verifier that trusts our service of *kind*."""
    if is_jwks:
        return jwks_verifier(JwksKeys(URL, FakeUrl(jwks(*ALL_KEYS)), FakeClock()))
    return verifier(kind)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_an_attack_is_refused_and_not_repeated_in_the_log(attack: Attack) -> None:
    for kind in attack.kinds:
        token = attack.make(service(kind))
        for is_jwks in (False, True)[: 1 + (kind in PUBLIC_KINDS)]:
            with pytest.raises(LoginError) as caught:
                verifier_of(kind, is_jwks).user(token)

            reason = caught.value.reason
            assert type(caught.value) is attack.refusal, (kind, is_jwks, reason)
            assert 5 < len(reason) < 500
            assert reason.isascii()
            assert reason.isprintable()
            for part in token.split("."):
                assert len(part) < 5 or part not in reason
            assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty", "not three base64url parts of at most 16 KiB"),
        ("five parts", "not three base64url parts of at most 16 KiB"),
        ("header's unused bit set", "a part is not base64url"),
        ("claims' unused bit set", "a part is not base64url"),
        ("signature's unused bit set", "a part is not base64url"),
        ("signature of one character", "a part is not base64url"),
        ("sub twice", "a part is not strict JSON"),
        ("claims a list", "a part is not a JSON object"),
        ("claims nested 17 levels", "a part is nested too deeply"),
        ("alg 'none'", "its alg is none of RS256"),
        ("alg list", "its alg is none of RS256"),
        ("typ logout", "its typ is none of a login token"),
        ("typ list", "its typ is none of a login token"),
        ("kid number", "its kid is no string"),
        ("crit exp", "it has crit or b64 in its header"),
        ("b64 true", "it has crit or b64 in its header"),
        ("exp boolean", "its exp is missing, or no time in seconds"),
        ("nbf string", "its nbf is missing, or no time in seconds"),
        ("sub missing", "its user claim is missing, or no string"),
        ("expired", "its verification ended in ExpiredSignatureError"),
        ("not yet valid", "its verification ended in ImmatureSignatureError"),
        ("iss empty", "its verification ended in InvalidIssuerError"),
        ("aud a prefix", "its verification ended in InvalidAudienceError"),
        ("aud missing", "its verification ended in MissingRequiredClaimError"),
        ("claims of another", "its verification ended in InvalidSignatureError"),
        ("user with a slash", "user '../bob' has U+002F in it"),
        ("user half a surrogate pair", "a part is not strict JSON"),
        ("user decomposed", r"user 'Rene\u0301' is not in NFKC"),
        ("user too long", f"user '{'a' * 60}' has more than 128 bytes"),
        ("user the folder above", "user '..' means a folder"),
        ("user empty", "the user ID is empty, or no string"),
    ],
)
def test_the_log_says_why(name: str, reason: str) -> None:
    (attack,) = [attack for attack in ATTACKS if attack.id == name]

    with pytest.raises(LoginError) as caught:
        verifier("RS256").user(attack.make(service("RS256")))

    assert caught.value.reason == reason


def test_the_attacks_are_many_and_each_has_its_name() -> None:
    names = [attack.id for attack in ATTACKS]

    assert len(names) == len(set(names)) > 200


@pytest.mark.parametrize(("kind", "is_jwks"), SOURCES)
def test_a_valid_token_has_its_user(kind: str, is_jwks: bool) -> None:
    assert verifier_of(kind, is_jwks).user(service(kind).sign()) == USER


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"aud": [AUDIENCE]}, id="aud a list"),
        pytest.param({"aud": ["x", "other-app"]}, id="the second audience in a list"),
        pytest.param({"aud": "other-app"}, id="the second audience"),
        pytest.param({"iat": ..., "nbf": ...}, id="only exp"),
        pytest.param({"exp": time.time() + 600.5}, id="a fraction of a second"),
        pytest.param({"exp": 253402300799}, id="no end in sight"),
        pytest.param({"nbf": 0, "iat": 0}, id="valid since 1970"),
        pytest.param({"roles": [{"a": [1.5, None, {}]}], "x": "é\0"}, id="more claims"),
        pytest.param({"x": [[[[[[[[[[[[[[[]]]]]]]]]]]]]]]}, id="16 levels"),
    ],
)
def test_claims_may_be_written_in_other_ways(kind: str, claims: dict[str, Any]) -> None:
    token = service(kind).sign(claims_now(**claims))

    assert verifier(kind).user(token) == USER


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"typ": ...}, id="no typ"),
        pytest.param({"typ": "jwt"}, id="typ jwt"),
        pytest.param({"typ": "at+JWT"}, id="an access token"),
        pytest.param({"typ": "application/AT+jwt"}, id="an access token's media type"),
        pytest.param({"kid": ...}, id="no kid"),
        pytest.param({"kid": "another"}, id="a kid that a file does not have"),
        pytest.param(
            {"jku": "https://attacker.example.com"}, id="jku is not looked at"
        ),
    ],
)
def test_headers_may_be_written_in_other_ways(header: dict[str, Any]) -> None:
    ours = service("ES256")
    token = ours.sign(header=ours.header(**header))

    assert verifier("ES256").user(token) == USER


@pytest.mark.parametrize(
    ("times", "is_valid"),
    [
        ({"exp": -LEEWAY_SECONDS + 5}, True),
        ({"exp": -LEEWAY_SECONDS - 1}, False),
        ({"nbf": LEEWAY_SECONDS - 5}, True),
        ({"nbf": LEEWAY_SECONDS + 5}, False),
        ({"iat": LEEWAY_SECONDS - 5}, True),
        ({"iat": LEEWAY_SECONDS + 5}, False),
    ],
)
def test_clocks_may_differ_by_the_leeway(times: dict[str, int], is_valid: bool) -> None:
    now = int(time.time())
    values = {name: now + offset for name, offset in times.items()}
    token = service("HS256").sign(claims_now(**values))

    if is_valid:
        assert verifier("HS256").user(token) == USER
    else:
        with pytest.raises(NotAuthenticated):
            verifier("HS256").user(token)


def test_another_claim_can_have_the_user() -> None:
    rules = LoginRules(ISSUER, (AUDIENCE,), 0, "email")
    token = service("HS256").sign(claims_now(email="a+b@example.com", sub="x"))

    assert verifier("HS256", rules).user(token) == "a+b@example.com"
    with pytest.raises(NotAuthenticated, match="user claim"):
        verifier("HS256", rules).user(service("HS256").sign())


def test_a_claim_below_another_is_not_reached() -> None:
    rules = LoginRules(ISSUER, (AUDIENCE,), 0, "user.name")
    token = service("HS256").sign(claims_now(user={"name": "alice"}))

    with pytest.raises(NotAuthenticated, match="user claim"):
        verifier("HS256", rules).user(token)


def test_the_largest_token_is_accepted_and_one_byte_more_is_not() -> None:
    ours = service("HS256")

    def token(size: int) -> str:
        return ours.sign(claims_now(x="x" * size))

    size = max(n for n in range(11_800, 12_300) if len(token(n)) <= 16_384)
    assert len(token(size)) in (16_383, 16_384)
    assert verifier("HS256").user(token(size)) == USER
    with pytest.raises(NotAuthenticated, match="16 KiB"):
        verifier("HS256").user(token(size + 1))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"iss": ""}, id="iss empty"),
        pytest.param({"iss": ISSUER[:1]}, id="iss of one letter"),
        pytest.param({"iss": "https://"}, id="iss that any begins with"),
        pytest.param({"iss": ISSUER + "/"}, id="iss and a slash"),
        pytest.param({"iss": [ISSUER]}, id="iss in a list"),
        pytest.param({"aud": ""}, id="aud empty"),
        pytest.param({"aud": []}, id="no aud"),
        pytest.param({"aud": AUDIENCE[:1]}, id="aud of one letter"),
        pytest.param({"aud": [AUDIENCE + "2"]}, id="another aud"),
        pytest.param({"aud": [[AUDIENCE]]}, id="aud in two lists"),
        pytest.param({"aud": {AUDIENCE: 1}}, id="aud in an object"),
    ],
)
def test_issuer_and_audience_are_ours_to_compare(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    for name in ("_validate_iss", "_validate_aud"):
        monkeypatch.setattr(jwt.PyJWT, name, lambda *_args, **_kwargs: None)

    with pytest.raises(NotAuthenticated):
        verifier("HS256").user(service("HS256").sign(claims_now(**changes)))
    assert verifier("HS256").user(service("HS256").sign()) == USER


@pytest.mark.parametrize("kind", KINDS)
def test_no_character_of_a_token_can_be_changed(kind: str) -> None:
    token = service(kind).sign()
    verify = verifier(kind)
    for index, character in enumerate(token):
        for other in {"A", "_", "."} - {character}:
            with pytest.raises(NotAuthenticated):
                verify.user(token[:index] + other + token[index + 1 :])


@given(st.text() | st.text("eyJ.-_A0=\n"))
@example("a.b.c")
@settings(max_examples=100, deadline=None)
def test_any_text_is_refused_in_order(text: str) -> None:
    with pytest.raises(NotAuthenticated):
        verifier("RS256").user(text)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(["exp", "nbf", "iat", "iss", "aud", "sub", "jti"]), JSON_VALUES
    ),
    st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit"]), JSON_VALUES),
)
@settings(max_examples=60, deadline=None)
def test_signed_nonsense_is_refused_in_order(
    claims: dict[str, Any], header: dict[str, Any]
) -> None:
    assume(claims or set(header) - {"kid"})
    ours = service("HS256")
    token = ours.sign(claims_now() | claims, ours.header(**header))

    try:
        user = verifier("HS256").user(token)
    except LoginError:
        pass
    else:
        assert user == (claims_now() | claims)["sub"]


@pytest.mark.parametrize("token", [None, b"a.b.c", 5, ["a.b.c"]])
def test_what_is_no_text_is_refused(token: Any) -> None:
    with pytest.raises(NotAuthenticated):
        verifier("HS256").user(token)


@pytest.mark.parametrize(
    "error", [RecursionError, OverflowError, MemoryError, KeyError, UnicodeError]
)
def test_a_defect_refuses_and_says_only_its_kind(error: type[Exception]) -> None:
    class Broken:
        algorithms = frozenset(("HS256",))

        def find(self, header: Any) -> Any:
            raise error("with-a-secret")

    with pytest.raises(NotAuthenticated) as caught:
        LoginVerifier(RULES, Broken()).user(service("HS256").sign())

    assert caught.value.reason == f"its verification ended in {error.__name__}"
    assert caught.value.__suppress_context__


def test_a_key_of_another_algorithm_than_said_is_not_used() -> None:
    class Confused:
        algorithms = frozenset(("HS256", "RS256"))

        def find(self, header: Any) -> Any:
            return file_key("RS256")

    with pytest.raises(NotAuthenticated, match="alg is not that of the key"):
        LoginVerifier(RULES, Confused()).user(service("HS256").sign())


def test_a_token_that_is_not_signed_does_not_say_whether_its_user_is_allowed() -> None:
    token = attacker("RS256").sign(claims_now(sub="../bob"))

    with pytest.raises(NotAuthenticated):
        verifier("RS256").user(token)


def test_a_reason_shows_the_beginning_of_a_user_escaped() -> None:
    token = service("HS256").sign(claims_now(sub="张\n" + "x" * 100))

    with pytest.raises(UserNotAllowed) as caught:
        verifier("HS256").user(token)

    shown = r"user '\u5f20\n" + "x" * 58 + "' has U+000A in it"
    assert caught.value.reason == shown


# --- Setting up -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "algorithms", "problem"),
    [
        ("RS256", ["RS512"], "'RS512' is none of HS256, RS256, ES256, EdDSA"),
        ("RS256", ["RS256", "none"], "'none' is none of"),
        ("RS256", "RS256", "is none of"),
        ("RS256", ["HS256", "ES256"], "ES256, HS256 cannot .*, only RS256"),
        ("HS256", ["RS256"], "RS256 cannot be verified with these keys, only HS256"),
    ],
)
def test_algorithms_that_do_not_fit_the_key_are_refused(
    kind: str, algorithms: Any, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        LoginVerifier(RULES, file_key(kind), algorithms)


def test_algorithms_narrow_what_a_jwks_url_allows(keys: JwksKeys) -> None:
    narrow = LoginVerifier(RULES, keys, ["ES256", "HS256"])

    assert narrow.user(service("ES256").sign()) == USER
    for kind in ("RS256", "EdDSA", "HS256"):
        with pytest.raises(NotAuthenticated, match="alg is none of ES256"):
            narrow.user(service(kind).sign())


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": ""},
        {"audiences": ()},
        {"audiences": ("app", "")},
        {"leeway_seconds": -1},
        {"user_claim": ""},
    ],
    ids=str,
)
def test_rules_that_would_let_anybody_pass_are_refused(change: dict[str, Any]) -> None:
    values: dict[str, Any] = {
        "issuer": ISSUER,
        "audiences": (AUDIENCE,),
        "leeway_seconds": 0,
    }

    with pytest.raises(ConfigError):
        LoginRules(**values | change)


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
        "and Ed25519); of a certificate, openssl x509 -pubkey -noout prints it"
    )


@pytest.mark.parametrize("kind", PUBLIC_KINDS)
def test_a_private_key_is_refused(kind: str) -> None:
    private = service(kind).private_pem
    for content in (private, private + service(kind).file):
        with pytest.raises(ConfigError, match="f: is a private key"):
            public_key("f", content)


def test_nothing_shows_a_key(keys: JwksKeys) -> None:
    secret = file_key("HS256")
    shown = [
        f"{thing!r} {thing}"
        for thing in (secret, keys, verifier("HS256"), file_key("RS256"), RULES)
    ]

    for text in shown:
        assert "secret" not in text
        assert "of-the-url" not in text
    assert repr(secret) == "Key(algorithm='HS256')"


# --- Users ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "user",
    [
        "a",
        "alice",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        "google-oauth2|103547991597142817347",
        "00u1abcDEF_ghi-JKL",
        "550e8400-e29b-41d4-a716-446655440000",
        "first.last+tag@example.com",
        "O\u2019Brien",
        "张三",
        "한국어",
        "いろは",
        "René",
        "สวัสดี",
        "नमस्ते",
        "urn:example:user#1",
        "a%2Fb",
        "a,b;c=d&e<f>g(h)!i~j^k[l]",
        ".a",
        "a.",
        "...",
        "..a",
        "\U0001f600",
        "a" * 128,
        "张" * 42,
    ],
)
def test_users_of_usual_forms_are_accepted(user: str) -> None:
    assert user_id(user) == user


@pytest.mark.parametrize(
    "user",
    [
        "",
        ".",
        "..",
        "../bob",
        *(f"a{character}b" for character in "/\\*?${}\"'`"),
        *(f"a{chr(code)}b" for code in range(0x21)),
        *(f"a{chr(code)}b" for code in range(0x7F, 0xA1)),
        *(
            f"a{chr(code)}b"
            for code in (
                0x00AD,  # soft hyphen
                0x034F,  # combining grapheme joiner
                0x061C,  # Arabic letter mark
                0x115F,  # Hangul fillers
                0x1160,
                0x3164,
                0xFFA0,
                0x1680,  # Ogham space mark
                0x17B4,  # Khmer inherent vowels
                0x17B5,
                *range(0x180B, 0x1810),  # Mongolian selectors
                *range(0x2000, 0x2010),  # spaces, joiners, directions
                *range(0x2028, 0x2030),
                *range(0x205F, 0x2070),
                0x2800,  # Braille blank
                0x3000,  # ideographic space
                0xD800,
                0xDFFF,
                0xE000,  # private use
                *range(0xFE00, 0xFE10),  # variation selectors
                0xFEFF,
                *range(0xFFF9, 0xFFFE),  # annotation, lost characters
                0xFFFF,
                0x13441,
                0x16FE4,
                0x1D159,
                0x1D173,
                0xE0001,
                0xE0041,  # tags
                0xE0100,
                0xE01EF,
                0xF0000,
                0x10FFFF,
                0x0378,  # not assigned
            )
        ),
        "\uff41lice",
        "ﬁne",
        "Rene\u0301",
        "\u212bngström",
        "1\u2044\uff0f2",
        "\u1100\u1161",
        "\u0301alice",
        "\u0338x",
        "a" * 129,
        "张" * 43,
    ],
    ids=lambda user: ascii(user)[:20],
)
def test_users_that_a_path_or_a_policy_would_misread_are_refused(user: str) -> None:
    with pytest.raises(UserNotAllowed) as caught:
        user_id(user)

    assert caught.value.reason.isascii()
    assert caught.value.reason.isprintable()


@pytest.mark.parametrize("user", [None, 5, b"alice", ["alice"], True])
def test_a_user_is_text(user: Any) -> None:
    with pytest.raises(UserNotAllowed):
        user_id(user)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_an_accepted_user_is_visible_and_of_one_folder(text: str) -> None:
    try:
        user = user_id(text)
    except UserNotAllowed:
        return

    assert user == text
    assert 1 <= len(user.encode()) <= 128
    assert not set(user) & set("/\\*?${}\"'`")
    assert user not in (".", "..")
    assert user.isprintable()
    assert len(user.split()) == 1


@given(USERS, USERS)
@settings(max_examples=100, deadline=None)
def test_users_stay_apart_in_every_normal_form(one: str, other: str) -> None:
    assume(one != other)

    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        one_folder = unicodedata.normalize(form, f"photos/{one}/")
        other_folder = unicodedata.normalize(form, f"photos/{other}/")
        assert not one_folder.startswith(other_folder)


# --- Session names --------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ("alice", "alice"),
        ("ab", "ab"),
        ("a.b@c-d", "a.b@c-d"),
        ("auth0|5f7c", "auth0_7C5f7c"),
        ("a_b", "a_5Fb"),
        ("a+b%", "a_2Bb_25"),
        ("张三", "_E5_BC_A0_E4_B8_89"),
        ("_", "_5F"),
        ("a" * 64, "a" * 64),
    ],
)
def test_a_session_name_is_the_user_escaped(user: str, name: str) -> None:
    assert role_session_name(user) == name


@pytest.mark.parametrize(
    ("user", "start"),
    [
        ("a", "a"),
        ("a" * 65, "a" * 30),
        ("a" * 28 + "|" * 20, "a" * 28),
        ("a" * 29 + "|" * 20, "a" * 29),
        ("a" * 27 + "|" * 20, "a" * 27 + "_7C"),
        ("张" * 8, "_E5_BC_A0_E5_BC_A0_E5_BC_A0_E5"[:30]),
    ],
)
def test_a_session_name_that_does_not_fit_ends_in_a_hash(user: str, start: str) -> None:
    digest = base64.b32encode(hashlib.sha256(user.encode()).digest())[:32].decode()

    assert role_session_name(user) == f"{start}__{digest.lower()}"


SESSION_NAME = re.compile(r"[A-Za-z0-9.@_-]{2,64}")  # as STS has it
HASHED = re.compile(r"(?:[A-Za-z0-9.@-]|_[0-9A-F]{2}){1,30}__[a-z2-7]{32}")


@given(ANY_USERS | accepted(st.text("aB1.@-_|张", min_size=1, max_size=100)))
@example("a" * 64)
@example("a" * 65)
@example("|" * 21)
@example("|" * 22)
@settings(max_examples=150, deadline=None)
def test_a_session_name_is_valid_and_says_who(user: str) -> None:
    name = role_session_name(user)

    assert SESSION_NAME.fullmatch(name)
    assert name == role_session_name(user)
    if "__" in name:
        assert HASHED.fullmatch(name)
        start = name.rpartition("__")[0].replace("_", "%")
        assert user.encode().startswith(unquote(start, "latin-1").encode("latin-1"))
    else:
        assert unquote(name.replace("_", "%")) == user


def test_users_that_are_nearly_equal_have_names_of_their_own() -> None:
    long = "auth0|" + "x" * 80
    users = {
        "a", "aa", "A", "AA", "a_b", "a_5Fb", "a%5Fb", "a|b", "a_7Cb", "a__b", "_5F",
        "_", "__", "a_", "_a", "a%7Cb", "é", "_C3_A9", "张", "张张", long, long + "x",
        long.upper(), long[:-1] + "y", "a" * 64, "a" * 65, "a" * 66, "|" * 21, "|" * 22,
    }  # fmt: skip
    users |= {role_session_name(user) for user in users}
    users |= {role_session_name(user) for user in users}
    users = {user_id(user) for user in users}

    assert len({role_session_name(user) for user in users}) == len(users)


@given(st.sets(USERS | ANY_USERS, min_size=2, max_size=8))
@settings(max_examples=100, deadline=None)
def test_different_users_have_different_names(users: set[str]) -> None:
    users = users | set(map(role_session_name, users))

    assert len({role_session_name(user) for user in users}) == len(users)


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
        "those fetched before are used for 24 hours",
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


# --- URLs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com/jwks.json",
        "https://login.example.com",
        "https://login.example.com:8443/a/b?p=policy&x=1",
        "https://login.example.com?x",
        "https://[2001:db8::1]/jwks",
        "http://127.0.0.1:8080/jwks",
        "http://127.1.2.3/",
        "http://[::1]:80/",
        "http://localhost:3000/.well-known/jwks.json",
    ],
)
def test_keys_may_come_from(url: str) -> None:
    assert JwksKeys(url, FakeUrl(b"")).algorithms == set(PUBLIC_KINDS)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "login.example.com",
        "ftp://login.example.com/",
        "file:///etc/passwd",
        "HTTPS://login.example.com/",
        "https://",
        "https:///path",
        "https://user@login.example.com/",
        "https://user:secret@login.example.com/",
        "https://login.example.com/#fragment",
        "https://login.example.com/a b",
        "https://login.example.com/\n",
        "https://login.example.com/é",
        "https://login.example.com:0/",
        "https://login.example.com:65536/",
        "https://login.example.com:x/",
        "https://login.example.com\\@attacker.net/",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not a URL such as") as caught:
        JwksKeys(url, FakeUrl(b""))

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "login.example.com",
        "10.0.0.1",
        "0.0.0.0",
        "128.0.0.1",
        "127.0.0.1.example.com",
        "127.1",
        "localhost.example.com",
        "[::]",
        "[::2]",
        "[::1:]",
        "[fe80::1]",
    ],
)
def test_plain_http_is_only_for_this_machine(host: str) -> None:
    with pytest.raises(ConfigError, match="is plain HTTP"):
        JwksKeys(f"http://{host}/jwks.json", FakeUrl(b""))


# --- A real server --------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[JwksServer]:
    """A JWKS URL on loopback with the keys of our services."""
    with jwks_server(jwks(*ALL_KEYS)) as running:
        yield running
    for _ in range(MAX_FETCHES):  # those that were left to themselves end now
        assert login_jwks._fetches.acquire(timeout=PATIENCE_SECONDS)
    for _ in range(MAX_FETCHES):
        login_jwks._fetches.release()


def test_keys_come_from_a_server(server: JwksServer) -> None:
    verify = jwks_verifier(JwksKeys(server.url + "?p=1"))

    for kind in PUBLIC_KINDS:
        assert verify.user(service(kind).sign()) == USER
    assert server.requests == ["/jwks.json?p=1"]
    assert server.headers["User-Agent"] == "sts-server"
    assert server.headers["Accept"] == "application/json"


def test_a_proxy_is_not_asked_for_this_machine(
    server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    assert fetch(server.url) == jwks(*ALL_KEYS)


def test_a_server_that_is_down_at_first_is_found_later(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with jwks_server(b"") as gone:
        url = gone.url
    keys = JwksKeys(url, clock=clock)

    with pytest.raises(KeysUnavailable, match="Connection refused"):
        jwks_verifier(keys).user(service("RS256").sign())

    (line,) = caplog.messages
    assert line.startswith(f"no keys from {url}: Connection refused")


def test_a_server_that_goes_down_leaves_its_keys(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with jwks_server(jwks(*ALL_KEYS)) as server:
        keys = JwksKeys(server.url, clock=clock)
        verify = jwks_verifier(keys)
        verify.user(service("RS256").sign())
    clock.now += REFRESH_SECONDS

    for _ in range(3):
        assert verify.user(service("RS256").sign()) == USER
        settle()
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 304, 307, 308, 404, 500])
def test_only_200_has_keys(server: JwksServer, status: int) -> None:
    content = b"" if status in (204, 304) else jwks(*ALL_KEYS)
    server.answer = answering(content, status, Location="/elsewhere")

    with pytest.raises(FetchError, match=f"HTTP {status}"):
        fetch(server.url)
    assert server.requests == ["/jwks.json"]


def test_a_redirect_to_another_scheme_is_not_followed(server: JwksServer) -> None:
    server.answer = answering(b"", 302, Location="file:///etc/passwd")

    with pytest.raises(FetchError, match="HTTP 302"):
        fetch(server.url)


def test_an_answer_of_1_mib_is_read_and_a_larger_one_is_not(server: JwksServer) -> None:
    server.answer = answering(b" " * login_jwks.MAX_JWKS_BYTES)
    assert len(fetch(server.url)) == login_jwks.MAX_JWKS_BYTES
    server.answer = answering(b" " * (login_jwks.MAX_JWKS_BYTES + 1))
    with pytest.raises(FetchError, match="more than 1048576 bytes"):
        fetch(server.url)


def test_an_answer_without_end_is_not_read_to_its_end(server: JwksServer) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.closing.is_set():
            handler.wfile.write(b" " * 65536)

    server.answer = answer

    with pytest.raises(FetchError, match="more than 1048576 bytes"):
        fetch(server.url)


def test_an_answer_in_chunks_is_read(server: JwksServer) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        content = jwks(*ALL_KEYS)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(content), 100):
            chunk = content[start : start + 100]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")

    server.answer = answer

    assert fetch(server.url) == jwks(*ALL_KEYS)


def drip(server: JwksServer, head: bytes, part: bytes) -> None:
    """Have *server* send *head*, and *part* again and again."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while not server.closing.wait(0.02):
            handler.wfile.write(part)

    server.answer = answer


SLOW = {
    "stalls": (b"", b""),
    "drips its head": (b"HTTP/1.1 200 OK\r\n", b"X"),
    "drips its first line": (b"HTTP/1.1 ", b"2"),
    "drips its body": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "drips chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
    ),
    "stalls in its body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b""),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_server_is_given_up_in_time(
    server: JwksServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_jwks, "FETCH_SECONDS", 0.2)
    drip(server, *SLOW[name])
    keys = JwksKeys(server.url)
    started_at = time.monotonic()

    with pytest.raises(KeysUnavailable):  # and it would drip for ever
        jwks_verifier(keys).user(service("RS256").sign())

    assert time.monotonic() - started_at > 0.15


def test_fetches_that_never_end_are_few(
    server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a head that drips, whose time limit starts anew with each byte."""
    monkeypatch.setattr(login_jwks, "FETCH_SECONDS", 0.1)
    is_over = threading.Event()

    def read_url(_: str) -> bytes:
        is_over.wait(PATIENCE_SECONDS)
        return b""

    monkeypatch.setattr(login_jwks, "read_url", read_url)

    for _ in range(MAX_FETCHES):
        with pytest.raises(FetchError, match=r"no answer within 0\.1 s"):
            fetch(server.url)
    with pytest.raises(FetchError, match="4 fetches are still under way"):
        fetch(server.url)
    is_over.set()


def test_a_server_without_tls_is_no_https(server: JwksServer) -> None:
    keys = JwksKeys(server.url.replace("http:", "https:"))

    with pytest.raises(KeysUnavailable, match="SSL"):
        jwks_verifier(keys).user(service("RS256").sign())


def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: JwksServer, tmp_path: Path
) -> None:
    certificate = tmp_path / "tls.pem"
    certificate.write_bytes(self_signed("127.0.0.1"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with jwks_server(jwks(*ALL_KEYS), context) as tls:
        keys = JwksKeys(tls.url)

        with pytest.raises(KeysUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            jwks_verifier(keys).user(service("RS256").sign())
        assert tls.requests == []


def self_signed(host: str) -> bytes:
    """Return a private key and a certificate of its own for *host*."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    ours = service("ES256")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(ours.private.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]),
            critical=False,
        )
        .sign(ours.private, hashes.SHA256())
    )
    return ours.private_pem + certificate.public_bytes(Encoding.PEM)
