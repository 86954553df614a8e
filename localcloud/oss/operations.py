"""What OSS does when it is asked to, once it is known that the caller may.

Source: the page of each operation in the OSS documentation.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree

from localcloud.oss.errors import OssError, not_imitated
from localcloud.oss.request import (
    OVERRIDES,
    Place,
    Reply,
    Request,
    check_place,
    decode_path,
    document,
)
from localcloud.oss.signature import iso_time, read_date
from localcloud.oss.storage import (
    Bucket,
    Content,
    Incoming,
    Part,
    StoredObject,
    Upload,
    read_chunks,
)

MAX_PART_NUMBER = 10_000
MAX_XML_BYTES = 5 * 2**20
MAX_KEYS = 1000  # in a page of a list, and in DeleteMultipleObjects
DEFAULT_KEYS = 100

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

Authorize = Callable[[str, Place], None]


@dataclass(frozen=True)
class Call:
    """A request whose caller is known, and may do what the operation needs.

    *authorize* raises OssError unless the caller may do another action elsewhere too.
    """

    request: Request
    buckets: Mapping[str, Bucket]
    bucket: Bucket
    key: str
    authorize: Authorize
    owner: str  # the number of the account
    region: str
    url: str  # of the stand-in

    def header(self, name: str) -> str:
        return self.request.headers.get(name, "")

    def query(self, name: str) -> str:
        return self.request.query.get(name, "")

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return a number of the query.  Raises OssError if it is out of bounds."""
        text = self.query(name)
        if not text:
            return default
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise OssError(
                "InvalidArgument",
                f"{name} must be a number from {low} to {high}.",
                details={"ArgumentName": name, "ArgumentValue": text},
            )
        return int(text)

    @property
    def may_overwrite(self) -> bool:
        return self.header("x-oss-forbid-overwrite").lower() != "true"

    @contextmanager
    def received(self) -> Iterator[Incoming]:
        """Receive the body; raises OssError unless it is what its headers say."""
        self.request.body.check_announced()
        chunks = self.request.body.chunks()
        with self.bucket.receive(self.key, chunks) as incoming:
            self.check_md5(incoming.content.content_md5)
            checksum = self.header("x-oss-hash-crc64ecma")
            if checksum and checksum != str(incoming.content.crc64):
                raise OssError("InvalidCRC64")
            yield incoming

    def check_md5(self, content_md5: str) -> None:
        """Raise OssError unless the request announces this Content-MD5, or none."""
        if self.header("content-md5") not in ("", content_md5):
            raise OssError("InvalidDigest")


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


# --- Objects --------------------------------------------------------------------


def put_object(call: Call) -> Reply:
    headers = kept_headers(call.request.headers)
    with call.received() as incoming:
        stored = call.bucket.store(
            call.key, incoming, headers, may_overwrite=call.may_overwrite
        )
    content_md5 = {"Content-MD5": stored.content.content_md5}
    return Reply(headers=content_headers(stored.etag, stored.content) | content_md5)


def append_object(call: Call) -> Reply:
    position = call.number("position", 0, 0, 2**63 - 1)
    headers = kept_headers(call.request.headers)
    with call.received() as incoming:
        stored = call.bucket.append(call.key, position, incoming, headers)
    return Reply(
        headers=content_headers(stored.etag, stored.content) | next_position(stored)
    )


def get_object(call: Call) -> Reply:
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
        for name in OVERRIDES.keys() & call.request.query.keys():
            headers[OVERRIDES[name]] = call.query(name)
        file.seek(start)
        stack.pop_all()
    return Reply(status, headers, file=file, size=size)


def head_object(call: Call) -> Reply:
    stored = find(call)
    check_conditions(call.request.headers, stored)
    return Reply(headers=object_headers(stored), size=stored.content.size)


def get_object_meta(call: Call) -> Reply:
    stored = find(call)
    headers = content_headers(stored.etag, stored.content)
    headers["Last-Modified"] = formatdate(stored.modified_at, usegmt=True)
    return Reply(headers=headers, size=stored.content.size)


def delete_object(call: Call) -> Reply:
    call.bucket.delete(call.key)
    return Reply(204)


def delete_multiple_objects(call: Call) -> Reply:
    """Delete all of a list, or none if the caller may not delete one of them."""
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


def copy_object(call: Call) -> Reply:
    """Copy an object; one that is copied to its own place only gets new headers."""
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
                headers,
                kind=stored.kind if is_same else "Normal",
                etag=stored.etag if is_same else "",
                may_overwrite=call.may_overwrite,
            )
    return copy_result("CopyObjectResult", copied.etag, copied)


