"""What a session policy template becomes, and which ones are refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import POLICY_DIRECTORY

from sts_config import ConfigError, PolicyTemplate

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
def test_a_nested_policy_is_refused_at_some_depth_and_harms_nothing(depth: int) -> None:
    content = '{"Version":"1","Statement":[{"Effect":"Deny","Action":%s}]}'
    nested = (content % ("[" * depth + "]" * depth)).encode()

    with contextlib.suppress(ConfigError):
        assert len(PolicyTemplate("p.txt", nested).render(VALUES)) == len(nested)


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
