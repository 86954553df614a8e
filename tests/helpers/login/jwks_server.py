"""A JWKS URL on loopback."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JwksServer:
    """Answers each GET on loopback with *answer*, which a test may replace."""

    def __init__(self, content: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self.headers: dict[str, str] = {}
        self.answer: Callable[[BaseHTTPRequestHandler], None] = answering(content)
        self.closing = threading.Event()  # ends what answers slowly
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                outer.headers = dict(self.headers)
                with contextlib.suppress(OSError):  # the client has left
                    outer.answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *args: Any) -> None:
                pass  # a client that ends the TLS handshake, mostly

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}/jwks.json"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def close(self) -> None:
        """Stop.  Its port then refuses connections."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def jwks_server(
    content: bytes, tls: ssl.SSLContext | None = None
) -> Iterator[JwksServer]:
    """A JWKS URL that answers with *content*."""
    server = JwksServer(content, tls)
    try:
        yield server
    finally:
        server.close()


def answering(
    content: bytes, status: int = 200, **fields: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Return an answer with *content*."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in fields.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer
