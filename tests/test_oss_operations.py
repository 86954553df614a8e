"""What the OSS stand-in answers to each operation, as its clients see it on the wire.

What is expected is from the page of the operation in the OSS documentation.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate, parsedate_to_datetime
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
import raw_http
from hypothesis import given, settings
from hypothesis import strategies as st
from oss_support import BucketClient, OssReply, RemoteOss, read_from, user_key
from support import PATIENCE_SECONDS

from localcloud.oss import CUT_OFF, OssStandIn
from localcloud.oss.catalog import ROWS
from localcloud.oss.operations import OPERATIONS
from localcloud.oss.operations.call import MAX_KEYS
from localcloud.oss.parts import MIN_PART_BYTES
from localcloud.oss.storage import Bucket
from localcloud.sts import StsStandIn

HELLO_MD5 = "5D41402ABC4B2A76B9719D911017C592"
HELLO_CRC = "11177612005948864433"
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def oss() -> Iterator[OssStandIn]:
    """A stand-in that all tests share; each has a bucket of its own."""
    with StsStandIn() as sts, OssStandIn(sts) as stand_in:
        yield stand_in


@pytest.fixture
def bucket(oss: OssStandIn) -> Bucket:
    return new_bucket(oss)


def new_bucket(oss: OssStandIn) -> Bucket:
    return oss.create_bucket(f"bucket-{next(NUMBERS)}")


@pytest.fixture
def client(oss: OssStandIn, bucket: Bucket) -> BucketClient:
    """A client that may do everything."""
    return BucketClient(oss, user_key(oss.sts), bucket.name)


def md5(data: bytes) -> str:
    """The ETag of *data*, less the quotation marks."""
    return hashlib.md5(data).hexdigest().upper()


def content_md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def shape(element: ElementTree.Element) -> Any:
    """An XML element as its text, or as its members by name and in their order."""
    members = [(member.tag, shape(member)) for member in element]
    return members or (element.text or "")


def big(character: str) -> bytes:
    """The bytes of the smallest part that need not be the last."""
    return character.encode() * MIN_PART_BYTES


# --- Every reply ----------------------------------------------------------------


def test_each_operation_is_that_of_some_request() -> None:
    assert OPERATIONS.keys() <= {row.name for rows in ROWS.values() for row in rows}


@pytest.mark.parametrize(
    ("method", "key", "headers", "status"),
    [
        pytest.param("GET", "cat", {}, 200, id="an object"),
        pytest.param("GET", "cat", {"If-None-Match": md5(b"cat")}, 304, id="nothing"),
        pytest.param("GET", "", {}, 200, id="a document"),
        pytest.param("HEAD", "cat", {}, 200, id="headers"),
        pytest.param("PUT", "dog", {}, 200, id="an upload"),
        pytest.param("DELETE", "cat", {}, 204, id="no content"),
        pytest.param("GET", "dog", {}, 404, id="an error"),
        pytest.param("HEAD", "dog", {}, 404, id="an error in headers"),
        pytest.param("PATCH", "cat", {}, 501, id="an unknown method"),
        pytest.param("GET", "cat", {"Authorization": ""}, 403, id="a refusal"),
    ],
)
def test_every_reply_has_the_common_headers(
    client: BucketClient,
    bucket: Bucket,
    method: str,
    key: str,
    headers: dict[str, str],
    status: int,
) -> None:
    bucket.put("cat", b"cat")

    reply = client.request(method, client.path(key), headers=headers)
    if "Authorization" in headers:
        with client.connect() as connection:
            connection.request(method, client.path(key))
            reply = OssReply.of(connection.getresponse())

    assert reply.status == status
    assert reply.headers["server"] == "AliyunOSS"
    assert reply.headers["connection"] == "keep-alive"
    assert len(reply.headers["x-oss-request-id"]) == 24
    assert bytes.fromhex(reply.headers["x-oss-request-id"])
    assert reply.headers["x-oss-server-time"].isdigit()
    assert parsedate_to_datetime(reply.headers["date"]).tzinfo


def test_requests_have_different_ids(client: BucketClient) -> None:
    ids = {client.get().headers["x-oss-request-id"] for _ in range(5)}

    assert len(ids) == 5


def test_an_error_is_a_document(client: BucketClient) -> None:
    reply = client.get("no&such")

    assert reply.status == 404
    assert reply.headers["content-type"] == "application/xml"
    assert reply.headers["x-oss-ec"] == "0026-00000001"
    assert shape(reply.xml) == [
        ("Code", "NoSuchKey"),
        ("Message", "The specified key does not exist."),
        ("RequestId", reply.headers["x-oss-request-id"]),
        ("HostId", f"127.0.0.1:{client.oss.port}"),
        ("Key", "no&such"),
        ("EC", "0026-00000001"),
        ("RecommendDoc", "https://api.aliyun.com/troubleshoot?q=0026-00000001"),
    ]


def test_head_has_its_error_in_a_header(client: BucketClient) -> None:
    reply = client.head_object("cat")

    document = ElementTree.fromstring(base64.b64decode(reply.headers["x-oss-err"]))
    assert (reply.status, reply.body) == (404, b"")
    assert reply.headers["content-length"] == "0"
    assert document.findtext("Code") == "NoSuchKey"
    assert document.findtext("RequestId") == reply.headers["x-oss-request-id"]


NO_BUCKET = "there-is-no-such-bucket"


@pytest.mark.parametrize(
    ("path", "outcome", "detail"),
    [
        pytest.param(f"/{NO_BUCKET}/cat", (404, "NoSuchBucket"), NO_BUCKET, id="none"),
        pytest.param(f"/{NO_BUCKET}/", (404, "NoSuchBucket"), NO_BUCKET, id="of list"),
        pytest.param("/Upper/cat", (400, "InvalidBucketName"), "Upper", id="letters"),
        pytest.param("/ab/cat", (400, "InvalidBucketName"), "ab", id="short"),
        pytest.param("/a_b/cat", (400, "InvalidBucketName"), "a_b", id="underscore"),
        pytest.param("/abc-/cat", (400, "InvalidBucketName"), "abc-", id="hyphen"),
        pytest.param(
            f"/{'a' * 64}/cat", (400, "InvalidBucketName"), "a" * 64, id="long"
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_wrong_bucket_is_refused(
    client: BucketClient, method: str, path: str, outcome: tuple[int, str], detail: str
) -> None:
    if method == "PUT" and path.endswith("/"):
        path += "key"
    reply = client.request(method, path)

    assert reply.outcome == outcome
    assert reply.text("BucketName") == detail


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("/cat", id="begins with a slash"),
        pytest.param("\\cat", id="begins with a backslash"),
        pytest.param("a" * 1024, id="too long"),
        pytest.param("猫" * 341 + "a", id="too many bytes"),
    ],
)
def test_a_key_that_oss_does_not_allow_is_refused(
    client: BucketClient, bucket: Bucket, key: str
) -> None:
    reply = client.put(key, b"cat")

    assert reply.outcome == (400, "InvalidObjectName")
    assert reply.text("ObjectName") == key
    assert bucket.keys() == []


@pytest.mark.parametrize(
    ("method", "key", "query", "headers"),
    [
        pytest.param("HEAD", "", {}, {}, id="HEAD of a bucket"),
        pytest.param("PATCH", "cat", {}, {}, id="an unknown method"),
        pytest.param("GET", "cat", {"objectMeta": ""}, {}, id="GET of GetObjectMeta"),
        pytest.param("PUT", "cat", {"partNumber": "1"}, {}, id="a part of no upload"),
        pytest.param("PUT", "cat", {"uploadId": "1"}, {}, id="no part of an upload"),
        pytest.param("DELETE", "cat", {"uploads": ""}, {}, id="DELETE of uploads"),
        pytest.param("POST", "cat", {"append": ""}, {}, id="an append to nowhere"),
        pytest.param("POST", "cat", {}, {}, id="POST of nothing"),
        pytest.param(
            "PUT", "cat", {}, {"x-oss-traffic-limit": "819200"}, id="a speed limit"
        ),
    ],
)
def test_what_is_not_imitated_is_answered_with_501_and_changes_nothing(
    client: BucketClient,
    bucket: Bucket,
    method: str,
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
) -> None:
    bucket.put("cat", b"cat")

    reply = client.request(method, client.path(key), query, headers)

    assert reply.status == 501
    if method != "HEAD":
        assert reply.code == "NotImplemented"
        assert reply.text("Message").startswith("The OSS stand-in does not imitate ")
    assert bucket.read("cat") == b"cat"


# --- PutObject, GetObject, HeadObject, GetObjectMeta ----------------------------


@pytest.mark.parametrize(
    ("data", "crc64"),
    [
        pytest.param(b"", "0", id="nothing"),
        pytest.param(b"123456789", "11051210869376104954", id="check value of the CRC"),
        pytest.param(b"hello", HELLO_CRC, id="hello"),
    ],
)
def test_put_object_tells_the_digests(
    client: BucketClient, data: bytes, crc64: str
) -> None:
    reply = client.put("cat", data)

    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["etag"] == f'"{md5(data)}"'
    assert reply.headers["content-md5"] == content_md5(data)
    assert reply.headers["x-oss-hash-crc64ecma"] == crc64
    assert reply.headers["content-length"] == "0"
    assert client.get("cat").headers["x-oss-hash-crc64ecma"] == crc64


def common(reply: OssReply) -> dict[str, str]:
    """The headers of a reply, less those that every reply has."""
    every = ("server", "date", "connection", "x-oss-request-id", "x-oss-server-time")
    return {n: value for n, value in reply.headers.items() if n not in every}


def test_get_object_returns_the_bytes_and_what_is_known_of_them(
    client: BucketClient,
) -> None:
    client.put("cat", b"hello")

    reply = client.get("cat")

    last_modified = reply.headers["last-modified"]
    moment = parsedate_to_datetime(last_modified).timestamp()
    assert (reply.status, reply.body) == (200, b"hello")
    assert common(reply) == {
        "content-type": "application/octet-stream",
        "content-length": "5",
        "content-md5": "XUFAKrxLKna5cZ2REBfFkg==",
        "etag": f'"{HELLO_MD5}"',
        "x-oss-hash-crc64ecma": HELLO_CRC,
        "last-modified": formatdate(moment, usegmt=True),
        "accept-ranges": "bytes",
        "x-oss-object-type": "Normal",
        "x-oss-storage-class": "Standard",
    }
    assert abs(time.time() - moment) < 60


@pytest.mark.parametrize("data", [b"hello", b""], ids=["some bytes", "no bytes"])
def test_head_object_has_the_headers_of_get_object(
    client: BucketClient, data: bytes
) -> None:
    client.put("cat", data, x_oss_meta_colour="grey")

    head, get = client.head_object("cat"), client.get("cat")

    assert (head.status, head.body) == (200, b"")
    assert common(head) == common(get)
    assert head.headers["x-oss-meta-colour"] == "grey"


def test_get_object_meta_tells_a_little(client: BucketClient) -> None:
    client.put("cat", b"hello", x_oss_meta_colour="grey")

    reply = client.head_object("cat", {"objectMeta": ""})

    assert (reply.status, reply.body) == (200, b"")
    assert common(reply) == {
        "content-length": "5",
        "etag": f'"{HELLO_MD5}"',
        "x-oss-hash-crc64ecma": HELLO_CRC,
        "last-modified": client.get("cat").headers["last-modified"],
    }


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
    """Those headers of *reply* that KEPT names, decoded."""
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


@pytest.mark.parametrize(
    "make", [put, put_in_chunks, append_twice, upload], ids=lambda make: make.__name__
)
def test_an_object_keeps_its_headers(
    client: BucketClient, make: Callable[[BucketClient, str], None]
) -> None:
    make(client, "cat")

    reply = client.get("cat")
    assert reply.body == b"hello"
    assert reply.headers["x-oss-hash-crc64ecma"] == HELLO_CRC
    assert sent_back(reply) == KEPT
    assert client.get().text("Contents/StorageClass") == "IA"


def test_an_object_that_is_replaced_loses_its_headers(client: BucketClient) -> None:
    put(client, "cat")

    client.put("cat", b"hello")

    headers = sent_back(client.get("cat"))
    assert headers == {
        "Content-Type": "application/octet-stream",
        "x-oss-storage-class": "Standard",
    }


@pytest.mark.parametrize(
    ("headers", "ec"),
    [
        pytest.param({"x-oss-meta-my_key": "1"}, "0011-00000004", id="underscore"),
        pytest.param({"x-oss-meta-": "1"}, "0011-00000004", id="empty name"),
        pytest.param({"x-oss-meta-a.b": "1"}, "0011-00000004", id="dot"),
        pytest.param({"x-oss-meta-a": "1" * 8181}, "0011-00000002", id="too large"),
        pytest.param(
            {"x-oss-meta-a": "猫" * 2048, "x-oss-meta-b": "1" * 2025},
            "0011-00000002",
            id="too large together",
        ),
        pytest.param({"x-oss-storage-class": "test"}, "0013-00000101", id="class"),
    ],
)
@pytest.mark.parametrize(
    ("method", "query"),
    [
        pytest.param("PUT", {}, id="PutObject"),
        pytest.param("POST", {"append": "", "position": "0"}, id="AppendObject"),
        pytest.param("POST", {"uploads": ""}, id="InitiateMultipartUpload"),
    ],
)
def test_headers_that_oss_does_not_keep_are_refused(
    client: BucketClient,
    bucket: Bucket,
    method: str,
    query: dict[str, str],
    headers: dict[str, str],
    ec: str,
) -> None:
    reply = client.request(method, client.path("cat"), query, headers, b"hello")

    assert reply.outcome == (400, "InvalidArgument")
    assert reply.text("EC") == ec
    assert (bucket.keys(), bucket.uploads()) == ([], [])


def test_8_kilobytes_of_metadata_are_kept(client: BucketClient) -> None:
    value = "1" * (8 * 1024 - len("x-oss-meta-a"))
    client.put("cat", x_oss_meta_a=value)

    assert client.get("cat").headers["x-oss-meta-a"] == value


def test_get_object_sends_the_headers_that_the_query_asks_for(
    client: BucketClient,
) -> None:
    put(client, "cat")

    reply = client.get(
        "cat",
        {
            "response-content-type": "text/plain",
            "response-content-language": "en",
            "response-expires": "Fri, 02 Jan 2037 00:00:00 GMT",
            "response-cache-control": "no-store",
            "response-content-disposition": 'attachment; filename="狗 &.txt"',
            "response-content-encoding": "identity",
        },
    )

    assert reply.body == b"hello"
    assert sent_back(reply) == KEPT | {
        "Content-Type": "text/plain",
        "Content-Language": "en",
        "Expires": "Fri, 02 Jan 2037 00:00:00 GMT",
        "Cache-Control": "no-store",
        "Content-Disposition": 'attachment; filename="狗 &.txt"',
        "Content-Encoding": "identity",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("response-transfer-encoding", "chunked", id="transfer encoding"),
        pytest.param("response-content-length", "3", id="length"),
        pytest.param("response-etag", '"0"', id="ETag"),
        pytest.param("response-x\r\nx-evil", "1", id="two lines"),
    ],
)
def test_the_query_decides_no_other_headers(
    client: BucketClient, name: str, value: str
) -> None:
    client.put("cat", b"hello")

    reply = client.get("cat", {name: value})

    assert (reply.status, reply.body) == (200, b"hello")
    assert common(reply) == common(client.get("cat"))


@pytest.mark.parametrize(
    "name", ["response-content-disposition", "response-content-type"]
)
def test_a_header_of_the_query_stays_one_header(
    client: BucketClient, name: str
) -> None:
    client.put("cat", b"hello")

    reply = client.get("cat", {name: "a\r\nx-evil: 1\r\n\r\nb"})

    assert reply.body == b"hello"
    assert reply.headers[name.removeprefix("response-")] == "a x-evil: 1 b"
    assert "x-evil" not in reply.headers


def test_a_header_that_is_kept_stays_one_header(client: BucketClient) -> None:
    folded = {"x-oss-meta-a": "b\r\n x-evil: 1", "Content-Length": "0"}
    with raw_http.connect(client.oss.port) as connection:
        connection.sendall(client.head("PUT", client.path("cat"), headers=folded))
        assert read_from(connection).status == 200

    reply = client.get("cat")
    assert reply.headers["x-oss-meta-a"].split() == ["b", "x-evil:", "1"]
    assert "x-evil" not in reply.headers


# --- What an upload may be refused for ------------------------------------------


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param(
            {"Content-MD5": content_md5(b"hellO")}, "InvalidDigest", id="other MD5"
        ),
        pytest.param({"Content-MD5": "none"}, "InvalidDigest", id="no MD5"),
        pytest.param(
            {"Content-MD5": HELLO_MD5.lower()}, "InvalidDigest", id="MD5 in hex"
        ),
        pytest.param({"x-oss-hash-crc64ecma": "1"}, "InvalidCRC64", id="other CRC"),
        pytest.param({"x-oss-hash-crc64ecma": "x"}, "InvalidCRC64", id="no CRC"),
    ],
)
@pytest.mark.parametrize("kind", ["PutObject", "AppendObject", "UploadPart"])
def test_bytes_that_are_not_those_announced_change_nothing(
    client: BucketClient,
    bucket: Bucket,
    kind: str,
    headers: dict[str, str],
    code: str,
) -> None:
    bucket.put("cat", b"before")
    upload_id = client.initiate("cat")
    method, key, query = {
        "PutObject": ("PUT", "cat", {}),
        "AppendObject": ("POST", "log", {"append": "", "position": "0"}),
        "UploadPart": ("PUT", "cat", {"partNumber": "1", "uploadId": upload_id}),
    }[kind]

    reply = client.request(method, client.path(key), query, headers, b"hello")

    assert reply.outcome == (400, code)
    assert bucket.read("cat") == b"before"
    assert bucket.keys() == ["cat"]
    assert bucket.parts(upload_id, "cat") == []


def test_bytes_that_are_those_announced_are_taken(client: BucketClient) -> None:
    reply = client.put(
        "cat",
        b"hello",
        content_md5=content_md5(b"hello"),
        x_oss_hash_crc64ecma=HELLO_CRC,
    )

    assert reply.status == 200


@pytest.mark.parametrize(
    ("forbids", "outcome"),
    [
        pytest.param("true", (409, "FileAlreadyExists"), id="forbidden"),
        pytest.param("TRUE", (409, "FileAlreadyExists"), id="in capitals"),
        pytest.param("false", (200, ""), id="allowed"),
    ],
)
@pytest.mark.parametrize("kind", ["PutObject", "CopyObject", "Complete"])
def test_an_object_may_be_protected_from_being_overwritten(
    client: BucketClient,
    bucket: Bucket,
    kind: str,
    forbids: str,
    outcome: tuple[int, str],
) -> None:
    bucket.put("cat", b"before")
    bucket.put("dog", b"after")
    upload_id = client.initiate("cat")
    etag = client.put_part("cat", upload_id, 1, b"after").headers["etag"]

    header = {"x_oss_forbid_overwrite": forbids}
    if kind == "PutObject":
        reply = client.put("cat", b"after", **header)
    elif kind == "CopyObject":
        source = f"/{bucket.name}/dog"
        reply = client.put("cat", x_oss_copy_source=source, **header)
    else:
        reply = client.complete("cat", upload_id, [(1, etag)], **header)

    assert reply.outcome == outcome
    assert bucket.read("cat") == (b"before" if outcome[1] else b"after")
    if outcome[1]:
        assert reply.text("Key") == "cat"
        assert len(bucket.parts(upload_id, "cat")) == 1


def test_what_may_not_be_overwritten_may_be_made(client: BucketClient) -> None:
    assert client.put("cat", b"1", x_oss_forbid_overwrite="true").status == 200


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        pytest.param("", (411, "MissingContentLength"), id="no length"),
        pytest.param("Content-Length: ", (400, "InvalidArgument"), id="empty"),
        pytest.param("Content-Length: -1", (400, "InvalidArgument"), id="negative"),
        pytest.param("Content-Length: 1e3", (400, "InvalidArgument"), id="no number"),
        pytest.param("Content-Length: ٣", (400, "InvalidArgument"), id="other digits"),
        pytest.param(
            f"Content-Length: {5 * 2**30 + 1}", (400, "EntityTooLarge"), id="over 5 GB"
        ),
        pytest.param("Transfer-Encoding: gzip", (501, "NotImplemented"), id="gzip"),
    ],
)
def test_a_body_of_no_known_length_is_refused(
    client: BucketClient, bucket: Bucket, line: str, outcome: tuple[int, str]
) -> None:
    head = client.head("PUT", client.path("cat"))
    with raw_http.connect(client.oss.port) as connection:
        connection.sendall(
            head[:-2] + (line + "\r\n" if line else "").encode() + b"\r\n"
        )
        reply = read_from(connection)
        rest = raw_http.read_to_end(connection)

    assert reply.outcome == outcome
    assert len(reply.headers["x-oss-request-id"]) == 24
    assert reply.headers["connection"] == "close"
    assert (rest, bucket.keys()) == (b"", [])


@pytest.mark.parametrize("kind", ["PutObject", "UploadPart", "AppendObject"])
def test_what_is_to_be_stored_needs_a_length(
    client: BucketClient, bucket: Bucket, kind: str
) -> None:
    upload_id = client.initiate("cat")
    method, query = {
        "PutObject": ("PUT", {}),
        "UploadPart": ("PUT", {"partNumber": "1", "uploadId": upload_id}),
        "AppendObject": ("POST", {"append": "", "position": "0"}),
    }[kind]

    reply = send_head(client, method, client.path("cat"), query)

    assert reply.outcome == (411, "MissingContentLength")
    assert reply.headers["connection"] == "close"
    assert bucket.keys() == []
    assert bucket.parts(upload_id, "cat") == []


@pytest.mark.parametrize("kind", ["CopyObject", "UploadPartCopy", "Initiate", "Abort"])
def test_what_has_no_body_needs_no_length(
    client: BucketClient, bucket: Bucket, kind: str
) -> None:
    bucket.put("cat", b"cat")
    upload_id = client.initiate("copy")
    source = {"x-oss-copy-source": f"/{bucket.name}/cat"}
    upload = {"uploadId": upload_id}
    method, query, headers = {
        "CopyObject": ("PUT", {}, source),
        "UploadPartCopy": ("PUT", {"partNumber": "1", **upload}, source),
        "Initiate": ("POST", {"uploads": ""}, {}),
        "Abort": ("DELETE", upload, {}),
    }[kind]

    reply = send_head(client, method, client.path("copy"), query, headers)

    assert reply.status in (200, 204)
    assert reply.headers["connection"] == "keep-alive"
    if kind == "CopyObject":
        assert bucket.read("copy") == b"cat"


def send_head(
    client: BucketClient,
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str] | None = None,
) -> OssReply:
    """Send a signed request without a body, and without a word about one."""
    with raw_http.connect(client.oss.port) as connection:
        connection.sendall(client.head(method, path, query, headers))
        return read_from(connection)


# --- Ranges ---------------------------------------------------------------------

ALPHABET = bytes(range(ord("a"), ord("z") + 1))

# The range that is asked for, what is sent by default, and by the standard behaviour:
# all (None), a slice, or an error.
RANGES = [
    pytest.param("bytes=0-4", slice(0, 5), slice(0, 5), id="the first"),
    pytest.param("bytes=2-2", slice(2, 3), slice(2, 3), id="one"),
    pytest.param("bytes=20-25", slice(20, 26), slice(20, 26), id="the last"),
    pytest.param("bytes=0-25", slice(0, 26), slice(0, 26), id="all"),
    pytest.param("bytes=0-", slice(0, 26), slice(0, 26), id="from the first"),
    pytest.param("bytes=25-", slice(25, 26), slice(25, 26), id="from the last"),
    pytest.param("bytes=-5", slice(21, 26), slice(21, 26), id="the last five"),
    pytest.param("bytes=-26", slice(0, 26), slice(0, 26), id="the last 26"),
    pytest.param("bytes=-27", None, slice(0, 26), id="more than there are"),
    pytest.param("bytes=20-26", None, slice(20, 26), id="to beyond the end"),
    pytest.param("bytes=26-30", None, "InvalidRange", id="beyond the end"),
    pytest.param("bytes=26-", None, "InvalidRange", id="from the end"),
    pytest.param("bytes=-0", None, "InvalidRange", id="the last none"),
    pytest.param("bytes=5-2", None, None, id="backwards"),
    pytest.param("bytes=0-1,4-5", None, None, id="two ranges"),
    pytest.param("byte=0-4", None, None, id="misspelt"),
    pytest.param("bytes=-", None, None, id="no numbers"),
    pytest.param("bytes=0 - 4", None, None, id="blanks"),
    pytest.param("bytes=a-b", None, None, id="letters"),
    pytest.param("bytes=0-" + "9" * 30, None, None, id="too many digits"),
    pytest.param("", None, None, id="empty"),
]


@pytest.mark.parametrize(("wanted", "default", "standard"), RANGES)
@pytest.mark.parametrize("is_standard", [False, True], ids=["default", "standard"])
def test_get_object_sends_a_range(
    client: BucketClient,
    bucket: Bucket,
    wanted: str,
    default: slice | str | None,
    standard: slice | str | None,
    is_standard: bool,
) -> None:
    bucket.put("cat", ALPHABET)
    behaviour = {"x_oss_range_behavior": "standard"} if is_standard else {}
    expected = standard if is_standard else default

    reply = client.get("cat", range=wanted, **behaviour)

    if isinstance(expected, str):
        assert reply.outcome == (416, expected)
        assert reply.text("ActualObjectSize") == "26"
        assert reply.headers["content-range"] == "bytes */26"
    elif expected is None:
        assert (reply.status, reply.body) == (200, ALPHABET)
        assert "content-range" not in reply.headers
    else:
        assert (reply.status, reply.body) == (206, ALPHABET[expected])
        first, last = expected.start, expected.stop - 1
        assert reply.headers["content-range"] == f"bytes {first}-{last}/26"
        assert reply.headers["content-length"] == str(len(ALPHABET[expected]))
        assert reply.headers["x-oss-hash-crc64ecma"] == str(
            bucket.objects()["cat"].content.crc64
        )


@pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_an_empty_object_has_no_ranges(client: BucketClient, wanted: str) -> None:
    client.put("cat")

    reply = client.get("cat", range=wanted)
    standard = client.get("cat", range=wanted, x_oss_range_behavior="standard")

    assert (reply.status, reply.body) == (200, b"")
    assert standard.outcome == (416, "InvalidRange")


# --- Conditions -----------------------------------------------------------------

CAT_ETAG, DOG_ETAG = f'"{md5(b"cat")}"', f'"{md5(b"dog")}"'
EARLIER, SAME, LATER = -10, 0, 10  # seconds after the object was changed

CONDITIONS = [
    pytest.param({"If-Match": CAT_ETAG}, 200, id="match"),
    pytest.param({"If-Match": CAT_ETAG.strip('"')}, 200, id="match without quotes"),
    pytest.param({"If-Match": CAT_ETAG.lower()}, 200, id="match in lower case"),
    pytest.param({"If-Match": "*"}, 200, id="match anything"),
    pytest.param({"If-Match": f"{DOG_ETAG}, {CAT_ETAG}"}, 200, id="match one of two"),
    pytest.param({"If-Match": DOG_ETAG}, 412, id="no match"),
    pytest.param({"If-None-Match": DOG_ETAG}, 200, id="other"),
    pytest.param({"If-None-Match": CAT_ETAG}, 304, id="not other"),
    pytest.param({"If-None-Match": "*"}, 304, id="not anything"),
    pytest.param({"If-None-Match": f"{DOG_ETAG},{CAT_ETAG}"}, 304, id="one of two"),
    pytest.param({"If-Modified-Since": EARLIER}, 200, id="modified"),
    pytest.param({"If-Modified-Since": SAME}, 304, id="modified just then"),
    pytest.param({"If-Modified-Since": LATER}, 304, id="not modified"),
    pytest.param({"If-Modified-Since": "yesterday"}, 200, id="modified since no date"),
    pytest.param({"If-Unmodified-Since": LATER}, 200, id="unmodified"),
    pytest.param({"If-Unmodified-Since": SAME}, 200, id="unmodified just then"),
    pytest.param({"If-Unmodified-Since": EARLIER}, 412, id="not unmodified"),
    pytest.param({"If-Unmodified-Since": "tomorrow"}, 200, id="unmodified no date"),
    pytest.param(
        {"If-Match": CAT_ETAG, "If-None-Match": CAT_ETAG}, 304, id="match and not other"
    ),
    pytest.param(
        {"If-Match": DOG_ETAG, "If-None-Match": CAT_ETAG}, 412, id="neither of them"
    ),
    pytest.param(
        {"If-Modified-Since": EARLIER, "If-Unmodified-Since": LATER}, 200, id="between"
    ),
    pytest.param(
        {"If-Match": CAT_ETAG, "If-Unmodified-Since": EARLIER}, 412, id="match, too new"
    ),
    pytest.param(
        {"If-None-Match": DOG_ETAG, "If-Modified-Since": LATER}, 304, id="other, old"
    ),
]


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


@pytest.mark.parametrize(("wanted", "status"), CONDITIONS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_object_is_sent_on_conditions(
    client: BucketClient,
    bucket: Bucket,
    method: str,
    wanted: dict[str, str | int],
    status: int,
) -> None:
    bucket.put("cat", b"cat")
    headers = conditions(wanted, client.get("cat").headers["last-modified"])

    reply = client.request(method, client.path("cat"), headers=headers)

    assert reply.status == status
    assert reply.body == b"cat" if method == "GET" and status == 200 else True
    if status == 304:
        assert reply.body == b""
        assert reply.headers["etag"] == CAT_ETAG
        assert not {"content-length", "content-type"} & reply.headers.keys()
    if status == 412 and method == "GET":
        assert reply.code == "PreconditionFailed"


@pytest.mark.parametrize(("wanted", "status"), CONDITIONS)
def test_an_object_is_copied_on_conditions(
    client: BucketClient,
    bucket: Bucket,
    wanted: dict[str, str | int],
    status: int,
) -> None:
    bucket.put("cat", b"cat")
    last_modified = client.get("cat").headers["last-modified"]
    headers = conditions(wanted, last_modified, "x-oss-copy-source-")
    headers["x-oss-copy-source"] = f"/{bucket.name}/cat"

    reply = client.request("PUT", client.path("copy"), headers=headers)

    assert reply.status == status
    assert bucket.keys() == (["cat", "copy"] if status == 200 else ["cat"])


def test_a_reply_without_a_body_does_not_end_the_connection(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("cat", b"cat")
    path = client.path("cat")
    with client.connect() as connection:
        statuses = [
            client.request(method, path, headers=headers, connection=connection).status
            for method, headers in [
                ("GET", {"If-None-Match": CAT_ETAG}),
                ("HEAD", {}),
                ("HEAD", {"If-Match": DOG_ETAG}),
                ("DELETE", {}),
                ("HEAD", {}),
                ("GET", {}),
            ]
        ]

    assert statuses == [304, 200, 412, 204, 404, 404]


# --- CopyObject -----------------------------------------------------------------


def test_copy_object_copies_bytes_and_headers(
    client: BucketClient, bucket: Bucket
) -> None:
    put(client, "photos/猫 +%.jpg")
    source = f"/{bucket.name}/photos/%E7%8C%AB%20%2B%25.jpg"

    reply = client.put("copy", x_oss_copy_source=source, content_type="text/plain")

    copied = client.get("copy")
    assert reply.status == 200
    assert reply.headers["etag"] == f'"{HELLO_MD5}"'
    assert reply.headers["x-oss-hash-crc64ecma"] == HELLO_CRC
    assert shape(reply.xml) == [
        ("LastModified", client.get().texts("Contents/LastModified")[0]),
        ("ETag", f'"{HELLO_MD5}"'),
    ]
    assert reply.xml.tag == "CopyObjectResult"
    assert copied.body == b"hello"
    assert sent_back(copied) == KEPT


def test_copy_object_gives_new_headers_if_asked_to(
    client: BucketClient, bucket: Bucket
) -> None:
    put(client, "cat")

    client.put(
        "copy",
        x_oss_copy_source=f"/{bucket.name}/cat",
        x_oss_metadata_directive="REPLACE",
        x_oss_meta_where="Beijing",
    )

    assert sent_back(client.get("copy")) == {
        "Content-Type": "application/octet-stream",
        "x-oss-storage-class": "Standard",
        "x-oss-meta-where": "Beijing",
    }


def test_copy_object_copies_from_another_bucket(
    client: BucketClient, oss: OssStandIn, bucket: Bucket
) -> None:
    other = new_bucket(oss)
    other.put("cat", b"cat")

    reply = client.put("copy", x_oss_copy_source=f"/{other.name}/cat")

    assert reply.status == 200
    assert bucket.read("copy") == b"cat"
    assert other.keys() == ["cat"]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(put, "Normal", id="put"),
        pytest.param(append_twice, "Appendable", id="appended"),
        pytest.param(upload, "Multipart", id="uploaded"),
    ],
)
@pytest.mark.parametrize("directive", ["COPY", "REPLACE"])
def test_an_object_that_is_copied_to_its_own_place_gets_new_headers_only(
    client: BucketClient,
    bucket: Bucket,
    make: Callable[[BucketClient, str], None],
    kind: str,
    directive: str,
) -> None:
    make(client, "cat")
    before = client.get("cat").headers

    reply = client.put(
        "cat",
        x_oss_copy_source=f"/{bucket.name}/cat",
        x_oss_metadata_directive=directive,
        x_oss_meta_where="Beijing",
    )

    after = client.get("cat")
    assert reply.status == 200
    assert after.body == b"hello"
    assert after.headers["x-oss-object-type"] == kind
    assert after.headers["etag"] == before["etag"] == reply.headers["etag"]
    assert sent_back(after) == {
        "Content-Type": "application/octet-stream",
        "x-oss-storage-class": "Standard",
        "x-oss-meta-where": "Beijing",
    }


@pytest.mark.parametrize(
    ("make", "etag"),
    [
        pytest.param(append_twice, f'"{HELLO_MD5}"', id="appended"),
        pytest.param(upload, f'"{HELLO_MD5}"', id="uploaded"),
    ],
)
def test_a_copy_is_an_object_of_the_usual_kind(
    client: BucketClient,
    bucket: Bucket,
    make: Callable[[BucketClient, str], None],
    etag: str,
) -> None:
    make(client, "cat")

    client.put("copy", x_oss_copy_source=f"/{bucket.name}/cat")

    copied = client.get("copy")
    assert copied.body == b"hello"
    assert copied.headers["x-oss-object-type"] == "Normal"
    assert copied.headers["etag"] == etag


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        pytest.param("/{bucket}/dog", (404, "NoSuchKey"), id="no such object"),
        pytest.param("/nowhere-at-all/cat", (404, "NoSuchBucket"), id="no such bucket"),
        pytest.param("/{bucket}/", (400, "InvalidArgument"), id="no key"),
        pytest.param("/{bucket}", (400, "InvalidArgument"), id="no path"),
        pytest.param("", (400, "InvalidArgument"), id="nothing"),
        pytest.param("{bucket}/cat", (400, "InvalidArgument"), id="no slash"),
        pytest.param("x/{bucket}/cat", (400, "InvalidArgument"), id="x"),
        pytest.param("/{bucket}/%FF", (400, "InvalidArgument"), id="no UTF-8"),
        pytest.param("/{bucket}/%2Fcat", (400, "InvalidObjectName"), id="no such key"),
        pytest.param("/{bucket}/cat?versionId=1", (501, "NotImplemented"), id="old"),
    ],
)
@pytest.mark.parametrize("kind", ["CopyObject", "UploadPartCopy"])
def test_a_source_that_cannot_be_copied_is_refused(
    client: BucketClient,
    bucket: Bucket,
    kind: str,
    source: str,
    outcome: tuple[int, str],
) -> None:
    bucket.put("cat", b"cat")
    upload_id = client.initiate("copy")
    query = {"partNumber": "1", "uploadId": upload_id} if "Part" in kind else {}

    header = {"x-oss-copy-source": source.format(bucket=bucket.name)}
    reply = client.request("PUT", client.path("copy"), query, header)

    assert reply.outcome == outcome
    assert bucket.keys() == ["cat"]
    assert bucket.parts(upload_id, "copy") == []


@pytest.mark.parametrize(
    ("written", "copied"), [("a+b", b"space"), ("a%20b", b"space"), ("a%2Bb", b"plus")]
)
@pytest.mark.parametrize("kind", ["CopyObject", "UploadPartCopy"])
def test_a_plus_in_a_source_is_a_space(
    client: BucketClient, bucket: Bucket, kind: str, written: str, copied: bytes
) -> None:
    bucket.put("a b", b"space")
    bucket.put("a+b", b"plus")
    source = f"/{bucket.name}/{written}"

    if kind == "CopyObject":
        client.put("copy", x_oss_copy_source=source)
    else:
        upload_id = client.initiate("copy")
        part = client.put_part("copy", upload_id, 1, b"", x_oss_copy_source=source)
        client.complete("copy", upload_id, [(1, part.text("ETag"))])

    assert bucket.read("copy") == copied


def test_copying_needs_leave_to_read_the_source(
    client: BucketClient, oss: OssStandIn, bucket: Bucket
) -> None:
    bucket.put("cat", b"cat")
    policy = (
        '{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:PutObject",'
        f'"Resource":"acs:oss:*:*:{bucket.name}/*"}}]}}'
    )
    writer = BucketClient(oss, user_key(oss.sts, policy, name="writer"), bucket.name)
    upload_id = client.initiate("copy")

    source = f"/{bucket.name}/cat"
    copy = writer.put("copy", x_oss_copy_source=source)
    part = writer.put_part("copy", upload_id, 1, b"", x_oss_copy_source=source)

    assert copy.outcome == part.outcome == (403, "AccessDenied")
    assert bucket.keys() == ["cat"]
    assert bucket.parts(upload_id, "copy") == []


# --- AppendObject ---------------------------------------------------------------


def test_append_object_adds_to_the_end(client: BucketClient) -> None:
    first = client.append("log", 0, b"12345", x_oss_meta_a="1")
    second = client.append("log", 5, b"6789", x_oss_meta_a="2")

    reply = client.get("log")
    assert (first.status, second.status, reply.body) == (200, 200, b"123456789")
    assert first.headers["x-oss-next-append-position"] == "5"
    assert second.headers["x-oss-next-append-position"] == "9"
    assert second.headers["x-oss-hash-crc64ecma"] == "11051210869376104954"
    assert first.headers["etag"] != second.headers["etag"] == reply.headers["etag"]
    assert reply.headers["x-oss-hash-crc64ecma"] == "11051210869376104954"
    assert reply.headers["x-oss-object-type"] == "Appendable"
    assert reply.headers["x-oss-next-append-position"] == "9"
    assert reply.headers["x-oss-meta-a"] == "1"
    assert "content-md5" not in reply.headers
    assert common(client.head_object("log")) == common(reply)
    assert client.get().text("Contents/Type") == "Appendable"


def test_nothing_may_be_appended(client: BucketClient) -> None:
    client.append("log", 0, b"")
    client.append("log", 0, b"hello")
    reply = client.append("log", 5, b"")

    assert reply.headers["x-oss-next-append-position"] == "5"
    assert reply.headers["x-oss-hash-crc64ecma"] == HELLO_CRC


@pytest.mark.parametrize(
    ("exists", "position"),
    [
        pytest.param(True, 0, id="too early"),
        pytest.param(True, 4, id="just before the end"),
        pytest.param(True, 6, id="after the end"),
        pytest.param(False, 5, id="no object"),
    ],
)
def test_append_object_elsewhere_than_at_the_end_is_refused(
    client: BucketClient, bucket: Bucket, exists: bool, position: int
) -> None:
    if exists:
        client.append("log", 0, b"hello")

    reply = client.append("log", position, b"!")

    assert reply.outcome == (409, "PositionNotEqualToLength")
    assert reply.headers["x-oss-ec"] == "0026-00000016"
    end = "5" if exists else "0"
    assert reply.headers["x-oss-next-append-position"] == end
    assert bucket.keys() == (["log"] if exists else [])
    assert not exists or bucket.read("log") == b"hello"


@pytest.mark.parametrize("make", [put, upload], ids=["put", "uploaded"])
def test_an_object_of_another_kind_is_not_appendable(
    client: BucketClient, bucket: Bucket, make: Callable[[BucketClient, str], None]
) -> None:
    make(client, "cat")

    reply = client.append("cat", 5, b"!")

    assert reply.outcome == (409, "ObjectNotAppendable")
    assert bucket.read("cat") == b"hello"


@pytest.mark.parametrize(
    "position",
    [
        pytest.param("-1", id="negative"),
        pytest.param("x", id="no number"),
        pytest.param("٣", id="other digits"),
        pytest.param("9" * 19, id="too large"),
    ],
)
def test_a_position_that_is_none_is_refused(
    client: BucketClient, position: str
) -> None:
    reply = client.post("log", b"1", {"append": "", "position": position})

    assert reply.outcome == (400, "InvalidArgument")
    assert reply.text("ArgumentName") == "position"
    assert reply.text("ArgumentValue") == position


def test_appends_at_the_same_time_make_one_object_of_all(
    client: BucketClient, bucket: Bucket
) -> None:
    """Each client that is told that it is late tries again where it is told to."""

    def append(number: int) -> None:
        line, position = f"line {number}\n".encode(), 0
        for _ in range(100):
            reply = client.append("log", position, line)
            position = int(reply.headers["x-oss-next-append-position"])
            if reply.status == 200:
                return
            assert reply.code == "PositionNotEqualToLength"
        pytest.fail("each time another client was faster")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(16)))

    lines = bucket.read("log").decode().splitlines()
    assert sorted(lines) == sorted(f"line {number}" for number in range(16))


# --- DeleteObject, DeleteMultipleObjects ----------------------------------------


def test_delete_object_deletes_and_does_not_mind_if_there_is_none(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("cat", b"cat")
    bucket.put("dog", b"dog")

    replies = [client.delete("cat"), client.delete("cat")]

    assert [(reply.status, reply.body) for reply in replies] == [(204, b"")] * 2
    assert not any("content-length" in reply.headers for reply in replies)
    assert bucket.keys() == ["dog"]
    assert client.get("cat").outcome == (404, "NoSuchKey")


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


@pytest.mark.parametrize(
    ("quiet", "told"),
    [
        pytest.param(None, ["<a&b>", "c d/猫", "missing"], id="by default"),
        pytest.param("false", ["<a&b>", "c d/猫", "missing"], id="loudly"),
        pytest.param("true", [], id="quietly"),
    ],
)
def test_delete_multiple_objects_deletes_and_tells(
    client: BucketClient, bucket: Bucket, quiet: str | None, told: list[str]
) -> None:
    for key in ("<a&b>", "c d/猫", "left"):
        bucket.put(key, b"1")

    reply = delete_all(
        client, delete_document("<a&b>", "c d/猫", "missing", quiet=quiet)
    )

    assert (reply.status, reply.xml.tag) == (200, "DeleteResult")
    assert reply.texts("Deleted/Key") == told
    assert reply.texts("EncodingType") == []
    assert bucket.keys() == ["left"]


def test_delete_multiple_objects_encodes_keys_if_asked_to(
    client: BucketClient,
) -> None:
    reply = delete_all(client, delete_document("c d/猫+"), {"encoding-type": "url"})

    assert shape(reply.xml) == [
        ("EncodingType", "url"),
        ("Deleted", [("Key", "c%20d/%E7%8C%AB%2B")]),
    ]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        pytest.param(b"", (400, "MalformedXML"), id="nothing"),
        pytest.param(b"<Delete>", (400, "MalformedXML"), id="no XML"),
        pytest.param(b"<Remove/>", (400, "MalformedXML"), id="another element"),
        pytest.param(b"<Delete/>", (400, "MalformedXML"), id="no objects"),
        pytest.param(b"<Delete><Object/></Delete>", (400, "MalformedXML"), id="no key"),
        pytest.param(
            b"<Delete><Object><Key/></Object></Delete>",
            (400, "MalformedXML"),
            id="empty key",
        ),
        pytest.param(
            delete_document("cat", *(str(n) for n in range(MAX_KEYS))),
            (400, "MalformedXML"),
            id="1001 keys",
        ),
        pytest.param(
            delete_document("cat", "/cat"), (400, "InvalidObjectName"), id="bad key"
        ),
        pytest.param(
            delete_document("cat", "a" * 1024),
            (400, "InvalidObjectName"),
            id="long key",
        ),
        pytest.param(
            b"<Delete><Object><Key>cat</Key><VersionId>1</VersionId></Object></Delete>",
            (501, "NotImplemented"),
            id="a version",
        ),
        pytest.param(
            delete_document("cat") + b" " * 5 * 2**20,
            (400, "EntityTooLarge"),
            id="5 megabytes",
        ),
        pytest.param(
            b'<?xml version="1.0" encoding="klingon"?>' + delete_document("cat"),
            (400, "MalformedXML"),
            id="unknown encoding",
        ),
        pytest.param(
            b'<?xml version="1.0" encoding="gbk"?>' + delete_document("cat"),
            (400, "MalformedXML"),
            id="encoding that the parser does not read",
        ),
        pytest.param(b"\xff\xfe<", (400, "MalformedXML"), id="half a character"),
    ],
)
def test_a_bad_list_of_keys_deletes_nothing(
    client: BucketClient, bucket: Bucket, body: bytes, outcome: tuple[int, str]
) -> None:
    bucket.put("cat", b"cat")

    assert delete_all(client, body).outcome == outcome
    assert bucket.keys() == ["cat"]


def test_a_thousand_keys_are_not_too_many(client: BucketClient) -> None:
    keys = [str(number) for number in range(MAX_KEYS)]

    assert delete_all(client, delete_document(*keys)).texts("Deleted/Key") == keys


def test_a_list_of_keys_has_to_have_its_digest(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("cat", b"cat")
    body, query = delete_document("cat"), {"delete": ""}

    without = client.post("", body, query)
    wrong = client.post("", body, query, content_md5=content_md5(b"dog"))

    assert without.outcome == (400, "MissingArgument")
    assert without.text("ArgumentName") == "Content-MD5"
    assert without.text("EC") == "0016-00000606"
    assert wrong.outcome == (400, "InvalidDigest")
    assert bucket.keys() == ["cat"]


def test_one_forbidden_key_keeps_all_from_being_deleted(
    oss: OssStandIn, bucket: Bucket
) -> None:
    for key in ("mine/1", "mine/2", "theirs"):
        bucket.put(key, b"1")
    policy = (
        '{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:DeleteObject",'
        f'"Resource":"acs:oss:*:*:{bucket.name}/mine/*"}}]}}'
    )
    owner = BucketClient(oss, user_key(oss.sts, policy, name="owner"), bucket.name)

    refused = delete_all(owner, delete_document("mine/1", "theirs", "mine/2"))
    assert refused.outcome == (403, "AccessDenied")
    assert bucket.keys() == ["mine/1", "mine/2", "theirs"]

    assert delete_all(owner, delete_document("mine/1", "mine/2")).status == 200
    assert bucket.keys() == ["theirs"]


# --- Multipart uploads ----------------------------------------------------------


def test_a_multipart_upload_makes_one_object_of_its_parts(
    client: BucketClient, bucket: Bucket
) -> None:
    initiated = client.post("a b/猫", b"", {"uploads": ""}, content_type="image/jpeg")
    upload_id = initiated.text("UploadId")
    parts = [
        client.put_part("a b/猫", upload_id, number, data)
        for number, data in [(7, b"hello"), (2, big("b")), (1, big("a"))]
    ]

    reply = client.complete(
        "a b/猫",
        upload_id,
        [(1, md5(big("a"))), (2, md5(big("b"))), (7, HELLO_MD5)],
    )

    data = big("a") + big("b") + b"hello"
    digests = b"".join(
        hashlib.md5(part).digest() for part in (big("a"), big("b"), b"hello")
    )
    etag = f'"{hashlib.md5(digests).hexdigest().upper()}-3"'
    assert shape(initiated.xml) == [
        ("Bucket", bucket.name),
        ("Key", "a b/猫"),
        ("UploadId", upload_id),
    ]
    assert initiated.xml.tag == "InitiateMultipartUploadResult"
    assert common(parts[0]) == {
        "etag": f'"{HELLO_MD5}"',
        "content-md5": content_md5(b"hello"),
        "x-oss-hash-crc64ecma": HELLO_CRC,
        "content-length": "0",
    }
    assert reply.status == 200
    assert reply.xml.tag == "CompleteMultipartUploadResult"
    assert shape(reply.xml) == [
        ("Location", f"{oss_url(client)}/{bucket.name}/a%20b/%E7%8C%AB"),
        ("Bucket", bucket.name),
        ("Key", "a b/猫"),
        ("ETag", etag),
    ]
    got = client.get("a b/猫")
    assert got.body == data
    assert got.headers["etag"] == reply.headers["etag"] == etag
    assert got.headers["content-type"] == "image/jpeg"
    assert got.headers["x-oss-object-type"] == "Multipart"
    assert (
        got.headers["x-oss-hash-crc64ecma"]
        == reply.headers["x-oss-hash-crc64ecma"]
        == client.put("all", data).headers["x-oss-hash-crc64ecma"]
    )
    assert "content-md5" not in got.headers
    assert bucket.uploads() == []


def oss_url(client: BucketClient) -> str:
    return f"http://127.0.0.1:{client.oss.port}"


def test_nothing_of_an_upload_is_to_be_seen_before_it_is_complete(
    client: BucketClient, bucket: Bucket
) -> None:
    upload_id = client.initiate("cat")
    client.put_part("cat", upload_id, 1, b"hello")

    assert client.get("cat").status == 404
    assert client.get().texts("Contents/Key") == []


def test_a_part_that_is_uploaded_again_replaces_the_first(
    client: BucketClient, bucket: Bucket
) -> None:
    upload_id = client.initiate("cat")
    old = client.put_part("cat", upload_id, 1, b"old").headers["etag"]
    new = client.put_part("cat", upload_id, 1, b"new").headers["etag"]

    assert client.complete("cat", upload_id, [(1, old)]).outcome == (400, "InvalidPart")
    assert client.complete("cat", upload_id, [(1, new)]).status == 200
    assert bucket.read("cat") == b"new"


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda etag: f'"{etag}"', id="quoted"),
        pytest.param(lambda etag: f"&quot;{etag}&quot;", id="quoted and escaped"),
        pytest.param(lambda etag: etag, id="not quoted"),
        pytest.param(lambda etag: etag.lower(), id="in lower case"),
    ],
)
def test_an_etag_may_be_written_in_different_ways(
    client: BucketClient, write: Callable[[str], str]
) -> None:
    upload_id = client.initiate("cat")
    client.put_part("cat", upload_id, 1, b"hello")

    assert client.complete("cat", upload_id, [(1, write(HELLO_MD5))]).status == 200


ONE, TWO = (1, md5(big("a"))), (2, HELLO_MD5)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        pytest.param([ONE, (2, md5(b"x"))], "InvalidPart", id="another ETag"),
        pytest.param([ONE, (3, HELLO_MD5)], "InvalidPart", id="no such part"),
        pytest.param([TWO, ONE], "InvalidPartOrder", id="backwards"),
        pytest.param([ONE, ONE], "InvalidPartOrder", id="twice"),
        pytest.param([TWO, (3, md5(b"!"))], "EntityTooSmall", id="small before last"),
        pytest.param([], "MalformedXML", id="none"),
        pytest.param([("x", HELLO_MD5)], "MalformedXML", id="no number"),
        pytest.param([("", HELLO_MD5)], "MalformedXML", id="empty number"),
        pytest.param([("9" * 5000, HELLO_MD5)], "MalformedXML", id="large number"),
        pytest.param([(2, "")], "MalformedXML", id="empty ETag"),
    ],
)
def test_a_list_of_parts_that_is_wrong_leaves_the_upload_as_it_is(
    client: BucketClient,
    bucket: Bucket,
    parts: list[tuple[int | str, str]],
    code: str,
) -> None:
    bucket.put("cat", b"before")
    upload_id = client.initiate("cat")
    client.put_part("cat", upload_id, 1, big("a"))
    client.put_part("cat", upload_id, 2, b"hello")
    if code == "EntityTooSmall":
        client.put_part("cat", upload_id, 3, b"!")

    reply = client.complete("cat", upload_id, parts)

    assert reply.outcome == (400, code)
    assert bucket.read("cat") == b"before"
    assert client.complete("cat", upload_id, [ONE, TWO]).status == 200
    assert bucket.read("cat") == big("a") + b"hello"


def test_too_small_a_part_is_named(client: BucketClient) -> None:
    upload_id = client.initiate("cat")
    small = big("a")[1:]
    client.put_part("cat", upload_id, 3, small)
    client.put_part("cat", upload_id, 4, b"")

    reply = client.complete("cat", upload_id, [(3, md5(small)), (4, md5(b""))])

    assert reply.outcome == (400, "EntityTooSmall")
    assert reply.text("PartNumber") == "3"
    assert reply.text("ProposedSize") == str(MIN_PART_BYTES - 1)
    assert reply.text("MinSizeAllowed") == str(MIN_PART_BYTES)


def test_parts_may_be_left_out(client: BucketClient, bucket: Bucket) -> None:
    upload_id = client.initiate("cat")
    for number, data in [(1, b"x"), (2, big("a")), (3, b"y"), (10000, b"hello")]:
        client.put_part("cat", upload_id, number, data)

    reply = client.complete("cat", upload_id, [(2, md5(big("a"))), (10000, HELLO_MD5)])

    assert reply.status == 200
    assert bucket.read("cat") == big("a") + b"hello"


@pytest.mark.parametrize("body", [b"<", b"<Complete/>", b""], ids=str)
def test_complete_without_a_list_is_refused(client: BucketClient, body: bytes) -> None:
    upload_id = client.initiate("cat")
    client.put_part("cat", upload_id, 1, b"hello")

    reply = client.post("cat", body, {"uploadId": upload_id})

    assert reply.outcome == (400, "MalformedXML")


def test_complete_may_have_a_digest(client: BucketClient, bucket: Bucket) -> None:
    upload_id = client.initiate("cat")
    client.put_part("cat", upload_id, 1, b"hello")

    parts = [(1, HELLO_MD5)]
    reply = client.complete("cat", upload_id, parts, content_md5=content_md5(b""))

    assert reply.outcome == (400, "InvalidDigest")
    assert bucket.keys() == []


def test_an_upload_may_be_completed_with_all_its_parts(
    client: BucketClient, bucket: Bucket
) -> None:
    upload_id = client.initiate("cat")
    client.put_part("cat", upload_id, 5, b"hello")
    client.put_part("cat", upload_id, 3, big("a"))

    query, header = {"uploadId": upload_id}, {"x_oss_complete_all": "yes"}
    refused = client.post("cat", b"<CompleteMultipartUpload/>", query, **header)
    assert refused.outcome == (400, "InvalidArgument")
    assert bucket.keys() == []

    assert client.post("cat", b"", query, **header).text("Key") == "cat"
    assert bucket.read("cat") == big("a") + b"hello"


def test_an_upload_without_parts_cannot_be_completed(client: BucketClient) -> None:
    upload_id = client.initiate("cat")

    reply = client.post("cat", b"", {"uploadId": upload_id}, x_oss_complete_all="yes")

    assert reply.outcome == (400, "MalformedXML")


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        pytest.param("0", (400, "InvalidArgument"), id="zero"),
        pytest.param("10001", (400, "InvalidArgument"), id="10001"),
        pytest.param("-1", (400, "InvalidArgument"), id="negative"),
        pytest.param("x", (400, "InvalidArgument"), id="no number"),
        pytest.param("1", (200, ""), id="one"),
        pytest.param("10000", (200, ""), id="10000"),
    ],
)
def test_a_part_has_a_number_from_1_to_10000(
    client: BucketClient, number: str, outcome: tuple[int, str]
) -> None:
    upload_id = client.initiate("cat")

    query = {"partNumber": number, "uploadId": upload_id}
    reply = client.put("cat", b"hello", query)

    assert reply.outcome == outcome


def test_uploads_of_one_key_do_not_touch_each_other(
    client: BucketClient, bucket: Bucket
) -> None:
    first, second, third = (client.initiate("cat") for _ in range(3))
    client.put_part("cat", first, 1, b"first")
    client.put_part("cat", second, 1, b"second")
    client.put_part("cat", third, 1, b"third")

    assert client.complete("cat", first, [(1, md5(b"first"))]).status == 200
    assert client.delete("cat", {"uploadId": second}).status == 204
    assert client.complete("cat", third, [(1, md5(b"third"))]).status == 200
    assert bucket.read("cat") == b"third"
    assert bucket.uploads() == []


def end_by_abort(client: BucketClient, upload_id: str) -> None:
    reply = client.delete("cat", {"uploadId": upload_id})
    assert (reply.status, reply.body) == (204, b"")


def end_by_complete(client: BucketClient, upload_id: str) -> None:
    assert client.complete("cat", upload_id, [(1, HELLO_MD5)]).status == 200


@pytest.mark.parametrize(
    "operation", ["UploadPart", "UploadPartCopy", "Complete", "Abort", "ListParts"]
)
@pytest.mark.parametrize("end", ["never begun", "of another key", "abort", "complete"])
def test_an_upload_that_is_not_under_way_is_refused(
    client: BucketClient, bucket: Bucket, operation: str, end: str
) -> None:
    upload_id, key = client.initiate("cat"), "cat"
    client.put_part("cat", upload_id, 1, b"hello")
    if end == "never begun":
        upload_id = "../" + upload_id
    elif end == "of another key":
        key = "dog"
    elif end == "abort":
        end_by_abort(client, upload_id)
    else:
        end_by_complete(client, upload_id)

    bucket.put("source", b"hello")
    source = f"/{bucket.name}/source"
    reply = {
        "UploadPart": lambda: client.put_part(key, upload_id, 1, b"hello"),
        "UploadPartCopy": lambda: client.put_part(
            key, upload_id, 1, b"", x_oss_copy_source=source
        ),
        "Complete": lambda: client.complete(key, upload_id, [(1, HELLO_MD5)]),
        "Abort": lambda: client.delete(key, {"uploadId": upload_id}),
        "ListParts": lambda: client.get(key, {"uploadId": upload_id}),
    }[operation]()

    assert reply.outcome == (404, "NoSuchUpload")
    assert reply.text("UploadId") == upload_id


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(None, ALPHABET, id="all"),
        pytest.param("bytes=0-25", ALPHABET, id="all by number"),
        pytest.param("bytes=3-5", ALPHABET[3:6], id="the middle"),
        pytest.param("bytes=20-", ALPHABET[20:], id="the end"),
    ],
)
def test_upload_part_copy_makes_a_part_of_an_object(
    client: BucketClient, bucket: Bucket, wanted: str | None, expected: bytes
) -> None:
    bucket.put("猫", ALPHABET)
    upload_id = client.initiate("copy")
    source_range = {"x_oss_copy_source_range": wanted} if wanted else {}

    reply = client.put_part(
        "copy",
        upload_id,
        1,
        b"",
        x_oss_copy_source=f"/{bucket.name}/%E7%8C%AB",
        **source_range,
    )

    (part,) = bucket.parts(upload_id, "copy")
    etag = f'"{md5(expected)}"'
    assert reply.status == 200
    assert reply.xml.tag == "CopyPartResult"
    assert [name for name, _ in shape(reply.xml)] == ["LastModified", "ETag"]
    assert reply.text("ETag") == reply.headers["etag"] == etag
    assert reply.headers["x-oss-hash-crc64ecma"] == str(part.content.crc64)
    assert client.complete("copy", upload_id, [(1, etag)]).status == 200
    assert bucket.read("copy") == expected


@pytest.mark.parametrize("wanted", ["bytes=26-", "bytes=0-26", "bytes=5-2", "all"])
def test_upload_part_copy_of_no_range_is_refused(
    client: BucketClient, bucket: Bucket, wanted: str
) -> None:
    bucket.put("cat", ALPHABET)
    upload_id = client.initiate("copy")

    reply = client.put_part(
        "copy",
        upload_id,
        1,
        b"",
        x_oss_copy_source=f"/{bucket.name}/cat",
        x_oss_copy_source_range=wanted,
    )

    assert reply.outcome == (416, "InvalidRange")
    assert bucket.parts(upload_id, "copy") == []


def test_upload_part_copy_is_on_conditions(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("cat", b"cat")
    upload_id = client.initiate("copy")
    headers = {
        "x_oss_copy_source": f"/{bucket.name}/cat",
        "x_oss_copy_source_if_match": DOG_ETAG,
    }

    reply = client.put_part("copy", upload_id, 1, b"", **headers)

    assert reply.outcome == (412, "PreconditionFailed")


def test_list_parts_lists_the_parts_by_number(
    client: BucketClient, bucket: Bucket
) -> None:
    upload_id = client.initiate("a b")
    client.put_part("a b", upload_id, 12, b"hello")
    client.put_part("a b", upload_id, 3, b"")

    reply = client.get("a b", {"uploadId": upload_id, "encoding-type": "url"})

    assert reply.xml.tag == "ListPartsResult"
    modified = reply.texts("Part/LastModified")
    assert shape(reply.xml) == [
        ("EncodingType", "url"),
        ("Bucket", bucket.name),
        ("Key", "a%20b"),
        ("UploadId", upload_id),
        ("PartNumberMarker", "0"),
        ("NextPartNumberMarker", "12"),
        ("MaxParts", "1000"),
        ("IsTruncated", "false"),
        (
            "Part",
            [
                ("PartNumber", "3"),
                ("LastModified", modified[0]),
                ("ETag", f'"{md5(b"")}"'),
                ("Size", "0"),
            ],
        ),
        (
            "Part",
            [
                ("PartNumber", "12"),
                ("LastModified", modified[1]),
                ("ETag", f'"{HELLO_MD5}"'),
                ("Size", "5"),
            ],
        ),
    ]
    assert time.strptime(modified[0], "%Y-%m-%dT%H:%M:%S.000Z")


def test_list_parts_lists_pages(client: BucketClient) -> None:
    upload_id = client.initiate("cat")
    for number in (2, 3, 5, 7, 11, 13):
        client.put_part("cat", upload_id, number, b"")
    query = {"uploadId": upload_id, "max-parts": "2"}
    pages, truncated = [], []
    for _ in range(4):
        reply = client.get("cat", query)
        pages.append(reply.texts("Part/PartNumber"))
        truncated.append(reply.text("IsTruncated"))
        query["part-number-marker"] = reply.text("NextPartNumberMarker")

    assert pages == [["2", "3"], ["5", "7"], ["11", "13"], []]
    assert truncated == ["true", "true", "false", "false"]


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [
        pytest.param("cat", "max-parts", "0", id="no parts"),
        pytest.param("cat", "max-parts", "1001", id="too many parts"),
        pytest.param("cat", "part-number-marker", "-1", id="negative part"),
        pytest.param("", "max-keys", "0", id="no keys"),
        pytest.param("", "max-keys", "1001", id="too many keys"),
        pytest.param("", "max-keys", "ten", id="ten"),
        pytest.param("", "max-uploads", "0", id="no uploads"),
        pytest.param("", "max-uploads", "1001", id="too many uploads"),
    ],
)
def test_the_size_of_a_page_has_bounds(
    client: BucketClient, key: str, name: str, value: str
) -> None:
    query = {name: value}
    if key:
        query["uploadId"] = client.initiate(key)
    elif name == "max-uploads":
        query["uploads"] = ""

    reply = client.get(key, query)

    assert reply.outcome == (400, "InvalidArgument")
    assert reply.text("ArgumentName") == name
    assert reply.text("ArgumentValue") == value


@pytest.mark.parametrize(
    "operation",
    ["List", "ListV2", "ListUploads", "ListParts", "Initiate", "Complete", "Delete"],
)
def test_an_unknown_encoding_is_refused_and_nothing_is_done(
    client: BucketClient, bucket: Bucket, operation: str
) -> None:
    bucket.put("cat", b"cat")
    upload_id = client.initiate("dog")
    client.put_part("dog", upload_id, 1, b"hello")
    unknown = {"encoding-type": "base64"}

    reply = {
        "List": lambda: client.get("", unknown),
        "ListV2": lambda: client.get("", {"list-type": "2", **unknown}),
        "ListUploads": lambda: client.get("", {"uploads": "", **unknown}),
        "ListParts": lambda: client.get("dog", {"uploadId": upload_id, **unknown}),
        "Initiate": lambda: client.post("dog", b"", {"uploads": "", **unknown}),
        "Complete": lambda: client.complete(
            "dog", upload_id, [(1, HELLO_MD5)], unknown
        ),
        "Delete": lambda: delete_all(client, delete_document("cat"), unknown),
    }[operation]()

    assert reply.outcome == (400, "InvalidArgument")
    assert bucket.keys() == ["cat"]
    assert [upload.id for upload in bucket.uploads()] == [upload_id]


def test_complete_encodes_the_key_if_asked_to(client: BucketClient) -> None:
    key = "\x01 +猫"
    initiated = client.post(key, b"", {"uploads": "", "encoding-type": "url"})
    upload_id = initiated.text("UploadId")
    client.put_part(key, upload_id, 1, b"hello")

    reply = client.complete(key, upload_id, [(1, HELLO_MD5)], {"encoding-type": "url"})

    assert initiated.text("Key") == reply.text("Key") == "%01%20%2B%E7%8C%AB"
    assert initiated.text("EncodingType") == reply.text("EncodingType") == "url"


def test_of_many_who_complete_an_upload_one_succeeds(
    client: BucketClient, bucket: Bucket
) -> None:
    upload_id = client.initiate("cat")
    client.put_part("cat", upload_id, 1, big("a"))
    client.put_part("cat", upload_id, 2, b"hello")

    with ThreadPoolExecutor(6) as pool:
        replies = [
            pool.submit(client.complete, "cat", upload_id, [ONE, TWO]) for _ in range(6)
        ]

    outcomes = sorted(reply.result().outcome for reply in replies)
    assert outcomes == [(200, "")] + [(404, "NoSuchUpload")] * 5
    assert bucket.read("cat") == big("a") + b"hello"


# --- Lists ----------------------------------------------------------------------


def test_list_objects_describes_each_object(
    client: BucketClient, oss: OssStandIn, bucket: Bucket
) -> None:
    put(client, "photos/a&b.jpg")
    bucket.put("photos/x/1", b"")

    reply = client.get("", {"prefix": "photos/", "delimiter": "/"})

    modified = reply.text("Contents/LastModified")
    owner = [("ID", oss.owner), ("DisplayName", oss.owner)]
    assert time.strptime(modified, "%Y-%m-%dT%H:%M:%S.000Z")
    assert reply.xml.tag == "ListBucketResult"
    assert shape(reply.xml) == [
        ("Marker", ""),
        ("Name", bucket.name),
        ("Prefix", "photos/"),
        ("MaxKeys", "100"),
        ("Delimiter", "/"),
        ("IsTruncated", "false"),
        (
            "Contents",
            [
                ("Key", "photos/a&b.jpg"),
                ("LastModified", modified),
                ("ETag", f'"{HELLO_MD5}"'),
                ("Type", "Normal"),
                ("Size", "5"),
                ("StorageClass", "IA"),
                ("Owner", owner),
            ],
        ),
        ("CommonPrefixes", [("Prefix", "photos/x/")]),
    ]


def test_list_objects_v2_counts_and_names_no_owner(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("photos/a b", b"hello")
    bucket.put("photos/x/1", b"")
    query = {
        "list-type": "2",
        "prefix": "photos/",
        "delimiter": "/",
        "start-after": "photos/ ",
        "encoding-type": "url",
    }

    reply = client.get("", query)

    assert shape(reply.xml) == [
        ("StartAfter", "photos/%20"),
        ("KeyCount", "2"),
        ("Name", bucket.name),
        ("Prefix", "photos/"),
        ("MaxKeys", "100"),
        ("Delimiter", "/"),
        ("EncodingType", "url"),
        ("IsTruncated", "false"),
        (
            "Contents",
            [
                ("Key", "photos/a%20b"),
                ("LastModified", reply.text("Contents/LastModified")),
                ("ETag", f'"{HELLO_MD5}"'),
                ("Type", "Normal"),
                ("Size", "5"),
                ("StorageClass", "Standard"),
            ],
        ),
        ("CommonPrefixes", [("Prefix", "photos/x/")]),
    ]


@pytest.mark.parametrize("value", ["true", "TRUE"])
def test_list_objects_v2_names_the_owner_if_asked_to(
    client: BucketClient, oss: OssStandIn, bucket: Bucket, value: str
) -> None:
    bucket.put("cat", b"")

    reply = client.get("", {"list-type": "2", "fetch-owner": value})

    assert reply.text("Contents/Owner/ID") == oss.owner


def test_parameters_that_are_empty_do_not_count(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("a/b", b"")
    names = ["prefix", "delimiter", "marker", "max-keys", "encoding-type"]
    names_v2 = ["start-after", "continuation-token", "fetch-owner"]

    v1 = client.get("", dict.fromkeys(names, ""))
    v2 = client.get("", {"list-type": "2", **dict.fromkeys(names + names_v2, "")})

    assert v1.texts("Contents/Key") == v2.texts("Contents/Key") == ["a/b"]
    assert v1.text("MaxKeys") == v2.text("MaxKeys") == "100"
    assert v2.texts("StartAfter") == v2.texts("ContinuationToken") == []


@pytest.mark.parametrize("version", ["1", "3", "two"])
def test_there_is_no_other_list_type(client: BucketClient, version: str) -> None:
    assert client.get("", {"list-type": version}).outcome == (400, "InvalidArgument")


@pytest.mark.parametrize("token", ["x", "abc", "ff", "٣٣"])
def test_a_token_that_is_none_is_refused(client: BucketClient, token: str) -> None:
    query = {"list-type": "2", "continuation-token": token}

    assert client.get("", query).outcome == (400, "InvalidArgument")


def test_a_list_shows_100_objects_by_default_and_1000_at_most(
    client: BucketClient, bucket: Bucket
) -> None:
    for number in range(101):
        bucket.put(f"{number:03}", b"")

    by_default = client.get()
    at_most = client.get("", {"max-keys": "1000"})

    assert len(by_default.texts("Contents/Key")) == 100
    assert by_default.text("NextMarker") == "099"
    assert len(at_most.texts("Contents/Key")) == 101
    assert at_most.texts("NextMarker") == []


def test_a_key_that_xml_cannot_hold_is_told_only_encoded(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("\x01\x00\x7f", b"")

    encoded = client.get("", {"encoding-type": "url"})

    assert unquote(encoded.text("Contents/Key")) == "\x01\x00\x7f"
    assert client.get().text("Contents/Key") == "\ufffd\ufffd\x7f"


# Short keys of few characters share prefixes often; among the characters are some that
# mean something in XML, in URLs, and to the storage.
CHARACTERS = ["a", "b", "/", "//", " ", "\x00", "\x01", "\r", "%2F", "<&>", "猫", "😀"]
KEYS = (
    st.lists(st.sampled_from(CHARACTERS), min_size=1, max_size=4)
    .map("".join)
    .filter(lambda key: key[0] != "/")
)
DELIMITERS = st.sampled_from(["", "/", "/", "//", "a", "\x00", "猫"])
MARKERS = st.one_of(st.just(""), KEYS)


def entries(
    names: list[tuple[str, ...]], prefix: str, delimiter: str, marker: str
) -> list[tuple[str, ...]]:
    """What a list has to show: names, and common prefixes as names without an id.

    Each name begins with a key.  Slow and simple, on purpose.
    """
    shown: list[tuple[str, ...]] = []
    for name in sorted(names, key=lambda name: [part.encode() for part in name]):
        key = name[0]
        if not key.startswith(prefix) or key.encode() <= marker.encode():
            continue
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            common = prefix + rest[: rest.index(delimiter)] + delimiter
            if common != marker and (common,) not in shown:
                shown.append((common,))
        else:
            shown.append(name)
    return shown


MAX_PAGES = 50  # of a list of few entries; more of them would never end


def page_through(
    client: BucketClient,
    query: dict[str, str],
    item: str,
    ids: list[str],
    next_of: dict[str, str],
    limit: int,
) -> list[tuple[str, ...]]:
    """Return all entries of a list, page by page, each page in the order of its keys.

    *next_of* says which element is which parameter of the request for the next page.
    """
    found: list[tuple[str, ...]] = []
    with client.connect() as connection:
        for _ in range(MAX_PAGES):
            reply = client.request("GET", client.path(), query, None, None, connection)
            assert reply.status == 200, reply.body
            names = [
                (
                    unquote(element.findtext("Key", "")),
                    *(element.findtext(i, "") for i in ids),
                )
                for element in reply.xml.findall(item)
            ]
            common = [(unquote(p),) for p in reply.texts("CommonPrefixes/Prefix")]
            page: list[tuple[str, ...]] = [*names, *common]
            assert names == sorted(names)  # by code point, which is as UTF-8 sorts
            assert common == sorted(common)
            assert len(page) <= limit
            found += sorted(page)
            if reply.text("IsTruncated") == "false":
                return found
            assert len(page) == limit
            query = query | {
                parameter: value
                if parameter == "continuation-token"
                else unquote(value)
                for element, parameter in next_of.items()
                if (value := reply.text(element))
            }
    pytest.fail("the list does not end")


@given(
    keys=st.sets(KEYS, max_size=12),
    prefix=MARKERS,
    delimiter=DELIMITERS,
    marker=MARKERS,
    limit=st.integers(1, 5),
    version=st.sampled_from(["1", "2"]),
)
@settings(max_examples=60, deadline=None)
def test_paging_through_a_list_shows_each_key_once(
    oss: OssStandIn,
    keys: set[str],
    prefix: str,
    delimiter: str,
    marker: str,
    limit: int,
    version: str,
) -> None:
    bucket = new_bucket(oss)
    client = BucketClient(oss, user_key(oss.sts), bucket.name)
    for key in keys:
        bucket.put(key, b"")
    query = {
        "prefix": prefix,
        "delimiter": delimiter,
        "max-keys": str(limit),
        "encoding-type": "url",
    }

    if version == "1":
        query |= {"marker": marker}
        next_of = {"NextMarker": "marker"}
    else:
        query |= {"list-type": "2", "start-after": marker}
        next_of = {"NextContinuationToken": "continuation-token"}
    found = page_through(client, query, "Contents", [], next_of, limit)

    names: list[tuple[str, ...]] = [(key,) for key in keys]
    assert found == entries(names, prefix, delimiter, marker)


@given(
    keys=st.lists(KEYS, max_size=10).flatmap(
        lambda keys: (
            st.lists(st.sampled_from(keys), max_size=12) if keys else st.just([])
        )
    ),
    prefix=MARKERS,
    delimiter=DELIMITERS,
    marker=MARKERS,
    limit=st.integers(1, 5),
)
@settings(max_examples=50, deadline=None)
def test_paging_through_uploads_shows_each_once(
    oss: OssStandIn,
    keys: list[str],
    prefix: str,
    delimiter: str,
    marker: str,
    limit: int,
) -> None:
    bucket = new_bucket(oss)
    client = BucketClient(oss, user_key(oss.sts), bucket.name)
    names: list[tuple[str, ...]] = [
        (upload.key, upload.id) for upload in (bucket.initiate(k, {}) for k in keys)
    ]
    query = {
        "uploads": "",
        "prefix": prefix,
        "delimiter": delimiter,
        "key-marker": marker,
        "max-uploads": str(limit),
        "encoding-type": "url",
    }

    next_of = {"NextKeyMarker": "key-marker", "NextUploadIdMarker": "upload-id-marker"}
    found = page_through(client, query, "Upload", ["UploadId"], next_of, limit)

    assert found == entries(names, prefix, delimiter, marker)


def test_list_multipart_uploads_describes_each_upload(
    client: BucketClient, bucket: Bucket
) -> None:
    upload_id = client.initiate("a&b", x_oss_storage_class="IA")
    client.initiate("photos/1")
    client.initiate("photos/2")

    reply = client.get("", {"uploads": "", "delimiter": "/", "key-marker": "A"})

    initiated = reply.text("Upload/Initiated")
    assert time.strptime(initiated, "%Y-%m-%dT%H:%M:%S.000Z")
    assert reply.xml.tag == "ListMultipartUploadsResult"
    assert shape(reply.xml) == [
        ("Bucket", bucket.name),
        ("KeyMarker", "A"),
        ("UploadIdMarker", ""),
        ("NextKeyMarker", ""),
        ("NextUploadIdMarker", ""),
        ("Delimiter", "/"),
        ("Prefix", ""),
        ("MaxUploads", "1000"),
        ("IsTruncated", "false"),
        (
            "Upload",
            [
                ("Key", "a&b"),
                ("UploadId", upload_id),
                ("StorageClass", "IA"),
                ("Initiated", initiated),
            ],
        ),
        ("CommonPrefixes", [("Prefix", "photos/")]),
    ]


def test_an_upload_id_marker_counts_only_with_a_key_marker(
    client: BucketClient,
) -> None:
    ids = sorted(client.initiate("cat") for _ in range(2))
    query = {"uploads": "", "upload-id-marker": ids[0]}

    without = client.get("", query)
    after = client.get("", query | {"key-marker": "cat"})
    beyond = client.get("", {"uploads": "", "key-marker": "cat"})

    assert without.texts("Upload/UploadId") == ids
    assert after.texts("Upload/UploadId") == ids[1:]
    assert beyond.texts("Upload/UploadId") == []


# --- The bucket -----------------------------------------------------------------


def test_get_bucket_info_describes_the_bucket(
    client: BucketClient, oss: OssStandIn, bucket: Bucket
) -> None:
    reply = client.get("", {"bucketInfo": ""})

    host = f"127.0.0.1:{oss.port}"
    assert reply.xml.tag == "BucketInfo"
    assert shape(reply.xml) == [
        (
            "Bucket",
            [
                ("Name", bucket.name),
                ("CreationDate", reply.text("Bucket/CreationDate")),
                ("Location", "oss-cn-hangzhou"),
                ("ExtranetEndpoint", host),
                ("IntranetEndpoint", host),
                ("StorageClass", "Standard"),
                ("DataRedundancyType", "LRS"),
                ("Owner", [("ID", oss.owner), ("DisplayName", oss.owner)]),
                ("AccessControlList", [("Grant", "private")]),
            ],
        )
    ]


def test_get_bucket_location_tells_the_region(client: BucketClient) -> None:
    reply = client.get("", {"location": ""})

    assert (reply.xml.tag, reply.xml.text) == ("LocationConstraint", "oss-cn-hangzhou")


# --- Bodies on the wire ---------------------------------------------------------


def test_a_body_may_come_in_chunks_of_any_size(
    client: BucketClient, bucket: Bucket
) -> None:
    chunks = [b"a", b"b" * 300_000, b"\r\n0\r\n\r\n", b"c" * 65536]

    reply = client.put("cat", iter(chunks))

    assert reply.status == 200
    assert bucket.read("cat") == b"".join(chunks)


@pytest.mark.parametrize(
    ("body", "data"),
    [
        pytest.param(b"0\r\n\r\n", b"", id="empty"),
        pytest.param(b"5\r\nhello\r\n0\r\n\r\n", b"hello", id="one chunk"),
        pytest.param(b"00005\r\nhello\r\n000\r\n\r\n", b"hello", id="zeros"),
        pytest.param(b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", id="capitals"),
        pytest.param(
            b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", id="small letters"
        ),
        pytest.param(b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello", id="chunk extensions"),
        pytest.param(
            b"5\r\nhello\r\n0\r\nx-evil: 1\r\nb: 2\r\n\r\n", b"hello", id="trailers"
        ),
    ],
)
def test_a_chunked_body_ends_where_it_says(
    client: BucketClient, bucket: Bucket, body: bytes, data: bytes
) -> None:
    chunked = {"Transfer-Encoding": "chunked"}
    head = client.head("PUT", client.path("cat"), headers=chunked)
    with raw_http.connect(client.oss.port) as connection:
        connection.sendall(head + body)
        put_reply = read_from(connection)
        connection.sendall(client.head("GET", client.path("cat")))
        get_reply = read_from(connection)

    assert put_reply.status == 200
    assert (get_reply.status, get_reply.body) == (200, data)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"x\r\nhello\r\n0\r\n\r\n", id="no number"),
        pytest.param(b"-5\r\nhello\r\n0\r\n\r\n", id="negative"),
        pytest.param(b"0x5\r\nhello\r\n0\r\n\r\n", id="0x"),
        pytest.param(b"\r\nhello\r\n0\r\n\r\n", id="no size"),
        pytest.param(b"5\r\nhello0\r\n\r\n", id="no line end after a chunk"),
        pytest.param(b"5\r\nhello!!0\r\n\r\n", id="no line end but two bytes"),
        pytest.param(b"4\r\nhello\r\n0\r\n\r\n", id="too small a size"),
        pytest.param(b"fffffffff\r\nhello\r\n0\r\n\r\n", id="too large a size"),
        pytest.param(b"5" * 200 + b"\r\nhello\r\n0\r\n\r\n", id="a long line"),
    ],
)
def test_a_malformed_chunked_body_is_refused(
    client: BucketClient, bucket: Bucket, body: bytes
) -> None:
    chunked = {"Transfer-Encoding": "chunked"}
    head = client.head("PUT", client.path("cat"), headers=chunked)
    with raw_http.connect(client.oss.port) as connection:
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        reply = read_from(connection)

    assert reply.outcome == (400, "IncompleteBody")
    assert bucket.keys() == []


def data_files(bucket: Bucket) -> list[str]:
    """The files with bytes of objects and parts of *bucket*."""
    return [path.name for path in (bucket.folder.path / "data").iterdir()]


def requests_of(oss: OssStandIn | RemoteOss, bucket: Bucket) -> list[str]:
    """The error codes of the requests about *bucket*, empty for a success."""
    assert isinstance(oss, OssStandIn)
    return [access.code for access in oss.requests if access.bucket == bucket.name]


def wait_for(is_so: Callable[[], bool]) -> None:
    """Wait until the stand-in has noticed what its client did."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        pytest.param("Content-Length: 10", b"", id="no byte"),
        pytest.param("Content-Length: 10", b"hello", id="half"),
        pytest.param("Transfer-Encoding: chunked", b"", id="no chunk"),
        pytest.param("Transfer-Encoding: chunked", b"a\r\nhello", id="half a chunk"),
        pytest.param("Transfer-Encoding: chunked", b"5\r\nhello\r\n", id="no end"),
    ],
)
@pytest.mark.parametrize("operation", ["PutObject", "UploadPart", "AppendObject"])
@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_a_client_that_goes_away_leaves_nothing_behind(
    client: BucketClient,
    oss: OssStandIn,
    bucket: Bucket,
    operation: str,
    kind: str,
    sent: bytes,
    is_reset: bool,
) -> None:
    upload_id = client.initiate("cat")
    method, query = {
        "PutObject": ("PUT", {}),
        "UploadPart": ("PUT", {"partNumber": "1", "uploadId": upload_id}),
        "AppendObject": ("POST", {"append": "", "position": "0"}),
    }[operation]
    name, _, value = kind.partition(": ")
    head = client.head(method, client.path("cat"), query, {name: value})

    with raw_http.connect(oss.port) as connection:
        connection.sendall(head + sent)
        if is_reset:
            reset(connection)
    wait_for(lambda: requests_of(oss, bucket)[-1:] == ["IncompleteBody"])

    assert data_files(bucket) == []
    assert bucket.keys() == []
    assert bucket.parts(upload_id, "cat") == []
    assert client.put("cat", b"hello").status == 200


