"""Reports of OSS, signed with a key of our own or not at all.

This is only for tests of the server.  localcloud imitates OSS itself.
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from helpers import secret_scan
from helpers.client import Reply, request

SECRET = "the secret that seals tickets, 32 bytes or more".replace(" ", "-")
OTHER_SECRET = "another secret that seals tickets, while it is changed".replace(
    " ", "-"
)
PATH = "/oss/uploaded"
KEY_PLACE = "https://gosspublic.alicdn.com/callback_pub_key_v1.pem"
TYPE = "application/x-www-form-urlencoded"

_numbers = itertools.count(1)


@functools.cache
def oss_key(name: str = "ours") -> RSAPrivateKey:
    """Return a key of the kind that OSS signs with."""
    return rsa.generate_private_key(65537, 1024)


def callback(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return a Callback whose files are in *folder*; a change to ... removes one."""
    secret_scan.remember(SECRET, OTHER_SECRET)
    write_secrets(folder, SECRET)
    key = oss_key().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "oss.pem").write_bytes(pem)
    values = {
        "Url": f"https://app.example.com{PATH}",
        "SecretFile": str(folder / "callback.secret"),
        "Variables": ["x:album"],
        "UploadsFile": str(folder / "uploads.jsonl"),
        "PublicKeyFile": str(folder / "oss.pem"),
    } | changes
    return {name: value for name, value in values.items() if value is not ...}


def write_secrets(folder: Path, *secrets: str) -> None:
    """Write the file of secrets into *folder*."""
    path = folder / "callback.secret"
    path.touch(mode=0o600)
    path.write_text("".join(f"{secret}\n" for secret in secrets))


def ticket_of(config: dict[str, str]) -> str:
    """Return the ticket in a reply of /upload-config."""
    variables = json.loads(base64.b64decode(config["callback-var"]))
    ticket = str(variables["x:ticket"])
    secret_scan.remember(ticket)
    return ticket


def report(ticket: str, key: str = "photos/cat.jpg", **changes: Any) -> dict[str, str]:
    """Return the values of a report; a change to None leaves a name out.

    The name x_album stands for x:album.
    """
    values = {
        "bucket": "my-bucket",
        "object": key,
        "size": "35891",
        "type": "image/jpeg",
        "etag": "0B2E5F5D8F4C4E0F8C7A7F0F3B6E5A1D",
        "crc64": "9223372036854775807",
        "width": "1280",
        "height": "960",
        "format": "jpg",
        "client": "192.0.2.7",
        "request": f"{next(_numbers):024X}",
        "operation": "PutObject",
        "x:ticket": ticket,
        "x:album": "cats",
    } | {name.replace("x_", "x:", 1): value for name, value in changes.items()}
    return {name: str(value) for name, value in values.items() if value is not None}


def encoded(values: dict[str, str]) -> bytes:
    """Return *values* as a form, encoded as OSS does it."""
    return urlencode(values).encode()


def signature(body: bytes, target: str = PATH, key: RSAPrivateKey | None = None) -> str:
    """Return the signature of OSS for a report to *target*."""
    path, mark, query = target.partition("?")
    message = unquote_to_bytes(path) + f"{mark}{query}\n".encode() + body
    signed = (key or oss_key()).sign(message, padding.PKCS1v15(), hashes.MD5())
    return base64.b64encode(signed).decode()


def fields(body: bytes, **changes: Any) -> dict[str, str]:
    """Return the headers of a report of *body*; a change to None leaves one out."""
    values = {
        "Content-Type": TYPE,
        "Authorization": signature(body),
        "x-oss-pub-key-url": base64.b64encode(KEY_PLACE.encode()).decode(),
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in values.items() if value is not None}


def post(port: int, values: dict[str, str] | bytes, **changes: Any) -> Reply:
    """Report an upload as OSS does."""
    body = values if isinstance(values, bytes) else encoded(values)
    return request(port, PATH, "POST", fields(body, **changes), body)


def records(folder: Path) -> list[dict[str, Any]]:
    """Return the records in the UploadsFile of *folder*."""
    path = folder / "uploads.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]
