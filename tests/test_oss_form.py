"""PostObject: uploads by the forms of web pages, over HTTP."""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oss_cloud import (
    CAT,
    OTHER_BUCKET,
    REGION,
    V4_HEADER,
    Cloud,
    Message,
    allow,
    deny,
    fresh,
    iso_time,
    read_reply,
    running_cloud,
    send,
    v1_signature,
    v4_signature,
)
from oss_support import BUCKET, KeyPair, OssReply
from urllib3.filepost import encode_multipart_formdata

from localcloud.oss import OssStandIn
from localcloud.oss import stand_in as oss_module
from localcloud.oss.body import Body
from localcloud.oss.form import Form, read_form
from localcloud.sts import ALLOW_ALL
from tokenserver.sts.client import StsClient

MEGABYTE = 1024 * 1024
STORED = (204, "")
DENIED = (403, "AccessDenied")
MISMATCH = (403, "SignatureDoesNotMatch")
INVALID = (400, "InvalidArgument")
MALFORMED = (400, "MalformedPOSTRequest")
INVALID_POLICY = (400, "InvalidPolicyDocument")
BEFORE = {f"{BUCKET}/{CAT}": b"meow"}

Fields = Mapping[str, str]

V4_FIELDS = ("x-oss-signature-version", "x-oss-credential", "x-oss-date")
ANY_SIZE = ["content-length-range", 0, 5 * 2**30]


@pytest.fixture(scope="module")
def stand_ins(sts_client: StsClient) -> Iterator[Cloud]:
    with running_cloud(sts_client) as cloud:
        yield cloud


@pytest.fixture
def cloud(stand_ins: Cloud) -> Iterator[Cloud]:
    with fresh(stand_ins) as cloud:
        yield cloud
        for bucket in cloud.buckets.values():  # nothing is left of what failed
            files = list((bucket.folder.path / "data").iterdir())
            assert len(files) == len(bucket.objects())


@pytest.fixture
def key(cloud: Cloud) -> KeyPair:
    """The key of a RAM user who may do all."""
    return cloud.user(ALLOW_ALL)


# --- Forms ----------------------------------------------------------------------------


def policy_text(expiration: float, conditions: Sequence[object] = ()) -> str:
    moment = datetime.fromtimestamp(expiration, timezone.utc)
    return json.dumps(
        {
            "expiration": moment.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "conditions": [*conditions],
        }
    )


def v1_fields(key: KeyPair, policy: str, now: float) -> dict[str, str]:
    """Return the fields of a form whose *policy*, in base64, is signed."""
    return {
        "OSSAccessKeyId": key.access_key_id,
        "policy": policy,
        "Signature": v1_signature(key, policy),
        **token_field(key),
    }


def v4_fields(
    key: KeyPair, policy: str, now: float, region: str = REGION, product: str = "oss"
) -> dict[str, str]:
    scope = f"{iso_time(now)[:8]}/{region}/{product}/aliyun_v4_request"
    return {
        "x-oss-signature-version": "OSS4-HMAC-SHA256",
        "x-oss-credential": f"{key.access_key_id}/{scope}",
        "x-oss-date": iso_time(now),
        "policy": policy,
        "x-oss-signature": v4_signature(key, scope, policy),
        **token_field(key),
    }


def token_field(key: KeyPair) -> dict[str, str]:
    return {"x-oss-security-token": key.security_token} if key.security_token else {}


Sign = Callable[[KeyPair, str, float], dict[str, str]]
each_version = pytest.mark.parametrize(
    "sign",
    [pytest.param(v1_fields, id="V1"), pytest.param(v4_fields, id="V4")],
)


def signed(
    cloud: Cloud,
    key: KeyPair,
    fields: Fields | None = None,
    *,
    sign: Sign = v4_fields,
    conditions: Sequence[object] = (),
    policy: str = "",
) -> dict[str, str]:
    """Return the fields of a form; its policy is for a minute."""
    return {
        "key": "dir/new",
        **(fields or {}),
        **signature_fields(cloud, key, sign, conditions, policy),
    }


def signature_fields(
    cloud: Cloud,
    key: KeyPair,
    sign: Sign = v4_fields,
    conditions: Sequence[object] = (),
    policy: str = "",
    seconds: float = 60,
) -> dict[str, str]:
    """Return the fields that sign *policy*, or one that has what V4 needs."""
    now = cloud.clock.now
    if not policy:
        unsigned = sign(key, "", now)
        needed = [{name: unsigned[name]} for name in V4_FIELDS if name in unsigned]
        policy = policy_text(now + seconds, [ANY_SIZE, *needed, *conditions])
    return sign(key, base64.b64encode(policy.encode()).decode(), now)


File = tuple[str, str, bytes]  # file name, Content-Type and bytes
FILE: File = ("purr.txt", "text/plain", b"purr")
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"


def part(name: str, value: bytes, filename: str | None = None, kind: str = "") -> bytes:
    """Return a part of a form as browsers write it."""

    def quoted(text: str) -> str:
        for character in '\n\r"':
            text = text.replace(character, f"%{ord(character):02X}")
        return f'"{text}"'

    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name={quoted(name)}"
    head += "" if filename is None else f"; filename={quoted(filename)}"
    head += f"\r\nContent-Type: {kind}" if kind else ""
    return f"{head}\r\n\r\n".encode() + value + b"\r\n"


