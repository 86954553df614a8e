"""A stand-in for STS on loopback, for the demo, the tests and the benchmarks.

    with StsStandIn() as sts:
        user, role = sts.add_user(), sts.add_role()
        ...  # a client of sts.endpoint with the key pair of user may assume role.arn

It is a real HTTP server and refuses what STS refuses: a call must carry a signature
that its own arithmetic confirms (style ACS3, which is V3, or style RPC, which is V1),
a time within 15 minutes of its clock and a nonce not seen before, all from a key that
is known, enabled, and allowed to assume a role that trusts its owner.  It remembers
what it was asked and what it issued, and can be told to throttle, fail or misbehave.

It imitates AssumeRole and GetCallerIdentity.  It does not imitate, and answers with
501: other actions, MFA, unknown or repeated parameters and headers, signatures of a
SignatureType, a JSON body in RPC style, a body without Content-Length, and role
chaining by a token that has a session policy.
What else differs: no TLS; roles trust ARNs, without conditions; all callers share one
quota; an empty parameter counts as absent; the grammar of a policy is as strict as in
localcloud.ram; and which of several errors is reported is ours where the documentation
gives no order.

Sources: "AssumeRole", "GetCallerIdentity" and "Signature method" (RPC style) in the
STS documentation, "V3 request structure and signature", the tables of common errors,
and for AccessDeniedDetail "How do I troubleshoot an access denied error?" in RAM's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import socket
import struct
import threading
import time
import uuid
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.client import responses
from typing import Any
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape

from localcloud import ram
from localcloud.loopback import LoopbackHandler, LoopbackServer

# --- Constants ------------------------------------------------------------------

API_VERSION = "2015-04-01"
MAX_CLOCK_SKEW_SECONDS = 15 * 60

# What is remembered.  Of too many the oldest are forgotten.
NONCE_SECONDS = 30 * 60  # later, its timestamp betrays a replay
NONCES_KEPT = 100_000
EXPIRED_KEPT_SECONDS = 3600  # a late user hears that a token expired
TOKENS_KEPT = 20_000
REQUESTS_KEPT = 10_000

# AssumeRole.  "CreateRole" allows no underscore in the name of a role, ROS's page does.
MIN_DURATION_SECONDS = 900
DEFAULT_DURATION_SECONDS = 3600
MAX_POLICY_BYTES = 2048  # the page says characters, its error text bytes
ASSUME_ROLE_PARAMETERS = {
    "RoleArn": re.compile(r"acs:ram::[0-9]+:role/[A-Za-z0-9._-]{1,64}"),
    "RoleSessionName": re.compile(r"[A-Za-z0-9.@_-]{2,64}"),
    "DurationSeconds": re.compile(r"[0-9]{1,9}"),
    "Policy": re.compile(r".*", re.DOTALL),
    "ExternalId": re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}"),
    "SourceIdentity": re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}"),
}
ACTIONS: Mapping[str, Collection[str]] = {  # and the names of their parameters
    "AssumeRole": ASSUME_ROLE_PARAMETERS,
    "GetCallerIdentity": (),
}
OTHER_ACTIONS = ("AssumeRoleWithOIDC", "AssumeRoleWithSAML")

ALLOW_ALL = (
    '{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
)

# The common parameters.  In ACS3 style, headers stand for them.
_BOTH = [
    "Action",
    "AccessKeyId",
    "Signature",
    "SignatureMethod",
    "Timestamp",
    "Version",
]
MANDATORY = {
    "ACS3": [*_BOTH, "SignedHeaders"],
    "RPC": [*_BOTH, "SignatureNonce", "SignatureVersion"],
}
OPTIONAL = {"Format", "SecurityToken", "RegionId", "SignatureType"}
COMMON = {*MANDATORY["RPC"], *OPTIONAL}
SIGNATURE_METHODS = {  # and SignatureVersion
    "ACS3": ("ACS3-HMAC-SHA256", None),
    "RPC": ("HMAC-SHA1", "1.0"),
}
ACS3_HEADERS = {
    "x-acs-action": "Action",
    "x-acs-version": "Version",
    "x-acs-date": "Timestamp",
    "x-acs-signature-nonce": "SignatureNonce",
    "x-acs-security-token": "SecurityToken",
}
ACS3_AUTHORIZATION = re.compile(
    r"(?P<SignatureMethod>\S+) Credential=(?P<AccessKeyId>[^\s,]+), ?"
    r"SignedHeaders=(?P<SignedHeaders>[^\s,]+), ?Signature=(?P<Signature>[^\s,]+)"
)
TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", re.ASCII)
CONTENT_LENGTH = re.compile(r"[0-9]{1,6}")  # up to 1 MB, ours
NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
SINGLE_HEADERS = {"authorization", "content-length", "content-type", "host"}
FORM, JSON = "application/x-www-form-urlencoded", "application/json"

# HTTP status, Code and Message.  No page gives the Message of InvalidSignatureMethod;
# pages differ on the status of InvalidAccessKeyId.NotFound (404 or 400) and of
# UnsupportedHTTPMethod (405, 403 or 400).
ERROR_TABLE = """\
404 EntityNotExist.Role The specified Role not exists .
400 IncompleteSignature The request signature does not conform to Aliyun standards.
500 InternalError STS Server Internal Error happened, please send the RequestId to us.
400 InvalidAccessKeyId.Inactive Specified access key is disabled.
404 InvalidAccessKeyId.NotFound Specified access key is not found.
404 InvalidAction.NotFound Specified api is not found, please check your url and method.
400 InvalidParameter.ContentType The ContentType request header must be either \
"application/json" or "application/x-www-form-urlencoded".
400 InvalidParameter.DurationSeconds The Min/Max value of DurationSeconds is 15min/1hr.
400 InvalidParameter.PolicyGrammar The parameter Policy has not passed grammar check.
400 InvalidParameter.PolicySize The size of Policy must be smaller than 2048 bytes.
400 InvalidSecurityToken.Expired Specified SecurityToken is expired.
400 InvalidSecurityToken.Malformed Specified SecurityToken is malformed.
400 InvalidSecurityToken.MismatchWithAccessKey \
Specified SecurityToken mismatch with the AccessKey.
400 InvalidSignatureMethod Specified signature method is not valid.
400 InvalidTimeStamp.Expired Specified time stamp or date value is expired.
400 InvalidTimeStamp.Format Specified time stamp or date value is not well formatted.
400 InvalidVersion Specified parameter Version is not valid.
403 NoPermission You are not authorized to do this action. \
You should be authorized by RAM.
503 ServiceUnavailable The request has failed due to a temporary failure of the server.
400 SignatureNonceUsed Specified signature nonce was used already.
400 Throttling Request was denied due to request throttling.
400 Throttling.Api Request was denied due to api flow control.
400 Throttling.User Request was denied due to user flow control.
405 UnsupportedHTTPMethod This http method is not supported.
"""
ERRORS = {
    code: (int(status), message)
    for status, code, message in (
        line.split(maxsplit=2) for line in ERROR_TABLE.splitlines()
    )
}


class Refused(Exception):
    """An error reply.  What is left out is as in ERRORS, an unknown status is 400."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        status: int | None = None,
        denied: Mapping[str, str] | None = None,  # the AccessDeniedDetail
    ) -> None:
        super().__init__(code)
        usual_status, usual_message = ERRORS.get(code, (400, ""))
        self.code = code
        self.message = usual_message if message is None else message
        self.status = usual_status if status is None else status
        self.denied = denied


