"""HTTPS: the same replies, renewed certificates, and clients that get TLS wrong."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.certificates import Pair, issue
from helpers.client import (
    connect,
    exchange,
    exchange_anyhow,
    parse_replies,
    read_to_end,
)
from helpers.machine import PATIENCE_SECONDS, wait_until
from helpers.server import MakeServer, RunningServer
from helpers.tls import (
    GET,
    LAST_GET,
    Files,
    client_context,
    client_hello,
    connect_tls,
    exchange_tls,
    key_updates,
    lines,
    read_one,
    served,
)

from localcloud.sts import Reply as StsReply
from localcloud.sts import StsStandIn
from tokenserver.httpd import connection as httpd_connection
from tokenserver.httpd import server as httpd_server
from tokenserver.httpd import streams as httpd_streams

pytestmark = pytest.mark.slow

LIMIT_SECONDS = 1.0  # of HEAD_SECONDS and its like, where a test shortens them

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
each_version = pytest.mark.parametrize(
    "version", [TLS_1_2, TLS_1_3], ids=["TLS 1.2", "TLS 1.3"]
)


@pytest.fixture
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "IDLE_SECONDS", "LINGER_SECONDS"):
        module = httpd_streams if hasattr(httpd_streams, name) else httpd_connection
        monkeypatch.setattr(module, name, LIMIT_SECONDS)


# --- The same replies -----------------------------------------------------------

POST = b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 4\r\n\r\na=b&"
CONVERSATIONS = [
    pytest.param([LAST_GET], id="GET"),
    pytest.param([GET, GET, GET, LAST_GET], id="several on one connection"),
    pytest.param([GET + GET, GET + LAST_GET], id="pipelined"),
    pytest.param([GET.replace(b"GET", b"HEAD"), LAST_GET], id="HEAD"),
    pytest.param([POST], id="POST with a body"),
    pytest.param([POST[:-2], b"b&"], id="body in two records"),
    pytest.param([GET[:9], GET[9:-1], GET[-1:], LAST_GET], id="head in pieces"),
    pytest.param([LAST_GET.replace(b"GET", b"OPTIONS")], id="OPTIONS"),
    pytest.param([LAST_GET.replace(b"/ ", b"/healthz ")], id="health"),
    pytest.param([LAST_GET.replace(b"/ ", b"/credentials ")], id="credentials"),
    pytest.param([LAST_GET.replace(b"/ ", b"/?callback=c ")], id="callback"),
    pytest.param([GET.replace(b"/ ", b"/favicon.ico ")], id="error"),
    pytest.param([b"nonsense\r\n\r\n"], id="nonsense"),
    pytest.param([b"GET /" + b"a" * 40_000], id="head of several records"),
]


@each_version
@pytest.mark.parametrize("requests", CONVERSATIONS)
def test_replies_over_https_are_those_over_http(
    make_server: MakeServer,
    server: RunningServer,
    sts: StsStandIn,
    authority: Pair,
    version: ssl.TLSVersion,
    requests: list[bytes],
) -> None:
    token = dict.fromkeys(("AccessKeyId", "AccessKeySecret", "SecurityToken"), "same")
    token["Expiration"] = "2099-12-12T07:49:09Z"
    sts.always(StsReply(200, json.dumps({"Credentials": token}).encode()))
    plain = make_server(TokenReuseTime=600)
    varying = re.compile(rb"Date: [^\r]+|(?<=LastUpdated\":)\"[^\"]+\"")

    expected = varying.sub(b"", exchange(plain.port, *requests))
    received = exchange_tls(server.port, client_context(authority, version), *requests)

    assert expected.startswith(b"HTTP/1.1 ")
    assert varying.sub(b"", received) == expected


@each_version
def test_new_versions_of_tls_are_spoken(
    server: RunningServer, authority: Pair, version: ssl.TLSVersion
) -> None:
    with connect_tls(server.port, client_context(authority, version)) as client:
        assert client.version() == version.name.replace("_", ".")


@pytest.mark.parametrize(
    "version",
    [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1],
    ids=["TLS 1.0", "TLS 1.1"],
)
def test_old_versions_of_tls_are_refused(
    server: RunningServer,
    authority: Pair,
    version: ssl.TLSVersion,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = client_context(authority, version)
    context.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises(ssl.SSLError) as refusal:
        connect_tls(server.port, context)

    if refusal.value.reason == "NO_PROTOCOLS_AVAILABLE":
        pytest.skip("the OpenSSL here does not speak it")
    assert refusal.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"  # of the server
    assert lines(server, caplog) == ["127.0.0.1 TLS: unsupported protocol"]


def test_http_2_is_not_offered(server: RunningServer, context: ssl.SSLContext) -> None:
    context.set_alpn_protocols(["h2", "http/1.1"])

    with connect_tls(server.port, context) as client:
        assert client.selected_alpn_protocol() == "http/1.1"


def test_chain_is_sent_whole(
    server: RunningServer,
    files: Files,
    authority: Pair,
    context: ssl.SSLContext,
) -> None:
    between = issue("between", authority, is_authority=True)
    pair = issue("leaf", between)
    files.write(pair)
    files.certificate.write_bytes(pair.pem + between.pem)
    server.look()

    assert served(server.port, context) == pair.der


# --- Clients that get it wrong --------------------------------------------------


def test_plain_http_to_the_tls_port_is_one_line_in_the_log(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    for method in (b"GET", b"POST", b"HEAD"):
        received = exchange_anyhow(server.port, GET.replace(b"GET", method))
        assert b"HTTP/1.1" not in received

    expected = "127.0.0.1 TLS: plain HTTP, but this port speaks TLS"
    assert lines(server, caplog) == [expected] * 3


def test_tls_to_the_plain_port_is_one_line_in_the_log_and_a_400(
    make_server: MakeServer,
    context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = make_server()

    received = exchange(plain.port, client_hello(context))

    (reply,) = parse_replies(received)
    assert (reply.status, reply.json["ErrorCode"]) == (400, "MalformedRequest")
    (line,) = lines(plain, caplog)
    assert line.startswith("127.0.0.1 - - 400 MalformedRequest - ")
    assert line.endswith(" (TLS, but this port speaks plain HTTP)")


@each_version
def test_client_that_refuses_the_certificate_is_one_line_in_the_log(
    server: RunningServer, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connect_tls(server.port, client_context(None, version))

    assert lines(server, caplog) == ["127.0.0.1 TLS: tlsv1 alert unknown ca"]


def reset(client: socket.socket) -> None:
    """Close the connection as one that breaks does."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# Of one that went too early, the ssl module leaves the socket to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("end", [socket.socket.close, reset])
