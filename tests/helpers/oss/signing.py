"""Requests to OSS as sent on the wire, and their signatures, by the documentation.

This shares no code with localcloud.oss, so that neither can hide a mistake of the
other.  Sources: "Include signatures in headers" and "in URLs", "Signature version 4",
and for forms "PostObject" and "POST V4 signature".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.utils import formatdate
from urllib.parse import quote

import pytest

BUCKET = "my-bucket"
CAT, DOG = "dir/cat.jpg", "dir/dog.jpg"
REGION = "cn-hangzhou"


@dataclass(frozen=True)
class KeyPair:
    """A key to sign requests with; a long-term key has no token."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Message:
    """A request.  *path* and *query* are not encoded yet; *target* is, if given."""

    method: str = "GET"
    path: str = f"/{BUCKET}/{CAT}"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # in lower case
    body: bytes = b""
    target: str = ""

    def with_headers(self, **changes: str | None) -> Message:
        """Return it with headers changed, or removed if None; _ stands for -."""
        values = {name.replace("_", "-"): v for name, v in changes.items()}
        return replace(self, headers=without_none({**self.headers, **values}))

    def with_query(self, changes: Mapping[str, str | None]) -> Message:
        """Return it with parameters changed, or removed if None."""
        return replace(self, query=without_none({**self.query, **changes}))

    @property
    def query_string(self) -> str:
        """The query as sent, with its question mark."""
        pairs = [f"{quote(n, '')}={quote(v, '')}" for n, v in self.query.items()]
        return "?" + "&".join(pairs) if pairs else ""

    def encoded(self, port: int) -> bytes:
        """Return the bytes of the request."""
        headers = {"host": f"127.0.0.1:{port}", "connection": "close", **self.headers}
        may_have_body = self.body or self.method in ("PUT", "POST")
        if may_have_body and "transfer-encoding" not in headers:
            headers.setdefault("content-length", str(len(self.body)))
        target = self.target or quote(self.path)
        lines = [f"{self.method} {target}{self.query_string} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def without_none(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def iso_time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y%m%dT%H%M%SZ")


def http_date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


@dataclass(frozen=True)
class Scheme:
    """A way to sign.  *resource* is the signed resource, by default the path.

    Parts that a message has already, such as a date, are left unchanged.
    """

    is_v4: bool
    is_url: bool

    def sign(
        self,
        message: Message,
        key: KeyPair,
        now: float,
        *,
        resource: str = "",
        expires: int = 60,
        region: str = REGION,
        product: str = "oss",
        additional_headers: str = "",
    ) -> Message:
        resource = resource or message.path
        if not self.is_v4:
            return self._sign_v1(message, key, now, resource, expires)
        scope = f"{iso_time(now)[:8]}/{region}/{product}/aliyun_v4_request"
        return self._sign_v4(
            message, key, now, resource, expires, scope, additional_headers
        )

    def _sign_v1(
        self, message: Message, key: KeyPair, now: float, resource: str, expires: int
    ) -> Message:
        if self.is_url:
            date = message.query.get("Expires", f"{now + expires:.0f}")
            pairs = {"OSSAccessKeyId": key.access_key_id, "Expires": date}
            if key.security_token:
                pairs["security-token"] = key.security_token
            message = replace(message, query={**pairs, **message.query})
        else:
            headers = {"date": http_date(now), **message.headers}
            if key.security_token:
                headers.setdefault("x-oss-security-token", key.security_token)
            message = replace(message, headers=headers)
            date = headers.get("x-oss-date", headers["date"])
        signature = v1_signature(key, v1_string_to_sign(message, date, resource))
        if self.is_url:
            return message.with_query({"Signature": signature})
        authorization = f"OSS {key.access_key_id}:{signature}"
        return message.with_headers(authorization=authorization)

    def _sign_v4(
        self,
        message: Message,
        key: KeyPair,
        now: float,
        resource: str,
        expires: int,
        scope: str,
        additional_headers: str,
    ) -> Message:
        credential = f"{key.access_key_id}/{scope}"
        if self.is_url:
            pairs = {
                "x-oss-signature-version": "OSS4-HMAC-SHA256",
                "x-oss-credential": credential,
                "x-oss-date": iso_time(now),
                "x-oss-expires": str(expires),
            }
            if additional_headers:
                pairs["x-oss-additional-headers"] = additional_headers
            if key.security_token:
                pairs["x-oss-security-token"] = key.security_token
            message = replace(message, query={**pairs, **message.query})
            date = message.query["x-oss-date"]
        else:
            headers = {"x-oss-content-sha256": "UNSIGNED-PAYLOAD", **message.headers}
            if "x-oss-date" not in headers:
                headers.setdefault("date", iso_time(now))  # as the SDK for Android does
            if key.security_token:
                headers.setdefault("x-oss-security-token", key.security_token)
            message = replace(message, headers=headers)
            date = headers.get("x-oss-date") or headers["date"]
        request = v4_canonical_request(message, resource, additional_headers)
        string_to_sign = v4_string_to_sign(date, scope, request)
        signature = v4_signature(key, scope, string_to_sign)
        if self.is_url:
            return message.with_query({"x-oss-signature": signature})
        fields = [f"Credential={credential}", f"Signature={signature}"]
        if additional_headers:
            fields.insert(1, f"AdditionalHeaders={additional_headers}")
        authorization = f"OSS4-HMAC-SHA256 {','.join(fields)}"
        return message.with_headers(authorization=authorization)


