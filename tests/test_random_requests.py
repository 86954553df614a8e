"""Requests that nobody thought of: good ones, spoilt at random."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_http import connect, parse_replies, read_to_end
from support import RunningServer

from demo.sts import StsStandIn
from sts_http import REFUSALS

GOOD = (
    b"GET /sts?callback=cb HTTP/1.1\r\nHost: app:80\r\nConnection: close\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabc",
    b"GET http://app/a HTTP/1.1\r\nHost: app\r\nAccept: */*\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
)
SPOILERS = st.one_of(
    st.binary(max_size=4),
    st.sampled_from(
        [
            *[
                b"\r\n",
                b"\n",
                b"\r",
                b"\0",
                b" ",
                b"\t",
                b":",
                b",",
                b"#",
                b"?",
                b"%0A",
            ],
            *[b"HTTP/1.1", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n"],
            *[
                b"Host: b\r\n",
                b"\r\n\r\n",
                b"GET / HTTP/1.1\r\n",
                b"\x16\x03\x01",
                b"\xff",
            ],
        ]
    ),
)
EDITS = st.tuples(st.integers(0, 200), st.integers(0, 3), SPOILERS)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Return one or two good requests with some bytes replaced."""
    data = b"".join(draw(st.lists(st.sampled_from(GOOD), min_size=1, max_size=2)))
    for place, gone, put in draw(st.lists(EDITS, min_size=1, max_size=4)):
        place %= len(data) + 1
        data = data[:place] + put + data[place + gone :]
    return data


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=spoilt())
def test_every_reply_is_one_of_those_documented(
    server: RunningServer,
    sts: StsStandIn,
    caplog: pytest.LogCaptureFixture,
    data: bytes,
) -> None:
    sts.clear()
    caplog.clear()

    received = b""
    with connect(server.port) as client, contextlib.suppress(ConnectionError):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = read_to_end(client)

    tokens = 0
    for reply in parse_replies(received):
        document = re.sub(rb"^[\w.$]+\( (.*) \)$", rb"\1", reply.body)
        if b'"SecurityToken"' in document:
            tokens += 1
        elif document:
            code = re.search(rb'"ErrorCode":"(\w+)"', document)
            assert code
            assert REFUSALS[code[1].decode()][0] == reply.status
    assert tokens <= len(sts.requests) <= len(re.findall(rb"(?:GET|POST)", data))
    assert "Traceback" not in caplog.text