def as_browser(fields: Fields, file: File = FILE) -> tuple[bytes, str]:
    """Return body and Content-Type as a browser sends them."""
    filename, kind, data = file
    parts = [part(name, value.encode()) for name, value in fields.items()]
    return wrapped(*parts, part("file", data, filename, kind))


def wrapped(*parts: bytes) -> tuple[bytes, str]:
    body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={BOUNDARY}"


def as_requests(fields: Fields, file: File = FILE) -> tuple[bytes, str]:
    """Return body and Content-Type as requests, by urllib3, sends them."""
    filename, kind, data = file
    return encode_multipart_formdata(
        [*fields.items(), ("file", (filename, data, kind))]
    )


each_encoding = pytest.mark.parametrize(
    "encode",
    [
        pytest.param(as_browser, id="browser"),
        pytest.param(as_requests, id="requests"),
    ],
)
Encode = Callable[[Fields, File], tuple[bytes, str]]


def message_of(
    form: tuple[bytes, str], path: str = f"/{BUCKET}/", headers: Fields | None = None
) -> Message:
    body, content_type = form
    headers = {"content-type": content_type, **(headers or {})}
    return Message("POST", path, headers=headers, body=body)


def post(cloud: Cloud, fields: Fields, file: File = FILE) -> OssReply:
    """Send a form as a browser does."""
    return send(cloud.oss, message_of(as_browser(fields, file)))


def get(cloud: Cloud, key: KeyPair, name: str) -> OssReply:
    message = Message(path=f"/{BUCKET}/{name}")
    return send(cloud.oss, V4_HEADER.sign(message, key, cloud.clock.now))


# --- What is stored -------------------------------------------------------------------


@each_version
@each_encoding
@pytest.mark.parametrize("kind", ["user", "session"])
def test_a_signed_form_makes_its_file_an_object(
    cloud: Cloud, sign: Sign, encode: Encode, kind: str
) -> None:
    key = cloud.user(ALLOW_ALL) if kind == "user" else cloud.session()
    fields = signed(cloud, key, {"key": "dir/猫 ${filename}"}, sign=sign)

    reply = send(
        cloud.oss, message_of(encode(fields, ("咪.txt", "text/plain", b"purr")))
    )

    name = "dir/猫 咪.txt"
    assert (reply.outcome, reply.body) == (STORED, b"")
    assert cloud.contents() == BEFORE | {f"{BUCKET}/{name}": b"purr"}
    stored = get(cloud, key, name)
    assert stored.headers["content-type"] == "text/plain"
    assert stored.headers["etag"] == reply.headers["etag"]
    assert [a.access_key_id for a in cloud.oss.requests] == [key.access_key_id] * 2


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        pytest.param("猫 咪.jpg", "dir/猫 咪.jpg", id="Chinese"),
        pytest.param("a+b%20c&d.jpg", "dir/a+b%20c&d.jpg", id="not encoded"),
        pytest.param('a"b.jpg', 'dir/a"b.jpg', id="quote"),
        pytest.param("a;b.jpg", "dir/a;b.jpg", id="semicolon"),
        pytest.param(r"C:\photos\a.jpg", "dir/a.jpg", id="path on Windows"),
        pytest.param("photos/a.jpg", "dir/a.jpg", id="path"),
        pytest.param("../../a.jpg", "dir/a.jpg", id="path upwards"),
        pytest.param("..", "dir/..", id="dots"),
        pytest.param("${filename}", "dir/${filename}", id="itself"),
        pytest.param("", "dir/", id="empty"),
    ],
)
@each_encoding
def test_the_key_may_have_the_name_of_the_file_in_it(
    cloud: Cloud, key: KeyPair, encode: Encode, filename: str, name: str
) -> None:
    fields = signed(cloud, key, {"key": "dir/${filename}"})

    reply = send(cloud.oss, message_of(encode(fields, (filename, "", b"purr"))))

    assert reply.outcome == STORED
    assert cloud.contents() == BEFORE | {f"{BUCKET}/{name}": b"purr"}


def test_the_name_of_the_file_may_stand_there_twice_and_in_the_key_only(
    cloud: Cloud, key: KeyPair
) -> None:
    fields = {
        "key": "${filename}/${filename}${FILENAME}",
        "x-oss-meta-a": "${filename}",
    }

    reply = post(cloud, signed(cloud, key, fields))

    name = "purr.txt/purr.txt${FILENAME}"
    assert reply.outcome == STORED
    assert get(cloud, key, name).headers["x-oss-meta-a"] == "${filename}"


@pytest.mark.parametrize(
    ("fields", "kind", "stored"),
    [
        pytest.param({}, "image/png", "image/png", id="of the file"),
        pytest.param(
            {"x-oss-content-type": "image/gif"}, "image/png", "image/gif", id="field"
        ),
        pytest.param({}, "", "application/octet-stream", id="none"),
    ],
)
def test_the_content_type_is_that_of_the_file_or_of_a_field(
    cloud: Cloud, key: KeyPair, fields: Fields, kind: str, stored: str
) -> None:
    assert post(cloud, signed(cloud, key, fields), ("a", kind, b"")).outcome == STORED

    assert get(cloud, key, "dir/new").headers["content-type"] == stored


