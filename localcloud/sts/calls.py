"""The calls that the stand-in received, and the answers that a test wants next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from localcloud.failures import Failures
from localcloud.sts.behaviours import Behaviour, Fail, Hang
from localcloud.sts.checks import ACTIONS
from localcloud.sts.errors import ERRORS
from localcloud.sts.request import Request

REQUESTS_KEPT = 10_000  # of too many, the oldest are forgotten


class Calls:
    """Keeps the received calls.  All methods may be called from any thread."""

    def __init__(self) -> None:
        self.closing = threading.Event()
        self._changed = threading.Condition()  # guards all below, and tells of changes
        self._requests: deque[Request] = deque(maxlen=REQUESTS_KEPT)
        self._received = 0  # since clear()
        self._failures = Failures("STS", ACTIONS, ERRORS)
        self._script: deque[Behaviour | None] = deque()
        self._always: Behaviour | None = None
        self._times_told = 0  # how to answer
        self._holders = 0

    def end_calls(self) -> None:
        """End the wait of all calls, now and in the future."""
        with self._changed:
            self.closing.set()
            self._changed.notify_all()

    @property
    def requests(self) -> list[Request]:
        """Return the requests received since clear(); of very many, only the last."""
        with self._changed:
            return list(self._requests)

    @property
    def received(self) -> int:
        """The number of requests since clear(), including forgotten ones."""
        with self._changed:
            return self._received

    def clear(self) -> None:
        """Forget the requests received so far."""
        with self._changed:
            self._requests.clear()
            self._received = 0

    def wait_for_requests(self, n: int, timeout: float = 60.0) -> None:
        """Return when *n* requests have been received since clear().

        Raises TimeoutError after *timeout* seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._received >= n, timeout):
                raise TimeoutError(f"{self._received} of {n} requests in {timeout} s")

    def script(self, *behaviours: Behaviour | None) -> None:
        """Answer the next calls in these ways, one each; None is the usual answer."""
        with self._changed:
            self._script = deque(behaviours)
            self._times_told += 1
            self._changed.notify_all()

    def always(self, behaviour: Behaviour | None) -> None:
        """Answer calls in this way when no script is left; None is the usual answer."""
        with self._changed:
            self._always = behaviour
            self._times_told += 1
            self._changed.notify_all()

    def fail(self, action: str, *codes: str, always: bool = False) -> None:
        """Answer the next calls of *action* with these errors, each once.

        An empty code means the usual answer.  With *always*, all calls get the one
        code. "*" means every action.  Earlier orders for *action* are forgotten, so
        without codes all is as usual again.  A script() takes precedence.  Raises
        ValueError for an action or a code that STS does not have.
        """
        self._failures.order(action, codes, always=always)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the calls that come during a with block until the block ends."""
        with self._changed:
            self._holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._holders -= 1
                self._changed.notify_all()

    def receive(self, request: Request) -> Behaviour | None:
        """Record *request*; return how to answer it, when it is time to."""
        with self._changed:
            self._requests.append(request)
            self._received += 1
            self._changed.notify_all()
            behaviour = self._next_behaviour(request.action)
            told = self._times_told
            self._changed.wait_for(lambda: not self._holders or self.closing.is_set())
            if isinstance(behaviour, Hang):
                self._changed.wait_for(
                    lambda: self._times_told > told or self.closing.is_set()
                )
            return behaviour

    def _next_behaviour(self, action: str) -> Behaviour | None:
        if self._script:
            return self._script.popleft()
        code = self._failures.take(action)
        return Fail(code) if code else self._always
