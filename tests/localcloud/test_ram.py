"""Which texts are RAM policies, and what a policy grants."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
from helpers.settings import POLICY_DIRECTORY
from hypothesis import example, given
from hypothesis import strategies as st

from localcloud.ram import (
    OPERATORS,
    Decision,
    Policy,
    PolicyGrammarError,
    decide,
    evaluate,
    is_like,
    parse,
)
from tokenserver.config.policy import PolicyTemplate

ARN = "acs:oss:*:1234567890123456:my-bucket/photos/cat.jpg"
STATEMENT = {"Effect": "Allow", "Action": "oss:GetObject", "Resource": "*"}


def statement(**changes: Any) -> dict[str, Any]:
    """Return a statement that allows GetObject, but for *changes*; None leaves out."""
    members = STATEMENT | changes
    return {name: value for name, value in members.items() if value is not None}


def text_of(*statements: Any, **changes: Any) -> str:
    return json.dumps({"Version": "1", "Statement": list(statements)} | changes)


def policy(*statements: Any) -> Policy:
    return parse(text_of(*statements))


def effect_of(
    *statements: Any,
    action: str = "oss:GetObject",
    resource: str = ARN,
    context: Mapping[str, str] | None = None,
) -> str | None:
    return evaluate([policy(*statements)], action, resource, context or {})


# --- Grammar


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="single values"),
        pytest.param({"Effect": "Deny"}, id="Deny"),
        pytest.param({"Action": ["oss:GetObject", "oss:Put*"]}, id="several actions"),
        pytest.param({"Action": None, "NotAction": "oss:*"}, id="NotAction"),
        pytest.param({"Resource": ["acs:oss:*:*:a", "*"]}, id="several resources"),
        pytest.param({"Condition": {}}, id="empty Condition"),
        pytest.param(
            {"Condition": {"Bool": {"acs:SecureTransport": ["true", "false"]}}},
            id="several values",
        ),
    ],
)
def test_a_documented_form_is_a_policy(changes: dict[str, Any]) -> None:
    assert len(policy(statement(**changes), statement()).statements) == 2


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="no JSON"),
        pytest.param("\ufeff" + text_of(STATEMENT), id="byte order mark"),
        pytest.param(text_of(STATEMENT) + "{}", id="two documents"),
        pytest.param(f"[{text_of(STATEMENT)}]", id="array"),
        pytest.param('"Allow"', id="string"),
        pytest.param("null", id="null"),
        pytest.param(json.dumps({"Statement": [STATEMENT]}), id="no Version"),
        pytest.param(text_of(STATEMENT, Version=1), id="number as Version"),
        pytest.param(text_of(STATEMENT, Version="2"), id="other Version"),
        pytest.param(json.dumps({"Version": "1"}), id="no Statement"),
        pytest.param(text_of(), id="no statements"),
        pytest.param(text_of(Statement=STATEMENT), id="bare statement"),
        pytest.param(text_of("Allow"), id="string as statement"),
        pytest.param(text_of([]), id="array as statement"),
        pytest.param(text_of(STATEMENT, Statements=[]), id="unknown element"),
        pytest.param(text_of(STATEMENT, statement=[]), id="element in lower case"),
        pytest.param(text_of(STATEMENT)[:-1] + ',"Version":"1"}', id="twice on top"),
        pytest.param(
            text_of(STATEMENT).replace('"Effect"', '"Effect": "Deny", "Effect"'),
            id="twice in a statement",
        ),
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyGrammarError, match=r"\A.+\Z"):
        parse(text)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"Effect": None}, id="no Effect"),
        pytest.param({"Effect": "allow"}, id="Effect in lower case"),
        pytest.param({"Effect": ["Allow"]}, id="array as Effect"),
        pytest.param({"Action": None}, id="no Action"),
        pytest.param({"NotAction": "oss:*"}, id="Action and NotAction"),
        pytest.param({"Action": []}, id="empty Action"),
        pytest.param({"Action": ["oss:GetObject", 1]}, id="number among actions"),
        pytest.param({"Action": {}}, id="object as Action"),
        pytest.param({"Action": None, "NotAction": []}, id="empty NotAction"),
        pytest.param({"Resource": None}, id="no Resource"),
        pytest.param({"Resource": []}, id="empty Resource"),
        pytest.param({"Resource": [["*"]]}, id="nested Resource"),
        pytest.param({"Resource": True}, id="boolean as Resource"),
        pytest.param({"Resource": None, "NotResource": "*"}, id="NotResource"),
        pytest.param({"Principal": "*"}, id="Principal"),
        pytest.param({"Sid": "1"}, id="Sid"),
        pytest.param({"Condition": []}, id="array as Condition"),
        pytest.param({"Condition": {"StringEqual": {"k": "v"}}}, id="operator"),
        pytest.param({"Condition": {"bool": {"k": "true"}}}, id="operator's case"),
        pytest.param({"Condition": {"StringLike": {}}}, id="no key"),
        pytest.param({"Condition": {"StringLike": ["k"]}}, id="array of keys"),
        pytest.param({"Condition": {"StringLike": {"k": []}}}, id="no value"),
        pytest.param({"Condition": {"StringLike": {"k": {}}}}, id="object as value"),
        pytest.param({"Condition": {"StringLike": {"k": ["v", 1]}}}, id="unquoted"),
        pytest.param({"Condition": {"NumericEquals": {"k": 1}}}, id="bare number"),
        pytest.param({"Condition": {"Bool": {"k": True}}}, id="bare boolean"),
    ],
)
def test_a_statement_of_another_form_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PolicyGrammarError, match=r"\A.+\Z"):
        policy(statement(), statement(**changes))


WRONG_KINDS = {
    "Numeric": ["", "x", "1e3", "0x10", "1_000", " 1", "1.", "NaN", "Infinity", "१"],
    "Date": [
        "",
        "2026-01-01",
        "2026-01-01T12:00:00",
        "2026-01-01 12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T12:00:00+24:00",
        "0000-01-01T12:00:00Z",
        "1767225600",
    ],
    "Bool": ["", "True", "yes", "1"],
    "IpAddress": [
        "",
        "*",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.0/33",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/",
        "2001:db8::/129",
        "fe80::1%eth0",
        "167772161",
    ],
}


@pytest.mark.parametrize("name", [n for n in OPERATORS if not n.startswith("String")])
def test_a_value_of_another_kind_is_refused(name: str) -> None:
    (values,) = [v for kind, v in WRONG_KINDS.items() if kind in name]

    for value in values:
        with pytest.raises(
            PolicyGrammarError, match=r"kind|out of range|not appear|day"
        ):
            policy(statement(Condition={name: {"acs:Key": value}}))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 100_000, id="unclosed arrays"),
        pytest.param('{"Statement":' * 100_000, id="unclosed objects"),
        pytest.param("[" * 900 + "]" * 900, id="deep array"),
        pytest.param(text_of(STATEMENT, Version=float("nan")), id="NaN"),
        pytest.param(text_of(statement(Action=float("inf"))), id="infinity"),
        pytest.param(f'{{"Version": {"1" * 5000}}}', id="huge number"),
        pytest.param(text_of(statement(Resource="\ud800")), id="half a surrogate"),
        pytest.param('{"\ud800": 1}', id="half a surrogate as it is"),
        pytest.param(
            text_of(statement(Action="a\0")).replace("\\u0000", "\0"), id="NUL"
        ),
        pytest.param(text_of(statement(**{"\n" * 9: "x"})), id="line feeds"),
        pytest.param(
            text_of(statement(Condition={"\u2028": {"k": "v"}})), id="line separator"
        ),
    ],
)
def test_hostile_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PolicyGrammarError) as raised:
        parse(text)

    assert len(str(raised.value).splitlines()) == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Version", "Statement", *STATEMENT, *OPERATORS]), inner
        )
    ),
    max_leaves=10,
)


@given(VALUES, st.sampled_from(["Effect", "Action", "Resource", "Condition"]))
def test_any_other_json_is_a_policy_or_refused(value: Any, element: str) -> None:
    for text in (
        json.dumps(value),
        text_of(value),
        text_of(statement(**{element: value})),
    ):
        try:
            parsed = parse(text)
        except PolicyGrammarError:
            continue
        assert isinstance(parsed, Policy)


def test_a_policy_does_not_change() -> None:
    parsed = policy(statement(Condition={"StringLike": {"oss:Prefix": "a/*"}}))

    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed.statements = ()  # type: ignore[misc]
    hash(parsed)  # raises TypeError if anything within can change


# --- Wildcards


@functools.cache
def is_like_by_definition(text: str, pattern: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(
            is_like_by_definition(text[i:], pattern[1:]) for i in range(len(text) + 1)
        )
    return (
        bool(text)
        and pattern[0] in ("?", text[0])
        and is_like_by_definition(text[1:], pattern[1:])
    )


def test_wildcards_agree_with_their_definition_on_all_short_texts() -> None:
    texts = ["".join(t) for n in range(6) for t in itertools.product("ab", repeat=n)]
    patterns = [
        "".join(p) for n in range(5) for p in itertools.product("ab*?", repeat=n)
    ]

    for text, pattern in itertools.product(texts, patterns):
        expected = is_like_by_definition(text, pattern)
        assert is_like(text, pattern) == expected, (text, pattern)


@given(st.text("ab/*\n[.", max_size=12), st.text("ab/*?\n[.", max_size=8))
def test_wildcards_agree_with_their_definition(text: str, pattern: str) -> None:
    assert is_like(text, pattern) == is_like_by_definition(text, pattern)


class Counted(str):
    """A text that counts how often one of its characters is looked at."""

    looks = 0

    def __getitem__(self, index: Any) -> str:
        self.looks += 1
        return super().__getitem__(index)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("*a" * 30 + "b", id="many runs"),
        pytest.param("*" * 60 + "b", id="adjacent runs"),
        pytest.param("*?" * 30 + "b", id="runs of any"),
        pytest.param("*" + "a" * 60 + "b", id="one long tail"),
    ],
)
def test_a_hostile_pattern_costs_no_more_than_the_product_of_lengths(
    pattern: str,
) -> None:
    text, looks = Counted("a" * 500), Counted(pattern)

    assert not is_like(text, looks)
    bound = (len(text) + 1) * (len(pattern) + 1)
    assert text.looks <= bound
    assert looks.looks <= bound


@pytest.mark.parametrize(
    ("pattern", "action", "granted"),
    [
        ("oss:GetObject", "oss:GetObject", True),
        ("OSS:getobject", "oss:GetObject", True),
        ("oss:GetObject", "OSS:GETOBJECT", True),
        ("oss:GetObject", "oss:GetObjectAcl", False),
        ("oss:GetObject*", "oss:GetObjectAcl", True),
        ("oss:get*acl", "oss:GetObjectAcl", True),
        ("oss:?etObject", "oss:GetObject", True),
        ("oss:GetObject?", "oss:GetObject", False),
        ("*", "oss:GetObject", True),
        ("oss:*", "ram:GetUser", False),
        ("GetObject", "oss:GetObject", False),
    ],
)
def test_actions_have_wildcards_and_no_case(
    pattern: str, action: str, granted: bool
) -> None:
    granting = statement(Action=["oss:Nothing", pattern])
    excluding = statement(Action=None, NotAction=["oss:Nothing", pattern])

    assert effect_of(granting, action=action) == ("Allow" if granted else None)
    assert effect_of(excluding, action=action) == (None if granted else "Allow")


@pytest.mark.parametrize(
    ("pattern", "relative", "granted"),
    [
        ("*", "my-bucket/a", True),
        ("acs:oss:*:*:*", "my-bucket/a", True),
        ("acs:oss:*:*:my-bucket/*", "my-bucket/a/b/c", True),
        ("acs:oss:*:*:my-bucket/*", "my-bucket/", True),
        ("acs:oss:*:*:my-bucket/*", "my-bucket", False),
        ("acs:oss:*:*:my-bucket/*", "my-bucket2/a", False),
        ("acs:oss:*:*:my-bucket*", "my-bucket2/a", True),
        ("acs:oss:*:*:my-bucket", "my-bucket/a", False),
        ("acs:oss:*:*:my-bucket/dir/*", "my-bucket/dir", False),
        ("acs:oss:*:*:my-bucket/dir/*", "my-bucket/dir/", True),
        ("acs:oss:*:*:my-bucket/Dir/*", "my-bucket/dir/a", False),
        ("acs:oss:*:*:my-bucket/?.jpg", "my-bucket/a.jpg", True),
        ("acs:oss:*:*:my-bucket/?.jpg", "my-bucket/.jpg", False),
        ("acs:oss:*:*:my-bucket/?.jpg", "my-bucket/照.jpg", True),
        ("acs:oss:*:*:my-bucket/*.jpg", "my-bucket/a\nb.jpg", True),
        ("acs:oss:*:*:my-bucket/a.jpg", "my-bucket/axjpg", False),
        ("acs:oss:*:*:my-bucket/[ab]", "my-bucket/a", False),
        ("acs:oss:*:1234567890123456:*", "my-bucket", True),
        ("acs:oss:*:6543210987654321:*", "my-bucket", False),
        ("acs:oss:*:*:my-bucket/${user}/*", "my-bucket/alice/a", False),
        ("acs:oss:*:*:my-bucket/*", "other/x:my-bucket/a", False),
        ("acs:oss:*:*:my-bucket/*:b", "my-bucket/a:c:b", True),
        ("acs:oss:*", "my-bucket/a:b", True),
        ("acs:*:my-bucket/*", "my-bucket/a", False),
    ],
)
def test_resources_have_wildcards_and_a_case(
    pattern: str, relative: str, granted: bool
) -> None:
    resource = f"acs:oss:cn-hangzhou:1234567890123456:{relative}"
    granting = statement(Resource=["acs:oss:*:*:nothing", pattern])

    assert effect_of(granting, resource=resource) == ("Allow" if granted else None)


# --- Conditions

NOON = "2026-01-01T12:00:00+08:00"
KEY = "acs:Key"


@pytest.mark.parametrize(
    ("name", "values", "true_of", "false_of"),
    [
        ("StringEquals", ["a", "B*"], ["a", "B*"], ["A", "Bc", ""]),
        ("StringNotEquals", ["a", "b"], ["A", "c", ""], ["a", "b"]),
        ("StringEqualsIgnoreCase", ["a", "B"], ["A", "b"], ["ab"]),
        ("StringNotEqualsIgnoreCase", ["a", "B"], ["ab"], ["A", "b"]),
        ("StringLike", ["dir/*", "?"], ["dir/", "dir/a/b", "x"], ["Dir/a", "dir"]),
        ("StringNotLike", ["dir/*", "?"], ["Dir/a", "dir"], ["dir/", "dir/a/b", "x"]),
        ("NumericEquals", "10", ["10", "10.0", "010"], ["9", "10.1", "x", "1e1"]),
        ("NumericNotEquals", "10", ["9", "x"], ["10", "10.0"]),
        ("NumericLessThan", "10", ["9", "9.99", "-10"], ["10", "11", "x"]),
        ("NumericLessThanEquals", "10", ["9", "10"], ["10.01", "x"]),
        ("NumericGreaterThan", "-1.5", ["-1", "100"], ["-1.5", "-2", "x"]),
        ("NumericGreaterThanEquals", "-1.5", ["-1.5", "0"], ["-1.51", "x"]),
        ("NumericGreaterThan", "9007199254740992", ["9007199254740993"], ["1"]),
        ("DateEquals", NOON, [NOON, "2026-01-01T04:00:00Z"], ["2026-01-01T12:00:00Z"]),
        ("DateNotEquals", NOON, ["2026-01-01T12:00:00Z"], ["2026-01-01T04:00:00Z"]),
        ("DateLessThan", NOON, ["2026-01-01T03:59:59Z"], ["2026-01-01T04:00:00Z", "x"]),
        ("DateLessThanEquals", NOON, [NOON], ["2026-01-01T04:00:01Z", "x"]),
        ("DateGreaterThan", NOON, ["2026-01-01T04:00:01Z"], [NOON, "x"]),
        ("DateGreaterThanEquals", NOON, [NOON], ["2026-01-01T03:59:59Z", "x"]),
        (
            "DateGreaterThan",
            "0001-01-01T00:00:00+14:00",
            ["9999-12-31T23:59:59-14:00"],
            ["0001-01-01T00:00:00+14:00"],
        ),
        ("Bool", "true", ["true"], ["false", "True"]),
        ("Bool", ["true", "false"], ["true", "false"], ["yes"]),
        (
            "IpAddress",
            ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"],
            ["10.255.255.255", "10.0.0.0", "192.0.2.7", "2001:DB8::1"],
            ["11.0.0.0", "192.0.2.8", "2001:db9::1", "x"],
        ),
        ("IpAddress", "10.1.2.3/8", ["10.9.9.9"], ["11.1.2.3"]),
        ("IpAddress", "0.0.0.0/0", ["203.0.113.9"], ["2001:db8::1"]),
        ("IpAddressIncludeBorder", "10.0.0.0/8", ["10.0.0.0"], ["11.0.0.0"]),
        (
            "NotIpAddress",
            ["10.0.0.0/8", "2001:db8::/32"],
            ["11.0.0.0", "2001:db9::1", "x"],
            ["10.1.1.1", "2001:db8::1"],
        ),
    ],
)
def test_a_condition_is_true_of_just_these(
    name: str, values: Any, true_of: list[str], false_of: list[str]
) -> None:
    conditional = statement(Condition={name: {KEY: values}})

    for value in true_of + false_of:
        expected = "Allow" if value in true_of else None
        assert effect_of(conditional, context={KEY: value}) == expected, value


A_VALUE = {"Numeric": "1", "Date": NOON, "Bool": "true", "Ip": "::1", "String": "a"}


@pytest.mark.parametrize("name", OPERATORS)
def test_a_missing_key_is_false_or_true_if_negated(name: str) -> None:
    (value,) = [value for kind, value in A_VALUE.items() if kind in name]
    conditional = statement(Condition={name: {KEY: value}})

    expected = "Allow" if "Not" in name else None
    assert effect_of(conditional, context={}) == expected
    assert effect_of(conditional, context={KEY.lower(): value}) == expected


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        pytest.param({"a": "1", "b": "1", "c": "1"}, "Allow", id="all hold"),
        pytest.param({"a": "0", "b": "1", "c": "1"}, None, id="first key"),
        pytest.param({"a": "1", "b": "0", "c": "1"}, None, id="second key"),
        pytest.param({"a": "1", "b": "1", "c": "0"}, None, id="second operator"),
        pytest.param({"a": "1", "c": "1"}, None, id="key missing"),
    ],
)
def test_keys_and_operators_must_all_hold(
    context: dict[str, str], expected: str | None
) -> None:
    block = {"StringEquals": {"a": "1", "b": "1"}, "NumericEquals": {"c": "1"}}

    assert effect_of(statement(Condition=block), context=context) == expected


def test_a_deny_whose_condition_does_not_hold_denies_nothing() -> None:
    office = {"NotIpAddress": {"acs:SourceIp": "10.0.0.0/8"}}
    deny = statement(Effect="Deny", Action="*", Condition=office)

    at_home = effect_of(statement(), deny, context={"acs:SourceIp": "192.0.2.1"})
    at_work = effect_of(statement(), deny, context={"acs:SourceIp": "10.0.0.1"})

    assert (at_home, at_work) == ("Deny", "Allow")


def test_listing_may_be_restricted_to_a_prefix() -> None:
    bucket = "acs:oss:*:1234567890123456:my-bucket"
    listing = statement(
        Action="oss:ListObjects",
        Resource="acs:oss:*:*:my-bucket",
        Condition={"StringLike": {"oss:Prefix": ["dir/*", "dir/"]}},
    )

    def effect(**context: str) -> str | None:
        named = {f"oss:{name}": value for name, value in context.items()}
        return effect_of(
            listing, action="oss:ListObjects", resource=bucket, context=named
        )

    assert effect(Prefix="dir/a") == "Allow"
    assert effect(Prefix="") is None
    assert effect() is None


# --- Decisions

ALLOW, DENY = statement(), statement(Effect="Deny")
OTHER = statement(Action="oss:PutObject")


@pytest.mark.parametrize(
    ("role", "session", "expected"),
    [
        pytest.param([ALLOW], None, Decision.ALLOWED, id="no session policy"),
        pytest.param([ALLOW], ALLOW, Decision.ALLOWED, id="both allow"),
        pytest.param([OTHER, ALLOW], ALLOW, Decision.ALLOWED, id="any policy of role"),
        pytest.param([], None, Decision.DENIED_IMPLICITLY, id="role without policy"),
        pytest.param([OTHER], None, Decision.DENIED_IMPLICITLY, id="role is silent"),
        pytest.param(
            [OTHER], ALLOW, Decision.DENIED_IMPLICITLY, id="session adds none"
        ),
        pytest.param([ALLOW, DENY], None, Decision.DENIED_EXPLICITLY, id="role denies"),
        pytest.param([ALLOW, DENY], OTHER, Decision.DENIED_EXPLICITLY, id="deny first"),
        pytest.param(
            [ALLOW], OTHER, Decision.DENIED_BY_SESSION_POLICY, id="session is silent"
        ),
        pytest.param(
            [ALLOW], DENY, Decision.DENIED_BY_SESSION_POLICY, id="session denies"
        ),
        pytest.param(
            [OTHER], OTHER, Decision.DENIED_BY_SESSION_POLICY, id="both are silent"
        ),
    ],
)
def test_session_policy_and_role_must_both_allow(
    role: list[Any], session: Any, expected: Decision
) -> None:
    session_policy = None if session is None else policy(session)

    decision = decide(
        [policy(s) for s in role], session_policy, "oss:GetObject", ARN, {}
    )

    assert decision is expected


@pytest.mark.parametrize(
    "statements", list(itertools.permutations([ALLOW, DENY, OTHER])), ids=str
)
def test_deny_wins_wherever_it_stands(statements: tuple[Any, ...]) -> None:
    assert effect_of(*statements) == "Deny"
    policies = [policy(each) for each in statements]
    assert evaluate(policies, "oss:GetObject", ARN, {}) == "Deny"


def statements(*effects: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return statements of which many apply to some of the requests() below."""
    actions = st.sampled_from(["*", "a:*", "a:x", "A:Y"])
    condition = st.sampled_from(
        [{}] + [{name: {KEY: "1"}} for name in ("NumericLessThan", "NumericNotEquals")]
    )
    return st.builds(
        lambda effect, element, action, resource, condition: {
            "Effect": effect,
            element: action,
            "Resource": resource,
            "Condition": condition,
        },
        st.sampled_from(effects),
        st.sampled_from(["Action", "NotAction"]),
        actions,
        st.sampled_from(["*", "p/*", "p/?", "q"]),
        condition,
    )


