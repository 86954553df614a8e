"""Malformed and hostile requests: each gets what it deserves, and nobody else does.

ROWS says what is sent on one connection and which replies come back.  The table runs
against the server itself, and again through nginx, which keeps connections to the
server open and shares them among its clients.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import logging
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

import pytest
from helpers.client import (
    OnceAnswered,
    Reply,
    connect,
    exchange,
    exchange_anyhow,
    parse_replies,
    read_reply,
    read_to_end,
)
from helpers.machine import PATIENCE_SECONDS, find_program, wait_until
from helpers.server import MakeServer, RunningServer
from helpers.settings import ACCESS_KEY_ID, ACCESS_KEY_SECRET, ROLE_ARN, write_config

from localcloud.sts import StsStandIn
from tokenserver.config.load import LiveConfig
from tokenserver.httpd import connection as httpd_connection
from tokenserver.httpd import server as httpd_server
from tokenserver.httpd import streams as httpd_streams
from tokenserver.sts.client import StsClient

# --- Builders -------------------------------------------------------------------

MARK = "zq7Mark"  # in most requests, and in no reply
HOST = "Host: app"
KIB = 1024


def head(*lines: str) -> bytes:
    """Return *lines*, and the blank one that ends them."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def first(line: str) -> bytes:
    """Return a request of which only the first line is special."""
    return head(line, HOST, f"X-App: {MARK}")


def fields(*lines: str) -> bytes:
    """Return a GET that has no header lines but these, not even Host."""
    return head(f"GET /{MARK} HTTP/1.1", *lines)


def get(*lines: str, target: str = f"/{MARK}") -> bytes:
    """Return a good request, unless *lines* in its head spoil it."""
    return head(f"GET {target} HTTP/1.1", HOST, *lines)


def old(*lines: str) -> bytes:
    """Return a request of HTTP/1.0."""
    return head(f"GET /{MARK} HTTP/1.0", *lines)


def post(*lines: str, length: str = "4", body: bytes = b"a=b&") -> bytes:
    """Return a POST with *body*, of which it says that it has *length* bytes."""
    return head("POST / HTTP/1.1", HOST, f"Content-Length: {length}", *lines) + body


def chunked(*lines: str) -> bytes:
    """Return a POST with a body in chunks."""
    body = f"{len(MARK):x}\r\n{MARK}\r\n0\r\n\r\n".encode()
    return head("POST / HTTP/1.1", HOST, *lines) + body


def chunks(*lines: str) -> bytes:
    """Return a POST whose body is *lines*, and the blank one that ends them."""
    return head("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked") + head(*lines)


def chunk(size: str) -> bytes:
    """Return a POST with four bytes in a chunk of this *size*."""
    return chunks(size, "a=b&", "0")


def named(name: str) -> bytes:
    """Return a good request whose reply is told from others by *name*."""
    return get(target=f"/?callback={name}")


def padded(size: int) -> bytes:
    """Return a good request with a head of *size* bytes, without its blank line."""
    space = size - len(get("X-Pad: ")) + len("\r\n\r\n")
    return get("X-Pad: " + "p" * space)


def many(lines: int) -> bytes:
    """Return a good request with a head of so many lines, the first included."""
    return get(*[f"X-{number}: {MARK}" for number in range(lines - 2)])


def late(data: bytes) -> list[bytes]:
    """Return *data* as two chunks: its last byte comes late."""
    return [data[:-1], data[-1:]]


def bytewise(data: bytes) -> list[bytes]:
    """Return *data* as chunks of one byte."""
    return [bytes([byte]) for byte in data]


@dataclass(frozen=True)
class Row:
    """What is sent on one connection, and the replies that come back, in order.

    A reply is its status and an ErrorCode, "token", "token for NAME" (the callback) or
    another word that check_reply() knows.  All but those that leave the connection open
    for another request end it.
    """

    name: str
    chunks: tuple[bytes, ...]
    replies: tuple[str, ...]
    stays_open: bool
    nginx_replies: int  # at most, when nginx stands in front, ...
    nginx_tokens: int  # ... and how many of them may be tokens

    @property
    def tokens(self) -> int:
        """How many AssumeRole calls it costs."""
        return sum("token" in reply for reply in self.replies)

    @property
    def is_refused(self) -> bool:
        """Whether the last of the replies is an error."""
        return self.replies[-1] >= "4"


def row(
    name: str,
    sent: bytes | list[bytes],
    *replies: str,
    stays_open: bool = False,
    nginx: tuple[int, int] = (0, 0),
) -> Row:
    """Return a Row; *nginx* where more may come back through nginx than without it."""
    chunks = (sent,) if isinstance(sent, bytes) else tuple(sent)
    most_replies = max(nginx[0], len(replies))
    most_tokens = max(nginx[1], sum("token" in reply for reply in replies))
    return Row(name, chunks, replies, stays_open, most_replies, most_tokens)


def each(
    name: str,
    values: Iterable[str],
    build: Callable[[str], bytes],
    reply: str,
    nginx: tuple[int, int] = (0, 0),
) -> list[Row]:
    """Return a Row for each of *values*, of which *build* makes a request."""
    return [
        row(f"{name} {value!a}", build(value), reply, nginx=nginx) for value in values
    ]


# --- The table ------------------------------------------------------------------

TOKEN = "200 token"
BAD = "400 MalformedRequest"
BAD_CALLBACK = "400 InvalidCallback"
BAD_METHOD = "405 MethodNotAllowed"
TIMEOUT = "408 RequestTimeout"
BODY_TOO_LARGE = "413 BodyTooLarge"
LINE_TOO_LONG = "414 UriTooLong"
UNEXPECTED = "417 ExpectationFailed"
HEAD_TOO_LARGE = "431 HeadersTooLarge"
NO_TRANSFER = "501 TransferEncodingNotSupported"
TOO_MANY = "503 TooManyConnections"
BAD_VERSION = "505 HttpVersionNotSupported"

# What nginx may make of a request that we refuse, as (replies, tokens).
REPAIRED = (1, 1)  # it may pass on a good request in its place
PARTED = (2, 1)  # it may go on to the request behind
BOTH = (2, 2)

SMUGGLED = named("smuggled")  # stands where nobody must take it for a request
EXPECT = "Expect: 100-continue"
LINE = b"X-A: " + b"a" * 2 * KIB + b"\r\n"

