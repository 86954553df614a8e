"""The URL that keys come from, on a real server that may do anything."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from helpers.certificates import issue
from helpers.clocks import FakeClock
from helpers.login.jwks_server import JwksServer, answering, jwks_server
from helpers.login.keys import ALL_KEYS, FakeUrl, jwks_verifier, settle
from helpers.login.service import PUBLIC_KINDS, USER, jwks, service
from helpers.machine import PATIENCE_SECONDS

from tokenserver.errors import ConfigError, KeysUnavailable
from tokenserver.login import jwks as login_jwks
from tokenserver.login.jwks import (
    MAX_FETCHES,
    REFRESH_SECONDS,
    FetchError,
    JwksKeys,
    fetch,
)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tokenserver")


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com/jwks.json",
        "https://login.example.com",
        "https://login.example.com:8443/a/b?p=policy&x=1",
        "https://login.example.com?x",
        "https://[2001:db8::1]/jwks",
        "http://127.0.0.1:8080/jwks",
        "http://127.1.2.3/",
        "http://[::1]:80/",
        "http://localhost:3000/.well-known/jwks.json",
    ],
)
def test_keys_may_come_from(url: str) -> None:
    assert JwksKeys(url, FakeUrl(b"")).algorithms == set(PUBLIC_KINDS)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "login.example.com",
        "ftp://login.example.com/",
        "file:///etc/passwd",
        "HTTPS://login.example.com/",
        "https://",
        "https:///path",
        "https://user@login.example.com/",
        "https://user:secret@login.example.com/",
        "https://login.example.com/#fragment",
        "https://login.example.com/a b",
        "https://login.example.com/\n",
        "https://login.example.com/é",
        "https://login.example.com:0/",
        "https://login.example.com:65536/",
        "https://login.example.com:x/",
        "https://login.example.com\\@attacker.net/",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not a URL such as") as caught:
        JwksKeys(url, FakeUrl(b""))

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "login.example.com",
        "10.0.0.1",
        "0.0.0.0",
        "128.0.0.1",
        "127.0.0.1.example.com",
        "127.1",
        "localhost.example.com",
        "[::]",
        "[::2]",
        "[::1:]",
        "[fe80::1]",
    ],
)
def test_plain_http_is_only_for_this_machine(host: str) -> None:
    with pytest.raises(ConfigError, match="is plain HTTP"):
        JwksKeys(f"http://{host}/jwks.json", FakeUrl(b""))


# --- A real server --------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[JwksServer]:
    """A JWKS URL on loopback with the keys of our services."""
    with jwks_server(jwks(*ALL_KEYS)) as running:
        yield running
    for _ in range(MAX_FETCHES):  # those that were left to themselves end now
        assert login_jwks._fetches.acquire(timeout=PATIENCE_SECONDS)
    for _ in range(MAX_FETCHES):
        login_jwks._fetches.release()


def test_keys_come_from_a_server(server: JwksServer) -> None:
    verify = jwks_verifier(JwksKeys(server.url + "?p=1"))

    for kind in PUBLIC_KINDS:
        assert verify.user(service(kind).sign()) == USER
    assert server.requests == ["/jwks.json?p=1"]
    assert server.headers["User-Agent"] == "sts-server"
    assert server.headers["Accept"] == "application/json"


def test_a_proxy_is_not_asked_for_this_machine(
    server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)

    assert fetch(server.url) == jwks(*ALL_KEYS)


def test_a_server_that_is_down_at_first_is_found_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    with jwks_server(b"") as gone:
        url = gone.url
    keys = JwksKeys(url, clock=clock)

    with pytest.raises(KeysUnavailable, match="Connection refused"):
        jwks_verifier(keys).user(service("RS256").sign())

    (line,) = caplog.messages
    assert line.startswith(f"no keys from {url}: Connection refused")


def test_a_server_that_goes_down_leaves_its_keys(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    with jwks_server(jwks(*ALL_KEYS)) as server:
        keys = JwksKeys(server.url, clock=clock)
        verify = jwks_verifier(keys)
        verify.user(service("RS256").sign())
    clock.now += REFRESH_SECONDS

    for _ in range(3):
        assert verify.user(service("RS256").sign()) == USER
        settle()
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 304, 307, 308, 404, 500])
def test_only_200_has_keys(server: JwksServer, status: int) -> None:
    content = b"" if status in (204, 304) else jwks(*ALL_KEYS)
    server.answer = answering(content, status, Location="/elsewhere")

    with pytest.raises(FetchError, match=f"HTTP {status}"):
        fetch(server.url)
    assert server.requests == ["/jwks.json"]


def test_a_redirect_to_another_scheme_is_not_followed(server: JwksServer) -> None:
    server.answer = answering(b"", 302, Location="file:///etc/passwd")

    with pytest.raises(FetchError, match="HTTP 302"):
        fetch(server.url)


def test_an_answer_of_1_mib_is_read_and_a_larger_one_is_not(server: JwksServer) -> None:
    server.answer = answering(b" " * login_jwks.MAX_JWKS_BYTES)
    assert len(fetch(server.url)) == login_jwks.MAX_JWKS_BYTES
    server.answer = answering(b" " * (login_jwks.MAX_JWKS_BYTES + 1))
    with pytest.raises(FetchError, match="more than 1048576 bytes"):
        fetch(server.url)


def test_an_answer_without_end_is_not_read_to_its_end(server: JwksServer) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.closing.is_set():
            handler.wfile.write(b" " * 65536)

    server.answer = answer

    with pytest.raises(FetchError, match="more than 1048576 bytes"):
        fetch(server.url)


def test_an_answer_in_chunks_is_read(server: JwksServer) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        content = jwks(*ALL_KEYS)
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(content), 100):
            chunk = content[start : start + 100]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")

    server.answer = answer

    assert fetch(server.url) == jwks(*ALL_KEYS)


def drip(server: JwksServer, head: bytes, part: bytes) -> None:
    """Have *server* send *head*, and *part* again and again."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while not server.closing.wait(0.02):
            handler.wfile.write(part)

    server.answer = answer


