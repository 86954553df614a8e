"""The server: accepts connections, limits their number, and ends them.

StrictServer accepts connections; a StrictHandler serves each of them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from http.server import HTTPServer
from typing import Any

from tokenserver.counts import Tally
from tokenserver.httpd.connection import Snapshot, StrictHandler
from tokenserver.httpd.lead import Lead
from tokenserver.httpd.origins import cors_fields
from tokenserver.httpd.reply import Reply, refused
from tokenserver.httpd.request import Request, TooManyConnections

logger = logging.getLogger(__name__)

# Windows has only select(), for 512 sockets at most.
MAX_CONNECTIONS = 1024 if os.name == "posix" else 500
KEEP_ALIVE_CONNECTIONS = MAX_CONNECTIONS * 3 // 4  # with more, each has one request
MAX_LARGE = 128  # connections that may hold a large unfinished request at once
BACKLOG = 1024
ACCEPTED_AT_ONCE = 64  # before connections that are open have their turn
REFUSED_KEPT = 128  # refused connections kept open until their clients read the 503
ROOM_SECONDS = 0.1  # for an evicted connection to end


class Stopped(Exception):
    """The server was told to stop."""


class StrictServer(HTTPServer):
    """Listens on a port, and serves connections as Lead describes.

    A subclass provides the configuration and answers the requests; it calls
    before_waiting() where it has to wait.
    """

    request_queue_size = BACKLOG
    allow_reuse_address = os.name == "posix"  # on Windows it would share the port
    allow_reuse_port = False

    def __init__(
        self,
        bind: str | None,
        port: int,
        tls: Callable[[], ssl.SSLContext] | None = None,
        idle_seconds: float | None = None,
    ) -> None:
        """Listen on *port* of the address *bind*, by default of every address.

        *tls* returns the TLS context for a new connection; without it HTTP is plain.
        A connection may be idle for *idle_seconds*, by default IDLE_SECONDS.  Raises
        OSError.
        """
        self.tls = tls
        self.idle_seconds = idle_seconds
        self.is_stopping = False
        self.replies = Tally()  # by outcome
        self._lock = threading.Condition()  # guards the two below
        self._handlers: set[StrictHandler] = set()  # of the open connections
        self._refused: deque[tuple[float, socket.socket]] = deque()
        self.is_watched = False  # by the leader, for connections to accept
        self._is_ending = threading.Event()  # serve_forever()
        self._has_ended = threading.Event()
        self._quiet_until = -float("inf")
        self._dual_stack = bind is None and socket.has_dualstack_ipv6()
        bind = bind or ("::" if self._dual_stack else "0.0.0.0")
        family, *_, address = socket.getaddrinfo(
            bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
        self._lead = Lead(self._warn)
        super().__init__(address, StrictHandler)  # type: ignore[arg-type]

    # For the subclass to define

    def snapshot(self) -> Snapshot:
        """Return the current configuration."""
        raise NotImplementedError

    def wants_body(self, _request: Request) -> bool:
        """Return whether answer() needs the body of the request; only its head is read.

        Other bodies are dropped as they arrive.
        """
        return False

    def answer(self, request: Request, snapshot: Any) -> Reply:
        """Return the reply to a *request* other than OPTIONS.

        *snapshot* is the configuration when it arrived.  Raises RequestError.
        """
        raise NotImplementedError

    # Listening

    def server_bind(self) -> None:
        """Bind without the host name look-up of HTTPServer, which can be slow."""
        if self._dual_stack:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore

    def server_close(self) -> None:
        """Stop listening, and end the connections that wait for a request."""
        members = self._lead.close()
        super().server_close()
        for member in members:
            member.end()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Have connections served until shutdown(), and call service_actions().

        Its calls are *poll_interval* seconds apart.  Raises Stopped.
        """
        self._has_ended.clear()
        self.socket.setblocking(False)
        self._lead.add(self)
        self._lead.start()
        try:
            while not self._is_ending.wait(poll_interval):
                self.service_actions()
        finally:
            self._lead.stop()
            self._is_ending.clear()
            self._has_ended.set()

    def shutdown(self) -> None:
        """Tell serve_forever() in another thread to end, and wait until it has."""
        self._is_ending.set()
        self._has_ended.wait()

    def service_actions(self) -> None:
        """Do what is due now and then.  Raises Stopped."""
        now = time.monotonic()
        with self._lock:
            self._close_refused(now)
            for handler in self._handlers:
                if handler.is_idle and handler.deadline < now:
                    handler.wake()
        self._lead.look_after()
        self._lead.add(self)  # again, after a pause
        if self.is_stopping:
            # This ends serve_forever().  shutdown() would wait for it forever in this
            # thread.
            raise Stopped

    def proceed(self) -> bool:
        """Accept connections and serve them."""
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                request, client_address = self.get_request()
            except OSError as error:
                return self._may_accept_after(error)
            handler = self._handler(request, client_address)
            if handler and not self._lead.serve(handler):
                break  # another thread leads, and accepts
        return True

    def end(self) -> None:
        """Do nothing: service_actions() goes on after a pause."""

    def _may_accept_after(self, error: OSError) -> bool:
        """Return False if there must be a pause: the system has no files or memory."""
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
            self._warn("cannot accept connections: %s", os.strerror(error.errno))
            return False
        return True

    def _handler(self, request: Any, client_address: Any) -> StrictHandler | None:
        """Return the handler of a connection, None if the connection is refused."""
        if not self._has_room():
            self._refuse(request)
            return None
        try:
            handler = StrictHandler(request, client_address, self)
        except Exception:
            self.handle_error(request, client_address)
            request.close()
            return None
        with self._lock:
            self._handlers.add(handler)
        return handler

    def _has_room(self) -> bool:
        """Return whether another connection may be open.

        If there are MAX_CONNECTIONS, the one that has waited longest for its client is
        ended.  Otherwise a client that opens connections and sends nothing would keep
        all others out.
        """
        with self._lock:
            if self._open < MAX_CONNECTIONS:
                return True
            evicted = evict_longest(self._handlers)
        if evicted and self._lead.drop(evicted):
            evicted.end()
        seconds = ROOM_SECONDS if evicted else 0  # for its thread to end it
        with self._lock:
            return self._lock.wait_for(lambda: self._open < MAX_CONNECTIONS, seconds)

    def make_room_for_large(self) -> None:
        """End the large connection that has waited longest if there are over MAX_LARGE.

        Without this limit a thousand clients, each sending most of the largest allowed
        request, would need more memory than the rest of the server.
        """
        with self._lock:
            large = [handler for handler in self._handlers if handler.is_large]
            if len(large) > MAX_LARGE:
                evict_longest(large)

    def _refuse(self, request: socket.socket) -> None:
        """Send a 503, and keep the connection half open so that the client reads it."""
        self._warn("%d connections are open; refusing more", MAX_CONNECTIONS)
        reply = refused(TooManyConnections())
        self.replies.add(reply.outcome)
        cors = cors_fields(self.snapshot().http, None)
        with contextlib.suppress(OSError):
            request.setblocking(False)
            if not self.tls:  # a client of TLS cannot read a reply in plain text
                request.send(reply.encode(cors, is_last=True))
            request.shutdown(socket.SHUT_WR)
        now = time.monotonic()
        with self._lock:
            self._refused.append((now + 1, request))
            self._close_refused(now)

    def _close_refused(self, now: float) -> None:
        """Close refused connections whose time is over.  Called with the lock held."""
        while self._refused and (
            len(self._refused) > REFUSED_KEPT or self._refused[0][0] < now
        ):
            self._refused.popleft()[1].close()

    def _warn(self, message: str, *args: object) -> None:
        """Log a warning that may be due thousands of times a second, once in 10 s."""
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + 10
            logger.warning(message, *args)

    # Connections

    @property
    def _open(self) -> int:
        """How many connections are open."""
        return len(self._handlers)

    def has_ended(self, handler: StrictHandler) -> None:
        """Close the connection of *handler*, which has finished with it."""
        with self._lock:  # so that nobody wakes the next socket with its number
            handler.connection.close()
            self._handlers.discard(handler)
            self._lock.notify_all()

    def connections(self) -> tuple[int, int]:
        """Return the numbers of open connections and of those with a request."""
        with self._lock:
            idle = sum(handler.is_idle for handler in self._handlers)
            return self._open, len(self._handlers) - idle

    def keeps_alive(self) -> bool:
        """Return whether a connection may stay open for another request."""
        return not self.is_stopping and self._open <= KEEP_ALIVE_CONNECTIONS

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log unexpected exceptions.  A client that disconnects is not one."""
        if not isinstance(sys.exc_info()[1], OSError):
            logger.exception("failed on a connection from %s", client_address[0])

    def drain(self, seconds: float) -> None:
        """Stop listening, and wait up to *seconds* for the requests in flight."""
        self.is_stopping = True
        self.server_close()
        with self._lock:
            for _, request in self._refused:
                request.close()
            for handler in self._handlers:
                if handler.is_idle:
                    handler.wake()
            self._lock.wait_for(lambda: not self._open, seconds)


def evict_longest(handlers: Iterable[StrictHandler]) -> StrictHandler | None:
    """Evict the connection that has waited longest for its client, and return it.

    Those that are evicted already do not count.
    """
    waiting = [
        (since, number, handler)
        for number, handler in enumerate(handlers)
        if (since := handler.waits_since) is not None and not handler.is_evicted
    ]
    if not waiting:
        return None
    *_, longest = min(waiting)
    longest.evict()
    return longest
