"""Whose signature counts for what, over HTTP: V1 and V4, in headers and URLs."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

import pytest
from helpers.oss.client import INVALID, MISMATCH, OK, send
from helpers.oss.cloud import OTHER_BUCKET, Cloud, ask, signed_get
from helpers.oss.signing import (
    BUCKET,
    CAT,
    DOG,
    REGION,
    SCHEMES,
    V1_HEADER,
    V1_URL,
    V4_HEADER,
    V4_URL,
    KeyPair,
    Message,
    Scheme,
    each_scheme,
    edit_signature,
    http_date,
    iso_time,
    signature_of,
    v1_signature,
    v4_signature,
)

from localcloud.sts import ALLOW_ALL

Edit = Callable[[Message], Message]


# --- Signatures -----------------------------------------------------------------------
@each_scheme
@pytest.mark.parametrize("kind", ["user", "session"])
def test_a_signed_request_is_served(cloud: Cloud, scheme: Scheme, kind: str) -> None:
    key = cloud.user(ALLOW_ALL) if kind == "user" else cloud.session()

    reply = send(cloud.oss, signed_get(cloud, key, scheme))

    assert (reply.outcome, reply.body) == (OK, b"meow")
    assert reply.headers["content-type"] == "image/jpeg"
    assert [a.access_key_id for a in cloud.oss.requests] == [key.access_key_id]


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
