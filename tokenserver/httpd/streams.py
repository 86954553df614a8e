"""The bytes of a connection, plain or in TLS, with deadlines and limits."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from tokenserver.background import before_waiting

RECEIVED_BYTES = 4 * 1024  # per recv(), a buffer that each connection holds
LARGE_BYTES = 4 * 1024  # of an incomplete request; few requests are larger
MAX_TLS_BYTES = 17 * 1024  # without a byte of a request; a ClientHello of 16 KiB fits
SEND_SECONDS = 10.0
LINGER_SECONDS = 2.0  # in which a refused client may go on sending

T = TypeVar("T")


class NotYet(Exception):
    """Nothing has arrived yet."""


class Stream:
    """The bytes of a connection.

    Reading takes a deadline, because the timeout of a socket starts anew with each
    byte.  All methods raise OSError, and TimeoutError after the deadline.
    """

    def __init__(self, connection: socket.socket, on_large: Callable[[], None]) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._on_large = on_large  # called when *unfinished* passes LARGE_BYTES
        self.unfinished = 0  # bytes that arrived of an incomplete request

    @property
    def has_more(self) -> bool:
        """Whether bytes of the client may be there that arrived earlier."""
        return False

    def handshake(self) -> None:
        """Agree on keys with the client.  A plain connection has none.

        Raises NotYet if the client has to send something.
        """

    def receive(self, deadline: float | None = None) -> bytes:
        """Return the bytes that arrive next, or b"" if the client has stopped sending.

        Raises TimeoutError at *deadline*, in monotonic seconds; without one, NotYet
        instead of waiting.
        """
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        try:
            arrived = self._connection.recv(RECEIVED_BYTES)
        except BlockingIOError:
            if left is None:
                raise NotYet from None
            arrived = self._wait(left, partial(self._connection.recv, RECEIVED_BYTES))
        before, self.unfinished = self.unfinished, self.unfinished + len(arrived)
        if before <= LARGE_BYTES < self.unfinished:
            self._on_large()
        return arrived

    def send(self, data: bytes, is_last: bool = False) -> None:  # noqa: ARG002 (of TLS)
        """Send *data* within SEND_SECONDS; *is_last* means that nothing follows."""
        sent = self._send_at_once(data)
        if sent < len(data):  # the client reads more slowly than we write
            self._wait(SEND_SECONDS, partial(self._connection.sendall, data[sent:]))

    def _send_at_once(self, data: bytes) -> int:
        """Return how much of *data* could be sent without waiting."""
        try:
            return self._connection.send(data)
        except BlockingIOError:
            return 0

    def _wait(self, seconds: float, work: Callable[[], T]) -> T:
        """Return the result of *work*, which may wait for the client for *seconds*."""
        if not before_waiting():
            raise OSError(errno.EAGAIN, "no thread can wait for the client")
        self._connection.settimeout(seconds)
        try:
            return work()
        finally:
            self._connection.settimeout(0)

    def end(self) -> None:
        """Tell the client, without waiting, that nothing follows.

        A plain connection has no message for that.
        """

    def linger(self) -> None:
        """Drop bytes that the client still sends, for up to LINGER_SECONDS.

        Closing a socket with unread bytes resets the connection, and the reset may
        overtake the reply.
        """
        deadline = time.monotonic() + LINGER_SECONDS
        while Stream.receive(self, deadline) and before_waiting():
            pass


class TlsFlood(Exception):
    """A client sent MAX_TLS_BYTES without completing a handshake or a request."""


GONE = object()  # the client has stopped sending


class TlsStream(Stream):
    """The bytes of a connection in TLS, decrypted.

    OpenSSL works on memory here, not on the socket, so that every byte received is
    counted first.  Given the socket, OpenSSL would buffer a ClientHello of 128 KiB for
    anyone who sends it, and read key updates as long as they come, past any deadline.

    All methods raise ssl.SSLError too; handshake() and receive() also raise TlsFlood.
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
        self._fruitless = 0  # bytes that arrived since a step was complete
        self._has_said_end = False

    @property
    def has_more(self) -> bool:
        """Whether bytes of the client may be there that arrived earlier."""
        return bool(self._tls.pending() or self._incoming.pending)

    def handshake(self) -> None:
        """Agree on keys with the client.  Raises ConnectionError if it leaves.

        Raises NotYet if the client has to send something.
        """
        if self._advance(self._tls.do_handshake) is GONE:
            raise ConnectionError("the client left during the handshake")
        self.unfinished = 0

    def receive(self, deadline: float | None = None) -> bytes:
        """Return the bytes that arrive next, or b"" if the client has stopped sending.

        Raises TimeoutError at *deadline*, in monotonic seconds; without one, NotYet
        instead of waiting.
        """
        arrived = self._advance(partial(self._tls.read, RECEIVED_BYTES), deadline)
        return b"" if arrived is GONE else arrived

    def send(self, data: bytes, is_last: bool = False) -> None:
        """Send *data* within SEND_SECONDS, then a close_notify if it *is_last*."""
        self._tls.write(data)
        if is_last and not self._may_have_kept_session():
            self._say_end()
        self._flush()

    def end(self) -> None:
        """Send a close_notify, without waiting: nothing was cut off.

        A TLS 1.2 client without session tickets gets none, because its session is
        dropped instead.  It knows the end of a reply from the Content-Length.
        """
        if self._may_have_kept_session():
            self._drop_session()
            return
        self._say_end()
        if self._outgoing.pending:
            self._send_at_once(self._outgoing.read())

    def _say_end(self) -> None:
        """Write a close_notify, unless one is written."""
        if not self._has_said_end:
            self._has_said_end = True
            # unwrap() also wants the client's close_notify, which is seldom there yet.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()

    def _may_have_kept_session(self) -> bool:
        """Return whether OpenSSL may have cached the session.  It caches up to 20,480.

        Sessions of TLS 1.3, and of TLS 1.2 with a ticket, are kept by the client.
        Asking the connection which kind it has would leak memory (CPython 3.11).
        """
        if self._tls.version() != "TLSv1.2":
            return False
        kept: int = self._tls.context.session_stats()["number"]
        return kept > 0

    def _drop_session(self) -> None:
        """Make OpenSSL forget the session, by causing a fatal error.

        There is no other way: Python does not offer SSL_CTX_set_session_cache_mode.
        """
        self._incoming.write(bytes(MAX_TLS_BYTES))  # not a record, and larger than any
        with contextlib.suppress(ssl.SSLError):
            while self._tls.read(RECEIVED_BYTES):
                pass

    def _advance(self, step: Callable[[], Any], deadline: float | None = None) -> Any:
        """Repeat *step* as bytes arrive; return its result, GONE if the client stops.

        Bytes that TLS has to send go out before each wait for the client.  After the
        last step they stay and go out with the next send: session tickets are sent with
        the first reply.
        """
        is_new: int | bool = self.has_more
        while True:
            try:
                if is_new:
                    result = step()
                    self._fruitless = 0
                    return result
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                self._flush()  # sends the alert
                raise
            self._flush()
            if self._fruitless > MAX_TLS_BYTES:
                raise TlsFlood(f"{MAX_TLS_BYTES} bytes without a request")
            arrived = super().receive(deadline)
            if not arrived:
                return GONE
            self._fruitless += len(arrived)
            is_new = self._incoming.write(arrived)

    def _flush(self) -> None:
        if self._outgoing.pending:
            super().send(self._outgoing.read())
