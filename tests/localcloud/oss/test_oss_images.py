"""Image processing: what x-oss-process makes of an image."""

from __future__ import annotations

import json

import pytest
from helpers.oss.pictures import (
    GRAY,
    ORIENTATION,
    WHITE,
    color_name,
    corners,
    encoded,
    opened,
    photo,
    picture,
    quarters,
    saved,
    turned,
)
from PIL import Image

from localcloud.oss import OssError
from localcloud.oss.images import process

NO_OTHERS: dict[str, bytes] = {}
alone = NO_OTHERS.__getitem__
QUARTERS = ["red", "green", "blue", "gray"]


def made(data: bytes, text: str, **others: bytes) -> bytes:
    """Return what image/*text* makes of *data*; *others* are objects beside it."""
    return process(data, f"image/{text}", others.__getitem__).body


def size(data: bytes) -> tuple[int, int]:
    return opened(data).size


# --- resize ---------------------------------------------------------------------

# The source has 200 x 100 pixels, as in the examples of the documentation.
SIZES = [
    ("resize,w_100", (100, 50)),
    ("resize,h_50", (100, 50)),
    ("resize,w_150,h_80", (150, 75)),
    ("resize,m_lfit,w_150,h_80", (150, 75)),
    ("resize,m_mfit,w_150,h_80", (160, 80)),
    ("resize,m_fill,w_150,h_80", (150, 80)),
    ("resize,m_pad,w_150,h_80", (150, 80)),
    ("resize,m_fixed,w_150,h_80", (150, 80)),
    ("resize,m_fill,w_50", (50, 50)),
    ("resize,m_pad,h_50", (50, 50)),
    ("resize,m_fixed,h_50", (50, 50)),
    ("resize,m_mfit,w_50", (50, 25)),
    ("resize,l_50", (50, 25)),
    ("resize,s_50", (100, 50)),
    ("resize,m_fixed,l_60,s_40", (60, 40)),
    ("resize,w_100,l_20", (100, 50)),  # w counts
    ("resize,p_50", (100, 50)),
    ("resize,p_150", (300, 150)),
    ("resize,p_1", (2, 1)),
    ("resize,w_400", (200, 100)),  # limit is 1
    ("resize,w_400,limit_1", (200, 100)),
    ("resize,w_400,limit_0", (400, 200)),
    ("resize,m_pad,w_300,h_300", (200, 100)),
    ("resize,m_pad,w_300,h_300,limit_0", (300, 300)),
    ("resize,m_fill,w_300,h_300,limit_0", (300, 300)),
    ("resize,m_fixed,w_1,h_1", (1, 1)),
    ("resize,w_1", (1, 1)),
    ("resize,w_100/resize,w_20", (20, 10)),
]


@pytest.mark.parametrize(("text", "wanted"), SIZES, ids=[text for text, _ in SIZES])
def test_an_image_is_resized(text: str, wanted: tuple[int, int]) -> None:
    assert size(made(picture(200, 100), text)) == wanted


def test_rounding_is_that_of_the_documentation() -> None:
    assert size(made(picture(256, 144), "resize,h_100")) == (178, 100)


@pytest.mark.parametrize("mode", ["lfit", "mfit", "fixed"])
def test_the_whole_image_is_there_after_it_was_resized(mode: str) -> None:
    assert corners(made(picture(200, 100), f"resize,m_{mode},w_80,h_80")) == QUARTERS


def test_fill_keeps_the_middle() -> None:
    image = opened(made(picture(200, 100), "resize,m_fill,w_50,h_50"))

    left, right = image.getpixel((20, 10)), image.getpixel((29, 10))
    assert (color_name(left), color_name(right)) == ("red", "green")


def test_pad_is_white_or_of_the_color_that_is_asked_for() -> None:
    white = made(picture(200, 100), "resize,m_pad,w_80,h_80")
    blue = made(picture(200, 100), "resize,m_pad,w_80,h_80,color_0000FF")

    assert corners(white) == ["white"] * 4
    assert corners(blue) == ["blue"] * 4
    assert color_name(opened(white).getpixel((10, 30))) == "red"


def test_a_very_long_image_becomes_a_small_one() -> None:
    line = picture(20_000, 2)

    assert size(made(line, "resize,m_fill,w_100,h_100,limit_0")) == (100, 100)
    assert size(made(line, "resize,m_pad,w_100,h_100,limit_0")) == (100, 100)
    assert size(made(line, "resize,w_100,h_100")) == (100, 1)


def test_a_gif_is_never_enlarged() -> None:
    assert size(made(picture(20, 10, "GIF"), "resize,w_40,limit_0")) == (20, 10)


