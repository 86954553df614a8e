"""Requests that find out whether a server answers, how fast, and what time it has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import requests
from darabonba.core import DaraCore

from tokenserver.background import within
from tokenserver.config.grants import AssumeRoleCall
from tokenserver.errors import Cause, StsError
from tokenserver.sts.causes import cause_of, chain

PROBE_SECONDS = 5.0  # for name, connection, TLS and answer together


class Answer(NamedTuple):
    """The result of the GET."""

    seconds: float  # for connection and answer
    status: int
    clock_offset_seconds: float | None  # of our clock; negative when it is behind


class Unanswered(Exception):
    """There was no answer; the text says why, and *cause* too if it is known."""

    def __init__(self, reason: str, cause: Cause | None) -> None:
        super().__init__(reason)
        self.cause = cause


def probe(call: AssumeRoleCall, clock: Callable[[], float]) -> Answer:
    """Return the result of a GET of the endpoint, within PROBE_SECONDS.

    It is sent as the SDK would send it: through the same adapter of requests, and the
    proxy that the SDK reads from the environment.  *clock* is the wall clock.  Raises
    Unanswered.
    """
    sent_at, begun = clock(), time.monotonic()
    response = ask(
        "GET", f"{call.protocol}://{call.endpoint}/", {"Accept": "application/json"}
    )
    seconds = time.monotonic() - begun
    date = response.headers.get("Date", "")
    offset = clock_offset(date, sent_at + seconds / 2)
    return Answer(seconds, response.status_code, offset)


def ask(method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
    """Return the answer to a request without a body: up to ANSWER_BYTES.

    Raises Unanswered, also if it does not come within PROBE_SECONDS.
    """
    protocol = url.partition(":")[0]
    cause: Cause | None = None
    try:
        return within(PROBE_SECONDS, lambda: exchange(method, url, headers))
    except TimeoutError:
        reason, cause = f"no answer within {PROBE_SECONDS:g} s", Cause.NO_ANSWER
    except StsError as error:  # of the adapter
        reason, cause = error.failure.detail, error.failure.cause
    except (OSError, ValueError) as error:  # requests raises both
        reason, cause = reason_of(error), cause_of(error)
    raise Unanswered(f"{reason}{through(protocol)}", cause)


def exchange(method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
    """Return the answer to a request without a body."""
    protocol = url.partition(":")[0]
    with requests.Session() as session:
        session.trust_env = False  # no NO_PROXY and no .netrc, as in the SDK
        session.mount(f"{protocol}://", DaraCore.get_adapter(protocol))
        return session.request(
            method,
            url,
            headers={**headers, "Connection": "close"},
            proxies=proxies(protocol),
            timeout=PROBE_SECONDS,
            allow_redirects=False,
        )


def proxies(protocol: str) -> dict[str, str]:
    """Return the proxy that the SDK uses: it reads these variables, not NO_PROXY."""
    name = f"{protocol}_proxy"
    value = os.environ.get(name.upper()) or os.environ.get(name)
    return {protocol: value} if value else {}


def through(protocol: str) -> str:
    """Return words for the proxy in use, without the user and password in its URL."""
    (proxy,) = proxies(protocol).values() or ("",)
    address = proxy.rpartition("://")[2].rpartition("@")[2].partition("/")[0]
    return f" (through the proxy at {address})" if address else ""


def clock_offset(date: str, now: float) -> float | None:
    """Return the seconds from the *date* of an HTTP reply to *now*, or None.

    The date has whole seconds; the fraction is cut off.
    """
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return now - (moment.timestamp() + 0.5)


def reason_of(error: Exception) -> str:
    """Return the reason for having no answer, in the words of the log."""
    cause = cause_of(error)
    reason = cause.value if cause else Cause.CONNECTION_FAILED.value
    if cause is Cause.TLS:
        problems = (getattr(link, "verify_message", "") for link in chain(error))
        problem = next(filter(None, problems), "")  # of the certificate
        return f"{reason}: {problem}" if problem else reason
    return reason