GOOD = [
    row("plain GET", get(), TOKEN, stays_open=True),
    row("HEAD", first("HEAD / HTTP/1.1"), "200 head", stays_open=True),
    row("OPTIONS", first("OPTIONS / HTTP/1.1"), "204 preflight", stays_open=True),
    row("OPTIONS *", first("OPTIONS * HTTP/1.1"), "204 preflight", stays_open=True),
    row("health", get(target="/healthz"), "200 healthy", stays_open=True),
    row("credentials", get(target="/credentials"), "200 uri token", stays_open=True),
    row("icon", get(target="/favicon.ico"), "404 NotFound"),
    row("callback", named("a.$_9"), "200 token for a.$_9", stays_open=True),
    row("long callback", named("c" * 64), f"200 token for {'c' * 64}", stays_open=True),
    row("POST", post(), TOKEN),
    row("POST without a body", post(length="0", body=b""), TOKEN, stays_open=True),
    row("GET with a body", get("Content-Length: 4") + b"a=b&", TOKEN),
    row("body in pieces", [post(body=b""), b"a=", b"b&"], TOKEN),
    row("body of 64 KiB", post(length="65536", body=b"b" * 65536), TOKEN),
    row("length with a zero in front", post(length="04"), TOKEN),
    row("asks to close", get("Connection: close"), TOKEN),
    row("asks to close in a list", get("Connection: TE , CLOSE"), TOKEN),
    row("HTTP/1.0", old(HOST), TOKEN),
    row("HTTP/1.0, no Host", old(), TOKEN),
    row("HTTP/1.0, stays", old("Connection: Keep-Alive"), TOKEN, stays_open=True),
    row("Host with a port", fields("Host: app.example:7080"), TOKEN, stays_open=True),
    row("Host of IPv6", fields("Host: [2001:db8::1]:80"), TOKEN, stays_open=True),
    row("no blank after the colon", fields("Host:app"), TOKEN, stays_open=True),
    row("tabs around a value", fields("Host:\tapp \t"), TOKEN, stays_open=True),
    row("value in Latin-1", get("X-A: \xe9\x85\xff"), TOKEN, stays_open=True),
    row("byte by byte", bytewise(fields(HOST)), TOKEN, stays_open=True),
    row("head of 16 KiB", padded(16 * KIB), TOKEN, stays_open=True),
    row(
        "head of 16 KiB, last byte late", late(padded(16 * KIB)), TOKEN, stays_open=True
    ),
    row("head of 100 lines", many(100), TOKEN, stays_open=True),
    row("absolute form", first("GET http://a/b HTTP/1.1"), TOKEN, stays_open=True),
    row("absolute, no path", first("GET HTTPS://a HTTP/1.1"), TOKEN, stays_open=True),
    row("absolute, query", first("GET http://a?b HTTP/1.1"), TOKEN, stays_open=True),
    row("path in UTF-8", get(target=f"/{MARK}/\xc3\xa9"), TOKEN, stays_open=True),
    row("path of slashes", get(target="//a//..//b"), TOKEN, stays_open=True),
    row("line end encoded in a path", get(target="/%0d%0aA:b"), TOKEN, stays_open=True),
    row("CRLF in front", b"\r\n" + get(), TOKEN, stays_open=True),
    row("CRLF in front, apart", [b"\r\n", get()], TOKEN, stays_open=True),
    row("CRLF in front, halved", [b"\r", b"\n" + get()], TOKEN, stays_open=True),
]

# The last request of a connection, and what must not be taken for another.
LAST = [
    row("request as a body", post(length=f"{len(SMUGGLED)}", body=SMUGGLED), TOKEN),
    row("request behind a body", post() + SMUGGLED, TOKEN, nginx=BOTH),
    row("request behind too long a body", post() + b"c" + SMUGGLED, TOKEN, nginx=BOTH),
    row("request later than a body", [post(), SMUGGLED], TOKEN, nginx=BOTH),
    row("CRLF behind a body", post() + b"\r\n", TOKEN),
    row(
        "request as the body of a HEAD",
        head("HEAD / HTTP/1.1", HOST, f"Content-Length: {len(SMUGGLED)}") + SMUGGLED,
        "200 head",
    ),
    row(
        "more and more behind a body",
        [
            head("HEAD / HTTP/1.1", HOST, "Content-Length: 1") + b"b" + SMUGGLED,
            *[MARK.encode()] * 4,
        ],
        "200 head",
        nginx=(3, 1),
    ),
    row("request behind a close", get("Connection: close") + SMUGGLED, TOKEN),
    row("request behind HTTP/1.0", old() + SMUGGLED, TOKEN),
    row(
        "continue",
        [post(EXPECT, body=b""), OnceAnswered(b"a=b&")],
        "100 interim",
        TOKEN,
    ),
    row("continue, body at once", post(EXPECT), TOKEN),
    row("continue, no body", get(EXPECT, "Connection: close"), TOKEN),
    row("continue in 1.0", [old(EXPECT, "Content-Length: 1"), b"b"], TOKEN),
]

PIPELINES = [
    row(
        "three at once",
        named("one") + named("two") + named("three"),
        "200 token for one",
        "200 token for two",
        "200 token for three",
        stays_open=True,
    ),
    row(
        "CRLF between two",
        named("one") + b"\r\n" + named("two"),
        "200 token for one",
        "200 token for two",
        stays_open=True,
    ),
    row(
        "two, sent as one and a bit",
        [named("one") + named("two")[:9], named("two")[9:]],
        "200 token for one",
        "200 token for two",
        stays_open=True,
    ),
    row(
        "various methods",
        first("HEAD / HTTP/1.1") + first("OPTIONS / HTTP/1.1") + named("one") + post(),
        "200 head",
        "204 preflight",
        "200 token for one",
        TOKEN,
    ),
    row(
        "good behind a method",
        first("PUT / HTTP/1.1") + SMUGGLED,
        BAD_METHOD,
        nginx=PARTED,
    ),
    row(
        "good behind a callback",
        named("1") + SMUGGLED,
        BAD_CALLBACK,
        nginx=PARTED,
    ),
    row(
        "good behind a missing icon",
        get(target="/favicon.ico") + SMUGGLED,
        "404 NotFound",
        nginx=PARTED,
    ),
    row(
        "good behind too large a body",
        post(length="70000", body=b"b" * 70000) + SMUGGLED,
        BODY_TOO_LARGE,
        nginx=PARTED,
    ),
    row("good behind two Hosts", fields(HOST, HOST) + SMUGGLED, BAD),
    row("good behind TLS", b"\x16\x03\x01\0\1\0" + SMUGGLED, BAD),
    row(
        "version behind good",
        named("one") + first("GET / HTTP/2.0"),
        "200 token for one",
        BAD_VERSION,
    ),
    row(
        "method behind good, later",
        [named("one"), first("PUT / HTTP/1.1"), SMUGGLED],
        "200 token for one",
        BAD_METHOD,
        nginx=(3, 2),
    ),
    row(
        "chunks behind good",
        named("one") + chunked("Transfer-Encoding: chunked"),
        "200 token for one",
        TOKEN,
    ),
    row(
        "malformed between good",
        named("one") + fields("X-A: b") + SMUGGLED,
        "200 token for one",
        BAD,
    ),
    row(
        "garbage behind good",
        named("one") + b"\0\xff" + SMUGGLED,
        "200 token for one",
        BAD,
    ),
    row(
        "a bit behind good, then garbage",
        [named("one") + b"GET /", b"\0"],
        "200 token for one",
        BAD,
    ),
]

# What is no number of bytes; some readers take the first four for 4.
LENGTHS = (
    "4;", "4 4", "4, 4", "4,", "+4", "4.0", "4e0", "0x4", "4_0", "-0", "-1", "", " ",
    '"4"', "\xb2", "\xa04", "\x004", "9" * 20, MARK,
)  # fmt: skip
EXPECTATIONS = ("", "200-ok", "100-continue, 100-continue", f"100-continue; {MARK}")

