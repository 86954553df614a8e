"""Too many clients at once: those who keep the server waiting make room."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest
from helpers.client import connect, exchange, parse_replies, read_to_end
from helpers.hostile import KIB, TOKEN, TOO_MANY, chunk, get, padded, post
from helpers.machine import wait_until
from helpers.replies import check_exchange
from helpers.server import RunningServer, check_still_serves, connect_narrowly

from localcloud.sts import StsStandIn
from tokenserver.httpd import server as httpd_server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("_clean_log")]

HEALTHZ = get(target="/healthz")


@pytest.fixture
def _eight_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpd_server, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(httpd_server, "KEEP_ALIVE_CONNECTIONS", 6)


@contextlib.contextmanager
def held(
    server: RunningServer, number: int, start: bytes = b""
) -> Iterator[list[socket.socket]]:
    """Hold so many connections open that say no more than *start*, one by one.

    Each has been read to its end, and answered if it is a request, before the next is
    opened.
    """
    is_idle = None if start == b"\0" else start in (b"", HEALTHZ)
    with contextlib.ExitStack() as stack:
        clients = []
        for opened in range(number):
            clients.append(stack.enter_context(connect(server.port)))
            clients[-1].sendall(start)
            if start == HEALTHZ:
                assert clients[-1].recv(1, socket.MSG_PEEK)
            wait_until(partial(waits_for, server, opened + 1, is_idle))
        yield clients


def waits_for(server: RunningServer, number: int, is_idle: bool | None = None) -> bool:
    """Return whether the server waits for so many clients, in or between requests."""
    with server.server._lock:
        handlers = list(server.server._handlers)
    return number == sum(
        handler.waits_since is not None and is_idle in (None, handler.is_idle)
        for handler in handlers
    )


@contextlib.contextmanager
def busy(
    server: RunningServer, sts: StsStandIn, number: int
) -> Iterator[list[socket.socket]]:
    """Have so many connections wait for STS; when it goes on, they go on."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.port)) for _ in range(number)]
        with sts.held():
            for early, client in enumerate(clients):
                client.sendall(
                    get("Connection: close", target=f"/?callback=early{early}")
                )
            sts.wait_for_requests(number)
            yield clients
        for early, client in enumerate(clients):
            check_exchange(read_to_end(client), (f"200 token for early{early}",))


@pytest.mark.usefixtures("_eight_connections")
def test_connection_over_the_limit_is_refused_and_harms_no_other(
    server: RunningServer, sts: StsStandIn
) -> None:
    with busy(server, sts, 8):
        for _ in range(3):
            with connect(server.port) as client:
                for piece in (get()[:9], get()[9:]):
                    time.sleep(0.05)  # the refusal comes before the request is sent
                    client.sendall(piece)
                received = read_to_end(client)
            check_exchange(received, (TOO_MANY,))
            assert parse_replies(received)[0].headers["retry-after"] == "1"

    assert len(sts.requests) == 8
    check_still_serves(server)


@pytest.mark.usefixtures("_eight_connections")
def test_client_over_the_limit_that_stays_is_let_go(
    server: RunningServer, sts: StsStandIn
) -> None:
    with busy(server, sts, 8), connect(server.port) as client:
        check_exchange(read_to_end(client), (TOO_MANY,))

        def is_let_go() -> bool:
            try:
                client.sendall(b"more")
            except ConnectionError:
                return True
            return False

        wait_until(is_let_go)


@pytest.mark.usefixtures("_eight_connections")
@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(b"", (), id="silent"),
        pytest.param(HEALTHZ, ("200 healthy",), id="kept alive"),
        pytest.param(get()[:9], (TOO_MANY,), id="half a head"),
        pytest.param(post(body=b""), (TOO_MANY,), id="no body"),
        pytest.param(chunk("4")[:-12], (TOO_MANY,), id="half a chunk"),
    ],
)
def test_the_client_that_is_waited_for_longest_makes_room(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    start: bytes,
    end: tuple[str, ...],
) -> None:
    monkeypatch.setattr(httpd_server, "KEEP_ALIVE_CONNECTIONS", 8)
    with held(server, 8, start) as clients:
        received = exchange(server.port, get("Connection: close"))

        check_exchange(received, (TOKEN,))
        left = read_to_end(clients[0])
        assert [f"{r.status}" for r in parse_replies(left)] == [e[:3] for e in end]
        wait_until(partial(waits_for, server, 7))


@pytest.mark.usefixtures("_eight_connections")
def test_clients_that_were_refused_and_stay_make_room(server: RunningServer) -> None:
    with held(server, 8, b"\0"):
        received = exchange(server.port, get("Connection: close"))

    check_exchange(received, (TOKEN,))


@pytest.mark.usefixtures("_eight_connections")
def test_clients_that_read_nothing_make_room(server: RunningServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(connect_narrowly(server))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.sendall(get(target="/healthz") * 20_000)
        wait_until(partial(waits_for, server, 8))

        received = exchange(server.port, get("Connection: close"))

    check_exchange(received, (TOKEN,))


def test_only_some_clients_may_hold_large_requests_that_are_not_whole(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpd_server, "MAX_LARGE", 3)
    with held(server, 3, padded(8 * KIB)[:-9]) as clients:
        small = exchange(server.port, padded(3 * KIB) + get("Connection: close"))
        with connect(server.port) as fourth:
            fourth.sendall(padded(8 * KIB)[:-4])
            check_exchange(read_to_end(clients[0]), (TOO_MANY,))
            fourth.sendall(b"\r\nConnection: close\r\n\r\n")
            check_exchange(read_to_end(fourth), (TOKEN,))

    check_exchange(small, (TOKEN, TOKEN))


@pytest.mark.usefixtures("_eight_connections")
@pytest.mark.parametrize(("others", "connection"), [(4, "keep-alive"), (6, "close")])
def test_connections_are_not_kept_alive_when_they_get_scarce(
    server: RunningServer, others: int, connection: str
) -> None:
    with held(server, others):
        reply = server.request()

    assert (reply.status, reply.headers["connection"]) == (200, connection)
