"""The HTTP server of the STS stand-in."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections import Counter
from http.client import responses
from typing import Protocol

from localcloud.loopback import LoopbackHandler
from localcloud.sts.behaviours import Behaviour, Close, Drip, Reply, Reset
from localcloud.sts.request import Request, is_single, read_request

CONTENT_LENGTH = re.compile(r"[0-9]{1,6}")  # up to 1 MB, ours


class Service(Protocol):
    """The stand-in, as the handler uses it."""

    latency_seconds: float
    closing: threading.Event

    def receive(self, request: Request) -> Behaviour | None:
        """Record *request*; return how to answer it."""

    def reply(self, request: Request, behaviour: Behaviour | None) -> Reply:
        """Return the reply to *request*."""


class StsHandler(LoopbackHandler):
    """One connection: reads a request, lets the stand-in decide, sends the reply."""

    def handle_one_request(self) -> None:
        """Read a request and answer it; close the connection if it is not one."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not CONTENT_LENGTH.fullmatch(length):
            self.send_error(501, "The STS stand-in does not imitate such a body")
            return
        names = Counter(name.lower() for name in self.headers)
        if any(names[n] > 1 and is_single(n) for n in names):
            self.send_error(501, "The STS stand-in does not imitate repeated headers")
            return
        body = self.rfile.read(int(length))
        now = self.server.service.clock()
        self.answer(read_request(self.command, self.path, headers, body, now))

    def answer(self, request: Request) -> None:
        """Send the reply to *request*, in the way that a test has ordered."""
        sts: Service = self.server.service
        behaviour = sts.receive(request)
        if isinstance(behaviour, (Close, Reset)):
            self.close(with_reset=isinstance(behaviour, Reset))
        elif sts.closing.wait(sts.latency_seconds):
            self.close_connection = True
        elif isinstance(behaviour, Drip):
            for byte in self.as_bytes(sts.reply(request, behaviour)):
                self.connection.sendall(bytes([byte]))
                is_over = behaviour.released.is_set()
                if sts.closing.wait(0 if is_over else behaviour.seconds_per_byte):
                    break
        else:
            self.connection.sendall(self.as_bytes(sts.reply(request, behaviour)))

    def as_bytes(self, reply: Reply) -> bytes:
        """Return the whole of *reply*, for a single send."""
        headers = {
            "Date": self.date_time_string(),
            "Content-Type": reply.content_type,
            "Content-Length": str(len(reply.body)),
            **reply.headers,
        }
        if headers.get("Connection") == "close":
            self.close_connection = True
        lines = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, '')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        return head if self.command == "HEAD" else head + reply.body

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return *timestamp*, or the time of the stand-in, in the form of HTTP."""
        now: float = self.server.service.clock()
        return super().date_time_string(int(now if timestamp is None else timestamp))

    def close(self, with_reset: bool) -> None:
        """End the connection without a reply."""
        if with_reset:  # which is what it means to linger for zero seconds
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.rfile.close()
        self.connection.close()
        self.close_connection = True
