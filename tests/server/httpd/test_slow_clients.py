"""Clients that are slow, stall, or go away: none holds a connection for long."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.client import connect, parse_replies, read_to_end
from helpers.hostile import (
    BAD,
    BODY_TOO_LARGE,
    EXPECT,
    MARK,
    TIMEOUT,
    TOKEN,
    chunk,
    chunks,
    get,
    post,
)
from helpers.machine import PATIENCE_SECONDS, wait_until
from helpers.replies import check_exchange, security_token
from helpers.server import RunningServer, check_still_serves, connect_narrowly

from localcloud.sts import StsStandIn
from tokenserver.httpd import connection as httpd_connection
from tokenserver.httpd import streams as httpd_streams

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_clean_log")]

LIMIT_SECONDS = 1.0  # in which a busy machine reads what has been sent already


@contextlib.contextmanager
def short_limits(*names: str) -> Iterator[None]:
    """Shorten time limits of the server, but for requests that are to be answered."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            module = httpd_streams if hasattr(httpd_streams, name) else httpd_connection
            patch.setattr(module, name, LIMIT_SECONDS)
        yield


def drip(client: socket.socket, data: bytes) -> bytes:
    """Send *data* again and again until the other side closes; return what came."""
    client.settimeout(0.05)
    deadline = time.monotonic() + PATIENCE_SECONDS
    received = b""
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            try:
                arrived = client.recv(65536)
            except TimeoutError:
                client.sendall(data)
                continue
            if not arrived:
                return received
            received += arrived
        pytest.fail(f"the connection is still open after {received!r}")
    return received


@pytest.mark.parametrize(
    ("start", "more", "replies"),
    [
        pytest.param(b"", b"", (), id="connects and says nothing"),
        pytest.param(b"\r\n", b"", (), id="line end, then silence"),
        pytest.param(b"\r\n\r", b"", (), id="line end and a half, then silence"),
        pytest.param(b"G", b"", (TIMEOUT,), id="one byte, then silence"),
        pytest.param(b"G", b"G", (TIMEOUT,), id="method byte by byte"),
        pytest.param(b"GET /", b"t", (TIMEOUT,), id="target byte by byte"),
        pytest.param(get()[:-2], b"", (TIMEOUT,), id="head but for its last line end"),
        pytest.param(get("X-A: ")[:-4], b"v", (TIMEOUT,), id="value byte by byte"),
        pytest.param(get()[:-2], b"a: b\r\n", (TIMEOUT,), id="line by line"),
        pytest.param(post(body=b""), b"", (TIMEOUT,), id="body missing"),
        pytest.param(post(body=b"b"), b"", (TIMEOUT,), id="body begun"),
        pytest.param(post(length="9999"), b"b", (TIMEOUT,), id="body byte by byte"),
        pytest.param(chunk("5")[:-8], b"", (TIMEOUT,), id="chunk missing"),
        pytest.param(chunks("4;a=b")[:-4], b"b", (TIMEOUT,), id="chunk size slowly"),
        pytest.param(chunks()[:-2], b"1\r\nc\r\n", (TIMEOUT,), id="chunk by chunk"),
        pytest.param(
            chunks("0")[:-2], b"a: b\r\n", (TIMEOUT,), id="trailer by trailer"
        ),
        pytest.param(
            post(EXPECT, body=b""),
            b"",
            ("100 interim", TIMEOUT),
            id="100-continue, no body",
        ),
    ],
)
def test_slow_request_is_ended_in_time(
    server: RunningServer,
    sts: StsStandIn,
    start: bytes,
    more: bytes,
    replies: tuple[str, ...],
) -> None:
    part = "BODY_SECONDS" if start.startswith(b"POST") else "HEAD_SECONDS"
    started = time.monotonic()
    with short_limits(part, "LINGER_SECONDS"), connect(server.port) as client:
        client.sendall(start)
        received = drip(client, more)
    seconds = time.monotonic() - started

    check_exchange(received, replies)
    assert seconds >= LIMIT_SECONDS * 0.9
    assert sts.requests == []
    check_still_serves(server)


@pytest.mark.parametrize(
    ("more", "timeouts"),
    [
        pytest.param(b"", 0, id="silent"),
        pytest.param(b"G", 1, id="slow"),
    ],
)
def test_connection_kept_alive_is_ended_in_time(
    server: RunningServer, more: bytes, timeouts: int
) -> None:
    idle_limit = () if more else ("IDLE_SECONDS",)  # begins with the first reply
    with short_limits(*idle_limit), connect(server.port) as client:
        client.sendall(get(target="/healthz"))
        client.recv(1, socket.MSG_PEEK)
        with short_limits("HEAD_SECONDS", "LINGER_SECONDS"):
            received = drip(client, more)

    statuses = [reply.status for reply in parse_replies(received)]
    assert statuses == [200] + [408] * timeouts
    check_still_serves(server)


@pytest.mark.parametrize("more", [b"", b"more"], ids=["stays", "goes on sending"])
def test_refused_client_does_not_hold_its_connection(
    server: RunningServer, more: bytes
) -> None:
    with (
        short_limits("LINGER_SECONDS"),
        connect(server.port) as client,
        contextlib.suppress(ConnectionError),
    ):
        client.sendall(b"\0")
        check_exchange(read_to_end(client), (BAD,))

        def is_let_go() -> bool:
            client.sendall(more)
            return not server.server._open

        wait_until(is_let_go)

    check_still_serves(server)


