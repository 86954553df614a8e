"""What users upload with the SDKs is one record each, of its own user."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import alibabacloud_oss_v2 as oss_v2
import oss2
import pytest
import requests
from helpers import MEGABYTE
from helpers.backend import Backend
from helpers.login.service import authentication, bearer, login_token
from helpers.machine import wait_until
from helpers.oss import pictures
from helpers.oss.apps import AliOss, needs_node
from helpers.oss.forms import ANY_SIZE, policy_text
from helpers.oss.signing import BUCKET, REGION, KeyPair, v4_fields
from helpers.server import MakeServer, RunningServer
from helpers.settings import write_config
from helpers.uploads import PATH, SECRET, callback, records, ticket_of

from localcloud.oss import OssStandIn
from localcloud.sts import StsStandIn
from tokenserver.oss.callback import Ticket, base64_json, callback_of

pytestmark = pytest.mark.slow

LOAD_SECONDS = float(os.environ.get("STS_SERVER_LOAD_SECONDS", "1"))
WIDTH, HEIGHT = 1000, 800


@pytest.fixture
def oss(sts: StsStandIn) -> Iterator[OssStandIn]:
    """OSS with the bucket."""
    with OssStandIn(sts) as stand_in:
        stand_in.create_bucket(BUCKET)
        yield stand_in


@pytest.fixture
def backend() -> Iterator[Backend]:
    """The app's own backend."""
    with Backend() as running:
        yield running


@pytest.fixture
def start(
    make_server: MakeServer,
    tmp_path: Path,
    sts: StsStandIn,
    oss: OssStandIn,
    backend: Backend,
) -> Callable[..., RunningServer]:
    """Return a function that starts a server with users that OSS reports to."""

    def start(**changes: Any) -> RunningServer:
        values = callback(tmp_path, ForwardUrl=backend.url)
        (tmp_path / "oss.pem").write_text(oss.callback_public_key)
        settings = {
            "StsEndpoint": sts.url,
            "Region": REGION,
            "Endpoint": oss.url,
            "BucketName": BUCKET,
            "ObjectPrefix": "users/$USER_ID/",
            "Authentication": authentication(tmp_path),
            "TokenReuseTime": None,
        } | changes
        running = make_server(**settings, Callback=values)
        values["Url"] = f"{running.url}{PATH}"
        write_config(tmp_path, **settings, Callback=values)
        running.look()
        return running

    return start


@pytest.fixture
def server(start: Callable[..., RunningServer]) -> RunningServer:
    """A server that hands out tokens."""
    return start()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of several parts."""
    path = tmp_path / "big.bmp"
    path.write_bytes(pictures.picture(WIDTH, HEIGHT, "BMP"))
    assert path.stat().st_size > 2 * MEGABYTE
    return path


class Client:
    """A user's app, and what it was told."""

    def __init__(self, server: RunningServer, oss: OssStandIn, user: str) -> None:
        self.user = user
        login = bearer(user)
        token = server.request("/", headers=login).json
        self.config = server.request("/upload-config", headers=login).json
        self.ticket = ticket_of(self.config)
        self.key = KeyPair(
            token["AccessKeyId"], token["AccessKeySecret"], token["SecurityToken"]
        )
        self.secrets = (
            self.key.access_key_id,
            self.key.access_key_secret,
            self.key.security_token,
        )
        self.oss = oss
        self.headers = {
            "x-oss-callback": self.config["callback"],
            "x-oss-callback-var": self.config["callback-var"],
        }

    @property
    def bucket(self) -> oss2.Bucket:
        """The bucket with oss2."""
        auth = oss2.StsAuth(*self.secrets, auth_version=oss2.AUTH_VERSION_4)
        return oss2.Bucket(auth, self.oss.url, BUCKET, region=REGION)

    @property
    def client(self) -> oss_v2.Client:
        """OSS with alibabacloud-oss-v2."""
        config = oss_v2.config.load_default()
        provider = oss_v2.credentials.StaticCredentialsProvider(*self.secrets)
        config.credentials_provider = provider
        config.endpoint, config.region = self.oss.url, REGION
        return oss_v2.Client(config)

    def request(self, key: str, body: bytes | None = None) -> oss_v2.PutObjectRequest:
        return oss_v2.PutObjectRequest(
            BUCKET,
            key,
            body=body,
            callback=self.config["callback"],
            callback_var=self.config["callback-var"],
        )


Upload = Callable[[Client, str, Path], Any]  # returns what the app is answered


