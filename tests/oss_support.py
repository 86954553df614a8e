"""What the tests of the OSS stand-in share: a client with a signer of its own.

The signer follows "Signature version 4" in the OSS documentation and shares nothing
with localcloud.oss.signature, so that neither can hide a mistake of the other.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import quote
from xml.etree import ElementTree

from support import Reply

from localcloud.oss import OssStandIn
from localcloud.sts import ALLOW_ALL, StsStandIn
from tokenserver.config.grants import AssumeRoleCall
from tokenserver.sts.client import StsClient

BUCKET = "my-bucket"
ACCOUNT = "1234567890123456"
XML_START = b'<?xml version="1.0" encoding="UTF-8"?>\n'

Headers = Mapping[str, str]
Query = Mapping[str, str]
Content = bytes | Iterable[bytes] | None


@dataclass(frozen=True)
class KeyPair:
    """What a request is signed with; a long-term key has no token."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)


def user_key(
    sts: StsStandIn,
    *policies: str,
    name: str = "LTAIossUser",
    account: str = ACCOUNT,
) -> KeyPair:
    """Add a RAM user with *policies*, by default one that allows all; return its key.

    *name* is its AccessKeyId; a name that is taken already gets the new policies.
    """
    user = sts.add_user(
        name,
        f"secretOf{name}",
        arn=f"acs:ram::{account}:user/{name}",
        policies=policies or (ALLOW_ALL,),
    )
    return KeyPair(user.access_key_id, user.access_key_secret)


def session_key(
    sts: StsStandIn,
    sts_client: StsClient,
    *,
    policy: str | None = None,
    role_policies: Iterable[str] = (ALLOW_ALL,),
    account: str = ACCOUNT,
    role_session_name: str = "alice",
) -> KeyPair:
    """Assume a role with *role_policies* over HTTP; *policy* is the session policy."""
    role = sts.add_role(
        f"acs:ram::{account}:role/oss-test", policies=tuple(role_policies)
    )
    app_server = user_key(sts, name="LTAIappServer", account=account)
    credentials = sts_client.assume_role(
        AssumeRoleCall(
            protocol="http",
            endpoint=sts.endpoint,
            access_key_id=app_server.access_key_id,
            access_key_secret=app_server.access_key_secret,
            role_arn=role.arn,
            role_session_name=role_session_name,
            duration_seconds=900,
            policy=policy,
        )
    )
    return KeyPair(
        credentials.access_key_id,
        credentials.access_key_secret,
        credentials.security_token,
    )


@dataclass(frozen=True)
class OssReply(Reply):
    """A reply of OSS."""

    def __post_init__(self) -> None:
        """Let it show anything: OSS repeats to a client what it was to sign."""

    @classmethod
    def of(cls, response: http.client.HTTPResponse) -> OssReply:
        headers = {name.lower(): value for name, value in response.getheaders()}
        assert len(headers) == len(response.getheaders()), "a header comes twice"
        return cls(response.status, headers, response.read())

    @property
    def xml(self) -> ElementTree.Element:
        """The document in the body, which has to be all of it."""
        assert self.headers["content-type"] == "application/xml"
        assert self.body.startswith(XML_START)
        return ElementTree.fromstring(self.body)

    def text(self, path: str) -> str:
        """The text of the first element at *path*, which has to be there."""
        found = self.xml.findtext(path)
        assert found is not None, f"no {path} in {self.body!r}"
        return found

    def texts(self, path: str) -> list[str]:
        """The texts of all elements at *path*."""
        return [element.text or "" for element in self.xml.findall(path)]

    @property
    def code(self) -> str:
        """The code of the error, empty if there is none."""
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
    """Signs requests with one key, and sends each on a connection of its own."""

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
        connection = http.client.HTTPConnection("127.0.0.1", self.oss.port, timeout=60)
        with contextlib.closing(connection):
            yield connection

    def sign(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        headers: Headers | None = None,
    ) -> dict[str, str]:
        """Return *headers*, and those that a signed request has besides."""
        now = datetime.fromtimestamp(self.oss.clock(), timezone.utc)
        signed = {
            "x-oss-date": now.strftime("%Y%m%dT%H%M%SZ"),
            "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
            **(headers or {}),
        }
        if self.key.security_token:
            signed["x-oss-security-token"] = self.key.security_token
        scope = f"{now:%Y%m%d}/{self.oss.region}/oss/aliyun_v4_request"
        request = canonical_request(method, path, query or {}, signed)
        string_to_sign = "\n".join(
            [
                "OSS4-HMAC-SHA256",
                signed["x-oss-date"],
                scope,
                hashlib.sha256(request.encode()).hexdigest(),
            ]
        )
        signing_key = ("aliyun_v4" + self.key.access_key_secret).encode()
        for step in [*scope.split("/"), string_to_sign]:
            signing_key = hmac.new(signing_key, step.encode(), "sha256").digest()
        signed["Authorization"] = (
            f"OSS4-HMAC-SHA256 Credential={self.key.access_key_id}/{scope},"
            f"Signature={signing_key.hex()}"
        )
        return signed

    def head(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        headers: Headers | None = None,
    ) -> bytes:
        """Return the head of a signed request, for those who send it themselves."""
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
        """Get an object, or ask the bucket something; a_b is the header a-b."""
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
        """Complete an upload of *parts*, number and ETag each."""
        named_upload = {"uploadId": upload_id, **(query or {})}
        return self.post(key, complete_document(parts), named_upload, **headers)


def named(headers: Headers) -> dict[str, str]:
    """Return *headers* with hyphens in their names."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def complete_document(parts: Iterable[tuple[int | str, str]]) -> bytes:
    """Return the body of CompleteMultipartUpload for *parts*, number and ETag each."""
    items = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in parts
    )
    return f"<CompleteMultipartUpload>{items}</CompleteMultipartUpload>".encode()


def read_from(client: socket.socket, method: str = "GET") -> OssReply:
    """Read the one reply to a request with *method* that was sent to *client*."""
    with contextlib.closing(http.client.HTTPResponse(client, method=method)) as reply:
        reply.begin()
        return OssReply.of(reply)


def canonical_request(method: str, path: str, query: Query, headers: Headers) -> str:
    pairs = sorted((quote(n, safe=""), quote(v, safe="")) for n, v in query.items())
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    covered = sorted(
        name
        for name in lower
        if name in ("content-type", "content-md5") or name.startswith("x-oss-")
    )
    return "\n".join(
        [
            method,
            quote(path),
            "&".join(f"{name}={value}" if value else name for name, value in pairs),
            *(f"{name}:{lower[name]}" for name in covered),
            "",
            "",  # no additional headers
            lower["x-oss-content-sha256"],
        ]
    )


def target(path: str, query: Query | None = None) -> str:
    """Return the request target for *path*, which has no percent-encoding yet."""
    pairs = [
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in (query or {}).items()
    ]
    return quote(path) + ("?" + "&".join(pairs) if pairs else "")
