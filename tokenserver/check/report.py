"""What is wrong when AssumeRole gives no token, in words that say what to change.

hint() turns an error of STS into a sentence or two for the operator, HintLog keeps
them to one a minute in the log of the running server, and run_check() is the report of
--check: the settings in force, the policy of each grant, and what the endpoint, the
clock and a real AssumeRole have to say.

Sources: "AssumeRole" and "GetCallerIdentity" (STS API reference), "FAQ about RAM roles
and STS tokens", "How do I troubleshoot an access denied error?", "Modify the trust
policy of a RAM role", "Set the maximum session duration for a RAM role" and "Disable an
AccessKey pair for a RAM user" (RAM documentation), "STS errors and troubleshooting"
(OSS documentation).
"""

from __future__ import annotations

import base64
import contextlib
import errno
import http.client
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from tokenserver.config.load import ACCESS_KEY_ID, AssumeRoleCall, Grant
from tokenserver.sts.tokens import CallerIdentity, Credentials, StsClient, StsError

T = TypeVar("T")

# --- Constants ------------------------------------------------------------------

PROBE_SECONDS = 5.0  # for name, connection, TLS and answer together
SLOW_SECONDS = 1.0
CLOCK_WARNING_SECONDS = 60.0
CLOCK_LIMIT_SECONDS = 15 * 60.0  # beyond, STS refuses ("Signature method", RPC style)

# Of a token that was just issued.  With less than the first left, the mobile SDKs fetch
# another at once (OSSAuthCredentialsProvider).
USELESS_SECONDS = 300.0
EXPIRATION_TOLERANCE_SECONDS = 60.0

HINT_PAUSE_SECONDS = 60.0
HINTS_KEPT = 64  # codes; STS has fewer

USERS = "RAM console > Identities > Users"
ROLES = "RAM console > Identities > Roles"
KEYS = f"{USERS} > the user > Authentication > AccessKey"
ASSUME_ROLE_POLICY = "AliyunSTSAssumeRoleAccess"
NEARER = (
    "the endpoint of the region that this machine is in, sts.<region>.aliyuncs.com, or "
    "sts-vpc.<region>.aliyuncs.com inside a VPC there"
)

# --- Hints ----------------------------------------------------------------------

