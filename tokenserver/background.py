"""Threads of their own: for what nobody waits for, and for what may take too long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

T = TypeVar("T")


def in_background(name: str, work: Callable[[], None]) -> None:
    """Do *work* in a thread called *name*; at once if the system has no thread."""
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        work()


def within(
    seconds: float, work: Callable[[], T], finally_: Callable[[], None] = lambda: None
) -> T:
    """Return what *work* returns within *seconds*.

    Raises TimeoutError after that, and what *work* raises.

    It runs in a thread of its own, because no timeout ends the look-up of a name, and
    those of a socket start anew with each byte: the only way out of an answer that
    drips is to leave it to itself.  *finally_* is called when *work* has ended, however
    late, or when the system has no thread for it, which is a RuntimeError.
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
