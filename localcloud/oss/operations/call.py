"""A request that is to be carried out, and how its reply is written."""

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
    """A request whose caller is known, and may do what the operation needs.

    *authorize* raises OssError unless the caller may do another action elsewhere too.
    *notify* makes the callback that the request asks for, if any, when an object is
    stored; it returns the reply, and raises OssError if the callback fails.
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
        """Return a number of the query.  Raises OssError if it is out of bounds."""
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
        """Whether the request allows that an object is replaced."""
        return self.header("x-oss-forbid-overwrite").lower() != "true"

    @contextmanager
    def received(self) -> Iterator[Incoming]:
        """Receive the body; raises OssError unless it is what its headers say."""
        self.request.body.check_announced()
        chunks = self.request.body.chunks()
        with self.bucket.receive(self.key, chunks) as incoming:
            self.check_md5(incoming.content.content_md5)
            checksum = self.header("x-oss-hash-crc64ecma")
            if checksum and checksum != str(incoming.content.crc64):
                raise OssError("InvalidCRC64")
            yield incoming

    def check_md5(self, content_md5: str) -> None:
        """Raise OssError unless the request announces this Content-MD5, or none."""
        if self.header("content-md5") not in ("", content_md5):
            raise OssError("InvalidDigest")


def owner_of(call: Call) -> dict[str, str]:
    """Return the elements that name the owner of the bucket."""
    return {"ID": call.owner, "DisplayName": call.owner}


def encoding_type(call: Call) -> dict[str, str]:
    """Return the element that says how keys are written, if the request asks."""
    wanted = call.query("encoding-type")
    if wanted not in ("", "url"):
        raise OssError("InvalidArgument", "encoding-type must be url.")
    return {"EncodingType": wanted} if wanted else {}


def encoder(call: Call) -> Callable[[str], str]:
    """Return how to write a key; not all can stand in XML as they are."""
    return quote if call.query("encoding-type") else str


def boolean(value: bool) -> str:
    """Return *value* as XML has it."""
    return "true" if value else "false"