# By Code.  {key} is the key in words, {role} and {account} are those of RoleArn.
_NOT_STS = (
    "What answers at {endpoint} is not STS. Set StsEndpoint to sts.aliyuncs.com or "
    "sts.<region>.aliyuncs.com, and look for a proxy or a login page in between."
)
_ALTERED = (
    "STS did not get the request as it was signed. Look for a proxy in between that "
    "changes or repeats requests, and upgrade the package alibabacloud-sts20150401."
)
_COPY_THE_ARN = (
    f"Copy the ARN from {ROLES} > the role > Basic Information into RoleArn; it is "
    "acs:ram::<account>:role/<name>."
)
_OTHER_TOKEN = (
    "It comes from the default credential chain (ALIBABA_CLOUD_SECURITY_TOKEN, a "
    "profile, a role): renew it there, or set AccessKeyID and AccessKeySecret to the "
    "pair of a RAM user."
)
_STS_FAILED = (
    "STS itself failed. If it lasts, set StsEndpoint to the endpoint of another "
    "region, or give the RequestId to Alibaba Cloud support."
)
HINTS = {
    "InvalidAccessKeyId.NotFound": (
        "STS does not know {key}. Set AccessKeyID to one that is listed in "
        f"{KEYS}, without blanks around it, or to that of a new pair."
    ),
    "InvalidAccessKeyId.Inactive": (
        f"{{Key}} is disabled. Enable it in {KEYS}, or set AccessKeyID and "
        "AccessKeySecret to another pair."
    ),
    "SignatureDoesNotMatch": (
        "AccessKeySecret does not belong to {key}. If the secret is lost, create a new "
        f"pair in {KEYS}, which shows it just once, and set AccessKeyID and "
        "AccessKeySecret to it."
    ),
    "MissingSecurityToken": (
        "{Key} is that of a temporary token. Set AccessKeyID and AccessKeySecret to "
        "the pair of a RAM user, whose AccessKey ID does not begin with STS."
    ),
    "InvalidSecurityToken.Expired": f"The token of {{key}} has expired. {_OTHER_TOKEN}",
    "InvalidSecurityToken.Malformed": (
        f"The token of {{key}} is not one of STS. {_OTHER_TOKEN}"
    ),
    "InvalidSecurityToken.MismatchWithAccessKey": (
        f"The token does not belong to {{key}}. {_OTHER_TOKEN}"
    ),
    "InvalidTimeStamp.Expired": (
        "The clock of this machine is more than 15 minutes off. Have it set by NTP, "
        "such as with chrony or timedatectl set-ntp true."
    ),
    "InvalidTimeStamp.Format": _ALTERED,
    "IncompleteSignature": _ALTERED,
    "InvalidSignatureMethod": _ALTERED,
    "SignatureNonceUsed": _ALTERED,
    "ContentMD5NotMatched": _ALTERED,
    "InvalidAction.NotFound": _NOT_STS,
    "InvalidApi.NotFound": _NOT_STS,
    "InvalidProduct.NotFound": _NOT_STS,
    "InvalidVersion": _NOT_STS,
    "InvalidParameter.ContentType": _NOT_STS,
    "InvalidParameter.Format": _NOT_STS,
    "UnsupportedHTTPMethod": _NOT_STS,
    "EntityNotExist.Role": f"Account {{account}} has no role {{role}}. {_COPY_THE_ARN}",
    "InvalidParameter": (
        "RoleArn, RoleSessionName, TokenExpireTime or the policy of PolicyFile is not "
        "as AssumeRole wants it; the message of STS says which."
    ),
    "InvalidParameter.RoleArn": f"RoleArn is not the ARN of a role. {_COPY_THE_ARN}",
    "InvalidParameter.RoleSessionName": (
        "RoleSessionName must be 2 to 64 letters, digits and . @ - _ (2 to 32 in old "
        "versions of STS)."
    ),
    "InvalidParameter.DurationSeconds": (
        "TokenExpireTime is {seconds}, which is more than the role {role} allows. "
        "Lower TokenExpireTime (a role allows 3600 unless changed), or raise "
        f"{ROLES} > {{role}} > Basic Information > Max Session Duration."
    ),
    "InvalidParameter.PolicyGrammar": (
        "RAM does not take the session policy for a policy. Correct the template in "
        "PolicyFile; those in policy/ are examples."
    ),
    "InvalidParameter.PolicySize": (
        "The session policy is too long for STS. Shorten the template in PolicyFile or "
        "the values that it is filled with."
    ),
    "InternalError": _STS_FAILED,
    "ServiceUnavailable": _STS_FAILED,
    "SDK.InvalidCredential": (
        "Set AccessKeyID and AccessKeySecret to the pair of a RAM user; or put one "
        "into ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or give "
        "the ECS instance a role."
    ),
}
_THROTTLED_BY_STS = (
    "STS allows 100 AssumeRole calls a second to a whole account. Raise "
    "TokenReuseTime, or lower StsCallsPerSecond where several processes share the "
    "account."
)
_THROTTLED_HERE = (
    "More AssumeRole calls are wanted than StsCallsPerSecond lets through. Raise "
    "TokenReuseTime, so that requests share tokens, or StsCallsPerSecond."
)

