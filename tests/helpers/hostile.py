"""Requests, good, malformed and hostile, and the replies that each deserves.

Each of ROWS has the bytes sent on one connection and the replies expected.  The parser
has to read all rows; OVER_HTTP and PROXIED are a choice of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from helpers.client import OnceAnswered

MARK = "zq7Mark"  # in most requests, and in no reply
HOST = "Host: app"
KIB = 1024


def head(*lines: str) -> bytes:
    """Return *lines*, and the empty line that ends them."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def first(line: str) -> bytes:
    """Return a request in which only the first line is special."""
    return head(line, HOST, f"X-App: {MARK}")


def fields(*lines: str) -> bytes:
    """Return a GET that has only these header lines, not even Host."""
    return head(f"GET /{MARK} HTTP/1.1", *lines)


def get(*lines: str, target: str = f"/{MARK}") -> bytes:
    """Return a good request, unless *lines* in its head spoil it."""
    return head(f"GET {target} HTTP/1.1", HOST, *lines)


def old(*lines: str) -> bytes:
    """Return a request of HTTP/1.0."""
    return head(f"GET /{MARK} HTTP/1.0", *lines)


def post(*lines: str, length: str = "4", body: bytes = b"a=b&") -> bytes:
    """Return a POST with *body*, which announces *length* bytes."""
    return head("POST / HTTP/1.1", HOST, f"Content-Length: {length}", *lines) + body


def chunked(*lines: str) -> bytes:
    """Return a POST with a body in chunks."""
    body = f"{len(MARK):x}\r\n{MARK}\r\n0\r\n\r\n".encode()
    return head("POST / HTTP/1.1", HOST, *lines) + body


def chunks(*lines: str) -> bytes:
    """Return a POST whose body is *lines*, and the empty line that ends them."""
    return head("POST / HTTP/1.1", HOST, "Transfer-Encoding: chunked") + head(*lines)


def chunk(size: str) -> bytes:
    """Return a POST with four bytes in a chunk of this *size*."""
    return chunks(size, "a=b&", "0")


def named(name: str) -> bytes:
    """Return a good request whose reply can be recognized by *name*."""
    return get(target=f"/?callback={name}")


def padded(size: int) -> bytes:
    """Return a good request with a head of *size* bytes, without the empty line."""
    space = size - len(get("X-Pad: ")) + len("\r\n\r\n")
    return get("X-Pad: " + "p" * space)


def many(lines: int) -> bytes:
    """Return a good request with this number of lines, including the first."""
    return get(*[f"X-{number}: {MARK}" for number in range(lines - 2)])


def late(data: bytes) -> list[bytes]:
    """Return *data* as two chunks: its last byte comes late."""
    return [data[:-1], data[-1:]]


def bytewise(data: bytes) -> list[bytes]:
    """Return *data* as chunks of one byte."""
    return [bytes([byte]) for byte in data]


@dataclass(frozen=True)
class Row:
    """The bytes sent on one connection, and the replies expected, in order.

    A reply is its status and an ErrorCode, "token", "token for NAME" (the callback) or
    another word that check_reply() knows.  The connection ends after the last one,
    unless it *stays_open* for another request.
    """

    name: str
    chunks: tuple[bytes, ...]
    replies: tuple[str, ...]
    stays_open: bool
    nginx_replies: int  # at most, when nginx stands in front, ...
    nginx_tokens: int  # ... and how many of them may be tokens

    @property
    def tokens(self) -> int:
        """The number of AssumeRole calls that it causes."""
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
    """Return a Row; *nginx* has the most replies and tokens that nginx may cause."""
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
    """Return a Row for each of *values*, from which *build* makes a request."""
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
        [head("POST / HTTP/1.1", HOST, CHUNKED, EXPECT), OnceAnswered(b"0\r\n\r\n")],
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
    row(
        "HEAD of a bad callback",
        first("HEAD /?callback=1 HTTP/1.1"),
        "400 head InvalidCallback",
    ),
    row("HEAD without Host", head("HEAD / HTTP/1.1"), "400 head MalformedRequest"),
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
BY_NAME = {row.name: row for row in ROWS}
assert len(BY_NAME) == len(ROWS), "two rows have one name"


def one_of_each(rows: Iterable[Row]) -> Iterable[Row]:
    """Return the first of *rows* for each list of replies."""
    return {row.replies: row for row in reversed(list(rows))}.values()


# What a connection does with a request depends on what the parser made of it, and on
# what comes behind.
OVER_HTTP = [
    *GOOD,
    *LAST,
    *PIPELINES,
    *(
        row
        for part in (
            CHUNKS,
            FRAMING,
            HOSTS,
            FIRST_LINES,
            FIELD_LINES,
            LINE_ENDS,
            SIZES,
            OTHER_PROTOCOLS,
        )
        for row in one_of_each(part)
    ),
]

# One row of each kind that nginx 1.22 or HAProxy 2.6 passes on, as it is or mended; the
# others they refuse by themselves.
PROXIED = [
    *LAST,
    *PIPELINES,
    *(
        BY_NAME[name]
        for name in (
            "chunks",
            "chunks of a HEAD",
            "chunks of 64 KiB",
            "continue, chunks",
            "request behind chunks",
            "request as a chunk",
            "request as trailers",
            "request behind no chunk",
            "request behind a bad chunk",
            "chunk size '4;a=b'",
            "chunk size '4 '",
            "chunk one byte short",
            "chunk, LF",
            "chunk, no size yet",
            "trailer folded",
            "trailer, blank",
            "chunks over 64 KiB",
            "extension without an end",
            "chunks of a byte",
            "coding with a comma",
            "length, then coding",
            "coding, then length",
            "coding, blank",
            "coding, LF",
            "body over 64 KiB",
            "body to be over 64 KiB",
            "continue, too large",
            "Expect '200-ok'",
            "no Host",
            "Host twice",
            "Host 'a?b'",
            "version '0.9'",
            "version 1.2",
            "version 1.10",
            "HTTP/0.9",
            "two blanks later",
            "method 'PUT'",
            "CONNECT",
            "PUT of less than a request",
            "target '*'",
            "callback '1a'",
            "HEAD of a bad callback",
            "HEAD without Host",
            "line folded with a blank",
            "Authorization twice",
            "no colon",
            "name 'X@A'",
            "value with '\\x01'",
            "LF alone",
            "LF in a target",
            "LF after the version",
            "head over 16 KiB",
            "head of 101 lines",
            "target of 20 KiB",
            "absolute form of 20 KiB",
            "RTSP",
        )
    ),
]
