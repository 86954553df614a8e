"""What a request is about, however it is addressed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.oss.app_server import callback
from helpers.oss.client import INVALID, OK, send
from helpers.oss.cloud import OTHER_BUCKET, Cloud, allow, ask
from helpers.oss.signing import (
    BUCKET,
    CAT,
    V1_HEADER,
    V4_HEADER,
    KeyPair,
    Message,
    Scheme,
    each_scheme,
)

from localcloud.oss import OssStandIn

pytestmark = pytest.mark.slow

# --- Addressing -----------------------------------------------------------------------
HOSTS = [
    pytest.param("127.0.0.1", f"/{BUCKET}/{CAT}", id="IP address"),
    pytest.param("127.0.0.1:80", f"/{BUCKET}/{CAT}", id="IP address and port"),
    pytest.param("[::1]", f"/{BUCKET}/{CAT}", id="IPv6 address"),
    pytest.param("[::1]:80", f"/{BUCKET}/{CAT}", id="IPv6 address and port"),
    pytest.param("localhost:80", f"/{BUCKET}/{CAT}", id="localhost"),
    pytest.param("oss.example", f"/{BUCKET}/{CAT}", id="bucket in the path"),
    pytest.param(f"{BUCKET}.oss.example", f"/{CAT}", id="bucket in the host"),
    pytest.param(f"{BUCKET}.localhost:80", f"/{CAT}", id="bucket in localhost"),
    pytest.param(f"{BUCKET.upper()}.OSS.example", f"/{CAT}", id="upper case"),
    pytest.param(BUCKET, f"/{CAT}", id="bucket is the host"),
    pytest.param(f"{BUCKET}.oss.example", f"/{BUCKET}/{CAT}", id="both"),
    pytest.param(f"{OTHER_BUCKET}.oss.example", f"/{BUCKET}/{CAT}", id="two buckets"),
]


@each_scheme
@pytest.mark.parametrize(("host", "target"), HOSTS)
def test_a_bucket_is_named_in_the_path_or_in_the_host(
    cloud: Cloud, key: KeyPair, scheme: Scheme, host: str, target: str
) -> None:
    message = Message(headers={"host": host})
    message = scheme.sign(message, key, cloud.clock.now)

    reply = send(cloud.oss, replace(message, target=target))

    assert (reply.outcome, reply.body) == (OK, b"meow")


@each_scheme
def test_a_key_may_begin_with_the_name_of_its_bucket(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    name = f"{BUCKET}/{CAT}"
    message = Message("PUT", f"/{BUCKET}/{name}", body=b"purr", target=f"/{name}")
    message = replace(message, headers={"host": f"{BUCKET}.oss.example"})

    reply = send(cloud.oss, scheme.sign(message, key, cloud.clock.now))

    assert reply.outcome == OK
    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"meow", f"{BUCKET}/{name}": b"purr"}


@each_scheme
def test_a_host_of_any_name_may_stand_for_the_only_bucket(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    with OssStandIn(cloud.sts, allow_v1=True) as oss:
        bucket = oss.create_bucket(BUCKET)
        for name in (CAT, f"{BUCKET}/{CAT}"):
            for host in ("cdn.example", "cdn.example:80", f"{OTHER_BUCKET}.example"):
                bucket.put(name, host.encode())
                message = Message(
                    path=f"/{BUCKET}/{name}", target=f"/{name}", headers={"host": host}
                )
                reply = send(oss, scheme.sign(message, key, cloud.clock.now))

                assert (reply.outcome, reply.body) == (OK, host.encode())


@pytest.mark.parametrize(
    ("host", "target", "resource", "outcome"),
    [
        ("127.0.0.1", "/no-such-bucket/a", "/no-such-bucket/a", (404, "NoSuchBucket")),
        (
            "oss.example",
            "/no-such-bucket/a",
            "/no-such-bucket/a",
            (404, "NoSuchBucket"),
        ),
        ("no-such-bucket.example", "/a", "/no-such-bucket/a", (404, "NoSuchBucket")),
        ("127.0.0.1", f"/{BUCKET}-/a", f"/{BUCKET}-/a", (400, "InvalidBucketName")),
        ("127.0.0.1", "/My-Bucket/a", "/My-Bucket/a", (400, "InvalidBucketName")),
        ("127.0.0.1", "/a/b", "/a/b", (400, "InvalidBucketName")),
        ("127.0.0.1", f"/{BUCKET}%2Fa/b", f"/{BUCKET}/a/b", (400, "InvalidBucketName")),
        ("127.0.0.1", f"/{BUCKET}//a", f"/{BUCKET}//a", (400, "InvalidObjectName")),
        ("127.0.0.1", f"/{BUCKET}/%5Ca", f"/{BUCKET}/\\a", (400, "InvalidObjectName")),
        ("127.0.0.1", "/", "/", (501, "NotImplemented")),
        ("127.0.0.1", f"/{BUCKET}", f"/{BUCKET}/", OK),
        (f"{BUCKET}.example", "/", f"/{BUCKET}/", OK),
        ("127.0.0.1", f"/{BUCKET}/%ff", f"/{BUCKET}/?", INVALID),
        ("127.0.0.1", f"http://127.0.0.1/{BUCKET}/a", f"/{BUCKET}/a", INVALID),
        ("127.0.0.1", f"x{BUCKET}/a", f"/{BUCKET}/a", INVALID),
        ("127.0.0.1", "*", "/", INVALID),
    ],
)
def test_what_names_no_object_is_refused(
    cloud: Cloud,
    key: KeyPair,
    host: str,
    target: str,
    resource: str,
    outcome: tuple[int, str],
) -> None:
    message = Message(headers={"host": host})
    message = V4_HEADER.sign(message, key, cloud.clock.now, resource=resource)

    reply = send(cloud.oss, replace(message, target=target))

    assert reply.outcome == outcome


def test_buckets_may_be_called_like_parts_of_an_address(
    cloud: Cloud, key: KeyPair
) -> None:
    with OssStandIn(cloud.sts) as oss:
        for name in ("127", "localhost", BUCKET):
            oss.create_bucket(name).put("a", name.encode())
        for host in ("127.0.0.1", "localhost", "[::1]"):
            for name in ("127", "localhost", BUCKET):
                message = Message(path=f"/{name}/a", headers={"host": host})
                reply = send(oss, V4_HEADER.sign(message, key, cloud.clock.now))

                assert reply.body == name.encode()


# The caller may write below photos/ of one bucket.  Each of these is asked for with a
# good signature of each of the resources; nothing may come to be anywhere else.
ATTACKED_HOSTS = [
    "127.0.0.1",
    f"{BUCKET}.example",
    f"{OTHER_BUCKET}.example",
    f"{BUCKET}%2F.example",
    f".{BUCKET}",
]
ATTACKS = [
    f"/{BUCKET}/photos/a",
    f"/{OTHER_BUCKET}/photos/a",
    "/photos/a",
    f"/{BUCKET}/other",
    f"//{BUCKET}/photos/a",
    f"/{BUCKET}//photos/a",
    f"/{BUCKET}/photos//a",
    f"/{BUCKET}/photos/../other",
    f"/{BUCKET}/photos/%2e%2e/other",
    f"/{BUCKET}/photos/../../{OTHER_BUCKET}/a",
    f"/{BUCKET}%2Fphotos/a",
    f"/{BUCKET}%2F..%2F{OTHER_BUCKET}/a",
    f"/{OTHER_BUCKET}%2F{BUCKET}/photos/a",
    f"/{OTHER_BUCKET}/{BUCKET}/photos/a",
    f"/{OTHER_BUCKET}/x:{BUCKET}/photos/a",
    f"/{BUCKET}/x:{BUCKET}/photos/a",
    f"/{OTHER_BUCKET}/acs:oss:*:*:{BUCKET}/photos/a",
    f"/{BUCKET.upper()}/photos/a",
    f"/./{BUCKET}/photos/a",
    f"/{BUCKET}\\photos/a",
    f"/{BUCKET}/PHOTOS/a",
    f"/{BUCKET}/photos",
    f"/{BUCKET}/photos%00/a",
    f"/{OTHER_BUCKET}/a?/{BUCKET}/photos/a",
    f"/{BUCKET}/photos/a#/../../other",
]


@pytest.mark.parametrize("scheme", [V1_HEADER, V4_HEADER], ids=["V1", "V4"])
@pytest.mark.parametrize("host", ATTACKED_HOSTS)
def test_no_way_to_write_an_address_leads_beyond_what_is_allowed(
    cloud: Cloud, scheme: Scheme, host: str
) -> None:
    key = cloud.session(allow("PutObject", on=f"{BUCKET}/photos/*"))
    before = cloud.contents()
    statuses = set()
    for attack in ATTACKS:
        path = attack.replace("%2F", "/").replace("%2e", ".").replace("%00", "\0")
        label = host.partition(".")[0]
        allowed = f"/{BUCKET}/photos/a"
        for resource in {allowed, path, f"/{label}{path}", f"/{BUCKET}{path}"}:
            message = Message("PUT", headers={"host": host}, body=b"evil")
            message = scheme.sign(message, key, cloud.clock.now, resource=resource)
            reply = send(cloud.oss, replace(message, target=attack))
            statuses.add(reply.status)

    created = cloud.contents().keys() - before.keys()
    assert statuses <= {200, 400, 403, 404, 501}
    assert 200 in statuses
    assert {name[: len(f"{BUCKET}/photos/")] for name in created} == {
        f"{BUCKET}/photos/"
    }
    assert before.items() <= cloud.contents().items()
    for access in cloud.oss.requests:
        if access.status == 200:
            assert f"{access.bucket}/{access.key}" in created


@pytest.mark.parametrize(
    ("method", "path", "query", "headers"),
    [
        ("PUT", f"/{BUCKET}/{CAT}", {"uploadId": "1"}, {}),
        ("PUT", f"/{BUCKET}/{CAT}", {"uploads": ""}, {}),
        ("PUT", f"/{BUCKET}/{CAT}", {"acl": ""}, {}),
        ("PUT", f"/{BUCKET}/{CAT}", {"response-content-type": "a/b"}, {}),
        ("DELETE", f"/{BUCKET}/{CAT}", {"uploads": ""}, {}),
        ("DELETE", f"/{BUCKET}/{CAT}", {"delete": ""}, {}),
        ("DELETE", f"/{BUCKET}/{CAT}", {"versionId": "1"}, {}),
        ("DELETE", f"/{BUCKET}/", {}, {}),
        ("GET", f"/{BUCKET}/{CAT}", {"acl": ""}, {}),
        ("GET", f"/{BUCKET}/{CAT}", {"delete": ""}, {}),
        ("GET", f"/{BUCKET}/{CAT}", {"x-oss-process": "style/a"}, {}),
        ("GET", f"/{BUCKET}/", {"acl": ""}, {}),
        ("HEAD", f"/{BUCKET}/{CAT}", {"response-content-type": "a/b"}, {}),
        (
            "PUT",
            f"/{BUCKET}/{CAT}",
            {},
            {"x-oss-callback": callback("http://a.example")},
        ),
        ("PUT", f"/{BUCKET}/{CAT}", {}, {"x-oss-server-side-encryption": "AES256"}),
        ("PATCH", f"/{BUCKET}/{CAT}", {}, {}),
        ("get", f"/{BUCKET}/{CAT}", {}, {}),
    ],
)
def test_what_is_not_imitated_is_not_taken_for_something_else(
    cloud: Cloud,
    key: KeyPair,
    method: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
) -> None:
    reply = ask(cloud, key, method, path, query, headers)

    assert reply.status == 501
    assert cloud.contents() == {f"{BUCKET}/{CAT}": b"meow"}
    anonymous = send(cloud.oss, Message(method, path, query, headers))
    assert anonymous.status == 403
