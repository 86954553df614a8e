"""Objects, uploads and parts, and the JSON files that record them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from fastcrc import crc64

from localcloud.oss.folder import is_file

CHUNK_BYTES = 256 * 1024

OBJECT_RECORD = re.compile(r"[0-9a-f]{64}\.json")
UPLOAD_RECORD = "upload.json"
PART_RECORD = re.compile(r"[0-9]{5}\.json")
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)


T = TypeVar("T")


@dataclass(frozen=True)
class Content:
    """Bytes received completely.  *file* is a name in the bucket's data folder."""

    file: str
    size: int
    md5: str  # upper-case hex
    crc64: int

    @property
    def content_md5(self) -> str:
        """The digest in Base64, as in the header Content-MD5."""
        return base64.b64encode(bytes.fromhex(self.md5)).decode()


@dataclass
class Incoming:
    """Content that is deleted unless an object or a part keeps it."""

    content: Content
    is_kept: bool = False


@dataclass(frozen=True)
class StoredObject:
    """An object.  *headers* are sent with it, such as Content-Type."""

    key: str
    content: Content
    etag: str
    modified_at: float  # unix seconds
    kind: str = "Normal"  # or Multipart or Appendable
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """The properties of a new object.  An empty *etag* stands for the MD5."""

    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "Normal"
    etag: str = ""


@dataclass(frozen=True)
class Part:
    """A part of an upload; its ETag is the MD5 of its content."""

    number: int
    content: Content
    modified_at: float


@dataclass
class Upload:
    """A multipart upload.  *parts* changes, guarded by the lock of its bucket."""

    id: str
    key: str
    headers: Mapping[str, str]
    initiated_at: float
    parts: dict[int, Part] = field(default_factory=dict)


def appendable_etag(content: Content) -> str:
    """Return an ETag that changes with each append; OSS does not document its own."""
    text = f"{content.size}-{content.crc64}"
    return hashlib.md5(text.encode()).hexdigest().upper()


def readable(key: str) -> str:
    """Return a file name that tells a person which object it holds."""
    name = re.sub(r"[^\w.-]", "_", key.rsplit("/", 1)[-1])
    # Windows drops a dot at the end.
    return name.encode()[-100:].decode(errors="ignore").rstrip(".")


def write_content(name: str, file: BinaryIO, chunks: Iterable[bytes]) -> Content:
    """Write *chunks* to *file*, which is called *name*; return the content."""
    size = checksum = 0
    digest = hashlib.md5()
    for chunk in chunks:
        file.write(chunk)
        digest.update(chunk)
        checksum = crc64.xz(chunk, checksum)
        size += len(chunk)
    return Content(name, size, digest.hexdigest().upper(), checksum)


def read_chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next *size* bytes of *file*."""
    while size > 0 and (chunk := file.read(min(size, CHUNK_BYTES))):
        size -= len(chunk)
        yield chunk


def object_record(key: str) -> str:
    """Return the file name of the record of the object *key*."""
    return f"{hashlib.sha256(key.encode()).hexdigest()}.json"


def part_record(number: int) -> str:
    """Return the file name of the record of part *number*."""
    return f"{number:05}.json"


def own_records(folder: Path, name: re.Pattern[str]) -> Iterator[Path]:
    """Yield the files in *folder* whose names match *name*."""
    for path in folder.iterdir():
        if name.fullmatch(path.name) and is_file(path):
            yield path


def read_or_note(path: Path, read: Callable[[Path], T], unread: list[Path]) -> T | None:
    """Return the record at *path*; if it is unreadable, note it and return None.

    Unreadable paths are added to *unread*.
    """
    try:
        return read(path)
    except UNREADABLE:
        unread.append(path)
        return None


def read_object(path: Path) -> StoredObject:
    """Read the record of an object.  Raises one of UNREADABLE, as the next four do."""
    record = read_record(path)
    stored = StoredObject(**record | {"content": read_content(record)})
    if path.name != object_record(stored.key):
        raise ValueError("the record belongs to another object")
    return stored


def read_upload(path: Path) -> Upload:
    """Read the record of an upload, without its parts."""
    return Upload(id=path.parent.name, **read_record(path))


def read_part(path: Path) -> Part:
    """Read the record of a part."""
    record = read_record(path)
    part = Part(**record | {"content": read_content(record)})
    if path.name != part_record(part.number):
        raise ValueError("the record belongs to another part")
    return part


def read_record(path: Path) -> dict[str, Any]:
    """Return the JSON object at *path*."""
    if not is_file(path):
        raise ValueError("the record is not a regular file")
    record = json.loads(path.read_text("utf-8"))
    if not isinstance(record, dict):
        raise TypeError("the record is not a JSON object")
    return record


def read_content(record: Mapping[str, Any]) -> Content:
    """Return the content described in *record*."""
    content = Content(**record["content"])
    if [type(value) for value in astuple(content)] != [str, int, str, int]:
        raise TypeError("the content in the record has values of the wrong types")
    return content


def delete_records(folder: Path) -> None:
    """Delete our files in the folder of an upload, then the folder if it is empty."""
    remove(folder / UPLOAD_RECORD)  # first: without it there is no upload
    with suppress(OSError):
        for path in own_records(folder, PART_RECORD):
            with suppress(*UNREADABLE):
                read_part(path)
                remove(path)
        folder.rmdir()


def remove(path: Path) -> None:
    """Delete a file.  On Windows a file being read stays until the next start."""
    with suppress(OSError):
        if is_file(path):
            path.unlink()
