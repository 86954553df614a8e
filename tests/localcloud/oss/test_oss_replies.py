"""What is alike in every reply of the OSS stand-in, errors among them.

What is expected is from the page of the operation in the OSS documentation.
"""

from __future__ import annotations

import base64
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree

import pytest
from helpers.oss.client import BucketClient, OssReply
from helpers.oss.samples import NO_BUCKET, data_files, md5, shape

from localcloud.oss import CUT_OFF, OssStandIn
from localcloud.oss.catalog import ROWS
from localcloud.oss.operations import OPERATIONS
from localcloud.oss.storage import Bucket


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
