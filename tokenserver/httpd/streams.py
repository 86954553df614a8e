"""The bytes of a connection, plain or in TLS, with deadlines and limits."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

RECEIVED_BYTES = 4 * 1024  # at once; what is larger is held by each connection
LARGE_BYTES = 4 * 1024  # of a request that is not whole; few are larger
MAX_TLS_BYTES = 17 * 1024  # without a byte of a request; a ClientHello of 16 KiB fits
SEND_SECONDS = 10.0
LINGER_SECONDS = 2.0  # for what a refused client sends before it reads why

# Each system call that may wait gives the interpreter lock away, and what a busy server
# waits for longest is to have it back.  So a recv() is one call, where the system can
# limit its time, and not the three of settimeout() and poll(), and a send() is one.
HAS_LIMIT = sys.platform == "linux" and struct.calcsize("l") == 8  # as in a timeval


class Stream:
    """The bytes of a connection.

    What arrives has a deadline, because the time limit of a socket starts anew with
    each byte.  All methods raise OSError, and TimeoutError when it is too late.
    """

    def __init__(self, connection: socket.socket, on_large: Callable[[], None]) -> None:
        self._connection = connection
        self._on_large = on_large  # called when more than LARGE_BYTES are unfinished
        self._limit = 0  # hundredths of a second that a recv() may take, 0 for no limit
        self.unfinished = 0  # bytes that arrived for what is not whole yet

    def handshake(self, deadline: float) -> None:
        """Do what comes before the first byte: here, nothing."""

    def receive(self, deadline: float) -> bytes:
        """Return what has arrived, b"" when the client will send no more."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        limit = int(left * 100) + 1  # mostly that of the time before
        if limit != self._limit:
            self._limit = limit
            limit_receiving(self._connection, limit / 100)
        try:
            arrived = self._connection.recv(RECEIVED_BYTES)
        except BlockingIOError:
            raise TimeoutError from None
        before, self.unfinished = self.unfinished, self.unfinished + len(arrived)
        if before <= LARGE_BYTES < self.unfinished:
            self._on_large()
        return arrived

    def send(self, data: bytes, is_last: bool = False) -> None:  # noqa: ARG002 (of TLS)
        """Send *data* within SEND_SECONDS; *is_last* says that nothing follows."""
        sent = self._send_at_once(data)
        if sent < len(data):  # the client reads more slowly than we write
            self._limit = 0
            self._connection.settimeout(SEND_SECONDS)
            try:
                self._connection.sendall(data[sent:])
            finally:
                self._connection.settimeout(None)

    def _send_at_once(self, data: bytes) -> int:
        """Return how much of *data* could be sent without waiting."""
        try:
            if HAS_LIMIT:
                return self._connection.send(data, socket.MSG_DONTWAIT)
            self._limit = 0
            self._connection.settimeout(0)
            return self._connection.send(data)
        except BlockingIOError:
            return 0

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


def limit_receiving(connection: socket.socket, seconds: float) -> None:
    """Have a recv() or accept() of *connection* take at most *seconds*.

    Then it raises TimeoutError, or BlockingIOError.
    """
    if HAS_LIMIT:
        limit = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    else:
        connection.settimeout(seconds)


class TlsFlood(Exception):
    """A client sent MAX_TLS_BYTES and neither a whole handshake nor a request."""


GONE = object()  # in place of what a client has not sent


class TlsStream(Stream):
    """The bytes that a connection has within TLS.

    TLS works on memory here, not on the socket, so that each byte passes through our
    hands.  OpenSSL by itself would hold a ClientHello of 128 KiB for anyone who sends
    it, and read key updates for as long as they come, whatever the deadline.

    All methods raise ssl.SSLError too, and those that receive TlsFlood.
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
        self._has_said_end = False

    def handshake(self, deadline: float) -> None:
        """Agree on keys."""
        if self._advance(self._tls.do_handshake, deadline) is GONE:
            raise ConnectionError("gone within the handshake")
        self.unfinished = 0

    def receive(self, deadline: float) -> bytes:
        """Return what has arrived, b"" when the client will send no more."""
        arrived = self._advance(partial(self._tls.read, RECEIVED_BYTES), deadline)
        return b"" if arrived is GONE else arrived

    def send(self, data: bytes, is_last: bool = False) -> None:
        """Send *data* within SEND_SECONDS, and that it was all if it *is_last*."""
        self._tls.write(data)
        if is_last and not self._may_have_kept_session():
            self._say_end()
        self._flush()

    def end(self) -> None:
        """Tell the client, without waiting, that this was all: it was not cut.

        Where a client of TLS 1.2 takes no session tickets it is not told, for the sake
        of its session.  Replies have a length, so their end is known all the same.
        """
        if self._may_have_kept_session():
            self._drop_session()
            return
        self._say_end()
        if self._outgoing.pending:
            self._send_at_once(self._outgoing.read())

    def _say_end(self) -> None:
        """Write that nothing follows, unless that is written."""
        if not self._has_said_end:
            self._has_said_end = True
            with contextlib.suppress(ssl.SSLError):  # its own word has mostly not come
                self._tls.unwrap()

    def _may_have_kept_session(self) -> bool:
        """Return whether OpenSSL may keep the session, of which it keeps up to 20,480.

        Sessions of TLS 1.3, and of TLS 1.2 with a ticket, are the client's to keep.
        The connection could tell which it has, but would leak memory (CPython 3.11).
        """
        if self._tls.version() != "TLSv1.2":
            return False
        kept: int = self._tls.context.session_stats()["number"]
        return kept > 0

    def _drop_session(self) -> None:
        """Have OpenSSL forget the session, as it does after a fatal error.

        Nothing else makes it: Python has no name for SSL_CTX_set_session_cache_mode.
        """
        self._incoming.write(bytes(MAX_TLS_BYTES))  # more than any record, and none
        with contextlib.suppress(ssl.SSLError):
            while self._tls.read(RECEIVED_BYTES):
                pass

    def _advance(self, step: Callable[[], Any], deadline: float) -> Any:
        """Return what *step* does with what arrives, GONE if too little ever will.

        What TLS wants to say is sent before the client is waited for, and with what is
        sent next: session tickets go out with the first reply.
        """
        received = 0
        is_new = self._incoming.pending or self._tls.pending()
        while True:
            try:
                if is_new:
                    return step()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self._flush()  # an alert
                raise
            self._flush()
            if received > MAX_TLS_BYTES:
                raise TlsFlood(f"{MAX_TLS_BYTES} bytes without a request")
            arrived = super().receive(deadline)
            if not arrived:
                return GONE
            received += len(arrived)
            is_new = self._incoming.write(arrived)

    def _flush(self) -> None:
        if self._outgoing.pending:
            super().send(self._outgoing.read())
