"""Tokens: AssumeRole within the quota of STS, and each token for all who may share it.

StsClient calls AssumeRole through the STS SDK, within a deadline whatever STS does, and
turns what can go wrong into one StsError.  CallGate keeps it within the quota of STS.
TokenCache hands a token out again while it is young, shares one call among all who ask
for the same token, and gets them through an outage.

Sources: "AssumeRole" and "GetCallerIdentity" (STS API reference), the STS FAQ, the
source of alibabacloud_sts20150401 and of the mobile SDKs' OSSAuthCredentialsProvider.
"""

from __future__ import annotations

import io
import json
import logging
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

from tokenserver.config.load import (
    SDK_REFRESH_MARGIN_SECONDS,
    STS_CALLS_PER_SECOND,
    AssumeRoleCall,
    ConfigError,
    UserCall,
)
from tokenserver.httpd.server import (
    Document,
    Histogram,
    Tally,
    encode,
    printable,
)
from tokenserver.login.verifier import in_background

logger = logging.getLogger("sts_server")

T = TypeVar("T")

# --- Constants ------------------------------------------------------------------

# The SDK's timeouts are for one socket operation each, so the deadline is ours.
STS_DEADLINE_SECONDS = 8.0  # the Android SDK waits for ever, and holds a lock meanwhile
STS_CONNECT_SECONDS = 2.0
STS_READ_SECONDS = 5.0
STS_RETRY_PAUSE_SECONDS = (0.1, 0.4)  # a random pause between these before the retry
STS_ANSWER_BYTES = 64 * 1024  # at most; AssumeRole's has about 2 KiB
STS_MAX_CALLS = 32  # at once, those counted that are overdue and wait for STS alone
LATENCY_BOUNDS = (0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 8.0)  # s, of calls
CREDENTIAL_CHAIN_PAUSE_SECONDS = 10.0  # off the cloud each failing search costs 2 s

# Token reuse.
TOKENS_KEPT = 10_000
REFRESH_AHEAD_SECONDS = 30  # of the end of the reuse time, or a tenth of it if less
FAILURE_SECONDS = 0.9  # during which a call that failed is not made again
STALE_SECONDS = 1.0  # to wait for a new token while the old one would do

# --- Errors ---------------------------------------------------------------------


class StsError(Exception):
    """AssumeRole gave no token.

    *code* and *message* are for the client: STS's own, or one of the fixed pairs
    below.  *detail* is for the log.  *is_temporary* says that a retry may help.
    *denied_by* is for the operator: the kind of policy that denied the call, and how,
    such as "AssumeRolePolicy ImplicitDeny", where STS says so.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        detail: str,
        is_temporary: bool = False,
        denied_by: str = "",
    ) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.detail = detail
        self.is_temporary = is_temporary
        self.denied_by = denied_by

    def again(self) -> StsError:
        """Return the same error, without the frames that it was raised in."""
        return StsError(
            self.code,
            self.message,
            detail=self.detail,
            is_temporary=self.is_temporary,
            denied_by=self.denied_by,
        )


# The codes are those of Alibaba Cloud's core SDKs, which the reference servers used.
UNREACHABLE = ("SDK.ServerUnreachable", "The app server could not reach STS.")
UNUSABLE = ("SDK.UnknownServerError", "STS gave the app server no usable answer.")
THROTTLED = ("Throttling.User", "Request was denied due to user flow control.")
NO_CREDENTIALS = ("SDK.InvalidCredential", "The app server has no credentials.")
INTERNAL = ("InternalError", "The app server failed.")


# --- STS client -----------------------------------------------------------------


@dataclass(frozen=True)
class Credentials:
    """What AssumeRole returned; handed out as one set."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(repr=False)
    expiration: str  # YYYY-MM-DDThh:mm:ssZ, as STS wrote it
    last_updated: str  # when STS was asked, in the same form


