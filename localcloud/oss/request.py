"""A request to OSS, and its parts."""

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

# Parameters that are allowed in every query, and ignored here.
UNDERSTOOD = {"continuation-token", "security-token"}
PROCESS = "x-oss-process"
OVERRIDES = {  # parameters by which GetObject replaces stored headers
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
    """A bucket and a key.  An empty key stands for the bucket itself."""

    bucket: str
    key: str

    @property
    def resource(self) -> str:
        """The resource in the texts that are signed."""
        return f"/{self.bucket}/{self.key}" if self.bucket else "/"


@dataclass(frozen=True)
class Request:
    """A request.  *target* is as received; the names of *headers* are in lower case."""

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
        """The parts of the request that a signature covers."""
        return Signable(self.method, self.query, self.headers)

    def places(
        self, buckets: Collection[str], elsewhere: Collection[str] = ()
    ) -> list[Place]:
        """Return the places that the request may mean, the likeliest first.

        *buckets* are the buckets here, *elsewhere* those in other regions.  The bucket
        is in the host name, in the path, or in neither if the host is a CNAME of the
        only bucket.  SDKs that are given an IP address mix the forms: ali-oss sends a
        Host header with the bucket and a name of OSS, and with sldEnable it has the
        bucket in the path too.  So several places are possible, and the signature tells
        which one is meant.  Raises OssError.
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
        """Return the operation on *place*.  Raises OssError if there is none."""
        level = "object" if place.key else "bucket" if place.bucket else "service"
        operation = find_operation(self.method, level, self.query, self.headers)
        # A form goes to the bucket itself, not to a subresource.
        is_form = operation is not None and operation.name == "PostObject"
        if operation is None or (is_form and self.unknown_to(operation)):
            what = {"object": "an object", "bucket": "a bucket"}.get(level, "no bucket")
            raise not_imitated(f"such a {self.method} of {what}")
        return operation

    def unknown_to(self, operation: Operation) -> set[str]:
        """Return the parameters of the query that *operation* does not imitate."""
        unknown = self.query.keys() & SIGNED_SUBRESOURCES - operation.subresources
        return unknown - UNDERSTOOD - KNOWN_TO.get(operation.name, set())

    def check_query(self, operation: Operation) -> None:
        """Raise OssError if the query has a parameter *operation* does not imitate."""
        for name in sorted(self.unknown_to(operation)):
            raise not_imitated(f"{operation.name} with ?{name}")


def is_own_name(host: str) -> bool:
    """Tell whether *host* is the server's own, not the name of one bucket."""
    try:
        return bool(ip_address(host.strip("[]")))
    except ValueError:
        return host in ("", "localhost")


def decode_path(text: str) -> str:
    """Return a path, or a part of one, decoded.  Raises OssError.

    In a path OSS reads + as a space, but not in a query; that is why the SDKs write %2B
    for a plus sign.
    """
    return decode(text.replace("+", " "))


def decode(text: str) -> str:
    """Return percent-encoded *text* decoded; + stays +.  Raises OssError."""
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        raise OssError("InvalidArgument", "The URL is not UTF-8.") from None


def read_query(text: str) -> dict[str, str]:
    """Return the parameters of a query.  Raises OssError if one is there twice."""
    pairs = [pair.partition("=")[::2] for pair in text.split("&") if pair]
    query = {decode(name): decode(value) for name, value in pairs}
    if len(query) < len(pairs):
        raise OssError("InvalidArgument", "A query parameter is given twice.")
    return query


def check_place(place: Place) -> None:
    """Raise OssError unless OSS allows the names of the bucket and the object."""
    if not BUCKET_NAME.fullmatch(place.bucket):
        raise OssError("InvalidBucketName", details={"BucketName": place.bucket})
    if len(place.key.encode()) > MAX_KEY_BYTES or place.key.startswith(("/", "\\")):
        raise OssError("InvalidObjectName", details={"ObjectName": place.key})
