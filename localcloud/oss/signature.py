"""Signatures of OSS requests, V1 and V4, in headers and in URLs.

    signature = read_signature(request, now, "cn-hangzhou")
    signature.matches(access_key_secret, "/my-bucket/photos/cat.jpg")

read_signature() refuses what needs no secret to be refused: a request that is signed
twice, too old, for another region, or in a way that is not understood.  The resource
comes last, as one request can be read as meant for different buckets.

Sources: "Include signatures in headers" and "Include signatures in URLs" (V1) and
"Signature version 4" in the OSS documentation; the signers of oss2 2.19.1,
alibabacloud-oss-v2 1.4.1, ali-oss 6.23.0 and of the OSS SDKs for Android and iOS.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote

from localcloud.oss.errors import OssError, not_imitated

MAX_CLOCK_SKEW_SECONDS = 15 * 60
MAX_EXPIRES_SECONDS = 7 * 24 * 3600  # of a URL and of a form, if V4 signed them
PRODUCT = "oss"
ALGORITHM = "OSS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"  # the one x-oss-content-sha256 that SDKs send

# V1 signs these of a query, and no others.  It is the union of what the SDKs know.
SUBRESOURCES = """
accessPoint accessPointPolicy acl append asyncFetch bucketArchiveDirectRead bucketInfo
callback callback-var cleanRestoredObject cloudboxes cname comp continuation-token cors
dataPipeline delete encryption endTime group httpsConfig img inventory inventoryId
legalHold lifecycle link live location logging metadataConfiguration
metadataInventoryTable metadataJournalTable MetaQuery metaQuery objectInfo objectMeta
objectWorm overwriteConfig partNumber policy policyStatus position publicAccessBlock qos
qosInfo qosRequester quota redundancyTransition referer regionList replication
replicationLocation replicationProgress requesterQosInfo requestPayment resourceGroup
resourcePool resourcePoolBuckets resourcePoolInfo response-cache-control
response-content-disposition response-content-encoding response-content-language
response-content-type response-expires restore retention rtc seal security-token
sequential startTime stat status style styleName symlink tagging transferAcceleration
uploadId uploads userDefinedLogFieldsConfig versionId versioning versions vod website
worm wormExtend wormId x-oss-ac-forward-allow x-oss-ac-source-ip x-oss-ac-subnet-mask
x-oss-ac-vpc-id x-oss-access-point-name x-oss-async-process x-oss-process
x-oss-redundancy-transition-taskid x-oss-request-payer x-oss-target-redundancy-type
x-oss-traffic-limit x-oss-write-get-object-response
"""
SIGNED_SUBRESOURCES = frozenset(SUBRESOURCES.split())

V1_URL = ("OSSAccessKeyId", "Expires", "Signature")
V4_URL = (
    "x-oss-signature-version",
    "x-oss-credential",
    "x-oss-date",
    "x-oss-expires",
    "x-oss-signature",
)
V1_AUTHORIZATION = re.compile(r"OSS ([^\s:]+):([^\s:]+)")
S3_V4_PARAMETERS = {"x-amz-algorithm", "x-amz-credential", "x-amz-signature"}
V4_AUTHORIZATION_KEYS = ("Credential", "AdditionalHeaders", "Signature")
V4_TIME = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


class Where(NamedTuple):
    """A place where V4 has its parts, and the EC of what can be wrong with each.

    An EC is empty if no page gives one for this place.
    """

    name: str  # as messages have it
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


@dataclass(frozen=True)
class Signable:
    """What a signature covers.

    *query* is decoded, where a plus sign is one; names of *headers* are in lower case.
    """

    method: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Signature:
    """A signature that may be right: only a secret will tell."""

    access_key_id: str
    security_token: str = field(repr=False)
    given: str = field(repr=False)
    # The two steps of its arithmetic: what is signed, given the resource, and how,
    # given the secret.  The canonical request, of which V4 signs a digest, is for the
    # developer who looks for a difference; V1 has none.
    string_to_sign: Callable[[str], str] = field(repr=False)
    sign: Callable[[str, str], str] = field(repr=False)
    canonical_request: Callable[[str], str] | None = field(default=None, repr=False)

    def matches(self, access_key_secret: str, resource: str) -> bool:
        """Tell whether *resource*, /bucket/key, was signed with the secret."""
        expected = self.sign(access_key_secret, self.string_to_sign(resource))
        return hmac.compare_digest(expected.encode(), self.given.encode())

    def mismatch(self, resource: str) -> OssError:
        """Return the error that tells the caller what should have been signed."""
        string_to_sign = self.string_to_sign(resource)
        details = {
            "OSSAccessKeyId": self.access_key_id,
            "SignatureProvided": self.given,
            "StringToSign": string_to_sign,
            "StringToSignBytes": string_to_sign.encode().hex(" ").upper(),
        }
        if self.canonical_request:
            details["CanonicalRequest"] = self.canonical_request(resource)
        return OssError("SignatureDoesNotMatch", details=details)


def read_signature(request: Signable, now: float, region: str) -> Signature | None:
    """Return how *request* is signed, None if it is not.  Raises OssError."""
    authorization = request.headers.get("authorization", "")
    refuse_other_schemes(authorization, request.query)
    is_v1_url = any(name in request.query for name in V1_URL)
    is_v4_url = any(name in request.query for name in V4_URL)
    if bool(authorization) + is_v1_url + is_v4_url > 1:
        raise OssError("InvalidArgument", "The request is signed in more than one way.")
    if is_v1_url:
        return read_v1_url(request, now)
    if is_v4_url:
        return read_v4_url(request, now, region)
    if authorization.startswith(ALGORITHM):
        return read_v4_header(request, authorization, now, region)
    if authorization.startswith("OSS "):
        return read_v1_header(request, authorization, now)
    if authorization:
        raise OssError("InvalidArgument", "Unsupported Authorization Type")
    return None


def refuse_other_schemes(authorization: str, parameters: Mapping[str, str]) -> None:
    """Raise OssError for a request that OSS may know, signed as it is not imitated.

    *parameters* are those of the query, or the fields of a form, whose names are in
    lower case.  A scheme is told by its name in an Authorization header, or by
    parameters that no other has.
    """
    names = {name.lower() for name in parameters}
    scheme = authorization.partition(" ")[0]
    version = parameters.get("x-oss-signature-version")
    if scheme == "OSS2" or version == "OSS2" or "x-oss-access-key-id" in names:
        raise not_imitated("signature version 2 (OSS2)")
    if scheme.startswith("AWS4-") or names & S3_V4_PARAMETERS:
        raise not_imitated("signature version 4 of Amazon S3 (AWS4-HMAC-SHA256)")
    if scheme == "AWS" or "awsaccesskeyid" in names:
        raise not_imitated("signature version 2 of Amazon S3 (AWS id:signature)")


# --- V1 -------------------------------------------------------------------------


def v1_signature(access_key_secret: str, string_to_sign: str) -> str:
    digest = hmac.digest(access_key_secret.encode(), string_to_sign.encode(), "sha1")
    return base64.b64encode(digest).decode()


def v1_string_to_sign(request: Signable, date: str, resource: str) -> str:
    """Return what V1 signs; *date* is a Date, or the time at which a URL expires."""
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


def is_oss_header(name: str) -> bool:
    return name.startswith("x-oss-")


def read_v1_header(request: Signable, authorization: str, now: float) -> Signature:
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


def url_expired(expires: float, now: float) -> OssError:
    times = {"Expires": iso_time(expires), "ServerTime": iso_time(now)}
    return OssError("AccessDenied", "Request has expired.", details=times)


# --- V4 -------------------------------------------------------------------------


def v4_signature(
    access_key_secret: str, date: str, region: str, string_to_sign: str
) -> str:
    """Return the signature with the key for one day (*date*, yyyymmdd) and region."""
    key = f"aliyun_v4{access_key_secret}".encode()
    for part in (date, region, PRODUCT, "aliyun_v4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def v4_canonical_request(
    request: Signable, additional_headers: list[str], resource: str
) -> str:
    """Return the request as V4 sees it; *additional_headers* are signed as well."""
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
    return quote(text, safe="")


def v4_string_to_sign(time: str, scope: str, canonical_request: str) -> str:
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    return f"{ALGORITHM}\n{time}\n{scope}\n{digest}"


def read_v4_header(
    request: Signable, authorization: str, now: float, region: str
) -> Signature:
    fields = read_v4_authorization(authorization)
    # The SDK for Android has the time in Date alone, in the form of x-oss-date.
    time = request.headers.get("x-oss-date") or request.headers.get("date", "")
    if abs(read_v4_time(time, IN_HEADER) - now) > MAX_CLOCK_SKEW_SECONDS:
        raise invalid_date(IN_HEADER)
    if request.headers.get("x-oss-content-sha256") != UNSIGNED_PAYLOAD:
        message = f"x-oss-content-sha256 must be {UNSIGNED_PAYLOAD}."
        raise OssError("InvalidArgument", message, ec="0002-00000214")
    return v4_signature_of(
        request,
        credential=fields["Credential"],
        additional_headers=fields.get("AdditionalHeaders"),
        time=time,
        security_token=request.headers.get("x-oss-security-token", ""),
        given=fields["Signature"],
        region=region,
        where=IN_HEADER,
    )


def read_v4_authorization(authorization: str) -> dict[str, str]:
    """Return what an Authorization header of V4 consists of, by key.

    Raises OssError unless both Credential and Signature are there, each once and with a
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
            reason = f"The keys that may be there are {keys}."
            raise invalid_authorization(reason, "0002-00000204")
        if key in fields:
            raise invalid_authorization(f"{key} is there twice.", "0002-00000202")
        fields[key] = value
    for key, ec in (("Credential", "0002-00000205"), ("Signature", "0002-00000207")):
        if key not in fields:
            raise invalid_authorization(f"{key} is missing.", ec)
    if not fields["Signature"]:
        raise invalid_authorization("Signature is empty.", "0002-00000208")
    return fields