ANY = st.lists(statements("Allow", "Deny"), min_size=1, max_size=4)
REQUESTS = st.tuples(
    st.sampled_from(["a:x", "a:y", "b:z"]),
    st.sampled_from(["p/a", "p/aa", "q"]),
    st.sampled_from([{}, {KEY: "0"}, {KEY: "1"}]),
)
RANKS = {"Deny": 0, None: 1, "Allow": 2}


@given(ANY, statements("Deny"), REQUESTS)
def test_one_more_deny_never_allows_more(before: Any, deny: Any, request: Any) -> None:
    was = evaluate([policy(*before)], *request)
    becomes = evaluate([policy(*before, deny)], *request)

    assert RANKS[becomes] <= RANKS[was]
    assert evaluate([policy(*before), policy(deny)], *request) == becomes


@given(ANY, statements("Allow"), REQUESTS)
def test_one_more_allow_never_allows_less(
    before: Any, allow: Any, request: Any
) -> None:
    was = evaluate([policy(*before)], *request)
    becomes = evaluate([policy(*before, allow)], *request)

    assert RANKS[becomes] >= RANKS[was]
    assert (becomes == "Deny") == (was == "Deny")


@given(ANY, ANY, REQUESTS)
def test_a_session_policy_never_adds_to_the_role(
    role: Any, session: Any, request: Any
) -> None:
    alone = decide([policy(*role)], None, *request)
    limited = decide([policy(*role)], policy(*session), *request)

    assert limited is not Decision.ALLOWED or alone is Decision.ALLOWED
    assert (limited is Decision.ALLOWED) == (
        alone is Decision.ALLOWED and evaluate([policy(*session)], *request) == "Allow"
    )


