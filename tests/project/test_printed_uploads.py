"""What docs/uploads.md prints works as it is printed, in both languages."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import alibabacloud_oss_v2 as oss
import oss2
import pytest
from helpers.client import connect, request
from helpers.machine import PATIENCE_SECONDS, reserved_port, wait_until
from helpers.oss.apps import NODE_MODULES, needs_node
from helpers.server import MakeServer
from helpers.settings import ROOT, write_config
from helpers.uploads import OTHER_SECRET, callback, post, records, report, ticket_of

from tokenserver.config import settings as table
from tokenserver.config.files import read_file
from tokenserver.config.load import load_config

PAGES = {
    name: (ROOT / name).read_text("utf-8")
    for name in ("docs/uploads.md", "docs/zh-CN/uploads.md")
}
each_page = pytest.mark.parametrize("text", PAGES.values(), ids=PAGES.keys())
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def the_block(language: str, part: str) -> str:
    """Return the one block that has *part* in it."""
    found = BLOCK.findall(PAGES["docs/uploads.md"])
    (code,) = [code for kind, code in found if kind == language and part in code]
    return str(code)


# --- Both languages -------------------------------------------------------------


def test_both_languages_say_the_same() -> None:
    def outline(text: str) -> list[Any]:
        prose = BLOCK.sub("", text)
        return [
            re.findall(r"^#+ ", prose, re.MULTILINE),
            len(re.findall(r"^\|", prose, re.MULTILINE)),
            len(re.findall(r"^(?:-|\d\.) ", prose, re.MULTILINE)),
            {" ".join(name.split()) for name in re.findall(r"`([^`]+)`", prose)},
            BLOCK.findall(text),
        ]

    english, chinese = PAGES.values()
    assert outline(english) == outline(chinese)


@each_page
def test_each_setting_of_a_callback_is_in_the_table(text: str) -> None:
    rows = re.findall(r"^\| `Callback\.(\w+)` \|", text, re.MULTILINE)

    assert rows == [
        setting.name
        for setting in (
            table.CALLBACK_URL,
            table.SECRET_FILE,
            table.VARIABLES,
            table.UPLOADS_FILE,
            table.FORWARD_URL,
            table.PUBLIC_KEY_FILE,
        )
    ]
    assert len(rows) == len(table.CALLBACK_SETTINGS)


# --- Configuration --------------------------------------------------------------


def test_the_server_takes_the_configuration_shown(tmp_path: Path) -> None:
    subprocess.run(
        ["bash", "-e", "-c", the_block("sh", "openssl")], cwd=tmp_path, check=True
    )

    shown = json.loads(the_block("json", '"Callback": {'))
    config = load_config(write_config(tmp_path, **shown), read_file)

    assert config.callback
    assert config.warnings == ()
    assert (tmp_path / "callback.secret").stat().st_mode & 0o777 == 0o600


def test_the_documents_shown_are_those_of_the_server(
    make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server(Region="cn-hangzhou", Callback=callback(tmp_path))
    config = server.request("/upload-config").json
    reply = post(server.port, report(ticket_of(config))).json

    assert list(json.loads(the_block("json", '"callback-var"'))) == list(config)
    assert list(json.loads(the_block("json", '"Status"'))) == list(reply)
    (record,) = records(tmp_path)
    shown = json.loads(the_block("json", '"crc64"'))
    assert {name: type(value) for name, value in shown.items()} == {
        name: type(value) for name, value in record.items()
    }


# --- What clients pass to OSS ---------------------------------------------------

ANSWER = b'{"Status":"OK","id":"6f1c","user":"alice"}'


class Calls:
    """What clients send to an OSS that answers as after a callback."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.url = ""