def test_a_thumbnail_of_a_photo_weighs_little() -> None:
    data = photo(1280, 960)

    assert len(made(data, "resize,w_200")) < len(data) / 10


# --- crop, rotate, auto-orient --------------------------------------------------

CROPS = [
    ("crop,w_50,h_20", (50, 20), ["red"] * 4),
    ("crop,x_100,y_50", (100, 50), ["gray"] * 4),
    ("crop,w_40,h_40,g_ne", (40, 40), ["green"] * 4),
    ("crop,w_40,h_40,g_sw", (40, 40), ["blue"] * 4),
    ("crop,w_100,h_50,g_center", (100, 50), QUARTERS),
    ("crop,w_500,h_500,x_100", (100, 100), ["green", "green", "gray", "gray"]),
    ("crop,w_0,h_0", (200, 100), QUARTERS),
    ("crop,w_40,h_20,g_nw,x_10,y_60", (40, 20), ["blue"] * 4),
]


@pytest.mark.parametrize(
    ("text", "wanted", "colors"), CROPS, ids=[text for text, *_ in CROPS]
)
def test_an_image_is_cropped(
    text: str, wanted: tuple[int, int], colors: list[str]
) -> None:
    result = made(picture(200, 100), text)

    assert (size(result), corners(result)) == (wanted, colors)


ROTATIONS = [
    ("rotate,0", (200, 100), QUARTERS),
    ("rotate,90", (100, 200), ["blue", "red", "gray", "green"]),
    ("rotate,180", (200, 100), ["gray", "blue", "green", "red"]),
    ("rotate,270", (100, 200), ["green", "gray", "red", "blue"]),
    ("rotate,360", (200, 100), QUARTERS),
]


@pytest.mark.parametrize(("text", "wanted", "colors"), ROTATIONS)
def test_an_image_is_rotated_clockwise(
    text: str, wanted: tuple[int, int], colors: list[str]
) -> None:
    result = made(picture(200, 100), text)

    assert (size(result), corners(result)) == (wanted, colors)


def test_the_corners_beside_a_rotated_image_are_empty() -> None:
    as_png = opened(made(picture(100, 100), "rotate,45"))
    as_jpg = made(picture(100, 100, "JPEG"), "rotate,45")

    assert as_png.getpixel((0, 0))[3] == 0  # type: ignore[index]
    assert corners(as_jpg) == ["white"] * 4
    assert as_png.width == pytest.approx(142, abs=2)


# How the quarters lie that a viewer shows, by the orientation
UPRIGHT = {
    1: QUARTERS,
    2: ["green", "red", "gray", "blue"],
    3: ["gray", "blue", "green", "red"],
    4: ["blue", "gray", "red", "green"],
    5: ["red", "blue", "green", "gray"],
    6: ["blue", "red", "gray", "green"],
    7: ["gray", "green", "blue", "red"],
    8: ["green", "gray", "red", "blue"],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_photo_is_made_upright(orientation: int) -> None:
    result = made(turned(200, 100, orientation), "auto-orient,1")

    assert corners(result) == UPRIGHT[orientation]
    assert size(result) == ((100, 200) if orientation > 4 else (200, 100))
    assert ORIENTATION not in opened(result).getexif()


def test_a_photo_that_is_not_made_upright_says_how_it_lies() -> None:
    for text in ("auto-orient,0", "resize,w_100"):
        result = opened(made(turned(200, 100, 6), text))

        assert result.getexif()[ORIENTATION] == 6


# --- quality and format ---------------------------------------------------------


def test_quality_makes_a_jpeg_smaller() -> None:
    data = photo(300, 200, quality=90)
    sizes = [len(made(data, f"quality,Q_{quality}")) for quality in (90, 60, 30)]

    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] < sizes[0] / 2


def test_relative_quality_is_a_share_of_what_the_photo_has() -> None:
    absolute = made(photo(300, 200, quality=50), "quality,Q_25")
    relative = made(photo(300, 200, quality=50), "quality,q_50")

    assert len(relative) == pytest.approx(len(absolute), rel=0.05)


def test_a_quality_that_the_photo_never_had_is_not_made_up() -> None:
    data = photo(300, 200, quality=40)

    assert len(made(data, "quality,Q_100")) == pytest.approx(len(data), rel=0.05)


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize(
    ("wanted", "kind", "content_type"),
    [
        ("jpg", "JPEG", "image/jpeg"),
        ("jpeg", "JPEG", "image/jpeg"),
        ("png", "PNG", "image/png"),
        ("webp", "WEBP", "image/webp"),
        ("bmp", "BMP", "image/bmp"),
        ("tiff", "TIFF", "image/tiff"),
    ],
)
def test_each_format_becomes_each_other(
    source: str, wanted: str, kind: str, content_type: str
) -> None:
    data = picture(40, 40, source)

    result = process(data, f"image/format,{wanted}", alone)

    assert result.content_type == content_type
    assert opened(result.body).format == kind
    assert corners(result.body) == QUARTERS