@dataclass(frozen=True)
class CallerIdentity:
    """Who a key pair belongs to, as GetCallerIdentity says."""

    account_id: str
    arn: str
    identity_type: str  # Account, which is the root account, RAMUser, AssumedRoleUser


CREDENTIAL_FIELDS = (
    "access_key_id",
    "access_key_secret",
    "security_token",
    "expiration",
)
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
EXPIRATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)

# What an STS message could reveal: the string to sign repeats the whole request.
REVEALING = re.compile(
    r"server string to sign is.*|acs:ram:\S*|https?://\S*", re.DOTALL
)

# The logger names of the SDK and what it stands on.  They print requests with their
# signatures, URLs with the session policy, and tracebacks.
SDK_LOGGERS = ("darabonba-core", "alibabacloud-tea", "credentials", "urllib3")


def import_sdk() -> SimpleNamespace:
    """Return the parts of the STS SDK used here.  Raises ConfigError without it."""
    try:
        from alibabacloud_credentials.client import Client as CredentialChain
        from alibabacloud_sts20150401.client import Client
        from alibabacloud_sts20150401.models import AssumeRoleRequest
        from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
        from alibabacloud_tea_openapi.utils_models import Config as ClientConfig
        from darabonba.core import DaraCore
        from darabonba.exceptions import RetryError
        from darabonba.runtime import RuntimeOptions
    except ImportError as error:
        raise ConfigError(
            f"the STS SDK cannot be imported ({error}); "
            "run: pip install alibabacloud-sts20150401"
        ) from None
    for name in SDK_LOGGERS:
        sdk_logger = logging.getLogger(name)
        sdk_logger.handlers = [logging.NullHandler()]
        sdk_logger.propagate = False
    if not isinstance(DaraCore.get_adapter, BoundedAdapters):
        DaraCore.get_adapter = BoundedAdapters(DaraCore.get_adapter)
    return SimpleNamespace(
        AlibabaCloudException=AlibabaCloudException,
        AssumeRoleRequest=AssumeRoleRequest,
        Client=Client,
        ClientConfig=ClientConfig,
        CredentialChain=CredentialChain,
        RetryError=RetryError,
        RuntimeOptions=RuntimeOptions,
    )


class BoundedAdapters:
    """Makes the HTTP adapters of the SDK's sessions, as *make* does, but bounded.

    The SDK reads an answer whole, whatever its size, and unpacks it: 61 KB of gzip can
    become a gigabyte.  Here at most STS_ANSWER_BYTES are read, as they come, and an
    answer that is packed or that redirects is refused: STS does neither.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return an adapter of requests whose send() raises StsError."""
        adapter = self._make(*args, **kwargs)
        adapter.send = partial(self._send, adapter.send)
        return adapter

    @staticmethod
    def _send(send: Callable[..., Any], request: Any, **options: Any) -> Any:
        request.headers["Accept-Encoding"] = "identity"
        response = send(request, **options | {"stream": True})
        content = response.raw.read(STS_ANSWER_BYTES + 1, decode_content=False)
        problem = ""
        if len(content) > STS_ANSWER_BYTES:
            problem = f"an answer of more than {STS_ANSWER_BYTES} bytes"
        elif response.headers.get("Content-Encoding", "identity") != "identity":
            problem = "an answer that is packed, though no packing was asked for"
        elif response.is_redirect:
            problem = "an answer that redirects"
        if problem:
            response.close()
            raise StsError(*UNUSABLE, detail=problem, is_temporary=True)
        response.raw = io.BytesIO(content)
        return response


