"""Callback in config.json: what is right, what is wrong, and what clients are told."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import uploads
from helpers.login.service import authentication, bearer
from helpers.server import MakeServer
from helpers.settings import write_config
from helpers.uploads import OTHER_SECRET, SECRET, callback, ticket_of, write_secrets

from localcloud.sts import StsStandIn
from tokenserver.config.callback import UPLOAD_SECONDS
from tokenserver.config.files import others_may_read, read_file
from tokenserver.config.load import Config, load_config
from tokenserver.errors import ConfigError
from tokenserver.oss.callback import OSS_KEY, open_ticket

HANGZHOU = {"Region": "cn-hangzhou"}


def load(folder: Path, changes: dict[str, Any], **settings: Any) -> Config:
    """Return a configuration that has *changes* of the Callback in it."""
    values = callback(folder, **changes)
    path = write_config(folder, **{**HANGZHOU, "Callback": values} | settings)
    return load_config(path, read_file)


def problems(folder: Path, changes: dict[str, Any], **settings: Any) -> list[str]:
    """Return what is wrong with it, without the folder."""
    with pytest.raises(ConfigError) as raised:
        load(folder, changes, **settings)
    return [problem.replace(f"{folder}/", "") for problem in raised.value.problems]


def test_a_callback_has_a_url_and_a_secret(tmp_path: Path) -> None:
    minimal = dict.fromkeys(("Variables", "UploadsFile", "PublicKeyFile"), ...)
    config = load(tmp_path, minimal)

    assert config.callback
    assert config.callback.url.text == "https://app.example.com/oss/uploaded"
    assert config.callback.secrets == (SECRET.encode(),)
    assert config.callback.keys == (OSS_KEY,)
    assert config.callback.variables == ()
    assert (config.callback.uploads_file, config.callback.forward_url) == (None, None)
    assert config.warnings == ()
    assert SECRET not in repr(config)


def test_without_a_callback_no_upload_is_reported(tmp_path: Path) -> None:
    off = load(tmp_path, {}, Callback=False)

    assert off.callback is None
    assert off.grants["/"].callback is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"Url": ...},
            "config.json: Callback: Url is empty; it must be the URL at which OSS "
            "reaches this server, such as https://app.example.com/oss/uploaded",
            id="no URL",
        ),
        pytest.param(
            {"Url": "app.example.com/oss"},
            "config.json: Callback: Url is 'app.example.com/oss'; it must be a URL of "
            "at most 1024 characters, such as https://app.example.com/oss/uploaded, "
            "without user, password and #",
            id="not a URL",
        ),
        pytest.param(
            {"Url": "https://app.example.com/"},
            "config.json: Callback: Url has the path '/'; it must be one of letters, "
            "digits and . _ ~ - / such as /oss/uploaded, so that no proxy spells it "
            "otherwise",
            id="the path of tokens",
        ),
        pytest.param(
            {"Url": "https://app.example.com/a%2Fb"},
            "config.json: Callback: Url has the path '/a%2Fb'; it must be one of "
            "letters, digits and . _ ~ - / such as /oss/uploaded, so that no proxy "
            "spells it otherwise",
            id="an encoded path",
        ),
        pytest.param(
            {"Url": "https://app.example.com/credentials/x"},
            "config.json: Callback: Url has the path /credentials/x, which begins with "
            "one of /credentials, /upload-config, /healthz, /readyz, /favicon.ico; "
            "choose another, such as /oss/uploaded",
            id="a reserved path",
        ),
        pytest.param(
            {"Url": 5},
            "config.json: Callback: Url must be a string, not int",
            id="a URL of another type",
        ),
        pytest.param(
            {"SecretFile": ""},
            "config.json: Callback: SecretFile is empty; it must name a file with a "
            "secret that tickets are sealed with, such as openssl rand -base64 32 "
            "prints",
            id="no secret",
        ),
        pytest.param(
            {"SecretFile": "none"},
            "none: cannot be read: No such file or directory",
            id="no such secret",
        ),
        pytest.param(
            {"Variables": ["album"]},
            "config.json: Callback: Variables has 'album'; it must be names such as "
            "x:album, in lower case, other than x:ticket",
            id="a variable without x:",
        ),
        pytest.param(
            {"Variables": "x:ticket"},
            "config.json: Callback: Variables has 'x:ticket'; it must be names such as "
            "x:album, in lower case, other than x:ticket",
            id="our variable",
        ),
        pytest.param(
            {"Variables": ["x:a", "x:a"]},
            "config.json: Callback: Variables has 2 names; it must be 20 at most, each "
            "of them once",
            id="a variable twice",
        ),
        pytest.param(
            {
                "Url": f"https://app.example.com/{'u' * 900}",
                "Variables": [f"x:{'v' * 62}{number:02}" for number in range(20)],
            },
            "config.json: Callback: Url and Variables make x-oss-callback 5340 "
            "characters long; OSS takes 5120, so use shorter or fewer names",
            id="more than OSS takes",
        ),
        pytest.param(
            {"UploadsFile": "none/uploads.jsonl"},
            "config.json: Callback: UploadsFile is 'none/uploads.jsonl', but there is "
            "no folder none; make it, or name another",
            id="a file in no folder",
        ),
        pytest.param(
            {"UploadsFile": "."},
            "config.json: Callback: UploadsFile is '.', which is a folder; it must be "
            "a file",
            id="a folder",
        ),
        pytest.param(
            {"UploadsFile": "a\0"},
            "config.json: Callback: UploadsFile is 'a\\x00', which is not a file name",
            id="not a file name",
        ),
        pytest.param(
            {"ForwardUrl": "https://user:password@backend.example.com/"},
            "config.json: Callback: ForwardUrl is "
            "'https://user:password@backend.example.com/'; it must be a URL of at most "
            "1024 characters, such as https://backend.example.com/uploads, without "
            "user, password and #",
            id="a URL with a user",
        ),
        pytest.param(
            {"PublicKeyFile": "callback.secret"},
            "callback.secret: must be an RSA key of 512 bits or more, in PEM (BEGIN "
            "PUBLIC KEY); leave PublicKeyFile out for the key that OSS publishes",
            id="not a key",
        ),
        pytest.param(
            {"UploadFile": "uploads.jsonl"},
            "config.json: Callback: UploadFile is not a setting; did you mean "
            "UploadsFile?",
            id="misspelt",
        ),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    assert problems(tmp_path, changes) == [problem]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param("", "has 0 lines; it must have one secret, or two", id="empty"),
        pytest.param(
            f"{SECRET}\n" * 3, "has 3 lines; it must have one secret", id="three"
        ),
        pytest.param(
            f"{SECRET}\nshort\n",
            "line 2 has 5 bytes; a secret must have 32 or more, all of them printable",
            id="short",
        ),
        pytest.param(
            "\0" * 40, "line 1 has 40 bytes; a secret must have 32", id="binary"
        ),
    ],
)
def test_a_secret_that_anyone_could_guess_is_refused(
    tmp_path: Path, content: str, problem: str
) -> None:
    own = tmp_path / "own.secret"
    own.write_text(content)

    (found,) = problems(tmp_path, {"SecretFile": str(own)})

    assert found.startswith(f"own.secret: {problem}")
    assert SECRET not in found


def test_the_path_of_a_grant_is_not_for_oss(tmp_path: Path) -> None:
    grants: dict[str, Any] = {"/oss/uploaded": {}}

    assert problems(tmp_path, {}, Grants=grants) == [
        "config.json: Callback: Url has the path /oss/uploaded, which is one of "
        "Grants; it must be for OSS alone"
    ]


@pytest.mark.parametrize("value", [{}, {"Url": "https://app.example.com/other"}, True])
def test_a_grant_can_only_switch_it_off(tmp_path: Path, value: Any) -> None:
    grants = {"/avatars": {"Callback": value}, "/albums": {"Callback": False}}

    (found,) = problems(tmp_path, {}, Grants=grants)

    assert found.startswith("config.json: Grants: /avatars: Callback ")
    assert "false" in found


@pytest.mark.parametrize("value", ["https://app.example.com/oss/uploaded", [], True])
def test_a_callback_is_an_object(tmp_path: Path, value: Any) -> None:
    assert problems(tmp_path, {}, Callback=value) == [
        "config.json: Callback must be an object, {...}, or false"
    ]


@pytest.mark.parametrize(
    ("changes", "settings", "warning"),
    [
        pytest.param(
            {"Url": "http://app.example.com/oss/uploaded"},
            {},
            "Callback: Url is plain HTTP; anyone on the way to it can read the "
            "tickets, and report with them what was not uploaded",
            id="plain HTTP",
        ),
        pytest.param(
            {"Url": "http://127.0.0.1:7080/oss/uploaded", "PublicKeyFile": ...},
            {},
            "Callback: Url is http://127.0.0.1:7080/oss/uploaded, which only this "
            "machine reaches, and OSS does not",
            id="loopback",
        ),
        pytest.param(
            {"ForwardUrl": "http://backend.example.com/uploads"},
            {},
            "Callback: ForwardUrl is plain HTTP; anyone on the way to it can read what "
            "was uploaded",
            id="plain HTTP to a backend",
        ),
        pytest.param(
            {},
            {"Region": ""},
            "Callback has no effect without Region, because clients are told of it by "
            "/upload-config",
            id="no region",
        ),
    ],
)
def test_what_may_not_be_meant_is_a_warning(
    tmp_path: Path, changes: dict[str, Any], settings: dict[str, Any], warning: str
) -> None:
    config = load(tmp_path, changes, **settings)

    assert config.warnings == (f"{tmp_path / 'config.json'}: {warning}",)


def test_a_secret_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    own = tmp_path / "own.secret"
    own.write_text(SECRET)
    own.chmod(0o644)

    (warning,) = load(tmp_path, {"SecretFile": "own.secret"}).warnings

    assert warning == others_may_read(own)


def test_the_query_of_a_backend_is_not_shown(tmp_path: Path) -> None:
    url = "https://backend.example.com/uploads?key=k8Zp"

    config = load(tmp_path, {"ForwardUrl": url})

    assert config.shown["Callback: ForwardUrl"] == (
        '"https://backend.example.com/uploads?..."'
    )
    assert "k8Zp" not in str(config.shown)


# --- What clients are told ------------------------------------------------------


def test_a_client_is_told_what_to_pass_to_oss(
    make_server: MakeServer, tmp_path: Path, sts: StsStandIn
) -> None:
    server = make_server(**HANGZHOU, Callback=callback(tmp_path))

    before = int(time.time())
    config = server.request("/upload-config").json
    after = time.time()

    told = json.loads(base64.b64decode(config["callback"]))
    assert told["callbackUrl"] == f"https://app.example.com{uploads.PATH}"
    assert told["callbackBody"].endswith("&x:ticket=${x:ticket}&x:album=${x:album}")
    ticket = open_ticket([SECRET.encode()], ticket_of(config))
    assert (ticket.grant, ticket.user) == ("/", "")
    assert (ticket.bucket, ticket.prefix) == ("my-bucket", "photos/")
    assert before <= ticket.until - 900 - UPLOAD_SECONDS <= after
    assert sts.received == 0


def test_each_grant_and_user_has_a_ticket(
    make_server: MakeServer, tmp_path: Path
) -> None:
    server = make_server(
        **HANGZHOU,
        Callback=callback(tmp_path),
        Authentication=authentication(tmp_path),
        Grants={
            "/avatars": {"ObjectPrefix": "avatars/$USER_ID/"},
            "/silent": {"ObjectPrefix": "silent/$USER_ID/", "Callback": False},
        },
    )

    avatars = server.request("/upload-config/avatars", headers=bearer("alice")).json
    silent = server.request("/upload-config/silent", headers=bearer("alice")).json

    ticket = open_ticket([SECRET.encode()], ticket_of(avatars))
    assert (ticket.grant, ticket.user) == ("/avatars", "alice")
    assert ticket.prefix == "avatars/alice/"
    assert not [name for name in silent if "callback" in name]


def test_a_new_secret_is_taken_up(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(**HANGZHOU, Callback=callback(tmp_path))

    write_secrets(tmp_path, OTHER_SECRET, SECRET)
    server.look()

    ticket = ticket_of(server.request("/upload-config").json)
    assert open_ticket([OTHER_SECRET.encode()], ticket)
    assert server.server.config.current().callback
