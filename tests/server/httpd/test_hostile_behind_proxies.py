"""Hostile requests through nginx and HAProxy.

Both keep connections to the server open and share them among their clients.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter

import pytest
from helpers.client import exchange_anyhow, parse_replies, read_reply
from helpers.hostile import MARK, PROXIED, Row
from helpers.machine import PATIENCE_SECONDS, wait_until
from helpers.proxies import Proxied, proxy_in_front
from helpers.replies import check_no_leak, security_token
from helpers.server import serving

from tokenserver.sts.client import StsClient

pytestmark = [pytest.mark.nginx, pytest.mark.usefixtures("_clean_log")]


@contextlib.contextmanager
def proxied_by(
    name: str, factory: pytest.TempPathFactory, client: StsClient
) -> Iterator[Proxied]:
    """Run a token server with a proxy in front of it, for more than one test."""
    folder = factory.mktemp(name)
    with (
        serving(folder, client) as (server, _),
        proxy_in_front(name, server, folder) as (*hostile_ports, ordinary_port),
    ):
        yield Proxied(server, hostile_ports, ordinary_port)


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory, sts_client: StsClient
) -> Iterator[Proxied]:
    """A token server with nginx in front of it, for all tests of this module."""
    with proxied_by("nginx", tmp_path_factory, sts_client) as found:
        yield found


@pytest.fixture(scope="module")
def behind_haproxy(
    tmp_path_factory: pytest.TempPathFactory, sts_client: StsClient
) -> Iterator[Proxied]:
    """A token server with HAProxy in front of it, for all tests of this module."""
    with proxied_by("haproxy", tmp_path_factory, sts_client) as found:
        yield found


each_row = pytest.mark.parametrize("row", PROXIED, ids=attrgetter("name"))
numbers = itertools.count()


def ask_for_own(port: int, requests: int = 1) -> list[str]:
    """Return the tokens that an ordinary client gets, each under a name of its own."""
    timeout = PATIENCE_SECONDS
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    tokens = []
    with contextlib.closing(connection):
        for _ in range(requests):
            name = f"own{next(numbers)}"
            connection.request("GET", f"/?callback={name}")
            reply = read_reply(connection)
            tokens.append(security_token(reply, name))
            assert MARK.encode() not in reply.body
    return tokens


def check_hostile(port: int, row: Row, is_mended: bool) -> list[str]:
    """Send what *row* sends, check what a proxy lets through; return the tokens.

    If *is_mended*, the proxy may make a good request of each that was begun, as HAProxy
    mends more than nginx.
    """
    received = exchange_anyhow(port, *row.chunks)
    sent = b"".join(row.chunks)
    begun = max(1, sent.count(b" HTTP/"))  # what is of HTTP/0.9 is mended too
    check_no_leak(received, begun if is_mended else row.nginx_tokens)
    assert all(name in sent for name in re.findall(rb"([\w$.]+)\( \{", received))
    if received.startswith(b"HTTP/"):
        replies = [reply for reply in parse_replies(received) if reply.status >= 200]
        assert len(replies) <= (begun + 1 if is_mended else row.nginx_replies)
    else:  # what nginx sends to a client of HTTP/0.9, for it knows no better
        assert received.count(b"StatusCode") + received.count(b"<html>") <= 1
    return re.findall(r'"SecurityToken":"([^"]+)"', received.decode("latin-1"))


def run_all(*calls: Callable[[], list[str]]) -> list[str]:
    """Return the tokens that *calls* get, each called in a thread of its own."""
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(call) for call in calls]
        return [token for call in running for token in call.result()]


@each_row
def test_hostile_request_behind_nginx_disturbs_nobody(
    proxied: Proxied, row: Row
) -> None:
    check_nobody_is_disturbed(proxied, row)


@each_row
def test_hostile_request_behind_haproxy_disturbs_nobody(
    behind_haproxy: Proxied, row: Row
) -> None:
    check_nobody_is_disturbed(behind_haproxy, row, is_mended=True)


def check_nobody_is_disturbed(
    proxied: Proxied, row: Row, is_mended: bool = False
) -> None:
    """Send what *row* sends beside ordinary clients, who get what is theirs."""

    def ordinary() -> list[str]:
        return ask_for_own(proxied.ordinary_port, 4)

    def hostile(port: int) -> Callable[[], list[str]]:
        return lambda: check_hostile(port, row, is_mended)

    tokens = run_all(ordinary, *map(hostile, proxied.hostile_ports), ordinary)

    assert len(set(tokens)) == len(tokens)


def test_many_clients_behind_nginx_each_get_their_own_reply(proxied: Proxied) -> None:
    def ordinary() -> list[str]:
        return [t for _ in range(4) for t in ask_for_own(proxied.ordinary_port, 5)]

    def hostile(number: int) -> Callable[[], list[str]]:
        port = proxied.hostile_ports[number % 2]
        rows = PROXIED[number::4]
        return lambda: [
            token for row in rows for token in check_hostile(port, row, False)
        ]

    tokens = run_all(*[ordinary] * 16, *map(hostile, range(4)))

    assert len(set(tokens)) == len(tokens) >= 16 * 4 * 5


def test_nginx_keeps_connections_to_the_server_open(proxied: Proxied) -> None:
    ask_for_own(proxied.ordinary_port)

    wait_until(lambda: 1 <= proxied.server.server.connections()[0] <= 4)
