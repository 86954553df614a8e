"""Hosts and ports, in the form they have in URLs, and this machine's own."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

AUTHORITY = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")
URL = re.compile(r"(?:(https?)://)?([^/?#@]+)/?")
# Addresses for documents, where nobody is (RFC 5737, RFC 3849)
ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
FULL_URL = re.compile(r"(https?)://([^/?#@]+)(/[!\"$->@-~]*)?(\?[!\"$-~]*)?")


def parse_authority(text: str) -> tuple[str, int | None]:
    """Return the host and the port, if it has one, of "host" or "host:port".

    An IPv6 address has brackets, which are kept.  Raises ValueError.
    """
    match = AUTHORITY.fullmatch(text)
    if not match or not 0 < int(match[2] or 1) < 65536:
        raise ValueError(f"{text!r} is not a host or host:port")
    return match[1], int(match[2]) if match[2] else None


def is_loopback(host: str) -> bool:
    """Return whether *host* is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class BaseUrl:
    """A URL without a path: scheme, host and, if it has one, port.

    The host is in lower case; an IPv6 address has brackets.
    """

    scheme: str
    host: str
    port: int | None

    @property
    def authority(self) -> str:
        """The host and the port, as in a URL."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def text(self) -> str:
        """The URL, without a slash at its end."""
        return f"{self.scheme}://{self.authority}"

    @property
    def is_address(self) -> bool:
        """Whether it is an IP address, so that a bucket cannot be a subdomain of it."""
        try:
            ipaddress.ip_address(self.host.strip("[]"))
        except ValueError:
            return False
        return True

    @property
    def is_readable(self) -> bool:
        """Whether others can read the traffic: it is plain HTTP to another machine."""
        return self.scheme == "http" and not is_loopback(self.host)


def base_url(text: str) -> BaseUrl:
    """Return *text* as a URL; a host or host:port becomes an https URL.

    Raises ValueError.
    """
    match = URL.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a URL without a path")
    return BaseUrl(match[1] or "https", *parse_authority(match[2].lower()))


@dataclass(frozen=True)
class Url:
    """A URL with a path, and a query if it has one."""

    base: BaseUrl
    path: str
    query: str  # with its "?"

    @property
    def target(self) -> str:
        """What a request for it asks for."""
        return f"{self.path}{self.query}"

    @property
    def text(self) -> str:
        """The URL."""
        return f"{self.base.text}{self.target}"


def parse_url(text: str) -> Url:
    """Return the URL that *text* is, without a user and a fragment.

    Raises ValueError.
    """
    match = FULL_URL.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a URL")
    base = BaseUrl(match[1], *parse_authority(match[2].lower()))
    return Url(base, match[3] or "/", match[4] or "")


def own_address(family: socket.AddressFamily = socket.AF_INET) -> str:
    """Return this machine's address in its network.  Raises OSError if it has none.

    No packet is sent: to connect a UDP socket only asks the system which address it
    would send from.
    """
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((ELSEWHERE[family], 9))
        address: str = probe.getsockname()[0]
    return address
