"""PutObject, GetObject, HeadObject and GetObjectMeta, and which uploads are refused.

What is expected is from the page of the operation in the OSS documentation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate, parsedate_to_datetime

import pytest
from helpers import client as raw_http
from helpers.oss.client import BucketClient, read_reply
from helpers.oss.samples import (
    HELLO_CRC,
    HELLO_MD5,
    KEPT,
    append_twice,
    common,
    content_md5,
    md5,
    put,
    put_in_chunks,
    send_head,
    sent_back,
    upload,
)

from localcloud.oss.storage import Bucket


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
        assert read_reply(connection).status == 200

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
        reply = read_reply(connection)
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
