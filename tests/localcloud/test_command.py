"""A command that python -m localcloud runs, and the API that its tests use."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.client import Reply, request
from helpers.machine import PATIENCE_SECONDS
from helpers.oss.client import BucketClient
from helpers.oss.signing import KeyPair

from localcloud import LocalCloud, TokenRefused
from localcloud.__main__ import COMMAND_SETTINGS
from localcloud.control import MAX_BODY_BYTES, ControlServer

# --- The command ----------------------------------------------------------------

PROGRAM = """
import json, os, sys, urllib.request
addresses = {k: v for k, v in os.environ.items() if k.startswith("LOCALCLOUD_")}
with urllib.request.urlopen(addresses["LOCALCLOUD_TOKEN_URL"]) as reply:
    token = json.load(reply)
print(json.dumps([addresses, token["StatusCode"], sys.argv[1:]]))
sys.exit(3)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "localcloud", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.process
def test_a_command_runs_beside_a_cloud_and_decides_how_it_ends() -> None:
    result = run("--bucket", "photos", "--", sys.executable, "-c", PROGRAM, "--x", "y")

    assert result.stderr == ""
    assert result.returncode == 3
    addresses, status, arguments = json.loads(result.stdout)
    assert status == 200
    assert arguments == ["--x", "y"]
    assert list(addresses) == [
        "LOCALCLOUD_TOKEN_URL",
        "LOCALCLOUD_ENDPOINT",
        "LOCALCLOUD_REGION",
        "LOCALCLOUD_BUCKET",
        "LOCALCLOUD_CONTROL_URL",
    ]
    assert addresses["LOCALCLOUD_REGION"] == "cn-hangzhou"
    assert addresses["LOCALCLOUD_BUCKET"] == "photos"


@pytest.mark.process
def test_a_command_that_is_not_there_is_named() -> None:
    result = run("--", "./no-such-program")

    assert result.returncode == 1
    assert result.stderr == "localcloud: ./no-such-program: No such file or directory\n"


@pytest.mark.process
def test_a_command_has_no_page_to_be_reached_by_a_phone() -> None:
    result = run("--bind", "0.0.0.0", "--", "true")

    assert result.returncode == 2
    assert "arguments --bind and --tls: they are for the page" in result.stderr


@pytest.mark.process
@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_command_ends_with_the_cloud(tmp_path: Path) -> None:
    program = "print('ready', flush=True); import time; time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-m", "localcloud", "--", sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            process.terminate()

            assert process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
        finally:
            process.kill()

    assert list(tmp_path.iterdir()) == []


# --- Its API --------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_cloud() -> Iterator[LocalCloud]:
    """A cloud that the tests share."""
    with LocalCloud(logins=True) as cloud:
        yield cloud


@pytest.fixture
def cloud(shared_cloud: LocalCloud) -> LocalCloud:
    """It, as good as new."""
    shared_cloud.reset()
    return shared_cloud


@pytest.fixture
def port(cloud: LocalCloud) -> Iterator[int]:
    """The port of the API."""
    with ControlServer(cloud) as control:
        yield int(control.url.rpartition(":")[2])