def test_a_client_that_only_stops_sending_is_told(
    client: BucketClient, bucket: Bucket
) -> None:
    length = {"Content-Length": "10"}
    with raw_http.connect(client.oss.port) as connection:
        connection.sendall(client.head("PUT", client.path("cat"), headers=length))
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        reply = read_from(connection)

    assert reply.outcome == (400, "IncompleteBody")
    assert bucket.keys() == []


def test_a_client_that_goes_away_while_it_is_sent_an_object_harms_nobody(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("cat", bytes(20 * 2**20))
    for _ in range(3):
        with raw_http.connect(client.oss.port) as connection:
            connection.sendall(client.head("GET", client.path("cat")))
            assert connection.recv(10)

    assert len(client.get("cat").body) == 20 * 2**20


def reset(connection: socket.socket) -> None:
    """Make the end of *connection* a reset."""
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def test_a_client_that_does_not_wait_for_an_object_harms_nobody(
    client: BucketClient, bucket: Bucket
) -> None:
    """A file that is left open is a warning, and fails the test."""
    bucket.put("cat", b"cat")
    head = client.head("GET", client.path("cat"))
    for _ in range(20):
        with raw_http.connect(client.oss.port) as connection:
            connection.sendall(head)
            reset(connection)
    wait_for(lambda: len(requests_of(client.oss, bucket)) == 20)
    gc.collect()

    assert client.get("cat").body == b"cat"


EXPECT = {"Expect": "100-continue", "Content-Length": "5"}


def test_a_body_that_is_wanted_is_asked_for(
    client: BucketClient, bucket: Bucket
) -> None:
    with raw_http.connect(client.oss.port) as connection:
        connection.sendall(client.head("PUT", client.path("cat"), headers=EXPECT))
        asked = connection.recv(1000)
        connection.sendall(b"hello")
        reply = read_from(connection)
        connection.sendall(client.head("GET", client.path("cat")))
        assert read_from(connection).body == b"hello"

    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert reply.status == 200


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        pytest.param(f"/{NO_BUCKET}/cat", {}, 404, id="no bucket"),
        pytest.param("/{bucket}/cat", {"acl": ""}, 501, id="not imitated"),
        pytest.param(
            "/{bucket}/cat", {"partNumber": "1", "uploadId": "X"}, 404, id="no upload"
        ),
    ],
)
def test_a_body_that_is_refused_is_not_asked_for(
    client: BucketClient, bucket: Bucket, path: str, query: dict[str, str], status: int
) -> None:
    path = path.format(bucket=bucket.name)
    with raw_http.connect(client.oss.port) as connection:
        connection.sendall(client.head("PUT", path, query, EXPECT))
        received = raw_http.read_to_end(connection)

    assert received.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"100 Continue" not in received
    assert b"\r\nConnection: close\r\n" in received


