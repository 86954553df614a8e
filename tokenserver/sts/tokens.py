"""One token for equal requests, reused while it is new and through an outage."""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from functools import partial

from tokenserver.background import before_waiting, in_background
from tokenserver.config.grants import AssumeRoleCall, UserCall
from tokenserver.config.settings import SDK_REFRESH_MARGIN_SECONDS
from tokenserver.counts import Tally
from tokenserver.documents import Credentials, Token, failed
from tokenserver.errors import Cause, Failure, StsError
from tokenserver.sts.client import instant

logger = logging.getLogger(__name__)

TOKENS_KEPT = 10_000
REFRESH_AHEAD_SECONDS = 30  # of the end of the reuse time, or a tenth of it if less
FAILURE_SECONDS = 0.9  # during which a call that failed is not made again
STALE_SECONDS = 1.0  # to wait for a new token while the old one would do


class Freshness(enum.Enum):
    """What to do with a kept token."""

    FRESH = "hand it out"
    DUE = "hand it out and fetch the next"
    OLD = "wait a second for a new one, else hand it out"
    GONE = "wait for a new one"


@dataclass
class Entry:
    """The token of one call, and the call under way for the next."""

    token: Token | None = None
    fetched_at: tuple[float, float] = (0.0, 0.0)  # by the wall clock, and the monotonic
    expires_at: float = 0.0  # unix seconds
    flight: Future[Token] | None = None  # the AssumeRole under way
    failure: Failure | None = None  # of the last flight
    retry_at: float = -float("inf")  # monotonic


Lead = Callable[[], None]  # makes the AssumeRole call of a flight and settles it


