"""Signatures of OSS requests, V1 and V4, in headers and in URLs.

    signature = read_signature(request, now, "cn-hangzhou", allow_v1=False)
    signature.matches(access_key_secret, "/my-bucket/photos/cat.jpg")

read_signature() refuses every request that can be refused without the secret: one that
is signed twice, too old, for another region, with V1 where that is not allowed, or in
an unknown way.  The resource is given last, because one request can be read as meant
for different buckets.

Sources: "Include signatures in headers" and "Include signatures in URLs" (V1) and
"Signature version 4" in the OSS documentation; the signers of oss2 2.19.1,
alibabacloud-oss-v2 1.4.1, ali-oss 6.23.0 and of the OSS SDKs for Android and iOS.
"""

from __future__ import annotations

from collections.abc import Mapping

from localcloud.oss.errors import OssError, not_imitated
from localcloud.oss.signature_v1 import (
    V1_SCHEME,
    V1_URL,
    read_v1_header,
    read_v1_url,
    v1_refused,
)
from localcloud.oss.signature_v4 import ALGORITHM, V4_URL, read_v4_header, read_v4_url
from localcloud.oss.signed import Signable, Signature

S3_V4_PARAMETERS = {"x-amz-algorithm", "x-amz-credential", "x-amz-signature"}


def read_signature(
    request: Signable, now: float, region: str, *, allow_v1: bool
) -> Signature | None:
    """Return the signature of *request*, None if there is none.  Raises OssError."""
    authorization = request.headers.get("authorization", "")
    refuse_other_schemes(authorization, request.query)
    is_v1_url = any(name in request.query for name in V1_URL)
    is_v4_url = any(name in request.query for name in V4_URL)
    if bool(authorization) + is_v1_url + is_v4_url > 1:
        raise OssError("InvalidArgument", "The request is signed in more than one way.")
    is_v1 = is_v1_url or authorization.startswith(V1_SCHEME)
    if is_v1 and not allow_v1:
        raise v1_refused(region)
    if is_v1_url:
        return read_v1_url(request, now)
    if is_v4_url:
        return read_v4_url(request, now, region)
    if authorization.startswith(ALGORITHM):
        return read_v4_header(request, authorization, now, region)
    if is_v1:
        return read_v1_header(request, authorization, now)
    if authorization:
        raise OssError("InvalidArgument", "Unsupported Authorization Type")
    return None


def refuse_other_schemes(authorization: str, parameters: Mapping[str, str]) -> None:
    """Raise OssError if a request is signed in a way that is not imitated.

    *parameters* are those of the query, or the fields of a form with names in lower
    case.  A scheme is recognized by its name in the Authorization header, or by
    parameters that only this scheme has.
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
