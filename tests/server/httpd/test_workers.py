"""Threads that serve connections are kept for the next ones, and end when idle."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from helpers.client import connect, exchange
from helpers.hostile import TOKEN, get
from helpers.machine import wait_until
from helpers.replies import check_exchange, security_token
from helpers.server import RunningServer

from tokenserver.httpd import server as httpd_server
from tokenserver.httpd import workers as httpd_workers
from tokenserver.httpd.connection import StrictHandler
from tokenserver.httpd.workers import Workers


def threads() -> set[threading.Thread]:
    """Return the threads that serve connections, whether idle or not."""
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


# --- What serves connections ------------------------------------------------------


@pytest.fixture
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpd_workers, "IDLE_WORKER_SECONDS", 3600.0)


def is_unused(server: RunningServer, number: int) -> bool:
    """Return whether no connection is open, and so many threads wait for one."""
    return not server.server._open and idle(server.server._workers) == number


@pytest.mark.usefixtures("_kept")
def test_connections_one_after_the_other_have_one_thread(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_by = []
    handle = StrictHandler.handle

    def noted(self: StrictHandler) -> None:
        served_by.append(threading.current_thread())
        handle(self)

    monkeypatch.setattr(StrictHandler, "handle", noted)

    for _ in range(5):
        check_exchange(exchange(server.port, get("Connection: close")), (TOKEN,))
        wait_until(lambda: is_unused(server, 1))

    assert len(served_by) == 5
    assert len(set(served_by)) == 1


@pytest.mark.usefixtures("_kept")
def test_thread_whose_connection_failed_serves_the_next(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    threads_before: set[threading.Thread] = set()

    def fail(_: StrictHandler) -> None:
        threads_before.add(threading.current_thread())
        raise ValueError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(StrictHandler, "handle", fail)
        for _ in range(3):
            assert exchange(server.port, get()) == b""
            wait_until(lambda: is_unused(server, 1))
    assert security_token(server.request("/?callback=next"), "next")

    assert len(threads_before) == 1
    assert threads_before <= threads()
    failures = [one for one in caplog.records if one.exc_info]
    assert [one.getMessage() for one in failures] == [
        "failed on a connection from 127.0.0.1"
    ] * 3


@pytest.mark.usefixtures("_kept")
def test_there_are_no_more_threads_than_connections_may_be_open(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpd_server, "MAX_CONNECTIONS", 4)
    before = threads()
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            for _ in range(12):  # each over the limit has the longest make room
                client = stack.enter_context(connect(server.port))
                client.sendall(get(target="/healthz"))
                assert client.recv(1)
            assert len(threads() - before) <= 4


@pytest.mark.usefixtures("_kept")
def test_idle_threads_end_with_the_server(server: RunningServer) -> None:
    before = threads()
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            client = stack.enter_context(connect(server.port))
            client.sendall(get(target="/healthz"))
            assert client.recv(1)
    wait_until(lambda: is_unused(server, 5))
    assert len(threads() - before) == 5

    server.close()

    wait_until(lambda: not threads() - before)
