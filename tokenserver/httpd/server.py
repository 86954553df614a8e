"""The HTTP side of sts_server: http.server, made fit for a hostile network.

http.server calls itself unfit for production.  What it leaves open stands here, and
nothing of STS: a limit on connections, a backlog that survives a burst, TLS, request
heads that are read strictly and within limits of size and time, JSON for every error,
CORS, one send for each reply, one log line for each request, and an end that finishes
the requests in flight.

StrictServer accepts connections and serves each in a thread of its own; StrictHandler
reads requests and has what a reply needs.  A subclass adds do_GET.

Sources: RFC 9110 and RFC 9112 (HTTP), RFC 8446 (TLS), "CORS protocol" (Fetch standard).
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import ipaddress
import itertools
import json
import logging
import os
import re
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

logger = logging.getLogger("sts_server")

# --- Limits ---------------------------------------------------------------------

MAX_CONNECTIONS = 1024
KEEP_ALIVE_CONNECTIONS = MAX_CONNECTIONS * 3 // 4  # beyond, one request a connection
BACKLOG = 1024
RECEIVED_BYTES = 4 * 1024  # at once; what is larger is held by each connection
MAX_HEAD_BYTES = 16 * 1024
MAX_HEAD_LINES = 100
LARGE_BYTES = 4 * 1024  # of a request that is not whole; few are larger
MAX_LARGE = 128  # connections that may hold more at once
MAX_TLS_BYTES = 17 * 1024  # without a byte of a request; a ClientHello of 16 KiB fits
HEAD_SECONDS = 10.0  # for a whole request head, however slowly it drips
MAX_BODY_BYTES = 64 * 1024
MAX_FRAMING_BYTES = 16 * 1024  # of a chunked body: sizes, extensions, trailers
BODY_SECONDS = 10.0
IDLE_SECONDS = 65.0  # longer than load balancers keep idle connections (60 s)
SEND_SECONDS = 10.0
LINGER_SECONDS = 2.0  # for what a refused client sends before it reads why
REFUSED_KEPT = 128  # connections over the limit that are given time to read the 503
ROOM_SECONDS = 0.1  # for a connection that has to make room to end
MAX_PROXIES = 32  # in a row; X-Forwarded-For is read no further back

# --- Refusals -------------------------------------------------------------------

ALLOWED = "GET, HEAD, POST, OPTIONS"

# Why a request is refused before AssumeRole: status, ErrorCode and ErrorMessage.
REFUSALS = {
    code: (HTTPStatus(status), message)
    for status, code, message in (
        (400, "MalformedRequest", "The request is not HTTP/1.1."),
        (400, "InvalidCallback", "callback must be one name of at most 64 characters."),
        (400, "AmbiguousLogin", "Send one login token, in one place."),
        (401, "Unauthenticated", "Log in and send the login token along."),
        (403, "UserNotAllowed", "There are no tokens for this user."),
        (404, "NotFound", "There is nothing here."),
        (405, "MethodNotAllowed", f"Use one of {ALLOWED}."),
        (408, "RequestTimeout", "The request took too long to arrive."),
        (413, "BodyTooLarge", f"The body has more than {MAX_BODY_BYTES} bytes."),
        (414, "UriTooLong", "The URL is too long."),
        (417, "ExpectationFailed", "No expectation but 100-continue is met."),
        (
            431,
            "HeadersTooLarge",
            f"The head has more than {MAX_HEAD_BYTES} bytes or {MAX_HEAD_LINES} lines.",
        ),
        (501, "TransferEncodingNotSupported", "Send a Content-Length, or chunks."),
        (503, "TooManyConnections", "Try again in a second."),
        (503, "LoginUnavailable", "Logins cannot be checked now. Try again later."),
        (503, "NotReady", "There are no tokens yet, or no longer."),
        (505, "HttpVersionNotSupported", "The server speaks HTTP/1.1."),
    )
}


class RequestError(Exception):
    """A request refused before AssumeRole, for a reason of REFUSALS.

    *message* says more than the one there; *fields* are header lines that go with it.
    *detail* is for the log alone.
    """

    def __init__(
        self, code: str, message: str = "", fields: str = "", detail: str = ""
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status, usual_message = REFUSALS[code]
        self.message = message or usual_message
        self.fields = fields
        self.detail = detail


def malformed(message: str, detail: str = "") -> RequestError:
    """Return the error for a request that is not HTTP as we accept it."""
    return RequestError("MalformedRequest", message, detail=detail)


def too_many_connections() -> RequestError:
    """Return the error for a connection over the limit."""
    return RequestError("TooManyConnections", fields="Retry-After: 1\r\n")


# --- What goes over the wire, and into the log ----------------------------------

Document = dict[str, "str | int"]

JSON_TYPE = "application/json; charset=utf-8"
JAVASCRIPT_TYPE = "application/javascript; charset=utf-8"


def encode(document: Document) -> bytes:
    """Return *document* as compact JSON."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def error_document(status: int, code: str, message: str) -> Document:
    """Return what the reference servers send for an error."""
    return {"StatusCode": status, "ErrorCode": code, "ErrorMessage": message}


