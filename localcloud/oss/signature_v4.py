"""Signatures of version 4, in headers, in URLs and in forms."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote

from localcloud.oss.errors import OssError
from localcloud.oss.signed import (
    MAX_CLOCK_SKEW_SECONDS,
    Signable,
    Signature,
    is_oss_header,
    url_expired,
)
from localcloud.oss.times import V4_TIME, day_of, read_date

MAX_EXPIRES_SECONDS = 7 * 24 * 3600  # of URLs and forms signed with V4
PRODUCT = "oss"
ALGORITHM = "OSS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"  # the only x-oss-content-sha256 that SDKs send

V4_URL = (
    "x-oss-signature-version",
    "x-oss-credential",
    "x-oss-date",
    "x-oss-expires",
    "x-oss-signature",
)

V4_AUTHORIZATION_KEYS = ("Credential", "AdditionalHeaders", "Signature")


class Where(NamedTuple):
    """A place for the parts of a V4 signature, and the EC for each invalid part.

    An EC is empty if no page gives one for this place.
    """

    name: str  # in messages
    date: str
    credential: str
    region: str = ""
    product: str = ""


IN_HEADER = Where(
    "Authorization header",
    date="0002-00000212",
    credential="0002-00000213",
    region="0002-00000226",
    product="0002-00000227",
)
IN_URL = Where("request parameters", date="0002-00000223", credential="")
IN_FORM = Where("form fields", date="0002-00000709", credential="0002-00000710")


def v4_signature(
    access_key_secret: str, date: str, region: str, string_to_sign: str
) -> str:
    """Return the signature with the key for one region and day (*date*, yyyymmdd)."""
    key = f"aliyun_v4{access_key_secret}".encode()
    for part in (date, region, PRODUCT, "aliyun_v4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def v4_canonical_request(
    request: Signable, additional_headers: list[str], resource: str
) -> str:
    """Return the canonical request of V4; *additional_headers* are signed as well."""
    query = sorted(
        (encode(name), encode(value))
        for name, value in request.query.items()
        if name != "x-oss-signature"
    )
    signed = sorted(
        name
        for name in request.headers
        if name in ("content-type", "content-md5", *additional_headers)
        or is_oss_header(name)
    )
    return "\n".join(
        [
            request.method,
            quote(resource, safe="/"),
            "&".join(f"{name}={value}" if value else name for name, value in query),
            "".join(f"{name}:{request.headers[name].strip()}\n" for name in signed),
            ";".join(sorted(additional_headers)),
            request.headers.get("x-oss-content-sha256", UNSIGNED_PAYLOAD),
        ]
    )


def encode(text: str) -> str:
    """Return *text* percent-encoded, including slashes."""
    return quote(text, safe="")


def v4_string_to_sign(time: str, scope: str, canonical_request: str) -> str:
    """Return the text that V4 signs."""
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    return f"{ALGORITHM}\n{time}\n{scope}\n{digest}"


def read_v4_header(
    request: Signable, authorization: str, now: float, region: str
) -> Signature:
    """Return the signature in an Authorization header.  Raises OssError."""
    fields = read_v4_authorization(authorization)
    time, seconds = read_time_header(request.headers)
    if abs(seconds - now) > MAX_CLOCK_SKEW_SECONDS:
        raise invalid_date(IN_HEADER)
    if request.headers.get("x-oss-content-sha256") != UNSIGNED_PAYLOAD:
        message = f"x-oss-content-sha256 must be {UNSIGNED_PAYLOAD}."
        raise OssError("InvalidArgument", message, ec="0002-00000214")
    parts = Parts(
        credential=fields["Credential"],
        additional_headers=fields.get("AdditionalHeaders"),
        time=time,
        day=day_of(seconds),
        security_token=request.headers.get("x-oss-security-token", ""),
        given=fields["Signature"],
    )
    return v4_signature_of(request, parts, region, IN_HEADER)


def read_time_header(headers: Mapping[str, str]) -> tuple[str, float]:
    """Return the time of a request: the text that is signed, and unix seconds.

    Two SDKs send it only in Date: the SDK for Android in the format of x-oss-date, the
    SDK for Go up to 3.0 in the format of HTTP ("Fri, 02 Jan 2026 03:04:05 GMT").
    Raises OssError.
    """
    if text := headers.get("x-oss-date"):
        return text, read_v4_time(text, IN_HEADER)
    text = headers.get("date", "")
    seconds = read_date(text)
    if seconds is None:
        raise invalid_date(IN_HEADER)
    return text, seconds


def read_v4_authorization(authorization: str) -> dict[str, str]:
    """Return the values in a V4 Authorization header by key.

    Raises OssError unless Credential and Signature are both there, each once and with a
    value.  SDKs differ in the order of the keys and in spaces after the commas.
    """
    algorithm, _, rest = authorization.partition(" ")
    pairs = [pair.strip(" ") for pair in rest.split(",")]
    if algorithm != ALGORITHM or not 2 <= len(pairs) <= len(V4_AUTHORIZATION_KEYS):
        message = (
            f"The Authorization header must be {ALGORITHM}, a space, and two or three "
            "pairs of key=value with commas between them."
        )
        raise OssError("InvalidArgument", message, ec="0002-00000202")
    fields: dict[str, str] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark:
            raise invalid_authorization("A pair has no equal sign.", "0002-00000203")
        if key not in V4_AUTHORIZATION_KEYS:
            keys = ", ".join(V4_AUTHORIZATION_KEYS)
            reason = f"The keys allowed are {keys}."
            raise invalid_authorization(reason, "0002-00000204")
        if key in fields:
            raise invalid_authorization(f"{key} is given twice.", "0002-00000202")
        fields[key] = value
    for key, ec in (("Credential", "0002-00000205"), ("Signature", "0002-00000207")):
        if key not in fields:
            raise invalid_authorization(f"{key} is missing.", ec)
    if not fields["Signature"]:
        raise invalid_authorization("Signature is empty.", "0002-00000208")
    return fields


def invalid_authorization(reason: str, ec: str) -> OssError:
    """Return the error for an Authorization header that cannot be read."""
    message = f"The Authorization header is invalid: {reason}"
    return OssError("InvalidArgument", message, ec=ec)


def read_v4_url(request: Signable, now: float, region: str) -> Signature:
    """Return the signature of a URL.  Raises OssError."""
    values = {name: request.query.get(name, "") for name in V4_URL}
    version, credential, time, expires, given = values.values()
    if not all(values.values()):
        raise OssError("AccessDenied", f"A signed URL needs {', '.join(V4_URL)}.")
    if version != ALGORITHM:
        raise invalid("signature version", IN_URL, "0002-00000066")
    if (
        not re.fullmatch(r"\d{1,7}", expires, re.ASCII)
        or not 1 <= int(expires) <= MAX_EXPIRES_SECONDS
    ):
        raise invalid("expires", IN_URL, "0002-00000232")
    valid_from = read_v4_time(time, IN_URL)
    if valid_from - now > MAX_CLOCK_SKEW_SECONDS:
        raise invalid_date(IN_URL)
    if now > valid_from + int(expires):
        raise url_expired(valid_from + int(expires), now)
    parts = Parts(
        credential=credential,
        additional_headers=request.query.get("x-oss-additional-headers"),
        time=time,
        day=time[:8],
        security_token=request.query.get("x-oss-security-token", ""),
        given=given,
    )
    return v4_signature_of(request, parts, region, IN_URL)


class Parts(NamedTuple):
    """The parts of a V4 signature in a header or in a URL."""

    credential: str
    additional_headers: str | None  # None if the request does not name any
    time: str  # as the request has it, since that is signed
    day: str  # of that time, yyyymmdd
    security_token: str
    given: str


def v4_signature_of(
    request: Signable, parts: Parts, region: str, where: Where
) -> Signature:
    """Return the signature made of *parts*.  Raises OssError."""
    access_key_id, date, scope = read_credential(
        parts.credential, parts.day, region, where
    )
    additional: list[str] = []
    if parts.additional_headers is not None:
        additional = read_additional_headers(parts.additional_headers, request.headers)

    def canonical_request(resource: str) -> str:
        return v4_canonical_request(request, additional, resource)

    def string_to_sign(resource: str) -> str:
        return v4_string_to_sign(parts.time, scope, canonical_request(resource))

    def sign(access_key_secret: str, string_to_sign: str) -> str:
        return v4_signature(access_key_secret, date, region, string_to_sign)

    return Signature(
        access_key_id=access_key_id,
        security_token=parts.security_token,
        given=parts.given,
        string_to_sign=string_to_sign,
        sign=sign,
        canonical_request=canonical_request,
    )


def read_additional_headers(text: str, headers: Mapping[str, str]) -> list[str]:
    """Return the names of the headers that are signed in addition to the usual ones.

    Raises OssError unless there is at least one, each is in *headers*, and they are in
    alphabetical order.  Their case does not matter ("Include a V4 signature in the
    Authorization header").
    """
    names = text.lower().split(";")
    if not text:
        message = "The additional headers are empty."
        raise OssError("InvalidArgument", message, ec="0002-00000209")
    if not all(names):
        message = "One of the additional headers is empty."
        raise OssError("InvalidArgument", message, ec="0002-00000210")
    if any("_" in name or name not in headers for name in names):
        message = "An additional header has an underscore, or is not in the request."
        raise OssError("InvalidArgument", message, ec="0002-00000211")
    if names != sorted(set(names)):
        message = "The additional headers must be sorted, and each given only once."
        raise OssError("InvalidArgument", message)
    return names


def read_credential(
    credential: str, day: str, region: str, where: Where
) -> tuple[str, str, str]:
    """Return AccessKeyId, day and scope of a credential that is fit for *day* here."""
    access_key_id, _, scope = credential.partition("/")
    parts = scope.split("/")
    if not access_key_id or len(parts) != 4:
        raise invalid("credential", where, where.credential)
    date, signed_region, product, terminator = parts
    if date != day:
        raise invalid_date(where)
    if signed_region != region:
        raise invalid("signing region", where, where.region)
    if product != PRODUCT:
        raise invalid("signing product", where, where.product)
    if terminator != "aliyun_v4_request":
        raise invalid("credential", where, where.credential)
    return access_key_id, date, scope


def invalid(what: str, where: Where, ec: str) -> OssError:
    """Return the error for an invalid part of a signature."""
    return OssError("InvalidArgument", f"Invalid {what} in {where.name}.", ec=ec)


def invalid_date(where: Where) -> OssError:
    """Return the error for an invalid time in a signature."""
    return invalid("signing date", where, where.date)


def read_v4_time(text: str, where: Where) -> float:
    """Return the unix seconds of a time in the format of V4.  Raises OssError."""
    seconds = read_date(text) if V4_TIME.fullmatch(text) else None
    if seconds is None:
        raise invalid_date(where)
    return seconds
