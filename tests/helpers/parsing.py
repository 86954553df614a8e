"""Reads requests as a connection does, but without a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from helpers.hostile import MARK, bytewise
from tokenserver import asking
from tokenserver.config.grants import ICON_PATH
from tokenserver.httpd.body import body_of
from tokenserver.httpd.origins import HttpSettings
from tokenserver.httpd.reply import refused
from tokenserver.httpd.request import HeadParser, NotFound, Request, RequestError

ANY_ORIGIN: Any = SimpleNamespace(
    http=HttpSettings()
)  # all that JSONP asks of a Config


def read(
    chunks: Iterable[bytes], answer: Callable[[Request], str] | None = None
) -> list[str]:
    """Return the outcome of each request in *chunks*, until a connection would end.

    The outcome of a request is the result of *answer*, by default "answered", or "for
    NAME" with the name of its callback.  The last item is the code of a refusal, "open"
    if another request may follow, or "unfinished" if a request is incomplete; there is
    none after the last request of a connection.
    """
    answer = answer or name_of
    arriving = iter(chunks)
    received = bytearray()
    outcomes: list[str] = []

    def until(read: Callable[[], Any], otherwise: str) -> Any:
        """Return the result of *read*, given as many chunks as it needs."""
        while not (found := read()):
            chunk = next(arriving, b"")
            if not chunk:
                raise Ended(otherwise)
            received.extend(chunk)
        return found

    try:
        while True:
            parser = HeadParser()
            until(lambda: parser.has_begun(received), "open")  # noqa: B023
            request = until(lambda: parser.take(received), "unfinished")  # noqa: B023
            body = body_of(request)
            until(lambda: body.drop(received), "unfinished")  # noqa: B023
            outcomes.append(answer(request))
            if request.is_last:
                return outcomes
    except (Ended, RequestError) as end:
        return [*outcomes, code_of(end) if isinstance(end, RequestError) else str(end)]


class Ended(Exception):
    """The client has stopped sending."""


def code_of(error: RequestError) -> str:
    """Return the code of a refusal; check that it repeats nothing of its request."""
    assert MARK.encode() not in refused(error).encode("", is_last=True)
    return error.code


def name_of(request: Request) -> str:
    """Return the outcome by which an answer is recognized.  Raises RequestError."""
    if request.path == ICON_PATH:
        raise NotFound
    name = "" if request.method == "OPTIONS" else asking.callback(request, ANY_ORIGIN)
    return f"for {name}" if name else "answered"


def drips(sent: bytes) -> list[list[bytes]]:
    """Return ways in which *sent* may arrive: whole, and byte by byte."""
    return [[sent], bytewise(sent)]
