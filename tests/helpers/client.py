"""An HTTP client: sends ordinary requests, and any bytes.

parse_replies() reads replies more strictly than most clients do.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from helpers import secret_scan
from helpers.machine import PATIENCE_SECONDS

PAUSE_SECONDS = 0.01  # between chunks, so that they mostly arrive one by one

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Z][A-Za-z -]+")
FIELD_LINE = re.compile(r"([A-Za-z-]+): ([!-~][ -~]*)")


# --- Ordinary requests ----------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """A reply; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def __post_init__(self) -> None:
        secret_scan.check_reply(self.status, self.headers, self.body)

    @property
    def json(self) -> Any:
        """The document in the body."""
        return json.loads(self.body)


def request(
    port: int,
    target: str = "/",
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    host: str = "127.0.0.1",
) -> Reply:
    """Send one request to *port* of this machine on a new connection."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        connection.request(method, target, body, headers or {})
        return read_reply(connection)


def read_reply(connection: http.client.HTTPConnection) -> Reply:
    """Return the reply that *connection* waits for."""
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, headers, response.read())


# --- Any bytes ------------------------------------------------------------------


class OnceAnswered(bytes):
    """A chunk that is sent once the other side has sent something."""


def connect(port: int) -> socket.socket:
    """Return a socket that is connected to *port* of this machine."""
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)


def send(client: socket.socket, chunks: Sequence[bytes]) -> None:
    """Send *chunks*, each in a packet of its own as far as a client can ensure."""
    for number, chunk in enumerate(chunks):
        if isinstance(chunk, OnceAnswered):
            select.select([client], [], [], PATIENCE_SECONDS)
        elif number:
            time.sleep(PAUSE_SECONDS)
        client.sendall(chunk)


def read_to_end(client: socket.socket) -> bytes:
    """Return all bytes that arrive until the other side closes.

    Raises TimeoutError if it does not close, and ConnectionResetError if it left bytes
    unread, which can cost a client its reply.
    """
    received = bytearray()
    while arrived := client.recv(65536):
        received += arrived
    return bytes(received)


def exchange(port: int, *chunks: bytes) -> bytes:
    """Send *chunks*; return all bytes received until the other side closes."""
    with connect(port) as client:
        send(client, chunks)
        return read_to_end(client)


def exchange_anyhow(port: int, *chunks: bytes) -> bytes:
    """Do the same, but allow a reset; return the bytes received before it."""
    received = bytearray()
    with connect(port) as client:
        with contextlib.suppress(ConnectionError):
            send(client, chunks)
        with contextlib.suppress(ConnectionError):
            while arrived := client.recv(65536):
                received += arrived
    return bytes(received)


def parse_replies(received: bytes) -> list[Reply]:
    """Return the replies in *received*.

    A reply to HEAD is recognized by the bytes after its head: none, or the next reply.
    Raises AssertionError for bytes that are not a reply.
    """
    replies = []
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        status_line, *field_lines = head.decode("ascii").split("\r\n")
        match = STATUS_LINE.fullmatch(status_line.encode())
        assert match, f"no reply begins like this: {head[:200]!r}"
        assert end, f"a reply ends within its head: {head[-200:]!r}"
        status, headers = int(match[1]), parse_fields(field_lines)
        length = 0
        if status >= 200 and status != 204 and not is_next(received):
            length = int(headers["content-length"])
        assert len(received) >= length, f"a reply of {length} bytes: {received!r}"
        replies.append(Reply(status, headers, received[:length]))
        received = received[length:]
    return replies


def parse_fields(lines: Sequence[str]) -> dict[str, str]:
    """Return header values by name in lower case; no name may be there twice."""
    headers: dict[str, str] = {}
    for line in lines:
        match = FIELD_LINE.fullmatch(line)
        assert match, f"no header line looks like this: {line!r}"
        assert match[1].lower() not in headers, f"a second {line!r}"
        headers[match[1].lower()] = match[2]
    return headers


def is_next(received: bytes) -> bool:
    """Return whether a reply without a body ended before *received*."""
    return not received or received.startswith(b"HTTP/1.1 ")
