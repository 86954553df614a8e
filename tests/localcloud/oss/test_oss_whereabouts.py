"""Whether a bucket is there, and in which region: what OSS tells everybody."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from xml.etree import ElementTree

import oss2
import pytest
from helpers.oss.client import DENIED, OssReply, send
from helpers.oss.cloud import user_key
from helpers.oss.forms import as_browser, message_of
from helpers.oss.signing import BUCKET, CAT, REGION, V4_HEADER, KeyPair, Message

from localcloud.oss import OssStandIn
from localcloud.sts import StsStandIn

ELSEWHERE = "bucket-in-shanghai"
ENDPOINT = "oss-cn-shanghai.aliyuncs.com"
WRONG_ENDPOINT = "must be addressed using the specified endpoint"


@pytest.fixture(scope="module")
def oss() -> Iterator[OssStandIn]:
    """A stand-in with one bucket, and one more in another region."""
    with StsStandIn() as sts, OssStandIn(sts) as stand_in:
        stand_in.create_bucket(BUCKET).put(CAT, b"meow")
        stand_in.add_bucket_elsewhere(ELSEWHERE, "cn-shanghai")
        yield stand_in


Ask = Callable[[OssStandIn, str], OssReply]


def get_object(oss: OssStandIn, bucket: str) -> OssReply:
    return send(oss, Message(path=f"/{bucket}/{CAT}"))


def list_objects(oss: OssStandIn, bucket: str) -> OssReply:
    return send(oss, Message(path=f"/{bucket}/", query={"max-keys": "1"}))


def put_object(oss: OssStandIn, bucket: str) -> OssReply:
    return send(oss, Message("PUT", f"/{bucket}/new", body=b"x"))


def post_form(oss: OssStandIn, bucket: str) -> OssReply:
    return send(oss, message_of(as_browser({"key": "new"}), f"/{bucket}/"))


def by_host(oss: OssStandIn, bucket: str) -> OssReply:
    headers = {"host": f"{bucket}.oss-{REGION}.aliyuncs.com"}
    return send(oss, Message(target="/", headers=headers))


each_request = pytest.mark.parametrize(
    "ask", [get_object, list_objects, put_object, post_form, by_host]
)


@each_request
def test_nobody_hears_more_of_a_bucket_than_that_it_is_there(
    oss: OssStandIn, ask: Ask
) -> None:
    reply = ask(oss, BUCKET)

    assert reply.outcome == DENIED
    assert reply.text("Message").startswith("Anonymous access is forbidden")
    assert reply.xml.find("Endpoint") is None


@each_request
def test_everybody_hears_that_a_bucket_is_not_there(oss: OssStandIn, ask: Ask) -> None:
    reply = ask(oss, "my-buckets")

    assert reply.outcome == (404, "NoSuchBucket")
    assert reply.text("BucketName") == "my-buckets"
    assert reply.text("EC") == "0015-00000101"


@each_request
def test_everybody_hears_in_which_region_a_bucket_is(oss: OssStandIn, ask: Ask) -> None:
    reply = ask(oss, ELSEWHERE)

    assert reply.outcome == DENIED
    assert WRONG_ENDPOINT in reply.text("Message")
    assert (reply.text("Bucket"), reply.text("Endpoint")) == (ELSEWHERE, ENDPOINT)
    assert reply.text("EC") == reply.headers["x-oss-ec"] == "0003-00001403"


def test_who_asks_for_no_bucket_hears_of_none(oss: OssStandIn) -> None:
    assert send(oss, Message(path="/")).outcome == DENIED


def test_who_would_make_a_bucket_hears_nothing_of_it(oss: OssStandIn) -> None:
    reply = send(oss, Message("PUT", "/my-buckets/"))

    assert reply.outcome == DENIED


def test_head_has_it_in_a_header(oss: OssStandIn) -> None:
    reply = send(oss, Message("HEAD", f"/{ELSEWHERE}/{CAT}"))

    error = ElementTree.fromstring(base64.b64decode(reply.headers["x-oss-err"]))
    assert (reply.status, error.findtext("Endpoint")) == (403, ENDPOINT)


@pytest.fixture
def key(oss: OssStandIn) -> KeyPair:
    """A key that may do all."""
    return user_key(oss.sts)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_request_that_is_signed_is_sent_on_too(
    oss: OssStandIn, key: KeyPair, method: str
) -> None:
    message = Message(method, f"/{ELSEWHERE}/{CAT}")

    reply = send(oss, V4_HEADER.sign(message, key, oss.clock()))

    assert (reply.status, reply.text("Endpoint")) == (403, ENDPOINT)


def test_an_sdk_hears_of_the_right_endpoint(oss: OssStandIn, key: KeyPair) -> None:
    auth = oss2.AuthV4(key.access_key_id, key.access_key_secret)
    session = oss2.Session()
    session.session.headers["Connection"] = "close"
    bucket = oss2.Bucket(auth, oss.url, ELSEWHERE, region=REGION, session=session)

    with pytest.raises(oss2.exceptions.AccessDenied) as refusal:
        bucket.get_object(CAT)

    assert refusal.value.details["Endpoint"] == ENDPOINT


@pytest.mark.parametrize(
    ("name", "region"),
    [(BUCKET, "cn-shanghai"), ("other", REGION), ("Other", "cn-shanghai")],
)
def test_a_bucket_that_cannot_be_elsewhere_is_refused(
    oss: OssStandIn, name: str, region: str
) -> None:
    with pytest.raises(ValueError, match=name):
        oss.add_bucket_elsewhere(name, region)