def test_a_form_may_say_what_headers_the_object_has(cloud: Cloud, key: KeyPair) -> None:
    fields = {
        "Cache-Control": "no-cache",
        "Content-Disposition": "attachment",
        "X-OSS-Meta-Who": "Alice",
        "x-other": "not kept",
    }

    assert post(cloud, signed(cloud, key, fields)).outcome == STORED

    headers = get(cloud, key, "dir/new").headers
    assert headers["cache-control"] == "no-cache"
    assert headers["content-disposition"] == "attachment"
    assert headers["x-oss-meta-who"] == "Alice"
    assert "x-other" not in headers


@pytest.mark.parametrize(
    "name",
    ["x-oss-meta-a\r\nEvil: 1", "x-oss-meta-a: b", "x-oss-meta-猫", "x-oss-meta-"],
)
def test_a_field_cannot_bring_in_other_headers(
    cloud: Cloud, key: KeyPair, name: str
) -> None:
    assert post(cloud, signed(cloud, key, {name: "1"})).outcome == INVALID


def test_the_value_of_a_field_cannot_bring_in_other_headers(
    cloud: Cloud, key: KeyPair
) -> None:
    evil = "1\r\nEvil: 1\r\n\r\n"
    fields = {"x-oss-meta-a": evil, "success_action_redirect": f"http://page/{evil}"}

    reply = post(cloud, signed(cloud, key, fields))

    assert reply.status == 303
    assert (
        "evil" not in reply.headers.keys() | get(cloud, key, "dir/new").headers.keys()
    )


@pytest.mark.parametrize(
    ("status", "replied"), [("200", 200), ("201", 201), ("204", 204), ("404", 204)]
)
def test_a_form_may_choose_how_success_is_told(
    cloud: Cloud, key: KeyPair, status: str, replied: int
) -> None:
    fields = {"key": "dir/猫", "success_action_status": status}

    reply = post(cloud, signed(cloud, key, fields))

    location = f"{cloud.oss.url}/{BUCKET}/dir/%E7%8C%AB"
    assert (reply.status, reply.headers["location"]) == (replied, location)
    if replied == 201:
        assert reply.xml.tag == "PostResponse"
        assert reply.text("Bucket") == BUCKET
        assert reply.text("Key") == "dir/猫"
        assert reply.text("Location") == location
        assert reply.text("ETag") == reply.headers["etag"]
    else:
        assert reply.body == b""


@pytest.mark.parametrize("mark", ["", "?a=b"])
def test_a_form_may_lead_to_another_page(cloud: Cloud, key: KeyPair, mark: str) -> None:
    fields = {
        "key": "dir/猫",
        "success_action_redirect": f"http://page.example/done{mark}",
        "success_action_status": "200",
    }

    reply = post(cloud, signed(cloud, key, fields))

    start = f"http://page.example/done{mark}{'&' if mark else '?'}"
    etag = reply.headers["etag"].replace('"', "%22")
    assert reply.status == 303
    assert reply.headers["location"] == (
        f"{start}bucket={BUCKET}&key=dir%2F%E7%8C%AB&etag={etag}"
    )


def test_a_form_may_forbid_to_overwrite(cloud: Cloud, key: KeyPair) -> None:
    fields = {"key": CAT, "x-oss-forbid-overwrite": "true"}

    assert post(cloud, signed(cloud, key, fields)).outcome == (409, "FileAlreadyExists")
    assert cloud.contents() == BEFORE

    fields["x-oss-forbid-overwrite"] = "false"
    assert post(cloud, signed(cloud, key, fields)).outcome == STORED
    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"purr"}


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("127.0.0.1", f"/{BUCKET}/"),
        ("127.0.0.1", f"/{BUCKET}"),
        ("localhost:80", f"/{BUCKET}"),
        (f"{BUCKET}.localhost", "/"),
        (f"{BUCKET}.oss-cn-hangzhou.aliyuncs.com", "/"),
    ],
)
def test_a_form_is_sent_to_the_bucket(
    cloud: Cloud, key: KeyPair, host: str, path: str
) -> None:
    message = message_of(as_browser(signed(cloud, key)), path, {"host": host})

    assert send(cloud.oss, message).outcome == STORED
    assert cloud.contents().keys() == BEFORE.keys() | {f"{BUCKET}/dir/new"}


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/no-such-bucket/", (404, "NoSuchBucket")),
        ("/No-Such-Bucket/", (400, "InvalidBucketName")),
        (f"/{BUCKET}/dir/new", DENIED),
        ("/", DENIED),
    ],
)
def test_a_form_is_sent_nowhere_else(
    cloud: Cloud, key: KeyPair, path: str, outcome: tuple[int, str]
) -> None:
    message = message_of(as_browser(signed(cloud, key)), path)

    assert send(cloud.oss, message).outcome == outcome
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("", INVALID),
        ("/a", (400, "InvalidObjectName")),
        ("\\a", (400, "InvalidObjectName")),
        ("a" * 1024, (400, "InvalidObjectName")),
        ("a" * 1023, STORED),
        ("猫" * 341, STORED),
        ("猫" * 342, (400, "InvalidObjectName")),
        ("a\r\nb\0", STORED),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_form_needs_a_key(
    cloud: Cloud, key: KeyPair, name: str, outcome: tuple[int, str]
) -> None:
    assert post(cloud, signed(cloud, key, {"key": name})).outcome == outcome


