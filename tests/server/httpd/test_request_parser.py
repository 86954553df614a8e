"""Requests as bytes: whatever is sent, and however it drips, each is read in one way.

Nothing here needs a connection; what one does with these requests is tested over HTTP
in test_hostile_requests.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.hostile import MARK, ROWS, SMUGGLED, Row, bytewise

from tokenserver import app
from tokenserver.config.grants import ICON_PATH
from tokenserver.httpd.body import body_of
from tokenserver.httpd.origins import HttpSettings
from tokenserver.httpd.reply import refused
from tokenserver.httpd.request import HeadParser, NotFound, Request, RequestError

ANY_ORIGIN: Any = SimpleNamespace(
    http=HttpSettings()
)  # all that JSONP asks of a Config


def read(chunks: Iterable[bytes]) -> list[str]:
    """Return what a connection makes of *chunks*, until it reads no further.

    That is "answered" for each request, or "for NAME" with the name of its callback,
    then the code of a refusal, "open" if the next request may come, "unfinished" if
    more of one must come, or nothing after the last request of a connection.
    """
    arriving = iter(chunks)
    received = bytearray()
    outcomes: list[str] = []

    def is_more() -> bool:
        chunk = next(arriving, b"")
        received.extend(chunk)
        return bool(chunk)

    while True:
        drop_line_end(received)
        while not received or received == b"\r":
            if not is_more():
                return [*outcomes, "open"]
            drop_line_end(received)
        parser = HeadParser()
        try:
            while (request := parser.take(received)) is None:
                if not is_more():
                    return [*outcomes, "unfinished"]
            body = body_of(request)
            while not body.drop(received):
                if not is_more():
                    return [*outcomes, "unfinished"]
            outcomes.append(answer(request))
        except RequestError as error:
            return [*outcomes, code_of(error)]
        if request.is_last:
            return outcomes


def code_of(error: RequestError) -> str:
    """Return the code of a refusal, which repeats nothing of its request."""
    assert MARK.encode() not in refused(error).encode("", is_last=True)
    return error.code


def drop_line_end(received: bytearray) -> None:
    """Drop an empty line in front of a request, as a connection does."""
    if received.startswith(b"\r\n"):
        del received[:2]


def answer(request: Request) -> str:
    """Return what an answer is told from others by.  Raises RequestError."""
    if request.path == ICON_PATH:
        raise NotFound
    name = "" if request.method == "OPTIONS" else app.callback(request, ANY_ORIGIN)
    return f"for {name}" if name else "answered"


def expected(row: Row) -> list[str]:
    """Return what read() makes of *row*."""
    outcomes = []
    for reply in row.replies:
        status, _, what = reply.partition(" ")
        if status >= "400":
            outcomes.append(what.removeprefix("head "))
        elif status >= "200":
            name = what.partition(" for ")[2]
            outcomes.append(f"for {name}" if name else "answered")
    return [*outcomes, *["open"] * row.stays_open]


def drips(sent: bytes) -> list[list[bytes]]:
    """Return ways in which *sent* may arrive: whole, and byte by byte.

    An empty line that arrives by itself is dropped, so several of them do not drip.
    """
    return [[sent]] if sent.startswith(b"\r\n\r\n") else [[sent], bytewise(sent)]


@pytest.mark.parametrize("row", ROWS, ids=attrgetter("name"))
def test_each_request_is_read_as_it_deserves_however_it_drips(row: Row) -> None:
    for chunks in (row.chunks, *drips(b"".join(row.chunks))):
        assert read(chunks) == expected(row)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.is_refused], ids=attrgetter("name")
)
def test_nothing_behind_a_refused_request_is_read(row: Row) -> None:
    for chunks in drips(b"".join(row.chunks) + SMUGGLED):
        assert read(chunks) == expected(row)
