"""Hosts and ports, as URLs have them."""

from __future__ import annotations

import ipaddress
import re

AUTHORITY = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")


def parse_authority(text: str) -> tuple[str, int | None]:
    """Return the host and the port, if it has one, of "host" or "host:port".

    An IPv6 address stands in brackets, and is returned with them.  Raises ValueError.
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