def missing(name: str) -> Refused:
    return Refused(f"Missing{name}", f"{name} is mandatory for this action.")


def wrongly_formed(name: str) -> Refused:
    code = f"InvalidParameter.{name}"
    message = None if code in ERRORS else f"The parameter {name} is wrongly formed."
    return Refused(code, message)


def not_imitated(what: str) -> Refused:
    """Return the loud error for what STS may know and this stand-in does not."""
    return Refused("NotImitated", f"The STS stand-in does not imitate {what}.", 501)


# --- Signatures -----------------------------------------------------------------


def canonical_query(params: Iterable[tuple[str, str]]) -> str:
    """Return *params* sorted and percent-encoded as in RFC 3986 (a space is %20)."""
    encoded = [(quote(name, safe=""), quote(value, safe="")) for name, value in params]
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def rpc_string_to_sign(method: str, params: Iterable[tuple[str, str]]) -> str:
    """Return what an RPC call signs: all of *params* but the Signature itself."""
    signed = [(name, value) for name, value in params if name != "Signature"]
    return f"{method}&%2F&{quote(canonical_query(signed), safe='')}"


def rpc_signature(access_key_secret: str, string_to_sign: str) -> str:
    """Return the Signature of an RPC call with SignatureMethod HMAC-SHA1."""
    key = f"{access_key_secret}&".encode()
    return base64.b64encode(hmac.digest(key, string_to_sign.encode(), "sha1")).decode()


