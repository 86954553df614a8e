"""Malformed and hostile requests: each gets what it deserves, and nobody else does.

The whole table is read in test_request_parser.py; here are some of each kind, as a
connection answers them.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

import pytest
from helpers.client import exchange
from helpers.hostile import OVER_HTTP, SMUGGLED, Row, get
from helpers.replies import check_exchange
from helpers.server import RunningServer, check_still_serves, serving

from localcloud.sts import StsStandIn
from tokenserver.sts.client import StsClient

pytestmark = pytest.mark.usefixtures("_clean_log")

each_kind = pytest.mark.parametrize("row", OVER_HTTP, ids=attrgetter("name"))
PROBE = get("Connection: close", target="/healthz")


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, sts_client: StsClient
) -> Iterator[tuple[RunningServer, StsStandIn]]:
    """A token server and its STS, for all rows."""
    with serving(tmp_path_factory.mktemp("shared"), sts_client) as pair:
        yield pair


@each_kind
def test_each_request_gets_its_reply_and_no_more(
    shared: tuple[RunningServer, StsStandIn],
    row: Row,
) -> None:
    server, sts = shared
    sts.clear()
    chunks, replies = row.chunks, row.replies
    if row.stays_open:
        chunks, replies = (*chunks, PROBE), (*replies, "200 healthy")

    received = exchange(server.port, *chunks)

    check_exchange(received, replies)
    assert len(sts.requests) == row.tokens
    check_still_serves(server)


@pytest.mark.parametrize(
    "row", [row for row in OVER_HTTP if row.is_refused], ids=attrgetter("name")
)
def test_nothing_behind_a_refused_request_is_answered(
    shared: tuple[RunningServer, StsStandIn], row: Row
) -> None:
    server, sts = shared
    sts.clear()

    received = exchange(server.port, *row.chunks[:-1], row.chunks[-1] + SMUGGLED)

    check_exchange(received, row.replies)
    assert len(sts.requests) == row.tokens
    check_still_serves(server)
