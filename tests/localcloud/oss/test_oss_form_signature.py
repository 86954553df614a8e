"""Who may upload by a form: its signature, and what its maker may do."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from helpers.oss.app_server import callback
from helpers.oss.client import DENIED, INVALID, MISMATCH, STORED, send
from helpers.oss.cloud import OTHER_BUCKET, Cloud, allow, deny
from helpers.oss.forms import (
    BEFORE,
    Fields,
    Sign,
    as_browser,
    each_version,
    edited,
    message_of,
    post,
    signature_fields,
    signed,
)
from helpers.oss.signing import BUCKET, KeyPair, iso_time, v4_fields


def longer(policy: str) -> str:
    """Return the same conditions, with a blank after the JSON."""
    return base64.b64encode(base64.b64decode(policy) + b" ").decode()


# --- Its signature --------------------------------------------------------------------
@each_version
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda k, f: {**f, "policy": longer(f["policy"])}, id="policy"),
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
        ("callback", callback("http://app.example.com")),
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