@lru_cache(maxsize=2)  # a second has many replies
def http_date(seconds: int) -> str:
    """Return unix *seconds* as HTTP has it."""
    return formatdate(seconds, usegmt=True)


def content_fields(content_type: str, body: bytes) -> str:
    """Return the header lines that describe *body*."""
    return f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"


def reply_head(status: HTTPStatus, fields: str, cors: str, is_last: bool) -> bytes:
    """Return the head of a reply: the headers each has, *fields* and *cors*."""
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Server: sts-server\r\n"
        f"Date: {http_date(int(time.time()))}\r\n"
        f"{fields}"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"{cors}"
        f"Connection: {'close' if is_last else 'keep-alive'}\r\n"
        "\r\n"
    ).encode("ascii")


def printable(text: str) -> str:
    """Return *text* with all but printable ASCII escaped, for the log."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")


LOGGED_PATH = 200  # characters of a path that the log has
ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
LOGIN_TOKEN_START = "eyJ"  # what the JSON of its header begins with, in base64url


def loggable(path: str) -> str:
    """Return the beginning of *path* for the log, without a login token.

    A client may have put its token into the path, as in /credentials&access_token=eyJ,
    in percent-encoding too, once or several times.
    """
    path = path[:LOGGED_PATH]
    start = path.find(LOGIN_TOKEN_START)
    if "%" in path:
        start = encoded_start(path)
    if start >= 0:
        path = f"{path[:start]}{LOGIN_TOKEN_START}..."
    return printable(path)[:LOGGED_PATH]


def encoded_start(path: str) -> int:
    """Return where a login token begins in *path*, however encoded, or -1.

    *path* is decoded until nothing is left to decode, in one pass: a decoded character
    may complete another encoding, %25 that of %2565, and remembers where its own began.
    """
    decoded: list[str] = []
    starts: list[int] = []
    for at, character in enumerate(path):
        decoded.append(character)
        starts.append(at)
        while match := ENCODED.fullmatch("".join(decoded[-3:])):
            decoded[-3:] = [chr(int(match[1], 16))]
            del starts[-2:]
    start = "".join(decoded).find(LOGIN_TOKEN_START)
    return starts[start] if start >= 0 else -1


class ReplyLine(NamedTuple):
    """What the log has of one request.  All of it is printable."""

    client: str
    method: str
    path: str  # without the query, which may hold a login token
    status: int
    outcome: str  # the issued AccessKeyId, an ErrorCode or -
    session: str  # RoleSessionName, or -
    milliseconds: float
    detail: str

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"{self.client} {self.method} {self.path} {self.status} {self.outcome} "
            f"{self.session} {self.milliseconds:.1f}ms{detail}"
        )


class Tally:
    """Counts by name.  Past *most* names, what is new counts as "other"."""

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._lock = threading.Lock()  # guards the counts
        self._counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Count one for *name*."""
        with self._lock:
            if name not in self._counts and len(self._counts) >= self._most:
                name = "other"
            self._counts[name] += 1

    def counts(self) -> dict[str, int]:
        """Return the counts so far."""
        with self._lock:
            return dict(self._counts)


class Histogram:
    """How many values were at most each of some bounds, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._lock = threading.Lock()  # guards the two below
        self._counts = [0] * (len(bounds) + 1)  # the last one is of what is beyond
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count *value*."""
        with self._lock:
            self._counts[bisect.bisect_left(self.bounds, value)] += 1
            self._total += value

    def snapshot(self) -> tuple[list[int], float]:
        """Return the counts up to each bound, and up to none, and the sum."""
        with self._lock:
            return list(itertools.accumulate(self._counts)), self._total


# --- Who may read a reply, and whose address it is ------------------------------

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class HttpSettings:
    """What an operator decides about HTTP."""

    allowed_origins: frozenset[str] | None = None  # of web pages; None is any
    trusted_proxies: tuple[Network, ...] = ()

    def allows(self, origin: str | None) -> bool:
        """Return whether a page of *origin* may read replies."""
        return self.allowed_origins is None or origin in self.allowed_origins


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address that *text* is, IPv4 when it is mapped into IPv6.

    Raises ValueError.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def cors_fields(settings: HttpSettings, origin: str | None) -> str:
    """Return the header lines that let a page of *origin* read the reply, or not."""
    if settings.allowed_origins is None:
        return "Access-Control-Allow-Origin: *\r\n"
    if settings.allows(origin):
        return f"Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n"
    return "Vary: Origin\r\n"


