"""CopyObject and UploadPartCopy."""

from __future__ import annotations

from typing import BinaryIO

from localcloud.oss.errors import OssError, not_imitated
from localcloud.oss.headers import content_headers, kept_headers
from localcloud.oss.operations.call import Call
from localcloud.oss.operations.conditions import check_conditions, read_range
from localcloud.oss.operations.multipart import part_of
from localcloud.oss.records import (
    Description,
    Part,
    StoredObject,
    read_chunks,
)
from localcloud.oss.replies import Reply, document
from localcloud.oss.sources import read_source
from localcloud.oss.times import iso_time


def copy_object(call: Call) -> Reply:
    """Copy an object; a copy onto itself only replaces the headers."""
    stored, file = open_source(call)
    with file:
        is_same = stored is call.bucket.find(call.key)
        headers = stored.headers
        if is_same or call.header("x-oss-metadata-directive").upper() == "REPLACE":
            headers = kept_headers(call.request.headers)
        chunks = read_chunks(file, stored.content.size)
        with call.bucket.receive(call.key, chunks) as incoming:
            copied = call.bucket.store(
                call.key,
                incoming,
                Description(headers, stored.kind, stored.etag)
                if is_same
                else Description(headers),
                may_overwrite=call.may_overwrite,
            )
    return copy_result("CopyObjectResult", copied.etag, copied)


def open_source(call: Call) -> tuple[StoredObject, BinaryIO]:
    """Return the object to copy, and a file with its bytes.  Raises OssError."""
    source = call.header("x-oss-copy-source")
    if "?" in source:
        raise not_imitated("copying a version")
    place = read_source(source).place
    if place.bucket not in call.buckets:
        raise OssError("NoSuchBucket", details={"BucketName": place.bucket})
    stored, file = call.buckets[place.bucket].open(place.key)
    try:
        check_conditions(call.request.headers, stored, "x-oss-copy-source-")
    except OssError:
        file.close()
        raise
    return stored, file


def copy_result(name: str, etag: str, copied: StoredObject | Part) -> Reply:
    """Return the document *name* about a copy."""
    members = {"LastModified": iso_time(copied.modified_at), "ETag": f'"{etag}"'}
    return document(name, members, content_headers(etag, copied.content))


def upload_part_copy(call: Call) -> Reply:
    """Copy an object, or a range of it, to a part."""
    number, upload_id = part_of(call)
    stored, file = open_source(call)
    with file:
        wanted = range(stored.content.size)
        given = call.header("x-oss-copy-source-range")
        if given:
            found = read_range({"range": given}, stored.content.size)
            if found is None:
                raise OssError("InvalidRange")
            wanted = found
        file.seek(wanted.start)
        chunks = read_chunks(file, len(wanted))
        with call.bucket.receive(call.key, chunks) as incoming:
            part = call.bucket.put_part(upload_id, call.key, number, incoming)
    return copy_result("CopyPartResult", part.content.md5, part)
