"""A LocalCloud as the tests of an app use it."""

from __future__ import annotations

import json
import os
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oss2
import pytest
from helpers.oss import pictures

from localcloud import CUT_OFF, LocalCloud, TokenRefused
from localcloud.cloud import PortError, Ports
from localcloud.network import LOOPBACK, Network, make_tls
from localcloud.oss import FolderError
from localcloud.token_server import ConfigError, size_text

pytestmark = pytest.mark.slow


@pytest.fixture
def cloud() -> Iterator[LocalCloud]:
    """A cloud as it is without arguments."""
    with LocalCloud() as cloud:
        yield cloud


@pytest.fixture
def cloud_with_users() -> Iterator[LocalCloud]:
    """A cloud whose users log in."""
    with LocalCloud(logins=True) as cloud:
        yield cloud


def bucket_of(cloud: LocalCloud, token: dict[str, Any]) -> oss2.Bucket:
    """Return the bucket as an app with *token* has it."""
    auth = oss2.StsAuth(
        token["AccessKeyId"],
        token["AccessKeySecret"],
        token["SecurityToken"],
        auth_version=oss2.AUTH_VERSION_4,
    )
    session = oss2.Session()
    session.session.headers["Connection"] = "close"  # so that no socket is left open
    return oss2.Bucket(
        auth, cloud.endpoint, cloud.bucket, region=cloud.region, session=session
    )


def code_of(error: pytest.ExceptionInfo[oss2.exceptions.OssError]) -> tuple[int, str]:
    return error.value.status, error.value.code


def test_a_token_uploads_and_the_test_sees_the_object(cloud: LocalCloud) -> None:
    bucket_of(cloud, cloud.token()).put_object("photos/cat.jpg", b"meow")

    assert cloud.objects.keys() == ["photos/cat.jpg"]
    assert cloud.objects.read("photos/cat.jpg") == b"meow"
    assert [access.operation for access in cloud.oss.requests] == ["PutObject"]


def test_the_token_url_answers_on_any_path(cloud: LocalCloud) -> None:
    document = cloud.token(path="/sts/getsts")

    assert list(document) == [
        "StatusCode",
        "AccessKeyId",
        "AccessKeySecret",
        "SecurityToken",
        "Expiration",
    ]


def test_each_test_begins_with_an_empty_bucket() -> None:
    for _ in range(2):
        with LocalCloud() as cloud:
            assert cloud.objects.keys() == []
            cloud.objects.put("cat.jpg", b"meow")


def test_two_clouds_run_side_by_side() -> None:
    with LocalCloud("bucket-1") as one, LocalCloud("bucket-2") as other:
        bucket_of(one, one.token()).put_object("cat.jpg", b"meow")

        with pytest.raises(oss2.exceptions.OssError) as error:
            bucket_of(other, one.token()).put_object("cat.jpg", b"meow")

        assert code_of(error) == (403, "InvalidAccessKeyId")
        assert other.objects.keys() == []


# --- Users ----------------------------------------------------------------------


def test_users_have_folders_of_their_own(cloud_with_users: LocalCloud) -> None:
    cloud = cloud_with_users
    alice = bucket_of(cloud, cloud.token(user="alice"))
    alice.put_object("users/alice/cat.jpg", b"meow")

    with pytest.raises(oss2.exceptions.OssError) as error:
        alice.put_object("users/bob/cat.jpg", b"meow")

    assert code_of(error) == (403, "AccessDenied")
    assert cloud.objects.keys() == ["users/alice/cat.jpg"]


def test_who_does_not_log_in_gets_no_token(cloud_with_users: LocalCloud) -> None:
    with pytest.raises(TokenRefused, match=r"^Unauthenticated: ") as error:
        cloud_with_users.token()

    assert error.value.code == "Unauthenticated"


def test_an_expired_login_gets_no_token(cloud_with_users: LocalCloud) -> None:
    cloud = cloud_with_users
    login = cloud.login_token("alice", exp=int(cloud.clock()) - 3600)
    request = urllib.request.Request(
        cloud.token_url, headers={"Authorization": f"Bearer {login}"}
    )

    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)

    with error.value:
        assert json.load(error.value)["ErrorCode"] == "Unauthenticated"


