"""UploadsFile: a line for each upload, whatever the disk does."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from helpers import client
from helpers.client import Reply
from helpers.machine import PATIENCE_SECONDS, wait_until
from helpers.processes import running
from helpers.server import MakeServer
from helpers.settings import ROOT, write_config
from helpers.uploads import callback, post, records, report, ticket_of

from tokenserver.uploads import records as records_module
from tokenserver.uploads.records import RecordWriter
from tokenserver.uploads.seen import SeenReports

HANGZHOU = {"Region": "cn-hangzhou"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of uploads that is not there yet."""
    return tmp_path / "uploads.jsonl"


def line(number: int) -> bytes:
    """Return a line that counts."""
    return b'{"id":"%032x","object":"o"}\n' % number


def ids(path: Path) -> list[int]:
    """Return the uploads that a file has, which must be whole lines."""
    return [int(json.loads(text)["id"], 16) for text in path.read_text().splitlines()]


@pytest.fixture
def writer() -> Iterator[RecordWriter]:
    """A writer that renames files of more than 200 bytes."""
    made = RecordWriter(max_file_bytes=200, max_waiting_bytes=1000)
    yield made
    made.close(PATIENCE_SECONDS)


class Stalled:
    """A disk that takes its time until it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.release = threading.Event()
        self.is_reached = threading.Event()
        self._append = records_module.append
        monkeypatch.setattr(records_module, "append", self.append)

    def append(self, *args: Any) -> tuple[int, str]:
        self.is_reached.set()
        assert self.release.wait(PATIENCE_SECONDS)
        return self._append(*args)


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stalled]:
    """A disk that does not answer for now."""
    disk = Stalled(monkeypatch)
    yield disk
    disk.release.set()


# --- Lines ----------------------------------------------------------------------


def test_a_line_is_there_when_the_write_returns(
    writer: RecordWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "WRITE_SECONDS", PATIENCE_SECONDS)

    for number in range(3):
        writer.write(path, line(number))
        assert ids(path) == list(range(number + 1))


@pytest.mark.parametrize("torn", [b'{"id":"00', b"\xff", b'{"id":"1"}'])
def test_a_line_that_was_torn_takes_no_other_with_it(
    writer: RecordWriter, path: Path, torn: bytes
) -> None:
    path.write_bytes(line(1) + torn)

    writer.write(path, line(2))
    writer.close(PATIENCE_SECONDS)

    assert path.read_bytes() == line(1) + torn + b"\n" + line(2)
    seen = SeenReports()
    seen.add_those_in(path)
    assert [seen.add(f"{number:032x}") for number in (1, 2, 3)] == [False, False, True]


def test_a_large_file_is_renamed_and_none_is_removed(
    writer: RecordWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count()
    monkeypatch.setattr(
        time,
        "gmtime",
        lambda *_: time.struct_time((2026, 1, 2, 3, 4, next(seconds), 0, 1, 0)),
    )
    for number in range(20):
        writer.write(path, line(number))
    writer.close(PATIENCE_SECONDS)

    files = sorted(path.parent.glob("uploads.jsonl.*"))
    assert files[0].name == "uploads.jsonl.20260102T030400Z"
    assert all(file.stat().st_size <= 200 for file in [*files, path])
    assert [number for file in [*files, path] for number in ids(file)] == [*range(20)]
    seen = SeenReports()
    seen.add_those_in(path)  # and in the one before
    newest = ids(files[-1]) + ids(path)
    assert not any(seen.add(f"{number:032x}") for number in newest)


def test_two_files_never_get_one_name(writer: RecordWriter, path: Path) -> None:
    for number in range(40):
        writer.write(path, line(number))
    writer.close(PATIENCE_SECONDS)

    files = sorted(path.parent.glob("uploads.jsonl*"))
    assert sorted(number for file in files for number in ids(file)) == [*range(40)]


def test_a_file_that_others_renamed_is_made_anew(
    writer: RecordWriter, path: Path
) -> None:
    writer.write(path, line(1))
    wait_until(lambda: path.exists() and bool(path.stat().st_size))
    path.rename(path.with_name("rotated"))
    writer.write(path, line(2))
    writer.close(PATIENCE_SECONDS)

    assert ids(path) == [2]


def test_the_memory_of_reports_is_bounded() -> None:
    seen = SeenReports(most=100)
    for number in range(1000):
        assert seen.add(f"{number:032x}")

    assert len(seen._ids) == 100
    assert not seen.add(f"{999:032x}")


def test_a_device_is_not_read_to_its_end() -> None:
    SeenReports().add_those_in(Path("/dev/zero"))


# --- Disks that fail ------------------------------------------------------------


def test_a_full_disk_loses_lines_and_not_reports(
    make_server: MakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(
        **HANGZHOU, Callback=callback(tmp_path, UploadsFile="/dev/full")
    )
    sealed = ticket_of(server.request("/upload-config").json)

    statuses = [post(server.port, report(sealed)).status for _ in range(3)]

    assert statuses == [200] * 3
    uploads = server.server.uploads
    wait_until(lambda: uploads.records.lost == 3)
    assert uploads.by_grant.counts() == {"/": 3}
    (warning,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert warning.getMessage() == (
        "/dev/full: cannot be written: No space left on device; 1 lines lost so far"
    )


LIMITED = """
import resource, sys
from pathlib import Path
from tokenserver.uploads.records import RecordWriter