# By the detail of SDK.ServerUnreachable, which begins so.
_TOO_SLOW = (
    "{endpoint} takes too long to answer. Set StsEndpoint to "
    f"{NEARER}, and look for a proxy or firewall in between that holds requests up."
)
UNREACHABLE_HINTS = {
    "its name is not known": (
        "The name in StsEndpoint, {endpoint}, cannot be resolved: it is misspelt, or "
        "this machine has no DNS. Names of sts-vpc.… are for machines inside a VPC."
    ),
    "no connection within": (
        "{endpoint} does not take connections from here. Let this machine connect to "
        "it in firewall and security group, or set HTTPS_PROXY; a StsEndpoint of "
        "sts-vpc.… can be reached only from inside a VPC of its region."
    ),
    "no answer within": _TOO_SLOW,
    "calls are under way": _TOO_SLOW,
    "the proxy failed": (
        "The proxy that HTTPS_PROXY names (HTTP_PROXY for a StsEndpoint of http://) "
        "cannot be reached or does not let the call through. Correct that variable or "
        "unset it; NO_PROXY has no effect."
    ),
    "TLS failed": (
        "There is no trusted TLS connection to {endpoint}. Look for a typo in "
        "StsEndpoint and for a wrong clock; behind a proxy that opens TLS, name a file "
        "with its CA in SSL_CERT_FILE."
    ),
    "connection refused": (
        "Nothing listens at {endpoint}. Correct host and port of StsEndpoint."
    ),
    "no route": (
        "This machine has no route to {endpoint}. Give it a way to the Internet or set "
        "HTTPS_PROXY, or inside a VPC set StsEndpoint to "
        "sts-vpc.<region>.aliyuncs.com."
    ),
    "connection failed": (
        "The connection to {endpoint} breaks off. Look for a firewall or proxy in "
        "between, and whether StsEndpoint names STS and, with http:// or https://, the "
        "right protocol."
    ),
}


def hint(
    error: StsError, call: AssumeRoleCall, owner: CallerIdentity | None = None
) -> str:
    """Return what to change and where, in a sentence or two, or "".

    *owner* is who the key pair belongs to, if that is known.
    """
    if error.code == "NoPermission":
        return denial(error, call, owner)
    account, role = account_and_role(call.role_arn)
    text = template(error).format(
        key=key_of(call),
        Key=capital(key_of(call)),
        account=account,
        role=role,
        seconds=call.duration_seconds,
        endpoint=call.endpoint,
    )
    if error.code == "EntityNotExist.Role" and owner and owner.account_id != account:
        text += f" The key is that of {named(owner)}."
    return text


def template(error: StsError) -> str:
    """Return the hint with {placeholders}, or ""."""
    if error.code == "SDK.ServerUnreachable":
        starts = UNREACHABLE_HINTS.items()
        return next((text for start, text in starts if start in error.detail), "")
    if error.code == "SDK.UnknownServerError":
        is_past = error.detail.startswith("an Expiration")
        return HINTS["InvalidTimeStamp.Expired"] if is_past else _NOT_STS
    if error.code.startswith("Throttling"):
        is_ours = error.detail.startswith("StsCallsPerSecond")
        return _THROTTLED_HERE if is_ours else _THROTTLED_BY_STS
    if error.code == "InternalError" and not error.detail.startswith("RequestId"):
        return ""  # a defect of the server, whose traceback is in the log
    return HINTS.get(error.code, "")


def key_of(call: AssumeRoleCall) -> str:
    """Return how to speak of the key that *call* is signed with."""
    if ACCESS_KEY_ID.fullmatch(call.access_key_id):
        return f"AccessKeyID {call.access_key_id}"
    if call.access_key_id:
        return "the AccessKeyID that is set"
    return "the key that the default credential chain found"


def capital(text: str) -> str:
    """Return *text* as a sentence begins."""
    return text[:1].upper() + text[1:]


def account_and_role(role_arn: str) -> tuple[str, str]:
    """Return the account and the name in the ARN of a role."""
    match = re.fullmatch(r"acs:ram::(\d+):role/(.+)", role_arn)
    return (match[1], match[2]) if match else ("", role_arn)


