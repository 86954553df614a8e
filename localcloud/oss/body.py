"""The body of a request, read only as far as it is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from localcloud.oss.errors import OssError
from localcloud.oss.records import CHUNK_BYTES

MAX_BODY_BYTES = 5 * 2**30  # for PutObject, a part, and a form

CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(;[^\n]*)?\r?\n")


class Body:
    """The body of a request, read only as far as it is needed.

    *length* is None if the body is chunked.  *before* is called before the first read.
    If no header announces a body, it is empty.
    """

    def __init__(
        self,
        file: BinaryIO,
        length: int | None,
        before: Callable[[], None],
        *,
        is_announced: bool,
    ) -> None:
        self.length = length
        self.is_announced = is_announced
        self.is_begun = False
        self.is_read = length == 0
        self._file = file
        self._before = before
        self._rest = self._read()

    def check_announced(self) -> None:
        """Raise OssError if no header announced the body, which is to be stored."""
        if not self.is_announced:
            raise OssError("MissingContentLength")

    def chunks(self) -> Iterator[bytes]:
        """Return the rest of the body.  Raises OssError if it ends early."""
        return self._rest

    def _read(self) -> Iterator[bytes]:
        self.is_begun = True
        try:
            if not self.is_read:
                self._before()
            if self.length is None:
                yield from self._chunked()
            else:
                yield from self._exactly(self.length)
        except OSError:  # the client has left, or has stopped sending
            raise OssError("IncompleteBody") from None
        self.is_read = True

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            chunk = self._file.read(min(size, CHUNK_BYTES))
            if not chunk:
                raise OssError("IncompleteBody")
            size -= len(chunk)
            yield chunk

    def _chunked(self) -> Iterator[bytes]:
        while True:
            line = CHUNK_LINE.fullmatch(self._file.readline(100))
            if not line:
                raise OssError("IncompleteBody")
            size = int(line[1], 16)
            if not size:
                break
            yield from self._exactly(size)
            if self._file.readline(2) != b"\r\n":
                raise OssError("IncompleteBody")
        while self._file.readline(1000) not in (b"\r\n", b"\n", b""):
            pass  # trailers

    def read(self, limit: int) -> bytes:
        """Return the whole body.  Raises OssError if it has over *limit* bytes."""
        data = b""
        for chunk in self.chunks():
            data += chunk
            if len(data) > limit:
                raise OssError("EntityTooLarge")
        return data