path, writer = Path(sys.argv[1]), RecordWriter()
line = lambda number: b'{"id":"%032x","object":"o"}\\n' % number
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
for number in range(10):
    writer.write(path, line(number))
lost = writer.lost
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for number in range(10, 13):
    writer.write(path, line(number))
writer.close(60)
print(lost, writer.lost)
"""


def test_lines_come_again_when_there_is_room_again(path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )

    whole = [text for text in path.read_bytes().splitlines(True) if text[-2:] == b"}\n"]
    assert found.stdout == "7 7\n"  # 200 bytes are three lines and a half
    assert whole == [line(number) for number in (0, 1, 2, 10, 11, 12)]


def test_a_slow_disk_keeps_no_report_waiting(
    make_server: MakeServer, tmp_path: Path, stalled: Stalled
) -> None:
    server = make_server(**HANGZHOU, Callback=callback(tmp_path))
    sealed = ticket_of(server.request("/upload-config").json)

    replies: list[Reply] = [post(server.port, report(sealed)) for _ in range(2)]

    assert [reply.status for reply in replies] == [200, 200]
    assert records(tmp_path) == []  # the answers did not wait for the disk
    stalled.release.set()
    wait_until(lambda: len(records(tmp_path)) == 2)
    assert server.server.uploads.records.lost == 0


def test_what_waits_for_a_disk_is_bounded(
    path: Path, stalled: Stalled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "WRITE_SECONDS", 0)
    writer = RecordWriter(max_waiting_bytes=20 * len(line(0)))
    for number in range(50):
        writer.write(path, line(number))

    assert writer.lost == 30
    stalled.release.set()
    writer.close(PATIENCE_SECONDS)
    assert ids(path) == list(range(20))
    assert writer.lost == 30


def test_what_waits_is_written_before_the_server_ends(
    make_server: MakeServer,
    tmp_path: Path,
    stalled: Stalled,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records_module, "WRITE_SECONDS", 0)
    server = make_server(**HANGZHOU, Callback=callback(tmp_path))
    sealed = ticket_of(server.request("/upload-config").json)
    for _ in range(10):
        assert post(server.port, report(sealed)).status == 200
    assert stalled.is_reached.wait(PATIENCE_SECONDS)

    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(server.close)
        stalled.release.set()
        ending.result()

    assert len(records(tmp_path)) == 10


def test_without_a_thread_a_line_is_lost_and_the_report_is_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = RecordWriter()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        writer.write(path, line(1))
    writer.write(path, line(2))
    writer.close(PATIENCE_SECONDS)

    assert (ids(path), writer.lost) == ([2], 1)


# --- A server that is killed ----------------------------------------------------


@pytest.mark.process
def test_a_server_that_is_killed_leaves_whole_lines(tmp_path: Path) -> None:
    values = callback(tmp_path)
    config = write_config(tmp_path, **HANGZHOU, Callback=values)
    answered: list[dict[str, str]] = []
    is_over = threading.Event()

    def report_on_and_on(port: int, sealed: str) -> None:
        """Report uploads until nobody answers."""
        while not is_over.is_set():
            one = report(sealed)
            try:
                reply = post(port, one)
            except OSError:
                return
            if reply.status == 200:
                answered.append(one)

    with running("--config", config, stderr=subprocess.DEVNULL) as (process, port):
        sealed = ticket_of(client.request(port, "/upload-config").json)
        with ThreadPoolExecutor(8) as pool:
            for _ in range(8):
                pool.submit(report_on_and_on, port, sealed)
            wait_until(lambda: len(answered) > 200)
            process.kill()
            process.wait()
            is_over.set()

    content = (tmp_path / "uploads.jsonl").read_bytes()
    whole = [
        json.loads(text) for text in content.splitlines(True) if text[-1:] == b"\n"
    ]
    kept = {one["request"] for one in whole}
    assert {one["request"] for one in answered} <= kept  # what was answered is there
    assert len(kept) == len(whole)
    with running("--config", config, stderr=subprocess.DEVNULL) as (_, port):
        again = [post(port, one).status for one in answered[-20:]]
        assert again == [403] * 20
        assert post(port, report(sealed)).status == 200
    assert len(records(tmp_path)) == len(whole) + 1


@pytest.mark.process
def test_a_server_that_is_told_to_end_has_written_all(tmp_path: Path) -> None:
    config = write_config(tmp_path, **HANGZHOU, Callback=callback(tmp_path))
    with running("--config", config, stderr=subprocess.DEVNULL) as (process, port):
        sealed = ticket_of(client.request(port, "/upload-config").json)
        for _ in range(50):
            assert post(port, report(sealed)).status == 200
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0

    assert len(records(tmp_path)) == 50
