"""Headers of objects: those that are kept, and those that are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate

from localcloud.oss.errors import OssError
from localcloud.oss.records import (
    Content,
    StoredObject,
)

# Headers that are kept with an object and sent with it, besides those of META.
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
MAX_META_BYTES = 8 * 1024  # of names and values
STORAGE_CLASSES = ("Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive")


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return those of *headers* to keep with an object.  Raises OssError."""
    meta = {name: headers[name] for name in headers if name.startswith(META)}
    if not all(META_NAME.fullmatch(name) for name in meta):
        message = f"A name after {META} has letters, digits and hyphens only."
        raise OssError("InvalidArgument", message, ec="0011-00000004")
    size = sum(len(name) + len(value.encode()) for name, value in meta.items())
    if size > MAX_META_BYTES:
        message = f"All {META} headers together have at most {MAX_META_BYTES} bytes."
        raise OssError("InvalidArgument", message, ec="0011-00000002")
    storage_class = headers.get("x-oss-storage-class", "Standard")
    if storage_class not in STORAGE_CLASSES:
        message = f"There is no x-oss-storage-class {storage_class}."
        raise OssError("InvalidArgument", message, ec="0013-00000101")
    return {name: headers[name] for name in KEPT_HEADERS if name in headers} | meta


def content_headers(etag: str, content: Content) -> dict[str, str]:
    """Return the headers that tell one content from another."""
    return {"ETag": f'"{etag}"', "x-oss-hash-crc64ecma": str(content.crc64)}


def object_headers(stored: StoredObject) -> dict[str, str]:
    """Return the headers of an object that is read."""
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
    """Return the header that says where the next AppendObject goes on."""
    return {"x-oss-next-append-position": str(stored.content.size)}
