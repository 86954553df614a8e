"""Request bodies, dropped as they arrive unless the application wants one."""

from __future__ import annotations

import re

from tokenserver.httpd.request import (
    FIELD_LINE,
    MAX_BODY_BYTES,
    NOT_IN_A_HEAD,
    TOKEN,
    BodyTooLarge,
    MalformedRequest,
    Request,
)

MAX_FRAMING_BYTES = 16 * 1024  # in a chunked body: sizes, extensions, trailers

# The size of a chunk and its extensions (RFC 9112 section 7.1)
QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
CHUNK_LINE = re.compile(
    rf"([0-9A-Fa-f]{{1,16}})(?:;{TOKEN}(?:=(?:{TOKEN}|{QUOTED}))?)*"
)


class Body:
    """A body of *length* bytes, collected in *kept* if *is_kept*.

    Raises BodyTooLarge.
    """

    def __init__(self, length: int, is_kept: bool = False) -> None:
        if length > MAX_BODY_BYTES:
            raise BodyTooLarge
        self._left = length
        self._is_kept = is_kept
        self.kept = bytearray()

    def drop(self, received: bytearray) -> bool:
        """Remove the body's bytes from *received*; return whether the body is complete.

        Raises RequestError if the body can no longer become valid.
        """
        part = min(self._left, len(received))
        if self._is_kept:
            self.kept += received[:part]
        del received[:part]
        self._left -= part
        return not self._left


class ChunkedBody(Body):
    """A body in chunks, each preceded by its size (RFC 9112 section 7.1).

    The size must be hex digits alone, because other parsers may read a sign or a space
    in it differently.  Chunk extensions and the lines of the trailer section must be
    well formed, and are dropped too.
    """

    def __init__(self, is_kept: bool = False) -> None:
        super().__init__(0, is_kept)
        self._drop_line = self._drop_size  # reads the next line
        self._size = 0  # bytes in all chunks so far
        self._framing = 0  # bytes in all other lines so far
        self._checked = 0  # bytes of the current line that were searched already

    def drop(self, received: bytearray) -> bool:
        """Remove the body's bytes from *received*; return whether the body is complete.

        Raises RequestError if the body can no longer become valid.
        """
        while super().drop(received):
            line = self._take_line(received)
            if line is None:
                return False
            if not self._drop_line(line):
                return True
        return False

    def _take_line(self, received: bytearray) -> str | None:
        """Remove and return the first line of *received*, None if it is incomplete."""
        seen = max(0, self._checked - 1)  # the LF of a final CR may be there now
        end = received.find(b"\r\n", seen)
        part = len(received) if end < 0 else end
        if NOT_IN_A_HEAD.search(received, seen, part):
            raise malformed()
        if self._framing + part > MAX_FRAMING_BYTES:
            raise MalformedRequest(
                f"The chunked body has over {MAX_FRAMING_BYTES} bytes besides data."
            )
        self._checked = part
        if end < 0:
            return None
        line = received[:end].decode("latin-1")
        del received[: end + 2]
        self._framing += end + 2
        self._checked = 0
        return line

    # Each returns whether another line follows.

    def _drop_size(self, line: str) -> bool:
        match = CHUNK_LINE.fullmatch(line)
        if not match:
            raise malformed()
        self._left = int(match[1], 16)
        self._size += self._left
        if self._size > MAX_BODY_BYTES:
            raise BodyTooLarge
        self._drop_line = self._drop_end if self._left else self._drop_trailer
        return True

    def _drop_end(self, line: str) -> bool:
        if line:
            raise malformed()
        self._drop_line = self._drop_size
        return True

    def _drop_trailer(self, line: str) -> bool:
        if line and not FIELD_LINE.fullmatch(line):
            raise malformed()
        return bool(line)


def malformed() -> MalformedRequest:
    """Return the error for chunks that do not follow RFC 9112."""
    return MalformedRequest("The chunked body is malformed.")


def body_of(request: Request, is_kept: bool = False) -> Body:
    """Return a reader for the body of *request*.  Raises BodyTooLarge."""
    if request.is_chunked:
        return ChunkedBody(is_kept)
    return Body(request.body_length, is_kept)