def acs3_string_to_sign(
    method: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    signed_headers: str,
    body_hash: str,
) -> str:
    """Return what an ACS3 call signs; *signed_headers* is host;x-acs-action;…"""
    lines = [f"{n}:{headers.get(n, '').strip()}\n" for n in signed_headers.split(";")]
    canonical_request = "\n".join(
        [method, "/", canonical_query(query), "".join(lines), signed_headers, body_hash]
    )
    return f"ACS3-HMAC-SHA256\n{sha256(canonical_request.encode())}"


def acs3_signature(access_key_secret: str, string_to_sign: str) -> str:
    """Return the Signature of an ACS3 call, whose key is the secret as it is."""
    key = access_key_secret.encode()
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- A request, taken apart -----------------------------------------------------


@dataclass(frozen=True)
class Request:
    """One request as it was received; what it does not say is an empty string.

    *params* are those of the action, from query, form or JSON body.  *headers* have
    lower-case names.  *received_at* is in unix seconds.
    """

    received_at: float
    signature_style: str  # ACS3 or RPC
    action: str
    params: Mapping[str, str]
    access_key_id: str
    security_token: str = field(repr=False)
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    query: list[tuple[str, str]] = field(repr=False)
    form: list[tuple[str, str]] = field(repr=False)  # or the members of a JSON body
    common: Mapping[str, str] = field(repr=False)  # ACS3's headers by their RPC names


def read_request(
    method: str, target: str, headers: Mapping[str, str], body: bytes, now: float
) -> Request:
    """Return the request taken apart; it is recorded before anything is checked."""
    path, _, query_string = target.partition("?")
    query = parse_qsl(query_string, keep_blank_values=True)
    form = body_params(headers, body)
    params = dict(query + form)
    common = {n: params.pop(n) for n in COMMON & params.keys()}
    style = "RPC"
    if "authorization" in headers or (
        "x-acs-action" in headers and "Signature" not in common
    ):
        style = "ACS3"
        common |= {ACS3_HEADERS[n]: headers[n] for n in ACS3_HEADERS.keys() & headers}
        authorization = ACS3_AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        common |= authorization.groupdict() if authorization else {}
    return Request(
        received_at=now,
        signature_style=style,
        action=common.get("Action", ""),
        params=params,
        access_key_id=common.get("AccessKeyId", ""),
        security_token=common.get("SecurityToken", ""),
        method=method,
        path=path,
        headers=headers,
        body=body,
        query=query,
        form=form,
        common=common,
    )


def body_params(headers: Mapping[str, str], body: bytes) -> list[tuple[str, str]]:
    """Return the parameters in a form or JSON body, where a value may be JSON."""
    if media_type(headers) == FORM:
        return parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
    members = parse_json(body) if media_type(headers) == JSON else None
    if not isinstance(members, dict):
        return []
    return [(k, v if isinstance(v, str) else json.dumps(v)) for k, v in members.items()]


def is_single(name: str) -> bool:
    """Tell whether a header decides what a call means, so that there may be but one."""
    return name in SINGLE_HEADERS or name.startswith("x-acs-")


def media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def parse_json(text: str | bytes) -> Any:
    """Return the value of *text*, or None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# --- Who calls ------------------------------------------------------------------


@dataclass(frozen=True)
class IssuedToken:
    """What AssumeRole handed out, and for whom.  *expiration* is in unix seconds."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(repr=False)
    expiration: int
    policy: str | None  # the session policy
    role_arn: str
    role_session_name: str


@dataclass(frozen=True)
class Role:
    """A RAM role.  It trusts users, roles and accounts (…:root) by their ARN."""

    arn: str
    max_session_duration_seconds: int
    trusted: Collection[str]
    may_assume: Collection[str] | None  # ARNs of roles; None means any
    policies: Collection[ram.Policy]  # what it may do elsewhere, such as in OSS