# A proxy reads chunks itself, mends some, and sends them on with a length or as chunks
# of its own.  nginx before 1.21.1 did also where there was a length, and in HTTP/1.0.
CHUNKED = "Transfer-Encoding: chunked"
SIZES_TAKEN = (
    "4;a", "4;a=b", "4;a=b;c=d", '4;a="b\\";c"', '4;a=""', "04", "000000000004",
)  # fmt: skip
SIZES_REFUSED = (
    "", "g", "4g", "+4", "-4", " 4", "4 ", "\t4", "4\t", "4 ;a", "4;", "4; a", "4;a=",
    "4;a b", "4;;a", '4;a="b', '4;a="b"c', "4;=b", "0x4", "x4", "4h", "4_0", "4.0",
    "4,", "\xb2", "\xa04", "4\x00", "4;a=\x00", "4\r", "4;a=\r", "4\n",
    "0" * 17 + "4", MARK,
)  # fmt: skip
SIZES_TOO_LARGE = ("10001", "ffffffff", "7" + "f" * 15, "f" * 16)
CHUNKS = [
    row("chunks", chunked(CHUNKED), TOKEN),
    row("chunks, case", chunked(CHUNKED.swapcase()), TOKEN),
    row("chunks, none", chunks("0"), TOKEN),
    row("chunks, none, zeros", chunks("000"), TOKEN),
    row("chunks of a GET", get(CHUNKED) + b"0\r\n\r\n", TOKEN),
    row(
        "chunks of a HEAD",
        head("HEAD / HTTP/1.1", HOST, CHUNKED) + b"0\r\n\r\n",
        "200 head",
    ),
    row("chunks byte by byte", bytewise(chunk("4;a=b")), TOKEN),
    row("chunks in upper case", chunks("A", "a" * 10, "0"), TOKEN),
    row("chunk of 64 KiB", chunks("10000", "c" * 65536, "0"), TOKEN),
    row("chunks of 64 KiB", chunks(*["1000", "c" * 4096] * 16, "0"), TOKEN),
    row("chunks with a trailer", chunks("0", "X-A: b", "X-B:", "Host: c"), TOKEN),
    row(
        "continue, chunks",
        [head("POST / HTTP/1.1", HOST, CHUNKED, EXPECT), b"0\r\n\r\n"],
        "100 interim",
        TOKEN,
    ),
    row("request behind chunks", chunked(CHUNKED) + SMUGGLED, TOKEN, nginx=BOTH),
    row(
        "request as a chunk",
        head("POST / HTTP/1.1", HOST, CHUNKED)
        + b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
        TOKEN,
    ),
    row("request as trailers", chunks("0", SMUGGLED[:-4].decode()), BAD, nginx=BOTH),
    row("request behind no chunk", chunks("0") + SMUGGLED, TOKEN, nginx=BOTH),
    row("request behind a bad chunk", chunk("5") + SMUGGLED, BAD, nginx=BOTH),
    *each("chunk size", SIZES_TAKEN, chunk, TOKEN),
    *each("chunk size", SIZES_REFUSED, chunk, BAD, BOTH),
    *each("chunk size", SIZES_TOO_LARGE, chunk, BODY_TOO_LARGE, BOTH),
    row("chunk one byte short", chunk("5"), BAD, nginx=REPAIRED),
    row("chunk one byte long", chunk("3"), BAD, nginx=REPAIRED),
    row("chunk without its end", chunks("4", "a=b&0"), BAD, nginx=REPAIRED),
    row("chunk, LF", chunk("4").replace(b"4\r", b"4"), BAD, nginx=BOTH),
    row("chunk, LF behind it", chunk("4").replace(b"&\r", b"&"), BAD, nginx=BOTH),
    row("chunk, LF at the end", chunk("4")[:-2] + b"\n", BAD, nginx=BOTH),
    row("chunk, CR CR LF", chunk("4").replace(b"4\r", b"4\r\r"), BAD, nginx=BOTH),
    row("chunk of controls", chunks("4", "\0\r\n\x7f", "0"), TOKEN),
    row("chunk, no size yet", [chunks()[:-2], b"\n"], BAD, nginx=REPAIRED),
    row("trailer folded", chunks("0", "X-A: b", " c"), BAD, nginx=REPAIRED),
    row("trailer without a colon", chunks("0", "X"), BAD, nginx=REPAIRED),
    row("trailer, blank", chunks("0", "X-A : b"), BAD, nginx=REPAIRED),
    row("trailer, LF", chunks("0", "X-A: b\nX-B: c"), BAD, nginx=REPAIRED),
    row("trailer, NUL", chunks("0", "X-A: \0"), BAD, nginx=REPAIRED),
    row("chunks over 64 KiB", chunks(*["1000", "c" * 4096] * 17), BODY_TOO_LARGE),
    row("extensions of 16 KiB", chunk("4;a=" + "b" * 16 * KIB), BAD, nginx=REPAIRED),
    row("extension without an end", chunk("4;a=" + "b" * 20 * KIB)[:-20], BAD),
    row("trailers of 16 KiB", chunks("0", *["X: " + "a" * 998] * 17), BAD, nginx=BOTH),
    row("chunks of a byte", chunks(*["1", "c"] * 9000, "0"), BAD, nginx=REPAIRED),
]

FRAMING = [
    row("coding unknown", chunked(f"Transfer-Encoding: {MARK}"), NO_TRANSFER),
    row("coding identity", get("Transfer-Encoding: identity"), NO_TRANSFER),
    row("coding in a list", chunked("Transfer-Encoding: gzip, chunked"), NO_TRANSFER),
    row("coding in a list twice", chunked(f"{CHUNKED}, chunked"), NO_TRANSFER),
    row("coding with a comma", chunked(f"{CHUNKED},"), NO_TRANSFER),
    row("coding with a parameter", chunked(f"{CHUNKED};a=b"), NO_TRANSFER),
    row("coding in quotes", chunked('Transfer-Encoding: "chunked"'), NO_TRANSFER),
    row("coding of no name", get("Transfer-Encoding:"), NO_TRANSFER),
    row("coding twice", chunked(CHUNKED, CHUNKED), BAD),
    row("two codings", chunked(CHUNKED, "transfer-encoding: identity"), BAD),
    row(
        "length, then coding",
        chunked("Content-Length: 5", CHUNKED) + SMUGGLED,
        BAD,
        nginx=BOTH,
    ),
    row(
        "coding, then length",
        chunked(CHUNKED, "Content-Length: 5") + SMUGGLED,
        BAD,
        nginx=BOTH,
    ),
    row(
        "coding, no length", chunked(CHUNKED, "Content-Length: 0"), BAD, nginx=REPAIRED
    ),
    row("coding in 1.0", old(CHUNKED) + b"0\r\n\r\n", BAD, nginx=REPAIRED),
    row("coding, blank", chunked("Transfer-Encoding : chunked") + SMUGGLED, BAD),
    row("coding, tab", chunked("Transfer-Encoding\t: chunked") + SMUGGLED, BAD),
    row("coding, VT", chunked("Transfer-Encoding: \vchunked") + SMUGGLED, BAD),
    row("coding, folded", chunked("X-A: b", f" {CHUNKED}") + SMUGGLED, BAD),
    row("coding, LF", chunked(f"X-A: b\n{CHUNKED}"), BAD, nginx=REPAIRED),
    row("length twice", post("Content-Length: 4"), BAD),
    row("two lengths", post("content-length: 99", length="0", body=SMUGGLED), BAD),
    *each("length", LENGTHS, lambda length: post(length=length), BAD),
    row("body over 64 KiB", post(length="65537", body=b"b" * 65537), BODY_TOO_LARGE),
    row(
        "body over 64 KiB in pieces",
        [post(length="65537", body=b""), *[b"b" * 16 * KIB] * 4, b"b"],
        BODY_TOO_LARGE,
    ),
    row("body to be over 64 KiB", post(length="65537", body=b""), BODY_TOO_LARGE),
    row("body to be huge", post(length="9" * 18, body=b""), BODY_TOO_LARGE),
    row("continue, too large", post(EXPECT, length="65537", body=b""), BODY_TOO_LARGE),
    # nginx does with Expect what it likes, and does not pass it on
    *each("Expect", EXPECTATIONS, lambda e: post(f"Expect: {e}"), UNEXPECTED, REPAIRED),
]

ODD_HOSTS = (
    "", ":80", f"a, {MARK}", f"a {MARK}", f"{MARK}@a", f"a/{MARK}", "a?b", "a#b",
    "a\\b", "a:b", "a:80:80", "a:-1", "a:123456", "[::1", "::1", "[::1]a", "[g]",
    "a\xe9", "<a>", '"a"', "a|b", "http://a",
)  # fmt: skip

