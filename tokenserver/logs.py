"""The log: one line for each request, without secrets, as text or as JSON."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, NamedTuple

logger = logging.getLogger("tokenserver")

LOGGED_PATH = 200  # characters of a path that the log has
# Of an object, whose name has 1023 bytes before it is escaped.  So a line is shorter
# than PIPE_BUF, in JSON too, where a backslash is two.
LOGGED_OBJECT = 2500
ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
LOGIN_TOKEN_START = "eyJ"  # what the JSON of its header begins with, in base64url


def printable(text: str) -> str:
    """Return *text* with every character escaped that is not printable ASCII."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")


def visible(text: str) -> str:
    """Return *text* for a terminal: characters that are not printable are escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def loggable(path: str, most: int = LOGGED_PATH) -> str:
    """Return *most* characters of *path* for the log, without a login token.

    A client may have put its token into the path, as in /credentials&access_token=eyJ,
    and may have percent-encoded it once or several times.
    """
    path = path[:most]
    start = path.find(LOGIN_TOKEN_START)
    if "%" in path:
        start = encoded_start(path)
    if start >= 0:
        path = f"{path[:start]}{LOGIN_TOKEN_START}..."
    return printable(path)[:most]


def encoded_start(path: str) -> int:
    """Return where a login token begins in *path*, however it is encoded, or -1.

    *path* is decoded until nothing is left to decode, in one pass: a decoded character
    may complete another encoding, as the "%" from %25 does in %2565, so each remembers
    where its own encoding began.
    """
    decoded: list[str] = []
    starts: list[int] = []
    for at, character in enumerate(path):
        decoded.append(character)
        starts.append(at)
        while match := ENCODED.fullmatch("".join(decoded[-3:])):
            decoded[-3:] = [chr(int(match[1], 16))]
            del starts[-2:]
    start = "".join(decoded).find(LOGIN_TOKEN_START)
    return starts[start] if start >= 0 else -1


class ReplyLine(NamedTuple):
    """The line of the log about one request.  All of it is printable."""

    client: str
    method: str
    path: str  # without the query, which may hold a login token
    status: int
    outcome: str  # the issued AccessKeyId, an ErrorCode or -
    session: str  # RoleSessionName, or -
    milliseconds: float
    detail: str

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"{self.client} {self.method} {self.path} {self.status} {self.outcome} "
            f"{self.session} {self.milliseconds:.1f}ms{detail}"
        )


class LogFormatter(logging.Formatter):
    """Lines that begin with local time and its offset."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s")

    def formatTime(
        self,
        record: logging.LogRecord,
        datefmt: str | None = None,  # noqa: ARG002 (of logging.Formatter)
    ) -> str:
        """Return the time of *record*, in seconds."""
        return log_time(int(record.created))

    def reply_text(self, created: float, line: ReplyLine) -> str:
        """Return the line for a request, as format() would."""
        return f"{log_time(int(created))} {line}"


class JsonFormatter(logging.Formatter):
    """Makes a JSON object of each line: time, level, and a message or a request."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for *record*."""
        if isinstance(record.msg, ReplyLine):
            return self.reply_text(record.created, record.msg)
        line = {
            "time": precise_time(record.created),
            "level": record.levelname,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)

    def reply_text(self, created: float, line: ReplyLine) -> str:
        """Return the line for a request."""
        values: dict[str, Any] = {"time": precise_time(created), "level": "INFO"}
        values |= line._asdict()
        values["milliseconds"] = round(line.milliseconds, 1)
        return json.dumps(values)


def precise_time(seconds: float) -> str:
    """Return unix *seconds* as the log in JSON has it."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ReplyHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines to stderr, those about requests past the rest of logging.

    Such a line is one write() of the system, which mixes it with no other, as it is
    shorter than PIPE_BUF.  So it needs no lock, for which busy threads would queue.
    """

    def __init__(self, formatter: LogFormatter | JsonFormatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._formatter = formatter
        self._file = -1
        with contextlib.suppress(OSError, ValueError):  # it is no file of the system
            self._file = self.stream.fileno()

    def has_written(self, line: ReplyLine) -> bool:
        """Write the line of a request as emit() would, if that is possible here."""
        if self._file < 0:
            return False
        text = f"{self._formatter.reply_text(time.time(), line)}{os.linesep}"
        left = text.encode("ascii", "backslashreplace")
        with contextlib.suppress(OSError):  # a full disk
            while left:
                left = left[os.write(self._file, left) :]
        return True


def log_reply(line: ReplyLine) -> None:
    """Log a request.

    That is done thousands of times a second.  A LogRecord takes most of the time of a
    line, so there is none where nobody but a ReplyHandler would have it.
    """
    handlers = logger.handlers
    if len(handlers) == 1 and not logger.propagate:
        only = handlers[0]
        if isinstance(only, ReplyHandler) and only.has_written(line):
            return
    logger.info(line)


def log_to_stderr(log_format: str = "text") -> None:
    """Log to stderr, and discard the logs of other packages."""
    handler = ReplyHandler(JsonFormatter() if log_format == "json" else LogFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
    # Do not collect what no line shows ("Optimization", Logging HOWTO).
    logging._srcfile = ""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


@lru_cache(maxsize=2)  # a second has many lines
def log_time(seconds: int) -> str:
    """Return unix *seconds* in the form of the log."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))
