"""resize, crop, rotate and auto-orient.

Sources: "Resize images", "Custom crop", "Rotate", "Auto-rotate" and the pages of EC
0040-00000007 and 0040-00000322 in the OSS documentation.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image, ImageOps

from localcloud.oss.errors import OssError
from localcloud.oss.images.parameters import Step
from localcloud.oss.images.picture import GRAVITIES, Picture, offset_in

MAX_TARGET_SIDE = 16_384
MAX_TARGET_PIXELS = 4096 * 4096
MAX_ROTATED_SIDE = 4096
MODES = ("lfit", "mfit", "fill", "pad", "fixed")

# How to make an image upright, by its orientation in Exif
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    def scaled(self, factor: float) -> Size:
        """Return the size multiplied and rounded, each side at least one pixel."""
        return Size(*(max(1, int(side * factor + 0.5)) for side in self))

    def check(self) -> None:
        """Raise OssError if this size is too large for OSS."""
        if max(self) > MAX_TARGET_SIDE or self.width * self.height > MAX_TARGET_PIXELS:
            message = (
                f"The image would have {self.width} x {self.height} pixels; at most "
                f"{MAX_TARGET_PIXELS} are allowed, and {MAX_TARGET_SIDE} a side."
            )
            raise OssError("ImageTooLarge", message, ec="0040-00000007")


def resize(picture: Picture, step: Step) -> None:
    """Resize the image as m, w, h, l, s, p and limit say.  Raises OssError."""
    size = Size(*picture.image.size)
    mode = step.choice("m", MODES) or "lfit"
    enlarges = step.choice("limit", ("0", "1")) == "0" and picture.format != "gif"
    color = step.color("color", "FFFFFF")
    if "P" in step.parameters:
        raise step.invalid("P", "in the name of a watermark, and nowhere else")
    percent = step.number("p", 1, 1000)
    box, is_proportional = wanted_box(step, size)
    if box is None:
        if percent is None:
            message = "resize needs one of w, h, l, s and p."
            raise OssError("MissingArgument", message, ec="0040-00000322")
        scale_to(picture, size.scaled(percent / 100))
        return
    ratios = box.width / size.width, box.height / size.height
    if is_proportional or mode == "fixed":
        scaled = box
    else:
        scaled = size.scaled(min(ratios) if mode in ("lfit", "pad") else max(ratios))
    if not enlarges and (scaled.width > size.width or scaled.height > size.height):
        return
    if mode == "fill" and not is_proportional:
        box.check()
        # It is cut first: otherwise a very long image could become too large.
        picture.image = ImageOps.fit(picture.image, box, Image.Resampling.LANCZOS)
        return
    scale_to(picture, scaled)
    if mode == "pad" and not is_proportional:
        picture.image = padded(picture.image, box, color)


def wanted_box(step: Step, size: Size) -> tuple[Size | None, bool]:
    """Return the rectangle given by w and h, or by l and s; None if none is given.

    If only one of w and h is given, the other is the same, but lfit and mfit keep the
    proportions.  If only l or s is given, all modes keep the proportions, and the
    second value is true.
    """
    mode = step.parameters.get("m", "lfit")
    width = step.number("w", 1, MAX_TARGET_SIDE)
    height = step.number("h", 1, MAX_TARGET_SIDE)
    long = step.number("l", 1, MAX_TARGET_SIDE)
    short = step.number("s", 1, MAX_TARGET_SIDE)
    if width and height:
        return Size(width, height), False
    if width or height:
        side = width or height or 0
        if mode in ("lfit", "mfit"):
            factor = width / size.width if width else side / size.height
            return exactly(size.scaled(factor), width, height), True
        return Size(side, side), False
    if long and short:
        is_wide = size.width >= size.height
        return (Size(long, short) if is_wide else Size(short, long)), False
    if long or short:
        factor = long / max(size) if long else (short or 0) / min(size)
        return size.scaled(factor), True
    return None, False


def padded(image: Image.Image, box: Size, color: str) -> Image.Image:
    """Return *image* in the middle of a rectangle of *color*."""
    box.check()
    whole = Image.new(image.mode, box, color)
    whole.paste(image, offset_in(box, image.size, "center"))
    return whole


def exactly(size: Size, width: int | None, height: int | None) -> Size:
    """Return *size* with the side that was requested, without its rounding error."""
    return Size(width or size.width, height or size.height)


def scale_to(picture: Picture, size: Size) -> None:
    """Resize the image to *size*.  Raises OssError if that is too large."""
    size.check()
    if size != picture.image.size:
        picture.image = picture.image.resize(size, Image.Resampling.LANCZOS)


def crop(picture: Picture, step: Step) -> None:
    """Cut a rectangle out of the image; parts beyond the edges are left out.

    Raises OssError.
    """
    width, height = picture.image.size
    most = MAX_TARGET_SIDE * 2
    wanted = (
        min(step.number("w", 0, most) or width, width),
        min(step.number("h", 0, most) or height, height),
    )
    left, top = offset_in(
        picture.image.size, wanted, step.choice("g", GRAVITIES) or "nw"
    )
    left += step.number("x", 0, most) or 0
    top += step.number("y", 0, most) or 0
    if left >= width or top >= height:
        message = f"The image has {width} x {height} pixels, and crop begins beyond."
        raise OssError("BadRequest", message)
    edges = (left, top, min(left + wanted[0], width), min(top + wanted[1], height))
    picture.image = picture.image.crop(edges)


def rotate(picture: Picture, step: Step) -> None:
    """Rotate the image clockwise by 0 to 360 degrees.  Raises OssError."""
    degrees = step.number("", 0, 360)
    if degrees is None:
        raise step.invalid("", "a number from 0 to 360")
    check_rotation(picture)
    picture.image = rotated(picture.image, degrees)


def rotated(image: Image.Image, degrees: int) -> Image.Image:
    """Return *image* rotated clockwise, enlarged to hold its corners."""
    if degrees % 90:
        image = image.convert("RGBA")  # the corners are transparent
    return image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True)


def check_rotation(picture: Picture) -> None:
    """Raise OssError if OSS does not rotate an image of this size."""
    if max(picture.image.size) > MAX_ROTATED_SIDE:
        message = (
            "Picture exceed the maximum allowable rotation range: "
            f"a side has at most {MAX_ROTATED_SIDE} pixels."
        )
        raise OssError("BadRequest", message)


def auto_orient(picture: Picture, step: Step) -> None:
    """Make the image upright by its Exif data, if the value is 1.  Raises OssError."""
    if "" not in step.parameters:
        raise step.invalid("", "0 or 1", ec="0040-00000214")
    if step.number("", 0, 1) == 0 or picture.orientation == 1:
        return
    check_rotation(picture)
    picture.image = picture.image.transpose(UPRIGHT[picture.orientation])
    picture.orientation = 1
