"""A parsed call of STS."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

# The common parameters.  In ACS3 style, headers stand for them.
_BOTH = [
    "Action",
    "AccessKeyId",
    "Signature",
    "SignatureMethod",
    "Timestamp",
    "Version",
]
MANDATORY = {
    "ACS3": [*_BOTH, "SignedHeaders"],
    "RPC": [*_BOTH, "SignatureNonce", "SignatureVersion"],
}
OPTIONAL = {"Format", "SecurityToken", "RegionId", "SignatureType"}
COMMON = {*MANDATORY["RPC"], *OPTIONAL}

ACS3_HEADERS = {
    "x-acs-action": "Action",
    "x-acs-version": "Version",
    "x-acs-date": "Timestamp",
    "x-acs-signature-nonce": "SignatureNonce",
    "x-acs-security-token": "SecurityToken",
}
ACS3_AUTHORIZATION = re.compile(
    r"(?P<SignatureMethod>\S+) Credential=(?P<AccessKeyId>[^\s,]+), ?"
    r"SignedHeaders=(?P<SignedHeaders>[^\s,]+), ?Signature=(?P<Signature>[^\s,]+)"
)

SINGLE_HEADERS = {"authorization", "content-length", "content-type", "host"}
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True)
class Request:
    """One request as it was received; missing values are empty strings.

    *params* are those of the action, from query, form or JSON body.  *headers* have
    lower-case names.  *received_at* is in unix seconds.
    """

    received_at: float
    signature_style: str  # ACS3 or RPC
    action: str
    params: Mapping[str, str]
    access_key_id: str
    security_token: str = field(repr=False)
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    query: list[tuple[str, str]] = field(repr=False)
    form: list[tuple[str, str]] = field(repr=False)  # or the members of a JSON body
    common: Mapping[str, str] = field(repr=False)  # ACS3's headers by their RPC names


def read_request(
    method: str, target: str, headers: Mapping[str, str], body: bytes, now: float
) -> Request:
    """Return the parsed request; it is recorded before anything is checked."""
    path, _, query_string = target.partition("?")
    query = parse_qsl(query_string, keep_blank_values=True)
    form = body_params(headers, body)
    params = dict(query + form)
    common = {n: params.pop(n) for n in COMMON & params.keys()}
    style = "RPC"
    if "authorization" in headers or (
        "x-acs-action" in headers and "Signature" not in common
    ):
        style = "ACS3"
        common |= {ACS3_HEADERS[n]: headers[n] for n in ACS3_HEADERS.keys() & headers}
        authorization = ACS3_AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        common |= authorization.groupdict() if authorization else {}
    return Request(
        received_at=now,
        signature_style=style,
        action=common.get("Action", ""),
        params=params,
        access_key_id=common.get("AccessKeyId", ""),
        security_token=common.get("SecurityToken", ""),
        method=method,
        path=path,
        headers=headers,
        body=body,
        query=query,
        form=form,
        common=common,
    )


def body_params(headers: Mapping[str, str], body: bytes) -> list[tuple[str, str]]:
    """Return the parameters in a form or JSON body, where a value may be JSON."""
    if media_type(headers) == FORM:
        return parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
    members = parse_json(body) if media_type(headers) == JSON else None
    if not isinstance(members, dict):
        return []
    return [(k, v if isinstance(v, str) else json.dumps(v)) for k, v in members.items()]


def is_single(name: str) -> bool:
    """Tell whether a header decides what a call means, so it may occur only once."""
    return name in SINGLE_HEADERS or name.startswith("x-acs-")


def media_type(headers: Mapping[str, str]) -> str:
    """Return the Content-Type without its parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def parse_json(text: str | bytes) -> Any:
    """Return the value of *text*, or None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
