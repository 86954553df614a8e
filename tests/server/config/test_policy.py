"""What a session policy template becomes, and which ones are refused."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers.examples import examples
from helpers.settings import POLICY_DIRECTORY
from hypothesis import assume, example, given
from hypothesis import strategies as st

from localcloud import ram
from tokenserver.config.patterns import Pattern, wildcards
from tokenserver.config.policy import PolicyTemplate, left_over
from tokenserver.config.statements import OPERATORS
from tokenserver.errors import ConfigError

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
    assert json.loads(shipped.render(VALUES).text) == {
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
    policy = template(statement()).render(VALUES | {"OBJECT_PREFIX": "照片/"}).text

    assert policy == (
        '{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:GetObject",'
        '"Resource":"acs:oss:*:*:my-bucket/照片/*"}]}'
    )


@given(st.text(min_size=1, max_size=200).filter(lambda text: "$" not in text))
def test_no_value_changes_the_structure(value: Any) -> None:
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    plain = template(statement()).render(VALUES).text

    assume(not left_over(value, ""))
    filled = template(statement()).render(VALUES | {"OBJECT_PREFIX": value}).text

    expected = json.loads(plain.replace("photos/", "PREFIX"))
    expected["Statement"][0]["Resource"] = f"acs:oss:*:*:my-bucket/{value}*"
    assert json.loads(filled) == expected


def test_a_value_is_not_filled_in_again() -> None:
    with pytest.raises(
        ConfigError, match="has '\\$BUCKET_NAME', which is not filled in"
    ):
        template(statement()).render(VALUES | {"OBJECT_PREFIX": "$BUCKET_NAME"})


def test_a_policy_may_have_2048_bytes() -> None:
    padding = 2048 - len(template(statement(Action="")).render(VALUES).text)

    assert len(template(statement(Action="a" * padding)).render(VALUES).text) == 2048
    with pytest.raises(ConfigError, match=r"p\.txt: has 2049 bytes .* at most 2048"):
        template(statement(Action="a" * (padding + 1))).render(VALUES)


def test_bytes_are_counted_not_characters() -> None:
    with pytest.raises(ConfigError, match=r"has 2[0-9]{3} bytes"):
        template(statement()).render(VALUES | {"OBJECT_PREFIX": "照" * 700})


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        pytest.param(
            "$BUCKET/x",
            ["p.txt: $BUCKET is not one of $BUCKET_NAME, $OBJECT_PREFIX"],
            id="unknown",
        ),
        pytest.param(
            "$BUCKET_NAMES/x",
            ["p.txt: $BUCKET_NAMES is not one of $BUCKET_NAME, $OBJECT_PREFIX"],
            id="longer than a known one",
        ),
        pytest.param(
            "$bucket_name",
            ["p.txt: $bucket_name is not one of $BUCKET_NAME, $OBJECT_PREFIX"],
            id="in lower case",
        ),
        pytest.param(
            ["$A/$OBJECT_PREFIX", "$B$A"],
            [
                "p.txt: $A is not one of $BUCKET_NAME, $OBJECT_PREFIX",
                "p.txt: uses $OBJECT_PREFIX, but ObjectPrefix is empty",
                "p.txt: $B is not one of $BUCKET_NAME, $OBJECT_PREFIX",
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
            "Version occurs twice",
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
            "'oss:BucketTag/$BUCKET_NAME' is a condition key, which cannot have "
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
@examples(400)
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


# --- What no placeholder is -----------------------------------------------------


OURS = "$BUCKET_NAME, $OBJECT_PREFIX or $USER_ID"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("{USER_ID}", "{USER_ID}"),
        ("{{ user }}", "{ user }"),
        ("{{.UserID}}", "{.UserID}"),
        ("#{user}", "{user}"),
        ("<USER_ID>", "<USER_ID>"),
        ("<%= user %>", "<%= user %>"),
        ("%USER_ID%", "%USER_ID%"),
        ("%user%", "%user%"),
        ("%DATE%", "%DATE%"),
        ("$(USER_ID)", "$(USER_ID"),
        ("USER_ID", "USER_ID"),
        ("OBJECT_PREFIX", "OBJECT_PREFIX"),
        ("x-BUCKET_NAME-y", "BUCKET_NAME"),
    ],
)
def test_a_placeholder_of_another_tool_is_an_error(name: str, found: str) -> None:
    why = f"has {found!r}, which is not filled in; use {OURS}"
    resource = f"acs:oss:*:*:my-bucket/{name}/*"
    condition = {"StringLike": {"oss:Prefix": [f"{name}/*"]}}

    assert problems(statement(Resource=resource)) == [f"p.txt: {resource!r} {why}"]
    assert problems(statement(Action=f"oss:{name}")) == [f"p.txt: 'oss:{name}' {why}"]
    assert problems(statement(Condition=condition)) == [f"p.txt: '{name}/*' {why}"]


@pytest.mark.parametrize(
    "prefix",
    [
        "a%2Fb/",
        "%E7%85%A7%E7%89%87/",
        "100%/",
        "50%off%/"[:-2] + "/",
        "a$/",
        "$5/",
        "a}b{/",
        "1<2/",
        "MY_USER_ID_2/",
        "user_id/",
        "[a]/",
        "a@b/",
    ],
)
def test_what_is_no_placeholder_may_be_in_a_prefix(prefix: str) -> None:
    policy = template(statement()).render(VALUES | {"OBJECT_PREFIX": prefix}).text

    assert f"my-bucket/{prefix}*" in policy


@pytest.mark.parametrize(
    ("prefix", "behind", "expected"),
    [
        ("a$", "{USER_ID}/*", "has ${; placeholders have no braces"),
        ("{USER_ID}/", "*", "has '{USER_ID}', which is not filled in"),
        ("a{", "-user}/*", "has '{-user}', which is not filled in"),
        ("a%USER_ID", "%/*", "has '%USER_ID%', which is not filled in"),
    ],
)
def test_a_placeholder_put_together_out_of_two_texts_is_an_error(
    prefix: str, behind: str, expected: str
) -> None:
    made = template(statement(Resource=f"acs:oss:*:*:my-bucket/$OBJECT_PREFIX{behind}"))

    with pytest.raises(ConfigError, match=re.escape(expected)):
        made.render(VALUES | {"OBJECT_PREFIX": prefix})


def test_braces_before_a_value_are_an_error() -> None:
    made = template(statement(Resource="acs:oss:*:*:my-bucket/$$OBJECT_PREFIX/*"))

    with pytest.raises(ConfigError, match=r"has \${; placeholders have"):
        made.render(VALUES | {"OBJECT_PREFIX": "{USER_ID}"})


NO_BUCKET = (
    "cannot be a bucket or object; it must be acs:oss:*:*:<bucket> or "
    "acs:oss:*:*:<bucket>/<object>, with a bucket of 3 to 63 lower-case letters, "
    "digits and -"
)


@pytest.mark.parametrize(
    "resource",
    [
        "acs:oss:*:*:",
        "acs:oss:*:*:/x",
        "acs:oss:*:*:ab/*",
        "acs:oss:*:*:BucketName/*",
        "acs:oss:*:*:my_bucket/*",
        "acs:oss:*:*:my.bucket",
        "acs:oss:*:*:-my-bucket/*",
        "acs:oss:*:*:my-bucket-/*",
        "acs:oss:*:*:my-Bucket*",
        "acs:oss:*:*:??/*",
        "acs:oss:*:*:" + "a" * 64,
        "acs:oss:*:*:my:bucket/*",
        "acs:oss:*:my-bucket/*",
        "acs:oss:::my-bucket/*",
        "acs:oss:*::my-bucket/*",
        "acs:oss:*:my-account:my-bucket/*",
        "acs:oss:CN:*:my-bucket/*",
        "acs:oss:cn/*:*:my-bucket/*",
        "acs:oss:my-bucket/*",
        "acs:my-bucket",
        "my-bucket/*",
        "my-bucket",
        "",
        "oss:*:*:my-bucket/*",
        "ACS:oss:*:*:my-bucket/*",
        "acs:OSS:*:*:my-bucket/*",
        "acs::*:*:my-bucket/*",
        "arn:aws:s3:::my-bucket/*",
        "acs:*:my-bucket/*",
    ],
)
@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_a_resource_that_is_of_no_bucket_is_an_error(
    resource: str, effect: str
) -> None:
    found = problems(statement(Effect=effect, Resource=["*", resource]))

    assert found == [f"p.txt: {resource!r} {NO_BUCKET}"]


@pytest.mark.parametrize(
    "resource",
    [
        "*",
        "acs:*",
        "acs:oss:*",
        "acs:oss:*:*:*",
        "acs:oss:*:*:***",
        "acs:oss:*:*:a*",
        "acs:oss:*:*:*-*",
        "acs:oss:*:*:???",
        "acs:oss:*:*:abc",
        "acs:oss:*:*:" + "a" * 63 + "/x",
        "acs:oss:*:*:my-bucket/A_b:c/*",
        "acs:oss:*:*:my-bucket?x",
        "acs:oss:*:1234567890123456:my-bucket/*",
        "acs:o*:*:*:my-bucket/*",
        "acs:oss:*my-bucket/*",
        "acs:kms:cn-hangzhou:1234567890123456:key/KEY_1",
        "acs:ram:*:1234567890123456:role/My_Role",
    ],
)
def test_a_resource_that_may_be_of_a_bucket_is_accepted(resource: str) -> None:
    assert problems(statement(Resource=resource)) == []


# --- Warnings -------------------------------------------------------------------

ALL_ACTIONS = "allows everything that the role may do"
LIKE_THIS = "allows every bucket with such a name"


def warnings(**changes: Any) -> list[str]:
    """Return the warnings about an Allow, without the file's name."""
    found = template(statement(**changes)).warnings()
    return [warning.removeprefix("p.txt: ") for warning in found]


