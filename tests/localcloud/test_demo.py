"""``python -m localcloud`` as a newcomer runs it: what it prints works."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.client import request
from helpers.demo import ANY_PORTS, PICTURE, PORTS, ROOT, Demo, run, running, stored
from helpers.machine import PATIENCE_SECONDS

from localcloud.__main__ import CLIENTS, UPLOAD_DEFAULTS
from localcloud.network import qr_code
from localcloud.options import parse_arguments
from localcloud.oss.folder import SUFFIX
from localcloud.page import read_settings

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="module")
def demo(temporary: Path, objects: Path) -> Iterator[Demo]:
    arguments = ("--folder", str(objects), "--bucket", "my-photos", "--prefix", "我的/")
    with running(*arguments, folder=temporary) as demo:
        yield demo


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_curl_command_prints_a_token(demo: Demo) -> None:
    output = run(*demo.command("/sts/getsts"), "--silent")

    assert json.loads(output)["StatusCode"] == 200


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize(
    ("path", "folder", "operation"),
    [("/form?", "forms/", "PostObject"), ("/put?", "urls/", "PutObject")],
)
@pytest.mark.parametrize("options", [(), ("--logins", "--tls")], ids=["", "logins TLS"])
def test_the_curl_commands_upload_by_a_form_and_by_a_url_and_are_reported(
    tmp_path: Path, options: tuple[str, ...], path: str, folder: str, operation: str
) -> None:
    objects, temporary = tmp_path / "objects", tmp_path / "temporary"
    temporary.mkdir()
    with running("--folder", str(objects), *options, folder=temporary) as demo:
        command = next(line for line in demo.output.splitlines() if path in line)
        answer = json.loads(run("sh", "-c", command))
        prefix = "users/alice/" if options else "photos/"
        key = f"{folder}{prefix}{PICTURE.name}"
        kept = stored(objects / f"demo-bucket{SUFFIX}")
        demo.process.terminate()
        assert demo.process.stderr
        log = demo.process.stderr.read()

    user = "alice" if options else ""
    assert kept == {key: PICTURE.read_bytes()}
    assert (answer["Status"], answer["object"], answer["user"]) == ("OK", key, user)
    size = f"{answer['width']} x {answer['height']}, image/png, "
    (reported,) = re.findall(r"reported: (.*)", log)
    assert reported.startswith(f"{key}, {size}")
    assert reported.endswith("by alice") == bool(user)
    assert f"OSS POST {operation}" in log or f"OSS PUT {operation}" in log
    assert "WARNING" not in log


def test_tokens_are_at_the_paths_of_the_manual_and_of_apps(demo: Demo) -> None:
    port = port_of(demo, "token server")

    for path in ("/", "/sts/getsts", "/sts.php", "/?a=b"):
        assert request(port, path).json["StatusCode"] == 200
    assert request(port, "/credentials").json["Code"] == "Success"
    for path in ("/form", "/put"):
        assert "SecurityToken" not in request(port, path).json


def test_what_is_not_a_form_is_said_and_gives_curl_nothing_to_do() -> None:
    script = CLIENTS / "curl_form.py"
    refusal = json.dumps({"ErrorCode": "EntityTooLarge", "ErrorMessage": "Too large."})

    result = subprocess.run(
        [sys.executable, script, "cat.jpg"],
        input=refusal,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "EntityTooLarge: Too large.\n"


@pytest.mark.parametrize(
    "script",
    [
        "upload.py",
        pytest.param(
            "upload.mjs",
            marks=pytest.mark.skipif(
                not shutil.which("node")
                or not (ROOT / "localcloud/clients/node_modules").exists(),
                reason="needs Node, and what localcloud/clients/package.json names",
            ),
        ),
    ],
)
def test_the_upload_commands_upload_a_picture_of_ones_own(
    demo: Demo, objects: Path, tmp_path: Path, script: str
) -> None:
    picture = tmp_path / f"猫 {script}.png"
    picture.write_bytes(b"\x89PNG" + os.urandom(200_000))
    command = [
        str(picture) if word == "localcloud/page/upload-page.png" else word
        for word in demo.command(script)
    ]

    output = run(*command)

    assert output == f"uploaded {picture} as my-photos/我的/{picture.name}\n"
    assert (
        stored(objects / f"my-photos{SUFFIX}")[f"我的/{picture.name}"]
        == picture.read_bytes()
    )


def test_the_picture_of_the_commands_is_there(demo: Demo) -> None:
    assert demo.command("upload.py")[2] == str(PICTURE.relative_to(ROOT))
    assert PICTURE.stat().st_size > 1000


def port_of(demo: Demo, name: str) -> int:
    return int(demo.address(name).rstrip("/").rpartition(":")[2])


def test_the_page_asks_the_token_server_for_the_rest(demo: Demo) -> None:
    page = request(port_of(demo, "upload page"), "/").body.decode()

    told = request(port_of(demo, "token server"), "/upload-config").json

    settings = read_settings(page)
    assert settings.pop("appServer") == demo.address("token server")
    assert (settings["formPath"], settings["urlPath"]) == ("/form", "/put")
    assert not any(settings[name] for name in ("bucket", "region", "endpoint"))
    needed = {
        "bucket": "my-photos",
        "region": "cn-hangzhou",
        "endpoint": demo.address("OSS stand-in"),
        "cname": False,
        "host": f"{demo.address('OSS stand-in')}/my-photos",
        "dir": "我的/",
    }
    assert {name: told.get(name) for name in needed} == needed


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_phones_get_addresses_a_qr_code_and_https(tmp_path: Path) -> None:
    with running("--bind", "127.0.0.2", "--tls", folder=tmp_path) as demo:
        get_token = demo.command("/sts/getsts")
        curl = [*get_token[:4], "--silent"]  # with the certificate
        url = demo.address("upload page")
        allowed = {
            name: run(*curl, "-i", "-H", f"Origin: {url.rstrip('/')}", address)
            for name, address in {
                "token server": demo.address("token server"),
                "OSS": f"{demo.address('OSS stand-in')}/demo-bucket/photos/cat.jpg",
            }.items()
        }

        assert json.loads(run(*get_token, "--silent"))["StatusCode"] == 200
        assert "<title>Upload to OSS</title>" in run(*curl, url)
        assert qr_code(url, is_unicode=True) in demo.output
    for address in (url, get_token[-1], demo.address("OSS stand-in")):
        assert address.startswith("https://127.0.0.2:")
    for name, reply in allowed.items():
        header = f"access-control-allow-origin: {url.rstrip('/')}\n"
        assert header in reply.lower(), name


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_users_of_the_page_log_in_with_the_token_that_is_printed(
    tmp_path: Path,
) -> None:
    with running("--logins", folder=tmp_path) as demo:
        token = json.loads(run(*demo.command("/sts/getsts"), "--silent"))
        login = {"Authorization": f"Bearer {demo.address('login token')}"}
        port = port_of(demo, "token server")
        folder = request(port, "/upload-config", headers=login).json["dir"]
        refused = request(port, "/upload-config").status

    assert (token["StatusCode"], folder, refused) == (200, "users/alice/", 401)


def test_an_address_of_another_machine_is_refused() -> None:
    outcome = start("--bind", "127.0.0.2", "--page-port", "0", "--bind", "198.51.100.1")

    assert outcome == (
        1,
        "localcloud: --bind 198.51.100.1: this machine has no such address; "
        "use --bind 0.0.0.0\n",
    )


def cors_of(demo: Demo, origin: str) -> dict[str, str | int | None]:
    """Return how token server and OSS answer a page of *origin*."""
    token_port, oss_port = (
        port_of(demo, name) for name in ("token server", "OSS stand-in")
    )
    headers = {"Origin": origin}
    ask = headers | {
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,x-oss-date",
    }
    path = "/my-photos/cat.jpg"
    allowed = "access-control-allow-origin"
    preflight = request(oss_port, path, "OPTIONS", ask)
    return {
        "token": request(token_port, "/", headers=headers).headers.get(allowed),
        "preflight": preflight.status,
        "OSS": preflight.headers.get(allowed),
        "refusal of OSS": request(oss_port, path, headers=headers).headers.get(allowed),
    }


def open_to(origin: str) -> dict[str, str | int | None]:
    return {"token": origin, "preflight": 200, "OSS": origin, "refusal of OSS": origin}


CLOSED = {"token": None, "preflight": 403, "OSS": None, "refusal of OSS": None}


def test_the_page_may_use_token_server_and_oss_and_no_other_may(demo: Demo) -> None:
    address = demo.address("upload page").rstrip("/")
    by_name = address.replace("127.0.0.1", "localhost")
    port = address.rpartition(":")[2]

    for origin in (address, by_name):
        assert cors_of(demo, origin) == open_to(origin)
    for origin in (
        "https://evil.example",
        "null",
        "http://localhost",
        f"https://localhost:{port}",
        f"http://localhost:{port}.evil.example",
        f"http://localhost.evil.example:{port}",
        demo.address("token server").rstrip("/"),
    ):
        assert cors_of(demo, origin) == CLOSED, origin


def test_pages_of_ones_own_may_use_them_if_they_are_named(tmp_path: Path) -> None:
    own = ["http://localhost:3000", "https://app.example"]
    options = [word for origin in own for word in ("--origin", origin)]

    with running(*options, "--bucket", "my-photos", folder=tmp_path) as demo:
        address = demo.address("upload page").rstrip("/")
        for origin in (*own, address):
            assert cors_of(demo, origin) == open_to(origin)
        assert cors_of(demo, "http://localhost:3001") == CLOSED


def test_any_page_may_use_them_if_that_is_said(tmp_path: Path) -> None:
    options = ("--origin", "*", "--bucket", "my-photos")
    with running(*options, folder=tmp_path) as demo:
        for origin in ("null", "https://app.example"):
            assert cors_of(demo, origin) == open_to("*")


def test_pictures_are_there_again_after_a_restart_and_nothing_else_is_left(
    tmp_path: Path,
) -> None:
    objects, temporary = tmp_path / "objects", tmp_path / "temporary"
    temporary.mkdir()
    for _ in range(2):
        with running("--folder", str(objects), folder=temporary) as demo:
            command = demo.command("upload.py")
            run(*command[:2], "LICENSE", *command[3:])
            kept = stored(objects / f"demo-bucket{SUFFIX}")

    assert list(kept) == ["photos/LICENSE"]
    assert list(temporary.iterdir()) == []


def test_a_demo_without_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    with running(folder=tmp_path) as demo:
        command = demo.command("upload.py")
        run(*command[:2], "LICENSE", *command[3:])

    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_demo_that_is_killed_keeps_what_was_uploaded(tmp_path: Path) -> None:
    objects = tmp_path / "objects"
    arguments = ("--folder", str(objects))
    with running(*arguments, folder=tmp_path, exit_status=-signal.SIGKILL) as demo:
        command = demo.command("upload.py")
        run(*command[:2], "LICENSE", *command[3:])
        demo.process.send_signal(signal.SIGKILL)

    assert list(stored(objects / f"demo-bucket{SUFFIX}")) == ["photos/LICENSE"]
    with running(*arguments, folder=tmp_path):
        assert list(stored(objects / f"demo-bucket{SUFFIX}")) == ["photos/LICENSE"]


def start(*arguments: str) -> tuple[int, str]:
    """Return exit status and stderr of a demo that does not start."""
    result = subprocess.run(
        [sys.executable, "-m", "localcloud", *ANY_PORTS, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return result.returncode, result.stderr


@pytest.mark.parametrize("option", PORTS)
def test_a_port_that_is_taken_is_named_with_the_option_that_helps(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = start(option, str(port))

    assert outcome == (
        1,
        f"localcloud: port {port}: Address already in use; use {option} N\n",
    )


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()

    outcome = start("--folder", str(path))

    message = f"localcloud: folder {path}: Not a directory; use --folder DIR\n"
    assert outcome == (1, message)


def test_a_folder_of_others_is_refused_and_keeps_its_files(tmp_path: Path) -> None:
    names = ("data/thesis.txt", "uploads/2024/cat.jpg", "objects/a.tmp")
    paths = [tmp_path / "wp-content" / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text("mine")

    outcome = start("--folder", str(tmp_path), "--bucket", "wp-content")

    assert outcome == (
        1,
        f"localcloud: folder {tmp_path}: it holds other files and has no valid "
        "oss-stand-in.json, the mark of a folder for objects; choose a new folder, an "
        "empty one, or one with that mark; use --folder DIR\n",
    )
    assert [path.read_text() for path in paths] == ["mine"] * 3


def test_a_folder_that_another_demo_uses_is_refused(demo: Demo, objects: Path) -> None:
    outcome = start("--folder", str(objects))

    message = f"folder {objects}: it is in use by another stand-in or demo"
    assert outcome == (1, f"localcloud: {message}; use --folder DIR\n")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--bucket", "My_Bucket"),
        ("--bucket", "ab"),
        ("--prefix", ""),
        ("--prefix", "photos*"),
        ("--prefix", "/photos"),
        ("--port", "65536"),
        ("--origin", "null"),
        ("--bind", "::1"),
        ("--origin", "http://localhost:3000/"),
        ("--origin", "localhost:3000"),
    ],
)
def test_an_option_that_is_wrong_is_named(option: str, value: str) -> None:
    status, error = start(option, value)

    assert status == 2
    assert f"argument {option}: {value!r}" in error


@pytest.mark.parametrize(
    ("module", "package", "options"),
    [
        ("PIL", "pillow", ()),
        ("fastcrc", "fastcrc", ()),
        ("multipart", "multipart", ()),
        ("segno", "segno", ("--bind", "127.0.0.2")),
        ("cryptography", "cryptography", ("--tls",)),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_command_that_helps(
    module: str, package: str, options: tuple[str, ...]
) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "import runpy; runpy.run_module('localcloud', run_name='__main__')"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *ANY_PORTS, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert result.returncode == 1
    assert re.fullmatch(
        rf"localcloud: {package} is missing; "
        r"run: \S+ -m pip install -U pillow cryptography fastcrc multipart segno\n",
        result.stderr,
    )


@pytest.mark.parametrize("script", ["upload.py", "upload.mjs"])
def test_the_scripts_have_the_defaults_of_the_demo(script: str) -> None:
    source = (ROOT / "localcloud" / "clients" / script).read_text("utf-8")
    options = parse_arguments([])

    for name, value in UPLOAD_DEFAULTS.items():
        assert re.search(rf'{name}"?.*default[=:] ?"{re.escape(value)}"', source), name
    of_the_demo = {
        "token-url": f"http://127.0.0.1:{options.port}/",
        "endpoint": f"http://127.0.0.1:{options.oss_port}",
        "bucket": options.bucket,
        "prefix": options.prefix,
    }
    assert of_the_demo == UPLOAD_DEFAULTS
