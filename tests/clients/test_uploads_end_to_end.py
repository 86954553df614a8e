"""Uploads of users, reported by OSS to a token server that verifies and keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import alibabacloud_oss_v2 as oss_v2
import oss2
import pytest
from helpers import MEGABYTE, secret_scan
from helpers.client import request
from helpers.login.service import authentication, bearer
from helpers.oss.app_server import AppServer, Received, answer_of, base64_json
from helpers.oss.pictures import picture
from helpers.oss.signing import BUCKET, REGION, KeyPair
from helpers.server import MakeServer, RunningServer
from helpers.uploads import PATH, records, ticket_of, write_secrets

from localcloud.oss import OssStandIn
from localcloud.sts import StsStandIn

SECRET = "the-secret-that-seals-tickets-of-this-test"


@pytest.fixture
def oss(sts: StsStandIn) -> Iterator[OssStandIn]:
    with OssStandIn(sts) as stand_in:
        stand_in.create_bucket(BUCKET)
        yield stand_in


@pytest.fixture
def proxy() -> Iterator[AppServer]:
    """What OSS reaches: it hands all on to the token server, as nginx does."""
    with AppServer() as server:
        yield server


@pytest.fixture
def server(
    make_server: MakeServer, oss: OssStandIn, proxy: AppServer, tmp_path: Path
) -> RunningServer:
    secret_scan.remember(SECRET)
    write_secrets(tmp_path, SECRET)
    (tmp_path / "oss.pem").write_text(oss.callback_public_key)
    token_server = make_server(
        Region=REGION,
        Endpoint=oss.url,
        ObjectPrefix="users/$USER_ID/",
        Authentication=authentication(tmp_path),
        Callback={
            "Url": proxy.url + PATH,
            "SecretFile": str(tmp_path / "callback.secret"),
            "Variables": ["x:album"],
            "UploadsFile": str(tmp_path / "uploads.jsonl"),
            "PublicKeyFile": str(tmp_path / "oss.pem"),
        },
    )

    def hand_on(received: Received) -> bytes:
        headers = {**received.headers, "host": "127.0.0.1"}
        port = token_server.port
        reply = request(port, received.target, "POST", headers, received.body)
        return answer_of(reply.body, reply.status)

    proxy.answer = hand_on
    return token_server


class User:
    """Who uploads, with a token and a callback of the token server."""

    def __init__(self, server: RunningServer, oss: OssStandIn, name: str) -> None:
        token = server.request("/", headers=bearer(name)).json
        self.key = KeyPair(
            token["AccessKeyId"], token["AccessKeySecret"], token["SecurityToken"]
        )
        config = server.request("/upload-config", headers=bearer(name)).json
        self.folder = config["dir"]
        self.callback = config["callback"]
        self.variables = base64_json({"x:ticket": ticket_of(config), "x:album": name})
        self.oss = oss

    def put(self, name: str, data: bytes) -> Any:
        """Upload with oss2; return what the token server said."""
        auth = oss2.StsAuth(
            self.key.access_key_id,
            self.key.access_key_secret,
            self.key.security_token,
            auth_version=oss2.AUTH_VERSION_4,
        )
        session = oss2.Session()
        session.session.headers["Connection"] = "close"
        client = oss2.Bucket(auth, self.oss.url, BUCKET, region=REGION, session=session)
        headers = {
            "Content-Type": "image/png",
            "x-oss-callback": self.callback,
            "x-oss-callback-var": self.variables,
        }
        result = client.put_object(self.folder + name, data, headers=headers)
        return json.loads(result.resp.response.content)

    def upload(self, name: str, file: Path) -> None:
        """Upload a file in parts with alibabacloud-oss-v2."""
        config = oss_v2.config.load_default()
        config.credentials_provider = oss_v2.credentials.StaticCredentialsProvider(
            self.key.access_key_id, self.key.access_key_secret, self.key.security_token
        )
        config.endpoint, config.region = self.oss.url, REGION
        put = oss_v2.PutObjectRequest(
            BUCKET,
            self.folder + name,
            content_type="image/bmp",
            callback=self.callback,
            callback_var=self.variables,
        )
        uploader = oss_v2.Client(config).uploader(part_size=MEGABYTE, parallel_num=2)
        uploader.upload_file(put, str(file))


def test_each_upload_is_a_record_of_its_user(
    server: RunningServer, oss: OssStandIn, tmp_path: Path
) -> None:
    big = tmp_path / "big.bmp"
    big.write_bytes(picture(1_000, 800, "BMP"))
    data = picture(64, 48)

    answer = User(server, oss, "alice").put("猫.png", data)
    User(server, oss, "bob").upload("big.bmp", big)

    assert answer["Status"] == "OK"
    of_alice, of_bob = records(tmp_path)
    assert (of_alice["user"], of_bob["user"]) == ("alice", "bob")
    assert of_alice["object"] == "users/alice/猫.png"
    assert (of_alice["size"], of_bob["size"]) == (len(data), big.stat().st_size)
    assert (of_alice["type"], of_bob["type"]) == ("image/png", "image/bmp")
    sizes = [(each["width"], each["height"]) for each in (of_alice, of_bob)]
    assert sizes == [(64, 48), (1_000, 800)]


def test_many_uploads_at_once_are_a_record_each(
    server: RunningServer, oss: OssStandIn, tmp_path: Path
) -> None:
    users = [User(server, oss, f"user{number}") for number in range(8)]

    def put(number: int) -> Any:
        return users[number % 8].put(f"{number}.png", picture(number + 1, 9))

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(put, range(64)))

    assert all(answer["Status"] == "OK" for answer in answers)
    found = {
        (each["user"], each["object"], each["width"]) for each in records(tmp_path)
    }
    assert len(records(tmp_path)) == 64
    assert found == {
        (f"user{n % 8}", f"users/user{n % 8}/{n}.png", n + 1) for n in range(64)
    }


def test_a_report_signed_by_another_oss_is_refused(
    server: RunningServer, oss: OssStandIn, sts: StsStandIn, tmp_path: Path
) -> None:
    alice = User(server, oss, "alice")

    with OssStandIn(sts) as another:
        another.create_bucket(BUCKET)
        alice.oss = another
        with pytest.raises(json.JSONDecodeError):  # it is the XML of CallbackFailed
            alice.put("cat.png", picture(9, 9))

    assert records(tmp_path) == []