HOSTS = [
    row("no Host", fields(f"X-App: {MARK}"), BAD),
    row("no Host, absolute form", head(f"GET http://{MARK}/ HTTP/1.1"), BAD),
    row("Host twice", fields(HOST, HOST), BAD),
    row("two Hosts", fields(HOST, f"Host: {MARK}"), BAD),
    row("two Hosts, case", fields("hOST: a", f"HOST: {MARK}"), BAD),
    row("two Hosts in 1.0", old(HOST, f"Host: {MARK}"), BAD),
    row("odd Host in 1.0", old(f"Host: a/{MARK}"), BAD),
    row("Host folded", fields("X-A: b", f" Host: {MARK}"), BAD),
    row("Host, blank", fields(f"Host : {MARK}"), BAD),
    # nginx sends its own instead, unless told otherwise
    *each("Host", ODD_HOSTS, lambda host: fields(f"Host: {host}"), BAD, REPAIRED),
]

NOT_VERSIONS = (
    "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/11", "HTTP/01.1", "HTTP/1,1", "HTTP/+1.1",
    "HTTP/-1.1", "HTTP/\xb9.1", "http/1.1", "HTTPS/1.1", "XHTTP/1.1", "RTSP/1.0", "1.1",
    "HTTP/1.1 HTTP/1.1",
)  # fmt: skip
METHODS = ("PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get", "Get", MARK)
NOT_METHODS = ("GE(T", "G\xc9T", "GET,", '"GET"', "G" * 200)
NOT_PATHS = (
    "*", MARK, f"{MARK}:80", f"/#{MARK}", "?a=b", "http:///", "http://", "http:/a",
    f"http://a#{MARK}/", f"file:///{MARK}", f"javascript:{MARK}",
)  # fmt: skip
NOT_CALLBACKS = (
    "", "c" * 65, "1a", "a-b", "a[0]", "a;b", "a+b", "a%20b", "a%00", f"{MARK}%0a",
    f"alert({MARK})", f"a%0d%0aX-A:%20{MARK}", "%3Cscript%3E", "%C3%A9", "\xc3\xa9",
    "a%2F%2A", "a&callback=b", "a&callback=",
)  # fmt: skip

FIRST_LINES = [
    *each(
        "version",
        ("0.9", "0.0", "2.0", "2.1", "3.0", "9.9"),
        lambda version: first(f"GET /{MARK} HTTP/{version}"),
        BAD_VERSION,
    ),
    row("version 1.2", first(f"GET /{MARK} HTTP/1.2"), BAD_VERSION, nginx=REPAIRED),
    row("version 1.9", first(f"GET /{MARK} HTTP/1.9"), BAD_VERSION, nginx=REPAIRED),
    row("version 1.10", first(f"GET /{MARK} HTTP/1.10"), BAD, nginx=REPAIRED),
    *each("no version", NOT_VERSIONS, lambda v: first(f"GET /{MARK} {v}"), BAD),
    row("no version", first(f"GET /{MARK}"), BAD, nginx=REPAIRED),
    row("HTTP/0.9", f"GET /{MARK}\r\n".encode(), BAD, nginx=REPAIRED),
    row("no target", first("GET HTTP/1.1"), BAD),
    row("method alone", first("GET"), BAD),
    row("two blanks first", first(f"GET  /{MARK} HTTP/1.1"), BAD, nginx=REPAIRED),
    row("two blanks later", first(f"GET /{MARK}  HTTP/1.1"), BAD, nginx=REPAIRED),
    row("blank in the target", first(f"GET /a {MARK} HTTP/1.1"), BAD),
    row("blank at the end", first(f"GET /{MARK} HTTP/1.1 "), BAD, nginx=REPAIRED),
    row("blank in front", first(f" GET /{MARK} HTTP/1.1"), BAD),
    row("tabs for blanks", first(f"GET\t/{MARK}\tHTTP/1.1"), BAD),
    row("empty lines in front", b"\r\n\r\n\r\n" + get(), BAD, nginx=REPAIRED),
    row("empty lines alone", b"\r\n\r\n\r\n", BAD),
    row("header line first", head(HOST, f"GET /{MARK} HTTP/1.1"), BAD),
    *each("method", METHODS, lambda method: first(f"{method} / HTTP/1.1"), BAD_METHOD),
    *each("method", NOT_METHODS, lambda method: first(f"{method} / HTTP/1.1"), BAD),
    row("CONNECT", first(f"CONNECT {MARK}:443 HTTP/1.1"), BAD_METHOD),
    row(
        "PUT of less than a request",
        post(body=SMUGGLED).replace(b"POST", b"PUT"),
        BAD_METHOD,
        nginx=(2, 0),
    ),
    row("OPTIONS of what", first("OPTIONS *?a=b HTTP/1.1"), BAD),
    *each("target", NOT_PATHS, lambda target: first(f"GET {target} HTTP/1.1"), BAD),
    row("target of FTP", first(f"GET ftp://{MARK}/ HTTP/1.1"), BAD, nginx=REPAIRED),
    *each("callback", NOT_CALLBACKS, named, BAD_CALLBACK),
    row("HEAD of a bad callback", first("HEAD /?callback=1 HTTP/1.1"), "400 head"),
    row("HEAD without Host", head("HEAD / HTTP/1.1"), "400 head"),
]

NAMES = (
    "X@A",
    "X(A)",
    "X/A",
    '"X"',
    "X,A",
    "X=A",
    "X;A",
    "{X}",
    "X\xe9",
    "X A",
    "X\\A",
)
CONTROLS = ("\0", "\1", "\b", "\v", "\f", "\r", "\x1b", "\x1f", "\x7f")

FIELD_LINES = [
    row("line folded with a blank", get("X-A: b", f" {MARK}"), BAD),
    row("line folded with a tab", get("X-A: b", f"\t{MARK}"), BAD),
    row("first line folded", fields(f" {HOST}", HOST), BAD),
    row("line of blanks", get("X-A: b", "  "), BAD),
    row("blank before the colon", get(f"X-A : {MARK}"), BAD),
    row("tab before the colon", get(f"X-A\t: {MARK}"), BAD),
    row("no name", get(f": {MARK}"), BAD),
    row("Authorization twice", get("Authorization: a", f"authorization: {MARK}"), BAD),
    # nginx leaves out lines whose names it does not like, unless told otherwise
    row("no colon", get(MARK), BAD, nginx=REPAIRED),
    *each("name", NAMES, lambda name: get(f"{name}: {MARK}"), BAD, REPAIRED),
    *each("name with", CONTROLS, lambda c: get(f"X{c}A: {MARK}"), BAD, REPAIRED),
    *each("value with", CONTROLS, lambda c: get(f"X-A: b{c}{MARK}"), BAD),
    *each("target with", CONTROLS, lambda c: get(target=f"/a{c}{MARK}"), BAD),
    *each("version with", CONTROLS, lambda c: first(f"GET / HTTP/1.1{c}"), BAD),
]

