"""Multipart uploads.

What is expected is from the page of the operation in the OSS documentation.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.oss.client import BucketClient
from helpers.oss.samples import (
    HELLO_CRC,
    HELLO_MD5,
    big,
    common,
    content_md5,
    delete_all,
    delete_document,
    md5,
    oss_url,
    shape,
)

from localcloud.oss.parts import MIN_PART_BYTES
from localcloud.oss.storage import Bucket


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
