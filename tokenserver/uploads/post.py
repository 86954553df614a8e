"""One POST to the operator's backend, within a time and to an address that may be.

The name in ForwardUrl is resolved here, and the address that was looked at is the one
that is connected to: a name that somebody else controls cannot lead to this machine, or
to where the cloud hands out the machine's own credentials.  Only the status of the
answer is used.  Redirects are not followed, and no proxy is asked.

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
LINGER_SECONDS = 0.5  # for the rest of an answer whose status is there
MAX_ANSWER_BYTES = 64 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r]")
# Where ECS and other clouds hand out credentials, beside link-local addresses
METADATA = (
    ipaddress.ip_address("100.100.100.200"),
    ipaddress.ip_address("fd00:ec2::254"),
)
AT_FAULT = (408, 429)  # it is not the document, as with 5xx


class PostFailed(Exception):
    """The document did not arrive; the text says why.

    *is_backend* says that another document would have fared no better.
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
        raise PostFailed("what answered does not speak HTTP/1.1")
    status = int(match[1])
    if not 200 <= status < 300:
        note = "; redirects are not followed" if 300 <= status < 400 else ""
        is_backend = status >= 500 or status in AT_FAULT
        raise PostFailed(f"HTTP {status}{note}", is_backend)


def head(url: Url, fields: Mapping[str, str], body: bytes) -> bytes:
    """Return the head of a request."""
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
    """Return an answer, or its beginning if all of it takes too long.  Raises OSError.

    The connection is not cut as soon as the status is there: some backends take that
    for a client that did not wait.
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
    """Give a connection to the host of *url*, in TLS if it says so.

    Raises PostFailed for an address that may not be, and OSError.
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
    """Return what certificates are checked with."""
    return ssl.create_default_context()


def address(host: str, port: int) -> str:
    """Return the address to connect to.  Raises PostFailed, OSError.

    One that stands in ForwardUrl itself is what the operator means, localhost too.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(sockaddr[0]) for _, _, _, _, sockaddr in found]
    if host == "localhost" or is_address(host):
        return addresses[0]
    for candidate in addresses:
        if not is_forbidden(address_of(candidate)):
            return candidate
    raise PostFailed(
        f"{host} is {addresses[0]}, an address of this machine or its network; if "
        "that is meant, write the address itself into ForwardUrl"
    )


def is_address(host: str) -> bool:
    """Return whether *host* is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_forbidden(found: Address) -> bool:
    """Return whether a name must not lead to the address."""
    return (
        found.is_loopback
        or found.is_link_local
        or found.is_unspecified
        or found.is_multicast
        or found in METADATA
    )


def reason_of(error: Exception) -> str:
    """Return why there was no answer, without a part of it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'no common version'}"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    return getattr(error, "strerror", None) or type(error).__name__