def oss2_puts(client: Client, key: str, file: Path) -> Any:
    bucket = client.bucket
    result = bucket.put_object(key, file.read_bytes(), headers=client.headers)
    bucket.session.session.close()
    return json.loads(result.resp.response.content)


def oss2_uploads_parts(client: Client, key: str, file: Path) -> Any:
    bucket, data = client.bucket, file.read_bytes()
    upload = bucket.init_multipart_upload(key).upload_id
    parts = [
        oss2.models.PartInfo(n, bucket.upload_part(key, upload, n, part).etag)
        for n, part in enumerate((data[:MEGABYTE], data[MEGABYTE:]), 1)
    ]
    result = bucket.complete_multipart_upload(key, upload, parts, client.headers)
    bucket.session.session.close()
    return json.loads(result.resp.response.content)


def oss_v2_puts(client: Client, key: str, file: Path) -> Any:
    request = client.request(key, file.read_bytes())
    return json.loads(client.client.put_object(request).callback_result)


def oss_v2_uploads_parts(client: Client, key: str, file: Path) -> Any:
    uploader = client.client.uploader(part_size=MEGABYTE, parallel_num=2)
    uploader.upload_file(client.request(key), str(file))
    return None  # what the server said it keeps to itself


def posts_a_form(client: Client, key: str, file: Path) -> Any:
    now = client.oss.clock()
    callback_text = client.config["callback"]
    unsigned = v4_fields(client.key, "", now)
    names = ("x-oss-signature-version", "x-oss-credential", "x-oss-date")
    conditions = [
        ANY_SIZE,
        ["eq", "$callback", callback_text],
        *({name: unsigned[name]} for name in names),
    ]
    policy = base64.b64encode(policy_text(now + 60, conditions).encode()).decode()
    fields = {
        "key": key,
        "callback": callback_text,
        "x:ticket": client.ticket,
        **v4_fields(client.key, policy, now),
    }
    files = {"file": ("cat.bmp", file.read_bytes(), "image/bmp")}
    reply = requests.post(
        f"{client.oss.url}/{BUCKET}/", fields, files=files, timeout=60
    )
    return reply.json()


def check_recorded(
    folder: Path, backend: Backend, key: str, size: int, operation: str
) -> dict[str, Any]:
    """Check that there is one record, which the backend has too, and return it."""
    (record,) = records(folder)
    assert (record["user"], record["object"]) == ("alice", key)
    assert (record["bucket"], record["size"]) == (BUCKET, size)
    assert (record["width"], record["height"]) == (WIDTH, HEIGHT)
    assert record["operation"] == operation
    wait_until(lambda: bool(backend.accepted))
    assert [one.json for one in backend.accepted] == [record]
    return record


@pytest.mark.parametrize(
    ("upload", "operation"),
    [
        pytest.param(oss2_puts, "PutObject", id="oss2"),
        pytest.param(oss2_uploads_parts, "CompleteMultipartUpload", id="oss2 in parts"),
        pytest.param(oss_v2_puts, "PutObject", id="oss-v2"),
        pytest.param(
            oss_v2_uploads_parts, "CompleteMultipartUpload", id="oss-v2 in parts"
        ),
        pytest.param(posts_a_form, "PostObject", id="form"),
    ],
)
def test_an_upload_is_one_record_of_its_user(
    server: RunningServer,
    oss: OssStandIn,
    backend: Backend,
    tmp_path: Path,
    picture: Path,
    upload: Upload,
    operation: str,
) -> None:
    key = "users/alice/猫 1.bmp"

    answer = upload(Client(server, oss, "alice"), key, picture)

    size = picture.stat().st_size
    record = check_recorded(tmp_path, backend, key, size, operation)
    if answer is not None:
        assert (answer["Status"], answer["id"]) == ("OK", record["id"])
        assert (answer["user"], answer["width"]) == ("alice", WIDTH)


@needs_node
@pytest.mark.process
@pytest.mark.parametrize("in_parts", [False, True])
def test_an_upload_with_ali_oss_is_one_record_too(
    server: RunningServer,
    oss: OssStandIn,
    backend: Backend,
    tmp_path: Path,
    picture: Path,
    in_parts: bool,
) -> None:
    client = Client(server, oss, "alice")
    told = json.loads(base64.b64decode(client.config["callback"]))
    key, options = (
        "users/alice/猫 1.bmp",
        {
            "callback": {
                "url": told["callbackUrl"],
                "body": told["callbackBody"],
                "contentType": told["callbackBodyType"],
                "customValue": {"ticket": client.ticket},
            }
        },
    )
    url = f"{server.url}/?access_token={login_token('alice')}"
    app = AliOss(url, oss.url, "v4")
    if in_parts:
        answer = app.call("upload", key, str(picture), 2, options)
    else:
        data = base64.b64encode(picture.read_bytes()).decode()
        answer = app.call("put", key, data, options)
    app.close()

    operation = "CompleteMultipartUpload" if in_parts else "PutObject"
    size = picture.stat().st_size
    record = check_recorded(tmp_path, backend, key, size, operation)
    assert (answer["Status"], answer["id"]) == ("OK", record["id"])


