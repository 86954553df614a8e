"""An app server for callbacks of OSS, as a developer would write it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FORM_BODY = "bucket=${bucket}&object=${object}&size=${size}&my=${x:my}"


@dataclass(frozen=True)
class Received:
    """A callback as received; names of headers are in lower case."""

    target: str
    headers: dict[str, str]
    body: bytes


def answer_of(
    body: bytes = b'{"Status":"OK"}', status: int = 200, **headers: str
) -> bytes:
    """Return the bytes of an answer; a_b is the header a-b."""
    fields = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} OK", *(f"{n}: {v}" for n, v in fields.items() if v)]
    return "\r\n".join([*lines, "", ""]).encode() + body


OK_ANSWER = answer_of()


@dataclass
class AppServer:
    """Serves on a free port for as long as a with block lasts.

    *answer* is the answer, or a function that makes it from a callback.  The server
    waits for *hold* before it answers; with *drips* it sends single bytes meanwhile.
    """

    answer: bytes | Callable[[Received], bytes] = OK_ANSWER
    received: list[Received] = field(default_factory=list)
    hold: threading.Event | None = None
    drips: bool = False

    def __enter__(self) -> AppServer:
        app = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                headers = {n.lower(): v for n, v in self.headers.items()}
                assert len(headers) == len(self.headers), "a header comes twice"
                received = Received(self.path, headers, self.rfile.read(size))
                app.received.append(received)
                answer = app.answer
                if app.hold:
                    while not app.hold.wait(0.02 if app.drips else None):
                        self.wfile.write(b"H")
                self.wfile.write(
                    answer if isinstance(answer, bytes) else answer(received)
                )
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None: ...

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None: ...  # OSS has gone away

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.hold:
            self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def base64_json(document: object) -> str:
    """Return *document* as JSON in Base64, for a header."""
    return base64.b64encode(json.dumps(document).encode()).decode()


def callback(url: str, body: str = FORM_BODY, **changes: object) -> str:
    """Return the callback to *url*."""
    document = {"callbackUrl": url, "callbackBody": body, **changes}
    return base64_json(document)