def denial(error: StsError, call: AssumeRoleCall, owner: CallerIdentity | None) -> str:
    """Return the hint for NoPermission, which has several causes.

    STS names the one of a policy in an AccessDeniedDetail, which not each of its
    answers has.
    """
    if "root account" in error.message or (owner and owner.identity_type == "Account"):
        return (
            f"{capital(key_of(call))} belongs to the root account, which may not "
            f"assume roles. Create a RAM user with an AccessKey pair in {USERS}, "
            f"attach {ASSUME_ROLE_POLICY} to it, and set AccessKeyID and "
            "AccessKeySecret to its pair."
        )
    account, role = account_and_role(call.role_arn)
    is_foreign = owner is not None and owner.account_id != account
    text = denial_by_policy(error.denied_by, role, owner, is_foreign)
    if is_foreign:
        text += (
            f" The role is in account {account}: look first whether RoleArn is of the "
            "right account."
        )
    return text


def denial_by_policy(
    denied_by: str, role: str, owner: CallerIdentity | None, is_foreign: bool
) -> str:
    """Return what to change in which policy, so that *owner* may assume *role*."""
    policy_type, _, kind = denied_by.partition(" ")
    caller = named(owner) or "The RAM user or role that the key belongs to"
    is_session = owner is not None and owner.identity_type == "AssumedRoleUser"
    permissions = f"{ROLES if is_session else USERS} > its name > Permissions"
    trust = f"{ROLES} > {role} > Trust Policy"
    trusted = f"acs:ram::{owner.account_id if owner else '<its account>'}:root"
    if policy_type == "ControlPolicy":
        return (
            f"{caller} is denied sts:AssumeRole by a control policy of the resource "
            "directory. Ask who manages the resource directory to allow it."
        )
    if policy_type == "SessionPolicy":
        return (
            f"{caller} runs on a temporary token whose own session policy does not "
            "allow sts:AssumeRole. Let whoever issues that token allow it."
        )
    if kind == "ExplicitDeny":
        place = trust if policy_type == "AssumeRolePolicy" else permissions
        return (
            f"{caller} is denied sts:AssumeRole on the role {role} by a statement with "
            f"Effect Deny in {place}. Remove that statement; an Allow beside it has no "
            "effect."
        )
    if policy_type == "AssumeRolePolicy":
        return (
            f"{caller} is not named by the trust policy of the role {role}. Add "
            f'"{trusted}" to Principal > RAM in {trust} > Edit Trust Policy.'
        )
    if policy_type.endswith("IdentityBasedPolicy"):
        return (
            f"{caller} may not call AssumeRole on the role {role}. Attach the policy "
            f"{ASSUME_ROLE_POLICY} to it in {permissions}, for the whole account and "
            "not for a resource group."
        )
    causes = [
        f"the policy {ASSUME_ROLE_POLICY} is not attached to it ({permissions})",
        f'the trust policy of the role {role} does not name "{trusted}" ({trust})',
    ]
    first, second = reversed(causes) if is_foreign else causes
    return (
        f"{caller} lacks one of two things, and STS does not say which. Look in this "
        f"order: 1. {first}; 2. {second}."
    )


def named(owner: CallerIdentity | None) -> str:
    """Return who a key belongs to, such as "RAM user alice of account 123"; or ""."""
    if owner is None:
        return ""
    kinds = {"RAMUser": "RAM user", "AssumedRoleUser": "RAM role", "Account": "root"}
    kind = kinds.get(owner.identity_type, owner.identity_type)
    name = owner.arn.partition("/")[2].partition("/")[0]
    return printable(f"{kind} {name} of account {owner.account_id}")[:200]


def printable(text: str) -> str:
    """Return *text* with what is not printable escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class HintLog:
    """Decides which errors of a running server get a hint in its log.

    Each code has one a minute at most.  HINTS_KEPT codes are kept apart; while they all
    had one within the last minute, others have none.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the table
        self._told_at: OrderedDict[str, float] = OrderedDict()  # by code, oldest first

    def hint(self, error: StsError, call: AssumeRoleCall) -> str:
        """Return what to log after *error*, or "" if nothing now."""
        text = hint(error, call)
        if not text:
            return ""
        now = self._clock()
        with self._lock:
            while self._told_at:
                code, told_at = next(iter(self._told_at.items()))
                if now - told_at < HINT_PAUSE_SECONDS:
                    break
                del self._told_at[code]
            if error.code in self._told_at or len(self._told_at) >= HINTS_KEPT:
                return ""
            self._told_at[error.code] = now
        return text


