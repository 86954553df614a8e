"""Work in its own thread: nobody waits for it, or it may take too long."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

T = TypeVar("T")

_thread = threading.local()


@contextlib.contextmanager
def calling_before_waiting(hook: Callable[[], bool]) -> Iterator[None]:
    """Have before_waiting() call *hook* in this thread, during a with block."""
    _thread.hook = hook
    try:
        yield
    finally:
        del _thread.hook


def before_waiting() -> bool:
    """Say that this thread is about to wait, because others may be waiting for it.

    Return whether they need not: another thread goes on with them.
    """
    hook: Callable[[], bool] | None = getattr(_thread, "hook", None)
    return hook() if hook else True


def in_background(name: str, work: Callable[[], None]) -> None:
    """Do *work* in a thread called *name*; if the system has none, in this one."""
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        work()


def within(
    seconds: float, work: Callable[[], T], finally_: Callable[[], None] = lambda: None
) -> T:
    """Return the result of *work* if it comes within *seconds*.

    Raises TimeoutError otherwise, and the exceptions of *work*.

    It runs in its own thread, because a name look-up has no timeout, and a socket
    timeout restarts with every byte: an overdue answer can only be abandoned.
    *finally_* is called when *work* has ended, however late, or when the system has no
    thread for it, which raises RuntimeError.
    """
    outcome: Future[T] = Future()

    def settle() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            finally_()

    try:
        threading.Thread(target=settle, daemon=True).start()
    except RuntimeError:
        finally_()
        raise
    try:
        return outcome.result(max(0.0, seconds))
    except FutureTimeoutError:
        if outcome.done():  # a TimeoutError of *work*, or an outcome just in time
            return outcome.result()
        raise TimeoutError from None  # the other one is not built in before Python 3.11
