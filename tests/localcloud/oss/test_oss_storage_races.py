"""What happens to a bucket at the same time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.machine import PATIENCE_SECONDS
from helpers.oss.buckets import (
    HOME,
    PART,
    append,
    bucket_folder,
    files,
    make_bucket,
    put_part,
)
from helpers.oss.signing import BUCKET

from localcloud.oss.errors import OssError
from localcloud.oss.records import CHUNK_BYTES, Description, Incoming
from localcloud.oss.storage import Bucket


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return make_bucket(tmp_path)


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
