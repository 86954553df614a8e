"""Lists of objects and of uploads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from localcloud.oss.errors import OssError
from localcloud.oss.operations.call import (
    DEFAULT_KEYS,
    MAX_KEYS,
    Call,
    boolean,
    encoder,
    encoding_type,
    owner_of,
)
from localcloud.oss.records import (
    Upload,
)
from localcloud.oss.replies import Reply, document
from localcloud.oss.times import iso_time

Name = tuple[str, str]  # a key, and the ID of an upload or ""
NO_NAME = ("", "")


class Page(NamedTuple):
    """A page of a list: names, common prefixes, and the marker of the next page."""

    names: list[Name]
    common_prefixes: list[str]
    next_marker: Name  # NO_NAME if this is the last


def page_of(
    names: Iterable[Name], prefix: str, delimiter: str, marker: Name, limit: int
) -> Page:
    """Return the first *limit* of the sorted *names* after *marker*.

    Keys that contain *delimiter* after *prefix* are grouped: a common prefix, up to the
    first delimiter, stands for them.
    """
    found: dict[Name, bool] = {}  # whether it is a common prefix
    last = NO_NAME
    for name in names:
        key = name[0]
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        is_prefix = end >= 0
        entry = (key[: end + len(delimiter)], "") if is_prefix else name
        if name <= marker or entry in found or (is_prefix and entry[0] == marker[0]):
            continue
        if len(found) == limit:
            break
        found[entry] = is_prefix
        last = entry
    else:
        last = NO_NAME
    return Page(
        [name for name, is_prefix in found.items() if not is_prefix],
        [key for (key, _), is_prefix in found.items() if is_prefix],
        last,
    )


def list_objects(call: Call) -> Reply:
    """List objects after a marker, the name of one."""
    marker = call.query("marker")
    members, page = page_of_objects(call, marker, with_owner=True)
    next_marker = {}
    if page.next_marker != NO_NAME:
        next_marker = {"NextMarker": encoder(call)(page.next_marker[0])}
    return document(
        "ListBucketResult",
        {"Marker": encoder(call)(marker), **next_marker, **members},
    )


def list_objects_v2(call: Call) -> Reply:
    """List objects; the token of the next page encodes the name before it."""
    if call.query("list-type") != "2":
        raise OssError("InvalidArgument", "list-type must be 2.")
    start_after, token = call.query("start-after"), call.query("continuation-token")
    with_owner = call.query("fetch-owner").lower() == "true"
    marker = read_token(token) if token else start_after
    members, page = page_of_objects(call, marker, with_owner)
    optional = {
        "StartAfter": encoder(call)(start_after),
        "ContinuationToken": token,
        "NextContinuationToken": make_token(page.next_marker[0]),
    }
    count = len(page.names) + len(page.common_prefixes)
    return document(
        "ListBucketResult",
        {
            **{name: value for name, value in optional.items() if value},
            "KeyCount": str(count),
            **members,
        },
    )


def make_token(marker: str) -> str:
    """Return the continuation token for the names after *marker*."""
    return marker.encode().hex()


def read_token(token: str) -> str:
    """Return the marker of a continuation token.  Raises OssError."""
    try:
        return bytes.fromhex(token).decode()
    except ValueError:
        raise OssError(
            "InvalidArgument", "The continuation-token is invalid."
        ) from None


def page_of_objects(
    call: Call, marker: str, with_owner: bool
) -> tuple[dict[str, Any], Page]:
    """Return the elements of both versions of the list, and the page itself."""
    prefix, delimiter = call.query("prefix"), call.query("delimiter")
    limit = call.number("max-keys", DEFAULT_KEYS, 1, MAX_KEYS)
    objects = call.bucket.objects()
    names = sorted((key, "") for key in objects if key.startswith(prefix))
    page = page_of(names, prefix, delimiter, (marker, ""), limit)
    encode = encoder(call)
    owner = {"Owner": owner_of(call)} if with_owner else {}
    contents = [
        {
            "Key": encode(key),
            "LastModified": iso_time(objects[key].modified_at),
            "ETag": f'"{objects[key].etag}"',
            "Type": objects[key].kind,
            "Size": str(objects[key].content.size),
            "StorageClass": objects[key].headers.get("x-oss-storage-class", "Standard"),
            **owner,
        }
        for key, _ in page.names
    ]
    members = {
        "Name": call.bucket.name,
        "Prefix": encode(prefix),
        "MaxKeys": str(limit),
        "Delimiter": encode(delimiter),
        **encoding_type(call),
        "IsTruncated": boolean(page.next_marker != NO_NAME),
        "Contents": contents,
        "CommonPrefixes": [{"Prefix": encode(name)} for name in page.common_prefixes],
    }
    return members, page


def list_multipart_uploads(call: Call) -> Reply:
    """List uploads by key, and uploads of the same key by ID."""
    prefix, delimiter = call.query("prefix"), call.query("delimiter")
    key_marker, id_marker = call.query("key-marker"), call.query("upload-id-marker")
    limit = call.number("max-uploads", MAX_KEYS, 1, MAX_KEYS)
    uploads = {
        (upload.key, upload.id): upload
        for upload in call.bucket.uploads()
        if upload.key.startswith(prefix)
    }
    marker = (key_marker, id_marker or LAST_ID) if key_marker else NO_NAME
    page = page_of(sorted(uploads), prefix, delimiter, marker, limit)
    next_key, next_id = page.next_marker
    encode = encoder(call)
    return document(
        "ListMultipartUploadsResult",
        {
            **encoding_type(call),
            "Bucket": call.bucket.name,
            "KeyMarker": encode(key_marker),
            "UploadIdMarker": id_marker,
            "NextKeyMarker": encode(next_key),
            "NextUploadIdMarker": next_id,
            "Delimiter": encode(delimiter),
            "Prefix": encode(prefix),
            "MaxUploads": str(limit),
            "IsTruncated": boolean(page.next_marker != NO_NAME),
            "Upload": [upload_entry(uploads[name], encode) for name in page.names],
            "CommonPrefixes": [
                {"Prefix": encode(name)} for name in page.common_prefixes
            ],
        },
    )


LAST_ID = "~"  # after every id


def upload_entry(upload: Upload, encode: Callable[[str], str]) -> dict[str, str]:
    """Return the elements of an upload in a list."""
    return {
        "Key": encode(upload.key),
        "UploadId": upload.id,
        "StorageClass": upload.headers.get("x-oss-storage-class", "Standard"),
        "Initiated": iso_time(upload.initiated_at),
    }
