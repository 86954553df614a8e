"""CopyObject and UploadPartCopy.

What is expected is from the page of the operation in the OSS documentation.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from helpers.oss.client import BucketClient
from helpers.oss.cloud import user_key
from helpers.oss.fixtures import new_bucket
from helpers.oss.samples import (
    ALPHABET,
    DOG_ETAG,
    HELLO_CRC,
    HELLO_MD5,
    KEPT,
    append_twice,
    md5,
    put,
    sent_back,
    shape,
    upload,
)

from localcloud.oss import OssStandIn
from localcloud.oss.storage import Bucket


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
