"""Who calls STS: RAM users, accounts and assumed roles."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field

from localcloud import ram
from localcloud.sts.errors import Refused
from localcloud.sts.signature import sha256

ALLOW_ALL = (
    '{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
)


@dataclass(frozen=True)
class IssuedToken:
    """A token of AssumeRole, and its owner.  *expiration* is in unix seconds."""

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
    """Return the numeric ID of *arn*; that of an account is in its ARN."""
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

    AccountLevelIdentityBasedPolicy means a policy of the caller, AssumeRolePolicy the
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
