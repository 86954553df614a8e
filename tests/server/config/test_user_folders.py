"""Templates and prefixes with $USER_ID: refused, warned about, or filled in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.configuration import (
    BUCKET,
    LIST,
    OBJECTS,
    TEMPLATES,
    UPLOAD_PAGE,
    Token,
    lists,
    load,
    policy,
    problems,
)

from localcloud import ram
from tokenserver.login.users import MAX_USER_BYTES

# --- Templates and prefixes that are refused ------------------------------------

NO_FOLDER = (
    "p: {!r} is not the folder of one user; $USER_ID must be a complete folder name, "
    "as in users/$USER_ID/, without * or ? before it"
)
NO_SUCH = "p: ${} is not one of $USER_ID, $BUCKET_NAME, $OBJECT_PREFIX"


@pytest.mark.parametrize(
    "path",
    [
        "users/$USER_ID*",
        "users/$USER_ID",
        "users/$USER_ID?",
        "users/*$USER_ID/",
        "users/?$USER_ID/*",
        "*/$USER_ID/*",
        "users?/$USER_ID/*",
        "u-$USER_ID/*",
        "users/$USER_ID-u/*",
        "users/$$USER_ID/*",
        "users/$USER_ID$USER_ID/*",
        "users/$USER_ID%2F*",
    ],
)
def test_a_user_has_a_folder_of_their_own_or_none(path: str) -> None:
    resource = f"acs:oss:*:*:{BUCKET}/{path}"

    assert problems(policy(OBJECTS + path)) == [NO_FOLDER.format(resource)]
    assert problems(policy([OBJECTS + "x", OBJECTS + path])) == [
        NO_FOLDER.format(resource)
    ]
    assert problems(policy(OBJECTS + path, Effect="Deny")) == [
        NO_FOLDER.format(resource)
    ]
    assert problems(lists(path)) == [NO_FOLDER.format(path)]


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param("acs:oss:*:*:$USER_ID/*", id="the bucket"),
        pytest.param("acs:oss:*:*:$USER_ID", id="the whole of it"),
        pytest.param("$USER_ID/*", id="a user who writes a resource"),
        pytest.param("users/$USER_ID/*", id="no resource"),
        pytest.param("acs:oss:*:users/$USER_ID/*", id="four parts"),
        pytest.param("acs:oss:$USER_ID:*:my-bucket/users/$USER_ID/*", id="the region"),
        pytest.param("acs:oss:*:$USER_ID:my-bucket/users/$USER_ID/*", id="an account"),
    ],
)
def test_a_user_cannot_be_a_part_of_a_resource_but_a_folder(resource: str) -> None:
    """Else one who is called acs:oss:x:y:my-bucket would get all that is in it."""
    assert problems(policy(resource)) == [NO_FOLDER.format(resource)]


def test_what_is_wrong_for_all_users_is_said_of_the_template() -> None:
    resource = "acs:oss:*:*:My_Bucket/$USER_ID/*"
    condition = {"NumericEquals": {"acs:x": "$USER_ID/"}}

    (bucket,) = problems(policy(resource))
    (number,) = problems(policy(OBJECTS + "x", Condition=condition))

    assert bucket.startswith(f"p: {resource!r} cannot be a bucket or object; ")
    assert number == (
        "p: Statement 1: NumericEquals: acs:x is '$USER_ID/'; it must be a decimal "
        "number"
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param(
            policy(OBJECTS + "users/$USER_IDX/*"), NO_SUCH.format("USER_IDX"), id="X"
        ),
        pytest.param(policy(OBJECTS + "$USERID/*"), NO_SUCH.format("USERID"), id="_"),
        pytest.param(
            policy(OBJECTS + "$user_id/*"), NO_SUCH.format("user_id"), id="lower case"
        ),
        pytest.param(
            policy(OBJECTS + "users/${USER_ID}/*"),
            f"p: 'acs:oss:*:*:{BUCKET}/users/${{USER_ID}}/*' has ${{; placeholders "
            "have no braces, as in users/$USER_ID/",
            id="braces",
        ),
        pytest.param(
            policy(OBJECTS + "users/$USER_ID/*", "oss:$USER_ID"),
            NO_FOLDER.format("oss:$USER_ID"),
            id="an action",
        ),
    ],
)
def test_a_misspelt_user_id_is_no_part_of_a_template(
    template: bytes, expected: str
) -> None:
    assert problems(template) == [expected]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (
            "users/$USER_ID",
            NO_FOLDER.format("acs:oss:*:*:my-bucket/users/$USER_ID*"),
        ),
        ("u-$USER_ID/", NO_FOLDER.format("acs:oss:*:*:my-bucket/u-$USER_ID/*")),
        (
            "users/$USER_IDX/",
            "c: ObjectPrefix has $USER_IDX; only $USER_ID may be in it",
        ),
        ("$USERID/", "c: ObjectPrefix has $USERID; only $USER_ID may be in it"),
        (
            "$BUCKET_NAME/$USER_ID/",
            "c: ObjectPrefix has $BUCKET_NAME; only $USER_ID may be in it",
        ),
        (
            "users/${USER_ID}/",
            "c: ObjectPrefix has ${; placeholders have no braces, as in "
            "users/$USER_ID/",
        ),
    ],
)
@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_prefix_that_is_of_no_user_is_refused(
    template: Path, prefix: str, expected: str
) -> None:
    (first, *others) = problems(template.read_bytes(), ObjectPrefix=prefix)

    assert first == expected
    assert (
        others
        == ([NO_FOLDER.format(f"{prefix}*")] if "one user" in expected else [])[
            : template == UPLOAD_PAGE
        ]
    )


def test_a_bucket_has_a_name_of_its_own() -> None:
    (problem,) = problems(policy(OBJECTS + "users/$USER_ID/*"), BucketName="$USER_ID")

    assert problem.startswith("c: BucketName is '$USER_ID'; it must be 3 to 63 ")


def test_nobody_is_a_user_without_authentication() -> None:
    why = "but there is no Authentication, so users are not known"

    prefix = problems(TEMPLATES[0].read_bytes(), logs_in=False)
    template = problems(
        policy(OBJECTS + "$USER_ID/*"), logs_in=False, ObjectPrefix="photos/"
    )

    assert prefix == [f"c: ObjectPrefix has $USER_ID, {why}"]
    assert template == [f"p: uses $USER_ID, {why}"]


SHARED = (
    "c: there is Authentication, but no $USER_ID in ObjectPrefix or {}, so all users "
    "have the same permissions"
)
OPEN = (
    "c: there is Authentication, but p allows each user {}; there all users have the "
    "same permissions, unless a Deny takes them away"
)


def statements(*templates: bytes) -> bytes:
    """Return a template with the statements of several."""
    found = [s for one in templates for s in json.loads(one)["Statement"]]
    return json.dumps({"Version": "1", "Statement": found}).encode()


def warnings(template: bytes, **changes: Any) -> list[str]:
    """Return what the log says of a template for users, with no ObjectPrefix."""
    return list(load(template, ObjectPrefix=None, **changes).warnings)


OWN = policy(OBJECTS + "users/$USER_ID/*")


def test_users_who_share_everything_are_a_warning() -> None:
    assert warnings(policy(OBJECTS + "photos/*")) == [SHARED.format("p")]
    unbound = load(PolicyFile="", BucketName=None, ObjectPrefix=None)

    assert unbound.warnings == (
        "c: PolicyFile is empty; a token may do everything that the role may do",
        SHARED.format("a policy"),
    )
    names = {
        unbound.grants["/"].call_for(user).role_session_name for user in ("al", "bo")
    }
    assert names == {"al", "bo"}


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(
            statements(
                policy(OBJECTS + "photos/*"),
                policy(OBJECTS + "photos/$USER_ID/x", Effect="Deny"),
            ),
            id="a Deny",
        ),
        pytest.param(
            policy(
                OBJECTS + "photos/*",
                Condition={"StringLike": {"acs:UserAgent": "app/$USER_ID/*"}},
            ),
            id="a condition of another key",
        ),
        pytest.param(
            statements(
                policy(OBJECTS + "photos/*"),
                policy("acs:kms:*:*:key/$USER_ID/x", "kms:Decrypt"),
            ),
            id="another service",
        ),
        pytest.param(
            policy(
                ["acs:oss:*:*:$BUCKET_NAME", OBJECTS + "photos/*"],
                Condition={"StringLike": {"oss:Prefix": "u/$USER_ID/*"}},
            ),
            id="the prefix of lists that are not allowed",
        ),
    ],
)
def test_a_user_id_that_limits_nothing_is_no_folder_of_a_user(template: bytes) -> None:
    assert warnings(template) == [SHARED.format("p")]


@pytest.mark.parametrize(
    ("template", "place"),
    [
        (policy(OBJECTS + "*"), "'my-bucket/*'"),
        (policy(OBJECTS + "users/*"), "'my-bucket/users/*'"),
        (policy(OBJECTS + "*.jpg"), "'my-bucket/*.jpg'"),
        (policy(OBJECTS + "users/*/in/*"), "'my-bucket/users/*/in/*'"),
        (policy("acs:oss:*:*:other-bucket/*"), "'other-bucket/*'"),
        (policy("acs:oss:*:*:$BUCKET_NAME", LIST), "a list of 'my-bucket/*'"),
        (
            policy("acs:oss:*:*:$BUCKET_NAME", "oss:*Versions"),
            "a list of 'my-bucket/*'",
        ),
        (lists("users/*"), "a list of 'my-bucket/users/*'"),
        (lists("use", "StringEquals"), "a list of 'my-bucket/use'"),
        (lists(["users/$USER_ID/*", ""]), "a list of 'my-bucket/'"),
    ],
)
def test_a_statement_that_opens_the_folders_of_users_is_a_warning(
    template: bytes, place: str
) -> None:
    for both in (statements(OWN, template), statements(template, OWN)):
        assert warnings(both) == [OPEN.format(place)]


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(policy(OBJECTS + "shared/*"), id="beside the folders"),
        pytest.param(lists("shared/*"), id="a list beside the folders"),
        pytest.param(lists("users/$USER_ID/*"), id="a list of one's own"),
        pytest.param(
            policy("acs:oss:*:*:$BUCKET_NAME", "oss:GetBucketInfo"), id="no list"
        ),
        pytest.param(policy("*", "kms:Decrypt"), id="another service"),
        pytest.param(policy(OBJECTS + "*", Effect="Deny"), id="a Deny"),
    ],
)
def test_what_leaves_the_folders_of_users_to_them_is_no_warning(
    template: bytes,
) -> None:
    assert [w for w in warnings(statements(OWN, template)) if "Auth" in w] == []


def test_each_grant_that_opens_the_folders_of_users_is_a_warning() -> None:
    files = {
        "own": OWN,
        "p": statements(
            policy(OBJECTS + "mine/$USER_ID/*"), policy(OBJECTS + "users/*")
        ),
        "all": policy(OBJECTS + "*"),
    }
    grants = {f"/{name}": {"PolicyFile": name} for name in files}

    config = load(files, PolicyFile=None, ObjectPrefix=None, Grants=grants)

    assert list(config.warnings) == [
        OPEN.format("'my-bucket/users/*'").replace("c:", "c: Grants: /p:"),
        SHARED.format("all").replace("c:", "c: Grants: /all:"),
    ]


@pytest.mark.parametrize(
    "operator",
    [
        name
        for name in ram.OPERATORS
        if name not in ("StringLike", "StringEquals")
        and not name.startswith(("Numeric", "Date", "Bool", "Ip"))
        and name != "NotIpAddress"
    ],
)
@pytest.mark.parametrize("prefix", ["users/$USER_ID/*", "private/*"])
def test_a_list_of_all_but_some_is_refused_where_users_log_in(
    operator: str, prefix: str
) -> None:
    allow, deny = (
        json.loads(policy("acs:oss:*:*:$BUCKET_NAME", LIST, Effect=effect))
        for effect in ("Allow", "Deny")
    )
    for document in (allow, deny):
        (one,) = document["Statement"]
        one["Condition"] = {
            "StringLike": {"oss:Delimiter": "/"},
            operator: {"oss:Prefix": prefix},
        }

    assert problems(statements(OWN, json.dumps(allow).encode())) == [
        f"p: Statement 2: {operator} of oss:Prefix allows users to list the folders of "
        "others; use StringLike or StringEquals to allow lists, and Effect Deny to "
        "forbid some"
    ]
    assert problems(statements(OWN, json.dumps(deny).encode())) == []
    if "$" not in prefix:
        allowed = json.dumps(allow).encode()
        assert problems(allowed, logs_in=False, ObjectPrefix=None) == []


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(policy(OBJECTS + "users/$USER_ID/*"), id="a resource"),
        pytest.param(policy(OBJECTS + "$USER_ID/*"), id="at the top of a bucket"),
        pytest.param(policy(OBJECTS + "users/$USER_ID/me.jpg"), id="an object"),
        pytest.param(policy(OBJECTS + "users/$USER_ID/$USER_ID/*"), id="twice"),
        pytest.param(policy(OBJECTS + "users/$USER_ID/$USER_ID*"), id="twice, *"),
        pytest.param(lists("users/$USER_ID/*"), id="a condition"),
        pytest.param(lists(["$USER_ID/", "$USER_ID/x*"], "StringEquals"), id="a list"),
        pytest.param(
            policy(OBJECTS + "users/$USER_ID/private/*", Effect="Deny"), id="Deny"
        ),
    ],
)
def test_a_template_with_whole_folders_is_accepted(template: bytes) -> None:
    call = load(template).grants["/"].call_for("张三").complete()

    assert json.loads(call.policy or "") == json.loads(
        template.decode().replace("$BUCKET_NAME", BUCKET).replace("$USER_ID", "张三")
    )


def test_a_deny_limits_only_the_user_it_is_filled_in_for() -> None:
    statements = [
        json.loads(policy(OBJECTS + path, Effect=effect))["Statement"][0]
        for path, effect in [("u/$USER_ID/*", "Allow"), ("u/$USER_ID/p/*", "Deny")]
    ]
    config = load(json.dumps({"Version": "1", "Statement": statements}).encode())
    token = Token(config, "alice")

    assert token.may("oss:GetObject", BUCKET, "u/alice/x")
    assert not token.may("oss:GetObject", BUCKET, "u/alice/p/x")
    assert not token.may("oss:GetObject", BUCKET, "u/bob/x")


def test_a_policy_must_fit_for_the_longest_user() -> None:
    padding = (
        2048
        - MAX_USER_BYTES
        - len(Token(load(policy(OBJECTS + "$USER_ID/", "")), "a").text[1:])
    )

    fits = load(policy(OBJECTS + "$USER_ID/", "x" * padding))
    (problem,) = problems(policy(OBJECTS + "$USER_ID/", "x" * (padding + 1)))

    for user in ("a" * MAX_USER_BYTES, "张" * 42 + "aa"):
        assert len(Token(fits, user).text.encode()) == 2048
    assert len(Token(fits, "a").text) < 2048 - 100
    assert problem == (
        "p: has up to 2049 bytes with its values filled in; a session policy has at "
        "most 2048"
    )
