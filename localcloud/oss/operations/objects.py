"""Operations on one object, and DeleteMultipleObjects."""

from __future__ import annotations

from contextlib import ExitStack
from email.utils import formatdate

from localcloud.oss import images
from localcloud.oss.errors import OssError, not_imitated
from localcloud.oss.headers import (
    content_headers,
    kept_headers,
    next_position,
    object_headers,
)
from localcloud.oss.operations.bodies import read_xml, text_of
from localcloud.oss.operations.call import MAX_KEYS, Call, encoder, encoding_type
from localcloud.oss.operations.conditions import check_conditions, read_range
from localcloud.oss.records import (
    Description,
    StoredObject,
)
from localcloud.oss.replies import Reply, document
from localcloud.oss.request import OVERRIDES, PROCESS, Place, check_place

CONTENT_HEADERS = ("Content-MD5", "Content-Encoding", "x-oss-hash-crc64ecma")


def put_object(call: Call) -> Reply:
    """Store the body as an object, replacing an existing one."""
    headers = kept_headers(call.request.headers)
    with call.received() as incoming:
        stored = call.bucket.store(
            call.key,
            incoming,
            Description(headers),
            may_overwrite=call.may_overwrite,
        )
    headers = content_headers(stored.etag, stored.content)
    headers["Content-MD5"] = stored.content.content_md5
    return call.notify(stored, Reply(headers=headers))


def append_object(call: Call) -> Reply:
    """Append the body to an object, or to a new one."""
    position = call.number("position", 0, 0, 2**63 - 1)
    headers = kept_headers(call.request.headers)
    with call.received() as incoming:
        stored = call.bucket.append(call.key, position, incoming, headers)
    return Reply(
        headers=content_headers(stored.etag, stored.content) | next_position(stored)
    )


def get_object(call: Call) -> Reply:
    """Send an object, or a range of it."""
    if call.query(PROCESS):
        return get_processed(call)
    stored, file = call.bucket.open(call.key)
    with ExitStack() as stack:
        stack.enter_context(file)
        check_conditions(call.request.headers, stored)
        start, size = 0, stored.content.size
        status, headers = 200, object_headers(stored)
        wanted = read_range(call.request.headers, size)
        if wanted:
            last = wanted.stop - 1
            headers["Content-Range"] = f"bytes {wanted.start}-{last}/{size}"
            status, start, size = 206, wanted.start, len(wanted)
        headers |= overrides(call)
        file.seek(start)
        stack.pop_all()
    return Reply(status, headers, file=file, size=size)


def overrides(call: Call) -> dict[str, str]:
    """Return the headers that the query overrides."""
    names = OVERRIDES.keys() & call.request.query.keys()
    return {OVERRIDES[name]: call.query(name) for name in names}


def get_processed(call: Call) -> Reply:
    """Send an image processed by x-oss-process, always as a whole.

    The caller needs permission to read each image that is used as a watermark, too.
    """
    stored = find(call)
    check_conditions(call.request.headers, stored)

    def read_other(key: str) -> bytes:
        place = Place(call.bucket.name, key)
        check_place(place)
        call.authorize("oss:GetObject", place)
        return read_image(call, key)

    with images.SLOTS:
        data = read_image(call, call.key)
        processed = images.process(data, call.query(PROCESS), read_other)
    headers = object_headers(stored)
    for name in CONTENT_HEADERS:  # they describe the stored bytes
        headers.pop(name, None)
    headers["Content-Type"] = processed.content_type
    return Reply(headers=headers | overrides(call), body=processed.body)


def read_image(call: Call, key: str) -> bytes:
    """Return the bytes of an object.  Raises OssError if it is too large."""
    stored, file = call.bucket.open(key)
    with file:
        images.check_size(stored.content.size)
        return file.read(stored.content.size)


def head_object(call: Call) -> Reply:
    """Send the headers of an object."""
    stored = find(call)
    check_conditions(call.request.headers, stored)
    return Reply(headers=object_headers(stored), size=stored.content.size)


def get_object_meta(call: Call) -> Reply:
    """Send size, ETag and time of an object."""
    stored = find(call)
    headers = content_headers(stored.etag, stored.content)
    headers["Last-Modified"] = formatdate(stored.modified_at, usegmt=True)
    return Reply(headers=headers, size=stored.content.size)


def delete_object(call: Call) -> Reply:
    """Delete an object; it is not an error if there is none."""
    call.bucket.delete(call.key)
    return Reply(204)


def delete_multiple_objects(call: Call) -> Reply:
    """Delete a list of objects, or none if the caller may not delete one of them."""
    if not call.header("content-md5"):
        details = {"ArgumentName": "Content-MD5"}
        raise OssError("MissingArgument", details=details, ec="0016-00000606")
    encoding, encode = encoding_type(call), encoder(call)
    root = read_xml(call, "Delete")
    items = root.findall("{*}Object")
    keys = [text_of(item, "Key") for item in items]
    if not 1 <= len(keys) <= MAX_KEYS:
        raise OssError("MalformedXML")
    versions = [item.findtext("{*}VersionId") for item in items]
    for key, version in zip(keys, versions, strict=True):
        place = Place(call.bucket.name, key)
        check_place(place)
        action = "oss:DeleteObjectVersion" if version else "oss:DeleteObject"
        call.authorize(action, place)
    if any(versions):
        raise not_imitated("deleting a version")
    for key in keys:
        call.bucket.delete(key)
    is_quiet = root.findtext("{*}Quiet", "").strip().lower() == "true"
    deleted = [] if is_quiet else [{"Key": encode(key)} for key in keys]
    return document("DeleteResult", encoding | {"Deleted": deleted})


def find(call: Call) -> StoredObject:
    """Return the object.  Raises OssError if there is none."""
    stored = call.bucket.find(call.key)
    if stored is None:
        raise OssError("NoSuchKey", details={"Key": call.key})
    return stored