# nginx takes a bare LF for the end of a line.
LINE_ENDS = [
    row("LF alone", get().replace(b"\r\n", b"\n"), BAD, nginx=REPAIRED),
    row("LF in a name", get(f"X\nA: {MARK}"), BAD, nginx=REPAIRED),
    row("LF in a value", get(f"X-A: b\nX-B: {MARK}"), BAD, nginx=REPAIRED),
    row("LF in a target", get(target=f"/a\n{MARK}"), BAD, nginx=REPAIRED),
    row("LF after the version", first("GET / HTTP/1.1\n"), BAD, nginx=REPAIRED),
    row("LF at the end", get()[:-2] + b"\n", BAD, nginx=REPAIRED),
    row("LF in front", b"\n" + get(), BAD, nginx=REPAIRED),
    row("CR alone", get().replace(b"\r\n", b"\r"), BAD),
    row("CR CR LF", get().replace(b"\r\n", b"\r\r\n"), BAD),
    row("CR, then CR LF", [get()[:-4] + b"\r", b"\r\n\r\n"], BAD, nginx=REPAIRED),
    row("LF CR", get().replace(b"\r\n", b"\n\r"), BAD),
    row("CR CR LF CR, and a request", get("X-A: b\r\r\n\r") + SMUGGLED, BAD),
]

SIZES = [
    row("head over 16 KiB", padded(16 * KIB + 1), HEAD_TOO_LARGE),
    row("head over 16 KiB, last byte late", late(padded(16 * KIB + 1)), HEAD_TOO_LARGE),
    row("head of 60 KiB", padded(60 * KIB), HEAD_TOO_LARGE),
    row("head without an end", padded(60 * KIB)[:-4], HEAD_TOO_LARGE),
    row("head in large pieces", [get("a: b")[:-2], *[LINE] * 9], HEAD_TOO_LARGE),
    row("head of 101 lines", many(101), HEAD_TOO_LARGE),
    row("head of 101 lines, last byte late", late(many(101)), HEAD_TOO_LARGE),
    row("head of 1500 short lines", get(*["a:b"] * 1500), HEAD_TOO_LARGE),
    row("name of 20 KiB", get("n" * 20 * KIB + ":"), HEAD_TOO_LARGE),
    row("target of 20 KiB", get(target="/" + "t" * 20 * KIB), LINE_TOO_LONG),
    row("target without an end", b"GET /" + b"t" * 20 * KIB, LINE_TOO_LONG),
    row("method without an end", b"G" * 20 * KIB, LINE_TOO_LONG),
    row(
        "absolute form of 20 KiB",  # of which nginx passes on the path alone
        first("GET http://" + "h" * 20 * KIB + "/ HTTP/1.1"),
        LINE_TOO_LONG,
        nginx=REPAIRED,
    ),
]

