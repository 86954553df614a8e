"""TLS clients of a server, and the files of its certificate."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from helpers.certificates import Pair
from helpers.client import Reply, connect, parse_replies, read_to_end
from helpers.machine import wait_until
from helpers.server import RunningServer

GET = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n"
LAST_GET = b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"


class Files:
    """The files of a certificate and its key, as an operator renews them."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "cert.pem"
        self.key = folder / "key.pem"

    def write(self, pair: Pair) -> None:
        """Write both in place, one after the other."""
        self.certificate.write_bytes(pair.pem)
        self.key.touch(mode=0o600)
        self.key.write_bytes(pair.key_pem())


def client_context(
    authority: Pair | None, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """Return a context that trusts *authority*, or nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        context.load_verify_locations(cadata=authority.pem.decode())
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def connect_tls(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection that notices if it ends without close_notify."""
    return context.wrap_socket(
        connect(port), server_hostname="127.0.0.1", suppress_ragged_eofs=False
    )


def exchange_tls(port: int, context: ssl.SSLContext, *requests: bytes) -> bytes:
    """Send *requests*; return all bytes received until the other side closes."""
    with connect_tls(port, context) as client:
        for sent in requests:
            client.sendall(sent)
        return read_to_end(client)


def read_one(client: socket.socket) -> Reply:
    """Return the next reply to *client*, whose connection stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65536)
    match = re.search(rb"Content-Length: (\d+)", received)
    assert match
    while len(received.partition(b"\r\n\r\n")[2]) < int(match[1]):
        received += client.recv(65536)
    (reply,) = parse_replies(received)
    return reply


def served(port: int, context: ssl.SSLContext) -> bytes:
    """Return the certificate that a new connection is shown."""
    with connect_tls(port, context) as client:
        found = client.getpeercert(binary_form=True)
    assert found
    return found


def client_hello(context: ssl.SSLContext) -> bytes:
    """Return the first bytes of a TLS client."""
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def lines(server: RunningServer, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log without tracebacks, once no connection is open."""
    wait_until(lambda: not server.server.connections()[0])
    for record in caplog.records:
        assert record.exc_info is None, record.getMessage()
        assert record.getMessage().isprintable()
    return [record.getMessage() for record in caplog.records]


def expand(secret: bytes, label: str, length: int) -> bytes:
    """Return HKDF-Expand-Label of SHA-384, without a context (RFC 8446, 7.1)."""
    name = f"tls13 {label}".encode()
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return HKDFExpand(hashes.SHA384(), length, info).derive(secret)


def key_updates(secret: bytes, number: int) -> bytes:
    """Return this number of KeyUpdate records of a client that sent no data yet."""
    records = b""
    for _ in range(number):
        key = AESGCM(expand(secret, "key", 32))
        content = b"\x18\0\0\x01\0" + b"\x16"  # update_not_requested, in a handshake
        header = b"\x17\x03\x03" + (len(content) + 16).to_bytes(2, "big")
        records += header + key.encrypt(expand(secret, "iv", 12), content, header)
        secret = expand(secret, "traffic upd", 48)
    return records
