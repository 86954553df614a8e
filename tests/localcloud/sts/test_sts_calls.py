"""The STS stand-in answers as STS does, whoever calls: the SDK, or these tests."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from alibabacloud_sts20150401.client import Client
from alibabacloud_sts20150401.models import AssumeRoleRequest
from alibabacloud_tea_openapi.exceptions import ClientException, ThrottlingException
from alibabacloud_tea_openapi.utils_models import Config
from helpers import client as raw_http
from helpers.sts.calls import (
    ACCOUNT,
    POLICY,
    ROLE_ARN,
    STATEMENT,
    USER,
    Call,
    both_styles,
    business_params,
    call_acs3,
    call_rpc,
    connect,
    documented,
    issue,
    send,
    timestamp,
)

from localcloud.clock import Clock
from localcloud.sts import (
    FORM,
    JSON,
    MANDATORY,
    Caller,
    Fail,
    IssuedToken,
    StsStandIn,
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
