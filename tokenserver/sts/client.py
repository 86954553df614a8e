"""AssumeRole through the STS SDK, within a deadline whatever STS does.

Everything that can go wrong becomes an StsError here.  The texts of the SDK contain the
URL, and with it the session policy, and do not leave this module.
"""

from __future__ import annotations

import io
import logging
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any, TypeVar

from alibabacloud_credentials.client import Client as CredentialChain
from alibabacloud_sts20150401.client import Client
from alibabacloud_sts20150401.models import AssumeRoleRequest
from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
from alibabacloud_tea_openapi.utils_models import Config as ClientConfig
from darabonba.core import DaraCore
from darabonba.runtime import RuntimeOptions

from tokenserver.background import within
from tokenserver.config.grants import AssumeRoleCall
from tokenserver.config.settings import STS_CALLS_PER_SECOND
from tokenserver.counts import Histogram, Tally
from tokenserver.documents import Credentials, failed
from tokenserver.errors import Cause, Failure, StsError
from tokenserver.logs import printable
from tokenserver.sts.causes import cause_of
from tokenserver.sts.gate import MAX_CALLS, CallGate

T = TypeVar("T")

# The SDK's timeouts are for one socket operation each, so the deadline is ours.
DEADLINE_SECONDS = 8.0  # the Android SDK waits for ever, and holds a lock meanwhile
CONNECT_SECONDS = 2.0
READ_SECONDS = 5.0
RETRY_PAUSE_SECONDS = (0.1, 0.4)  # a random pause between these before the retry
ANSWER_BYTES = 64 * 1024  # at most; AssumeRole's has about 2 KiB
LATENCY_BOUNDS = (0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 8.0)  # s, of calls
CREDENTIAL_CHAIN_PAUSE_SECONDS = 10.0  # off the cloud each failing search costs 2 s

CREDENTIAL_FIELDS = (
    "access_key_id",
    "access_key_secret",
    "security_token",
    "expiration",
)
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
EXPIRATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
CODE = re.compile(r"[\w.-]{1,100}", re.ASCII)

# Parts of STS messages that could reveal something: the string to sign repeats the
# whole request.
REVEALING = re.compile(
    r"server string to sign is.*|acs:ram:\S*|https?://\S*", re.DOTALL
)

# The loggers of the SDK and of its dependencies.  They print requests with signatures,
# URLs with the session policy, and tracebacks.
for _name in ("darabonba-core", "alibabacloud-tea", "credentials", "urllib3"):
    logging.getLogger(_name).handlers = [logging.NullHandler()]
    logging.getLogger(_name).propagate = False


