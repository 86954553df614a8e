"""One thread serves all connections, until a request has to wait for something."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from helpers.client import connect, exchange, parse_replies, read_to_end
from helpers.hostile import BAD, TOKEN, get, post
from helpers.login.jwks_server import answering, jwks_server
from helpers.login.service import AUDIENCE, ISSUER, jwks, service
from helpers.machine import PATIENCE_SECONDS, wait_until
from helpers.replies import check_exchange
from helpers.server import (
    MakeServer,
    RunningServer,
    check_still_serves,
    connect_narrowly,
)
from helpers.uploads import callback, report, ticket_of
from helpers.uploads import post as post_report

from localcloud.sts import StsStandIn
from tokenserver import app
from tokenserver.app import TokenServer
from tokenserver.background import calling_before_waiting
from tokenserver.config.load import Config
from tokenserver.httpd import lead as httpd_lead
from tokenserver.httpd import streams as httpd_streams
from tokenserver.httpd.connection import StrictHandler
from tokenserver.httpd.lead import Lead
from tokenserver.httpd.reply import Reply
from tokenserver.httpd.request import Request
from tokenserver.httpd.workers import Workers
from tokenserver.login import jwks as login_jwks
from tokenserver.sts import tokens as sts_tokens
from tokenserver.uploads import records as upload_records

HEALTHZ = get(target="/healthz")
LAST_HEALTHZ = get("Connection: close", target="/healthz")


def is_healthy(client: socket.socket) -> bool:
    """Return whether the server answers a request on the connection *client*."""
    client.sendall(HEALTHZ)
    return client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.fixture
def served_by(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that served connections, one entry for each time.

    None loses the lead, however long a busy machine keeps it waiting.
    """
    monkeypatch.setattr(Lead, "look_after", lambda _: None)
    threads: list[threading.Thread] = []
    proceed = StrictHandler.proceed

    def noted(self: StrictHandler) -> bool:
        threads.append(threading.current_thread())
        return proceed(self)

    monkeypatch.setattr(StrictHandler, "proceed", noted)
    return threads


def test_requests_that_need_not_wait_are_served_by_one_thread(
    make_server: MakeServer, served_by: list[threading.Thread]
) -> None:
    server = make_server(TokenReuseTime=600)
    assert server.request().status == 200  # its token is there now
    served_by.clear()

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.port)) for _ in range(20)]
        for _ in range(3):
            assert all(is_healthy(client) for client in clients)
            check_exchange(exchange(server.port, get("Connection: close")), (TOKEN,))

    assert len(served_by) >= 63
    assert len(set(served_by)) == 1


# --- What waits -------------------------------------------------------------------


@contextlib.contextmanager
def setting(event: threading.Event) -> Iterator[None]:
    """Set *event* when the with block ends."""
    try:
        yield
    finally:
        event.set()


