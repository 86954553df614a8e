"""Bodies that the application wants, and all others, which it never sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from helpers.client import Reply as Answer
from helpers.client import exchange, parse_replies

from tokenserver.httpd.origins import HttpSettings
from tokenserver.httpd.reply import Reply
from tokenserver.httpd.request import MAX_BODY_BYTES, Request
from tokenserver.httpd.server import StrictServer


class Configured:
    """What is configured."""

    http = HttpSettings()


class EchoServer(StrictServer):
    """Replies with the body, which it wants at one path."""

    def snapshot(self) -> Configured:
        return Configured()

    def wants_body(self, request: Request) -> bool:
        return request.path == "/wanted"

    def answer(self, request: Request, _snapshot: Any) -> Reply:
        return Reply(HTTPStatus.OK, request.body, "text/plain")


@pytest.fixture
def port() -> Iterator[int]:
    """The port of such a server."""
    server = EchoServer("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.drain(5)


def post(port: int, path: str, fields: str, *chunks: bytes) -> Answer:
    """Return the reply to a body of *chunks*, which arrive one by one."""
    head = f"POST {path} HTTP/1.1\r\nHost: app\r\n{fields}\r\n\r\n".encode()
    (reply,) = parse_replies(exchange(port, head + chunks[0], *chunks[1:]))
    return reply


@pytest.mark.parametrize(
    ("fields", "chunks"),
    [
        pytest.param("Content-Length: 4", [b"body"], id="at once"),
        pytest.param("Content-Length: 4", [b"", b"bo", b"d", b"y"], id="dripping"),
        pytest.param("Content-Length: 4", [b"body", b"GET / "], id="more behind it"),
        pytest.param(
            "Transfer-Encoding: chunked",
            [b"2;a=b\r\nbo\r\n2\r\nd", b"y\r\n0\r\nMore: 1\r\n\r\n"],
            id="in chunks",
        ),
    ],
)
def test_a_body_is_kept_where_it_is_wanted(
    port: int, fields: str, chunks: list[bytes]
) -> None:
    assert post(port, "/wanted", fields, *chunks).body == b"body"
    assert post(port, "/other", fields, *chunks).body == b""


def test_a_body_up_to_the_limit_is_kept_and_a_larger_one_refused(port: int) -> None:
    most = bytes(range(256)) * (MAX_BODY_BYTES // 256)

    kept = post(port, "/wanted", f"Content-Length: {len(most)}", most)
    refused = post(port, "/wanted", f"Content-Length: {len(most) + 1}", most, b"1")
    chunks = b"%x\r\n%b\r\n1\r\n1\r\n0\r\n\r\n" % (len(most), most)
    also_refused = post(port, "/wanted", "Transfer-Encoding: chunked", chunks)

    assert kept.body == most
    assert (refused.status, refused.json["ErrorCode"]) == (413, "BodyTooLarge")
    assert also_refused.status == 413