def test_50_megabytes_go_through_a_form(cloud: Cloud, key: KeyPair) -> None:
    data = bytes(range(256)) * (200 * 1024)

    reply = post(cloud, signed(cloud, key), ("big.bin", "", data))

    assert reply.outcome == STORED
    assert cloud.buckets[BUCKET].read("dir/new") == data


def test_a_page_of_another_origin_may_read_the_reply(
    cloud: Cloud, key: KeyPair
) -> None:
    headers = {"origin": "http://page.example"}
    for fields in (signed(cloud, key), {"key": "a"}):
        message = message_of(as_browser(fields), headers=headers)

        assert send(cloud.oss, message).headers["access-control-allow-origin"] == "*"


# --- Its policy -----------------------------------------------------------------------


def eq(name: str, value: object) -> list[object]:
    return ["eq", f"${name}", value]


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
    with socket.create_connection(("127.0.0.1", cloud.oss.port), timeout=60) as client:
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


# --- Its signature --------------------------------------------------------------------


@each_version
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda k, f: {**f, "policy": f["policy"][:-4] + "fQ=="}, id="policy"
        ),
        pytest.param(lambda k, f: {**f, **edited(f, lambda s: s[:-1])}, id="shorter"),
        pytest.param(lambda k, f: {**f, **edited(f, str.swapcase)}, id="other case"),
        pytest.param(lambda k, f: {**f, **edited(f, lambda s: f" {s}")}, id="blank"),
    ],
)
def test_a_form_that_was_changed_after_it_was_signed_is_refused(
    cloud: Cloud,
    key: KeyPair,
    sign: Sign,
    change: Callable[[KeyPair, dict[str, str]], dict[str, str]],
) -> None:
    fields = signed(cloud, key, sign=sign)

    reply = post(cloud, change(key, fields))

    assert reply.outcome == MISMATCH
    assert reply.text("StringToSign") == change(key, fields)["policy"]
    assert cloud.contents() == BEFORE


def edited(fields: Fields, edit: Callable[[str], str]) -> dict[str, str]:
    """Return the signature of a form, changed."""
    name = "Signature" if "Signature" in fields else "x-oss-signature"
    return {name: edit(fields[name])}


@each_version
def test_a_form_that_another_secret_signed_is_refused(
    cloud: Cloud, key: KeyPair, sign: Sign
) -> None:
    wrong = replace(key, access_key_secret="wrong")

    assert post(cloud, signed(cloud, wrong, sign=sign)).outcome == MISMATCH


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        pytest.param({"region": "cn-beijing"}, INVALID, id="region"),
        pytest.param({"product": "oss-cloudbox"}, INVALID, id="product"),
    ],
)
def test_a_v4_form_is_for_this_region_and_product(
    cloud: Cloud, key: KeyPair, changes: dict[str, str], outcome: tuple[int, str]
) -> None:
    def sign(key: KeyPair, policy: str, now: float) -> dict[str, str]:
        return v4_fields(key, policy, now, **changes)

    assert post(cloud, signed(cloud, key, sign=sign)).outcome == outcome


WEEK = 7 * 24 * 3600


@pytest.mark.parametrize(
    ("seconds", "outcome"),
    [
        pytest.param(0, STORED, id="now"),
        pytest.param(-WEEK, STORED, id="7 days ago"),
        pytest.param(-WEEK - 1, INVALID, id="a second more"),
        pytest.param(-3 * 365 * 24 * 3600, INVALID, id="3 years ago"),
        pytest.param(15 * 60, STORED, id="in 15 minutes"),
        pytest.param(15 * 60 + 1, INVALID, id="in a second more"),
        pytest.param(24 * 3600, INVALID, id="tomorrow"),
    ],
)
def test_a_v4_form_is_good_for_7_days_from_its_date(
    cloud: Cloud, key: KeyPair, seconds: float, outcome: tuple[int, str]
) -> None:
    cloud.clock.now += seconds
    fields = {"key": "dir/new"}
    fields |= signature_fields(cloud, key, seconds=2 * WEEK + abs(seconds))
    cloud.clock.now -= seconds

    reply = post(cloud, fields)

    assert reply.outcome == outcome
    assert reply.headers.get("x-oss-ec") == ("0002-00000709" if reply.code else None)
    assert (f"{BUCKET}/dir/new" in cloud.contents()) == (outcome == STORED)


