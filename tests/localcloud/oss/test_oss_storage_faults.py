"""A disk that fails, and much that passes through."""

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from helpers import MEGABYTE
from helpers.oss.buckets import HOME, PART, files, make_bucket
from helpers.oss.client import BucketClient, OssReply, RemoteOss
from helpers.oss.cloud import user_key
from helpers.oss.signing import BUCKET, KeyPair

import localcloud
from localcloud.oss import OssStandIn
from localcloud.oss.errors import OssError
from localcloud.oss.records import CHUNK_BYTES
from localcloud.oss.storage import Bucket
from localcloud.sts import StsStandIn

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return make_bucket(tmp_path)


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
    open_, mkdir, replace = Path.open, Path.mkdir, Path.replace

    def fake_open(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = open_(self, mode, *args, **kwargs)
        if mode not in ("r", "rb") and disk.fails(self):
            return FailingFile(file, disk.room)
        return file

    def fake_mkdir(self: Path, *args: Any, **kwargs: Any) -> None:
        if disk.fails(self):
            raise no_space()
        mkdir(self, *args, **kwargs)

    def fake_replace(self: Path, target: Path) -> Path:
        if disk.fails(target):
            raise no_space()
        return replace(self, target)

    monkeypatch.setattr(Path, "open", fake_open)
    monkeypatch.setattr(Path, "mkdir", fake_mkdir)
    monkeypatch.setattr(Path, "replace", fake_replace)
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
    replace = Path.replace

    def look_first(source: Path, target: Path) -> Path:
        assert json.loads(source.read_text("utf-8"))["key"] == "cat"
        seen.append(make_copy(tmp_path).read("cat"))
        return replace(source, target)

    def make_copy(folder: Path) -> Bucket:
        copied = Path(tempfile.mkdtemp(dir=folder.parent))
        shutil.copytree(folder / HOME, copied / HOME)
        return make_bucket(copied)

    monkeypatch.setattr(Path, "replace", look_first)
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
MANY = 200 * MEGABYTE
MAX_PEAK = 100 * MEGABYTE


def peak_of(process: subprocess.Popen[str]) -> int:
    """Return how many bytes of memory a process has had at most."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
@pytest.mark.slow
@pytest.mark.process
def test_200_megabytes_pass_through_little_memory() -> None:
    chunk = os.urandom(MEGABYTE)
    whole = hashlib.md5()
    for _ in range(MANY // MEGABYTE):
        whole.update(chunk)

    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        cwd=Path(localcloud.__file__).parent.parent,
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
