"""Image processing: what GetObject with x-oss-process=image/... sends.

    processed = process(data, "image/resize,w_200/format,png", load)
    processed.content_type, processed.body  # ("image/png", b"...")

Imitated are resize, crop, rotate, auto-orient, quality, format, watermark and info.
The other actions, styles, saveas, animated images, and HEIC and AVIF are answered with
501.

What differs from OSS: the bytes are Pillow's, so sizes differ a little; texts are drawn
in Pillow's own font, which has Latin letters alone; Exif data but the orientation, and
color profiles, are left out; images of more than MAX_PIXELS are answered with 501,
because they would take more memory than a test should.

A request passes through parameters (the text taken apart), source (what was stored),
transform and watermark, and output last.
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
# How many images may be in memory at once.  Who reads one takes a slot first.
SLOTS = threading.BoundedSemaphore(2)


class Processed(NamedTuple):
    """What an image became."""

    content_type: str
    body: bytes


def process(data: bytes, text: str, load: Callable[[str], bytes]) -> Processed:
    """Return what x-oss-process=*text* makes of the image *data*.

    *load* returns another object of the bucket, for watermarks.  The caller has one of
    SLOTS.  Raises OssError.
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