@pytest.mark.parametrize(
    "form",
    [
        "{day}",
        "{day}T",
        "{day} rubbish",
        "{day}T000000",
        "{day}T000000z",
        "{day}T246060Z",
    ],
)
def test_a_v4_form_whose_date_is_none_is_refused(
    cloud: Cloud, key: KeyPair, form: str
) -> None:
    def sign(key: KeyPair, policy: str, now: float) -> dict[str, str]:
        date = form.format(day=iso_time(now)[:8])
        return {**v4_fields(key, policy, now), "x-oss-date": date}

    reply = post(cloud, signed(cloud, key, sign=sign))

    assert reply.outcome == INVALID
    assert reply.text("EC") == "0002-00000709"
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize(
    "changes",
    [
        {"x-oss-signature-version": "OSS4-HMAC-SHA512"},
        {"x-oss-date": "20200101T000000Z"},
        {"x-oss-date": "today"},
        {"x-oss-credential": "/"},
        {"x-oss-credential": "a/b/c/d"},
        {"x-oss-credential": "a/b/c/d/e/f"},
        {"x-oss-credential": "a" * 10_000},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_a_v4_form_says_how_it_is_signed(
    cloud: Cloud, key: KeyPair, changes: dict[str, str]
) -> None:
    assert post(cloud, {**signed(cloud, key), **changes}).outcome == INVALID


@each_version
def test_a_form_without_one_of_its_fields_is_refused(
    cloud: Cloud, key: KeyPair, sign: Sign
) -> None:
    fields = signed(cloud, key, sign=sign)
    for name in fields:
        for value in (None, ""):
            others = {n: v for n, v in fields.items() if n != name}
            reply = post(cloud, others if value is None else {**others, name: value})

            assert reply.outcome == INVALID, name
            if name not in ("key", "x-oss-signature-version"):
                assert f"'{name}'" in reply.text("Message")
                assert reply.text("EC") == "0002-00000706"


def test_a_form_of_nobody_in_particular_is_refused(cloud: Cloud) -> None:
    assert post(cloud, {"key": "dir/new"}).outcome == DENIED
    assert cloud.contents() == BEFORE


@each_version
def test_a_form_needs_the_token_of_its_key(cloud: Cloud, sign: Sign) -> None:
    key, other = cloud.session(), cloud.session()
    wrong = {
        "": "InvalidSecurityToken",
        "CAIS": "InvalidSecurityToken",
        other.security_token: "AccessKeyIdAndSecurityTokenNotMatch",
    }
    for token, code in wrong.items():
        changed = replace(key, security_token=token)

        assert post(cloud, signed(cloud, changed, sign=sign)).outcome == (403, code)

    assert post(cloud, signed(cloud, key, sign=sign)).outcome == STORED
    unknown = replace(key, access_key_id="LTAIunknown", security_token="")
    reply = post(cloud, signed(cloud, unknown, sign=sign))
    assert reply.outcome == (403, "InvalidAccessKeyId")


def test_a_form_ends_with_its_token(cloud: Cloud) -> None:
    fields = {"key": "dir/new"}
    fields |= signature_fields(cloud, cloud.session(), seconds=3600)
    cloud.clock.now += 900

    assert post(cloud, fields).outcome == (403, "SecurityTokenExpired")


# --- What its maker may do ------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "is_allowed"),
    [
        pytest.param(allow("PutObject", on=f"{BUCKET}/dir/*"), True, id="prefix"),
        pytest.param(allow("PutObject", on=f"{BUCKET}/dir/new"), True, id="object"),
        pytest.param(
            allow("PutObject", on=f"{BUCKET}/other/*"), False, id="other prefix"
        ),
        pytest.param(
            allow("PutObject", on=f"{OTHER_BUCKET}/*"), False, id="other bucket"
        ),
        pytest.param(allow("PutObject", on=BUCKET), False, id="bucket alone"),
        pytest.param(allow("PostObject", "GetObject"), False, id="other actions"),
        pytest.param(deny("PutObject", on=f"{BUCKET}/dir/*"), False, id="denied"),
    ],
)
@each_version
def test_a_form_may_do_what_its_maker_may(
    cloud: Cloud, sign: Sign, policy: str, is_allowed: bool
) -> None:
    key = cloud.session(policy)

    reply = post(
        cloud,
        signed(cloud, key, {"key": "dir/${filename}"}, sign=sign),
        ("new", "", b""),
    )

    assert reply.outcome == (STORED if is_allowed else DENIED)
    assert (f"{BUCKET}/dir/new" in cloud.contents()) == is_allowed


@pytest.mark.parametrize("filename", ["a", f"x:{BUCKET}", "*", "?", "..", "dir"])
@pytest.mark.parametrize("name", ["${filename}", "Dir/${filename}", "${filename}dir/"])
def test_no_file_name_makes_a_key_that_its_maker_may_not_use(
    cloud: Cloud, name: str, filename: str
) -> None:
    key = cloud.session(allow("PutObject", on=f"{BUCKET}/dir/*"))

    reply = post(cloud, signed(cloud, key, {"key": name}), (filename, "", b""))

    assert reply.outcome == DENIED
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize(
    ("field", "value", "action", "otherwise"),
    [
        ("x-oss-object-acl", "private", "PutObjectAcl", STORED),
        ("x-oss-object-acl", "public-read", "PutObjectAcl", (501, "NotImplemented")),
        ("x-oss-tagging", "a=b", "PutObjectTagging", (501, "NotImplemented")),
    ],
)
def test_a_field_may_need_an_action_of_its_own(
    cloud: Cloud, field: str, value: str, action: str, otherwise: tuple[int, str]
) -> None:
    plain = cloud.session(allow("PutObject"))
    full = cloud.session(allow("PutObject", action))

    assert post(cloud, signed(cloud, plain, {field: value})).outcome == DENIED
    assert cloud.contents() == BEFORE
    assert post(cloud, signed(cloud, full, {field: value})).outcome == otherwise


@pytest.mark.parametrize(
    ("fields", "scheme"),
    [
        pytest.param(
            {
                "x-amz-algorithm": "AWS4-HMAC-SHA256",
                "x-amz-credential": "LTAI/20260102/us-east-1/s3/aws4_request",
                "x-amz-date": "20260102T030405Z",
                "policy": "e30=",
                "x-amz-signature": "0" * 64,
            },
            "signature version 4 of Amazon S3",
            id="S3 V4",
        ),
        pytest.param(
            {"AWSAccessKeyId": "LTAI", "policy": "e30=", "signature": "c2ln"},
            "signature version 2 of Amazon S3",
            id="S3 V2",
        ),
        pytest.param(
            {
                "x-oss-signature-version": "OSS2",
                "x-oss-access-key-id": "LTAI",
                "policy": "e30=",
                "x-oss-signature": "c2ln",
            },
            "signature version 2 (OSS2)",
            id="OSS2",
        ),
    ],
)
def test_a_form_of_a_scheme_that_is_not_imitated_says_so(
    cloud: Cloud, fields: Fields, scheme: str
) -> None:
    reply = post(cloud, {"key": "dir/new", **fields})

    assert reply.outcome == (501, "NotImplemented")
    assert scheme in reply.text("Message")
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("callback", "e30="),
        ("x-oss-server-side-encryption", "AES256"),
        ("X-OSS-Server-Side-Encryption-Key-Id", "1"),
    ],
)
def test_a_field_that_is_not_imitated_says_so(
    cloud: Cloud, key: KeyPair, field: str, value: str
) -> None:
    elsewhere = cloud.session(allow("PutObject", on=f"{BUCKET}/other/*"))
    outcomes = [
        post(cloud, signed(cloud, maker, {field: value})).outcome
        for maker in (key, elsewhere)
    ]

    assert outcomes == [(501, "NotImplemented"), DENIED]
    assert cloud.contents() == BEFORE


