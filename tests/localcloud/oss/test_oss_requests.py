"""Requests that nobody thought of, and what the log says of any."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
from dataclasses import replace
from urllib.parse import quote

import pytest
from helpers.client import connect
from helpers.machine import PATIENCE_SECONDS
from helpers.oss.client import read_reply, send
from helpers.oss.cloud import Cloud, ask, signed_get
from helpers.oss.signing import (
    BUCKET,
    CAT,
    DOG,
    SCHEMES,
    V4_HEADER,
    KeyPair,
    Message,
    signature_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localcloud.oss import OssStandIn
from localcloud.oss.replies import Reply
from localcloud.oss.request import Request

pytestmark = pytest.mark.slow


# --- Secrets and the log --------------------------------------------------------------
def test_neither_log_nor_repr_shows_a_secret(
    cloud: Cloud,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG, "localcloud.oss")
    key = cloud.session()
    seen: list[object] = []
    answer = OssStandIn.answer

    def spy(oss: OssStandIn, request: Request) -> Reply:
        seen.extend([request, request.signable, request.places({})])
        return answer(oss, request)

    monkeypatch.setattr(OssStandIn, "answer", spy)
    secrets = [key.access_key_secret, key.security_token, quote(key.security_token, "")]
    for scheme in SCHEMES.values():
        signed = scheme.sign(Message(), key, cloud.clock.now)
        secrets.append(signature_of(signed))
        send(cloud.oss, signed)
        send(cloud.oss, signed.with_headers(x_oss_meta_a="changed"))
        send(cloud.oss, replace(signed, path=f"/{BUCKET}/none"))

    assert len(seen) == 3 * len(cloud.oss.requests) == 36
    shown = f"{caplog.text} {seen!r} {cloud.oss.requests!r}"
    assert [secret for secret in secrets if secret in shown] == []
    assert key.access_key_id in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", f"{BUCKET}.example"])
def test_a_request_leaves_one_line_in_the_log(
    cloud: Cloud, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    caplog.set_level(logging.INFO, "localcloud.oss")
    evil = "%0aOSS%20GET%20GetObject%0d%1b[31m%e2%80%a8%c2%85"
    for method in ("GET", "\x1b[31mGET", "OPTIONS"):
        for target in (
            f"/{BUCKET}/a{evil}",
            f"/a{evil}/b",
            f"/{BUCKET}/a?{evil}={evil}",
        ):
            message = Message(method, headers={"host": host}, target=target)
            send(cloud.oss, message.with_headers(authorization="OSS \x1b[31m:\x1b"))

    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(cloud.oss.requests) == 9
    assert all(message.isprintable() for message in messages)


# --- Requests that nobody thought of --------------------------------------------------
Spoiling = tuple[int, int, bytes]
SPOILERS = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from(
        [
            b"\r\n",
            b"\r",
            b"\n",
            b"\0",
            b" ",
            b"%",
            b"%2F",
            b"/",
            b"?",
            b"&",
            b"=",
            b":",
            b"\r\n ",
            b"..",
            b"\r\n\r\n",
            b"\r\nHost: x\r\n",
            b"\r\nTransfer-Encoding: chunked\r\n",
            b"\r\nContent-Length: 1\r\n",
            b"\r\nExpect: 100-continue\r\n",
            b"\r\nx-oss-date:\r\n",
            b"\r\nAuthorization: OSS a:b\r\n",
            b"\xe5\x85\xac",
        ]
    ),
)
EDIT = st.tuples(st.integers(0, 2000), st.integers(0, 3), SPOILERS)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from(sorted(SCHEMES)),
    method=st.sampled_from(["GET", "PUT"]),
    edits=st.lists(EDIT, min_size=1, max_size=3),
)
def test_a_spoilt_request_breaks_nothing_and_gets_no_more_than_was_signed(
    cloud: Cloud, key: KeyPair, name: str, method: str, edits: list[Spoiling]
) -> None:
    bucket = cloud.buckets[BUCKET]
    bucket.put(CAT, b"meow")
    bucket.put(DOG, b"secret")
    body = b"purr" if method == "PUT" else b""
    message = SCHEMES[name].sign(Message(method, body=body), key, cloud.clock.now)
    data = message.encoded(cloud.oss.port)
    head_length = len(data) - len(body)
    for place, gone, put in edits:
        place %= head_length
        data = data[:place] + put + data[place + gone :]

    received = exchange(cloud.oss.port, data)

    for line in re.findall(rb"^HTTP/1.1 (.*?)\r$", received, re.MULTILINE):
        assert line[:1] in b"1234" or line[:3] in (b"501", b"505"), line
    assert b"secret" not in received
    contents = cloud.contents()
    cat = contents.pop(f"{BUCKET}/{CAT}")
    assert cat == b"meow" or method == "PUT"  # no scheme signs what is uploaded
    assert contents == {f"{BUCKET}/{DOG}": b"secret"}
    assert cloud.tracebacks == []
    assert ask(cloud, key).status == 200


def exchange(port: int, data: bytes) -> bytes:
    """Return all that comes back for *data*, and nothing more."""
    received = bytearray()
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as client,
        contextlib.suppress(ConnectionError),
    ):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while arrived := client.recv(65536):
            received += arrived
    return bytes(received)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET / HTTP/1.1\r\nno header\r\nHost: a\r\n\r\n", id="no header"),
        pytest.param(b"GET / HTTP/1.1\r\n folded: a\r\nHost: a\r\n\r\n", id="folded"),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            id="other coding",
        ),
        pytest.param(b"PUT /a/b HTTP/1.1\r\nContent-Length: -1\r\n\r\n", id="negative"),
        pytest.param(b"PUT /a/b HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", id="list"),
        pytest.param(b"PUT /a/b HTTP/1.1\r\nContent-Length: ++1\r\n\r\n", id="sign"),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nContent-Length: " + b"9" * 17 + b"\r\n\r\n",
            id="huge",
        ),
        pytest.param(b"PUT /a/b HTTP/1.1\r\nContent-Length:\r\n\r\n", id="empty"),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n",
            id="two lengths",
        ),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nContent-Length: 0\r\ncontent-length: 0\r\n\r\n",
            id="a length twice",
        ),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"
            b"\r\n\r\n0\r\n\r\n",
            id="length and chunks",
        ),
        pytest.param(
            b"PUT /a/b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="a coding twice",
        ),
    ],
)
def test_a_request_whose_end_is_not_clear_ends_the_connection(
    cloud: Cloud, head: bytes
) -> None:
    with connect(cloud.oss.port) as client:
        client.sendall(head)
        reply = read_reply(client, "GET")

        assert reply.status in (400, 501)
        assert reply.headers["connection"] == "close"
        assert reply.headers["x-oss-request-id"] == reply.text("RequestId")
        assert client.recv(1) == b""


def twice(message: Message, port: int, line: str) -> bytes:
    """Return *message* with one more header."""
    head, end, body = message.encoded(port).partition(b"\r\n\r\n")
    return head + b"\r\n" + line.encode() + end + body


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: OSS a:b",
        "authorization: {authorization}",
        "Date: {date}",
        "Host: other.example",
        "Content-Type: text/html",
        "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg==",
        "X-OSS-Meta-A: 1",
        "x-oss-content-sha256: UNSIGNED-PAYLOAD",
        "x-oss-security-token: CAIS",
        "Range: bytes=0-0",
        "If-None-Match: a",
        "Origin: https://app.example",
        "User-Agent: other",
        "Cache-Control: no-cache",
        "Expires: 0",
    ],
)
def test_a_header_that_oss_reads_may_not_be_there_twice(
    cloud: Cloud, line: str
) -> None:
    key = cloud.session()
    message = signed_get(cloud, key).with_headers(
        range="bytes=1-1",
        if_none_match="b",
        origin="https://app.example",
        user_agent="app",
        cache_control="no-store",
        expires="1",
    )
    second = line.format(**message.headers)

    received = exchange(cloud.oss.port, twice(message, cloud.oss.port, second))

    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>InvalidArgument</Code>" in received
    assert second.partition(":")[0].lower().encode() in received
    assert b"meow" not in received
    assert send(cloud.oss, message).status == 206


@pytest.mark.parametrize("name", ["Accept", "X-Forwarded-For", "Via", "Cookie"])
def test_other_headers_may_be_lists_in_several_lines(
    cloud: Cloud, key: KeyPair, name: str
) -> None:
    message = V4_HEADER.sign(
        Message(headers={name.lower(): "a, b", "host": "127.0.0.1"}),
        key,
        cloud.clock.now,
        additional_headers=name.lower(),
    )
    split = message.with_headers(**{name.lower(): "a"})

    received = exchange(cloud.oss.port, twice(split, cloud.oss.port, f"{name}: b"))

    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"meow")


def test_a_refused_body_is_not_taken_for_the_next_request(
    cloud: Cloud, key: KeyPair
) -> None:
    get = signed_get(cloud, key).with_headers(connection="keep-alive")
    smuggled = get.encoded(cloud.oss.port)
    outer = Message("PUT", headers={"connection": "keep-alive"}, body=smuggled)

    received = exchange(cloud.oss.port, outer.encoded(cloud.oss.port))

    assert received.count(b"HTTP/1.1 ") == 1
    assert b"meow" not in received
