"""Images that would cost more than they may: refused by their heads."""

from __future__ import annotations

import importlib
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from helpers.machine import PATIENCE_SECONDS
from helpers.oss.pictures import encoded, picture, saved
from helpers.settings import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from localcloud.oss import OssError, images
from localcloud.oss.images import MAX_PIXELS, process, source

pytestmark = pytest.mark.slow

NO_OTHERS: dict[str, bytes] = {}
alone = NO_OTHERS.__getitem__
TOO_LARGE = (400, "ImageTooLarge")
NOT_IMITATED = (501, "NotImplemented")


def png(width: int, height: int, rows: bytes = b"", color: int = 0) -> bytes:
    """Return a PNG of that size, a bit for each pixel, with *rows* compressed."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, height, 1, color, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", head),
            chunk(b"IDAT", zlib.compress(rows, 9)),
            chunk(b"IEND", b""),
        ]
    )


def gif(screen: int, frame: int) -> bytes:
    """Return a GIF with a frame that may be larger than its screen."""
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", screen, screen, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, frame, frame, 0)
        + b"\x02\x02\x4c\x01\0;"
    )


def jpeg(width: int, height: int) -> bytes:
    """Return a small JPEG whose head names another size."""
    data = bytearray(picture(8, 8, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    data = bytearray(picture(8, 8, "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def tiff(width: int, height: int) -> bytes:
    """Return a TIFF whose tags name another size than its strips have."""
    data = bytearray(saved(Image.new("L", (8, 8)), "TIFF"))
    (offset,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, offset)
    for at in range(offset + 2, offset + 2 + 12 * count, 12):
        tag = struct.unpack_from("<H", data, at)[0]
        if tag in (256, 257):
            side = width if tag == 256 else height
            struct.pack_into("<HHII", data, at, tag, 4, 1, side)
    return bytes(data)


def webp(width: int, height: int) -> bytes:
    """Return a WebP whose one frame is smaller than its canvas."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("<I", len(content)) + content

    def side(size: int) -> bytes:
        return struct.pack("<I", size - 1)[:3]

    image = saved(Image.new("RGB", (8, 8)), "WEBP", lossless=True)[12:]
    frame = bytes(6) + side(8) + side(8) + bytes(4) + image
    extended = b"\x02\0\0\0" + side(width) + side(height)  # 2: it is an animation
    chunks = [(b"VP8X", extended), (b"ANIM", bytes(6)), (b"ANMF", frame)]
    return chunk(b"RIFF", b"WEBP" + b"".join(chunk(*each) for each in chunks))


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that decodes an image."""

    def load(self: ImageFile.ImageFile) -> None:
        raise AssertionError("the image is decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)


@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize(
    ("data", "outcome", "ec"),
    [
        pytest.param(png(30_001, 1), TOO_LARGE, "", id="PNG side"),
        pytest.param(jpeg(30_001, 1), TOO_LARGE, "0040-00000019", id="JPEG side"),
        pytest.param(tiff(16_385, 1), TOO_LARGE, "0040-00000018", id="TIFF side"),
        pytest.param(bmp(1, 30_001), TOO_LARGE, "", id="BMP side"),
        pytest.param(png(30_000, 30_000), TOO_LARGE, "0040-00000012", id="PNG"),
        pytest.param(jpeg(30_000, 30_000), TOO_LARGE, "0040-00000012", id="JPEG"),
        pytest.param(bmp(30_000, 30_000), TOO_LARGE, "0040-00000012", id="BMP"),
        pytest.param(tiff(16_000, 16_000), TOO_LARGE, "0040-00000012", id="TIFF"),
        pytest.param(webp(16_000, 16_000), TOO_LARGE, "0040-00000012", id="WebP"),
        pytest.param(gif(30_000, 9), TOO_LARGE, "0040-00000012", id="GIF screen"),
        pytest.param(gif(9, 30_000), TOO_LARGE, "0040-00000012", id="GIF frame"),
        pytest.param(png(7_100, 7_100), NOT_IMITATED, "", id="PNG of ours"),
        pytest.param(jpeg(7_100, 7_100), NOT_IMITATED, "", id="JPEG of ours"),
    ],
)
def test_an_image_that_is_too_large_is_refused_by_its_head(
    data: bytes, outcome: tuple[int, str], ec: str
) -> None:
    with pytest.raises(OssError) as refusal:
        process(data, "image/resize,w_10", alone)

    error = refusal.value
    assert ((error.status, error.code), error.ec) == (outcome, ec)


@pytest.mark.usefixtures("undecoded")
def test_what_a_large_image_is_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    result = process(png(30_000, 30_000), "image/info", alone)

    assert b'"30000"' in result.body


def test_an_image_of_the_most_pixels_is_processed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 200)

    assert process(picture(20, 10), "image/resize,w_10", alone).body
    with pytest.raises(OssError) as refusal:
        process(picture(20, 11), "image/resize,w_10", alone)
    assert refusal.value.message.endswith("images with more than 200 pixels.")


def test_frames_count_as_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "OSS_MAX_PIXELS", 1_999)
    frames = [Image.new("L", (20, 10), 9 * i) for i in range(10)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])

    with pytest.raises(OssError) as refusal:
        process(data, "image/resize,w_10", alone)
    assert refusal.value.code == "ImageTooLarge"


def test_a_jpeg_of_very_many_scans_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_SCANNED_PIXELS", 100 * 100 * 20)
    data = picture(100, 100, "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    scan = data[start : data.index(b"\xff\xda", start + 2)]

    assert process(data, "image/resize,w_10", alone).body
    many = data[:start] + scan * 20 + data[start:]
    with pytest.raises(OssError) as refusal:
        process(many, "image/resize,w_10", alone)
    assert refusal.value.status == 501


def test_a_text_does_not_become_a_large_image() -> None:
    words = f"image/watermark,text_{encoded('W' * 64)},size_1000"

    for more in ("", ",rotate_45", ",fill_1"):
        with pytest.raises(OssError) as refusal:
            process(picture(20, 10), words + more, alone)
        assert refusal.value.code == "InvalidArgument"


def test_a_mark_does_not_become_a_large_image(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("localcloud.oss.images.watermark")
    monkeypatch.setattr(module, "MAX_MARK_PIXELS", 199)
    name = f"image/watermark,image_{encoded('logo')}"

    with pytest.raises(OssError) as refusal:
        process(picture(20, 10), name, lambda key: picture(20, 10))
    assert refusal.value.status == 501


def test_more_than_three_marks_are_refused() -> None:
    mark = f"watermark,image_{encoded('logo')}"

    def put(count: int) -> bytes:
        steps = "/".join(["image", *[mark] * count])
        return process(picture(20, 10), steps, lambda key: picture(2, 2)).body

    assert put(3)
    with pytest.raises(OssError) as refusal:
        put(4)
    assert refusal.value.code == "InvalidArgument"


def test_a_tiny_mark_fills_an_image_in_few_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pasted = []
    paste = Image.Image.paste

    def counted(self: Image.Image, *args: object, **options: object) -> None:
        pasted.append(self)
        paste(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "paste", counted)
    name = f"image/watermark,image_{encoded('logo')},fill_1"
    process(saved(Image.new("RGB", (2048, 2048))), name, lambda key: picture(1, 1))

    assert len(pasted) < 100


PROGRAM = """
import resource, sys
from localcloud.oss import OssError
from localcloud.oss.images import process

