"""Grants that sign forms and URLs: which settings go together, and their bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers.configuration import OBJECTS, load, policy, problems

from tokenserver.config.load import Config
from tokenserver.oss.terms import MAX_OBJECT_BYTES

WRITE = policy(OBJECTS + "$OBJECT_PREFIX*", "oss:PutObject")
READ = policy(OBJECTS + "$OBJECT_PREFIX*", "oss:GetObject")
FILES = {"p": WRITE, "r": READ}
FORM = {"Type": "PostForm"}
PUT = {"Type": "PresignedUrl"}
GET = {"Type": "PresignedUrl", "Method": "GET", "PolicyFile": "r"}
COMMON = {"PolicyFile": "p", "Region": "cn-hangzhou", "TokenReuseTime": None}


def wrong(grant: dict[str, Any], **changes: Any) -> list[str]:
    """Return what is wrong with a configuration that has one *grant*."""
    return problems(FILES, Grants={"/a": grant}, **(COMMON | changes))


def right(grants: dict[str, Any], **changes: Any) -> Config:
    return load(FILES, Grants=grants, **(COMMON | changes))


OF_A_FORM = (
    "neither a session policy nor a URL can limit a size, but a form can; set Type to "
    "PostForm"
)
OF_AN_UPLOAD = (
    "neither a session policy nor a URL for downloads can keep it, but a signed upload "
    "can; set Type to PostForm, or to PresignedUrl with Method PUT"
)


@pytest.mark.parametrize(
    ("grant", "problem"),
    [
        pytest.param({"MaxSize": 5}, f"MaxSize is set, but Type is Token; {OF_A_FORM}",
                     id="size of a token"),
        pytest.param({**PUT, "MaxSize": 5},
                     f"MaxSize is set, but Type is PresignedUrl; {OF_A_FORM}",
                     id="size of a URL"),
        pytest.param({**PUT, "MinSize": 5},
                     f"MinSize is set, but Type is PresignedUrl; {OF_A_FORM}",
                     id="least size of a URL"),
        pytest.param({**GET, "MaxSize": 5},
                     "MaxSize is set, but Type is PresignedUrl and Method GET; "
                     f"{OF_A_FORM}", id="size of a download"),
        *(
            pytest.param({name: value},
                         f"{name} is set, but Type is Token; {OF_AN_UPLOAD}",
                         id=f"{name} of a token")
            for name, value in (("ContentTypes", ["image/png"]), ("ObjectName", "a"),
                                ("ForbidOverwrite", True))
        ),
        *(
            pytest.param({**GET, name: value},
                         f"{name} is set, but Type is PresignedUrl and Method GET; "
                         f"{OF_AN_UPLOAD}", id=f"{name} of a download")
            for name, value in (("ContentTypes", ["image/png"]), ("ObjectName", "a"),
                                ("ForbidOverwrite", False))
        ),
        pytest.param({"Method": "PUT"}, "Method is set, but Type is Token; only a URL "
                     "has one; set Type to PresignedUrl", id="method of a token"),
        pytest.param({**FORM, "Method": "PUT"}, "Method is set, but Type is PostForm; "
                     "only a URL has one; set Type to PresignedUrl",
                     id="method of a form"),
        pytest.param({**FORM, "UrlOnly": True}, "UrlOnly is set, but Type is PostForm; "
                     "there is no URL; set Type to PresignedUrl", id="a form's URL"),
        pytest.param({**PUT, "Processes": "image/info"},
                     "Processes is set, but Type is PresignedUrl; only a download is "
                     "processed; set Type to PresignedUrl and Method to GET",
                     id="process of an upload"),
        pytest.param({"SignatureExpireTime": 60},
                     "SignatureExpireTime is set, but Type is Token; a token is valid "
                     "for TokenExpireTime; set Type to PostForm or PresignedUrl",
                     id="time of a token"),
        pytest.param({**FORM, "CredentialsUri": True}, "CredentialsUri is true, but "
                     "Type is PostForm; such a grant hands out no token",
                     id="credentials URI"),
    ],
)  # fmt: skip
def test_a_limit_beside_a_type_that_cannot_keep_it_is_an_error(
    grant: dict[str, Any], problem: str
) -> None:
    assert wrong(grant) == [f"c: Grants: /a: {problem}"]


@pytest.mark.parametrize(
    ("grant", "problem"),
    [
        pytest.param(
            {"Type": "Form"},
            "Type is 'Form'; it must be Token or PostForm or PresignedUrl",
            id="another type",
        ),
        pytest.param(
            {"Type": "postform"},
            "Type is 'postform'; it must be Token or PostForm or PresignedUrl; did "
            "you mean PostForm?",
            id="case",
        ),
        pytest.param(
            {"Type": 5},
            "Type must be a string, not int",
            id="type a number",
        ),
        pytest.param(
            {**PUT, "Method": "POST"},
            "Method is 'POST'; it must be PUT or GET",
            id="method",
        ),
        pytest.param(
            {**FORM, "MaxSize": 0},
            "MaxSize is 0; it must be a whole number of bytes from 1 to 5368709120",
            id="no size",
        ),
        pytest.param(
            {**FORM, "MaxSize": MAX_OBJECT_BYTES + 1},
            "MaxSize is 5368709121; it must be a whole number of bytes from 1 to "
            "5368709120",
            id="more than OSS takes",
        ),
        pytest.param(
            {**FORM, "MinSize": -1},
            "MinSize is -1; it must be a whole number of bytes from 0 to 5368709120",
            id="negative",
        ),
        pytest.param(
            {**FORM, "MaxSize": "10 MB"},
            'MaxSize is "10 MB"; it must be a whole number of bytes from 1 to '
            "5368709120",
            id="a unit",
        ),
        pytest.param(
            {**FORM, "MinSize": 6, "MaxSize": 5},
            "MinSize is 6; it must be at most MaxSize, 5",
            id="no size fits",
        ),
        pytest.param(
            {**FORM, "ContentTypes": "jpeg"},
            "ContentTypes has 'jpeg'; it must be types in lower case such as "
            "image/png, or image/*",
            id="not a type",
        ),
        pytest.param(
            {**FORM, "ContentTypes": ["image/PNG"]},
            "ContentTypes has 'image/PNG'; it must be types in lower case such as "
            "image/png, or image/*",
            id="upper case",
        ),
        pytest.param(
            {**FORM, "ContentTypes": ["*/*"]},
            "ContentTypes has '*/*'; it must be types in lower case such as "
            "image/png, or image/*",
            id="any type",
        ),
        pytest.param(
            {**FORM, "ContentTypes": []},
            "ContentTypes is empty; leave it out, or have types in lower case such "
            "as image/png, or image/* in it",
            id="no type",
        ),
        pytest.param(
            {**FORM, "ForbidOverwrite": "yes"},
            'ForbidOverwrite is "yes"; it must be true or false',
            id="yes",
        ),
        pytest.param(
            {**GET, "Processes": ["image/resize, w_2"]},
            "Processes has 'image/resize, w_2'; it must be values of x-oss-process "
            "such as image/resize,w_200",
            id="space",
        ),
        pytest.param(
            {**FORM, "SignatureExpireTime": 601},
            "SignatureExpireTime is 601; it must be a whole number of seconds from "
            "10 to 600",
            id="longer than the token",
        ),
        pytest.param(
            {**FORM, "SignatureExpireTime": 9},
            "SignatureExpireTime is 9; it must be a whole number of seconds from "
            "10 to 600",
            id="too short",
        ),
        pytest.param(
            {**FORM, "SignatureExpireTime": 600, "TokenReuseTime": 301},
            "TokenReuseTime is 301; it must be a whole number of seconds from 0 to 300",
            id="reuse",
        ),
        pytest.param(
            {**FORM, "ObjectName": "$NAME"},
            "ObjectName has $NAME; allowed are $USER_ID, $DATE, $UUID, $FILENAME, "
            "$EXTENSION",
            id="placeholder",
        ),
        pytest.param(
            {**FORM, "ObjectName": "/$UUID"},
            "ObjectName is '/$UUID'; a name made from it begins or ends with a slash, "
            "or contains //, /./ or /../",
            id="leading slash",
        ),
        pytest.param(
            {**FORM, "ObjectName": "${filename}"},
            "ObjectName is '${filename}'; a name made from it contains ${",
            id="of OSS",
        ),
        pytest.param(
            {**FORM, "ObjectPrefix": "a/../$USER_ID/"},
            "ObjectPrefix is 'a/../$USER_ID/'; no object is signed whose name "
            "begins or ends with a slash, or contains //, /./ or /../",
            id="dots in prefix",
        ),
        pytest.param(
            {**FORM, "PolicyFile": "r"},
            "PolicyFile is 'r', which does not allow oss:PutObject in "
            "my-bucket/users/$USER_ID/; OSS would refuse all that Type PostForm "
            "signs",
            id="policy",
        ),
        pytest.param(
            {**GET, "PolicyFile": "p"},
            "PolicyFile is 'p', which does not allow oss:GetObject in "
            "my-bucket/users/$USER_ID/; OSS would refuse all that Type "
            "PresignedUrl signs",
            id="policy of a download",
        ),
        pytest.param(
            {**FORM, "MaxSizes": 5},
            "MaxSizes is not a setting; did you mean MaxSize?",
            id="misspelt",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_bound(
    grant: dict[str, Any], problem: str
) -> None:
    assert wrong(grant) == [f"c: Grants: /a: {problem}"]


@pytest.mark.parametrize("grant", [FORM, PUT, GET], ids=["form", "URL", "download"])
def test_what_is_signed_needs_a_region_and_a_bucket(grant: dict[str, Any]) -> None:
    (problem,) = wrong(grant, Region=None)

    assert problem == (
        f"c: Grants: /a: Type is {grant['Type']}, which needs Region and BucketName: "
        "they are part of what is signed"
    )


@pytest.mark.parametrize(
    "prefix", ["users/$USER_ID", "users-$USER_ID/", "$USER_ID", "$USER_ID-x/"]
)
@pytest.mark.parametrize("grant", [FORM, PUT], ids=["form", "URL"])
def test_a_prefix_that_users_share_by_chance_is_refused(
    prefix: str, grant: dict[str, Any]
) -> None:
    """Even where the session policy does not have it: users/al begins users/alice."""
    files = {"p": policy(OBJECTS + "*", "oss:PutObject")}

    found = problems(files, Grants={"/a": grant}, ObjectPrefix=prefix, **COMMON)

    assert found == [
        f"c: ObjectPrefix is {prefix!r}; $USER_ID must be a whole folder, as in "
        "users/$USER_ID/, with no other placeholder before it"
    ]


@pytest.mark.parametrize(
    ("name", "is_right"),
    [
        ("$USER_ID/$UUID", True),
        ("in/$USER_ID/$FILENAME", True),
        ("$USER_ID$FILENAME", False),
        ("$USER_ID.jpg", False),
        ("$DATE/$USER_ID/$UUID", False),
        ("x$USER_ID/a", False),
    ],
)
def test_users_in_a_name_that_the_server_chooses_have_a_folder(
    name: str, is_right: bool
) -> None:
    grant = {**FORM, "ObjectPrefix": "avatars/", "ObjectName": name}

    found = wrong(grant)

    assert (found == []) == is_right
    if not is_right:
        assert found[0].startswith(f"c: Grants: /a: ObjectName is {name!r}; $USER_ID ")


def test_a_name_with_a_user_needs_users() -> None:
    grant = {**FORM, "ObjectPrefix": "a/", "ObjectName": "$USER_ID/a"}

    assert wrong(grant, logs_in=False, ObjectPrefix="x/") == [
        "c: Grants: /a: ObjectName has $USER_ID, but there is no Authentication to say "
        "who the user is"
    ]


@pytest.mark.parametrize(
    "name", ["Type", "MaxSize", "MinSize", "ContentTypes", "ForbidOverwrite", "Method"]
)
def test_what_is_signed_is_decided_in_a_grant(name: str) -> None:
    """At the top it would leave the server with tokens for everything."""
    (problem,) = problems(WRITE, **{name: "PostForm"})

    assert problem == (
        f'c: {name} must be in a grant, as in "Grants": {{"/path": {{"{name}": ...}}}}'
    )


def test_nothing_of_it_is_taken_from_the_top() -> None:
    found = problems(FILES, Grants={"/a": FORM, "/b": {}}, MaxSize=5, **COMMON)

    assert found == [
        'c: MaxSize must be in a grant, as in "Grants": {"/path": {"MaxSize": ...}}'
    ]


def test_grants_of_tokens_are_as_they_were() -> None:
    plain = right({"/a": {}}).grants["/a"]
    token = right({"/a": {"Type": "Token"}}).grants["/a"]

    assert plain == token
    assert plain.terms is None


def test_the_top_of_the_file_may_want_credentials_uris() -> None:
    grants = right({"/a": FORM, "/b": {}}, CredentialsUri=True).grants

    assert (grants["/a"].has_credentials_uri, grants["/b"].has_credentials_uri) == (
        False,
        True,
    )


@pytest.mark.parametrize(
    ("times", "reuse"),
    [
        ({}, 300),
        ({"SignatureExpireTime": 600}, 300),
        ({"SignatureExpireTime": 60}, 300),
        ({"TokenExpireTime": 3600, "SignatureExpireTime": 3300}, 300),
        ({"TokenExpireTime": 3600}, 1200),
        ({"TokenReuseTime": 600}, 600),
    ],
)
def test_what_is_signed_ends_before_its_token(times: Any, reuse: int) -> None:
    grant = right({"/a": {**FORM, **times}}).grants["/a"]

    assert grant.token_reuse_seconds == reuse
    assert grant.terms
    assert reuse + grant.terms.seconds <= grant.template.duration_seconds


def test_the_session_policy_is_for_any_user_and_the_size_for_the_longest() -> None:
    grant = right({"/a": FORM}).grants["/a"]

    calls = {grant.call_for(user).complete() for user in ("alice", "张三", None)}

    (call,) = calls
    assert call.policy
    (statement,) = json.loads(call.policy)["Statement"]
    assert statement["Resource"] == "acs:oss:*:*:my-bucket/users/*/*"


def test_isolation_is_that_of_the_prefix_and_not_of_the_policy() -> None:
    """The policy of what is signed with is wide, and says nothing of its users."""
    files = {"p": policy(OBJECTS + "*", "oss:PutObject")}
    apart = {
        "/a": {**FORM, "ObjectPrefix": "a/$USER_ID/"},
        "/b": {**FORM, "ObjectPrefix": "b/$USER_ID/"},
    }
    meeting = {
        "/a": {**FORM, "ObjectPrefix": "a/$USER_ID/"},
        "/b": {**FORM, "ObjectPrefix": "a/all/"},
    }

    changes: dict[str, Any] = {**COMMON, "ObjectPrefix": None}
    assert load(files, Grants=apart, **changes).warnings == ()
    (problem,) = problems(files, Grants=meeting, **COMMON)
    assert "'my-bucket/a/all/*' (path /b) and 'my-bucket/a/$USER_ID/*' (path /a)" in (
        problem
    )


def test_users_who_share_a_folder_are_a_warning() -> None:
    (warning,) = right({"/a": FORM}, ObjectPrefix="all/").warnings

    assert warning.startswith("c: Grants: /a: there is Authentication, but no $USER_ID")


@pytest.mark.parametrize(
    ("other", "is_void"),
    [
        pytest.param({}, True, id="token"),
        pytest.param({"ObjectPrefix": "users/$USER_ID/in/"}, True, id="token, deeper"),
        pytest.param({"PolicyFile": ""}, True, id="token without a policy"),
        pytest.param({"PolicyFile": "r"}, False, id="token to read"),
        pytest.param({"ObjectPrefix": "other/$USER_ID/"}, False, id="token elsewhere"),
        pytest.param({"BucketName": "other"}, False, id="token of another bucket"),
        pytest.param(PUT, True, id="URL"),
        pytest.param(GET, False, id="download"),
        pytest.param(FORM, False, id="form"),
    ],
)
def test_limits_that_another_grant_passes_by_are_a_warning(
    other: dict[str, Any], is_void: bool
) -> None:
    warnings = right({"/form": {**FORM, "MaxSize": 5}, "/other": other}).warnings

    expected = (
        "c: Grants: /form has limits, but /other lets users upload to the same folder "
        "without them; give one of them another ObjectPrefix"
    )
    assert (expected in warnings) == is_void


def test_a_url_has_no_limit_of_size_but_can_have_one_of_type() -> None:
    grants = {"/form": {**FORM, "ContentTypes": "image/png"}, "/put": PUT}

    assert not [w for w in right(grants).warnings if "has limits" in w]


def test_what_is_handed_out_is_described() -> None:
    grants = {"/a": FORM, "/b": {**PUT, "SignatureExpireTime": 60}, "/c": GET, "/d": {}}

    assert right(grants).description == (
        "/a: forms of 300 s, p; /b: PUT URLs of 60 s, p; /c: GET URLs of 300 s, r; "
        "/d: tokens of 900 s, p"
    )


def test_a_user_is_shut_out_of_what_was_signed_too() -> None:
    grants = right(
        {"/a": FORM, "/b": GET, "/c": {**PUT, "ObjectPrefix": "all/"}}
    ).grants

    denials = [grant.own_statements("alice") for grant in grants.values()]

    resource = ["acs:oss:*:*:my-bucket/users/alice/*"]
    assert denials == [
        [{"Effect": "Deny", "Action": ["oss:PutObject"], "Resource": resource}],
        [{"Effect": "Deny", "Action": ["oss:GetObject"], "Resource": resource}],
        [],
    ]


def test_the_session_name_of_the_file_is_used_for_what_is_signed() -> None:
    named = {"RoleSessionName": "signer"}

    assert right({"/a": FORM}, **named).warnings == ()
    call = right({"/a": FORM}, **named).grants["/a"].call_for("alice").complete()
    assert call.role_session_name == "signer"
    (warning,) = (w for w in right({"/a": {}}, **named).warnings if "Role" in w)
    assert warning.startswith("c: RoleSessionName is not used, because ")
