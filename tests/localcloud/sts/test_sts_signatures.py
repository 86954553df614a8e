"""What proves to the STS stand-in who calls: signature, time and nonce.

Whoever signs: the official examples, or these tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
from helpers.sts.calls import (
    EMPTY_HASH,
    NO_PARAMS,
    Call,
    both_styles,
    call_acs3,
    call_rpc,
    documented,
    issue,
    send,
    timestamp,
)

from localcloud.clock import Clock
from localcloud.sts import (
    FORM,
    JSON,
    StsStandIn,
    acs3_signature,
    acs3_string_to_sign,
    canonical_query,
    rpc_signature,
    rpc_string_to_sign,
)
from localcloud.sts import stand_in as sts_module

# --- Signatures: the official examples, and our own
OWN_PARAMS = {
    "RoleArn": "acs:ram::123456789012:role/app",
    "RoleSessionName": "alice@x",
    "DurationSeconds": "900",
    "Policy": '{"Version":"1", "a":"*~"}',
}


def test_rpc_signature_of_the_official_example() -> None:
    params = {
        "SignatureVersion": "1.0",
        "Format": "JSON",
        "Timestamp": "2015-09-01T05:57:34Z",
        "RoleArn": "acs:ram::1234567890123:role/firstrole",
        "RoleSessionName": "client",
        "AccessKeyId": "testid",
        "SignatureMethod": "HMAC-SHA1",
        "Version": "2015-04-01",
        "Action": "AssumeRole",
        "SignatureNonce": "571f8fb8-506e-11e5-8e12-b8e8563dc8d2",
    }

    string_to_sign = rpc_string_to_sign("GET", params.items())
    assert rpc_signature("testsecret", string_to_sign) == "gNI7b0AyKZHxDgjBGPDgJ1Ce3L4="


def test_rpc_signature_of_a_policy_with_a_space_asterisk_and_tilde() -> None:
    params = {
        **OWN_PARAMS,
        "AccessKeyId": "LTAIexample",
        "Action": "AssumeRole",
        "Format": "json",
        "Version": "2015-04-01",
        "Timestamp": "2026-01-02T03:04:05Z",
        "SignatureNonce": "n-1",
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "Signature": "is not signed",
    }

    string_to_sign = rpc_string_to_sign("POST", params.items())
    signature = rpc_signature("secretexample", string_to_sign)
    assert signature == "sWa13OdIAmj5udXuCXBTPvvJ4/0="


def test_acs3_signature_of_the_official_example() -> None:
    query = {
        "ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd",
        "RegionId": "cn-shanghai",
    }
    headers = {
        "host": "ecs.cn-shanghai.aliyuncs.com",
        "x-acs-action": "RunInstances",
        "x-acs-content-sha256": EMPTY_HASH,
        "x-acs-date": "2023-10-26T10:22:32Z",
        "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
        "x-acs-version": "2014-05-26",
    }

    string_to_sign = acs3_string_to_sign(
        "POST", query.items(), headers, ";".join(sorted(headers)), EMPTY_HASH
    )
    assert acs3_signature("YourAccessKeySecret", string_to_sign) == (
        "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    )


def test_acs3_signature_of_a_policy_with_a_space_asterisk_and_tilde() -> None:
    headers = {
        "accept": "application/json",
        "host": "127.0.0.1:8080",
        "user-agent": " ua/1 ",
        "x-acs-action": "AssumeRole",
        "x-acs-content-sha256": EMPTY_HASH,
        "x-acs-credentials-provider": "static_ak",
        "x-acs-date": "2026-01-02T03:04:05Z",
        "x-acs-signature-nonce": "n-1",
        "x-acs-version": "2015-04-01",
    }

    string_to_sign = acs3_string_to_sign(
        "POST", OWN_PARAMS.items(), headers, ";".join(sorted(headers)), EMPTY_HASH
    )
    assert string_to_sign == (
        "ACS3-HMAC-SHA256\n"
        "0a42b0fee90632e9e5f2086a741f4a608764041a20ba895e29bbeda8667a07ed"
    )
    assert acs3_signature("secretexample", string_to_sign) == (
        "4da08992e8b4fc7381294b8306edc32c7e71e929bf35d008e08d75041b8f237b"
    )


def test_canonical_query_is_sorted_and_percent_encoded() -> None:
    assert canonical_query(OWN_PARAMS.items()) == (
        "DurationSeconds=900&Policy=%7B%22Version%22%3A%221%22%2C%20%22a%22%3A%22%2A~%22"
        "%7D&RoleArn=acs%3Aram%3A%3A123456789012%3Arole%2Fapp&RoleSessionName=alice%40x"
    )
    assert canonical_query([("é", ""), ("a+b", "1/2")]) == "%C3%A9=&a%2Bb=1%2F2"


# --- Signature, timestamp, nonce
@both_styles
def test_parameter_altered_on_the_way_is_refused(sts: StsStandIn, call: Call) -> None:
    answer = call(sts, altered={"RoleSessionName": "mallory"})

    assert answer.code == "SignatureDoesNotMatch"


@both_styles
def test_other_signature_is_refused(sts: StsStandIn, call: Call) -> None:
    assert call(sts, signature="é").code == "SignatureDoesNotMatch"


def test_refused_rpc_signature_is_told_what_to_sign(sts: StsStandIn) -> None:
    now = timestamp(sts.clock()).replace(":", "%253A")

    answer = call_rpc(sts, signature="x", SignatureNonce="n", RoleSessionName="a b")

    assert answer.json["Message"] == (
        "Specified signature is not matched with our calculation."
        " server string to sign is:GET&%2F&AccessKeyId%3DLTAI5tTest"
        "%26Action%3DAssumeRole%26Format%3DJSON%26RoleArn%3Dacs%253Aram%253A%253A"
        "1234567890123456%253Arole%252Fapp%26RoleSessionName%3Da%2520b"
        "%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3Dn%26SignatureVersion%3D1.0"
        f"%26Timestamp%3D{now}%26Version%3D2015-04-01"
    )


def test_refused_acs3_signature_is_told_what_to_sign(sts: StsStandIn) -> None:
    message = call_acs3(sts, signature="x").json["Message"]

    assert re.search(r"string to sign is:ACS3-HMAC-SHA256\n[0-9a-f]{64}$", message)


@pytest.mark.parametrize(
    "name",
    [
        "host",
        "x-acs-action",
        "x-acs-content-sha256",
        "x-acs-date",
        "x-acs-security-token",
        "x-acs-signature-nonce",
        "x-acs-version",
    ],
)
def test_acs3_header_left_unsigned_is_refused(sts: StsStandIn, name: str) -> None:
    answer = call_acs3(sts, by=issue(sts), unsigned=name)

    assert answer.error == documented("IncompleteSignature")


@pytest.mark.parametrize(
    "signed_headers",
    [
        pytest.param(lambda names: sorted(names, reverse=True), id="unsorted"),
        pytest.param(lambda names: ["x-acs-date", *sorted(names)], id="another first"),
        pytest.param(lambda names: sorted([*names, "host"]), id="one twice"),
        pytest.param(lambda names: sorted(names * 2), id="all twice"),
        pytest.param(lambda names: sorted([*names, "Accept"]), id="upper case"),
        pytest.param(lambda names: ["", *sorted(names)], id="empty"),
        pytest.param(lambda names: [*sorted(names), ""], id="empty at the end"),
    ],
)
def test_acs3_signed_headers_out_of_order_are_refused(
    sts: StsStandIn, signed_headers: Callable[[list[str]], list[str]]
) -> None:
    accept = {"accept": "application/json"}

    answer = call_acs3(sts, headers=accept, signed_headers=signed_headers)

    assert answer.error == documented("IncompleteSignature")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Action", "GetCallerIdentity"),
        ("Version", "2014-05-26"),
        ("Timestamp", "2026-01-02T03:04:05Z"),
        ("SignatureNonce", "another"),
        ("AccessKeyId", "LTAI5tOther"),
        ("SecurityToken", "CAIS"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("Signature", "x"),
    ],
)
@pytest.mark.parametrize("place", ["query", "body"])
def test_acs3_call_that_contradicts_its_headers_is_refused(
    sts: StsStandIn, name: str, value: str, place: str
) -> None:
    token = issue(sts)
    headers = {"content-type": FORM}

    if place == "query":
        answer = call_acs3(sts, by=token, also={name: value})
    else:
        body = urlencode({name: value}).encode()
        answer = call_acs3(sts, by=token, body=body, headers=headers)

    assert answer.error == (
        f"400 InvalidParameter.{name}: The parameter {name} is not that of the headers."
    )


def test_acs3_call_may_say_again_what_its_headers_say(sts: StsStandIn) -> None:
    same = {"Action": "AssumeRole", "Version": "2015-04-01"}

    assert call_acs3(sts, also=same).status == 200


@both_styles
def test_region_and_an_empty_signature_type_are_common_parameters(
    sts: StsStandIn, call: Call
) -> None:
    common = {"RegionId": "cn-hangzhou", "SignatureType": ""}

    assert call(sts, **common).status == 200
    assert call(sts, Action="GetCallerIdentity", **NO_PARAMS, **common).status == 200
    assert "RegionId" not in sts.requests[0].params


def test_rpc_call_may_contradict_headers_that_it_does_not_sign(sts: StsStandIn) -> None:
    """pop-core has the name of the action there as its caller wrote it."""
    assert call_rpc(sts, headers={"x-acs-action": "assumeRole"}).status == 200


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param("ACS3-HMAC-SHA256", id="bare algorithm"),
        pytest.param("ACS3-HMAC-SHA256 Credential=a,Signature=b", id="two fields"),
        pytest.param("Basic YTpi", id="other scheme"),
    ],
)
def test_acs3_authorization_out_of_form_is_refused(
    sts: StsStandIn, authorization: str
) -> None:
    answer = call_acs3(sts, headers={"authorization": authorization})

    assert answer.error == documented("IncompleteSignature")


def test_acs3_call_without_authorization_is_refused(sts: StsStandIn) -> None:
    answer = send(sts, "POST", "/", {"x-acs-action": "AssumeRole"})

    assert answer.error == documented("IncompleteSignature")


@pytest.mark.parametrize(
    "name",
    [
        "AccessKeyId",
        "Action",
        "SignatureMethod",
        "SignatureNonce",
        "SignatureVersion",
        "Timestamp",
        "Version",
    ],
)
def test_rpc_call_without_a_common_parameter_is_refused(
    sts: StsStandIn, name: str
) -> None:
    changes: Any = {name: None}

    assert call_rpc(sts, **changes).error == documented(f"Missing{name}")


def test_rpc_signature_of_another_version_is_refused(sts: StsStandIn) -> None:
    answer = call_rpc(sts, SignatureVersion="2.0")

    assert answer.error == documented("InvalidSignatureMethod")


def test_rpc_call_without_signature_is_refused(sts: StsStandIn) -> None:
    assert call_rpc(sts, signature="").error == documented("MissingSignature")


def test_acs3_body_other_than_its_hash_is_refused(sts: StsStandIn) -> None:
    headers = {"x-acs-content-sha256": EMPTY_HASH, "content-type": JSON}

    answer = call_acs3(sts, body=b'{"Policy": ""}', headers=headers)

    assert answer.code == "SignatureDoesNotMatch"


@both_styles
@pytest.mark.parametrize("minutes", [-15, 15])
def test_clock_may_be_fifteen_minutes_off(
    sts: StsStandIn, clock: Clock, call: Call, minutes: int
) -> None:
    at = clock.now + minutes * 60
    too_far = at + minutes / abs(minutes)

    assert call(sts, Timestamp=timestamp(at)).status == 200
    answer = call(sts, Timestamp=timestamp(too_far))
    assert answer.error == documented("InvalidTimeStamp.Expired")


@both_styles
def test_timestamp_may_have_a_fraction(sts: StsStandIn, call: Call) -> None:
    at = timestamp(sts.clock()).replace("Z", ".382Z")

    assert call(sts, Timestamp=at).status == 200


@both_styles
@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02 03:04:05",
        "2026-01-02T03:04:05+00:00",
        "2026-01-02T03:04:05",
        "2026-13-02T03:04:05Z",
        "2026-01-02T03:04:05.Z",
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "1767323045",
    ],
)
def test_timestamp_in_another_form_is_refused(
    sts: StsStandIn, call: Call, text: str
) -> None:
    assert call(sts, Timestamp=text).error == documented("InvalidTimeStamp.Format")


@both_styles
def test_replay_is_refused(sts: StsStandIn, call: Call) -> None:
    assert call(sts, SignatureNonce="n").status == 200
    answer = call(sts, SignatureNonce="n")

    assert answer.error == documented("SignatureNonceUsed")


@both_styles
def test_nonce_is_left_to_its_owner(sts: StsStandIn, call: Call) -> None:
    other = sts.add_user("LTAI5tOther", "other-secret")

    assert call(sts, SignatureNonce="n", signature="forged").status == 400
    assert call(sts, SignatureNonce="n", by=other).status == 200
    assert call(sts, SignatureNonce="n").status == 200


def test_nonce_is_forgotten_after_half_an_hour(sts: StsStandIn, clock: Clock) -> None:
    call_rpc(sts, SignatureNonce="n")

    clock.now += 30 * 60
    assert call_rpc(sts, SignatureNonce="n").error == documented("SignatureNonceUsed")
    clock.now += 1
    assert call_rpc(sts, SignatureNonce="n").status == 200


def test_oldest_of_too_many_nonces_is_forgotten(
    sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sts_module, "NONCES_KEPT", 2)
    for nonce in ("1", "2", "3"):
        call_rpc(sts, SignatureNonce=nonce)

    assert call_rpc(sts, SignatureNonce="3").error == documented("SignatureNonceUsed")
    assert call_rpc(sts, SignatureNonce="1").status == 200


def test_of_replays_at_once_one_succeeds(sts: StsStandIn) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call_rpc, sts, SignatureNonce="n") for _ in range(8)]

    assert sorted(call.result().status for call in calls) == [200] + [400] * 7


def test_acs3_call_may_do_without_a_nonce(sts: StsStandIn) -> None:
    for _ in range(2):
        assert call_acs3(sts, SignatureNonce=None).status == 200
