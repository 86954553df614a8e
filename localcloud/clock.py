"""The clock of the stand-ins, which a test may move."""

from __future__ import annotations

import time


class Clock:
    """A clock of unix seconds, *offset_seconds* ahead of the clock of this machine.

    freeze() stops it at a whole second.
    """

    def __init__(self, offset_seconds: float = 0.0) -> None:
        self.offset_seconds = offset_seconds
        self._frozen_at: float | None = None

    def __call__(self) -> float:
        """Return the time."""
        return self._own() + self.offset_seconds

    @property
    def now(self) -> float:
        """The time; it can be set."""
        return self()

    @now.setter
    def now(self, seconds: float) -> None:
        """Move the clock to *seconds*."""
        self.offset_seconds = seconds - self._own()

    def _own(self) -> float:
        return time.time() if self._frozen_at is None else self._frozen_at

    def advance(self, seconds: float) -> None:
        """Move the clock on by *seconds*, or back if they are negative."""
        self.offset_seconds += seconds

    def freeze(self) -> None:
        """Stop the clock; it can still be moved."""
        self._frozen_at = float(int(time.time()))
