"""The source of a copy, named in x-oss-copy-source."""

from __future__ import annotations

from typing import NamedTuple

from localcloud.oss.errors import OssError
from localcloud.oss.request import Place, check_place, decode_path


class Source(NamedTuple):
    """An object to copy, and the action that copying it needs."""

    place: Place
    action: str


def read_source(text: str) -> Source:
    """Return the source in *text*, an x-oss-copy-source.  Raises OssError."""
    address, mark, _ = text.partition("?")
    start, _, path = address.partition("/")
    bucket, _, key = path.partition("/")
    place = Place(decode_path(bucket), decode_path(key))
    if start or not place.key:
        raise OssError("InvalidArgument", "x-oss-copy-source must be /bucket/key.")
    check_place(place)
    return Source(place, "oss:GetObjectVersion" if mark else "oss:GetObject")