def v1_string_to_sign(message: Message, date: str, resource: str) -> str:
    signed = [
        f"{name}={value}" if value else name
        for name, value in sorted(message.query.items())
        if name in V1_PARAMETERS
    ]
    lines = [
        message.method,
        message.headers.get("content-md5", ""),
        message.headers.get("content-type", ""),
        date,
        *(f"{n}:{v}" for n, v in sorted(message.headers.items()) if n[:6] == "x-oss-"),
        "?".join([resource, "&".join(signed)] if signed else [resource]),
    ]
    return "\n".join(lines)


V1_PARAMETERS = (  # those of the tests
    "acl",
    "bucketInfo",
    "callback",
    "callback-var",
    "delete",
    "partNumber",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "security-token",
    "uploadId",
    "uploads",
    "versionId",
    "x-oss-process",
)


def v1_signature(key: KeyPair, string_to_sign: str) -> str:
    secret = key.access_key_secret.encode()
    digest = hmac.new(secret, string_to_sign.encode(), "sha1").digest()
    return base64.b64encode(digest).decode()


def v4_canonical_request(message: Message, resource: str, additional: str) -> str:
    pairs = sorted((quote(n, ""), quote(v, "")) for n, v in message.query.items())
    signed = [
        f"{name}:{value.strip()}\n"
        for name, value in sorted(message.headers.items())
        if name in ("content-md5", "content-type", *additional.split(";"))
        or name.startswith("x-oss-")
    ]
    return "\n".join(
        [
            message.method,
            quote(resource),
            "&".join(f"{name}={value}" if value else name for name, value in pairs),
            "".join(signed),
            additional,
            "UNSIGNED-PAYLOAD",
        ]
    )


def v4_string_to_sign(date: str, scope: str, canonical_request: str) -> str:
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    return f"OSS4-HMAC-SHA256\n{date}\n{scope}\n{digest}"


def v4_signature(key: KeyPair, scope: str, string_to_sign: str) -> str:
    signing_key = f"aliyun_v4{key.access_key_secret}".encode()
    for step in [*scope.split("/"), string_to_sign]:
        signing_key = hmac.new(signing_key, step.encode(), "sha256").digest()
    return signing_key.hex()


V1_HEADER, V1_URL = Scheme(False, False), Scheme(False, True)
V4_HEADER, V4_URL = Scheme(True, False), Scheme(True, True)
SCHEMES = {
    "V1 header": V1_HEADER,
    "V1 URL": V1_URL,
    "V4 header": V4_HEADER,
    "V4 URL": V4_URL,
}


def with_schemes(*schemes: Scheme) -> pytest.MarkDecorator:
    names = [name for name, scheme in SCHEMES.items() if scheme in schemes]
    params = [pytest.param(SCHEMES[name], id=name) for name in names]
    return pytest.mark.parametrize("scheme", params)


each_scheme = with_schemes(*SCHEMES.values())
in_headers = with_schemes(V1_HEADER, V4_HEADER)
in_urls = with_schemes(V1_URL, V4_URL)


def edit_signature(message: Message, edit: Callable[[str], str]) -> Message:
    """Return *message* with its signature changed, wherever it is."""
    for name in ("Signature", "x-oss-signature"):
        if name in message.query:
            return message.with_query({name: edit(message.query[name])})
    authorization = message.headers["authorization"]
    separator = "Signature=" if "Signature=" in authorization else ":"
    start, mark, signature = authorization.rpartition(separator)
    return message.with_headers(authorization=start + mark + edit(signature))


def signature_of(message: Message) -> str:
    signatures: list[str] = []

    def note(signature: str) -> str:
        signatures.append(signature)
        return signature

    edit_signature(message, note)
    return signatures[0]


# --- Forms ----------------------------------------------------------------------------


def v1_fields(key: KeyPair, policy: str, now: float) -> dict[str, str]:
    """Return the fields of a form whose *policy*, in base64, is signed."""
    return {
        "OSSAccessKeyId": key.access_key_id,
        "policy": policy,
        "Signature": v1_signature(key, policy),
        **token_field(key),
    }


def v4_fields(
    key: KeyPair, policy: str, now: float, region: str = REGION, product: str = "oss"
) -> dict[str, str]:
    """Return the fields of a form whose *policy*, in Base64, is signed with V4."""
    scope = f"{iso_time(now)[:8]}/{region}/{product}/aliyun_v4_request"
    return {
        "x-oss-signature-version": "OSS4-HMAC-SHA256",
        "x-oss-credential": f"{key.access_key_id}/{scope}",
        "x-oss-date": iso_time(now),
        "policy": policy,
        "x-oss-signature": v4_signature(key, scope, policy),
        **token_field(key),
    }


def token_field(key: KeyPair) -> dict[str, str]:
    """Return the field of the security token, if there is one."""
    return {"x-oss-security-token": key.security_token} if key.security_token else {}
