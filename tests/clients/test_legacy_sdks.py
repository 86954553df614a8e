"""The SDKs of many app servers in the field, unmodified, against the STS stand-in.

aliyun-python-sdk-core with aliyun-python-sdk-sts, and @alicloud/pop-core for Node. Both
sign in RPC style, and send RegionId and, in Python, an empty SignatureType.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helpers.sts
import pytest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.auth.credentials import StsTokenCredential
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import CommonRequest
from aliyunsdksts.request.v20150401.AssumeRoleRequest import AssumeRoleRequest
from aliyunsdksts.request.v20150401.GetCallerIdentityRequest import (
    GetCallerIdentityRequest,
)
from helpers.oss.apps import needs_node
from helpers.settings import ACCESS_KEY_ID, ACCESS_KEY_SECRET, ROLE_ARN

from localcloud.sts import StsStandIn

pytestmark = pytest.mark.slow

REGION = "cn-hangzhou"
STATEMENT = {"Effect": "Allow", "Action": "oss:*", "Resource": "acs:oss:*:*:b/~ é+&=*"}
POLICY = json.dumps({"Version": "1", "Statement": [STATEMENT]}, ensure_ascii=False)
PARAMS = {
    "RoleArn": ROLE_ARN,
    "RoleSessionName": "app",
    "Policy": POLICY,
    "DurationSeconds": 900,
}
Document = dict[str, Any]


def check_token(sts: StsStandIn, document: Document) -> None:
    """Check that *document* is the reply to an AssumeRole with PARAMS."""
    token = sts.issued(document["Credentials"]["SecurityToken"])
    assert token
    assert (token.role_arn, token.role_session_name) == (ROLE_ARN, "app")
    assert token.policy == POLICY
    assert token.access_key_secret == document["Credentials"]["AccessKeySecret"]
    assert document["AssumedRoleUser"]["Arn"] == f"{ROLE_ARN}/app"


# --- aliyun-python-sdk-core -----------------------------------------------------


def assume_role() -> Any:
    request = AssumeRoleRequest()
    for name, value in PARAMS.items():
        getattr(request, f"set_{name}")(value)
    return request


def common_request(add: str) -> Any:
    """Return the request that needs no package of the product."""
    request = CommonRequest()
    request.set_version("2015-04-01")
    request.set_action_name("AssumeRole")
    for name, value in PARAMS.items():
        getattr(request, add)(name, value)
    return request


def client(secret: str = ACCESS_KEY_SECRET, credential: Any = None) -> Any:
    return AcsClient(
        None if credential else ACCESS_KEY_ID,
        None if credential else secret,
        REGION,
        credential=credential,
        auto_retry=False,
    )


def ask(sts: StsStandIn, request: Any, client: Any, method: str = "POST") -> Document:
    """Send *request* over HTTP.  Raises ServerException."""
    request.set_protocol_type("http")
    request.set_method(method)
    if isinstance(request, CommonRequest):
        request.set_domain(sts.endpoint)
    else:
        request.set_endpoint(sts.endpoint)
    document: Document = json.loads(client.do_action_with_exception(request))
    return document


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(assume_role, id="of the product"),
        pytest.param(lambda: common_request("add_query_param"), id="common"),
        pytest.param(lambda: common_request("add_body_params"), id="common, in a form"),
    ],
)
def test_python_is_given_credentials(
    sts: StsStandIn, make: Callable[[], Any], method: str
) -> None:
    check_token(sts, ask(sts, make(), client(), method))


def test_python_finds_the_endpoint_of_its_region(sts: StsStandIn) -> None:
    acs = client()
    acs.add_endpoint(REGION, "Sts", sts.endpoint)
    request = assume_role()
    request.set_protocol_type("http")

    check_token(sts, json.loads(acs.do_action_with_exception(request)))


def test_python_uses_the_credentials_that_it_is_given(sts: StsStandIn) -> None:
    credentials = ask(sts, assume_role(), client())["Credentials"]
    credential = StsTokenCredential(
        credentials["AccessKeyId"],
        credentials["AccessKeySecret"],
        credentials["SecurityToken"],
    )

    identity = ask(sts, GetCallerIdentityRequest(), client(credential=credential))

    assert identity["IdentityType"] == "AssumedRoleUser"
    assert identity["Arn"] == f"{ROLE_ARN}/app"


def test_python_tells_a_wrong_secret_by_the_string_to_sign(sts: StsStandIn) -> None:
    """It compares the one in the message with its own, character for character."""
    with pytest.raises(ServerException) as error:
        ask(sts, assume_role(), client("another-secret"))

    assert error.value.get_http_status() == 400
    assert error.value.get_error_code() == "InvalidAccessKeySecret"


def test_python_is_told_why_it_is_refused(sts: StsStandIn) -> None:
    request = assume_role()
    request.set_RoleArn(f"{ROLE_ARN}-2")

    with pytest.raises(ServerException) as error:
        ask(sts, request, client())

    assert error.value.get_http_status() == 404
    assert error.value.get_error_code() == "EntityNotExist.Role"
    assert error.value.get_request_id()


# --- @alicloud/pop-core ---------------------------------------------------------

Outcomes = list[dict[str, Any]]


def pop_core(sts: StsStandIn, *calls: list[Any], **options: str) -> Outcomes:
    """Return what the client says to *calls*: action, params and options each."""
    usual = {
        "endpoint": sts.url,
        "apiVersion": "2015-04-01",
        "accessKeyId": ACCESS_KEY_ID,
        "accessKeySecret": ACCESS_KEY_SECRET,
    }
    result = subprocess.run(
        ["node", str(Path(helpers.sts.__file__).with_name("pop_core.mjs"))],
        input=json.dumps({"options": usual | options, "calls": calls}),
        capture_output=True,
        check=True,
        text=True,
        encoding="utf-8",
    )
    outcomes: Outcomes = json.loads(result.stdout)
    return outcomes


@needs_node
@pytest.mark.process
def test_node_is_given_credentials_and_uses_them(sts: StsStandIn) -> None:
    params = PARAMS | {"RegionId": REGION}
    documents = pop_core(
        sts,
        ["AssumeRole", params, {"method": "POST"}],
        ["assumeRole", params, {}],  # which it signs as AssumeRole
    )

    for document in documents:
        check_token(sts, document)
    credentials = documents[0]["Credentials"]
    (identity,) = pop_core(
        sts,
        ["GetCallerIdentity", {}, {}],
        accessKeyId=credentials["AccessKeyId"],
        accessKeySecret=credentials["AccessKeySecret"],
        securityToken=credentials["SecurityToken"],
    )
    assert identity["Arn"] == f"{ROLE_ARN}/app"


@needs_node
@pytest.mark.process
def test_node_is_told_why_it_is_refused(sts: StsStandIn) -> None:
    params = PARAMS | {"RegionId": REGION, "RoleArn": f"{ROLE_ARN}-2"}
    call = ["AssumeRole", params, {"method": "POST"}]

    (refused,) = pop_core(sts, call)
    (forged,) = pop_core(sts, call, accessKeySecret="another-secret")

    assert refused["code"] == "EntityNotExist.Role"
    assert forged["code"] == "SignatureDoesNotMatch"
