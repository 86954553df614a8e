"""The backend of an app, which receives the uploads that a server forwards."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Forwarded:
    """A request that the backend received; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The document in the body."""
        return json.loads(self.body)


class Backend:
    """A backend on loopback that answers each document with *status*.

    *answer* may return a status for a request, and may wait before that.
    """

    def __init__(self, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.status = 204
        self.location = ""
        self.answer: Callable[[Forwarded], int] = lambda _: self.status
        self.received: list[Forwarded] = []  # what was asked, accepted or not
        self.accepted: list[Forwarded] = []
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                headers = {name.lower(): value for name, value in self.headers.items()}
                found = Forwarded(self.path, headers, self.rfile.read(length))
                backend.received.append(found)
                status = backend.answer(found)
                if 200 <= status < 300:
                    backend.accepted.append(found)
                self.send_response(status)
                if backend.location:
                    self.send_header("Location", backend.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None: ...

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None: ...

        self._server = Server(("127.0.0.1", port), Handler)
        if context:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True
            )
        self.port: int = self._server.server_port
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self.port}/uploads"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    def __enter__(self) -> Backend:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