@dataclass(frozen=True)
class Caller:
    """The owner of a key pair: a RAM user, an account (…:root) or an assumed role."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    arn: str
    is_enabled: bool = True
    may_assume: Collection[str] | None = None  # ARNs of roles; None means any
    policies: Collection[ram.Policy] = ()  # what it may do elsewhere, such as in OSS
    session: IssuedToken | None = None  # of an assumed role


def root_of(arn: str) -> str:
    """Return the ARN of the account that *arn* belongs to."""
    return ":".join([*arn.split(":")[:4], "root"])


def entity_id(arn: str) -> str:
    """Return the digits that stand for *arn*; those of an account are in its ARN."""
    if arn == root_of(arn):
        return arn.split(":")[3]
    return str(int(sha256(arn.encode()), 16))[:18]


def identity(caller: Caller) -> dict[str, str]:
    """Return what GetCallerIdentity replies."""
    own_id, root = entity_id(caller.arn), root_of(caller.arn)
    document = {"AccountId": entity_id(root), "Arn": caller.arn, "PrincipalId": own_id}
    if caller.session is None:
        kind = "Account" if caller.arn == root else "RAMUser"
        return {**document, "IdentityType": kind, "UserId": own_id}
    session_name = caller.session.role_session_name
    return {
        **document,
        "Arn": f"{caller.arn}/{session_name}",
        "PrincipalId": f"{own_id}:{session_name}",
        "IdentityType": "AssumedRoleUser",
        "RoleId": own_id,
    }


def not_permitted(caller: Caller, policy_type: str) -> Refused:
    """Return the error for an AssumeRole that no policy of *policy_type* allows.

    AccountLevelIdentityBasedPolicy is one of the caller's own, AssumeRolePolicy the
    trust policy of the role.
    """
    who = identity(caller)
    is_user = caller.session is None
    detail = {
        "PolicyType": policy_type,
        "AuthPrincipalOwnerId": who["AccountId"],
        "AuthPrincipalType": "SubUser" if is_user else "AssumedRoleUser",
        "AuthPrincipalDisplayName": who["UserId"]
        if is_user
        else who["Arn"].split(":role/")[1].replace("/", ":"),
        "NoPermissionType": "ImplicitDeny",
        "AuthAction": "sts:AssumeRole",
        "EncodedDiagnosticMessage": base64.b64encode(secrets.token_bytes(60)).decode(),
    }
    return Refused("NoPermission", denied=detail)


# --- What nobody may ask --------------------------------------------------------


def check_request(request: Request) -> None:
    """Raise Refused for what STS, or this stand-in, answers to nobody."""
    style, common = request.signature_style, request.common
    kind = media_type(request.headers) if request.body else FORM
    names = [name for name, _ in request.query + request.form]
    if request.method not in ("GET", "POST"):
        raise Refused("UnsupportedHTTPMethod")
    if request.path != "/":
        raise Refused("InvalidAction.NotFound")
    if kind not in (FORM, JSON):
        raise Refused("InvalidParameter.ContentType")
    if (style, kind) == ("RPC", JSON):
        raise not_imitated("a JSON body in RPC style")
    if request.action in OTHER_ACTIONS:
        raise not_imitated(request.action)
    if common.get("SignatureType"):  # a key pair has an empty one, in many SDKs
        raise not_imitated(f"SignatureType {common['SignatureType']}")
    for name in MANDATORY[style]:
        if not common.get(name):
            raise missing(name) if style == "RPC" else Refused("IncompleteSignature")
    for name, value in request.query + request.form if style == "ACS3" else ():
        if common.get(name, value) != value:
            message = f"The parameter {name} is not that of the headers."
            raise Refused(f"InvalidParameter.{name}", message)
    if common["Version"] != API_VERSION:
        raise Refused("InvalidVersion")
    if request.action not in ACTIONS:
        raise Refused("InvalidAction.NotFound")
    method = common["SignatureMethod"], common.get("SignatureVersion")
    if method != SIGNATURE_METHODS[style]:
        raise Refused("InvalidSignatureMethod")
    if common.get("Format", "").upper() not in ("", "JSON", "XML"):
        raise wrongly_formed("Format")
    if len(names) > len(set(names)):
        raise not_imitated("repeated parameters")
    unknown = request.params.keys() - set(ACTIONS[request.action])
    if unknown:
        raise not_imitated(f"{request.action} with {', '.join(sorted(unknown))}")


def check_timestamp(text: str, now: float) -> None:
    """Raise Refused unless *text* is a time, maybe with a fraction, close to *now*."""
    parts = TIMESTAMP.fullmatch(text)
    try:
        moment = datetime.fromisoformat(f"{parts[1] if parts else ''}+00:00")
    except ValueError:
        raise Refused("InvalidTimeStamp.Format") from None
    if abs(moment.timestamp() - now) > MAX_CLOCK_SKEW_SECONDS:
        raise Refused("InvalidTimeStamp.Expired")


def check_signature(request: Request, access_key_secret: str) -> None:
    """Raise Refused unless *request* was signed, as it is, with *access_key_secret*."""
    common, headers = request.common, request.headers
    is_body_as_signed = True
    if request.signature_style == "RPC":
        params = request.query + request.form
        string_to_sign = rpc_string_to_sign(request.method, params)
        signature = rpc_signature(access_key_secret, string_to_sign)
    else:
        # The page: common headers that are present must be signed, and SignedHeaders
        # are in lower case and in alphabetical order.
        signed_headers, body_hash = common["SignedHeaders"], sha256(request.body)
        names = signed_headers.split(";")
        is_in_order = names == sorted({name.lower() for name in names if name})
        must_be_signed = {"host", "x-acs-content-sha256"}
        must_be_signed |= {name for name in headers if name.startswith("x-acs-")}
        if not is_in_order or not must_be_signed <= set(names):
            raise Refused("IncompleteSignature")
        string_to_sign = acs3_string_to_sign(
            request.method, request.query, headers, signed_headers, body_hash
        )
        signature = acs3_signature(access_key_secret, string_to_sign)
        is_body_as_signed = headers.get("x-acs-content-sha256") == body_hash
    given = common["Signature"].encode()
    if not (is_body_as_signed and hmac.compare_digest(signature.encode(), given)):
        raise Refused(
            "SignatureDoesNotMatch",
            "Specified signature is not matched with our calculation."
            f" server string to sign is:{string_to_sign}",
        )


def check_parameters(params: Mapping[str, str]) -> None:
    """Raise Refused unless *params* are as the page "AssumeRole" has them."""
    for name in ("RoleArn", "RoleSessionName"):
        if not params.get(name):
            raise missing(name)
    for name, value in params.items():
        if value and not ASSUME_ROLE_PARAMETERS[name].fullmatch(value):
            raise wrongly_formed(name)
    policy = params.get("Policy", "")
    if len(policy.encode(errors="replace")) > MAX_POLICY_BYTES:
        raise Refused("InvalidParameter.PolicySize")
    if policy:
        try:
            ram.parse(policy)
        except ram.PolicyGrammarError:
            raise Refused("InvalidParameter.PolicyGrammar") from None


# --- How a call may be answered -------------------------------------------------


@dataclass(frozen=True)
class Fail:
    """An error document; message and status are the documented ones if not given."""

    code: str
    message: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """Just this, sense or nonsense; *headers* replace those that are usual.

    With Connection: close among them the connection is closed afterwards.
    """

    status: int
    body: bytes
    content_type: str = "application/json;charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """Nothing until script() or always() is called again, then the usual answer."""


@dataclass(frozen=True)
class Drip:
    """The usual answer, its status line, headers and body a byte at a time.

    What is left is sent at once when *released* is set.
    """

    seconds_per_byte: float
    released: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Close:
    """No reply: the connection is closed."""


@dataclass(frozen=True)
class Reset:
    """No reply: the connection is reset."""


Behaviour = Fail | Reply | Hang | Drip | Close | Reset

# --- The stand-in ---------------------------------------------------------------


class StsStandIn:
    """STS on 127.0.0.1 for as long as a with block lasts; port 0 is any free one.

    *clock* returns unix seconds.  Calls beyond *calls_per_second* are throttled, and
    replies are sent *latency_seconds* late.  With *says_what_denied* a NoPermission has
    an AccessDeniedDetail, which not every reply of the cloud has.  Requests may be made
    from any thread.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        clock: Callable[[], float] = time.time,
        calls_per_second: int | None = None,
        latency_seconds: float = 0.0,
        says_what_denied: bool = True,
    ) -> None:
        self.port = port
        self.clock = clock
        self.calls_per_second = calls_per_second
        self.latency_seconds = latency_seconds
        self.says_what_denied = says_what_denied
        self.closing = threading.Event()
        self._changed = threading.Condition()  # guards all below, and tells of changes
        self._users: dict[str, Caller] = {}  # by AccessKeyId
        self._roles: dict[str, Role] = {}  # by ARN
        self._tokens: OrderedDict[str, IssuedToken] = OrderedDict()  # by SecurityToken
        self._nonces: OrderedDict[tuple[str, str], float] = OrderedDict()  # when seen
        self._admitted: deque[float] = deque()  # when, during the last second
        self._requests: deque[Request] = deque(maxlen=REQUESTS_KEPT)
        self._received = 0  # since clear()
        self._script: deque[Behaviour | None] = deque()
        self._always: Behaviour | None = None
        self._times_told = 0  # how to answer
        self._holders = 0

    def __enter__(self) -> StsStandIn:
        self._server = LoopbackServer(self.port, _Handler, self)
        self.port = self._server.port
        self.endpoint = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.endpoint}"
        self._server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End every call at once."""
        with self._changed:
            self.closing.set()
            self._changed.notify_all()
        self._server.close()

    def add_user(
        self,
        access_key_id: str = "LTAI5tExampleAppServer",
        access_key_secret: str = "ExampleSecretOfTheAppServer",
        *,
        arn: str = "acs:ram::1234567890123456:user/app-server",
        is_enabled: bool = True,
        may_assume: Collection[str] | None = None,
        policies: Collection[str] = (),
    ) -> Caller:
        """Add the owner of a key pair, or replace it.

        An *arn* that ends in :root makes it the account itself.  *may_assume* are ARNs
        of roles; None means any, as the system policy AliyunSTSAssumeRoleAccess does.
        *policies* say in JSON what else it may do; by default nothing.
        """
        user = Caller(
            access_key_id,
            access_key_secret,
            arn,
            is_enabled,
            may_assume,
            [ram.parse(policy) for policy in policies],
        )
        with self._changed:
            self._users[access_key_id] = user
        return user

    def add_role(
        self,
        arn: str = "acs:ram::1234567890123456:role/app",
        *,
        max_session_duration_seconds: int = 3600,
        trusted: Collection[str] | None = None,
        may_assume: Collection[str] | None = (),
        policies: Collection[str] = (ALLOW_ALL,),
    ) -> Role:
        """Add a role, or replace it.  By default it trusts all of its account.

        *trusted* are ARNs of users, roles and accounts.  *may_assume* is for role
        chaining, and as in add_user(), and so are *policies*; by default it may do all.
        """
        trusted = (root_of(arn),) if trusted is None else trusted
        role = Role(
            arn,
            max_session_duration_seconds,
            trusted,
            may_assume,
            [ram.parse(policy) for policy in policies],
        )
        with self._changed:
            self._roles[arn] = role
        return role

    def issued(self, security_token: str) -> IssuedToken | None:
        """Return what was issued with *security_token*; it may have expired."""
        with self._changed:
            return self._tokens.get(security_token)

    def caller(self, access_key_id: str, security_token: str) -> Caller:
        """Return who owns a key, and the token that goes with it.  Raises Refused."""
        with self._changed:
            user = self._users.get(access_key_id)
            token = self._tokens.get(security_token)
            role = self._roles[token.role_arn] if token else None
        if security_token:
            if token is None or role is None:
                raise Refused("InvalidSecurityToken.Malformed")
            if token.access_key_id != access_key_id:
                raise Refused("InvalidSecurityToken.MismatchWithAccessKey")
            if token.expiration <= self.clock():
                raise Refused("InvalidSecurityToken.Expired")
            return Caller(
                access_key_id,
                token.access_key_secret,
                role.arn,
                may_assume=role.may_assume,
                policies=role.policies,
                session=token,
            )
        if access_key_id.startswith("STS."):
            raise missing("SecurityToken")
        if user is None:
            raise Refused("InvalidAccessKeyId.NotFound")
        if not user.is_enabled:
            raise Refused("InvalidAccessKeyId.Inactive")
        return user

    def knows(self, access_key_id: str) -> bool:
        """Tell whether there is, or was not long ago, such a key."""
        with self._changed:
            return access_key_id in self._users or any(
                token.access_key_id == access_key_id for token in self._tokens.values()
            )

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

    # What happens to a request: the handler receives it, then replies.

    def receive(self, request: Request) -> Behaviour | None:
        """Record *request*; return how to answer it when it is time to."""
        with self._changed:
            self._requests.append(request)
            self._received += 1
            self._changed.notify_all()
            behaviour = self._script.popleft() if self._script else self._always
            told = self._times_told
            self._changed.wait_for(lambda: not self._holders or self.closing.is_set())
            if isinstance(behaviour, Hang):
                self._changed.wait_for(
                    lambda: self._times_told > told or self.closing.is_set()
                )
            return behaviour

    def reply(self, request: Request, behaviour: Behaviour | None) -> Reply:
        """Return the reply to *request*, which is STS's unless *behaviour* says."""
        if isinstance(behaviour, Reply):
            return behaviour
        request_id = str(uuid.uuid4()).upper()
        headers = {"x-acs-request-id": request_id}
        try:
            if isinstance(behaviour, Fail):
                headers |= behaviour.headers
                raise Refused(behaviour.code, behaviour.message, behaviour.status)
            status, root = 200, f"{request.action}Response"
            document = {"RequestId": request_id, **self._perform(request)}
        except Refused as refusal:
            status, root = refusal.status, "Error"
            document = {
                "RequestId": request_id,
                "HostId": self.endpoint,
                "Code": refusal.code,
                "Message": refusal.message,
                "Recommend": "https://api.aliyun.com/troubleshoot"
                f"?q={refusal.code}&product=Sts&requestId={request_id}",
            }
            if refusal.denied and self.says_what_denied:
                document["AccessDeniedDetail"] = refusal.denied
        if wants_json(request) or isinstance(behaviour, Fail):
            return Reply(status, json.dumps(document).encode(), headers=headers)
        xml = f'<?xml version="1.0" encoding="UTF-8"?>{as_xml(root, document)}'
        return Reply(status, xml.encode(), "text/xml;charset=utf-8", headers)

    def _perform(self, request: Request) -> dict[str, Any]:
        """Do what *request* asks and return what to reply.  Raises Refused."""
        now = self.clock()
        check_request(request)
        check_timestamp(request.common["Timestamp"], now)
        caller = self.caller(request.access_key_id, request.security_token)
        check_signature(request, caller.access_key_secret)
        self._admit(request, now)
        if request.action == "GetCallerIdentity":
            return identity(caller)
        return self._assume_role(caller, request.params, now)

    def _admit(self, request: Request, now: float) -> None:
        """Raise Refused if *request* is a replay, or one too many in a second."""
        nonce = request.common.get("SignatureNonce")  # ACS3 may do without, by one page
        with self._changed:
            if nonce:
                key = (request.access_key_id, nonce)
                forget(self._nonces, NONCES_KEPT, lambda t: t < now - NONCE_SECONDS)
                if key in self._nonces:
                    raise Refused("SignatureNonceUsed")
                self._nonces[key] = now
            if self.calls_per_second is None:
                return
            while self._admitted and self._admitted[0] <= now - 1:
                self._admitted.popleft()
            if len(self._admitted) >= self.calls_per_second:
                raise Refused("Throttling.User")
            self._admitted.append(now)

    def _assume_role(
        self, caller: Caller, params: Mapping[str, str], now: float
    ) -> dict[str, Any]:
        """Return the reply of AssumeRole.  Raises Refused."""
        check_parameters(params)
        role_arn, session_name = params["RoleArn"], params["RoleSessionName"]
        with self._changed:
            role = self._roles.get(role_arn)
        if caller.arn == root_of(caller.arn):
            raise Refused("NoPermission", "Roles may not be assumed by root accounts.")
        if caller.session and caller.session.policy:
            raise not_imitated("role chaining by a token that has a session policy")
        if caller.may_assume is not None and role_arn not in caller.may_assume:
            raise not_permitted(caller, "AccountLevelIdentityBasedPolicy")
        if role is None:
            raise Refused("EntityNotExist.Role")
        if not {caller.arn, root_of(caller.arn)} & set(role.trusted):
            raise not_permitted(caller, "AssumeRolePolicy")
        seconds = int(params.get("DurationSeconds") or DEFAULT_DURATION_SECONDS)
        if not MIN_DURATION_SECONDS <= seconds <= role.max_session_duration_seconds:
            raise Refused("InvalidParameter.DurationSeconds")
        token = self._issue(params, int(now) + seconds, now)
        document = {
            "AssumedRoleUser": {
                "Arn": f"{role_arn}/{session_name}",
                "AssumedRoleId": f"{entity_id(role_arn)}:{session_name}",
            },
            "Credentials": {
                "AccessKeyId": token.access_key_id,
                "AccessKeySecret": token.access_key_secret,
                "SecurityToken": token.security_token,
                "Expiration": format_timestamp(token.expiration),
            },
            "SourceIdentity": params.get("SourceIdentity"),
        }
        return {name: value for name, value in document.items() if value}

    def _issue(
        self, params: Mapping[str, str], expiration: int, now: float
    ) -> IssuedToken:
        random = base64.b64encode(secrets.token_bytes(298)).decode()
        token = IssuedToken(
            access_key_id=f"STS.{secrets.token_hex(12)}",
            access_key_secret=secrets.token_urlsafe(30),
            security_token=f"CAIS+/{random}",  # always with + / = to be encoded in URLs
            expiration=expiration,
            policy=params.get("Policy") or None,
            role_arn=params["RoleArn"],
            role_session_name=params["RoleSessionName"],
        )
        last = now - EXPIRED_KEPT_SECONDS
        with self._changed:
            forget(self._tokens, TOKENS_KEPT, lambda old: old.expiration < last)
            self._tokens[token.security_token] = token
        return token


