"""What goes back: a reply, and errors as documents."""

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
    """A reply: *body*, or *size* bytes of *file*, which the one who sends it closes."""

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

    Its Content-Type has no charset: the SDKs for Android and iOS take anything but the
    bare type for the answer of a callback.
    """
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n{as_xml(name, members)}'
    headers = {"Content-Type": "application/xml", **(headers or {})}
    return Reply(200, headers, xml.encode())


def make_request_id() -> str:
    """Return an id such as those of OSS: 24 hexadecimal digits."""
    return secrets.token_hex(12).upper()


def error_reply(
    error: OssError, method: str, headers: Mapping[str, str], request_id: str
) -> Reply:
    """Return *error* as a document, which a reply to HEAD has in a header."""
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
