"""A token server on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers.client import Reply, request
from helpers.machine import PATIENCE_SECONDS, wait_until
from helpers.replies import security_token
from helpers.settings import ACCESS_KEY_ID, ACCESS_KEY_SECRET, ROLE_ARN, write_config
from localcloud.sts import StsStandIn
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
        """Make the edits of the server's files take effect."""
        look(*self._files)

    def ask(self, client: StsClient) -> None:
        """Make the server call STS through another *client*."""
        self.server.tokens = TokenCache(client.assume_role)

    def close(self) -> None:
        """Stop serving, and end the open connections."""
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
        """Send one request on a new connection."""
        return request(self.port, target, method, headers, body)


def look(*files: LiveFiles[Any]) -> None:
    """Make edits take effect: one look finds an edit, the next confirms it."""
    for _ in range(2):
        for one in files:
            one.look()


MakeServer = Callable[..., RunningServer]


@contextlib.contextmanager
def serving(
    folder: Path, client: StsClient
) -> Iterator[tuple[RunningServer, StsStandIn]]:
    """Run a token server and its STS for several tests."""
    with StsStandIn() as sts:
        sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET)
        sts.add_role(ROLE_ARN)
        path = write_config(folder, StsEndpoint=sts.url, TokenReuseTime=0)
        server = RunningServer(LiveConfig(path), client)
        with contextlib.closing(server):
            yield server, sts


def connect_narrowly(server: RunningServer) -> socket.socket:
    """Return a connection to *server* on which few bytes fit that are not read."""
    server.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    client = socket.socket()
    client.settimeout(PATIENCE_SECONDS)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", server.port))
    return client


def check_still_serves(server: RunningServer) -> None:
    """Check that the server has no connection left, and serves a new one."""
    wait_until(lambda: not server.server._open)
    reply = server.request("/?callback=next", headers={"Connection": "close"})
    assert security_token(reply, "next")