@pytest.mark.parametrize(
    "action",
    [
        "*",
        "**",
        "oss:*",
        "OSS:*",
        "oss:**",
        "oss*",
        "o*:*",
        "*:*",
        "oss:?*",
        "?ss:*?",
        "oss?*",
        "*s:*",
        "oss:*?????????*",
    ],
)
def test_each_way_to_say_all_actions_is_a_warning(action: str) -> None:
    assert warnings(Action=[action]) == [f'Action "{action}" {ALL_ACTIONS}']


@pytest.mark.parametrize(
    "action",
    [
        "oss:Get*",
        "oss:*t*",
        "oss:*Object*",
        "oss:?????????",
        "kms:*",
        "ossx:*",
        "?:*",
        "oss:",
        "",
        "oss:*[a-z]*",
        "vod:*",
    ],
)
def test_some_actions_are_no_warning(action: str) -> None:
    found = warnings(Action=["oss:ListParts", "oss:AbortMultipartUpload", action])

    assert found == []


def test_all_actions_but_some_are_a_warning() -> None:
    allow: dict[str, Any] = {
        "Effect": "Allow",
        "NotAction": ["oss:Delete*", "oss:PutBucket*"],
        "Resource": "acs:oss:*:*:my-bucket/*",
    }
    deny = allow | {"Effect": "Deny"}

    assert template(statement(), deny).warnings() == []
    assert template(allow).warnings() == [
        "p.txt: NotAction allows everything that the role may do except oss:Delete*, "
        "oss:PutBucket*"
    ]


