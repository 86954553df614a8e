"""The hint for an error of AssumeRole: what to change, and where.

The texts are in texts.py and hint_texts.py; this module chooses among them.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from tokenserver.check.hint_texts import (
    DENIALS,
    HINTS,
    HINTS_BY_CAUSE,
    KEY_IS_OF,
    OTHER_ACCOUNT,
    ROOT_KEY,
    THROTTLED_BY_STS,
)
from tokenserver.check.texts import (
    ASSUME_ROLE_POLICY,
    ITS_ACCOUNT,
    KEY,
    KEY_OF_CHAIN,
    KEY_UNSHOWN,
    OWNER_OF_OTHER_TYPE,
    OWNER_UNKNOWN,
    OWNERS,
    PERMISSIONS,
    ROLES,
    TRUST_POLICY,
    USERS,
    Language,
    Text,
)
from tokenserver.config.grants import AssumeRoleCall
from tokenserver.config.settings import ACCESS_KEY_ID_FORM
from tokenserver.errors import Cause, Failure
from tokenserver.logs import visible
from tokenserver.sts.client import CallerIdentity

HINT_PAUSE_SECONDS = 60.0
HINTS_KEPT = 64  # codes; STS has fewer


def hint(
    failure: Failure,
    call: AssumeRoleCall,
    owner: CallerIdentity | None = None,
    language: Language = "en",
) -> str:
    """Return what to change and where, in a sentence or two, or "".

    *owner* is the owner of the key pair, if known.
    """
    if failure.code == "NoPermission":
        return denial(failure, call, owner, language)
    text = template(failure)
    if text is None:
        return ""
    account, role = account_and_role(call.role_arn)
    key = key_of(call, language)
    said = text.said(
        language,
        key=key,
        Key=capital(key),
        account=account,
        role=role,
        seconds=call.duration_seconds,
        endpoint=call.endpoint,
    )
    if failure.code == "EntityNotExist.Role" and owner and owner.account_id != account:
        return sentences(
            language, said, KEY_IS_OF.said(language, owner=name_of(owner, language))
        )
    return said


def sentences(language: Language, *said: str) -> str:
    """Return the sentences, one after the other."""
    return ("" if language == "zh" else " ").join(said)


def template(failure: Failure) -> Text | None:
    """Return the hint with {placeholders}, or None if there is none.

    There is none for a defect of the server, whose traceback is in the log.
    """
    if failure.cause is not Cause.REFUSED:
        return HINTS_BY_CAUSE.get(failure.cause)
    if failure.code.startswith("Throttling"):
        return THROTTLED_BY_STS
    return HINTS.get(failure.code)


def key_of(call: AssumeRoleCall, language: Language) -> str:
    """Return words for the key that *call* is signed with."""
    if ACCESS_KEY_ID_FORM.fullmatch(call.access_key_id):
        return KEY.said(language, id=call.access_key_id)
    return (KEY_UNSHOWN if call.access_key_id else KEY_OF_CHAIN).said(language)


def capital(text: str) -> str:
    """Return *text* with a capital first letter."""
    return text[:1].upper() + text[1:]


def account_and_role(role_arn: str) -> tuple[str, str]:
    """Return the account and the name in the ARN of a role."""
    match = re.fullmatch(r"acs:ram::(\d+):role/(.+)", role_arn)
    return (match[1], match[2]) if match else ("", role_arn)


def denial(
    failure: Failure,
    call: AssumeRoleCall,
    owner: CallerIdentity | None,
    language: Language,
) -> str:
    """Return the hint for NoPermission, which has several causes.

    STS names the policy that denied the call in AccessDeniedDetail, but not in every
    answer.
    """
    if "root account" in failure.message or (
        owner and owner.identity_type == "Account"
    ):
        return ROOT_KEY.said(
            language,
            Key=capital(key_of(call, language)),
            users=USERS.said(language),
            policy=ASSUME_ROLE_POLICY,
        )
    account, role = account_and_role(call.role_arn)
    is_foreign = owner is not None and owner.account_id != account
    said = denial_by_policy(failure.denied_by, role, owner, is_foreign, language)
    if is_foreign:
        return sentences(language, said, OTHER_ACCOUNT.said(language, account=account))
    return said


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
    denied_by: str,
    role: str,
    owner: CallerIdentity | None,
    is_foreign: bool,
    language: Language,
) -> str:
    """Return which policy to change, and how, so that *owner* may assume *role*."""
    is_session = owner is not None and owner.identity_type == "AssumedRoleUser"
    page = (ROLES if is_session else USERS).said(language)
    account = owner.account_id if owner else ITS_ACCOUNT.said(language)
    return DENIALS[kind_of_denial(denied_by, is_foreign)].said(
        language,
        caller=name_of(owner, language) or OWNER_UNKNOWN.said(language),
        role=role,
        permissions=PERMISSIONS.said(language, page=page),
        trust=TRUST_POLICY.said(language, role=role),
        trusted=f"acs:ram::{account}:root",
    )


def name_of(owner: CallerIdentity | None, language: Language) -> str:
    """Return the owner of a key, such as "RAM user alice of account 123"; or ""."""
    if owner is None:
        return ""
    text = OWNERS.get(owner.identity_type, OWNER_OF_OTHER_TYPE)
    name = owner.arn.partition("/")[2].partition("/")[0]
    said = text.said(
        language, type=owner.identity_type, name=name, account=owner.account_id
    )
    return visible(said)[:200]


class HintLog:
    """Decides which errors of a running server get a hint in its log, in English.

    Each code gets at most one per minute.  At most HINTS_KEPT codes are remembered; if
    all of them had a hint within the last minute, other codes get none.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards the table
        self._told_at: OrderedDict[str, float] = OrderedDict()  # by code, oldest first

    def hint(self, failure: Failure, call: AssumeRoleCall) -> str:
        """Return the hint to log after *failure*, or "" for none."""
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
