"""Upload callbacks: what an app server hears of an upload, and what the client gets."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import parse_qs, parse_qsl

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from helpers.machine import PATIENCE_SECONDS, reserved_port, wait_until
from helpers.oss.app_server import (
    FORM_BODY,
    AppServer,
    Received,
    answer_of,
    base64_json,
    callback,
)
from helpers.oss.client import OK, BucketClient, OssReply, send
from helpers.oss.cloud import Cloud, user_key
from helpers.oss.forms import eq, post, signed
from helpers.oss.pictures import picture
from helpers.oss.signing import (
    BUCKET,
    CAT,
    KeyPair,
    Message,
    Scheme,
    each_scheme,
    in_urls,
)

from localcloud.oss import Bucket, OssStandIn
from localcloud.oss.parts import MIN_PART_BYTES
from localcloud.sts import StsStandIn
from tokenserver.oss.callback import (
    Ticket,
    callback_of,
    is_key_of_oss,
    is_signed,
    public_key,
    read_report,
    variables_of,
)

NOT_IMITATED = (501, "NotImplemented")
FAILED = 203
STATUS_OK = b'{"Status":"OK"}'
VARIABLES = base64_json({"x:my": "a b&c=猫"})


@pytest.fixture
def app() -> Iterator[AppServer]:
    with AppServer() as server:
        yield server


def put(
    client: BucketClient, text: str, data: bytes = b"hello", variables: str = VARIABLES
) -> OssReply:
    """Upload with PutObject."""
    headers = {"x_oss_callback": text, "x_oss_callback_var": variables}
    return client.put("dir/new", data, content_type="text/plain", **headers)


def complete(
    client: BucketClient, text: str, data: bytes = b"hello", variables: str = VARIABLES
) -> OssReply:
    """Upload in parts."""
    upload_id = client.initiate("dir/new", content_type="text/plain")
    parts = [data[:MIN_PART_BYTES], data[MIN_PART_BYTES:]] if len(data) > 5 else [data]
    etags = [
        (n, client.put_part("dir/new", upload_id, n, part).headers["etag"])
        for n, part in enumerate(parts, 1)
    ]
    headers = {"x_oss_callback": text, "x_oss_callback_var": variables}
    return client.complete("dir/new", upload_id, etags, **headers)


Upload = Callable[[BucketClient, str], OssReply]
each_upload = pytest.mark.parametrize("upload", [put, complete])


# --- What the app server hears, and what the client gets ------------------------


@each_upload
def test_the_app_server_hears_of_an_upload_and_its_answer_is_handed_on(
    client: BucketClient, bucket: Bucket, app: AppServer, upload: Upload
) -> None:
    app.answer = answer_of('{"name": "猫", "size": 5}'.encode())

    reply = upload(client, callback(app.url))

    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert json.loads(reply.body) == {"name": "猫", "size": 5}
    assert reply.headers["etag"]
    assert reply.headers["x-oss-hash-crc64ecma"]
    assert bucket.read("dir/new") == b"hello"
    (received,) = app.received
    assert received.target == "/"
    assert received.headers["content-type"] == "application/x-www-form-urlencoded"
    assert received.body.decode() == (
        f"bucket={bucket.name}&object=dir%2Fnew&size=5&my=a%20b%26c%3D%E7%8C%AB"
    )


def test_the_app_server_hears_of_it_when_the_object_is_there(
    client: BucketClient, bucket: Bucket, app: AppServer
) -> None:
    def look(_: Received) -> bytes:
        return answer_of(json.dumps(bucket.keys()).encode())

    app.answer = look

    assert json.loads(put(client, callback(app.url)).body) == ["dir/new"]


ALL = (
    *("bucket", "object", "etag", "size", "mimeType", "crc64", "contentMd5", "vpcId"),
    *("imageInfo.height", "imageInfo.width", "imageInfo.format", "clientIp", "reqId"),
    *("operation", "x:my", "unknown"),
)


def test_the_variables_are_those_of_the_upload(
    client: BucketClient, bucket: Bucket, app: AppServer
) -> None:
    body = "&".join(f"{name}=${{{name}}}" for name in ALL)
    data = picture(64, 48)

    reply = put(client, callback(app.url, body), data)

    found = dict(parse_qsl(app.received[0].body.decode(), keep_blank_values=True))
    digest = hashlib.md5(data)
    assert found == {
        "bucket": bucket.name,
        "object": "dir/new",
        "etag": digest.hexdigest().upper(),
        "size": str(len(data)),
        "mimeType": "text/plain",
        "crc64": reply.headers["x-oss-hash-crc64ecma"],
        "contentMd5": base64.b64encode(digest.digest()).decode(),
        "vpcId": "",
        "imageInfo.height": "48",
        "imageInfo.width": "64",
        "imageInfo.format": "png",
        "clientIp": "127.0.0.1",
        "reqId": reply.headers["x-oss-request-id"],
        "operation": "PutObject",
        "x:my": "a b&c=猫",
        "unknown": "",
    }


def test_a_multipart_upload_is_reported_as_one(
    client: BucketClient, app: AppServer
) -> None:
    body = "etag=${etag}&operation=${operation}&width=${imageInfo.width}"
    data = picture(900, 400, "BMP")

    reply = complete(client, callback(app.url, body), data)

    assert parse_qs(app.received[0].body.decode()) == {
        "etag": [reply.headers["etag"].strip('"')],
        "operation": ["CompleteMultipartUpload"],
        "width": ["900"],
    }
    assert reply.headers["etag"].endswith('-2"')


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"meow", {"width": "", "height": "", "format": "", "size": 4}),
        (
            picture(20, 10, "JPEG"),
            {"width": 20, "height": 10, "format": "jpg", "size": ...},
        ),
    ],
    ids=["text", "picture"],
)
def test_in_json_texts_are_strings_and_sizes_are_numbers(
    client: BucketClient, app: AppServer, data: bytes, expected: dict[str, object]
) -> None:
    body = (
        '{"width": ${imageInfo.width}, "height": ${imageInfo.height}, "size": ${size},'
        ' "format": ${imageInfo.format}, "my": ${x:my}, "type": ${mimeType}}'
    )
    text = callback(app.url, body, callbackBodyType="application/json")
    variables = base64_json({"x:my": 'a "quote"\n\\'})

    reply = put(client, text, data, variables)

    (received,) = app.received
    assert reply.outcome == OK
    assert received.headers["content-type"] == "application/json"
    found = json.loads(received.body)
    assert found == {
        **expected,
        "size": len(data),
        "my": 'a "quote"\n\\',
        "type": "text/plain",
    }


@pytest.mark.parametrize("value", ['"', "&a=b", "\\", "${bucket}", "\r\n", "%00"])
def test_a_value_cannot_change_the_body(
    client: BucketClient, app: AppServer, value: str
) -> None:
    variables = base64_json({"x:my": value})
    as_json = callback(app.url, '{"a":${x:my}}', callbackBodyType="application/json")

    put(client, callback(app.url, "a=${x:my}&b=1"), variables=variables)
    put(client, as_json, variables=variables)

    form, document = (received.body.decode() for received in app.received)
    assert parse_qs(form) == {"a": [value], "b": ["1"]}
    assert json.loads(document) == {"a": value}


# --- Its signature --------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    ["", "/", "/upload/report", "/a%20b/%E7%8C%AB?x=%20y&z=1", "?a=b", "/a?", "/+?+"],
)
def test_a_callback_is_signed_over_path_query_and_body(
    client: BucketClient, oss: OssStandIn, app: AppServer, target: str
) -> None:
    assert put(client, callback(app.url + target)).outcome == OK

    (received,) = app.received
    sent = received.target
    keys = [public_key(oss.callback_public_key)]
    authorization = received.headers["authorization"]
    assert is_signed(keys, authorization, sent, received.body)
    assert not is_signed(keys, authorization, sent, received.body + b" ")
    assert not is_signed(keys, authorization, "/other", received.body)
    assert is_key_of_oss(received.headers["x-oss-pub-key-url"])
    assert sent.lstrip("/") == target.lstrip("/").rstrip("?")


def test_the_signature_is_rsa_with_md5(
    client: BucketClient, oss: OssStandIn, app: AppServer
) -> None:
    put(client, callback(f"{app.url}/a%2Bb?c=%2B"))

    (received,) = app.received
    key = serialization.load_pem_public_key(oss.callback_public_key.encode())
    assert isinstance(key, RSAPublicKey)
    signature = base64.b64decode(received.headers["authorization"], validate=True)
    message = b"/a+b?c=%2B\n" + received.body
    key.verify(signature, message, padding.PKCS1v15(), hashes.MD5())


def test_each_stand_in_has_a_key_of_its_own(sts: StsStandIn) -> None:
    with OssStandIn(sts) as one, OssStandIn(sts) as other:
        assert one.callback_public_key == one.callback_public_key
        assert one.callback_public_key != other.callback_public_key


def test_a_token_server_can_read_what_it_asked_for(
    client: BucketClient, bucket: Bucket, app: AppServer
) -> None:
    ticket = Ticket("/", "alice", bucket.name, "dir/", 2_000_000_000).sealed(b"s" * 32)
    text = callback_of(f"{app.url}/report", ["x:my"])

    put(client, text, picture(20, 10), variables_of(ticket))

    report = read_report(app.received[0].body)
    assert report["x:ticket"] == ticket
    assert (report["object"], report["bucket"]) == ("dir/new", bucket.name)
    assert (report["width"], report["height"]) == ("20", "10")


def test_the_host_header_is_the_one_that_is_asked_for(
    client: BucketClient, app: AppServer
) -> None:
    put(client, callback(app.url))
    put(client, callback(app.url, callbackHost="app.example.com"))
    put(client, callback(app.url.removeprefix("http://")))
    put(client, callback(app.url.replace("127.0.0.1", "localhost")))

    port = app.url.rpartition(":")[2]
    assert [received.headers["host"] for received in app.received] == [
        f"127.0.0.1:{port}",
        "app.example.com",
        f"127.0.0.1:{port}",
        f"localhost:{port}",
    ]


# --- Where it may stand ---------------------------------------------------------


@each_scheme
def test_it_may_stand_in_headers(
    cloud: Cloud, key: KeyPair, app: AppServer, scheme: Scheme
) -> None:
    headers = {"x-oss-callback": callback(app.url), "x-oss-callback-var": VARIABLES}
    message = Message("PUT", f"/{BUCKET}/{CAT}", headers=headers, body=b"new")

    reply = send(cloud.oss, scheme.sign(message, key, cloud.clock.now))

    assert (reply.outcome, reply.body) == (OK, STATUS_OK)


@in_urls
def test_it_may_stand_in_a_presigned_url(
    cloud: Cloud, key: KeyPair, app: AppServer, scheme: Scheme
) -> None:
    query = {"callback": callback(app.url), "callback-var": VARIABLES}
    message = Message("PUT", f"/{BUCKET}/{CAT}", query, body=b"new")
    signed_message = scheme.sign(message, key, cloud.clock.now)
    other = signed_message.with_query({"callback": callback(f"{app.url}/other")})

    reply = send(cloud.oss, signed_message)
    changed = send(cloud.oss, other)

    assert (reply.outcome, reply.body) == (OK, STATUS_OK)
    assert changed.code == "SignatureDoesNotMatch"
    assert len(app.received) == 1


def test_it_does_not_stand_in_both(client: BucketClient, app: AppServer) -> None:
    text = callback(app.url)

    reply = client.put("new", b"", {"callback": text}, x_oss_callback=text)

    assert reply.outcome == (400, "InvalidArgument")


def test_a_form_has_a_field_for_it_and_for_each_variable(
    cloud: Cloud, key: KeyPair, app: AppServer
) -> None:
    text = callback(app.url, FORM_BODY + "&operation=${operation}&type=${mimeType}")
    fields = {"callback": text, "x:my": "a b&c=猫", "success_action_status": "201"}

    reply = post(cloud, signed(cloud, key, fields))

    assert (reply.outcome, reply.body) == (OK, STATUS_OK)
    assert reply.headers["content-type"] == "application/json"
    assert parse_qs(app.received[0].body.decode()) == {
        "bucket": [BUCKET],
        "object": ["dir/new"],
        "size": ["4"],
        "my": ["a b&c=猫"],
        "operation": ["PostObject"],
        "type": ["text/plain"],
    }


def test_the_policy_of_a_form_can_fix_its_callback(
    cloud: Cloud, key: KeyPair, app: AppServer
) -> None:
    text, other = callback(app.url), callback(f"{app.url}/other")
    conditions = [eq("callback", text)]

    allowed = signed(cloud, key, {"callback": text}, conditions=conditions)
    changed = signed(cloud, key, {"callback": other}, conditions=conditions)

    assert post(cloud, allowed).outcome == OK
    assert post(cloud, changed).outcome == (403, "AccessDenied")
    assert len(app.received) == 1


# --- When it fails --------------------------------------------------------------

BAD_GATEWAY = "Error status : 502."
TOO_LONG = "Error status : 400.User server return too long content-length value."
NO_JSON = "Response body is not valid json format."
ANSWERS = [
    pytest.param(answer_of(status=500), "Error status : 500.", id="500"),
    pytest.param(answer_of(status=404), "Error status : 404.", id="404"),
    pytest.param(answer_of(status=201), "Error status : 201.", id="201"),
    pytest.param(answer_of(b"", 204), "Error status : 204.", id="204"),
    pytest.param(
        answer_of(status=302, Location="/x"), "Error status : 302.", id="redirect"
    ),
    pytest.param(answer_of(b"OK"), NO_JSON, id="text"),
    pytest.param(answer_of(b""), NO_JSON, id="nothing"),
    pytest.param(answer_of(b'{"a":'), NO_JSON, id="half of it"),
    pytest.param(answer_of(b'{"a":"\xff"}'), NO_JSON, id="not UTF-8"),
    pytest.param(answer_of(b"[" * 100_000), NO_JSON, id="deep"),
    pytest.param(answer_of(Content_Length=""), TOO_LONG, id="no length"),
    pytest.param(answer_of(Content_Length="x"), TOO_LONG, id="length is no number"),
    pytest.param(answer_of(Content_Length="-1"), TOO_LONG, id="negative length"),
    pytest.param(answer_of(Content_Length=str(2**20 + 1)), TOO_LONG, id="too long"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        TOO_LONG,
        id="chunks",
    ),
    pytest.param(answer_of(Content_Length="99"), BAD_GATEWAY, id="ends early"),
    pytest.param(b"", BAD_GATEWAY, id="no answer"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent", BAD_GATEWAY, id="half a head"),
    pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", BAD_GATEWAY, id="not HTTP"),
    pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", BAD_GATEWAY, id="status of 4 digits"),
    pytest.param(b"a" * 70_000, BAD_GATEWAY, id="endless head"),
]


@pytest.mark.parametrize(("answer", "message"), ANSWERS)
def test_an_answer_that_oss_does_not_hand_on_is_a_203_and_the_object_stays(
    client: BucketClient, bucket: Bucket, app: AppServer, answer: bytes, message: str
) -> None:
    app.answer = answer

    reply = put(client, callback(app.url))

    assert (reply.status, reply.headers["content-type"]) == (FAILED, "application/xml")
    assert reply.text("Code") == "CallbackFailed"
    assert reply.text("Message") == message
    assert (reply.xml.findtext("EC") or "") == ("0007-00000205" * (message == NO_JSON))
    assert reply.headers["etag"] == f'"{hashlib.md5(b"hello").hexdigest().upper()}"'
    assert bucket.read("dir/new") == b"hello"
    assert len(app.received) == 1


def test_each_kind_of_upload_stays_if_the_callback_fails(
    cloud: Cloud, key: KeyPair, app: AppServer
) -> None:
    app.answer = answer_of(status=500)
    text = callback(app.url)
    client = BucketClient(cloud.oss, key)

    replies = [complete(client, text)]
    fields = {"callback": text, "key": "by-form", "success_action_status": "204"}
    replies.append(post(cloud, signed(cloud, key, fields)))

    assert [reply.status for reply in replies] == [FAILED, FAILED]
    contents = cloud.contents()
    assert contents[f"{BUCKET}/dir/new"] == b"hello"
    assert contents[f"{BUCKET}/by-form"] == b"purr"
    assert cloud.oss.requests[-1].code == "CallbackFailed"


def test_nobody_listens_there(client: BucketClient, bucket: Bucket) -> None:
    with reserved_port() as port:
        reply = put(client, callback(f"http://127.0.0.1:{port}"))

    assert (reply.status, reply.text("Message")) == (FAILED, BAD_GATEWAY)
    assert bucket.keys() == ["dir/new"]


@pytest.fixture
def impatient(sts: StsStandIn) -> Iterator[OssStandIn]:
    """A stand-in that does not wait long."""
    with OssStandIn(sts, callback_seconds=0.2) as oss:
        oss.create_bucket(BUCKET)
        yield oss


def test_an_app_server_that_takes_too_long_is_a_203(impatient: OssStandIn) -> None:
    client = BucketClient(impatient, user_key(impatient.sts))
    with AppServer(hold=threading.Event()) as app:
        reply = put(client, callback(app.url))

    assert (reply.status, reply.text("Message")) == (FAILED, "Cost too long time.")
    assert client.get("dir/new").body == b"hello"


def test_a_stand_in_that_ends_waits_for_no_answer(sts: StsStandIn) -> None:
    def upload() -> None:
        with suppress(OSError, http.client.HTTPException):  # or it is a 203 in time
            put(client, callback(f"{app.url};{app.url}"))

    with AppServer(hold=threading.Event()) as app:
        with OssStandIn(sts, callback_seconds=2 * PATIENCE_SECONDS) as oss:
            oss.create_bucket(BUCKET)
            client = BucketClient(oss, user_key(sts))
            uploading = threading.Thread(target=upload)
            uploading.start()
            wait_until(lambda: bool(app.received))
        uploading.join(PATIENCE_SECONDS)

        assert not uploading.is_alive()
        assert len(app.received) == 1


def test_an_answer_that_drips_does_not_win_time(impatient: OssStandIn) -> None:
    client = BucketClient(impatient, user_key(impatient.sts))

    with AppServer(hold=threading.Event(), drips=True) as app:
        reply = put(client, callback(f"{app.url};{app.url}"))

    assert (reply.status, reply.text("Message")) == (FAILED, "Cost too long time.")


# --- One after the other --------------------------------------------------------


def test_the_addresses_are_called_one_after_the_other_until_one_answers(
    client: BucketClient,
) -> None:
    with (
        AppServer(answer_of(status=500)) as first,
        AppServer(answer_of(b'{"from": "second"}')) as second,
        AppServer() as third,
        reserved_port() as port,
    ):
        urls = [f"http://127.0.0.1:{port}", first.url, second.url, third.url]
        reply = put(client, callback(";".join(urls)))

        assert json.loads(reply.body) == {"from": "second"}
        calls = [len(app.received) for app in (first, second, third)]
        assert calls == [1, 1, 0]
        assert first.received[0].body == second.received[0].body


def test_if_none_answers_the_last_one_is_told_of(client: BucketClient) -> None:
    with AppServer(answer_of(status=500)) as first, AppServer(answer_of(b"x")) as last:
        reply = put(client, callback(f"{first.url};{last.url}"))

    assert (reply.status, reply.text("Message")) == (FAILED, NO_JSON)


def test_many_uploads_at_once_each_get_their_own_answer(
    client: BucketClient, oss: OssStandIn, app: AppServer
) -> None:
    app.answer = lambda received: answer_of(
        json.dumps(dict(parse_qsl(received.body.decode()))).encode()
    )
    text = callback(app.url, "object=${object}&size=${size}&my=${x:my}")

    def upload(number: int) -> dict[str, str]:
        reply = client.put(
            f"many/{number}",
            b"x" * number,
            x_oss_callback=text,
            x_oss_callback_var=base64_json({"x:my": str(number)}),
        )
        return dict(json.loads(reply.body))

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(upload, range(1, 65)))

    assert answers == [
        {"object": f"many/{n}", "size": str(n), "my": str(n)} for n in range(1, 65)
    ]
    keys = [public_key(oss.callback_public_key)]
    assert len(app.received) == 64
    assert all(
        is_signed(keys, received.headers["authorization"], "/", received.body)
        for received in app.received
    )


# --- What is refused before anything is stored ----------------------------------

HERE = "http://127.0.0.1:9"
URL_EC = "0007-00000004"
WRONG = [
    pytest.param("x123-*&", "0007-00000002", id="not Base64"),
    pytest.param("e30", "0007-00000002", id="no padding"),
    pytest.param("bm8=", "0007-00000003", id="not JSON"),
    pytest.param("WzFd", "0007-00000003", id="a list"),
    pytest.param("/w==", "0007-00000003", id="not UTF-8"),
    pytest.param(
        base64.b64encode(b'{"callbackUrl":"a","callbackUrl":"b"}').decode(),
        "0007-00000003",
        id="a name twice",
    ),
    pytest.param(callback(HERE, "x" * 6_000), "", id="too long"),
    pytest.param(base64_json({"callbackUrl": HERE}), "", id="no body"),
    pytest.param(callback(HERE, ""), "", id="empty body"),
    pytest.param(
        base64_json({"callbackUrl": HERE, "callbackBody": [1]}), "", id="body is a list"
    ),
    pytest.param(
        base64_json({"callbackUrl": 1, "callbackBody": "a"}),
        URL_EC,
        id="URL is a number",
    ),
    pytest.param(callback("127.0.0.1:test"), URL_EC, id="port is a word"),
    pytest.param(callback("127.0.0.1:99999"), URL_EC, id="port is too large"),
    pytest.param(callback("http://"), URL_EC, id="no host"),
    pytest.param(callback("ftp://127.0.0.1/"), URL_EC, id="FTP"),
    pytest.param(callback(f"{HERE}/猫"), URL_EC, id="URL is not encoded"),
    pytest.param(callback(f"{HERE}/a b"), URL_EC, id="space in the URL"),
    pytest.param(callback(f"{HERE}/\r\nx: y"), URL_EC, id="lines in the URL"),
    pytest.param(callback(";"), URL_EC, id="no URL in a list"),
    pytest.param(callback(";".join([HERE] * 6)), URL_EC, id="six URLs"),
    pytest.param(callback(HERE, callbackHost="a\r\nb: c"), "", id="lines in the host"),
    pytest.param(callback(HERE, callbackBodyType=123), "0007-00000012", id="type"),
    pytest.param(
        callback(HERE, callbackBodyType="text/xml"), "0007-00000012", id="other type"
    ),
    pytest.param(callback(HERE, "my=$x:my}"), "0007-00000105", id="no left brace"),
    pytest.param(callback(HERE, "my=${x:my"), "0007-00000105", id="no right brace"),
    pytest.param(callback(HERE, "$(bucket)"), "0007-00000105", id="other braces"),
    pytest.param(
        callback(HERE, '{"a":${size}', callbackBodyType="application/json"),
        "",
        id="body is not JSON",
    ),
    pytest.param(
        callback(HERE, '{"a":"${bucket}"}', callbackBodyType="application/json"),
        "",
        id="quotes round a text",
    ),
]


@pytest.mark.parametrize(("text", "ec"), WRONG)
def test_a_callback_that_cannot_be_made_is_refused(
    client: BucketClient, bucket: Bucket, text: str, ec: str
) -> None:
    reply = put(client, text)

    assert reply.outcome == (400, "InvalidArgument")
    assert (reply.xml.findtext("EC") or "") == ec
    assert bucket.keys() == []


@pytest.mark.parametrize(
    ("variables", "ec"),
    [
        pytest.param("x123-*&", "0007-00000102", id="not Base64"),
        pytest.param("bm8=", "0007-00000103", id="not JSON"),
        pytest.param(base64_json({"my": "a"}), "", id="no x:"),
        pytest.param(base64_json({"x:My": "a"}), "", id="upper case"),
        pytest.param(base64_json({"x:my": 1}), "", id="a number"),
    ],
)
def test_variables_that_cannot_be_read_are_refused(
    client: BucketClient, bucket: Bucket, app: AppServer, variables: str, ec: str
) -> None:
    reply = put(client, callback(app.url), variables=variables)

    assert reply.outcome == (400, "InvalidArgument")
    assert (reply.xml.findtext("EC") or "") == ec
    assert (bucket.keys(), app.received) == ([], [])


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example.com/report",
        "http://192.0.2.1/",
        "http://127.0.0.1.example.com/",
        "http://127.0.0.1@example.com/",
        "http://localhost.example.com/",
        "http://0.0.0.0/",
        "http://169.254.169.254/latest",
        "http://[::ffff:192.0.2.1]/",
        "http://2130706433/",
        "https://127.0.0.1/",
        f"{HERE};http://app.example.com",
    ],
)
def test_nothing_but_this_machine_is_called(
    client: BucketClient, bucket: Bucket, url: str
) -> None:
    reply = put(client, callback(url))

    assert reply.outcome == NOT_IMITATED
    assert "use http://127.0.0.1" in reply.text("Message")
    assert bucket.keys() == []


def test_a_form_whose_callback_cannot_be_made_stores_nothing(
    cloud: Cloud, key: KeyPair
) -> None:
    wrong = post(cloud, signed(cloud, key, {"callback": "x123-*&"}))
    elsewhere = callback("http://app.example.com")
    far = post(cloud, signed(cloud, key, {"callback": elsewhere}))

    assert wrong.outcome == (400, "InvalidArgument")
    assert far.outcome == NOT_IMITATED
    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"meow"}


@pytest.mark.parametrize("text", [callback(""), base64_json({}), ""])
def test_without_a_url_there_is_no_callback(client: BucketClient, text: str) -> None:
    reply = put(client, text)

    assert (reply.outcome, reply.body) == (OK, b"")


def test_who_may_not_upload_calls_nobody(cloud: Cloud, app: AppServer) -> None:
    client = BucketClient(cloud.oss, cloud.user())

    assert put(client, callback(app.url)).outcome == (403, "AccessDenied")
    assert app.received == []


@pytest.mark.parametrize(
    "request_",
    [
        ("POST", {"append": "", "position": "0"}, {}),
        ("POST", {"uploads": ""}, {}),
        ("PUT", {}, {"x-oss-copy-source": f"/{BUCKET}/{CAT}"}),
        ("GET", {}, {}),
        ("DELETE", {}, {}),
    ],
    ids=["append", "initiate", "copy", "get", "delete"],
)
@pytest.mark.parametrize("place", ["header", "query"])
def test_no_other_operation_calls_back(
    cloud: Cloud,
    key: KeyPair,
    app: AppServer,
    place: str,
    request_: tuple[str, dict[str, str], dict[str, str]],
) -> None:
    method, query, headers = request_
    text = callback(app.url)
    if place == "header":
        headers = {**headers, "x-oss-callback": text}
    else:
        query = {**query, "callback": text}
    client = BucketClient(cloud.oss, key)

    reply = client.request(method, f"/{BUCKET}/new", query, headers, b"")

    assert reply.outcome == NOT_IMITATED
    assert app.received == []
