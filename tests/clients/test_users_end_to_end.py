"""Two users and their objects: login, token, OSS, with the SDKs as they are."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.login.service import authentication, bearer, login_token
from helpers.oss.apps import AliOss, App, Oss2, OssV2, Refused, needs_node
from helpers.oss.attempts import Place, expected_grants, may
from helpers.oss.client import OssClient
from helpers.oss.cloud import user_key
from helpers.oss.signing import BUCKET, KeyPair
from helpers.server import MakeServer, RunningServer
from helpers.settings import POLICY_DIRECTORY

from localcloud.clock import Clock
from localcloud.oss import OssStandIn
from localcloud.sts import StsStandIn
from tokenserver.login.users import role_session_name

pytestmark = pytest.mark.slow

TEMPLATE = POLICY_DIRECTORY.parent / "localcloud" / "page" / "upload_page_policy.txt"
LOAD_SECONDS = float(os.environ.get("STS_SERVER_LOAD_SECONDS", "1"))
PAIRS = [
    pytest.param(("al", "alice"), id="one begins like the other"),
    pytest.param(("auth0|5f7c1234abcd", "张三@example.com"), id="usual forms"),
]


@pytest.fixture
def oss(sts: StsStandIn) -> Iterator[OssStandIn]:
    with OssStandIn(sts) as stand_in:
        stand_in.create_bucket(BUCKET)
        yield stand_in


@pytest.fixture
def server(make_server: MakeServer, tmp_path: Path) -> RunningServer:
    """A server whose users read, write, list and abort below a folder of their own."""
    return make_server(
        Authentication=authentication(tmp_path),
        PolicyFile=str(TEMPLATE),
        ObjectPrefix="users/$USER_ID/",
        TokenReuseTime=None,
    )


def key_of(server: RunningServer, user: str) -> KeyPair:
    token = server.request("/", headers=bearer(user)).json
    return KeyPair(
        token["AccessKeyId"], token["AccessKeySecret"], token["SecurityToken"]
    )


def folder(user: str) -> list[Place]:
    """Return places in the folder of *user*."""
    names = ("a.jpg", "2026/猫 1.jpg")
    return [Place(BUCKET, f"users/{user}/{name}") for name in names]


@pytest.mark.parametrize("users", PAIRS)
@pytest.mark.slow
def test_users_may_do_everything_below_their_prefix_and_nothing_of_the_others(
    users: tuple[str, str], server: RunningServer, sts: StsStandIn, oss: OssStandIn
) -> None:
    admin = OssClient(oss, user_key(sts))
    outside = [Place(BUCKET, "users/"), Place(BUCKET, "users")]
    for user, other in (users, users[::-1]):
        client = OssClient(oss, key_of(server, user))
        own, others = folder(user), folder(other) + outside
        for name, grant in expected_grants("upload_page").items():
            lists = name.startswith("List") and name != "ListParts"
            whole = [Place(BUCKET, "")] if lists else []
            allowed = [p for p in own if may(name, p, client, admin, own[0])]
            leaked = [p for p in others + whole if may(name, p, client, admin, own[0])]

            assert allowed == (own if grant == "inside" else []), (user, name)
            assert leaked == [], (user, name)


@pytest.fixture(
    params=[
        pytest.param("oss2", id="oss2"),
        pytest.param("oss-v2", id="alibabacloud-oss-v2"),
        pytest.param("ali-oss", id="ali-oss", marks=[needs_node, pytest.mark.process]),
    ]
)
def apps(
    request: pytest.FixtureRequest,
    server: RunningServer,
    oss: OssStandIn,
    clock: Clock,
    tmp_path: Path,
) -> Iterator[dict[str, App]]:
    """An app for each of two users, with the same SDK."""
    made: dict[str, App] = {}
    for user in ("alice", "bob"):
        url = f"{server.url}/?access_token={login_token(user)}"
        if request.param == "oss2":
            made[user] = Oss2(url, oss.url, clock, tmp_path, "v4")
        elif request.param == "oss-v2":
            made[user] = OssV2(url, oss.url, clock, tmp_path, "v4")
        else:
            made[user] = AliOss(url, oss.url, "v4")
    yield made
    for app in made.values():
        app.close()


def test_an_sdk_has_what_is_its_users_and_is_refused_the_rest(
    apps: dict[str, App], tmp_path: Path
) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(2_500_000))
    for user, app in apps.items():
        app.put(f"users/{user}/a.txt", user.encode())
        app.upload(f"users/{user}/big.bin", big)

    for user, app in apps.items():
        (other,) = apps.keys() - {user}
        assert app.get(f"users/{user}/a.txt") == user.encode()
        assert app.list(f"users/{user}/") == [
            f"users/{user}/a.txt",
            f"users/{user}/big.bin",
        ]
        with pytest.raises(Refused, match="AccessDenied"):
            app.get(f"users/{other}/a.txt")
        for prefix in (f"users/{other}/", "users/", f"users/{user}"):
            with pytest.raises(Exception, match="AccessDenied"):
                app.list(prefix)


def test_sts_is_told_whose_token_it_is(server: RunningServer, sts: StsStandIn) -> None:
    for user in ("alice@example.com", "auth0|5f7c", "张三", "x" * 100):
        issued = sts.issued(key_of(server, user).security_token)
        assert issued
        assert issued.role_session_name == role_session_name(user)


def test_64_users_in_64_threads_have_nothing_but_their_own(
    server: RunningServer, sts: StsStandIn
) -> None:
    """For STS_SERVER_LOAD_SECONDS, which may be a minute."""
    users = [f"user-{number}" for number in range(64)]
    headers = {user: bearer(user) for user in users}
    wrong: list[tuple[str, Any]] = []
    asked: Counter[str] = Counter()
    stop_at = time.monotonic() + LOAD_SECONDS

    def ask(first: int) -> None:
        turn = first
        while turn < first + 2 or time.monotonic() < stop_at:
            user = users[turn % len(users)]
            document = server.request("/", headers=headers[user]).json
            issued = sts.issued(document.get("SecurityToken", ""))
            if (
                not issued
                or issued.access_key_id != document["AccessKeyId"]
                or issued.access_key_secret != document["AccessKeySecret"]
                or issued.role_session_name != user
                or f"{BUCKET}/users/{user}/*" not in (issued.policy or "")
                or (issued.policy or "").count("users/") != 2
            ):
                wrong.append((user, document.get("ErrorCode", "another's token")))
            asked[f"{first} {user}"] += 1
            turn += 1

    threads = [threading.Thread(target=ask, args=[number]) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert sum(asked.values()) > 64
    assert sts.received <= len(users)
    print(f"{sum(asked.values())} requests, {sts.received} AssumeRole calls")
