"""Requests, read strictly (RFC 9112): bytes in, a Request or a RequestError out.

A proxy and this server must not see two different requests in the same bytes.  So
anything that parsers read differently, as a line end, a header or a length, is refused.
An error message never repeats text from the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

MAX_HEAD_BYTES = 16 * 1024
MAX_HEAD_LINES = 100
MAX_BODY_BYTES = 64 * 1024
METHODS = ("GET", "HEAD", "POST", "OPTIONS")
ALLOWED = ", ".join(METHODS)

# --- Refusals -------------------------------------------------------------------


class RequestError(Exception):
    """A request is refused.  The class holds what its client is told.

    *message* replaces the message of the class; *fields* are header lines for the
    reply; *detail* is for the log alone.
    """

    status: HTTPStatus
    code: str
    message: str
    fields = ""

    def __init__(self, message: str = "", fields: str = "", detail: str = "") -> None:
        super().__init__(self.code)
        self.message = message or self.message
        self.fields = fields or self.fields
        self.detail = detail


class MalformedRequest(RequestError):
    """The request is not HTTP/1.1, or not in the strict form accepted here."""

    status = HTTPStatus.BAD_REQUEST
    code = "MalformedRequest"
    message = "The request is not HTTP/1.1."


class NotFound(RequestError):
    """Nothing is served at the path of the request."""

    status = HTTPStatus.NOT_FOUND
    code = "NotFound"
    message = "There is nothing here."


class MethodNotAllowed(RequestError):
    """The method of the request is not one of METHODS."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    code = "MethodNotAllowed"
    message = f"Use one of {ALLOWED}."
    fields = f"Allow: {ALLOWED}\r\n"


class RequestTimeout(RequestError):
    """The request did not arrive in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    code = "RequestTimeout"
    message = "The request took too long to arrive."


class BodyTooLarge(RequestError):
    """The body has more than MAX_BODY_BYTES."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "BodyTooLarge"
    message = f"The body has more than {MAX_BODY_BYTES} bytes."


class UriTooLong(RequestError):
    """The first line alone has more than MAX_HEAD_BYTES."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG
    code = "UriTooLong"
    message = "The URL is too long."


class ExpectationFailed(RequestError):
    """The Expect header asks for something other than 100-continue."""

    status = HTTPStatus.EXPECTATION_FAILED
    code = "ExpectationFailed"
    message = "Expect may only be 100-continue."


class HeadersTooLarge(RequestError):
    """The head has more than MAX_HEAD_BYTES or MAX_HEAD_LINES."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    code = "HeadersTooLarge"
    message = (
        f"The head has more than {MAX_HEAD_BYTES} bytes or {MAX_HEAD_LINES} lines."
    )


class TransferEncodingNotSupported(RequestError):
    """The Transfer-Encoding is not chunked alone."""

    status = HTTPStatus.NOT_IMPLEMENTED
    code = "TransferEncodingNotSupported"
    message = "Send a Content-Length, or Transfer-Encoding: chunked."


