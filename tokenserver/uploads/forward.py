"""ForwardUrl: posts each upload to the operator's backend, in the background.

The body is the same line as in UploadsFile.  The header Upload-Signature proves that it
comes from this server: sha256= and the HMAC-SHA256 of the body in hex, with the first
secret of SecretFile.  Idempotency-Key is the id of the upload, the same in every
attempt.

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

WORKERS = 4  # so that one slow answer does not delay the others
QUIET_SECONDS = 10.0  # between two log lines about failures
LOOK_SECONDS = 10.0  # between two searches for expired documents

Post = Callable[[Url, Mapping[str, str], bytes], None]


class Forwarder:
    """Posts documents to a backend.

    *current* returns the callback settings, whose ForwardUrl is read for each attempt.
    """

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
        self._is_failing = False  # according to the last log line
        self._quiet_until = self._next_look = -float("inf")
        self.outcomes = Tally()  # Delivered and Lost

    @property
    def waiting(self) -> int:
        """The number of documents that are not delivered yet."""
        return len(self._queue)

    def put(self, document_id: str, name: str, body: bytes) -> None:
        """Forward *body* as soon as possible; *name* is for the log."""
        item = Item(document_id, name, body, self._clock())
        with self._lock:
            has_room = not self._is_closing and self._queue.add(item)
            if has_room:
                self._start_worker()
                self._lock.notify()
        if not has_room:
            item.reason = (
                "the server is stopping" if self._is_closing else "the queue is full"
            )
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
            item.reason = "ForwardUrl was removed from the configuration"
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
        """Try each waiting document once more, within *seconds*; the rest are lost."""
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
            with contextlib.suppress(RuntimeError):  # no more threads
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
            self._lock.notify_all()  # workers that waited while the backend was down
            is_news = self._is_failing
            self._is_failing = False
        self.outcomes.add("Delivered")
        if is_news:
            logger.warning("uploads can be forwarded to %s again", place(url))

    def _note_failure(self, item: Item, error: PostFailed, url: Url) -> None:
        item.reason = str(error)
        with self._lock:
            now = self._clock()
            lost = [] if self._queue.failed(item, now, error.is_backend) else [item]
            if self._is_closing and error.is_backend:  # the others would fail too
                lost += self._queue.clear()
            self._lock.notify_all()
            is_news = now >= self._quiet_until
            if is_news:
                self._quiet_until = now + QUIET_SECONDS
                self._is_failing = True
            waiting = len(self._queue)
        if is_news:
            logger.warning(
                "cannot forward an upload to %s: %s; %d are waiting, each for up to %g "
                "minutes",
                place(url),
                printable(str(error)),
                waiting,
                LIFE_SECONDS / 60,
            )
        self._lose(lost)

    def _lose(self, items: Iterable[Item]) -> None:
        """Count and log documents that will not be delivered."""
        for item in items:
            self.outcomes.add("Lost")
            logger.error(
                "upload %s of %s could not be forwarded and is lost: %s",
                item.id,
                printable(item.name),
                printable(item.reason),
            )


def fields(document_id: str, body: bytes, secret: bytes) -> dict[str, str]:
    """Return the header fields for a document.

    Tickets are signed with the same secret, but their signed text begins differently,
    so this signature cannot seal one.
    """
    digest = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "Idempotency-Key": f'"{document_id}"',
        "Upload-Signature": f"sha256={digest}",
    }


def place(url: Url) -> str:
    """Return *url* for the log, without its query, which may hold a secret."""
    return printable(f"{url.base.text}{url.path}")