OTHER_PROTOCOLS = [
    row("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 32, BAD),
    row("TLS, first byte", b"\x16", BAD),
    row("SSL 2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", BAD),
    row("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", BAD_VERSION),
    row("HTTP/2, first line", b"PRI * HTTP/2.0\r\n", BAD_VERSION),
    row("PROXY", f"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n{MARK}".encode(), BAD),
    row("PROXY, version 2", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", BAD),
    row("SSH", f"SSH-2.0-{MARK}\r\n".encode(), BAD),
    row("SMTP", f"EHLO {MARK}\r\n".encode(), BAD),
    row("Redis", f"*1\r\n$7\r\n{MARK}\r\n".encode(), BAD),
    row("RTSP", head("OPTIONS * RTSP/1.0", HOST), BAD),
    row("SIP", head("OPTIONS sip:app SIP/2.0", HOST), BAD),
    row("RDP", b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00", BAD),
    row("JSON", f'{{"{MARK}":1}}\r\n\r\n'.encode(), BAD),
    row("reply", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", BAD),
    row("byte order mark", b"\xef\xbb\xbf" + get(), BAD),
    row("UTF-16", get().decode().encode("utf-16"), BAD),
    row("NUL in front", b"\0" + get(), BAD),
]

ROWS = [
    *GOOD,
    *LAST,
    *PIPELINES,
    *CHUNKS,
    *FRAMING,
    *HOSTS,
    *FIRST_LINES,
    *FIELD_LINES,
    *LINE_ENDS,
    *SIZES,
    *OTHER_PROTOCOLS,
]
every_row = pytest.mark.parametrize("row", ROWS, ids=attrgetter("name"))


# --- Checks ---------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _log_stays_clean(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that leaves a traceback in the log, or a character that forges it."""
    caplog.set_level(logging.INFO, "tokenserver")
    yield
    for record in caplog.get_records("call"):
        message = record.getMessage()
        assert record.exc_info is None, message
        assert message.isascii(), message
        assert message.isprintable(), message


@pytest.fixture
def server(make_server: MakeServer) -> RunningServer:
    """A token server that calls AssumeRole for each token."""
    return make_server(TokenReuseTime=0)


@contextlib.contextmanager
def serving(
    folder: Path, client: StsClient
) -> Iterator[tuple[RunningServer, StsStandIn]]:
    """Run a token server like that, and its STS, for more than one test."""
    with StsStandIn() as sts:
        sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET)
        sts.add_role(ROLE_ARN)
        path = write_config(folder, StsEndpoint=sts.url, TokenReuseTime=0)
        server = RunningServer(LiveConfig(path), client)
        with contextlib.closing(server):
            yield server, sts


def check_reply(reply: Reply, expected: str) -> None:
    """Check all of *reply* but Connection, which depends on where it stands."""
    status, what = expected.split(" ", 1)
    headers = dict(reply.headers)
    assert reply.status == int(status)
    if what == "interim":
        assert (headers, reply.body) == ({}, b"")
        return
    assert headers["server"] == "sts-server"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["access-control-allow-origin"] == "*"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", headers["date"])
    assert ("allow" in headers) == (status in ("204", "405"))
    if what == "preflight":
        assert (reply.body, "content-length" in headers) == (b"", False)
        return
    kind = "javascript" if " for " in what else "json"
    assert headers["content-type"] == f"application/{kind}; charset=utf-8"
    if what == "head":
        assert reply.body == b""
        return
    assert int(headers["content-length"]) == len(reply.body)
    if "token" in what:
        assert security_token(reply, what.partition(" for ")[2])
    elif what == "healthy":
        assert reply.json == {"Status": "OK"}
    else:
        document = reply.json
        assert list(document) == ["StatusCode", "ErrorCode", "ErrorMessage"]
        assert (document["StatusCode"], document["ErrorCode"]) == (reply.status, what)
        assert document["ErrorMessage"]


def security_token(reply: Reply, name: str) -> str:
    """Return the token in *reply*, which must be for the callback *name*, or none."""
    before, after = (f"{name}( ".encode(), b" )") if name else (b"", b"")
    body = reply.body
    assert reply.status == 200, reply
    assert body.startswith(before + b"{"), reply
    assert body.endswith(b"}" + after), reply
    document = json.loads(body[len(before) : len(body) - len(after)])
    assert document["AccessKeyId"].startswith("STS.")
    token = document["SecurityToken"]
    assert isinstance(token, str)
    return token


def check_exchange(received: bytes, replies: tuple[str, ...]) -> None:
    """Check that *received* is *replies*, and that the last ends the connection."""
    found = parse_replies(received)
    assert [reply.status for reply in found] == [int(reply[:3]) for reply in replies]
    for reply, expected in zip(found, replies, strict=True):
        check_reply(reply, expected)
    final = [reply.headers["connection"] for reply in found if reply.status >= 200]
    assert final == ["keep-alive"] * (len(final) - 1) + ["close"] * bool(final)
    check_no_leak(received, sum("token" in reply for reply in replies))


def check_no_leak(received: bytes, tokens: int) -> None:
    """Check that *received* holds so many tokens at most, and nothing of a request."""
    assert MARK.encode() not in received
    assert b"Traceback" not in received
    assert received.count(b"STS.") <= tokens
    assert received.count(b'"SecurityToken"') <= tokens


def check_still_serves(server: RunningServer) -> None:
    """Check that the server holds no connection any more and serves the next one."""
    wait_until(lambda: not server.server._open)
    reply = server.request("/?callback=next", headers={"Connection": "close"})
    assert security_token(reply, "next")


# --- The table, directly --------------------------------------------------------

PROBE = get("Connection: close", target="/healthz")


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, sts_client: StsClient
) -> Iterator[tuple[RunningServer, StsStandIn]]:
    """A token server and its STS, for all rows."""
    with serving(tmp_path_factory.mktemp("shared"), sts_client) as pair:
        yield pair


@every_row
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
    "row", [row for row in ROWS if row.is_refused], ids=attrgetter("name")
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


def test_no_two_rows_have_one_name() -> None:
    names = [row.name for row in ROWS]

    assert sorted(set(names)) == sorted(names)


# --- Slow clients ---------------------------------------------------------------

LIMIT_SECONDS = 1.0  # in which a busy machine reads what has been sent already


@contextlib.contextmanager
def short_limits(*names: str) -> Iterator[None]:
    """Shorten time limits of the server, but for requests that are to be answered."""
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            module = httpd_streams if hasattr(httpd_streams, name) else httpd_connection
            patch.setattr(module, name, LIMIT_SECONDS)
        yield


def drip(client: socket.socket, data: bytes) -> bytes:
    """Send *data* again and again until the other side closes; return what came."""
    client.settimeout(0.05)
    deadline = time.monotonic() + PATIENCE_SECONDS
    received = b""
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            try:
                arrived = client.recv(65536)
            except TimeoutError:
                client.sendall(data)
                continue
            if not arrived:
                return received
            received += arrived
        pytest.fail(f"the connection is still open after {received!r}")
    return received


@pytest.mark.parametrize(
    ("start", "more", "replies"),
    [
        pytest.param(b"", b"", (), id="connects and says nothing"),
        pytest.param(b"\r\n", b"", (), id="line end, then silence"),
        pytest.param(b"\r\n", b"\r\n", (), id="line ends for ever"),
        pytest.param(b"G", b"", (TIMEOUT,), id="one byte, then silence"),
        pytest.param(b"G", b"G", (TIMEOUT,), id="method byte by byte"),
        pytest.param(b"GET /", b"t", (TIMEOUT,), id="target byte by byte"),
        pytest.param(get()[:-2], b"", (TIMEOUT,), id="head but for its last line end"),
        pytest.param(get("X-A: ")[:-4], b"v", (TIMEOUT,), id="value byte by byte"),
        pytest.param(get()[:-2], b"a: b\r\n", (TIMEOUT,), id="line by line"),
        pytest.param(post(body=b""), b"", (TIMEOUT,), id="body missing"),
        pytest.param(post(body=b"b"), b"", (TIMEOUT,), id="body begun"),
        pytest.param(post(length="9999"), b"b", (TIMEOUT,), id="body byte by byte"),
        pytest.param(chunk("5")[:-8], b"", (TIMEOUT,), id="chunk missing"),
        pytest.param(chunks("4;a=b")[:-4], b"b", (TIMEOUT,), id="chunk size slowly"),
        pytest.param(chunks()[:-2], b"1\r\nc\r\n", (TIMEOUT,), id="chunk by chunk"),
        pytest.param(
            chunks("0")[:-2], b"a: b\r\n", (TIMEOUT,), id="trailer by trailer"
        ),
        pytest.param(
            post(EXPECT, body=b""),
            b"",
            ("100 interim", TIMEOUT),
            id="100-continue, no body",
        ),
    ],
)
def test_slow_request_is_ended_in_time(
    server: RunningServer,
    sts: StsStandIn,
    start: bytes,
    more: bytes,
    replies: tuple[str, ...],
) -> None:
    part = "BODY_SECONDS" if start.startswith(b"POST") else "HEAD_SECONDS"
    started = time.monotonic()
    with short_limits(part, "LINGER_SECONDS"), connect(server.port) as client:
        client.sendall(start)
        received = drip(client, more)
    seconds = time.monotonic() - started

    check_exchange(received, replies)
    assert seconds >= LIMIT_SECONDS * 0.9
    assert sts.requests == []
    check_still_serves(server)


@pytest.mark.parametrize(
    ("more", "timeouts"),
    [
        pytest.param(b"", 0, id="silent"),
        pytest.param(b"G", 1, id="slow"),
    ],
)
def test_connection_kept_alive_is_ended_in_time(
    server: RunningServer, more: bytes, timeouts: int
) -> None:
    idle_limit = () if more else ("IDLE_SECONDS",)  # begins with the first reply
    with short_limits(*idle_limit), connect(server.port) as client:
        client.sendall(get(target="/healthz"))
        client.recv(1, socket.MSG_PEEK)
        with short_limits("HEAD_SECONDS", "LINGER_SECONDS"):
            received = drip(client, more)

    statuses = [reply.status for reply in parse_replies(received)]
    assert statuses == [200] + [408] * timeouts
    check_still_serves(server)


@pytest.mark.parametrize("more", [b"", b"more"], ids=["stays", "goes on sending"])
def test_refused_client_does_not_hold_its_connection(
    server: RunningServer, more: bytes
) -> None:
    with (
        short_limits("LINGER_SECONDS"),
        connect(server.port) as client,
        contextlib.suppress(ConnectionError),
    ):
        client.sendall(b"\0")
        check_exchange(read_to_end(client), (BAD,))

        def is_let_go() -> bool:
            client.sendall(more)
            return not server.server._open

        wait_until(is_let_go)

    check_still_serves(server)


def test_client_that_never_reads_is_given_up(server: RunningServer) -> None:
    server.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * KIB)

    with short_limits("SEND_SECONDS", "LINGER_SECONDS"), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
        client.connect(("127.0.0.1", server.port))
        with contextlib.suppress(ConnectionError):
            client.sendall(get(target="/healthz") * 20_000)
        wait_until(lambda: not server.server._open)

    check_still_serves(server)


def open_files() -> int:
    """Return how many files this process has open; 0 where nothing tells."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except FileNotFoundError:
        return 0


def test_200_dripping_connections_keep_nobody_waiting(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        httpd_connection, "HEAD_SECONDS", 3600.0
    )  # nobody waits so long here
    check_still_serves(server)  # what stays open to STS is open now
    threads, files = threading.active_count(), open_files()

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.port)) for _ in range(200)]
        for _ in range(3):
            for client in clients:
                client.sendall(b"G")
            assert security_token(server.request("/?callback=own"), "own")
            wait_until(lambda: threading.active_count() > threads + 150)

    wait_until(lambda: threading.active_count() < threads + 5)
    wait_until(lambda: open_files() < files + 5)
    check_still_serves(server)


# --- Clients that go away -------------------------------------------------------

WHOLE = post(f"X-App: {MARK}", length="40", body=b"b" * 40)
LEAVINGS: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("nothing", b"", ()),
    ("line end", b"\r\n", ()),
    ("one byte", WHOLE[:1], (BAD,)),
    ("half a line", WHOLE[:9], (BAD,)),
    ("one line", WHOLE[: WHOLE.index(b"\n") + 1], (BAD,)),
    ("half a head", WHOLE[:40], (BAD,)),
    ("almost a head", WHOLE[:-41], (BAD,)),
    ("a head", WHOLE[:-40], (BAD,)),
    ("half a body", WHOLE[:-20], (BAD,)),
    ("half a chunk", chunk("4")[:-10], (BAD,)),
    ("a chunk", chunk("4")[:-5], (BAD,)),
    ("chunks but for a line end", chunk("4")[:-2], (BAD,)),
    ("chunks", chunk("4"), (TOKEN,)),
    ("a request", WHOLE, (TOKEN,)),
    ("two requests", get() + WHOLE, (TOKEN, TOKEN)),
    ("one and a half", get() + get()[:20], (TOKEN, BAD)),
    ("garbage", b"\0" + WHOLE, (BAD,)),
    ("large body", post(length="70000", body=b"b" * 70000), (BODY_TOO_LARGE,)),
]
every_leaving = pytest.mark.parametrize(
    ("sent", "replies"), [pytest.param(*row, id=name) for name, *row in LEAVINGS]
)


@every_leaving
@pytest.mark.parametrize("is_reset", [False, True], ids=["closes", "resets"])
def test_client_that_goes_away_leaves_nothing_behind(
    server: RunningServer, sent: bytes, replies: tuple[str, ...], is_reset: bool
) -> None:
    with connect(server.port) as client:
        client.sendall(sent)
        if is_reset:
            at_once = struct.pack("ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)

    check_still_serves(server)


@every_leaving
def test_client_that_has_sent_all_it_will_gets_its_reply(
    server: RunningServer, sts: StsStandIn, sent: bytes, replies: tuple[str, ...]
) -> None:
    with connect(server.port) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = read_to_end(client)

    check_exchange(received, replies)
    assert len(sts.requests) == replies.count(TOKEN)
    check_still_serves(server)


def test_client_that_sends_everything_before_it_reads_gets_its_refusal(
    server: RunningServer, sts: StsStandIn
) -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n"
    with connect(server.port) as client:
        client.sendall(head)
        time.sleep(0.05)  # the refusal comes before the body is sent
        client.sendall(bytes(10_000_000))
        client.shutdown(socket.SHUT_WR)
        received = read_to_end(client)

    assert [reply.json["ErrorCode"] for reply in parse_replies(received)] == [
        "BodyTooLarge"
    ]
    assert sts.requests == []


# --- Too many clients -----------------------------------------------------------


@pytest.fixture
def _eight_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpd_server, "MAX_CONNECTIONS", 8)
    monkeypatch.setattr(httpd_server, "KEEP_ALIVE_CONNECTIONS", 6)


@contextlib.contextmanager
def held(
    server: RunningServer, number: int, start: bytes = b""
) -> Iterator[list[socket.socket]]:
    """Hold so many connections open that say no more than *start*, one by one."""
    with contextlib.ExitStack() as stack:
        clients = []
        for opened in range(number):
            clients.append(stack.enter_context(connect(server.port)))
            clients[-1].sendall(start)
            wait_until(partial(waits_for, server, opened + 1))
        yield clients


def waits_for(server: RunningServer, number: int) -> bool:
    """Return whether the server waits for so many clients."""
    with server.server._lock:
        handlers = list(server.server._handlers)
    return sum(handler.waits_since is not None for handler in handlers) == number


@contextlib.contextmanager
def busy(
    server: RunningServer, sts: StsStandIn, number: int
) -> Iterator[list[socket.socket]]:
    """Have so many connections wait for STS; when it goes on, they go on."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.port)) for _ in range(number)]
        with sts.held():
            for early, client in enumerate(clients):
                client.sendall(
                    get("Connection: close", target=f"/?callback=early{early}")
                )
            sts.wait_for_requests(number)
            yield clients
        for early, client in enumerate(clients):
            check_exchange(read_to_end(client), (f"200 token for early{early}",))


@pytest.mark.usefixtures("_eight_connections")
def test_connection_over_the_limit_is_refused_and_harms_no_other(
    server: RunningServer, sts: StsStandIn
) -> None:
    with busy(server, sts, 8):
        for _ in range(3):
            with connect(server.port) as client:
                for piece in (get()[:9], get()[9:]):
                    time.sleep(0.05)  # the refusal comes before the request is sent
                    client.sendall(piece)
                received = read_to_end(client)
            check_exchange(received, (TOO_MANY,))
            assert parse_replies(received)[0].headers["retry-after"] == "1"

    assert len(sts.requests) == 8
    check_still_serves(server)


@pytest.mark.usefixtures("_eight_connections")
def test_client_over_the_limit_that_stays_is_let_go(
    server: RunningServer, sts: StsStandIn
) -> None:
    with busy(server, sts, 8), connect(server.port) as client:
        check_exchange(read_to_end(client), (TOO_MANY,))

        def is_let_go() -> bool:
            try:
                client.sendall(b"more")
            except ConnectionError:
                return True
            return False

        wait_until(is_let_go)


@pytest.mark.usefixtures("_eight_connections")
@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(b"", (), id="silent"),
        pytest.param(get(target="/healthz"), ("200 healthy",), id="kept alive"),
        pytest.param(get()[:9], (TOO_MANY,), id="half a head"),
        pytest.param(post(body=b""), (TOO_MANY,), id="no body"),
        pytest.param(chunk("4")[:-12], (TOO_MANY,), id="half a chunk"),
    ],
)
def test_the_client_that_is_waited_for_longest_makes_room(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    start: bytes,
    end: tuple[str, ...],
) -> None:
    monkeypatch.setattr(httpd_server, "KEEP_ALIVE_CONNECTIONS", 8)
    with held(server, 8, start) as clients:
        received = exchange(server.port, get("Connection: close"))

        check_exchange(received, (TOKEN,))
        left = read_to_end(clients[0])
        assert [f"{r.status}" for r in parse_replies(left)] == [e[:3] for e in end]
        wait_until(partial(waits_for, server, 7))