def test_a_user_that_no_server_may_have_is_refused(
    cloud_with_users: LocalCloud,
) -> None:
    with pytest.raises(TokenRefused, match=r"^UserNotAllowed: "):
        cloud_with_users.token(user="../bob")


def test_a_cloud_without_logins_says_that_there_are_no_users(cloud: LocalCloud) -> None:
    with pytest.raises(ValueError, match=r"use LocalCloud\(logins=True\)"):
        cloud.token(user="alice")


def test_a_path_of_its_own_hands_out_other_tokens() -> None:
    grants = {"/avatars": {"ObjectPrefix": "avatars/$USER_ID/"}}
    with LocalCloud(logins=True, settings={"Grants": grants}) as cloud:
        token = cloud.token(user="alice", path="/avatars")
        bucket_of(cloud, token).put_object("avatars/alice/me.png", b"me")

        with pytest.raises(TokenRefused, match=r"^NotFound: "):
            cloud.token(user="alice")


# --- Policies -------------------------------------------------------------------


def test_a_policy_of_ones_own_decides_what_a_token_may_do() -> None:
    statement = {
        "Effect": "Allow",
        "Action": "oss:GetObject",
        "Resource": "acs:oss:*:*:$BUCKET_NAME/$OBJECT_PREFIX*",
    }
    policy = json.dumps({"Version": "1", "Statement": [statement]})
    with LocalCloud(prefix="photos/", policy=policy) as cloud:
        cloud.objects.put("photos/cat.jpg", b"meow")
        bucket = bucket_of(cloud, cloud.token())

        assert bucket.get_object("photos/cat.jpg").read() == b"meow"
        with pytest.raises(oss2.exceptions.OssError) as error:
            bucket.put_object("photos/dog.jpg", b"woof")

    assert code_of(error) == (403, "AccessDenied")


def test_a_role_that_may_less_than_the_token_has_the_last_word() -> None:
    policy = json.dumps(
        {
            "Version": "1",
            "Statement": [
                {"Effect": "Allow", "Action": "oss:GetObject", "Resource": "*"}
            ],
        }
    )
    with (
        LocalCloud(role_policies=[policy]) as cloud,
        pytest.raises(oss2.exceptions.OssError) as error,
    ):
        bucket_of(cloud, cloud.token()).put_object("cat.jpg", b"meow")

    assert code_of(error) == (403, "AccessDenied")


# --- Expiry and time ------------------------------------------------------------


def test_expired_tokens_are_refused_as_oss_refuses_them(cloud: LocalCloud) -> None:
    bucket = bucket_of(cloud, cloud.token())
    bucket.put_object("before.txt", b"")

    cloud.expire_tokens()

    with pytest.raises(oss2.exceptions.OssError) as error:
        bucket.put_object("after.txt", b"")
    assert code_of(error) == (403, "SecurityTokenExpired")
    bucket_of(cloud, cloud.token()).put_object("again.txt", b"")
    assert cloud.objects.keys() == ["again.txt", "before.txt"]


def test_a_token_server_that_reuses_tokens_hands_out_none_that_expired() -> None:
    with LocalCloud(settings={"TokenReuseTime": 300}) as cloud:
        token = cloud.token()
        assert cloud.token() == token

        cloud.expire_tokens()

        bucket_of(cloud, cloud.token()).put_object("cat.jpg", b"meow")


def test_a_clock_that_is_moved_is_refused_before_a_token_expires(
    cloud: LocalCloud,
) -> None:
    bucket = bucket_of(cloud, cloud.token())

    cloud.clock.advance(1000)

    with pytest.raises(oss2.exceptions.OssError) as error:
        bucket.put_object("cat.jpg", b"meow")
    # oss2 signs anew with the time of the reply, and is refused for that again.
    assert code_of(error) in [(403, "RequestTimeTooSkewed"), (400, "InvalidArgument")]


# --- Outages --------------------------------------------------------------------


def test_an_upload_fails_once_with_what_the_test_orders(cloud: LocalCloud) -> None:
    bucket = bucket_of(cloud, cloud.token())
    cloud.oss.fail("PutObject", "ServiceUnavailable", "TotalQpsLimitExceeded")

    for status, code in ((503, "ServiceUnavailable"), (503, "TotalQpsLimitExceeded")):
        with pytest.raises(oss2.exceptions.OssError) as error:
            bucket.put_object("cat.jpg", b"meow")
        assert code_of(error) == (status, code)
    bucket.put_object("cat.jpg", b"meow")