# --- Probe of the endpoint ------------------------------------------------------


class Answer(NamedTuple):
    """What a plain GET of the endpoint found out."""

    connect_seconds: float  # name, connection and TLS
    answer_seconds: float  # from the request to the head of the answer
    status: int
    clock_offset_seconds: float | None  # of our clock; negative when it is behind


class Unanswered(Exception):
    """The GET had no answer, for the reason that is its text."""


class Unmeasured(Exception):
    """The GET cannot be made here, for the reason that is its text."""


def probe(call: AssumeRoleCall, clock: Callable[[], float]) -> Answer:
    """Return what a GET of the endpoint found out, PROBE_SECONDS later at most.

    It goes through the proxy that the SDK would use.  Raises Unanswered, Unmeasured.
    """
    proxy = proxy_of(call.protocol)
    if proxy and proxy.scheme != "http":
        raise Unmeasured(f"not measured through a proxy of {proxy.scheme}://")
    try:
        return within(PROBE_SECONDS, lambda: exchange(call, proxy, clock))
    except (OSError, http.client.HTTPException, ValueError, FutureTimeoutError) as e:
        through = f" (through the proxy at {host_port(proxy)})" if proxy else ""
        raise Unanswered(f"{reason_of(e)}{through}") from None


def proxy_of(protocol: str) -> SplitResult | None:
    """Return the proxy that the SDK uses: it reads these variables and no NO_PROXY.

    Raises Unanswered.
    """
    name = f"{protocol}_proxy"
    value = os.environ.get(name.upper()) or os.environ.get(name)
    if not value:
        return None
    try:
        proxy = urlsplit(value if "://" in value else f"http://{value}")
        is_right = bool(proxy.hostname) and (proxy.port or 80) > 0
    except ValueError:
        is_right = False
    if not is_right:
        raise Unanswered(f"{name.upper()} is no URL of a proxy")
    return proxy


