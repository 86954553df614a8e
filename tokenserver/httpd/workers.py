"""A pool of threads that are kept for the next piece of work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

IDLE_WORKER_SECONDS = 5.0

Work = Callable[[], None]
Inbox = SimpleQueue["Work | None"]  # None tells its thread to end


class Workers:
    """Threads that do one piece of work after the other.

    Starting a thread takes longer than answering most requests.  So a thread is kept
    when its work is done, and a new one is started only if none is idle.  The thread
    that became idle last gets the next piece, so the extra threads of a burst stay idle
    and end after IDLE_WORKER_SECONDS.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._idle: list[Inbox] = []  # of the idle threads, the latest last
        self._is_closed = False

    def do(self, work: Work) -> None:
        """Do *work*, which must not raise, in a thread.

        Raises RuntimeError if the system cannot start a thread.
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
        """Make each thread end as soon as its work is done."""
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, [], True
        for inbox in idle:
            inbox.put(None)

    def _run(self, work: Work | None) -> None:
        """Do *work* and the pieces after it, until none comes for a while."""
        inbox: Inbox = SimpleQueue()
        while work:
            work()
            del work  # frees the objects that it holds
            work = self._next(inbox)

    def _next(self, inbox: Inbox) -> Work | None:
        """Return the next piece of work, or None if the thread is to end."""
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._idle.append(inbox)
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
        return inbox.get()  # do() or close() took the inbox just now