class TokenCache:
    """Tokens by call, each fetched by one thread at a time.

    A token is FRESH until it is almost as old as its reuse time, and DUE until it is as
    old: a flight then starts in the background, so that nobody has to wait for the
    next.  Callers that find neither share one flight.  While STS cannot be reached, or
    throttles, they get the OLD token as long as it is valid for more than they need;
    then it is GONE.  Below SDK_REFRESH_MARGIN_SECONDS the mobile SDKs would come back
    at once for another; what is signed with a token ends before it does.

    Age and validity are measured by both clocks, and the more pessimistic one wins: the
    wall clock runs while the machine sleeps, the monotonic clock is never set back.
    Up to TOKENS_KEPT tokens are kept; the one unused for longest makes room.
    """

    def __init__(
        self,
        assume_role: Callable[[AssumeRoleCall], Credentials],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._assume_role = assume_role
        self.clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards all below, not held during a call
        self._entries: OrderedDict[UserCall, Entry] = OrderedDict()
        self._is_failing = False  # so that the log says once when it begins and ends
        self.uses = Tally()  # reused, fetched, stale

    def get(
        self,
        call: UserCall,
        reuse_seconds: int,
        needed_seconds: int = SDK_REFRESH_MARGIN_SECONDS,
    ) -> Token:
        """Return a token for *call*; with a reuse time of 0, always a new one.

        It is valid for more than *needed_seconds*.  Raises StsError.
        """
        if not reuse_seconds:
            before_waiting()
            token = Token(self._assume_role(call.complete()))
            self.uses.add("fetched")
            return token
        with self._lock:
            entry = self._entry(call)
            old, failure = entry.token, entry.failure
            freshness = self._freshness(
                entry, call.duration_seconds, reuse_seconds, needed_seconds
            )
            if old and freshness is Freshness.FRESH:
                self.uses.add("reused")
                return old
            flight, lead = self._join(call, entry)
        if old and freshness is Freshness.DUE:
            self._in_background(lead)
            self.uses.add("reused")
            return old
        if old and freshness is Freshness.OLD:
            return self._new_or_old(old, failure, flight, lead)
        return self._new(failure, flight, lead)

    def forget(self, users: Collection[str]) -> None:
        """Forget the tokens of these *users*; a reply under way may still have one."""
        with self._lock:
            for call in list(self._entries):
                if call.user in users:
                    del self._entries[call]

    def _entry(self, call: UserCall) -> Entry:
        """Return the entry of *call*, and mark it as used last."""
        entry = self._entries.get(call)
        if entry is None:
            entry = self._entries[call] = Entry()
            if len(self._entries) > TOKENS_KEPT:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(call)
        return entry

    def _freshness(
        self,
        entry: Entry,
        duration_seconds: int,
        reuse_seconds: int,
        needed_seconds: int,
    ) -> Freshness:
        """Return what to do with the token of *entry*."""
        now, monotonic = self.clock(), self._monotonic()
        wall_clock_age = now - entry.fetched_at[0]
        monotonic_age = monotonic - entry.fetched_at[1]
        left = min(entry.expires_at - now, duration_seconds - monotonic_age)
        if entry.token is None or left <= needed_seconds:
            return Freshness.GONE
        age = max(wall_clock_age, monotonic_age)
        if age < reuse_seconds - min(REFRESH_AHEAD_SECONDS, reuse_seconds / 10):
            return Freshness.FRESH
        return Freshness.DUE if age < reuse_seconds else Freshness.OLD

    def _join(
        self, call: UserCall, entry: Entry
    ) -> tuple[Future[Token] | None, Lead | None]:
        """Return the flight to wait for, and its leader if it is new.

        Right after a failure there is none.  Called with the lock held.
        """
        if entry.flight is not None or self._monotonic() < entry.retry_at:
            return entry.flight, None
        flight = entry.flight = Future()
        return flight, partial(self._lead, call, entry, flight)

    def _new(
        self,
        failure: Failure | None,
        flight: Future[Token] | None,
        lead: Lead | None,
    ) -> Token:
        """Return the token of *flight*; if the flight is new, lead it."""
        if flight is None:
            assert failure  # or there would be a flight
            raise StsError(failure)
        before_waiting()
        if lead:
            lead()
        token = flight.result()
        self.uses.add("fetched")
        return token

    def _new_or_old(
        self,
        old: Token,
        failure: Failure | None,
        flight: Future[Token] | None,
        lead: Lead | None,
    ) -> Token:
        """Return the token of *flight* if it comes soon, else the *old* one.

        Nobody waits while STS has a temporary failure.  After a permanent refusal the
        old token is not handed out.
        """
        self._in_background(lead)
        if failure and failure.is_temporary:
            self.uses.add("stale")
            return old
        if flight is None:
            assert failure  # or there would be a flight
            raise StsError(failure)
        before_waiting()
        try:
            token = flight.result(STALE_SECONDS)
        except FutureTimeoutError:
            self.uses.add("stale")
            return old
        except StsError as error:
            if not error.failure.is_temporary:
                raise
            self.uses.add("stale")
            return old
        self.uses.add("fetched")
        return token

    def _in_background(self, lead: Lead | None) -> None:
        if lead:
            in_background("token refresh", lead)

    def _lead(self, call: UserCall, entry: Entry, flight: Future[Token]) -> None:
        """Call STS and settle *flight* whatever happens, so that no waiter hangs."""
        fetched_at = self.clock(), self._monotonic()
        try:
            credentials = self._assume_role(call.complete())
            expires_at = instant(credentials.expiration)
        except BaseException as error:
            if not isinstance(error, StsError):
                logger.exception("failed to fetch a token")
                error = failed(Cause.DEFECT)
            failure = error.failure
            with self._lock:
                entry.flight, entry.failure = None, failure
                entry.retry_at = self._monotonic() + FAILURE_SECONDS
                is_news, self._is_failing = not self._is_failing, True
            if is_news:
                logger.warning(
                    "STS gives no tokens: %s (%s); if this is temporary, previous "
                    "tokens are handed out while they are valid",
                    failure.code,
                    failure.detail,
                )
            flight.set_exception(error)
        else:
            token = Token(credentials)
            with self._lock:
                entry.token, entry.fetched_at = token, fetched_at
                entry.expires_at = expires_at
                entry.flight = entry.failure = None
                is_news, self._is_failing = self._is_failing, False
            if is_news:
                logger.warning("STS gives tokens again")
            flight.set_result(token)
