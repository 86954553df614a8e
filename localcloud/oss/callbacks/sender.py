"""Sends callbacks, and reads the answers of app servers."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from localcloud.oss.callbacks.key import CallbackKey
from localcloud.oss.callbacks.parameters import Address, Callback
from localcloud.oss.callbacks.variables import Values
from localcloud.oss.errors import OssError

MAX_HEAD_BYTES = 64 * 1024  # of an answer
MAX_ANSWER_BYTES = 2**20  # "HTTP status code 203"
BAD_GATEWAY = 502  # the status that OSS reports if it cannot reach the app server
CHUNK_BYTES = 64 * 1024


class Unanswered(Exception):
    """An app server gave no answer that OSS passes on; the text is that of OSS."""

    def __init__(self, message: str, ec: str = "") -> None:
        super().__init__(message)
        self.ec = ec


class CallbackSender:
    """Posts callbacks with *key*, until close(); waits *seconds* for each answer."""

    def __init__(self, seconds: float, key: CallbackKey) -> None:
        self.seconds = seconds
        self.key = key
        self._lock = threading.Lock()  # guards the two below
        self._connections: set[socket.socket] = set()
        self._is_closed = False

    def close(self) -> None:
        """Cancel the callbacks that are in flight, and make no more."""
        with self._lock:
            self._is_closed = True
            for connection in self._connections:
                with suppress(OSError):  # the app server was faster
                    connection.shutdown(socket.SHUT_RDWR)

    def send(self, callback: Callback, values: Values) -> bytes:
        """Make the callback; return the JSON document that the app server answers.

        The addresses are called one after the other, until one answers.  Raises
        OssError (CallbackFailed) with the problem of the last one.
        """
        body = callback.template.filled({**callback.variables, **values.by_name()})
        failure = Unanswered("")
        for address in callback.addresses:
            request = self._request(address, callback.content_type, body)
            try:
                return self._exchange(address, request)
            except Unanswered as problem:
                failure = problem
        raise OssError("CallbackFailed", str(failure), ec=failure.ec)

    def _request(self, address: Address, content_type: str, body: bytes) -> bytes:
        """Return the bytes of the HTTP request for a callback."""
        lines = [
            f"POST {address.target} HTTP/1.1",
            f"Host: {address.name}",
            "Connection: close",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
            "User-Agent: ehttp-client/0.0.1",
            f"authorization: {self.key.signature(address.target, body)}",
            f"x-oss-pub-key-url: {self.key.encoded_url}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _exchange(self, address: Address, request: bytes) -> bytes:
        """Send *request*; return the JSON document in the answer.

        Raises Unanswered, also if the answer is not complete in time.
        """
        deadline = time.monotonic() + self.seconds
        try:
            place = (address.host, address.port)
            with (
                socket.create_connection(place, time_left(deadline)) as connection,
                self._known(connection),
            ):
                connection.settimeout(time_left(deadline))
                connection.sendall(request)
                return read_answer(connection, deadline)
        except TimeoutError:
            raise Unanswered("Cost too long time.") from None
        except OSError:
            raise Unanswered(error_status(BAD_GATEWAY)) from None

    @contextmanager
    def _known(self, connection: socket.socket) -> Iterator[None]:
        """Let close() end *connection*.  Raises ConnectionError if it was called."""
        with self._lock:
            if self._is_closed:
                raise ConnectionError
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.remove(connection)


def time_left(deadline: float) -> float:
    """Return the seconds until *deadline*.  Raises TimeoutError if it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def error_status(status: int) -> str:
    """Return the message of OSS for an answer with *status*."""
    return f"Error status : {status}."


def read_answer(connection: socket.socket, deadline: float) -> bytes:
    """Return the JSON document in the answer.  Raises Unanswered and OSError."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection, deadline)
        if len(data) > MAX_HEAD_BYTES:
            raise Unanswered(error_status(BAD_GATEWAY))
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, _, fields = head.partition(b"\r\n")
    status = re.match(rb"HTTP/1\.[01] ([0-9]{3})(?: |$)", status_line)
    if not status:
        raise Unanswered(error_status(BAD_GATEWAY))
    if status[1] != b"200":
        raise Unanswered(error_status(int(status[1])))
    length = content_length(fields)
    chunks = [body]
    missing = length - len(body)
    while missing > 0:
        chunks.append(receive(connection, deadline))
        missing -= len(chunks[-1])
    answer = b"".join(chunks)[:length]
    check_json(answer)
    return answer


def content_length(fields: bytes) -> int:
    """Return the Content-Length in the header *fields*.  Raises Unanswered."""
    try:
        headers = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
    except http.client.HTTPException:
        raise Unanswered(error_status(BAD_GATEWAY)) from None
    text = headers.get("Content-Length", "").strip()
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) > MAX_ANSWER_BYTES:
        raise Unanswered(
            "Error status : 400.User server return too long content-length value."
        )
    return int(text)


def receive(connection: socket.socket, deadline: float) -> bytes:
    """Return the bytes that arrive next.  Raises OSError if none do."""
    connection.settimeout(time_left(deadline))
    data = connection.recv(CHUNK_BYTES)
    if not data:
        raise ConnectionError
    return data


def check_json(answer: bytes) -> None:
    """Raise Unanswered unless *answer* is JSON."""
    try:
        json.loads(answer.decode())
    except (ValueError, RecursionError):
        message = "Response body is not valid json format."
        raise Unanswered(message, "0007-00000205") from None
