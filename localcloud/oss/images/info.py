"""info: the properties of an image, as JSON.

Source: "Query image information" in the OSS documentation.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from PIL.ExifTags import TAGS
from PIL.TiffImagePlugin import IFDRational

from localcloud.oss.errors import OssError
from localcloud.oss.images.source import MAX_BYTES, Source, has_exif, read_source


class ImageInfo(NamedTuple):
    """The facts about an image in a callback; *format* is OSS's name, such as jpg."""

    width: int
    height: int
    format: str


def image_info(data: bytes) -> ImageInfo | None:
    """Return the facts about the image *data*, None if OSS cannot process it."""
    if len(data) > MAX_BYTES:
        return None
    try:
        source = read_source(data)
    except OssError:
        return None
    return ImageInfo(source.file.width, source.file.height, source.format)


def describe(source: Source) -> bytes:
    """Return the JSON document about *source*; all its values are strings."""
    values = {
        **exif_of(source),
        "FileSize": str(source.size),
        "Format": source.format,
        "FrameCount": str(source.frames),
        "ImageHeight": str(source.file.height),
        "ImageWidth": str(source.file.width),
    }
    document = {name: {"value": values[name]} for name in sorted(values)}
    return json.dumps(document, ensure_ascii=False, indent=2).encode()


def exif_of(source: Source) -> dict[str, str]:
    """Return the numbers and short texts in the Exif data by name."""
    if not has_exif(source):
        return {}
    try:
        tags = dict(source.file.getexif())
    except MemoryError:
        raise
    except Exception:  # of bytes that are not Exif data
        return {}
    found = {}
    for number, value in tags.items():
        name = TAGS.get(number)
        if name is None:
            continue
        if isinstance(value, IFDRational):
            found[name] = f"{value.numerator}/{value.denominator}"
        elif isinstance(value, int):
            found[name] = str(value)
        elif isinstance(value, str) and value.isprintable():
            found[name] = value
    return found
