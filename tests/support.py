"""What the tests share: a token server on loopback, and ways to talk to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import secret_scan

from tokenserver.app import TokenServer
from tokenserver.config.files import LiveFiles
from tokenserver.config.grants import AssumeRoleCall, CallTemplate, UserCall
from tokenserver.config.load import Config, LiveConfig
from tokenserver.config.policy import SessionPolicy
from tokenserver.config.tls import LiveTls
from tokenserver.sts.client import StsClient
from tokenserver.sts.tokens import TokenCache

ACCESS_KEY_ID = "LTAItestAccessKeyId"
ACCESS_KEY_SECRET = "testAccessKeySecret+/="
ROLE_ARN = "acs:ram::1234567890123456:role/app-uploader"
POLICY_DIRECTORY = Path(__file__).parent.parent / "policy"

# For what ought to happen, however busy the machine is; only what hangs takes longer.
PATIENCE_SECONDS = 60.0


def settings(**changes: Any) -> dict[str, Any]:
    """Return the settings of a working config.json, less those changed to None."""
    values: dict[str, Any] = {
        "AccessKeyID": ACCESS_KEY_ID,
        "AccessKeySecret": ACCESS_KEY_SECRET,
        "RoleArn": ROLE_ARN,
        "TokenExpireTime": "900",
        "PolicyFile": str(POLICY_DIRECTORY / "bucket_write_policy.txt"),
        "BucketName": "my-bucket",
        "ObjectPrefix": "photos/",
        "TokenReuseTime": 0,  # so that a test sees STS behind each request,
        "StsCallsPerSecond": 10_000,  # at once
    } | changes
    return {name: value for name, value in values.items() if value is not None}


def write_config(folder: Path, **changes: Any) -> Path:
    """Write a config.json into *folder*, which only its owner may read."""
    path = folder / "config.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(settings(**changes)), encoding="utf-8")
    return path


def call_of(config: Config) -> AssumeRoleCall:
    """Return the AssumeRole call that any path makes."""
    return config.grants["/"].call_for(None).complete()


def asking(call: AssumeRoleCall) -> UserCall:
    """Return what becomes *call* when its token is fetched."""
    policy = None if call.policy is None else SessionPolicy(call.policy)
    return UserCall(CallTemplate(**vars(call) | {"policy": policy}), None)


@dataclass(frozen=True)
class Reply:
    """A reply as its client sees it; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def __post_init__(self) -> None:
        secret_scan.check_reply(self.status, self.headers, self.body)

    @property
    def json(self) -> Any:
        """The document in the body."""
        return json.loads(self.body)


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


def request(
    port: int,
    target: str = "/",
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    host: str = "127.0.0.1",
) -> Reply:
    """Send one request to *port* of this machine on a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        connection.request(method, target, body, headers or {})
        return read_reply(connection)


def read_reply(connection: http.client.HTTPConnection) -> Reply:
    """Return the reply that *connection* waits for."""
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, headers, response.read())


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what other threads are about to bring about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "that should have come true by now"
        time.sleep(0.002)


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port of 127.0.0.1 that nobody else is given, and where nobody listens.

    A server of ours may listen on it.
    """
    with socket.socket() as holder:
        # With it, another that has it too may have the port, unless this one listens.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