class CallGate:
    """Lets AssumeRole calls through: STS_MAX_CALLS at once, and evenly.

    The quota is for a second, and STS does not say when its seconds begin: two bursts,
    one in each, would be one of both for STS.  All times are those of *clock*.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._places = threading.BoundedSemaphore(STS_MAX_CALLS)
        self._lock = threading.Lock()  # guards the three below
        self._waiting = 0  # for a place
        self.entered = 0
        self._next_turn_at = clock()

    def enter(self, deadline: float, calls_per_second: int) -> None:
        """Return when a call may begin; leave() must follow when it has ended.

        Raises StsError, and at once if that would be after *deadline*.
        """
        with self._lock:
            turn_at = max(self._clock(), self._next_turn_at)
            if turn_at + self._waiting / calls_per_second > deadline:
                raise too_many(calls_per_second)
            self._waiting += 1
        try:
            has_place = self._places.acquire(timeout=max(0.0, deadline - self._clock()))
        finally:
            with self._lock:
                self._waiting -= 1
                self.entered += has_place
        if not has_place:
            detail = f"{STS_MAX_CALLS} calls are under way"
            raise StsError(*UNREACHABLE, detail=detail, is_temporary=True)
        try:
            self.wait_for_turn(deadline, calls_per_second)
        except StsError:
            self.leave()
            raise

    def wait_for_turn(self, deadline: float, calls_per_second: int) -> None:
        """Return when another request may be sent.  Raises StsError."""
        with self._lock:
            now = self._clock()
            turn_at = max(now, self._next_turn_at)
            if turn_at > deadline:
                raise too_many(calls_per_second)
            self._next_turn_at = turn_at + 1 / calls_per_second
        self._sleep(turn_at - now)

    def leave(self) -> None:
        """Make room for another call."""
        with self._lock:
            self.entered -= 1
        self._places.release()


def too_many(calls_per_second: int) -> StsError:
    """Return the error for a call whose turn would come too late."""
    detail = f"StsCallsPerSecond is {calls_per_second}, and more are waiting"
    return StsError(*THROTTLED, detail=detail, is_temporary=True)


class StsClient:
    """AssumeRole, with one retry, within STS_DEADLINE_SECONDS whatever STS does.

    Importing the SDK takes most of the time this server needs to start; it is imported
    here, once.  Raises ConfigError if it is not installed.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._api = import_sdk()
        self._clock = clock
        self._gate = CallGate()
        self.calls = Tally()  # AssumeRole, by Code or OK
        self.latency = Histogram(LATENCY_BOUNDS)
        self._lock = threading.Lock()  # guards the two below
        self._sdk_key: tuple[str, str, str, str] | None = None
        self._sdk: Any = None  # the shared SDK client, for the endpoint and pair above

    def assume_role(
        self, call: AssumeRoleCall, calls_per_second: int = STS_CALLS_PER_SECOND
    ) -> Credentials:
        """Return new credentials.  Raises StsError."""
        return self._settled(partial(self._attempt, call), calls_per_second)

    def calls_in_flight(self) -> int:
        """Return how many calls are under way, those that are overdue among them."""
        return self._gate.entered

    def caller_identity(self, call: AssumeRoleCall) -> CallerIdentity:
        """Return who the key pair of *call* belongs to.  Raises StsError."""
        return self._settled(partial(self._ask_identity, call), STS_CALLS_PER_SECOND)

    def _settled(self, attempt: Callable[[float], T], calls_per_second: int) -> T:
        """Return what *attempt* does before the deadline it is given, maybe retried.

        Raises StsError.
        """
        deadline = time.monotonic() + STS_DEADLINE_SECONDS
        self._gate.enter(deadline, calls_per_second)
        outcome: Future[T] = Future()
        # A thread of its own: the SDK's timeouts start anew with each byte received, so
        # the only way out of a call whose answer drips is to leave it to itself.
        settle = threading.Thread(
            target=self._settle,
            args=(outcome, attempt, deadline, calls_per_second),
            daemon=True,
        )
        try:
            settle.start()
        except RuntimeError:  # the system has no thread for us
            self._gate.leave()
            raise
        try:
            return outcome.result(timeout=max(0.0, deadline - time.monotonic()))
        except FutureTimeoutError:
            detail = f"no answer within {STS_DEADLINE_SECONDS:g} s"
            raise StsError(*UNREACHABLE, detail=detail, is_temporary=True) from None

    def _settle(
        self,
        outcome: Future[T],
        attempt: Callable[[float], T],
        deadline: float,
        calls_per_second: int,
    ) -> None:
        """Settle *outcome* whatever happens, so that its caller does not hang."""
        try:
            try:
                outcome.set_result(attempt(deadline))
            except StsError as error:
                pause = random.uniform(*STS_RETRY_PAUSE_SECONDS)
                left = deadline - time.monotonic() - pause
                if not error.is_temporary or left < STS_RETRY_PAUSE_SECONDS[1]:
                    raise
                time.sleep(pause)
                self._gate.wait_for_turn(deadline, calls_per_second)
                outcome.set_result(attempt(deadline))
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            self._gate.leave()

    def _attempt(self, call: AssumeRoleCall, deadline: float) -> Credentials:
        """Call AssumeRole once.  Raises StsError."""
        request = self._api.AssumeRoleRequest(
            role_arn=call.role_arn,
            role_session_name=call.role_session_name,
            duration_seconds=call.duration_seconds,
            policy=call.policy,
        )
        asked_at, begun = self._clock(), time.monotonic()
        outcome = "OK"
        try:
            response = self._send(call, deadline, "assume_role_with_options", request)
            return self._credentials(response, asked_at)
        except StsError as error:
            outcome = error.code
            raise
        finally:
            self.calls.add(outcome)
            self.latency.add(time.monotonic() - begun)

    def _ask_identity(self, call: AssumeRoleCall, deadline: float) -> CallerIdentity:
        """Call GetCallerIdentity once.  Raises StsError."""
        response = self._send(call, deadline, "get_caller_identity_with_options")
        body = getattr(response, "body", None)
        names = ("account_id", "arn", "identity_type")
        values: dict[str, Any] = {name: getattr(body, name, None) for name in names}
        if not all(isinstance(value, str) and value for value in values.values()):
            raise StsError(*UNUSABLE, detail="an answer without an identity")
        return CallerIdentity(**values)

    def _send(
        self, call: AssumeRoleCall, deadline: float, method: str, *request: Any
    ) -> Any:
        """Return what *method* of the SDK does.  Raises StsError."""
        left = max(0.1, deadline - time.monotonic())
        options = self._api.RuntimeOptions(  # milliseconds
            connect_timeout=int(min(STS_CONNECT_SECONDS, left) * 1000),
            read_timeout=int(min(STS_READ_SECONDS, left) * 1000),
        )
        try:
            return getattr(self._sdk_for(call), method)(*request, options)
        except self._api.AlibabaCloudException as error:
            raise refusal(error) from None
        except Exception as error:  # its text has the URL, and so the session policy
            raise self._failure(error) from None

    def _sdk_for(self, call: AssumeRoleCall) -> Any:
        """Return the SDK client, made anew only for another endpoint or key pair."""
        key = (
            call.protocol,
            call.endpoint,
            call.access_key_id,
            call.access_key_secret,
        )
        with self._lock:
            if key != self._sdk_key:
                options: dict[str, Any] = {
                    "protocol": call.protocol,
                    "endpoint": call.endpoint,
                    "max_idle_conns": STS_MAX_CALLS,  # else connections are thrown away
                }
                if call.access_key_id:
                    options["access_key_id"] = call.access_key_id
                    options["access_key_secret"] = call.access_key_secret
                else:
                    options["credential"] = DefaultCredentials(
                        self._api.CredentialChain
                    )
                self._sdk = self._api.Client(self._api.ClientConfig(**options))
                self._sdk_key = key
            return self._sdk

    def _failure(self, error: Exception) -> StsError:
        """Return what an SDK error means that holds no answer of STS."""
        inner = getattr(error, "inner_exception", None) or error
        if isinstance(inner, StsError):  # from DefaultCredentials
            return inner
        if isinstance(inner, self._api.RetryError):
            text = str(inner)
            reasons = (reason for clue, reason in IO_REASONS if clue in text)
            detail = next(reasons, "connection failed")
            return StsError(*UNREACHABLE, detail=detail, is_temporary=True)
        detail = f"not the JSON of an answer ({type(inner).__name__})"
        return StsError(*UNUSABLE, detail=detail, is_temporary=True)

    def _credentials(self, response: Any, asked_at: float) -> Credentials:
        """Return the credentials in an HTTP 200, which the SDK does not check."""
        body = getattr(response, "body", None)
        found = getattr(body, "credentials", None)
        values: dict[str, Any] = {
            name: getattr(found, name, None) for name in CREDENTIAL_FIELDS
        }
        if not all(isinstance(value, str) and value for value in values.values()):
            raise StsError(*UNUSABLE, detail="an answer without the four credentials")
        last_updated = time.strftime(TIME_FORMAT, time.gmtime(asked_at))
        credentials = Credentials(**values, last_updated=last_updated)
        if not is_later(credentials.expiration, self._clock()):
            raise StsError(*UNUSABLE, detail="an Expiration that is past or not a time")
        return credentials