def test_a_form_with_a_subresource_is_not_taken_for_one_without(
    cloud: Cloud, key: KeyPair
) -> None:
    reply = send(
        cloud.oss,
        replace(message_of(as_browser(signed(cloud, key))), query={"acl": ""}),
    )

    assert reply.status == 403
    assert cloud.contents() == BEFORE


def test_a_policy_may_name_the_acl_that_a_form_asks_for(cloud: Cloud) -> None:
    only = {"oss:x-oss-object-acl": "private"}
    statements = [
        *json.loads(allow("PutObject"))["Statement"],
        *json.loads(allow("PutObjectAcl", StringEquals=only))["Statement"],
    ]
    key = cloud.session(json.dumps({"Version": "1", "Statement": statements}))
    outcomes = [
        post(cloud, signed(cloud, key, {"x-oss-object-acl": acl})).outcome
        for acl in ("private", "default")
    ]

    assert outcomes == [STORED, DENIED]


# --- What is no form ------------------------------------------------------------------


def parts_of(fields: Fields) -> list[bytes]:
    return [part(name, value.encode()) for name, value in fields.items()]


def test_fields_after_the_file_mean_nothing(cloud: Cloud, key: KeyPair) -> None:
    fields = signed(cloud, key, conditions=[eq("key", "dir/new")])
    late = {"key": "other", "x-oss-meta-a": "late", "success_action_status": "200"}
    form = wrapped(*parts_of(fields), part("file", b"purr", "a"), *parts_of(late))

    assert send(cloud.oss, message_of(form)).outcome == STORED
    assert cloud.contents() == BEFORE | {f"{BUCKET}/dir/new": b"purr"}
    assert "x-oss-meta-a" not in get(cloud, key, "dir/new").headers


def test_a_file_before_the_signature_is_refused(cloud: Cloud, key: KeyPair) -> None:
    fields = parts_of(signed(cloud, key))
    for place in range(len(fields)):
        parts = [*fields[:place], part("file", b"purr", "a"), *fields[place:]]

        reply = send(cloud.oss, message_of(wrapped(*parts)))

        assert reply.status in (400, 403)
    assert cloud.contents() == BEFORE