def invalid_authorization(reason: str, ec: str) -> OssError:
    message = f"The Authorization header is invalid: {reason}"
    return OssError("InvalidArgument", message, ec=ec)


def read_v4_url(request: Signable, now: float, region: str) -> Signature:
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
    return v4_signature_of(
        request,
        credential=credential,
        additional_headers=request.query.get("x-oss-additional-headers"),
        time=time,
        security_token=request.query.get("x-oss-security-token", ""),
        given=given,
        region=region,
        where=IN_URL,
    )


def v4_signature_of(
    request: Signable,
    *,
    credential: str,
    additional_headers: str | None,
    time: str,
    security_token: str,
    given: str,
    region: str,
    where: Where,
) -> Signature:
    access_key_id, date, scope = read_credential(credential, time, region, where)
    additional: list[str] = []
    if additional_headers is not None:
        additional = read_additional_headers(additional_headers, request.headers)

    def canonical_request(resource: str) -> str:
        return v4_canonical_request(request, additional, resource)

    def string_to_sign(resource: str) -> str:
        return v4_string_to_sign(time, scope, canonical_request(resource))

    def sign(access_key_secret: str, string_to_sign: str) -> str:
        return v4_signature(access_key_secret, date, region, string_to_sign)

    return Signature(
        access_key_id=access_key_id,
        security_token=security_token,
        given=given,
        string_to_sign=string_to_sign,
        sign=sign,
        canonical_request=canonical_request,
    )


