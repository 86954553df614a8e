"""PostObject: uploads by the forms of web pages, over HTTP."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from helpers import MEGABYTE
from helpers.client import connect
from helpers.examples import examples
from helpers.oss.client import (
    DENIED,
    INVALID,
    MALFORMED,
    MISMATCH,
    STORED,
    read_reply,
    send,
)
from helpers.oss.cloud import Cloud
from helpers.oss.forms import (
    BEFORE,
    BOUNDARY,
    Encode,
    Fields,
    Sign,
    as_browser,
    each_encoding,
    each_version,
    edited,
    eq,
    get,
    message_of,
    part,
    post,
    signed,
    wrapped,
)
from helpers.oss.signing import BUCKET, CAT, KeyPair
from hypothesis import given
from hypothesis import strategies as st

from localcloud.oss import OssStandIn
from localcloud.oss import stand_in as oss_module
from localcloud.oss.body import Body
from localcloud.oss.form import Form, read_form
from localcloud.sts import ALLOW_ALL


# --- What is stored -------------------------------------------------------------------
@each_version
@each_encoding
@pytest.mark.parametrize("kind", ["user", "session"])
def test_a_signed_form_makes_its_file_an_object(
    cloud: Cloud, sign: Sign, encode: Encode, kind: str
) -> None:
    key = cloud.user(ALLOW_ALL) if kind == "user" else cloud.session()
    fields = signed(cloud, key, {"key": "dir/猫 ${filename}"}, sign=sign)

    reply = send(
        cloud.oss, message_of(encode(fields, ("咪.txt", "text/plain", b"purr")))
    )

    name = "dir/猫 咪.txt"
    assert (reply.outcome, reply.body) == (STORED, b"")
    assert cloud.contents() == BEFORE | {f"{BUCKET}/{name}": b"purr"}
    stored = get(cloud, key, name)
    assert stored.headers["content-type"] == "text/plain"
    assert stored.headers["etag"] == reply.headers["etag"]
    assert [a.access_key_id for a in cloud.oss.requests] == [key.access_key_id] * 2


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        pytest.param("猫 咪.jpg", "dir/猫 咪.jpg", id="Chinese"),
        pytest.param("a+b%20c&d.jpg", "dir/a+b%20c&d.jpg", id="not encoded"),
        pytest.param('a"b.jpg', 'dir/a"b.jpg', id="quote"),
        pytest.param("a;b.jpg", "dir/a;b.jpg", id="semicolon"),
        pytest.param(r"C:\photos\a.jpg", "dir/a.jpg", id="path on Windows"),
        pytest.param("photos/a.jpg", "dir/a.jpg", id="path"),
        pytest.param("../../a.jpg", "dir/a.jpg", id="path upwards"),
        pytest.param("..", "dir/..", id="dots"),
        pytest.param("${filename}", "dir/${filename}", id="itself"),
        pytest.param("", "dir/", id="empty"),
    ],
)
@each_encoding
def test_the_key_may_have_the_name_of_the_file_in_it(
    cloud: Cloud, key: KeyPair, encode: Encode, filename: str, name: str
) -> None:
    fields = signed(cloud, key, {"key": "dir/${filename}"})

    reply = send(cloud.oss, message_of(encode(fields, (filename, "", b"purr"))))

    assert reply.outcome == STORED
    assert cloud.contents() == BEFORE | {f"{BUCKET}/{name}": b"purr"}


def test_the_name_of_the_file_may_stand_there_twice_and_in_the_key_only(
    cloud: Cloud, key: KeyPair
) -> None:
    fields = {
        "key": "${filename}/${filename}${FILENAME}",
        "x-oss-meta-a": "${filename}",
    }

    reply = post(cloud, signed(cloud, key, fields))

    name = "purr.txt/purr.txt${FILENAME}"
    assert reply.outcome == STORED
    assert get(cloud, key, name).headers["x-oss-meta-a"] == "${filename}"


@pytest.mark.parametrize(
    ("fields", "kind", "stored"),
    [
        pytest.param({}, "image/png", "image/png", id="of the file"),
        pytest.param(
            {"x-oss-content-type": "image/gif"}, "image/png", "image/gif", id="field"
        ),
        pytest.param({}, "", "application/octet-stream", id="none"),
    ],
)
def test_the_content_type_is_that_of_the_file_or_of_a_field(
    cloud: Cloud, key: KeyPair, fields: Fields, kind: str, stored: str
) -> None:
    assert post(cloud, signed(cloud, key, fields), ("a", kind, b"")).outcome == STORED

    assert get(cloud, key, "dir/new").headers["content-type"] == stored


def test_a_form_may_say_what_headers_the_object_has(cloud: Cloud, key: KeyPair) -> None:
    fields = {
        "Cache-Control": "no-cache",
        "Content-Disposition": "attachment",
        "X-OSS-Meta-Who": "Alice",
        "x-other": "not kept",
    }

    assert post(cloud, signed(cloud, key, fields)).outcome == STORED

    headers = get(cloud, key, "dir/new").headers
    assert headers["cache-control"] == "no-cache"
    assert headers["content-disposition"] == "attachment"
    assert headers["x-oss-meta-who"] == "Alice"
    assert "x-other" not in headers


@pytest.mark.parametrize(
    "name",
    ["x-oss-meta-a\r\nEvil: 1", "x-oss-meta-a: b", "x-oss-meta-猫", "x-oss-meta-"],
)
def test_a_field_cannot_bring_in_other_headers(
    cloud: Cloud, key: KeyPair, name: str
) -> None:
    assert post(cloud, signed(cloud, key, {name: "1"})).outcome == INVALID


def test_the_value_of_a_field_cannot_bring_in_other_headers(
    cloud: Cloud, key: KeyPair
) -> None:
    evil = "1\r\nEvil: 1\r\n\r\n"
    fields = {"x-oss-meta-a": evil, "success_action_redirect": f"http://page/{evil}"}

    reply = post(cloud, signed(cloud, key, fields))

    assert reply.status == 303
    assert (
        "evil" not in reply.headers.keys() | get(cloud, key, "dir/new").headers.keys()
    )


@pytest.mark.parametrize(
    ("status", "replied"), [("200", 200), ("201", 201), ("204", 204), ("404", 204)]
)
def test_a_form_may_choose_how_success_is_told(
    cloud: Cloud, key: KeyPair, status: str, replied: int
) -> None:
    fields = {"key": "dir/猫", "success_action_status": status}

    reply = post(cloud, signed(cloud, key, fields))

    location = f"{cloud.oss.url}/{BUCKET}/dir/%E7%8C%AB"
    assert (reply.status, reply.headers["location"]) == (replied, location)
    if replied == 201:
        assert reply.xml.tag == "PostResponse"
        assert reply.text("Bucket") == BUCKET
        assert reply.text("Key") == "dir/猫"
        assert reply.text("Location") == location
        assert reply.text("ETag") == reply.headers["etag"]
    else:
        assert reply.body == b""


@pytest.mark.parametrize("mark", ["", "?a=b"])
def test_a_form_may_lead_to_another_page(cloud: Cloud, key: KeyPair, mark: str) -> None:
    fields = {
        "key": "dir/猫",
        "success_action_redirect": f"http://page.example/done{mark}",
        "success_action_status": "200",
    }

    reply = post(cloud, signed(cloud, key, fields))

    start = f"http://page.example/done{mark}{'&' if mark else '?'}"
    etag = reply.headers["etag"].replace('"', "%22")
    assert reply.status == 303
    assert reply.headers["location"] == (
        f"{start}bucket={BUCKET}&key=dir%2F%E7%8C%AB&etag={etag}"
    )


def test_a_form_may_forbid_to_overwrite(cloud: Cloud, key: KeyPair) -> None:
    fields = {"key": CAT, "x-oss-forbid-overwrite": "true"}

    assert post(cloud, signed(cloud, key, fields)).outcome == (409, "FileAlreadyExists")
    assert cloud.contents() == BEFORE

    fields["x-oss-forbid-overwrite"] = "false"
    assert post(cloud, signed(cloud, key, fields)).outcome == STORED
    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"purr"}


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("127.0.0.1", f"/{BUCKET}/"),
        ("127.0.0.1", f"/{BUCKET}"),
        ("localhost:80", f"/{BUCKET}"),
        (f"{BUCKET}.localhost", "/"),
        (f"{BUCKET}.oss-cn-hangzhou.aliyuncs.com", "/"),
    ],
)
def test_a_form_is_sent_to_the_bucket(
    cloud: Cloud, key: KeyPair, host: str, path: str
) -> None:
    message = message_of(as_browser(signed(cloud, key)), path, {"host": host})

    assert send(cloud.oss, message).outcome == STORED
    assert cloud.contents().keys() == BEFORE.keys() | {f"{BUCKET}/dir/new"}


@pytest.mark.parametrize(
    ("path", "outcome"),
    [
        ("/no-such-bucket/", (404, "NoSuchBucket")),
        ("/No-Such-Bucket/", (400, "InvalidBucketName")),
        (f"/{BUCKET}/dir/new", DENIED),
        ("/", DENIED),
    ],
)
def test_a_form_is_sent_nowhere_else(
    cloud: Cloud, key: KeyPair, path: str, outcome: tuple[int, str]
) -> None:
    message = message_of(as_browser(signed(cloud, key)), path)

    assert send(cloud.oss, message).outcome == outcome
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("", INVALID),
        ("/a", (400, "InvalidObjectName")),
        ("\\a", (400, "InvalidObjectName")),
        ("a" * 1024, (400, "InvalidObjectName")),
        ("a" * 1023, STORED),
        ("猫" * 341, STORED),
        ("猫" * 342, (400, "InvalidObjectName")),
        ("a\r\nb\0", STORED),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_form_needs_a_key(
    cloud: Cloud, key: KeyPair, name: str, outcome: tuple[int, str]
) -> None:
    assert post(cloud, signed(cloud, key, {"key": name})).outcome == outcome


def test_50_megabytes_go_through_a_form(cloud: Cloud, key: KeyPair) -> None:
    data = bytes(range(256)) * (200 * 1024)

    reply = post(cloud, signed(cloud, key), ("big.bin", "", data))

    assert reply.outcome == STORED
    assert cloud.buckets[BUCKET].read("dir/new") == data


def test_a_page_of_another_origin_may_read_the_reply(
    cloud: Cloud, key: KeyPair
) -> None:
    headers = {"origin": "http://page.example"}
    for fields in (signed(cloud, key), {"key": "a"}):
        message = message_of(as_browser(fields), headers=headers)

        assert send(cloud.oss, message).headers["access-control-allow-origin"] == "*"


# --- What is no form ------------------------------------------------------------------
def parts_of(fields: Fields) -> list[bytes]:
    return [part(name, value.encode()) for name, value in fields.items()]


def test_fields_after_the_file_mean_nothing(cloud: Cloud, key: KeyPair) -> None:
    fields = signed(cloud, key, conditions=[eq("key", "dir/new")])
    late = {"key": "other", "x-oss-meta-a": "late", "success_action_status": "200"}
    form = wrapped(*parts_of(fields), part("file", b"purr", "a"), *parts_of(late))

    assert send(cloud.oss, message_of(form)).outcome == STORED
    assert cloud.contents() == BEFORE | {f"{BUCKET}/dir/new": b"purr"}
    assert "x-oss-meta-a" not in get(cloud, key, "dir/new").headers


def test_a_file_before_the_signature_is_refused(cloud: Cloud, key: KeyPair) -> None:
    fields = parts_of(signed(cloud, key))
    for place in range(len(fields)):
        parts = [*fields[:place], part("file", b"purr", "a"), *fields[place:]]

        reply = send(cloud.oss, message_of(wrapped(*parts)))

        assert reply.status in (400, 403)
    assert cloud.contents() == BEFORE


def form_variants(
    fields: Fields,
) -> dict[str, tuple[tuple[bytes, str], tuple[int, str]]]:
    """Return forms that are wrong, and what becomes of them."""
    parts, file = parts_of(fields), part("file", b"purr", "a", "text/plain")
    body, content_type = wrapped(*parts, file)
    end = f"--{BOUNDARY}--".encode()
    wrong_count = (400, "IncorrectNumberOfFilesInPOSTRequest")
    no_form = (400, "RequestIsNotMultiPartContent")
    too_long = (400, "FieldItemTooLong")
    return {
        "two files": (wrapped(*parts, file, file), wrong_count),
        "two files, case": (wrapped(*parts, file, part("FILE", b"")), wrong_count),
        "two files, a field between": (
            wrapped(*parts, file, part("a", b""), file),
            wrong_count,
        ),
        "no file": (wrapped(*parts), wrong_count),
        "no parts": (wrapped(), wrong_count),
        "a field twice": (wrapped(*parts, parts[0], file), MALFORMED),
        "a field twice, case": (wrapped(*parts, part("KEY", b"a"), file), MALFORMED),
        "a field that is not UTF-8": (
            wrapped(*parts, part("a", b"\xc3\x28"), file),
            MALFORMED,
        ),
        "a name that is not UTF-8": (
            (body.replace(b'name="key"', b'name="\xff"'), content_type),
            MALFORMED,
        ),
        "a file name that is not UTF-8": (
            (body.replace(b'filename="a"', b'filename="\xb0\xa1"'), content_type),
            MALFORMED,
        ),
        "101 fields": (
            wrapped(*parts, *(part(f"a{n}", b"") for n in range(101)), file),
            MALFORMED,
        ),
        "a long field": (
            wrapped(*parts, part("a", bytes(2 * MEGABYTE)), file),
            too_long,
        ),
        "long fields": (
            wrapped(
                *parts, *(part(f"a{n}", bytes(MEGABYTE // 4)) for n in range(9)), file
            ),
            too_long,
        ),
        "a long name": (wrapped(*parts, part("a" * 5000, b""), file), MALFORMED),
        "no name": (
            wrapped(b"--%b\r\n\r\nabc\r\n" % BOUNDARY.encode(), *parts, file),
            MALFORMED,
        ),
        "no end": ((body.replace(end, b""), content_type), MALFORMED),
        "half an end": ((body.replace(end, end[:-2]), content_type), MALFORMED),
        "LF alone": ((body.replace(b"\r\n", b"\n"), content_type), MALFORMED),
        "other boundary": ((body, content_type + "x"), MALFORMED),
        "no boundary": ((body, "multipart/form-data"), MALFORMED),
        "empty boundary": ((body, 'multipart/form-data; boundary=""'), MALFORMED),
        "long boundary": ((body, content_type + "x" * 20_000), MALFORMED),
        "boundary in UTF-8": ((body, "multipart/form-data; boundary=猫"), MALFORMED),
        "empty body": ((b"", content_type), MALFORMED),
        "nonsense": ((bytes(range(256)) * 100, content_type), MALFORMED),
        "no Content-Type": ((body, ""), no_form),
        "mixed": ((body, content_type.replace("form-data", "mixed")), no_form),
        "URL-encoded": (
            (b"key=a&file=b", "application/x-www-form-urlencoded"),
            no_form,
        ),
    }


VARIANTS = list(form_variants({"a": "b"}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_form_that_is_none_is_refused(
    cloud: Cloud, key: KeyPair, variant: str
) -> None:
    form, outcome = form_variants(signed(cloud, key))[variant]

    reply = send(cloud.oss, message_of(form))

    assert reply.outcome == outcome
    assert cloud.contents() == BEFORE


def test_what_stands_around_the_parts_of_a_form_means_nothing(
    cloud: Cloud, key: KeyPair
) -> None:
    body, content_type = as_browser(signed(cloud, key))
    message = message_of((b"preamble\r\n" + body + b"epilogue" * 100_000, content_type))

    assert send(cloud.oss, message).outcome == STORED
    assert cloud.buckets[BUCKET].read("dir/new") == b"purr"


def test_a_form_needs_a_length(cloud: Cloud, key: KeyPair) -> None:
    message = message_of(as_browser(signed(cloud, key)))
    data = message.encoded(cloud.oss.port)
    length = f"content-length: {len(message.body)}\r\n".encode()
    with connect(cloud.oss.port) as client:
        client.sendall(data.replace(length, b"").removesuffix(message.body))
        reply = read_reply(client, "POST")

    assert reply.outcome == (411, "MissingContentLength")
    assert cloud.contents() == BEFORE


@pytest.mark.parametrize("coding", ["length", "chunks"])
def test_a_form_that_is_cut_off_leaves_no_object(
    cloud: Cloud, key: KeyPair, coding: str
) -> None:
    file = ("a", "", b"x" * MEGABYTE)
    body, content_type = as_browser(signed(cloud, key), file)
    message = message_of((b"", content_type))
    file_starts = body.index(b"x" * 100)
    for end in (0, 1, 100, file_starts - 1, file_starts, len(body) // 2, len(body) - 3):
        if coding == "length":
            head = message.with_headers(content_length=str(len(body)))
            data = body[:end]
        else:
            head = message.with_headers(transfer_encoding="chunked")
            data = b"%x\r\n%b" % (len(body), body[:end])
        with connect(cloud.oss.port) as client:
            client.sendall(head.encoded(cloud.oss.port) + data)
            client.shutdown(socket.SHUT_WR)
            reply = read_reply(client, "POST")

        assert reply.outcome == (400, "IncompleteBody")
        assert cloud.contents() == BEFORE


def test_a_connection_goes_on_after_a_form_that_was_refused(
    cloud: Cloud, key: KeyPair
) -> None:
    good = signed(cloud, key)
    bad = {**good, **edited(good, str.swapcase)}
    large = ("a", "", bytes(MEGABYTE))
    with connect(cloud.oss.port) as client:
        for fields, outcome in ((bad, MISMATCH), (good, STORED)):
            message = message_of(as_browser(fields, large))
            message = message.with_headers(connection="keep-alive")
            client.sendall(message.encoded(cloud.oss.port))

            assert read_reply(client, "POST").outcome == outcome


# --- However the bytes arrive ---------------------------------------------------------
FILE_DATA = (
    b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n--\r\n\r\n" + BOUNDARY.encode() + b"--\r"
)


@examples(40)
@given(
    cuts=st.lists(st.integers(0, 5000), max_size=30),
    coding=st.sampled_from(["segments", "chunks"]),
)
def test_a_form_is_the_same_in_whatever_pieces_it_arrives(
    cloud: Cloud, key: KeyPair, cuts: list[int], coding: str
) -> None:
    fields = {"key": "dir/猫 ${filename}", "x-oss-meta-a": "猫"}
    file = ("咪", "text/x-cat", FILE_DATA)
    body, content_type = as_browser(signed(cloud, key, fields), file)
    ends = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    pieces = [body[start:end] for start, end in pairwise(ends)]
    message = message_of((b"", content_type))
    if coding == "chunks":
        head = message.with_headers(transfer_encoding="chunked")
        pieces = [b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        pieces.append(b"0\r\n\r\n")
    else:
        head = message.with_headers(content_length=str(len(body)))
    with connect(cloud.oss.port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        for piece in [head.encoded(cloud.oss.port), *pieces]:
            client.sendall(piece)
        reply = read_reply(client, "POST")

    assert reply.outcome == STORED
    stored = get(cloud, key, "dir/猫 咪")
    assert stored.body == FILE_DATA
    assert stored.headers["content-type"] == "text/x-cat"
    assert stored.headers["x-oss-meta-a"].encode("latin-1").decode() == "猫"


class Pieces(Body):
    """A body that comes in pieces, each as it is."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = iter(pieces)

    def chunks(self) -> Iterator[bytes]:
        return self._pieces


