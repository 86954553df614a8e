"""The STS stand-in refuses what STS refuses, whoever signs: the SDK, or these tests."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
import struct
import threading
import time
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlencode

import pytest
import raw_http
from alibabacloud_sts20150401.client import Client
from alibabacloud_sts20150401.models import AssumeRoleRequest
from alibabacloud_tea_openapi.exceptions import ClientException, ThrottlingException
from alibabacloud_tea_openapi.utils_models import Config
from support import PATIENCE_SECONDS, reserved_port

from localcloud.sts import (
    FORM,
    JSON,
    MANDATORY,
    Behaviour,
    Caller,
    Close,
    Drip,
    Fail,
    Hang,
    IssuedToken,
    Reply,
    Reset,
    StsStandIn,
    acs3_signature,
    acs3_string_to_sign,
    calls,
    canonical_query,
    rpc_signature,
    rpc_string_to_sign,
)
from localcloud.sts import stand_in as sts_module

ACCOUNT = "acs:ram::1234567890123456"
ROLE_ARN = f"{ACCOUNT}:role/app"
USER = Caller("LTAI5tTest", "test-secret", f"{ACCOUNT}:user/app-server")
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
STATEMENT = {"Effect": "Allow", "Action": "oss:PutObject", "Resource": "*"}
POLICY = json.dumps({"Version": "1", "Statement": [STATEMENT]})
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # to linger for zero seconds
NO_PARAMS: Any = dict.fromkeys(["RoleArn", "RoleSessionName"])  # GetCallerIdentity


class Clock:
    """A clock that stands still.  It starts now, as the SDK has no other."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document

    @property
    def code(self) -> str:
        return str(self.json["Code"])

    @property
    def error(self) -> str:
        return f"{self.status} {self.code}: {self.json['Message']}"

    @property
    def token(self) -> str:
        assert self.status == 200, self.body
        return str(self.json["Credentials"]["SecurityToken"])


DOCUMENTED = """\
404 EntityNotExist.Role: The specified Role not exists .
400 IncompleteSignature: The request signature does not conform to Aliyun standards.
500 InternalError: STS Server Internal Error happened, please send the RequestId to us.
400 InvalidAccessKeyId.Inactive: Specified access key is disabled.
404 InvalidAccessKeyId.NotFound: Specified access key is not found.
404 InvalidAction.NotFound: Specified api is not found, \
please check your url and method.
400 InvalidParameter.ContentType: The ContentType request header must be either \
"application/json" or "application/x-www-form-urlencoded".
400 InvalidParameter.DurationSeconds: The Min/Max value of DurationSeconds is 15min/1hr.
400 InvalidParameter.ExternalId: The parameter ExternalId is wrongly formed.
400 InvalidParameter.Format: The parameter Format is wrongly formed.
400 InvalidParameter.PolicyGrammar: The parameter Policy has not passed grammar check.
400 InvalidParameter.PolicySize: The size of Policy must be smaller than 2048 bytes.
400 InvalidParameter.RoleArn: The parameter RoleArn is wrongly formed.
400 InvalidParameter.RoleSessionName: The parameter RoleSessionName is wrongly formed.
400 InvalidParameter.SourceIdentity: The parameter SourceIdentity is wrongly formed.
400 InvalidSecurityToken.Expired: Specified SecurityToken is expired.
400 InvalidSecurityToken.Malformed: Specified SecurityToken is malformed.
400 InvalidSecurityToken.MismatchWithAccessKey: \
Specified SecurityToken mismatch with the AccessKey.
400 InvalidSignatureMethod: Specified signature method is not valid.
400 InvalidTimeStamp.Expired: Specified time stamp or date value is expired.
400 InvalidTimeStamp.Format: Specified time stamp or date value is not well formatted.
400 InvalidVersion: Specified parameter Version is not valid.
403 NoPermission: You are not authorized to do this action. \
You should be authorized by RAM.
503 ServiceUnavailable: The request has failed due to a temporary failure of the server.
400 SignatureNonceUsed: Specified signature nonce was used already.
400 Throttling: Request was denied due to request throttling.
400 Throttling.Api: Request was denied due to api flow control.
400 Throttling.User: Request was denied due to user flow control.
405 UnsupportedHTTPMethod: This http method is not supported.
""".splitlines()


def documented(code: str) -> str:
    """Return the error of *code* as the API pages have it."""
    if code.startswith("Missing"):
        name = code.removeprefix("Missing")
        return f"400 {code}: {name} is mandatory for this action."
    (error,) = [line for line in DOCUMENTED if line.split()[1] == f"{code}:"]
    return error


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def connect(sts: StsStandIn) -> closing[http.client.HTTPConnection]:
    """Return a connection for a with block."""
    timeout = PATIENCE_SECONDS
    return closing(http.client.HTTPConnection(sts.endpoint, timeout=timeout))


def send(
    sts: StsStandIn,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    with connect(sts) as connection:
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())


