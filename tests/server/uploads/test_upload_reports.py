"""POST of OSS: what counts as a report of an upload, and what does not."""

from __future__ import annotations

import base64
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import uploads
from helpers.client import Reply, exchange, parse_replies, request
from helpers.login.service import authentication, bearer
from helpers.server import MakeServer, RunningServer
from helpers.settings import write_config
from helpers.uploads import (
    KEY_PLACE,
    OTHER_SECRET,
    PATH,
    SECRET,
    callback,
    encoded,
    fields,
    oss_key,
    post,
    records,
    report,
    signature,
    ticket_of,
    write_secrets,
)
from hypothesis import given
from hypothesis import strategies as st

from tokenserver.config import load_callback
from tokenserver.config.load import LiveConfig
from tokenserver.httpd.request import MAX_BODY_BYTES, parse_head
from tokenserver.oss.callback import REPORTED, RsaKey, Ticket
from tokenserver.sts.client import StsClient
from tokenserver.uploads.receive import ReportRefused, upload_of

CAT = "avatars/alice/cat.jpg"
GRANTS = {
    "/avatars": {"ObjectPrefix": "avatars/$USER_ID/"},
    "/silent": {"ObjectPrefix": "silent/$USER_ID/", "Callback": False},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server has its files."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def server(folder: Path, sts_client: StsClient) -> Iterator[RunningServer]:
    """A server with users that takes a key of ours for the one that OSS publishes."""
    numbers = oss_key().public_key().public_numbers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_callback, "OSS_KEY", RsaKey(numbers.n, numbers.e))
        path = write_config(
            folder,
            Region="cn-hangzhou",
            Authentication=authentication(folder),
            Grants=GRANTS,
            Callback=callback(folder, PublicKeyFile=...),
        )
        config = LiveConfig(path)
    with closing(RunningServer(config, sts_client)) as running:
        yield running


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log of the server."""
    caplog.set_level(logging.INFO, "tokenserver")
    return caplog


def ticket(server: RunningServer, user: str = "alice") -> str:
    """Return the ticket that the server gives *user*."""
    reply = server.request("/upload-config/avatars", headers=bearer(user))
    return ticket_of(reply.json)


def lines(log: pytest.LogCaptureFixture, path: str = PATH) -> list[str]:
    """Return the lines of the log that are about reports."""
    messages = [record.getMessage() for record in log.records]
    return [line for line in messages if f" {path} " in line]


# --- What counts ----------------------------------------------------------------


def test_a_report_becomes_a_line_of_the_log_and_one_of_json(
    server: RunningServer, folder: Path, log: pytest.LogCaptureFixture
) -> None:
    before = len(records(folder))
    values = report(ticket(server), "avatars/alice/猫 1.jpg", x_album="Sommer, é")

    reply = post(server.port, values)

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert int(reply.headers["content-length"]) == len(reply.body)
    (record,) = records(folder)[before:]
    assert reply.json == {
        "Status": "OK",
        "id": record["id"],
        "user": "alice",
        "bucket": "my-bucket",
        "object": "avatars/alice/猫 1.jpg",
        "size": 35891,
        "type": "image/jpeg",
        "etag": values["etag"],
        "width": 1280,
        "height": 960,
    }
    assert re.fullmatch(r"[0-9a-f]{32}", record.pop("id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", record.pop("time"))
    assert record == {
        "grant": "/avatars",
        "user": "alice",
        "bucket": "my-bucket",
        "object": "avatars/alice/猫 1.jpg",
        "size": 35891,
        "type": "image/jpeg",
        "etag": values["etag"],
        "crc64": values["crc64"],
        "width": 1280,
        "height": 960,
        "format": "jpg",
        "client": "192.0.2.7",
        "request": values["request"],
        "operation": "PutObject",
        "variables": {"x:album": "Sommer, é"},
    }
    (line,) = lines(log)
    assert f"POST {PATH} 200 Upload alice " in line
    assert line.endswith(
        "(my-bucket/avatars/alice/\\u732b 1.jpg, 35891 bytes, image/jpeg)"
    )
    assert (folder / "uploads.jsonl").stat().st_mode & 0o777 == 0o600


def test_what_is_not_a_picture_has_no_width(
    server: RunningServer, folder: Path
) -> None:
    values = report(ticket(server), CAT, width="", height="", format="", size="0")

    reply = post(server.port, values)

    assert reply.status == 200
    assert "width" not in reply.json
    record = records(folder)[-1]
    assert (record["width"], record["height"], record["size"]) == (None, None, 0)


def test_a_variable_that_the_client_did_not_set_is_empty(
    server: RunningServer, folder: Path
) -> None:
    values = report(ticket(server), CAT, x_album=None, x_more="not asked for")

    assert post(server.port, values).status == 200

    assert records(folder)[-1]["variables"] == {"x:album": ""}


def test_a_report_in_chunks_counts_too(server: RunningServer, folder: Path) -> None:
    before = len(records(folder))
    body = encoded(report(ticket(server), CAT))
    head = "".join(f"{k}: {v}\r\n" for k, v in fields(body).items())
    start = f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{head}Transfer-Encoding: chunked\r\n"

    received = exchange(
        server.port,
        start.encode() + b"\r\n",
        b"5\r\n%b\r\n" % body[:5],
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 5, body[5:]),
    )

    assert parse_replies(received)[0].status == 200
    assert len(records(folder)) == before + 1


def test_a_ticket_is_good_while_the_secret_is_changed(
    make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server(Region="cn-hangzhou", Callback=callback(tmp_path))
    old = ticket_of(server.request("/upload-config").json)

    write_secrets(tmp_path, OTHER_SECRET, SECRET)
    server.look()
    new = ticket_of(server.request("/upload-config").json)
    both = [post(server.port, report(one)).status for one in (old, new)]
    write_secrets(tmp_path, OTHER_SECRET)
    server.look()
    after = [post(server.port, report(one)).status for one in (old, new)]

    assert (both, after) == ([200, 200], [403, 200])
    assert len(records(tmp_path)) == 3


def test_a_stand_in_may_have_its_key_anywhere(
    make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server(Region="cn-hangzhou", Callback=callback(tmp_path))
    place = base64.b64encode(b"http://127.0.0.1:9/key.pem").decode()
    values = report(ticket_of(server.request("/upload-config").json))

    assert post(server.port, values, x_oss_pub_key_url=place).status == 200


def test_without_a_file_a_report_is_in_the_log(
    make_server: MakeServer, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    server = make_server(
        Region="cn-hangzhou", Callback=callback(tmp_path, UploadsFile=...)
    )
    values = report(ticket_of(server.request("/upload-config").json))

    reply = post(server.port, values)

    assert (reply.status, reply.json["user"]) == (200, "")
    assert "200 Upload - " in lines(log)[0]
    assert records(tmp_path) == []


# --- What does not count --------------------------------------------------------

Attack = Callable[[str], tuple[bytes, dict[str, Any]]]  # of alice's ticket

ALICE = Ticket("/avatars", "alice", "my-bucket", "avatars/alice/", 4_000_000_000)
SEALED = SECRET.encode()


def changed(**changes: Any) -> Attack:
    """Return a report that is signed, with some values changed."""
    key = changes.pop("key", CAT)
    return lambda mine: (encoded(report(mine, key, **changes)), {})


def with_ticket(other: Ticket, secret: bytes = SEALED, **changes: Any) -> Attack:
    """Return a report that is signed, with another ticket."""
    key = changes.pop("key", CAT)
    sealed = other.sealed(secret)
    return lambda _mine: (encoded(report(sealed, key, **changes)), {})


def with_fields(**changes: Any) -> Attack:
    """Return a report with other header fields."""

    def attack(mine: str) -> tuple[bytes, dict[str, Any]]:
        body = encoded(report(mine, CAT))
        return body, {
            name: value(body) if callable(value) else value
            for name, value in changes.items()
        }

    return attack


def with_body(change: Callable[[bytes], bytes], is_signed: bool = False) -> Attack:
    """Return a report whose body was changed before or after it was signed."""

    def attack(mine: str) -> tuple[bytes, dict[str, Any]]:
        signed = encoded(report(mine, CAT))
        body = change(signed)
        return body, {"Authorization": signature(body if is_signed else signed)}

    return attack


def place(url: str) -> str:
    return base64.b64encode(url.encode()).decode()


def cut(body: bytes) -> str:
    return base64.b64encode(base64.b64decode(signature(body))[1:]).decode()


NOT_SIGNED = (
    "OSS did not sign it, OSS was told another URL, or a proxy changed the body"
)
NO_KEY_PLACE = "its x-oss-pub-key-url does not name a key of OSS"
NOT_OURS = "its ticket was not issued by this server"
NOT_IN_FOLDER = "its object is not in the folder of its ticket"
NOT_A_FORM = "its Content-Type is not that of a form"
LACKS = "it lacks a value that OSS was told to report"
NOT_READABLE = "it is not a form in UTF-8"

REFUSED = [
    # Not signed by OSS, or not for this URL
    ("no signature", with_fields(Authorization=None), NOT_SIGNED),
    ("an empty signature", with_fields(Authorization=""), NOT_SIGNED),
    ("not base64", with_fields(Authorization="!!"), NOT_SIGNED),
    ("zeros", with_fields(Authorization=place("\0" * 128)), NOT_SIGNED),
    ("a signature that was cut", with_fields(Authorization=cut), NOT_SIGNED),
    (
        "a signature with more behind it",
        with_fields(Authorization=lambda body: signature(body) + "AAAA"),
        NOT_SIGNED,
    ),
    (
        "signed with a key of somebody",
        with_fields(Authorization=lambda b: signature(b, key=oss_key("attacker"))),
        NOT_SIGNED,
    ),
    (
        "signed for the path of another server",
        with_fields(Authorization=lambda b: signature(b, "/index.php")),
        NOT_SIGNED,
    ),
    (
        "signed for a path that a proxy rewrote",
        with_fields(Authorization=lambda b: signature(b, f"/api{PATH}")),
        NOT_SIGNED,
    ),
    (
        "signed for another query",
        with_fields(Authorization=lambda b: signature(b, f"{PATH}?id=1")),
        NOT_SIGNED,
    ),
    (
        "the signature of another report",
        with_fields(Authorization=lambda b: signature(b + b"&")),
        NOT_SIGNED,
    ),
    (
        "signed as a request to OSS",
        with_fields(Authorization="OSS LTAItestAccessKeyId:c2lnbmF0dXJl"),
        NOT_SIGNED,
    ),
    (
        "changed size",
        with_body(lambda b: b.replace(b"size=35891", b"size=35892")),
        NOT_SIGNED,
    ),
    (
        "changed object",
        with_body(lambda b: b.replace(b"cat.jpg", b"dog.jpg")),
        NOT_SIGNED,
    ),
    ("more behind it", with_body(lambda b: b + b"&x:album=dogs"), NOT_SIGNED),
    ("less of it", with_body(lambda b: b[:-1]), NOT_SIGNED),
    (
        "encoded anew by a proxy",
        with_body(lambda b: b.replace(b"%2F", b"/")),
        NOT_SIGNED,
    ),
    ("no body", with_body(lambda _: b""), NOT_SIGNED),
    # Signed, but the key is not to be had from OSS
    ("no place of a key", with_fields(x_oss_pub_key_url=None), NO_KEY_PLACE),
    ("not a place", with_fields(x_oss_pub_key_url="https://x"), NO_KEY_PLACE),
    (
        "a key elsewhere",
        with_fields(x_oss_pub_key_url=place("https://attacker.example/key.pem")),
        NO_KEY_PLACE,
    ),
    (
        "a host that looks alike",
        with_fields(
            x_oss_pub_key_url=place("https://gosspublic.alicdn.com.attacker.example/k")
        ),
        NO_KEY_PLACE,
    ),
    (
        "a user that looks like the host",
        with_fields(
            x_oss_pub_key_url=place("https://gosspublic.alicdn.com@attacker.example/k")
        ),
        NO_KEY_PLACE,
    ),
    (
        "two places of keys",
        with_fields(x_oss_pub_key_url=f"{place(KEY_PLACE)}, {place(KEY_PLACE)}"),
        NO_KEY_PLACE,
    ),
    # Signed by OSS for somebody else's bucket, or with what a user made up
    ("no ticket", changed(x_ticket=None), LACKS),
    ("an empty ticket", changed(x_ticket=""), NOT_OURS),
    ("a ticket of nobody", changed(x_ticket="e30.AAAA"), NOT_OURS),
    ("a ticket that is not ASCII", changed(x_ticket="é.é"), NOT_OURS),
    (
        "a ticket with another secret",
        with_ticket(ALICE, b"what an attacker takes for the secret"),
        NOT_OURS,
    ),
    (
        "a ticket that was changed",
        lambda mine: (
            encoded(
                report(
                    replace(ALICE, user="bob").sealed(SEALED).partition(".")[0]
                    + mine[mine.index(".") :],
                    CAT,
                )
            ),
            {},
        ),
        NOT_OURS,
    ),
    (
        "a ticket of another user",
        with_ticket(replace(ALICE, user="bob", prefix="avatars/bob/")),
        NOT_IN_FOLDER,
    ),
    ("the object of another user", changed(key="avatars/bob/cat.jpg"), NOT_IN_FOLDER),
    ("a folder that begins alike", changed(key="avatars/alice2/c.jpg"), NOT_IN_FOLDER),
    ("a folder in capitals", changed(key="Avatars/alice/cat.jpg"), NOT_IN_FOLDER),
    ("the folder above", changed(key="avatars/cat.jpg"), NOT_IN_FOLDER),
    ("no object", changed(key=""), NOT_IN_FOLDER),
    (
        "a ticket of the last hour",
        with_ticket(replace(ALICE, until=int(time.time()) - 60)),
        "its ticket expired ",
    ),
    (
        "a ticket of the last year",
        with_ticket(replace(ALICE, until=1)),
        "its ticket expired ",
    ),
    (
        "a ticket of a grant that is gone",
        with_ticket(replace(ALICE, grant="/gone")),
        "its ticket is for /gone, which has no callback now",
    ),
    (
        "a ticket of a grant that reports nothing",
        with_ticket(
            replace(ALICE, grant="/silent", prefix="silent/alice/"),
            key="silent/alice/cat.jpg",
        ),
        "its ticket is for /silent, which has no callback now",
    ),
    (
        "a ticket for another bucket",
        with_ticket(replace(ALICE, bucket="other"), bucket="other"),
        "its ticket is for other, which is not BucketName",
    ),
    (
        "another bucket",
        changed(bucket="my-bucket2"),
        "its bucket is not my-bucket, the one of its ticket",
    ),
    # Of another form than OSS was told
    ("no type", with_fields(Content_Type=None), NOT_A_FORM),
    ("JSON", with_fields(Content_Type="application/json"), NOT_A_FORM),
    (
        "two types",
        with_fields(Content_Type=f"{uploads.TYPE}, application/json"),
        NOT_A_FORM,
    ),
    (
        "JSON that is called a form",
        lambda mine: (json.dumps(report(mine, CAT)).encode(), {}),
        LACKS,
    ),
    ("a name that is missing", changed(size=None), LACKS),
    (
        "a name twice",
        with_body(lambda b: b + b"&object=avatars%2Fbob%2Fcat.jpg", is_signed=True),
        "it has a name twice",
    ),
    (
        "not UTF-8",
        with_body(lambda b: b.replace(b"cat.jpg", b"%FF.jpg"), is_signed=True),
        NOT_READABLE,
    ),
    (
        "not encoded",
        with_body(lambda b: b.replace(b"cat.jpg", b"\xe7.jpg"), is_signed=True),
        NOT_READABLE,
    ),
    (
        "many names",
        with_body(lambda b: b + b"&a=1" * 200, is_signed=True),
        NOT_READABLE,
    ),
    ("a size below zero", changed(size="-1"), "its size is not a number of bytes"),
    ("a size in words", changed(size="1e3"), "its size is not a number of bytes"),
    ("no size", changed(size=""), "its size is not a number of bytes"),
    (
        "digits of others",
        changed(size="\uff11\uff12"),
        "its size is not a number of bytes",
    ),
    ("a size of 16 digits", changed(size="1" * 16), "its size is not a number"),
    ("half a pixel", changed(width="0.5"), "its width or height is not a number"),
    ("a long name", changed(key=f"{CAT}{'é' * 512}"), "its object has more than 1023"),
    ("a long type", changed(type="a" * 1025), "a value has more than 1024 characters"),
    ("a long variable", changed(x_album="a" * 1025), "a value has more than 1024"),
]


@pytest.mark.parametrize(
    ("attack", "reason"),
    [pytest.param(attack, reason, id=name) for name, attack, reason in REFUSED],
)
def test_what_proves_nothing_is_refused_and_leaves_one_line_of_the_log(
    server: RunningServer,
    folder: Path,
    log: pytest.LogCaptureFixture,
    attack: Attack,
    reason: str,
) -> None:
    before = records(folder)
    counts = server.server.uploads.by_grant.counts()
    body, changes = attack(ticket(server))
    log.clear()

    reply = post(server.port, body, **changes)

    check_refused(reply)
    assert records(folder) == before
    assert server.server.uploads.by_grant.counts() == counts
    (record,) = log.records
    assert f"POST {PATH} 403 ReportRefused - " in record.getMessage()
    assert f"({reason}" in record.getMessage()


def check_refused(reply: Reply) -> None:
    """Check that a reply is the one that all get whose report does not count."""
    assert reply.status == 403
    assert reply.json == {
        "StatusCode": 403,
        "ErrorCode": "ReportRefused",
        "ErrorMessage": "Only OSS may report uploads here.",
    }


@pytest.mark.parametrize(
    ("target", "method", "expected"),
    [
        pytest.param(PATH, "GET", (405, "MethodNotAllowed"), id="GET"),
        pytest.param(PATH, "HEAD", (405, None), id="HEAD"),
        pytest.param(PATH, "PUT", (405, "MethodNotAllowed"), id="PUT"),
        pytest.param("/oss/%75ploaded", "POST", (404, "NotFound"), id="in disguise"),
        pytest.param("/api/oss/uploaded", "POST", (404, "NotFound"), id="longer"),
        pytest.param("/uploaded", "POST", (404, "NotFound"), id="cut by a proxy"),
        pytest.param(f"{PATH}/", "POST", (404, "NotFound"), id="with a slash"),
        pytest.param(f"/{PATH}", "POST", (404, "NotFound"), id="with two slashes"),
        pytest.param(PATH.upper(), "POST", (404, "NotFound"), id="in capitals"),
    ],
)
def test_reports_are_taken_at_one_path_and_by_one_method(
    server: RunningServer,
    folder: Path,
    target: str,
    method: str,
    expected: tuple[int, str | None],
) -> None:
    before = records(folder)
    body = encoded(report(ticket(server), CAT))

    reply = request(server.port, target, method, fields(body), body)

    code = reply.json["ErrorCode"] if reply.body else None
    assert (reply.status, code) == expected
    assert records(folder) == before


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param("Authorization", (400, "MalformedRequest"), id="signature"),
        pytest.param("x-oss-pub-key-url", (403, "ReportRefused"), id="place of a key"),
        pytest.param("Content-Type", (403, "ReportRefused"), id="type"),
        pytest.param("Content-Length", (400, "MalformedRequest"), id="length"),
    ],
)
def test_a_header_that_came_twice_is_refused(
    server: RunningServer, folder: Path, more: str, expected: tuple[int, str]
) -> None:
    before = records(folder)
    body = encoded(report(ticket(server), CAT))
    values = fields(body) | {"Content-Length": str(len(body))}
    twice = [*values.items(), (more, values[more])]
    head = "".join(f"{name}: {value}\r\n" for name, value in twice)

    received = exchange(
        server.port, f"POST {PATH} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode() + body
    )

    (reply,) = parse_replies(received)
    assert (reply.status, reply.json["ErrorCode"]) == expected
    assert records(folder) == before


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_oversized_report_is_not_read(
    server: RunningServer, folder: Path, is_chunked: bool
) -> None:
    before = records(folder)
    body = encoded(report(ticket(server), CAT))
    body += b"&x:more=" + b"a" * MAX_BODY_BYTES
    headers = fields(body)
    sent = body
    if is_chunked:
        headers["Transfer-Encoding"] = "chunked"
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    reply = request(server.port, PATH, "POST", headers, sent)

    assert (reply.status, reply.json["ErrorCode"]) == (413, "BodyTooLarge")
    assert records(folder) == before


def test_no_key_is_fetched_from_where_a_report_says(
    server: RunningServer, folder: Path
) -> None:
    before = records(folder)
    with socket.create_server(("127.0.0.1", 0)) as attacker:
        url = f"http://127.0.0.1:{attacker.getsockname()[1]}/gosspublic.alicdn.com/"
        body = encoded(report(ticket(server), CAT))
        signed = signature(body, key=oss_key("attacker"))

        reply = post(
            server.port, body, Authorization=signed, x_oss_pub_key_url=place(url)
        )

        check_refused(reply)
        attacker.setblocking(False)
        with pytest.raises(BlockingIOError):
            attacker.accept()
    assert records(folder) == before


def test_what_oss_really_signed_for_others_does_not_count(
    make_server: MakeServer, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    target = "/api/File/15/upload_notify/"
    url = f"https://app.example.com{target}"
    server = make_server(
        Region="cn-hangzhou", Callback=callback(tmp_path, Url=url, PublicKeyFile=...)
    )
    body = (
        b"filename=zmaplex%2F20210407_14%3A31%3A41_286180%2F20200130021612_pnfqp.jpg"
        b"&size=112595"
    )
    signed = (
        "aMYUW1arI/qpU7cp/DCGXS56iFJPxwe7K3QIFVvbtSgiE6vwuu4/HuBxyDDX5IKU8vSJg/BI956S"
        "zVsRQt969g=="
    )

    headers = fields(body, Authorization=signed)
    reply = request(server.port, target, "POST", headers, body)

    check_refused(reply)
    assert LACKS in lines(log, target)[0]
    assert records(tmp_path) == []


NAMES = [*REPORTED, "x:ticket", "x:album", "x:more"]


@given(
    st.dictionaries(st.sampled_from(NAMES), st.text(max_size=30) | st.none()),
    st.binary(max_size=20),
)
def test_whatever_oss_signs_counts_or_is_refused(
    server: RunningServer, changes: dict[str, str | None], more: bytes
) -> None:
    values = report(ALICE.sealed(SEALED), CAT) | changes
    body = encoded({k: v for k, v in values.items() if v is not None}) + more
    headers = {name.lower(): value for name, value in fields(body).items()}
    plain = parse_head(f"POST {PATH} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    config = server.server.config.current()
    assert config.callback

    found, reason = None, ""
    try:
        found = upload_of(
            plain._replace(fields=headers, body=body), config.callback, config, 0.0
        )
    except ReportRefused as error:
        reason = error.detail

    assert reason.isascii()
    assert reason.isprintable()
    assert bool(found) != bool(reason)
    if found:
        assert (found.user, found.bucket) == ("alice", "my-bucket")
        assert found.object.startswith("avatars/alice/")
        assert json.loads(found.record)["id"] == found.id
        assert b"\n" not in found.record


# --- Once -----------------------------------------------------------------------


def test_a_report_counts_once(
    server: RunningServer, folder: Path, log: pytest.LogCaptureFixture
) -> None:
    before = len(records(folder))
    values = report(ticket(server), CAT)

    statuses = [post(server.port, values).status for _ in range(3)]

    assert statuses == [200, 403, 403]
    assert "it has been reported before" in lines(log)[-1]
    assert len(records(folder)) == before + 1


def test_a_report_that_comes_many_times_at_once_counts_once(
    server: RunningServer, folder: Path
) -> None:
    before = len(records(folder))
    values = report(ticket(server), CAT)

    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: post(server.port, values), range(16)))

    assert sorted(reply.status for reply in replies) == [200] + [403] * 15
    assert len(records(folder)) == before + 1


def test_a_report_counts_once_across_a_restart(
    make_server: MakeServer, tmp_path: Path
) -> None:
    settings = {"Region": "cn-hangzhou", "Callback": callback(tmp_path)}
    first = make_server(**settings)
    sealed = ticket_of(first.request("/upload-config").json)
    old, older = report(sealed), report(sealed)
    assert [post(first.port, one).status for one in (older, old)] == [200, 200]
    # As it is found after a kill: the last line was torn
    path = tmp_path / "uploads.jsonl"
    torn = b'{"id":"0123456789abcdef0123456789abcdef","time":"20'
    path.write_bytes(path.read_bytes() + torn)

    second = make_server(**settings)
    again = [post(second.port, one).status for one in (older, old)]
    new = post(second.port, report(sealed)).status

    assert (again, new) == ([403, 403], 200)
    *_, before_last, last = path.read_bytes().splitlines()
    assert before_last == torn
    assert json.loads(last)["object"] == "photos/cat.jpg"


def test_a_file_that_is_named_later_is_remembered_too(
    make_server: MakeServer, tmp_path: Path
) -> None:
    values = callback(tmp_path)
    first = make_server(Region="cn-hangzhou", Callback=values)
    old = report(ticket_of(first.request("/upload-config").json))
    assert post(first.port, old).status == 200
    first.close()

    unset = {name: v for name, v in values.items() if name != "UploadsFile"}
    second = make_server(Region="cn-hangzhou", Callback=unset)
    write_config(tmp_path, Region="cn-hangzhou", Callback=values)
    second.look()

    assert post(second.port, old).status == 403


# --- Many users at once ---------------------------------------------------------


def test_each_record_of_many_users_at_once_is_its_own_users(
    server: RunningServer, folder: Path
) -> None:
    before = len(records(folder))
    users = [f"user{number}" for number in range(64)]

    def upload_twelve(user: str) -> list[tuple[str, str]]:
        """Upload as a user does, and return whose each object is said to be."""
        sealed, said = ticket(server, user), []
        for number in range(12):
            values = report(sealed, f"avatars/{user}/{number}.jpg", x_album=user)
            reply = post(server.port, values)
            assert reply.status == 200, reply
            said.append((reply.json["user"], reply.json["object"]))
        return said

    with ThreadPoolExecutor(len(users)) as pool:
        said = [pair for pairs in pool.map(upload_twelve, users) for pair in pairs]

    kept = [
        (record["user"], record["object"], record["variables"]["x:album"])
        for record in records(folder)[before:]
    ]
    expected = [
        (user, f"avatars/{user}/{number}.jpg") for user in users for number in range(12)
    ]
    assert said == expected
    assert sorted(kept) == sorted((user, key, user) for user, key in expected)
    assert server.server.uploads.records.lost == 0
