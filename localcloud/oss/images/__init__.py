"""Image processing, for GetObject with x-oss-process=image/...

    processed = process(data, "image/resize,w_200/format,png", load)
    processed.content_type, processed.body  # ("image/png", b"...")

It imitates resize, crop, rotate, auto-orient, quality, format, watermark and info.  The
answer is 501 for other actions, styles, saveas, animated images, HEIC and AVIF.

Differences from OSS: Pillow encodes the images, so their sizes in bytes differ a
little; texts are drawn in Pillow's own font, which has only Latin letters; color
profiles and all Exif data except the orientation are removed; the answer is 501 for
images of more than MAX_PIXELS, because they would take more memory than a test should.

A request passes through parameters (the parsed text), source (the stored image),
transform and watermark, and finally output.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from localcloud.oss.images.info import ImageInfo, describe, image_info
from localcloud.oss.images.output import MEDIA_TYPES, encoded, set_format, set_quality
from localcloud.oss.images.parameters import Step, read_steps
from localcloud.oss.images.picture import Picture, picture_of
from localcloud.oss.images.source import (
    MAX_BYTES,
    MAX_PIXELS,
    check_pixels,
    check_size,
    read_source,
)
from localcloud.oss.images.transform import auto_orient, crop, resize, rotate
from localcloud.oss.images.watermark import watermark

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "SLOTS",
    "ImageInfo",
    "Processed",
    "check_size",
    "image_info",
    "process",
]

ACTIONS: dict[str, Callable[[Picture, Step], None]] = {
    "auto-orient": auto_orient,
    "crop": crop,
    "format": set_format,
    "quality": set_quality,
    "resize": resize,
    "rotate": rotate,
    "watermark": watermark,
}
# The number of images in memory at once.  A caller takes a slot before reading one.
SLOTS = threading.BoundedSemaphore(2)


class Processed(NamedTuple):
    """A processed image."""

    content_type: str
    body: bytes


def process(data: bytes, text: str, load: Callable[[str], bytes]) -> Processed:
    """Return the image *data* processed by x-oss-process=*text*.

    *load* returns another object of the bucket, for watermarks.  The caller must hold
    one of SLOTS.  Raises OssError.
    """
    steps = read_steps(text)
    source = read_source(data)
    if steps[0].name == "info":
        return Processed("application/json", describe(source))
    check_pixels(source, MAX_PIXELS)
    picture = picture_of(source, lambda key: read_source(load(key)))
    for step in steps:
        ACTIONS[step.name](picture, step)
    return Processed(MEDIA_TYPES[picture.format], encoded(picture))
