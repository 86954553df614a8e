"""Bodies on the wire, and many requests at a time."""

from __future__ import annotations

import gc
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection

import pytest
from helpers import client as raw_http
from helpers.machine import wait_until
from helpers.oss.client import BucketClient, OssReply, read_reply
from helpers.oss.samples import NO_BUCKET, data_files, md5, requests_of

from localcloud.oss import OssStandIn
from localcloud.oss.storage import Bucket


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
        put_reply = read_reply(connection)
        connection.sendall(client.head("GET", client.path("cat")))
        get_reply = read_reply(connection)

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
        reply = read_reply(connection)

    assert reply.outcome == (400, "IncompleteBody")
    assert bucket.keys() == []


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
    wait_until(lambda: requests_of(oss, bucket)[-1:] == ["IncompleteBody"])

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
        reply = read_reply(connection)

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
    wait_until(lambda: len(requests_of(client.oss, bucket)) == 20)
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
        reply = read_reply(connection)
        connection.sendall(client.head("GET", client.path("cat")))
        assert read_reply(connection).body == b"hello"

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
        reply = read_reply(connection)

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


class Stress:
    """Writes, reads, lists and deletes a few objects, and notes what cannot be."""

    KEYS = ("a", "b", "c")

    def __init__(self, client: BucketClient) -> None:
        self.client = client
        self.problems: list[str] = []
        self.start = threading.Barrier(32)

    def check(self, reply: OssReply) -> None:
        """Note what is not one whole version of an object."""
        if reply.status == 404:
            return
        etag, word = reply.headers["etag"].strip('"'), reply.body[:8]
        if reply.status != 200 or etag != md5(reply.body):
            self.problems.append(f"{reply.status} {etag}")
        if reply.body != word * (len(reply.body) // 8):
            self.problems.append("two versions in one")
        if reply.headers["x-oss-meta-word"] != word.decode():
            self.problems.append("headers of another version")

    def work(self, thread: int) -> None:
        """Do six steps, as soon as all threads are there."""
        self.start.wait()
        with self.client.connect() as connection:
            for number in range(6):
                self.step(thread, number, connection)

    def step(self, thread: int, number: int, connection: HTTPConnection) -> None:
        """Write, delete, list or read."""
        ask = partial(self.client.request, connection=connection)
        word = f"{thread:04}{number:04}"
        path = self.client.path(self.KEYS[(thread + number) % 3])
        kind = (thread + number) % 4
        if kind == 0:
            body = word.encode() * (thread * 400 + 1)
            ask("PUT", path, headers={"x-oss-meta-word": word}, body=body)
        elif kind == 1 and number == 3:
            ask("DELETE", path)
        elif kind == 2:
            listed = ask("GET", self.client.path()).texts("Contents/Key")
            if listed != sorted(set(listed)):
                self.problems.append(f"listed {listed}")
        else:
            self.check(ask("GET", path))


def test_what_many_threads_read_is_always_some_whole_version(
    client: BucketClient, oss: OssStandIn, bucket: Bucket
) -> None:
    stress = Stress(client)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(stress.work, range(32)))

    assert stress.problems == []
    assert len(data_files(bucket)) == len(bucket.keys())
