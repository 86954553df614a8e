"""Requests that nobody thought of: good ones, spoilt at random.

STS_SERVER_RANDOM_REQUESTS=100000 makes so many of each kind, instead of 300, and sends
a sixth of them over HTTP.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.client import Reply, connect, parse_replies, read_to_end
from helpers.configuration import OBJECTS, load, policy
from helpers.examples import examples
from helpers.hostile import bytewise
from helpers.login.service import authentication, claims_now, service
from helpers.parsing import read
from helpers.server import MakeServer, RunningServer
from hypothesis import given
from hypothesis import strategies as st

from localcloud.sts import StsStandIn
from tokenserver.asking import user_of
from tokenserver.httpd.request import RequestError

GOOD = (
    b"GET /sts?callback=cb HTTP/1.1\r\nHost: app:80\r\nConnection: close\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nabc",
    b"GET http://app/a HTTP/1.1\r\nHost: app\r\nAccept: */*\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;a=b\r\nabc\r\n0\r\nX-A: b\r\n\r\n",
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
STATUS_OF = {kind.code: kind.status for kind in RequestError.__subclasses__()}
EDITS = st.tuples(st.integers(0, 900), st.integers(0, 3), SPOILERS)
MANY = int(os.environ.get("STS_SERVER_RANDOM_REQUESTS", "300"))
each_of_many = examples(MANY)
each_of_some = examples(MANY // 6)  # where each has a connection


@st.composite
def spoilt(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """Return one or two *good* requests with some bytes replaced."""
    data = b"".join(draw(st.lists(st.sampled_from(good), min_size=1, max_size=2)))
    for place, gone, put in draw(st.lists(EDITS, min_size=1, max_size=4)):
        place %= len(data) + 1
        data = data[:place] + put + data[place + gone :]
    return data


@each_of_many
@given(data=spoilt(GOOD))
def test_every_request_is_read_in_one_way_however_it_drips(data: bytes) -> None:
    def outcomes(chunks: list[bytes]) -> list[str]:
        """Return what becomes of the requests; one may be refused for two reasons."""
        return ["refused" if code in STATUS_OF else code for code in read(chunks)]

    assert outcomes(bytewise(data)) == outcomes([data])


def exchange(server: RunningServer, data: bytes) -> list[Reply]:
    """Return the replies to *data*, after which its client has nothing more to send."""
    received = b""
    with connect(server.port) as client, contextlib.suppress(ConnectionError):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = read_to_end(client)
    return parse_replies(received)


def count_tokens(replies: list[Reply]) -> int:
    """Return how many of *replies* are tokens; the others must be errors of ours."""
    tokens = 0
    for reply in replies:
        document = re.sub(rb"^[\w.$]+\( (.*) \)$", rb"\1", reply.body)
        if b'"SecurityToken"' in document:
            tokens += 1
        elif document:
            code = re.search(rb'"ErrorCode":"(\w+)"', document)
            assert code
            assert STATUS_OF[code[1].decode()] == reply.status
    return tokens


@each_of_some
@given(data=spoilt(GOOD))
def test_every_reply_is_one_of_those_documented(
    server: RunningServer,
    sts: StsStandIn,
    caplog: pytest.LogCaptureFixture,
    data: bytes,
) -> None:
    sts.clear()
    caplog.clear()

    tokens = count_tokens(exchange(server, data))

    assert tokens <= len(sts.requests) <= len(re.findall(rb"(?:GET|POST)", data))
    assert "Traceback" not in caplog.text


POLICY = policy(OBJECTS + "users/$USER_ID/*")
LOGIN = service("HS256").sign(claims_now(exp=4_000_000_000)).encode()
WITH_LOGIN = (
    b"GET / HTTP/1.1\r\nHost: app\r\nAuthorization: Bearer %s\r\n\r\n" % LOGIN,
    b"GET /?access_token=%s HTTP/1.1\r\nHost: app\r\n\r\n" % LOGIN,
    b"POST / HTTP/1.1\r\nHost: app\r\nAuthorization: bearer %s\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % LOGIN,
)


@each_of_many
@given(data=spoilt(WITH_LOGIN))
def test_no_request_has_a_user_without_a_whole_login(data: bytes) -> None:
    config = load(POLICY)

    users = read([data], lambda request: f"user {user_of(request, config)}")

    assert users.count("user alice") <= data.count(LOGIN)
    assert not [one for one in users if one.startswith("user ") and one != "user alice"]


@pytest.fixture
def for_users(make_server: MakeServer, tmp_path: Path) -> RunningServer:
    """A token server that wants a login."""
    return make_server(Authentication=authentication(tmp_path), TokenReuseTime=None)


@each_of_some
@given(data=spoilt(WITH_LOGIN))
def test_no_token_is_given_without_a_whole_login(
    for_users: RunningServer, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    caplog.clear()

    tokens = count_tokens(exchange(for_users, data))

    assert tokens <= data.count(LOGIN)
    assert "Traceback" not in caplog.text