def test_client_that_never_reads_is_given_up(server: RunningServer) -> None:
    with (
        short_limits("SEND_SECONDS", "LINGER_SECONDS"),
        connect_narrowly(server) as client,
    ):
        with contextlib.suppress(ConnectionError):
            client.sendall(get(target="/healthz") * 20_000)
        wait_until(lambda: not server.server._open)

    check_still_serves(server)


def test_client_that_reads_late_gets_all_of_its_replies(server: RunningServer) -> None:
    number = 500

    with connect_narrowly(server) as client:
        for last in (b"", b"Connection: close\r\n"):
            sender = threading.Thread(
                target=client.sendall,
                args=[
                    get(target="/healthz") * number
                    + get(target="/healthz")[:-2]
                    + last
                    + b"\r\n"
                ],
            )
            sender.start()
            wait_until(lambda: any(one.is_sending for one in server.server._handlers))
            time.sleep(0.05)  # in which the server has to wait for the client
            received = b""
            while received.count(b"HTTP/1.1 200") <= number or received[-1:] != b"}":
                received += client.recv(65536)
            sender.join()
            assert len(parse_replies(received)) == number + 1
        assert client.recv(1) == b""


def open_files() -> int:
    """Return how many files this process has open; 0 where nothing tells."""
    try:
        return len([*Path("/proc/self/fd").iterdir()])
    except FileNotFoundError:
        return 0


def test_200_dripping_connections_keep_nobody_waiting(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        httpd_connection, "HEAD_SECONDS", 3600.0
    )  # nobody waits so long here
    check_still_serves(server)  # what stays open to STS is open now
    threads, files = threading.active_count(), open_files()

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.port)) for _ in range(200)]
        for _ in range(3):
            for client in clients:
                client.sendall(b"G")
            assert security_token(server.request("/?callback=own"), "own")
            wait_until(lambda: threading.active_count() > threads + 150)

    wait_until(lambda: threading.active_count() < threads + 5)
    wait_until(lambda: open_files() < files + 5)
    check_still_serves(server)


# --- Clients that go away -------------------------------------------------------

WHOLE = post(f"X-App: {MARK}", length="40", body=b"b" * 40)
LEAVINGS: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("nothing", b"", ()),
    ("line end", b"\r\n", ()),
    ("one byte", WHOLE[:1], (BAD,)),
    ("half a line", WHOLE[:9], (BAD,)),
    ("one line", WHOLE[: WHOLE.index(b"\n") + 1], (BAD,)),
    ("half a head", WHOLE[:40], (BAD,)),
    ("almost a head", WHOLE[:-41], (BAD,)),
    ("a head", WHOLE[:-40], (BAD,)),
    ("half a body", WHOLE[:-20], (BAD,)),
    ("half a chunk", chunk("4")[:-10], (BAD,)),
    ("a chunk", chunk("4")[:-5], (BAD,)),
    ("chunks but for a line end", chunk("4")[:-2], (BAD,)),
    ("chunks", chunk("4"), (TOKEN,)),
    ("a request", WHOLE, (TOKEN,)),
    ("two requests", get() + WHOLE, (TOKEN, TOKEN)),
    ("one and a half", get() + get()[:20], (TOKEN, BAD)),
    ("garbage", b"\0" + WHOLE, (BAD,)),
    ("large body", post(length="70000", body=b"b" * 70000), (BODY_TOO_LARGE,)),
]
every_leaving = pytest.mark.parametrize(
    ("sent", "replies"), [pytest.param(*row, id=name) for name, *row in LEAVINGS]
)


@every_leaving
@pytest.mark.parametrize("is_reset", [False, True], ids=["closes", "resets"])
def test_client_that_goes_away_leaves_nothing_behind(
    server: RunningServer, sent: bytes, replies: tuple[str, ...], is_reset: bool
) -> None:
    with connect(server.port) as client:
        client.sendall(sent)
        if is_reset:
            at_once = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)

    check_still_serves(server)


def test_client_that_sends_more_after_its_last_request_gets_its_reply(
    server: RunningServer, sts: StsStandIn
) -> None:
    with connect(server.port) as client:
        with sts.held():
            client.sendall(get("Connection: close"))
            sts.wait_for_requests(1)
            client.sendall(get())  # which nobody will read

        check_exchange(read_to_end(client), (TOKEN,))


@every_leaving
def test_client_that_has_sent_all_it_will_gets_its_reply(
    server: RunningServer, sts: StsStandIn, sent: bytes, replies: tuple[str, ...]
) -> None:
    with connect(server.port) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = read_to_end(client)

    check_exchange(received, replies)
    assert len(sts.requests) == replies.count(TOKEN)
    check_still_serves(server)


def test_client_that_sends_everything_before_it_reads_gets_its_refusal(
    server: RunningServer, sts: StsStandIn
) -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n"
    with connect(server.port) as client:
        client.sendall(head)
        time.sleep(0.05)  # the refusal comes before the body is sent
        client.sendall(bytes(10_000_000))
        client.shutdown(socket.SHUT_WR)
        received = read_to_end(client)

    assert [reply.json["ErrorCode"] for reply in parse_replies(received)] == [
        "BodyTooLarge"
    ]
    assert sts.requests == []