@pytest.mark.parametrize("sent", [0, 1, 5, 100])
def test_client_that_goes_away_is_no_line_in_the_log(
    server: RunningServer,
    context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    sent: int,
    end: Callable[[socket.socket], None],
) -> None:
    with connect(server.port) as client:
        client.sendall(client_hello(context)[:sent])
        end(client)

    assert served(server.port, context)
    assert lines(server, caplog) == []


@pytest.mark.parametrize("end", [socket.socket.close, reset])
def test_client_that_goes_away_without_a_request_is_no_line_in_the_log(
    server: RunningServer,
    context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    end: Callable[[socket.socket], None],
) -> None:
    with connect_tls(server.port, context) as client:
        end(client)  # without close_notify

    assert lines(server, caplog) == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\0" * 100, id="zeros"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="SSH"),
        pytest.param(b"\x16\x03\x01\xff\xff" + b"a" * 100, id="record too long"),
        pytest.param(b"\x16\x03\x01\0\x05hello", id="no ClientHello"),
        pytest.param(b"\x80\x2e\x01\0\x02" + b"a" * 44, id="SSL 2"),
        pytest.param(b"CONNECT app:443 HTTP/1.1\r\n\r\n", id="for a proxy"),
        pytest.param(b"\x15\x03\x03\0\x02\x02\x28", id="alert"),
    ],
)
def test_garbage_is_one_line_in_the_log(
    server: RunningServer,
    context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    sent: bytes,
) -> None:
    exchange_anyhow(server.port, sent)

    (line,) = lines(server, caplog)
    assert re.fullmatch(r"127\.0\.0\.1 TLS: [a-z0-9 ]+", line)
    assert served(server.port, context)


