"""The policy of a form: until when, for which fields and sizes it is good."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime, timezone

import pytest
from helpers import MEGABYTE
from helpers.client import connect
from helpers.oss.client import DENIED, INVALID_POLICY, STORED, read_reply, send
from helpers.oss.cloud import OTHER_BUCKET, Cloud
from helpers.oss.forms import (
    BEFORE,
    V4_FIELDS,
    Sign,
    as_browser,
    each_version,
    eq,
    message_of,
    policy_text,
    post,
    signature_fields,
    signed,
)
from helpers.oss.signing import BUCKET, KeyPair, v1_fields, v4_fields

CONDITIONS = [
    pytest.param({"key": "dir/new"}, True, id="key"),
    pytest.param({"key": "dir/other"}, False, id="other key"),
    pytest.param({"bucket": BUCKET}, True, id="bucket"),
    pytest.param({"bucket": OTHER_BUCKET}, False, id="other bucket"),
    pytest.param(eq("key", "dir/new"), True, id="eq"),
    pytest.param(eq("key", "dir/ne"), False, id="eq beginning"),
    pytest.param(eq("key", "DIR/NEW"), False, id="eq other case"),
    pytest.param(["EQ", "$KEY", "dir/new"], True, id="case of names"),
    pytest.param(eq("x-oss-meta-a", "1"), True, id="eq field"),
    pytest.param(eq("X-OSS-Meta-A", "1"), True, id="eq field in other case"),
    pytest.param(eq("x-oss-meta-b", "1"), False, id="eq field that is not there"),
    pytest.param(eq("x-oss-meta-b", ""), False, id="eq nothing, no field"),
    pytest.param(eq("x-oss-meta-empty", ""), True, id="eq nothing, empty field"),
    pytest.param(["eq", "x-oss-meta-a", "1"], True, id="eq without $"),
    pytest.param(["eq", "x-oss-meta-a", "2"], False, id="eq another without $"),
    pytest.param(["eq", "$$x-oss-meta-a", "1"], False, id="eq with two $"),
    pytest.param({"x-oss-meta-a": "1"}, True, id="field"),
    pytest.param({"x-oss-meta-b": ""}, False, id="nothing, no field"),
    pytest.param(["starts-with", "$key", "dir/"], True, id="starts-with"),
    pytest.param(["starts-with", "$key", ""], True, id="starts-with anything"),
    pytest.param(["starts-with", "$key", "di/"], False, id="starts-with other"),
    pytest.param(["starts-with", "$key", "dir/new2"], False, id="starts-with more"),
    pytest.param(["starts-with", "$x-oss-meta-b", "a"], False, id="starts-with none"),
    pytest.param(["starts-with", "$x-oss-meta-b", ""], False, id="anything, no field"),
    pytest.param(["starts-with", "$x-oss-meta-empty", ""], True, id="anything, empty"),
    pytest.param(["in", "$x-oss-meta-a", ["0", "1"]], True, id="in"),
    pytest.param(["in", "$x-oss-meta-a", ["0", "11"]], False, id="in others"),
    pytest.param(["in", "$x-oss-meta-a", []], False, id="in none"),
    pytest.param(["not-in", "$x-oss-meta-a", ["0", "2"]], True, id="not-in"),
    pytest.param(["not-in", "$x-oss-meta-a", ["1"]], False, id="not-in these"),
    pytest.param(["not-in", "$x-oss-meta-b", ["1"]], False, id="not-in, no field"),
    pytest.param(["not-in", "$x-oss-meta-empty", ["1"]], True, id="not-in, empty"),
    pytest.param(["in", "$x-oss-meta-empty", ["", "1"]], True, id="in, empty"),
    pytest.param(["in", "$content-type", ["text/plain"]], True, id="type of the file"),
    pytest.param(eq("Content-Type", "image/png"), False, id="other type"),
    pytest.param(
        ["eq", "$x-oss-content-type", "text/plain"], False, id="no such field"
    ),
]


@each_version
@pytest.mark.parametrize(("condition", "is_met"), CONDITIONS)
def test_a_condition_of_the_policy_must_be_met(
    cloud: Cloud, key: KeyPair, sign: Sign, condition: object, is_met: bool
) -> None:
    conditions = [eq("x-oss-meta-a", "1"), condition]
    fields = {"x-oss-meta-a": "1", "x-oss-meta-empty": ""}

    reply = post(cloud, signed(cloud, key, fields, sign=sign, conditions=conditions))

    assert reply.outcome == (STORED if is_met else DENIED)
    assert (f"{BUCKET}/dir/new" in cloud.contents()) == is_met
    if not is_met:
        message = "Invalid according to Policy: Policy Condition failed: "
        assert reply.text("Message").startswith(message)


@pytest.mark.parametrize("filename", ["../other/a", "a/../../other", "..\\other"])
def test_a_file_name_cannot_lead_out_of_what_the_policy_allows(
    cloud: Cloud, key: KeyPair, filename: str
) -> None:
    start = ["starts-with", "$key", "dir/"]
    inside = signed(cloud, key, {"key": "dir/${filename}"}, conditions=[start])
    outside = signed(cloud, key, {"key": "${filename}/dir/"}, conditions=[start])

    assert post(cloud, inside, (filename, "", b"")).outcome == STORED
    assert post(cloud, outside, (filename, "", b"")).outcome == DENIED
    created = cloud.contents().keys() - BEFORE.keys()
    assert all(name.startswith(f"{BUCKET}/dir/") for name in created)


@pytest.mark.parametrize(
    ("condition", "is_met"),
    [
        pytest.param(["eq", "$key", "dir/purr.txt"], False, id="eq what comes of it"),
        pytest.param(["eq", "$key", "dir/${filename}"], True, id="eq"),
        pytest.param(["starts-with", "$key", "dir/purr"], False, id="starts-with"),
        pytest.param(["starts-with", "$key", "dir/$"], True, id="starts-with variable"),
        pytest.param(["starts-with", "$key", "dir/"], True, id="starts-with folder"),
    ],
)
def test_the_condition_for_a_key_is_for_the_key_in_the_form(
    cloud: Cloud, key: KeyPair, condition: object, is_met: bool
) -> None:
    fields = signed(cloud, key, {"key": "dir/${filename}"}, conditions=[condition])

    assert post(cloud, fields).outcome == (STORED if is_met else DENIED)
    assert (f"{BUCKET}/dir/purr.txt" in cloud.contents()) == is_met


@each_version
@pytest.mark.parametrize(
    ("value", "ec"), [(None, "0006-00000226"), ("201", "0006-00000227")]
)
@pytest.mark.parametrize("name", ["$success_action_status", "success_action_status"])
def test_a_field_that_fails_its_condition_is_named(
    cloud: Cloud, key: KeyPair, sign: Sign, name: str, value: str | None, ec: str
) -> None:
    fields = {"success_action_status": value} if value else {}
    conditions = [["eq", name, "200"]]

    reply = post(cloud, signed(cloud, key, fields, sign=sign, conditions=conditions))

    assert reply.outcome == DENIED
    assert reply.text("EC") == ec
    assert reply.text("Message") == (
        "Invalid according to Policy: Policy Condition failed: "
        '["eq", "$success_action_status", "200"]'
    )


@pytest.mark.parametrize("left_out", V4_FIELDS)
def test_the_policy_must_name_the_fields_that_v4_adds(
    cloud: Cloud, key: KeyPair, left_out: str
) -> None:
    unsigned = v4_fields(key, "", cloud.clock.now)
    conditions = [eq(name, unsigned[name]) for name in V4_FIELDS if name != left_out]
    policy = policy_text(cloud.clock.now + 60, conditions)

    reply = post(cloud, signed(cloud, key, policy=policy))

    assert reply.outcome == DENIED
    message = f"Invalid according to Policy: Extra input fields: {left_out}"
    assert reply.text("Message") == message
    assert reply.text("EC") == "0006-00000228"
    assert cloud.contents() == BEFORE


def test_a_field_cannot_pretend_to_be_the_bucket(cloud: Cloud, key: KeyPair) -> None:
    conditions = [{"bucket": BUCKET}]
    fields = signed(cloud, key, {"bucket": BUCKET}, conditions=conditions)
    message = message_of(as_browser(fields), f"/{OTHER_BUCKET}/")

    assert send(cloud.oss, message).outcome == DENIED
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize(
    ("ranges", "allowed"),
    [
        pytest.param([[0, 10]], range(11), id="0 to 10"),
        pytest.param([[3, 7]], range(3, 8), id="3 to 7"),
        pytest.param([[5, 5]], [5], id="5"),
        pytest.param([[0, 0]], [0], id="nothing"),
        pytest.param([[2, 9], [4, 12]], range(4, 10), id="two"),
        pytest.param([[0, 3], [7, 9]], [], id="none"),
        pytest.param([[0, 2**63 - 1]], range(12), id="any"),
    ],
)
def test_the_file_must_have_the_size_that_the_policy_allows(
    cloud: Cloud, key: KeyPair, ranges: list[list[int]], allowed: Sequence[int]
) -> None:
    conditions = [["content-length-range", *bounds] for bounds in ranges]
    outcomes = {}
    for size in range(12):
        fields = signed(cloud, key, {"key": f"{size}"}, conditions=conditions)
        outcomes[size] = post(cloud, fields, ("a", "", b"x" * size)).outcome

    stored = [size for size, outcome in outcomes.items() if outcome == STORED]
    assert stored == [size for size in range(12) if size in allowed]
    for size in outcomes.keys() - set(stored):
        is_small = size < max(low for low, _ in ranges)
        is_large = size > min(high for _, high in ranges)
        codes = ["EntityTooSmall"] * is_small + ["EntityTooLarge"] * is_large
        assert outcomes[size] in [(400, code) for code in codes]
    names = {f"{BUCKET}/{size}" for size in stored}
    assert cloud.contents().keys() == BEFORE.keys() | names


def test_a_file_that_is_too_large_is_refused_before_it_is_there(
    cloud: Cloud, key: KeyPair
) -> None:
    conditions = [["content-length-range", 0, MEGABYTE]]
    body, content_type = as_browser(signed(cloud, key, conditions=conditions))
    start, _, rest = body.rpartition(b"purr")
    message = message_of((b"", content_type)).with_headers(
        content_length=str(len(start) + 500 * MEGABYTE + len(rest))
    )
    with connect(cloud.oss.port) as client:
        client.sendall(message.encoded(cloud.oss.port) + start + bytes(2 * MEGABYTE))
        reply = read_reply(client, "POST")

    assert reply.outcome == (400, "EntityTooLarge")
    assert cloud.contents() == BEFORE


@each_version
def test_a_policy_is_good_until_the_second_it_expires(
    cloud: Cloud, key: KeyPair, sign: Sign
) -> None:
    fields = signed(cloud, key, sign=sign)
    cloud.clock.now += 59
    in_time = post(cloud, fields)
    cloud.clock.now += 1
    late = post(cloud, fields)

    assert in_time.outcome == STORED
    assert late.outcome == DENIED
    assert late.text("Message") == "Invalid according to Policy: Policy expired."


LATER = "2999-01-01T00:00:00.000Z"
CONDITIONS_OF_ALL = '[["content-length-range", 0, 10]]'


def policy_until(expiration: str) -> str:
    """Return a policy whose *expiration* is written in JSON."""
    return f'{{"expiration": {expiration}, "conditions": {CONDITIONS_OF_ALL}}}'


def policy_with(conditions: str) -> str:
    """Return a policy whose *conditions* are written in JSON."""
    return f'{{"expiration": "{LATER}", "conditions": {conditions}}}'


NOT_JSON = "0006-00000204"


@pytest.mark.parametrize(
    ("policy", "ec"),
    [
        pytest.param("policy", NOT_JSON, id="no JSON"),
        pytest.param("[]", NOT_JSON, id="list"),
        pytest.param("null", NOT_JSON, id="null"),
        pytest.param("[" * 100_000, NOT_JSON, id="deep"),
        pytest.param("9" * 10_000, NOT_JSON, id="large number"),
        pytest.param(f"\ufeff{policy_with('[{}]')}", NOT_JSON, id="byte order mark"),
        pytest.param(
            policy_with(f"{'[' * 50_000}{']' * 50_000}"), NOT_JSON, id="deep conditions"
        ),
        pytest.param(policy_with("[NaN]"), NOT_JSON, id="NaN"),
        pytest.param(
            policy_with('[["content-length-range", 0, Infinity]]'),
            NOT_JSON,
            id="Infinity",
        ),
        pytest.param(policy_with(r'[["eq", "$key", "\q"]]'), NOT_JSON, id="no escape"),
        pytest.param(
            policy_with('[{"key": "other"}], "conditions": [{"key": "dir/new"}]'),
            NOT_JSON,
            id="conditions twice",
        ),
        pytest.param(
            policy_with('[{"key": "other", "key": "dir/new"}]'),
            NOT_JSON,
            id="a field twice",
        ),
        pytest.param("{}", "0006-00000209", id="empty"),
        pytest.param(
            f'{{"conditions": {CONDITIONS_OF_ALL}}}',
            "0006-00000208",
            id="no expiration",
        ),
        pytest.param(
            f'{{"expiration": "{LATER}"}}', "0006-00000207", id="no conditions"
        ),
        pytest.param(policy_with("{}"), "0006-00000214", id="conditions no list"),
        pytest.param(policy_with("123"), "0006-00000214", id="conditions a number"),
        pytest.param(policy_with("null"), "0006-00000214", id="conditions null"),
        pytest.param(policy_with("[]"), "0006-00000215", id="conditions empty"),
        pytest.param(policy_until("4102444800"), "0006-00000210", id="number"),
        pytest.param(policy_until("null"), "0006-00000210", id="null as time"),
        pytest.param(policy_until('""'), "0006-00000211", id="empty time"),
    ],
)
@each_version
def test_a_policy_that_is_none_is_refused(
    cloud: Cloud, key: KeyPair, sign: Sign, policy: str, ec: str
) -> None:
    reply = post(cloud, signed(cloud, key, sign=sign, policy=policy))

    assert reply.outcome == INVALID_POLICY
    assert reply.text("EC") == ec
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize(
    "expiration",
    [
        "soon",
        "2999-01-01",
        "2999-01-01T00:00:00",
        "2999-01-01 00:00:00.000Z",
        "2999-01-01T00:00:00.000z",
        "2999-01-01t00:00:00.000Z",
        "2999-01-01T00:00:00.000+00:00",
        "2999-01-01T00:00:00.000-01:00",
        "2999-01-01T00:00:00.0Z",
        "2999-01-01T00:00:00.000000Z",
        "2999-01-01T00:00:00,000Z",
        "2999-01-01T00:00Z",
        "2999-01-01T00Z",
        "29990101T000000Z",
        "2999-W01-1T00:00:00Z",
        "2999-001T00:00:00Z",
        "2999-02-30T00:00:00Z",
        "2999-13-01T00:00:00Z",
        "2999-01-01T24:00:00Z",
        "2999-01-01T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "12999-01-01T00:00:00Z",
        " 2999-01-01T00:00:00Z",
        "2999-01-01T00:00:00Z\n",
        "\uff12999-01-01T00:00:00Z",
        "Fri, 01 Jan 2999 00:00:00 GMT",
    ],
)
def test_an_expiration_has_the_form_of_the_documentation(
    cloud: Cloud, key: KeyPair, expiration: str
) -> None:
    policy = policy_until(json.dumps(expiration))

    reply = post(cloud, signed(cloud, key, sign=v1_fields, policy=policy))

    assert reply.outcome == INVALID_POLICY
    assert reply.text("EC") == "0006-00000212"
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize("milliseconds", [None, 0, 1, 999])
def test_an_expiration_may_have_milliseconds(
    cloud: Cloud, key: KeyPair, milliseconds: int | None
) -> None:
    end = datetime.fromtimestamp(cloud.clock.now + 60, timezone.utc)
    fraction = "" if milliseconds is None else f".{milliseconds:03}"
    policy = policy_until(f'"{end:%Y-%m-%dT%H:%M:%S}{fraction}Z"')
    fields = signed(cloud, key, sign=v1_fields, policy=policy)
    outcomes = []
    for seconds in (59, 60, 61):
        cloud.clock.now = end.timestamp() - 60 + seconds
        outcomes.append(post(cloud, fields).outcome)

    assert outcomes == [STORED, STORED if milliseconds else DENIED, DENIED]


@pytest.mark.parametrize(
    ("condition", "ec"),
    [
        (None, "0006-00000222"),
        (1, "0006-00000222"),
        (True, "0006-00000222"),
        ("eq", "0006-00000222"),
        ([], "0006-00000216"),
        (["$key"], "0006-00000216"),
        (["eq"], "0006-00000216"),
        (["ends-with", "$key", "new"], "0006-00000217"),
        (["", "$key", "new"], "0006-00000217"),
        ([1, "$key", "new"], "0006-00000217"),
        (["$key", "dir/new"], "0006-00000217"),
        ([["eq", "$key", "dir/new"], 1], "0006-00000217"),
        (["eq", "$key"], "0006-00000218"),
        (["eq", "$key", "dir/new", "dir/new"], "0006-00000218"),
        (["content-length-range", 0], "0006-00000218"),
        (["content-length-range", 0, 10, 20], "0006-00000218"),
        (["content-length-range", 7, 3], "0006-00000219"),
        (["content-length-range", "0", "10"], "0006-00000221"),
        (["content-length-range", 10, "test"], "0006-00000221"),
        (["content-length-range", [1], "test"], "0006-00000221"),
        (["content-length-range", 0, 1.5], "0006-00000221"),
        (["content-length-range", 0, 1e3], "0006-00000221"),
        (["content-length-range", 0, None], "0006-00000221"),
        (["content-length-range", False, True], "0006-00000221"),
        (["content-length-range", -1, 10], "0006-00000221"),
        (["content-length-range", -10, -1], "0006-00000221"),
        (["content-length-range", 0, 2**63], "0006-00000221"),
        (["eq", "$key", 1], "0006-00000224"),
        (["eq", "$key", None], "0006-00000224"),
        (["eq", "$key", ["dir/new"]], "0006-00000224"),
        (["eq", 1, "dir/new"], "0006-00000224"),
        (["eq", ["$key"], "dir/new"], "0006-00000224"),
        (["starts-with", "$key", ["dir/"]], "0006-00000224"),
        (["in", "$key", "dir/new"], "0006-00000224"),
        (["not-in", "cache-control", "no-cache"], "0006-00000224"),
        (["not-in", "$key", [1, ["other"]]], "0006-00000224"),
        ({"key": ["dir/new"]}, "0006-00000224"),
        ({"key": {}}, "0006-00000224"),
        ({"key": 1}, "0006-00000224"),
        ({}, None),
        ({"bucket": BUCKET, "key": "dir/new"}, None),
    ],
    ids=str,
)
def test_a_condition_that_is_none_is_refused(
    cloud: Cloud, key: KeyPair, condition: object, ec: str | None
) -> None:
    reply = post(cloud, signed(cloud, key, conditions=[condition]))

    assert reply.outcome == INVALID_POLICY
    assert reply.xml.findtext("EC") == reply.headers.get("x-oss-ec") == ec
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize(
    ("escaped", "name"),
    [
        pytest.param(r"\$", "$", id="dollar"),
        pytest.param(r"\\$", "\\$", id="backslash and dollar"),
        pytest.param(r"\\\$", "\\$", id="backslash and escaped dollar"),
        pytest.param("$", "$", id="bare dollar"),
        pytest.param(r"\/", "/", id="slash"),
        pytest.param(r"\u732b", "猫", id="Unicode"),
        pytest.param("猫", "猫", id="UTF-8"),
    ],
)
def test_a_policy_has_the_escapes_of_the_documentation(
    cloud: Cloud, key: KeyPair, escaped: str, name: str
) -> None:
    policy = policy_with(f'[["eq", "$key", "dir/a{escaped}b"]]')
    fields = {"key": f"dir/a{name}b"}

    reply = post(cloud, signed(cloud, key, fields, sign=v1_fields, policy=policy))

    assert reply.outcome == STORED


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "gb18030"])
def test_a_policy_is_in_utf_8(cloud: Cloud, key: KeyPair, encoding: str) -> None:
    policy = policy_with('[["not-in", "$key", ["猫咪"]]]').encode(encoding)
    encoded = base64.b64encode(policy).decode()
    fields = {"key": "dir/new", **v1_fields(key, encoded, cloud.clock.now)}

    assert post(cloud, fields).outcome == INVALID_POLICY
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize(
    "form", ["{}\n", "={}", " {}", "{}!", "猫{}"], ids=lambda form: repr(form)
)
@each_version
def test_a_policy_must_be_in_base64(
    cloud: Cloud, key: KeyPair, sign: Sign, form: str
) -> None:
    good = signature_fields(cloud, key, sign)
    text = base64.b64decode(good["policy"]).decode()
    text += " " * (-len(text) % 3)  # so that no padding is needed
    policy = base64.b64encode(text.encode()).decode()
    good = sign(key, policy, cloud.clock.now)
    bad = sign(key, form.format(policy), cloud.clock.now)

    assert post(cloud, {"key": "dir/new", **bad}).outcome == INVALID_POLICY
    assert cloud.contents() == BEFORE
    assert post(cloud, {"key": "dir/new", **good}).outcome == STORED


def test_the_message_about_a_condition_may_hold_anything(
    cloud: Cloud, key: KeyPair
) -> None:
    condition = eq("key", "<&>\ud800\0猫")

    reply = post(cloud, signed(cloud, key, conditions=[condition]))

    assert reply.outcome == DENIED
    assert "<&>" in reply.text("Message")