@contextlib.contextmanager
def under_way(
    server: RunningServer, hold: AbstractContextManager[object], *targets: str
) -> Iterator[None]:
    """Have clients request *targets* within *hold*, and be answered after it."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.port)) for _ in targets]
        with hold:
            for client, target in zip(clients, targets, strict=True):
                client.sendall(get("Connection: close", target=target))
            number = len(targets)
            wait_until(lambda: server.server.connections() == (number, number))
            yield
        for client in clients:
            (reply,) = parse_replies(read_to_end(client))
            assert reply.status == 200


@contextlib.contextmanager
def waits_for_sts(
    make_server: MakeServer, sts: StsStandIn, *targets: str, reuse: int = 600
) -> Iterator[RunningServer]:
    server = make_server(TokenReuseTime=reuse)
    with under_way(server, sts.held(), *targets):
        sts.wait_for_requests(1)
        yield server


@contextlib.contextmanager
def waits_a_moment_for_a_new_token(
    make_server: MakeServer, sts: StsStandIn
) -> Iterator[RunningServer]:
    server = make_server(TokenReuseTime=300)
    assert server.request(headers={"Connection": "close"}).status == 200
    tokens = server.server.tokens
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sts_tokens, "STALE_SECONDS", PATIENCE_SECONDS)
        patch.setattr(tokens, "clock", lambda clock=tokens.clock: clock() + 301)
        with under_way(server, sts.held(), "/"):
            sts.wait_for_requests(2)
            yield server


@contextlib.contextmanager
def waits_for_login_keys(make_server: MakeServer) -> Iterator[RunningServer]:
    is_asked, may_answer = threading.Event(), threading.Event()
    ours = service("RS256")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        is_asked.set()
        assert may_answer.wait(PATIENCE_SECONDS)
        answering(jwks(ours.jwk()))(handler)

    with jwks_server(b"") as keys, pytest.MonkeyPatch.context() as patch:
        patch.setattr(login_jwks, "FETCH_SECONDS", PATIENCE_SECONDS)
        keys.answer = answer
        server = make_server(
            Authentication={
                "Issuer": ISSUER,
                "Audience": AUDIENCE,
                "JwksUrl": keys.url,
            }
        )
        target = f"/?access_token={ours.sign()}"
        with under_way(server, setting(may_answer), target, target):
            assert is_asked.wait(PATIENCE_SECONDS)
            yield server


@contextlib.contextmanager
def waits_for_the_disk(
    make_server: MakeServer, tmp_path: Path
) -> Iterator[RunningServer]:
    is_reached, may_go_on = threading.Event(), threading.Event()
    append = upload_records.append

    def slow(path: Path, content: bytes, most: int) -> tuple[int, str]:
        is_reached.set()
        assert may_go_on.wait(PATIENCE_SECONDS)
        return append(path, content, most)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor() as pool:
        patch.setattr(upload_records, "WRITE_SECONDS", PATIENCE_SECONDS)
        patch.setattr(upload_records, "append", slow)
        server = make_server(Region="cn-hangzhou", Callback=callback(tmp_path))
        sealed = ticket_of(server.request("/upload-config").json)
        reply = pool.submit(post_report, server.port, report(sealed))
        assert is_reached.wait(PATIENCE_SECONDS)
        yield server
        may_go_on.set()
        assert reply.result().status == 200


@contextlib.contextmanager
def waits_for_the_rest_of(
    make_server: MakeServer, start: bytes, rest: bytes
) -> Iterator[RunningServer]:
    server = make_server()
    with connect(server.port) as client:
        client.sendall(start)
        wait_until(lambda: server.server.connections() == (1, 1))
        yield server
        client.sendall(rest)
        check_exchange(read_to_end(client), (TOKEN,))


@contextlib.contextmanager
def waits_for_a_client_to_read(make_server: MakeServer) -> Iterator[RunningServer]:
    server = make_server()
    number = 1000
    with connect_narrowly(server) as client:
        sent = HEALTHZ * number + LAST_HEALTHZ
        sender = threading.Thread(target=client.sendall, args=[sent])
        sender.start()
        wait_until(lambda: any(one.is_sending for one in server.server._handlers))
        yield server
        assert len(parse_replies(read_to_end(client))) == number + 1
        sender.join()


@contextlib.contextmanager
def waits_for_a_refused_client(make_server: MakeServer) -> Iterator[RunningServer]:
    server = make_server()
    with connect(server.port) as client:
        client.sendall(b"\0")
        check_exchange(read_to_end(client), (BAD,))
        yield server


Wait = Callable[..., AbstractContextManager[RunningServer]]


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(lambda make, sts, _: waits_for_sts(make, sts, "/"), id="STS"),
        pytest.param(
            lambda make, sts, _: waits_for_sts(make, sts, "/", "/a"), id="joined"
        ),
        pytest.param(
            lambda make, sts, _: waits_for_sts(make, sts, "/", reuse=0), id="no reuse"
        ),
        pytest.param(
            lambda make, sts, _: waits_for_sts(make, sts, "/readyz"), id="readyz"
        ),
        pytest.param(
            lambda make, sts, _: waits_a_moment_for_a_new_token(make, sts), id="old"
        ),
        pytest.param(lambda make, *_: waits_for_login_keys(make), id="login keys"),
        pytest.param(lambda make, _, path: waits_for_the_disk(make, path), id="disk"),
        pytest.param(
            lambda make, *_: waits_for_the_rest_of(
                make, b"G", get("Connection: close")[1:]
            ),
            id="head",
        ),
        pytest.param(
            lambda make, *_: waits_for_the_rest_of(make, post()[:-2], post()[-2:]),
            id="body",
        ),
        pytest.param(lambda make, *_: waits_for_a_client_to_read(make), id="reader"),
        pytest.param(lambda make, *_: waits_for_a_refused_client(make), id="refused"),
    ],
)
@pytest.mark.usefixtures("_clean_log")
def test_request_that_waits_keeps_no_other_waiting(
    make_server: MakeServer,
    sts: StsStandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait: Wait,
) -> None:
    monkeypatch.setattr(Lead, "look_after", lambda _: None)  # it would come to help
    monkeypatch.setattr(app, "READY_SECONDS", PATIENCE_SECONDS)

    with wait(make_server, sts, tmp_path) as server, connect(server.port) as client:
        check_exchange(exchange(server.port, LAST_HEALTHZ), ("200 healthy",))
        for _ in range(3):
            assert is_healthy(client)
        assert server.server._open > 1  # it still waits


def test_refused_client_that_never_stops_sending_is_not_listened_to_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Flood:
        """A connection on which there is always more to receive."""

        def setblocking(self, _: bool) -> None: ...

        def recv(self, most: int) -> bytes:
            return bytes(most)

    monkeypatch.setattr(httpd_streams, "LINGER_SECONDS", 0.01)
    steps: list[str] = []
    stream = httpd_streams.Stream(Flood(), lambda: None)  # type: ignore[arg-type]

    with (
        calling_before_waiting(lambda: not steps.append("down")),  # type: ignore[func-returns-value]
        pytest.raises(TimeoutError),
    ):
        stream.linger()

    assert steps  # so others lead meanwhile


def test_connection_whose_request_waited_is_led_again(
    make_server: MakeServer, sts: StsStandIn, served_by: list[threading.Thread]
) -> None:
    server = make_server(TokenReuseTime=600)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.port)) for _ in range(8)]
        with sts.held():
            for client in clients:
                client.sendall(get())
            wait_until(lambda: server.server.connections() == (8, 8))
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert len(set(served_by)) == 8
        served_by.clear()

        for _ in range(3):
            assert all(is_healthy(client) for client in clients)

    assert len(set(served_by)) == 1


# --- Faults -----------------------------------------------------------------------


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Requests for /stuck wait for the event, without a word to the others."""
    is_over = threading.Event()
    answer = TokenServer.answer

    def slow(self: TokenServer, request: Request, snapshot: Config) -> Reply:
        if request.path == "/stuck":
            assert is_over.wait(PATIENCE_SECONDS)
        return answer(self, request, snapshot)

    monkeypatch.setattr(TokenServer, "answer", slow)
    yield is_over
    is_over.set()