def host_port(proxy: SplitResult) -> str:
    """Return where a proxy is, without the user and password in its URL."""
    host = proxy.hostname or ""
    return f"{f'[{host}]' if ':' in host else host}:{proxy.port or 80}"


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what *work* returns.  Raises TimeoutError after *seconds*.

    A thread of its own, as no timeout ends the look-up of a name, and those of a socket
    begin anew with each byte.
    """
    outcome: Future[T] = Future()

    def settle() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=settle, daemon=True).start()
    return outcome.result(seconds)


def exchange(
    call: AssumeRoleCall, proxy: SplitResult | None, clock: Callable[[], float]
) -> Answer:
    """Return what a GET of the endpoint finds out."""
    connection, target, fields = connection_to(call, proxy)
    begun = time.monotonic()
    with contextlib.closing(connection):
        connection.connect()
        connected, sent_at = time.monotonic(), clock()
        fields |= {"Accept": "application/json", "Connection": "close"}
        connection.request("GET", target, headers=fields)
        with connection.getresponse() as response:
            answer_seconds = time.monotonic() - connected
            offset = clock_offset(
                response.getheader("Date", ""), sent_at + answer_seconds / 2
            )
            return Answer(connected - begun, answer_seconds, response.status, offset)


def connection_to(
    call: AssumeRoleCall, proxy: SplitResult | None
) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """Return a connection that is not yet made, a request target and header fields."""
    first = host_port(proxy) if proxy else call.endpoint
    fields = proxy_authorization(proxy) if proxy else {}
    if call.protocol == "http":
        plain = http.client.HTTPConnection(first, timeout=PROBE_SECONDS)
        return plain, f"http://{call.endpoint}/" if proxy else "/", fields
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError):  # the SDK trusts these as well
        import certifi

        context.load_verify_locations(certifi.where())
    secure = http.client.HTTPSConnection(first, timeout=PROBE_SECONDS, context=context)
    if proxy:
        secure.set_tunnel(call.endpoint, headers=fields)
    return secure, "/", {}


def proxy_authorization(proxy: SplitResult) -> dict[str, str]:
    """Return the header field for the user that the URL of a proxy names, if any."""
    if not proxy.username:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def clock_offset(date: str | None, now: float) -> float | None:
    """Return how many seconds *now* is after the *date* of an HTTP reply, or None.

    The date has whole seconds, the rest of which is cut off.
    """
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return now - (moment.timestamp() + 0.5)


def reason_of(error: Exception) -> str:
    """Return why there was no answer, in the words of the log where it has them."""
    if isinstance(error, (TimeoutError, FutureTimeoutError)):
        return f"no answer within {PROBE_SECONDS:g} s"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "its name is not known"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionError):
        return "the connection was closed without an answer"
    if isinstance(error, http.client.HTTPException):
        return "what answers is not HTTP"
    number = getattr(error, "errno", None)
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "no route to it"
    tunnel = re.match(r"Tunnel connection failed: (\d{3})", str(error))
    return f"HTTP {tunnel[1]}" if tunnel else "connection failed"


# --- Diagnosis ------------------------------------------------------------------

OK, WARNING, PROBLEM = "ok", "warning", "problem"


class Sample(NamedTuple):
    """A grant as a sample user would have it: its path, and the call for its token."""

    path: str
    call: AssumeRoleCall


class Finding(NamedTuple):
    """What one probe found, and what to do about it."""

    level: str  # OK, WARNING or PROBLEM
    text: str
    remedy: str = ""


def diagnose(
    grants: Sequence[Sample],
    sts: StsClient,
    clock: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """Probe the endpoint and call AssumeRole for each grant; yield what is found.

    Calls that differ in nothing but their session name are made once.  When one fails
    for a reason that is not its grant's, it is not made for the other grants of that
    endpoint and key pair.
    """
    offsets: dict[tuple[str, str], float | None] = {}  # of our clock, by endpoint
    for _, call in grants:
        if (call.protocol, call.endpoint) not in offsets:
            offset, findings = look_at_endpoint(call, clock)
            offsets[call.protocol, call.endpoint] = offset
            yield from findings
    failures: dict[tuple[str, str], list[str]] = {}  # paths by error and remedy
    details: dict[tuple[str, str], str] = {}  # of the first of each
    hopeless: dict[tuple[str, ...], list[str]] = {}  # paths by endpoint and key
    for call, paths in distinct(grants):
        place = (call.protocol, call.endpoint, call.access_key_id)
        if place in hopeless:
            hopeless[place] += paths
            continue
        offset = offsets[call.protocol, call.endpoint]
        begun = time.monotonic()
        try:
            credentials = sts.assume_role(call)
        except StsError as error:
            remedy = remedy_for(error, call, sts, offset)
            failure = (": ".join(filter(None, (error.code, error.message))), remedy)
            details.setdefault(failure, error.detail)
            failed = failures.setdefault(failure, [])
            failed += paths
            if not concerns_grant(error):
                hopeless[place] = failed
        else:
            took = f"AssumeRole for {listed(paths)}: {ms(time.monotonic() - begun)}"
            yield look_at_token(credentials, call, took, clock() - (offset or 0.0))
    for failure, failed in failures.items():
        text = f"AssumeRole for {listed(failed)}: {failure[0]} ({details[failure]})"
        yield Finding(PROBLEM, text, failure[1])


def distinct(
    grants: Sequence[Sample],
) -> list[tuple[AssumeRoleCall, list[str]]]:
    """Return each call that differs in more than its session name, with its paths."""
    found: dict[AssumeRoleCall, tuple[AssumeRoleCall, list[str]]] = {}
    for path, call in grants:
        key = replace(call, role_session_name="")
        found.setdefault(key, (call, []))[1].append(path)
    return list(found.values())


def concerns_grant(error: StsError) -> bool:
    """Return whether another role, duration or policy could mend *error*."""
    kinds = ("NoPermission", "EntityNotExist", "InvalidParameter")
    return error.code.startswith(kinds)


def remedy_for(
    error: StsError, call: AssumeRoleCall, sts: StsClient, offset: float | None
) -> str:
    """Return what to do about *error*.

    Where that depends on whose key it is, STS is asked.
    """
    if error.code == "InvalidTimeStamp.Expired" and offset is not None:
        return clock_remedy(offset) or hint(error, call)
    if error.code not in ("NoPermission", "EntityNotExist.Role"):
        return hint(error, call)
    try:
        return hint(error, call, sts.caller_identity(call))
    except StsError:
        return hint(error, call)


def look_at_endpoint(
    call: AssumeRoleCall, clock: Callable[[], float]
) -> tuple[float | None, list[Finding]]:
    """Return how far our clock is off, if that is known, and what was found."""
    url = f"endpoint {call.protocol}://{call.endpoint}"
    try:
        answer = probe(call, clock)
    except Unanswered as unanswered:  # what to do follows from AssumeRole
        return None, [Finding(PROBLEM, f"{url}: {unanswered}")]
    except Unmeasured as unmeasured:
        return None, [Finding(WARNING, f"{url}: {unmeasured}")]
    connected, answered = ms(answer.connect_seconds), ms(answer.answer_seconds)
    text = (
        f"{url}: connected in {connected}, answered in {answered} (HTTP "
        f"{answer.status})"
    )
    finding = Finding(OK, text)
    if answer.connect_seconds + answer.answer_seconds > SLOW_SECONDS:
        finding = Finding(
            WARNING,
            f"{text}, which is slow",
            f"{call.endpoint} is slow from here. Set StsEndpoint to {NEARER}.",
        )
    return answer.clock_offset_seconds, [finding, look_at_clock(answer)]


def look_at_clock(answer: Answer) -> Finding:
    """Return how our clock compares with that of STS."""
    offset = answer.clock_offset_seconds
    if offset is None:
        return Finding(WARNING, "clock: not compared, as the answer has no Date")
    if abs(offset) <= CLOCK_WARNING_SECONDS:
        return Finding(OK, f"clock: within {CLOCK_WARNING_SECONDS:g} s of that of STS")
    level = PROBLEM if abs(offset) > CLOCK_LIMIT_SECONDS else WARNING
    return Finding(level, f"clock: {off(offset)} that of STS", clock_remedy(offset))


def clock_remedy(offset: float) -> str:
    """Return what to do about a clock that is *offset* seconds ahead, or ""."""
    if abs(offset) <= CLOCK_WARNING_SECONDS:
        return ""
    return (
        f"The clock of this machine is {off(offset)} that of STS, which refuses more "
        f"than {span(CLOCK_LIMIT_SECONDS)}. Have it set by NTP, such as with chrony or "
        "timedatectl set-ntp true."
    )


def look_at_token(
    credentials: Credentials, call: AssumeRoleCall, took: str, now: float
) -> Finding:
    """Return whether a token that was just issued lasts as long as was asked for.

    *now* is by the clock of STS.
    """
    expiration = datetime.strptime(credentials.expiration, "%Y-%m-%dT%H:%M:%SZ")
    left = expiration.replace(tzinfo=timezone.utc).timestamp() - now
    text = f"{took}, token {credentials.access_key_id} until {credentials.expiration}"
    if abs(left - call.duration_seconds) <= EXPIRATION_TOLERANCE_SECONDS:
        return Finding(OK, text)
    level = PROBLEM if left < USELESS_SECONDS else WARNING
    remedy = (
        f"The token is valid for {span(max(0.0, left))} instead of the "
        f"{call.duration_seconds} s of TokenExpireTime. Look whether StsEndpoint "
        "names STS, and at the clock of this machine."
    )
    return Finding(level, text, remedy)


def listed(paths: Sequence[str]) -> str:
    """Return the first of *paths*, and how many more there are."""
    shown = ", ".join(paths[:5])
    return shown if len(paths) <= 5 else f"{shown} and {len(paths) - 5} more"


def ms(seconds: float) -> str:
    """Return a short time in milliseconds."""
    return f"{seconds * 1000:.0f} ms"


def span(seconds: float) -> str:
    """Return a time in its largest unit that makes two of it."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def off(offset: float) -> str:
    """Return by how much and in which direction a clock is off."""
    return f"{span(abs(offset))} {'ahead of' if offset > 0 else 'behind'}"