def test_garbage_after_the_handshake_is_one_line_in_the_log(
    server: RunningServer, context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    with connect_tls(server.port, context) as client:
        client.sendall(GET)
        assert read_one(client).status == 200
        socket.socket.sendall(client, b"\x17\x03\x03\0\x20" + b"a" * 32)
        with contextlib.suppress(OSError):
            while client.recv(65536):
                pass

    (request_line, line) = lines(server, caplog)
    assert " GET / 200 STS." in request_line
    assert "TLS: " in line


@pytest.mark.process
def test_client_cannot_have_the_keys_agreed_on_again(
    server: RunningServer, files: Files
) -> None:
    """Each time costs the server more than the client, which may ask without end."""
    program = shutil.which("openssl")
    if not program:
        pytest.skip("openssl is not installed")

    result = subprocess.run(
        [program, "s_client", "-tls1_2", "-connect", f"127.0.0.1:{server.port}"],
        input=b"R\n",  # renegotiate
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert b"RENEGOTIATING" in result.stdout + result.stderr
    assert b"no renegotiation" in result.stderr


# --- Clients that send more than they need ---------------------------------------


def test_client_hello_is_read_up_to_16_kib_and_no_further(
    server: RunningServer, context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    length = 128 * 1024
    message = b"\x01" + length.to_bytes(3, "big") + bytes(length)
    with connect(server.port) as client, contextlib.suppress(ConnectionError):
        for start in range(0, length // 2, 4096):  # the rest never comes
            client.sendall(b"\x16\x03\x01\x10\0" + message[start : start + 4096])
        assert client.recv(1) == b""

    (line,) = lines(server, caplog)
    assert line.endswith(" TLS: 17408 bytes without a request")
    assert served(server.port, context)


def test_client_cannot_have_keys_updated_without_end(
    server: RunningServer,
    authority: Pair,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """Each update costs the server more than the client, and asks for nothing."""
    context = client_context(authority, ssl.TLSVersion.TLSv1_3)
    context.keylog_filename = str(tmp_path / "keys")
    with connect_tls(server.port, context) as client:
        assert client.cipher() == ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256)
        log = Path(context.keylog_filename).read_text()
        (secret,) = re.findall(r"CLIENT_TRAFFIC_SECRET_0 \w+ (\w+)", log)
        with contextlib.suppress(ConnectionError):
            socket.socket.sendall(client, key_updates(bytes.fromhex(secret), 2000))
            socket.socket.recv(client, 65536)  # the server has ended it

    (line,) = lines(server, caplog)
    assert line.endswith(" TLS: 17408 bytes without a request")
    assert served(server.port, context)


@pytest.mark.parametrize(("takes_tickets", "is_reused"), [(True, True), (False, False)])
def test_sessions_are_for_the_client_to_keep(
    server: RunningServer, authority: Pair, takes_tickets: bool, is_reused: bool
) -> None:
    context = client_context(authority, ssl.TLSVersion.TLSv1_2)
    if not takes_tickets:
        context.options |= ssl.OP_NO_TICKET
    with connect_tls(server.port, context) as first:
        first.sendall(LAST_GET)
        session = first.session
        with contextlib.suppress(ssl.SSLEOFError):
            read_to_end(first)
    wait_until(lambda: not server.server.connections()[0])

    with context.wrap_socket(
        connect(server.port), server_hostname="127.0.0.1", session=session
    ) as second:
        assert second.session_reused == is_reused


def test_phone_that_comes_back_with_its_ticket_shakes_hands_in_brief(
    server: RunningServer, authority: Pair
) -> None:
    context = client_context(authority, TLS_1_3)
    with connect_tls(server.port, context) as first:
        first.sendall(LAST_GET)
        assert parse_replies(read_to_end(first))[0].status == 200
        session = first.session  # tickets come with the reply

    with context.wrap_socket(
        connect(server.port), server_hostname="127.0.0.1", session=session
    ) as second:
        second.sendall(LAST_GET)
        assert parse_replies(read_to_end(second))[0].status == 200
        assert second.session_reused


# --- Clients that stall ---------------------------------------------------------

Stall = Callable[[RunningServer, ssl.SSLContext], socket.socket]


def say_nothing(server: RunningServer, _: ssl.SSLContext) -> socket.socket:
    return connect(server.port)


def say_half(server: RunningServer, context: ssl.SSLContext) -> socket.socket:
    client = connect(server.port)
    client.sendall(client_hello(context)[:100])
    return client


def shake_hands(server: RunningServer, context: ssl.SSLContext) -> socket.socket:
    return connect_tls(server.port, context)


STALLS = [say_nothing, say_half, shake_hands]


def wait_for_end(client: socket.socket, send: bytes = b"") -> bytes:
    """Return when the other side ends the connection; what of *send* is not sent yet.

    Meanwhile *send* is sent, a byte each 50 ms or more.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    client.settimeout(0.05)
    with client, contextlib.suppress(ConnectionError):
        while True:
            try:
                if not client.recv(65536):
                    break
            except TimeoutError:
                assert time.monotonic() < deadline, "the connection is still open"
                client.sendall(send[:1])
                send = send[1:]
    return send


@pytest.mark.parametrize("stall", STALLS)
def test_client_that_stalls_holds_nobody_up(
    server: RunningServer,
    context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    stall: Stall,
) -> None:
    monkeypatch.setattr(
        httpd_connection, "HEAD_SECONDS", 3600.0
    )  # nobody waits so long here
    with stall(server, context):
        assert served(server.port, context)


@pytest.mark.usefixtures("_short_limits")
@pytest.mark.parametrize("stall", STALLS)
def test_client_that_stalls_is_let_go_at_the_deadline(
    server: RunningServer,
    context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    stall: Stall,
) -> None:
    with stall(server, context) as client:
        wait_for_end(client)

    assert lines(server, caplog) == []


@pytest.mark.usefixtures("_short_limits")
def test_client_that_drips_its_hello_is_let_go_at_the_deadline(
    server: RunningServer, context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    hello = client_hello(context)
    with connect(server.port) as client:
        assert wait_for_end(client, hello), "it took its time for the whole hello"

    assert len(hello) * 0.05 > 10 * LIMIT_SECONDS
    assert lines(server, caplog) == []


@pytest.mark.usefixtures("_short_limits")
def test_client_that_drips_its_request_is_told_at_the_deadline(
    server: RunningServer, context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    with connect_tls(server.port, context) as client:
        wait_for_end(client, GET.replace(b"\r\n\r\n", b"\r\nA: b" * 100))

    (line,) = lines(server, caplog)
    assert " 408 RequestTimeout " in line


def test_50_clients_that_stall_at_once_hold_nobody_up(
    server: RunningServer, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        httpd_connection, "HEAD_SECONDS", 3600.0
    )  # nobody waits so long here
    with contextlib.ExitStack() as stack:
        for number in range(50):
            stack.enter_context(STALLS[number % 3](server, context))
        wait_until(lambda: server.server.connections()[0] == 50)

        assert served(server.port, context)

    wait_until(lambda: not server.server.connections()[0])


def test_one_deadline_is_for_handshake_and_request(
    server: RunningServer, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any that began after the handshake would be beyond what this client waits."""
    monkeypatch.setattr(httpd_connection, "HEAD_SECONDS", 3.0)
    with connect_tls(server.port, context) as client:
        monkeypatch.setattr(httpd_connection, "HEAD_SECONDS", 3600.0)
        wait_for_end(client)


def test_handshake_is_no_request_in_flight(server: RunningServer) -> None:
    with connect(server.port):
        wait_until(lambda: server.server.connections() == (1, 0))


def test_burst_of_handshakes_is_served(
    server: RunningServer, context: ssl.SSLContext
) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.port)) for _ in range(200)]

        def ask(client: socket.socket) -> bytes:
            with context.wrap_socket(client, server_hostname="127.0.0.1") as secure:
                secure.sendall(LAST_GET)
                return read_to_end(secure)

        with ThreadPoolExecutor(16) as pool:
            replies = list(pool.map(ask, clients))

    assert all(reply.startswith(b"HTTP/1.1 200 ") for reply in replies)


# --- The end of a connection ----------------------------------------------------


@each_version
@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(LAST_GET, id="last request"),
        pytest.param(b"nonsense\r\n\r\n", id="refusal"),
        pytest.param(GET, id="idle for too long"),
    ],
)
def test_end_is_told_from_a_cut(
    server: RunningServer,
    authority: Pair,
    version: ssl.TLSVersion,
    monkeypatch: pytest.MonkeyPatch,
    sent: bytes,
) -> None:
    monkeypatch.setattr(httpd_connection, "IDLE_SECONDS", LIMIT_SECONDS)

    received = exchange_tls(server.port, client_context(authority, version), sent)

    assert len(parse_replies(received)) == 1  # and no SSLEOFError