def post(port: int, path: str, document: Any, **headers: str) -> Reply:
    """Ask the API for something."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return request(
        port, path, "POST", {"Content-Type": "application/json", **headers}, body
    )


def test_a_login_token_comes_from_the_api(cloud: LocalCloud, port: int) -> None:
    login = post(port, "/login-token", {"user": "alice"}).json["token"]
    token_port = int(cloud.token_url.rstrip("/").rpartition(":")[2])

    reply = request(token_port, headers={"Authorization": f"Bearer {login}"})

    assert reply.json["StatusCode"] == 200


def test_failures_are_ordered_over_the_api(cloud: LocalCloud, port: int) -> None:
    token = cloud.token(user="alice")
    key = KeyPair(
        token["AccessKeyId"], token["AccessKeySecret"], token["SecurityToken"]
    )
    client = BucketClient(cloud.oss, key, cloud.bucket)
    order = {
        "service": "sts",
        "operation": "AssumeRole",
        "codes": ["InternalError"],
        "always": True,
    }

    assert post(port, "/fail", order).status == 200
    for _ in range(2):
        with pytest.raises(TokenRefused, match=r"^InternalError: "):
            cloud.token(user="alice")
    order = {"service": "oss", "operation": "PutObject", "codes": ["AccessDenied"]}
    assert post(port, "/fail", order).status == 200
    assert client.put("users/alice/a").outcome == (403, "AccessDenied")
    assert client.put("users/alice/a").outcome == (200, "")
    assert post(port, "/reset", {}).status == 200
    assert cloud.token(user="alice")["StatusCode"] == 200


def test_objects_are_listed_and_tokens_expire(cloud: LocalCloud, port: int) -> None:
    cloud.objects.put("users/alice/cat.jpg", b"meow")
    token = cloud.token(user="alice")

    assert post(port, "/objects", {}).json == {"keys": ["users/alice/cat.jpg"]}
    assert post(port, "/expire-tokens", {}).json == {}
    issued = cloud.sts.issued(token["SecurityToken"])
    assert issued
    assert issued.expiration <= cloud.clock()


def test_a_command_sees_what_oss_reports() -> None:
    with LocalCloud(settings=COMMAND_SETTINGS) as cloud, ControlServer(cloud) as api:
        token, port = cloud.token(), int(api.url.rpartition(":")[2])
        told = request(int(cloud.token_url[:-1].rpartition(":")[2]), "/upload-config")
        key = KeyPair(
            token["AccessKeyId"], token["AccessKeySecret"], token["SecurityToken"]
        )
        headers = {f"x_oss_{n}": told.json[n] for n in ("callback", "callback-var")}

        BucketClient(cloud.oss, key, cloud.bucket).put("a", b"", **headers)

        (upload,) = post(port, "/uploads", {}).json["uploads"]
        assert (upload["object"], upload["operation"]) == ("a", "PutObject")


@pytest.mark.parametrize(
    ("path", "document", "status", "error"),
    [
        pytest.param("/nothing", {}, 404, "there is no /nothing", id="path"),
        pytest.param(
            "/fail",
            {"service": "oss", "operation": "PutObjct", "codes": []},
            400,
            "OSS has no operation 'PutObjct'; did you mean 'PutObject'?",
            id="operation",
        ),
        pytest.param(
            "/fail",
            {"service": "ram", "operation": "PutObject", "codes": []},
            400,
            "service must be oss or sts, not 'ram'",
            id="service",
        ),
        pytest.param("/objects", {"a": 1}, 400, "unexpected keyword", id="member"),
        pytest.param("/login-token", {}, 400, "'user'", id="member missing"),
        pytest.param("/objects", [], 400, "must be a JSON object", id="list"),
        pytest.param("/objects", b"{", 400, "property name", id="JSON"),
        pytest.param("/objects", b"[" * 100_000, 400, "recursion", id="nested"),
        pytest.param("/objects", b"\xff", 400, "utf-8", id="UTF-8"),
    ],
)
def test_what_the_api_does_not_know_is_named(
    port: int, path: str, document: Any, status: int, error: str
) -> None:
    reply = post(port, path, document)

    assert reply.status == status
    assert error in reply.json["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Origin": "http://localhost:3000"}, 403, id="web page"),
        pytest.param({"Content-Type": "text/plain"}, 415, id="simple request"),
        pytest.param({"Content-Length": str(MAX_BODY_BYTES + 1)}, 413, id="large"),
        pytest.param({"Content-Length": "-1"}, 411, id="negative"),
    ],
)
def test_requests_that_a_web_page_can_send_are_refused(
    cloud: LocalCloud, port: int, headers: dict[str, str], status: int
) -> None:
    cloud.objects.put("cat.jpg", b"meow")

    assert post(port, "/reset", {}, **headers).status == status

    assert cloud.objects.keys() == ["cat.jpg"]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with contextlib.closing(connection):
        connection.request("OPTIONS", "/reset")
        assert connection.getresponse().status == 501
