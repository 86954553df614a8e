"""The server: accepts connections, limits their number, and ends them.

StrictServer accepts connections; a StrictHandler serves each of them in a thread.
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
from functools import partial
from http.server import HTTPServer
from typing import Any

from tokenserver.counts import Tally
from tokenserver.httpd.connection import Snapshot, StrictHandler
from tokenserver.httpd.origins import cors_fields
from tokenserver.httpd.reply import Reply, refused
from tokenserver.httpd.request import Request, TooManyConnections
from tokenserver.httpd.streams import limit_receiving
from tokenserver.httpd.workers import Workers

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 1024
KEEP_ALIVE_CONNECTIONS = MAX_CONNECTIONS * 3 // 4  # with more, each has one request
MAX_LARGE = 128  # connections that may hold a large unfinished request at once
BACKLOG = 1024
REFUSED_KEPT = 128  # refused connections kept open until their clients read the 503
ROOM_SECONDS = 0.1  # for an evicted connection to end


class Stopped(Exception):
    """The server was told to stop."""


class StrictServer(HTTPServer):
    """Listens on a port, and serves each connection in a thread of its own.

    A subclass provides the configuration and answers the requests.
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
        self._open = 0  # connections, including ended ones whose thread is still busy
        self._handlers: set[StrictHandler] = set()
        self._workers = Workers(self._count_down)
        self._is_ending = False  # serve_forever()
        self._has_ended = threading.Event()
        # Only the accepting thread uses it.
        self._refused: deque[tuple[float, socket.socket]] = deque()
        self._quiet_until = -float("inf")
        self._dual_stack = bind is None and socket.has_dualstack_ipv6()
        bind = bind or ("::" if self._dual_stack else "0.0.0.0")
        family, *_, address = socket.getaddrinfo(
            bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
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

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Accept connections until shutdown(), calling service_actions() in between.

        Its calls are at most *poll_interval* seconds apart while no connection comes.
        Waiting in accept() itself releases the interpreter lock once per connection,
        where a selector would release it twice.  Raises Stopped.
        """
        self._has_ended.clear()
        limit_receiving(self.socket, poll_interval)
        try:
            while not self._is_ending:
                self._accept()
                self.service_actions()
        finally:
            self._is_ending = False
            self._has_ended.set()

    def shutdown(self) -> None:
        """Tell serve_forever() in another thread to end, and wait until it has."""
        self._is_ending = True
        self._has_ended.wait()

    def _accept(self) -> None:
        """Accept a connection, if one comes in time, and hand it to a worker."""
        try:
            request, client_address = self.get_request()
        except OSError:
            return
        try:
            self.process_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
            self.shutdown_request(request)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; pause if the system is out of files or memory."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                self._warn("cannot accept connections: %s", os.strerror(error.errno))
                time.sleep(0.1)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand the connection to a worker thread, or refuse it."""
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
            self._workers.do(partial(self._serve, request, client_address))
        except RuntimeError as error:
            self._warn("cannot serve a connection: %s", error)  # no more threads
            self.shutdown_request(request)
            self._count_down()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        """Serve one connection and close it, whatever happens."""
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            with contextlib.suppress(OSError):
                self.shutdown_request(request)

    def _count_down(self) -> None:
        """Note that a connection has ended, and that its thread is idle."""
        with self._lock:
            self._open -= 1
            self._lock.notify_all()

    def _make_room(self) -> None:
        """End the connection that has waited longest for its client, if there is one.

        Otherwise a client that opens connections and sends nothing would keep all
        others out.  Called with the lock held, which is released while waiting for the
        connection to end.
        """
        if evict_longest(self._handlers):
            self._lock.wait_for(lambda: self._open < MAX_CONNECTIONS, ROOM_SECONDS)

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
        self._refused.append((time.monotonic() + 1, request))

    def service_actions(self) -> None:
        """Close refused connections whose time is over.

        The accepting thread calls this between connections.  Raises Stopped.
        """
        while self._refused and (
            len(self._refused) > REFUSED_KEPT or self._refused[0][0] < time.monotonic()
        ):
            self._refused.popleft()[1].close()
        if self.is_stopping:
            # This ends serve_forever().  shutdown() would wait for it forever in this
            # thread.
            raise Stopped

    def _warn(self, message: str, *args: object) -> None:
        """Log a warning that may be due thousands of times a second, once in 10 s."""
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + 10
            logger.warning(message, *args)

    # Connections

    def register(self, handler: StrictHandler) -> None:
        """Note that *handler* serves a connection."""
        with self._lock:
            self._handlers.add(handler)

    def unregister(self, handler: StrictHandler) -> None:
        """Note that *handler* has finished with its connection."""
        with self._lock:
            self._handlers.discard(handler)

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
        for _, request in self._refused:
            request.close()
        self._workers.close()
        with self._lock:
            for handler in self._handlers:
                if handler.is_idle:
                    handler.wake()
            self._lock.wait_for(lambda: not self._open, seconds)


def evict_longest(handlers: Iterable[StrictHandler]) -> bool:
    """End the connection that has waited longest for its client, if one is waiting.

    Return whether one was ended.  Those that are evicted already do not count.
    """
    waiting = [
        (since, number, handler)
        for number, handler in enumerate(handlers)
        if (since := handler.waits_since) is not None and not handler.is_evicted
    ]
    if waiting:
        *_, longest = min(waiting)
        longest.evict()
    return bool(waiting)