def forget(
    table: OrderedDict[Any, Any], kept: int, is_old: Callable[[Any], bool]
) -> None:
    """Make room in *table* for one more: drop its first entries if old or too many."""
    while table and (len(table) >= kept or is_old(next(iter(table.values())))):
        table.popitem(last=False)


def format_timestamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def wants_json(request: Request) -> bool:
    """Tell the format of the reply: XML for an RPC call that does not ask for JSON."""
    wanted = request.common.get("Format") or request.headers.get("accept", "")
    if request.signature_style == "RPC":
        return "json" in wanted.lower()
    return "xml" not in wanted.lower()


def as_xml(name: str, value: Mapping[str, Any] | Sequence[Any] | str) -> str:
    """Return *value* as an element that holds text, or its members as elements.

    A list becomes an element for each item, all of that *name*.
    """
    if isinstance(value, str):
        # A parser takes a bare CR for LF.
        text = escape(NO_XML.sub(chr(0xFFFD), value), {"\r": "&#13;"})
        return f"<{name}>{text}</{name}>"
    if isinstance(value, Sequence):
        return "".join(as_xml(name, item) for item in value)
    return f"<{name}>{''.join(as_xml(k, v) for k, v in value.items())}</{name}>"


# --- Its HTTP server ------------------------------------------------------------


