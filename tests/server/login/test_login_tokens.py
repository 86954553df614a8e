"""Whose token it is, and that no other text is one."""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
import pytest
from helpers.examples import examples
from helpers.login.attacks import ATTACKS, Attack
from helpers.login.keys import (
    file_key,
    jwks_verifier,
    published_keys,
    verifier,
)
from helpers.login.service import (
    AUDIENCE,
    ISSUER,
    KINDS,
    LEEWAY_SECONDS,
    PUBLIC_KINDS,
    RULES,
    USER,
    attacker,
    claims_now,
    service,
)
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tokenserver.errors import ConfigError, LoginError, NotAuthenticated, UserNotAllowed
from tokenserver.login.verifier import (
    ALPHABET,
    LoginRules,
    LoginVerifier,
    decode_part,
    is_base64url,
)

SOURCES = [
    *(pytest.param(kind, False, id=f"{kind} file") for kind in KINDS),
    *(pytest.param(kind, True, id=f"{kind} JWKS") for kind in PUBLIC_KINDS),
]


def verifier_of(kind: str, is_jwks: bool) -> LoginVerifier:
    """Return a verifier that trusts our service of *kind*."""
    if is_jwks:
        return jwks_verifier(published_keys())
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
        ("alg 'none'", "its alg is not one of RS256"),
        ("alg list", "its alg is not one of RS256"),
        ("typ logout", "its typ is not that of a login token"),
        ("typ list", "its typ is not that of a login token"),
        ("kid number", "its kid is not a string"),
        ("crit exp", "it has crit or b64 in its header"),
        ("b64 true", "it has crit or b64 in its header"),
        ("exp boolean", "its exp is missing or not a time in seconds"),
        ("nbf string", "its nbf is missing or not a time in seconds"),
        ("sub missing", "its user claim is missing or not a string"),
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
        ("user the folder above", "user '..' is the name of a folder in paths"),
        ("user empty", "the user ID is empty or not a string"),
    ],
)
def test_the_log_says_why(name: str, reason: str) -> None:
    (attack,) = [attack for attack in ATTACKS if attack.id == name]

    with pytest.raises(LoginError) as caught:
        verifier("RS256").user(attack.make(service("RS256")))

    assert caught.value.reason == reason


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
@examples(100)
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
@examples(60)
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


# --- Rules ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "algorithms", "problem"),
    [
        ("RS256", ["RS512"], "'RS512' is not one of HS256, RS256, ES256, EdDSA"),
        ("RS256", ["RS256", "none"], "'none' is not one of"),
        ("RS256", "RS256", "is not one of"),
        ("RS256", ["HS256", "ES256"], "ES256, HS256 cannot .*, only RS256"),
        ("HS256", ["RS256"], "RS256 cannot be verified with these keys, only HS256"),
    ],
)
def test_algorithms_that_do_not_fit_the_key_are_refused(
    kind: str, algorithms: Any, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        LoginVerifier(RULES, file_key(kind), algorithms)


def test_algorithms_narrow_what_a_jwks_url_allows() -> None:
    narrow = LoginVerifier(RULES, published_keys(), ["ES256", "HS256"])

    assert narrow.user(service("ES256").sign()) == USER
    for kind in ("RS256", "EdDSA", "HS256"):
        with pytest.raises(NotAuthenticated, match="alg is not one of ES256"):
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


def test_a_part_is_written_in_the_one_way_that_its_bytes_are_encoded() -> None:
    endings = [a + b for a in ALPHABET for b in ALPHABET]
    parts = [*ALPHABET, *endings, *("A" + end for end in endings)]
    parts += ["AA" + end for end in endings]

    for part in parts:
        try:
            content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
            encoded = base64.urlsafe_b64encode(content).rstrip(b"=").decode()
        except ValueError:
            encoded = ""
        assert is_base64url(part) == (encoded == part), part
        if encoded == part:
            assert decode_part(part) == content
