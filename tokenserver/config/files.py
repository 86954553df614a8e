"""The operator's files: read as a whole, and read again after an edit."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from tokenserver.errors import ConfigError
from tokenserver.login.strict_json import NotStrict, parse_object
from tokenserver.logs import printable

logger = logging.getLogger(__name__)

T = TypeVar("T")
Read = Callable[[Path], bytes]  # returns the bytes of a file, or raises ConfigError

MAX_FILE_BYTES = 1 << 20
LOOK_SECONDS = 1.0  # between two looks at the files


def read_file(path: Path) -> bytes:
    """Return the bytes of *path*.  Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    except ValueError:  # a null character in the name
        raise ConfigError(f"{printable(str(path))}: is not a file name") from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_FILE_BYTES} bytes")
    return content


def parse_file(where: str, content: bytes) -> dict[str, Any]:
    """Return the JSON object that the file *where* holds.  Raises ConfigError."""
    try:
        # Windows editors begin with a byte order mark.
        return parse_object(content, "utf-8-sig")
    except NotStrict as error:
        raise ConfigError(f"{where}: {error}") from None


def is_open_to_others(path: Path) -> bool:
    """Return whether the group or the world may read the file; never on Windows."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def others_may_read(path: Path) -> str:
    """Return the warning about a file for which is_open_to_others() is true."""
    return f"{path}: contains a secret, and other users may read it; run chmod 600"


class LiveFiles(Generic[T]):
    """The value that *load* makes of the latest valid version of some files.

    The reference servers read their files for every request.  Here a FileWatch looks at
    them and compares their contents, so an edit is found however it was written and
    whatever its time stamp says.  An edit takes effect when two looks in a row have
    found the same, because a file that is overwritten in place is half old and half new
    for a moment.  A wrong edit is logged and changes nothing.

    *load* gets a function that reads files.  It raises ConfigError, and so does the
    constructor if the first version is wrong.
    """

    name = "files"

    def __init__(
        self, load: Callable[[Read], T], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._clock = clock
        self._seen: dict[Path, bytes | None] = {}  # contents that were judged last
        self._pending: dict[Path, bytes | None] = {}  # an edit seen by one look only
        self.problems: tuple[str, ...] = ()  # of the contents that were judged last
        self.generation = 0
        self._content = load(partial(note_read, self._seen))
        self._take_up(self._content)

    def current(self) -> T:
        """Return the value of the latest valid version."""
        return self._content

    def look(self) -> bool:
        """Apply an edit that the previous look has found too, if it is valid.

        Return whether there is an edit that the next look must confirm.
        """
        if all(read_or_none(path) == seen for path, seen in self._seen.items()):
            self._pending = {}
            return False
        seen: dict[Path, bytes | None] = {}
        content = self._content
        problems: tuple[str, ...] = ()
        try:
            content = self._load(partial(note_read, seen))
        except ConfigError as error:
            problems = error.problems
        if seen != self._pending:
            self._pending = seen
            return True
        self._seen, self._pending, self.problems = seen, {}, problems
        if problems:
            self.log_problems()
        else:
            self._take_up(content)
            logger.info("new %s: %s", self.name, self.description())
        return False

    def log_problems(self) -> None:
        """Log why the files on the disk are not used, if they are not."""
        for problem in self.problems:
            logger.error("%s", problem)
        if self.problems:
            logger.error("the previous %s remains in force", self.name)

    def _take_up(self, content: T) -> None:
        before, self._content = self._content, content
        self.generation += 1
        self.loaded_at = self._clock()
        self.taken_up(before, content)

    def taken_up(self, before: T, now: T) -> None:
        """React to a new value; the first time, *before* is the same value."""

    def description(self) -> str:
        """Return the current value in words, for the log."""
        return ", ".join(map(str, self._seen))

    def age_seconds(self) -> float:
        """Return for how long the current value has been used."""
        return self._clock() - self.loaded_at


class FileWatch:
    """Looks at files every LOOK_SECONDS, and at once when asked to."""

    def __init__(self, *files: LiveFiles[Any]) -> None:
        self._files = files
        self._asked: SimpleQueue[None] = SimpleQueue()

    def start(self) -> None:
        """Look in the background until the process ends."""
        threading.Thread(target=self._run, name="file watch", daemon=True).start()

    def ask(self) -> None:
        """Ask for a look now.  Safe to call from a signal handler."""
        self._asked.put(None)

    def _run(self) -> None:
        while True:
            is_asked = True
            try:
                self._asked.get(timeout=LOOK_SECONDS)
            except Empty:
                is_asked = False
            try:
                self.look(is_asked)
            except Exception:
                logger.exception("failed to look at the files")

    def look(self, is_asked: bool = False) -> None:
        """Look at the files; if *is_asked*, log the result even if nothing changed."""
        generations = [one.generation for one in self._files]
        has_news = [one.look() for one in self._files]
        if not is_asked:
            return
        if any(has_news):
            time.sleep(LOOK_SECONDS)
            for one in self._files:
                one.look()
        for one in self._files:
            one.log_problems()
        if generations == [one.generation for one in self._files]:
            logger.info("looked at the files as asked; nothing has changed")


def note_read(seen: dict[Path, bytes | None], path: Path) -> bytes:
    """Return the bytes of *path*, and note them in *seen*.  Raises ConfigError."""
    seen[path] = None
    content = seen[path] = read_file(path)
    return content


def read_or_none(path: Path) -> bytes | None:
    """Return the bytes of *path*, None if it cannot be read."""
    try:
        return read_file(path)
    except ConfigError:
        return None