def forwarded_client(peer: str, forwarded_for: str, proxies: Sequence[Network]) -> str:
    """Return the address that X-Forwarded-For gives, as far as it can be believed.

    Each proxy adds the address that it was asked from, so the list is read from its
    end, and for as long as the address before was that of a trusted proxy.
    """
    client = peer
    for text in reversed(forwarded_for.rsplit(",", MAX_PROXIES)[-MAX_PROXIES:]):
        try:
            address = address_of(client)
            if not any(address in network for network in proxies):
                break
            client = str(address_of(text.strip(" \t")))
        except ValueError:
            break
    return client


# --- Bodies ---------------------------------------------------------------------


class Body:
    """A body of *length* bytes, which means nothing here and is dropped as it comes.

    Raises RequestError for one that is too large.
    """

    def __init__(self, length: int) -> None:
        if length > MAX_BODY_BYTES:
            raise RequestError("BodyTooLarge")
        self._left = length

    def drop(self, received: bytearray) -> bool:
        """Take what belongs to the body out of *received*; return whether it ended.

        Raises RequestError for one that cannot become right any more.
        """
        part = min(self._left, len(received))
        del received[:part]
        self._left -= part
        return not self._left


class ChunkedBody(Body):
    """A body in chunks (RFC 9112 section 7.1), each with its size in front.

    The size is in hex and nothing but hex, since others may take a sign or a blank for
    something else.  Extensions must have their form; they and the trailer section,
    whose lines have that of header lines, are dropped too.
    """

    def __init__(self) -> None:
        super().__init__(0)
        self._next = self._drop_size
        self._size = 0  # of all chunks so far
        self._framing = 0  # bytes of all other lines so far
        self._checked = 0  # bytes of the line at hand that were looked at

    def drop(self, received: bytearray) -> bool:
        """Take what belongs to the body out of *received*; return whether it ended.

        Raises RequestError for one that cannot become right any more.
        """
        while super().drop(received):
            line = self._line(received)
            if line is None:
                return False
            if not self._next(line):
                return True
        return False

    def _line(self, received: bytearray) -> str | None:
        """Take a line out of *received*, or nothing if it is not there whole."""
        end = received.find(b"\r\n", max(0, self._checked - 1))
        part = len(received) if end < 0 else end
        if NO_HEAD.search(received, max(0, self._checked - 1), part):
            raise bad_chunks()
        self._checked = part
        if self._framing + part > MAX_FRAMING_BYTES:
            raise malformed(
                f"The chunked body has more than {MAX_FRAMING_BYTES} bytes beside data."
            )
        if end < 0:
            return None
        line = received[:end].decode("latin-1")
        del received[: end + 2]
        self._framing += end + 2
        self._checked = 0
        return line

    def _drop_size(self, line: str) -> bool:
        match = CHUNK_LINE.fullmatch(line)
        if not match:
            raise bad_chunks()
        self._left = int(match[1], 16)
        self._size += self._left
        if self._size > MAX_BODY_BYTES:
            raise RequestError("BodyTooLarge")
        self._next = self._drop_end if self._left else self._drop_trailer
        return True

    def _drop_end(self, line: str) -> bool:
        if line:
            raise bad_chunks()
        self._next = self._drop_size
        return True

    def _drop_trailer(self, line: str) -> bool:
        if line and not FIELD_LINE.fullmatch(line):
            raise bad_chunks()
        return bool(line)


def bad_chunks() -> RequestError:
    """Return the error for a body that is not in chunks as RFC 9112 has them."""
    return malformed("The chunked body is malformed.")


# --- Bytes of a connection ------------------------------------------------------


