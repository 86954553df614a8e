"""ForwardUrl: each upload is posted to the operator's backend, in the background.

The body is the line that UploadsFile has.  Upload-Signature proves that it comes from
here: sha256= and the HMAC-SHA256 of the body in hex, with the first secret of
SecretFile.  Idempotency-Key is the id of the upload, the same whenever it is tried.

Source: "The Idempotency-Key HTTP Header Field" (draft of the IETF).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from tokenserver.config.callback import Callback
from tokenserver.counts import Tally
from tokenserver.hosts import Url
from tokenserver.logs import printable
from tokenserver.uploads.post import PostFailed, post
from tokenserver.uploads.retries import LIFE_SECONDS, Item, RetryQueue

logger = logging.getLogger(__name__)

WORKERS = 4  # so that one slow answer does not hold the others up
QUIET_SECONDS = 10.0  # between two lines about the same
LOOK_SECONDS = 10.0  # between two looks for what has waited too long

Post = Callable[[Url, Mapping[str, str], bytes], None]


class Forwarder:
    """Posts documents to the ForwardUrl that *current* returns when they are tried."""

    def __init__(
        self,
        current: Callable[[], Callback | None],
        clock: Callable[[], float] = time.monotonic,
        post: Post = post,
        workers: int = WORKERS,
        queue: RetryQueue | None = None,
    ) -> None:
        self._current = current
        self._clock = clock
        self._post = post
        self._most_workers = workers
        self._lock = threading.Condition()  # guards the queue and all below
        self._queue = RetryQueue() if queue is None else queue
        self._workers: list[threading.Thread] = []
        self._is_closing = False
        self._is_failing = False  # as the log has it
        self._quiet_until = self._next_look = -float("inf")
        self.outcomes = Tally()  # Delivered and Lost

    @property
    def waiting(self) -> int:
        """How many documents are not there yet."""
        return len(self._queue)

    def put(self, document_id: str, name: str, body: bytes) -> None:
        """Forward *body* as soon as may be; *name* is for the log."""
        item = Item(document_id, name, body, self._clock())
        with self._lock:
            has_room = not self._is_closing and self._queue.add(item)
            if has_room:
                self._start_worker()
                self._lock.notify()
        if not has_room:
            item.reason = "the server ends" if self._is_closing else "too many wait"
            self._lose([item])

    def work_once(self) -> bool:
        """Try one document, if one is due; return whether there was one."""
        with self._lock:
            now, over = self._clock(), []
            if now >= self._next_look:
                self._next_look = now + LOOK_SECONDS
                over = self._queue.expired(now)
            item = self._queue.take(now)
        self._lose(over)
        if item is None:
            return False
        callback = self._current()
        if callback is None or callback.forward_url is None:
            item.reason = "ForwardUrl is gone"
            with self._lock:
                self._queue.succeeded(item)
            self._lose([item])
            return True
        try:
            self._post(
                callback.forward_url,
                fields(item.id, item.body, callback.secrets[0]),
                item.body,
            )
        except PostFailed as error:
            self._note_failure(item, error, callback.forward_url)
        except Exception as error:
            logger.exception("failed to forward an upload")
            self._note_failure(
                item, PostFailed(type(error).__name__), callback.forward_url
            )
        else:
            self._note_success(item, callback.forward_url)
        return True

    def close(self, seconds: float) -> None:
        """Try what waits once more, within *seconds*; the rest is lost."""
        deadline = time.monotonic() + seconds
        with self._lock:
            self._is_closing = True
            self._queue.hurry(self._clock())
            workers = list(self._workers)
            self._lock.notify_all()
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left = self._queue.clear()
        self._lose(left)

    # In the background

    def _start_worker(self) -> None:
        """Start another worker if there is work for it.  Called with the lock held."""
        if len(self._workers) < min(self._most_workers, len(self._queue)):
            worker = threading.Thread(target=self._run, name="forward", daemon=True)
            with contextlib.suppress(RuntimeError):  # the system has no thread for it
                worker.start()
                self._workers.append(worker)

    def _run(self) -> None:
        while True:
            if self.work_once():
                continue
            with self._lock:
                if self._is_closing:
                    return
                seconds = self._queue.wait_seconds(self._clock())
                if seconds != 0:
                    self._lock.wait(min(LOOK_SECONDS, seconds or LOOK_SECONDS))

    def _note_success(self, item: Item, url: Url) -> None:
        with self._lock:
            self._queue.succeeded(item)
            self._lock.notify_all()  # those that waited while it was down
            is_news = self._is_failing
            self._is_failing = False
        self.outcomes.add("Delivered")
        if is_news:
            logger.warning("uploads are forwarded to %s again", place(url))

    def _note_failure(self, item: Item, error: PostFailed, url: Url) -> None:
        item.reason = str(error)
        with self._lock:
            now = self._clock()
            lost = [] if self._queue.failed(item, now, error.is_backend) else [item]
            if self._is_closing and error.is_backend:  # the others would fare no better
                lost += self._queue.clear()
            self._lock.notify_all()
            is_news = now >= self._quiet_until
            if is_news:
                self._quiet_until = now + QUIET_SECONDS
                self._is_failing = True
            waiting = len(self._queue)
        if is_news:
            logger.warning(
                "an upload cannot be forwarded to %s: %s; %d wait, each for %g minutes",
                place(url),
                printable(str(error)),
                waiting,
                LIFE_SECONDS / 60,
            )
        self._lose(lost)

    def _lose(self, items: Iterable[Item]) -> None:
        """Log what will not arrive."""
        for item in items:
            self.outcomes.add("Lost")
            logger.error(
                "upload %s of %s was not forwarded, and is lost: %s",
                item.id,
                printable(item.name),
                printable(item.reason),
            )


def fields(document_id: str, body: bytes, secret: bytes) -> dict[str, str]:
    """Return the header of a document.

    No ticket is sealed by what it says: that begins with another text than a document.
    """
    digest = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "Idempotency-Key": f'"{document_id}"',
        "Upload-Signature": f"sha256={digest}",
    }


def place(url: Url) -> str:
    """Return *url* for the log: its query may hold a secret."""
    return printable(f"{url.base.text}{url.path}")