@pytest.mark.usefixtures("_eight_connections")
def test_clients_that_were_refused_and_stay_make_room(server: RunningServer) -> None:
    with held(server, 8, b"\0"):
        received = exchange(server.port, get("Connection: close"))

    check_exchange(received, (TOKEN,))


@pytest.mark.usefixtures("_eight_connections")
def test_clients_that_read_nothing_make_room(server: RunningServer) -> None:
    server.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * KIB)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
            client.connect(("127.0.0.1", server.port))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.sendall(get(target="/healthz") * 20_000)
        wait_until(partial(waits_for, server, 8))

        received = exchange(server.port, get("Connection: close"))

    check_exchange(received, (TOKEN,))


def test_only_some_clients_may_hold_large_requests_that_are_not_whole(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpd_server, "MAX_LARGE", 3)
    with held(server, 3, padded(8 * KIB)[:-9]) as clients:
        small = exchange(server.port, padded(3 * KIB) + get("Connection: close"))
        with connect(server.port) as fourth:
            fourth.sendall(padded(8 * KIB)[:-4])
            check_exchange(read_to_end(clients[0]), (TOO_MANY,))
            fourth.sendall(b"\r\nConnection: close\r\n\r\n")
            check_exchange(read_to_end(fourth), (TOKEN,))

    check_exchange(small, (TOKEN, TOKEN))


@pytest.mark.usefixtures("_eight_connections")
@pytest.mark.parametrize(("others", "connection"), [(4, "keep-alive"), (6, "close")])
def test_connections_are_not_kept_alive_when_they_get_scarce(
    server: RunningServer, others: int, connection: str
) -> None:
    with held(server, others):
        reply = server.request()

    assert (reply.status, reply.headers["connection"]) == (200, connection)


# --- Behind a proxy -------------------------------------------------------------