@pytest.mark.parametrize(
    "resource",
    [
        "*",
        "**",
        "acs:*",
        "acs:*:*",
        "acs*",
        "acs:oss*",
        "acs:oss:*",
        "acs:oss:*:*",
        "acs:oss:*:*:*",
        "acs:oss:*:*:**",
        "acs:oss:*:*:*/*",
        "acs:oss:*:*:?*",
        "acs:oss:*:*:???*/*",
        "acs:oss:*:*:*/photos/*",
        "acs:oss:*:*:*.jpg",  # as the * may reach beyond the bucket
        "acs:oss:*:*:*-*",
        "acs:oss:*:*:????*/x",
        "acs:oss:*bucket/x",
        "acs:oss:*:1234567890123456:*/*",
        "acs:*:*:*:*",
        "a*:*",
    ],
)
def test_each_way_to_say_all_buckets_is_a_warning(resource: str) -> None:
    assert warnings(Resource=[resource]) == [
        f'Resource "{resource}" allows every bucket'
    ]


@pytest.mark.parametrize(
    "resource",
    [
        "acs:oss:*:*:$BUCKET_NAME*",
        "acs:oss:*:*:my-bucke?/x",
        "acs:oss:*:*:my-*/photos/*",
        "acs:oss:*:*:???",
    ],
)
def test_a_wildcard_in_the_name_of_a_bucket_is_a_warning(resource: str) -> None:
    assert warnings(Resource=resource) == [f'Resource "{resource}" {LIKE_THIS}']


@pytest.mark.parametrize(
    "resource",
    [
        "acs:oss:*:*:my-bucket",
        "acs:oss:*:*:my-bucket/*",
        "acs:oss:*:*:$BUCKET_NAME/*/x?*",
        "acs:kms:*:*:*",
    ],
)
def test_one_bucket_is_no_warning(resource: str) -> None:
    assert warnings(Resource=resource) == []