class _Handler(LoopbackHandler):
    """One connection: reads a request, lets the stand-in decide, sends the reply."""

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not CONTENT_LENGTH.fullmatch(length):
            self.send_error(501, "The STS stand-in does not imitate such a body")
            return
        names = Counter(name.lower() for name in self.headers)
        if any(names[n] > 1 and is_single(n) for n in names):
            self.send_error(501, "The STS stand-in does not imitate repeated headers")
            return
        body = self.rfile.read(int(length))
        now = self.server.service.clock()
        self.answer(read_request(self.command, self.path, headers, body, now))

    def answer(self, request: Request) -> None:
        """Send the reply to *request*, or do what the stand-in was told to do."""
        sts: StsStandIn = self.server.service
        behaviour = sts.receive(request)
        if isinstance(behaviour, (Close, Reset)):
            self.close(with_reset=isinstance(behaviour, Reset))
        elif sts.closing.wait(sts.latency_seconds):
            self.close_connection = True
        elif isinstance(behaviour, Drip):
            for byte in self.as_bytes(sts.reply(request, behaviour)):
                self.connection.sendall(bytes([byte]))
                is_over = behaviour.released.is_set()
                if sts.closing.wait(0 if is_over else behaviour.seconds_per_byte):
                    break
        else:
            self.connection.sendall(self.as_bytes(sts.reply(request, behaviour)))

    def as_bytes(self, reply: Reply) -> bytes:
        """Return the whole of *reply*, for a single send."""
        headers = {
            "Date": self.date_time_string(),
            "Content-Type": reply.content_type,
            "Content-Length": str(len(reply.body)),
            **reply.headers,
        }
        if headers.get("Connection") == "close":
            self.close_connection = True
        lines = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, '')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        return head if self.command == "HEAD" else head + reply.body

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return *timestamp*, or the time of the stand-in's clock, as HTTP has it."""
        now: float = self.server.service.clock()
        return super().date_time_string(int(now if timestamp is None else timestamp))

    def close(self, with_reset: bool) -> None:
        if with_reset:  # which is what it means to linger for zero seconds
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.rfile.close()
        self.connection.close()
        self.close_connection = True