# Three ports, one small pool of connections to the server.  On the first, nginx passes
# on what comes as unchanged and as soon as it can; on the second, as most people set it
# up.  Hostile clients use these two, and read until nginx loses its patience, which is
# short.  The third is for ordinary clients.  Only root can, and must, name a user.
NGINX_CONF = """
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_header_timeout 300ms;
    client_body_timeout 300ms;
    keepalive_timeout 50ms;
    lingering_timeout 50ms;
    client_max_body_size 0;
    large_client_header_buffers 4 128k;
    merge_slashes off;
    upstream token_server {{
        server 127.0.0.1:{server};
        keepalive 4;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{ports[0]};
        ignore_invalid_headers off;
        underscores_in_headers on;
        location / {{
            proxy_pass http://token_server;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
    server {{
        listen 127.0.0.1:{ports[1]};
        location / {{ proxy_pass http://token_server; }}
    }}
    server {{
        listen 127.0.0.1:{ports[2]};
        client_header_timeout 60s;
        keepalive_timeout 60s;
        location / {{ proxy_pass http://token_server; }}
    }}
}}
"""


# The same with HAProxy, which on the first port takes what HTTP does not allow, too.
HAPROXY_CONF = """
global
    maxconn 512
defaults
    mode http
    timeout client 300ms
    timeout http-request 300ms
    timeout http-keep-alive 50ms
    timeout connect 10s
    timeout server 20s
    option http-keep-alive
    http-reuse always
frontend as_it_comes
    option accept-invalid-http-request
    bind fd@{descriptors[0]}
    default_backend token_server
frontend usual
    bind fd@{descriptors[1]}
    default_backend token_server
frontend ordinary
    timeout client 60s
    timeout http-request 60s
    timeout http-keep-alive 60s
    bind fd@{descriptors[2]}
    default_backend token_server
backend token_server
    option accept-invalid-http-response
    server server 127.0.0.1:{server}
"""


@dataclass(frozen=True)
class Proxied:
    """A token server with a proxy in front of it, and the ports of that."""

    server: RunningServer
    hostile_ports: list[int]
    ordinary_port: int


@contextlib.contextmanager
def proxy_in_front(
    name: str, server: RunningServer, folder: Path
) -> Iterator[list[int]]:
    """Run nginx or HAProxy in front of *server*; return the ports it listens on."""
    program = find_program(name)
    with contextlib.ExitStack() as stack:
        # Both can take over sockets, nginx as in an upgrade those that NGINX lists: no
        # other process can get hold of their ports, and a connection finds them open.
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=511))
            for _ in range(3)
        ]
        ports = [listening.getsockname()[1] for listening in sockets]
        descriptors = [listening.fileno() for listening in sockets]
        conf = {"nginx": NGINX_CONF, "haproxy": HAPROXY_CONF}[name]
        conf = conf.format(server=server.port, ports=ports, descriptors=descriptors)
        (folder / "conf").write_text(conf)
        arguments = {"nginx": ["-p", str(folder), "-c", "conf"], "haproxy": ["-db"]}
        process = subprocess.Popen(
            [program, *arguments[name], *(["-f", "conf"] * (name == "haproxy"))],
            cwd=folder,
            env={"NGINX": "".join(f"{number};" for number in descriptors)},
            pass_fds=descriptors,
        )
    try:
        yield ports
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def proxied_by(
    name: str, factory: pytest.TempPathFactory, client: StsClient
) -> Iterator[Proxied]:
    """Run a token server with a proxy in front of it, for more than one test."""
    folder = factory.mktemp(name)
    with (
        serving(folder, client) as (server, _),
        proxy_in_front(name, server, folder) as (*hostile_ports, ordinary_port),
    ):
        yield Proxied(server, hostile_ports, ordinary_port)


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory, sts_client: StsClient
) -> Iterator[Proxied]:
    """A token server with nginx in front of it, for all tests of this module."""
    with proxied_by("nginx", tmp_path_factory, sts_client) as found:
        yield found


@pytest.fixture(scope="module")
def behind_haproxy(
    tmp_path_factory: pytest.TempPathFactory, sts_client: StsClient
) -> Iterator[Proxied]:
    """A token server with HAProxy in front of it, for all tests of this module."""
    with proxied_by("haproxy", tmp_path_factory, sts_client) as found:
        yield found


numbers = itertools.count()


def ask_for_own(port: int, requests: int = 1) -> list[str]:
    """Return the tokens that an ordinary client gets, each under a name of its own."""
    timeout = PATIENCE_SECONDS
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    tokens = []
    with contextlib.closing(connection):
        for _ in range(requests):
            name = f"own{next(numbers)}"
            connection.request("GET", f"/?callback={name}")
            reply = read_reply(connection)
            tokens.append(security_token(reply, name))
            assert MARK.encode() not in reply.body
    return tokens


def check_hostile(port: int, row: Row, is_mended: bool) -> list[str]:
    """Send what *row* sends, check what a proxy lets through; return the tokens.

    If *is_mended*, the proxy may make a good request of each that was begun.
    """
    received = exchange_anyhow(port, *row.chunks)
    sent = b"".join(row.chunks)
    begun = sent.count(b" HTTP/")
    check_no_leak(received, begun if is_mended else row.nginx_tokens)
    assert all(name in sent for name in re.findall(rb"([\w$.]+)\( \{", received))
    if received.startswith(b"HTTP/"):
        replies = [reply for reply in parse_replies(received) if reply.status >= 200]
        assert len(replies) <= (begun + 1 if is_mended else row.nginx_replies)
    else:  # what nginx sends to a client of HTTP/0.9, for it knows no better
        assert received.count(b"StatusCode") + received.count(b"<html>") <= 1
    return re.findall(r'"SecurityToken":"([^"]+)"', received.decode("latin-1"))


def run_all(*calls: Callable[[], list[str]]) -> list[str]:
    """Return the tokens that *calls* get, each called in a thread of its own."""
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(call) for call in calls]
        return [token for call in running for token in call.result()]


@every_row
def test_hostile_request_behind_nginx_disturbs_nobody(
    proxied: Proxied, row: Row
) -> None:
    check_nobody_is_disturbed(proxied, row)


# HAProxy mends more than nginx, and waits for the rest of a chunk that was refused.
@pytest.mark.parametrize(
    "row",
    [
        row
        for row in (*LAST, *PIPELINES, *CHUNKS, *FRAMING)
        if row.name not in ("chunk size '10001'", "chunk size 'ffffffff'")
    ],
    ids=attrgetter("name"),
)
def test_framing_behind_haproxy_disturbs_nobody(
    behind_haproxy: Proxied, row: Row
) -> None:
    check_nobody_is_disturbed(behind_haproxy, row, is_mended=True)


def check_nobody_is_disturbed(
    proxied: Proxied, row: Row, is_mended: bool = False
) -> None:
    """Send what *row* sends beside ordinary clients, who get what is theirs."""

    def ordinary() -> list[str]:
        return ask_for_own(proxied.ordinary_port, 4)

    def hostile(port: int) -> Callable[[], list[str]]:
        return lambda: check_hostile(port, row, is_mended)

    tokens = run_all(ordinary, *map(hostile, proxied.hostile_ports), ordinary)

    assert len(set(tokens)) == len(tokens)


def test_many_clients_behind_nginx_each_get_their_own_reply(proxied: Proxied) -> None:
    def ordinary() -> list[str]:
        return [t for _ in range(4) for t in ask_for_own(proxied.ordinary_port, 5)]

    def hostile(number: int) -> Callable[[], list[str]]:
        port = proxied.hostile_ports[number % 2]
        rows = ROWS[number::4]
        return lambda: [
            token for row in rows for token in check_hostile(port, row, False)
        ]

    tokens = run_all(*[ordinary] * 16, *map(hostile, range(4)))

    assert len(set(tokens)) == len(tokens) >= 16 * 4 * 5


def test_nginx_keeps_connections_to_the_server_open(proxied: Proxied) -> None:
    ask_for_own(proxied.ordinary_port)

    wait_until(lambda: 1 <= proxied.server.server.connections()[0] <= 4)
