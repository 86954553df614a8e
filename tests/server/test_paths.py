"""What each path hands out, to whom."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.configuration import BUCKET
from helpers.login.service import authentication, bearer
from helpers.server import MakeServer, RunningServer
from helpers.settings import POLICY_DIRECTORY

from localcloud.sts import StsStandIn


@pytest.fixture
def server(make_server: MakeServer, tmp_path: Path) -> RunningServer:
    """A token server for users, with two grants."""
    return make_server(
        Authentication=authentication(tmp_path),
        ObjectPrefix="users/$USER_ID/",
        TokenReuseTime=None,
        Grants={
            "/avatars": {
                "ObjectPrefix": "avatars/$USER_ID/",
                "CredentialsUri": True,
            },
            "/albums/read": {
                "PolicyFile": str(POLICY_DIRECTORY / "bucket_read_policy.txt"),
                "TokenExpireTime": 1800,
            },
        },
    )


def resources_of(sts: StsStandIn, document: Any) -> Any:
    """Return what the token in *document* is for, as STS was told."""
    token = sts.issued(document["SecurityToken"])
    assert token
    assert token.policy
    (statement,) = json.loads(token.policy)["Statement"]
    return statement["Resource"], statement["Action"][0], token.role_session_name


def test_each_grant_has_a_token_of_its_own_for_each_user(
    server: RunningServer, sts: StsStandIn
) -> None:
    found = {
        (user, path): resources_of(sts, server.request(path, headers=bearer(user)).json)
        for user in ("alice", "bob")
        for path in ("/avatars", "/albums/read")
        for _ in range(3)
    }

    start = f"acs:oss:*:*:{BUCKET}"
    assert found == {
        ("alice", "/avatars"): ([f"{start}/avatars/alice/*"], "oss:PutObject", "alice"),
        ("alice", "/albums/read"): (
            [f"{start}/users/alice/*"],
            "oss:GetObject",
            "alice",
        ),
        ("bob", "/avatars"): ([f"{start}/avatars/bob/*"], "oss:PutObject", "bob"),
        ("bob", "/albums/read"): ([f"{start}/users/bob/*"], "oss:GetObject", "bob"),
    }
    assert sts.received == 4
    durations = [request.params["DurationSeconds"] for request in sts.requests]
    assert durations == ["900", "1800"] * 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/avatar",
        "/avatars/",
        "/avatars/x",
        "/Avatars",
        "//avatars",
        "/albums",
        "/albums/read/",
        "/albums/./read",
        "/x/../avatars",
        "/avatars%00",
        "/avatars%20",
        "/avatars;x",
        "/%61vatars",
        "/albums%2Fread",
        "/albums/%72ead",
        "/credentials",
        "/credentials/",
        "/credentials/albums/read",
        "/credentials/%61vatars",
        "/%63redentials/avatars",
        "/credentials%2Favatars",
        "/credentials/avatar",
        "/credentials//avatars",
        "/credentials/avatars/",
        "/credentials/credentials/avatars",
        "/credentialsavatars",
    ],
)
def test_other_paths_hand_out_nothing(
    server: RunningServer, sts: StsStandIn, path: str, method: str
) -> None:
    reply = server.request(path, method, bearer("alice"))

    assert reply.status == 404
    if method != "HEAD":
        assert reply.json["ErrorCode"] == "NotFound"
    assert server.request(path, "OPTIONS").status == 204
    assert sts.received == 0


@pytest.mark.parametrize(
    ("path", "is_uri"),
    [("/avatars", False), ("/credentials/avatars", True), ("/albums/read", False)],
)
def test_a_grant_is_a_credentials_uri_only_if_it_asks_for_it(
    server: RunningServer, sts: StsStandIn, path: str, is_uri: bool
) -> None:
    reply = server.request(path, headers=bearer("alice"))

    assert reply.status == 200
    assert resources_of(sts, reply.json)[2] == "alice"
    assert ("Code" in reply.json) == is_uri
    assert server.request(path, "HEAD", bearer("alice")).status == 200
    assert server.request(path).status == 401


def test_the_grant_at_the_root_has_the_plain_credentials_uri(
    make_server: MakeServer, sts: StsStandIn
) -> None:
    server = make_server(
        CredentialsUri=True, Grants={"/": {}, "/a": {"ObjectPrefix": "a/"}}
    )

    found = {
        path: resources_of(sts, server.request(path).json)[0][0].partition("/")[2]
        for path in ("/", "/credentials", "/credentials/", "/a", "/credentials/a")
    }

    assert found == {
        "/": "photos/*",
        "/credentials": "photos/*",
        "/credentials/": "photos/*",
        "/a": "a/*",
        "/credentials/a": "a/*",
    }
    assert server.request("/b").status == 404


def test_without_grants_any_path_hands_out_the_same(
    make_server: MakeServer, sts: StsStandIn
) -> None:
    server = make_server()

    for path in ("/", "/sts/getsts", "/a//b", "/credentials/a", "/credentials2"):
        document = server.request(path).json
        assert document["StatusCode"] == 200
        assert resources_of(sts, document)[2] == "client_name"
    assert server.request("/credentials").json["Code"] == "Success"


def test_an_edit_adds_and_removes_a_grant(
    make_server: MakeServer, tmp_path: Path
) -> None:
    running = make_server(Grants={"/a": {}})

    def paths() -> list[int]:
        running.look()
        return [running.request(path).status for path in ("/", "/a", "/b")]

    config = tmp_path / "config.json"
    content = json.loads(config.read_text("utf-8"))
    seen = [paths()]
    edits: list[Any] = [{"/a": {}, "/b": {}}, {"/b": {}}, {"/b": 5}, None]
    for grants in edits:
        edited = content | {"Grants": grants}
        if grants is None:
            del edited["Grants"]
        config.write_text(json.dumps(edited), "utf-8")
        seen.append(paths())

    assert seen == [
        [404, 200, 404],
        [404, 200, 200],
        [404, 404, 200],
        [404, 404, 200],  # the wrong edit changes nothing
        [200, 200, 200],
    ]


def test_two_users_at_once_do_not_share_a_call(
    server: RunningServer, sts: StsStandIn
) -> None:
    users = [f"user-{n}" for n in range(4)] * 4
    with ThreadPoolExecutor(len(users)) as pool, sts.held():
        asked = [
            pool.submit(server.request, "/avatars", headers=bearer(user))
            for user in users
        ]
        sts.wait_for_requests(4)
        time.sleep(0.1)  # lets the others arrive; without it the test is only weaker

    for user, reply in zip(users, asked, strict=True):
        assert resources_of(sts, reply.result().json) == (
            [f"acs:oss:*:*:{BUCKET}/avatars/{user}/*"],
            "oss:PutObject",
            user,
        )
    assert sts.received == 4
