"""What a session policy template becomes, and which ones are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import POLICY_DIRECTORY

from demo import ram
from sts_config import (
    OPERATORS,
    ConfigError,
    PolicyTemplate,
)

VALUES = {"BUCKET_NAME": "my-bucket", "OBJECT_PREFIX": "photos/"}


def statement(**changes: Any) -> dict[str, Any]:
    """Return an ordinary statement with *changes*."""
    return {
        "Effect": "Allow",
        "Action": "oss:GetObject",
        "Resource": "acs:oss:*:*:$BUCKET_NAME/$OBJECT_PREFIX*",
    } | changes


def template(*statements: Any, **changes: Any) -> PolicyTemplate:
    """Return a template of *statements*, its top level with *changes*."""
    document = {"Version": "1", "Statement": list(statements)} | changes
    return PolicyTemplate("p.txt", json.dumps(document).encode())


def problems(*statements: Any, **changes: Any) -> list[str]:
    """Return what is wrong with a template, or with what it becomes."""
    try:
        template(*statements, **changes).render(VALUES)
    except ConfigError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize(
    ("name", "actions"),
    [
        ("bucket_read_policy.txt", ["GetObject"]),
        (
            "bucket_write_policy.txt",
            ["PutObject", "ListParts", "AbortMultipartUpload"],
        ),
        (
            "bucket_read_write_policy.txt",
            ["GetObject", "PutObject", "ListParts", "AbortMultipartUpload"],
        ),
    ],
)
def test_a_shipped_template_grants_its_actions_below_the_prefix(
    name: str, actions: list[str]
) -> None:
    shipped = PolicyTemplate(name, (POLICY_DIRECTORY / name).read_bytes())

    assert shipped.warnings() == []
    assert json.loads(shipped.render(VALUES)) == {
        "Version": "1",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [f"oss:{action}" for action in actions],
                "Resource": ["acs:oss:*:*:my-bucket/photos/*"],
            }
        ],
    }


def test_a_policy_is_compact_and_keeps_its_characters() -> None:
    policy = template(statement()).render(VALUES | {"OBJECT_PREFIX": "照片/"})

    assert policy == (
        '{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:GetObject",'
        '"Resource":"acs:oss:*:*:my-bucket/照片/*"}]}'
    )


@settings(deadline=None)
@given(st.text(min_size=1, max_size=200).filter(lambda text: "$" not in text))
def test_no_value_changes_the_structure(value: Any) -> None:
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    plain = template(statement()).render(VALUES)

    filled = template(statement()).render(VALUES | {"OBJECT_PREFIX": value})

    expected = json.loads(plain.replace("photos/", "PREFIX"))
    expected["Statement"][0]["Resource"] = f"acs:oss:*:*:my-bucket/{value}*"
    assert json.loads(filled) == expected


def test_a_value_is_not_filled_in_again() -> None:
    policy = template(statement()).render(VALUES | {"OBJECT_PREFIX": "$BUCKET_NAME"})

    assert "my-bucket/$BUCKET_NAME*" in policy


def test_a_policy_may_have_2048_bytes() -> None:
    padding = 2048 - len(template(statement(Action="")).render(VALUES))

    assert len(template(statement(Action="a" * padding)).render(VALUES)) == 2048
    with pytest.raises(ConfigError, match=r"p\.txt: has 2049 bytes .* may have 2048"):
        template(statement(Action="a" * (padding + 1))).render(VALUES)


def test_bytes_are_counted_not_characters() -> None:
    with pytest.raises(ConfigError, match=r"has 2[0-9]{3} bytes"):
        template(statement()).render(VALUES | {"OBJECT_PREFIX": "照" * 700})


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        pytest.param(
            "$BUCKET/x",
            ["p.txt: $BUCKET is none of $BUCKET_NAME, $OBJECT_PREFIX"],
            id="unknown",
        ),
        pytest.param(
            "$BUCKET_NAMES/x",
            ["p.txt: $BUCKET_NAMES is none of $BUCKET_NAME, $OBJECT_PREFIX"],
            id="longer than a known one",
        ),
        pytest.param(
            "$bucket_name",
            ["p.txt: $bucket_name is none of $BUCKET_NAME, $OBJECT_PREFIX"],
            id="in lower case",
        ),
        pytest.param(
            ["$A/$OBJECT_PREFIX", "$B$A"],
            [
                "p.txt: $A is none of $BUCKET_NAME, $OBJECT_PREFIX",
                "p.txt: uses $OBJECT_PREFIX, but ObjectPrefix is empty",
                "p.txt: $B is none of $BUCKET_NAME, $OBJECT_PREFIX",
            ],
            id="several",
        ),
    ],
)
def test_a_placeholder_without_a_value_is_named(resource: Any, expected: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        template(statement(Resource=resource)).render(VALUES | {"OBJECT_PREFIX": ""})

    assert list(raised.value.problems) == expected


@pytest.mark.parametrize("depth", [10, 300, 900, 990, 100_000])
def test_a_nested_policy_is_refused_and_harms_nothing(depth: int) -> None:
    content = '{"Version":"1","Statement":[{"Effect":"Deny","Action":%s}]}'
    nested = (content % ("[" * depth + "]" * depth)).encode()

    with pytest.raises(ConfigError, match=r"Action must be|is nested too deeply"):
        PolicyTemplate("p.txt", nested)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"Statement", "is not JSON", id="no JSON"),
        pytest.param(b'{"Statement": []}', 'Version must be "1"', id="no version"),
        pytest.param(
            b'{"Version": "1", "Statements": []}', "Statement must be", id="misspelt"
        ),
        pytest.param(
            b'{"Version": "1", "Statement": []}', "Statement must be", id="empty"
        ),
        pytest.param(
            b'{"Version": "1", "Statement": ["x"]}', "must be an object", id="string"
        ),
        pytest.param(
            b'{"Version": "1", "Statement": [{"Effect": "allow"}]}',
            'Effect must be "Allow" or "Deny"',
            id="effect",
        ),
        pytest.param(
            b'{"Version": "1", "Version": "1"}',
            "Version stands there twice",
            id="twice",
        ),
    ],
)
def test_what_is_no_policy_is_refused(content: bytes, expected: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        PolicyTemplate("p.txt", content)

    assert str(raised.value).startswith("p.txt: ")
    assert expected in str(raised.value)


# --- Grammar --------------------------------------------------------------------

NO_STRINGS: list[Any] = [[["*"]], [], ["*", 1], {}, None, [None]]
NO_TESTS: list[Any] = [{}, [], "oss:Prefix", None]
NO_ELEMENT = "is not an element of a statement in a session policy"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        *(
            pytest.param({name: "*"}, f"{name!r} {NO_ELEMENT}", id=name)
            for name in ("NotResource", "Principal", "NotPrincipal", "Sid", "Statement")
        ),
        *(
            pytest.param(
                {name: "*"}, f"{name!r} {NO_ELEMENT}; did you mean {right}?", id=name
            )
            for name, right in [
                ("resource", "Resource"),
                ("RESOURCE", "Resource"),
                ("condition", "Condition"),
                ("notAction", "NotAction"),
            ]
        ),
        pytest.param(
            {"NotAction": "oss:GetObject"},
            "must have either Action or NotAction",
            id="Action and NotAction",
        ),
        *(
            pytest.param(
                {name: value},
                f"{name} must be a string or a list of strings",
                id=f"{name} {json.dumps(value)}",
            )
            for name in ("Action", "Resource")
            for value in NO_STRINGS
        ),
        *(
            pytest.param(
                {"Condition": value},
                "Condition must be an object, {...}",
                id=f"Condition {json.dumps(value)}",
            )
            for value in ([], [{"StringLike": {"oss:Prefix": "*"}}], None, "x", True)
        ),
        *(
            pytest.param(
                {"Condition": {name: {"oss:Prefix": "x"}}},
                f"{name!r} is not a condition operator",
                id=name,
            )
            for name in ("StringLikeIfExists", "ForAllValues:StringLike", "Null", "")
        ),
        pytest.param(
            {"Condition": {"stringLike": {"oss:Prefix": "x"}}},
            "'stringLike' is not a condition operator; did you mean StringLike?",
            id="an operator in other case",
        ),
        *(
            pytest.param(
                {"Condition": {"StringLike": value}},
                "StringLike must be an object of condition keys, {...}",
                id=f"StringLike {json.dumps(value)}",
            )
            for value in NO_TESTS
        ),
        *(
            pytest.param(
                {"Condition": {"StringLike": {"oss:Prefix": value}}},
                "'oss:Prefix' must be a string or a list of strings",
                id=f"oss:Prefix {json.dumps(value)}",
            )
            for value in ([], [["x"]], 5, True, None, {"x": "y"})
        ),
        *(
            pytest.param(
                {"Condition": {"StringNotLike": {key: "x"}}},
                f"{key!r} is not a condition key; did you mean {right}?",
                id=key,
            )
            for key, right in [
                ("oss:prefix", "oss:Prefix"),
                ("OSS:Prefix", "oss:Prefix"),
                ("acs:SourceIP", "acs:SourceIp"),
            ]
        ),
        pytest.param(
            {"Condition": {"StringLike": {"oss:BucketTag/$BUCKET_NAME": "x"}}},
            "'oss:BucketTag/$BUCKET_NAME' is a condition key, in which there are no "
            "placeholders",
            id="a placeholder in a key",
        ),
        *(
            pytest.param(
                {"Condition": {operator: {"acs:x": [right, value]}}},
                f"{operator}: acs:x is {value!r}; it must be {kind}",
                id=f"{operator} {value}",
            )
            for operator, right, value, kind in [
                ("NumericEquals", "-1.5", "1e3", "a decimal number"),
                ("NumericLessThan", "1", "", "a decimal number"),
                ("Bool", "true", "True", "true or false"),
                ("IpAddress", "10.0.0.0/8", "10.0.0/8", "an address or a network"),
                (
                    "NotIpAddress",
                    "::1",
                    "10.0.0.1/255.0.0.0",
                    "an address or a network",
                ),
                (
                    "DateLessThan",
                    "2026-01-01T12:00:00+08:00",
                    "2026-02-30T12:00:00Z",
                    "a time in ISO 8601",
                ),
                (
                    "DateEquals",
                    "2026-01-01T12:00:00Z",
                    "2026-01-01",
                    "a time in ISO 8601",
                ),
            ]
        ),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    changes: dict[str, Any], expected: str
) -> None:
    found = problems(statement(), statement(**changes))

    assert found == [f"p.txt: Statement 2: {expected}"]


def test_an_element_beside_the_statements_is_refused_by_name() -> None:
    assert problems(statement(), Id="x", statement=[]) == [
        "p.txt: 'Id' is not an element of a policy",
        "p.txt: 'statement' is not an element of a policy; did you mean Statement?",
    ]


def test_all_that_is_wrong_with_a_policy_is_said_at_once() -> None:
    found = problems({"effect": "Allow", "NotResource": "*"}, "x", Version=1)

    assert found == [
        'p.txt: Version must be "1"',
        f"p.txt: Statement 1: 'effect' {NO_ELEMENT}; did you mean Effect?",
        f"p.txt: Statement 1: 'NotResource' {NO_ELEMENT}",
        'p.txt: Statement 1: Effect must be "Allow" or "Deny"',
        "p.txt: Statement 1: must have either Action or NotAction",
        "p.txt: Statement 1: Resource is missing",
        "p.txt: Statement 2: must be an object, {...}",
    ]


def test_a_name_is_shown_on_one_line() -> None:
    (problem,) = problems(statement(**{"a\nb\u2028": "x"}))

    assert problem == f"p.txt: Statement 1: 'a\\nb\\u2028' {NO_ELEMENT}"


TEXTS = st.sampled_from(["oss:GetObject", "*", "x", "1", "true", "10.0.0.0/8", ""])
VALUES_OF_ELEMENTS = st.recursive(
    st.one_of(TEXTS, st.none(), st.booleans(), st.integers(0, 1)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from([*OPERATORS, "oss:Prefix", "x"]), inner),
    ),
    max_leaves=4,
)
CONDITIONS = st.dictionaries(
    st.sampled_from([*OPERATORS, "StringLikes"]),
    st.dictionaries(
        st.sampled_from(["oss:Prefix", "acs:CurrentTime"]),
        st.one_of(
            TEXTS,
            st.lists(TEXTS, max_size=2),
            st.from_regex(r"\A20\d\d-\d\d-[0-3]\dT[0-2]\d:\d\d:\d\dZ?\Z"),
            st.from_regex(r"\A[0-9.:/]{1,12}\Z"),
        ),
        max_size=2,
    ),
    max_size=2,
)
STATEMENTS = st.fixed_dictionaries(
    {},
    optional={
        "Effect": st.sampled_from(["Allow", "Deny", "allow"]),
        "Action": st.one_of(TEXTS, VALUES_OF_ELEMENTS),
        "NotAction": TEXTS,
        "Resource": st.one_of(st.just("*"), st.just(["acs:oss:*:*:my-bucket"])),
        "Condition": st.one_of(CONDITIONS, VALUES_OF_ELEMENTS),
        "Principal": TEXTS,
    },
)
GOOD = {"Effect": "Allow", "Action": "oss:GetObject", "Resource": "*"}


@given(
    st.lists(
        st.one_of(STATEMENTS, STATEMENTS.map(lambda changes: GOOD | changes)),
        max_size=2,
    ),
    st.sampled_from([{}, {}, {}, {"Version": 1}, {"Id": "x"}]),
)
@example([GOOD | {"Condition": {}}], {})
@example([{"Effect": "Deny", "NotAction": "oss:*", "Resource": "*"}], {})
@settings(max_examples=400, deadline=None)
def test_a_policy_is_refused_here_just_if_it_is_refused_by_ram(
    statements: Any, changes: dict[str, Any]
) -> None:
    found = problems(*statements, **changes)

    text = json.dumps({"Version": "1", "Statement": statements} | changes)
    try:
        ram.parse(text)
    except ram.PolicyGrammarError:
        assert found != []
    else:
        assert found == []


def test_the_operators_are_those_of_the_documentation() -> None:
    assert OPERATORS.keys() == ram.OPERATORS.keys()


# --- Warnings -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Action": "*"}, 'Action "*" allows everything the role may do'),
        ({"Action": ["oss:*"]}, 'Action "oss:*" allows everything the role may do'),
        ({"Resource": "*"}, 'Resource "*" allows every bucket'),
        (
            {"Resource": ["acs:oss:*:*:*"]},
            'Resource "acs:oss:*:*:*" allows every bucket',
        ),
        (
            {"Action": "oss:PutObject"},
            "allows oss:PutObject without oss:ListParts and oss:AbortMultipartUpload, "
            "which resumable upload needs",
        ),
        (
            {"Action": ["oss:putobject", "oss:List*"]},
            "allows oss:PutObject without oss:AbortMultipartUpload, "
            "which resumable upload needs",
        ),
    ],
)
def test_a_grant_that_may_not_be_meant_is_a_warning(
    changes: dict[str, Any], expected: Any
) -> None:
    assert template(statement(**changes)).warnings() == [f"p.txt: {expected}"]


def test_a_broad_deny_is_no_warning() -> None:
    deny = statement(Effect="Deny", Action="*", Resource="*")

    assert template(statement(), deny).warnings() == []