# Clues in the text of the SDK's RetryError, the first that fits counts.
IO_REASONS = (
    ("NameResolutionError", "its name is not known"),
    ("ConnectTimeout", "no connection within the time limit"),
    ("timed out", "no answer within the time limit"),
    ("ProxyError", "the proxy failed"),
    ("SSLError", "TLS failed"),
    ("Connection refused", "connection refused"),
    ("actively refused", "connection refused"),  # Windows
    ("unreachable", "no route to it"),
)


def refusal(error: Any) -> StsError:
    """Return an error answer of STS with its own Code and Message.

    The SDK's texts have the status and RequestId mixed in; the bare ones are in *data*.
    """
    data = error.data if isinstance(error.data, dict) else {}
    code = str(error.code)
    message = data.get("Message") or data.get("message")
    if code == "None" or not re.fullmatch(r"[\w.-]{1,100}", code, re.ASCII):
        detail = f"HTTP {error.status_code} without a Code"
        return StsError(*UNUSABLE, detail=detail, is_temporary=True)
    message = message if isinstance(message, str) else ""
    return StsError(
        code,
        REVEALING.sub("", message)[:1000].strip(),
        detail=f"RequestId {printable(str(error.request_id))[:64]}",
        is_temporary=error.status_code >= 500 or code.startswith("Throttling"),
        denied_by=denied_by(error),
    )


