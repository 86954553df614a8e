"""The checks of a call that do not depend on the caller.

Sources: the pages "AssumeRole", "GetCallerIdentity" and "Signature method".
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Mapping
from datetime import datetime

from localcloud import ram
from localcloud.sts.errors import Refused, missing, not_imitated, wrongly_formed
from localcloud.sts.request import FORM, JSON, MANDATORY, Request, media_type
from localcloud.sts.signature import (
    acs3_signature,
    acs3_string_to_sign,
    rpc_signature,
    rpc_string_to_sign,
    sha256,
)

API_VERSION = "2015-04-01"
MAX_CLOCK_SKEW_SECONDS = 15 * 60

MAX_POLICY_BYTES = 2048  # the page says characters, its error text bytes
ASSUME_ROLE_PARAMETERS = {
    "RoleArn": re.compile(r"acs:ram::[0-9]+:role/[A-Za-z0-9._-]{1,64}"),
    "RoleSessionName": re.compile(r"[A-Za-z0-9.@_-]{2,64}"),
    "DurationSeconds": re.compile(r"[0-9]{1,9}"),
    "Policy": re.compile(r".*", re.DOTALL),
    "ExternalId": re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}"),
    "SourceIdentity": re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}"),
}
ACTIONS: Mapping[str, Collection[str]] = {  # and the names of their parameters
    "AssumeRole": ASSUME_ROLE_PARAMETERS,
    "GetCallerIdentity": (),
}
OTHER_ACTIONS = ("AssumeRoleWithOIDC", "AssumeRoleWithSAML")

SIGNATURE_METHODS = {  # and SignatureVersion
    "ACS3": ("ACS3-HMAC-SHA256", None),
    "RPC": ("HMAC-SHA1", "1.0"),
}

TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", re.ASCII)


def check_request(request: Request) -> None:
    """Raise Refused for a call that STS, or this stand-in, refuses to everybody.

    The order decides which of several errors is reported.
    """
    check_form(request)
    check_common_parameters(request)
    names = [name for name, _ in request.query + request.form]
    if len(names) > len(set(names)):
        raise not_imitated("repeated parameters")
    unknown = request.params.keys() - set(ACTIONS[request.action])
    if unknown:
        raise not_imitated(f"{request.action} with {', '.join(sorted(unknown))}")


def check_form(request: Request) -> None:
    """Raise Refused for a method, path or body that a call cannot have."""
    kind = media_type(request.headers) if request.body else FORM
    if request.method not in ("GET", "POST"):
        raise Refused("UnsupportedHTTPMethod")
    if request.path != "/":
        raise Refused("InvalidAction.NotFound")
    if kind not in (FORM, JSON):
        raise Refused("InvalidParameter.ContentType")
    if (request.signature_style, kind) == ("RPC", JSON):
        raise not_imitated("a JSON body in RPC style")


def check_common_parameters(request: Request) -> None:
    """Raise Refused unless the common parameters are present and valid."""
    style, common = request.signature_style, request.common
    if request.action in OTHER_ACTIONS:
        raise not_imitated(request.action)
    if common.get("SignatureType"):  # a key pair has an empty one, in many SDKs
        raise not_imitated(f"SignatureType {common['SignatureType']}")
    for name in MANDATORY[style]:
        if not common.get(name):
            raise missing(name) if style == "RPC" else Refused("IncompleteSignature")
    if style == "ACS3":
        check_headers_alone_decide(request)
    if common["Version"] != API_VERSION:
        raise Refused("InvalidVersion")
    if request.action not in ACTIONS:
        raise Refused("InvalidAction.NotFound")
    method = common["SignatureMethod"], common.get("SignatureVersion")
    if method != SIGNATURE_METHODS[style]:
        raise Refused("InvalidSignatureMethod")
    if common.get("Format", "").upper() not in ("", "JSON", "XML"):
        raise wrongly_formed("Format")


def check_headers_alone_decide(request: Request) -> None:
    """Raise Refused if query or body of an ACS3 call contradict its headers."""
    for name, value in request.query + request.form:
        if request.common.get(name, value) != value:
            message = f"The parameter {name} is not that of the headers."
            raise Refused(f"InvalidParameter.{name}", message)


def check_timestamp(text: str, now: float) -> None:
    """Raise Refused unless *text* is a time close to *now*; it may have a fraction."""
    parts = TIMESTAMP.fullmatch(text)
    try:
        moment = datetime.fromisoformat(f"{parts[1] if parts else ''}+00:00")
    except ValueError:
        raise Refused("InvalidTimeStamp.Format") from None
    if abs(moment.timestamp() - now) > MAX_CLOCK_SKEW_SECONDS:
        raise Refused("InvalidTimeStamp.Expired")


def check_signature(request: Request, access_key_secret: str) -> None:
    """Raise Refused unless *request* has a valid signature of *access_key_secret*."""
    common, headers = request.common, request.headers
    is_body_as_signed = True
    if request.signature_style == "RPC":
        params = request.query + request.form
        string_to_sign = rpc_string_to_sign(request.method, params)
        signature = rpc_signature(access_key_secret, string_to_sign)
    else:
        # The page: common headers that are present must be signed, and SignedHeaders
        # are in lower case and in alphabetical order.
        signed_headers, body_hash = common["SignedHeaders"], sha256(request.body)
        names = signed_headers.split(";")
        is_in_order = names == sorted({name.lower() for name in names if name})
        must_be_signed = {"host", "x-acs-content-sha256"}
        must_be_signed |= {name for name in headers if name.startswith("x-acs-")}
        if not is_in_order or not must_be_signed <= set(names):
            raise Refused("IncompleteSignature")
        string_to_sign = acs3_string_to_sign(
            request.method, request.query, headers, signed_headers, body_hash
        )
        signature = acs3_signature(access_key_secret, string_to_sign)
        is_body_as_signed = headers.get("x-acs-content-sha256") == body_hash
    given = common["Signature"].encode()
    if not (is_body_as_signed and hmac.compare_digest(signature.encode(), given)):
        raise Refused(
            "SignatureDoesNotMatch",
            "Specified signature is not matched with our calculation."
            f" server string to sign is:{string_to_sign}",
        )


def check_parameters(params: Mapping[str, str]) -> None:
    """Raise Refused unless *params* are valid by the page "AssumeRole"."""
    for name in ("RoleArn", "RoleSessionName"):
        if not params.get(name):
            raise missing(name)
    for name, value in params.items():
        if value and not ASSUME_ROLE_PARAMETERS[name].fullmatch(value):
            raise wrongly_formed(name)
    policy = params.get("Policy", "")
    if len(policy.encode(errors="replace")) > MAX_POLICY_BYTES:
        raise Refused("InvalidParameter.PolicySize")
    if policy:
        try:
            ram.parse(policy)
        except ram.PolicyGrammarError:
            raise Refused("InvalidParameter.PolicyGrammar") from None
