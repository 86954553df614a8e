"""A client of OSS with its own signer, and its replies."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote
from xml.etree import ElementTree

from helpers.machine import PATIENCE_SECONDS
from helpers.oss.signing import BUCKET, V4_HEADER, KeyPair, Message, iso_time
from localcloud.oss import OssStandIn

XML_START = b'<?xml version="1.0" encoding="UTF-8"?>\n'

# Outcomes: status and error code
OK = (200, "")
STORED = (204, "")  # by a form
DENIED = (403, "AccessDenied")
INVALID = (400, "InvalidArgument")
INVALID_POLICY = (400, "InvalidPolicyDocument")
MALFORMED = (400, "MalformedPOSTRequest")
MISMATCH = (403, "SignatureDoesNotMatch")

Headers = Mapping[str, str]
Query = Mapping[str, str]
Content = bytes | Iterable[bytes] | None


@dataclass(frozen=True)
class OssReply:
    """A reply of OSS; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, response: http.client.HTTPResponse) -> OssReply:
        headers = {name.lower(): value for name, value in response.getheaders()}
        assert len(headers) == len(response.getheaders()), "a header comes twice"
        return cls(response.status, headers, response.read())

    @property
    def xml(self) -> ElementTree.Element:
        """The XML document in the body, which has to be all of the body."""
        assert self.headers["content-type"] == "application/xml"
        assert self.body.startswith(XML_START)
        return ElementTree.fromstring(self.body)

    def text(self, path: str) -> str:
        """The text of the first element at *path*, which has to exist."""
        found = self.xml.findtext(path)
        assert found is not None, f"no {path} in {self.body!r}"
        return found

    def texts(self, path: str) -> list[str]:
        """The texts of all elements at *path*."""
        return [element.text or "" for element in self.xml.findall(path)]

    @property
    def code(self) -> str:
        """The error code, "" if there is none."""
        if self.status < 300 or not self.body:
            return ""
        assert self.xml.tag == "Error"
        return self.text("Code")

    @property
    def outcome(self) -> tuple[int, str]:
        """Status and error code."""
        return self.status, self.code


@dataclass(frozen=True)
class RemoteOss:
    """A stand-in in another process."""

    port: int
    region: str = "cn-hangzhou"
    clock: Callable[[], float] = time.time


class OssClient:
    """Signs requests with one key, and sends each on a new connection."""

    def __init__(self, oss: OssStandIn | RemoteOss, key: KeyPair) -> None:
        self.oss = oss
        self.key = key

    def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        headers: Headers | None = None,
        body: Content = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> OssReply:
        """Send a request about *path*, /bucket/key without percent-encoding.

        A body that is not bytes comes in chunks, unless there is a Content-Length.
        """
        with contextlib.nullcontext(connection) if connection else self.connect() as c:
            signed = self.sign(method, path, query, headers)
            c.request(
                method,
                target(path, query),
                body,
                {name: value.encode() for name, value in signed.items()},
            )
            return OssReply.of(c.getresponse())

    @contextlib.contextmanager
    def connect(self) -> Iterator[http.client.HTTPConnection]:
        """Return a connection for several requests, one after the other."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.oss.port, timeout=PATIENCE_SECONDS
        )
        with contextlib.closing(connection):
            yield connection

    def sign(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        headers: Headers | None = None,
    ) -> dict[str, str]:
        """Return *headers* with the headers that a signature adds."""
        now = self.oss.clock()
        given = {name.lower(): value for name, value in (headers or {}).items()}
        message = Message(
            method, path, query or {}, {"x-oss-date": iso_time(now), **given}
        )
        signed = V4_HEADER.sign(message, self.key, now, region=self.oss.region)
        return dict(signed.headers)

    def head(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        headers: Headers | None = None,
    ) -> bytes:
        """Return the head of a signed request, for tests that send it themselves."""
        lines = [
            f"{method} {target(path, query)} HTTP/1.1",
            f"Host: 127.0.0.1:{self.oss.port}",
            *(f"{n}: {v}" for n, v in self.sign(method, path, query, headers).items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()


class BucketClient(OssClient):
    """Sends requests about the objects of one bucket."""

    def __init__(
        self, oss: OssStandIn | RemoteOss, key: KeyPair, bucket: str = BUCKET
    ) -> None:
        super().__init__(oss, key)
        self.bucket = bucket

    def path(self, key: str = "") -> str:
        return f"/{self.bucket}/{key}"

    def get(
        self, key: str = "", query: Query | None = None, /, **headers: str
    ) -> OssReply:
        """Get an object, or data of the bucket; a_b is the header a-b."""
        return self.request("GET", self.path(key), query, named(headers))

    def head_object(
        self, key: str, query: Query | None = None, /, **headers: str
    ) -> OssReply:
        return self.request("HEAD", self.path(key), query, named(headers))

    def put(
        self,
        key: str,
        body: Content = b"",
        query: Query | None = None,
        /,
        **headers: str,
    ) -> OssReply:
        return self.request("PUT", self.path(key), query, named(headers), body)

    def post(
        self,
        key: str = "",
        body: Content = b"",
        query: Query | None = None,
        /,
        **headers: str,
    ) -> OssReply:
        return self.request("POST", self.path(key), query, named(headers), body)

    def delete(self, key: str, query: Query | None = None) -> OssReply:
        return self.request("DELETE", self.path(key), query)

    def append(
        self, key: str, position: int, body: bytes, /, **headers: str
    ) -> OssReply:
        query = {"append": "", "position": str(position)}
        return self.post(key, body, query, **headers)

    def initiate(self, key: str, **headers: str) -> str:
        """Begin a multipart upload and return its id."""
        reply = self.post(key, b"", {"uploads": ""}, **headers)
        assert reply.status == 200, reply
        return reply.text("UploadId")

    def put_part(
        self, key: str, upload_id: str, number: int, body: Content, /, **headers: str
    ) -> OssReply:
        query = {"partNumber": str(number), "uploadId": upload_id}
        return self.put(key, body, query, **headers)

    def complete(
        self,
        key: str,
        upload_id: str,
        parts: Iterable[tuple[int | str, str]],
        query: Query | None = None,
        /,
        **headers: str,
    ) -> OssReply:
        """Complete an upload of *parts* (number and ETag)."""
        named_upload = {"uploadId": upload_id, **(query or {})}
        return self.post(key, complete_document(parts), named_upload, **headers)


def named(headers: Headers) -> dict[str, str]:
    """Return *headers* with hyphens in their names."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def complete_document(parts: Iterable[tuple[int | str, str]]) -> bytes:
    """Return the body of CompleteMultipartUpload for *parts* (number and ETag)."""
    items = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in parts
    )
    return f"<CompleteMultipartUpload>{items}</CompleteMultipartUpload>".encode()


def send(oss: OssStandIn | RemoteOss, message: Message) -> OssReply:
    """Send *message* unchanged on a new connection."""
    with socket.create_connection(
        ("127.0.0.1", oss.port), timeout=PATIENCE_SECONDS
    ) as client:
        client.sendall(message.encoded(oss.port))
        return read_reply(client, message.method)


def read_reply(client: socket.socket, method: str = "GET") -> OssReply:
    """Read the only reply to a request with *method* from *client*."""
    with contextlib.closing(http.client.HTTPResponse(client, method=method)) as reply:
        reply.begin()
        return OssReply.of(reply)


def target(path: str, query: Query | None = None) -> str:
    """Return the request target for *path*, which has no percent-encoding yet."""
    return quote(path) + Message(query=query or {}).query_string
