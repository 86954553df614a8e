"""Headers of objects: the ones that are stored, and the ones that are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate

from localcloud.oss.errors import OssError
from localcloud.oss.records import (
    Content,
    StoredObject,
)

# Headers that are stored and sent with an object, besides those that begin with META.
KEPT_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-oss-storage-class",
)
META = "x-oss-meta-"
META_NAME = re.compile(r"x-oss-meta-[a-z0-9-]+")
MAX_META_BYTES = 8 * 1024  # of all names and values together
STORAGE_CLASSES = ("Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive")


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the *headers* to store with an object.  Raises OssError."""
    meta = {name: headers[name] for name in headers if name.startswith(META)}
    if not all(META_NAME.fullmatch(name) for name in meta):
        message = f"A name after {META} may have only letters, digits and hyphens."
        raise OssError("InvalidArgument", message, ec="0011-00000004")
    size = sum(len(name) + len(value.encode()) for name, value in meta.items())
    if size > MAX_META_BYTES:
        message = (
            f"All {META} headers together may have at most {MAX_META_BYTES} bytes."
        )
        raise OssError("InvalidArgument", message, ec="0011-00000002")
    storage_class = headers.get("x-oss-storage-class", "Standard")
    if storage_class not in STORAGE_CLASSES:
        message = f"There is no x-oss-storage-class {storage_class}."
        raise OssError("InvalidArgument", message, ec="0013-00000101")
    return {name: headers[name] for name in KEPT_HEADERS if name in headers} | meta


def content_headers(etag: str, content: Content) -> dict[str, str]:
    """Return the headers that identify a content: ETag and CRC-64."""
    return {"ETag": f'"{etag}"', "x-oss-hash-crc64ecma": str(content.crc64)}


def object_headers(stored: StoredObject) -> dict[str, str]:
    """Return the headers that are sent with an object."""
    headers = {
        "Content-Type": "application/octet-stream",
        **{name.title(): value for name, value in stored.headers.items()},
        **content_headers(stored.etag, stored.content),
        "Last-Modified": formatdate(stored.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        "x-oss-object-type": stored.kind,
    }
    headers.setdefault("X-Oss-Storage-Class", "Standard")
    if stored.kind == "Normal":
        headers["Content-MD5"] = stored.content.content_md5
    if stored.kind == "Appendable":
        headers |= next_position(stored)
    return headers


def next_position(stored: StoredObject) -> dict[str, str]:
    """Return the header with the position for the next AppendObject."""
    return {"x-oss-next-append-position": str(stored.content.size)}