def test_a_form_and_a_url_that_the_server_signs_are_reported_by_themselves(
    start: Callable[..., RunningServer], tmp_path: Path
) -> None:
    server = start(
        Grants={"/form": {"Type": "PostForm"}, "/put": {"Type": "PresignedUrl"}}
    )
    login, data = bearer("alice"), pictures.picture(64, 48)
    form = server.request("/form?filename=a.png", headers=login).json
    url = server.request("/put?filename=b.png", headers=login).json

    fields, files = form["fields"], {"file": ("a.png", data)}
    posted = requests.post(form["url"], fields, files=files, timeout=60)
    fields["key"] = "users/alice/c.png"
    silent = {name: value for name, value in fields.items() if name != "callback"}
    denied = requests.post(form["url"], silent, files=files, timeout=60)
    put = requests.put(url["url"], data, headers=url["headers"], timeout=60)

    assert (posted.status_code, put.status_code) == (200, 200), put.text
    assert denied.status_code == 403
    assert [one.json()["user"] for one in (posted, put)] == ["alice", "alice"]
    found = [
        (one["grant"], one["operation"], one["width"]) for one in records(tmp_path)
    ]
    assert found == [("/form", "PostObject", 64), ("/put", "PutObject", 64)]


def test_a_report_that_is_refused_leaves_the_object_and_no_record(
    server: RunningServer, oss: OssStandIn, tmp_path: Path
) -> None:
    client = Client(server, oss, "bob")
    ticket = Ticket("/", "alice", BUCKET, "users/alice/", int(time.time()) + 60)
    forged = {"x:ticket": ticket.sealed(b"what bob takes for the secret of tickets")}
    bucket, url = client.bucket, f"{server.url}{PATH}"
    lying = callback_of(url, []).encode()
    body = json.loads(base64.b64decode(lying))
    body["callbackBody"] = body["callbackBody"].replace(
        "${object}", "users%2Falice%2Fcat.jpg"
    )
    for headers in (
        {"x-oss-callback": client.config["callback"]},
        client.headers | {"x-oss-callback-var": base64_json(forged)},
        client.headers | {"x-oss-callback": base64_json(body)},
    ):
        result = bucket.put_object("users/bob/cat.jpg", b"meow", headers=headers)

        assert result.status == 203
        assert b"<Code>CallbackFailed</Code>" in result.resp.response.content
    bucket.session.session.close()

    assert records(tmp_path) == []
    assert SECRET not in json.dumps(client.config)


def test_a_report_signed_by_another_oss_is_refused(
    server: RunningServer, oss: OssStandIn, sts: StsStandIn, tmp_path: Path
) -> None:
    client = Client(server, oss, "alice")
    with OssStandIn(sts) as client.oss:
        client.oss.create_bucket(BUCKET)
        bucket = client.bucket

        result = bucket.put_object("users/alice/a", b"meow", headers=client.headers)

        assert result.status == 203
        bucket.session.session.close()
    assert records(tmp_path) == []


@pytest.mark.slow
def test_each_record_of_64_users_is_its_own_users(
    server: RunningServer, oss: OssStandIn, backend: Backend, tmp_path: Path
) -> None:
    uploaded: list[tuple[str, str]] = []
    ready = threading.Barrier(64)

    def upload_on_and_on(user: str) -> None:
        client = Client(server, oss, user)
        bucket, number = client.bucket, 0
        ready.wait()
        deadline = time.monotonic() + LOAD_SECONDS
        while time.monotonic() < deadline or not number:
            key = f"users/{user}/{number}"
            result = bucket.put_object(key, b"meow", headers=client.headers)
            assert json.loads(result.resp.response.content)["user"] == user
            uploaded.append((user, key))
            number += 1
        bucket.session.session.close()

    threads = [
        threading.Thread(target=upload_on_and_on, args=[f"user{number}"])
        for number in range(64)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(uploaded) >= 64
    kept = [(record["user"], record["object"]) for record in records(tmp_path)]
    assert sorted(kept) == sorted(uploaded)
    wait_until(lambda: len(backend.accepted) == len(uploaded))
