"""Ranges of objects, and conditions on reading and copying them.

What is expected is from the page of the operation in the OSS documentation.
"""

from __future__ import annotations

import pytest
from helpers.oss.client import BucketClient
from helpers.oss.samples import ALPHABET, CAT_ETAG, DOG_ETAG, conditions

from localcloud.oss.storage import Bucket

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
