"""Work on the bytes of a client is linear in their number.

One request that takes time in proportion to the square of its size would hold all
others up, as threads take turns.  Each expression and each loop that meets bytes of a
client or of STS runs here on 2 KiB and on 16 KiB of its worst, in CPU time, which other
processes do not lengthen.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import time
from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.login.service import AUDIENCE, ISSUER, service

from tokenserver import asking, hosts, logs
from tokenserver.errors import LoginError
from tokenserver.httpd import body, origins, request
from tokenserver.httpd.body import Body, ChunkedBody, body_of
from tokenserver.httpd.request import HeadParser, RequestError, parse_head
from tokenserver.login import keys, strict_json, users, verifier
from tokenserver.login.verifier import LoginRules, LoginVerifier
from tokenserver.oss import callback, names, orders
from tokenserver.oss.bucket import Bucket, default_endpoint
from tokenserver.oss.terms import POST_FORM, Terms
from tokenserver.sts import client
from tokenserver.uploads import post, receive, seen

SMALL, LARGE = 2 * 1024, 16 * 1024
LONG_SECONDS = 0.002  # on 16 KiB most take less, what is not linear takes much more
MOST = (LARGE / SMALL) ** 2 / 2  # of a line the ratio is 8, of a square 64

Work = Callable[[str], object]


def seconds(work: Work, text: str, times: int = 1) -> float:
    """Return the CPU time that *work* takes on *text* when it is least disturbed."""
    least = float("inf")
    for _ in range(times):
        started = time.thread_time()
        with contextlib.suppress(RequestError, LoginError, ValueError):
            work(text)
        least = min(least, time.thread_time() - started)
    return least


def check_linear(work: Work, unit: str, before: str = "", end: str = "") -> None:
    """Check that *work* takes time in proportion to how often *unit* stands there."""
    small, large = (
        before + unit * (size // len(unit)) + end for size in (SMALL, LARGE)
    )
    if seconds(work, large) < LONG_SECONDS:
        return
    ratio = seconds(work, large, 3) / max(seconds(work, small, 10), 1e-6)
    assert ratio < MOST, f"{ratio:.0f} times as long for {before}{unit}...{end}"


# --- Expressions ----------------------------------------------------------------

# What an expression may try again and again, over and over, what may stand before it,
# and what makes a match fail at its end.
UNITS = (
    "a", "0", " ", "\t", "/", ".", "-", ":", ";", "=", "%", "\\", '"', "$", "\xe9",
    "\r", "\n", "\r\n", "eyJ", "%25", "a.", ";a", ";a=b", ';a="b"', "a:", "http://",
    "acs:ram:", "server string to sign is", "{", "----",
)  # fmt: skip
BEFORE = ("", "GET /", '4;a="', "http://", "[", "----- BEGIN ")
ENDS = ("", "\0", " HTTP/1.1!")


# All of those in the modules that meet bytes of clients or of STS
MODULES = (
    *(asking, body, callback, client, hosts, keys, logs, names),
    *(orders, origins, post, receive, request, seen, users, verifier),
)
EXPRESSIONS = [
    pytest.param(value, id=f"{module.__name__}.{name}")
    for module in MODULES
    for name, value in sorted(vars(module).items())
    if isinstance(value, re.Pattern)
]
# The others are for a whole text, and would not be linear in search of it.
SEARCHED = (request.NOT_IN_A_HEAD, keys.NO_SECRET, client.REVEALING)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_expression_is_linear(expression: re.Pattern[Any]) -> None:
    is_bytes = isinstance(expression.pattern, bytes)

    def match(text: str) -> None:
        content = text.encode("latin-1") if is_bytes else text
        if expression in SEARCHED:
            expression.sub(content[:0], content)
        else:
            expression.fullmatch(content)

    for unit, before, end in product(UNITS, BEFORE, ENDS):
        check_linear(match, unit, before, end)


# --- Loops ----------------------------------------------------------------------


def read_slowly(text: str) -> None:
    """Read a request that comes byte by byte."""
    parser, received = HeadParser(), bytearray()
    dropped: Body | None = None
    for byte in text.encode("latin-1"):
        received.append(byte)
        if dropped:
            dropped.drop(received)
        elif found := parser.take(received):
            dropped = body_of(found)


def drop_slowly(body: Body, text: str) -> None:
    """Drop a body that comes byte by byte."""
    received = bytearray()
    for byte in text.encode("latin-1"):
        received.append(byte)
        body.drop(received)


def ask_slowly(text: str) -> None:
    """Look for a login token and a callback in a query, and in a header field."""
    plain = parse_head(b"GET / HTTP/1.0\r\n\r\n")
    asked = plain._replace(query=text, fields={"authorization": text})
    asking.parameters(asked, "callback")
    asking.login_token(asked)


def refuse(text: str) -> object:
    """Read an error of STS."""
    error = SimpleNamespace(
        code="Code",
        data={"Message": text},
        status_code=400,
        request_id=text,
        access_denied_detail={"PolicyType": text, "NoPermissionType": text},
    )
    return client.refusal(error)


def forwarded(text: str) -> object:
    """Find the client behind proxies that are all trusted."""
    anywhere = [ipaddress.ip_network("0.0.0.0/0")]
    return origins.forwarded_client("192.0.2.1", text, anywhere)


def drop_chunks_slowly(text: str) -> None:
    """Drop a chunked body that comes byte by byte."""
    drop_slowly(ChunkedBody(), text)


def log_in(text: str) -> object:
    """Look whose login token this is."""
    rules = LoginRules(issuer=ISSUER, audiences=(AUDIENCE,), leeway_seconds=60)
    key = keys.secret_key("secret", service("HS256").file)
    return LoginVerifier(rules, key).user(text)


def read_report(text: str) -> object:
    """Read what OSS posts, or who pretends to be it."""
    return callback.read_report(text.encode("latin-1"))


def is_signed(text: str) -> object:
    """Look whether OSS signed something."""
    return callback.is_signed([callback.OSS_KEY], text, "/path", text.encode("latin-1"))


def open_ticket(text: str) -> object:
    """Look what a ticket is for."""
    return callback.open_ticket([b"secret"], text)


def keep_slowly(text: str) -> None:
    """Keep a body that comes byte by byte."""
    drop_slowly(Body(len(text), is_kept=True), text)


def order(text: str) -> object:
    """Ask for a form."""
    bucket = Bucket("my-bucket", "cn-hangzhou", default_endpoint("cn-hangzhou"), None)
    limits = ("image/*", "text/plain")
    terms = Terms(POST_FORM, "POST", 300, content_types=limits, object_name="$FILENAME")
    folder = orders.Folder(bucket, "users/alice/", "alice")
    return orders.order_of(terms, folder, text, 0.0)


GET, END = "GET / HTTP/1.1\r\n", "\r\n\r\n"


@pytest.mark.parametrize(
    ("work", "unit", "before", "end"),
    [
        pytest.param(logs.loggable, "eyJ", "/", "", id="path of tokens"),
        pytest.param(logs.loggable, "%25", "/%", "", id="path encoded on and on"),
        pytest.param(logs.printable, "\n", "", "", id="what is not printable"),
        pytest.param(read_slowly, "a", "GET /", " HTTP/1.1" + END, id="target"),
        pytest.param(read_slowly, "a", "GET /", "", id="target without an end"),
        pytest.param(read_slowly, "a", GET + "Host: ", END, id="Host"),
        pytest.param(read_slowly, "a:b\r\n", GET, "", id="header lines"),
        pytest.param(read_slowly, "a,", GET + "Connection: ", END, id="Connection"),
        pytest.param(read_slowly, "\r\n", "", "", id="line ends"),
        pytest.param(drop_chunks_slowly, "1\r\nc\r\n", "", "0" + END, id="chunks"),
        pytest.param(drop_chunks_slowly, ";a=b", "4", "", id="chunk extensions"),
        pytest.param(drop_chunks_slowly, "a: b\r\n", "0\r\n", "\r\n", id="trailers"),
        pytest.param(lambda t: drop_slowly(Body(len(t)), t), "b", "", "", id="body"),
        pytest.param(ask_slowly, "callback&", "", "", id="query of names"),
        pytest.param(ask_slowly, "%41", "access_token=", "", id="query encoded"),
        pytest.param(ask_slowly, "a=b&c=%zz;", "Bearer ", "", id="Authorization"),
        pytest.param(forwarded, "1.1.1.1, ", "", "", id="X-Forwarded-For"),
        pytest.param(forwarded, "1", "", ".1.1.1", id="X-Forwarded-For, one long"),
        pytest.param(forwarded, ":", "", "", id="X-Forwarded-For, colons"),
        pytest.param(log_in, "a", "", ".a.a", id="login header"),
        pytest.param(log_in, "a.", "", "a", id="login parts"),
        pytest.param(order, "filename&", "", "", id="order of names"),
        pytest.param(order, "%2E%2F", "filename=", "", id="order encoded"),
        pytest.param(order, "a.", "filename=", "a", id="order of dots"),
        pytest.param(order, "a/", "filename=", "a", id="order of slashes"),
        pytest.param(order, "a=%zz;&", "size=1&", "", id="order of others"),
        pytest.param(order, "a", "content_type=image/", "/", id="order of a type"),
        pytest.param(names.extension, ".", "a", "a", id="extension"),
        pytest.param(users.user_id, "a", "", "", id="user"),
        pytest.param(users.user_id, "\u0301", "a", "", id="user of marks"),
        pytest.param(refuse, "acs:ram::1:role/a ", "", "", id="message of STS"),
        pytest.param(refuse, "https://a/ ", "", "", id="message of URLs"),
        pytest.param(keep_slowly, "b", "", "", id="body that is kept"),
        pytest.param(read_report, "a=b&", "", "", id="report of names"),
        pytest.param(read_report, "%41", "a=", "", id="report encoded"),
        pytest.param(is_signed, "A", "", "", id="signature of OSS"),
        pytest.param(callback.is_key_of_oss, "A", "", "", id="place of a key"),
        pytest.param(open_ticket, "A", "", ".A", id="ticket"),
        pytest.param(open_ticket, ".", "", "", id="ticket of dots"),
    ],
)  # fmt: skip
def test_each_loop_is_linear(work: Work, unit: str, before: str, end: str) -> None:
    check_linear(work, unit, before, end)


@pytest.mark.parametrize(
    "unit", ["[", '{"a":', '{"a":1,"b":2},', "[],", "1,", '"\\u0061",', "\\u0301"]
)
def test_strict_json_is_linear(unit: str) -> None:
    def read(text: str) -> object:
        return strict_json.parse_object(text.encode())

    check_linear(read, unit, '{"a":[', "1]}")
