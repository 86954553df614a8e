"""The HTTP server of the OSS stand-in."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from email.errors import (
    FirstHeaderLineIsContinuationDefect,
    MissingHeaderBodySeparatorDefect,
)
from email.utils import formatdate
from http import HTTPStatus
from http.client import responses
from typing import Protocol, cast

from localcloud.loopback import LoopbackHandler
from localcloud.oss.body import MAX_BODY_BYTES, Body
from localcloud.oss.errors import CutOff, OssError, not_imitated
from localcloud.oss.records import read_chunks
from localcloud.oss.replies import Reply, error_reply, make_request_id
from localcloud.oss.request import Request

# The headers that OSS reads, including those that clients may sign.
READ_ONCE = re.compile(
    r"(access-control-request-|content-|if-|x-oss-).*|authorization|cache-control|date|"
    r"expect|expires|host|origin|range|security-token|transfer-encoding|user-agent"
)

# With one of these, lines of the head were not read as headers.
HEAD_DEFECTS = (FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect)


class Service(Protocol):
    """The part of the stand-in that a handler uses."""

    def clock(self) -> float:
        """Return the time in unix seconds."""

    def answer(self, request: Request) -> Reply:
        """Return the reply to *request*.  Raises CutOff."""


class OssHandler(LoopbackHandler):
    """One connection: reads requests, has the stand-in answer, sends the replies."""

    timeout = 60  # seconds a silent client may hold a thread

    def handle_expect_100(self) -> bool:
        """Do not ask for the body yet: a refused client need not send it."""
        return True

    def handle_one_request(self) -> None:
        """Read a request and answer it; close the connection if it is not valid."""
        # 0x85 and 0xA0 are white space in Latin-1 and would end the URL, but they occur
        # inside UTF-8 letters.
        self.raw_requestline = re.sub(
            rb"[\x80-\xff]",
            lambda byte: b"%%%02X" % ord(byte[0]),
            self.rfile.readline(65537),
        )
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        oss: Service = self.server.service
        expectation = self.headers.get("expect", "")
        self.is_asked_to_continue = expectation.lower() == "100-continue"
        now = oss.clock()
        try:
            request = self.read_request(now)
        except OssError as error:
            self.close_connection = True
            host = {"host": self.headers.get("host", "")}
            self.send(error_reply(error, self.command, host, make_request_id()), now)
            return
        try:
            reply = oss.answer(request)
        except CutOff:
            self.close_connection = True
            return
        if self.is_asked_to_continue and not request.body.is_begun:
            self.close_connection = True  # the client may send the body, or may not
        if reply.status == HTTPStatus.LENGTH_REQUIRED:
            self.close_connection = True  # it may send a body that it did not announce
        self.send(reply, now)
        self.finish_body(request.body)

    def read_request(self, now: float) -> Request:
        """Return the request whose head was read at *now*.  Raises OssError."""
        headers = self.read_headers()
        return Request(
            method=self.command,
            target=self.path,
            headers=headers,
            body=self.body(headers),
            client=self.client_address[0],
            received_at=now,
        )

    def read_headers(self) -> dict[str, str]:
        """Return the headers by name in lower case.  Raises OssError.

        Parsers differ about a header that is there twice, so it is refused if OSS reads
        it.  Other repeated headers are joined into one list (RFC 9110, section 5.3).
        """
        if any(isinstance(defect, HEAD_DEFECTS) for defect in self.headers.defects):
            raise OssError("InvalidArgument", "A line of the head is not a header.")
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            name = name.lower()
            with suppress(UnicodeError):  # otherwise it stays Latin-1
                value = value.encode("latin-1").decode()
            if name in headers:
                if READ_ONCE.fullmatch(name):
                    message = f"The header {name} is given twice."
                    raise OssError("InvalidArgument", message)
                value = f"{headers[name]}, {value}"
            headers[name] = value
        return headers

    def body(self, headers: Mapping[str, str]) -> Body:
        """Return the body that *headers* announce.  Raises OssError."""
        coding = headers.get("transfer-encoding", "").lower()
        is_announced = bool(coding) or "content-length" in headers
        if coding not in ("", "chunked"):
            raise not_imitated(f"Transfer-Encoding: {coding}")
        if coding and "content-length" in headers:
            message = "Content-Length and Transfer-Encoding exclude each other."
            raise OssError("InvalidArgument", message)
        length: int | None = None
        if not coding:
            text = headers.get("content-length", "0")
            if not re.fullmatch(r"[0-9]{1,18}", text):
                raise OssError("InvalidArgument", "Content-Length is not a number.")
            length = int(text)
            if length > MAX_BODY_BYTES:
                raise OssError("EntityTooLarge")
        file = cast(io.BufferedReader, self.rfile)
        return Body(file, length, self.before_body, is_announced=is_announced)

    def before_body(self) -> None:
        """Send 100 Continue if the client waits for it."""
        if self.is_asked_to_continue:
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send(self, reply: Reply, now: float) -> None:
        """Send *reply*; its file, if it has one, is sent in pieces."""
        size = reply.size or len(reply.body)
        headers = {
            "Server": "AliyunOSS",
            "Date": formatdate(now, usegmt=True),
            **reply.headers,
        }
        if reply.status not in (204, 304):
            headers["Content-Length"] = str(size)
        headers["Connection"] = "close" if self.close_connection else "keep-alive"
        lines = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, '')}"]
        lines += [clean(f"{name}: {value}") for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        with reply.file or nullcontext():
            self.connection.sendall(head + reply.body)
            if reply.file:
                for chunk in read_chunks(reply.file, reply.size):
                    self.connection.sendall(chunk)

    def finish_body(self, body: Body) -> None:
        """Read the rest of a body that was not needed.

        Otherwise its bytes would be taken for the next request, or, if the connection
        ended here, the reset could overtake the reply.
        """
        is_wanted = body.is_begun or not self.is_asked_to_continue
        with suppress(OssError):
            if is_wanted:
                deque(body.chunks(), maxlen=0)
        if not body.is_read:  # more of it may still come
            self.close_connection = True


def clean(header: str) -> str:
    """Return a header line with its line breaks replaced by spaces."""
    return re.sub(r"[\r\n]+", " ", header)
