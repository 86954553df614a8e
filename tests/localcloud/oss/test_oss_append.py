"""AppendObject.

What is expected is from the page of the operation in the OSS documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.oss.client import BucketClient
from helpers.oss.samples import HELLO_CRC, common, put, upload

from localcloud.oss.storage import Bucket


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
