"""What to change when AssumeRole gives no token, and where.

Sources: "AssumeRole" and "GetCallerIdentity" (STS API reference), "FAQ about RAM roles
and STS tokens", "How do I troubleshoot an access denied error?", "Modify the trust
policy of a RAM role", "Set the maximum session duration for a RAM role" and "Disable an
AccessKey pair for a RAM user" (RAM documentation), "STS errors and troubleshooting"
(OSS documentation).
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from tokenserver.config.grants import AssumeRoleCall
from tokenserver.config.settings import ACCESS_KEY_ID_FORM
from tokenserver.errors import Cause, Failure
from tokenserver.logs import visible
from tokenserver.sts.client import CallerIdentity

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
}
_THROTTLED_BY_STS = (
    "STS allows 100 AssumeRole calls a second to a whole account. Raise "
    "TokenReuseTime, or lower StsCallsPerSecond where several processes share the "
    "account."
)
_TOO_SLOW = (
    "{endpoint} takes too long to answer. Set StsEndpoint to "
    f"{NEARER}, and look for a proxy or firewall in between that holds requests up."
)
HINTS_BY_CAUSE = {
    Cause.NO_NAME: (
        "The name in StsEndpoint, {endpoint}, cannot be resolved: it is misspelt, or "
        "this machine has no DNS. Names of sts-vpc.… are for machines inside a VPC."
    ),
    Cause.NO_CONNECTION: (
        "{endpoint} does not take connections from here. Let this machine connect to "
        "it in firewall and security group, or set HTTPS_PROXY; a StsEndpoint of "
        "sts-vpc.… can be reached only from inside a VPC of its region."
    ),
    Cause.NO_ANSWER: _TOO_SLOW,
    Cause.BUSY: _TOO_SLOW,
    Cause.PROXY: (
        "The proxy that HTTPS_PROXY names (HTTP_PROXY for a StsEndpoint of http://) "
        "cannot be reached or does not let the call through. Correct that variable or "
        "unset it; NO_PROXY has no effect."
    ),
    Cause.TLS: (
        "There is no trusted TLS connection to {endpoint}. Look for a typo in "
        "StsEndpoint and for a wrong clock; behind a proxy that opens TLS, name a file "
        "with its CA in SSL_CERT_FILE."
    ),
    Cause.CONNECTION_REFUSED: (
        "Nothing listens at {endpoint}. Correct host and port of StsEndpoint."
    ),
    Cause.NO_ROUTE: (
        "This machine has no route to {endpoint}. Give it a way to the Internet or set "
        "HTTPS_PROXY, or inside a VPC set StsEndpoint to "
        "sts-vpc.<region>.aliyuncs.com."
    ),
    Cause.CONNECTION_FAILED: (
        "The connection to {endpoint} breaks off. Look for a firewall or proxy in "
        "between, and whether StsEndpoint names STS and, with http:// or https://, the "
        "right protocol."
    ),
    Cause.NOT_STS: _NOT_STS,
    Cause.NO_CREDENTIALS: _NOT_STS,
    Cause.PAST_EXPIRATION: HINTS["InvalidTimeStamp.Expired"],
    Cause.OWN_RATE: (
        "More AssumeRole calls are wanted than StsCallsPerSecond lets through. Raise "
        "TokenReuseTime, so that requests share tokens, or StsCallsPerSecond."
    ),
    Cause.NO_KEY_PAIR: (
        "Set AccessKeyID and AccessKeySecret to the pair of a RAM user; or put one "
        "into ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET, or give "
        "the ECS instance a role."
    ),
    Cause.DEFECT: "",  # of the server, whose traceback is in the log
}


def hint(
    failure: Failure, call: AssumeRoleCall, owner: CallerIdentity | None = None
) -> str:
    """Return what to change and where, in a sentence or two, or "".

    *owner* is who the key pair belongs to, if that is known.
    """
    if failure.code == "NoPermission":
        return denial(failure, call, owner)
    account, role = account_and_role(call.role_arn)
    text = template(failure).format(
        key=key_of(call),
        Key=capital(key_of(call)),
        account=account,
        role=role,
        seconds=call.duration_seconds,
        endpoint=call.endpoint,
    )
    if failure.code == "EntityNotExist.Role" and owner and owner.account_id != account:
        text += f" The key is that of {name_of(owner)}."
    return text


def template(failure: Failure) -> str:
    """Return the hint with {placeholders}, or ""."""
    if failure.cause is not Cause.REFUSED:
        return HINTS_BY_CAUSE[failure.cause]
    if failure.code.startswith("Throttling"):
        return _THROTTLED_BY_STS
    return HINTS.get(failure.code, "")


def key_of(call: AssumeRoleCall) -> str:
    """Return how to speak of the key that *call* is signed with."""
    if ACCESS_KEY_ID_FORM.fullmatch(call.access_key_id):
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


def denial(failure: Failure, call: AssumeRoleCall, owner: CallerIdentity | None) -> str:
    """Return the hint for NoPermission, which has several causes.

    STS names the one of a policy in an AccessDeniedDetail, which not each of its
    answers has.
    """
    if "root account" in failure.message or (
        owner and owner.identity_type == "Account"
    ):
        return (
            f"{capital(key_of(call))} belongs to the root account, which may not "
            f"assume roles. Create a RAM user with an AccessKey pair in {USERS}, "
            f"attach {ASSUME_ROLE_POLICY} to it, and set AccessKeyID and "
            "AccessKeySecret to its pair."
        )
    account, role = account_and_role(call.role_arn)
    is_foreign = owner is not None and owner.account_id != account
    text = denial_by_policy(failure.denied_by, role, owner, is_foreign)
    if is_foreign:
        text += (
            f" The role is in account {account}: look first whether RoleArn is of the "
            "right account."
        )
    return text


# By the kind of policy that denies the call, with {caller}, its {permissions} and the
# {trust} policy of {role}, both as places in the console, and the {trusted} principal.
_NO_PERMISSION = (
    f"the policy {ASSUME_ROLE_POLICY} is not attached to it ({{permissions}})"
)
_NO_TRUST = 'the trust policy of the role {role} does not name "{trusted}" ({trust})'
_ONE_OF_TWO = (
    "{caller} lacks one of two things, and STS does not say which. Look in this order: "
)
DENIALS = {
    "ControlPolicy": (
        "{caller} is denied sts:AssumeRole by a control policy of the resource "
        "directory. Ask who manages the resource directory to allow it."
    ),
    "SessionPolicy": (
        "{caller} runs on a temporary token whose own session policy does not allow "
        "sts:AssumeRole. Let whoever issues that token allow it."
    ),
    "Deny in the trust policy": (
        "{caller} is denied sts:AssumeRole on the role {role} by a statement with "
        "Effect Deny in {trust}. Remove that statement; an Allow beside it has no "
        "effect."
    ),
    "Deny in its permissions": (
        "{caller} is denied sts:AssumeRole on the role {role} by a statement with "
        "Effect Deny in {permissions}. Remove that statement; an Allow beside it has "
        "no effect."
    ),
    "AssumeRolePolicy": (
        "{caller} is not named by the trust policy of the role {role}. Add "
        '"{trusted}" to Principal > RAM in {trust} > Edit Trust Policy.'
    ),
    "IdentityBasedPolicy": (
        "{caller} may not call AssumeRole on the role {role}. Attach the policy "
        f"{ASSUME_ROLE_POLICY} to it in {{permissions}}, for the whole account and not "
        "for a resource group."
    ),
    "not said": f"{_ONE_OF_TWO}1. {_NO_PERMISSION}; 2. {_NO_TRUST}.",
    "not said, another account": f"{_ONE_OF_TWO}1. {_NO_TRUST}; 2. {_NO_PERMISSION}.",
}


def kind_of_denial(denied_by: str, is_foreign: bool) -> str:
    """Return the key in DENIALS for PolicyType and NoPermissionType."""
    policy_type, _, kind = denied_by.partition(" ")
    if policy_type in ("ControlPolicy", "SessionPolicy"):
        return policy_type
    is_trust = policy_type == "AssumeRolePolicy"
    if kind == "ExplicitDeny":
        return f"Deny in {'the trust policy' if is_trust else 'its permissions'}"
    if is_trust:
        return policy_type
    # AccountLevel… or ResourceGroupLevelIdentityBasedPolicy
    if policy_type.endswith("IdentityBasedPolicy"):
        return "IdentityBasedPolicy"
    return "not said, another account" if is_foreign else "not said"


def denial_by_policy(
    denied_by: str, role: str, owner: CallerIdentity | None, is_foreign: bool
) -> str:
    """Return what to change in which policy, so that *owner* may assume *role*."""
    is_session = owner is not None and owner.identity_type == "AssumedRoleUser"
    return DENIALS[kind_of_denial(denied_by, is_foreign)].format(
        caller=name_of(owner) or "The RAM user or role that the key belongs to",
        role=role,
        permissions=f"{ROLES if is_session else USERS} > its name > Permissions",
        trust=f"{ROLES} > {role} > Trust Policy",
        trusted=f"acs:ram::{owner.account_id if owner else '<its account>'}:root",
    )


def name_of(owner: CallerIdentity | None) -> str:
    """Return who a key belongs to, such as "RAM user alice of account 123"; or ""."""
    if owner is None:
        return ""
    kinds = {"RAMUser": "RAM user", "AssumedRoleUser": "RAM role", "Account": "root"}
    kind = kinds.get(owner.identity_type, owner.identity_type)
    name = owner.arn.partition("/")[2].partition("/")[0]
    return visible(f"{kind} {name} of account {owner.account_id}")[:200]


class HintLog:
    """Decides which errors of a running server get a hint in its log.

    Each code has one a minute at most.  HINTS_KEPT codes are kept apart; while they all
    had one within the last minute, others have none.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the table
        self._told_at: OrderedDict[str, float] = OrderedDict()  # by code, oldest first

    def hint(self, failure: Failure, call: AssumeRoleCall) -> str:
        """Return what to log after *failure*, or "" if nothing now."""
        text = hint(failure, call)
        if not text:
            return ""
        now = self._clock()
        with self._lock:
            while self._told_at:
                code, told_at = next(iter(self._told_at.items()))
                if now - told_at < HINT_PAUSE_SECONDS:
                    break
                del self._told_at[code]
            if failure.code in self._told_at or len(self._told_at) >= HINTS_KEPT:
                return ""
            self._told_at[failure.code] = now
        return text
