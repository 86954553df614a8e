"""quality and format, and the encoding of the result.

Sources: "Adjust image quality" and "Convert image formats" in the OSS documentation.
"""

from __future__ import annotations

import io

from PIL import Image

from localcloud.oss.errors import not_imitated
from localcloud.oss.images.parameters import Step
from localcloud.oss.images.picture import Picture
from localcloud.oss.images.source import ORIENTATION

FORMATS = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tiff")
NOT_IMITATED = ("heic", "avif")
DEFAULT_QUALITY = 90  # our own, for images that were not JPEG
MEDIA_TYPES = {
    "bmp": "image/bmp",
    "gif": "image/gif",
    "jpg": "image/jpeg",
    "png": "image/png",
    "tiff": "image/tiff",
    "webp": "image/webp",
}
PILLOW_NAMES = {"jpg": "JPEG"}  # where it is not OSS's name in capitals


def set_quality(picture: Picture, step: Step) -> None:
    """Set the quality of a JPEG or WebP: Q, or q % of its present quality.

    Raises OssError.
    """
    absolute, relative = step.number("Q", 1, 100), step.number("q", 1, 100)
    before = picture.quality
    if absolute is not None:
        picture.wanted_quality = min(absolute, before or 100)
    elif relative is not None:
        picture.wanted_quality = max(1, relative * (before or 100) // 100)
    else:
        raise step.invalid("q", "given, or Q")


def set_format(picture: Picture, step: Step) -> None:
    """Set the format of the result.  Raises OssError."""
    wanted = step.parameters.get("", "")
    if wanted in NOT_IMITATED:
        raise not_imitated(f"image/format,{wanted}")
    wanted = step.choice("", FORMATS) or ""
    if not wanted:
        raise step.invalid("", f"one of {', '.join(FORMATS)}")
    if wanted == "gif":
        return  # only a GIF can become a GIF
    picture.format = "jpg" if wanted == "jpeg" else wanted


def encoded(picture: Picture) -> bytes:
    """Return the image encoded in its format."""
    image = picture.image
    if picture.format in ("jpg", "bmp"):  # these have no transparency
        image = flattened(image)
    options: dict[str, object] = {}
    if picture.format in ("jpg", "webp"):
        quality = picture.wanted_quality or picture.quality or DEFAULT_QUALITY
        options["quality"] = quality
    if picture.orientation != 1 and picture.format in ("jpg", "png", "webp"):
        exif = Image.Exif()
        exif[ORIENTATION] = picture.orientation
        options["exif"] = exif
    name = PILLOW_NAMES.get(picture.format, picture.format.upper())
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def flattened(image: Image.Image) -> Image.Image:
    """Return *image* on a white background."""
    if image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white