@given(st.binary(max_size=200), st.integers(1, 40))
def test_a_form_is_read_alike_in_pieces_of_any_size(data: bytes, size: int) -> None:
    data = data.replace(BOUNDARY.encode(), b"")
    body, content_type = as_browser({"a": "1", "b": "猫"}, ("f", "", data))
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    form = read_form(content_type, Pieces(pieces))

    assert form.fields == {"a": "1", "b": "猫"}
    assert b"".join(form.file) == data


Spoiling = tuple[int, int, bytes]
SPOILERS = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from(
        [
            b"\r\n",
            b"\n",
            b'"',
            b"%0D%0A",
            b"; filename=x",
            b"\r\n\r\n",
            b"--" + BOUNDARY.encode(),
            b"\r\n--" + BOUNDARY.encode() + b"--\r\n",
            part("key", b"other"),
            part("file", b"evil", "e"),
            part("x-oss-meta-b", b"2"),
        ]
    ),
)


@examples(100)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 3), SPOILERS),
        min_size=1,
        max_size=3,
    )
)
def test_a_spoilt_form_breaks_nothing_and_makes_no_object_but_its_own(
    cloud: Cloud, key: KeyPair, edits: list[Spoiling]
) -> None:
    conditions = [eq("key", "dir/new"), ["content-length-range", 0, 1000]]
    body, content_type = as_browser(signed(cloud, key, conditions=conditions))
    for place, gone, put in edits:
        place %= len(body)
        body = body[:place] + put + body[place + gone :]

    reply = send(cloud.oss, message_of((body, content_type)))

    assert reply.status in (204, 400, 403)
    assert cloud.contents().keys() <= BEFORE.keys() | {f"{BUCKET}/dir/new"}
    assert cloud.contents()[f"{BUCKET}/{CAT}"] == b"meow"
    assert cloud.tracebacks == []


