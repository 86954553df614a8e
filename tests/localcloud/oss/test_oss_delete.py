"""DeleteObject and DeleteMultipleObjects.

What is expected is from the page of the operation in the OSS documentation.
"""

from __future__ import annotations

import pytest
from helpers.oss.client import BucketClient
from helpers.oss.cloud import user_key
from helpers.oss.samples import content_md5, delete_all, delete_document, shape

from localcloud.oss import OssStandIn
from localcloud.oss.operations.call import MAX_KEYS
from localcloud.oss.storage import Bucket


# --- DeleteObject, DeleteMultipleObjects ----------------------------------------
def test_delete_object_deletes_and_does_not_mind_if_there_is_none(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("cat", b"cat")
    bucket.put("dog", b"dog")

    replies = [client.delete("cat"), client.delete("cat")]

    assert [(reply.status, reply.body) for reply in replies] == [(204, b"")] * 2
    assert not any("content-length" in reply.headers for reply in replies)
    assert bucket.keys() == ["dog"]
    assert client.get("cat").outcome == (404, "NoSuchKey")


@pytest.mark.parametrize(
    ("quiet", "told"),
    [
        pytest.param(None, ["<a&b>", "c d/猫", "missing"], id="by default"),
        pytest.param("false", ["<a&b>", "c d/猫", "missing"], id="loudly"),
        pytest.param("true", [], id="quietly"),
    ],
)
def test_delete_multiple_objects_deletes_and_tells(
    client: BucketClient, bucket: Bucket, quiet: str | None, told: list[str]
) -> None:
    for key in ("<a&b>", "c d/猫", "left"):
        bucket.put(key, b"1")

    reply = delete_all(
        client, delete_document("<a&b>", "c d/猫", "missing", quiet=quiet)
    )

    assert (reply.status, reply.xml.tag) == (200, "DeleteResult")
    assert reply.texts("Deleted/Key") == told
    assert reply.texts("EncodingType") == []
    assert bucket.keys() == ["left"]


def test_delete_multiple_objects_encodes_keys_if_asked_to(
    client: BucketClient,
) -> None:
    reply = delete_all(client, delete_document("c d/猫+"), {"encoding-type": "url"})

    assert shape(reply.xml) == [
        ("EncodingType", "url"),
        ("Deleted", [("Key", "c%20d/%E7%8C%AB%2B")]),
    ]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        pytest.param(b"", (400, "MalformedXML"), id="nothing"),
        pytest.param(b"<Delete>", (400, "MalformedXML"), id="no XML"),
        pytest.param(b"<Remove/>", (400, "MalformedXML"), id="another element"),
        pytest.param(b"<Delete/>", (400, "MalformedXML"), id="no objects"),
        pytest.param(b"<Delete><Object/></Delete>", (400, "MalformedXML"), id="no key"),
        pytest.param(
            b"<Delete><Object><Key/></Object></Delete>",
            (400, "MalformedXML"),
            id="empty key",
        ),
        pytest.param(
            delete_document("cat", *(str(n) for n in range(MAX_KEYS))),
            (400, "MalformedXML"),
            id="1001 keys",
        ),
        pytest.param(
            delete_document("cat", "/cat"), (400, "InvalidObjectName"), id="bad key"
        ),
        pytest.param(
            delete_document("cat", "a" * 1024),
            (400, "InvalidObjectName"),
            id="long key",
        ),
        pytest.param(
            b"<Delete><Object><Key>cat</Key><VersionId>1</VersionId></Object></Delete>",
            (501, "NotImplemented"),
            id="a version",
        ),
        pytest.param(
            delete_document("cat") + b" " * 5 * 2**20,
            (400, "EntityTooLarge"),
            id="5 megabytes",
        ),
        pytest.param(
            b'<?xml version="1.0" encoding="klingon"?>' + delete_document("cat"),
            (400, "MalformedXML"),
            id="unknown encoding",
        ),
        pytest.param(
            b'<?xml version="1.0" encoding="gbk"?>' + delete_document("cat"),
            (400, "MalformedXML"),
            id="encoding that the parser does not read",
        ),
        pytest.param(b"\xff\xfe<", (400, "MalformedXML"), id="half a character"),
    ],
)
def test_a_bad_list_of_keys_deletes_nothing(
    client: BucketClient, bucket: Bucket, body: bytes, outcome: tuple[int, str]
) -> None:
    bucket.put("cat", b"cat")

    assert delete_all(client, body).outcome == outcome
    assert bucket.keys() == ["cat"]


def test_a_thousand_keys_are_not_too_many(client: BucketClient) -> None:
    keys = [str(number) for number in range(MAX_KEYS)]

    assert delete_all(client, delete_document(*keys)).texts("Deleted/Key") == keys


def test_a_list_of_keys_has_to_have_its_digest(
    client: BucketClient, bucket: Bucket
) -> None:
    bucket.put("cat", b"cat")
    body, query = delete_document("cat"), {"delete": ""}

    without = client.post("", body, query)
    wrong = client.post("", body, query, content_md5=content_md5(b"dog"))

    assert without.outcome == (400, "MissingArgument")
    assert without.text("ArgumentName") == "Content-MD5"
    assert without.text("EC") == "0016-00000606"
    assert wrong.outcome == (400, "InvalidDigest")
    assert bucket.keys() == ["cat"]


def test_one_forbidden_key_keeps_all_from_being_deleted(
    oss: OssStandIn, bucket: Bucket
) -> None:
    for key in ("mine/1", "mine/2", "theirs"):
        bucket.put(key, b"1")
    policy = (
        '{"Version":"1","Statement":[{"Effect":"Allow","Action":"oss:DeleteObject",'
        f'"Resource":"acs:oss:*:*:{bucket.name}/mine/*"}}]}}'
    )
    owner = BucketClient(oss, user_key(oss.sts, policy, name="owner"), bucket.name)

    refused = delete_all(owner, delete_document("mine/1", "theirs", "mine/2"))
    assert refused.outcome == (403, "AccessDenied")
    assert bucket.keys() == ["mine/1", "mine/2", "theirs"]

    assert delete_all(owner, delete_document("mine/1", "mine/2")).status == 200
    assert bucket.keys() == ["theirs"]
