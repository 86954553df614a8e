"""Keys, tokens and policies: who may do what."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from helpers.oss.client import DENIED, OK, OssReply, send
from helpers.oss.cloud import OTHER_BUCKET, Cloud, allow, ask, deny
from helpers.oss.signing import (
    BUCKET,
    CAT,
    DOG,
    V1_HEADER,
    V4_HEADER,
    KeyPair,
    Message,
    Scheme,
    each_scheme,
    http_date,
    in_urls,
    iso_time,
)

from localcloud.sts import ALLOW_ALL


# --- Keys and tokens ------------------------------------------------------------------
def with_token(key: KeyPair, security_token: str) -> KeyPair:
    return replace(key, security_token=security_token)


@each_scheme
@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(
            lambda key, _: replace(key, access_key_id="LTAIunknown", security_token=""),
            "InvalidAccessKeyId",
            id="unknown key",
        ),
        pytest.param(
            lambda key, _: replace(key, access_key_id="STS.unknown"),
            "InvalidAccessKeyId",
            id="unknown key with a token",
        ),
        pytest.param(
            lambda key, _: replace(
                key, access_key_id="STS.unknown", security_token="CAIS"
            ),
            "InvalidAccessKeyId",
            id="unknown key with an unknown token",
        ),
        pytest.param(
            lambda key, _: with_token(key, ""), "InvalidSecurityToken", id="no token"
        ),
        pytest.param(
            lambda key, _: with_token(key, "CAIS"),
            "InvalidSecurityToken",
            id="unknown token",
        ),
        pytest.param(
            lambda key, _: with_token(key, key.security_token[:-1]),
            "InvalidSecurityToken",
            id="truncated token",
        ),
        pytest.param(
            lambda key, _: with_token(key, key.security_token.swapcase()),
            "InvalidSecurityToken",
            id="token in another case",
        ),
        pytest.param(
            lambda key, other: with_token(key, other.security_token),
            "AccessKeyIdAndSecurityTokenNotMatch",
            id="another's token",
        ),
        pytest.param(
            lambda key, _: replace(key, access_key_secret="wrong"),
            "SignatureDoesNotMatch",
            id="wrong secret",
        ),
        pytest.param(
            lambda key, other: replace(key, access_key_secret=other.access_key_secret),
            "SignatureDoesNotMatch",
            id="another's secret",
        ),
    ],
)
def test_a_key_and_its_token_belong_together(
    cloud: Cloud,
    scheme: Scheme,
    change: Callable[[KeyPair, KeyPair], KeyPair],
    code: str,
) -> None:
    wrong = change(cloud.session(), cloud.session())

    reply = send(cloud.oss, scheme.sign(Message(), wrong, cloud.clock.now))

    assert reply.outcome == (403, code)


@each_scheme
def test_a_token_lasts_until_the_second_it_expires(
    cloud: Cloud, scheme: Scheme
) -> None:
    key = cloud.session()
    issued = cloud.sts.issued(key.security_token)
    assert issued
    outcomes = []
    for cloud.clock.now in (issued.expiration - 1, issued.expiration):
        message = scheme.sign(Message(), key, cloud.clock.now)
        outcomes.append(send(cloud.oss, message).outcome)

    assert outcomes == [OK, (403, "SecurityTokenExpired")]


@in_urls
def test_a_url_ends_with_its_token(cloud: Cloud, scheme: Scheme) -> None:
    message = scheme.sign(Message(), cloud.session(), cloud.clock.now, expires=3600)
    cloud.clock.now += 900

    assert send(cloud.oss, message).outcome == (403, "SecurityTokenExpired")


def test_a_long_term_key_takes_no_token(cloud: Cloud, key: KeyPair) -> None:
    token = cloud.session().security_token

    reply = ask(cloud, with_token(key, token))

    assert reply.outcome == (403, "AccessKeyIdAndSecurityTokenNotMatch")


def test_a_v1_token_may_come_in_the_header_of_another_sdk(cloud: Cloud) -> None:
    key = cloud.session()
    without = with_token(key, "")
    message = Message(headers={"security-token": key.security_token})

    v1 = send(cloud.oss, V1_HEADER.sign(message, without, cloud.clock.now))
    v4 = send(cloud.oss, V4_HEADER.sign(message, without, cloud.clock.now))

    assert v1.outcome == OK
    assert v4.outcome == (403, "InvalidSecurityToken")


def test_a_disabled_user_is_refused(cloud: Cloud) -> None:
    key = cloud.user(ALLOW_ALL, is_enabled=False)

    assert ask(cloud, key).outcome == (403, "InvalidAccessKeyId")


def test_a_user_without_policies_may_do_nothing(cloud: Cloud) -> None:
    key = cloud.user()
    for method in ("GET", "PUT", "DELETE"):
        assert ask(cloud, key, method).outcome == DENIED

    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"meow"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize(
    ("path", "status"), [(f"/{BUCKET}/{CAT}", 403), ("/no-such-bucket/a", 404)]
)
def test_nobody_in_particular_may_do_nothing(
    cloud: Cloud, method: str, path: str, status: int
) -> None:
    reply = send(cloud.oss, Message(method, path, body=b"new"[: 3 * (method == "PUT")]))

    assert reply.status == status
    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"meow"}


@pytest.mark.parametrize("kind", ["user", "role"])
def test_another_account_may_do_nothing(cloud: Cloud, kind: str) -> None:
    account = "9876543210987654"
    key = (
        cloud.user(ALLOW_ALL, account=account)
        if kind == "user"
        else cloud.session(account=account)
    )

    reply = ask(cloud, key)

    assert reply.outcome == DENIED
    assert reply.text("Message") == "The bucket you access does not belong to you."


# --- Policies -------------------------------------------------------------------------
BY_SESSION = "0003-00000301"
BY_ROLE = "0003-00000001"
BY_DENY = "0003-00000201"
MESSAGES = {
    BY_SESSION: "Access denied by authorizer's policy.",
    BY_ROLE: "You have no right to access this object because of bucket acl.",
    BY_DENY: "Access denied by bucket policy.",  # which it says of a role's, too
}


@pytest.mark.parametrize(
    ("role_policies", "session_policy", "ec"),
    [
        pytest.param([ALLOW_ALL], None, None, id="role alone"),
        pytest.param([ALLOW_ALL], allow("GetObject"), None, id="both"),
        pytest.param([allow("GetObject")], ALLOW_ALL, None, id="both, the other way"),
        pytest.param(
            [ALLOW_ALL], allow("PutObject"), BY_SESSION, id="session does not allow"
        ),
        pytest.param([ALLOW_ALL], deny("GetObject"), BY_SESSION, id="session denies"),
        pytest.param(
            [ALLOW_ALL],
            allow("GetObject", on=f"{OTHER_BUCKET}/*"),
            BY_SESSION,
            id="session for another bucket",
        ),
        pytest.param(
            [ALLOW_ALL], allow("GetObject", on=BUCKET), BY_SESSION, id="bucket alone"
        ),
        pytest.param(
            [ALLOW_ALL],
            allow("GetObject", on=f"{BUCKET}/dir"),
            BY_SESSION,
            id="folder alone",
        ),
        pytest.param(
            [allow("PutObject")], ALLOW_ALL, BY_ROLE, id="role does not allow"
        ),
        pytest.param([], ALLOW_ALL, BY_ROLE, id="role without policies"),
        pytest.param([ALLOW_ALL, deny("GetObject")], None, BY_DENY, id="role denies"),
        pytest.param(
            [deny("GetObject"), ALLOW_ALL],
            allow("GetObject"),
            BY_DENY,
            id="role denies what session allows",
        ),
        pytest.param(
            [deny("Get*")], deny("GetObject"), BY_DENY, id="role and session deny"
        ),
    ],
)
def test_a_session_may_do_what_role_and_session_policy_both_allow(
    cloud: Cloud, role_policies: list[str], session_policy: str | None, ec: str | None
) -> None:
    key = cloud.session(session_policy, role_policies=role_policies)

    reply = ask(cloud, key)
    head = ask(cloud, key, "HEAD")

    if ec is None:
        assert (reply.outcome, head.status) == (OK, 200)
    else:
        assert reply.outcome == DENIED
        assert reply.text("EC") == reply.headers["x-oss-ec"] == ec
        assert reply.text("Message") == MESSAGES[ec]
        assert (head.status, head.body) == (403, b"")
        in_header = ElementTree.fromstring(base64.b64decode(head.headers["x-oss-err"]))
        assert in_header.findtext("Code") == "AccessDenied"
        assert in_header.findtext("EC") == head.headers["x-oss-ec"] == ec


def test_an_error_has_what_clients_look_for(cloud: Cloud) -> None:
    reply = ask(cloud, cloud.user())

    assert re.fullmatch("[0-9A-F]{24}", reply.text("RequestId"))
    assert reply.headers["x-oss-request-id"] == reply.text("RequestId")
    assert reply.text("HostId") == f"127.0.0.1:{cloud.oss.port}"
    assert reply.headers["server"] == "AliyunOSS"
    assert reply.headers["date"] == http_date(cloud.clock.now)
    assert reply.headers["content-type"] == "application/xml"


@pytest.mark.parametrize(
    ("condition", "headers", "is_allowed"),
    [
        pytest.param({"IpAddress": {"acs:SourceIp": "127.0.0.0/8"}}, {}, True, id="IP"),
        pytest.param(
            {"IpAddress": {"acs:SourceIp": ["10.0.0.0/8", "127.0.0.2"]}},
            {"x-forwarded-for": "10.0.0.1", "x-real-ip": "10.0.0.1"},
            False,
            id="other IP",
        ),
        pytest.param(
            {"NotIpAddress": {"acs:SourceIp": "127.0.0.1"}}, {}, False, id="not this IP"
        ),
        pytest.param({"Bool": {"acs:SecureTransport": "false"}}, {}, True, id="no TLS"),
        pytest.param(
            {"Bool": {"acs:SecureTransport": "true"}},
            {"x-forwarded-proto": "https"},
            False,
            id="TLS",
        ),
        pytest.param(
            {"StringLike": {"acs:UserAgent": "app/*"}},
            {"user-agent": "app/1.0"},
            True,
            id="user agent",
        ),
        pytest.param(
            {"StringLike": {"acs:UserAgent": "app/*"}},
            {"user-agent": "curl"},
            False,
            id="other user agent",
        ),
        pytest.param(
            {"StringLike": {"acs:UserAgent": "*"}}, {}, False, id="no user agent"
        ),
        pytest.param(
            {"StringEquals": {"acs:UserAgent": ""}},
            {"user-agent": ""},
            True,
            id="empty user agent",
        ),
        pytest.param(
            {"StringLike": {"acs:AccessId": "STS.*"}}, {}, True, id="key of a session"
        ),
        pytest.param(
            {"StringLike": {"acs:AccessId": "LTAI*"}}, {}, False, id="long-term key"
        ),
        pytest.param(
            {
                "StringLike": {"acs:AccessId": "STS.*"},
                "Bool": {"acs:SecureTransport": "true"},
            },
            {},
            False,
            id="one of two",
        ),
        pytest.param(
            {"Bool": {"acs:MFAPresent": "true"}}, {}, False, id="what is not known"
        ),
    ],
)
def test_a_policy_may_depend_on_the_request(
    cloud: Cloud,
    condition: Mapping[str, Mapping[str, object]],
    headers: Mapping[str, str],
    is_allowed: bool,
) -> None:
    key = cloud.session(allow("GetObject", **condition))

    reply = ask(cloud, key, headers=headers)

    assert reply.outcome == (OK if is_allowed else DENIED)


def test_a_policy_may_end_at_a_time(cloud: Cloud) -> None:
    moment = re.sub(
        r"(....)(..)(..)T(..)(..)(..)Z",
        r"\1-\2-\3T\4:\5:\6Z",
        iso_time(cloud.clock.now + 10),
    )
    until = {"acs:CurrentTime": moment}
    key = cloud.session(allow("GetObject", DateLessThan=until))
    message = V4_HEADER.sign(Message(), key, cloud.clock.now)
    outcomes = []
    for seconds in (0, 9, 1):
        cloud.clock.now += seconds
        outcomes.append(send(cloud.oss, message).outcome)

    assert outcomes == [OK, OK, DENIED]


LISTS = [
    pytest.param({}, False, id="all"),
    pytest.param({"prefix": ""}, False, id="empty prefix"),
    pytest.param({"prefix": "dir/"}, True, id="the folder"),
    pytest.param({"prefix": "dir/sub/"}, True, id="a folder in it"),
    pytest.param({"prefix": "dir"}, False, id="what begins like the folder"),
    pytest.param({"prefix": "DIR/"}, False, id="other case"),
    pytest.param({"prefix": "other/dir/"}, False, id="another folder"),
    pytest.param({"Prefix": "dir/"}, False, id="a parameter that is none"),
    pytest.param({"prefix": "dir/", "delimiter": "/"}, True, id="and delimiter"),
    pytest.param({"prefix": "dir/", "marker": "other/"}, True, id="and marker"),
    pytest.param({"prefix": "dir/", "uploads": ""}, False, id="uploads"),
]


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(("query", "is_allowed"), LISTS)
def test_a_list_may_be_restricted_to_a_prefix(
    cloud: Cloud, query: dict[str, str], is_allowed: bool, version: str
) -> None:
    like = {"oss:Prefix": ["dir/*", "dir/"]}
    key = cloud.session(allow("ListObjects", on=BUCKET, StringLike=like))
    cloud.buckets[BUCKET].put("other/secret", b"")
    query = {**query, "list-type": "2"} if version == "2" else query

    reply = ask(cloud, key, path=f"/{BUCKET}/", query=query)

    assert reply.outcome == (OK if is_allowed else DENIED)
    assert b"secret" not in reply.body


@pytest.mark.parametrize(
    ("query", "is_allowed"),
    [
        pytest.param({"prefix": ""}, True, id="empty prefix"),
        pytest.param({"prefix": "", "delimiter": "/"}, True, id="of the top folder"),
        pytest.param({"prefix": "dir/"}, True, id="prefix"),
        pytest.param({"prefix": "d"}, False, id="other prefix"),
        pytest.param({}, False, id="no prefix"),
    ],
)
@pytest.mark.parametrize("operator", ["StringLike", "StringEquals"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_an_empty_prefix_is_one(
    cloud: Cloud, query: dict[str, str], is_allowed: bool, operator: str, version: str
) -> None:
    condition = {operator: {"oss:Prefix": ["", "dir/"]}}
    key = cloud.session(allow("ListObjects", on=BUCKET, **condition))
    query = {**query, "list-type": "2"} if version == "2" else query

    reply = ask(cloud, key, path=f"/{BUCKET}/", query=query)

    assert reply.outcome == (OK if is_allowed else DENIED)


@pytest.mark.parametrize(
    ("query", "is_allowed"),
    [
        pytest.param({"prefix": "dir/"}, True, id="prefix"),
        pytest.param({"prefix": ""}, False, id="empty prefix"),
        pytest.param({}, True, id="no prefix"),
    ],
)
def test_an_empty_prefix_can_be_denied(
    cloud: Cloud, query: dict[str, str], is_allowed: bool
) -> None:
    key = cloud.session(deny("ListObjects", StringEquals={"oss:Prefix": ""}))

    reply = ask(cloud, key, path=f"/{BUCKET}/", query=query)

    assert reply.outcome == (OK if is_allowed else DENIED)


@pytest.mark.parametrize(
    ("query", "is_allowed"),
    [
        pytest.param({"delimiter": "/"}, True, id="delimiter"),
        pytest.param({"delimiter": "//"}, False, id="other delimiter"),
        pytest.param({}, False, id="no delimiter"),
    ],
)
def test_a_list_may_be_restricted_to_folders(
    cloud: Cloud, query: dict[str, str], is_allowed: bool
) -> None:
    only = {"oss:Delimiter": "/"}
    key = cloud.session(allow("ListObjects", on=BUCKET, StringEquals=only))

    reply = ask(cloud, key, path=f"/{BUCKET}/", query=query)

    assert reply.outcome == (OK if is_allowed else DENIED)


@pytest.mark.parametrize(
    ("header", "value", "action", "otherwise"),
    [
        ("x-oss-object-acl", "private", "PutObjectAcl", OK),
        ("x-oss-object-acl", "default", "PutObjectAcl", OK),
        ("x-oss-object-acl", "public-read", "PutObjectAcl", (501, "NotImplemented")),
        ("x-oss-tagging", "a=b", "PutObjectTagging", (501, "NotImplemented")),
        ("x-oss-tagging", "private", "PutObjectTagging", (501, "NotImplemented")),
    ],
)
@pytest.mark.parametrize("kind", ["put", "initiate", "copy"])
def test_a_header_may_need_an_action_of_its_own(
    cloud: Cloud,
    header: str,
    value: str,
    action: str,
    otherwise: tuple[int, str],
    kind: str,
) -> None:
    plain = cloud.session(allow("PutObject", "GetObject"))
    full = cloud.session(allow("PutObject", "GetObject", action))
    headers = {header: value}
    if kind == "copy":
        headers["x-oss-copy-source"] = f"/{BUCKET}/{CAT}"
    method, query = ("POST", {"uploads": ""}) if kind == "initiate" else ("PUT", {})
    path = f"/{BUCKET}/{DOG}"

    assert ask(cloud, plain, method, path, query, headers).outcome == DENIED
    assert ask(cloud, full, method, path, query, headers).outcome == otherwise


def test_a_policy_may_name_the_acl_that_is_asked_for(cloud: Cloud) -> None:
    only = {"oss:x-oss-object-acl": "private"}
    key = cloud.session(
        json.dumps(
            {
                "Version": "1",
                "Statement": [
                    *json.loads(allow("PutObject"))["Statement"],
                    *json.loads(allow("PutObjectAcl", StringEquals=only))["Statement"],
                ],
            }
        )
    )
    outcomes = [
        ask(cloud, key, "PUT", headers={"x-oss-object-acl": acl}).outcome
        for acl in ("private", "default")
    ]

    assert outcomes == [OK, DENIED]


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        pytest.param(
            allow("GetObject", "PutObject", on=[f"{BUCKET}/dir/*", f"{BUCKET}/new"]),
            OK,
            id="both",
        ),
        pytest.param(allow("PutObject"), DENIED, id="no reading"),
        pytest.param(allow("GetObject"), DENIED, id="no writing"),
        pytest.param(
            allow("GetObject", "PutObject", on=f"{BUCKET}/new"),
            DENIED,
            id="reading the target alone",
        ),
        pytest.param(
            allow("GetObject", "PutObject", on=f"{BUCKET}/{CAT}"),
            DENIED,
            id="writing the source alone",
        ),
    ],
)
def test_who_copies_must_be_allowed_to_read_the_source(
    cloud: Cloud, key: KeyPair, policy: str, outcome: tuple[int, str]
) -> None:
    path = f"/{BUCKET}/new"
    upload_id = ask(cloud, key, "POST", path, {"uploads": ""}).text("UploadId")
    part = {"partNumber": "1", "uploadId": upload_id}
    headers = {"x-oss-copy-source": f"/{BUCKET}/{CAT}"}
    limited = cloud.session(policy)

    assert ask(cloud, limited, "PUT", path, part, headers).outcome == outcome
    assert ask(cloud, limited, "PUT", path, {}, headers).outcome == outcome


SOURCES = [
    f"/{OTHER_BUCKET}/secret",
    f"{OTHER_BUCKET}/secret",
    f"//{OTHER_BUCKET}/secret",
    f"/{BUCKET}/../{OTHER_BUCKET}/secret",
    f"/{BUCKET}%2F..%2F{OTHER_BUCKET}/secret",
    f"/{BUCKET}/dir/../../{OTHER_BUCKET}/secret",
    f"/{OTHER_BUCKET}%2fsecret",
    f"/{OTHER_BUCKET}/%73ecret",
    f"/{OTHER_BUCKET}/secret?versionId=null",
    f"/{OTHER_BUCKET.upper()}/secret",
    f"/{BUCKET}/x:{BUCKET}/dir/y",
    "/",
    "",
]


@pytest.mark.parametrize("source", SOURCES)
def test_a_copy_brings_nothing_that_the_caller_may_not_read(
    cloud: Cloud, source: str
) -> None:
    cloud.buckets[OTHER_BUCKET].put("secret", b"secret")
    cloud.buckets[BUCKET].put(f"x:{BUCKET}/dir/y", b"secret")
    key = cloud.session(allow("GetObject", "PutObject", on=f"{BUCKET}/dir/*"))
    headers = {"x-oss-copy-source": source}

    reply = ask(cloud, key, "PUT", f"/{BUCKET}/dir/copy", headers=headers)

    assert reply.status in (400, 403, 404, 501)
    assert f"{BUCKET}/dir/copy" not in cloud.contents()


def test_all_objects_of_a_list_must_be_allowed_to_be_deleted(cloud: Cloud) -> None:
    bucket = cloud.buckets[BUCKET]
    bucket.put(DOG, b"woof")
    bucket.put("other", b"")
    key = cloud.session(allow("DeleteObject", on=f"{BUCKET}/dir/*"))

    def delete(*keys: str) -> OssReply:
        objects = "".join(f"<Object><Key>{name}</Key></Object>" for name in keys)
        body = f"<Delete>{objects}</Delete>".encode()
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        headers = {"content-md5": digest}
        return ask(cloud, key, "POST", f"/{BUCKET}/", {"delete": ""}, headers, body)

    assert delete(CAT, "other").outcome == DENIED
    assert bucket.keys() == sorted([CAT, DOG, "other"])
    assert delete(CAT, DOG).outcome == OK
    assert bucket.keys() == ["other"]