def test_nobody_is_asked_for_a_body_who_does_not_wait_to_be(
    client: BucketClient,
) -> None:
    headers = {"Content-Length": "5", "Connection": "close"}
    head = client.head("PUT", client.path("cat"), headers=headers)

    received = raw_http.exchange(client.oss.port, head + b"hello")

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_nobody_is_asked_for_an_empty_body(client: BucketClient) -> None:
    headers = EXPECT | {"Content-Length": "0"}
    with raw_http.connect(client.oss.port) as connection:
        connection.sendall(client.head("PUT", client.path("cat"), headers=headers))
        reply = read_from(connection)

    assert (reply.status, reply.headers["connection"]) == (200, "keep-alive")


@pytest.mark.parametrize("in_chunks", [False, True], ids=["whole", "in chunks"])
def test_a_refused_body_does_not_become_the_next_request(
    client: BucketClient, bucket: Bucket, in_chunks: bool
) -> None:
    bucket.put("cat", b"cat")
    smuggled = client.head("DELETE", client.path("cat")) * 1000
    body = iter([smuggled]) if in_chunks else smuggled

    with client.connect() as connection:
        refused = client.request("PUT", f"/{NO_BUCKET}/x", None, None, body, connection)
        reply = client.request("GET", client.path("cat"), None, None, None, connection)

    assert refused.outcome == (404, "NoSuchBucket")
    assert reply.body == b"cat"


