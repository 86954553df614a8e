"""Pictures whose pixels show how they were processed."""

from __future__ import annotations

import base64
import io

from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
BLACK, GRAY = (0, 0, 0), (128, 128, 128)
QUARTERS = (RED, GREEN, BLUE, GRAY)  # top left, top right, bottom left, bottom right
ORIENTATION = 0x0112  # the tag of Exif


def quarters(width: int, height: int) -> Image.Image:
    """Return an image whose quarters have the colors of QUARTERS."""
    image = Image.new("RGB", (width, height), GRAY)
    half = width // 2, height // 2
    image.paste(RED, (0, 0, *half))
    image.paste(GREEN, (half[0], 0, width, half[1]))
    image.paste(BLUE, (0, half[1], half[0], height))
    return image


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return the bytes of *image* as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(width: int, height: int, kind: str = "PNG", **options: object) -> bytes:
    """Return the bytes of an image in quarters."""
    return saved(quarters(width, height), kind, **options)


def photo(width: int, height: int, quality: int = 90) -> bytes:
    """Return a JPEG that is as hard to compress as a photo."""
    image = Image.effect_noise((width, height), 60).convert("RGB")
    return saved(image, "JPEG", quality=quality)


def turned(width: int, height: int, orientation: int) -> bytes:
    """Return a JPEG in quarters as saved by a phone that was turned."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return picture(width, height, "JPEG", exif=exif, quality=95, subsampling=0)


def opened(data: bytes) -> Image.Image:
    """Return *data* as an image."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def corners(data: bytes) -> list[str]:
    """Return the names of the colors near the four corners, in QUARTERS' order."""
    image = opened(data).convert("RGB")
    right, bottom = image.width - 1, image.height - 1
    inset = max(1, min(image.size) // 20)
    places = [
        (inset, inset),
        (right - inset, inset),
        (inset, bottom - inset),
        (right - inset, bottom - inset),
    ]
    return [color_name(image.getpixel(place)) for place in places]


NAMES = {
    RED: "red",
    GREEN: "green",
    BLUE: "blue",
    WHITE: "white",
    BLACK: "black",
    GRAY: "gray",
}


def color_name(pixel: object) -> str:
    """Return the name of the color nearest to *pixel*."""
    assert isinstance(pixel, tuple)

    def distance(color: tuple[int, int, int]) -> int:
        return sum(abs(a - b) for a, b in zip(color, pixel, strict=True))

    nearest = min(NAMES, key=distance)
    return NAMES[nearest] if distance(nearest) < 60 else str(pixel)


def encoded(text: str) -> str:
    """Return *text* encoded for a parameter of watermark."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
