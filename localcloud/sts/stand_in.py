"""STS on 127.0.0.1: its users, roles and tokens, and its answers."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from localcloud import ram
from localcloud.loopback import LoopbackServer
from localcloud.markup import as_xml
from localcloud.sts.behaviours import Behaviour, Fail, Reply
from localcloud.sts.callers import (
    ALLOW_ALL,
    Caller,
    IssuedToken,
    Role,
    entity_id,
    identity,
    not_permitted,
    root_of,
)
from localcloud.sts.calls import Calls
from localcloud.sts.checks import (
    check_parameters,
    check_request,
    check_signature,
    check_timestamp,
)
from localcloud.sts.errors import Refused, missing, not_imitated
from localcloud.sts.handler import StsHandler
from localcloud.sts.request import Request

# What is remembered.  Of too many the oldest are forgotten.
NONCE_SECONDS = 30 * 60  # later, its timestamp betrays a replay
NONCES_KEPT = 100_000
EXPIRED_KEPT_SECONDS = 3600  # a late user hears that a token expired
TOKENS_KEPT = 20_000

# AssumeRole.  "CreateRole" allows no underscore in the name of a role, ROS's page does.
MIN_DURATION_SECONDS = 900
DEFAULT_DURATION_SECONDS = 3600


class StsStandIn(Calls):
    """STS on 127.0.0.1 while a with block lasts; port 0 means any free port.

    *clock* returns unix seconds.  Calls above *calls_per_second* are throttled, and
    replies are delayed by *latency_seconds*.  With *says_what_denied*, a NoPermission
    has an AccessDeniedDetail, which only some replies of the cloud have.  Methods may
    be called from any thread.
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
        super().__init__()
        self.port = port
        self.clock = clock
        self.calls_per_second = calls_per_second
        self.latency_seconds = latency_seconds
        self.says_what_denied = says_what_denied
        self._lock = threading.Lock()  # guards all below
        self._users: dict[str, Caller] = {}  # by AccessKeyId
        self._roles: dict[str, Role] = {}  # by ARN
        self._tokens: OrderedDict[str, IssuedToken] = OrderedDict()  # by SecurityToken
        self._nonces: OrderedDict[tuple[str, str], float] = OrderedDict()  # when seen
        self._admitted: deque[float] = deque()  # when, during the last second

    def __enter__(self) -> StsStandIn:
        self._server = LoopbackServer(self.port, StsHandler, self)
        self.port = self._server.port
        self.endpoint = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.endpoint}"
        self._server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End every call at once."""
        self.end_calls()
        self._server.close()

    def add_user(  # noqa: PLR0913 (each is a fact about a user)
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

        If *arn* ends in :root, the owner is the account itself.  *may_assume* are ARNs
        of roles; None means any, as with the system policy AliyunSTSAssumeRoleAccess.
        *policies* say in JSON what else the owner may do; by default nothing.
        """
        user = Caller(
            access_key_id,
            access_key_secret,
            arn,
            is_enabled,
            may_assume,
            [ram.parse(policy) for policy in policies],
        )
        with self._lock:
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
        with self._lock:
            self._roles[arn] = role
        return role

    def issued(self, security_token: str) -> IssuedToken | None:
        """Return the token with this *security_token*; it may have expired."""
        with self._lock:
            return self._tokens.get(security_token)

    def expire_tokens(self) -> None:
        """End all tokens now; their Expiration remains as it is."""
        now = int(self.clock())
        with self._lock:
            for name, token in self._tokens.items():
                if token.expiration > now:
                    self._tokens[name] = replace(token, expiration=now)

    def caller(self, access_key_id: str, security_token: str) -> Caller:
        """Return the owner of a key and of the token with it.  Raises Refused."""
        with self._lock:
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
        """Tell whether there is such a key, or was one recently."""
        with self._lock:
            return access_key_id in self._users or any(
                token.access_key_id == access_key_id for token in self._tokens.values()
            )

    def reply(self, request: Request, behaviour: Behaviour | None) -> Reply:
        """Return the reply to *request*: that of *behaviour*, or that of STS."""
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
        """Do what *request* says and return the reply.  Raises Refused."""
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
        """Raise Refused if *request* is a replay, or exceeds the rate."""
        nonce = request.common.get("SignatureNonce")  # ACS3 may do without, by one page
        with self._lock:
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
        with self._lock:
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
        with self._lock:
            forget(self._tokens, TOKENS_KEPT, lambda old: old.expiration < last)
            self._tokens[token.security_token] = token
        return token


def forget(
    table: OrderedDict[Any, Any], kept: int, is_old: Callable[[Any], bool]
) -> None:
    """Make room in *table* for one more: drop the first entries if old or too many."""
    while table and (len(table) >= kept or is_old(next(iter(table.values())))):
        table.popitem(last=False)


def format_timestamp(seconds: int) -> str:
    """Return unix *seconds* in the form of STS, 2026-01-02T03:04:05Z."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def wants_json(request: Request) -> bool:
    """Tell the format of the reply: XML for an RPC call that does not ask for JSON."""
    wanted = request.common.get("Format") or request.headers.get("accept", "")
    if request.signature_style == "RPC":
        return "json" in wanted.lower()
    return "xml" not in wanted.lower()
