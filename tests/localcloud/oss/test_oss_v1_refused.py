"""Signature V1 at a bucket made today, which takes V4 alone."""

from __future__ import annotations

from collections.abc import Iterator

import oss2
import pytest
from helpers.oss.client import OssReply, send
from helpers.oss.cloud import user_key
from helpers.oss.forms import as_browser, message_of, policy_text
from helpers.oss.signing import (
    BUCKET,
    CAT,
    V1_HEADER,
    V1_URL,
    V4_HEADER,
    V4_URL,
    KeyPair,
    Message,
    Scheme,
    edit_signature,
    in_headers,
    v1_fields,
)

from localcloud import LocalCloud
from localcloud.__main__ import make_cloud
from localcloud.network import Network
from localcloud.options import parse_arguments
from localcloud.oss import OssStandIn
from localcloud.sts import StsStandIn

REFUSED = (403, "AccessDenied")
EC = "0002-00000080"


@pytest.fixture(scope="module")
def oss() -> Iterator[OssStandIn]:
    """A stand-in as it is by default, with a bucket and a cat in it."""
    with StsStandIn() as sts, OssStandIn(sts) as stand_in:
        stand_in.create_bucket(BUCKET).put(CAT, b"meow")
        yield stand_in


@pytest.fixture
def key(oss: OssStandIn) -> KeyPair:
    """A key that may do all."""
    return user_key(oss.sts)


def assert_refused(reply: OssReply) -> None:
    """Check that the error is OSS's, and says what to do instead."""
    assert reply.outcome == REFUSED
    assert (reply.text("EC"), reply.headers["x-oss-ec"]) == (EC, EC)
    message = reply.text("Message")
    assert "Sign with version 4 (OSS4-HMAC-SHA256) and the region cn-hangz" in message
    assert "allow_v1=True" in message
    assert "--allow-v1" in message


@pytest.mark.parametrize("scheme", [V1_HEADER, V1_URL], ids=["header", "URL"])
def test_a_request_that_v1_signed_is_refused(
    oss: OssStandIn, key: KeyPair, scheme: Scheme
) -> None:
    reply = send(oss, scheme.sign(Message(), key, oss.clock()))

    assert_refused(reply)


@pytest.mark.parametrize("scheme", [V1_HEADER, V1_URL], ids=["header", "URL"])
def test_v1_is_refused_before_its_signature_is_looked_at(
    oss: OssStandIn, key: KeyPair, scheme: Scheme
) -> None:
    message = scheme.sign(Message(), key, oss.clock())

    assert_refused(send(oss, edit_signature(message, str.swapcase)))


def test_a_form_that_v1_signed_is_refused_and_stores_nothing(
    oss: OssStandIn, key: KeyPair
) -> None:
    policy = policy_text(oss.clock() + 60, [["starts-with", "$key", ""]])
    encoded = oss2.utils.b64encode_as_string(policy.encode())
    fields = {"key": "new", **v1_fields(key, encoded, oss.clock())}

    reply = send(oss, message_of(as_browser(fields)))

    assert_refused(reply)
    assert [request.code for request in oss.requests][-1:] == ["AccessDenied"]
    signed = V4_HEADER.sign(Message(path=f"/{BUCKET}/new"), key, oss.clock())
    assert send(oss, signed).code == "NoSuchKey"


@pytest.mark.parametrize("scheme", [V4_HEADER, V4_URL], ids=["header", "URL"])
def test_a_request_that_v4_signed_is_served(
    oss: OssStandIn, key: KeyPair, scheme: Scheme
) -> None:
    reply = send(oss, scheme.sign(Message(), key, oss.clock()))

    assert (reply.status, reply.body) == (200, b"meow")


def read_with_sdk(cloud: LocalCloud, version: str) -> bytes:
    """Read the cat with oss2 and a token."""
    token = cloud.token()
    auth = oss2.StsAuth(
        token["AccessKeyId"],
        token["AccessKeySecret"],
        token["SecurityToken"],
        auth_version=version,
    )
    session = oss2.Session()
    session.session.headers["Connection"] = "close"
    bucket = oss2.Bucket(
        auth, cloud.endpoint, cloud.bucket, region=cloud.region, session=session
    )
    data: bytes = bucket.get_object("cat").read()
    return data


def test_an_sdk_that_signs_with_v1_hears_why_not() -> None:
    with LocalCloud() as cloud:
        cloud.objects.put("cat", b"meow")

        with pytest.raises(oss2.exceptions.AccessDenied) as refusal:
            read_with_sdk(cloud, oss2.AUTH_VERSION_1)
        with_v4 = read_with_sdk(cloud, oss2.AUTH_VERSION_4)

    assert (refusal.value.status, refusal.value.details["EC"]) == (403, EC)
    assert with_v4 == b"meow"


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: LocalCloud(allow_v1=True), id="LocalCloud"),
        pytest.param(
            lambda: make_cloud(
                parse_arguments(["--allow-v1", "--", "x"]), Network(), ()
            ),
            id="--allow-v1",
        ),
    ],
)
@in_headers
def test_an_older_bucket_takes_both(make: object, scheme: Scheme) -> None:
    assert callable(make)
    with make() as cloud:
        cloud.objects.put("cat", b"meow")
        version = oss2.AUTH_VERSION_4 if scheme.is_v4 else oss2.AUTH_VERSION_1

        assert read_with_sdk(cloud, version) == b"meow"
