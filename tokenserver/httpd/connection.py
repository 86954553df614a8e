"""One connection: reads its requests one after the other, and replies to each.

Most of the time a connection waits for its client.  The server can see how long it has
waited, and can end it to make room for another.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol

from tokenserver.counts import Tally
from tokenserver.httpd.body import body_of
from tokenserver.httpd.origins import (
    HttpSettings,
    cors_fields,
    forwarded_client,
    preflight_fields,
)
from tokenserver.httpd.reply import Reply, refused
from tokenserver.httpd.request import (
    HeadParser,
    MalformedRequest,
    Request,
    RequestError,
    RequestTimeout,
    TooManyConnections,
)
from tokenserver.httpd.streams import (
    LARGE_BYTES,
    NotYet,
    Stream,
    TlsFlood,
    TlsStream,
)
from tokenserver.logs import ReplyLine, log_reply, loggable, printable

logger = logging.getLogger(__name__)

HEAD_SECONDS = 10.0  # for a whole request head, however slowly it arrives
BODY_SECONDS = 10.0
IDLE_SECONDS = 65.0  # longer than load balancers keep idle connections (60 s)

TLS_REASONS = {"HTTP_REQUEST": "plain HTTP, but this port speaks TLS"}


class Snapshot(Protocol):
    """The configuration at one moment.  Each request uses one snapshot throughout."""

    @property
    def http(self) -> HttpSettings:
        """The operator's settings for HTTP."""


class Host(Protocol):
    """The part of the server that a connection uses."""

    tls: Callable[[], ssl.SSLContext] | None
    idle_seconds: float | None
    is_stopping: bool
    replies: Tally

    def snapshot(self) -> Snapshot:
        """Return the current configuration."""

    def wants_body(self, request: Request) -> bool:
        """Return whether answer() needs the body of *request*, whose head was read."""

    def answer(self, request: Request, snapshot: Any) -> Reply:
        """Return the reply to a *request* other than OPTIONS.  Raises RequestError."""

    def keeps_alive(self) -> bool:
        """Return whether a connection may stay open for another request."""

    def make_room_for_large(self) -> None:
        """End one of the connections that hold much data, if there are too many."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the exception that is being handled, with which a connection ends."""

    def has_ended(self, handler: StrictHandler) -> None:
        """Close the connection of *handler*, which has finished with it."""