# --- The shipped templates

UPLOAD = {"oss:PutObject", "oss:ListParts", "oss:AbortMultipartUpload"}
SHIPPED = {
    "bucket_read_policy.txt": {"oss:GetObject"},
    "bucket_write_policy.txt": UPLOAD,
    "bucket_read_write_policy.txt": UPLOAD | {"oss:GetObject"},
}
ACTIONS = [
    "oss:GetObject",
    "oss:GetObjectAcl",
    "oss:GetObjectVersion",
    "oss:PutObject",
    "oss:PutObjectAcl",
    "oss:PutObjectTagging",
    "oss:DeleteObject",
    "oss:ListObjects",
    "oss:ListBuckets",
    "oss:ListParts",
    "oss:ListMultipartUploads",
    "oss:AbortMultipartUpload",
    "oss:DeleteBucket",
    "oss:PutBucketAcl",
    "sts:AssumeRole",
]


def shipped(name: str) -> Policy:
    values = {"BUCKET_NAME": "my-bucket", "OBJECT_PREFIX": "photos/"}
    content = (POLICY_DIRECTORY / name).read_bytes()
    return parse(PolicyTemplate(name, content).render(values).text)


def granted(name: str, relative: str) -> set[str]:
    """Return the actions a role with all rights keeps under the template *name*."""
    role = [policy(statement(Action="*"))]
    arn = f"acs:oss:oss-cn-hangzhou:1234567890123456:{relative}"
    session_policy = shipped(name)
    return {
        action
        for action in ACTIONS
        if decide(role, session_policy, action, arn, {}) is Decision.ALLOWED
    }


def test_every_shipped_template_is_looked_at() -> None:
    assert {path.name for path in POLICY_DIRECTORY.iterdir()} == SHIPPED.keys()


@pytest.mark.parametrize("name", SHIPPED)
@given(key=st.text())
@example(key="")
@example(key="2026/01/照片.jpg")
@example(key="../secret")
def test_a_shipped_template_grants_its_actions_below_the_prefix(
    name: str, key: str
) -> None:
    assert granted(name, f"my-bucket/photos/{key}") == SHIPPED[name]


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize(
    "relative",
    [
        "my-bucket/photos",
        "my-bucket/photos-private/cat.jpg",
        "my-bucket/Photos/cat.jpg",
        "my-bucket/other/photos/cat.jpg",
        "my-bucket//photos/cat.jpg",
        "my-bucket/",
        "my-bucket",
        "my-bucket2/photos/cat.jpg",
        "other-bucket/my-bucket/photos/cat.jpg",
        "other-bucket/photos/cat.jpg",
        "*",
    ],
)
def test_a_shipped_template_grants_nothing_elsewhere(name: str, relative: str) -> None:
    assert granted(name, relative) == set()