def test_a_resource_for_another_service_is_no_warning() -> None:
    """Uploads that are encrypted by KMS need kms:GenerateDataKey of some key."""
    assert warnings(Action=["kms:GenerateDataKey", "kms:Decrypt"], Resource="*") == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"Action": "oss:PutObject"},
            "allows oss:PutObject without oss:ListParts and oss:AbortMultipartUpload, "
            "which resumable uploads need",
        ),
        (
            {"Action": ["oss:putobject", "oss:List*"]},
            "allows oss:PutObject without oss:AbortMultipartUpload, "
            "which resumable uploads need",
        ),
    ],
)
def test_an_upload_that_cannot_be_resumed_is_a_warning(
    changes: dict[str, Any], expected: str
) -> None:
    assert warnings(**changes) == [expected]


def test_a_broad_deny_is_no_warning() -> None:
    deny = statement(Effect="Deny", Action="*", Resource="*")

    assert template(statement(), deny).warnings() == []


# What the policies of the reference packages allow, with the bucket to be filled in.
REFERENCE = {
    "all_policy": (["oss:*"], ["acs:oss:*"]),
    "bucket_read_policy": (
        ["oss:GetObject", "oss:ListObjects"],
        ["acs:oss:*:*:$BUCKET_NAME/*", "acs:oss:*:*:$BUCKET_NAME"],
    ),
    "bucket_read_write_policy": (
        [
            "oss:GetObject",
            "oss:PutObject",
            "oss:DeleteObject",
            "oss:ListParts",
            "oss:AbortMultipartUpload",
            "oss:ListObjects",
        ],
        ["acs:oss:*:*:$BUCKET_NAME/*", "acs:oss:*:*:$BUCKET_NAME"],
    ),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_a_policy_of_a_reference_package_is_accepted(name: str) -> None:
    actions, resources = REFERENCE[name]
    made = template(statement(Action=actions, Resource=resources))

    policy = json.loads(made.render({"BUCKET_NAME": "my-bucket"}).text)

    assert policy["Statement"][0]["Resource"] == [
        resource.replace("$BUCKET_NAME", "my-bucket") for resource in resources
    ]
    assert made.warnings() == (
        [
            'p.txt: Action "oss:*" allows everything that the role may do',
            'p.txt: Resource "acs:oss:*" allows every bucket',
        ]
        if name == "all_policy"
        else []
    )


# --- Patterns, with localcloud.ram as the judge ---------------------------------------

ACCOUNT = "1234567890123456"
HEADS = [
    *["acs:oss:*:*:"] * 4,
    f"acs:oss:*:{ACCOUNT}:",
    "acs:o*:?*:*:",
    "acs:oss:*:",
    "acs:oss:",
    "acs:oss:oss-",
    "acs:",
    "acs:o",
    "",
    "*:",
    "acs:*:",
]
RESOURCES = st.builds(
    str.__add__,
    st.sampled_from(HEADS),
    st.text("ab-A*?/", max_size=6).filter(
        lambda text: text.count("*") <= 2 and text.count("?") <= 2
    ),
)
PAIRS = list(itertools.product(["", "a", "b", "-"], "ab-"))
ARN = re.compile(
    r"acs:oss:[a-z0-9-]+:[0-9]+:[a-z0-9][a-z0-9-]{1,61}[a-z0-9](/.*)?", re.DOTALL
)
# What a * may stand for: the rest of an ARN, from anywhere
RUNS = ["", "a", "aaa", *("acs:oss:a:1:aaa/"[n:] for n in range(14))]
RUNS += ["acs:oss:a:1:aaa/a", "acs:oss:a:1:aaa", "oss:a:1:aaa", "a:1:aaa", ":aaa"]


def allowed_by(resource: str) -> Callable[[str], bool]:
    """Return whether RAM would allow an ARN."""
    text = json.dumps({"Version": "1", "Statement": [GOOD | {"Resource": resource}]})
    policy = ram.parse(text)
    return lambda arn: ram.evaluate([policy], "oss:GetObject", arn, {}) == "Allow"


def arns_like(resource: str) -> Iterator[str]:
    """Yield ARNs that *resource* may stand for, some for each if it is for any."""
    *before, text = resource.split(":", 4)
    begin = ["acs", "oss", "oss-cn-x", ACCOUNT][: len(before)]
    choices = [{"*": RUNS, "?": [*"acos1:/"]}.get(letter, [letter]) for letter in text]
    for choice in itertools.product(*choices):
        arn = ":".join([*begin, "".join(choice)])
        if ARN.fullmatch(arn):
            yield arn


@given(RESOURCES)
@examples(200)
@example("acs:oss:*:*:a?")
@example("acs:oss:oss-*/a")
@example("acs:oss:*:A*")
def test_a_resource_is_refused_just_if_it_allows_nothing(resource: str) -> None:
    found = problems(statement(Resource=resource))

    is_allowed = any(map(allowed_by(resource), arns_like(resource)))
    assert found == ([] if is_allowed else [f"p.txt: {resource!r} {NO_BUCKET}"])


@given(RESOURCES)
@examples(300)
@example("acs:oss:*:*:???*/b")
@example("acs:oss:*:*:????*")
@example("acs:oss:*:*:*/a?b")
def test_all_buckets_are_a_warning_just_if_ram_allows_any_bucket(resource: str) -> None:
    if problems(statement(Resource=resource)):
        return
    *_, text = resource.split(":", 4)
    region = text.partition("*")[0].replace("?", "a")
    regions = ["oss-cn-x", region, f"{region}a", *("".join(two) for two in PAIRS)]
    parts = [resource[n:] for n in range(len(resource))]
    ends = ["", *(part.replace("*", "").replace("?", "q") for part in parts)]
    buckets = [letter * length for letter in "qz" for length in (3, 4, 30, 63)]

    allows = allowed_by(resource)

    def is_open(bucket: str) -> bool:
        arns = (
            f"acs:oss:{region}:{account}:{bucket}{slash}{end}"
            for region in regions
            for account in (ACCOUNT, "1")
            for slash in ("", "/")
            for end in ends
        )
        own = (arn for arn in arns if re.search(f":{bucket}(/|$)", arn))
        return any(allows(arn) for arn in own if ARN.fullmatch(arn))

    found = template(statement(Resource=resource)).warnings()

    is_warned = f'p.txt: Resource "{resource}" allows every bucket' in found
    assert is_warned == all(map(is_open, buckets))


@given(st.text("os:tG*?", max_size=8))
@examples(300)
@example("oss:?*")
@example("oss:?????????*")
@example("oss:??????????*")
def test_all_actions_are_a_warning_just_if_ram_allows_any_action(action: str) -> None:
    text = json.dumps({"Version": "1", "Statement": [GOOD | {"Action": action}]})
    policy = ram.parse(text)
    allowed = [
        ram.evaluate([policy], f"oss:{letter * length}", "acs:oss:r:1:b", {})
        for letter in "qz"
        for length in (9, 10, 30)
    ]

    found = template(statement(Action=action)).warnings()

    assert (f'p.txt: Action "{action}" {ALL_ACTIONS}' in found) == (
        set(allowed) == {"Allow"}
    )


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=10))
@examples(300)
def test_a_pattern_stands_for_what_it_does_in_ram(pattern: str, text: str) -> None:
    assert Pattern(wildcards(pattern)).is_like(text) == ram.is_like(text, pattern)


