"""One thread at a time waits for all connections, and serves those that are ready.

Handing a request to another thread takes longer than answering it.  So the thread that
has waited, the leader, goes on with the request itself, and most requests are answered
without waiting for anything.  Code that has to wait calls before_waiting() first: then
another thread leads, and this one goes on alone with what it has begun.

The pattern is known as Leader/Followers.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from tokenserver.background import calling_before_waiting
from tokenserver.httpd.workers import Workers

STUCK_SECONDS = 0.5  # that stop() waits for a leader


class Member(Protocol):
    """What a leader waits for: a connection, or the socket that accepts them.

    The methods raise nothing.
    """

    is_watched: bool  # whether the leader waits for it; Lead alone sets this

    def fileno(self) -> int:
        """Return the number of its socket."""

    def proceed(self) -> bool:
        """Do what is possible now; return whether to go on when more arrives."""

    def end(self) -> None:
        """Close it, because it does not go on."""


class Waker:
    """A member that makes the leader look up from its waiting."""

    is_watched = False

    def __init__(self) -> None:
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)

    def wake(self) -> None:
        """Wake the leader."""
        with contextlib.suppress(OSError):  # it is awake, or there is none any more
            self._there.send(b"\0")

    def fileno(self) -> int:
        """Return the number of the socket that the leader waits for."""
        return self._here.fileno()

    def proceed(self) -> bool:
        """Take note of having been woken."""
        with contextlib.suppress(OSError):
            self._here.recv(1024)
        return True

    def end(self) -> None:
        """Close the sockets."""
        self._here.close()
        self._there.close()


class Lead:
    """The lead of some members, which one thread has at a time.

    *warn* logs a message and what belongs into it.
    """

    def __init__(self, warn: Callable[[str, object], None]) -> None:
        self._workers = Workers()
        self._warn = warn
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._lock = threading.Lock()  # guards which members are watched, and all below
        self._changed = threading.Condition(self._lock)
        self._leader: int | None = None  # the number of its thread
        self._served: Member | None = None  # by the leader at this moment
        self._turns = 0  # that members have had
        self._turns_before = 0  # the last call of look_after()
        self._is_ending = False
        self._has_ended = True  # no thread leads, or will
        self._is_closed = False
        self._watch(self._waker)

    def start(self) -> None:
        """Make a thread lead, if the system has one; look_after() tries again."""
        with self._lock:
            self._is_ending = self._has_ended = False
            self._hand_over()

    def stop(self) -> None:
        """Have what has arrived served, and return when no thread leads any more."""
        with self._lock:
            self._is_ending = True
            self._waker.wake()
            if not self._changed.wait_for(lambda: self._has_ended, STUCK_SECONDS):
                self._has_ended = True
                self._hand_over()

    def close(self) -> list[Member]:
        """Stop, and return the members that were waited for."""
        self.stop()
        with self._lock:
            if self._is_closed:
                return []
            self._is_closed = True
            members = [key.data for key in self._selector.get_map().values()]
            for member in members:
                self._forget(member)
            self._selector.close()
        members.remove(self._waker)
        self._waker.end()
        self._workers.close()
        return members

    def look_after(self) -> None:
        """Make another thread lead if this one has served the same since the last call.

        So code that waits without calling before_waiting(), say for a slow disk, keeps
        nobody waiting for longer than that.
        """
        with self._lock:
            is_stuck = self._served and self._turns == self._turns_before
            if is_stuck or self._leader is None:
                self._hand_over()
            self._turns_before = self._turns

    def add(self, member: Member) -> None:
        """Wait for *member* too, unless that is done."""
        with self._lock:
            if member.is_watched:
                return
            self._watch(member)
        self._waker.wake()

    def drop(self, member: Member) -> bool:
        """Wait for *member* no longer; return False if a thread is serving it."""
        with self._lock:
            is_waited_for = member.is_watched and member is not self._served
            if is_waited_for:
                self._forget(member)
        return is_waited_for

    def serve(self, member: Member) -> bool:
        """Have *member* proceed; return whether this thread leads after that."""
        with self._lock:
            if self._leader == threading.get_ident():
                self._turns += 1
                self._served = member
        goes_on = member.proceed()
        with self._lock:
            leads = self._leader == threading.get_ident()
            if leads:
                self._served = None
            if not goes_on:
                self._forget(member)
            elif not member.is_watched:
                goes_on = self._watch(member)
        if not goes_on:
            member.end()
            return self._leader == threading.get_ident()  # it may have had to wait
        if not leads:
            self._waker.wake()  # for systems where waiting does not notice a new member
        return leads

    def _run(self) -> None:
        """Lead, until another thread does, or none is to."""
        with self._lock:
            if self._leader is not None or self._has_ended:
                return
            self._leader = threading.get_ident()
        with calling_before_waiting(self._step_down):
            goes_on = True
            while goes_on:
                goes_on = not self._is_ending  # then once more, for what has arrived
                for key, _ in self._selector.select(None if goes_on else 0):
                    member: Member = key.data
                    # It may have been dropped while those before it were served.
                    if member.is_watched and not self.serve(member):
                        return
        with self._lock:
            self._leader = None
            self._has_ended = True
            self._changed.notify_all()

    def _step_down(self) -> bool:
        """Hand over the lead; return False if this thread still has it."""
        with self._lock:
            return self._leader != threading.get_ident() or self._hand_over()

    # These are called with the lock held.

    def _hand_over(self) -> bool:
        """Make another thread lead, if one is to; return False if there is none."""
        if not self._has_ended:
            try:
                self._workers.do(self._run)
            except RuntimeError as error:
                self._warn("cannot serve all connections: %s", error)
                return False
        if self._served:
            self._forget(self._served)
            self._served = None
        self._leader = None
        return True

    def _watch(self, member: Member) -> bool:
        """Wait for *member*; return False if that is not possible any more."""
        if self._is_closed:
            return False
        try:
            self._selector.register(member, selectors.EVENT_READ, member)
        except OSError as error:  # no memory
            self._warn("cannot serve all connections: %s", error)
            return False
        member.is_watched = True
        return True

    def _forget(self, member: Member) -> None:
        if member.is_watched:
            member.is_watched = False
            self._selector.unregister(member)
