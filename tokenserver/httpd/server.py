"""Connections: accepted, bounded, served by threads, and ended.

StrictServer accepts connections and has a StrictHandler serve each in a thread.
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
KEEP_ALIVE_CONNECTIONS = MAX_CONNECTIONS * 3 // 4  # beyond, one request a connection
MAX_LARGE = 128  # connections that may hold much of an unfinished request at once
BACKLOG = 1024
REFUSED_KEPT = 128  # connections over the limit that are given time to read the 503
ROOM_SECONDS = 0.1  # for a connection that has to make room to end


class Stopped(Exception):
    """The server was told to stop."""


class StrictServer(HTTPServer):
    """Listens, and serves each connection in a thread that does nothing else meanwhile.

    A subclass says what is configured and answers requests.
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

        *tls* returns the context for a new connection; without it HTTP is plain.
        Connections stay idle for *idle_seconds*, by default IDLE_SECONDS.  Raises
        OSError.
        """
        self.tls = tls
        self.idle_seconds = idle_seconds
        self.is_stopping = False
        self.replies = Tally()  # by outcome
        self._lock = threading.Condition()  # guards the two below
        self._open = 0  # connections, those counted whose thread is not idle yet
        self._handlers: set[StrictHandler] = set()
        self._workers = Workers(self._count_down)
        self._is_ending = False  # serve_forever()
        self._has_ended = threading.Event()
        self._refused: deque[tuple[float, socket.socket]] = deque()  # accept thread's
        self._quiet_until = -float("inf")
        self._dual_stack = bind is None and socket.has_dualstack_ipv6()
        bind = bind or ("::" if self._dual_stack else "0.0.0.0")
        family, *_, address = socket.getaddrinfo(
            bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.address_family = family
        super().__init__(address, StrictHandler)  # type: ignore[arg-type]

    # What a subclass has to say

    def snapshot(self) -> Snapshot:
        """Return what is configured now."""
        raise NotImplementedError

    def wants_body(self, _request: Request) -> bool:
        """Return whether answer() needs the body of a request with this head."""
        return False

    def answer(self, request: Request, snapshot: Any) -> Reply:
        """Return the reply to a *request* other than OPTIONS.

        *snapshot* is what was configured when it arrived.  Raises RequestError.
        """
        raise NotImplementedError

    # Listening

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's name, which may take long."""
        if self._dual_stack:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Accept connections until shutdown(); look for other things to do between.

        *poll_interval* is the longest time in seconds without such a look.  To wait in
        accept() itself gives the interpreter lock away once for a connection, and not
        twice as with a selector.  Raises Stopped.
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
        """End serve_forever(), which runs in another thread, and wait for that."""
        self._is_ending = True
        self._has_ended.wait()

    def _accept(self) -> None:
        """Accept a connection, if one comes in time, and have it served."""
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
        """Accept a connection, with a pause when the system has none left to give."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                self._warn("cannot accept connections: %s", os.strerror(error.errno))
                time.sleep(0.1)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Have the connection served by a thread, or refuse it."""
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
            self._warn("cannot serve a connection: %s", error)  # no thread for it
            self.shutdown_request(request)
            self._count_down()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        """Serve one connection to its end, whatever happens."""
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
        """End the connection that has waited longest for its client, if any does.

        Otherwise a client that opens connections and says nothing would keep all others
        out.  Called with the lock held; the wait for the end releases it.
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
        reply = refused(TooManyConnections())
        self.replies.add(reply.outcome)
        cors = cors_fields(self.snapshot().http, None)
        with contextlib.suppress(OSError):
            request.setblocking(False)
            if not self.tls:  # to which a reply in plain text would mean nothing
                request.send(reply.encode(cors, is_last=True))
            request.shutdown(socket.SHUT_WR)
        self._refused.append((time.monotonic() + 1, request))

    def service_actions(self) -> None:
        """Do what the accepting thread does between two connections."""
        while self._refused and (
            len(self._refused) > REFUSED_KEPT or self._refused[0][0] < time.monotonic()
        ):
            self._refused.popleft()[1].close()
        if self.is_stopping:
            # Out of serve_forever(): shutdown() waits for it, and would do so for ever
            # in this thread.
            raise Stopped

    def _warn(self, message: str, *args: object) -> None:
        """Log what may happen thousands of times a second, once in ten seconds."""
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + 10
            logger.warning(message, *args)

    # Connections

    def register(self, handler: StrictHandler) -> None:
        """Note that *handler* serves a connection."""
        with self._lock:
            self._handlers.add(handler)

    def unregister(self, handler: StrictHandler) -> None:
        """Note that *handler* has served it."""
        with self._lock:
            self._handlers.discard(handler)

    def connections(self) -> tuple[int, int]:
        """Return how many connections are open, and how many of them have requests."""
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
        """Listen no longer, and wait until the requests in flight are answered."""
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
