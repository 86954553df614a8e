"""A request to be performed, and helpers for its reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

from localcloud.oss.errors import OssError
from localcloud.oss.records import Incoming, StoredObject
from localcloud.oss.replies import Reply
from localcloud.oss.request import Place, Request
from localcloud.oss.storage import Bucket

MAX_KEYS = 1000  # in a page of a list, and in DeleteMultipleObjects
DEFAULT_KEYS = 100

Authorize = Callable[[str, Place], None]
Notify = Callable[[StoredObject, Reply], Reply]


@dataclass(frozen=True)
class Call:
    """A request that the policies allow.

    *authorize* raises OssError unless they allow another action, on another place.
    *notify* makes the callback of the request, if any, once an object is stored; it
    returns the reply, and raises OssError if the callback fails.
    """

    request: Request
    buckets: Mapping[str, Bucket]
    bucket: Bucket
    key: str
    authorize: Authorize
    notify: Notify
    owner: str  # the number of the account
    region: str
    url: str  # of the stand-in

    def header(self, name: str) -> str:
        """Return the header *name*, or ""."""
        return self.request.headers.get(name, "")

    def query(self, name: str) -> str:
        """Return the parameter *name* of the query, or ""."""
        return self.request.query.get(name, "")

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return the number *name* of the query.  Raises OssError if out of bounds."""
        text = self.query(name)
        if not text:
            return default
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise OssError(
                "InvalidArgument",
                f"{name} must be a number from {low} to {high}.",
                details={"ArgumentName": name, "ArgumentValue": text},
            )
        return int(text)

    @property
    def may_overwrite(self) -> bool:
        """Whether the request allows an object to be overwritten."""
        return self.header("x-oss-forbid-overwrite").lower() != "true"

    @contextmanager
    def received(self) -> Iterator[Incoming]:
        """Receive the body; raises OssError unless it matches its headers."""
        self.request.body.check_announced()
        chunks = self.request.body.chunks()
        with self.bucket.receive(self.key, chunks) as incoming:
            self.check_md5(incoming.content.content_md5)
            checksum = self.header("x-oss-hash-crc64ecma")
            if checksum and checksum != str(incoming.content.crc64):
                raise OssError("InvalidCRC64")
            yield incoming

    def check_md5(self, content_md5: str) -> None:
        """Raise OssError if the request has another Content-MD5 than *content_md5*."""
        if self.header("content-md5") not in ("", content_md5):
            raise OssError("InvalidDigest")


def owner_of(call: Call) -> dict[str, str]:
    """Return the elements that name the owner of the bucket."""
    return {"ID": call.owner, "DisplayName": call.owner}


def encoding_type(call: Call) -> dict[str, str]:
    """Return the element EncodingType, if the request has encoding-type."""
    wanted = call.query("encoding-type")
    if wanted not in ("", "url"):
        raise OssError("InvalidArgument", "encoding-type must be url.")
    return {"EncodingType": wanted} if wanted else {}


def encoder(call: Call) -> Callable[[str], str]:
    """Return the function that encodes keys, some of which XML cannot hold."""
    return quote if call.query("encoding-type") else str


def boolean(value: bool) -> str:
    """Return *value* as text for XML."""
    return "true" if value else "false"