@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_an_image_keeps_its_format(source: str) -> None:
    data = picture(40, 20, source)

    assert opened(made(data, "resize,w_20")).format == source
    assert opened(made(data, "format,gif")).format == source


def test_what_was_transparent_is_white_in_a_jpeg() -> None:
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))

    assert corners(made(saved(image), "format,jpg")) == ["white"] * 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "I;16"])
def test_images_of_all_kinds_of_pixels_are_processed(mode: str) -> None:
    kind = "TIFF" if mode == "PA" else "PNG"
    image = quarters(40, 20).convert("L" if mode == "I;16" else "RGB")
    if mode == "PA":
        image = image.convert("P")
    data = saved(image.convert(mode), kind)

    assert size(made(data, "resize,w_20/format,jpg")) == (20, 10)


def test_a_cmyk_photo_is_processed() -> None:
    data = saved(quarters(40, 20).convert("CMYK"), "JPEG")

    assert corners(made(data, "format,png")) == QUARTERS


def test_nothing_of_the_source_but_its_pixels_is_handed_on() -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    data = picture(20, 10, "JPEG", exif=exif, comment=b"a comment")

    for text in ("resize,w_10", "resize,w_10/format,png", "format,webp"):
        assert b"maker" not in made(data, text)
        assert b"a comment" not in made(data, text)


# --- watermark ------------------------------------------------------------------


def plain(width: int = 200, height: int = 100, kind: str = "PNG") -> bytes:
    return saved(Image.new("RGB", (width, height), WHITE), kind)


def marked(result: bytes) -> tuple[int, int, int, int]:
    """Return the rectangle of what is not white."""
    image = opened(result).convert("RGB")
    ink = image.convert("L").point([255 * (value < 200) for value in range(256)])
    box = ink.getbbox()
    assert box is not None, "there is no mark"
    return box


def text(words: str = "Hello") -> str:
    return f"watermark,text_{encoded(words)}"


def test_a_text_stands_at_the_bottom_on_the_right() -> None:
    left, top, right, bottom = marked(made(plain(), f"{text()},size_20"))

    assert 186 <= right <= 190
    assert 86 <= bottom <= 90
    assert left > 100
    assert top > 50


@pytest.mark.parametrize(
    ("gravity", "is_left", "is_top"),
    [
        ("nw", True, True),
        ("ne", False, True),
        ("sw", True, False),
        ("se", False, False),
    ],
)
def test_a_text_stands_where_it_is_wanted(
    gravity: str, is_left: bool, is_top: bool
) -> None:
    result = made(plain(), f"{text('Hi')},size_20,g_{gravity},x_5,y_5")
    left, top, right, bottom = marked(result)

    assert (right < 100, left > 100) == (is_left, not is_left)
    assert (bottom < 50, top > 50) == (is_top, not is_top)


def test_a_text_in_the_middle_is_shifted() -> None:
    boxes = [
        marked(made(plain(), f"{text()},size_20,g_center,voffset_{shift}"))
        for shift in (-20, 0, 20)
    ]

    assert [box[1] - boxes[1][1] for box in boxes] == [-20, 0, 20]


def test_a_larger_text_is_larger() -> None:
    small, large = (
        marked(made(plain(400, 200), f"{text()},size_{size}")) for size in (20, 40)
    )

    assert large[2] - large[0] == pytest.approx(2 * (small[2] - small[0]), abs=6)


def test_a_text_has_its_color() -> None:
    result = opened(made(plain(), f"{text('MMM')},size_60,color_FF0000,g_center"))
    colors = {color_name(pixel) for _, pixel in result.getcolors(1 << 20) or []}

    assert "red" in colors
    assert not colors & {"black", "blue", "green"}


def test_an_opaque_text_is_darker_than_one_that_shines_through() -> None:
    def darkest(opacity: int) -> int:
        result = made(plain(), f"{text('MMM')},size_60,g_center,t_{opacity}")
        return int(opened(result).convert("L").getextrema()[0])  # type: ignore[arg-type]

    assert darkest(100) < 10
    assert 100 < darkest(50) < 150
    assert darkest(0) == 255


def test_a_text_fills_the_image() -> None:
    result = made(plain(), f"{text('Hi')},size_10,fill_1,padx_10,pady_10")
    left, top, right, bottom = marked(result)

    assert left < 30
    assert top < 30
    assert right > 170
    assert bottom > 70


