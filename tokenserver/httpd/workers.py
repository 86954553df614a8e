"""Threads that are kept for the next piece of work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

IDLE_WORKER_SECONDS = 5.0

Work = Callable[[], None]
Inbox = SimpleQueue["Work | None"]  # None tells its thread to end


class Workers:
    """Threads that do one piece of work after the other.

    To make a thread takes longer than to answer most requests.  So a thread is kept
    when its work is done, and made only when none is idle.  The one that became idle
    last gets the next piece, so that those of a burst are left alone, and end after
    IDLE_WORKER_SECONDS.

    *on_idle* is called by a thread when the next piece may be its own.  Who counts
    pieces of work down there, and not before, never has more threads than pieces.
    """

    def __init__(self, on_idle: Callable[[], None] = lambda: None) -> None:
        self._on_idle = on_idle
        self._lock = threading.Lock()  # guards the two below
        self._idle: list[Inbox] = []  # where each idle thread hears of its next work
        self._is_closed = False

    def do(self, work: Work) -> None:
        """Have *work* done, which raises nothing.

        Raises RuntimeError if the system has no thread for it.
        """
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox:
            inbox.put(work)
        else:
            threading.Thread(
                target=self._run, args=[work], name="worker", daemon=True
            ).start()

    def close(self) -> None:
        """Have each thread end as soon as it has nothing to do."""
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, [], True
        for inbox in idle:
            inbox.put(None)

    def _run(self, work: Work | None) -> None:
        """Do *work* and what comes after it, until there is none for a while."""
        inbox: Inbox = SimpleQueue()
        while work:
            work()
            del work  # and what it holds
            work = self._next(inbox)

    def _next(self, inbox: Inbox) -> Work | None:
        """Return the next piece of work, or None if the thread is to end."""
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._idle.append(inbox)
        self._on_idle()
        if is_closed:
            return None
        try:
            return inbox.get(timeout=IDLE_WORKER_SECONDS)
        except Empty:
            pass
        with self._lock:
            if inbox in self._idle:
                self._idle.remove(inbox)
                return None
        return inbox.get()  # do() or close() chose it just now
