"""Buckets: objects and unfinished multipart uploads as files in a folder.

    <bucket folder>/data/<digits>-cat.jpg     the bytes of one object, or of one part
                    objects/<digest>.json     an object: its key, and where its bytes
                                              are
                    uploads/<id>/upload.json  a multipart upload, and its parts
                                 00001.json

Bytes are written first, and count from the moment a record names them.  A record
appears whole in one step: it is written in the data folder, then moved to its place
(os.replace), and never changed there.  Bytes that no record names were left by an
interrupted upload, and are deleted when the bucket is opened again at the latest.

These folders may hold other files.  Files without a name of ours (see
localcloud.oss.folder) and links are never read, written or deleted.

Sources: "PutObject", "AppendObject" and "Multipart upload" in the OSS documentation.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

from fastcrc import crc64

from localcloud.oss.errors import OssError
from localcloud.oss.folder import BucketFolder, is_file, is_folder, naming
from localcloud.oss.parts import wanted_parts
from localcloud.oss.records import (
    OBJECT_RECORD,
    PART_RECORD,
    UPLOAD_RECORD,
    Content,
    Description,
    Incoming,
    Part,
    StoredObject,
    Upload,
    appendable_etag,
    delete_records,
    object_record,
    own_records,
    part_record,
    read_chunks,
    read_object,
    read_or_note,
    read_part,
    read_upload,
    readable,
    remove,
    write_content,
)

logger = logging.getLogger("localcloud.oss.storage")


class Bucket:
    """The objects and uploads of one bucket.  All methods may be called by any thread.

    They raise OssError for the errors of OSS, and OSError if the disk fails.
    """

    def __init__(
        self, name: str, folder: BucketFolder, clock: Callable[[], float]
    ) -> None:
        """Open the bucket in *folder*.  Raises FolderError if that cannot be used."""
        self.name = name
        self.folder = folder
        self.created_at = clock()
        self._clock = clock
        self._data, self._records, self._pending = folder.make(
            "data", "objects", "uploads"
        )
        # Guards the two below and their files.  It is held while a record is written or
        # bytes are appended, not while the bytes of an object are received.
        self._lock = threading.Lock()
        self._objects: dict[str, StoredObject] = {}
        self._uploads: dict[str, Upload] = {}
        with naming(folder.path):
            self._load()

    def _load(self) -> None:
        """Read the records of an earlier process, and delete bytes that none names."""
        files = {path.name for path in filter(self._is_own_file, self._data.iterdir())}
        unread: list[Path] = []  # records whose bytes must stay
        used = self._load_objects(files, unread)
        for folder in filter(self._is_own_upload, self._pending.iterdir()):
            used |= self._load_upload(folder, files, unread)
        if unread:
            logger.warning(
                "bucket %s: these records cannot be read, so no bytes are deleted: %s",
                self.name,
                ", ".join(map(repr, map(str, unread[:3]))),
            )
            return
        for file in files - used:
            remove(self._data / file)

    def _load_objects(self, files: set[str], unread: list[Path]) -> set[str]:
        """Read the records of objects; return the *files* that they name."""
        used = set()
        for path in own_records(self._records, OBJECT_RECORD):
            stored = read_or_note(path, read_object, unread)
            if stored and stored.content.file in files:  # or a person has deleted it
                self._objects[stored.key] = stored
                used.add(stored.content.file)
        return used

    def _load_upload(
        self, folder: Path, files: set[str], unread: list[Path]
    ) -> set[str]:
        """Read the records of an upload; return the *files* that they name."""
        if not os.path.lexists(folder / UPLOAD_RECORD):
            delete_records(folder)  # a process ended while making or deleting it
            return set()
        used = set()
        upload = read_or_note(folder / UPLOAD_RECORD, read_upload, unread)
        for path in own_records(folder, PART_RECORD):
            part = read_or_note(path, read_part, unread)
            if upload and part and part.content.file in files:
                upload.parts[part.number] = part
                used.add(part.content.file)
        if upload:
            self._uploads[upload.id] = upload
        return used

    def _is_own_file(self, path: Path) -> bool:
        return self.folder.is_own(path.name) and is_file(path)

    def _is_own_upload(self, path: Path) -> bool:
        return self.folder.is_own(path.name.lower()) and is_folder(path)

    # Content

    @contextmanager
    def receive(self, key: str, chunks: Iterable[bytes]) -> Iterator[Incoming]:
        """Write *chunks* to a new file, deleted after the block unless it is kept.

        Raises the errors that *chunks* raises.
        """
        path = self._data / self.folder.new_name(f"-{readable(key)}")
        file = path.open("xb")
        incoming = None
        try:
            with file:
                incoming = Incoming(write_content(path.name, file, chunks))
            yield incoming
        finally:
            if incoming is None or not incoming.is_kept:
                remove(path)

    def _discard(self, *contents: Content) -> None:
        for content in contents:
            remove(self._data / content.file)

    def _path(self, content: Content) -> Path:
        """Return the path of *content*.  Raises OSError if the file is gone."""
        path = self._data / content.file
        if not is_file(path):  # a link may lead anywhere, and a pipe has no end
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        return path

    def _open(self, content: Content) -> BinaryIO:
        return self._path(content).open("rb")

    def _write_record(self, path: Path, record: Mapping[str, object]) -> None:
        """Write a JSON file that appears whole or not at all."""
        if os.path.lexists(path) and not is_file(path):  # somebody else put it there
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        temporary = self._data / self.folder.new_name("-record.json")
        file = temporary.open("x", encoding="utf-8")
        try:
            with file:
                file.write(json.dumps(record, ensure_ascii=False))
            temporary.replace(path)  # in one step, over an earlier record
        except BaseException:
            remove(temporary)
            raise

    # Objects, for callers in this process

    def put(self, key: str, data: bytes) -> None:
        """Make *data* the object *key*."""
        with self.receive(key, [data]) as incoming:
            self.store(key, incoming, Description())

    def read(self, key: str) -> bytes:
        """Return the object *key*.  Raises OssError."""
        stored, file = self.open(key)
        with file:
            return file.read(stored.content.size)

    def keys(self) -> list[str]:
        """Return the keys of all objects, sorted."""
        return sorted(self.objects())

    def clear(self) -> None:
        """Delete all objects and all uploads."""
        for key in self.objects():
            self.delete(key)
        for upload in self.uploads():
            with suppress(OssError):  # it was completed or aborted meanwhile
                self.abort(upload.id, upload.key)

    # Objects

    def store(
        self,
        key: str,
        incoming: Incoming,
        description: Description,
        *,
        may_overwrite: bool = True,
        upload: Upload | None = None,
    ) -> StoredObject:
        """Make *incoming* the object *key*.

        If it is the result of *upload*, that upload ends at the same moment.
        """
        stored = StoredObject(
            key=key,
            content=incoming.content,
            etag=description.etag or incoming.content.md5,
            modified_at=self._clock(),
            kind=description.kind,
            headers=dict(description.headers),
        )
        with self._lock:
            before = self._objects.get(key)
            if before and not may_overwrite:
                raise OssError("FileAlreadyExists", details={"Key": key})
            if upload:
                self._upload(upload.id, key)
            self._replace(stored)
            incoming.is_kept = True
            if upload:
                del self._uploads[upload.id]
        if before:
            self._discard(before.content)
        if upload:
            self._delete(upload)
        return stored

    def _replace(self, stored: StoredObject) -> None:
        path = self._records / object_record(stored.key)
        self._write_record(path, asdict(stored))
        self._objects[stored.key] = stored

    def append(
        self, key: str, position: int, incoming: Incoming, headers: Mapping[str, str]
    ) -> StoredObject:
        """Add *incoming* to the object *key*, whose length must be *position*."""
        with self._lock:
            before = self._objects.get(key)
            length = before.content.size if before else 0
            if before and before.kind != "Appendable":
                raise OssError("ObjectNotAppendable", details={"Key": key})
            if position != length:
                raise OssError(
                    "PositionNotEqualToLength",
                    headers={"x-oss-next-append-position": str(length)},
                    details={"Key": key},
                )
            content = incoming.content
            if before:
                content = self._appended(before.content, content)
                headers = before.headers
            stored = StoredObject(
                key=key,
                content=content,
                etag=appendable_etag(content),
                modified_at=self._clock(),
                kind="Appendable",
                headers=dict(headers),
            )
            self._replace(stored)
            incoming.is_kept = before is None
            return stored

    def _appended(self, content: Content, more: Content) -> Content:
        """Write *more* after *content*, over bytes that a failed append left there."""
        checksum = content.crc64
        with self._path(content).open("r+b") as file, self._open(more) as tail:
            file.truncate(content.size)
            file.seek(content.size)
            for chunk in read_chunks(tail, more.size):
                file.write(chunk)
                checksum = crc64.xz(chunk, checksum)
        return replace(content, size=content.size + more.size, crc64=checksum)

    def find(self, key: str) -> StoredObject | None:
        """Return the object *key*, or None."""
        with self._lock:
            return self._objects.get(key)

    def open(self, key: str) -> tuple[StoredObject, BinaryIO]:
        """Return the object *key* and a file with its bytes, for the caller to close.

        The bytes stay the same even if the object is replaced or deleted.
        """
        with self._lock:
            stored = self._objects.get(key)
            if stored is None:
                raise OssError("NoSuchKey", details={"Key": key})
            return stored, self._open(stored.content)

    def reopen(self, stored: StoredObject) -> BinaryIO:
        """Return a file with the bytes of *stored*, for the caller to close.

        Raises OSError if the object was replaced or deleted in the meantime.
        """
        return self._open(stored.content)

    def delete(self, key: str) -> None:
        """Delete the object *key*, if there is one."""
        with self._lock:
            stored = self._objects.get(key)
            if stored:
                (self._records / object_record(key)).unlink(missing_ok=True)
                del self._objects[key]
        if stored:
            self._discard(stored.content)

    def objects(self) -> dict[str, StoredObject]:
        """Return all objects by key."""
        with self._lock:
            return dict(self._objects)

    # Multipart uploads

    def initiate(self, key: str, headers: Mapping[str, str]) -> Upload:
        """Begin a multipart upload for the object *key*."""
        upload = Upload(
            id=self.folder.new_name().upper(),
            key=key,
            headers=dict(headers),
            initiated_at=self._clock(),
        )
        folder = self._pending / upload.id
        folder.mkdir()
        record = {
            "key": key,
            "headers": upload.headers,
            "initiated_at": upload.initiated_at,
        }
        try:
            self._write_record(folder / UPLOAD_RECORD, record)
        except OSError:
            folder.rmdir()
            raise
        with self._lock:
            self._uploads[upload.id] = upload
        return upload

    def _upload(self, upload_id: str, key: str) -> Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise OssError("NoSuchUpload", details={"UploadId": upload_id})
        return upload

    def put_part(
        self, upload_id: str, key: str, number: int, incoming: Incoming
    ) -> Part:
        """Make *incoming* part *number* of an upload, replacing an earlier one."""
        part = Part(number, incoming.content, self._clock())
        with self._lock:
            upload = self._upload(upload_id, key)
            path = self._pending / upload_id / part_record(number)
            self._write_record(path, asdict(part))
            before = upload.parts.get(number)
            upload.parts[number] = part
            incoming.is_kept = True
        if before:
            self._discard(before.content)
        return part

    def parts(self, upload_id: str, key: str) -> list[Part]:
        """Return the parts of an upload, sorted by number."""
        with self._lock:
            parts = self._upload(upload_id, key).parts
            return [parts[number] for number in sorted(parts)]

    def uploads(self) -> list[Upload]:
        """Return the uploads that are neither complete nor aborted."""
        with self._lock:
            return list(self._uploads.values())

    def complete(
        self,
        upload_id: str,
        key: str,
        wanted: list[tuple[int, str]] | None,
        *,
        may_overwrite: bool = True,
    ) -> StoredObject:
        """Make one object from the parts *wanted* (number and ETag), by default all.

        If that fails, the upload stays as it is.
        """
        with self._lock:
            upload = self._upload(upload_id, key)
            if wanted is None:
                wanted = [
                    (n, upload.parts[n].content.md5) for n in sorted(upload.parts)
                ]
            contents = [c.content for c in wanted_parts(upload.parts, wanted)]
        digest = hashlib.md5(b"".join(bytes.fromhex(c.md5) for c in contents))
        with self.receive(key, self._joined(upload, contents)) as incoming:
            return self.store(
                key,
                incoming,
                Description(
                    upload.headers,
                    kind="Multipart",
                    etag=f"{digest.hexdigest().upper()}-{len(contents)}",
                ),
                may_overwrite=may_overwrite,
                upload=upload,
            )

    def _joined(self, upload: Upload, contents: list[Content]) -> Iterator[bytes]:
        for content in contents:
            try:
                file = self._open(content)
            except FileNotFoundError:  # another request has just deleted it
                self.parts(upload.id, upload.key)
                raise OssError("InvalidPart") from None
            with file:
                yield from read_chunks(file, content.size)

    def abort(self, upload_id: str, key: str) -> None:
        """Forget an upload and delete its parts."""
        with self._lock:
            upload = self._upload(upload_id, key)
            del self._uploads[upload_id]
        self._delete(upload)

    def _delete(self, upload: Upload) -> None:
        """Delete the files of an upload that has ended."""
        delete_records(self._pending / upload.id)
        self._discard(*(part.content for part in upload.parts.values()))