def test_a_text_is_rotated() -> None:
    left, top, right, bottom = marked(
        made(plain(200, 200), f"{text('Hello there')},size_20,rotate_90,g_center")
    )

    assert bottom - top > 2 * (right - left)


def test_a_text_has_a_shadow() -> None:
    words = f"{text('MMM')},size_40,color_FF0000,g_center"
    result = opened(made(plain(), f"{words},shadow_100"))
    colors = {color_name(pixel) for _, pixel in result.getcolors(1 << 20) or []}

    assert {"red", "black"} <= colors


@pytest.mark.parametrize(
    "words",
    [
        "杭州西湖",
        "日本語",
        "한국어",
        "🐱",
        "é\u0301",
        "a\nb",
        "\0",
        " ",
        "\u202e",
        "x" * 64,
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_text_of_any_script_is_drawn(words: str, kind: str) -> None:
    data = plain(300, 100, kind)

    result = made(data, f"{text(words)},rotate_30,shadow_50,fill_1")

    assert size(result) == (300, 100)


def test_an_image_is_put_upon_another() -> None:
    logo = saved(Image.new("RGB", (20, 10), (0, 0, 255)))

    result = made(plain(), f"watermark,image_{encoded('logo')},g_nw,x_0,y_0", logo=logo)

    assert marked(result) == (0, 0, 20, 10)
    assert corners(result)[0] == "blue"


@pytest.mark.parametrize(
    ("resized", "box"),
    [
        ("resize,P_50", (0, 0, 100, 50)),
        ("resize,P_10", (0, 0, 20, 10)),
        ("resize,w_40", (0, 0, 40, 20)),
    ],
)
def test_an_image_is_resized_before_it_is_put_upon_another(
    resized: str, box: tuple[int, int, int, int]
) -> None:
    logo = saved(Image.new("RGB", (80, 40), (0, 0, 255)))
    name = encoded(f"logo?x-oss-process=image/{resized}")

    result = made(plain(), f"watermark,image_{name},g_nw,x_0,y_0", logo=logo)

    assert marked(result) == box


def test_an_image_larger_than_the_one_beneath_is_cut_off() -> None:
    logo = saved(Image.new("RGB", (900, 900), GRAY))

    for gravity in ("nw", "center", "se"):
        words = f"watermark,image_{encoded('logo')},g_{gravity}"
        assert size(made(plain(), words, logo=logo)) == (200, 100)


def test_an_image_that_is_clear_in_part_shows_what_is_beneath() -> None:
    logo = Image.new("RGBA", (200, 100), (0, 0, 255, 0))
    logo.paste((0, 0, 255, 255), (0, 0, 100, 100))
    words = f"watermark,image_{encoded('logo')},x_0,y_0"

    on_rgb = made(plain(), words, logo=saved(logo))
    clear = saved(Image.new("RGBA", (200, 100), (255, 255, 255, 0)))
    on_rgba = opened(made(clear, words, logo=saved(logo)))

    assert corners(on_rgb) == ["blue", "white", "blue", "white"]
    assert on_rgba.getpixel((10, 10)) == (0, 0, 255, 255)
    assert on_rgba.getpixel((150, 10))[3] == 0  # type: ignore[index]


# --- info -----------------------------------------------------------------------


def info(data: bytes) -> dict[str, str]:
    result = process(data, "image/info", alone)
    assert result.content_type == "application/json"
    return {name: value["value"] for name, value in json.loads(result.body).items()}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("PNG", "png"),
        ("JPEG", "jpg"),
        ("GIF", "gif"),
        ("WEBP", "webp"),
        ("BMP", "bmp"),
        ("TIFF", "tiff"),
    ],
)
def test_info_says_what_an_image_is(kind: str, name: str) -> None:
    data = picture(200, 100, kind)

    said = info(data)

    assert said["ImageWidth"] == "200"
    assert said["ImageHeight"] == "100"
    assert (said["Format"], said["FrameCount"]) == (name, "1")
    assert said["FileSize"] == str(len(data))


def test_info_has_what_the_camera_noted() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x010F] = "maker"

    said = info(picture(20, 10, "JPEG", exif=exif))

    assert (said["Orientation"], said["Make"]) == ("6", "maker")
    assert (said["ImageWidth"], said["ImageHeight"]) == ("20", "10")


def animation(kind: str = "GIF") -> bytes:
    frames = [Image.new("RGB", (20, 10), color) for color in ("red", "blue", "gray")]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_described_and_not_processed(kind: str) -> None:
    data = animation(kind)

    assert info(data)["FrameCount"] == "3"
    with pytest.raises(OssError) as refusal:
        made(data, "resize,w_10")
    assert (refusal.value.status, refusal.value.code) == (501, "NotImplemented")
    assert "animated" in refusal.value.message