def test_thread_that_waits_without_a_word_loses_the_lead(
    server: RunningServer, stuck: threading.Event
) -> None:
    with connect(server.port) as client:
        assert is_healthy(client)
        client.sendall(get(target="/stuck"))
        wait_until(lambda: server.server.connections() == (1, 1))

        check_exchange(exchange(server.port, LAST_HEALTHZ), ("200 healthy",))
        stuck.set()
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert is_healthy(client)


def test_thread_that_waits_without_a_word_does_not_keep_the_server_from_stopping(
    server: RunningServer, stuck: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lead, "look_after", lambda _: None)
    with connect(server.port) as client:
        client.sendall(get(target="/stuck"))
        wait_until(lambda: server.server.connections() == (1, 1))

        server.server.shutdown()

        stuck.set()
        server.close()
        check_exchange(read_to_end(client), (TOKEN,))


def test_request_that_arrives_while_the_server_stops_is_answered(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.server, "service_actions", lambda: None)
    with connect(server.port) as client:
        assert is_healthy(client)
        server.server.is_stopping = True  # and has not looked yet

        client.sendall(HEALTHZ)

        check_exchange(read_to_end(client), ("200 healthy",))


def test_request_that_had_no_turn_yet_when_the_server_stops_is_answered(
    server: RunningServer, stuck: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lead, "look_after", lambda _: None)
    monkeypatch.setattr(httpd_lead, "STUCK_SECONDS", PATIENCE_SECONDS)
    with connect(server.port) as client, connect(server.port) as other:
        assert is_healthy(other)
        client.sendall(get(target="/stuck"))
        wait_until(lambda: server.server.connections() == (2, 1))
        other.sendall(HEALTHZ)
        ending = threading.Thread(target=server.close)
        ending.start()
        wait_until(lambda: server.server._lead._is_ending)

        stuck.set()

        check_exchange(read_to_end(client), (TOKEN,))
        assert b"200 OK" in read_to_end(other)
        ending.join()


def test_without_a_thread_slow_clients_are_let_go_and_the_others_served(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_still_serves(server)

    def refuse(_self: Workers, _work: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Workers, "do", refuse)
        for _ in range(3):
            assert exchange(server.port, b"G") == b""
            check_exchange(exchange(server.port, LAST_HEALTHZ), ("200 healthy",))
    check_still_serves(server)

    warnings = {one.getMessage() for one in caplog.records if one.levelname != "INFO"}
    assert warnings == {"cannot serve all connections: can't start new thread"}


def test_connection_that_cannot_be_waited_for_is_ended_and_harms_no_other(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(Lead, "look_after", lambda _: None)
    with connect(server.port) as client:
        for _ in range(2):  # at the second request it is waited for
            assert is_healthy(client)
        with monkeypatch.context() as patch:
            patch.setattr(server.server._lead._selector, "register", refuse)
            with contextlib.suppress(ConnectionError):
                exchange(server.port, HEALTHZ)  # to the end
        assert is_healthy(client)


def test_connection_whose_handler_fails_harms_no_other(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    served_by: list[threading.Thread],
) -> None:
    def fail(_: StrictHandler) -> None:
        raise ValueError("a defect")

    with connect(server.port) as client:
        assert is_healthy(client)
        with monkeypatch.context() as patch:
            patch.setattr(StrictHandler, "handle_one_request", fail)
            for _ in range(3):
                with contextlib.suppress(ConnectionResetError):
                    assert exchange(server.port, get()) == b""
        assert is_healthy(client)

    assert len(set(served_by)) == 1
    failures = [one for one in caplog.records if one.exc_info]
    assert [one.getMessage() for one in failures] == [
        "failed on a connection from 127.0.0.1"
    ] * 3
