"""The token server of a LocalCloud.

No other module of localcloud imports tokenserver, and this one is imported only when a
token server is started, because importing the STS SDK takes most of the time that a
LocalCloud needs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from localcloud.network import Network
from tokenserver import cli, logs
from tokenserver.app import TokenServer
from tokenserver.config.files import FileWatch
from tokenserver.config.load import LiveConfig
from tokenserver.errors import ConfigError
from tokenserver.sts.client import StsClient
from tokenserver.sts.tokens import TokenCache

__all__ = ["ConfigError", "LocalTokenServer", "log_to_stderr"]

DRAIN_SECONDS = 5.0  # for requests that are under way at the end


class LocalTokenServer:
    """A token server with the configuration file *config*, in *network*.

    *clock* returns unix seconds.  Port 0 means any free port.  Raises ConfigError for a
    wrong configuration, and OSError if the port cannot be used.
    """

    def __init__(
        self, config: Path, port: int, clock: Callable[[], float], network: Network
    ) -> None:
        self._config = LiveConfig(config)
        self._client = StsClient(
            lambda: self._config.current().sts_calls_per_second, clock
        )
        self._clock = clock
        tls = network.tls
        self._server = TokenServer(
            (network.bind, port),
            self._config,
            self._tokens(),
            (lambda: tls) if tls else None,
        )
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    def _tokens(self) -> TokenCache:
        return TokenCache(self._client.assume_role, self._clock)

    def forget_tokens(self) -> None:
        """Forget all tokens, so that none is handed out again."""
        self._server.tokens = self._tokens()

    def start(self) -> None:
        """Serve in another thread, until close()."""
        self._thread.start()

    def close(self) -> None:
        """Answer the requests under way, and stop serving."""
        if self._thread.ident is None:  # it was never started
            self._server.server_close()
            return
        self._server.shutdown()
        self._thread.join()
        self._server.drain(DRAIN_SECONDS)

    def run(self, message: str) -> int:
        """Print *message* and serve until SIGINT or SIGTERM; return the exit status.

        Edits of the configuration file are taken up.
        """
        watch = FileWatch(self._config)
        watch.start()
        return cli.serve(self._server, message, watch)


def log_to_stderr() -> None:
    """Log to stderr, the token server and the stand-ins in the same form."""
    logs.log_to_stderr()
    logger = logging.getLogger("localcloud")
    logger.handlers = logging.getLogger("tokenserver").handlers
    logger.setLevel(logging.INFO)
    logger.propagate = False
