"""/upload-config: where clients upload to, so that they need no settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.login.service import authentication, bearer
from helpers.server import MakeServer
from helpers.settings import write_config

from localcloud.sts import StsStandIn
from tokenserver.config.files import read_file
from tokenserver.config.load import load_config
from tokenserver.errors import ConfigError

HANGZHOU = {"Region": "cn-hangzhou"}


@pytest.mark.parametrize(
    ("settings", "endpoint", "cname", "host"),
    [
        pytest.param(
            {},
            "https://oss-cn-hangzhou.aliyuncs.com",
            False,
            "https://my-bucket.oss-cn-hangzhou.aliyuncs.com",
            id="region",
        ),
        pytest.param(
            {"Endpoint": "oss-accelerate.aliyuncs.com"},
            "https://oss-accelerate.aliyuncs.com",
            False,
            "https://my-bucket.oss-accelerate.aliyuncs.com",
            id="endpoint",
        ),
        pytest.param(
            {"Host": "https://Img.Example.com/"},
            "https://img.example.com",
            True,
            "https://img.example.com",
            id="custom domain",
        ),
        pytest.param(
            {"Host": "my-bucket.oss-cn-hangzhou.aliyuncs.com"},
            "https://oss-cn-hangzhou.aliyuncs.com",
            False,
            "https://my-bucket.oss-cn-hangzhou.aliyuncs.com",
            id="the bucket's own name",
        ),
        pytest.param(
            {"Endpoint": "http://127.0.0.1:7091"},
            "http://127.0.0.1:7091",
            False,
            "http://127.0.0.1:7091/my-bucket",
            id="address",
        ),
        pytest.param(
            {"Endpoint": "http://oss.localhost:7091"},
            "http://oss.localhost:7091",
            False,
            "http://my-bucket.oss.localhost:7091",
            id="name and port",
        ),
    ],
)
def test_a_client_is_told_where_to_upload(
    make_server: MakeServer,
    sts: StsStandIn,
    settings: dict[str, str],
    endpoint: str,
    cname: bool,
    host: str,
) -> None:
    server = make_server(**HANGZHOU, ObjectPrefix="photos/", **settings)

    reply = server.request("/upload-config")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert list(reply.json.items()) == [
        ("bucket", "my-bucket"),
        ("region", "cn-hangzhou"),
        ("endpoint", endpoint),
        ("cname", cname),
        ("host", host),
        ("dir", "photos/"),
        ("type", "Token"),
    ]
    assert sts.received == 0


def test_each_grant_and_user_has_a_folder(
    make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server(
        **HANGZHOU,
        Authentication=authentication(tmp_path),
        Grants={
            "/avatars": {"ObjectPrefix": "avatars/$USER_ID/"},
            "/other": {
                "BucketName": "other",
                "Region": "us-east-1",
                "ObjectPrefix": "o/",
            },
        },
    )
    alice = bearer("alice")

    assert server.request("/upload-config/avatars").status == 401
    avatars = server.request("/upload-config/avatars", headers=alice).json
    other = server.request("/upload-config/other", headers=alice).json

    assert (avatars["bucket"], avatars["dir"]) == ("my-bucket", "avatars/alice/")
    assert other["host"] == "https://other.oss-us-east-1.aliyuncs.com"
    assert other["dir"] == "o/"
    assert server.request("/upload-config", headers=alice).status == 404
    assert server.request("/upload-config/none", headers=alice).status == 404


def test_it_comes_as_a_script_too_and_head_gets_no_body(
    make_server: MakeServer,
) -> None:
    server = make_server(**HANGZHOU)

    script = server.request("/upload-config?callback=show")
    head = server.request("/upload-config", "HEAD")

    assert script.body.startswith(b'show( {"bucket":"my-bucket",')
    assert script.headers["content-type"] == "application/javascript; charset=utf-8"
    assert (head.status, head.body) == (200, b"")


def test_without_a_region_there_is_nothing_to_tell(
    make_server: MakeServer, sts: StsStandIn
) -> None:
    reply = make_server().request("/upload-config")

    assert (reply.status, reply.json["ErrorCode"]) == (404, "NotFound")
    assert sts.received == 0


# --- What an operator may have meant --------------------------------------------


def problems(folder: Path, **changes: Any) -> list[str]:
    """Return what is wrong with a config.json with *changes*, without its path."""
    with pytest.raises(ConfigError) as raised:
        load_config(write_config(folder, **changes), read_file)
    return [problem.partition("config.json: ")[2] for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"Region": "oss-cn-hangzhou"},
            "Region is 'oss-cn-hangzhou'; it must be a region ID such as cn-hangzhou, "
            'without "oss-"',
            id="with oss-",
        ),
        pytest.param(
            {"Region": "Hangzhou"},
            "Region is 'Hangzhou'; it must be a region ID such as cn-hangzhou, "
            'without "oss-"',
            id="a name",
        ),
        pytest.param(
            {"Endpoint": "oss-cn-hangzhou.aliyuncs.com"},
            "Endpoint is set, but Region is empty; set Region to the region ID of the "
            "bucket, such as cn-hangzhou, because clients sign with it",
            id="no region",
        ),
        pytest.param(
            {**HANGZHOU, "BucketName": "", "PolicyFile": ""},
            "Region is set, but BucketName is empty; set both or neither",
            id="no bucket",
        ),
        pytest.param(
            {**HANGZHOU, "Endpoint": "https://my-bucket.oss-cn-hangzhou.aliyuncs.com"},
            "Endpoint is 'my-bucket.oss-cn-hangzhou.aliyuncs.com', which includes the "
            "bucket; leave out my-bucket., and put a custom domain name into Host",
            id="the bucket's name",
        ),
        pytest.param(
            {**HANGZHOU, "Endpoint": "oss-cn-beijing.aliyuncs.com"},
            "Endpoint is 'oss-cn-beijing.aliyuncs.com', which is not in Region, "
            "cn-hangzhou; leave it out for oss-cn-hangzhou.aliyuncs.com",
            id="another region",
        ),
        pytest.param(
            {**HANGZHOU, "Host": "ftp://img.example.com"},
            "Host is 'ftp://img.example.com'; it must be a host, host:port, "
            "http://host:port or https://host:port",
            id="another scheme",
        ),
        pytest.param(
            {**HANGZHOU, "Host": "https://img.example.com/photos"},
            "Host is 'https://img.example.com/photos'; it must be a host, host:port, "
            "http://host:port or https://host:port",
            id="a path",
        ),
    ],
)
def test_a_bucket_that_cannot_be_meant_is_refused(
    tmp_path: Path, changes: dict[str, str], problem: str
) -> None:
    assert problems(tmp_path, **changes) == [problem]


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        pytest.param(
            {"Endpoint": "oss-cn-hangzhou-internal.aliyuncs.com"},
            "Endpoint is oss-cn-hangzhou-internal.aliyuncs.com, which only machines "
            "inside Alibaba Cloud can reach; apps need oss-cn-hangzhou.aliyuncs.com",
            id="internal",
        ),
        pytest.param(
            {"Host": "http://img.example.com"},
            "Host is plain HTTP; anyone on the network can read the uploads and the "
            "tokens",
            id="plain HTTP",
        ),
    ],
)
def test_what_apps_should_not_use_is_a_warning(
    tmp_path: Path, changes: dict[str, str], warning: str
) -> None:
    path = write_config(tmp_path, **HANGZHOU, **changes)

    assert load_config(path, read_file).warnings == (f"{path}: {warning}",)
