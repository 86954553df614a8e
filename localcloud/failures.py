"""Errors ordered by a test for the next calls of an operation."""

from __future__ import annotations

import difflib
import threading
from collections import deque
from collections.abc import Collection

EVERY_OPERATION = "*"


class Failures:
    """Errors by operation.  All methods may be called from any thread.

    *operations* and *codes* are those of the service.  Unknown names are refused: with
    a misspelt one nothing would fail, and a test would pass for the wrong reason.
    """

    def __init__(
        self, service: str, operations: Collection[str], codes: Collection[str]
    ) -> None:
        self._service = service
        self._operations = operations
        self._codes = codes
        self._lock = threading.Lock()  # guards the two below
        self._next: dict[str, deque[str]] = {}
        self._always: dict[str, str] = {}

    def order(self, operation: str, codes: Collection[str], *, always: bool) -> None:
        """Replace the errors ordered for *operation*, or for all operations if "*".

        Each of *codes* is for one call; an empty code means the usual answer.  With
        *always* there must be one code, which is for all calls.  Raises ValueError.
        """
        if operation != EVERY_OPERATION and operation not in self._operations:
            raise self._unknown("operation", operation, self._operations)
        for code in codes:
            if code and code not in self._codes:
                raise self._unknown("error code", code, self._codes)
        if always and len(codes) != 1:
            raise ValueError(f"always needs exactly one error code, not {len(codes)}")
        with self._lock:
            for table in (self._next, self._always):
                if operation == EVERY_OPERATION:
                    table.clear()
                table.pop(operation, None)
            if always:
                (self._always[operation],) = codes
            elif codes:
                self._next[operation] = deque(codes)

    def take(self, operation: str) -> str:
        """Return the error code for this call of *operation*, or ""."""
        with self._lock:
            for name in (operation, EVERY_OPERATION):
                codes = self._next.get(name)
                if codes:
                    return codes.popleft()
                if name in self._always:
                    return self._always[name]
        return ""

    def _unknown(self, what: str, name: str, known: Collection[str]) -> ValueError:
        nearest = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        return ValueError(f"{self._service} has no {what} {name!r}{hint}")
