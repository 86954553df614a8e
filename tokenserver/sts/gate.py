"""Limits on AssumeRole calls at once, and on calls per second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tokenserver.documents import failed
from tokenserver.errors import Cause, StsError

MAX_CALLS = 32  # at once, including abandoned ones that still wait for STS


class CallGate:
    """Lets AssumeRole calls through: up to MAX_CALLS at once, and *rate()* per second.

    The quota of STS is per second, but STS does not say when its seconds start.  Bursts
    in two of our seconds could fall into one of theirs, so calls are spaced evenly.
    All times are those of *clock*.
    """

    def __init__(
        self,
        rate: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._places = threading.BoundedSemaphore(MAX_CALLS)
        self._lock = threading.Lock()  # guards the three below
        self._waiting = 0  # for a place
        self.entered = 0
        self._next_turn_at = clock()

    def enter(self, deadline: float) -> None:
        """Return when a call may begin; leave() must follow when it has ended.

        Raises StsError, and at once if that would be after *deadline*.
        """
        rate = self._rate()
        with self._lock:
            # An estimate, because nobody knows when places become free: at 80 per
            # second, a call behind 100 others has its turn 1.25 s after the next call.
            # Here a call is only refused early; its real turn is taken below.
            turn_at = max(self._clock(), self._next_turn_at)
            if turn_at + self._waiting / rate > deadline:
                raise too_many(rate)
            self._waiting += 1
        try:
            has_place = self._places.acquire(timeout=max(0.0, deadline - self._clock()))
        finally:
            with self._lock:
                self._waiting -= 1
                self.entered += has_place
        if not has_place:
            raise failed(Cause.BUSY, f"{MAX_CALLS} calls are under way")
        try:
            self.wait_for_turn(deadline)
        except StsError:
            self.leave()
            raise

    def wait_for_turn(self, deadline: float) -> None:
        """Return the time at which another request may be sent.  Raises StsError."""
        rate = self._rate()
        with self._lock:
            now = self._clock()
            turn_at = max(now, self._next_turn_at)
            if turn_at > deadline:
                raise too_many(rate)
            self._next_turn_at = turn_at + 1 / rate
        self._sleep(turn_at - now)

    def leave(self) -> None:
        """Make room for another call."""
        with self._lock:
            self.entered -= 1
        self._places.release()


def too_many(rate: int) -> StsError:
    """Return the error for a call whose turn would come too late."""
    detail = (
        f"more calls are waiting than StsCallsPerSecond, {rate}, lets through in time"
    )
    return failed(Cause.OWN_RATE, detail)