@each_version
def test_client_that_ends_its_sending_gets_its_reply(
    server: RunningServer, authority: Pair, version: ssl.TLSVersion
) -> None:
    with connect_tls(server.port, client_context(authority, version)) as client:
        client.sendall(GET)
        socket.socket.shutdown(client, socket.SHUT_WR)  # without close_notify
        received = read_to_end(client)

    (reply,) = parse_replies(received)
    assert reply.status == 200


def test_connection_over_the_limit_is_just_closed(
    server: RunningServer,
    sts: StsStandIn,
    context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(httpd_server, "MAX_CONNECTIONS", 2)
    with (
        connect_tls(server.port, context) as one,
        connect_tls(server.port, context) as other,
        sts.held(),
    ):
        for client in (one, other):
            client.sendall(LAST_GET)
        wait_until(lambda: server.server.connections() == (2, 2))

        assert exchange(server.port) == b""
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect_tls(server.port, context)

    wait_until(lambda: not server.server.connections()[0])
    assert served(server.port, context)
    assert server.server.replies.counts()["TooManyConnections"] == 2


# --- Draining -------------------------------------------------------------------


@contextlib.contextmanager
def draining(server: RunningServer) -> Iterator[threading.Thread]:
    """Have the server stop while a with block runs, and wait until it has.

    It would wait longer for requests in flight.
    """
    server.server.shutdown()
    thread = threading.Thread(target=server.server.drain, args=[3 * PATIENCE_SECONDS])
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive(), "the server has not stopped"


@each_version
def test_request_in_flight_is_answered_when_the_server_stops(
    server: RunningServer, sts: StsStandIn, authority: Pair, version: ssl.TLSVersion
) -> None:
    with connect_tls(server.port, client_context(authority, version)) as client:
        with sts.held():
            client.sendall(GET)
            sts.wait_for_requests(1)
            server.server.shutdown()
            thread = threading.Thread(
                target=server.server.drain, args=[PATIENCE_SECONDS]
            )
            thread.start()
            wait_until(lambda: server.server.is_stopping)
        received = read_to_end(client)
        thread.join()

    (reply,) = parse_replies(received)
    assert reply.json["StatusCode"] == 200


@each_version
@pytest.mark.parametrize("requests", [0, 1])
def test_idle_connection_ends_when_the_server_stops_and_is_told_so(
    server: RunningServer, authority: Pair, version: ssl.TLSVersion, requests: int
) -> None:
    with connect_tls(server.port, client_context(authority, version)) as client:
        for _ in range(requests):
            client.sendall(GET)
            assert read_one(client).status == 200
        wait_until(lambda: server.server.connections() == (1, 0))

        with draining(server):
            assert client.recv(65536) == b""  # and neither SSLEOFError nor an alert


@pytest.mark.parametrize("stall", [say_nothing, say_half])
def test_handshake_that_stalls_does_not_keep_the_server_from_stopping(
    server: RunningServer,
    context: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
    stall: Stall,
) -> None:
    with stall(server, context):
        wait_until(lambda: server.server.connections() == (1, 0))
        with draining(server):
            pass
    assert lines(server, caplog) == []


def test_no_handshake_is_begun_when_the_server_stops(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.server, "service_actions", lambda: None)
    monkeypatch.setattr(
        httpd_connection, "HEAD_SECONDS", 3600.0
    )  # nobody waits so long here
    server.server.is_stopping = True  # and has not looked yet

    with connect(server.port) as client:
        wait_for_end(client)
