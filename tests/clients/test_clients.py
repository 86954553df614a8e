"""Unmodified clients against a server started as an operator starts it."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alibabacloud_credentials.client import Client
from alibabacloud_credentials.models import Config
from helpers.server import MakeServer, RunningServer

from localcloud.sts import Fail, StsStandIn

pytestmark = pytest.mark.slow

needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")


def test_the_credentials_sdk_takes_the_server_for_a_credentials_uri(
    make_server: MakeServer, sts: StsStandIn
) -> None:
    server = make_server(TokenExpireTime=3600)
    client = Client(
        Config(type="credentials_uri", credentials_uri=f"{server.url}/credentials")
    )

    credentials = [client.get_credential() for _ in range(3)]

    token = sts.issued(credentials[0].security_token)
    assert token
    assert credentials[0].access_key_id == token.access_key_id
    assert credentials[0].access_key_secret == token.access_key_secret
    assert len(sts.requests) == 1  # the SDK keeps a token that lasts


def test_the_credentials_sdk_reports_a_failure(
    server: RunningServer, sts: StsStandIn
) -> None:
    sts.always(Fail("NoPermission", "No.", 403))
    client = Client(
        Config(type="credentials_uri", credentials_uri=f"{server.url}/credentials")
    )

    with pytest.raises(Exception, match=r"http_code=502.*NoPermission"):
        client.get_credential()


def curl(*arguments: str) -> str:
    """Return what curl prints."""
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "60", *arguments],
        capture_output=True,
        check=True,
        text=True,
    ).stdout


@needs_curl
@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="GET"),
        pytest.param(["--data", "a=b"], id="POST"),
        pytest.param(["--data", "x" * 60_000], id="a body that curl announces"),
        pytest.param(["--http1.0"], id="HTTP/1.0"),
        pytest.param(["--http2"], id="an upgrade to HTTP/2 offered"),
        pytest.param(["--header", "Origin: https://app.example"], id="a browser's"),
    ],
)
def test_curl_gets_a_token(
    server: RunningServer, sts: StsStandIn, arguments: list[str]
) -> None:
    document = json.loads(curl(*arguments, f"{server.url}/sts/getsts"))

    assert document["StatusCode"] == 200
    assert sts.issued(document["SecurityToken"])


@needs_curl
@pytest.mark.process
def test_curl_reads_why_a_large_body_is_refused(
    server: RunningServer, tmp_path: Path
) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 2_000_000)

    reply = curl("--data-binary", f"@{body}", "--header", "Expect:", server.url)

    assert json.loads(reply)["ErrorCode"] == "BodyTooLarge"


def test_many_clients_at_once_each_get_a_token(
    server: RunningServer, sts: StsStandIn
) -> None:
    with ThreadPoolExecutor(64) as pool:
        replies = list(pool.map(lambda _: server.request("/").json, range(256)))

    assert {reply["StatusCode"] for reply in replies} == {200}
    assert len({reply["SecurityToken"] for reply in replies}) == 256


@pytest.mark.slow
def test_an_edit_under_load_fails_no_request(
    make_server: MakeServer, tmp_path: Path, sts: StsStandIn
) -> None:
    server = make_server()
    config = tmp_path / "config.json"
    content = config.read_text(encoding="utf-8")
    done = threading.Event()

    def edit() -> None:
        for edits in range(40):
            config.write_text(content[: edits * 10], encoding="utf-8")
            config.write_text(
                content.replace('"900"', str(900 + edits)), encoding="utf-8"
            )
            server.look()  # at every one of them
            time.sleep(0.02)
        done.set()

    editing = threading.Thread(target=edit)
    editing.start()
    statuses = set()
    while not done.is_set():
        statuses.add(server.request("/").json["StatusCode"])
    editing.join()
    server.request("/")

    assert statuses == {200}
    assert sts.requests[-1].params["DurationSeconds"] == "939"