def business_params(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return the parameters of an AssumeRole that succeeds, but for *changes*."""
    params = {"RoleArn": ROLE_ARN, "RoleSessionName": "alice", **changes}
    return {name: value for name, value in params.items() if value is not None}


def call_rpc(
    sts: StsStandIn,
    *,
    by: Caller | IssuedToken = USER,
    method: str = "GET",
    signature: str | None = None,
    altered: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    **changes: Any,
) -> Answer:
    """Call in RPC style.  What is None is not sent, what is *altered* not signed."""
    common: dict[str, str | None] = {
        "Action": "AssumeRole",
        "Version": "2015-04-01",
        "Format": "JSON",
        "AccessKeyId": by.access_key_id,
        "SecurityToken": getattr(by, "security_token", None),
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": str(uuid.uuid4()),
        "Timestamp": timestamp(sts.clock()),
    }
    params = business_params(common | changes)
    string_to_sign = rpc_string_to_sign(method, params.items())
    if signature is None:
        signature = rpc_signature(by.access_key_secret, string_to_sign)
    sent = urlencode({**params, "Signature": signature, **(altered or {})})
    if method == "GET":
        return send(sts, method, f"/?{sent}", headers)
    form = {"Content-Type": FORM, **(headers or {})}
    return send(sts, method, "/", form, sent.encode())


def call_acs3(
    sts: StsStandIn,
    *,
    by: Caller | IssuedToken = USER,
    method: str = "POST",
    signature: str | None = None,
    altered: Mapping[str, str] | None = None,
    headers: Mapping[str, str | None] | None = None,
    unsigned: str = "",
    also: Mapping[str, str] | None = None,
    signed_headers: Callable[[list[str]], list[str]] = sorted,
    body: bytes = b"",
    **changes: Any,
) -> Answer:
    """Call in ACS3 style.  What is None is not sent, what is *altered* not signed.

    Common parameters are sent in the headers that stand for them; what is *also* in the
    query is signed with the rest of it.
    """
    params: dict[str, str | None] = {
        "AccessKeyId": by.access_key_id,
        "Action": "AssumeRole",
        "SecurityToken": getattr(by, "security_token", None),
        "SignatureMethod": "ACS3-HMAC-SHA256",
        "SignatureNonce": str(uuid.uuid4()),
        "Timestamp": timestamp(sts.clock()),
        "Version": "2015-04-01",
        **changes,
    }
    key_id, algorithm = params.pop("AccessKeyId"), params.pop("SignatureMethod")
    all_headers = {
        "host": sts.endpoint,
        "x-acs-action": params.pop("Action"),
        "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-acs-date": params.pop("Timestamp"),
        "x-acs-security-token": params.pop("SecurityToken"),
        "x-acs-signature-nonce": params.pop("SignatureNonce"),
        "x-acs-version": params.pop("Version"),
        **(headers or {}),
    }
    sent = {name: value for name, value in all_headers.items() if value is not None}
    query = business_params(params) | dict(also or {})
    signed = ";".join(signed_headers(list(sent.keys() - {unsigned})))
    body_hash = hashlib.sha256(body).hexdigest()
    string_to_sign = acs3_string_to_sign(method, query.items(), sent, signed, body_hash)
    if signature is None:
        signature = acs3_signature(by.access_key_secret, string_to_sign)
    sent.setdefault(
        "authorization",
        f"{algorithm} Credential={key_id},SignedHeaders={signed},Signature={signature}",
    )
    return send(sts, method, f"/?{urlencode({**query, **(altered or {})})}", sent, body)


Call = Callable[..., Answer]
both_styles = pytest.mark.parametrize(
    "call", [pytest.param(call_acs3, id="ACS3"), pytest.param(call_rpc, id="RPC")]
)


def sdk(sts: StsStandIn, by: Caller | IssuedToken = USER, style: str = "ACS3") -> Any:
    return Client(
        Config(
            access_key_id=by.access_key_id,
            access_key_secret=by.access_key_secret,
            security_token=getattr(by, "security_token", None),
            endpoint=sts.endpoint,
            protocol="http",
            signature_algorithm="v2" if style == "RPC" else None,
        )
    )


def assume_role_request(**changes: Any) -> Any:
    return AssumeRoleRequest(
        **{"role_arn": ROLE_ARN, "role_session_name": "alice", **changes}
    )


def issue(sts: StsStandIn, **changes: Any) -> IssuedToken:
    token = sts.issued(call_acs3(sts, **changes).token)
    assert token is not None
    return token


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sts(clock: Clock) -> Iterator[StsStandIn]:
    """A stand-in that has a user who may assume a role of at most two hours."""
    with StsStandIn(clock=clock) as sts:
        sts.add_user(USER.access_key_id, USER.access_key_secret, arn=USER.arn)
        sts.add_role(ROLE_ARN, max_session_duration_seconds=7200)
        yield sts


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


# --- The SDK as a client


@pytest.mark.parametrize("style", ["ACS3", "RPC"])
def test_sdk_is_given_credentials(sts: StsStandIn, clock: Clock, style: str) -> None:
    reply = sdk(sts, style=style).assume_role(
        assume_role_request(
            policy=POLICY, duration_seconds=900, source_identity="alice@example"
        )
    )

    body = reply.body
    assert reply.headers["x-acs-request-id"] == body.request_id
    assert re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", body.request_id)
    assert body.assumed_role_user.arn == f"{ROLE_ARN}/alice"
    assert re.fullmatch(r"\d+:alice", body.assumed_role_user.assumed_role_id)
    assert body.source_identity == "alice@example"
    credentials = body.credentials
    assert credentials.access_key_id.startswith("STS.")
    assert credentials.expiration == timestamp(clock.now + 900)
    assert len(credentials.security_token) > 300
    assert set("+/=") < set(credentials.security_token)
    assert sts.issued(credentials.security_token) == IssuedToken(
        access_key_id=credentials.access_key_id,
        access_key_secret=credentials.access_key_secret,
        security_token=credentials.security_token,
        expiration=int(clock.now) + 900,
        policy=POLICY,
        role_arn=ROLE_ARN,
        role_session_name="alice",
    )


@pytest.mark.parametrize("style", ["ACS3", "RPC"])
def test_sdk_sees_who_it_is(sts: StsStandIn, style: str) -> None:
    root = Caller("LTAI5tRoot", "root-secret", f"{ACCOUNT}:root")
    sts.add_user(root.access_key_id, root.access_key_secret, arn=root.arn)

    user = sdk(sts, style=style).get_caller_identity().body
    session = sdk(sts, issue(sts), style).get_caller_identity().body
    account = sdk(sts, root, style).get_caller_identity().body

    assert (user.identity_type, user.account_id) == ("RAMUser", "1234567890123456")
    assert (user.arn, user.principal_id) == (USER.arn, user.user_id)
    assert (session.identity_type, session.user_id) == ("AssumedRoleUser", None)
    assert session.arn == f"{ROLE_ARN}/alice"
    assert session.principal_id == f"{session.role_id}:alice"
    assert (account.identity_type, account.user_id) == ("Account", "1234567890123456")


@pytest.mark.parametrize("style", ["ACS3", "RPC"])
def test_sdk_chains_roles(sts: StsStandIn, style: str) -> None:
    other = f"{ACCOUNT}:role/other"
    sts.add_role(ROLE_ARN, may_assume=[other])
    sts.add_role(other, trusted=[ROLE_ARN])

    request = assume_role_request(role_arn=other)
    reply = sdk(sts, issue(sts), style).assume_role(request)

    assert reply.body.assumed_role_user.arn == f"{other}/alice"


@pytest.mark.parametrize("style", ["ACS3", "RPC"])
def test_sdk_with_the_wrong_secret_is_refused(sts: StsStandIn, style: str) -> None:
    client = sdk(sts, replace(USER, access_key_secret="wrong"), style)
    with pytest.raises(ClientException) as caught:
        client.assume_role(assume_role_request())

    assert caught.value.status_code == 400
    assert caught.value.code == "SignatureDoesNotMatch"


def test_sdk_is_told_when_to_retry(sts: StsStandIn) -> None:
    sts.script(Fail("Throttling.User", headers={"x-acs-retry-after": "250"}))
    with pytest.raises(ThrottlingException) as caught:
        sdk(sts).assume_role(assume_role_request())

    assert (caught.value.code, caught.value.retry_after) == ("Throttling.User", 250)
    assert "Request was denied due to user flow control." in caught.value.message


# --- What is refused, in either style


@both_styles
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"RoleArn": None}, "MissingRoleArn", id="no RoleArn"),
        pytest.param(
            {"RoleArn": f"{ACCOUNT}:user/app"},
            "InvalidParameter.RoleArn",
            id="ARN of a user",
        ),
        pytest.param(
            {"RoleArn": f"{ROLE_ARN:a<200}"}, "InvalidParameter.RoleArn", id="long ARN"
        ),
        pytest.param(
            {"RoleArn": f"{ACCOUNT}:role/absent"},
            "EntityNotExist.Role",
            id="unknown role",
        ),
        pytest.param(
            {"RoleSessionName": ""}, "MissingRoleSessionName", id="empty name"
        ),
        pytest.param(
            {"RoleSessionName": "a"},
            "InvalidParameter.RoleSessionName",
            id="short name",
        ),
        pytest.param(
            {"RoleSessionName": "a" * 65},
            "InvalidParameter.RoleSessionName",
            id="long name",
        ),
        pytest.param(
            {"RoleSessionName": "a/b"},
            "InvalidParameter.RoleSessionName",
            id="slash in name",
        ),
        pytest.param(
            {"RoleSessionName": "ab\n"},
            "InvalidParameter.RoleSessionName",
            id="line feed in name",
        ),
        pytest.param(
            {"DurationSeconds": "899"},
            "InvalidParameter.DurationSeconds",
            id="short duration",
        ),
        pytest.param(
            {"DurationSeconds": "7201"},
            "InvalidParameter.DurationSeconds",
            id="beyond that of the role",
        ),
        pytest.param(
            {"DurationSeconds": "True"},
            "InvalidParameter.DurationSeconds",
            id="duration no number",
        ),
        pytest.param(
            {"Policy": POLICY.ljust(2049)},
            "InvalidParameter.PolicySize",
            id="long policy",
        ),
        pytest.param(
            {"Policy": POLICY.replace("*", "é" * 1000)},
            "InvalidParameter.PolicySize",
            id="policy long in bytes",
        ),
        pytest.param(
            {"Policy": "{"}, "InvalidParameter.PolicyGrammar", id="policy no JSON"
        ),
        pytest.param(
            {"ExternalId": "a"}, "InvalidParameter.ExternalId", id="short external ID"
        ),
        pytest.param(
            {"SourceIdentity": "acs:alice"},
            "InvalidParameter.SourceIdentity",
            id="reserved prefix",
        ),
        pytest.param(
            {"AccessKeyId": "LTAI5tAbsent"},
            "InvalidAccessKeyId.NotFound",
            id="unknown key",
        ),
        pytest.param(
            {"AccessKeyId": "STS.absent"},
            "MissingSecurityToken",
            id="temporary key alone",
        ),
        pytest.param(
            {"SecurityToken": "CAIS+/=="},
            "InvalidSecurityToken.Malformed",
            id="unknown token",
        ),
        pytest.param(
            {"SignatureMethod": "ACS3-HMAC-SM3"},
            "InvalidSignatureMethod",
            id="other algorithm",
        ),
        pytest.param(
            {"Version": "2014-05-26"}, "InvalidVersion", id="version of another API"
        ),
        pytest.param(
            {"Action": "AssumeRoll"}, "InvalidAction.NotFound", id="unknown action"
        ),
    ],
)
def test_call_is_refused(
    sts: StsStandIn, call: Call, changes: dict[str, Any], code: str
) -> None:
    answer = call(sts, **changes)

    assert answer.error == documented(code)


def test_refusal_can_be_traced(sts: StsStandIn) -> None:
    answer = call_acs3(sts, Version="1999-01-01")

    request_id = answer.headers["x-acs-request-id"]
    assert re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", request_id)
    assert answer.json["RequestId"] == request_id
    assert answer.json["HostId"] == sts.endpoint
    assert answer.json["Recommend"] == (
        "https://api.aliyun.com/troubleshoot"
        f"?q=InvalidVersion&product=Sts&requestId={request_id}"
    )


@both_styles
@pytest.mark.parametrize(
    ("changes", "what"),
    [
        pytest.param(
            {"Action": "AssumeRoleWithOIDC"}, "AssumeRoleWithOIDC", id="other action"
        ),
        pytest.param(
            {"SerialNumber": "1"}, "AssumeRole with SerialNumber", id="MFA parameter"
        ),
        pytest.param(  # what the SDK makes of a dict
            {"Policy.Version": "1"}, "AssumeRole with Policy.Version", id="policy"
        ),
        pytest.param(
            {"SignatureType": "BEARERTOKEN"}, "SignatureType BEARERTOKEN", id="bearer"
        ),
    ],
)
def test_what_is_not_imitated_is_refused_loudly(
    sts: StsStandIn, call: Call, changes: dict[str, Any], what: str
) -> None:
    answer = call(sts, **changes)

    message = f"The STS stand-in does not imitate {what}."
    assert answer.error == f"501 NotImitated: {message}"


@both_styles
def test_call_with_any_name_or_external_id_that_is_documented_succeeds(
    sts: StsStandIn, call: Call
) -> None:
    longest_name = "Aa0.@_-".ljust(64, "z")
    external_id = "Aa0_+=,.@:/-".ljust(1224, "z")

    call_ids = {"ExternalId": external_id, "SourceIdentity": "Aa0_+=,.@-"}
    answer = call(sts, RoleSessionName=longest_name, **call_ids)

    assert answer.json["AssumedRoleUser"]["Arn"] == f"{ROLE_ARN}/{longest_name}"
    assert answer.json["SourceIdentity"] == "Aa0_+=,.@-"


@both_styles
@pytest.mark.parametrize(
    "policy",
    [
        pytest.param([], id="array"),
        pytest.param({"Statement": [STATEMENT]}, id="no Version"),
        pytest.param({"Version": 1, "Statement": [STATEMENT]}, id="number as Version"),
        pytest.param({"Version": "1", "Statements": [STATEMENT]}, id="Statements"),
        pytest.param({"Version": "1", "Statement": []}, id="no statements"),
        pytest.param({"Version": "1", "Statement": STATEMENT}, id="bare statement"),
        pytest.param({"Version": "1", "Statement": ["Allow"]}, id="text for statement"),
        *(
            pytest.param({"Version": "1", "Statement": [STATEMENT, statement]}, id=name)
            for name, statement in {
                "other Effect": {**STATEMENT, "Effect": "allow"},
                "Action and NotAction": {**STATEMENT, "NotAction": "oss:*"},
                "no Action": {"Effect": "Allow", "Resource": "*"},
                "no Resource": {"Effect": "Allow", "Action": "*"},
                "Principal": {**STATEMENT, "Principal": "*"},
            }.items()
        ),
    ],
)
def test_policy_that_is_none_is_refused(
    sts: StsStandIn, call: Call, policy: object
) -> None:
    answer = call(sts, Policy=json.dumps(policy))

    assert answer.error == documented("InvalidParameter.PolicyGrammar")


def test_policy_nested_too_deep_to_read_is_refused(sts: StsStandIn) -> None:
    answer = call_rpc(sts, Policy="[" * 2000)

    assert answer.error == documented("InvalidParameter.PolicyGrammar")


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param({**STATEMENT, "Effect": "Deny"}, id="Deny"),
        pytest.param(
            {"Effect": "Allow", "NotAction": ["oss:*"], "Resource": ["*"]},
            id="NotAction",
        ),
    ],
)
def test_policy_of_up_to_2048_bytes_is_kept_with_its_token(
    sts: StsStandIn, statement: object
) -> None:
    policy = json.dumps({"Version": "1", "Statement": [statement]}).ljust(2048)

    assert issue(sts, Policy=policy).policy == policy


@both_styles
@pytest.mark.parametrize(
    ("parameter", "seconds"),
    [(None, 3600), ("", 3600), ("900", 900), ("7200", 7200)],
)
def test_token_expires_when_it_was_asked_to(
    sts: StsStandIn, clock: Clock, call: Call, parameter: str | None, seconds: int
) -> None:
    answer = call(sts, DurationSeconds=parameter)

    expiration = answer.json["Credentials"]["Expiration"]
    assert expiration == timestamp(clock.now + seconds)


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


# --- Where parameters may be, and the form of the reply


def test_rpc_parameters_may_be_in_a_form(sts: StsStandIn) -> None:
    assert call_rpc(sts, method="POST", Policy=POLICY).status == 200
    assert sts.requests[0].params == business_params({"Policy": POLICY})


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(FORM, urlencode({"Policy": POLICY}), id="form"),
        pytest.param(f"{FORM}; charset=UTF-8", urlencode({"Policy": POLICY}), id="UTF"),
        pytest.param(JSON, json.dumps({"Policy": POLICY}), id="JSON"),
        pytest.param(JSON, f'{{"Policy": {POLICY}}}', id="JSON in JSON"),
    ],
)
def test_acs3_parameters_may_be_in_the_body(
    sts: StsStandIn, content_type: str, body: str
) -> None:
    headers = {"content-type": content_type}

    token = call_acs3(sts, body=body.encode(), headers=headers).token

    issued = sts.issued(token)
    assert issued is not None
    assert issued.policy == POLICY


def test_acs3_call_may_be_a_get(sts: StsStandIn) -> None:
    assert call_acs3(sts, method="GET").status == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b"[" * 100_000, b"\xff"])
def test_body_that_is_no_json_object_counts_as_empty(
    sts: StsStandIn, body: bytes
) -> None:
    answer = call_acs3(sts, RoleArn=None, body=body, headers={"content-type": JSON})

    assert answer.error == documented("MissingRoleArn")


def test_body_of_another_content_type_is_refused(sts: StsStandIn) -> None:
    answer = call_acs3(sts, body=b"<a/>", headers={"content-type": "text/xml"})

    assert answer.error == documented("InvalidParameter.ContentType")


def test_json_body_in_rpc_style_is_not_imitated(sts: StsStandIn) -> None:
    answer = send(sts, "POST", "/?Format=JSON", {"Content-Type": JSON}, b"{}")

    assert answer.code == "NotImitated"


def test_repeated_parameter_is_not_imitated(sts: StsStandIn) -> None:
    headers = {"content-type": FORM}

    answer = call_acs3(sts, body=b"RoleSessionName=bob", headers=headers)

    assert answer.code == "NotImitated"


def test_repeated_common_parameter_is_not_imitated(sts: StsStandIn) -> None:
    common = dict.fromkeys(MANDATORY["RPC"], "a") | {
        "Action": "GetCallerIdentity",
        "Format": "JSON",
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "Version": "2015-04-01",
    }
    query = urlencode([("Action", "AssumeRole"), *common.items()])

    assert send(sts, "GET", f"/?{query}").code == "NotImitated"


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: ACS3-HMAC-SHA256",
        "x-acs-action: GetCallerIdentity",
        "X-Acs-Date: 2026-01-02T03:04:05Z",
        "Content-Length: 0",
        "content-type: application/json",
        "Host: sts.aliyuncs.com",
    ],
)
def test_repeated_header_is_not_imitated(sts: StsStandIn, line: str) -> None:
    name = line.partition(":")[0]
    once = [f"{name}: 0", line] if name == "Content-Length" else [f"{name}: a", line]
    head = "\r\n".join(["POST / HTTP/1.1", *once, "", ""])

    with raw_http.connect(sts.port) as connection:
        connection.sendall(head.encode())
        reply = b"".join(iter(lambda: connection.recv(4096), b""))

    assert reply.startswith(b"HTTP/1.1 501 ")
    assert b"repeated headers" in reply
    assert sts.requests == []


def test_chunked_body_is_not_imitated(sts: StsStandIn) -> None:
    answer = send(sts, "POST", "/", {"Transfer-Encoding": "chunked"})

    assert answer.status == 501


@both_styles
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_other_method_is_refused(sts: StsStandIn, call: Call, method: str) -> None:
    answer = call(sts, method=method)

    assert answer.error == documented("UnsupportedHTTPMethod")


def test_bare_get_is_refused(sts: StsStandIn) -> None:
    answer = send(sts, "GET", "/", {})

    document = ElementTree.fromstring(answer.body)
    assert answer.status == 400
    assert document.findtext("Code") == "MissingAction"


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        pytest.param("GET", {}, 400, id="refusal"),
        pytest.param("POST", {"Transfer-Encoding": "chunked"}, 501, id="no imitation"),
    ],
)
def test_date_is_that_of_the_clock(
    sts: StsStandIn, clock: Clock, method: str, headers: dict[str, str], status: int
) -> None:
    clock.now = 1_000_000_000.0

    answer = send(sts, method, "/", headers)

    assert answer.status == status
    assert answer.headers["date"] == "Sun, 09 Sep 2001 01:46:40 GMT"


def test_head_is_refused_without_a_body(sts: StsStandIn) -> None:
    with raw_http.connect(sts.port) as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        reply = b"".join(iter(lambda: connection.recv(4096), b""))

    assert reply.startswith(b"HTTP/1.1 405 ")
    assert reply.endswith(b"\r\n\r\n")


def test_other_path_is_refused(sts: StsStandIn) -> None:
    answer = send(sts, "GET", "/sts?Format=JSON")

    assert answer.error == documented("InvalidAction.NotFound")


@pytest.mark.parametrize(
    ("call", "changes"),
    [
        pytest.param(call_rpc, {"Format": None}, id="RPC, nothing asked"),
        pytest.param(call_rpc, {"Format": "XML"}, id="RPC, Format"),
        pytest.param(call_acs3, {"Format": "xml"}, id="ACS3, Format"),
        pytest.param(
            call_acs3, {"headers": {"accept": "application/xml"}}, id="ACS3, Accept"
        ),
    ],
)
def test_reply_is_xml(sts: StsStandIn, call: Call, changes: dict[str, Any]) -> None:
    answer = call(sts, **changes)
    refusal = call(sts, RoleArn=f"{ACCOUNT}:role/absent", **changes)

    root = ElementTree.fromstring(answer.body)
    assert root.tag == "AssumeRoleResponse"
    assert sts.issued(root.findtext("Credentials/SecurityToken", "")) is not None
    assert answer.headers["content-type"] == "text/xml;charset=utf-8"
    error = ElementTree.fromstring(refusal.body)
    assert (refusal.status, error.tag) == (404, "Error")
    assert error.findtext("Code") == "EntityNotExist.Role"


def test_text_in_xml_is_escaped(sts: StsStandIn) -> None:
    changes: Any = {"Format": None, "<&": "1"}

    root = ElementTree.fromstring(call_rpc(sts, **changes).body)

    message = "The STS stand-in does not imitate AssumeRole with <&."
    assert root.findtext("Message") == message


def test_format_that_is_unknown_is_refused(sts: StsStandIn) -> None:
    assert call_acs3(sts, Format="YAML").error == documented("InvalidParameter.Format")


def test_reply_to_rpc_is_json_if_accept_asks(sts: StsStandIn) -> None:
    answer = send(sts, "GET", "/", {"Accept": "application/json"})

    assert answer.error == documented("MissingAction")
    assert answer.headers["content-type"] == "application/json;charset=utf-8"


def test_connection_serves_one_call_after_the_other(sts: StsStandIn) -> None:
    with connect(sts) as connection:
        for _ in range(2):
            connection.request("POST", "/", b"a=b", {"Content-Type": FORM})
            connection.getresponse().read()
            first_socket = connection.sock
        assert connection.sock is first_socket is not None


# --- Who may assume which role


@both_styles
def test_disabled_key_is_refused(sts: StsStandIn, call: Call) -> None:
    sts.add_user(USER.access_key_id, USER.access_key_secret, is_enabled=False)

    answer = call(sts)

    assert answer.error == documented("InvalidAccessKeyId.Inactive")


@both_styles
def test_user_who_may_not_assume_the_role_is_refused(
    sts: StsStandIn, call: Call
) -> None:
    other = f"{ACCOUNT}:role/other"
    sts.add_role(other)
    user = sts.add_user("LTAI5tOther", "other-secret", may_assume=[other])

    answer = call(sts, by=user)

    assert answer.error == documented("NoPermission")
    assert call(sts, by=user, RoleArn=other).status == 200


@pytest.mark.parametrize(
    ("trusted", "status"),
    [
        pytest.param([USER.arn], 200, id="user"),
        pytest.param([f"{ACCOUNT}:root"], 200, id="account"),
        pytest.param([f"{ACCOUNT}:user/other"], 403, id="other user"),
        pytest.param(["acs:ram::9876543210987654:root"], 403, id="other account"),
        pytest.param([], 403, id="nobody"),
    ],
)
def test_role_is_assumed_by_whom_it_trusts(
    sts: StsStandIn, trusted: list[str], status: int
) -> None:
    sts.add_role(ROLE_ARN, trusted=trusted)

    assert call_acs3(sts).status == status


def test_role_does_not_trust_another_account_unless_told(sts: StsStandIn) -> None:
    arn = "acs:ram::9876543210987654:user/guest"
    guest = sts.add_user("LTAI5tGuest", "guest-secret", arn=arn)

    assert call_acs3(sts, by=guest).error == documented("NoPermission")
    sts.add_role(ROLE_ARN, trusted=["acs:ram::9876543210987654:root"])
    assert call_acs3(sts, by=guest).status == 200


@both_styles
def test_account_itself_is_refused(sts: StsStandIn, call: Call) -> None:
    root = sts.add_user("LTAI5tRoot", "root-secret", arn=f"{ACCOUNT}:root")

    answer = call(sts, by=root)

    message = "Roles may not be assumed by root accounts."
    assert answer.error == f"403 NoPermission: {message}"
    assert "AccessDeniedDetail" not in answer.json


@both_styles
def test_denial_says_which_policy_lacks_an_allow(sts: StsStandIn, call: Call) -> None:
    me = call(sts, Action="GetCallerIdentity", **NO_PARAMS)
    sts.add_role(f"{ACCOUNT}:role/closed", trusted=())
    untrusted = call(sts, RoleArn=f"{ACCOUNT}:role/closed").json["AccessDeniedDetail"]
    sts.add_user(USER.access_key_id, USER.access_key_secret, may_assume=())
    unable = call(sts).json["AccessDeniedDetail"]

    assert untrusted.pop("EncodedDiagnosticMessage")
    assert untrusted == {
        "PolicyType": "AssumeRolePolicy",
        "NoPermissionType": "ImplicitDeny",
        "AuthAction": "sts:AssumeRole",
        "AuthPrincipalType": "SubUser",
        "AuthPrincipalOwnerId": "1234567890123456",
        "AuthPrincipalDisplayName": me.json["UserId"],
    }
    assert unable["PolicyType"] == "AccountLevelIdentityBasedPolicy"


def test_denial_names_a_role_with_its_session(sts: StsStandIn) -> None:
    token = issue(sts, RoleSessionName="alice")

    detail = call_acs3(sts, by=token).json["AccessDeniedDetail"]

    assert detail["AuthPrincipalType"] == "AssumedRoleUser"
    assert detail["AuthPrincipalDisplayName"] == "app:alice"


def test_denial_may_say_nothing_of_its_policy(sts: StsStandIn) -> None:
    sts.add_user(USER.access_key_id, USER.access_key_secret, may_assume=())
    sts.says_what_denied = False

    answer = call_acs3(sts)

    assert answer.error == documented("NoPermission")
    assert "AccessDeniedDetail" not in answer.json


# --- Issued tokens, and role chaining


def test_each_token_is_another(sts: StsStandIn) -> None:
    tokens = [issue(sts) for _ in range(5)]

    for name in ("access_key_id", "access_key_secret", "security_token"):
        assert len({getattr(token, name) for token in tokens}) == 5


def test_token_that_was_not_issued_is_unknown(sts: StsStandIn) -> None:
    assert sts.issued("CAIS+/absent==") is None


@both_styles
def test_token_of_another_key_is_refused(sts: StsStandIn, call: Call) -> None:
    mixed = replace(issue(sts), security_token=issue(sts).security_token)

    answer = call(sts, by=mixed)

    assert answer.error == documented("InvalidSecurityToken.MismatchWithAccessKey")


@both_styles
def test_token_is_refused_once_it_has_expired(
    sts: StsStandIn, clock: Clock, call: Call
) -> None:
    token = issue(sts, DurationSeconds="900")

    clock.now += 899
    assert call(sts, by=token, Action="GetCallerIdentity", **NO_PARAMS).status == 200
    clock.now += 1
    answer = call(sts, by=token, Action="GetCallerIdentity", **NO_PARAMS)
    assert answer.error == documented("InvalidSecurityToken.Expired")


def test_expired_token_is_forgotten_an_hour_later(
    sts: StsStandIn, clock: Clock
) -> None:
    token = issue(sts, DurationSeconds="900")

    clock.now += 900 + 3600
    issue(sts)
    assert sts.issued(token.security_token) == token
    clock.now += 1
    issue(sts)
    assert sts.issued(token.security_token) is None


def test_oldest_of_too_many_tokens_is_forgotten(
    sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sts_module, "TOKENS_KEPT", 2)
    first, second, third = (issue(sts).security_token for _ in range(3))

    assert sts.issued(first) is None
    assert sts.issued(second) is not None
    assert sts.issued(third) is not None


def test_role_may_not_assume_another_unless_told(sts: StsStandIn) -> None:
    token = issue(sts)

    assert call_acs3(sts, by=token).error == documented("NoPermission")
    sts.add_role(ROLE_ARN, may_assume=None)
    assert call_acs3(sts, by=token).status == 200


def test_role_chaining_under_a_session_policy_is_not_imitated(sts: StsStandIn) -> None:
    token = issue(sts, Policy=POLICY)

    assert call_acs3(sts, by=token).code == "NotImitated"


# --- Quota, latency, misbehaviour


def test_calls_beyond_the_quota_are_throttled(sts: StsStandIn, clock: Clock) -> None:
    sts.calls_per_second = 2
    other = sts.add_user("LTAI5tOther", "other-secret")

    assert call_acs3(sts).status == 200
    clock.now += 0.5
    assert call_rpc(sts, by=other).status == 200
    answer = call_acs3(sts)
    assert answer.error == documented("Throttling.User")
    clock.now += 0.5
    assert call_acs3(sts).status == 200
    assert call_acs3(sts).status == 400


def test_reply_is_late_by_the_latency(sts: StsStandIn) -> None:
    sts.latency_seconds = 0.05
    started = time.monotonic()

    assert call_acs3(sts).status == 200
    assert time.monotonic() - started >= 0.04


def test_script_is_followed_once(sts: StsStandIn) -> None:
    sts.script(Fail("InternalError"), None, Fail("ServiceUnavailable"))

    assert [call_acs3(sts).status for _ in range(5)] == [500, 200, 503, 200, 200]


def test_script_comes_before_what_is_always_done(sts: StsStandIn) -> None:
    sts.always(Fail("InternalError"))
    sts.script(None)

    assert [call_acs3(sts).status for _ in range(3)] == [200, 500, 500]
    sts.always(None)
    assert call_acs3(sts).status == 200


def test_failure_is_as_told(sts: StsStandIn) -> None:
    sts.script(Fail("Odd.Code", "Odd message.", 418, {"x-odd": "1"}))

    answer = call_rpc(sts, Format="XML")

    assert answer.error == "418 Odd.Code: Odd message."
    assert answer.headers["x-odd"] == "1"


@pytest.mark.parametrize(
    "code", ["InternalError", "ServiceUnavailable", "Throttling", "Throttling.Api"]
)
def test_failure_is_the_documented_one_unless_told(sts: StsStandIn, code: str) -> None:
    sts.script(Fail(code))

    assert call_acs3(sts).error == documented(code)


def test_nonsense_is_sent_as_it_is(sts: StsStandIn) -> None:
    sts.script(Reply(200, b"<html>", "text/html", {"X-Odd": "1"}))

    answer = call_acs3(sts)

    assert (answer.status, answer.body) == (200, b"<html>")
    assert answer.headers["content-type"] == "text/html"
    assert answer.headers["x-odd"] == "1"


def test_reply_may_be_cut_short(sts: StsStandIn) -> None:
    headers = {"Content-Length": "100", "Connection": "close"}
    sts.script(Reply(200, b'{"Creden', headers=headers))

    with pytest.raises(http.client.IncompleteRead):
        call_acs3(sts)


def test_connection_is_closed_without_a_reply(sts: StsStandIn) -> None:
    sts.script(Close())

    with pytest.raises(http.client.RemoteDisconnected):
        call_acs3(sts)
    assert call_acs3(sts).status == 200


def test_connection_is_reset(sts: StsStandIn) -> None:
    sts.script(Reset())

    with pytest.raises(ConnectionResetError, match="reset"):
        call_acs3(sts)
    assert call_acs3(sts).status == 200


def test_reply_drips(sts: StsStandIn) -> None:
    sts.script(Drip(seconds_per_byte=0.0001))

    answer = call_acs3(sts)

    assert sts.issued(answer.token) is not None


@pytest.mark.parametrize(
    "release",
    [
        pytest.param(lambda sts: sts.always(None), id="always"),
        pytest.param(lambda sts: sts.script(), id="script"),
    ],
)
def test_hanging_call_is_answered_when_the_behaviour_changes(
    sts: StsStandIn, release: Callable[[StsStandIn], None]
) -> None:
    sts.script(Hang())

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(call_acs3, sts)
        sts.wait_for_requests(1)
        assert call_acs3(sts).status == 200
        assert not call.done()
        release(sts)

        assert call.result(PATIENCE_SECONDS).status == 200


def test_held_calls_are_answered_when_the_block_ends(sts: StsStandIn) -> None:
    with ThreadPoolExecutor(3) as pool:
        with sts.held():
            calls = [pool.submit(call_acs3, sts) for _ in range(3)]
            sts.wait_for_requests(3)
            assert not any(call.done() for call in calls)

        results = [call.result(PATIENCE_SECONDS) for call in calls]
        assert [answer.status for answer in results] == [200] * 3


# --- What was asked


@both_styles
def test_request_is_recorded(sts: StsStandIn, clock: Clock, call: Call) -> None:
    call(sts, Policy=POLICY)

    (request,) = sts.requests
    assert request.action == "AssumeRole"
    assert request.params == business_params({"Policy": POLICY})
    assert request.access_key_id == USER.access_key_id
    assert request.signature_style == ("RPC" if call is call_rpc else "ACS3")
    assert request.headers["host"] == sts.endpoint
    assert request.received_at == clock.now


def test_request_is_recorded_however_it_is_answered(sts: StsStandIn) -> None:
    send(sts, "PUT", "/nowhere?a=b")
    sts.script(Close())
    with pytest.raises(http.client.RemoteDisconnected):
        call_acs3(sts, RoleSessionName="bob")

    first, second = sts.requests
    assert (first.action, first.params, first.access_key_id) == ("", {"a": "b"}, "")
    assert second.params["RoleSessionName"] == "bob"


def test_requests_are_forgotten_when_cleared(sts: StsStandIn) -> None:
    call_acs3(sts)
    sts.clear()

    assert sts.requests == []
    with pytest.raises(TimeoutError, match="0 of 1 requests"):
        sts.wait_for_requests(1, timeout=0.01)


def test_latest_of_many_requests_are_kept(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "REQUESTS_KEPT", 2)
    with StsStandIn(clock=clock) as sts:
        for name in ("alice", "bob", "carol"):
            call_acs3(sts, RoleSessionName=name)

        names = [request.params["RoleSessionName"] for request in sts.requests]
        assert names == ["bob", "carol"]
        sts.wait_for_requests(3)


@both_styles
def test_secrets_are_not_shown(sts: StsStandIn, call: Call) -> None:
    token = issue(sts)
    call(sts, by=token)

    shown = repr([sts.requests, token, sts.add_user("LTAI5tOther", "other-secret")])
    assert token.access_key_id in shown
    for secret in (token.access_key_secret, token.security_token, "other-secret"):
        assert secret not in shown


# --- Start and stop


def test_defaults_make_a_call_that_succeeds() -> None:
    with StsStandIn() as sts:
        user, role = sts.add_user(), sts.add_role()

        assert sts.url == f"http://127.0.0.1:{sts.port}"
        assert call_acs3(sts, by=user, RoleArn=role.arn).status == 200


def test_port_may_be_chosen() -> None:
    with reserved_port() as port, StsStandIn(port) as sts:
        assert sts.endpoint == f"127.0.0.1:{port}"
        assert send(sts, "GET", "/").status == 400


@pytest.mark.parametrize(
    ("behaviour", "latency_seconds"),
    [
        pytest.param(Hang(), 0.0, id="hanging"),
        pytest.param(Drip(3 * PATIENCE_SECONDS), 0.0, id="dripping"),
        pytest.param(None, 3 * PATIENCE_SECONDS, id="late"),
    ],
)
def test_close_ends_a_call_at_once(
    behaviour: Behaviour | None, latency_seconds: float
) -> None:
    threads = set(threading.enumerate())
    with ThreadPoolExecutor(1) as pool:
        with StsStandIn(latency_seconds=latency_seconds) as sts:
            sts.always(behaviour)
            call = pool.submit(send, sts, "GET", "/")
            sts.wait_for_requests(1)
            started = time.monotonic()

        assert time.monotonic() - started < PATIENCE_SECONDS
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            call.result(PATIENCE_SECONDS)
    assert set(threading.enumerate()) == threads


def test_close_ends_idle_connections_and_refuses_new_ones() -> None:
    threads = set(threading.enumerate())
    with ExitStack() as clients:
        with StsStandIn() as sts:
            idle, served, *_ = [
                clients.enter_context(socket.create_connection(("127.0.0.1", sts.port)))
                for _ in range(20)
            ]
            served.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert served.recv(12) == b"HTTP/1.1 400"

        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            send(sts, "GET", "/")
    assert set(threading.enumerate()) == threads


def test_client_that_goes_away_leaves_no_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with StsStandIn() as sts:
        address = ("127.0.0.1", sts.port)
        with sts.held(), socket.create_connection(address) as gone:
            gone.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            sts.wait_for_requests(1)
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        with socket.create_connection(address) as gone:
            gone.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort")
        sts.wait_for_requests(2)

    assert capfd.readouterr() == ("", "")
