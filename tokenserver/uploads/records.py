"""UploadsFile: a line of JSON for each upload, appended by a thread of its own.

A line is handed to the operating system before the report is answered.  If the disk is
slow, the reply does not wait longer than WRITE_SECONDS.  Lines that cannot be written,
because the disk or the queue is full, are missing in the file and are counted as lost;
their reports count all the same.

The file is opened for each write, so other programs may rename or remove it.  At
MAX_FILE_BYTES it is renamed: the time is added to its name.  No file is ever removed
here.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import IO

from tokenserver.background import before_waiting
from tokenserver.logs import printable

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 100 << 20
MAX_WAITING_BYTES = 16 << 20
WRITE_SECONDS = 0.5  # for which a report waits until its line is written
QUIET_SECONDS = 10.0  # between two warnings about the same


@dataclass
class Line:
    """A line for a file."""

    path: Path
    content: bytes
    has_ended: threading.Event = field(default_factory=threading.Event)


class RecordWriter:
    """Appends lines to files, in the background and in their order."""

    def __init__(
        self,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._max_file_bytes = max_file_bytes
        self._max_waiting_bytes = max_waiting_bytes
        self._lock = threading.Condition()  # guards all below
        self._waiting: deque[Line] = deque()
        self._waiting_bytes = 0  # including those being written
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._quiet_until = -float("inf")
        self.lost = 0  # lines

    def write(self, path: Path, content: bytes) -> None:
        """Append the line *content* to *path*; return within WRITE_SECONDS."""
        line = Line(path, content)
        with self._lock:
            is_full = self._waiting_bytes + len(content) > self._max_waiting_bytes
            if is_full or self._is_closing or not self._has_thread():
                self._lose(
                    path, 1, "the queue is full" if is_full else "no thread can write"
                )
                return
            self._waiting.append(line)
            self._waiting_bytes += len(content)
            self._lock.notify()
        before_waiting()
        line.has_ended.wait(WRITE_SECONDS)

    def close(self, seconds: float) -> None:
        """Write the waiting lines, within *seconds*, and accept no more."""
        with self._lock:
            self._is_closing = True
            self._lock.notify()
            thread = self._thread
        if thread:
            thread.join(seconds)

    def _has_thread(self) -> bool:
        """Start the thread unless it runs; return False if the system cannot."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="uploads", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._waiting or self._is_closing)
                lines = list(self._waiting)
                self._waiting.clear()
            if not lines:
                return
            for path, group in groupby(lines, lambda line: line.path):
                self._write(path, list(group))
            with self._lock:
                self._waiting_bytes -= sum(len(line.content) for line in lines)
            for line in lines:
                line.has_ended.set()

    def _write(self, path: Path, lines: Sequence[Line]) -> None:
        """Append *lines*, and count those that cannot be written."""
        content = b"".join(line.content for line in lines)
        try:
            lost, reason = append(path, content, self._max_file_bytes)
        except Exception as error:  # whatever it is, the thread goes on
            lost, reason = len(lines), str(getattr(error, "strerror", None) or error)
        if lost:
            with self._lock:
                self._lose(path, lost, reason)

    def _lose(self, path: Path, lines: int, reason: str) -> None:
        """Count lines that were not written.  Called with the lock held."""
        self.lost += lines
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            logger.error(
                "%s: cannot be written: %s; %d lines lost so far",
                printable(str(path)),
                printable(reason),
                self.lost,
            )


def append(path: Path, content: bytes, max_file_bytes: int) -> tuple[int, str]:
    """Append *content*, whole lines, to *path*, which may grow to *max_file_bytes*.

    Return the number of lines that could not be written, and why.  Raises OSError.
    """
    with open_to_append(path) as file:
        if not is_too_large(file, len(content), max_file_bytes):
            return write_lines(file, content)
    rename(path)
    with open_to_append(path) as file:
        return write_lines(file, content)


def open_to_append(path: Path) -> IO[bytes]:
    """Return the file; a new one may be read by its owner alone.  Raises OSError."""
    return open(
        path, "ab+", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600)
    )


def is_too_large(file: IO[bytes], more: int, most: int) -> bool:
    """Return whether *more* bytes would make a file that is not empty exceed *most*."""
    found = os.fstat(file.fileno())
    return stat.S_ISREG(found.st_mode) and 0 < found.st_size > most - more


def rename(path: Path) -> None:
    """Add the time to the name of the file, unless that name is taken.

    Raises OSError.
    """
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    older = path.with_name(f"{path.name}.{now}")
    if not older.exists():
        path.rename(older)


def write_lines(file: IO[bytes], content: bytes) -> tuple[int, str]:
    """Write whole lines; return the number that could not be written, and why.

    The file may end with an incomplete line, if a server was killed or the disk was
    full.  That line is ended first, so that the next one can be read.
    """
    lines = content.count(b"\n")
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            content = b"\n" + content
    left = memoryview(content)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        lost = min(lines, bytes(left).count(b"\n"))
        return lost, error.strerror or type(error).__name__
    return 0, ""