data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    process(data, "image/resize,w_10", None)
except OssError as error:
    print(error.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.process
def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    side = 29_000
    row = bytes(1 + side // 8)
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(side, side, row * side))  # 841 million pixels
    assert bomb.stat().st_size < 1 << 20

    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(bomb)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )

    code, kilobytes = result.stdout.split()
    assert code == "ImageTooLarge"
    assert int(kilobytes) < 20_000
    assert side * side > MAX_PIXELS


# --- Bytes of anyone ------------------------------------------------------------

SOURCES = [
    picture(20, 10, kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
]
PROCESSES = ["image/info", "image/auto-orient,1/resize,w_10", "image/format,png"]


@given(
    data=st.sampled_from(SOURCES),
    edits=st.lists(
        st.tuples(st.integers(0, 400), st.binary(max_size=4)), min_size=1, max_size=8
    ),
    end=st.integers(0, 2_000),
    text=st.sampled_from(PROCESSES),
)
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@pytest.mark.filterwarnings("ignore")  # of Pillow, about what it can still read
def test_no_bytes_are_a_defect(
    data: bytes, edits: list[tuple[int, bytes]], end: int, text: str
) -> None:
    edited = bytearray(data)
    for at, piece in edits:
        edited[at : at + len(piece)] = piece
    code, body = outcome(bytes(edited[:end]), text)
    assert code in ("", "BadRequest", "ImageDamage", "ImageTooLarge", "NotImplemented")
    if body and text != "image/info":
        Image.open(io.BytesIO(body)).verify()


@given(text=st.text(st.sampled_from("imagerszwpqtx/,_0123456789-|"), max_size=60))
def test_no_process_is_a_defect(text: str) -> None:
    code, _ = outcome(SOURCES[0], f"image/{text}")
    assert code in ("", "InvalidArgument", "MissingArgument", "NotImplemented")


def outcome(data: bytes, text: str) -> tuple[str, bytes]:
    """Return the code of the error, or the image."""
    try:
        return "", process(data, text, alone).body
    except OssError as error:
        return error.code, b""
