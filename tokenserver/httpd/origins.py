"""Which web pages may read replies (CORS), and the client's address behind proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from tokenserver.httpd.request import ALLOWED

MAX_PROXIES = 32  # addresses read from the end of X-Forwarded-For

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class HttpSettings:
    """The operator's settings for HTTP."""

    allowed_origins: frozenset[str] | None = None  # of web pages; None allows any
    trusted_proxies: tuple[Network, ...] = ()

    def allows(self, origin: str | None) -> bool:
        """Return whether a page of *origin* may read replies."""
        return self.allowed_origins is None or origin in self.allowed_origins


def cors_fields(settings: HttpSettings, origin: str | None) -> str:
    """Return the header lines that allow or deny a page of *origin* the reply."""
    if settings.allowed_origins is None:
        return "Access-Control-Allow-Origin: *\r\n"
    if settings.allows(origin):
        return f"Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n"
    return "Vary: Origin\r\n"


def preflight_fields(settings: HttpSettings, origin: str | None) -> str:
    """Return the header lines for OPTIONS.

    A page of an allowed origin may use any of the methods.
    """
    fields = f"Allow: {ALLOWED}\r\n"
    if settings.allows(origin):
        fields += (
            f"Access-Control-Allow-Methods: {ALLOWED}\r\n"
            "Access-Control-Allow-Headers: *, Authorization\r\n"
            "Access-Control-Max-Age: 86400\r\n"
        )
    return fields


def address_of(text: str) -> Address:
    """Return *text* as an address, an IPv4-mapped IPv6 address as IPv4.

    Raises ValueError.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def forwarded_client(peer: str, forwarded_for: str, proxies: Sequence[Network]) -> str:
    """Return the client's address according to X-Forwarded-For and trusted *proxies*.

    Each proxy appends the address that connected to it.  So the list is read from its
    end, starting at *peer*, for as long as the address found is a trusted proxy.
    """
    client = peer
    for text in reversed(forwarded_for.rsplit(",", MAX_PROXIES)[-MAX_PROXIES:]):
        try:
            address = address_of(client)
            if not any(address in network for network in proxies):
                break
            client = str(address_of(text.strip(" \t")))
        except ValueError:
            break
    return client