class TooManyConnections(RequestError):
    """The connection is over the limit, or had to make room for another."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "TooManyConnections"
    message = "Try again in a second."
    fields = "Retry-After: 1\r\n"


class HttpVersionNotSupported(RequestError):
    """The request is of an HTTP version other than 1.0 and 1.1."""

    status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    code = "HttpVersionNotSupported"
    message = "The server speaks HTTP/1.1."


# --- Requests -------------------------------------------------------------------


class RequestLine(NamedTuple):
    """The first line of a request."""

    method: str
    path: str  # as it is written, without the query
    query: str
    is_path: bool  # the target is a path, not a host or the URL of another scheme
    is_old: bool  # HTTP/1.0


class Request(NamedTuple):
    """A request.  Its body is kept only if the application wants it."""

    method: str
    path: str  # as it is written, without the query
    query: str
    fields: Mapping[str, str]  # header values by name in lower case
    body_length: int  # bytes; 0 if the body is chunked
    is_chunked: bool
    is_asked_to_continue: bool  # the client waits for 100 Continue before the body
    is_last: bool  # the connection ends after it
    body: bytes = b""


TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~\x80-\xff]+) HTTP/([0-9])\.([0-9])"
)
FIELD_LINE = re.compile(rf"({TOKEN}):([\t -~\x80-\xff]*)")
HOST = re.compile(r"([A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?")
LENGTH = re.compile(r"[0-9]{1,18}")
ABSOLUTE_FORM = re.compile(r"https?://[^/]+", re.IGNORECASE)  # sent to proxies

# Not allowed in a head: control characters, and bare CR or LF.  Some parsers take these
# for line ends and some do not, which makes request smuggling possible.
NOT_IN_A_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")

ONCE_ONLY = ("host", "content-length", "transfer-encoding", "authorization")
TLS_HANDSHAKE = b"\x16\x03"  # the first bytes of a client that speaks TLS


class HeadParser:
    """Reads one request head, each byte once however slowly they arrive.

    *line* and *fields* are set as soon as they are known, for the log of a request that
    is refused.
    """

    def __init__(self) -> None:
        self.line: RequestLine | None = None
        self.fields: dict[str, str] = {}  # values by name in lower case
        self._has_dropped = False
        self._checked = 0  # bytes

    def has_begun(self, received: bytearray) -> bool:
        """Return whether a head begins in *received*.

        One empty line before it is dropped (RFC 9112 section 2.2).
        """
        if not self._has_dropped and received.startswith(b"\r\n"):
            del received[:2]
            self._has_dropped = True
        return bool(received) and received != b"\r"

    def take(self, received: bytearray) -> Request | None:
        """Remove a head from *received*; return its request, None if it is incomplete.

        Raises RequestError as soon as the bytes received cannot start a valid request.
        """
        # The empty line may begin within the last three bytes searched before.
        end = received.find(b"\r\n\r\n", max(0, self._checked - 3))
        if end < 0:
            self._refuse_partial(received)
            self._checked = len(received)
            return None
        if end > MAX_HEAD_BYTES:
            raise too_large(received)
        head = bytes(received[:end])
        del received[: end + 4]
        return self._parse(head)

    def _refuse_partial(self, received: bytearray) -> None:
        """Refuse an incomplete head that can no longer become valid."""
        seen = max(0, self._checked - 1)  # the LF of a final CR may be there now
        if NOT_IN_A_HEAD.search(received, seen):
            is_tls = received.startswith(TLS_HANDSHAKE)
            raise MalformedRequest(
                "The request has a character that HTTP does not allow.",
                detail="TLS, but this port speaks plain HTTP" if is_tls else "",
            )
        if len(received) > MAX_HEAD_BYTES + len(b"\r\n\r"):
            raise too_large(received)
        if self.line is None and (end := received.find(b"\r\n", seen)) >= 0:
            self._parse_line(received[:end].decode("latin-1"))

    def _parse_line(self, line: str) -> RequestLine:
        parsed = self.line = parse_request_line(line)
        if parsed.method not in METHODS:
            raise MethodNotAllowed
        if not parsed.is_path:
            raise MalformedRequest("The request target is not a path.")
        return parsed

    def _parse(self, head: bytes) -> Request:
        line, *field_lines = head.decode("latin-1").split("\r\n")
        parsed = self.line or self._parse_line(line)
        if len(field_lines) >= MAX_HEAD_LINES:
            raise HeadersTooLarge
        for field_line in field_lines:
            add_field(self.fields, field_line)
        return request_of(parsed, self.fields)


def parse_head(head: bytes) -> Request:
    """Return the request of a complete *head*, which ends with an empty line.

    Raises RequestError.
    """
    request = HeadParser().take(bytearray(head))
    if request is None:
        raise MalformedRequest("The request ended before its head was complete.")
    return request


def too_large(received: bytearray) -> RequestError:
    """Return the error for a head of more than MAX_HEAD_BYTES."""
    if b"\r\n" not in received[:MAX_HEAD_BYTES]:
        return UriTooLong()
    return HeadersTooLarge()


def parse_request_line(line: str) -> RequestLine:
    """Return the parsed first *line* of a request.  Raises RequestError."""
    match = REQUEST_LINE.fullmatch(line)
    if not match:
        raise MalformedRequest("The first line is not an HTTP/1.1 request line.")
    method, target, major, minor = match.groups()
    if major != "1" or minor not in "01":
        raise HttpVersionNotSupported
    path, _, query = target.partition("?")
    if not path.startswith("/") and (absolute := ABSOLUTE_FORM.match(path)):
        path = path[absolute.end() :] or "/"
    is_path = path.startswith("/") and "#" not in target
    is_path = is_path or (method, target) == ("OPTIONS", "*")
    return RequestLine(method, path, query, is_path, is_old=minor == "0")


def add_field(fields: dict[str, str], line: str) -> None:
    """Add a header *line* to *fields*; values of the same name are joined with ", ".

    Raises RequestError.
    """
    match = FIELD_LINE.fullmatch(line)
    if not match:
        raise MalformedRequest("A header line is malformed.")
    name, value = match[1].lower(), match[2].strip(" \t")
    if name in fields:
        if name in ONCE_ONLY:
            raise MalformedRequest("A header that must be sent only once came twice.")
        value = f"{fields[name]}, {value}"
    fields[name] = value


def request_of(line: RequestLine, fields: dict[str, str]) -> Request:
    """Return the request that has *line* and *fields*.  Raises RequestError."""
    host = fields.get("host")
    if not HOST.fullmatch(host or "") and not (line.is_old and host is None):
        raise MalformedRequest("The Host header is missing or malformed.")
    length = fields.get("content-length", "0")
    if not LENGTH.fullmatch(length):
        raise MalformedRequest("The Content-Length header is malformed.")
    coding = fields.get("transfer-encoding")
    if coding is not None:
        if line.is_old or "content-length" in fields:
            raise MalformedRequest("Transfer-Encoding is not allowed here.")
        if coding.lower() != "chunked":
            raise TransferEncodingNotSupported
    expectation = fields.get("expect")
    if expectation is not None and expectation.lower() != "100-continue":
        raise ExpectationFailed
    is_last = line.is_old
    if connection := fields.get("connection"):
        options = [option.strip(" \t") for option in connection.lower().split(",")]
        is_last = "close" in options or (line.is_old and "keep-alive" not in options)
    is_chunked, body_length = coding is not None, int(length)
    return Request(
        line.method,
        line.path,
        line.query,
        fields,
        body_length,
        is_chunked,
        is_asked_to_continue=expectation is not None and not line.is_old,
        # Bytes after a body are not read as a request, because a proxy might see
        # another one in them.
        is_last=is_last or is_chunked or body_length > 0,
    )