def test_an_outage_of_oss_lasts_until_the_test_ends_it(cloud: LocalCloud) -> None:
    bucket = bucket_of(cloud, cloud.token())
    cloud.oss.fail("*", "ServiceUnavailable", always=True)
    cloud.oss.fail("GetObject", "InternalError")

    for status, code in [(500, "InternalError"), *[(503, "ServiceUnavailable")] * 3]:
        with pytest.raises(oss2.exceptions.OssError) as error:
            bucket.get_object("cat.jpg")
        assert code_of(error) == (status, code)
    cloud.oss.fail("*")
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.get_object("cat.jpg")


def test_a_connection_can_break_in_the_middle_of_an_upload(cloud: LocalCloud) -> None:
    bucket = bucket_of(cloud, cloud.token())
    cloud.oss.fail("PutObject", CUT_OFF, always=True)

    with pytest.raises(oss2.exceptions.RequestError):
        bucket.put_object("cat.jpg", b"meow" * 1000)

    assert cloud.objects.keys() == []


def test_an_error_of_sts_reaches_the_app_as_the_token_server_tells_it(
    cloud: LocalCloud,
) -> None:
    cloud.sts.fail("AssumeRole", "NoPermission", always=True)
    for _ in range(2):
        with pytest.raises(TokenRefused) as error:
            cloud.token()
        assert error.value.code == "NoPermission"

    cloud.sts.fail("AssumeRole")

    assert cloud.token()["StatusCode"] == 200


