"""Buckets without a server, for tests of their files on the disk."""

from __future__ import annotations

from pathlib import Path

from helpers.oss.signing import BUCKET
from localcloud.oss.folder import MARK, SUFFIX, BucketFolder, ObjectFolder, read_id
from localcloud.oss.parts import MIN_PART_BYTES
from localcloud.oss.records import Description, StoredObject
from localcloud.oss.storage import Bucket

PART = b"p" * MIN_PART_BYTES
HOME = f"{BUCKET}{SUFFIX}"  # the folder of the bucket


def bucket_folder(folder: Path) -> BucketFolder:
    """Return the folder of the bucket in *folder*, which may have no mark."""
    mark = folder / MARK
    folder_id = read_id(mark.read_bytes()) if mark.exists() else ""
    return ObjectFolder(folder, folder_id).bucket(BUCKET)


def make_bucket(folder: Path) -> Bucket:
    """Open the bucket in *folder*, as a stand-in does when it starts."""
    return Bucket(BUCKET, bucket_folder(folder), lambda: 1_700_000_000.5)


def files(folder: Path) -> set[str]:
    """All files and empty folders below *folder*, by relative path."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or not any(path.iterdir())
    }


def put_part(bucket: Bucket, upload_id: str, key: str, number: int, data: bytes) -> str:
    """Upload a part and return its ETag."""
    with bucket.receive(key, [data]) as incoming:
        return bucket.put_part(upload_id, key, number, incoming).content.md5


def append(bucket: Bucket, key: str, position: int, data: bytes) -> StoredObject:
    with bucket.receive(key, [data]) as incoming:
        return bucket.append(key, position, incoming, {"x-oss-meta-a": "1"})


def store(bucket: Bucket, key: str, data: bytes, **headers: str) -> StoredObject:
    with bucket.receive(key, [data]) as incoming:
        return bucket.store(key, incoming, Description(headers))