# --- Time -----------------------------------------------------------------------


def seconds(work: Any, *args: Any) -> float:
    """Return the processor time of *work*, the least of several times."""
    times = []
    for _ in range(5):
        begin = time.process_time()
        work(*args)
        times.append(time.process_time() - begin)
    return min(times)


@pytest.mark.parametrize(
    "part",
    [
        "{",
        "{a",
        "<",
        "<a",
        "%",
        "%A",
        "%_",
        "$",
        "$a",
        "${",
        "BUCKET_NAME",
        "a",
        " A",
        "%AAA",
        "USER_ID_",
        "{}<",
        "%Gz",
    ],
)
def test_a_long_text_is_looked_through_in_linear_time(part: str) -> None:
    short, long = (part * (size // len(part)) for size in (1 << 15, 1 << 18))
    ratio = seconds(left_over, long, "") / max(seconds(left_over, short, ""), 1e-5)

    assert ratio < 8 * 4


@pytest.mark.parametrize("part", ["*a", "?*", "a", "*?", "a*/"])
def test_a_long_pattern_takes_no_more_time_than_its_text_and_itself(part: str) -> None:
    def read(size: int) -> None:
        pattern = Pattern(wildcards(part * (size // len(part))))
        pattern.is_like("a" * size)
        pattern.read_some(pattern.start, pattern.all_but("/"))
        pattern.read_each(pattern.start, "/")

    ratio = seconds(read, 2048) / max(seconds(read, 256), 1e-5)

    assert ratio < 8 * 8 * 4
