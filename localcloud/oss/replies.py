"""Replies, XML documents and error replies."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from localcloud.markup import as_xml
from localcloud.oss.errors import OssError


@dataclass(frozen=True)
class Reply:
    """A reply: *body*, or *size* bytes of *file*, which the sender has to close."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: BinaryIO | None = None
    size: int = 0


def document(
    name: str,
    members: Mapping[str, Any] | str,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Return a reply with an XML document.

    Its Content-Type has no charset: with one, the SDKs for Android and iOS would take
    the document for the reply to a callback.
    """
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n{as_xml(name, members)}'
    headers = {"Content-Type": "application/xml", **(headers or {})}
    return Reply(200, headers, xml.encode())


def make_request_id() -> str:
    """Return a request ID like those of OSS: 24 hexadecimal digits."""
    return secrets.token_hex(12).upper()


def error_reply(
    error: OssError, method: str, headers: Mapping[str, str], request_id: str
) -> Reply:
    """Return *error* as an XML document; for HEAD it is in the header x-oss-err."""
    if error.status == 304:
        return Reply(304, error.headers)
    members = {
        "Code": error.code,
        "Message": error.message,
        "RequestId": request_id,
        "HostId": headers.get("host", ""),
        **error.details,
    }
    also = {"x-oss-request-id": request_id, **error.headers}
    if error.ec:
        members["EC"] = error.ec
        members["RecommendDoc"] = f"https://api.aliyun.com/troubleshoot?q={error.ec}"
        also["x-oss-ec"] = error.ec
    reply = document("Error", members, also)
    if method == "HEAD":
        in_header = {"x-oss-err": base64.b64encode(reply.body).decode()}
        return Reply(error.status, {**reply.headers, **in_header})
    return Reply(error.status, reply.headers, reply.body)