class BoundedAdapters:
    """Makes the HTTP adapters of the SDK's sessions, as *make* does, but with limits.

    The SDK reads an answer of any size and decompresses it: 61 KB of gzip can become a
    gigabyte.  Here at most ANSWER_BYTES are read, and an answer that is compressed or a
    redirect is refused, because STS sends neither.
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
        content = response.raw.read(ANSWER_BYTES + 1, decode_content=False)
        problem = ""
        if len(content) > ANSWER_BYTES:
            problem = f"an answer of more than {ANSWER_BYTES} bytes"
        elif response.headers.get("Content-Encoding", "identity") != "identity":
            problem = "a compressed answer, although none was requested"
        elif response.is_redirect:
            problem = "a redirect instead of an answer"
        if problem:
            response.close()
            raise failed(Cause.NOT_STS, problem)
        response.raw = io.BytesIO(content)
        return response


DaraCore.get_adapter = BoundedAdapters(DaraCore.get_adapter)


@dataclass(frozen=True)
class CallerIdentity:
    """The owner of a key pair, as GetCallerIdentity names it."""

    account_id: str
    arn: str
    identity_type: str  # Account, which is the root account, RAMUser, AssumedRoleUser


class StsClient:
    """AssumeRole, with one retry, within DEADLINE_SECONDS whatever STS does.

    *rate* returns the allowed calls per second.  *clock* is the wall clock.
    """

    def __init__(
        self,
        rate: Callable[[], int] = lambda: STS_CALLS_PER_SECOND,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._gate = CallGate(rate)
        self.calls = Tally()  # AssumeRole, by Code or OK
        self.latency = Histogram(LATENCY_BOUNDS)
        self._lock = threading.Lock()  # guards the two below
        self._sdk_key: tuple[str, str, str, str] | None = None
        self._sdk: Any = None  # the shared SDK client, for the endpoint and pair above

    def assume_role(self, call: AssumeRoleCall) -> Credentials:
        """Return new credentials.  Raises StsError."""
        return self._within_deadline(partial(self._assume_role, call))

    def caller_identity(self, call: AssumeRoleCall) -> CallerIdentity:
        """Return the owner of the key pair of *call*.  Raises StsError."""
        return self._within_deadline(partial(self._ask_identity, call))

    def calls_in_flight(self) -> int:
        """Return the number of calls under way, including overdue ones."""
        return self._gate.entered

    def _within_deadline(self, attempt: Callable[[float], T]) -> T:
        """Return the result of *attempt*, which gets a deadline and may be retried.

        Raises StsError.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        self._gate.enter(deadline)
        try:
            return within(
                deadline - time.monotonic(),
                partial(self._retried, attempt, deadline),
                self._gate.leave,
            )
        except TimeoutError:
            detail = f"no answer within {DEADLINE_SECONDS:g} s"
            raise failed(Cause.NO_ANSWER, detail) from None

    def _retried(self, attempt: Callable[[float], T], deadline: float) -> T:
        """Return the result of *attempt*, trying again after a temporary failure."""
        try:
            return attempt(deadline)
        except StsError as error:
            pause = random.uniform(*RETRY_PAUSE_SECONDS)
            left = deadline - time.monotonic() - pause
            if not error.failure.is_temporary or left < RETRY_PAUSE_SECONDS[1]:
                raise
        time.sleep(pause)
        self._gate.wait_for_turn(deadline)
        return attempt(deadline)

    def _assume_role(self, call: AssumeRoleCall, deadline: float) -> Credentials:
        """Call AssumeRole once.  Raises StsError."""
        request = AssumeRoleRequest(
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
            outcome = error.failure.code
            raise
        finally:
            self.calls.add(outcome)
            self.latency.add(time.monotonic() - begun)

    def _ask_identity(self, call: AssumeRoleCall, deadline: float) -> CallerIdentity:
        """Call GetCallerIdentity once.  Raises StsError."""
        response = self._send(call, deadline, "get_caller_identity_with_options")
        values = texts_of(
            getattr(response, "body", None), ("account_id", "arn", "identity_type")
        )
        if not values:
            raise failed(Cause.NO_CREDENTIALS, "an answer without an identity")
        return CallerIdentity(**values)

    def _send(
        self, call: AssumeRoleCall, deadline: float, method: str, *request: Any
    ) -> Any:
        """Return the result of *method* of the SDK.  Raises StsError."""
        left = max(0.1, deadline - time.monotonic())
        options = RuntimeOptions(  # milliseconds
            connect_timeout=int(min(CONNECT_SECONDS, left) * 1000),
            read_timeout=int(min(READ_SECONDS, left) * 1000),
        )
        try:
            return getattr(self._sdk_for(call), method)(*request, options)
        except AlibabaCloudException as error:
            raise refusal(error) from None
        except Exception as error:
            raise failure(error) from None

    def _sdk_for(self, call: AssumeRoleCall) -> Any:
        """Return the SDK client; a new one only for another endpoint or key pair."""
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
                    "max_idle_conns": MAX_CALLS,  # else connections are thrown away
                }
                if call.access_key_id:
                    options["access_key_id"] = call.access_key_id
                    options["access_key_secret"] = call.access_key_secret
                else:
                    options["credential"] = DefaultCredentials()
                self._sdk = Client(ClientConfig(**options))
                self._sdk_key = key
            return self._sdk

    def _credentials(self, response: Any, asked_at: float) -> Credentials:
        """Return the credentials in an HTTP 200; the SDK does not check them."""
        body = getattr(response, "body", None)
        values = texts_of(getattr(body, "credentials", None), CREDENTIAL_FIELDS)
        if not values:
            raise failed(Cause.NO_CREDENTIALS)
        last_updated = time.strftime(TIME_FORMAT, time.gmtime(asked_at))
        credentials = Credentials(**values, last_updated=last_updated)
        if not is_later(credentials.expiration, self._clock()):
            raise failed(Cause.PAST_EXPIRATION)
        return credentials


