"""The official SDKs, unmodified: a token from the server, and then OSS.

Each client does what an app does.  None of them knows that STS and OSS are stand-ins.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import oss2
import pytest
from helpers import MEGABYTE
from helpers.oss.apps import AliOss, App, Oss2, OssV2, Refused, needs_node
from helpers.oss.pictures import encoded, opened, picture
from helpers.oss.signing import BUCKET, REGION
from helpers.server import MakeServer, RunningServer

from localcloud.clock import Clock
from localcloud.oss import OssStandIn
from localcloud.oss.storage import Bucket
from localcloud.sts import StsStandIn

pytestmark = pytest.mark.slow

# What an app of the tests may do: all of its kind below its prefix.
APP_POLICY = {
    "Version": "1",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "oss:GetObject",
                "oss:PutObject",
                "oss:DeleteObject",
                "oss:ListParts",
                "oss:AbortMultipartUpload",
            ],
            "Resource": ["acs:oss:*:*:$BUCKET_NAME/$OBJECT_PREFIX*"],
        },
        {
            "Effect": "Allow",
            "Action": ["oss:ListObjects"],
            "Resource": ["acs:oss:*:*:$BUCKET_NAME"],
            "Condition": {"StringLike": {"oss:Prefix": ["$OBJECT_PREFIX*"]}},
        },
    ],
}

AWKWARD_KEYS = [
    "photos/cat.jpg",
    "photos/猫 咪.jpg",
    "photos/a b",
    "photos/a+b",
    "photos/a%20b",
    "photos/100%",
    "photos/~tilde~",
    "photos/a&b=c?d#e",
    "photos/(1)!*'",
    "photos/a//b/",
    'photos/<">\\',
    "photos/é\u0301😀",
]


@pytest.fixture
def oss(sts: StsStandIn) -> Iterator[OssStandIn]:
    with OssStandIn(sts, allow_v1=True) as stand_in:
        yield stand_in


@pytest.fixture
def bucket(oss: OssStandIn) -> Bucket:
    return oss.create_bucket(BUCKET)


@pytest.fixture
def server(make_server: MakeServer, tmp_path: Path) -> RunningServer:
    """A token server whose tokens are for the objects of one app."""
    policy = tmp_path / "policy.txt"
    policy.write_text(json.dumps(APP_POLICY), "utf-8")
    return make_server(PolicyFile=str(policy), BucketName=BUCKET)


# --- The clients ----------------------------------------------------------------

CLIENTS = [
    pytest.param("oss2", "v1", id="oss2 V1"),
    pytest.param("oss2", "v4", id="oss2 V4"),
    pytest.param("oss-v2", "v1", id="alibabacloud-oss-v2 V1"),
    pytest.param("oss-v2", "v4", id="alibabacloud-oss-v2 V4"),
    pytest.param(
        "ali-oss", "v1", id="ali-oss V1", marks=[needs_node, pytest.mark.process]
    ),
    pytest.param(
        "ali-oss", "v4", id="ali-oss V4", marks=[needs_node, pytest.mark.process]
    ),
]


@pytest.fixture
def app(
    request: pytest.FixtureRequest,
    server: RunningServer,
    oss: OssStandIn,
    bucket: Bucket,
    clock: Clock,
    tmp_path: Path,
) -> Iterator[App]:
    """A client that knows the token server and OSS, and has no token yet."""
    name, version = request.param
    clock.offset_seconds = -500.0  # so a token has 400 s by the clock of all others
    app: App
    if name == "oss2":
        app = Oss2(server.url, oss.url, clock, tmp_path, version)
    elif name == "oss-v2":
        app = OssV2(server.url, oss.url, clock, tmp_path, version)
    else:
        app = AliOss(server.url, oss.url, version)
    yield app
    app.close()


each_client = pytest.mark.parametrize(
    "app",
    [pytest.param(param.values, id=param.id, marks=param.marks) for param in CLIENTS],
    indirect=True,
)


@pytest.fixture
def big_file(tmp_path: Path) -> Path:
    """20 MB and a bit, so that the last part is a small one."""
    path = tmp_path / "big.bin"
    path.write_bytes(random.Random(7).randbytes(20 * MEGABYTE + 12345))
    return path


# --- The tests ------------------------------------------------------------------


@each_client
def test_objects_with_awkward_keys_come_back_and_can_be_listed_and_deleted(
    app: App, bucket: Bucket
) -> None:
    contents = {key: os.urandom(1000) + key.encode() for key in AWKWARD_KEYS}
    for key, data in contents.items():
        app.put(key, data)

    assert {key: app.get(key) for key in AWKWARD_KEYS} == contents
    assert {key: bucket.read(key) for key in AWKWARD_KEYS} == contents
    assert app.list("photos/") == sorted(AWKWARD_KEYS)
    assert app.list("photos/a%") == ["photos/a%20b"]
    for key in AWKWARD_KEYS:
        app.delete(key)
    assert bucket.keys() == []


@each_client
@pytest.mark.slow
def test_20_megabytes_go_up_in_parts_and_come_back(
    app: App, bucket: Bucket, oss: OssStandIn, big_file: Path, tmp_path: Path
) -> None:
    key = "photos/大 文件+1.bin"
    app.upload(key, big_file)
    app.download(key, tmp_path / "back.bin")

    assert bucket.read(key) == big_file.read_bytes()
    assert (tmp_path / "back.bin").read_bytes() == big_file.read_bytes()
    operations = [access.operation for access in oss.requests]
    assert operations.count("UploadPart") == 21
    assert bucket.uploads() == []


@each_client
def test_an_upload_goes_on_with_a_new_token_when_the_first_expires(
    app: App, bucket: Bucket, oss: OssStandIn, clock: Clock, big_file: Path
) -> None:
    def let_time_pass() -> None:
        parts = sum(access.operation == "UploadPart" for access in oss.requests)
        if parts >= 2:
            clock.offset_seconds = 150.0  # the token has 250 s left: time for another
        if parts >= 6:
            clock.offset_seconds = 401.0  # it has expired

    app.put("photos/first", b"with the first token")
    app.upload("photos/big.bin", big_file, threads=1, progress=let_time_pass)

    assert clock.offset_seconds == 401.0
    assert bucket.read("photos/big.bin") == big_file.read_bytes()
    assert {access.code for access in oss.requests} == {""}
    keys = {a.access_key_id for a in oss.requests if a.operation == "UploadPart"}
    assert len(keys) >= 2


@each_client
def test_a_client_learns_why_it_is_refused(app: App, bucket: Bucket) -> None:
    bucket.put("private/diary", b"dear diary")

    with pytest.raises(Refused, match=r"^AccessDenied$"):
        app.get("private/diary")
    with pytest.raises(Refused, match=r"^NoSuchKey$"):
        app.get("photos/none")


def test_a_token_is_refused_once_it_has_expired(
    server: RunningServer, oss: OssStandIn, bucket: Bucket, clock: Clock
) -> None:
    clock.offset_seconds = -500.0
    token = server.request("/").json
    auth = oss2.StsAuth(
        token["AccessKeyId"], token["AccessKeySecret"], token["SecurityToken"]
    )
    client = oss2.Bucket(auth, oss.url, BUCKET)
    client.put_object("photos/a", b"in time")
    clock.offset_seconds = 401.0

    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        client.put_object("photos/a", b"too late")

    assert (refusal.value.status, refusal.value.code) == (403, "SecurityTokenExpired")
    assert bucket.read("photos/a") == b"in time"
    client.session.session.close()


@needs_node
@pytest.mark.process
def test_ali_oss_without_refresh_is_refused_once_its_token_has_expired(
    server: RunningServer, oss: OssStandIn, bucket: Bucket, clock: Clock, big_file: Path
) -> None:
    clock.offset_seconds = -500.0
    app = AliOss(server.url, oss.url, "v4", refreshes=False)

    def expire() -> None:
        clock.offset_seconds = 401.0

    with pytest.raises(Refused, match="SecurityTokenExpired"):
        app.upload("photos/big.bin", big_file, progress=expire)

    assert bucket.keys() == []
    app.close()


@pytest.mark.parametrize(
    "app",
    # whose V1 does not sign x-oss-process, which OSS wants to be signed
    [param for param in each_client.args[1] if param.id != "alibabacloud-oss-v2 V1"],
    indirect=True,
)
def test_an_image_comes_as_it_is_asked_for(app: App, bucket: Bucket) -> None:
    bucket.put("photos/猫 +.jpg", picture(200, 100, "JPEG"))

    small = app.get("photos/猫 +.jpg", "image/resize,m_fill,w_40,h_40/format,png")
    words = f"image/resize,w_100/watermark,text_{encoded('杭州')},size_20"
    marked = app.get("photos/猫 +.jpg", words)
    with pytest.raises(Refused) as refusal:
        app.get("photos/猫 +.jpg", "image/resize,w_0")

    assert (opened(small).format, opened(small).size) == ("PNG", (40, 40))
    assert (opened(marked).format, opened(marked).size) == ("JPEG", (100, 50))
    assert str(refusal.value) == "InvalidArgument"


@needs_node
@pytest.mark.process
@pytest.mark.parametrize("version", ["v1", "v4"])
def test_ali_oss_may_have_the_bucket_in_the_path(
    server: RunningServer, oss: OssStandIn, bucket: Bucket, version: str
) -> None:
    app = AliOss(server.url, oss.url, version, sldEnable=True)

    for key in AWKWARD_KEYS:
        app.put(key, key.encode())

    assert app.list("photos/") == sorted(AWKWARD_KEYS) == bucket.keys()
    assert [app.get(key) for key in AWKWARD_KEYS] == [k.encode() for k in AWKWARD_KEYS]
    app.close()


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_a_url_signed_by_an_sdk_works_until_it_expires(
    server: RunningServer, oss: OssStandIn, bucket: Bucket, clock: Clock, version: str
) -> None:
    token = server.request("/").json
    auth = oss2.StsAuth(
        token["AccessKeyId"],
        token["AccessKeySecret"],
        token["SecurityToken"],
        auth_version=version,
    )
    client = oss2.Bucket(auth, oss.url, BUCKET, region=REGION)
    bucket.put("photos/a b+猫.jpg", b"meow")
    url = client.sign_url("GET", "photos/a b+猫.jpg", 60, slash_safe=True)

    in_time = client.get_object_with_url(url).read()
    clock.offset_seconds = 62.0
    with pytest.raises(oss2.exceptions.AccessDenied) as refusal:
        client.get_object_with_url(url)

    assert in_time == b"meow"
    assert refusal.value.message == "Request has expired."
    client.session.session.close()


@pytest.mark.parametrize("version", ["v1", "v4"])
def test_a_url_of_a_thumbnail_is_good_for_that_alone(
    server: RunningServer, oss: OssStandIn, bucket: Bucket, version: str
) -> None:
    token = server.request("/").json
    auth = oss2.StsAuth(
        token["AccessKeyId"],
        token["AccessKeySecret"],
        token["SecurityToken"],
        auth_version=version,
    )
    client = oss2.Bucket(auth, oss.url, BUCKET, region=REGION)
    bucket.put("photos/cat.jpg", picture(200, 100, "JPEG"))
    process = {"x-oss-process": "image/resize,w_40"}
    url = client.sign_url("GET", "photos/cat.jpg", 60, params=process, slash_safe=True)

    small = client.get_object_with_url(url).read()
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        client.get_object_with_url(url.replace("w_40", "w_41"))

    assert opened(small).size == (40, 20)
    assert refusal.value.code == "SignatureDoesNotMatch"
    client.session.session.close()


def test_a_request_16_minutes_old_is_refused(
    server: RunningServer, oss: OssStandIn, bucket: Bucket, clock: Clock
) -> None:
    token = server.request("/").json
    codes = {}
    clock.offset_seconds = 16 * 60.0
    for version in ("v1", "v4"):
        auth = oss2.StsAuth(
            token["AccessKeyId"],
            token["AccessKeySecret"],
            token["SecurityToken"],
            auth_version=version,
        )
        client = oss2.Bucket(auth, oss.url, BUCKET, region=REGION)
        with pytest.raises(oss2.exceptions.ServerError) as refusal:
            client.put_object("photos/a", b"")
        codes[version] = (refusal.value.status, refusal.value.code)
        client.session.session.close()

    assert codes == {
        "v1": (403, "RequestTimeTooSkewed"),
        "v4": (400, "InvalidArgument"),
    }