def find(call: Call) -> StoredObject:
    stored = call.bucket.find(call.key)
    if stored is None:
        raise OssError("NoSuchKey", details={"Key": call.key})
    return stored


class Source(NamedTuple):
    """What is to be copied, and the action that this needs."""

    place: Place
    action: str


def read_source(text: str) -> Source:
    """Return what an x-oss-copy-source names.  Raises OssError."""
    address, mark, _ = text.partition("?")
    start, _, path = address.partition("/")
    bucket, _, key = path.partition("/")
    place = Place(decode_path(bucket), decode_path(key))
    if start or not place.key:
        raise OssError("InvalidArgument", "x-oss-copy-source must be /bucket/key.")
    check_place(place)
    return Source(place, "oss:GetObjectVersion" if mark else "oss:GetObject")


def open_source(call: Call) -> tuple[StoredObject, BinaryIO]:
    """Return the object that is to be copied.  Raises OssError if it cannot be."""
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
    members = {"LastModified": iso_time(copied.modified_at), "ETag": f'"{etag}"'}
    return document(name, members, content_headers(etag, copied.content))


def content_headers(etag: str, content: Content) -> dict[str, str]:
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
    return {"x-oss-next-append-position": str(stored.content.size)}


def check_conditions(
    headers: Mapping[str, str], stored: StoredObject, prefix: str = ""
) -> None:
    """Raise OssError unless the If-… headers hold; dates that are none do not count."""

    def etags(name: str) -> list[str]:
        value = headers.get(prefix + name, "")
        return [etag.strip().strip('"').upper() for etag in value.split(",") if etag]

    def date(name: str) -> float | None:
        return read_date(headers.get(prefix + name, ""))

    modified_at = int(stored.modified_at)
    if_match, if_none_match = etags("if-match"), etags("if-none-match")
    unmodified_since, modified_since = (
        date("if-unmodified-since"),
        date("if-modified-since"),
    )
    if (if_match and stored.etag not in if_match and "*" not in if_match) or (
        unmodified_since is not None and modified_at > unmodified_since
    ):
        raise OssError("PreconditionFailed")
    if (if_none_match and (stored.etag in if_none_match or "*" in if_none_match)) or (
        modified_since is not None and modified_at <= modified_since
    ):
        raise OssError(
            "NotModified", headers=content_headers(stored.etag, stored.content)
        )


def read_range(headers: Mapping[str, str], size: int) -> range | None:
    """Return the bytes that are wanted, None for all.

    OSS sends all for a range that is not within the object, unless the request asks for
    the standard behaviour.  Raises OssError if nothing is left then.
    """
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", headers.get("range", ""))
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    is_standard = headers.get("x-oss-range-behavior", "").lower() == "standard"
    start = int(first) if first else size - int(last)
    stop = int(last) + 1 if first and last else size
    if first and last and start >= stop:
        return None  # which is no range
    if 0 <= start < stop <= size:
        return range(start, stop)
    if not is_standard:
        return None
    if start >= size or not size:
        raise OssError(
            "InvalidRange",
            headers={"Content-Range": f"bytes */{size}"},
            details={"ActualObjectSize": str(size)},
        )
    return range(max(start, 0), min(stop, size))


# --- Multipart uploads ----------------------------------------------------------


def initiate_multipart_upload(call: Call) -> Reply:
    encoding_type(call)  # raises before there is an upload
    upload = call.bucket.initiate(call.key, kept_headers(call.request.headers))
    return document("InitiateMultipartUploadResult", upload_members(call, upload.id))


def upload_part(call: Call) -> Reply:
    number, upload_id = part_of(call)
    with call.received() as incoming:
        part = call.bucket.put_part(upload_id, call.key, number, incoming)
    headers = content_headers(part.content.md5, part.content)
    return Reply(headers=headers | {"Content-MD5": part.content.content_md5})


def upload_part_copy(call: Call) -> Reply:
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


def part_of(call: Call) -> tuple[int, str]:
    """Return number and upload of the part; raises OssError if there is no upload."""
    number = call.number("partNumber", 0, 1, MAX_PART_NUMBER)
    upload_id = call.query("uploadId")
    call.bucket.parts(upload_id, call.key)
    return number, upload_id


def complete_multipart_upload(call: Call) -> Reply:
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
    return document("CompleteMultipartUploadResult", members, headers)


def abort_multipart_upload(call: Call) -> Reply:
    call.bucket.abort(call.query("uploadId"), call.key)
    return Reply(204)


def list_parts(call: Call) -> Reply:
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
    return {
        **encoding_type(call),
        "Bucket": call.bucket.name,
        "Key": encoder(call)(call.key),
        "UploadId": upload_id,
    }