@pytest.fixture
def calls() -> Iterator[Calls]:
    """An OSS that notes the headers of uploads; localcloud imitates the real one."""
    found = Calls()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            found.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.send_response(200)
            for name, value in (
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(ANSWER))),
                ("ETag", '"0B2E"'),
                ("x-oss-request-id", "5F3C"),
                ("x-oss-hash-crc64ecma", "0"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(ANSWER)

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def config(make_server: MakeServer, tmp_path: Path) -> dict[str, Any]:
    """What the server tells a client."""
    server = make_server(Region="cn-hangzhou", Callback=callback(tmp_path))
    return dict(server.request("/upload-config").json)


def test_the_recipe_for_oss2_passes_both_texts(
    calls: Calls, config: dict[str, Any]
) -> None:
    bucket = oss2.Bucket(
        oss2.StsAuth("STS.key", "secret", "token", auth_version="v4"),
        calls.url,
        "my-bucket",
        region="cn-hangzhou",
        enable_crc=False,
        is_path_style=True,
    )
    names = {"json": json, "config": config, "bucket": bucket, "data": b"meow"}

    exec(the_block("python", "bucket.put_object"), names)

    (headers,) = calls.headers
    assert headers["x-oss-callback"] == config["callback"]
    assert headers["x-oss-callback-var"] == config["callback-var"]
    assert names["uploaded"] == json.loads(ANSWER)


def test_the_recipe_for_the_other_sdk_passes_both_texts_and_a_variable(
    calls: Calls, config: dict[str, Any]
) -> None:
    options = oss.config.load_default()
    options.credentials_provider = oss.credentials.StaticCredentialsProvider(
        "STS.key", "secret", "token"
    )
    options.region, options.endpoint = "cn-hangzhou", calls.url
    options.use_path_style, options.disable_upload_crc64_check = True, True
    names: dict[str, Any] = {
        "base64": base64,
        "client": oss.Client(options),
        "config": config,
        "data": b"meow",
        "json": json,
        "oss": oss,
    }

    exec(the_block("python", "oss.PutObjectRequest"), names)

    (headers,) = calls.headers
    assert headers["x-oss-callback"] == config["callback"]
    variables = json.loads(base64.b64decode(headers["x-oss-callback-var"]))
    assert variables == {"x:ticket": ticket_of(config), "x:album": "cats"}
    assert names["uploaded"] == json.loads(ANSWER)


@needs_node
@pytest.mark.process
def test_the_recipe_for_ali_oss_passes_both_texts(
    calls: Calls, config: dict[str, Any], tmp_path: Path
) -> None:
    code = the_block("js", "client.put(")
    lines = [
        'import OSS from "ali-oss";',
        f"const config = {json.dumps(config)};",
        "const client = new OSS({ accessKeyId: 'STS.key', accessKeySecret: 'secret',",
        "  stsToken: 'token', authorizationV4: true, region: 'oss-cn-hangzhou',",
        f"  bucket: 'my-bucket', endpoint: '{calls.url}', sldEnable: true }});",
        "const file = Buffer.from('meow');",
        code,
        "console.log(JSON.stringify(data));",
    ]
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "app.mjs").write_text("\n".join(lines), encoding="utf-8")

    result = subprocess.run(
        ["node", "app.mjs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == json.loads(ANSWER)
    (headers,) = calls.headers
    for name in ("callback", "callback-var"):
        passed = json.loads(base64.b64decode(headers[f"x-oss-{name}"]))
        assert passed == json.loads(base64.b64decode(config[name]))


# --- The backend ----------------------------------------------------------------


@contextlib.contextmanager
def printed_backend(folder: Path) -> Iterator[int]:
    """Run the backend of the page; give its port."""
    code = the_block("python", "class Backend")
    with reserved_port() as port:
        assert "8000" in code
        (folder / "backend.py").write_text(code.replace("8000", str(port)))
        with subprocess.Popen(
            [sys.executable, "-W", "error", "backend.py"],
            cwd=folder,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                wait_until(lambda: is_open(port))
                yield port
            finally:
                process.kill()


def is_open(port: int) -> bool:
    try:
        connect(port).close()
    except OSError:
        return False
    return True


@pytest.mark.process
def test_the_backend_keeps_what_is_forwarded_and_nothing_else(
    make_server: MakeServer, tmp_path: Path
) -> None:
    values = callback(tmp_path)
    secrets = tmp_path / "callback.secret"
    secrets.write_text(f"{secrets.read_text()}{OTHER_SECRET}\n")
    with printed_backend(tmp_path) as port:
        values["ForwardUrl"] = f"http://127.0.0.1:{port}/uploads"
        server = make_server(Region="cn-hangzhou", Callback=values)
        sealed = ticket_of(server.request("/upload-config").json)
        for number in range(3):
            reply = post(server.port, report(sealed, f"photos/{number}.jpg"))
            assert reply.status == 200
        outcomes = server.server.uploads.forwarder.outcomes
        wait_until(lambda: outcomes.counts() == {"Delivered": 3})
        forged = json.dumps(records(tmp_path)[0] | {"id": "f" * 32}).encode()
        refused = [
            request(port, "/uploads", "POST", headers, forged).status
            for headers in ({}, {"Upload-Signature": f"sha256={'0' * 64}"})
        ]

    assert refused == [403, 403]
    with contextlib.closing(sqlite3.connect(tmp_path / "uploads.db")) as db:
        kept = db.execute("SELECT * FROM uploads ORDER BY object").fetchall()
    assert kept == [
        (one["id"], "", f"photos/{number}.jpg", 35891, "image/jpeg")
        for number, one in enumerate(records(tmp_path))
    ]