def texts_of(found: Any, names: tuple[str, ...]) -> dict[str, str]:
    """Return the attributes *names* of an SDK object, {} unless all are strings."""
    values = {name: getattr(found, name, None) for name in names}
    is_whole = all(isinstance(value, str) and value for value in values.values())
    return values if is_whole else {}  # type: ignore[return-value]


def failure(error: Exception) -> StsError:
    """Return the StsError for an error of the SDK without an answer of STS."""
    inner = getattr(error, "inner_exception", None) or error
    if isinstance(inner, StsError):  # from BoundedAdapters or DefaultCredentials
        return inner
    if cause := cause_of(inner):
        return failed(cause)
    detail = f"{Cause.NOT_STS.value} ({type(inner).__name__})"
    return failed(Cause.NOT_STS, detail)


def refusal(error: Any) -> StsError:
    """Return an error answer of STS with its own Code and Message.

    The texts of the SDK mix in the status and RequestId; the original is in *data*.
    """
    data = error.data if isinstance(error.data, dict) else {}
    code = str(error.code)
    message = data.get("Message") or data.get("message")
    if code == "None" or not CODE.fullmatch(code):
        detail = f"HTTP {error.status_code} without a Code"
        return failed(Cause.NOT_STS, detail)
    message = message if isinstance(message, str) else ""
    return StsError(
        Failure(
            Cause.REFUSED,
            code,
            REVEALING.sub("", message)[:1000].strip(),
            detail=f"RequestId {printable(str(error.request_id))[:64]}",
            is_temporary=error.status_code >= 500 or code.startswith("Throttling"),
            denied_by=denied_by(error),
        )
    )


def denied_by(error: Any) -> str:
    """Return PolicyType and NoPermissionType if the answer has them, or "".

    They are members of its AccessDeniedDetail ("How do I troubleshoot an access denied
    error?", RAM).
    """
    detail = getattr(error, "access_denied_detail", None)
    detail = detail if isinstance(detail, dict) else {}
    words = (str(detail.get(name, "")) for name in ("PolicyType", "NoPermissionType"))
    return " ".join(word for word in words if re.fullmatch(r"[A-Za-z]{1,64}", word))


def instant(expiration: str) -> float:
    """Return a time in the form of the API as unix seconds.  Raises ValueError."""
    if not EXPIRATION.fullmatch(expiration):
        raise ValueError("is not a time")
    moment = datetime.strptime(expiration, TIME_FORMAT)
    return moment.replace(tzinfo=timezone.utc).timestamp()


def is_later(expiration: str, now: float) -> bool:
    """Return whether *expiration* is a time, in the API's form, after *now*."""
    try:
        return instant(expiration) > now
    except ValueError:
        return False


class DefaultCredentials:
    """The default credential chain, with a pause after a search that failed.

    Its last link asks the metadata service of ECS, which does not answer outside the
    cloud: each search that finds nothing takes 2 s.
    """

    def __init__(
        self,
        make_chain: Callable[[], Any] = CredentialChain,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_chain = make_chain
        self._chain: Any = None
        self._clock = clock
        self._searching = threading.Lock()  # held by the one thread that searches
        self._is_found = False
        self._search_again_at = -float("inf")

    def get_credential(self) -> Any:
        """Return the credentials to sign with, in the form of the SDK.

        Raises StsError, which says where the chain looked.
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
        return failed(
            Cause.NO_KEY_PAIR,
            "AccessKeyID is not set, and there is none in the environment "
            "(ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET, or OIDC of a Kubernetes pod), "
            "~/.aliyun/config.json, ~/.alibabacloud/credentials.ini, the role of an "
            "ECS instance or ALIBABA_CLOUD_CREDENTIALS_URI",
        )
