"""Upload callbacks with the official SDKs: each hands on what the app server said."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import alibabacloud_oss_v2 as oss_v2
import oss2
import pytest
import requests
from helpers import MEGABYTE
from helpers.oss.app_server import AppServer, answer_of, base64_json, callback
from helpers.oss.apps import AliOss, Refused, needs_node
from helpers.oss.forms import ANY_SIZE, policy_text
from helpers.oss.pictures import picture
from helpers.oss.signing import BUCKET, REGION, KeyPair, v4_fields
from helpers.server import MakeServer, RunningServer

from localcloud.oss import Bucket, OssStandIn
from localcloud.sts import StsStandIn
from tokenserver.oss.callback import is_signed, public_key

pytestmark = pytest.mark.slow

BODY = "object=${object}&size=${size}&width=${imageInfo.width}&my=${x:my}"
ANSWER = {"Status": "OK", "id": 7}
VARIABLES = {"x:my": "a b"}
POLICY = {
    "Version": "1",
    "Statement": [
        {"Effect": "Allow", "Action": "oss:PutObject", "Resource": "acs:oss:*:*:*"}
    ],
}


@pytest.fixture
def oss(sts: StsStandIn) -> Iterator[OssStandIn]:
    with OssStandIn(sts) as stand_in:
        yield stand_in


@pytest.fixture
def bucket(oss: OssStandIn) -> Bucket:
    return oss.create_bucket(BUCKET)


@pytest.fixture
def server(make_server: MakeServer, tmp_path: Path) -> RunningServer:
    policy = tmp_path / "policy.txt"
    policy.write_text(json.dumps(POLICY), "utf-8")
    return make_server(PolicyFile=str(policy))


@pytest.fixture
def key(server: RunningServer, bucket: Bucket) -> KeyPair:
    """A token for the bucket."""
    token = server.request("/").json
    return KeyPair(
        token["AccessKeyId"], token["AccessKeySecret"], token["SecurityToken"]
    )


@pytest.fixture
def app() -> Iterator[AppServer]:
    with AppServer(answer_of(json.dumps(ANSWER).encode())) as app_server:
        yield app_server


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    """A picture of several parts."""
    path = tmp_path / "big.bmp"
    path.write_bytes(picture(1_000, 800, "BMP"))
    assert path.stat().st_size > 2 * MEGABYTE
    return path


def assert_reported(
    oss: OssStandIn, app: AppServer, size: int, width: int | str = ""
) -> None:
    """Check that the app server heard of one upload, and that OSS signed that."""
    (received,) = app.received
    report = parse_qs(received.body.decode(), keep_blank_values=True)
    assert report == {
        "object": ["photos/猫.bin"],
        "size": [str(size)],
        "width": [str(width)],
        "my": ["a b"],
    }
    keys = [public_key(oss.callback_public_key)]
    authorization = received.headers["authorization"]
    assert is_signed(keys, authorization, received.target, received.body)


# --- oss2 -----------------------------------------------------------------------


@pytest.fixture
def oss2_bucket(oss: OssStandIn, key: KeyPair) -> Iterator[oss2.Bucket]:
    auth = oss2.StsAuth(
        key.access_key_id,
        key.access_key_secret,
        key.security_token,
        auth_version=oss2.AUTH_VERSION_4,
    )
    client = oss2.Bucket(auth, oss.url, BUCKET, region=REGION)
    yield client
    client.session.session.close()


def headers_for(app: AppServer) -> dict[str, str]:
    return {
        "x-oss-callback": callback(app.url, BODY),
        "x-oss-callback-var": base64_json(VARIABLES),
    }


def body_of(result: Any) -> Any:
    """Return what the app server said, from a result of oss2."""
    return json.loads(result.resp.response.content)


def test_oss2_puts_an_object(
    oss2_bucket: oss2.Bucket, oss: OssStandIn, app: AppServer
) -> None:
    result = oss2_bucket.put_object("photos/猫.bin", b"hello", headers=headers_for(app))

    assert (result.status, body_of(result)) == (200, ANSWER)
    assert_reported(oss, app, 5)


def test_oss2_completes_an_upload(
    oss2_bucket: oss2.Bucket, oss: OssStandIn, app: AppServer, big_file: Path
) -> None:
    name, data = "photos/猫.bin", big_file.read_bytes()
    upload_id = oss2_bucket.init_multipart_upload(name).upload_id
    parts = [
        oss2.models.PartInfo(
            number, oss2_bucket.upload_part(name, upload_id, number, part).etag
        )
        for number, part in enumerate((data[:MEGABYTE], data[MEGABYTE:]), 1)
    ]

    result = oss2_bucket.complete_multipart_upload(
        name, upload_id, parts, headers=headers_for(app)
    )

    assert (result.status, body_of(result)) == (200, ANSWER)
    assert_reported(oss, app, len(data), 1_000)


def test_oss2_sees_a_callback_that_failed_as_203(
    oss2_bucket: oss2.Bucket, bucket: Bucket, app: AppServer
) -> None:
    app.answer = answer_of(status=500)

    result = oss2_bucket.put_object("photos/a", b"x", headers=headers_for(app))

    assert result.status == 203
    assert b"<Code>CallbackFailed</Code>" in result.resp.response.content
    assert bucket.keys() == ["photos/a"]


# --- alibabacloud-oss-v2 --------------------------------------------------------


@pytest.fixture
def v2_client(oss: OssStandIn, key: KeyPair) -> oss_v2.Client:
    config = oss_v2.config.load_default()
    config.credentials_provider = oss_v2.credentials.StaticCredentialsProvider(
        key.access_key_id, key.access_key_secret, key.security_token
    )
    config.endpoint, config.region = oss.url, REGION
    return oss_v2.Client(config)


def test_oss_v2_puts_an_object(
    v2_client: oss_v2.Client, oss: OssStandIn, app: AppServer
) -> None:
    request = oss_v2.PutObjectRequest(
        BUCKET,
        "photos/猫.bin",
        body=b"hello",
        callback=callback(app.url, BODY),
        callback_var=base64_json(VARIABLES),
    )

    result = v2_client.put_object(request)

    assert (result.status_code, json.loads(result.callback_result)) == (200, ANSWER)
    assert_reported(oss, app, 5)


def test_oss_v2_puts_an_object_by_a_presigned_url(
    v2_client: oss_v2.Client, oss: OssStandIn, app: AppServer
) -> None:
    request = oss_v2.PutObjectRequest(
        BUCKET,
        "photos/猫.bin",
        callback=callback(app.url, BODY),
        callback_var=base64_json(VARIABLES),
    )
    presigned = v2_client.presign(request)

    reply = requests.put(
        presigned.url, b"hello", headers=dict(presigned.signed_headers), timeout=60
    )

    assert (reply.status_code, reply.json()) == (200, ANSWER)
    assert_reported(oss, app, 5)


def test_the_uploader_of_oss_v2_uploads_a_file(
    v2_client: oss_v2.Client, oss: OssStandIn, app: AppServer, big_file: Path
) -> None:
    request = oss_v2.PutObjectRequest(
        BUCKET,
        "photos/猫.bin",
        callback=callback(app.url, BODY),
        callback_var=base64_json(VARIABLES),
    )
    uploader = v2_client.uploader(part_size=MEGABYTE, parallel_num=2)

    result = uploader.upload_file(request, str(big_file))

    assert result.status_code == 200
    assert_reported(oss, app, big_file.stat().st_size, 1_000)


# --- ali-oss --------------------------------------------------------------------


@pytest.fixture
def ali_oss(server: RunningServer, oss: OssStandIn, bucket: Bucket) -> Iterator[AliOss]:
    client = AliOss(server.url, oss.url, "v4")
    yield client
    client.close()


def option(app: AppServer) -> dict[str, object]:
    """Return the option of ali-oss that asks for a callback."""
    own = {name.removeprefix("x:"): value for name, value in VARIABLES.items()}
    return {"callback": {"url": app.url, "body": BODY, "customValue": own}}


@needs_node
@pytest.mark.process
def test_ali_oss_puts_an_object(
    ali_oss: AliOss, oss: OssStandIn, app: AppServer
) -> None:
    data = base64.b64encode(b"hello").decode()

    answer = ali_oss.call("put", "photos/猫.bin", data, option(app))

    assert answer == ANSWER
    assert_reported(oss, app, 5)


@needs_node
@pytest.mark.process
def test_ali_oss_uploads_a_file_in_parts(
    ali_oss: AliOss, oss: OssStandIn, app: AppServer, big_file: Path
) -> None:
    answer = ali_oss.call("upload", "photos/猫.bin", str(big_file), 2, option(app))

    assert answer == ANSWER
    assert_reported(oss, app, big_file.stat().st_size, 1_000)


@needs_node
@pytest.mark.process
def test_ali_oss_takes_a_callback_that_failed_for_an_error(
    ali_oss: AliOss, bucket: Bucket, app: AppServer
) -> None:
    app.answer = answer_of(status=500)

    with pytest.raises(Refused) as refusal:
        ali_oss.call("put", "photos/a", "aGVsbG8=", option(app))

    assert str(refusal.value) == "CallbackFailed"
    assert bucket.keys() == ["photos/a"]


# --- A form ---------------------------------------------------------------------


def test_a_form_of_an_app_is_reported(
    oss: OssStandIn, key: KeyPair, app: AppServer
) -> None:
    now = oss.clock()
    text = callback(app.url, BODY)
    unsigned = v4_fields(key, "", now)
    names = ("x-oss-signature-version", "x-oss-credential", "x-oss-date")
    conditions = [
        ANY_SIZE,
        ["eq", "$callback", text],
        *({name: unsigned[name]} for name in names),
    ]
    policy = base64.b64encode(policy_text(now + 60, conditions).encode()).decode()
    fields = {
        "key": "photos/猫.bin",
        "callback": text,
        **VARIABLES,
        **v4_fields(key, policy, now),
    }

    reply = requests.post(
        f"{oss.url}/{BUCKET}/", fields, files={"file": ("cat", b"hello")}, timeout=60
    )

    assert (reply.status_code, reply.json()) == (200, ANSWER)
    assert_reported(oss, app, 5)
