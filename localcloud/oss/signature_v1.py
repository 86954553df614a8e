"""Signatures of version 1, in headers and in URLs.

OSS refuses them for buckets made since September 2025 (EC 0002-00000080).
"""

from __future__ import annotations

import base64
import hmac
import re

from localcloud.oss.errors import OssError
from localcloud.oss.signed import (
    MAX_CLOCK_SKEW_SECONDS,
    SIGNED_SUBRESOURCES,
    Signable,
    Signature,
    is_oss_header,
    url_expired,
)
from localcloud.oss.times import iso_time, read_date

V1_URL = ("OSSAccessKeyId", "Expires", "Signature")

V1_SCHEME = "OSS "  # the beginning of an Authorization header
V1_AUTHORIZATION = re.compile(r"OSS ([^\s:]+):([^\s:]+)")


def v1_refused(region: str) -> OssError:
    """Return the error for V1 at a bucket in *region* that only takes V4.

    The page of its EC gives the status 403, but no Code and no Message.
    """
    message = (
        "Signature version 1 is refused, as by OSS for new buckets. Sign with "
        f"version 4 (OSS4-HMAC-SHA256) and the region {region}. If your bucket still "
        "takes version 1, start the stand-in with allow_v1=True, or "
        "python -m localcloud with --allow-v1."
    )
    return OssError("AccessDenied", message, ec="0002-00000080")


def v1_signature(access_key_secret: str, string_to_sign: str) -> str:
    """Return the signature of a request, or of the policy of a form."""
    digest = hmac.digest(access_key_secret.encode(), string_to_sign.encode(), "sha1")
    return base64.b64encode(digest).decode()


def v1_string_to_sign(request: Signable, date: str, resource: str) -> str:
    """Return the text that V1 signs; *date* is a Date, or the Expires of a URL."""
    headers = request.headers
    lines = [
        request.method,
        headers.get("content-md5", ""),
        headers.get("content-type", ""),
        date,
        *(f"{n}:{headers[n].strip()}" for n in sorted(headers) if is_oss_header(n)),
    ]
    subresources = [
        f"{name}={value}" if value else name
        for name, value in sorted(request.query.items())
        if name in SIGNED_SUBRESOURCES
    ]
    return "\n".join([*lines, resource]) + (
        "?" + "&".join(subresources) if subresources else ""
    )


def read_v1_header(request: Signable, authorization: str, now: float) -> Signature:
    """Return the signature in an Authorization header.  Raises OssError."""
    match = V1_AUTHORIZATION.fullmatch(authorization)
    if not match:
        raise OssError("InvalidArgument", "Authorization header is invalid.")
    date = request.headers.get("x-oss-date") or request.headers.get("date", "")
    requested_at = read_date(date)
    if requested_at is None:
        raise OssError(
            "AccessDenied",
            "OSS authentication requires a valid Date.",
            ec="0002-00000503",
        )
    if abs(requested_at - now) > MAX_CLOCK_SKEW_SECONDS:
        raise OssError(
            "RequestTimeTooSkewed",
            details={
                "MaxAllowedSkewMilliseconds": str(MAX_CLOCK_SKEW_SECONDS * 1000),
                "RequestTime": iso_time(requested_at),
                "ServerTime": iso_time(now),
            },
        )
    # alibabacloud-oss-v2 sends the token in a header of another name, unsigned.
    token = request.headers.get("x-oss-security-token")
    return Signature(
        access_key_id=match[1],
        security_token=token or request.headers.get("security-token", ""),
        given=match[2],
        string_to_sign=lambda resource: v1_string_to_sign(request, date, resource),
        sign=v1_signature,
    )


def read_v1_url(request: Signable, now: float) -> Signature:
    """Return the signature of a URL.  Raises OssError."""
    values = {name: request.query.get(name, "") for name in V1_URL}
    expires = values["Expires"]
    if not all(values.values()):
        raise OssError("AccessDenied", f"A signed URL needs {', '.join(V1_URL)}.")
    if not re.fullmatch(r"\d{1,18}", expires, re.ASCII):
        message = "Expires must be a time in unix seconds."
        raise OssError("AccessDenied", message, ec="0002-00000070")
    if now > int(expires):
        raise url_expired(float(expires), now)
    return Signature(
        access_key_id=values["OSSAccessKeyId"],
        security_token=request.query.get("security-token", ""),
        given=values["Signature"],
        string_to_sign=lambda resource: v1_string_to_sign(request, expires, resource),
        sign=v1_signature,
    )
