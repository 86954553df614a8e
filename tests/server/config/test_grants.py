"""Grants: several paths, each of which hands out something of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.configuration import BUCKET, OBJECTS, load, policy, problems
from helpers.settings import settings as working_settings

from tokenserver.config.load import load_config
from tokenserver.errors import ConfigError

# --- Grants ---------------------------------------------------------------------

NO_PATH = (
    "c: Grants: {} cannot be the path of a grant; use one such as /avatars or "
    "/albums/read that does not begin with /credentials, /upload-config, /healthz, "
    "/readyz, /favicon.ico"
)
WRITE = policy(OBJECTS + "$OBJECT_PREFIX*", "oss:PutObject")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "avatars",
        "*",
        "//",
        "//avatars",
        "/a//b",
        "/a/",
        "/.",
        "/..",
        "/a/../b",
        "/./a",
        "/a/..",
        "/a?b",
        "/a#b",
        "/%61",
        "/a%2Fb",
        "/a b",
        "/a\\b",
        "/a;b",
        "/credentials",
        "/credentials/a",
        "/credentials2",
        "/healthz",
        "/readyz/a",
        "/favicon.ico",
        "http://h/a",
    ],
)
def test_what_is_no_path_is_no_grant(path: str) -> None:
    bad, good = {path: dict[str, Any]()}, {"/good": dict[str, Any]()}

    assert problems(WRITE, Grants=bad | good) == [NO_PATH.format(path)]


@pytest.mark.parametrize(("path", "shown"), [("/é", "/\\xe9"), ("/a\n", "/a\\n")])
def test_a_path_is_shown_on_one_line(path: str, shown: str) -> None:
    assert problems(WRITE, Grants={path: {}}) == [NO_PATH.format(shown)]


@pytest.mark.parametrize("path", ["/", "/a", "/a/b", "/.well-known", "/a..b", "/~x/_"])
def test_a_path_is_a_grant(path: str) -> None:
    assert list(load(WRITE, Grants={path: {}}).grants) == [path]


NO_OBJECTS: list[Any] = [None, 5, "p", [], True]


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        pytest.param(
            {}, "c: Grants is empty; leave it out to serve any path", id="empty"
        ),
        pytest.param(
            {f"/{n}": {} for n in range(101)},
            "c: Grants has 101 paths; it may have 100 at most",
            id="too many",
        ),
        *(
            pytest.param(
                {"/a": value},
                "c: Grants: /a must be an object, {...}",
                id=f"a grant that is {json.dumps(value)}",
            )
            for value in NO_OBJECTS
        ),
        *(
            pytest.param(
                {"/a": {key: "x"}}, f"c: Grants: /a: {key} is not a setting", id=key
            )
            for key in ("RoleArn", "RoleSessionName", "AccessKeySecret", "Grants")
        ),
        *(
            pytest.param(
                {"/a": {key: {}}}, f"c: Grants: /a: {key} is not a setting", id=key
            )
            for key in ("Authentication", "AllowedOrigins")
        ),
        *(
            pytest.param(
                {"/a": {wrong: "x/"}},
                f"c: Grants: /a: {wrong} is not a setting; did you mean {right}?",
                id=wrong,
            )
            for wrong, right in (
                ("ObjectPrefx", "ObjectPrefix"),
                ("objectprefix", "ObjectPrefix"),
                ("BucketNames", "BucketName"),
                ("Policy_File", "PolicyFile"),
            )
        ),
        pytest.param(
            {"/a": {"TokenExpireTime": 60}},
            "c: Grants: /a: TokenExpireTime is 60; it must be a whole number of "
            "seconds from 900 to 43200",
            id="a bound",
        ),
        pytest.param(
            {"/a": {"PolicyFile": ""}, "/b": {"ObjectPrefix": "/x"}},
            "c: Grants: /b: ObjectPrefix is '/x'; it must be the beginning of an "
            "object name: no / or \\ first, no control characters, no * or ?, which a "
            "policy takes for wildcards",
            id="the one of two",
        ),
    ],
)
def test_a_wrong_grant_is_named(grants: Any, expected: str) -> None:
    assert problems(WRITE, Grants=grants) == [expected]


def test_grants_are_an_object() -> None:
    for value in NO_OBJECTS[1:]:
        assert "c: Grants must be an object, {...}" in problems(WRITE, Grants=value)


@pytest.mark.parametrize(
    ("key", "common", "own"),
    [
        ("PolicyFile", "p", "q"),
        ("BucketName", BUCKET, "bucket-b"),
        ("ObjectPrefix", "users/$USER_ID/", "avatars/$USER_ID/"),
        ("TokenExpireTime", 1200, "2400"),
    ],
)
def test_a_grant_has_the_common_value_unless_it_has_its_own(
    key: str, common: Any, own: Any
) -> None:
    files = {"p": WRITE, "q": policy(OBJECTS + "$OBJECT_PREFIX*")}
    grants = {"/common": {}, "/own": {key: own}}
    values = {"PolicyFile": "p", key: common}

    found = load(files, Grants=grants, **values).grants
    plain = load(files, **values).grants["/"]
    changed = load(files, **(values | {key: own})).grants["/"]
    only = load(files, Grants={"/own": {key: own}}, **(values | {key: None})).grants

    assert found["/common"].template == plain.template
    assert found["/own"].template == changed.template == only["/own"].template
    assert found["/own"].template != plain.template


def test_a_grant_without_a_policy_anywhere_is_refused() -> None:
    assert problems(Grants={"/a": {}}, PolicyFile=None) == [
        "c: Grants: /a: PolicyFile is missing; it must name a session policy template, "
        "such as policy/bucket_write_policy.txt"
    ]


def test_the_reuse_time_fits_the_expire_time_of_each_grant() -> None:
    short = {"/long": {}, "/short": {"TokenExpireTime": 900}}
    own = {"/long": {}, "/short": {"TokenExpireTime": 900, "TokenReuseTime": 600}}
    times: dict[str, Any] = {"TokenExpireTime": 3600, "TokenReuseTime": 1000}

    assert problems(WRITE, Grants=short, **times) == [
        "c: TokenReuseTime is 1000; it must be a whole number of seconds from 0 to 600"
    ]
    grants = load(WRITE, Grants=own, **times).grants
    assert {p: g.token_reuse_seconds for p, g in grants.items()} == {
        "/long": 1000,
        "/short": 600,
    }
    grants = load(WRITE, Grants=short, **(times | {"TokenReuseTime": None})).grants
    assert {p: g.token_reuse_seconds for p, g in grants.items()} == {
        "/long": 1200,
        "/short": 300,
    }


@pytest.mark.parametrize(
    "key", ["Authentification", "authentication", "Authentication ", "Auth", "Login"]
)
def test_a_misspelt_authentication_is_no_open_server(key: str) -> None:
    section = {"Issuer": "https://login.example.com/", "Audience": "app"}

    (problem,) = problems(WRITE, logs_in=False, ObjectPrefix="x/", **{key: section})

    assert problem.startswith(f"c: {key} is not a setting")


@pytest.mark.parametrize("value", [None, {}, [], "on", True, False, 0])
def test_an_authentication_that_says_nothing_is_no_open_server(value: Any) -> None:
    content = json.loads(json.dumps(working_settings(PolicyFile="p")))
    content["Authentication"] = value
    files = {Path("c"): json.dumps(content).encode(), Path("p"): WRITE}

    with pytest.raises(ConfigError, match="Authentication"):
        load_config(Path("c"), files.__getitem__)
