"""Signature V4 of OSS for forms and URLs, which clients use without a key pair.

Anyone who has a signed form or URL can do what was signed, until it expires, and
nothing else.  The secret stays here.

Sources: "Signature version 4 (recommended)": "Include a V4 signature in a URL",
"PostObject" (OSS API reference); vectors of the SDK alibabacloud_oss_v2.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tokenserver.oss.bucket import Bucket

ALGORITHM = "OSS4-HMAC-SHA256"
MAX_SECONDS = 7 * 24 * 3600  # for which a form or URL may be valid
UNRESERVED = "-._~"  # not percent-encoded, like letters and digits

Condition = dict[str, str] | list[Any]  # of a form's policy


@dataclass(frozen=True)
class Signer:
    """Signs with a temporary key pair, at one moment.  *now* is unix seconds."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(repr=False)
    region: str
    now: float

    @property
    def date(self) -> str:
        """The moment in the format of V4, in UTC."""
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self.now))

    @property
    def scope(self) -> str:
        """The day, region and service for which the signature is valid."""
        return f"{self.date[:8]}/{self.region}/oss/aliyun_v4_request"

    @property
    def credential(self) -> str:
        """The AccessKeyId and the scope."""
        return f"{self.access_key_id}/{self.scope}"

    def sign(self, text: str) -> str:
        """Return the signature of *text*, in hex."""
        key = f"aliyun_v4{self.access_key_secret}".encode()
        for part in self.scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def sign_form(
    signer: Signer,
    fields: Mapping[str, str],
    conditions: Sequence[Condition],
    until: int,
) -> dict[str, str]:
    """Return the fields of a form in the order in which they are sent, before the file.

    Its policy pins each of *fields*, and has *conditions* for the fields that a client
    fills in.  It is valid until the unix time *until*.
    """
    own = {
        "x-oss-signature-version": ALGORITHM,
        "x-oss-credential": signer.credential,
        "x-oss-date": signer.date,
        "x-oss-security-token": signer.security_token,
    }
    pinned = {**fields, **own}
    document = {
        "expiration": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(until)),
        "conditions": [*({name: text} for name, text in pinned.items()), *conditions],
    }
    policy = base64.b64encode(
        json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    ).decode("ascii")
    return {**pinned, "policy": policy, "x-oss-signature": signer.sign(policy)}


@dataclass(frozen=True)
class Presigned:
    """A request whose URL is to be signed.

    The client must send *headers* unchanged.  All of them are signed, so each must be
    Content-Type, Content-MD5 or begin with x-oss-.  *query* has the parameters besides
    the signature, such as x-oss-process; one with an empty value is written without
    "=".
    """

    method: str
    bucket: Bucket
    object_name: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    seconds: int  # for which it is valid, at most MAX_SECONDS


def sign_url(signer: Signer, request: Presigned) -> str:
    """Return the URL of *request*, with its signature."""
    query = {
        **request.query,
        "x-oss-signature-version": ALGORITHM,
        "x-oss-credential": signer.credential,
        "x-oss-date": signer.date,
        "x-oss-expires": str(request.seconds),
        "x-oss-security-token": signer.security_token,
    }
    # Sorted by name, not by the text "name=value": callback comes before callback-var,
    # although "=" comes after "-".
    pairs = sorted((encode(name), encode(text)) for name, text in query.items())
    parameters = "&".join(f"{name}={text}" if text else name for name, text in pairs)
    headers = sorted(
        f"{name.lower()}:{text.strip()}\n" for name, text in request.headers.items()
    )
    canonical = "\n".join(
        (
            request.method,
            encode(f"/{request.bucket.name}/{request.object_name}", "/"),
            parameters,
            "".join(headers),
            "",  # no additional headers
            "UNSIGNED-PAYLOAD",
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = signer.sign(f"{ALGORITHM}\n{signer.date}\n{signer.scope}\n{digest}")
    path = encode(f"/{request.object_name}", "/")
    return f"{request.bucket.host}{path}?{parameters}&x-oss-signature={signature}"


def encode(text: str, safe: str = "") -> str:
    """Return *text* in percent-encoding (RFC 3986)."""
    return quote(text, safe=UNRESERVED + safe)
