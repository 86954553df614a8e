"""Requests with x-oss-process: who may send them, and what is refused."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.oss.client import DENIED, MISMATCH, OK, OssReply, send
from helpers.oss.cloud import Cloud, allow, ask
from helpers.oss.pictures import encoded, opened, photo, picture
from helpers.oss.signing import (
    BUCKET,
    V4_HEADER,
    KeyPair,
    Message,
    Scheme,
    each_scheme,
)

from localcloud.oss import images
from localcloud.oss.images import MAX_BYTES
from localcloud.oss.images.parameters import Step
from localcloud.oss.images.picture import Picture

NOT_IMITATED = (501, "NotImplemented")
PICTURE, LOGO = "dir/picture.png", "logos/logo.png"


@pytest.fixture(autouse=True)
def _pictures(cloud: Cloud) -> None:
    """Put two pictures into the bucket."""
    cloud.buckets[BUCKET].put(PICTURE, picture(200, 100))
    cloud.buckets[BUCKET].put(LOGO, picture(20, 10))


def get(
    cloud: Cloud, key: KeyPair, process: str, name: str = PICTURE, **headers: str
) -> OssReply:
    """Get the picture as *process* makes it; a_b is the header a-b."""
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    query = {"x-oss-process": process}
    return ask(cloud, key, path=f"/{BUCKET}/{name}", query=query, headers=named)


# --- Who may --------------------------------------------------------------------


@each_scheme
def test_it_is_signed_like_any_parameter(
    cloud: Cloud, key: KeyPair, scheme: Scheme
) -> None:
    query = {"x-oss-process": "image/resize,w_100"}
    message = Message(path=f"/{BUCKET}/{PICTURE}", query=query)
    message = scheme.sign(message, key, cloud.clock.now)
    other = message.with_query({"x-oss-process": "image/resize,w_199"})
    without = message.with_query({"x-oss-process": None})

    assert opened(send(cloud.oss, message).body).size == (100, 50)
    assert send(cloud.oss, other).outcome == MISMATCH
    assert send(cloud.oss, without).outcome == MISMATCH


def test_who_may_read_an_image_may_have_it_processed(cloud: Cloud) -> None:
    reader = cloud.session(allow("GetObject", on=f"{BUCKET}/dir/*"))
    writer = cloud.session(allow("PutObject", "PostProcessTask", on=f"{BUCKET}/*"))

    assert get(cloud, reader, "image/resize,w_100").outcome == OK
    assert get(cloud, reader, "image/info").outcome == OK
    assert get(cloud, writer, "image/resize,w_100").outcome == DENIED
    assert get(cloud, reader, "image/resize,w_100", LOGO).outcome == DENIED


def test_what_is_put_upon_an_image_must_be_readable_too(cloud: Cloud) -> None:
    process = f"image/watermark,image_{encoded(LOGO)}"
    of_one = cloud.session(allow("GetObject", on=f"{BUCKET}/dir/*"))
    of_both = cloud.session(allow("GetObject", on=f"{BUCKET}/*"))

    assert get(cloud, of_one, process).outcome == DENIED
    assert get(cloud, of_both, process).outcome == OK


# --- The reply ------------------------------------------------------------------


def test_the_reply_is_about_the_new_image(cloud: Cloud, key: KeyPair) -> None:
    plain = ask(cloud, key, path=f"/{BUCKET}/{PICTURE}")

    reply = get(cloud, key, "image/resize,w_100/format,jpg")

    assert reply.headers["content-type"] == "image/jpeg"
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["last-modified"] == plain.headers["last-modified"]
    assert "content-md5" not in reply.headers
    assert "x-oss-hash-crc64ecma" not in reply.headers


def test_a_range_is_not_for_an_image_that_is_made(cloud: Cloud, key: KeyPair) -> None:
    reply = get(cloud, key, "image/resize,w_100", range="bytes=0-9")

    assert reply.status == 200
    assert opened(reply.body).size == (100, 50)


def test_an_empty_process_is_none(cloud: Cloud, key: KeyPair) -> None:
    assert get(cloud, key, "").body == picture(200, 100)


def test_conditions_are_about_the_source(cloud: Cloud, key: KeyPair) -> None:
    etag = ask(cloud, key, path=f"/{BUCKET}/{PICTURE}").headers["etag"]

    same = get(cloud, key, "image/resize,w_100", if_none_match=etag)
    other = get(cloud, key, "image/resize,w_100", if_match='"0"')

    assert same.status == 304
    assert other.outcome == (412, "PreconditionFailed")


def test_an_image_that_is_not_there_is_not_found(cloud: Cloud, key: KeyPair) -> None:
    missing = get(cloud, key, "image/info", "dir/none.png")
    mark = get(cloud, key, f"image/watermark,image_{encoded('none.png')}")

    assert missing.outcome == mark.outcome == (404, "NoSuchKey")


def test_head_and_put_do_not_process(cloud: Cloud, key: KeyPair) -> None:
    path, query = f"/{BUCKET}/{PICTURE}", {"x-oss-process": "image/resize,w_100"}

    assert ask(cloud, key, "HEAD", path, query).status == 501
    assert ask(cloud, key, "PUT", path, query).outcome == NOT_IMITATED


# --- What is wrong --------------------------------------------------------------

TEXT = encoded("Hello")
INVALID = [  # the process, the code and the EC
    ("image", "InvalidArgument", "0040-00000212"),
    ("image/", "InvalidArgument", "0040-00000212"),
    ("image/slim,1", "InvalidArgument", "0040-00000213"),
    ("image/resize", "MissingArgument", "0040-00000322"),
    ("image/resize,m_fill", "MissingArgument", "0040-00000322"),
    ("image/resize,w_100,m_abc", "InvalidArgument", "0040-00000311"),
    ("image/resize,w_0", "InvalidArgument", "0040-00000312"),
    ("image/resize,w_16385", "InvalidArgument", "0040-00000312"),
    ("image/resize,w_-1", "InvalidArgument", "0040-00000312"),
    ("image/resize,w_1e2", "InvalidArgument", "0040-00000312"),
    ("image/resize,w_", "InvalidArgument", "0040-00000312"),
    ("image/resize,w_٣", "InvalidArgument", "0040-00000312"),
    ("image/resize,l_0", "InvalidArgument", "0040-00000314"),
    ("image/resize,s_0", "InvalidArgument", "0040-00000315"),
    ("image/resize,p_0", "InvalidArgument", "0040-00000317"),
    ("image/resize,p_1001", "InvalidArgument", "0040-00000317"),
    ("image/resize,w_100,limit_3", "InvalidArgument", "0040-00000319"),
    ("image/resize,m_pad,w_9,h_9,color_red", "InvalidArgument", ""),
    ("image/resize,P_50", "InvalidArgument", ""),
    ("image/resize,w_1,w_2", "InvalidArgument", ""),
    ("image/resize,w", "InvalidArgument", ""),
    ("image/resize,m_fixed,w_5000,h_5000,limit_0", "ImageTooLarge", "0040-00000007"),
    ("image/resize,m_pad,w_5000,h_5000,limit_0", "ImageTooLarge", "0040-00000007"),
    ("image/resize,m_fill,w_5000,h_5000,limit_0", "ImageTooLarge", "0040-00000007"),
    ("image/resize,p_1000/resize,p_1000", "ImageTooLarge", "0040-00000007"),
    ("image/crop,w_abc", "InvalidArgument", "0040-00000225"),
    ("image/crop,x_200", "BadRequest", ""),
    ("image/crop,y_100", "BadRequest", ""),
    ("image/crop,g_top", "InvalidArgument", ""),
    ("image/rotate", "InvalidArgument", "0040-00000217"),
    ("image/rotate,abc", "InvalidArgument", "0040-00000217"),
    ("image/rotate,400", "InvalidArgument", "0040-00000217"),
    ("image/rotate,90,90", "InvalidArgument", ""),
    ("image/resize,m_fixed,w_4097,h_9,limit_0/rotate,90", "BadRequest", ""),
    ("image/auto-orient", "InvalidArgument", "0040-00000214"),
    ("image/auto-orient,abc", "InvalidArgument", "0040-00000215"),
    ("image/auto-orient,2", "InvalidArgument", "0040-00000215"),
    ("image/quality", "InvalidArgument", ""),
    ("image/quality,q_0", "InvalidArgument", ""),
    ("image/quality,Q_101", "InvalidArgument", ""),
    ("image/format", "InvalidArgument", ""),
    ("image/format,exe", "InvalidArgument", ""),
    ("image/watermark", "MissingArgument", ""),
    ("image/watermark,text_notbase64!", "InvalidArgument", "0040-00000257"),
    ("image/watermark,text_a", "InvalidArgument", "0040-00000257"),
    ("image/watermark,text__w", "InvalidArgument", "0040-00000257"),  # 0xff
    (f"image/watermark,text_{encoded('x' * 65)}", "InvalidArgument", "0040-00000257"),
    (f"image/watermark,text_{TEXT},type_!", "InvalidArgument", "0040-00000250"),
    (f"image/watermark,text_{TEXT},type_{TEXT}", "InvalidArgument", "0040-00000251"),
    (f"image/watermark,text_{TEXT},size_0", "InvalidArgument", ""),
    (f"image/watermark,text_{TEXT},size_1001", "InvalidArgument", ""),
    (f"image/watermark,text_{TEXT},color_12345", "InvalidArgument", ""),
    (f"image/watermark,text_{TEXT},t_101", "InvalidArgument", ""),
    (f"image/watermark,text_{TEXT},g_middle", "InvalidArgument", ""),
    (f"image/watermark,text_{TEXT},x_4097", "InvalidArgument", ""),
    (f"image/watermark,text_{TEXT},voffset_-1001", "InvalidArgument", ""),
    ("image/watermark,image_!", "InvalidArgument", "0040-00000265"),
    ("image/info/resize,w_10", "InvalidArgument", ""),
]


@pytest.mark.parametrize(
    ("process", "code", "ec"), INVALID, ids=[process for process, *_ in INVALID]
)
def test_what_oss_would_refuse_is_refused(
    cloud: Cloud, key: KeyPair, process: str, code: str, ec: str
) -> None:
    reply = get(cloud, key, process)

    assert reply.outcome == (400, code)
    assert (reply.xml.findtext("EC") or "") == ec
    assert reply.text("Message")


@pytest.mark.parametrize(
    "process",
    [
        "style/thumbnail",
        "video/snapshot,t_1000",
        "image/circle,r_100",
        "image/blur,r_3,s_2",
        "image/average-hue",
        "image/resize,w_100,new_1",
        "image/format,heic",
        f"image/watermark,text_{TEXT},image_{encoded(LOGO)}",
        "image/resize,w_100|sys/saveas,o_YQ",
        "image/" + "/".join(["resize,w_10"] * 21),
    ],
)
def test_what_is_not_imitated_is_said(cloud: Cloud, key: KeyPair, process: str) -> None:
    assert get(cloud, key, process).outcome == NOT_IMITATED


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        pytest.param(b"", (400, "BadRequest"), id="empty"),
        pytest.param(b"meow", (400, "BadRequest"), id="text"),
        pytest.param(b"<svg/>", (400, "BadRequest"), id="SVG"),
        pytest.param(b"RIFF\0\0\0\0WAVE", (400, "BadRequest"), id="WAVE"),
        pytest.param(b"\0\0\0\x18ftypheic", NOT_IMITATED, id="HEIC"),
        pytest.param(b"\x89PNG\r\n\x1a\n", (403, "ImageDamage"), id="half a head"),
        pytest.param(photo(64, 64)[:-900], (403, "ImageDamage"), id="half an image"),
    ],
)
def test_what_is_not_an_image_is_refused(
    cloud: Cloud, key: KeyPair, data: bytes, outcome: tuple[int, str]
) -> None:
    cloud.buckets[BUCKET].put("file", data)

    assert get(cloud, key, "image/resize,w_10", "file").outcome == outcome


def test_an_image_of_more_than_20_mb_is_refused(cloud: Cloud, key: KeyPair) -> None:
    data = picture(20, 10)
    bucket = cloud.buckets[BUCKET]
    bucket.put("most", data + bytes(MAX_BYTES - len(data)))
    bucket.put("more", data + bytes(MAX_BYTES + 1 - len(data)))

    assert get(cloud, key, "image/resize,w_10", "most").outcome == OK
    assert get(cloud, key, "image/info", "more").outcome == (400, "ImageTooLarge")


# --- Many at once ---------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many images were in memory whenever one was decoded."""
    lock, seen, now = threading.Lock(), [], [0]
    arrived = threading.Event()
    resize = images.ACTIONS["resize"]

    def counted(image: Picture, step: Step) -> None:
        with lock:
            now[0] += 1
            seen.append(now[0])
        if now[0] > 1:
            arrived.set()
        arrived.wait(2)  # for another one; a slow machine makes the test only weaker
        resize(image, step)
        with lock:
            now[0] -= 1

    monkeypatch.setitem(images.ACTIONS, "resize", counted)
    yield seen
    arrived.set()


def test_two_images_are_in_memory_at_once_and_all_others_wait(
    cloud: Cloud, key: KeyPair, slow: list[int]
) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(lambda _: get(cloud, key, "image/resize,w_100"), range(16))
        )

    assert {reply.outcome for reply in replies} == {OK}
    assert len(slow) == 16
    assert max(slow) == 2


def test_a_presigned_url_may_be_opened_by_a_browser(cloud: Cloud, key: KeyPair) -> None:
    text = base64.urlsafe_b64encode("杭州".encode()).decode()  # with its padding
    message = Message(
        path=f"/{BUCKET}/{PICTURE}",
        query={"x-oss-process": f"image/resize,w_100/watermark,text_{text}"},
    )
    signed = V4_HEADER.sign(message, key, cloud.clock.now)

    assert send(cloud.oss, signed).outcome == OK
