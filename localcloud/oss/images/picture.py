"""The image that the actions work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from localcloud.oss.images.source import Source, decoded, orientation_of

# The nine places of watermark and crop
GRAVITIES = ("nw", "north", "ne", "west", "center", "east", "sw", "south", "se")


@dataclass
class Picture:
    """An image, and the format and quality to save it in.

    *load* returns another object of the bucket, for watermarks, and raises OssError.
    """

    image: Image.Image
    format: str  # of OSS, such as jpg
    orientation: int  # of Exif, 1 to 8
    quality: int | None  # of a JPEG as it was stored
    load: Callable[[str], Source]
    wanted_quality: int | None = None
    marks: int = 0  # images put on it


def picture_of(source: Source, load: Callable[[str], Source]) -> Picture:
    """Return *source* decoded.  Raises OssError."""
    orientation, quality = orientation_of(source), source.quality
    return Picture(decoded(source), source.format, orientation, quality, load)


def offset_in(
    outer: tuple[int, int], inner: tuple[int, int], gravity: str
) -> tuple[int, int]:
    """Return the offset of *inner* in *outer* if it is placed at *gravity*."""
    row, column = divmod(GRAVITIES.index(gravity), 3)
    return (
        (outer[0] - inner[0]) * column // 2,
        (outer[1] - inner[1]) * row // 2,
    )
