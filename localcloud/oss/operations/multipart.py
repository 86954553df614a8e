"""Multipart uploads."""

from __future__ import annotations

from urllib.parse import quote

from localcloud.oss.errors import OssError
from localcloud.oss.headers import content_headers, kept_headers
from localcloud.oss.operations.bodies import MAX_XML_BYTES, number_of, read_xml, text_of
from localcloud.oss.operations.call import (
    MAX_KEYS,
    Call,
    boolean,
    encoder,
    encoding_type,
)
from localcloud.oss.replies import Reply, document
from localcloud.oss.times import iso_time

MAX_PART_NUMBER = 10_000


def initiate_multipart_upload(call: Call) -> Reply:
    """Begin an upload; its headers become the headers of the object."""
    encoding_type(call)  # raises before there is an upload
    upload = call.bucket.initiate(call.key, kept_headers(call.request.headers))
    return document("InitiateMultipartUploadResult", upload_members(call, upload.id))


def upload_part(call: Call) -> Reply:
    """Store the body as a part, replacing an earlier one with its number."""
    number, upload_id = part_of(call)
    with call.received() as incoming:
        part = call.bucket.put_part(upload_id, call.key, number, incoming)
    headers = content_headers(part.content.md5, part.content)
    return Reply(headers=headers | {"Content-MD5": part.content.content_md5})


def part_of(call: Call) -> tuple[int, str]:
    """Return the part's number and upload ID.  Raises OssError for no such upload."""
    number = call.number("partNumber", 0, 1, MAX_PART_NUMBER)
    upload_id = call.query("uploadId")
    call.bucket.parts(upload_id, call.key)
    return number, upload_id


def complete_multipart_upload(call: Call) -> Reply:
    """Make one object from the parts that the body lists, or from all."""
    encoding = encoding_type(call)
    wanted = None
    if call.header("x-oss-complete-all").lower() != "yes":
        root = read_xml(call, "CompleteMultipartUpload")
        wanted = [
            (number_of(part, "PartNumber"), text_of(part, "ETag"))
            for part in root.findall("{*}Part")
        ]
    elif call.request.body.read(MAX_XML_BYTES):
        raise OssError("InvalidArgument", "x-oss-complete-all is for an empty body.")
    stored = call.bucket.complete(
        call.query("uploadId"), call.key, wanted, may_overwrite=call.may_overwrite
    )
    members = {
        **encoding,
        "Location": f"{call.url}/{call.bucket.name}/{quote(call.key)}",
        "Bucket": call.bucket.name,
        "Key": encoder(call)(call.key),
        "ETag": f'"{stored.etag}"',
    }
    headers = content_headers(stored.etag, stored.content)
    reply = document("CompleteMultipartUploadResult", members, headers)
    return call.notify(stored, reply)


def abort_multipart_upload(call: Call) -> Reply:
    """Forget an upload and its parts."""
    call.bucket.abort(call.query("uploadId"), call.key)
    return Reply(204)


def list_parts(call: Call) -> Reply:
    """List the parts of an upload that follow part-number-marker."""
    marker = call.number("part-number-marker", 0, 0, MAX_PART_NUMBER)
    limit = call.number("max-parts", MAX_KEYS, 1, MAX_KEYS)
    upload_id = call.query("uploadId")
    parts = [p for p in call.bucket.parts(upload_id, call.key) if p.number > marker]
    page = parts[:limit]
    return document(
        "ListPartsResult",
        {
            **upload_members(call, upload_id),
            "PartNumberMarker": str(marker),
            "NextPartNumberMarker": str(page[-1].number if page else marker),
            "MaxParts": str(limit),
            "IsTruncated": boolean(len(parts) > limit),
            "Part": [
                {
                    "PartNumber": str(part.number),
                    "LastModified": iso_time(part.modified_at),
                    "ETag": f'"{part.content.md5}"',
                    "Size": str(part.content.size),
                }
                for part in page
            ],
        },
    )


def upload_members(call: Call, upload_id: str) -> dict[str, str]:
    """Return the elements that name an upload."""
    return {
        **encoding_type(call),
        "Bucket": call.bucket.name,
        "Key": encoder(call)(call.key),
        "UploadId": upload_id,
    }
