"""The queue of documents to forward, and the times of their next attempts.

An item that fails is tried again after 1 s, 2 s, 4 s and so on.  If the backend does
not answer, or reports a fault of its own, all items pause and are tried one at a time
until it is back.  After LIFE_SECONDS an item is lost.

This module has neither threads nor clocks: times are arguments, in monotonic seconds.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

LIFE_SECONDS = 600.0
MAX_PAUSE_SECONDS = 30.0  # of the backend
MAX_DELAY_SECONDS = 60.0  # of an item
MAX_WAITING_BYTES = 16 << 20
ITEM_BYTES = 500  # of memory for an item, besides its body


@dataclass(eq=False)
class Item:
    """A document to forward."""

    id: str
    name: str  # for the log
    body: bytes
    since: float
    attempts: int = 0
    reason: str = "it was not tried"  # why it is not delivered yet

    @property
    def size(self) -> int:
        """The memory that it takes, roughly, in bytes."""
        return len(self.body) + ITEM_BYTES


def delay(failures: int, most: float) -> float:
    """Return the seconds to wait after this many *failures* in a row."""
    return min(most, 2.0 ** min(failures - 1, 30))


class RetryQueue:
    """A queue of items, up to *max_bytes*.  Not thread-safe: callers hold a lock."""

    def __init__(self, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_bytes = max_bytes
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, Item]] = []  # a heap, by due time
        self._bytes = 0  # including items being posted
        self._count = 0
        self._failures = 0  # of the backend, in a row
        self._paused_until = -float("inf")
        self._probe: Item | None = None  # posted alone while the backend is down

    def __len__(self) -> int:
        return self._count

    @property
    def is_down(self) -> bool:
        """Whether the latest attempt failed because of the backend."""
        return self._failures > 0

    def add(self, item: Item) -> bool:
        """Add an item; return False if there is no room."""
        if self._bytes + item.size > self._max_bytes:
            return False
        self._bytes += item.size
        self._count += 1
        self._push(item.since, item)
        return True

    def expired(self, now: float) -> list[Item]:
        """Remove and return the items that have waited for LIFE_SECONDS."""
        old = [item for _, _, item in self._waiting if is_over(item, now)]
        if old:
            kept = [entry for entry in self._waiting if not is_over(entry[2], now)]
            self._waiting = kept
            heapq.heapify(self._waiting)
            for item in old:
                self._forget(item)
        return old

    def take(self, now: float) -> Item | None:
        """Remove and return an item to try now, or None."""
        if self.wait_seconds(now) != 0:
            return None
        item = heapq.heappop(self._waiting)[2]
        item.attempts += 1
        if self.is_down:
            self._probe = item
        return item

    def wait_seconds(self, now: float) -> float | None:
        """Return the seconds until an item is due; None if only a call can change it.

        That call is add(), or succeeded() or failed() of the item being tried.
        """
        if not self._waiting or (self.is_down and self._probe):
            return None
        return max(0.0, max(self._waiting[0][0], self._paused_until) - now)

    def succeeded(self, item: Item) -> None:
        """Note that *item* was delivered, so the backend is up."""
        self._failures, self._probe = 0, None
        self._paused_until = -float("inf")
        self._forget(item)

    def failed(self, item: Item, now: float, is_backend: bool) -> bool:
        """Note that *item* was not delivered; return False if it is lost.

        *is_backend* means that the fault is the backend's, not the item's.
        """
        was_probe = item is self._probe
        if was_probe:
            self._probe = None
        if not is_backend:
            self._failures, self._paused_until = 0, -float("inf")
        elif was_probe or not self._failures:  # others began before it was down
            self._failures += 1
            self._paused_until = now + delay(self._failures, MAX_PAUSE_SECONDS)
        if is_over(item, now):
            self._forget(item)
            return False
        self._push(now + delay(item.attempts, MAX_DELAY_SECONDS), item)
        return True

    def clear(self) -> list[Item]:
        """Remove and return all waiting items."""
        items = [item for _, _, item in sorted(self._waiting)]
        self._waiting = []
        for item in items:
            self._forget(item)
        return items

    def hurry(self, now: float) -> None:
        """Make all items due now."""
        self._paused_until = -float("inf")
        self._waiting = [(now, number, item) for _, number, item in self._waiting]
        heapq.heapify(self._waiting)

    def _push(self, due: float, item: Item) -> None:
        heapq.heappush(self._waiting, (due, next(self._numbers), item))

    def _forget(self, item: Item) -> None:
        self._bytes -= item.size
        self._count -= 1


def is_over(item: Item, now: float) -> bool:
    """Return whether *item* has waited for LIFE_SECONDS."""
    return now - item.since >= LIFE_SECONDS
