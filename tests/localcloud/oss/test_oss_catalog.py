"""What of OSS is not imitated: who may ask for it, and that it says so."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import inspect
import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import alibabacloud_oss_v2 as oss_v2
import pytest
from helpers.oss.app_server import callback
from helpers.oss.client import BucketClient, OssReply
from helpers.oss.cloud import user_key
from helpers.oss.signing import BUCKET

from localcloud.oss import OssStandIn
from localcloud.oss.catalog import ROWS, find_operation
from localcloud.oss.operations import OPERATIONS
from localcloud.sts import ALLOW_ALL, StsStandIn

NUMBERS = itertools.count()
LEVELS = {"service": "/", "bucket": f"/{BUCKET}/", "object": f"/{BUCKET}/cat"}


@pytest.fixture(scope="module")
def oss() -> Iterator[OssStandIn]:
    """A stand-in that all tests share."""
    with StsStandIn() as sts, OssStandIn(sts, allow_v1=True) as stand_in:
        stand_in.create_bucket(BUCKET).put("cat", b"meow")
        yield stand_in


def client_with(oss: OssStandIn, policy: str = ALLOW_ALL) -> BucketClient:
    """Return a client of a new RAM user who has this *policy*."""
    return BucketClient(oss, user_key(oss.sts, policy, name=f"LTAI{next(NUMBERS)}"))


def allow(*, resource: str = "*", **actions: list[str]) -> str:
    """Return a policy that allows Action=[…], or all but NotAction=[…]."""
    statement = {"Effect": "Allow", "Resource": f"acs:oss:*:*:{resource}", **actions}
    return json.dumps({"Version": "1", "Statement": [statement]})


# --- Which operation it is, and what it takes -----------------------------------

# A request, its operation, the action that it takes, and of which resource.
REQUESTS = """
GET /                                     ListBuckets                     *
GET /?regions                             DescribeRegions                 *
PUT /?publicAccessBlock                   PutPublicAccessBlock            *
PUT /new-bucket/                          PutBucket                       new-bucket
PUT /my-bucket/                           PutBucket                       my-bucket
DELETE /my-bucket/                        DeleteBucket                    my-bucket
PUT /my-bucket/?acl                       PutBucketAcl                    my-bucket
GET /my-bucket/?acl                       GetBucketAcl                    my-bucket
GET /my-bucket/?stat                      GetBucketStat                   my-bucket
GET /my-bucket/?versions&prefix=a         ListObjectVersions              my-bucket
PUT /my-bucket/?lifecycle                 PutBucketLifecycle              my-bucket
DELETE /my-bucket/?policy                 DeleteBucketPolicy              my-bucket
PUT /my-bucket/?tagging                   PutBucketTags:PutBucketTagging  my-bucket
GET /my-bucket/?inventory       ListBucketInventory:GetBucketInventory    my-bucket
GET /my-bucket/?inventory&inventoryId=a   GetBucketInventory              my-bucket
POST /my-bucket/?replication&comp=add     PutBucketReplication            my-bucket
POST /my-bucket/?replication&comp=delete  DeleteBucketReplication         my-bucket
POST /my-bucket/?cname&comp=token         CreateCnameToken                my-bucket
POST /my-bucket/?metaQuery&comp=query     DoMetaQuery                     my-bucket
POST /my-bucket/?wormId=1                 CompleteBucketWorm              my-bucket
POST /my-bucket/?wormId=1&wormExtend      ExtendBucketWorm                my-bucket
PUT /my-bucket/cat?acl                    PutObjectAcl                    my-bucket/cat
GET /my-bucket/cat?acl                    GetObjectAcl                    my-bucket/cat
PUT /my-bucket/cat?acl&versionId=1  PutObjectAcl:PutObjectVersionAcl      my-bucket/cat
GET /my-bucket/cat?versionId=1      GetObject:GetObjectVersion            my-bucket/cat
HEAD /my-bucket/cat?versionId=1     HeadObject:GetObject                  my-bucket/cat
DELETE /my-bucket/cat?versionId=1   DeleteObject:DeleteObjectVersion      my-bucket/cat
GET /my-bucket/cat?tagging                GetObjectTagging                my-bucket/cat
DELETE /my-bucket/cat?tagging&versionId=1 \
DeleteObjectTagging:DeleteObjectVersionTagging                            my-bucket/cat
PUT /my-bucket/cat?symlink                PutSymlink:PutObject            my-bucket/cat
GET /my-bucket/cat?symlink                GetSymlink:GetObject            my-bucket/cat
POST /my-bucket/cat?restore               RestoreObject                   my-bucket/cat
POST /my-bucket/cat?x-oss-process         ProcessObject:PostProcessTask   my-bucket/cat
POST /my-bucket/cat?x-oss-process=csv/select SelectObject:GetObject       my-bucket/cat
GET /my-bucket/cat?x-oss-process=style/a  GetObject                       my-bucket/cat
PUT /my-bucket/cat?live                   PutLiveChannel                  my-bucket/cat
GET /my-bucket/cat?live             GetLiveChannelInfo:GetLiveChannel     my-bucket/cat
GET /my-bucket/cat?live&comp=stat         GetLiveChannelStat              my-bucket/cat
"""
EACH_REQUEST = pytest.mark.parametrize(
    ("method", "target", "names", "resource"),
    [
        pytest.param(*line.split(), id=" ".join(line.split()[:2]))
        for line in REQUESTS.strip().splitlines()
    ],
)


def send(client: BucketClient, method: str, target: str) -> OssReply:
    path, _, query = target.partition("?")
    return client.request(method, path, dict(parse_qsl(query, keep_blank_values=True)))


@EACH_REQUEST
def test_what_the_policies_do_not_allow_is_denied_imitated_or_not(
    oss: OssStandIn, method: str, target: str, names: str, resource: str
) -> None:
    name, _, action = names.partition(":")
    all_but_it = client_with(oss, allow(NotAction=[f"oss:{action or name}"]))
    elsewhere = client_with(
        oss, allow(Action=["oss:*"], resource="other" if resource == "*" else "*/other")
    )
    oss.clear()

    for client in (all_but_it, elsewhere):
        reply = send(client, method, target)

        assert reply.status == 403
        if method != "HEAD":
            assert reply.code == "AccessDenied"
        assert [access.operation for access in oss.requests] == [name]
        oss.clear()


@EACH_REQUEST
def test_what_they_allow_and_is_not_imitated_says_so(
    oss: OssStandIn, method: str, target: str, names: str, resource: str
) -> None:
    name, _, action = names.partition(":")
    client = client_with(
        oss, allow(Action=[f"oss:{action or name}"], resource=resource)
    )

    reply = send(client, method, target)

    assert reply.status == 501
    if method != "HEAD":
        assert reply.code == "NotImplemented"
        message = f"The OSS stand-in does not imitate {name}"
        assert reply.text("Message").startswith(message)
    assert send(client_with(oss), "GET", f"/{BUCKET}/cat").body == b"meow"


def test_a_session_policy_denies_what_is_not_imitated(oss: OssStandIn) -> None:
    reply = send(client_with(oss, allow(Action=["oss:Get*"])), "GET", "/")

    assert reply.outcome == (403, "AccessDenied")
    assert reply.text("Message") == "You are forbidden to list buckets."


def test_what_is_not_imitated_can_fail_in_another_way(oss: OssStandIn) -> None:
    oss.fail("PutBucketAcl", "ServiceUnavailable")
    client = client_with(oss)
    codes = [send(client, "PUT", f"/{BUCKET}/?acl").code for _ in range(2)]

    assert codes == ["ServiceUnavailable", "NotImplemented"]


@pytest.mark.parametrize(
    ("target", "outcome"),
    [
        pytest.param("/no-such-bucket/?acl", (404, "NoSuchBucket"), id="none"),
        pytest.param("/No-Such-Bucket/?acl", (400, "InvalidBucketName"), id="no name"),
        pytest.param("/No-Such-Bucket/", (400, "InvalidBucketName"), id="to make"),
    ],
)
def test_the_bucket_is_looked_for_first(
    oss: OssStandIn, target: str, outcome: tuple[int, str]
) -> None:
    for client in (client_with(oss), client_with(oss, allow(NotAction=["*"]))):
        assert send(client, "PUT", target).outcome == outcome


def test_another_account_has_buckets_of_its_own(oss: OssStandIn) -> None:
    policy = allow(Action=["oss:*"]).replace(
        "acs:oss:*:*", "acs:oss:*:9876543210987654"
    )
    key = user_key(oss.sts, policy, name="LTAIother", account="9876543210987654")
    client = BucketClient(oss, key)

    assert send(client, "GET", "/").outcome == (501, "NotImplemented")
    assert send(client, "PUT", "/new-bucket/").outcome == (501, "NotImplemented")
    reply = send(client, "PUT", f"/{BUCKET}/?acl")
    assert reply.outcome == (403, "AccessDenied")
    assert reply.text("Message") == "The bucket you access does not belong to you."


def test_a_policy_may_name_the_acl_of_a_bucket(oss: OssStandIn) -> None:
    document = json.loads(allow(Action=["oss:PutBucketAcl"]))
    document["Statement"][0]["Condition"] = {
        "StringEquals": {"oss:x-oss-acl": "private"}
    }
    client = client_with(oss, json.dumps(document))
    statuses = [
        client.request("PUT", client.path(), {"acl": ""}, {"x-oss-acl": acl}).status
        for acl in ("private", "public-read")
    ]

    assert statuses == [501, 403]


# --- What an operation that is imitated is asked for besides ---------------------

CALLBACK = callback("http://app.example.com")
COPY = {"x-oss-copy-source": f"/{BUCKET}/cat"}
COPY_VERSION = {"x-oss-copy-source": f"/{BUCKET}/cat?versionId=1"}
DELETE = b"<Delete><Object><Key>cat</Key><VersionId>1</VersionId></Object></Delete>"


@pytest.mark.parametrize(
    ("method", "query", "headers", "actions"),
    [
        pytest.param(
            "PUT", {}, {"x-oss-callback": CALLBACK}, ["PutObject"], id="callback"
        ),
        pytest.param(
            "PUT",
            {},
            {"x-oss-server-side-encryption": "KMS"},
            ["PutObject"],
            id="encryption",
        ),
        pytest.param(
            "PUT",
            {},
            {"x-oss-object-acl": "public-read", "x-oss-tagging": "a=b"},
            ["PutObject", "PutObjectAcl", "PutObjectTagging"],
            id="ACL and tags",
        ),
        pytest.param(
            "PUT",
            {},
            {**COPY, "x-oss-object-acl": "public-read", "x-oss-callback": CALLBACK},
            ["PutObject", "PutObjectAcl", "GetObject"],
            id="copy with ACL and callback",
        ),
        pytest.param(
            "PUT",
            {},
            COPY_VERSION,
            ["PutObject", "GetObjectVersion"],
            id="copy version",
        ),
        pytest.param("DELETE", {"cors": ""}, {}, ["DeleteObject"], id="subresource"),
    ],
)
def test_more_than_is_imitated_says_so_to_who_may_ask_for_it(
    oss: OssStandIn,
    method: str,
    query: dict[str, str],
    headers: dict[str, str],
    actions: list[str],
) -> None:
    outcomes = {}
    for missing in ["", *actions]:
        allowed = [f"oss:{action}" for action in actions if action != missing]
        client = client_with(oss, allow(Action=allowed or ["oss:None"]))
        reply = client.request(method, client.path("dog"), query, headers)
        outcomes[missing] = reply.status

    assert outcomes == {"": 501} | dict.fromkeys(actions, 403)
    assert send(client_with(oss), "GET", f"/{BUCKET}/dog").status == 404


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        ("oss:DeleteObject", (403, "AccessDenied")),
        ("oss:DeleteObjectVersion", (501, "NotImplemented")),
    ],
)
def test_versions_are_deleted_by_who_may_delete_versions(
    oss: OssStandIn, action: str, outcome: tuple[int, str]
) -> None:
    client = client_with(oss, allow(Action=[action]))
    digest = base64.b64encode(hashlib.md5(DELETE).digest()).decode()
    reply = client.post("", DELETE, {"delete": ""}, content_md5=digest)

    assert reply.outcome == outcome
    assert send(client_with(oss), "GET", f"/{BUCKET}/cat").body == b"meow"


# --- All of them ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "level"), [pytest.param(*key, id="-".join(key)) for key in ROWS]
)
def test_no_line_of_the_catalog_hides_another(method: str, level: str) -> None:
    hidden = []
    for row in ROWS[method, level]:
        query = {name: value or "1" for name, value in row.query.items()}
        headers = {row.header: "1"} if row.header else {}
        found = find_operation(method, level, query, headers)
        if found is None or found[:2] != (row.name, row.action):
            hidden.append(row)

    assert hidden == []


def test_each_operation_that_is_imitated_is_in_the_catalog() -> None:
    assert OPERATIONS.keys() <= {row.name for rows in ROWS.values() for row in rows}


def sdk_methods() -> list[str]:
    """Return the methods of the SDK, less those that need more than an example.

    With V1 the SDK does not sign the x-oss-process of some.
    """
    others = {"presign", "option_object", "create_select_object_meta"}
    others |= {"process_object", "async_process_object", "select_object"}
    return [
        name
        for name, method in inspect.getmembers(oss_v2.Client, inspect.isfunction)
        if [*inspect.signature(method).parameters] == ["self", "request", "kwargs"]
        and name not in others
    ]


# What stands in a request of the SDK, by the name of the member or by its type, if it
# has to be there, or is one of ALSO.
ALSO = ("bucket", "key", "access_point_name", "objects")
VALUES: dict[str, Any] = {
    "bucket": BUCKET,
    "key": "sdk",
    "source_key": "cat",
    "objects": [oss_v2.DeleteObject(key="sdk")],
    "tagging": oss_v2.Tagging(tag_set=oss_v2.TagSet(tags=[])),
    "str": "sdk",
    "int": 1,
    "bool": True,
}


def example(kind: type) -> Any:
    """Return a request of that *kind* that has all it must have."""
    members = {}
    for name, about in kind._attribute_map.items():  # type: ignore[attr-defined]
        if about.get("required") or name in ALSO:
            of_kind = about.get("type", "str")
            known = VALUES.get(name, VALUES.get(of_kind))
            members[name] = known or getattr(oss_v2, of_kind)()
    return kind(**members)


@pytest.mark.parametrize("name", sdk_methods())
def test_each_operation_of_the_sdk_is_known_by_its_name(
    oss: OssStandIn, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = user_key(oss.sts)
    config = oss_v2.config.load_default()
    config.credentials_provider = oss_v2.credentials.StaticCredentialsProvider(
        key.access_key_id, key.access_key_secret
    )
    config.region, config.endpoint = oss.region, oss.url
    config.use_path_style = True
    config.signature_version = "v1"  # which knows the names, as V4 need not
    config.retry_max_attempts = 1
    client = oss_v2.Client(config)
    names = []

    def invoke(operation: Any, **options: Any) -> Any:
        names.append(operation.op_name)
        return invoke_operation(operation, **options)

    invoke_operation = client._client.invoke_operation
    monkeypatch.setattr(client._client, "invoke_operation", invoke)
    method = getattr(client, name)
    parameter = inspect.signature(method, eval_str=True).parameters["request"]
    oss.clear()
    with contextlib.suppress(oss_v2.exceptions.OperationError):
        method(example(parameter.annotation))

    assert len(names) == 1
    assert [access.operation for access in oss.requests] == names
    codes = {access.code for access in oss.requests}
    assert not codes & {"AccessDenied", "SignatureDoesNotMatch"}