def denied_by(error: Any) -> str:
    """Return PolicyType and NoPermissionType of an answer that has them, or "".

    They are members of its AccessDeniedDetail ("How do I troubleshoot an access denied
    error?", RAM).
    """
    detail = getattr(error, "access_denied_detail", None)
    detail = detail if isinstance(detail, dict) else {}
    words = (str(detail.get(name, "")) for name in ("PolicyType", "NoPermissionType"))
    return " ".join(word for word in words if re.fullmatch(r"[A-Za-z]{1,64}", word))


def instant(expiration: str) -> float:
    """Return the unix seconds of a time in the API's form.  Raises ValueError."""
    if not EXPIRATION.fullmatch(expiration):
        raise ValueError("is no time")
    moment = datetime.strptime(expiration, TIME_FORMAT)
    return moment.replace(tzinfo=timezone.utc).timestamp()


def is_later(expiration: str, now: float) -> bool:
    """Return whether *expiration* is a time, in the API's form, after *now*."""
    try:
        return instant(expiration) > now
    except ValueError:
        return False


class DefaultCredentials:
    """The default credential chain, which is not searched again right after it failed.

    Its last link asks the metadata service of ECS, which off the cloud answers nobody:
    each search that finds nothing takes 2 s.
    """

    def __init__(
        self, make_chain: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make_chain = make_chain
        self._chain: Any = None
        self._clock = clock
        self._searching = threading.Lock()  # held by the one thread that searches
        self._is_found = False
        self._search_again_at = -float("inf")

    def get_credential(self) -> Any:
        """Return the credentials to sign with, as the SDK wants them.

        Raises StsError, saying what was looked for.
        """
        if self._is_found:  # the chain stays with what it found, and renews it
            return self._ask()
        with self._searching:
            if self._clock() < self._search_again_at:
                raise self._error()
            try:
                credential = self._ask()
            except StsError:
                self._search_again_at = self._clock() + CREDENTIAL_CHAIN_PAUSE_SECONDS
                raise
            self._is_found = True
            return credential

    def _ask(self) -> Any:
        try:
            if self._chain is None:
                self._chain = self._make_chain()
            return self._chain.get_credential()
        except Exception:  # its text repeats what it read
            raise self._error() from None

    def _error(self) -> StsError:
        return StsError(
            *NO_CREDENTIALS,
            detail="AccessKeyID is not set, and there is none in the environment "
            "(ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET, or OIDC of a Kubernetes pod), "
            "~/.aliyun/config.json, ~/.alibabacloud/credentials.ini, the role of an "
            "ECS instance or ALIBABA_CLOUD_CREDENTIALS_URI",
        )


# --- Token reuse ----------------------------------------------------------------


def credential_fields(credentials: Credentials) -> Document:
    """Return the four fields that every client reads, named as in the API."""
    return {
        "AccessKeyId": credentials.access_key_id,
        "AccessKeySecret": credentials.access_key_secret,
        "SecurityToken": credentials.security_token,
        "Expiration": credentials.expiration,
    }


class Token:
    """Credentials in the document that they are sent in, encoded once.

    They are kept in no other form: thousands of tokens are in memory, of a KiB each.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.access_key_id = credentials.access_key_id
        self._last_updated = credentials.last_updated
        # What the reference servers send for a token
        self.document = encode({"StatusCode": 200, **credential_fields(credentials)})

    @property
    def uri_document(self) -> bytes:
        """What the SDKs expect of an ALIBABA_CLOUD_CREDENTIALS_URI."""
        fields = json.loads(self.document)
        del fields["StatusCode"]
        return encode({"Code": "Success", **fields, "LastUpdated": self._last_updated})


@dataclass
class Entry:
    """What is known of one call."""

    token: Token | None = None
    fetched_at: tuple[float, float] = (0.0, 0.0)  # by the wall clock, and the monotonic
    expires_at: float = 0.0  # unix seconds
    flight: Future[Token] | None = None  # the AssumeRole under way
    error: StsError | None = None  # of the last flight
    retry_at: float = -float("inf")  # monotonic


class TokenCache:
    """Tokens by call, each fetched by one thread at a time.

    A token is fresh until it is as old as its reuse time; shortly before, a flight
    starts in the background, so that nobody has to wait for the next.  Callers that
    find none fresh share one flight.  While STS cannot be reached, or throttles, they
    get the old token as long as it is valid for more than SDK_REFRESH_MARGIN_SECONDS,
    below which the mobile SDKs would come back at once for another.

    Wall-clock time says how old and how valid a token is, as it goes on while the
    machine sleeps; so does the monotonic clock, which is never set back.  The one that
    leaves less is believed.  TOKENS_KEPT are kept: the longest unused makes room.
    """

    def __init__(
        self,
        assume_role: Callable[[AssumeRoleCall, int], Credentials],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._assume_role = assume_role
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards all below, not held during a call
        self._entries: OrderedDict[AssumeRoleCall | UserCall, Entry] = OrderedDict()
        self._is_failing = False  # so that the log says once when it begins and ends
        self.uses = Tally()  # reused, fetched, stale

    def get(
        self,
        call: AssumeRoleCall | UserCall,
        reuse_seconds: int,
        calls_per_second: int,
    ) -> Token:
        """Return a token for *call*, fetched with others of *calls_per_second*.

        With a reuse time of 0 each is a new one.  Raises StsError.
        """
        if not reuse_seconds:
            token = Token(self._assume_role(call.complete(), calls_per_second))
            self.uses.add("fetched")
            return token
        ahead = min(REFRESH_AHEAD_SECONDS, reuse_seconds / 10)
        with self._lock:
            entry = self._entry(call)
            now, monotonic = self._clock(), self._monotonic()
            wall_clock_age, monotonic_age = (
                now - entry.fetched_at[0],
                monotonic - entry.fetched_at[1],
            )
            age = max(wall_clock_age, monotonic_age)
            left = min(entry.expires_at - now, call.duration_seconds - monotonic_age)
            old = entry.token if left > SDK_REFRESH_MARGIN_SECONDS else None
            if old and age < reuse_seconds - ahead:
                self.uses.add("reused")
                return old
            error, flight, led = entry.error, entry.flight, None
            if flight is None and monotonic >= entry.retry_at:
                led = flight = entry.flight = Future()
        lead = partial(self._lead, call, calls_per_second, entry)
        is_fresh = age < reuse_seconds
        if old and (is_fresh or (error and error.is_temporary)):
            if led:
                in_background(partial(lead, led))
            self.uses.add("reused" if is_fresh else "stale")
            return old
        if flight is None:
            assert error
            raise error.again()  # the kept one would keep the frames of its callers
        if led and old:
            in_background(partial(lead, led))
        elif led:
            lead(led)
        try:
            token = flight.result(STALE_SECONDS if old else None)
        except (FutureTimeoutError, StsError) as failure:
            if not old or not getattr(failure, "is_temporary", True):
                raise
            self.uses.add("stale")
            return old
        self.uses.add("fetched")
        return token

    def forget(self, users: Collection[str]) -> None:
        """Keep no token of these *users*, though one may be on its way to them."""
        with self._lock:
            for call in list(self._entries):
                if isinstance(call, UserCall) and call.user in users:
                    del self._entries[call]

    def _entry(self, call: AssumeRoleCall | UserCall) -> Entry:
        """Return the entry of *call*, which is now the last that was used."""
        entry = self._entries.get(call)
        if entry is None:
            entry = self._entries[call] = Entry()
            if len(self._entries) > TOKENS_KEPT:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(call)
        return entry

    def _lead(
        self,
        call: AssumeRoleCall | UserCall,
        calls_per_second: int,
        entry: Entry,
        flight: Future[Token],
    ) -> None:
        """Call STS and settle *flight* whatever happens, so that no waiter hangs."""
        fetched_at = self._clock(), self._monotonic()
        try:
            credentials = self._assume_role(call.complete(), calls_per_second)
            expires_at = instant(credentials.expiration)
        except BaseException as error:
            if not isinstance(error, StsError):
                logger.exception("failed to fetch a token")
                error = StsError(*INTERNAL, detail="see above")
            with self._lock:
                entry.flight, entry.error = None, error.again()
                entry.retry_at = self._monotonic() + FAILURE_SECONDS
                is_news, self._is_failing = not self._is_failing, True
            if is_news:
                logger.warning(
                    "STS gives no token: %s (%s); those that it gave before are handed "
                    "out while they last, if this is temporary",
                    error.code,
                    error.detail,
                )
            flight.set_exception(error)
        else:
            token = Token(credentials)
            with self._lock:
                entry.token, entry.fetched_at = token, fetched_at
                entry.expires_at = expires_at
                entry.flight = entry.error = None
                is_news, self._is_failing = self._is_failing, False
            if is_news:
                logger.warning("STS gives tokens again")
            flight.set_result(token)