class Stream:
    """The bytes of a connection.

    What arrives has a deadline, as the time limit of a socket starts anew with each
    byte.  All methods raise OSError, and TimeoutError when it is too late.
    """

    def __init__(self, connection: socket.socket, on_large: Callable[[], None]) -> None:
        self._connection = connection
        self._on_large = on_large  # called when more than LARGE_BYTES are unfinished
        self.unfinished = 0  # bytes that arrived for what is not whole yet

    def handshake(self, deadline: float) -> None:
        """Do what comes before the first byte: here, nothing."""

    def receive(self, deadline: float) -> bytes:
        """Return what has arrived, b"" when the client will send no more."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        arrived = self._connection.recv(RECEIVED_BYTES)
        before, self.unfinished = self.unfinished, self.unfinished + len(arrived)
        if before <= LARGE_BYTES < self.unfinished:
            self._on_large()
        return arrived

    def send(self, data: bytes) -> None:
        """Send *data* within SEND_SECONDS."""
        self._connection.settimeout(SEND_SECONDS)
        self._connection.sendall(data)

    def end(self) -> None:
        """Tell the client, without waiting, that this was all: here, nothing does."""

    def linger(self) -> None:
        """Drop what the client still sends, until it ends or LINGER_SECONDS are over.

        Closing a socket with unread data resets the connection, and the reset may
        overtake the reply.
        """
        deadline = time.monotonic() + LINGER_SECONDS
        self._connection.shutdown(socket.SHUT_WR)
        while Stream.receive(self, deadline):
            pass


class TlsStream(Stream):
    """The bytes that a connection has within TLS.

    TLS works on memory here, not on the socket, so that each byte passes through our
    hands.  OpenSSL by itself would hold a ClientHello of 128 KiB for anyone who sends
    it, and read key updates for as long as they come, whatever the deadline.

    All methods raise ssl.SSLError too.
    """

    def __init__(
        self,
        connection: socket.socket,
        on_large: Callable[[], None],
        context: ssl.SSLContext,
    ) -> None:
        super().__init__(connection, on_large)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def handshake(self, deadline: float) -> None:
        """Agree on keys."""
        if self._advance(self._tls.do_handshake, deadline) is GONE:
            raise ConnectionError("gone within the handshake")
        self.unfinished = 0

    def receive(self, deadline: float) -> bytes:
        """Return what has arrived, b"" when the client will send no more."""
        arrived = self._advance(partial(self._tls.read, RECEIVED_BYTES), deadline)
        return b"" if arrived is GONE else arrived

    def send(self, data: bytes) -> None:
        """Send *data* within SEND_SECONDS."""
        self._tls.write(data)
        self._flush()

    def end(self) -> None:
        """Tell the client, without waiting, that this was all: it was not cut.

        Where a client of TLS 1.2 takes no session tickets it is not told, for the sake
        of its session.  Replies have a length, so their end is known all the same.
        """
        if self._may_have_kept_session():
            self._drop_session()
            return
        with contextlib.suppress(ssl.SSLError):  # its own word has mostly not come
            self._tls.unwrap()
        self._connection.settimeout(0)
        self._connection.send(self._outgoing.read())

    def _may_have_kept_session(self) -> bool:
        """Return whether OpenSSL may keep the session, of which it keeps up to 20,480.

        Sessions of TLS 1.3, and of TLS 1.2 with a ticket, are the client's to keep.
        The connection could tell which it has, but would leak memory (CPython 3.11).
        """
        kept: int = self._tls.context.session_stats()["number"]
        return kept > 0 and self._tls.version() == "TLSv1.2"

    def _drop_session(self) -> None:
        """Have OpenSSL forget the session, as it does after a fatal error.

        Nothing else makes it: Python has no name for SSL_CTX_set_session_cache_mode.
        """
        self._incoming.write(bytes(MAX_TLS_BYTES))  # more than any record, and none
        with contextlib.suppress(ssl.SSLError):
            while self._tls.read(RECEIVED_BYTES):
                pass

    def _advance(self, step: Callable[[], Any], deadline: float) -> Any:
        """Return what *step* does with what arrives, GONE if too little ever will."""
        received = 0
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                pass
            finally:
                self._flush()  # an alert too
            if received > MAX_TLS_BYTES:
                raise TlsFlood
            arrived = super().receive(deadline)
            if not arrived:
                return GONE
            received += len(arrived)
            self._incoming.write(arrived)

    def _flush(self) -> None:
        if self._outgoing.pending:
            super().send(self._outgoing.read())


class TlsFlood(Exception):
    """A client sent MAX_TLS_BYTES and neither a whole handshake nor a request."""


GONE = object()  # in place of what a client has not sent

# --- Server ---------------------------------------------------------------------


class Stopped(Exception):
    """The server was told to stop."""


class StrictServer(ThreadingHTTPServer):
    """Listens, and serves each connection in a thread of its own."""

    request_queue_size = BACKLOG
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on Windows it would share the port
    allow_reuse_port = False

    def __init__(
        self,
        bind: str | None,
        port: int,
        handler: type[StrictHandler],
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Listen on *port* of the address *bind*, by default of every address.

        *tls* returns the context for a new connection; without it HTTP is plain.
        Raises OSError.
        """
        self.tls = tls
        self.idle_seconds: float | None = None  # IDLE_SECONDS, unless there is a reason
        self.is_stopping = False
        self.replies = Tally()  # by outcome
        self._lock = threading.Condition()  # guards the two below
        self._open = 0  # connections
        self._handlers: set[StrictHandler] = set()
        self._refused: deque[tuple[float, socket.socket]] = deque()  # accept thread's
        self._quiet_until = -float("inf")
        self._dual_stack = bind is None and socket.has_dualstack_ipv6()
        bind = bind or ("::" if self._dual_stack else "0.0.0.0")
        family, *_, address = socket.getaddrinfo(
            bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
        super().__init__(address, handler)  # type: ignore[arg-type]

    def http_settings(self) -> HttpSettings:
        """Return what is configured now."""
        return HttpSettings()

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's name, which may take long."""
        if self._dual_stack:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, with a pause when the system has none left to give."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                self._warn("cannot accept connections: %s", os.strerror(error.errno))
                time.sleep(0.1)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the connection in a new thread, or refuse it."""
        with self._lock:
            if self._open >= MAX_CONNECTIONS:
                self._make_room()
            is_full = self._open >= MAX_CONNECTIONS
            if not is_full:
                self._open += 1
        if is_full:
            self._refuse(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError as error:
            self._warn("cannot serve a connection: %s", error)  # no thread for it
            self.shutdown_request(request)

    def _make_room(self) -> None:
        """End the connection that has waited longest for its client, if any does.

        Otherwise who opens connections and says nothing would keep all others out.
        Called, and waits for the end, with the lock.
        """
        if evict_longest(self._handlers):
            self._lock.wait_for(lambda: self._open < MAX_CONNECTIONS, ROOM_SECONDS)

    def make_room_for_large(self) -> None:
        """End the longest of the large connections if they are more than MAX_LARGE.

        A thousand clients that each send most of the largest request would need more
        memory than all else together.
        """
        with self._lock:
            large = [handler for handler in self._handlers if handler.is_large]
            if len(large) > MAX_LARGE:
                evict_longest(large)

    def _refuse(self, request: socket.socket) -> None:
        """Send a 503 and leave the connection half open, for its client to read it."""
        self._warn("%d connections are open; refusing more", MAX_CONNECTIONS)
        reply = self._too_many()
        with contextlib.suppress(OSError):
            request.setblocking(False)
            if not self.tls:  # to whom a reply in plain text would mean nothing
                request.send(reply)
            request.shutdown(socket.SHUT_WR)
        self._refused.append((time.monotonic() + 1, request))

    def _too_many(self) -> bytes:
        """Return the reply to a connection over the limit."""
        error = too_many_connections()
        self.replies.add(error.code)
        body = encode(error_document(error.status, error.code, error.message))
        fields = content_fields(JSON_TYPE, body) + error.fields
        cors = cors_fields(self.http_settings(), None)
        return reply_head(error.status, fields, cors, is_last=True) + body

    def service_actions(self) -> None:
        """Do what the accepting thread does between two connections."""
        while self._refused and (
            len(self._refused) > REFUSED_KEPT or self._refused[0][0] < time.monotonic()
        ):
            self._refused.popleft()[1].close()
        if self.is_stopping:
            raise Stopped

    def shutdown_request(self, request: Any) -> None:
        """Close the connection; called once for each that was accepted."""
        super().shutdown_request(request)
        with self._lock:
            self._open -= 1
            self._lock.notify_all()

    def _warn(self, message: str, *args: object) -> None:
        """Log what may happen thousands of times a second, once in ten seconds."""
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + 10
            logger.warning(message, *args)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a handler did not expect, which a client that goes away is not."""
        if not isinstance(sys.exc_info()[1], OSError):
            logger.exception("failed on a connection from %s", client_address[0])

    def connections(self) -> tuple[int, int]:
        """Return how many connections are open, and how many of them have requests."""
        with self._lock:
            idle = sum(handler.is_idle for handler in self._handlers)
            return self._open, len(self._handlers) - idle

    def begin(self, handler: StrictHandler) -> None:
        """Note that *handler* serves a connection."""
        with self._lock:
            self._handlers.add(handler)

    def end(self, handler: StrictHandler) -> None:
        """Note that *handler* has served it."""
        with self._lock:
            self._handlers.discard(handler)

    def keeps_alive(self) -> bool:
        """Return whether a connection may stay open for another request."""
        return not self.is_stopping and self._open <= KEEP_ALIVE_CONNECTIONS

    def drain(self, seconds: float) -> None:
        """Listen no longer, and wait until the requests in flight are answered."""
        self.is_stopping = True
        self.server_close()
        for _, request in self._refused:
            request.close()
        with self._lock:
            for handler in self._handlers:
                if handler.is_idle:
                    handler.wake()
            self._lock.wait_for(lambda: not self._open, seconds)


def evict_longest(handlers: Iterable[StrictHandler]) -> bool:
    """End the one of *handlers* that has waited longest for its client, if any does."""
    waiting = [
        (since, number, handler)
        for number, handler in enumerate(handlers)
        if (since := handler.waits_since) is not None and not handler.is_evicted
    ]
    if waiting:
        *_, longest = min(waiting)
        longest.evict()
    return bool(waiting)


REQUEST_LINE = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~\x80-\xff]+) HTTP/([0-9])\.([0-9])"
)
FIELD_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
HOST = re.compile(r"([A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?")
ABSOLUTE_FORM = re.compile(r"https?://[^/]+", re.IGNORECASE)  # as sent to a proxy

