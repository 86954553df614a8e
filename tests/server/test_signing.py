"""Forms and URLs that are signed with V4."""

from __future__ import annotations

import base64
import calendar
import json
import re
import time
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, urlsplit

from alibabacloud_oss_v2.signer import SignerV4
from alibabacloud_oss_v2.types import Credentials, HttpRequest, SigningContext
from hypothesis import given
from hypothesis import strategies as st

from tokenserver.oss.bucket import Bucket, default_endpoint
from tokenserver.oss.signing import Presigned, Signer, sign_form, sign_url


def bucket(name: str = "my-bucket", region: str = "cn-hangzhou") -> Bucket:
    return Bucket(name, region, default_endpoint(region), None)


def signer(at: str = "20260102T024905Z", **changes: Any) -> Signer:
    """Return who signs at a time, as V4 writes it."""
    values: dict[str, Any] = {
        "access_key_id": "STS.EXAMPLE",
        "access_key_secret": "EXAMPLESECRET",
        "security_token": "EXAMPLETOKEN",
        "region": "cn-hangzhou",
        "now": float(calendar.timegm(time.strptime(at, "%Y%m%dT%H%M%SZ"))),
    }
    return Signer(**(values | changes))


def signature(url: str) -> str:
    (found,) = re.findall(r"[?&]x-oss-signature=([0-9a-f]{64})(?:&|$)", url)
    return str(found)


def test_a_url_has_the_signature_of_the_sdks_own_vector() -> None:
    """From the tests of alibabacloud_oss_v2."""
    key = signer(
        "20231217T035628Z",
        access_key_id="ak",
        access_key_secret="sk",
        security_token="token",
    )
    request = Presigned(
        "PUT",
        bucket("bucket"),
        "1234+-/123/1.txt",
        {"x-oss-head1": "value", "content-type": "application/octet-stream"},
        {
            "param1": "value1",
            "+param1": "value3",
            "|param1": "value4",
            "+param2": "",
            "|param2": "",
            "param2": "",
        },
        599,
    )

    url = sign_url(key, request)

    assert signature(url) == (
        "3817ac9d206cd6dfc90f1c09c00be45005602e55898f26f5ddb06d7892e1f8b5"
    )
    assert urlsplit(url).netloc == "bucket.oss-cn-hangzhou.aliyuncs.com"
    assert urlsplit(url).path == "/1234%2B-/123/1.txt"


def test_headers_that_are_signed_change_the_signature() -> None:
    headers = {"Content-Type": "image/jpeg", "x-oss-forbid-overwrite": "true"}
    request = Presigned("PUT", bucket(), "users/alice/cat.jpg", headers, {}, 300)

    assert signature(sign_url(signer(), request)) == (
        "95a1f555691555f23a0ca2091a8f757a3376de340d8835c40f75aad5ca7f0575"
    )


def test_a_form_pins_what_the_server_fills_in() -> None:
    until = calendar.timegm((2026, 1, 2, 3, 4, 5))
    conditions: list[Any] = [
        ["starts-with", "$key", "users/alice/"],
        ["content-length-range", 1, 10485760],
    ]

    fields = sign_form(signer(), {"success_action_status": "200"}, conditions, until)

    assert list(fields) == [
        "success_action_status",
        "x-oss-signature-version",
        "x-oss-credential",
        "x-oss-date",
        "x-oss-security-token",
        "policy",
        "x-oss-signature",
    ]
    policy = json.loads(base64.b64decode(fields["policy"]))
    assert policy["expiration"] == "2026-01-02T03:04:05.000Z"
    assert policy["conditions"] == [
        {"success_action_status": "200"},
        {"x-oss-signature-version": "OSS4-HMAC-SHA256"},
        {"x-oss-credential": "STS.EXAMPLE/20260102/cn-hangzhou/oss/aliyun_v4_request"},
        {"x-oss-date": "20260102T024905Z"},
        {"x-oss-security-token": "EXAMPLETOKEN"},
        ["starts-with", "$key", "users/alice/"],
        ["content-length-range", 1, 10485760],
    ]


def test_a_policy_has_the_signature_that_was_computed_apart() -> None:
    """Over the same bytes, checked with other code."""
    policy = (
        '{"expiration":"2026-01-02T03:04:05.000Z","conditions":[{"bucket":"my-bucket"},'
        '{"x-oss-signature-version":"OSS4-HMAC-SHA256"},{"x-oss-credential":'
        '"STS.EXAMPLE/20260102/cn-hangzhou/oss/aliyun_v4_request"},{"x-oss-date":'
        '"20260102T024905Z"},{"x-oss-security-token":"EXAMPLETOKEN"},["starts-with",'
        '"$key","users/alice/"],["content-length-range",1,10485760],["in",'
        '"$content-type",["image/jpeg","image/png"]],["eq","$x-oss-forbid-overwrite",'
        '"true"],["eq","$success_action_status","200"]]}'
    )
    text = base64.b64encode(policy.encode()).decode()

    assert signer().sign(text) == (
        "905c1634a9caaf67e0155b2399e71aaabff800786ec62fafed718740b057771e"
    )


def signature_of_the_sdk(key: Signer, request: Presigned) -> str:
    """Return what alibabacloud_oss_v2 signs the same request with."""
    query = "&".join(f"{k}={quote(v, safe='')}" for k, v in request.query.items())
    now = datetime.fromtimestamp(key.now, timezone.utc)
    context = SigningContext(
        product="oss",
        region=key.region,
        bucket=request.bucket.name,
        key=request.object_name,
        request=HttpRequest(request.method, f"https://host/?{query}"),
        credentials=Credentials(
            key.access_key_id, key.access_key_secret, key.security_token
        ),
        signing_time=now,
    )
    context.auth_method_query = True
    context.expiration_time = now + timedelta(seconds=request.seconds)
    context.request.headers.update(request.headers)
    SignerV4().sign(context)
    return signature(context.request.url)


# What object names and values may have in them: any text, and what signers get wrong
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
NAMES = st.text("abcXYZ019-._~ +%&=?#/|é目", min_size=1, max_size=30)


@given(
    name=NAMES.filter(lambda text: text[0] not in "/\\"),
    content_type=st.sampled_from(["", "image/jpeg", "text/plain; charset=utf-8"]),
    query=st.dictionaries(
        st.sampled_from(["x-oss-process", "callback", "callback-var", "call"]), TEXTS
    ),
    seconds=st.integers(1, 7 * 24 * 3600),
    now=st.integers(1_600_000_000, 4_000_000_000),
    secret=st.text("abcXYZ019", min_size=1, max_size=40),
)
def test_a_url_is_signed_as_the_sdk_signs_it(
    name: str,
    content_type: str,
    query: dict[str, str],
    seconds: int,
    now: int,
    secret: str,
) -> None:
    key = signer(access_key_secret=secret, now=float(now))
    headers = {"Content-Type": content_type} if content_type else {}
    request = Presigned("GET", bucket(), name, headers, query, seconds)

    url = sign_url(key, request)

    assert signature(url) == signature_of_the_sdk(key, request)
