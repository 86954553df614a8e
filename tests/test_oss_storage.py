"""What the OSS stand-in keeps on the disk: across restarts, failures and threads."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oss_support import (
    BUCKET,
    BucketClient,
    KeyPair,
    OssReply,
    RemoteOss,
    user_key,
)
from support import PATIENCE_SECONDS

from localcloud.oss import OssStandIn
from localcloud.oss.errors import OssError
from localcloud.oss.folder import MARK, SUFFIX, BucketFolder, ObjectFolder, read_id
from localcloud.oss.parts import MIN_PART_BYTES
from localcloud.oss.records import CHUNK_BYTES, Description, Incoming, StoredObject
from localcloud.oss.storage import Bucket
from localcloud.sts import StsStandIn

ROOT = Path(__file__).parent.parent
PART = b"p" * MIN_PART_BYTES
HOME = f"{BUCKET}{SUFFIX}"  # the folder of the bucket


def bucket_folder(folder: Path) -> BucketFolder:
    """Return the folder of the bucket in *folder*, which need not have a mark."""
    mark = folder / MARK
    folder_id = read_id(mark.read_bytes()) if mark.exists() else ""
    return ObjectFolder(folder, folder_id).bucket(BUCKET)


def make_bucket(folder: Path) -> Bucket:
    """Open the bucket in *folder*, as a stand-in does when it starts."""
    return Bucket(BUCKET, bucket_folder(folder), lambda: 1_700_000_000.5)


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return make_bucket(tmp_path)


def files(folder: Path) -> set[str]:
    """All files and empty folders below *folder*, by their paths in it."""
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


# --- Restarts -------------------------------------------------------------------


def test_a_restart_keeps_objects_with_all_that_is_known_of_them(
    bucket: Bucket, tmp_path: Path
) -> None:
    store(bucket, "photos/猫.jpg", b"cat", expires="never", **{"x-oss-meta-a": "é😀"})
    append(bucket, "log", 0, b"hello ")
    append(bucket, "log", 6, b"world")
    upload = bucket.initiate("film", {"content-type": "video/mp4"})
    put_part(bucket, upload.id, "film", 1, PART)
    bucket.complete(upload.id, "film", None)
    bucket.put("gone", b"")
    bucket.delete("gone")

    again = make_bucket(tmp_path)

    assert again.keys() == ["film", "log", "photos/猫.jpg"]
    assert again.objects() == bucket.objects()
    assert again.read("photos/猫.jpg") == b"cat"
    assert again.read("log") == b"hello world"
    assert again.read("film") == PART
    assert append(again, "log", 11, b"!").content.size == 12
    assert again.read("log") == b"hello world!"


def test_a_restart_keeps_uploads_and_their_parts(
    bucket: Bucket, tmp_path: Path
) -> None:
    upload = bucket.initiate("film", {"content-type": "video/mp4"})
    put_part(bucket, upload.id, "film", 2, b"replaced")
    put_part(bucket, upload.id, "film", 2, b"end")
    put_part(bucket, upload.id, "film", 1, PART)

    again = make_bucket(tmp_path)

    assert again.uploads() == bucket.uploads()
    assert again.parts(upload.id, "film") == bucket.parts(upload.id, "film")
    stored = again.complete(upload.id, "film", None)
    assert again.read("film") == PART + b"end"
    assert stored.headers == {"content-type": "video/mp4"}
    assert make_bucket(tmp_path).uploads() == []


def test_a_restart_forgets_uploads_that_are_over(
    bucket: Bucket, tmp_path: Path
) -> None:
    before = files(tmp_path)
    upload = bucket.initiate("film", {})
    put_part(bucket, upload.id, "film", 1, b"x")
    bucket.abort(upload.id, "film")

    again = make_bucket(tmp_path)

    assert again.uploads() == []
    assert files(tmp_path) == before


def test_a_stand_in_finds_what_an_earlier_one_kept(
    sts: StsStandIn, tmp_path: Path
) -> None:
    key = user_key(sts)
    with OssStandIn(sts, tmp_path) as oss:
        oss.create_bucket(BUCKET)
        client = BucketClient(oss, key)
        client.put("cat", b"meow", content_type="text/plain")
        upload_id = client.initiate("dog")
        etag = client.put_part("dog", upload_id, 1, b"woof").headers["etag"]
        before = client.get("cat").headers

    with OssStandIn(sts, tmp_path) as oss:
        oss.create_bucket(BUCKET)
        client = BucketClient(oss, key)
        assert client.get("cat").body == b"meow"
        assert client.complete("dog", upload_id, [(1, etag)]).status == 200
        assert client.get("dog").body == b"woof"
        after = client.get("cat").headers

    changing = {"date", "x-oss-request-id", "x-oss-server-time"}
    assert {n: v for n, v in after.items() if n not in changing} == {
        n: v for n, v in before.items() if n not in changing
    }


def test_a_temporary_folder_is_deleted_in_the_end(sts: StsStandIn) -> None:
    with OssStandIn(sts) as oss:
        assert oss.folder
        folder = oss.folder
        oss.create_bucket(BUCKET).put("cat", b"cat")
        assert files(folder)

    assert not folder.exists()


@pytest.mark.parametrize(
    ("folder", "rest"),
    [
        pytest.param("data", "-cat", id="bytes that were not recorded"),
        pytest.param("data", "-record.json", id="half a record"),
        pytest.param("uploads", "", id="an upload that had just begun"),
        pytest.param("uploads", "/00001.json", id="an upload that was being aborted"),
    ],
)
def test_what_was_cut_off_is_swept_at_the_next_start(
    bucket: Bucket, tmp_path: Path, folder: str, rest: str
) -> None:
    """A process that is killed may leave these."""
    bucket.put("cat", b"cat")
    upload = bucket.initiate("dog", {})
    etag = put_part(bucket, upload.id, "dog", 1, b"dog")
    before = files(tmp_path)
    part = (bucket.folder.path / "uploads" / upload.id / "00001.json").read_bytes()
    if folder == "data":
        path = bucket.folder.path / folder / bucket.folder.new_name(rest)
        path.write_text('{"key": ')
    else:
        path = bucket.folder.path / folder / bucket.folder.new_name().upper()
        path.mkdir()
        if rest:
            (path / rest[1:]).write_bytes(part)
    assert files(tmp_path) > before

    again = make_bucket(tmp_path)

    assert files(tmp_path) == before
    assert again.read("cat") == b"cat"
    again.complete(upload.id, "dog", [(1, etag)])
    assert again.read("dog") == b"dog"


@pytest.mark.parametrize("key", ["a.tmp", "a.json", "upload.json", "00001.json"])
def test_a_name_that_means_something_to_the_storage_is_a_name(
    bucket: Bucket, tmp_path: Path, key: str
) -> None:
    bucket.put(key, b"1")
    upload = bucket.initiate(key, {})
    put_part(bucket, upload.id, key, 1, b"2")

    again = make_bucket(tmp_path)

    assert again.read(key) == b"1"
    again.complete(upload.id, key, None)
    assert again.read(key) == b"2"


def test_bytes_that_a_person_deletes_are_gone_with_what_was_known_of_them(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("cat", b"cat")
    upload = bucket.initiate("dog", {})
    put_part(bucket, upload.id, "dog", 1, b"dog")
    for path in (tmp_path / HOME / "data").iterdir():
        path.unlink()

    again = make_bucket(tmp_path)

    assert again.keys() == []
    assert again.parts(upload.id, "dog") == []
    again.put("cat", b"new")
    assert make_bucket(tmp_path).read("cat") == b"new"


def test_the_files_of_an_object_can_be_told_by_a_person(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("photos/猫 1.jpg", b"cat")

    (data,) = (tmp_path / HOME / "data").iterdir()
    (record,) = (tmp_path / HOME / "objects").iterdir()
    assert data.name.endswith("-猫_1.jpg")
    assert data.read_bytes() == b"cat"
    assert json.loads(record.read_text("utf-8"))["key"] == "photos/猫 1.jpg"


# --- Names ----------------------------------------------------------------------

AWKWARD_KEYS = [
    "..",
    ".",
    "../../../escape",
    "a/../../b",
    "/etc/passwd",
    "C:\\Windows\\x",
    "\\\\server\\share",
    "a//b",
    "a/",
    "a/b/",
    "dot.",
    "blank ",
    "CON",
    "nul.txt",
    "a:b*c?d|e<f>g",
    "\x00\x01\n",
    "~",
    "-rf",
    "猫" * 341,
    "a" * 1023,
    "a/" * 511,
    "é",
    "e\u0301",
    "cat",
    "Cat",
    "CAT",
    "cat/",
]


def test_any_name_is_that_of_one_object(bucket: Bucket, tmp_path: Path) -> None:
    for key in AWKWARD_KEYS:
        bucket.put(key, key.encode())

    for opened in (bucket, make_bucket(tmp_path)):
        assert opened.keys() == sorted(AWKWARD_KEYS)
        assert {key: opened.read(key).decode() for key in AWKWARD_KEYS} == {
            key: key for key in AWKWARD_KEYS
        }
    for key in AWKWARD_KEYS:
        bucket.delete(key)
    assert files(tmp_path) == {f"{HOME}/{n}" for n in ("data", "objects", "uploads")}


@pytest.mark.parametrize("key", AWKWARD_KEYS)
def test_no_name_leads_out_of_the_folders_of_the_bucket(
    tmp_path: Path, key: str
) -> None:
    (tmp_path / "in" / "side").mkdir(parents=True)
    bucket = make_bucket(tmp_path / "in" / "side")
    bucket.put(key, b"1")
    append(bucket, f"{key}+", 0, b"1")
    append(bucket, f"{key}+", 1, b"1")
    upload = bucket.initiate(key, {})
    put_part(bucket, upload.id, key, 1, b"1")

    home = f"in/side/{HOME}"
    folders = {path.rpartition("/")[0] for path in files(tmp_path)}
    assert folders == {
        f"{home}/data",
        f"{home}/objects",
        f"{home}/uploads/{upload.id}",
    }
    for path in (tmp_path / home / "data").iterdir():
        assert path.name[-1] not in ". "  # which Windows leaves out
        assert len(path.name.encode()) < 255


@pytest.mark.parametrize(
    "upload_id", ["..", "../data", "/etc", "", "upload.json", "\x00"]
)
def test_an_upload_id_is_no_path(
    bucket: Bucket, tmp_path: Path, upload_id: str
) -> None:
    bucket.put("cat", b"cat")
    before = files(tmp_path)

    for use in (
        lambda: bucket.abort(upload_id, "cat"),
        lambda: bucket.parts(upload_id, "cat"),
        lambda: put_part(bucket, upload_id, "cat", 1, b"1"),
        lambda: bucket.complete(upload_id, "cat", None),
    ):
        with pytest.raises(OssError, match="NoSuchUpload"):
            use()

    assert files(tmp_path) == before


# --- A disk that fails ----------------------------------------------------------


class FailingFile(io.BufferedIOBase):
    """A file on a disk that is full after *room* more bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, data: Any) -> int:
        taken = data[: self._room]
        self._file.write(taken)
        self._room -= len(taken)
        if len(taken) < len(data):
            raise no_space()
        return len(taken)

    def __enter__(self) -> FailingFile:
        return self

    def close(self) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def seek(self, *args: int) -> int:
        position: int = self._file.seek(*args)
        return position

    def truncate(self, *args: Any) -> int:
        size: int = self._file.truncate(*args)
        return size


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class Disk:
    """A disk that fails for paths that match *full*, when they are written."""

    full: str = ""
    room: int = 0
    failures: int = field(default=0, init=False)

    def fails(self, path: Path) -> bool:
        is_full = bool(self.full) and fnmatch(path.as_posix(), f"*/{self.full}")
        self.failures += is_full
        return is_full


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk under the bucket, which a test may fill."""
    disk = Disk()
    open_, mkdir, replace = Path.open, Path.mkdir, os.replace

    def fake_open(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = open_(self, mode, *args, **kwargs)
        if mode not in ("r", "rb") and disk.fails(self):
            return FailingFile(file, disk.room)
        return file

    def fake_mkdir(self: Path, *args: Any, **kwargs: Any) -> None:
        if disk.fails(self):
            raise no_space()
        mkdir(self, *args, **kwargs)

    def fake_replace(source: Path, target: Path) -> None:
        if disk.fails(target):
            raise no_space()
        replace(source, target)

    monkeypatch.setattr(Path, "open", fake_open)
    monkeypatch.setattr(Path, "mkdir", fake_mkdir)
    monkeypatch.setattr(os, "replace", fake_replace)
    return disk


@pytest.fixture
def oss(sts: StsStandIn, tmp_path: Path) -> Iterator[OssStandIn]:
    with OssStandIn(sts, tmp_path) as stand_in:
        stand_in.create_bucket(BUCKET)
        yield stand_in


@pytest.fixture
def client(oss: OssStandIn, sts: StsStandIn) -> BucketClient:
    return BucketClient(oss, user_key(sts))


@dataclass(frozen=True)
class Uploads:
    """What is there before the disk is full: an object, a log and two uploads."""

    client: BucketClient
    whole: str  # the id of one with all its parts
    fresh: str  # of one without


@pytest.fixture
def uploads(client: BucketClient) -> Uploads:
    client.put("cat", b"before", content_type="text/plain")
    client.append("log", 0, b"hello ")
    whole, fresh = client.initiate("film"), client.initiate("film")
    client.put_part("film", whole, 1, PART)
    client.put_part("film", whole, 2, b"end")
    return Uploads(client, whole, fresh)


def put_again(uploads: Uploads) -> OssReply:
    return uploads.client.put("cat", b"after " * 1000)


def put_new(uploads: Uploads) -> OssReply:
    return uploads.client.put("new", b"after " * 1000)


def copy(uploads: Uploads) -> OssReply:
    return uploads.client.put("new", x_oss_copy_source=f"/{BUCKET}/cat")


def append_more(uploads: Uploads) -> OssReply:
    return uploads.client.append("log", 6, b"world")


def append_first(uploads: Uploads) -> OssReply:
    return uploads.client.append("new", 0, b"world")


def initiate(uploads: Uploads) -> OssReply:
    return uploads.client.post("film", b"", {"uploads": ""})


def upload_part(uploads: Uploads) -> OssReply:
    return uploads.client.put_part("film", uploads.fresh, 1, b"part")


def replace_part(uploads: Uploads) -> OssReply:
    return uploads.client.put_part("film", uploads.whole, 2, b"the end")


def complete(uploads: Uploads) -> OssReply:
    query = {"uploadId": uploads.whole}
    return uploads.client.post("film", b"", query, x_oss_complete_all="yes")


DATA = "data/*"
OBJECT, RECORD = "objects/*.json", "uploads/*.json"
HALF_RECORD = "data/*-record.json"

FAILURES = [
    *itertools.product(
        [put_again, put_new, copy, append_first, complete], [DATA, OBJECT, HALF_RECORD]
    ),
    *itertools.product([append_more], [OBJECT, HALF_RECORD]),
    *itertools.product([upload_part, replace_part], [DATA, RECORD, HALF_RECORD]),
    *itertools.product([initiate], [RECORD, HALF_RECORD, "uploads/*"]),
]


@pytest.mark.parametrize("room", [0, 3], ids=["no room", "some room"])
@pytest.mark.parametrize(
    ("use", "full"), FAILURES, ids=[f"{use.__name__} {full}" for use, full in FAILURES]
)
def test_a_full_disk_is_an_internal_error_and_changes_nothing(
    uploads: Uploads,
    disk: Disk,
    tmp_path: Path,
    use: Callable[[Uploads], OssReply],
    full: str,
    room: int,
) -> None:
    client, before = uploads.client, files(tmp_path)
    listed = client.get("").body, client.get("", {"uploads": ""}).body

    disk.full, disk.room = f"{HOME}/{full}", room
    reply = use(uploads)
    assert disk.failures
    disk.full = ""

    assert reply.outcome == (500, "InternalError")
    assert files(tmp_path) == before
    assert (client.get("").body, client.get("", {"uploads": ""}).body) == listed
    again = make_bucket(tmp_path)
    assert (again.read("cat"), again.read("log")) == (b"before", b"hello ")
    assert use(uploads).status == 200
    assert client.append("log", len(client.get("log").body), b"!").status == 200


@pytest.mark.parametrize("room", [0, 3])
def test_an_append_that_fails_half_way_can_be_made_again(
    uploads: Uploads, disk: Disk, tmp_path: Path, room: int
) -> None:
    client = uploads.client
    for full in ("data/*-log", HALF_RECORD, OBJECT):
        disk.full, disk.room = f"{HOME}/{full}", room
        assert append_more(uploads).outcome == (500, "InternalError")
        disk.full = ""
        assert client.get("log").body == b"hello "
        assert make_bucket(tmp_path).read("log") == b"hello "

    reply = client.append("log", 6, b"you")

    assert reply.headers["x-oss-next-append-position"] == "9"
    assert client.get("log").body == b"hello you"
    same = client.put("same", b"hello you").headers["x-oss-hash-crc64ecma"]
    assert reply.headers["x-oss-hash-crc64ecma"] == same
    assert make_bucket(tmp_path).read("log") == b"hello you"


def test_an_append_that_fails_in_the_middle_of_its_bytes_can_be_made_again(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file of the object has then more bytes than its record says."""
    client = uploads.client
    open_ = Path.open

    def fake_open(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = open_(self, mode, *args, **kwargs)
        return FailingFile(file, CHUNK_BYTES) if mode == "r+b" else file

    monkeypatch.setattr(Path, "open", fake_open)
    failed = client.append("log", 6, b"x" * (CHUNK_BYTES + 1))
    monkeypatch.setattr(Path, "open", open_)

    assert failed.outcome == (500, "InternalError")
    assert max(p.stat().st_size for p in tmp_path.rglob("*-log")) > CHUNK_BYTES
    assert client.get("log").body == b"hello "
    assert make_bucket(tmp_path).read("log") == b"hello "
    assert client.append("log", 6, b"world").status == 200
    assert client.get("log").body == b"hello world"
    assert max(p.stat().st_size for p in tmp_path.rglob("*-log")) == 11


def test_an_object_that_cannot_be_deleted_stays(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, unlink = uploads.client, Path.unlink

    def fake_unlink(self: Path, missing_ok: bool = False) -> None:
        if self.parent.name == "objects":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", fake_unlink)
    refused = client.delete("cat")
    monkeypatch.setattr(Path, "unlink", unlink)

    assert refused.outcome == (500, "InternalError")
    assert client.get("cat").body == b"before"
    assert client.delete("cat").status == 204
    assert client.get("cat").status == 404


def test_bytes_that_are_missing_are_an_internal_error(
    uploads: Uploads, tmp_path: Path
) -> None:
    client = uploads.client
    for path in (tmp_path / HOME / "data").glob("*-cat"):
        path.unlink()

    assert client.get("cat").outcome == (500, "InternalError")
    assert client.put("cat", b"new").status == 200
    assert client.get("cat").body == b"new"


def test_a_record_is_replaced_and_never_half_written(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there just before each record comes to be is the old one, whole."""
    bucket.put("cat", b"old")
    seen: list[bytes] = []
    replace = os.replace

    def look_first(source: Path, target: Path) -> None:
        assert json.loads(source.read_text("utf-8"))["key"] == "cat"
        seen.append(make_copy(tmp_path).read("cat"))
        replace(source, target)

    def make_copy(folder: Path) -> Bucket:
        copied = Path(tempfile.mkdtemp(dir=folder.parent))
        shutil.copytree(folder / HOME, copied / HOME)
        return make_bucket(copied)

    monkeypatch.setattr(os, "replace", look_first)
    bucket.put("cat", b"new")

    assert seen == [b"old"]
    assert bucket.read("cat") == b"new"


def test_chunks_that_end_in_an_error_leave_nothing(
    bucket: Bucket, tmp_path: Path
) -> None:
    before = files(tmp_path)

    def chunks() -> Iterator[bytes]:
        yield b"hello"
        raise OssError("IncompleteBody")

    with (
        pytest.raises(OssError, match="IncompleteBody"),
        bucket.receive("cat", chunks()),
    ):
        pytest.fail("what was not received whole is used")

    assert files(tmp_path) == before


# --- At the same time -----------------------------------------------------------


class MeetingBucket(Bucket):
    """A bucket where uploads wait for each other once their bytes are received."""

    meeting: threading.Barrier | None = None

    @contextmanager
    def receive(self, key: str, chunks: Iterable[bytes]) -> Iterator[Incoming]:
        with super().receive(key, chunks) as incoming:
            if self.meeting:
                self.meeting.wait(PATIENCE_SECONDS)
            yield incoming


@pytest.fixture
def meeting_bucket(tmp_path: Path) -> MeetingBucket:
    return MeetingBucket(BUCKET, bucket_folder(tmp_path), lambda: 1_700_000_000.5)


def outcome_of(use: Callable[[], object]) -> str:
    try:
        use()
    except OssError as error:
        return error.code
    return "done"


def at_once(bucket: MeetingBucket, *uses: Callable[[], object]) -> list[str]:
    """Do *uses*, each in a thread, and return their outcomes, sorted."""
    bucket.meeting = threading.Barrier(len(uses))
    with ThreadPoolExecutor(len(uses)) as pool:
        outcomes = sorted(pool.map(outcome_of, uses))
    bucket.meeting = None
    return outcomes


def test_an_upload_that_is_completed_twice_at_once_is_completed_once(
    meeting_bucket: MeetingBucket, tmp_path: Path
) -> None:
    bucket = meeting_bucket
    upload = bucket.initiate("cat", {})
    put_part(bucket, upload.id, "cat", 1, b"cat")

    outcomes = at_once(bucket, *[lambda: bucket.complete(upload.id, "cat", None)] * 3)

    assert outcomes == ["NoSuchUpload", "NoSuchUpload", "done"]
    assert bucket.read("cat") == b"cat"
    assert len(files(tmp_path / HOME / "data")) == 1
    assert (bucket.uploads(), make_bucket(tmp_path).uploads()) == ([], [])


def test_one_object_is_made_where_several_may_not_be_overwritten(
    meeting_bucket: MeetingBucket, tmp_path: Path
) -> None:
    bucket = meeting_bucket

    def put(data: bytes) -> None:
        with bucket.receive("cat", [data]) as incoming:
            bucket.store("cat", incoming, Description(), may_overwrite=False)

    outcomes = at_once(bucket, *[lambda: put(b"cat")] * 4)

    assert outcomes == ["FileAlreadyExists"] * 3 + ["done"]
    assert len(files(tmp_path / HOME / "data")) == 1


def test_one_of_several_appends_to_one_position_succeeds(
    meeting_bucket: MeetingBucket, tmp_path: Path
) -> None:
    bucket = meeting_bucket
    append(bucket, "log", 0, b"hello ")

    outcomes = at_once(bucket, *[lambda: append(bucket, "log", 6, b"world")] * 4)

    assert outcomes == ["PositionNotEqualToLength"] * 3 + ["done"]
    assert bucket.read("log") == b"hello world"
    assert len(files(tmp_path / HOME / "data")) == 1


def test_a_part_that_arrives_after_its_upload_was_aborted_is_dropped(
    bucket: Bucket, tmp_path: Path
) -> None:
    before = files(tmp_path)
    upload = bucket.initiate("cat", {})

    def chunks() -> Iterator[bytes]:
        yield b"half"
        bucket.abort(upload.id, "cat")
        yield b"half"

    with (
        pytest.raises(OssError, match="NoSuchUpload"),
        bucket.receive("cat", chunks()) as incoming,
    ):
        bucket.put_part(upload.id, "cat", 1, incoming)

    assert files(tmp_path) == before


@pytest.mark.parametrize("how", ["abort", "complete", "replace a part"])
def test_parts_that_go_while_they_are_joined_are_missed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    """The second part goes while the first is read."""
    upload = bucket.initiate("cat", {})
    put_part(bucket, upload.id, "cat", 1, PART)
    put_part(bucket, upload.id, "cat", 2, b"end")
    receive = Bucket.receive

    def interrupted(self: Bucket, key: str, chunks: Iterable[bytes]) -> Any:
        def slow() -> Iterator[bytes]:
            monkeypatch.setattr(Bucket, "receive", receive)
            iterator = iter(chunks)
            yield next(iterator)
            if how == "abort":
                bucket.abort(upload.id, "cat")
            elif how == "complete":
                bucket.complete(upload.id, "cat", None)
            else:
                put_part(bucket, upload.id, "cat", 2, b"another end")
            yield from iterator

        return receive(self, key, slow())

    monkeypatch.setattr(Bucket, "receive", interrupted)
    outcome = outcome_of(lambda: bucket.complete(upload.id, "cat", None))

    assert outcome == ("InvalidPart" if "part" in how else "NoSuchUpload")
    assert bucket.keys() == (["cat"] if how == "complete" else [])
    if how == "replace a part":
        bucket.complete(upload.id, "cat", None)
        assert bucket.read("cat") == PART + b"another end"
    assert len(files(tmp_path / HOME / "data")) <= 1


def test_who_has_an_object_open_reads_it_to_its_end(bucket: Bucket) -> None:
    bucket.put("cat", b"old" * CHUNK_BYTES)
    stored, file = bucket.open("cat")
    with file:
        bucket.put("cat", b"new")
        bucket.delete("cat")
        data = file.read()

    assert hashlib.md5(data).hexdigest().upper() == stored.etag
    assert bucket.keys() == []


def test_who_has_an_object_open_does_not_see_what_is_appended(bucket: Bucket) -> None:
    append(bucket, "log", 0, b"hello ")
    stored, file = bucket.open("log")
    with file:
        append(bucket, "log", 6, b"world")
        data = file.read(stored.content.size)

    assert data == b"hello "


# --- Any sequence ---------------------------------------------------------------

SOME_KEYS = st.sampled_from(["a", "A", "a/b", "..", "猫"])
SOME_BYTES = st.binary(max_size=6)
STEPS = st.one_of(
    st.tuples(st.just("put"), SOME_KEYS, SOME_BYTES),
    st.tuples(st.just("append"), SOME_KEYS, SOME_BYTES),
    st.tuples(st.just("upload"), SOME_KEYS, SOME_BYTES),
    st.tuples(st.just("abort"), SOME_KEYS, SOME_BYTES),
    st.tuples(st.just("delete"), SOME_KEYS, st.just(b"")),
    st.tuples(st.just("restart"), st.just(""), st.just(b"")),
)


@given(steps=st.lists(STEPS, max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_bucket_is_a_dictionary_on_the_disk(
    steps: list[tuple[str, str, bytes]],
) -> None:
    model: dict[str, bytes] = {}
    appendable: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bucket = make_bucket(folder)
        for step, key, data in steps:
            if step == "put":
                bucket.put(key, data)
                model[key] = data
                appendable.discard(key)
            elif step == "append":
                length = len(model.get(key, b""))
                if key in model and key not in appendable:
                    with pytest.raises(OssError, match="ObjectNotAppendable"):
                        append(bucket, key, length, data)
                    continue
                append(bucket, key, length, data)
                model[key] = model.get(key, b"") + data
                appendable.add(key)
            elif step in ("upload", "abort"):
                upload = bucket.initiate(key, {})
                put_part(bucket, upload.id, key, 9, data)
                put_part(bucket, upload.id, key, 3, PART)
                if step == "abort":
                    bucket.abort(upload.id, key)
                    continue
                bucket.complete(upload.id, key, None)
                model[key] = PART + data
                appendable.discard(key)
            elif step == "delete":
                bucket.delete(key)
                model.pop(key, None)
                appendable.discard(key)
            else:
                bucket = make_bucket(folder)

        assert bucket.keys() == sorted(model)
        assert {key: bucket.read(key) for key in model} == model
        assert bucket.uploads() == []
        assert len(files(folder / HOME / "data") - {"."}) == len(model)
        assert len(list((folder / HOME / "objects").iterdir())) == len(model)
        assert list((folder / HOME / "uploads").iterdir()) == []


# --- Much -----------------------------------------------------------------------

SERVE = """
import sys
from localcloud.oss import OssStandIn
from localcloud.sts import ALLOW_ALL, StsStandIn

with StsStandIn() as sts, OssStandIn(sts) as oss:
    sts.add_user("key", "secret", policies=(ALLOW_ALL,))
    oss.create_bucket("my-bucket")
    print(oss.port, flush=True)
    sys.stdin.read()
"""
MEGABYTE = 2**20
MANY = 200 * MEGABYTE
MAX_PEAK = 100 * MEGABYTE


def peak_of(process: subprocess.Popen[str]) -> int:
    """Return how many bytes of memory a process has had at most."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_200_megabytes_pass_through_little_memory() -> None:
    chunk = os.urandom(MEGABYTE)
    whole = hashlib.md5()
    for _ in range(MANY // MEGABYTE):
        whole.update(chunk)

    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        oss = RemoteOss(port=int(process.stdout.readline()))
        client = BucketClient(oss, KeyPair("key", "secret"))

        put = client.put("big", [chunk] * (MANY // MEGABYTE))
        assert put.headers["etag"] == f'"{whole.hexdigest().upper()}"'
        assert digest_of(client, "big") == whole.hexdigest()
        client.delete("big")

        upload_id = client.initiate("big")
        half = str(MANY // 2)
        parts: list[tuple[int | str, str]] = [
            (
                number,
                client.put_part(
                    "big",
                    upload_id,
                    number,
                    [chunk] * (MANY // 2 // MEGABYTE),
                    content_length=half,
                ).headers["etag"],
            )
            for number in (1, 2)
        ]
        assert client.complete("big", upload_id, parts).status == 200
        assert digest_of(client, "big") == whole.hexdigest()
        peak = peak_of(process)

    assert process.returncode == 0
    assert peak < MAX_PEAK


def digest_of(client: BucketClient, key: str) -> str:
    """Return the digest of an object, which is read piece by piece."""
    digest = hashlib.md5()
    path = client.path(key)
    with client.connect() as connection:
        connection.request("GET", path, headers=client.sign("GET", path))
        response = connection.getresponse()
        while chunk := response.read(MEGABYTE):
            digest.update(chunk)
    return digest.hexdigest()
