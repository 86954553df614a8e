"""Stored images: their format and size, and whether they may be decoded.

The head of a file is read first.  If it announces too many pixels, the image is refused
before it is decoded, so no request takes more memory and time than MAX_PIXELS need.

Sources: "Image processing" (limits) and the pages of EC 0040-00000005 to 19 in the OSS
documentation.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from localcloud.oss.errors import OssError, not_imitated

MAX_BYTES = 20 * 2**20  # of a source image
MAX_SIDE = 30_000  # of a source image, in pixels
SIDE_LIMITS = {  # and EC, where a format has its own
    "jpg": (MAX_SIDE, "0040-00000019"),
    "tiff": (16_384, "0040-00000018"),
}
OSS_MAX_PIXELS = 250_000_000  # of a source image, of all its frames together
MAX_PIXELS = 50_000_000  # ours: some 200 MB, once they are decoded
# Ours: each scan of a progressive JPEG, which can have a few bytes, goes over all its
# pixels again.  A photo has about ten.
MAX_SCANNED_PIXELS = 1_000_000_000
ORIENTATION = 0x0112  # the tag of Exif

# The first bytes of a file, OSS's name of the format, and its reader.  Image.open()
# would also warn about large images, by a limit that the whole process shares.
READERS: list[tuple[bytes, str, Callable[[BinaryIO], ImageFile.ImageFile]]] = [
    (b"\xff\xd8\xff", "jpg", JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", "png", PngImageFile),
    (b"GIF87a", "gif", GifImageFile),
    (b"GIF89a", "gif", GifImageFile),
    (b"RIFF", "webp", WebPImageFile),
    (b"BM", "bmp", BmpImageFile),
    (b"II*\0", "tiff", TiffImageFile),
    (b"MM\0*", "tiff", TiffImageFile),
]
LUMINANCE_SUM = 3688  # of the table for quality 50 (ITU-T T.81, table K.1)


@dataclass(frozen=True)
class Source:
    """An image whose head was read.  *format* is OSS's name, such as jpg."""

    file: ImageFile.ImageFile
    format: str
    size: int  # of the file, in bytes
    data: bytes

    @property
    def pixels(self) -> int:
        """The number of pixels in a frame."""
        return self.file.width * self.file.height

    @property
    def is_animated(self) -> bool:
        """Whether there are several frames; the pages of a TIFF are not frames."""
        return self.format != "tiff" and bool(getattr(self.file, "is_animated", False))

    @property
    def frames(self) -> int:
        """The number of frames."""
        return int(getattr(self.file, "n_frames", 1)) if self.is_animated else 1

    @property
    def quality(self) -> int | None:
        """The approximate quality of a JPEG; None for other formats."""
        tables = getattr(self.file, "quantization", None)
        if not tables:
            return None
        scale: float = sum(tables[min(tables)]) * 100 / LUMINANCE_SUM
        quality = 100 - scale / 2 if scale <= 100 else 5000 / scale
        return max(1, min(100, round(quality)))


def read_source(data: bytes) -> Source:
    """Return the image in *data*, reading only its head.  Raises OssError."""
    found = next((row for row in READERS if data.startswith(row[0])), None)
    if found is None or (found[1] == "webp" and data[8:12] != b"WEBP"):
        if data[4:8] == b"ftyp":
            raise not_imitated("HEIC and AVIF images")
        message = "This image format is not supported."
        raise OssError("BadRequest", message, ec="0040-00000005")
    _, name, reader = found
    try:
        return Source(reader(io.BytesIO(data)), name, len(data), data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_many_pixels() from None  # a frame of a GIF
    except MemoryError:
        raise
    except Exception:  # readers raise many errors for bytes that are not an image
        raise OssError("ImageDamage") from None


def check_size(size: int) -> None:
    """Raise OssError if a file of *size* bytes is too large to be processed."""
    if size > MAX_BYTES:
        message = f"The image has {size} bytes; at most {MAX_BYTES} can be processed."
        raise OssError("ImageTooLarge", message)


def too_many_pixels() -> OssError:
    """Return the error for an image with too many pixels for OSS."""
    message = f"The image has more than {OSS_MAX_PIXELS} pixels."
    return OssError("ImageTooLarge", message, ec="0040-00000012")


def check_pixels(source: Source, limit: int) -> None:
    """Raise OssError if *source* has more than *limit* pixels when decoded."""
    longest = max(source.file.size)
    most, ec = SIDE_LIMITS.get(source.format, (MAX_SIDE, ""))
    if longest > most:
        message = f"A side of the image has {longest} pixels, more than {most}."
        raise OssError("ImageTooLarge", message, ec=ec)
    if source.pixels * source.frames > OSS_MAX_PIXELS:
        raise too_many_pixels()
    if source.pixels > limit:
        raise not_imitated(f"processing of images with more than {limit} pixels")
    if source.format == "jpg":
        scans = source.data.count(b"\xff\xda")
        if scans * source.pixels > MAX_SCANNED_PIXELS:
            raise not_imitated(f"processing of a JPEG of this size with {scans} scans")


def decoded(source: Source) -> Image.Image:
    """Return the pixels, in RGB or RGBA.  Raises OssError."""
    if source.is_animated:
        raise not_imitated("processing of animated images")
    image: Image.Image = source.file
    try:
        image.load()
        if image.mode.startswith("I"):  # 16 bits a pixel
            image = image.convert("I").point(lambda value: value * (1 / 256))
            image = image.convert("L")
        mode = "RGBA" if image.has_transparency_data else "RGB"
        image = image if image.mode == mode else image.convert(mode)
    except MemoryError:
        raise
    except Exception:  # as above
        raise OssError("ImageDamage") from None
    image.info.clear()  # otherwise some of it would be saved with the result
    return image


def has_exif(source: Source) -> bool:
    """Tell whether there are Exif data that can be read without the pixels."""
    return source.format == "tiff" or "exif" in source.file.info


def orientation_of(source: Source) -> int:
    """Return the orientation in the Exif data, 1 to 8; 1 is upright.

    A TIFF is made upright when it is decoded.  In a PNG only data before the pixels are
    read, because looking after them would decode them all.
    """
    if source.format == "tiff" or not has_exif(source):
        return 1
    try:
        value = source.file.getexif().get(ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # as above; what cannot be read is not rotated
        return 1
    return value if value in range(1, 9) else 1
