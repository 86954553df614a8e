"""Which pages of other origins may use a bucket (CORS)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from helpers.oss.client import OssReply, send
from helpers.oss.cloud import Cloud
from helpers.oss.signing import BUCKET, CAT, V4_HEADER, KeyPair, Message

from localcloud.oss import CorsRule, OssStandIn

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