class StrictHandler(BaseHTTPRequestHandler):
    """Serves one connection: reads requests strictly, and replies.

    It waits for its client in two ways.  Between requests, and while TLS agrees on
    keys, proceed() returns, and is called again when more has arrived.  In the middle
    of a request or a reply the thread waits.

    Every error ends the connection.  No state is carried from one request to the next.
    """

    server: Host  # type: ignore[assignment]

    def __init__(
        self, connection: socket.socket, client_address: Any, server: Host
    ) -> None:
        """Prepare the connection, without waiting for anything.  Raises OSError.

        The constructor of the base class would serve it, too.
        """
        now = time.monotonic()
        self.connection = connection
        self.client_address = client_address
        self.server = server
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.peer = printable(client_address[0].removeprefix("::ffff:"))
        on_large = server.make_room_for_large
        self.stream = Stream(connection, on_large)
        if server.tls:
            self.stream = TlsStream(connection, on_large, server.tls())
        self.received = bytearray()  # bytes not yet parsed
        self.parser = HeadParser()
        self.has_keys = False  # the TLS handshake is complete
        self.is_watched = False
        self.is_idle = True  # no request is in flight
        self.deadline = now + HEAD_SECONDS  # for TLS and the first head
        self.is_first = True
        self.is_sending = False
        self.is_evicted = False  # the connection must make room for another
        self.waits_since: float | None = now  # for its client
        self.has_refused = False

    def fileno(self) -> int:
        """Return the number of the socket."""
        number: int = self.connection.fileno()
        return number

    @property
    def is_large(self) -> bool:
        """Whether the connection holds an unfinished request of over LARGE_BYTES."""
        return self.stream.unfinished > LARGE_BYTES

    def evict(self) -> None:
        """End the connection because its client keeps it waiting.

        An incomplete request is answered with 503; an unread reply is cut off.
        """
        self.is_evicted = True
        self.wake(socket.SHUT_RDWR if self.is_sending else socket.SHUT_RD)

    def wake(self, how: int = socket.SHUT_RD) -> None:
        """Let what waits for the client see the end of what it sends."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(how)

    def end(self) -> None:
        """End the connection.  A client that still sends has time to read the reply."""
        still_sends = not self.is_idle and (self.has_refused or self.received)
        self.is_idle = True
        self.waits_since = time.monotonic()
        with contextlib.suppress(OSError, ValueError):
            self.stream.end()
        with contextlib.suppress(OSError):
            # If bytes are left unread, closing resets the connection.  A client that
            # has seen the end before takes no notice of that.
            self.connection.shutdown(socket.SHUT_WR)
            if still_sends and not self.is_evicted:
                self.stream.linger()
        self.server.has_ended(self)

    def proceed(self) -> bool:
        """Serve the requests that have arrived.

        Return whether the connection then waits for the next.
        """
        try:
            if not self.has_keys:
                if self.server.is_stopping:
                    return False
                self.stream.handshake()
                self.has_keys = True
            self.close_connection = False
            while not self.close_connection:
                self.handle_one_request()
                if not (self.received or self.stream.has_more):
                    break
            return not self.close_connection
        except NotYet:
            return True
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):  # the client went away
            pass
        except ssl.SSLError as error:
            reason = str(error.reason or "failed")
            usual = reason.lower().replace("_", " ")
            logger.info("%s TLS: %s", self.peer, TLS_REASONS.get(reason, usual))
        except TlsFlood as error:
            logger.info("%s TLS: %s", self.peer, error)
        except Exception:
            self.server.handle_error(self.connection, self.client_address)
        return False

    def handle_one_request(self) -> None:
        """Read one request and reply.  Raises NotYet if there is none."""
        self.close_connection = True  # unless the request turns out to be valid
        parser = self.parser
        snapshot: Snapshot | None = None
        try:
            request = self.receive_request(parser)
            if request is None:
                return
            self.waits_since = None
            self.stream.unfinished = 0
            snapshot = self.server.snapshot()
            reply = self.answer(request, snapshot)
            self.close_connection = request.is_last or not self.server.keeps_alive()
        except RequestError as error:
            self.has_refused = True
            snapshot = snapshot or self.server.snapshot()
            reply = refused(error)
        self.log(parser, snapshot.http, reply)
        cors = cors_fields(snapshot.http, parser.fields.get("origin"))
        is_head = parser.line is not None and parser.line.method == "HEAD"
        is_last = self.close_connection
        self.send(reply.encode(cors, is_last, is_head), is_last)
        self.parser = HeadParser()
        self.deadline = time.monotonic() + (self.server.idle_seconds or IDLE_SECONDS)
        self.is_idle = not is_last

    def answer(self, request: Request, snapshot: Snapshot) -> Reply:
        """Return the reply to *request*.  Raises RequestError."""
        if request.method == "OPTIONS":
            origin = request.fields.get("origin")
            fields = preflight_fields(snapshot.http, origin)
            return Reply(HTTPStatus.NO_CONTENT, fields=fields)
        return self.server.answer(request, snapshot)

    # Reading

    def receive_request(self, parser: HeadParser) -> Request | None:
        """Return the next request, or None if the client sends none.

        Raises RequestError, and NotYet if nothing of it is there.
        """
        while not parser.has_begun(self.received):
            arrived = b"" if self.is_evicted else self.stream.receive()
            if not arrived:
                return None
            self.received += arrived
        self.is_idle = False
        self.started = time.monotonic()
        if not self.is_first:
            self.deadline = self.started + HEAD_SECONDS
        self.is_first = False
        while (request := parser.take(self.received)) is None:
            self.receive_more(self.deadline, "head")
        has_body = request.is_chunked or request.body_length > 0
        return self.with_body(request) if has_body else request

    def receive_more(self, deadline: float, part: str) -> None:
        """Receive more bytes; *part* is "head" or "body", for the error message.

        Raises RequestError at *deadline*, and if the client has stopped sending.
        """
        try:
            arrived = self.stream.receive(deadline)
        except TimeoutError:
            raise RequestTimeout from None
        if not arrived and self.is_evicted:
            raise TooManyConnections
        if not arrived:
            raise MalformedRequest(f"The request ended before its {part} was complete.")
        self.received += arrived

    def with_body(self, request: Request) -> Request:
        """Read the body of *request*; return *request*, with the body if it is wanted.

        Raises RequestError.
        """
        body = body_of(request, self.server.wants_body(request))
        deadline = time.monotonic() + BODY_SECONDS
        has_ended = body.drop(self.received)
        if request.is_asked_to_continue and not has_ended:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not has_ended:
            self.receive_more(deadline, "body")
            has_ended = body.drop(self.received)
        return request._replace(body=bytes(body.kept)) if body.kept else request

    # Replying

    def send(self, data: bytes, is_last: bool = False) -> None:
        """Send all of *data* in one call: a second packet would wait for an ACK.

        *is_last* means that nothing follows.  Raises OSError, including TimeoutError.
        """
        self.is_sending, self.waits_since = True, time.monotonic()
        self.stream.send(data, is_last)
        self.is_sending = False

    def log(self, parser: HeadParser, http: HttpSettings, reply: Reply) -> None:
        """Log a request before replying: no token is sent without a log line."""
        outcome = reply.outcome
        self.server.replies.add(reply.counted or outcome or "Other")
        if not reply.is_logged:
            return
        client, line = self.peer, parser.line
        if forwarded_for := parser.fields.get("x-forwarded-for"):
            client = forwarded_client(client, forwarded_for, http.trusted_proxies)
        log_reply(
            ReplyLine(
                client,
                line.method if line else "-",
                loggable(line.path) if line else "-",
                int(reply.status),
                printable(outcome) or "-",
                reply.session or "-",
                (time.monotonic() - self.started) * 1000,
                reply.detail,
            )
        )
