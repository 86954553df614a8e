"""The token server of a LocalCloud.

No other module of localcloud imports tokenserver.  This one is imported only when a
token server is started, because importing the STS SDK takes most of the time that a
LocalCloud needs to start.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localcloud.network import Network
from localcloud.oss.stand_in import printable
from tokenserver import cli, logs
from tokenserver.app import TokenServer
from tokenserver.config.callback import Callback
from tokenserver.config.files import FileWatch
from tokenserver.config.load import Config, LiveConfig
from tokenserver.documents import Upload
from tokenserver.errors import ConfigError
from tokenserver.httpd.request import Request
from tokenserver.sts.client import StsClient
from tokenserver.sts.tokens import TokenCache
from tokenserver.uploads.uploads import Uploads

__all__ = ["ConfigError", "LocalTokenServer", "listen", "log_to_stderr"]

DRAIN_SECONDS = 5.0  # for requests in flight at the end
MAX_UPLOADS = 10_000  # remembered; older ones are forgotten
UNITS = ("bytes", "kB", "MB", "GB")

logger = logging.getLogger(__name__)


def listen(address: str, port: int) -> socket.socket:
    """Return a bound socket for a LocalTokenServer.

    Its port is needed before there is a server, because the configuration names it.
    Port 0 means any free port.  Raises OSError if the port cannot be used.
    """
    listener = socket.socket()
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


class KnownUploads(Uploads):
    """Receives reports, and remembers the latest MAX_UPLOADS uploads in *last*."""

    def __init__(self, current: Callable[[], Callback | None]) -> None:
        super().__init__(current)
        self.last: deque[dict[str, Any]] = deque(maxlen=MAX_UPLOADS)

    def receive(self, request: Request, callback: Callback, config: Config) -> Upload:
        """Record the upload that *request* reports; return it.

        Raises ReportRefused.
        """
        upload = super().receive(request, callback, config)
        self.last.append(json.loads(upload.record))
        logger.info("reported: %s", upload_text(upload))
        return upload


def upload_text(upload: Upload) -> str:
    """Return a line with the facts about *upload*."""
    parts = [upload.object]
    if upload.width is not None and upload.height is not None:
        parts.append(f"{upload.width} x {upload.height}")
    parts += [upload.type, size_text(upload.size)]
    if upload.user:
        parts.append(f"by {upload.user}")
    return printable(", ".join(parts))


def size_text(size: float) -> str:
    """Return a number of bytes with a unit, such as 35.9 kB."""
    power = 0
    while size >= 999.5 and power < len(UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.3g} {UNITS[power]}"


class ListeningServer(TokenServer):
    """A token server on a socket that is bound already."""

    def __init__(
        self,
        listener: socket.socket,
        config: LiveConfig,
        tokens: TokenCache,
        tls: ssl.SSLContext | None,
        uploads: Uploads,
    ) -> None:
        self._listener = listener
        address = listener.getsockname()
        super().__init__(address, config, tokens, (lambda: tls) if tls else None)
        self.uploads = uploads

    def server_bind(self) -> None:
        """Use the socket that is bound already."""
        self.socket.close()
        self.socket = self._listener
        self.server_address = self._listener.getsockname()
        self.server_name, self.server_port = self._listener.getsockname()[:2]


class LocalTokenServer:
    """A token server with the configuration file *config*, in *network*.

    It listens on *listener*.  The stand-in of OSS only calls this machine, over plain
    HTTP.  If it cannot reach *listener* that way, it reports to *reports* instead.
    *clock* returns unix seconds.  Raises ConfigError for an invalid configuration.
    """

    def __init__(
        self,
        config: Path,
        listener: socket.socket,
        reports: socket.socket | None,
        clock: Callable[[], float],
        network: Network,
    ) -> None:
        self._config = LiveConfig(config)
        self._client = StsClient(
            lambda: self._config.current().sts_calls_per_second, clock
        )
        self._clock = clock
        self.uploads = KnownUploads(lambda: self._config.current().callback)
        places = [(reports, None)] if reports else []
        self._servers = [  # the last one is told of new configurations
            ListeningServer(place, self._config, self._tokens(), tls, self.uploads)
            for place, tls in [*places, (listener, network.tls)]
        ]
        self._server = self._servers[-1]
        self.port: int = self._server.server_port
        self._threads = [
            threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
            for one in self._servers
        ]

    def _tokens(self) -> TokenCache:
        return TokenCache(self._client.assume_role, self._clock)

    def forget_tokens(self) -> None:
        """Forget all tokens, so that none is issued again."""
        self._server.tokens = self._tokens()

    def start(self) -> None:
        """Serve in other threads, until close()."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Answer the requests in flight, and stop serving."""
        for server, thread in zip(self._servers, self._threads, strict=True):
            if thread.ident is None:  # it was never started
                server.server_close()
                continue
            server.shutdown()
            thread.join()
            server.drain(DRAIN_SECONDS)

    def run(self, message: str) -> int:
        """Print *message* and serve until SIGINT or SIGTERM; return the exit status.

        Changes to the configuration file take effect while it runs.
        """
        watch = FileWatch(self._config)
        watch.start()
        for thread in self._threads[:-1]:
            thread.start()
        return cli.serve(self._server, message, watch)


def log_to_stderr() -> None:
    """Log to stderr, for the token server and the stand-ins alike."""
    logs.log_to_stderr()
    logger = logging.getLogger("localcloud")
    logger.handlers = logging.getLogger("tokenserver").handlers
    logger.setLevel(logging.INFO)
    logger.propagate = False
