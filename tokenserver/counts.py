"""Counts that many threads add to; tokenserver.metrics shows them."""

from __future__ import annotations

import bisect
import itertools
import threading
from collections import Counter
from collections.abc import Sequence


class Tally:
    """Counts by name.  After *most* names, a new one counts as "other"."""

    def __init__(self, most: int = 100) -> None:
        self._most = most
        self._lock = threading.Lock()  # guards the counts
        self._counts: Counter[str] = Counter()

    def add(self, name: str, number: int = 1) -> None:
        """Count *number* more for *name*."""
        with self._lock:
            if name not in self._counts and len(self._counts) >= self._most:
                name = "other"
            self._counts[name] += number

    def counts(self) -> dict[str, int]:
        """Return the counts so far."""
        with self._lock:
            return dict(self._counts)


class Histogram:
    """Counts of the values up to each of some bounds, and the sum of all values."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._lock = threading.Lock()  # guards the two below
        self._counts = [0] * (len(bounds) + 1)  # the last one is of what is beyond
        self._total = 0.0

    def add(self, value: float) -> None:
        """Count *value*."""
        with self._lock:
            self._counts[bisect.bisect_left(self.bounds, value)] += 1
            self._total += value

    def snapshot(self) -> tuple[list[int], float]:
        """Return the number of values up to each bound, the total, and the sum."""
        with self._lock:
            return list(itertools.accumulate(self._counts)), self._total
