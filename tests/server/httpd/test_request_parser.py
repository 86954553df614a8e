"""Requests as bytes: whatever is sent, and however it drips, each is read in one way.

Nothing here needs a connection; what one does with these requests is tested over HTTP
in test_hostile_requests.py.
"""

from __future__ import annotations

from operator import attrgetter

import pytest
from helpers.hostile import ROWS, SMUGGLED, Row
from helpers.parsing import drips, read


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
