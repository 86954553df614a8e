"""Users who are shut out: by DeniedUsersFile, and of what they were already given."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.login.service import authentication, bearer, claims_now, service
from helpers.oss.attempts import Place, may
from helpers.oss.client import OssClient
from helpers.oss.cloud import user_key
from helpers.oss.signing import BUCKET, KeyPair
from helpers.processes import call
from helpers.server import MakeServer, RunningServer
from helpers.settings import ROLE_ARN, ROOT, write_config

from localcloud.oss import OssStandIn
from localcloud.sts import ALLOW_ALL, StsStandIn
from tokenserver.config.denied import parse_denied
from tokenserver.config.files import read_file
from tokenserver.config.load import load_config
from tokenserver.errors import ConfigError

TEMPLATE = ROOT / "localcloud" / "page" / "upload_page_policy.txt"
MakeUsers = Callable[[str], RunningServer]


@pytest.fixture
def make_users(make_server: MakeServer, tmp_path: Path) -> MakeUsers:
    """Return a function that starts a server with a list of denied users."""

    def make(denied: str) -> RunningServer:
        (tmp_path / "denied.txt").write_text(denied, "utf-8")
        return make_server(
            Authentication=authentication(tmp_path),
            PolicyFile=str(TEMPLATE),
            ObjectPrefix="users/$USER_ID/",
            TokenReuseTime=None,
            DeniedUsersFile="denied.txt",
        )

    return make


def logged_in(user: str, **claims: Any) -> dict[str, str]:
    """Return the header of a login token with *claims*; ... leaves one out."""
    token = service("HS256").sign(claims_now(sub=user, **claims))
    return {"Authorization": f"Bearer {token}"}


def status(server: RunningServer, user: str, **claims: Any) -> int:
    return server.request("/", headers=logged_in(user, **claims)).status


def test_a_user_is_shut_out_and_let_in_again(
    make_users: MakeUsers,
    sts: StsStandIn,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = make_users("")
    first = server.request("/", headers=bearer("alice")).json["SecurityToken"]
    others = server.request("/", headers=bearer("bob")).json["SecurityToken"]

    (tmp_path / "denied.txt").write_text("mallory\nalice\n")
    server.look()
    refused = server.request("/", headers=bearer("alice"))
    assert (refused.status, refused.json["ErrorCode"]) == (403, "UserNotAllowed")
    assert "user 'alice' is shut out by DeniedUsersFile" in caplog.messages[-1]
    assert server.request("/", "HEAD", bearer("alice")).status == 403
    assert server.request("/", headers=bearer("bob")).json["SecurityToken"] == others

    (tmp_path / "denied.txt").write_text("mallory")
    server.look()
    again = server.request("/", headers=bearer("alice")).json["SecurityToken"]
    assert again != first
    assert len(sts.requests) == 3


@pytest.mark.parametrize(
    ("line", "iat", "expected"),
    [
        pytest.param("alice 2000", 1999, 403, id="before"),
        pytest.param("alice 2000", 1999.9, 403, id="just before"),
        pytest.param("alice 2000", 2000, 200, id="at that time"),
        pytest.param("alice 2000", 2001, 200, id="later"),
        pytest.param("alice 2000", ..., 403, id="no iat"),
        pytest.param("alice\t1970-01-01T08:33:20+08:00", 1999, 403, id="ISO 8601"),
        pytest.param("alice 1970-01-01T00:33:20Z", 2000, 200, id="ISO 8601, later"),
        pytest.param("alice 0", 0, 200, id="since ever"),
        pytest.param("alice 0", ..., 403, id="since ever, no iat"),
        pytest.param("alice", 2000, 403, id="no time"),
        pytest.param("alice\nalice 1", 2000, 403, id="with a time and without"),
        pytest.param("alice 1000\nalice 3000", 2000, 403, id="the later of two"),
        pytest.param("Alice", 2000, 200, id="another case"),
        pytest.param("alice2\nalic", 2000, 200, id="other users"),
    ],
)
def test_logins_before_a_time_are_refused(
    make_users: MakeUsers, line: str, iat: Any, expected: int
) -> None:
    server = make_users(f"\ufeff{line}\r\n\r\n")

    assert status(server, "alice", iat=iat, nbf=...) == expected


def test_a_new_login_has_a_new_token(
    make_users: MakeUsers, sts: StsStandIn, tmp_path: Path
) -> None:
    server = make_users("")
    login = logged_in("alice", iat=2000, nbf=...)
    first = server.request("/", headers=login).json["SecurityToken"]

    (tmp_path / "denied.txt").write_text("alice 2000")
    server.look()

    assert server.request("/", headers=login).json["SecurityToken"] != first
    assert len(sts.requests) == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"al/ice", "line 1: user 'al/ice' has U+002F in it", id="user"),
        pytest.param(
            b"bob\nalice yesterday", "line 2: has 'yesterday' after the", id="time"
        ),
        pytest.param(b"alice 2026-01-31", "line 1: has '2026-01-31' after", id="day"),
        pytest.param(
            b"alice 2026-01-31T09:00:00", "has '2026-01-31T09:00:00'", id="no offset"
        ),
        pytest.param(b"alice 2026-02-30T09:00:00Z", "it must be one time", id="no day"),
        pytest.param(b"alice 1 2", "has '1 2' after the user", id="two times"),
        pytest.param(b"alice -1", "has '-1' after the user", id="negative"),
        pytest.param("alice \uff11".encode(), "it must be one time", id="other digits"),
        pytest.param(b"\xff", "is not UTF-8 text", id="not text"),
        pytest.param(b"a/\n" * 12, "denied.txt: 2 more lines", id="many"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(content: bytes, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_denied("denied.txt", content)

    assert problem in str(caught.value)
    assert len(caught.value.problems) <= 11


def test_users_of_all_kinds_can_be_shut_out() -> None:
    content = "auth0|5f7c\n张三@example.com 7\n#1\n"

    assert parse_denied("denied.txt", content.encode()) == {
        "auth0|5f7c": math.inf,
        "张三@example.com": 7,
        "#1": math.inf,
    }


@pytest.mark.parametrize("content", [None, "a/b"], ids=["gone", "wrong"])
def test_a_list_that_becomes_wrong_leaves_the_last_one_in_force(
    make_users: MakeUsers,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: str | None,
) -> None:
    caplog.set_level(logging.INFO, "tokenserver")
    server = make_users("alice")
    if content is None:
        (tmp_path / "denied.txt").unlink()
    else:
        (tmp_path / "denied.txt").write_text(content)

    server.look()

    assert status(server, "alice") == 403
    assert status(server, "bob") == 200
    assert "denied.txt: " in caplog.text
    assert "the previous configuration remains in force" in caplog.messages


def test_a_missing_list_ends_the_start_with_2(tmp_path: Path) -> None:
    config = write_config(
        tmp_path,
        Authentication=authentication(tmp_path),
        DeniedUsersFile="denied.txt",
    )

    result = call("0", "--config", config)

    assert result.returncode == 2
    assert f"{tmp_path}/denied.txt: cannot be read: No such file" in result.stderr


def test_a_list_without_logins_is_refused(tmp_path: Path) -> None:
    (tmp_path / "denied.txt").write_text("alice")

    with pytest.raises(ConfigError, match="DeniedUsersFile is set, but"):
        load_config(write_config(tmp_path, DeniedUsersFile="denied.txt"), read_file)


# --- What was already given -----------------------------------------------------


def check(tmp_path: Path, *arguments: str) -> str:
    return call("--check", *arguments, "--config", tmp_path / "config.json").stdout


def test_check_says_how_to_end_what_a_user_was_given(
    make_users: MakeUsers, sts: StsStandIn, tmp_path: Path
) -> None:
    server = make_users("")
    keys = {}
    for user in ("alice", "al"):
        token = server.request("/", headers=bearer(user)).json
        keys[user] = KeyPair(
            token["AccessKeyId"], token["AccessKeySecret"], token["SecurityToken"]
        )
    with OssStandIn(sts) as oss:
        oss.create_bucket(BUCKET)
        admin = OssClient(oss, user_key(sts))

        def works(user: str, name: str) -> bool:
            place = Place(BUCKET, f"users/{user}/a.jpg")
            return may(name, place, OssClient(oss, keys[user]), admin, place)

        names = ("PutObject", "GetObject", "ListObjectsV2")
        assert all(works(user, name) for user in keys for name in names)

        output = check(tmp_path, "--user", "alice")
        denial = output[output.index("{", output.index("To shut out alice")) :]
        sts.add_role(ROLE_ARN, policies=(ALLOW_ALL, denial))

        assert not any(works("alice", name) for name in names)
        assert all(works("al", name) for name in names)


def test_check_says_it_only_of_a_user_who_is_named(
    make_users: MakeUsers, tmp_path: Path
) -> None:
    make_users("")

    assert "To shut out" not in check(tmp_path)
    assert "To shut out bob" in check(tmp_path, "--user", "bob")


def test_check_says_when_nothing_is_the_users_alone(
    make_server: MakeServer, tmp_path: Path
) -> None:
    make_server(Authentication=authentication(tmp_path))

    output = check(tmp_path, "--user", "alice")

    assert "not this user's alone" in output
    assert "Deny" not in output
