"""A token server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from helpers.client import Reply, request
from tokenserver.app import TokenServer
from tokenserver.config.files import LiveFiles
from tokenserver.config.load import LiveConfig
from tokenserver.config.tls import LiveTls
from tokenserver.sts.client import StsClient
from tokenserver.sts.tokens import TokenCache


class RunningServer:
    """A token server that serves in a thread of its own."""

    def __init__(
        self, config: LiveConfig, client: StsClient, tls: LiveTls | None = None
    ) -> None:
        tokens = TokenCache(client.assume_role)
        self._files: list[LiveFiles[Any]] = [config, *([tls] if tls else [])]
        self.server = TokenServer(
            ("127.0.0.1", 0), config, tokens, tls.current if tls else None
        )
        self.port: int = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def look(self) -> None:
        """Have the server take up the edits of its files."""
        look(*self._files)

    def ask(self, client: StsClient) -> None:
        """Have the server ask STS through another *client*."""
        self.server.tokens = TokenCache(client.assume_role)

    def close(self) -> None:
        """Stop serving; the connections that are open end with it."""
        self.server.shutdown()
        self._thread.join()
        self.server.drain(5)

    def request(
        self,
        target: str = "/",
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Send one request on a connection of its own."""
        return request(self.port, target, method, headers, body)


def look(*files: LiveFiles[Any]) -> None:
    """Have edits taken up: a look finds one, the next confirms it."""
    for _ in range(2):
        for one in files:
            one.look()


MakeServer = Callable[..., RunningServer]