def read_additional_headers(text: str, headers: Mapping[str, str]) -> list[str]:
    """Return the names of the headers that are signed besides those that always are.

    Raises OssError unless there are some, each in *headers*, and in alphabetical order.
    Their case does not matter ("Include a V4 signature in the Authorization header").
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
        message = "The additional headers must be sorted, and each be there once."
        raise OssError("InvalidArgument", message)
    return names


def read_credential(
    credential: str, time: str, region: str, where: Where
) -> tuple[str, str, str]:
    """Return AccessKeyId, day and scope of a credential that is fit for *time* here."""
    access_key_id, _, scope = credential.partition("/")
    parts = scope.split("/")
    if not access_key_id or len(parts) != 4:
        raise invalid("credential", where, where.credential)
    date, signed_region, product, terminator = parts
    if date != time[:8]:
        raise invalid_date(where)
    if signed_region != region:
        raise invalid("signing region", where, where.region)
    if product != PRODUCT:
        raise invalid("signing product", where, where.product)
    if terminator != "aliyun_v4_request":
        raise invalid("credential", where, where.credential)
    return access_key_id, date, scope


def invalid(what: str, where: Where, ec: str) -> OssError:
    return OssError("InvalidArgument", f"Invalid {what} in {where.name}.", ec=ec)


def invalid_date(where: Where) -> OssError:
    return invalid("signing date", where, where.date)


# --- Times ----------------------------------------------------------------------


def read_date(text: str) -> float | None:
    """Return the unix seconds of a Date, or of a time in V4's form, or None."""
    try:
        if V4_TIME.fullmatch(text):
            moment = datetime.strptime(text, "%Y%m%dT%H%M%SZ")
        else:
            moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.astimezone(timezone.utc).timestamp()
    except (ValueError, OverflowError):  # the latter for a year beyond those there are
        return None


def read_v4_time(text: str, where: Where) -> float:
    """Return the unix seconds of a time in V4's form.  Raises OssError."""
    seconds = read_date(text) if V4_TIME.fullmatch(text) else None
    if seconds is None:
        raise invalid_date(where)
    return seconds


def iso_time(seconds: float) -> str:
    """Return unix *seconds* as OSS writes times in XML."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