SLOW = {
    "stalls": (b"", b""),
    "drips its head": (b"HTTP/1.1 200 OK\r\n", b"X"),
    "drips its first line": (b"HTTP/1.1 ", b"2"),
    "drips its body": (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "drips chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
    ),
    "stalls in its body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b""),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_server_is_given_up_in_time(
    server: JwksServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_jwks, "FETCH_SECONDS", 0.2)
    drip(server, *SLOW[name])
    keys = JwksKeys(server.url)
    started_at = time.monotonic()

    with pytest.raises(KeysUnavailable):  # and it would drip for ever
        jwks_verifier(keys).user(service("RS256").sign())

    assert time.monotonic() - started_at > 0.15


def test_fetches_that_never_end_are_few(
    server: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a head that drips, whose time limit starts anew with each byte."""
    monkeypatch.setattr(login_jwks, "FETCH_SECONDS", 0.1)
    is_over = threading.Event()

    def read_url(_: str) -> bytes:
        is_over.wait(PATIENCE_SECONDS)
        return b""

    monkeypatch.setattr(login_jwks, "read_url", read_url)

    for _ in range(MAX_FETCHES):
        with pytest.raises(FetchError, match=r"no answer within 0\.1 s"):
            fetch(server.url)
    with pytest.raises(FetchError, match="4 fetches are still under way"):
        fetch(server.url)
    is_over.set()


def test_a_server_without_tls_is_no_https(server: JwksServer) -> None:
    keys = JwksKeys(server.url.replace("http:", "https:"))

    with pytest.raises(KeysUnavailable, match="SSL"):
        jwks_verifier(keys).user(service("RS256").sign())


def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: JwksServer, tmp_path: Path
) -> None:
    pair = issue("login service")
    certificate = tmp_path / "tls.pem"
    certificate.write_bytes(pair.pem + pair.key_pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with jwks_server(jwks(*ALL_KEYS), context) as tls:
        keys = JwksKeys(tls.url)

        with pytest.raises(KeysUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            jwks_verifier(keys).user(service("RS256").sign())
        assert tls.requests == []
