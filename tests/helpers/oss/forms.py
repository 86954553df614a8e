"""Forms for PostObject, signed and encoded like those of browsers and programs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

import pytest
from urllib3.filepost import encode_multipart_formdata

from helpers.oss.client import OssReply, send
from helpers.oss.cloud import Cloud
from helpers.oss.signing import (
    BUCKET,
    CAT,
    V4_HEADER,
    KeyPair,
    Message,
    v1_fields,
    v4_fields,
)

BEFORE = {f"{BUCKET}/{CAT}": b"meow"}

Fields = Mapping[str, str]

V4_FIELDS = ("x-oss-signature-version", "x-oss-credential", "x-oss-date")
ANY_SIZE = ["content-length-range", 0, 5 * 2**30]


def policy_text(expiration: float, conditions: Sequence[object] = ()) -> str:
    moment = datetime.fromtimestamp(expiration, timezone.utc)
    return json.dumps(
        {
            "expiration": moment.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "conditions": [*conditions],
        }
    )


Sign = Callable[[KeyPair, str, float], dict[str, str]]
each_version = pytest.mark.parametrize(
    "sign",
    [pytest.param(v1_fields, id="V1"), pytest.param(v4_fields, id="V4")],
)


def signed(
    cloud: Cloud,
    key: KeyPair,
    fields: Fields | None = None,
    *,
    sign: Sign = v4_fields,
    conditions: Sequence[object] = (),
    policy: str = "",
) -> dict[str, str]:
    """Return the fields of a form; its policy is valid for a minute."""
    return {
        "key": "dir/new",
        **(fields or {}),
        **signature_fields(cloud, key, sign, conditions, policy),
    }


def signature_fields(
    cloud: Cloud,
    key: KeyPair,
    sign: Sign = v4_fields,
    conditions: Sequence[object] = (),
    policy: str = "",
    seconds: float = 60,
) -> dict[str, str]:
    """Return the fields that sign *policy*, by default one with all that V4 needs."""
    now = cloud.clock.now
    if not policy:
        unsigned = sign(key, "", now)
        needed = [{name: unsigned[name]} for name in V4_FIELDS if name in unsigned]
        policy = policy_text(now + seconds, [ANY_SIZE, *needed, *conditions])
    return sign(key, base64.b64encode(policy.encode()).decode(), now)


File = tuple[str, str, bytes]  # file name, Content-Type and bytes
FILE: File = ("purr.txt", "text/plain", b"purr")
BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"


def part(name: str, value: bytes, filename: str | None = None, kind: str = "") -> bytes:
    """Return a part of a form as browsers write it."""

    def quoted(text: str) -> str:
        for character in '\n\r"':
            text = text.replace(character, f"%{ord(character):02X}")
        return f'"{text}"'

    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name={quoted(name)}"
    head += "" if filename is None else f"; filename={quoted(filename)}"
    head += f"\r\nContent-Type: {kind}" if kind else ""
    return f"{head}\r\n\r\n".encode() + value + b"\r\n"


def as_browser(fields: Fields, file: File = FILE) -> tuple[bytes, str]:
    """Return body and Content-Type as a browser sends them."""
    filename, kind, data = file
    parts = [part(name, value.encode()) for name, value in fields.items()]
    return wrapped(*parts, part("file", data, filename, kind))


def wrapped(*parts: bytes) -> tuple[bytes, str]:
    body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={BOUNDARY}"


def as_requests(fields: Fields, file: File = FILE) -> tuple[bytes, str]:
    """Return body and Content-Type as requests, by urllib3, sends them."""
    filename, kind, data = file
    return encode_multipart_formdata(
        [*fields.items(), ("file", (filename, data, kind))]
    )


each_encoding = pytest.mark.parametrize(
    "encode",
    [
        pytest.param(as_browser, id="browser"),
        pytest.param(as_requests, id="requests"),
    ],
)
Encode = Callable[[Fields, File], tuple[bytes, str]]


def message_of(
    form: tuple[bytes, str], path: str = f"/{BUCKET}/", headers: Fields | None = None
) -> Message:
    body, content_type = form
    headers = {"content-type": content_type, **(headers or {})}
    return Message("POST", path, headers=headers, body=body)


def post(cloud: Cloud, fields: Fields, file: File = FILE) -> OssReply:
    """Send a form as a browser does."""
    return send(cloud.oss, message_of(as_browser(fields, file)))


def get(cloud: Cloud, key: KeyPair, name: str) -> OssReply:
    message = Message(path=f"/{BUCKET}/{name}")
    return send(cloud.oss, V4_HEADER.sign(message, key, cloud.clock.now))


# --- Its policy -----------------------------------------------------------------------
def eq(name: str, value: object) -> list[object]:
    return ["eq", f"${name}", value]


def edited(fields: Fields, edit: Callable[[str], str]) -> dict[str, str]:
    """Return the signature of a form, changed."""
    name = "Signature" if "Signature" in fields else "x-oss-signature"
    return {name: edit(fields[name])}