# What no request head has: control characters, and line ends that only some take for
# such, so that two readers would see two different requests.
NO_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")

# A chunk's size and its extensions (RFC 9112 section 7.1)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
CHUNK_LINE = re.compile(
    rf"([0-9A-Fa-f]{{1,16}})(?:;{_TOKEN}(?:=(?:{_TOKEN}|{_QUOTED}))?)*"
)

TLS_REASONS = {"HTTP_REQUEST": "plain HTTP, but this port speaks TLS"}
ONCE_ONLY = ("host", "content-length", "transfer-encoding", "authorization")
TLS_HANDSHAKE = b"\x16\x03"  # what a client that speaks TLS begins with


class StrictHandler(BaseHTTPRequestHandler):
    """Reads requests strictly, and replies.

    The head of a request is read here, not by http.server: strictly (RFC 9112), within
    limits of size and time.  Every error has a JSON document and ends the connection,
    and nothing of the request is repeated in it.
    """

    server: StrictServer

    def setup(self) -> None:
        """Prepare the connection."""
        self.connection: socket.socket = self.request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.peer = printable(self.client_address[0].removeprefix("::ffff:"))
        on_large = self.server.make_room_for_large
        self.stream = Stream(self.connection, on_large)
        if self.server.tls:
            self.stream = TlsStream(self.connection, on_large, self.server.tls())
        self.received = bytearray()  # and not yet read as a request
        self.is_first = True
        self.is_idle = False
        self.is_sending = False
        self.is_evicted = False  # the connection has to make room for another
        self.waits_since: float | None = time.monotonic()  # for its client
        self.has_refused = False
        self.server.begin(self)

    @property
    def is_large(self) -> bool:
        """Whether more of an unfinished request is held than most requests have."""
        return self.stream.unfinished > LARGE_BYTES

    def evict(self) -> None:
        """End the connection, whose client keeps it waiting.

        A part of a request gets a 503; a reply that is not read is cut.
        """
        self.is_evicted = True
        self.wake(socket.SHUT_RDWR if self.is_sending else socket.SHUT_RD)

    def wake(self, how: int = socket.SHUT_RD) -> None:
        """Wake the thread that waits for its client."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(how)

    def finish(self) -> None:
        """End the connection, and let a client that still sends read the reply."""
        self.is_idle = True
        self.waits_since = time.monotonic()
        with contextlib.suppress(OSError, ValueError):
            self.stream.end()
        if (self.has_refused or self.received) and not self.is_evicted:
            with contextlib.suppress(OSError):
                self.stream.linger()
        self.server.end(self)

    def handle(self) -> None:
        """Serve requests until one of the two sides has had enough."""
        self.head_deadline = time.monotonic() + HEAD_SECONDS  # for TLS and first head
        try:
            self.is_idle = True  # as no request is under way
            if not self.server.is_stopping:
                self.stream.handshake(self.head_deadline)
            self.close_connection = False
            while not self.close_connection:
                self.handle_one_request()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):  # the client went away
            pass
        except ssl.SSLError as error:
            reason = str(error.reason or "failed")
            usual = reason.lower().replace("_", " ")
            logger.info("%s TLS: %s", self.peer, TLS_REASONS.get(reason, usual))
        except TlsFlood:
            logger.info("%s TLS: %d bytes without a request", self.peer, MAX_TLS_BYTES)

    def handle_one_request(self) -> None:
        """Read one request and reply."""
        self.close_connection = True  # unless the request turns out to be all right
        self.waits_since = time.monotonic()
        self.command, self.path, self.query = "-", "-", ""
        self.fields: dict[str, str] = {}
        self.client = self.peer
        try:
            head = self.receive_head()
            if head is None:
                return
            self.parse_head(head)
            self.drop_body()
            self.waits_since = None
            self.stream.unfinished = 0
            getattr(self, "do_" + self.command)()
        except RequestError as error:
            self.has_refused = True
            self.close_connection = True
            self.send_refusal(error)

    # Reading

    def receive_more(self, deadline: float, part: str) -> None:
        """Add what arrives to what was received of a *part* of a request.

        Raises RequestError at *deadline*, and when the client will send no more.
        """
        try:
            arrived = self.stream.receive(deadline)
        except TimeoutError:
            raise RequestError("RequestTimeout") from None
        if not arrived and self.is_evicted:
            raise too_many_connections()
        if not arrived:
            raise malformed(f"The request ended within its {part}.")
        self.received += arrived

    def receive_head(self) -> bytes | None:
        """Return the next request's head, or None if the client sends none.

        Raises RequestError, as soon as what has arrived can become no request.
        """
        deadline = self.head_deadline
        if not self.is_first:
            idle_seconds = self.server.idle_seconds or IDLE_SECONDS
            deadline = time.monotonic() + idle_seconds
        self.drop_line_end()
        while not self.received or self.received == b"\r":
            arrived = self.receive_idle(deadline)
            if not arrived:
                return None
            self.received += arrived
            self.drop_line_end()
        self.started = time.monotonic()
        if not self.is_first:
            deadline = self.started + HEAD_SECONDS
        self.is_first = False
        checked = 0  # bytes, so that each is looked at once however slowly they drip
        while (end := self.received.find(b"\r\n\r\n", max(0, checked - 3))) < 0:
            self.check_part(checked)
            checked = len(self.received)
            self.receive_more(deadline, "head")
        if end > MAX_HEAD_BYTES:
            raise self.too_large()
        head = bytes(self.received[:end])
        del self.received[: end + 4]
        return head

    def drop_line_end(self) -> None:
        """Drop an empty line in front of a request (RFC 9112 section 2.2)."""
        if self.received.startswith(b"\r\n"):
            del self.received[:2]

    def receive_idle(self, deadline: float) -> bytes:
        """Return what a client sends that has no request under way, b"" for nothing."""
        self.is_idle = True
        try:
            # A server that stops says so first, and then wakes those that are idle.
            if self.server.is_stopping or self.is_evicted:
                return b""
            return self.stream.receive(deadline)
        except TimeoutError:
            return b""
        finally:
            self.is_idle = False

    def check_part(self, checked: int) -> None:
        """Refuse a part of a head that no more bytes can make right.

        The first *checked* bytes were looked at before.
        """
        if NO_HEAD.search(self.received, max(0, checked - 1)):
            is_tls = self.received.startswith(TLS_HANDSHAKE)
            raise malformed(
                "The request has a character that HTTP does not allow.",
                detail="TLS, but this port speaks plain HTTP" if is_tls else "",
            )
        if len(self.received) > MAX_HEAD_BYTES + len(b"\r\n\r"):
            raise self.too_large()
        if self.command == "-":
            end = self.received.find(b"\r\n", max(0, checked - 1))
            if end >= 0:
                self.parse_request_line(self.received[:end].decode("latin-1"))

    def too_large(self) -> RequestError:
        """Return the error for a head over the limit."""
        if b"\r\n" not in self.received[:MAX_HEAD_BYTES]:
            return RequestError("UriTooLong")
        return RequestError("HeadersTooLarge")

    def parse_request_line(self, line: str) -> None:
        """Set command, path and query from the first line.  Raises RequestError."""
        match = REQUEST_LINE.fullmatch(line)
        if not match:
            raise malformed("The first line is not a request of HTTP/1.1.")
        command, target, *version = match.groups()
        if version not in (["1", "1"], ["1", "0"]):
            raise RequestError("HttpVersionNotSupported")
        self.command = command
        self.request_version = "HTTP/" + ".".join(version)
        path, _, self.query = target.partition("?")
        if match := ABSOLUTE_FORM.match(path):
            path = path[match.end() :] or "/"
        self.path = path
        if command not in ALLOWED.split(", "):
            raise RequestError("MethodNotAllowed", fields=f"Allow: {ALLOWED}\r\n")
        is_path = path.startswith("/") and "#" not in target
        if not is_path and (command, target) != ("OPTIONS", "*"):
            raise malformed("The request target is not a path.")

    def parse_head(self, head: bytes) -> None:
        """Set what the reply depends on.  Raises RequestError."""
        line, *field_lines = head.decode("latin-1").split("\r\n")
        self.parse_request_line(line)
        if len(field_lines) >= MAX_HEAD_LINES:
            raise RequestError("HeadersTooLarge")
        fields = self.fields
        for field_line in field_lines:
            match = FIELD_LINE.fullmatch(field_line)
            if not match:
                raise malformed("A header line is malformed.")
            name, value = match[1].lower(), match[2].strip(" \t")
            if name in fields:
                if name in ONCE_ONLY:
                    raise malformed("A header that may come once came twice.")
                value = f"{fields[name]}, {value}"
            fields[name] = value

        if "x-forwarded-for" in fields:
            self.client = forwarded_client(
                self.peer,
                fields["x-forwarded-for"],
                self.server.http_settings().trusted_proxies,
            )
        host = fields.get("host")
        is_old = self.request_version == "HTTP/1.0"
        if not HOST.fullmatch(host or "") and not (is_old and host is None):
            raise malformed("The Host header is missing or malformed.")
        length = fields.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            raise malformed("The Content-Length header is malformed.")
        coding = fields.get("transfer-encoding")
        if coding is not None:
            if is_old or "content-length" in fields:
                raise malformed("Transfer-Encoding is not allowed here.")
            if coding.lower() != "chunked":
                raise RequestError("TransferEncodingNotSupported")
        if fields.get("expect", "100-continue").lower() != "100-continue":
            raise RequestError("ExpectationFailed")
        self.body = None
        if int(length) or coding:
            self.body = ChunkedBody() if coding else Body(int(length))
        self.is_asked_to_continue = "expect" in fields and not is_old
        connection = fields.get("connection", "").lower().split(",")
        options = [option.strip(" \t") for option in connection]
        self.close_connection = (
            "close" in options
            or (is_old and "keep-alive" not in options)
            or self.body is not None
            or not self.server.keeps_alive()
        )

    def drop_body(self) -> None:
        """Read the body, which means nothing here, to its end.

        Raises RequestError for one that is too large or too slow.
        """
        if not self.body:
            return
        deadline = time.monotonic() + BODY_SECONDS
        has_ended = self.body.drop(self.received)
        if self.is_asked_to_continue and not has_ended:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not has_ended:
            self.receive_more(deadline, "body")
            has_ended = self.body.drop(self.received)

    # Replying

    def do_OPTIONS(self) -> None:
        """Answer a preflight: those who may read our replies may use any method."""
        fields = f"Allow: {ALLOWED}\r\n"
        if self.server.http_settings().allows(self.fields.get("origin")):
            fields += (
                f"Access-Control-Allow-Methods: {ALLOWED}\r\n"
                "Access-Control-Allow-Headers: *, Authorization\r\n"
                "Access-Control-Max-Age: 86400\r\n"
            )
        self.log_reply(HTTPStatus.NO_CONTENT)
        self.send_reply(HTTPStatus.NO_CONTENT, fields)

    def send_refusal(self, error: RequestError) -> None:
        """Log and send why a request is refused."""
        document = error_document(error.status, error.code, error.message)
        self.send_body(
            error.status,
            encode(document),
            error.code,
            detail=error.detail,
            fields=error.fields,
        )

    def send_body(
        self,
        status: HTTPStatus,
        body: bytes,
        outcome: str = "-",
        session: str = "-",
        detail: str = "",
        fields: str = "",
        counted: str = "",
        content_type: str = JSON_TYPE,
        is_logged: bool = True,
    ) -> None:
        """Log and send a reply with *body*."""
        fields += content_fields(content_type, body)
        if is_logged:
            self.log_reply(status, outcome, session, detail, counted)
        else:
            self.server.replies.add("Other")
        self.send_reply(status, fields, b"" if self.command == "HEAD" else body)

    def send_reply(self, status: HTTPStatus, fields: str, body: bytes = b"") -> None:
        """Send a reply, all of it at once: a second packet would wait for an ACK."""
        cors = cors_fields(self.server.http_settings(), self.fields.get("origin"))
        self.send(reply_head(status, fields, cors, self.close_connection) + body)

    def send(self, data: bytes) -> None:
        """Send *data*.  Raises OSError, TimeoutError among them."""
        self.is_sending, self.waits_since = True, time.monotonic()
        self.stream.send(data)
        self.is_sending = False

    def log_reply(
        self,
        status: HTTPStatus,
        outcome: str = "-",
        session: str = "-",
        detail: str = "",
        counted: str = "",
    ) -> None:
        """Log the request before it is answered, so that no token leaves unseen.

        It is counted by its outcome, or as *counted* where each has its own.
        """
        self.server.replies.add(counted or (outcome if outcome != "-" else "Other"))
        logger.info(
            ReplyLine(
                self.client,
                self.command,
                loggable(self.path),
                status.value,
                printable(outcome),
                session,
                (time.monotonic() - self.started) * 1000,
                detail,
            )
        )