# --- Report ---------------------------------------------------------------------


def run_check(
    settings: Mapping[str, str],
    grants: Sequence[Sample],
    warnings: Sequence[str],
    sts: StsClient,
    clock: Callable[[], float] = time.time,
    epilogue: Sequence[str] = (),
) -> int:
    """Print what is set and what is wrong; return 0 if each grant got a token, else 1.

    *settings* are names and the values to show, *epilogue* lines that follow all else.
    """
    show("Settings")
    width = max(map(len, settings), default=0)
    for name, value in settings.items():
        show(f"  {name:{width}}  {masked(name, value)}")
    for path, call in grants:
        show(f"\nGrant {path}: {call.role_arn}, {call.duration_seconds} s")
        for line in policy_lines(call.policy):
            show(f"  {line}")
    if warnings:
        show("\nWarnings")
    for warning in warnings:
        show(f"  {warning}")
    show("\nProbes")
    findings = []
    for finding in diagnose(grants, sts, clock):
        show(f"  {finding.level:7}  {printable(finding.text)}")
        findings.append(finding)
    remedies = dict.fromkeys(finding.remedy for finding in findings if finding.remedy)
    if remedies:
        show("\nWhat to do")
    for remedy in remedies:
        show(f"  - {printable(remedy)}")
    calls = [found for found in findings if found.text.startswith("AssumeRole")]
    is_right = bool(calls) and all(found.level != PROBLEM for found in calls)
    show(f"\n{'Each grant gets a token.' if is_right else 'There are problems.'}")
    for line in epilogue:
        show(line)
    return 0 if is_right else 1


