"""The HTTP server that the stand-ins and the upload page share."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from weakref import WeakSet

from localcloud.network import Network


class LoopbackServer(ThreadingHTTPServer):
    """Serves with a thread per connection, from start() to close().

    *service* is for the handlers.  Port 0 means any free port; it is bound at once.
    Raises OSError if the port is in use.
    """

    # A silent client keeps a thread this long; TLS lets it begin.
    handshake_seconds = 10.0

    request_queue_size = 1024
    daemon_threads = False  # server_close() would not wait for daemon threads

    def __init__(
        self,
        port: int,
        handler: Callable[..., BaseHTTPRequestHandler],
        service: Any,
        network: Network | None = None,
    ) -> None:
        network = network or Network()
        self.service = service
        self._tls = network.tls
        self._connections: WeakSet[socket.socket] = WeakSet()
        super().__init__((network.bind, port), handler)
        self.port: int = self.server_address[1]
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.02,), daemon=True
        )

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """End every connection at once, wait for their threads, close all sockets."""
        if self._thread.ident is not None:  # otherwise shutdown() would wait forever
            self.shutdown()
            self._thread.join()
        self.server_close()

    def server_bind(self) -> None:
        """Bind the port, without a look-up of this machine's name."""
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks DNS for a name

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, and remember it for server_close()."""
        if self._tls:
            # The thread does the handshake, in its first read.
            request.settimeout(self.handshake_seconds)
            request = self._tls.wrap_socket(
                request, server_side=True, do_handshake_on_connect=False
            )
        self._connections.add(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        """End every connection, then wait for the threads as usual."""
        for connection in self._connections:
            with suppress(OSError):  # closed by its own thread already
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


class LoopbackHandler(BaseHTTPRequestHandler):
    """One connection of HTTP/1.1, kept alive and not logged."""

    server: LoopbackServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Serve requests until the connection ends."""
        # The client went away, or does not trust the certificate.
        with suppress(ConnectionError, TimeoutError, ssl.SSLError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the service decides what to log."""
