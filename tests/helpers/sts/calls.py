"""Calls of STS, signed here in either style, and the answers.

Signatures are computed by the stand-in's own code, which tests compare with the
official examples and the SDK.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlencode

import pytest

from helpers.machine import PATIENCE_SECONDS
from helpers.oss.signing import KeyPair
from localcloud.clock import Clock
from localcloud.sts import (
    FORM,
    Caller,
    IssuedToken,
    StsStandIn,
    acs3_signature,
    acs3_string_to_sign,
    rpc_signature,
    rpc_string_to_sign,
)

ACCOUNT = "acs:ram::1234567890123456"
ROLE_ARN = f"{ACCOUNT}:role/app"
USER = Caller("LTAI5tTest", "test-secret", f"{ACCOUNT}:user/app-server")
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
STATEMENT = {"Effect": "Allow", "Action": "oss:PutObject", "Resource": "*"}
POLICY = json.dumps({"Version": "1", "Statement": [STATEMENT]})

NO_PARAMS: Any = dict.fromkeys(["RoleArn", "RoleSessionName"])  # GetCallerIdentity


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
    """Return the error of *code* from the API pages."""
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
    """Return the parameters of a valid AssumeRole, with *changes*."""
    params = {"RoleArn": ROLE_ARN, "RoleSessionName": "alice", **changes}
    return {name: value for name, value in params.items() if value is not None}


def call_rpc(
    sts: StsStandIn,
    *,
    by: Caller | IssuedToken | KeyPair = USER,
    method: str = "GET",
    signature: str | None = None,
    altered: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    **changes: Any,
) -> Answer:
    """Call in RPC style.  None is not sent; *altered* values are not signed."""
    common: dict[str, str | None] = {
        "Action": "AssumeRole",
        "Version": "2015-04-01",
        "Format": "JSON",
        "AccessKeyId": by.access_key_id,
        "SecurityToken": getattr(by, "security_token", None) or None,
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
    by: Caller | IssuedToken | KeyPair = USER,
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

    Common parameters are sent in their headers; the parameters in *also* are added to
    the query and signed with the rest of it.
    """
    params: dict[str, str | None] = {
        "AccessKeyId": by.access_key_id,
        "Action": "AssumeRole",
        "SecurityToken": getattr(by, "security_token", None) or None,
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


def issue(sts: StsStandIn, **changes: Any) -> IssuedToken:
    token = sts.issued(call_acs3(sts, **changes).token)
    assert token is not None
    return token


def assume_role(
    sts: StsStandIn, by: Caller | IssuedToken | KeyPair, role_arn: str, **changes: Any
) -> IssuedToken:
    """Return the credentials of an AssumeRole."""
    return issue(sts, by=by, RoleArn=role_arn, **changes)


def frozen_clock() -> Clock:
    """Return a clock that stands still, close to the time of the SDK."""
    clock = Clock()
    clock.freeze()
    return clock


@contextlib.contextmanager
def running_sts(clock: Clock) -> Iterator[StsStandIn]:
    """Run a stand-in with a user who may assume a role for at most two hours."""
    with StsStandIn(clock=clock) as sts:
        sts.add_user(USER.access_key_id, USER.access_key_secret, arn=USER.arn)
        sts.add_role(ROLE_ARN, max_session_duration_seconds=7200)
        yield sts
