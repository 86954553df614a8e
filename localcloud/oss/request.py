"""A request to OSS, taken apart."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes

from localcloud.oss.body import Body
from localcloud.oss.catalog import Operation, find_operation
from localcloud.oss.errors import OssError, not_imitated
from localcloud.oss.signed import SIGNED_SUBRESOURCES, Signable

BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
MAX_KEY_BYTES = 1023
OSS_DOMAIN = ".aliyuncs.com"  # names below it are never a CNAME

# What else may be in the query, and what the stand-in makes nothing of.
UNDERSTOOD = {"continuation-token", "security-token"}
PROCESS = "x-oss-process"
OVERRIDES = {  # what GetObject may be asked to send instead of a header it keeps
    "response-cache-control": "Cache-Control",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
    "response-content-language": "Content-Language",
    "response-content-type": "Content-Type",
    "response-expires": "Expires",
}
CALLBACK, CALLBACK_VAR = "callback", "callback-var"
KNOWN_TO = {
    "CompleteMultipartUpload": {CALLBACK, CALLBACK_VAR},
    "GetObject": {*OVERRIDES, PROCESS},
    "PutObject": {CALLBACK, CALLBACK_VAR},
}


@dataclass(frozen=True)
class Place:
    """What a request may be about.  An empty key stands for the bucket itself."""

    bucket: str
    key: str

    @property
    def resource(self) -> str:
        """The place as signatures have it."""
        return f"/{self.bucket}/{self.key}" if self.bucket else "/"


@dataclass(frozen=True)
class Request:
    """One request; *target* is as received, names of *headers* are in lower case."""

    method: str
    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: Body
    client: str
    received_at: float  # unix seconds, by the clock of the stand-in

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query.  Raises OssError."""
        return read_query(self.target.partition("?")[2])

    @property
    def signable(self) -> Signable:
        """What a signature of it covers."""
        return Signable(self.method, self.query, self.headers)

    def places(
        self, buckets: Collection[str], elsewhere: Collection[str] = ()
    ) -> list[Place]:
        """Return what the request may be about, the likeliest first.

        *buckets* are those that are here, *elsewhere* those in another region.
        A bucket stands in the name of the host, in the path, or nowhere, if the host is
        a CNAME of the only one.  SDKs that are given an IP address mix the forms:
        ali-oss has the bucket in the Host header, of a name of OSS, and with sldEnable
        in the path too.  So more than one reading can be right; the signature tells
        which one is.  Raises OssError.
        """
        path = self.target.partition("?")[0]
        if not path.startswith("/"):
            raise OssError("InvalidArgument", "The request target is not a path.")
        host = re.sub(r":[0-9]*$", "", self.headers.get("host", "").lower())
        whole = decode_path(path[1:])
        bucket, _, key = path[1:].partition("/")
        in_path = Place(decode_path(bucket), decode_path(key))
        if is_own_name(host):
            return [in_path]
        readings = [Place(host.partition(".")[0], whole), in_path]
        if len(buckets) == 1 and not host.endswith(OSS_DOMAIN):
            readings += [Place(name, whole) for name in buckets]
        known = {*buckets, *elsewhere}
        return sorted(readings, key=lambda place: place.bucket not in known)

    def operation(self, place: Place) -> Operation:
        """Return what *place* is asked to do.  Raises OssError if that is nothing."""
        level = "object" if place.key else "bucket" if place.bucket else "service"
        operation = find_operation(self.method, level, self.query, self.headers)
        # A form goes to the bucket, and to no subresource of it.
        is_form = operation is not None and operation.name == "PostObject"
        if operation is None or (is_form and self.unknown_to(operation)):
            what = {"object": "an object", "bucket": "a bucket"}.get(level, "no bucket")
            raise not_imitated(f"such a {self.method} of {what}")
        return operation

    def unknown_to(self, operation: Operation) -> set[str]:
        """Return the parameters of the query that mean something, but not to this."""
        unknown = self.query.keys() & SIGNED_SUBRESOURCES - operation.subresources
        return unknown - UNDERSTOOD - KNOWN_TO.get(operation.name, set())

    def check_query(self, operation: Operation) -> None:
        """Raise OssError if the query asks for more than is imitated of *operation*."""
        for name in sorted(self.unknown_to(operation)):
            raise not_imitated(f"{operation.name} with ?{name}")


def is_own_name(host: str) -> bool:
    """Tell whether *host* is one that stands for all buckets, not for one."""
    try:
        return bool(ip_address(host.strip("[]")))
    except ValueError:
        return host in ("", "localhost")


def decode_path(text: str) -> str:
    """Return a path, or a part of one, decoded.  Raises OssError.

    OSS reads + as a space here, though not in a query, which is why the SDKs write %2B
    for a plus sign.
    """
    return decode(text.replace("+", " "))


def decode(text: str) -> str:
    """Return percent-encoded *text* decoded; a plus sign is one.  Raises OssError."""
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        raise OssError("InvalidArgument", "The URL is not UTF-8.") from None


def read_query(text: str) -> dict[str, str]:
    """Return the parameters of a query.  Raises OssError if one stands there twice."""
    pairs = [pair.partition("=")[::2] for pair in text.split("&") if pair]
    query = {decode(name): decode(value) for name, value in pairs}
    if len(query) < len(pairs):
        raise OssError("InvalidArgument", "A query parameter stands there twice.")
    return query


def check_place(place: Place) -> None:
    """Raise OssError unless *place* has the names that OSS allows."""
    if not BUCKET_NAME.fullmatch(place.bucket):
        raise OssError("InvalidBucketName", details={"BucketName": place.bucket})
    if len(place.key.encode()) > MAX_KEY_BYTES or place.key.startswith(("/", "\\")):
        raise OssError("InvalidObjectName", details={"ObjectName": place.key})
