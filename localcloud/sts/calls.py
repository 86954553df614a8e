"""The calls that the stand-in received, and how a test wants the next ones answered."""

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
    """Keeps what was received.  All methods may be called from any thread."""

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
        """Let no call wait any longer, and none wait from now on."""
        with self._changed:
            self.closing.set()
            self._changed.notify_all()

    @property
    def requests(self) -> list[Request]:
        """Return the requests received since clear(), of very many the last."""
        with self._changed:
            return list(self._requests)

    @property
    def received(self) -> int:
        """How many requests came since clear(), forgotten ones too."""
        with self._changed:
            return self._received

    def clear(self) -> None:
        """Forget the requests received so far."""
        with self._changed:
            self._requests.clear()
            self._received = 0

    def wait_for_requests(self, n: int, timeout: float = 60.0) -> None:
        """Return once *n* were received since clear().

        Raises TimeoutError after *timeout* seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._received >= n, timeout):
                raise TimeoutError(f"{self._received} of {n} requests in {timeout} s")

    def script(self, *behaviours: Behaviour | None) -> None:
        """Answer the next calls so, each once; None is the usual answer."""
        with self._changed:
            self._script = deque(behaviours)
            self._times_told += 1
            self._changed.notify_all()

    def always(self, behaviour: Behaviour | None) -> None:
        """Answer calls so when no script is left; None is the usual answer."""
        with self._changed:
            self._always = behaviour
            self._times_told += 1
            self._changed.notify_all()

    def fail(self, action: str, *codes: str, always: bool = False) -> None:
        """Answer the next calls of *action* with these errors, each once.

        An empty code stands for the usual answer.  With *always*, all calls get the one
        code that is given.  "*" is every action.  What was ordered for *action* before
        is forgotten: without codes, all is as usual again.  A script() goes before.
        Raises ValueError for an action or a code that STS does not have.
        """
        self._failures.order(action, codes, always=always)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Answer what is received during a with block when the block ends."""
        with self._changed:
            self._holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._holders -= 1
                self._changed.notify_all()

    def receive(self, request: Request) -> Behaviour | None:
        """Record *request*; return how to answer it when it is time to."""
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
