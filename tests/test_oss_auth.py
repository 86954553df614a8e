"""Who may do what in the OSS stand-in: signatures, tokens, policies, CORS."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import logging
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oss_cloud import (
    CAT,
    DOG,
    OTHER_BUCKET,
    REGION,
    SCHEMES,
    V1_HEADER,
    V1_URL,
    V4_HEADER,
    V4_URL,
    Cloud,
    Message,
    Scheme,
    allow,
    deny,
    each_scheme,
    fresh,
    http_date,
    in_headers,
    in_urls,
    iso_time,
    read_reply,
    running_cloud,
    send,
    signed_get,
    v1_signature,
    v4_signature,
)
from oss_support import BUCKET, KeyPair, OssReply
from support import PATIENCE_SECONDS

from localcloud.oss import CorsRule, OssStandIn
from localcloud.oss.replies import Reply
from localcloud.oss.request import Request
from localcloud.sts import ALLOW_ALL
from tokenserver.sts.client import StsClient

MINUTES = 60.0
DAY = 24 * 60 * MINUTES
OK = (200, "")
MISMATCH = (403, "SignatureDoesNotMatch")
DENIED = (403, "AccessDenied")
INVALID = (400, "InvalidArgument")

Edit = Callable[[Message], Message]


@pytest.fixture(scope="module")
def stand_ins(sts_client: StsClient) -> Iterator[Cloud]:
    with running_cloud(sts_client) as cloud:
        yield cloud


@pytest.fixture
def cloud(stand_ins: Cloud) -> Iterator[Cloud]:
    with fresh(stand_ins) as cloud:
        yield cloud


@pytest.fixture
def key(cloud: Cloud) -> KeyPair:
    """The key of a RAM user who may do all."""
    return cloud.user(ALLOW_ALL)


def ask(
    cloud: Cloud,
    key: KeyPair,
    method: str = "GET",
    path: str = f"/{BUCKET}/{CAT}",
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> OssReply:
    """Send a request that is rightly signed."""
    message = Message(method, path, query or {}, headers or {}, body)
    return send(cloud.oss, V4_HEADER.sign(message, key, cloud.clock.now))


# --- Signatures -----------------------------------------------------------------------


@each_scheme
@pytest.mark.parametrize("kind", ["user", "session"])
def test_a_signed_request_is_served(cloud: Cloud, scheme: Scheme, kind: str) -> None:
    key = cloud.user(ALLOW_ALL) if kind == "user" else cloud.session()

    reply = send(cloud.oss, signed_get(cloud, key, scheme))

    assert (reply.outcome, reply.body) == (OK, b"meow")
    assert reply.headers["content-type"] == "image/jpeg"
    assert [a.access_key_id for a in cloud.oss.requests] == [key.access_key_id]


def edit_signature(message: Message, edit: Callable[[str], str]) -> Message:
    """Return *message* with its signature changed, wherever it is."""
    for name in ("Signature", "x-oss-signature"):
        if name in message.query:
            return message.with_query({name: edit(message.query[name])})
    authorization = message.headers["authorization"]
    separator = "Signature=" if "Signature=" in authorization else ":"
    start, mark, signature = authorization.rpartition(separator)
    return message.with_headers(authorization=start + mark + edit(signature))


def signature_of(message: Message) -> str:
    signatures: list[str] = []

    def note(signature: str) -> str:
        signatures.append(signature)
        return signature

    edit_signature(message, note)
    return signatures[0]


def edit_authorization(message: Message, old: str, new: str) -> Message:
    assert old in message.headers["authorization"]
    return message.with_headers(
        authorization=message.headers["authorization"].replace(old, new)
    )


EDITS: dict[str, Edit] = {
    "method": lambda m: replace(m, method="DELETE"),
    "key": lambda m: replace(m, path=f"/{BUCKET}/{DOG}"),
    "case of the key": lambda m: replace(m, path=f"/{BUCKET}/{CAT.upper()}"),
    "bucket": lambda m: replace(m, path=f"/{OTHER_BUCKET}/{CAT}"),
    "no key": lambda m: replace(m, path=f"/{BUCKET}/"),
    "value of a parameter": lambda m: m.with_query({"response-content-type": "a/b"}),
    "name of a parameter": lambda m: m.with_query(
        {"response-content-type": None, "response-expires": "image/jpeg"}
    ),
    "more parameters": lambda m: m.with_query({"response-content-language": "zh"}),
    "parameter without value": lambda m: m.with_query({"acl": ""}),
    "no parameters": lambda m: m.with_query({"response-content-type": None}),
    "Content-Type": lambda m: m.with_headers(content_type="text/html"),
    "no Content-Type": lambda m: m.with_headers(content_type=None),
    "Content-MD5": lambda m: m.with_headers(content_md5="1B2M2Y8AsgTpgAmY7PhCfg=="),
    "no Content-MD5": lambda m: m.with_headers(content_md5=None),
    "x-oss- header": lambda m: m.with_headers(x_oss_meta_a="2"),
    "no x-oss- header": lambda m: m.with_headers(x_oss_meta_a=None),
    "one more x-oss- header": lambda m: m.with_headers(x_oss_meta_b="1"),
    "case of the signature": lambda m: edit_signature(m, str.swapcase),
    "shorter signature": lambda m: edit_signature(m, lambda s: s[:-1]),
    "longer signature": lambda m: edit_signature(m, lambda s: s + "0"),
    "one letter of a signature": lambda m: edit_signature(
        m, lambda s: ("0" if s[0] != "0" else "1") + s[1:]
    ),
}


@each_scheme
@pytest.mark.parametrize(
    "edit", [pytest.param(e, id=name) for name, e in EDITS.items()]
)
def test_a_request_that_was_changed_after_it_was_signed_is_refused(
    cloud: Cloud, key: KeyPair, scheme: Scheme, edit: Edit
) -> None:
    before = cloud.contents()
    message = edit(signed_get(cloud, key, scheme))

    reply = send(cloud.oss, message)

    assert reply.outcome == MISMATCH
    assert b"meow" not in reply.body
    assert cloud.contents() == before


SCHEME_EDITS: list[tuple[Scheme, str, Edit, tuple[int, str]]] = [
    (
        V1_HEADER,
        "later date",
        lambda m: m.with_headers(date=m.headers["date"].replace(" GMT", " +0000")),
        MISMATCH,
    ),
    (
        V1_HEADER,
        "x-oss-date too",
        lambda m: m.with_headers(x_oss_date=m.headers["date"]),
        MISMATCH,
    ),
    (
        V1_URL,
        "later Expires",
        lambda m: m.with_query({"Expires": str(int(m.query["Expires"]) + 1)}),
        MISMATCH,
    ),
    (
        V1_URL,
        "Expires written otherwise",
        lambda m: m.with_query({"Expires": "0" + m.query["Expires"]}),
        MISMATCH,
    ),
    (
        V4_HEADER,
        "region",
        lambda m: edit_authorization(m, REGION, "cn-beijing"),
        INVALID,
    ),
    (
        V4_HEADER,
        "product",
        lambda m: edit_authorization(m, "/oss/", "/oss-cloudbox/"),
        INVALID,
    ),
    (
        V4_HEADER,
        "end of the scope",
        lambda m: edit_authorization(m, "aliyun_v4", "aws4"),
        INVALID,
    ),
    (
        V4_HEADER,
        "additional header",
        lambda m: edit_authorization(
            m, ",Signature", ",AdditionalHeaders=host,Signature"
        ),
        MISMATCH,
    ),
    (
        V4_HEADER,
        "payload hash",
        lambda m: m.with_headers(x_oss_content_sha256=hashlib.sha256().hexdigest()),
        INVALID,
    ),
    (
        V4_HEADER,
        "no payload hash",
        lambda m: m.with_headers(x_oss_content_sha256=None),
        INVALID,
    ),
    (V4_URL, "expires", lambda m: m.with_query({"x-oss-expires": "61"}), MISMATCH),
    (
        V4_URL,
        "version",
        lambda m: m.with_query({"x-oss-signature-version": "OSS4"}),
        INVALID,
    ),
    (V4_URL, "unknown parameter", lambda m: m.with_query({"foo": ""}), MISMATCH),
    (
        V4_URL,
        "region",
        lambda m: m.with_query(
            {
                "x-oss-credential": m.query["x-oss-credential"].replace(
                    REGION, "cn-beijing"
                )
            }
        ),
        INVALID,
    ),
    (
        V4_URL,
        "additional headers",
        lambda m: m.with_query({"x-oss-additional-headers": "host"}),
        MISMATCH,
    ),
]


@pytest.mark.parametrize(
    ("scheme", "edit", "outcome"),
    [
        pytest.param(
            scheme, edit, outcome, id=f"{'V4' if scheme.is_v4 else 'V1'} {name}"
        )
        for scheme, name, edit, outcome in SCHEME_EDITS
    ],
)
def test_what_only_one_scheme_signs_cannot_be_changed_either(
    cloud: Cloud,
    key: KeyPair,
    scheme: Scheme,
    edit: Edit,
    outcome: tuple[int, str],
) -> None:
    reply = send(cloud.oss, edit(signed_get(cloud, key, scheme)))

    assert reply.outcome == outcome


@each_scheme
def test_another_users_signature_is_refused(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    other = cloud.user(ALLOW_ALL)
    mixed = KeyPair(other.access_key_id, key.access_key_secret)

    assert send(cloud.oss, signed_get(cloud, mixed, scheme)).outcome == MISMATCH


UNSIGNED_BY_V1 = ["prefix", "delimiter", "marker", "max-keys", "encoding-type"]


@each_scheme
def test_v4_signs_all_parameters_and_v1_only_subresources(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = scheme.sign(Message(path=f"/{BUCKET}/"), key, cloud.clock.now)
    values = {"max-keys": "5", "encoding-type": "url"}
    for name in UNSIGNED_BY_V1:
        more = message.with_query({name: values.get(name, "x")})

        assert send(cloud.oss, more).outcome == (MISMATCH if scheme.is_v4 else OK), name


@each_scheme
def test_headers_that_no_signature_covers_may_change(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = signed_get(cloud, key, scheme).with_headers(
        user_agent="other", accept="*/*", range="bytes=1-2", via="a proxy"
    )

    reply = send(cloud.oss, message)

    assert (reply.status, reply.body) == (206, b"eo")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(first, second, id=f"{first}, {second}")
        for first, second in itertools.combinations(SCHEMES, 2)
        if "URL" in second
    ],
)
def test_a_request_that_is_signed_in_two_ways_is_refused(
    cloud: Cloud, key: KeyPair, first: str, second: str
) -> None:
    message = SCHEMES[first].sign(Message(), key, cloud.clock.now)
    message = SCHEMES[second].sign(message, key, cloud.clock.now)

    assert send(cloud.oss, message).outcome == INVALID


CREDENTIAL = "Credential=LTAI/DAY/cn-hangzhou/oss/aliyun_v4_request"
AUTHORIZATIONS = [
    "OSS",
    "OSS LTAI",
    "OSS LTAI:",
    "OSS :signature",
    "OSS a:b:c",
    "OSS  a:b",
    "OSS a:b c",
    "OSS\ta:b",
    "oss LTAI:signature",
    "Basic TFRBSTpzZWNyZXQ=",
    "Bearer token",
    "AWS5 a:b",
    "OSS1 a:b",
    "OSS4-HMAC-SHA256",
    "OSS4-HMAC-SHA256,",
    "OSS4-HMAC-SHA256 ,,,=,==,",
    "OSS4-HMAC-SHA256 Credential",
    "OSS4-HMAC-SHA256 Credential=",
    "OSS4-HMAC-SHA256 Credential=/,Signature=0",
    "OSS4-HMAC-SHA256 Credential=a/b/c/d,Signature=0",
    "OSS4-HMAC-SHA256 Credential=a/b/c/d/e,Signature=0",
    "OSS4-HMAC-SHA256 Credential=a/b/c/d/e/f,Signature=0",
    f"OSS4-HMAC-SHA256 {CREDENTIAL}",
    f"OSS4-HMAC-SHA256 {CREDENTIAL},Signature=",
    f"OSS4-HMAC-SHA256 {CREDENTIAL},AdditionalHeaders=,Signature=0",
    f"OSS4-HMAC-SHA256 {CREDENTIAL};Signature=0",
    f"OSS4-HMAC-SHA256 {CREDENTIAL},{CREDENTIAL}",
    f"OSS4-HMAC-SHA512 {CREDENTIAL},Signature=0",
    "签名",
    "OSS 钥匙:签名",
    "OSS4-HMAC-SHA256 Credential=钥匙/目/录/一/二",
    "OSS " + "a" * 30000 + ":b",
    "OSS4-HMAC-SHA256 " + "," * 30000,
    "OSS4-HMAC-SHA256 Credential=" + "/" * 30000,
]


@pytest.mark.parametrize("date", ["http", "iso"])
@pytest.mark.parametrize("authorization", AUTHORIZATIONS, ids=lambda a: a[:60])
def test_an_authorization_that_is_none_is_refused_by_its_form(
    cloud: Cloud, authorization: str, date: str
) -> None:
    now = cloud.clock.now
    message = Message(
        headers={
            "authorization": authorization.replace("DAY", iso_time(now)[:8]),
            "date": http_date(now) if date == "http" else iso_time(now),
            "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
        }
    )

    reply = send(cloud.oss, message)

    assert reply.outcome in (INVALID, (403, "InvalidAccessKeyId"))
    assert len(cloud.oss.requests) == 1


S3_CREDENTIAL = "LTAI/20260102/us-east-1/s3/aws4_request"
S3_V4, S3_V2 = "version 4 of Amazon S3", "version 2 of Amazon S3"
OSS2 = "version 2 (OSS2)"


@pytest.mark.parametrize(
    ("headers", "query", "scheme"),
    [
        pytest.param(
            {
                "authorization": f"AWS4-HMAC-SHA256 Credential={S3_CREDENTIAL}, "
                f"SignedHeaders=host;x-amz-date, Signature={'0' * 64}",
                "x-amz-date": "20260102T030405Z",
                "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            },
            {},
            S3_V4,
            id="S3 V4 header",
        ),
        pytest.param(
            {"authorization": f"AWS4-ECDSA-P256-SHA256 Credential={S3_CREDENTIAL}"},
            {},
            S3_V4,
            id="S3 V4A header",
        ),
        pytest.param(
            {},
            {
                "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                "X-Amz-Credential": S3_CREDENTIAL,
                "X-Amz-Date": "20260102T030405Z",
                "X-Amz-Expires": "60",
                "X-Amz-SignedHeaders": "host",
                "X-Amz-Signature": "0" * 64,
            },
            S3_V4,
            id="S3 V4 URL",
        ),
        pytest.param({"authorization": "AWS LTAI:c2ln"}, {}, S3_V2, id="S3 V2 header"),
        pytest.param(
            {},
            {"AWSAccessKeyId": "LTAI", "Expires": "9999999999", "Signature": "c2ln"},
            S3_V2,
            id="S3 V2 URL",
        ),
        pytest.param(
            {"authorization": "OSS2 AccessKeyId:LTAI,Signature:c2ln"},
            {},
            OSS2,
            id="OSS2 header",
        ),
        pytest.param(
            {},
            {
                "x-oss-signature-version": "OSS2",
                "x-oss-access-key-id": "LTAI",
                "x-oss-expires": "9999999999",
                "x-oss-signature": "c2ln",
            },
            OSS2,
            id="OSS2 URL",
        ),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/{BUCKET}/{CAT}"),
        ("PUT", f"/{BUCKET}/{CAT}"),
        ("GET", f"/{BUCKET}/"),
        ("POST", f"/{BUCKET}/{CAT}"),
        ("DELETE", "/no-such-bucket/"),
        ("GET", "/"),
    ],
)
def test_a_scheme_that_is_not_imitated_is_named(
    cloud: Cloud,
    headers: dict[str, str],
    query: dict[str, str],
    scheme: str,
    method: str,
    path: str,
) -> None:
    reply = send(cloud.oss, Message(method, path, query, headers))

    assert reply.outcome == (501, "NotImplemented")
    assert scheme in reply.text("Message")
    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"meow"}


def test_parameters_of_s3_that_sign_nothing_mean_nothing(
    cloud: Cloud, key: KeyPair
) -> None:
    headers = {"x-amz-date": "20260102T030405Z", "x-amz-meta-a": "1"}

    reply = ask(cloud, key, query={"x-amz-request-payer": "me"}, headers=headers)

    assert reply.outcome == OK


AUTHORIZATION_FORMS = [
    "OSS4-HMAC-SHA256 Credential={c},Signature={s}",
    "OSS4-HMAC-SHA256 Credential={c}, Signature={s}",
    "OSS4-HMAC-SHA256 Credential={c} , Signature={s} ",
    "OSS4-HMAC-SHA256 Signature={s},Credential={c}",
    "OSS4-HMAC-SHA256  Signature={s},  Credential={c}",
]


def reformed(message: Message, form: str) -> Message:
    """Return *message* with the parts of its Authorization put into *form*."""
    match = re.fullmatch(
        "OSS4-HMAC-SHA256 Credential=(.*),Signature=(.*)",
        message.headers["authorization"],
    )
    assert match
    return message.with_headers(authorization=form.format(c=match[1], s=match[2]))


@pytest.mark.parametrize("form", AUTHORIZATION_FORMS)
def test_the_fields_of_v4_may_stand_in_any_order(
    cloud: Cloud, key: KeyPair, form: str
) -> None:
    message = V4_HEADER.sign(Message(), key, cloud.clock.now)

    assert send(cloud.oss, reformed(message, form)).outcome == OK


V4 = "OSS4-HMAC-SHA256"


@pytest.mark.parametrize(
    ("form", "ec"),
    [
        (f"{V4}Credential={{c}},Signature={{s}}", "0002-00000202"),
        (f"{V4},Credential={{c}},Signature={{s}}", "0002-00000202"),
        (f"{V4}", "0002-00000202"),
        (f"{V4} ", "0002-00000202"),
        (f"{V4} Credential={{c}}", "0002-00000202"),
        (f"{V4} Signature={{s}}", "0002-00000202"),
        (f"{V4} Credential={{c}} Signature={{s}}", "0002-00000202"),
        (f"{V4} Credential={{c}},Credential={{c}},Signature={{s}}", "0002-00000202"),
        (f"{V4} Credential={{c}},Signature={{s}},Signature={{s}}", "0002-00000202"),
        (f"{V4} Credential={{c}},Signature=0,Signature={{s}}", "0002-00000202"),
        (
            f"{V4} Credential={{c}},AdditionalHeaders=host,AdditionalHeaders=host,"
            "Signature={s}",
            "0002-00000202",
        ),
        (f"{V4} Credential={{c}},Signature={{s}},", "0002-00000203"),
        (f"{V4} Credential={{c}},,Signature={{s}}", "0002-00000203"),
        (f"{V4} Credential{{c}},Signature={{s}}", "0002-00000203"),
        (f"{V4} Credential={{c}},Signature={{s}},UnknownKey=1", "0002-00000204"),
        (f"{V4} Credential={{c}},SignedHeaders=host,Signature={{s}}", "0002-00000204"),
        (f"{V4} credential={{c}},signature={{s}}", "0002-00000204"),
        (f"{V4} Credential ={{c}},Signature={{s}}", "0002-00000204"),
        (f"{V4} Credential={{c}},=,Signature={{s}}", "0002-00000204"),
        (f"{V4} AdditionalHeaders=host,Signature={{s}}", "0002-00000205"),
        (f"{V4} Credential={{c}},AdditionalHeaders=host", "0002-00000207"),
        (f"{V4} Credential={{c}},Signature=", "0002-00000208"),
        (f"{V4} Credential={{c}},AdditionalHeaders=,Signature={{s}}", "0002-00000209"),
    ],
)
def test_an_authorization_of_v4_has_its_parts_and_no_others(
    cloud: Cloud, key: KeyPair, form: str, ec: str
) -> None:
    message = V4_HEADER.sign(Message(), key, cloud.clock.now)

    reply = send(cloud.oss, reformed(message, form))

    assert reply.outcome == INVALID
    assert reply.text("EC") == ec


v4_schemes = pytest.mark.parametrize(
    "scheme", [pytest.param(V4_HEADER, id="header"), pytest.param(V4_URL, id="URL")]
)


@v4_schemes
def test_v4_signs_additional_headers(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    host = f"127.0.0.1:{cloud.oss.port}"
    message = scheme.sign(
        Message(headers={"host": host, "range": "bytes=0-0"}),
        key,
        cloud.clock.now,
        additional_headers="host;range",
    )

    assert send(cloud.oss, message).body == b"m"
    for changed in (
        message.with_headers(range="bytes=1-2"),
        message.with_headers(host="localhost"),
    ):
        assert send(cloud.oss, changed).outcome == MISMATCH
    missing = send(cloud.oss, message.with_headers(range=None))
    assert (missing.outcome, missing.text("EC")) == (INVALID, "0002-00000211")


@v4_schemes
@pytest.mark.parametrize(
    ("names", "ec"),
    [
        pytest.param(";", "0002-00000210", id="two empty names"),
        pytest.param("host;", "0002-00000210", id="empty name at the end"),
        pytest.param(";host", "0002-00000210", id="empty name at the start"),
        pytest.param("host;;range", "0002-00000210", id="empty name between"),
        pytest.param("absent;host", "0002-00000211", id="absent"),
        pytest.param("host; range", "0002-00000211", id="space"),
        pytest.param("a_b;host", "0002-00000211", id="underscore"),
        pytest.param("host;host", None, id="a name twice"),
        pytest.param("range;host", None, id="not sorted"),
    ],
)
def test_additional_headers_are_sorted_names_of_headers_that_are_there(
    cloud: Cloud, key: KeyPair, scheme: Scheme, names: str, ec: str | None
) -> None:
    headers = {"host": "127.0.0.1", "range": "bytes=0-0", "a_b": "1"}
    message = scheme.sign(
        Message(headers=headers), key, cloud.clock.now, additional_headers=names
    )

    reply = send(cloud.oss, message)

    assert reply.outcome == INVALID
    assert reply.xml.findtext("EC") == ec


def test_additional_headers_of_a_url_are_not_empty(cloud: Cloud, key: KeyPair) -> None:
    message = Message(query={"x-oss-additional-headers": ""})

    reply = send(cloud.oss, V4_URL.sign(message, key, cloud.clock.now))

    assert (reply.outcome, reply.text("EC")) == (INVALID, "0002-00000209")


@each_scheme
def test_a_header_may_have_blanks_around_it(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = signed_get(cloud, key, scheme)

    reply = send(cloud.oss, message.with_headers(x_oss_meta_a=" \t1 \t"))

    assert reply.outcome == OK


KEYS = [
    "a b",
    "a+b",
    "a%2Bb",
    "100%",
    "目录/猫 咪.txt",
    "公à€\u2028.txt",  # with bytes of Latin-1's blanks
    "a//b///",
    "a/./../b",
    "a?acl&b=c#d",
    "~!*'()_-.",
    "a\tb\nc",
    f"{BUCKET}/a",
    "😀",
]


def percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


@each_scheme
@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_the_same_however_it_is_encoded(
    cloud: Cloud, key: KeyPair, scheme: Scheme, name: str
) -> None:
    message = Message("PUT", f"/{BUCKET}/{name}", body=b"x")
    message = scheme.sign(message, key, cloud.clock.now)
    encoded = [
        quote(name),
        quote(name, safe=""),  # as oss2 does
        quote(name, safe="/~!*'()"),
        percent(name),
    ]

    replies = [
        send(cloud.oss, replace(message, target=f"/{BUCKET}/{form}"))
        for form in encoded
    ]

    assert [reply.outcome for reply in replies] == [OK] * 4
    assert cloud.contents().keys() == {f"{BUCKET}/{CAT}", f"{BUCKET}/{name}"}


@each_scheme
@pytest.mark.parametrize("name", ["目录/猫咪.txt", "公à€.txt"])
def test_a_key_may_come_in_raw_utf_8(
    cloud: Cloud, key: KeyPair, scheme: Scheme, name: str
) -> None:
    message = Message("PUT", f"/{BUCKET}/{name}", target=f"/{BUCKET}/{name}")

    reply = send(cloud.oss, scheme.sign(message, key, cloud.clock.now))

    assert reply.outcome == OK
    assert f"{BUCKET}/{name}" in cloud.contents()


@each_scheme
@pytest.mark.parametrize("host", ["127.0.0.1", f"{BUCKET}.example"])
@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        ("a+b", "a b"),
        ("+a++b+", " a  b "),
        ("a%2Bb+c%20d", "a+b c d"),
        ("a%252Bb", "a%2Bb"),
        ("目录/+", "目录/ "),
    ],
)
def test_a_plus_in_a_path_is_a_space(
    cloud: Cloud, key: KeyPair, scheme: Scheme, host: str, encoded: str, name: str
) -> None:
    start = f"/{BUCKET}/" if host == "127.0.0.1" else "/"
    headers = {"host": host}
    message = Message("PUT", f"/{BUCKET}/{name}", headers=headers, body=b"x")
    message = scheme.sign(message, key, cloud.clock.now)
    as_one = scheme.sign(
        Message(path=f"/{BUCKET}/a+b", headers=headers), key, cloud.clock.now
    )

    reply = send(cloud.oss, replace(message, target=start + encoded))

    assert reply.outcome == OK
    assert cloud.contents().keys() == {f"{BUCKET}/{CAT}", f"{BUCKET}/{name}"}
    wrong = send(cloud.oss, replace(as_one, target=f"{start}a+b"))
    assert wrong.outcome == MISMATCH


@each_scheme
@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        pytest.param("a+b", "a+b", id="plus"),
        pytest.param("a+b", "a%2Bb", id="encoded plus"),
        pytest.param("a b", "a%20b", id="blank"),
        pytest.param("公/目", "公/目", id="raw UTF-8"),
        pytest.param("a=b?c", "a=b?c", id="delimiters"),
    ],
)
def test_a_plus_in_a_query_is_one(
    cloud: Cloud, key: KeyPair, scheme: Scheme, value: str, encoded: str
) -> None:
    message = Message(query={"response-content-language": value})
    message = scheme.sign(message, key, cloud.clock.now)
    pairs = [
        f"{n}={encoded if v == value else quote(v, '')}"
        for n, v in message.query.items()
    ]
    target = f"/{BUCKET}/{CAT}?{'&'.join(pairs)}"

    reply = send(cloud.oss, replace(message, query={}, target=target))

    assert reply.outcome == OK
    language = reply.headers["content-language"].encode("latin-1").decode()
    assert language == value


@each_scheme
def test_a_parameter_that_stands_there_twice_is_refused(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = signed_get(cloud, key, scheme)
    for again in ("response-content-type=a", "response%2dcontent-type", "a&a=1"):
        pairs = [f"{quote(n, '')}={quote(v, '')}" for n, v in message.query.items()]
        target = f"/{BUCKET}/{CAT}?{'&'.join([*pairs, again])}"

        reply = send(cloud.oss, replace(message, query={}, target=target))

        assert reply.outcome == INVALID
        assert reply.headers["x-oss-request-id"] == reply.text("RequestId")


@each_scheme
@pytest.mark.parametrize("name", [CAT, "目录/a b+&<c>.txt"])
def test_a_mismatch_tells_what_should_have_been_signed(
    cloud: Cloud, key: KeyPair, scheme: Scheme, name: str
) -> None:
    cloud.buckets[BUCKET].put(name, b"meow")
    wrong = KeyPair(key.access_key_id, "wrong")
    message = Message(
        path=f"/{BUCKET}/{name}",
        query={"response-content-type": "a/b"},
        headers={"x-oss-meta-a": "<1>"},
    )
    message = scheme.sign(message, wrong, cloud.clock.now)

    refused = send(cloud.oss, message)
    string_to_sign = refused.text("StringToSign")
    if scheme.is_v4:
        canonical_request = refused.text("CanonicalRequest")
        digest = hashlib.sha256(canonical_request.encode()).hexdigest()
        assert string_to_sign.endswith(digest)
        scope = string_to_sign.split("\n")[2]
        signature = v4_signature(key, scope, string_to_sign)
    else:
        signature = v1_signature(key, string_to_sign)
    accepted = send(cloud.oss, edit_signature(message, lambda _: signature))

    assert refused.outcome == MISMATCH
    assert refused.text("OSSAccessKeyId") == key.access_key_id
    assert refused.text("SignatureProvided") == signature_of(message)
    shown = bytes.fromhex(refused.text("StringToSignBytes")).decode()
    assert shown == string_to_sign
    assert (refused.xml.find("CanonicalRequest") is not None) == scheme.is_v4
    assert refused.headers["x-oss-ec"] == refused.text("EC") == "0002-00000040"
    assert (accepted.outcome, accepted.body) == (OK, b"meow")


# --- Time -----------------------------------------------------------------------------

DATES = [
    pytest.param(V1_HEADER, "date", http_date, id="V1 Date"),
    pytest.param(V1_HEADER, "x-oss-date", http_date, id="V1 x-oss-date"),
    pytest.param(
        V1_HEADER, "x-oss-date", iso_time, id="V1 x-oss-date in the form of V4"
    ),
    pytest.param(V1_HEADER, "date", iso_time, id="V1 Date in the form of V4"),
    pytest.param(V4_HEADER, "x-oss-date", iso_time, id="V4 x-oss-date"),
    pytest.param(V4_HEADER, "date", iso_time, id="V4 Date"),
]


@pytest.mark.parametrize(("scheme", "header", "form"), DATES)
@pytest.mark.parametrize("direction", [-1, 1], ids=["slow", "fast"])
def test_a_clock_may_be_15_minutes_off_and_no_second_more(
    cloud: Cloud,
    key: KeyPair,
    scheme: Scheme,
    header: str,
    form: Callable[[float], str],
    direction: int,
) -> None:
    outcomes = []
    for seconds in (15 * MINUTES, 15 * MINUTES + 1):
        signed_at = cloud.clock.now + direction * seconds
        message = Message(headers={header: form(signed_at)})
        reply = send(cloud.oss, scheme.sign(message, key, signed_at))
        outcomes.append(reply.outcome)

    too_far = INVALID if scheme.is_v4 else (403, "RequestTimeTooSkewed")
    assert outcomes == [OK, too_far]


def test_a_client_whose_clock_is_wrong_learns_the_time(
    cloud: Cloud, key: KeyPair
) -> None:
    message = V1_HEADER.sign(Message(), key, cloud.clock.now - DAY)

    reply = send(cloud.oss, message)

    moment = re.sub(r"[-:]|\.000", "", reply.text("ServerTime"))
    assert moment == iso_time(cloud.clock.now)
    assert reply.headers["date"] == http_date(cloud.clock.now)
    assert reply.text("MaxAllowedSkewMilliseconds") == "900000"


@pytest.mark.parametrize(("scheme", "header", "form"), DATES)
def test_x_oss_date_counts_for_more_than_date(
    cloud: Cloud,
    key: KeyPair,
    scheme: Scheme,
    header: str,
    form: Callable[[float], str],
) -> None:
    now = cloud.clock.now
    other = {"date": "x-oss-date", "x-oss-date": "date"}[header]
    message = Message(headers={header: form(now), other: form(now - DAY)})

    reply = send(cloud.oss, scheme.sign(message, key, now))

    assert (reply.outcome == OK) == (header == "x-oss-date")


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "2026-01-02T03:04:05Z",
        "20260230T030405Z",
        "20261302T030405Z",
        "1767323045",
        "Fri, 02 Jan 2026 25:04:05 GMT",
        "Fri, 02 Jan 2026 03:04:05 +99999999999999999999",
        "99999999999 Jan 2026 03:04:05 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "日期",
        "0" * 5000,
    ],
    ids=lambda date: date[:40],
)
@pytest.mark.parametrize("header", ["date", "x-oss-date"])
@in_headers
def test_a_date_that_is_none_is_refused(
    cloud: Cloud, key: KeyPair, scheme: Scheme, header: str, date: str
) -> None:
    message = scheme.sign(Message(), key, cloud.clock.now)
    message = message.with_headers(date=None).with_headers(**{header: date})

    reply = send(cloud.oss, message)

    assert reply.outcome == (INVALID if scheme.is_v4 else DENIED)
    assert "date" in reply.text("Message").lower()


@pytest.mark.parametrize("scheme", [V1_HEADER, V4_HEADER], ids=["V1", "V4"])
def test_a_request_without_a_date_is_refused(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = scheme.sign(Message(), key, cloud.clock.now).with_headers(date=None)

    reply = send(cloud.oss, message)

    assert reply.outcome == (INVALID if scheme.is_v4 else DENIED)


def test_a_request_may_be_on_its_way_over_midnight(cloud: Cloud, key: KeyPair) -> None:
    midnight = (cloud.clock.now // DAY + 1) * DAY
    message = V4_HEADER.sign(Message(), key, midnight - 1)
    cloud.clock.now = midnight + 1

    assert send(cloud.oss, message).outcome == OK


def test_a_scope_of_another_day_than_the_time_is_refused(
    cloud: Cloud, key: KeyPair
) -> None:
    today, yesterday = iso_time(cloud.clock.now), cloud.clock.now - DAY
    in_header = V4_HEADER.sign(Message(headers={"x-oss-date": today}), key, yesterday)
    in_url = V4_URL.sign(Message(query={"x-oss-date": today}), key, yesterday)

    assert send(cloud.oss, in_header).outcome == INVALID
    assert send(cloud.oss, in_url).outcome == INVALID


# --- Signed URLs ----------------------------------------------------------------------


@in_urls
def test_a_url_works_until_the_second_it_expires(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = scheme.sign(Message(), key, cloud.clock.now, expires=60)
    cloud.clock.now += 60
    in_time = send(cloud.oss, message)
    cloud.clock.now += 1
    late = send(cloud.oss, message)

    assert in_time.outcome == OK
    assert (late.outcome, late.text("Message")) == (DENIED, "Request has expired.")


@in_urls
def test_an_expired_url_is_not_blamed_on_its_signature(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    wrong = KeyPair("unknown", "wrong")
    message = scheme.sign(Message(), wrong, cloud.clock.now, expires=60)
    cloud.clock.now += 61

    assert send(cloud.oss, message).text("Message") == "Request has expired."


@pytest.mark.parametrize(
    ("expires", "outcome"),
    [
        pytest.param("1", OK, id="a second"),
        pytest.param("604800", OK, id="7 days"),
        pytest.param("0604800", OK, id="7 days and a zero"),
        pytest.param("604801", INVALID, id="a second more"),
        pytest.param("0", INVALID, id="no time"),
        pytest.param("-1", INVALID, id="negative"),
        pytest.param("1.5", INVALID, id="fraction"),
        pytest.param("1e3", INVALID, id="exponent"),
        pytest.param("٦٠", INVALID, id="other digits"),
        pytest.param("9" * 5000, INVALID, id="huge"),
        pytest.param("", DENIED, id="empty"),
    ],
)
def test_a_v4_url_lasts_for_a_week_at_most(
    cloud: Cloud, key: KeyPair, expires: str, outcome: tuple[int, str]
) -> None:
    message = Message(query={"x-oss-expires": expires})

    reply = send(cloud.oss, V4_URL.sign(message, key, cloud.clock.now))

    assert reply.outcome == outcome


@pytest.mark.parametrize(
    "expires",
    [
        "",
        "x",
        "-1",
        "1e9",
        "0x7fffffff",
        "1767323645.5",
        " 9999999999",
        "9" * 19,
        "9" * 5000,
        "\uff19" * 10,
    ],
    ids=lambda expires: expires[:20],
)
def test_a_v1_url_needs_a_time_to_expire_at(
    cloud: Cloud, key: KeyPair, expires: str
) -> None:
    message = Message(query={"Expires": expires})

    reply = send(cloud.oss, V1_URL.sign(message, key, cloud.clock.now))

    assert reply.outcome == DENIED
    assert reply.xml.findtext("EC") == ("0002-00000070" if expires else None)


def test_milliseconds_are_a_time_in_a_far_future(cloud: Cloud, key: KeyPair) -> None:
    for expires in (f"{cloud.clock.now * 1000:.0f}", "9" * 13, "9" * 18):
        message = Message(query={"Expires": expires})

        assert send(cloud.oss, V1_URL.sign(message, key, cloud.clock.now)).outcome == OK


def test_a_v4_url_is_not_valid_long_before_it_was_signed(
    cloud: Cloud, key: KeyPair
) -> None:
    soon = V4_URL.sign(Message(), key, cloud.clock.now + 15 * MINUTES)
    later = V4_URL.sign(Message(), key, cloud.clock.now + 15 * MINUTES + 1)

    assert send(cloud.oss, soon).outcome == OK
    assert send(cloud.oss, later).outcome == INVALID


@in_urls
def test_a_url_without_one_of_its_parts_is_refused(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = scheme.sign(Message(), key, cloud.clock.now)
    for name in message.query:
        for value in (None, ""):
            reply = send(cloud.oss, message.with_query({name: value}))

            assert reply.outcome == DENIED, name


@in_urls
def test_a_url_carries_its_security_token(cloud: Cloud, scheme: Scheme) -> None:
    key = cloud.session()
    without = KeyPair(key.access_key_id, key.access_key_secret)
    in_header = Message(headers={"x-oss-security-token": key.security_token})
    now = cloud.clock.now

    assert send(cloud.oss, scheme.sign(Message(), key, now)).outcome == OK
    for message in (Message(), in_header):
        reply = send(cloud.oss, scheme.sign(message, without, now))

        assert reply.outcome == (403, "InvalidSecurityToken")


@in_urls
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_url_is_for_one_method(
    cloud: Cloud, key: KeyPair, scheme: Scheme, method: str
) -> None:
    message = scheme.sign(Message(method, body=b""), key, cloud.clock.now)
    for other in {"GET", "HEAD", "PUT", "DELETE", "POST"} - {method}:
        reply = send(cloud.oss, replace(message, method=other))

        assert reply.status == 403

    assert send(cloud.oss, message).status in (200, 204)


@in_urls
def test_a_url_for_an_upload_fixes_its_content_type(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    message = Message("PUT", headers={"content-type": "image/png"}, body=b"new")
    message = scheme.sign(message, key, cloud.clock.now)

    other = send(cloud.oss, message.with_headers(content_type="text/html"))
    none = send(cloud.oss, message.with_headers(content_type=None))
    assert [other.outcome, none.outcome] == [MISMATCH] * 2
    assert cloud.buckets[BUCKET].read(CAT) == b"meow"

    assert send(cloud.oss, message).outcome == OK
    assert cloud.buckets[BUCKET].read(CAT) == b"new"


# --- Keys and tokens ------------------------------------------------------------------


def with_token(key: KeyPair, security_token: str) -> KeyPair:
    return replace(key, security_token=security_token)


@each_scheme
@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(
            lambda key, _: replace(key, access_key_id="LTAIunknown", security_token=""),
            "InvalidAccessKeyId",
            id="unknown key",
        ),
        pytest.param(
            lambda key, _: replace(key, access_key_id="STS.unknown"),
            "InvalidAccessKeyId",
            id="unknown key with a token",
        ),
        pytest.param(
            lambda key, _: replace(
                key, access_key_id="STS.unknown", security_token="CAIS"
            ),
            "InvalidAccessKeyId",
            id="unknown key with an unknown token",
        ),
        pytest.param(
            lambda key, _: with_token(key, ""), "InvalidSecurityToken", id="no token"
        ),
        pytest.param(
            lambda key, _: with_token(key, "CAIS"),
            "InvalidSecurityToken",
            id="unknown token",
        ),
        pytest.param(
            lambda key, _: with_token(key, key.security_token[:-1]),
            "InvalidSecurityToken",
            id="truncated token",
        ),
        pytest.param(
            lambda key, _: with_token(key, key.security_token.swapcase()),
            "InvalidSecurityToken",
            id="token in another case",
        ),
        pytest.param(
            lambda key, other: with_token(key, other.security_token),
            "AccessKeyIdAndSecurityTokenNotMatch",
            id="another's token",
        ),
        pytest.param(
            lambda key, _: replace(key, access_key_secret="wrong"),
            "SignatureDoesNotMatch",
            id="wrong secret",
        ),
        pytest.param(
            lambda key, other: replace(key, access_key_secret=other.access_key_secret),
            "SignatureDoesNotMatch",
            id="another's secret",
        ),
    ],
)
def test_a_key_and_its_token_belong_together(
    cloud: Cloud,
    scheme: Scheme,
    change: Callable[[KeyPair, KeyPair], KeyPair],
    code: str,
) -> None:
    wrong = change(cloud.session(), cloud.session())

    reply = send(cloud.oss, scheme.sign(Message(), wrong, cloud.clock.now))

    assert reply.outcome == (403, code)


@each_scheme
def test_a_token_lasts_until_the_second_it_expires(
    cloud: Cloud, scheme: Scheme
) -> None:
    key = cloud.session()
    issued = cloud.sts.issued(key.security_token)
    assert issued
    outcomes = []
    for cloud.clock.now in (issued.expiration - 1, issued.expiration):
        message = scheme.sign(Message(), key, cloud.clock.now)
        outcomes.append(send(cloud.oss, message).outcome)

    assert outcomes == [OK, (403, "SecurityTokenExpired")]


@in_urls
def test_a_url_ends_with_its_token(cloud: Cloud, scheme: Scheme) -> None:
    message = scheme.sign(Message(), cloud.session(), cloud.clock.now, expires=3600)
    cloud.clock.now += 900

    assert send(cloud.oss, message).outcome == (403, "SecurityTokenExpired")


def test_a_long_term_key_takes_no_token(cloud: Cloud, key: KeyPair) -> None:
    token = cloud.session().security_token

    reply = ask(cloud, with_token(key, token))

    assert reply.outcome == (403, "AccessKeyIdAndSecurityTokenNotMatch")


def test_a_v1_token_may_come_in_the_header_of_another_sdk(cloud: Cloud) -> None:
    key = cloud.session()
    without = with_token(key, "")
    message = Message(headers={"security-token": key.security_token})

    v1 = send(cloud.oss, V1_HEADER.sign(message, without, cloud.clock.now))
    v4 = send(cloud.oss, V4_HEADER.sign(message, without, cloud.clock.now))

    assert v1.outcome == OK
    assert v4.outcome == (403, "InvalidSecurityToken")


def test_a_disabled_user_is_refused(cloud: Cloud) -> None:
    key = cloud.user(ALLOW_ALL, is_enabled=False)

    assert ask(cloud, key).outcome == (403, "InvalidAccessKeyId")


def test_a_user_without_policies_may_do_nothing(cloud: Cloud) -> None:
    key = cloud.user()
    for method in ("GET", "PUT", "DELETE"):
        assert ask(cloud, key, method).outcome == DENIED

    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"meow"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("path", [f"/{BUCKET}/{CAT}", "/no-such-bucket/a"])
def test_nobody_in_particular_may_do_nothing(
    cloud: Cloud, method: str, path: str
) -> None:
    reply = send(cloud.oss, Message(method, path, body=b"new"[: 3 * (method == "PUT")]))

    assert reply.status == 403
    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"meow"}


@pytest.mark.parametrize("kind", ["user", "role"])
def test_another_account_may_do_nothing(cloud: Cloud, kind: str) -> None:
    account = "9876543210987654"
    key = (
        cloud.user(ALLOW_ALL, account=account)
        if kind == "user"
        else cloud.session(account=account)
    )

    reply = ask(cloud, key)

    assert reply.outcome == DENIED
    assert reply.text("Message") == "The bucket you access does not belong to you."


# --- Policies -------------------------------------------------------------------------

BY_SESSION = "0003-00000301"
BY_ROLE = "0003-00000001"
BY_DENY = "0003-00000201"
MESSAGES = {
    BY_SESSION: "Access denied by authorizer's policy.",
    BY_ROLE: "You have no right to access this object because of bucket acl.",
    BY_DENY: "Access denied by bucket policy.",  # which it says of a role's, too
}


@pytest.mark.parametrize(
    ("role_policies", "session_policy", "ec"),
    [
        pytest.param([ALLOW_ALL], None, None, id="role alone"),
        pytest.param([ALLOW_ALL], allow("GetObject"), None, id="both"),
        pytest.param([allow("GetObject")], ALLOW_ALL, None, id="both, the other way"),
        pytest.param(
            [ALLOW_ALL], allow("PutObject"), BY_SESSION, id="session does not allow"
        ),
        pytest.param([ALLOW_ALL], deny("GetObject"), BY_SESSION, id="session denies"),
        pytest.param(
            [ALLOW_ALL],
            allow("GetObject", on=f"{OTHER_BUCKET}/*"),
            BY_SESSION,
            id="session for another bucket",
        ),
        pytest.param(
            [ALLOW_ALL], allow("GetObject", on=BUCKET), BY_SESSION, id="bucket alone"
        ),
        pytest.param(
            [ALLOW_ALL],
            allow("GetObject", on=f"{BUCKET}/dir"),
            BY_SESSION,
            id="folder alone",
        ),
        pytest.param(
            [allow("PutObject")], ALLOW_ALL, BY_ROLE, id="role does not allow"
        ),
        pytest.param([], ALLOW_ALL, BY_ROLE, id="role without policies"),
        pytest.param([ALLOW_ALL, deny("GetObject")], None, BY_DENY, id="role denies"),
        pytest.param(
            [deny("GetObject"), ALLOW_ALL],
            allow("GetObject"),
            BY_DENY,
            id="role denies what session allows",
        ),
        pytest.param(
            [deny("Get*")], deny("GetObject"), BY_DENY, id="role and session deny"
        ),
    ],
)
def test_a_session_may_do_what_role_and_session_policy_both_allow(
    cloud: Cloud, role_policies: list[str], session_policy: str | None, ec: str | None
) -> None:
    key = cloud.session(session_policy, role_policies=role_policies)

    reply = ask(cloud, key)
    head = ask(cloud, key, "HEAD")

    if ec is None:
        assert (reply.outcome, head.status) == (OK, 200)
    else:
        assert reply.outcome == DENIED
        assert reply.text("EC") == reply.headers["x-oss-ec"] == ec
        assert reply.text("Message") == MESSAGES[ec]
        assert (head.status, head.body) == (403, b"")
        in_header = ElementTree.fromstring(base64.b64decode(head.headers["x-oss-err"]))
        assert in_header.findtext("Code") == "AccessDenied"
        assert in_header.findtext("EC") == head.headers["x-oss-ec"] == ec


def test_an_error_has_what_clients_look_for(cloud: Cloud) -> None:
    reply = ask(cloud, cloud.user())

    assert re.fullmatch("[0-9A-F]{24}", reply.text("RequestId"))
    assert reply.headers["x-oss-request-id"] == reply.text("RequestId")
    assert reply.text("HostId") == f"127.0.0.1:{cloud.oss.port}"
    assert reply.headers["server"] == "AliyunOSS"
    assert reply.headers["date"] == http_date(cloud.clock.now)
    assert reply.headers["content-type"] == "application/xml"


@pytest.mark.parametrize(
    ("condition", "headers", "is_allowed"),
    [
        pytest.param({"IpAddress": {"acs:SourceIp": "127.0.0.0/8"}}, {}, True, id="IP"),
        pytest.param(
            {"IpAddress": {"acs:SourceIp": ["10.0.0.0/8", "127.0.0.2"]}},
            {"x-forwarded-for": "10.0.0.1", "x-real-ip": "10.0.0.1"},
            False,
            id="other IP",
        ),
        pytest.param(
            {"NotIpAddress": {"acs:SourceIp": "127.0.0.1"}}, {}, False, id="not this IP"
        ),
        pytest.param({"Bool": {"acs:SecureTransport": "false"}}, {}, True, id="no TLS"),
        pytest.param(
            {"Bool": {"acs:SecureTransport": "true"}},
            {"x-forwarded-proto": "https"},
            False,
            id="TLS",
        ),
        pytest.param(
            {"StringLike": {"acs:UserAgent": "app/*"}},
            {"user-agent": "app/1.0"},
            True,
            id="user agent",
        ),
        pytest.param(
            {"StringLike": {"acs:UserAgent": "app/*"}},
            {"user-agent": "curl"},
            False,
            id="other user agent",
        ),
        pytest.param(
            {"StringLike": {"acs:UserAgent": "*"}}, {}, False, id="no user agent"
        ),
        pytest.param(
            {"StringEquals": {"acs:UserAgent": ""}},
            {"user-agent": ""},
            True,
            id="empty user agent",
        ),
        pytest.param(
            {"StringLike": {"acs:AccessId": "STS.*"}}, {}, True, id="key of a session"
        ),
        pytest.param(
            {"StringLike": {"acs:AccessId": "LTAI*"}}, {}, False, id="long-term key"
        ),
        pytest.param(
            {
                "StringLike": {"acs:AccessId": "STS.*"},
                "Bool": {"acs:SecureTransport": "true"},
            },
            {},
            False,
            id="one of two",
        ),
        pytest.param(
            {"Bool": {"acs:MFAPresent": "true"}}, {}, False, id="what is not known"
        ),
    ],
)
def test_a_policy_may_depend_on_the_request(
    cloud: Cloud,
    condition: Mapping[str, Mapping[str, object]],
    headers: Mapping[str, str],
    is_allowed: bool,
) -> None:
    key = cloud.session(allow("GetObject", **condition))

    reply = ask(cloud, key, headers=headers)

    assert reply.outcome == (OK if is_allowed else DENIED)


def test_a_policy_may_end_at_a_time(cloud: Cloud) -> None:
    moment = re.sub(
        r"(....)(..)(..)T(..)(..)(..)Z",
        r"\1-\2-\3T\4:\5:\6Z",
        iso_time(cloud.clock.now + 10),
    )
    until = {"acs:CurrentTime": moment}
    key = cloud.session(allow("GetObject", DateLessThan=until))
    message = V4_HEADER.sign(Message(), key, cloud.clock.now)
    outcomes = []
    for seconds in (0, 9, 1):
        cloud.clock.now += seconds
        outcomes.append(send(cloud.oss, message).outcome)

    assert outcomes == [OK, OK, DENIED]


LISTS = [
    pytest.param({}, False, id="all"),
    pytest.param({"prefix": ""}, False, id="empty prefix"),
    pytest.param({"prefix": "dir/"}, True, id="the folder"),
    pytest.param({"prefix": "dir/sub/"}, True, id="a folder in it"),
    pytest.param({"prefix": "dir"}, False, id="what begins like the folder"),
    pytest.param({"prefix": "DIR/"}, False, id="other case"),
    pytest.param({"prefix": "other/dir/"}, False, id="another folder"),
    pytest.param({"Prefix": "dir/"}, False, id="a parameter that is none"),
    pytest.param({"prefix": "dir/", "delimiter": "/"}, True, id="and delimiter"),
    pytest.param({"prefix": "dir/", "marker": "other/"}, True, id="and marker"),
    pytest.param({"prefix": "dir/", "uploads": ""}, False, id="uploads"),
]


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(("query", "is_allowed"), LISTS)
def test_a_list_may_be_restricted_to_a_prefix(
    cloud: Cloud, query: dict[str, str], is_allowed: bool, version: str
) -> None:
    like = {"oss:Prefix": ["dir/*", "dir/"]}
    key = cloud.session(allow("ListObjects", on=BUCKET, StringLike=like))
    cloud.buckets[BUCKET].put("other/secret", b"")
    query = {**query, "list-type": "2"} if version == "2" else query

    reply = ask(cloud, key, path=f"/{BUCKET}/", query=query)

    assert reply.outcome == (OK if is_allowed else DENIED)
    assert b"secret" not in reply.body


@pytest.mark.parametrize(
    ("query", "is_allowed"),
    [
        pytest.param({"prefix": ""}, True, id="empty prefix"),
        pytest.param({"prefix": "", "delimiter": "/"}, True, id="of the top folder"),
        pytest.param({"prefix": "dir/"}, True, id="prefix"),
        pytest.param({"prefix": "d"}, False, id="other prefix"),
        pytest.param({}, False, id="no prefix"),
    ],
)
@pytest.mark.parametrize("operator", ["StringLike", "StringEquals"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_an_empty_prefix_is_one(
    cloud: Cloud, query: dict[str, str], is_allowed: bool, operator: str, version: str
) -> None:
    condition = {operator: {"oss:Prefix": ["", "dir/"]}}
    key = cloud.session(allow("ListObjects", on=BUCKET, **condition))
    query = {**query, "list-type": "2"} if version == "2" else query

    reply = ask(cloud, key, path=f"/{BUCKET}/", query=query)

    assert reply.outcome == (OK if is_allowed else DENIED)


@pytest.mark.parametrize(
    ("query", "is_allowed"),
    [
        pytest.param({"prefix": "dir/"}, True, id="prefix"),
        pytest.param({"prefix": ""}, False, id="empty prefix"),
        pytest.param({}, True, id="no prefix"),
    ],
)
def test_an_empty_prefix_can_be_denied(
    cloud: Cloud, query: dict[str, str], is_allowed: bool
) -> None:
    key = cloud.session(deny("ListObjects", StringEquals={"oss:Prefix": ""}))

    reply = ask(cloud, key, path=f"/{BUCKET}/", query=query)

    assert reply.outcome == (OK if is_allowed else DENIED)


@pytest.mark.parametrize(
    ("query", "is_allowed"),
    [
        pytest.param({"delimiter": "/"}, True, id="delimiter"),
        pytest.param({"delimiter": "//"}, False, id="other delimiter"),
        pytest.param({}, False, id="no delimiter"),
    ],
)
def test_a_list_may_be_restricted_to_folders(
    cloud: Cloud, query: dict[str, str], is_allowed: bool
) -> None:
    only = {"oss:Delimiter": "/"}
    key = cloud.session(allow("ListObjects", on=BUCKET, StringEquals=only))

    reply = ask(cloud, key, path=f"/{BUCKET}/", query=query)

    assert reply.outcome == (OK if is_allowed else DENIED)


@pytest.mark.parametrize(
    ("header", "value", "action", "otherwise"),
    [
        ("x-oss-object-acl", "private", "PutObjectAcl", OK),
        ("x-oss-object-acl", "default", "PutObjectAcl", OK),
        ("x-oss-object-acl", "public-read", "PutObjectAcl", (501, "NotImplemented")),
        ("x-oss-tagging", "a=b", "PutObjectTagging", (501, "NotImplemented")),
        ("x-oss-tagging", "private", "PutObjectTagging", (501, "NotImplemented")),
    ],
)
@pytest.mark.parametrize("kind", ["put", "initiate", "copy"])
def test_a_header_may_need_an_action_of_its_own(
    cloud: Cloud,
    header: str,
    value: str,
    action: str,
    otherwise: tuple[int, str],
    kind: str,
) -> None:
    plain = cloud.session(allow("PutObject", "GetObject"))
    full = cloud.session(allow("PutObject", "GetObject", action))
    headers = {header: value}
    if kind == "copy":
        headers["x-oss-copy-source"] = f"/{BUCKET}/{CAT}"
    method, query = ("POST", {"uploads": ""}) if kind == "initiate" else ("PUT", {})
    path = f"/{BUCKET}/{DOG}"

    assert ask(cloud, plain, method, path, query, headers).outcome == DENIED
    assert ask(cloud, full, method, path, query, headers).outcome == otherwise


def test_a_policy_may_name_the_acl_that_is_asked_for(cloud: Cloud) -> None:
    only = {"oss:x-oss-object-acl": "private"}
    key = cloud.session(
        json.dumps(
            {
                "Version": "1",
                "Statement": [
                    *json.loads(allow("PutObject"))["Statement"],
                    *json.loads(allow("PutObjectAcl", StringEquals=only))["Statement"],
                ],
            }
        )
    )
    outcomes = [
        ask(cloud, key, "PUT", headers={"x-oss-object-acl": acl}).outcome
        for acl in ("private", "default")
    ]

    assert outcomes == [OK, DENIED]


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        pytest.param(
            allow("GetObject", "PutObject", on=[f"{BUCKET}/dir/*", f"{BUCKET}/new"]),
            OK,
            id="both",
        ),
        pytest.param(allow("PutObject"), DENIED, id="no reading"),
        pytest.param(allow("GetObject"), DENIED, id="no writing"),
        pytest.param(
            allow("GetObject", "PutObject", on=f"{BUCKET}/new"),
            DENIED,
            id="reading the target alone",
        ),
        pytest.param(
            allow("GetObject", "PutObject", on=f"{BUCKET}/{CAT}"),
            DENIED,
            id="writing the source alone",
        ),
    ],
)
def test_who_copies_must_be_allowed_to_read_the_source(
    cloud: Cloud, key: KeyPair, policy: str, outcome: tuple[int, str]
) -> None:
    path = f"/{BUCKET}/new"
    upload_id = ask(cloud, key, "POST", path, {"uploads": ""}).text("UploadId")
    part = {"partNumber": "1", "uploadId": upload_id}
    headers = {"x-oss-copy-source": f"/{BUCKET}/{CAT}"}
    limited = cloud.session(policy)

    assert ask(cloud, limited, "PUT", path, part, headers).outcome == outcome
    assert ask(cloud, limited, "PUT", path, {}, headers).outcome == outcome


SOURCES = [
    f"/{OTHER_BUCKET}/secret",
    f"{OTHER_BUCKET}/secret",
    f"//{OTHER_BUCKET}/secret",
    f"/{BUCKET}/../{OTHER_BUCKET}/secret",
    f"/{BUCKET}%2F..%2F{OTHER_BUCKET}/secret",
    f"/{BUCKET}/dir/../../{OTHER_BUCKET}/secret",
    f"/{OTHER_BUCKET}%2fsecret",
    f"/{OTHER_BUCKET}/%73ecret",
    f"/{OTHER_BUCKET}/secret?versionId=null",
    f"/{OTHER_BUCKET.upper()}/secret",
    f"/{BUCKET}/x:{BUCKET}/dir/y",
    "/",
    "",
]


@pytest.mark.parametrize("source", SOURCES)
def test_a_copy_brings_nothing_that_the_caller_may_not_read(
    cloud: Cloud, source: str
) -> None:
    cloud.buckets[OTHER_BUCKET].put("secret", b"secret")
    cloud.buckets[BUCKET].put(f"x:{BUCKET}/dir/y", b"secret")
    key = cloud.session(allow("GetObject", "PutObject", on=f"{BUCKET}/dir/*"))
    headers = {"x-oss-copy-source": source}

    reply = ask(cloud, key, "PUT", f"/{BUCKET}/dir/copy", headers=headers)

    assert reply.status in (400, 403, 404, 501)
    assert f"{BUCKET}/dir/copy" not in cloud.contents()


def test_all_objects_of_a_list_must_be_allowed_to_be_deleted(cloud: Cloud) -> None:
    bucket = cloud.buckets[BUCKET]
    bucket.put(DOG, b"woof")
    bucket.put("other", b"")
    key = cloud.session(allow("DeleteObject", on=f"{BUCKET}/dir/*"))

    def delete(*keys: str) -> OssReply:
        objects = "".join(f"<Object><Key>{name}</Key></Object>" for name in keys)
        body = f"<Delete>{objects}</Delete>".encode()
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        headers = {"content-md5": digest}
        return ask(cloud, key, "POST", f"/{BUCKET}/", {"delete": ""}, headers, body)

    assert delete(CAT, "other").outcome == DENIED
    assert bucket.keys() == sorted([CAT, DOG, "other"])
    assert delete(CAT, DOG).outcome == OK
    assert bucket.keys() == ["other"]


# --- Addressing -----------------------------------------------------------------------

HOSTS = [
    pytest.param("127.0.0.1", f"/{BUCKET}/{CAT}", id="IP address"),
    pytest.param("127.0.0.1:80", f"/{BUCKET}/{CAT}", id="IP address and port"),
    pytest.param("[::1]", f"/{BUCKET}/{CAT}", id="IPv6 address"),
    pytest.param("[::1]:80", f"/{BUCKET}/{CAT}", id="IPv6 address and port"),
    pytest.param("localhost:80", f"/{BUCKET}/{CAT}", id="localhost"),
    pytest.param("oss.example", f"/{BUCKET}/{CAT}", id="bucket in the path"),
    pytest.param(f"{BUCKET}.oss.example", f"/{CAT}", id="bucket in the host"),
    pytest.param(f"{BUCKET}.localhost:80", f"/{CAT}", id="bucket in localhost"),
    pytest.param(f"{BUCKET.upper()}.OSS.example", f"/{CAT}", id="upper case"),
    pytest.param(BUCKET, f"/{CAT}", id="bucket is the host"),
    pytest.param(f"{BUCKET}.oss.example", f"/{BUCKET}/{CAT}", id="both"),
    pytest.param(f"{OTHER_BUCKET}.oss.example", f"/{BUCKET}/{CAT}", id="two buckets"),
]


@each_scheme
@pytest.mark.parametrize(("host", "target"), HOSTS)
def test_a_bucket_is_named_in_the_path_or_in_the_host(
    cloud: Cloud, key: KeyPair, scheme: Scheme, host: str, target: str
) -> None:
    message = Message(headers={"host": host})
    message = scheme.sign(message, key, cloud.clock.now)

    reply = send(cloud.oss, replace(message, target=target))

    assert (reply.outcome, reply.body) == (OK, b"meow")


@each_scheme
def test_a_key_may_begin_with_the_name_of_its_bucket(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    name = f"{BUCKET}/{CAT}"
    message = Message("PUT", f"/{BUCKET}/{name}", body=b"purr", target=f"/{name}")
    message = replace(message, headers={"host": f"{BUCKET}.oss.example"})

    reply = send(cloud.oss, scheme.sign(message, key, cloud.clock.now))

    assert reply.outcome == OK
    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"meow", f"{BUCKET}/{name}": b"purr"}


@each_scheme
def test_a_host_of_any_name_may_stand_for_the_only_bucket(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    with OssStandIn(cloud.sts) as oss:
        bucket = oss.create_bucket(BUCKET)
        for name in (CAT, f"{BUCKET}/{CAT}"):
            for host in ("cdn.example", "cdn.example:80", f"{OTHER_BUCKET}.example"):
                bucket.put(name, host.encode())
                message = Message(
                    path=f"/{BUCKET}/{name}", target=f"/{name}", headers={"host": host}
                )
                reply = send(oss, scheme.sign(message, key, cloud.clock.now))

                assert (reply.outcome, reply.body) == (OK, host.encode())


@pytest.mark.parametrize(
    ("host", "target", "resource", "outcome"),
    [
        ("127.0.0.1", "/no-such-bucket/a", "/no-such-bucket/a", (404, "NoSuchBucket")),
        (
            "oss.example",
            "/no-such-bucket/a",
            "/no-such-bucket/a",
            (404, "NoSuchBucket"),
        ),
        ("no-such-bucket.example", "/a", "/no-such-bucket/a", (404, "NoSuchBucket")),
        ("127.0.0.1", f"/{BUCKET}-/a", f"/{BUCKET}-/a", (400, "InvalidBucketName")),
        ("127.0.0.1", "/My-Bucket/a", "/My-Bucket/a", (400, "InvalidBucketName")),
        ("127.0.0.1", "/a/b", "/a/b", (400, "InvalidBucketName")),
        ("127.0.0.1", f"/{BUCKET}%2Fa/b", f"/{BUCKET}/a/b", (400, "InvalidBucketName")),
        ("127.0.0.1", f"/{BUCKET}//a", f"/{BUCKET}//a", (400, "InvalidObjectName")),
        ("127.0.0.1", f"/{BUCKET}/%5Ca", f"/{BUCKET}/\\a", (400, "InvalidObjectName")),
        ("127.0.0.1", "/", "/", (501, "NotImplemented")),
        ("127.0.0.1", f"/{BUCKET}", f"/{BUCKET}/", OK),
        (f"{BUCKET}.example", "/", f"/{BUCKET}/", OK),
        ("127.0.0.1", f"/{BUCKET}/%ff", f"/{BUCKET}/?", INVALID),
        ("127.0.0.1", f"http://127.0.0.1/{BUCKET}/a", f"/{BUCKET}/a", INVALID),
        ("127.0.0.1", f"x{BUCKET}/a", f"/{BUCKET}/a", INVALID),
        ("127.0.0.1", "*", "/", INVALID),
    ],
)
def test_what_names_no_object_is_refused(
    cloud: Cloud,
    key: KeyPair,
    host: str,
    target: str,
    resource: str,
    outcome: tuple[int, str],
) -> None:
    message = Message(headers={"host": host})
    message = V4_HEADER.sign(message, key, cloud.clock.now, resource=resource)

    reply = send(cloud.oss, replace(message, target=target))

    assert reply.outcome == outcome


def test_buckets_may_be_called_like_parts_of_an_address(
    cloud: Cloud, key: KeyPair
) -> None:
    with OssStandIn(cloud.sts) as oss:
        for name in ("127", "localhost", BUCKET):
            oss.create_bucket(name).put("a", name.encode())
        for host in ("127.0.0.1", "localhost", "[::1]"):
            for name in ("127", "localhost", BUCKET):
                message = Message(path=f"/{name}/a", headers={"host": host})
                reply = send(oss, V4_HEADER.sign(message, key, cloud.clock.now))

                assert reply.body == name.encode()


# The caller may write below photos/ of one bucket.  Each of these is asked for with a
# good signature of each of the resources; nothing may come to be anywhere else.
ATTACKED_HOSTS = [
    "127.0.0.1",
    f"{BUCKET}.example",
    f"{OTHER_BUCKET}.example",
    f"{BUCKET}%2F.example",
    f".{BUCKET}",
]
ATTACKS = [
    f"/{BUCKET}/photos/a",
    f"/{OTHER_BUCKET}/photos/a",
    "/photos/a",
    f"/{BUCKET}/other",
    f"//{BUCKET}/photos/a",
    f"/{BUCKET}//photos/a",
    f"/{BUCKET}/photos//a",
    f"/{BUCKET}/photos/../other",
    f"/{BUCKET}/photos/%2e%2e/other",
    f"/{BUCKET}/photos/../../{OTHER_BUCKET}/a",
    f"/{BUCKET}%2Fphotos/a",
    f"/{BUCKET}%2F..%2F{OTHER_BUCKET}/a",
    f"/{OTHER_BUCKET}%2F{BUCKET}/photos/a",
    f"/{OTHER_BUCKET}/{BUCKET}/photos/a",
    f"/{OTHER_BUCKET}/x:{BUCKET}/photos/a",
    f"/{BUCKET}/x:{BUCKET}/photos/a",
    f"/{OTHER_BUCKET}/acs:oss:*:*:{BUCKET}/photos/a",
    f"/{BUCKET.upper()}/photos/a",
    f"/./{BUCKET}/photos/a",
    f"/{BUCKET}\\photos/a",
    f"/{BUCKET}/PHOTOS/a",
    f"/{BUCKET}/photos",
    f"/{BUCKET}/photos%00/a",
    f"/{OTHER_BUCKET}/a?/{BUCKET}/photos/a",
    f"/{BUCKET}/photos/a#/../../other",
]


@pytest.mark.parametrize("scheme", [V1_HEADER, V4_HEADER], ids=["V1", "V4"])
@pytest.mark.parametrize("host", ATTACKED_HOSTS)
def test_no_way_to_write_an_address_leads_beyond_what_is_allowed(
    cloud: Cloud, scheme: Scheme, host: str
) -> None:
    key = cloud.session(allow("PutObject", on=f"{BUCKET}/photos/*"))
    before = cloud.contents()
    statuses = set()
    for attack in ATTACKS:
        path = attack.replace("%2F", "/").replace("%2e", ".").replace("%00", "\0")
        label = host.partition(".")[0]
        allowed = f"/{BUCKET}/photos/a"
        for resource in {allowed, path, f"/{label}{path}", f"/{BUCKET}{path}"}:
            message = Message("PUT", headers={"host": host}, body=b"evil")
            message = scheme.sign(message, key, cloud.clock.now, resource=resource)
            reply = send(cloud.oss, replace(message, target=attack))
            statuses.add(reply.status)

    created = cloud.contents().keys() - before.keys()
    assert statuses <= {200, 400, 403, 404, 501}
    assert 200 in statuses
    assert {name[: len(f"{BUCKET}/photos/")] for name in created} == {
        f"{BUCKET}/photos/"
    }
    assert before.items() <= cloud.contents().items()
    for access in cloud.oss.requests:
        if access.status == 200:
            assert f"{access.bucket}/{access.key}" in created


@pytest.mark.parametrize(
    ("method", "path", "query", "headers"),
    [
        ("PUT", f"/{BUCKET}/{CAT}", {"uploadId": "1"}, {}),
        ("PUT", f"/{BUCKET}/{CAT}", {"uploads": ""}, {}),
        ("PUT", f"/{BUCKET}/{CAT}", {"acl": ""}, {}),
        ("PUT", f"/{BUCKET}/{CAT}", {"response-content-type": "a/b"}, {}),
        ("DELETE", f"/{BUCKET}/{CAT}", {"uploads": ""}, {}),
        ("DELETE", f"/{BUCKET}/{CAT}", {"delete": ""}, {}),
        ("DELETE", f"/{BUCKET}/{CAT}", {"versionId": "1"}, {}),
        ("DELETE", f"/{BUCKET}/", {}, {}),
        ("GET", f"/{BUCKET}/{CAT}", {"acl": ""}, {}),
        ("GET", f"/{BUCKET}/{CAT}", {"delete": ""}, {}),
        ("GET", f"/{BUCKET}/{CAT}", {"x-oss-process": "style/a"}, {}),
        ("GET", f"/{BUCKET}/", {"acl": ""}, {}),
        ("HEAD", f"/{BUCKET}/{CAT}", {"response-content-type": "a/b"}, {}),
        ("PUT", f"/{BUCKET}/{CAT}", {}, {"x-oss-callback": "e30="}),
        ("PUT", f"/{BUCKET}/{CAT}", {}, {"x-oss-server-side-encryption": "AES256"}),
        ("PATCH", f"/{BUCKET}/{CAT}", {}, {}),
        ("get", f"/{BUCKET}/{CAT}", {}, {}),
    ],
)
def test_what_is_not_imitated_is_not_taken_for_something_else(
    cloud: Cloud,
    key: KeyPair,
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
) -> None:
    reply = ask(cloud, key, method, path, query, headers)

    assert reply.status == 501
    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"meow"}
    anonymous = send(cloud.oss, Message(method, path, query, headers))
    assert anonymous.status == 403


# --- CORS -----------------------------------------------------------------------------

ORIGIN = "https://app.example"


@pytest.fixture
def cors(cloud: Cloud) -> Iterator[Cloud]:
    """Stand-ins with buckets that pages of some origins may use."""
    with OssStandIn(cloud.sts) as oss:
        rules = [
            CorsRule(
                allowed_origins=[ORIGIN, "http://*.dev.example"],
                allowed_methods=["GET", "PUT"],
                allowed_headers=["Authorization", "X-OSS-*"],
                expose_headers=["ETag", "x-oss-request-id"],
                max_age_seconds=60,
            ),
            CorsRule(allowed_origins=["http://reader"], allowed_methods=["GET"]),
        ]
        buckets = {
            BUCKET: oss.create_bucket(BUCKET, rules),
            "open": oss.create_bucket("open"),
            "closed": oss.create_bucket("closed", []),
        }
        for bucket in buckets.values():
            bucket.put(CAT, b"meow")
        yield replace(cloud, oss=oss, buckets=buckets)


def preflight(
    oss: OssStandIn, origin: str, method: str, names: str = "", bucket: str = BUCKET
) -> OssReply:
    headers = {"origin": origin, "access-control-request-method": method}
    if names:
        headers["access-control-request-headers"] = names
    return send(oss, Message("OPTIONS", f"/{bucket}/{CAT}", headers=headers))


def cors_headers(reply: OssReply) -> dict[str, str]:
    return {n: v for n, v in reply.headers.items() if n.startswith("access-control-")}


@pytest.mark.parametrize(
    ("origin", "method", "names"),
    [
        pytest.param(ORIGIN, "GET", "", id="no headers"),
        pytest.param(ORIGIN, "PUT", "authorization,x-oss-date", id="headers"),
        pytest.param(ORIGIN, "PUT", "AUTHORIZATION, X-oss-Meta-a ", id="case, blanks"),
        pytest.param("http://a.dev.example", "GET", "", id="wildcard"),
        pytest.param("http://reader", "GET", "anything", id="second rule"),
    ],
)
def test_a_preflight_that_a_rule_allows_succeeds_for_everybody(
    cors: Cloud, origin: str, method: str, names: str
) -> None:
    reply = preflight(cors.oss, origin, method, names)

    assert (reply.status, reply.body) == (200, b"")
    headers = cors_headers(reply)
    assert headers["access-control-allow-origin"] == origin
    assert method in headers["access-control-allow-methods"].split(", ")
    wanted = {name.strip().lower() for name in names.split(",") if name}
    allowed = headers["access-control-allow-headers"].split(", ")
    assert wanted == {name for name in allowed if name}
    assert int(headers["access-control-max-age"]) in (60, 600)
    assert reply.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    ("origin", "method", "names", "bucket"),
    [
        pytest.param("https://evil.example", "GET", "", BUCKET, id="origin"),
        pytest.param(
            "https://app.example.evil", "GET", "", BUCKET, id="origin goes on"
        ),
        pytest.param("http://app.example", "GET", "", BUCKET, id="scheme"),
        pytest.param("HTTPS://APP.EXAMPLE", "GET", "", BUCKET, id="origin in caps"),
        pytest.param("null", "GET", "", BUCKET, id="null origin"),
        pytest.param(ORIGIN, "DELETE", "", BUCKET, id="method"),
        pytest.param(ORIGIN, "put", "", BUCKET, id="method in lower case"),
        pytest.param(ORIGIN, "PUT", "content-type", BUCKET, id="header"),
        pytest.param(
            ORIGIN, "PUT", "x-oss-date,cookie", BUCKET, id="one of the headers"
        ),
        pytest.param("http://reader", "PUT", "", BUCKET, id="method of another rule"),
        pytest.param(ORIGIN, "GET", "", "closed", id="no rules"),
        pytest.param(ORIGIN, "GET", "", "no-such-bucket", id="no bucket"),
    ],
)
def test_a_preflight_that_no_rule_allows_is_refused(
    cors: Cloud, origin: str, method: str, names: str, bucket: str
) -> None:
    reply = preflight(cors.oss, origin, method, names, bucket)

    assert reply.outcome == (403, "AccessForbidden")
    assert cors_headers(reply) == {}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": ORIGIN},
        {"access-control-request-method": "GET"},
        {"origin": ORIGIN, "access-control-request-headers": "x-oss-date"},
    ],
)
def test_a_preflight_that_does_not_say_what_for_is_refused(
    cors: Cloud, headers: dict[str, str]
) -> None:
    reply = send(cors.oss, Message("OPTIONS", f"/{BUCKET}/{CAT}", headers=headers))

    assert reply.outcome == (400, "BadRequest")


ERRORS = {
    "none": lambda m: m,
    "no such key": lambda m: m,
    "mismatch": lambda m: m.with_headers(authorization=m.headers["authorization"][:-1]),
    "anonymous": lambda m: m.with_headers(authorization=None),
    "bad parameters": lambda m: replace(m, target=f"/{BUCKET}/{CAT}?a=1&a=2"),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [(ORIGIN, True), ("https://evil.example", False), (None, False)],
    ids=["allowed", "not allowed", "no origin"],
)
def test_replies_and_errors_are_for_pages_of_allowed_origins(
    cors: Cloud, key: KeyPair, error: str, origin: str | None, is_allowed: bool
) -> None:
    path = f"/{BUCKET}/{'none' if error == 'no such key' else CAT}"
    message = Message(path=path, headers={"origin": origin} if origin else {})
    message = V4_HEADER.sign(message, key, cors.clock.now)

    reply = send(cors.oss, ERRORS[error](message))

    assert (reply.status == 200) == (error == "none")
    assert cors_headers(reply) == (
        {
            "access-control-allow-origin": ORIGIN,
            "access-control-expose-headers": "ETag, x-oss-request-id",
        }
        if is_allowed
        else {}
    )
    assert reply.headers.get("vary") == ("Origin" if is_allowed else None)


def test_a_request_of_a_method_that_no_rule_allows_is_served_but_not_shown(
    cors: Cloud, key: KeyPair
) -> None:
    message = Message("DELETE", headers={"origin": ORIGIN})
    asked = message.with_headers(access_control_request_method="GET")
    for request in (message, asked):
        reply = send(cors.oss, V4_HEADER.sign(request, key, cors.clock.now))

        assert (reply.status, cors_headers(reply)) == (204, {})


def test_by_default_any_page_may_upload_and_see_what_sdks_need(
    cors: Cloud, key: KeyPair
) -> None:
    names = "authorization,content-type,x-oss-date,x-oss-security-token,x-oss-meta-a"
    allowed = preflight(cors.oss, "null", "PUT", names, "open")
    message = Message("PUT", f"/open/{CAT}", headers={"origin": "null"}, body=b"x")
    reply = send(cors.oss, V4_HEADER.sign(message, key, cors.clock.now))

    assert allowed.status == reply.status == 200
    assert reply.headers["access-control-allow-origin"] == "*"
    exposed = reply.headers["access-control-expose-headers"].lower().split(", ")
    assert {"etag", "x-oss-request-id", "x-oss-hash-crc64ecma"} <= set(exposed)


# --- Secrets and the log --------------------------------------------------------------


def test_neither_log_nor_repr_shows_a_secret(
    cloud: Cloud,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG, "localcloud.oss")
    key = cloud.session()
    seen: list[object] = []
    answer = OssStandIn.answer

    def spy(oss: OssStandIn, request: Request) -> Reply:
        seen.extend([request, request.signable, request.places({})])
        return answer(oss, request)

    monkeypatch.setattr(OssStandIn, "answer", spy)
    secrets = [key.access_key_secret, key.security_token, quote(key.security_token, "")]
    for scheme in SCHEMES.values():
        signed = scheme.sign(Message(), key, cloud.clock.now)
        secrets.append(signature_of(signed))
        send(cloud.oss, signed)
        send(cloud.oss, signed.with_headers(x_oss_meta_a="changed"))
        send(cloud.oss, replace(signed, path=f"/{BUCKET}/none"))

    assert len(seen) == 3 * len(cloud.oss.requests) == 36
    shown = f"{caplog.text} {seen!r} {cloud.oss.requests!r}"
    assert [secret for secret in secrets if secret in shown] == []
    assert key.access_key_id in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", f"{BUCKET}.example"])
def test_a_request_leaves_one_line_in_the_log(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    caplog.set_level(logging.INFO, "localcloud.oss")
    evil = "%0aOSS%20GET%20GetObject%0d%1b[31m%e2%80%a8%c2%85"
    for method in ("GET", "\x1b[31mGET", "OPTIONS"):
        for target in (
            f"/{BUCKET}/a{evil}",
            f"/a{evil}/b",
            f"/{BUCKET}/a?{evil}={evil}",
        ):
            message = Message(method, headers={"host": host}, target=target)
            send(cloud.oss, message.with_headers(authorization="OSS \x1b[31m:\x1b"))

    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(cloud.oss.requests) == 9
    assert all(message.isprintable() for message in messages)


# --- Requests that nobody thought of --------------------------------------------------

Spoiling = tuple[int, int, bytes]
SPOILERS = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from(
        [
            b"\r\n",
            b"\r",
            b"\n",
            b"\0",
            b" ",
            b"%",
            b"%2F",
            b"/",
            b"?",
            b"&",
            b"=",
            b":",
            b"\r\n ",
            b"..",
            b"\r\n\r\n",
            b"\r\nHost: x\r\n",
            b"\r\nTransfer-Encoding: chunked\r\n",
            b"\r\nContent-Length: 1\r\n",
            b"\r\nExpect: 100-continue\r\n",
            b"\r\nx-oss-date:\r\n",
            b"\r\nAuthorization: OSS a:b\r\n",
            b"\xe5\x85\xac",
        ]
    ),
)
EDIT = st.tuples(st.integers(0, 2000), st.integers(0, 3), SPOILERS)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(sorted(SCHEMES)),
    method=st.sampled_from(["GET", "PUT"]),
    edits=st.lists(EDIT, min_size=1, max_size=3),
)
def test_a_spoilt_request_breaks_nothing_and_gets_no_more_than_was_signed(
    cloud: Cloud, key: KeyPair, name: str, method: str, edits: list[Spoiling]
) -> None:
    bucket = cloud.buckets[BUCKET]
    bucket.put(CAT, b"meow")
    bucket.put(DOG, b"secret")
    body = b"purr" if method == "PUT" else b""
    message = SCHEMES[name].sign(Message(method, body=body), key, cloud.clock.now)
    data = message.encoded(cloud.oss.port)
    head_length = len(data) - len(body)
    for place, gone, put in edits:
        place %= head_length
        data = data[:place] + put + data[place + gone :]

    received = exchange(cloud.oss.port, data)

    for line in re.findall(rb"^HTTP/1.1 (.*?)\r$", received, re.MULTILINE):
        assert line[:1] in b"1234" or line[:3] in (b"501", b"505"), line
    assert b"secret" not in received
    contents = cloud.contents()
    cat = contents.pop(f"{BUCKET}/{CAT}")
    assert cat == b"meow" or method == "PUT"  # no scheme signs what is uploaded
    assert contents == {f"{BUCKET}/{DOG}": b"secret"}
    assert cloud.tracebacks == []
    assert ask(cloud, key).status == 200


def exchange(port: int, data: bytes) -> bytes:
    """Return all that comes back for *data*, and nothing more."""
    received = bytearray()
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client,
        contextlib.suppress(ConnectionError),
    ):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while arrived := client.recv(65536):
            received += arrived
    return bytes(received)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET / HTTP/1.1\r\nno header\r\nHost: a\r\n\r\n", id="no header"),
        pytest.param(b"GET / HTTP/1.1\r\n folded: a\r\nHost: a\r\n\r\n", id="folded"),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            id="other coding",
        ),
        pytest.param(b"PUT /a/b HTTP/1.1\r\nContent-Length: -1\r\n\r\n", id="negative"),
        pytest.param(b"PUT /a/b HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", id="list"),
        pytest.param(b"PUT /a/b HTTP/1.1\r\nContent-Length: ++1\r\n\r\n", id="sign"),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nContent-Length: " + b"9" * 17 + b"\r\n\r\n",
            id="huge",
        ),
        pytest.param(b"PUT /a/b HTTP/1.1\r\nContent-Length:\r\n\r\n", id="empty"),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n",
            id="two lengths",
        ),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nContent-Length: 0\r\ncontent-length: 0\r\n\r\n",
            id="a length twice",
        ),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"
            b"\r\n\r\n0\r\n\r\n",
            id="length and chunks",
        ),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="a coding twice",
        ),
    ],
)
def test_a_request_whose_end_is_not_clear_ends_the_connection(
    cloud: Cloud, head: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", cloud.oss.port), timeout=60) as client:
        client.sendall(head)
        reply = read_reply(client, "GET")

        assert reply.status in (400, 501)
        assert reply.headers["connection"] == "close"
        assert reply.headers["x-oss-request-id"] == reply.text("RequestId")
        assert client.recv(1) == b""


def twice(message: Message, port: int, line: str) -> bytes:
    """Return *message* with one more header."""
    head, end, body = message.encoded(port).partition(b"\r\n\r\n")
    return head + b"\r\n" + line.encode() + end + body


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: OSS a:b",
        "authorization: {authorization}",
        "Date: {date}",
        "Host: other.example",
        "Content-Type: text/html",
        "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==",
        "X-OSS-Meta-A: 1",
        "x-oss-content-sha256: UNSIGNED-PAYLOAD",
        "x-oss-security-token: CAIS",
        "Range: bytes=0-0",
        "If-None-Match: a",
        "Origin: https://app.example",
        "User-Agent: other",
        "Cache-Control: no-cache",
        "Expires: 0",
    ],
)
def test_a_header_that_oss_reads_may_not_be_there_twice(
    cloud: Cloud, line: str
) -> None:
    key = cloud.session()
    message = signed_get(cloud, key).with_headers(
        range="bytes=1-1",
        if_none_match="b",
        origin="https://app.example",
        user_agent="app",
        cache_control="no-store",
        expires="1",
    )
    second = line.format(**message.headers)

    received = exchange(cloud.oss.port, twice(message, cloud.oss.port, second))

    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>InvalidArgument</Code>" in received
    assert second.partition(":")[0].lower().encode() in received
    assert b"meow" not in received
    assert send(cloud.oss, message).status == 206


@pytest.mark.parametrize("name", ["Accept", "X-Forwarded-For", "Via", "Cookie"])
def test_other_headers_may_be_lists_in_several_lines(
    cloud: Cloud, key: KeyPair, name: str
) -> None:
    message = V4_HEADER.sign(
        Message(headers={name.lower(): "a, b", "host": "127.0.0.1"}),
        key,
        cloud.clock.now,
        additional_headers=name.lower(),
    )
    split = message.with_headers(**{name.lower(): "a"})

    received = exchange(cloud.oss.port, twice(split, cloud.oss.port, f"{name}: b"))

    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"meow")


def test_a_refused_body_is_not_taken_for_the_next_request(
    cloud: Cloud, key: KeyPair
) -> None:
    get = signed_get(cloud, key).with_headers(connection="keep-alive")
    smuggled = get.encoded(cloud.oss.port)
    outer = Message("PUT", headers={"connection": "keep-alive"}, body=smuggled)

    received = exchange(cloud.oss.port, outer.encoded(cloud.oss.port))

    assert received.count(b"HTTP/1.1 ") == 1
    assert b"meow" not in received
