"""Who may assume which role, and what becomes of the tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.sts.calls import (
    ACCOUNT,
    NO_PARAMS,
    POLICY,
    ROLE_ARN,
    USER,
    Call,
    both_styles,
    call_acs3,
    documented,
    issue,
)

from localcloud.clock import Clock
from localcloud.sts import (
    StsStandIn,
)
from localcloud.sts import stand_in as sts_module


# --- Who may assume which role
@both_styles
def test_disabled_key_is_refused(sts: StsStandIn, call: Call) -> None:
    sts.add_user(USER.access_key_id, USER.access_key_secret, is_enabled=False)

    answer = call(sts)

    assert answer.error == documented("InvalidAccessKeyId.Inactive")


@both_styles
def test_user_who_may_not_assume_the_role_is_refused(
    sts: StsStandIn, call: Call
) -> None:
    other = f"{ACCOUNT}:role/other"
    sts.add_role(other)
    user = sts.add_user("LTAI5tOther", "other-secret", may_assume=[other])

    answer = call(sts, by=user)

    assert answer.error == documented("NoPermission")
    assert call(sts, by=user, RoleArn=other).status == 200


@pytest.mark.parametrize(
    ("trusted", "status"),
    [
        pytest.param([USER.arn], 200, id="user"),
        pytest.param([f"{ACCOUNT}:root"], 200, id="account"),
        pytest.param([f"{ACCOUNT}:user/other"], 403, id="other user"),
        pytest.param(["acs:ram::9876543210987654:root"], 403, id="other account"),
        pytest.param([], 403, id="nobody"),
    ],
)
def test_role_is_assumed_by_whom_it_trusts(
    sts: StsStandIn, trusted: list[str], status: int
) -> None:
    sts.add_role(ROLE_ARN, trusted=trusted)

    assert call_acs3(sts).status == status


def test_role_does_not_trust_another_account_unless_told(sts: StsStandIn) -> None:
    arn = "acs:ram::9876543210987654:user/guest"
    guest = sts.add_user("LTAI5tGuest", "guest-secret", arn=arn)

    assert call_acs3(sts, by=guest).error == documented("NoPermission")
    sts.add_role(ROLE_ARN, trusted=["acs:ram::9876543210987654:root"])
    assert call_acs3(sts, by=guest).status == 200


@both_styles
def test_account_itself_is_refused(sts: StsStandIn, call: Call) -> None:
    root = sts.add_user("LTAI5tRoot", "root-secret", arn=f"{ACCOUNT}:root")

    answer = call(sts, by=root)

    message = "Roles may not be assumed by root accounts."
    assert answer.error == f"403 NoPermission: {message}"
    assert "AccessDeniedDetail" not in answer.json


@both_styles
def test_denial_says_which_policy_lacks_an_allow(sts: StsStandIn, call: Call) -> None:
    me = call(sts, Action="GetCallerIdentity", **NO_PARAMS)
    sts.add_role(f"{ACCOUNT}:role/closed", trusted=())
    untrusted = call(sts, RoleArn=f"{ACCOUNT}:role/closed").json["AccessDeniedDetail"]
    sts.add_user(USER.access_key_id, USER.access_key_secret, may_assume=())
    unable = call(sts).json["AccessDeniedDetail"]

    assert untrusted.pop("EncodedDiagnosticMessage")
    assert untrusted == {
        "PolicyType": "AssumeRolePolicy",
        "NoPermissionType": "ImplicitDeny",
        "AuthAction": "sts:AssumeRole",
        "AuthPrincipalType": "SubUser",
        "AuthPrincipalOwnerId": "1234567890123456",
        "AuthPrincipalDisplayName": me.json["UserId"],
    }
    assert unable["PolicyType"] == "AccountLevelIdentityBasedPolicy"


def test_denial_names_a_role_with_its_session(sts: StsStandIn) -> None:
    token = issue(sts, RoleSessionName="alice")

    detail = call_acs3(sts, by=token).json["AccessDeniedDetail"]

    assert detail["AuthPrincipalType"] == "AssumedRoleUser"
    assert detail["AuthPrincipalDisplayName"] == "app:alice"


def test_denial_may_say_nothing_of_its_policy(sts: StsStandIn) -> None:
    sts.add_user(USER.access_key_id, USER.access_key_secret, may_assume=())
    sts.says_what_denied = False

    answer = call_acs3(sts)

    assert answer.error == documented("NoPermission")
    assert "AccessDeniedDetail" not in answer.json


# --- Issued tokens, and role chaining
def test_each_token_is_another(sts: StsStandIn) -> None:
    tokens = [issue(sts) for _ in range(5)]

    for name in ("access_key_id", "access_key_secret", "security_token"):
        assert len({getattr(token, name) for token in tokens}) == 5


def test_token_that_was_not_issued_is_unknown(sts: StsStandIn) -> None:
    assert sts.issued("CAIS+/absent==") is None


@both_styles
def test_token_of_another_key_is_refused(sts: StsStandIn, call: Call) -> None:
    mixed = replace(issue(sts), security_token=issue(sts).security_token)

    answer = call(sts, by=mixed)

    assert answer.error == documented("InvalidSecurityToken.MismatchWithAccessKey")


@both_styles
def test_token_is_refused_once_it_has_expired(
    sts: StsStandIn, clock: Clock, call: Call
) -> None:
    token = issue(sts, DurationSeconds="900")

    clock.now += 899
    assert call(sts, by=token, Action="GetCallerIdentity", **NO_PARAMS).status == 200
    clock.now += 1
    answer = call(sts, by=token, Action="GetCallerIdentity", **NO_PARAMS)
    assert answer.error == documented("InvalidSecurityToken.Expired")


def test_expired_token_is_forgotten_an_hour_later(
    sts: StsStandIn, clock: Clock
) -> None:
    token = issue(sts, DurationSeconds="900")

    clock.now += 900 + 3600
    issue(sts)
    assert sts.issued(token.security_token) == token
    clock.now += 1
    issue(sts)
    assert sts.issued(token.security_token) is None


def test_oldest_of_too_many_tokens_is_forgotten(
    sts: StsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sts_module, "TOKENS_KEPT", 2)
    first, second, third = (issue(sts).security_token for _ in range(3))

    assert sts.issued(first) is None
    assert sts.issued(second) is not None
    assert sts.issued(third) is not None


def test_role_may_not_assume_another_unless_told(sts: StsStandIn) -> None:
    token = issue(sts)

    assert call_acs3(sts, by=token).error == documented("NoPermission")
    sts.add_role(ROLE_ARN, may_assume=None)
    assert call_acs3(sts, by=token).status == 200


def test_role_chaining_under_a_session_policy_is_not_imitated(sts: StsStandIn) -> None:
    token = issue(sts, Policy=POLICY)

    assert call_acs3(sts, by=token).code == "NotImitated"
