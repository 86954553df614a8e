"""One POST to the operator's backend, with a time limit and a check of its address.

The host name in ForwardUrl is resolved here, and the connection goes to the address
that was checked.  So someone who controls the name cannot make it lead to this machine,
or to the address where the cloud hands out the machine's own credentials.  Only the
status of the answer is used.  Redirects are not followed, and proxies are not used.

Source: "Instance metadata" (ECS documentation), RFC 9112 (HTTP/1.1).
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping

from tokenserver.hosts import Url
from tokenserver.httpd.origins import Address, address_of

ATTEMPT_SECONDS = 5.0  # for connection, TLS, request and answer together
LINGER_SECONDS = 0.5  # for the rest of an answer after its head
MAX_ANSWER_BYTES = 64 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r]")
# ECS and other clouds hand out credentials at these, and at link-local addresses
METADATA = (
    ipaddress.ip_address("100.100.100.200"),
    ipaddress.ip_address("fd00:ec2::254"),
)
AT_FAULT = (408, 429)  # the fault of the backend, not of the document, like 5xx


class PostFailed(Exception):
    """The document was not delivered; the text says why.

    *is_backend* means that any other document would have failed too.
    """

    def __init__(self, reason: str, is_backend: bool = True) -> None:
        super().__init__(reason)
        self.is_backend = is_backend


def post(url: Url, fields: Mapping[str, str], body: bytes) -> None:
    """Post *body* with the header *fields* to *url*.  Raises PostFailed."""
    deadline = time.monotonic() + ATTEMPT_SECONDS
    try:
        with connection(url, deadline) as opened:
            opened.settimeout(left(deadline))
            opened.sendall(head(url, fields, body) + body)
            answer = read_answer(opened, deadline)
    except TimeoutError:
        raise PostFailed(f"no answer within {ATTEMPT_SECONDS:g} s") from None
    except (OSError, UnicodeError) as error:  # ssl.SSLError is an OSError
        raise PostFailed(reason_of(error)) from None
    match = STATUS_LINE.match(answer)
    if not match:
        raise PostFailed("the answer is not HTTP/1.1")
    status = int(match[1])
    if not 200 <= status < 300:
        note = "; redirects are not followed" if 300 <= status < 400 else ""
        is_backend = status >= 500 or status in AT_FAULT
        raise PostFailed(f"HTTP {status}{note}", is_backend)


def head(url: Url, fields: Mapping[str, str], body: bytes) -> bytes:
    """Return the head of the request, with the empty line that ends it."""
    lines = [
        f"POST {url.target} HTTP/1.1",
        f"Host: {url.base.authority}",
        "User-Agent: sts-server",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in fields.items()),
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def left(deadline: float) -> float:
    """Return the seconds until *deadline*.  Raises TimeoutError."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def read_answer(opened: socket.socket, deadline: float) -> bytes:
    """Return the answer, or its beginning if the rest takes too long.  Raises OSError.

    The connection is not closed as soon as the status is known, because some backends
    would take that for a client that gave up.
    """
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < MAX_ANSWER_BYTES:
        opened.settimeout(left(deadline))
        arrived = opened.recv(4096)
        if not arrived:
            return answer
        answer += arrived
    deadline, rest = min(deadline, time.monotonic() + LINGER_SECONDS), b"."
    with contextlib.suppress(OSError):
        while rest and len(answer) < MAX_ANSWER_BYTES:
            opened.settimeout(left(deadline))
            rest = opened.recv(4096)
            answer += rest
    return answer


@contextlib.contextmanager
def connection(url: Url, deadline: float) -> Iterator[socket.socket]:
    """Open a connection to the host of *url* for the block, in TLS for https.

    Raises PostFailed for an address that is not allowed, and OSError.
    """
    host = url.base.host.strip("[]")
    port = url.base.port or (443 if url.base.scheme == "https" else 80)
    place = address(host, port), port
    with socket.create_connection(place, left(deadline)) as plain:
        if url.base.scheme == "http":
            yield plain
            return
        plain.settimeout(left(deadline))  # of the whole handshake
        with tls_context().wrap_socket(plain, server_hostname=host) as secured:
            yield secured


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the context that checks certificates against the system's roots."""
    return ssl.create_default_context()


def address(host: str, port: int) -> str:
    """Return the address to connect to.  Raises PostFailed, OSError.

    An address in ForwardUrl itself, or localhost, is always allowed: the operator chose
    it.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(sockaddr[0]) for _, _, _, _, sockaddr in found]
    if host == "localhost" or is_address(host):
        return addresses[0]
    for candidate in addresses:
        if not is_forbidden(address_of(candidate)):
            return candidate
    raise PostFailed(
        f"{host} resolves to {addresses[0]}, an address of this machine or its "
        "network; if that is intended, put the address itself into ForwardUrl"
    )


def is_address(host: str) -> bool:
    """Return whether *host* is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_forbidden(found: Address) -> bool:
    """Return whether a host name must not resolve to this address."""
    return (
        found.is_loopback
        or found.is_link_local
        or found.is_unspecified
        or found.is_multicast
        or found in METADATA
    )


def reason_of(error: Exception) -> str:
    """Return the reason of *error* for the log, without text from the backend."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'no common version'}"
    if isinstance(error, socket.gaierror):
        return "the host name cannot be resolved"
    return getattr(error, "strerror", None) or type(error).__name__
