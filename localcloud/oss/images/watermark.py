"""watermark: a text or an image on the image.

Pillow's own font is used for all texts.  It has only Latin letters; other characters
are drawn as boxes of about their size.

Sources: "Add watermarks" and the pages of EC 0040-00000250 to 265 in the OSS
documentation.
"""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from localcloud.oss.errors import OssError, not_imitated
from localcloud.oss.images.parameters import Step, read_steps
from localcloud.oss.images.picture import (
    GRAVITIES,
    Picture,
    offset_in,
    picture_of,
)
from localcloud.oss.images.source import check_pixels
from localcloud.oss.images.transform import Size, resize, rotated, scale_to

MAX_TEXT = 64  # characters
MAX_MARKS = 3  # images on one image
MAX_MARK_PIXELS = 4096 * 4096  # our own limit, for the image of a watermark
DEFAULT_SIZE = 40  # pixels, of a text
TILE = 512  # pixels, the least side of a tile that fills an image
MARGIN = 10  # pixels, to the edges
SHADOW = 2  # pixels, from a text to its shadow
FONTS = (
    "wqy-zenhei",
    "wqy-microhei",
    "fangzhengshusong",
    "fangzhengkaiti",
    "fangzhengheiti",
    "fangzhengfangsong",
    "droidsansfallback",
)


def watermark(picture: Picture, step: Step) -> None:
    """Put a text or an image on the image.  Raises OssError."""
    names = {"text", "image"} & step.parameters.keys()
    if not names:
        raise OssError("MissingArgument", "watermark needs one of text and image.")
    if len(names) == 2:
        raise not_imitated("a watermark of both text and image")
    mark = text_mark(step) if "text" in names else image_mark(picture, step)
    opacity = step.number("t", 0, 100)
    if opacity is not None:
        alpha = mark.getchannel("A")
        mark.putalpha(alpha.point([value * opacity // 100 for value in range(256)]))
    put(picture, mark, step)


def text_mark(step: Step) -> Image.Image:
    """Return the text as an image, just large enough for it.  Raises OssError."""
    text = step.decoded("text")
    if len(text) > MAX_TEXT:
        raise step.invalid("text", f"at most {MAX_TEXT} characters")
    if "type" in step.parameters and step.decoded("type") not in FONTS:
        fonts = f"one of {', '.join(FONTS)} in Base64"
        raise step.invalid("type", fonts, ec="0040-00000251")
    color = step.color("color", "000000")
    font = ImageFont.load_default(step.number("size", 1, 1000) or DEFAULT_SIZE)
    shadow = step.number("shadow", 0, 100) or 0
    text = "".join(c if c.isprintable() else " " for c in text)
    left, top, right, bottom = font.getbbox(text)
    space = SHADOW if shadow else 0
    degrees = step.number("rotate", 0, 360) or 0
    size = (
        max(1, int(right - left + 1) + space),
        max(1, int(bottom - top + 1) + space),
    )
    # Rotated, it is at most as large as the square over its diagonal.
    pixels = size[0] ** 2 + size[1] ** 2 if degrees % 180 else size[0] * size[1]
    if pixels > MAX_MARK_PIXELS:
        raise step.invalid("size", f"so small that there are {MAX_MARK_PIXELS} pixels")
    mark = Image.new("RGBA", size, f"{color}00")
    draw = ImageDraw.Draw(mark)
    if shadow:
        alpha = 255 * shadow // 100
        place = (space - left, space - top)
        draw.text(place, text, (0, 0, 0, alpha), font)
    draw.text((-left, -top), text, color, font)
    return rotated(mark, degrees)


def image_mark(picture: Picture, step: Step) -> Image.Image:
    """Return another object of the bucket as the image of a watermark.

    Its name may end with "?x-oss-process=image/resize,...", where P is a percentage of
    the image beneath.  Raises OssError.
    """
    picture.marks += 1
    if picture.marks > MAX_MARKS:
        raise OssError("InvalidArgument", f"At most {MAX_MARKS} images fit on one.")
    key, _, process = step.decoded("image").partition("?x-oss-process=")
    source = picture.load(key)
    check_pixels(source, MAX_MARK_PIXELS)
    mark = picture_of(source, picture.load)
    for inner in read_steps(process) if process else ():
        if inner.name != "resize":
            raise not_imitated(f"image/{inner.name} of a watermark")
        percent = inner.number("P", 1, 100)
        if percent is None:
            resize(mark, inner)
        else:
            share(mark, picture, percent)
    return mark.image.convert("RGBA")


def share(mark: Picture, picture: Picture, percent: int) -> None:
    """Resize *mark* to fit *percent* of *picture*, keeping its proportions."""
    size = Size(*mark.image.size)
    factor = min(
        whole * percent / 100 / side
        for whole, side in zip(picture.image.size, size, strict=True)
    )
    scale_to(mark, size.scaled(factor))


def put(picture: Picture, mark: Image.Image, step: Step) -> None:
    """Put *mark* at the place given by the parameters.  Raises OssError."""
    gravity = step.choice("g", GRAVITIES) or "se"
    across, down = step.number("x", 0, 4096), step.number("y", 0, 4096)
    across = MARGIN if across is None else across
    down = MARGIN if down is None else down
    shift = step.number("voffset", -1000, 1000) or 0
    space = step.number("padx", 0, 4096) or 0, step.number("pady", 0, 4096) or 0
    whole = picture.image.size
    if step.choice("fill", ("0", "1")) == "1":
        mark = tiled(mark, space)
        for left in range(0, whole[0], mark.width):
            for top in range(0, whole[1], mark.height):
                lay(picture.image, mark, left, top)
        return
    row, column = divmod(GRAVITIES.index(gravity), 3)
    left, top = offset_in(whole, mark.size, gravity)
    left += (across, 0, -across)[column]
    top += (down, shift, -down)[row]
    lay(picture.image, mark, left, top)


def lay(image: Image.Image, mark: Image.Image, left: int, top: int) -> None:
    """Draw *mark* on *image*; parts beyond the edges are left out."""
    edges = (
        max(0, -left),
        max(0, -top),
        min(mark.width, image.width - left),
        min(mark.height, image.height - top),
    )
    if edges[0] >= edges[2] or edges[1] >= edges[3]:
        return
    place = (max(0, left), max(0, top))
    seen = mark.crop(edges)
    if image.mode == "RGBA":
        image.alpha_composite(seen, place)
    else:
        image.paste(seen, place, seen)


def tiled(mark: Image.Image, space: tuple[int, int]) -> Image.Image:
    """Return *mark*, followed by *space*, repeated to a tile of at least TILE.

    Otherwise a mark of one pixel would be drawn once for each pixel of the image.
    """
    tile = Image.new("RGBA", (mark.width + space[0], mark.height + space[1]))
    tile.paste(mark)
    while tile.width < TILE or tile.height < TILE:
        across, down = 1 + (tile.width < TILE), 1 + (tile.height < TILE)
        larger = Image.new("RGBA", (tile.width * across, tile.height * down))
        for column in range(across):
            for row in range(down):
                larger.paste(tile, (tile.width * column, tile.height * row))
        tile = larger
    return tile
