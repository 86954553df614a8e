"""Threads are kept for the next piece of work, and end when they stay idle."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from helpers.machine import wait_until

from tokenserver.httpd import workers as httpd_workers
from tokenserver.httpd.workers import Workers


def threads() -> set[threading.Thread]:
    """Return the threads of any workers, whether idle or not."""
    return {one for one in threading.enumerate() if one.name == "worker"}


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    """Workers that are kept as long as the test runs."""
    monkeypatch.setattr(httpd_workers, "IDLE_WORKER_SECONDS", 3600.0)
    before = threads()
    found = Workers()
    yield found
    found.close()
    wait_until(lambda: threads() <= before)


def idle(workers: Workers) -> int:
    """Return how many threads wait for work."""
    with workers._lock:
        return len(workers._idle)


class Work:
    """A piece of work that is under way until it is told to end."""

    def __init__(self, workers: Workers) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.thread: threading.Thread | None = None
        workers.do(self._do)
        self.has_begun.wait()

    def _do(self) -> None:
        self.thread = threading.current_thread()
        self.has_begun.set()
        self.may_end.wait()


def test_work_is_done_by_the_thread_that_became_idle_last(workers: Workers) -> None:
    pieces = [Work(workers) for _ in range(3)]
    for number, piece in enumerate(pieces):
        piece.may_end.set()
        wait_until(lambda number=number: idle(workers) == number + 1)  # type: ignore[misc]

    again = [Work(workers) for _ in range(4)]

    assert [one.thread for one in again[:3]] == [one.thread for one in pieces[::-1]]
    assert again[3].thread not in [one.thread for one in pieces]
    for piece in again:
        piece.may_end.set()


def test_thread_that_stays_idle_ends_and_work_in_the_last_moment_is_done(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threads()
    monkeypatch.setattr(httpd_workers, "IDLE_WORKER_SECONDS", 0.001)
    for _ in range(200):
        done = threading.Event()
        workers.do(done.set)
        assert done.wait(60)

    wait_until(lambda: not threads() - before and not idle(workers))


def test_thread_with_work_ends_after_it_once_they_are_closed(workers: Workers) -> None:
    piece = Work(workers)
    assert piece.thread

    workers.close()
    assert piece.thread.is_alive()
    piece.may_end.set()

    piece.thread.join(60)
    assert not piece.thread.is_alive()