# --- Secrets --------------------------------------------------------------------------
@each_version
def test_neither_log_nor_repr_of_a_form_shows_a_secret(
    cloud: Cloud,
    sign: Sign,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG, "localcloud.oss")
    forms: list[Form] = []

    def spy(*args: Any) -> Form:
        forms.append(read_form(*args))
        return forms[-1]

    monkeypatch.setattr(oss_module, "read_form", spy)
    key = cloud.session()
    fields = signed(cloud, key, sign=sign)
    post(cloud, fields)
    post(cloud, {**fields, "key": "other"})
    post(cloud, {**fields, "policy": "e30="})

    signature = next(iter(edited(fields, str).values()))
    shown = f"{caplog.text} {forms!r} {cloud.oss.requests!r}"
    secrets = [key.access_key_secret, key.security_token, signature]
    assert len(forms) == 3
    assert [secret for secret in secrets if secret in shown] == []
    assert key.access_key_id in caplog.text


def test_a_host_that_stands_for_the_only_bucket_takes_forms(
    cloud: Cloud, key: KeyPair
) -> None:
    with OssStandIn(cloud.sts) as oss:
        bucket = oss.create_bucket(BUCKET)
        form = as_browser(signed(cloud, key))
        message = message_of(form, "/", {"host": "cdn.example"})

        assert send(oss, message).outcome == STORED
        assert bucket.keys() == ["dir/new"]
