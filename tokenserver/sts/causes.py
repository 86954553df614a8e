"""Why a connection failed, by the types of the exceptions that led to it.

The SDK wraps an exception of requests, which wraps one of urllib3, which wraps one of
the system; each has the one before as its cause or context.  Their texts contain the
URL, and with it the session policy, so they are never read.
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator

import requests.exceptions
import urllib3.exceptions

from tokenserver.errors import Cause

# The first type that fits any exception counts.
BY_TYPE: tuple[tuple[type[BaseException], Cause], ...] = (
    (requests.exceptions.ProxyError, Cause.PROXY),
    (requests.exceptions.InvalidURL, Cause.PROXY),  # the endpoint's is checked
    (requests.exceptions.ConnectTimeout, Cause.NO_CONNECTION),
    (requests.exceptions.ReadTimeout, Cause.NO_ANSWER),
    (requests.exceptions.SSLError, Cause.TLS),
    (urllib3.exceptions.ReadTimeoutError, Cause.NO_ANSWER),
    (socket.gaierror, Cause.NO_NAME),
    (urllib3.exceptions.LocationParseError, Cause.NO_NAME),  # it is too long
    (ssl.SSLError, Cause.TLS),
    (ConnectionRefusedError, Cause.CONNECTION_REFUSED),
    (TimeoutError, Cause.NO_ANSWER),
    (ConnectionError, Cause.CONNECTION_FAILED),  # RemoteDisconnected, among others
    (http.client.BadStatusLine, Cause.NOT_STS),
    (http.client.HTTPException, Cause.CONNECTION_FAILED),
    (urllib3.exceptions.ProtocolError, Cause.CONNECTION_FAILED),
)
NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error* and the errors that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        is_cut = error.__suppress_context__  # by "raise ... from"
        error = error.__cause__ if is_cut else error.__context__


def cause_of(error: BaseException) -> Cause | None:
    """Return why a connection failed, None if *error* is about something else."""
    links = list(chain(error))
    if any(isinstance(link, OSError) and link.errno in NO_ROUTE for link in links):
        return Cause.NO_ROUTE
    for kind, cause in BY_TYPE:
        if any(isinstance(link, kind) for link in links):
            return cause
    return None