def test_a_body_where_none_is_expected_does_not_become_the_next_request(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("cat", b"cat")
    path, smuggled = client.path("cat"), client.head("DELETE", client.path("cat"))

    with client.connect() as connection:
        replies = [
            client.request(method, path, None, None, smuggled, connection).status
            for method in ("GET", "HEAD", "GET")
        ]

    assert replies == [200, 200, 200]


def test_many_requests_share_a_connection(client: BucketClient, bucket: Bucket) -> None:
    with client.connect() as connection:
        for number in range(50):
            data = f"{number}".encode() * number
            path = client.path(str(number))
            client.request("PUT", path, None, None, data, connection)
            reply = client.request("GET", path, None, None, None, connection)
            assert reply.body == data

    assert len(bucket.keys()) == 50


def test_requests_that_arrive_together_are_answered_in_turn(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("cat", b"meow")
    bucket.put("dog", b"woof")
    close = {"Connection": "close"}
    heads = [
        client.head("GET", client.path("cat")),
        client.head("GET", client.path("dog"), headers=close),
    ]

    received = raw_http.exchange(client.oss.port, b"".join(heads))

    assert received.index(b"meow") < received.index(b"woof")
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert b"\r\nConnection: close\r\n" in received


def test_a_path_is_not_a_path_of_files(client: BucketClient, bucket: Bucket) -> None:
    for key in ("a/../b", "..", "../../etc/passwd", "a//b", "./a", "a/."):
        assert client.put(key, key.encode()).status == 200
        assert client.get(key).body == key.encode()

    assert bucket.keys() == sorted(
        ["a/../b", "..", "../../etc/passwd", "a//b", "./a", "a/."]
    )


# --- Many at a time -------------------------------------------------------------


def test_who_reads_an_object_that_is_replaced_gets_the_old_one_whole(
    client: BucketClient, bucket: Bucket
) -> None:
    """The object is larger than what the sockets between the two hold."""
    old = b"old " * 5 * 2**20
    bucket.put("cat", old)
    headers = client.sign("GET", client.path("cat"))
    with client.connect() as connection:
        connection.request("GET", client.path("cat"), headers=headers)
        response = connection.getresponse()
        begin = response.read(1000)
        client.put("cat", b"new")
        replaced = client.get("cat").body
        client.delete("cat")
        data = begin + response.read()

    assert replaced == b"new"
    assert data == old


def test_what_many_threads_read_is_always_some_whole_version(
    client: BucketClient, oss: OssStandIn, bucket: Bucket
) -> None:
    keys = ("a", "b", "c")
    problems: list[str] = []
    start = threading.Barrier(32)

    def check(reply: OssReply) -> None:
        if reply.status == 404:
            return
        etag, word = reply.headers["etag"].strip('"'), reply.body[:8]
        if reply.status != 200 or etag != md5(reply.body):
            problems.append(f"{reply.status} {etag}")
        if reply.body != word * (len(reply.body) // 8):
            problems.append("two versions in one")
        if reply.headers["x-oss-meta-word"] != word.decode():
            problems.append("headers of another version")

    def work(thread: int) -> None:
        start.wait()
        with client.connect() as connection:
            for round_ in range(6):
                key, word = keys[(thread + round_) % 3], f"{thread:04}{round_:04}"
                step = (thread + round_) % 4
                if step == 0:
                    client.request(
                        "PUT",
                        client.path(key),
                        headers={"x-oss-meta-word": word},
                        body=word.encode() * (thread * 400 + 1),
                        connection=connection,
                    )
                elif step == 1 and round_ == 3:
                    path = client.path(key)
                    client.request("DELETE", path, connection=connection)
                elif step == 2:
                    reply = client.request("GET", client.path(), connection=connection)
                    listed = reply.texts("Contents/Key")
                    if listed != sorted(set(listed)):
                        problems.append(f"listed {listed}")
                else:
                    path = client.path(key)
                    check(client.request("GET", path, connection=connection))

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))

    assert problems == []
    assert len(data_files(bucket)) == len(bucket.keys())


def test_an_upload_that_the_stand_in_cuts_off_leaves_nothing(
    client: BucketClient, oss: OssStandIn, bucket: Bucket
) -> None:
    upload_id = client.initiate("cat")
    oss.fail("UploadPart", CUT_OFF)

    with pytest.raises(ConnectionError):
        client.put_part("cat", upload_id, 1, bytes(10_000))

    assert data_files(bucket) == []
    assert client.put_part("cat", upload_id, 1, bytes(10_000)).status == 200


def test_a_key_with_a_line_end_is_listed_as_it_is(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("a\rb\nc", b"")

    assert client.get().texts("Contents/Key") == ["a\rb\nc"]


def test_a_defect_of_the_stand_in_is_an_internal_error_and_not_the_end(
    client: BucketClient,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_: str) -> None:
        raise AssertionError("a defect")

    bucket.put("cat", b"meow")
    with monkeypatch.context() as patched:
        patched.setattr(bucket, "open", broken)
        assert client.get("cat").outcome == (500, "InternalError")

    assert "a defect" in caplog.text
    assert client.get("cat").body == b"meow"
