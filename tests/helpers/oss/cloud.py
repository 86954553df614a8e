"""Stand-ins of STS and OSS whose time stands still, with users and sessions."""

from __future__ import annotations

import contextlib
import itertools
import json
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from helpers.oss.client import OssReply, send
from helpers.oss.signing import BUCKET, CAT, V4_HEADER, KeyPair, Message, Scheme
from helpers.sts.calls import assume_role
from localcloud.clock import Clock
from localcloud.loopback import LoopbackServer
from localcloud.oss import Bucket, OssStandIn
from localcloud.sts import ALLOW_ALL, StsStandIn

ACCOUNT = "1234567890123456"
OTHER_BUCKET = "my-bucket-2"  # the first is a prefix of its name


def user_key(
    sts: StsStandIn,
    *policies: str,
    name: str = "LTAIossUser",
    account: str = ACCOUNT,
) -> KeyPair:
    """Add a RAM user with *policies*, by default allowing everything; return its key.

    *name* is its AccessKeyId; an existing user gets the new policies.
    """
    return key_of_user(sts, name, account, policies or (ALLOW_ALL,))


def key_of_user(
    sts: StsStandIn,
    name: str,
    account: str,
    policies: Collection[str],
    is_enabled: bool = True,
) -> KeyPair:
    user = sts.add_user(
        name,
        f"secretOf{name}",
        arn=f"acs:ram::{account}:user/{name}",
        is_enabled=is_enabled,
        policies=policies,
    )
    return KeyPair(user.access_key_id, user.access_key_secret)


@dataclass
class Cloud:
    """The stand-ins, with users and sessions."""

    sts: StsStandIn
    oss: OssStandIn
    clock: Clock
    buckets: Mapping[str, Bucket]
    tracebacks: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.start = self.clock.now

    def user(
        self, *policies: str, account: str = ACCOUNT, is_enabled: bool = True
    ) -> KeyPair:
        """Add a RAM user with *policies*; return its long-term key."""
        name = f"LTAIuser{next(self.numbers)}"
        return key_of_user(self.sts, name, account, policies, is_enabled)

    def session(
        self,
        policy: str | None = None,
        *,
        role_policies: Collection[str] = (ALLOW_ALL,),
        account: str = ACCOUNT,
    ) -> KeyPair:
        """Assume a role with *role_policies*; *policy* is the session policy."""
        role = self.sts.add_role(
            f"acs:ram::{account}:role/role{next(self.numbers)}",
            policies=role_policies,
        )
        token = assume_role(
            self.sts,
            self.user(account=account),
            role.arn,
            DurationSeconds="900",
            Policy=policy,
        )
        return KeyPair(
            token.access_key_id, token.access_key_secret, token.security_token
        )

    def contents(self) -> dict[str, bytes]:
        """Return all objects by bucket and key."""
        return {
            f"{name}/{key}": bucket.read(key)
            for name, bucket in self.buckets.items()
            for key in bucket.objects()
        }


@contextlib.contextmanager
def running_cloud() -> Iterator[Cloud]:
    """Run the stand-ins, and note tracebacks that would go to stderr."""
    clock = Clock()
    clock.freeze()
    with (
        StsStandIn(clock=clock) as sts,
        OssStandIn(sts, allow_v1=True) as oss,
        pytest.MonkeyPatch.context() as patch,
    ):
        buckets = {name: oss.create_bucket(name) for name in (BUCKET, OTHER_BUCKET)}
        cloud = Cloud(sts, oss, clock, buckets)
        patch.setattr(
            LoopbackServer,
            "handle_error",
            lambda *_: cloud.tracebacks.append(traceback.format_exc()),
        )
        yield cloud
    assert cloud.tracebacks == []


@contextlib.contextmanager
def fresh(cloud: Cloud) -> Iterator[Cloud]:
    """Yield *cloud* with two buckets and one object; check that no handler failed."""
    cloud.clock.now = cloud.start
    for bucket in cloud.buckets.values():
        bucket.clear()
    cloud.buckets[BUCKET].put(CAT, b"meow")
    cloud.oss.clear()
    yield cloud
    assert cloud.tracebacks == []
    for bucket in cloud.buckets.values():  # nothing is left of what failed
        parts = sum(len(upload.parts) for upload in bucket.uploads())
        files = list((bucket.folder.path / "data").iterdir())
        assert len(files) == len(bucket.objects()) + parts


def allow(
    *actions: str, on: str | Collection[str] = "*", **condition: Mapping[str, object]
) -> str:
    """Return a policy that allows *actions*; resources begin with a bucket's name."""
    return policy_of("Allow", actions, on, condition)


def deny(
    *actions: str, on: str | Collection[str] = "*", **condition: Mapping[str, object]
) -> str:
    """Return a policy that denies *actions* and allows everything else."""
    denial = json.loads(policy_of("Deny", actions, on, condition))
    permission = json.loads(ALLOW_ALL)
    statements = [*permission["Statement"], *denial["Statement"]]
    return json.dumps({"Version": "1", "Statement": statements})


def policy_of(
    effect: str,
    actions: Collection[str],
    on: str | Collection[str],
    condition: Mapping[str, object],
) -> str:
    resources = [on] if isinstance(on, str) else on
    statement = {
        "Effect": effect,
        "Action": [f"oss:{action}" for action in actions],
        "Resource": [f"acs:oss:*:*:{resource}" for resource in resources],
        "Condition": condition,
    }
    return json.dumps({"Version": "1", "Statement": [statement]})


def signed_get(cloud: Cloud, key: KeyPair, scheme: Scheme = V4_HEADER) -> Message:
    """Return a signed request for the cat with every part that a signature covers."""
    message = Message(
        query={"response-content-type": "image/jpeg"},
        headers={
            "content-type": "text/plain",
            "content-md5": "eB5eJF1ptWaXm4bijSPyxw==",
            "x-oss-meta-a": "1",
        },
    )
    return scheme.sign(message, key, cloud.clock.now)


def ask(
    cloud: Cloud,
    key: KeyPair,
    method: str = "GET",
    path: str = f"/{BUCKET}/{CAT}",
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> OssReply:
    """Send a correctly signed request."""
    message = Message(method, path, query or {}, headers or {}, body)
    return send(cloud.oss, V4_HEADER.sign(message, key, cloud.clock.now))
