"""The reports that have counted, so that none counts twice."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tokenserver.logs import printable

logger = logging.getLogger(__name__)

MOST_SEEN = 100_000  # 15 MB; older ones are forgotten
# A line of UploadsFile, except one left incomplete when the server was killed
LINE = re.compile(rb'\{"id":"([0-9a-f]{32})",.*\}\n')


class SeenReports:
    """The newest reports, at most *most* of them."""

    def __init__(self, most: int = MOST_SEEN) -> None:
        self._most = most
        self._lock = threading.Lock()  # guards the two below
        self._ids: set[bytes] = set()
        self._order: deque[bytes] = deque()  # the same, the oldest first

    def add(self, report_id: str) -> bool:
        """Note a report; return whether it is new."""
        key = bytes.fromhex(report_id)
        with self._lock:
            if key in self._ids:
                return False
            self._ids.add(key)
            self._order.append(key)
            if len(self._order) > self._most:
                self._ids.discard(self._order.popleft())
            return True

    def add_those_in(self, path: Path) -> None:
        """Note the reports in the file *path* and in the latest renamed one."""
        for file in [*earlier_files(path)[-1:], path]:
            try:
                for report_id in ids_in(file):
                    self.add(report_id)
            except FileNotFoundError:
                continue
            except OSError as error:
                reason = error.strerror or type(error).__name__
                logger.warning(
                    "%s: cannot be read: %s; reports recorded in it may count again",
                    printable(str(file)),
                    reason,
                )


def ids_in(path: Path) -> Iterator[str]:
    """Yield the ids of the uploads in the file *path*.  Raises OSError."""
    if path.exists() and not path.is_file():  # a device or a pipe, which may not end
        return
    with path.open("rb") as file:
        for line in file:
            if match := LINE.fullmatch(line):
                yield match[1].decode("ascii")


def earlier_files(path: Path) -> list[Path]:
    """Return the renamed files of *path*, the oldest first."""
    older = re.compile(re.escape(path.name) + r"\.[0-9]{8}T[0-9]{6}Z")
    with contextlib.suppress(OSError):
        return sorted(f for f in path.parent.iterdir() if older.fullmatch(f.name))
    return []