@pytest.mark.parametrize("service", ["oss", "sts"])
@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("PutObjct", "InternalError"), r"has no operation 'PutObjct'"),
        (("", "InternalError"), r"has no operation ''"),
        (("*", "InternalEror"), r"has no error code 'InternalEror'"),
        (("*", "InternalEror"), r"; did you mean 'InternalError'\?$"),
        (("*", "InternalError", "NotImplemented"), "has no error code"),
    ],
)
def test_a_failure_that_cannot_be_is_refused_at_once(
    cloud: LocalCloud, service: str, order: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(cloud, service).fail(*order)

    assert cloud.token()["StatusCode"] == 200


def test_all_calls_fail_with_one_code(cloud: LocalCloud) -> None:
    for codes in ((), ("InternalError", "AccessDenied")):
        with pytest.raises(ValueError, match="always needs exactly one error code"):
            cloud.oss.fail("PutObject", *codes, always=True)


def test_a_cloud_that_is_reset_is_as_new(cloud: LocalCloud) -> None:
    bucket = bucket_of(cloud, cloud.token())
    bucket.put_object("cat.jpg", b"meow")
    upload_id = bucket.init_multipart_upload("dog.jpg").upload_id
    bucket.upload_part("dog.jpg", upload_id, 1, b"woof")
    cloud.oss.fail("PutObject", "InternalError", always=True)
    cloud.sts.fail("AssumeRole", "InternalError", always=True)
    cloud.clock.advance(1000)

    cloud.reset()

    assert cloud.objects.keys() == []
    assert cloud.objects.uploads() == []
    assert cloud.oss.requests == []
    assert cloud.sts.requests == []
    bucket_of(cloud, cloud.token()).put_object("cat.jpg", b"meow")


# --- How it starts and ends -----------------------------------------------------


def test_a_proxy_in_the_environment_gets_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    with LocalCloud() as cloud:
        bucket_of(cloud, cloud.token()).put_object("cat.jpg", b"meow")

    assert os.environ["HTTP_PROXY"] == os.environ["http_proxy"] == "http://127.0.0.1:9"


@pytest.mark.parametrize("server", ["token_server", "sts", "oss"])
def test_a_port_that_is_taken_is_named_and_the_others_are_free_again(
    server: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cloud = LocalCloud(ports=Ports(**{server: port}))
        with pytest.raises(PortError, match=f"^port {port}: ") as error, cloud:
            pytest.fail("it has a port that is taken")

    assert error.value.server == server
    with LocalCloud(ports=Ports(**{server: port})) as cloud:
        assert cloud.token()["StatusCode"] == 200


def test_a_setting_that_no_server_has_is_refused() -> None:
    cloud = LocalCloud(settings={"TokenExpireTime": 1})

    with pytest.raises(ConfigError, match="TokenExpireTime"), cloud:
        pytest.fail("it has a wrong setting")


def test_a_folder_keeps_the_objects_and_is_not_anybodys(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    for expected in ([], ["cat.jpg"]):
        with LocalCloud(folder=folder) as cloud:
            assert cloud.objects.keys() == expected
            cloud.objects.put("cat.jpg", b"meow")
            other = LocalCloud(folder=folder)
            with pytest.raises(FolderError, match="another stand-in"), other:
                pytest.fail("it has the folder of another")


def test_nothing_is_left_of_a_cloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with LocalCloud(logins=True) as cloud:
        url = cloud.token_url
        cloud.objects.put("cat.jpg", b"meow")
        assert list(tmp_path.iterdir()) != []

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url)


# --- Reports of uploads ---------------------------------------------------------


def told_by(cloud: LocalCloud, user: str | None = None) -> dict[str, str]:
    """Return what the token server says of where to upload."""
    headers = {"Authorization": f"Bearer {cloud.login_token(user)}"} if user else {}
    request = urllib.request.Request(f"{cloud.token_url}upload-config", headers=headers)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(request, context=context) as reply:
        return dict(json.load(reply))


def report_headers(told: dict[str, str]) -> dict[str, str]:
    return {
        "Content-Type": "image/png",
        "x-oss-callback": told["callback"],
        "x-oss-callback-var": told["callback-var"],
    }


def test_oss_reports_uploads_if_a_cloud_is_asked_for_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "localcloud")
    picture = pictures.picture(64, 48)
    with LocalCloud(logins=True, settings={"Callback": {}}) as cloud:
        result = bucket_of(cloud, cloud.token("alice")).put_object(
            "users/alice/猫.png", picture, report_headers(told_by(cloud, "alice"))
        )

        answer = json.loads(result.resp.response.content)
        (upload,) = cloud.uploads
        cloud.reset()
        assert cloud.uploads == []
    names = ("id", "user", "object", "size", "type", "width", "height")
    assert {name: answer[name] for name in names} == {
        "id": upload["id"],
        "user": "alice",
        "object": "users/alice/猫.png",
        "size": len(picture),
        "type": "image/png",
        "width": 64,
        "height": 48,
    }
    assert (upload["operation"], upload["client"]) == ("PutObject", "127.0.0.1")
    assert len(picture) < 1000
    assert (
        "reported: users/alice/猫.png, 64 x 48, image/png, "
        f"{len(picture)} bytes, by alice"
    ) in caplog.messages


def test_what_a_test_says_of_callbacks_is_kept(tmp_path: Path) -> None:
    settings = {
        "Callback": {
            "Url": "http://localhost:9/moved",
            "UploadsFile": str(tmp_path / "uploads.jsonl"),
        }
    }
    with LocalCloud(settings=settings) as cloud:
        config = json.loads(cloud.config_file.read_text("utf-8"))
        bucket, headers = (
            bucket_of(cloud, cloud.token()),
            report_headers(told_by(cloud)),
        )

        result = bucket.put_object("a.txt", b"a", headers)

        assert result.status == 203  # nobody is there
        assert cloud.uploads == []
    callback = config["Callback"]
    assert callback | settings["Callback"] == callback


def test_without_callback_nothing_is_reported(cloud: LocalCloud) -> None:
    assert "callback" not in told_by(cloud)
    assert cloud.uploads == []


def test_oss_reports_to_a_cloud_that_it_cannot_reach_where_clients_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
    network = Network(tls=make_tls(tmp_path, LOOPBACK))
    with LocalCloud(settings={"Callback": {}}, network=network) as cloud:
        bucket = bucket_of(cloud, cloud.token())

        bucket.put_object("a.txt", b"a", report_headers(told_by(cloud)))

        assert [upload["object"] for upload in cloud.uploads] == ["a.txt"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (35_891, "35.9 kB"),
        (5 * 10**9, "5 GB"),
        (999_999, "1 MB"),
    ],
)
def test_a_size_is_written_with_its_unit(size: int, text: str) -> None:
    assert size_text(size) == text