# --- Lists ----------------------------------------------------------------------

Name = tuple[str, str]  # a key, and the id of an upload if it is one
NO_NAME = ("", "")


class Page(NamedTuple):
    """A part of a list: names, those that stand for many, and where the next begins."""

    names: list[Name]
    common_prefixes: list[str]
    next_marker: Name  # NO_NAME if this is the last


def page_of(
    names: Iterable[Name], prefix: str, delimiter: str, marker: Name, limit: int
) -> Page:
    """Return the first *limit* of the sorted *names* after *marker*.

    Keys that have *delimiter* after *prefix* are one, which ends with the first.
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
    """List objects; the token for the next page is the name that it begins after."""
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
    return marker.encode().hex()


def read_token(token: str) -> str:
    try:
        return bytes.fromhex(token).decode()
    except ValueError:
        raise OssError(
            "InvalidArgument", "The continuation-token is not one."
        ) from None


def page_of_objects(
    call: Call, marker: str, with_owner: bool
) -> tuple[dict[str, Any], Page]:
    """Return what both versions of the list have, and the page that is shown."""
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
    """List uploads by key; those of one key, by their id, stay on one page."""
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
    return {
        "Key": encode(upload.key),
        "UploadId": upload.id,
        "StorageClass": upload.headers.get("x-oss-storage-class", "Standard"),
        "Initiated": iso_time(upload.initiated_at),
    }


# --- The bucket -----------------------------------------------------------------


def get_bucket_info(call: Call) -> Reply:
    host = call.url.partition("://")[2]
    bucket = {
        "Name": call.bucket.name,
        "CreationDate": iso_time(call.bucket.created_at),
        "Location": f"oss-{call.region}",
        "ExtranetEndpoint": host,
        "IntranetEndpoint": host,
        "StorageClass": "Standard",
        "DataRedundancyType": "LRS",
        "Owner": owner_of(call),
        "AccessControlList": {"Grant": "private"},
    }
    return document("BucketInfo", {"Bucket": bucket})


def get_bucket_location(call: Call) -> Reply:
    return document("LocationConstraint", f"oss-{call.region}")


def owner_of(call: Call) -> dict[str, str]:
    return {"ID": call.owner, "DisplayName": call.owner}


# --- XML ------------------------------------------------------------------------


def read_xml(call: Call, name: str) -> ElementTree.Element:
    """Return the element *name* that the body is.  Raises OssError."""
    data = call.request.body.read(MAX_XML_BYTES)
    call.check_md5(base64.b64encode(hashlib.md5(data).digest()).decode())
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):  # or of its encoding
        raise OssError("MalformedXML") from None
    if root.tag.rpartition("}")[2] != name:
        raise OssError("MalformedXML")
    return root


def text_of(element: ElementTree.Element, name: str) -> str:
    text = element.findtext(f"{{*}}{name}")
    if not text:
        raise OssError("MalformedXML")
    return text


def number_of(element: ElementTree.Element, name: str) -> int:
    text = text_of(element, name).strip()
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise OssError("MalformedXML")
    return int(text)


def encoding_type(call: Call) -> dict[str, str]:
    """Return the element that says how keys are written, if the request asks."""
    wanted = call.query("encoding-type")
    if wanted not in ("", "url"):
        raise OssError("InvalidArgument", "encoding-type must be url.")
    return {"EncodingType": wanted} if wanted else {}


def encoder(call: Call) -> Callable[[str], str]:
    """Return how to write a key; not all can stand in XML as they are."""
    return quote if call.query("encoding-type") else str


def boolean(value: bool) -> str:
    return "true" if value else "false"


# --- All of them ----------------------------------------------------------------


OPERATIONS: dict[str, Callable[[Call], Reply]] = {
    "AbortMultipartUpload": abort_multipart_upload,
    "AppendObject": append_object,
    "CompleteMultipartUpload": complete_multipart_upload,
    "CopyObject": copy_object,
    "DeleteMultipleObjects": delete_multiple_objects,
    "DeleteObject": delete_object,
    "GetBucketInfo": get_bucket_info,
    "GetBucketLocation": get_bucket_location,
    "GetObject": get_object,
    "GetObjectMeta": get_object_meta,
    "HeadObject": head_object,
    "InitiateMultipartUpload": initiate_multipart_upload,
    "ListMultipartUploads": list_multipart_uploads,
    "ListObjects": list_objects,
    "ListObjectsV2": list_objects_v2,
    "ListParts": list_parts,
    "PutObject": put_object,
    "UploadPart": upload_part,
    "UploadPartCopy": upload_part_copy,
}