def how_to_end(user: str, grants: Collection[Grant]) -> list[str]:
    """Return lines on how to end what the tokens of *user* can do."""
    denials: list[Any] = []
    for grant in grants:
        denials += [d for d in grant.own_statements(user) if d not in denials]
    lines = ["", f"To shut out {printable(user)}"]
    lines += ["  Name the user in the file of DeniedUsersFile: that ends new tokens."]
    if not denials:
        return [
            *lines,
            "  What the tokens given before can do is not this user's alone, so no "
            "policy ends it for one user. They expire by themselves.",
        ]
    role = account_and_role(next(iter(grants)).call.role_arn)[1]
    lasting = span(max(grant.call.duration_seconds for grant in grants))
    policy = json.dumps({"Version": "1", "Statement": denials}, ensure_ascii=False)
    lines.append(
        f"  For {lasting}, until the tokens given before have expired, attach this "
        f"policy to the role ({ROLES} > {role} > Permissions):"
    )
    return lines + [f"    {line}" for line in policy_lines(policy)]


def masked(name: str, value: str) -> str:
    """Return *value* as it may be shown: of a secret only whether it is set."""
    if name.endswith("AccessKeySecret") and value not in ("", "set", "not set"):
        return "set"
    return printable(value)


def policy_lines(policy: str | None) -> list[str]:
    """Return a session policy, indented, or what it means that there is none."""
    if policy is None:
        return ["no session policy: a token may do everything that the role may do"]
    return json.dumps(json.loads(policy), indent=2, ensure_ascii=False).splitlines()


def show(line: str) -> None:
    """Print *line*, with escapes for what stdout has no characters for."""
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
