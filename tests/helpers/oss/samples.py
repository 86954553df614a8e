"""Digests and documents that tests of OSS expect."""

from __future__ import annotations

import base64
import hashlib
from email.utils import formatdate, parsedate_to_datetime
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from helpers import client as raw_http
from helpers.oss.client import BucketClient, OssReply, RemoteOss, read_reply
from localcloud.oss import OssStandIn
from localcloud.oss.parts import MIN_PART_BYTES
from localcloud.oss.storage import Bucket

HELLO_MD5 = "5D41402ABC4B2A76B9719D911017C592"
HELLO_CRC = "11177612005948864433"


def md5(data: bytes) -> str:
    """The ETag of *data* without quotation marks."""
    return hashlib.md5(data).hexdigest().upper()


def content_md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def shape(element: ElementTree.Element) -> Any:
    """An XML element as its text, or as its members by name and in their order."""
    members = [(member.tag, shape(member)) for member in element]
    return members or (element.text or "")


def big(character: str) -> bytes:
    """The bytes of a part of the least size for parts before the last."""
    return character.encode() * MIN_PART_BYTES


NO_BUCKET = "there-is-no-such-bucket"


def common(reply: OssReply) -> dict[str, str]:
    """The headers of a reply, without those that every reply has."""
    every = ("server", "date", "connection", "x-oss-request-id", "x-oss-server-time")
    return {n: value for n, value in reply.headers.items() if n not in every}


KEPT = {
    "Content-Type": "image/jpeg",
    "Cache-Control": "max-age=60",
    "Content-Disposition": 'attachment; filename="猫.jpg"',
    "Content-Encoding": "br",
    "Content-Language": "zh-CN",
    "Expires": "Thu, 01 Jan 2037 00:00:00 GMT",
    "x-oss-storage-class": "IA",
    "x-oss-meta-where": "杭州 & Suzhou",
    "x-oss-meta-2": "",
}


def sent_back(reply: OssReply) -> dict[str, str]:
    """The headers of *reply* that are named in KEPT, decoded."""
    headers = {n: v.encode("latin-1").decode() for n, v in reply.headers.items()}
    return {name: headers[name.lower()] for name in KEPT if name.lower() in headers}


def put(client: BucketClient, key: str) -> None:
    client.request("PUT", client.path(key), headers=KEPT, body=b"hello")


def put_in_chunks(client: BucketClient, key: str) -> None:
    client.request("PUT", client.path(key), headers=KEPT, body=[b"hel", b"lo"])


def append_twice(client: BucketClient, key: str) -> None:
    query = {"append": "", "position": "0"}
    client.request("POST", client.path(key), query, KEPT, b"hel")
    client.append(key, 3, b"lo", content_type="text/plain")


def upload(client: BucketClient, key: str) -> None:
    query = {"uploads": ""}
    reply = client.request("POST", client.path(key), query, KEPT)
    upload_id = reply.text("UploadId")
    client.put_part(key, upload_id, 1, b"hello", content_type="text/plain")
    client.complete(key, upload_id, [(1, HELLO_MD5)], content_type="text/plain")


def send_head(
    client: BucketClient,
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str] | None = None,
) -> OssReply:
    """Send a signed request without a body and without headers about one."""
    with raw_http.connect(client.oss.port) as connection:
        connection.sendall(client.head(method, path, query, headers))
        return read_reply(connection)


ALPHABET = bytes(range(ord("a"), ord("z") + 1))


CAT_ETAG, DOG_ETAG = f'"{md5(b"cat")}"', f'"{md5(b"dog")}"'


def conditions(
    wanted: dict[str, str | int], last_modified: str, prefix: str = ""
) -> dict[str, str]:
    """Return headers for *wanted*; a number is seconds after *last_modified*."""
    moment = parsedate_to_datetime(last_modified).timestamp()
    return {
        prefix + name: value
        if isinstance(value, str)
        else formatdate(moment + value, usegmt=True)
        for name, value in wanted.items()
    }


def delete_document(*keys: str, quiet: str | None = None) -> bytes:
    objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    mode = "" if quiet is None else f"<Quiet>{quiet}</Quiet>"
    return f"<Delete>{mode}{objects}</Delete>".encode()


def delete_all(
    client: BucketClient, body: bytes, query: dict[str, str] | None = None
) -> OssReply:
    return client.post(
        "", body, {"delete": "", **(query or {})}, content_md5=content_md5(body)
    )


def oss_url(client: BucketClient) -> str:
    return f"http://127.0.0.1:{client.oss.port}"


def data_files(bucket: Bucket) -> list[str]:
    """The files with bytes of objects and parts of *bucket*."""
    return [path.name for path in (bucket.folder.path / "data").iterdir()]


def requests_of(oss: OssStandIn | RemoteOss, bucket: Bucket) -> list[str]:
    """The error codes of the requests about *bucket*, empty for a success."""
    assert isinstance(oss, OssStandIn)
    return [access.code for access in oss.requests if access.bucket == bucket.name]