def form_variants(
    fields: Fields,
) -> dict[str, tuple[tuple[bytes, str], tuple[int, str]]]:
    """Return forms that are wrong, and what becomes of them."""
    parts, file = parts_of(fields), part("file", b"purr", "a", "text/plain")
    body, content_type = wrapped(*parts, file)
    end = f"--{BOUNDARY}--".encode()
    wrong_count = (400, "IncorrectNumberOfFilesInPOSTRequest")
    no_form = (400, "RequestIsNotMultiPartContent")
    too_long = (400, "FieldItemTooLong")
    return {
        "two files": (wrapped(*parts, file, file), wrong_count),
        "two files, case": (wrapped(*parts, file, part("FILE", b"")), wrong_count),
        "two files, a field between": (
            wrapped(*parts, file, part("a", b""), file),
            wrong_count,
        ),
        "no file": (wrapped(*parts), wrong_count),
        "no parts": (wrapped(), wrong_count),
        "a field twice": (wrapped(*parts, parts[0], file), MALFORMED),
        "a field twice, case": (wrapped(*parts, part("KEY", b"a"), file), MALFORMED),
        "a field that is not UTF-8": (
            wrapped(*parts, part("a", b"\xc3\x28"), file),
            MALFORMED,
        ),
        "a name that is not UTF-8": (
            (body.replace(b'name="key"', b'name="\xff"'), content_type),
            MALFORMED,
        ),
        "a file name that is not UTF-8": (
            (body.replace(b'filename="a"', b'filename="\xb0\xa1"'), content_type),
            MALFORMED,
        ),
        "101 fields": (
            wrapped(*parts, *(part(f"a{n}", b"") for n in range(101)), file),
            MALFORMED,
        ),
        "a long field": (
            wrapped(*parts, part("a", bytes(2 * MEGABYTE)), file),
            too_long,
        ),
        "long fields": (
            wrapped(
                *parts, *(part(f"a{n}", bytes(MEGABYTE // 4)) for n in range(9)), file
            ),
            too_long,
        ),
        "a long name": (wrapped(*parts, part("a" * 5000, b""), file), MALFORMED),
        "no name": (
            wrapped(b"--%b\r\n\r\nabc\r\n" % BOUNDARY.encode(), *parts, file),
            MALFORMED,
        ),
        "no end": ((body.replace(end, b""), content_type), MALFORMED),
        "half an end": ((body.replace(end, end[:-2]), content_type), MALFORMED),
        "LF alone": ((body.replace(b"\r\n", b"\n"), content_type), MALFORMED),
        "other boundary": ((body, content_type + "x"), MALFORMED),
        "no boundary": ((body, "multipart/form-data"), MALFORMED),
        "empty boundary": ((body, 'multipart/form-data; boundary=""'), MALFORMED),
        "long boundary": ((body, content_type + "x" * 20_000), MALFORMED),
        "boundary in UTF-8": ((body, "multipart/form-data; boundary=猫"), MALFORMED),
        "empty body": ((b"", content_type), MALFORMED),
        "nonsense": ((bytes(range(256)) * 100, content_type), MALFORMED),
        "no Content-Type": ((body, ""), no_form),
        "mixed": ((body, content_type.replace("form-data", "mixed")), no_form),
        "URL-encoded": (
            (b"key=a&file=b", "application/x-www-form-urlencoded"),
            no_form,
        ),
    }


VARIANTS = list(form_variants({"a": "b"}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_form_that_is_none_is_refused(
    cloud: Cloud, key: KeyPair, variant: str
) -> None:
    form, outcome = form_variants(signed(cloud, key))[variant]

    reply = send(cloud.oss, message_of(form))

    assert reply.outcome == outcome
    assert cloud.contents() == BEFORE


def test_what_stands_around_the_parts_of_a_form_means_nothing(
    cloud: Cloud, key: KeyPair
) -> None:
    body, content_type = as_browser(signed(cloud, key))
    message = message_of((b"preamble\r\n" + body + b"epilogue" * 100_000, content_type))

    assert send(cloud.oss, message).outcome == STORED
    assert cloud.buckets[BUCKET].read("dir/new") == b"purr"


def test_a_form_needs_a_length(cloud: Cloud, key: KeyPair) -> None:
    message = message_of(as_browser(signed(cloud, key)))
    data = message.encoded(cloud.oss.port)
    length = f"content-length: {len(message.body)}\r\n".encode()
    with socket.create_connection(("127.0.0.1", cloud.oss.port), timeout=20) as client:
        client.sendall(data.replace(length, b"").removesuffix(message.body))
        reply = read_reply(client, "POST")

    assert reply.outcome == (411, "MissingContentLength")
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize("coding", ["length", "chunks"])
def test_a_form_that_is_cut_off_leaves_no_object(
    cloud: Cloud, key: KeyPair, coding: str
) -> None:
    file = ("a", "", b"x" * MEGABYTE)
    body, content_type = as_browser(signed(cloud, key), file)
    message = message_of((b"", content_type))
    file_starts = body.index(b"x" * 100)
    for end in (0, 1, 100, file_starts - 1, file_starts, len(body) // 2, len(body) - 3):
        if coding == "length":
            head = message.with_headers(content_length=str(len(body)))
            data = body[:end]
        else:
            head = message.with_headers(transfer_encoding="chunked")
            data = b"%x\r\n%b" % (len(body), body[:end])
        with socket.create_connection(("127.0.0.1", cloud.oss.port)) as client:
            client.sendall(head.encoded(cloud.oss.port) + data)
            client.shutdown(socket.SHUT_WR)
            reply = read_reply(client, "POST")

        assert reply.outcome == (400, "IncompleteBody")
        assert cloud.contents() == BEFORE


def test_a_connection_goes_on_after_a_form_that_was_refused(
    cloud: Cloud, key: KeyPair
) -> None:
    good = signed(cloud, key)
    bad = {**good, **edited(good, str.swapcase)}
    large = ("a", "", bytes(MEGABYTE))
    with socket.create_connection(("127.0.0.1", cloud.oss.port), timeout=60) as client:
        for fields, outcome in ((bad, MISMATCH), (good, STORED)):
            message = message_of(as_browser(fields, large))
            message = message.with_headers(connection="keep-alive")
            client.sendall(message.encoded(cloud.oss.port))

            assert read_reply(client, "POST").outcome == outcome


# --- However the bytes arrive ---------------------------------------------------------

FILE_DATA = (
    b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n--\r\n\r\n" + BOUNDARY.encode() + b"--\r"
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cuts=st.lists(st.integers(0, 5000), max_size=30),
    coding=st.sampled_from(["segments", "chunks"]),
)
def test_a_form_is_the_same_in_whatever_pieces_it_arrives(
    cloud: Cloud, key: KeyPair, cuts: list[int], coding: str
) -> None:
    fields = {"key": "dir/猫 ${filename}", "x-oss-meta-a": "猫"}
    file = ("咪", "text/x-cat", FILE_DATA)
    body, content_type = as_browser(signed(cloud, key, fields), file)
    ends = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    pieces = [body[start:end] for start, end in pairwise(ends)]
    message = message_of((b"", content_type))
    if coding == "chunks":
        head = message.with_headers(transfer_encoding="chunked")
        pieces = [b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        pieces.append(b"0\r\n\r\n")
    else:
        head = message.with_headers(content_length=str(len(body)))
    with socket.create_connection(("127.0.0.1", cloud.oss.port), timeout=60) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        for piece in [head.encoded(cloud.oss.port), *pieces]:
            client.sendall(piece)
        reply = read_reply(client, "POST")

    assert reply.outcome == STORED
    stored = get(cloud, key, "dir/猫 咪")
    assert stored.body == FILE_DATA
    assert stored.headers["content-type"] == "text/x-cat"
    assert stored.headers["x-oss-meta-a"].encode("latin-1").decode() == "猫"


class Pieces(Body):
    """A body that comes in pieces, each as it is."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = iter(pieces)

    def chunks(self) -> Iterator[bytes]:
        return self._pieces


@given(st.binary(max_size=200), st.integers(1, 40))
def test_a_form_is_read_alike_in_pieces_of_any_size(data: bytes, size: int) -> None:
    data = data.replace(BOUNDARY.encode(), b"")
    body, content_type = as_browser({"a": "1", "b": "猫"}, ("f", "", data))
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    form = read_form(content_type, Pieces(pieces))

    assert form.fields == {"a": "1", "b": "猫"}
    assert b"".join(form.file) == data


Spoiling = tuple[int, int, bytes]
SPOILERS = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from(
        [
            b"\r\n",
            b"\n",
            b'"',
            b"%0D%0A",
            b"; filename=x",
            b"\r\n\r\n",
            b"--" + BOUNDARY.encode(),
            b"\r\n--" + BOUNDARY.encode() + b"--\r\n",
            part("key", b"other"),
            part("file", b"evil", "e"),
            part("x-oss-meta-b", b"2"),
        ]
    ),
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 3), SPOILERS),
        min_size=1,
        max_size=3,
    )
)
def test_a_spoilt_form_breaks_nothing_and_makes_no_object_but_its_own(
    cloud: Cloud, key: KeyPair, edits: list[Spoiling]
) -> None:
    conditions = [eq("key", "dir/new"), ["content-length-range", 0, 1000]]
    body, content_type = as_browser(signed(cloud, key, conditions=conditions))
    for place, gone, put in edits:
        place %= len(body)
        body = body[:place] + put + body[place + gone :]

    reply = send(cloud.oss, message_of((body, content_type)))

    assert reply.status in (204, 400, 403)
    assert cloud.contents().keys() <= BEFORE.keys() | {f"{BUCKET}/dir/new"}
    assert cloud.contents()[f"{BUCKET}/{CAT}"] == b"meow"
    assert cloud.tracebacks == []


# --- Secrets --------------------------------------------------------------------------


@each_version
def test_neither_log_nor_repr_of_a_form_shows_a_secret(
    cloud: Cloud,
    sign: Sign,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG, "localcloud.oss")
    forms: list[Form] = []

    def spy(*args: Any) -> Form:
        forms.append(read_form(*args))
        return forms[-1]

    monkeypatch.setattr(oss_module, "read_form", spy)
    key = cloud.session()
    fields = signed(cloud, key, sign=sign)
    post(cloud, fields)
    post(cloud, {**fields, "key": "other"})
    post(cloud, {**fields, "policy": "e30="})

    signature = next(iter(edited(fields, str).values()))
    shown = f"{caplog.text} {forms!r} {cloud.oss.requests!r}"
    secrets = [key.access_key_secret, key.security_token, signature]
    assert len(forms) == 3
    assert [secret for secret in secrets if secret in shown] == []
    assert key.access_key_id in caplog.text


def test_a_host_that_stands_for_the_only_bucket_takes_forms(
    cloud: Cloud, key: KeyPair
) -> None:
    with OssStandIn(cloud.sts) as oss:
        bucket = oss.create_bucket(BUCKET)
        form = as_browser(signed(cloud, key))
        message = message_of(form, "/", {"host": "cdn.example"})

        assert send(oss, message).outcome == STORED
        assert bucket.keys() == ["dir/new"]
