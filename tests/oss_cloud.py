"""Stand-ins of STS and OSS whose time stands still, and requests as bytes on a wire.

The requests are signed here, by the documentation, and sent as written, so that nothing
between a test and the stand-in puts them in order.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import itertools
import json
import socket
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.utils import formatdate
from urllib.parse import quote

import pytest
from oss_support import ACCOUNT, BUCKET, KeyPair, OssReply

from localcloud.loopback import LoopbackServer
from localcloud.oss import OssStandIn
from localcloud.oss.storage import Bucket
from localcloud.sts import ALLOW_ALL, StsStandIn
from tokenserver.config.grants import AssumeRoleCall
from tokenserver.sts.client import StsClient

OTHER_BUCKET = "my-bucket-2"  # the first is a prefix of its name
CAT, DOG = "dir/cat.jpg", "dir/dog.jpg"
REGION = "cn-hangzhou"

# --- The stand-ins --------------------------------------------------------------------


class Clock:
    """A clock that stands still.  It starts close to the time of the STS client."""

    def __init__(self) -> None:
        self.start = float(int(time.time()))
        self.now = self.start

    def __call__(self) -> float:
        return self.now


@dataclass
class Cloud:
    """The stand-ins, and those who come to them."""

    sts: StsStandIn
    oss: OssStandIn
    clock: Clock
    sts_client: StsClient
    buckets: Mapping[str, Bucket]
    tracebacks: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def user(
        self,
        *policies: str,
        account: str = ACCOUNT,
        is_enabled: bool = True,
    ) -> KeyPair:
        """Add a RAM user with *policies*; return its long-term key."""
        name = f"LTAIuser{next(self.numbers)}"
        user = self.sts.add_user(
            name,
            f"secretOf{name}",
            arn=f"acs:ram::{account}:user/{name}",
            is_enabled=is_enabled,
            policies=policies,
        )
        return KeyPair(user.access_key_id, user.access_key_secret)

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
        user = self.user(account=account)
        credentials = self.sts_client.assume_role(
            AssumeRoleCall(
                protocol="http",
                endpoint=self.sts.endpoint,
                access_key_id=user.access_key_id,
                access_key_secret=user.access_key_secret,
                role_arn=role.arn,
                role_session_name="alice",
                duration_seconds=900,
                policy=policy,
            )
        )
        return KeyPair(
            credentials.access_key_id,
            credentials.access_key_secret,
            credentials.security_token,
        )

    def contents(self) -> dict[str, bytes]:
        """Return all objects by bucket and key."""
        return {
            f"{name}/{key}": bucket.read(key)
            for name, bucket in self.buckets.items()
            for key in bucket.objects()
        }


@contextlib.contextmanager
def running_cloud(sts_client: StsClient) -> Iterator[Cloud]:
    """Run the stand-ins, and note what would be a traceback on stderr."""
    clock = Clock()
    with (
        StsStandIn(clock=clock) as sts,
        OssStandIn(sts) as oss,
        pytest.MonkeyPatch.context() as patch,
    ):
        buckets = {name: oss.create_bucket(name) for name in (BUCKET, OTHER_BUCKET)}
        cloud = Cloud(sts, oss, clock, sts_client, buckets)
        patch.setattr(
            LoopbackServer,
            "handle_error",
            lambda *_: cloud.tracebacks.append(traceback.format_exc()),
        )
        yield cloud
    assert cloud.tracebacks == []


@contextlib.contextmanager
def fresh(cloud: Cloud) -> Iterator[Cloud]:
    """Lend *cloud* with two buckets and one object; no handler of it may fail."""
    cloud.clock.now = cloud.clock.start
    for bucket in cloud.buckets.values():
        for key in bucket.objects():
            bucket.delete(key)
    cloud.buckets[BUCKET].put(CAT, b"meow")
    cloud.oss.clear()
    yield cloud
    assert cloud.tracebacks == []


def allow(
    *actions: str, on: str | Collection[str] = "*", **condition: Mapping[str, object]
) -> str:
    """Return a policy that allows *actions*; resources begin with a bucket's name."""
    return policy_of("Allow", actions, on, condition)


def deny(
    *actions: str, on: str | Collection[str] = "*", **condition: Mapping[str, object]
) -> str:
    """Return a policy that denies *actions* and allows all else."""
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


# --- Requests, and how to sign them ---------------------------------------------------


@dataclass(frozen=True)
class Message:
    """A request.  *path* and *query* are not encoded yet; *target* is, if given."""

    method: str = "GET"
    path: str = f"/{BUCKET}/{CAT}"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # in lower case
    body: bytes = b""
    target: str = ""

    def with_headers(self, **changes: str | None) -> Message:
        """Return it with headers changed, or removed if None; _ stands for -."""
        values = {name.replace("_", "-"): v for name, v in changes.items()}
        return replace(self, headers=without_none({**self.headers, **values}))

    def with_query(self, changes: Mapping[str, str | None]) -> Message:
        """Return it with parameters changed, or removed if None."""
        return replace(self, query=without_none({**self.query, **changes}))

    def encoded(self, port: int) -> bytes:
        headers = {"host": f"127.0.0.1:{port}", "connection": "close", **self.headers}
        may_have_body = self.body or self.method in ("PUT", "POST")
        if may_have_body and "transfer-encoding" not in headers:
            headers.setdefault("content-length", str(len(self.body)))
        target = self.target or quote(self.path)
        if self.query:
            pairs = [f"{quote(n, '')}={quote(v, '')}" for n, v in self.query.items()]
            target += "?" + "&".join(pairs)
        lines = [f"{self.method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def without_none(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def send(oss: OssStandIn, message: Message) -> OssReply:
    """Send *message* on a connection of its own."""
    with socket.create_connection(("127.0.0.1", oss.port), timeout=60) as client:
        client.sendall(message.encoded(oss.port))
        return read_reply(client, message.method)


def read_reply(client: socket.socket, method: str) -> OssReply:
    response = http.client.HTTPResponse(client, method=method)
    with contextlib.closing(response):
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return OssReply(response.status, headers, response.read())


def iso_time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y%m%dT%H%M%SZ")


def http_date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


@dataclass(frozen=True)
class Scheme:
    """A way to sign.  *resource* is what is signed, by default the path.

    What a message has already, such as a date, is left as it is.
    """

    is_v4: bool
    is_url: bool

    def sign(
        self,
        message: Message,
        key: KeyPair,
        now: float,
        *,
        resource: str = "",
        expires: int = 60,
        region: str = REGION,
        product: str = "oss",
        additional_headers: str = "",
    ) -> Message:
        resource = resource or message.path
        if not self.is_v4:
            return self._sign_v1(message, key, now, resource, expires)
        scope = f"{iso_time(now)[:8]}/{region}/{product}/aliyun_v4_request"
        return self._sign_v4(
            message, key, now, resource, expires, scope, additional_headers
        )

    def _sign_v1(
        self, message: Message, key: KeyPair, now: float, resource: str, expires: int
    ) -> Message:
        if self.is_url:
            date = message.query.get("Expires", f"{now + expires:.0f}")
            pairs = {"OSSAccessKeyId": key.access_key_id, "Expires": date}
            if key.security_token:
                pairs["security-token"] = key.security_token
            message = replace(message, query={**pairs, **message.query})
        else:
            headers = {"date": http_date(now), **message.headers}
            if key.security_token:
                headers.setdefault("x-oss-security-token", key.security_token)
            message = replace(message, headers=headers)
            date = headers.get("x-oss-date", headers["date"])
        signature = v1_signature(key, v1_string_to_sign(message, date, resource))
        if self.is_url:
            return message.with_query({"Signature": signature})
        authorization = f"OSS {key.access_key_id}:{signature}"
        return message.with_headers(authorization=authorization)

    def _sign_v4(
        self,
        message: Message,
        key: KeyPair,
        now: float,
        resource: str,
        expires: int,
        scope: str,
        additional_headers: str,
    ) -> Message:
        credential = f"{key.access_key_id}/{scope}"
        if self.is_url:
            pairs = {
                "x-oss-signature-version": "OSS4-HMAC-SHA256",
                "x-oss-credential": credential,
                "x-oss-date": iso_time(now),
                "x-oss-expires": str(expires),
            }
            if additional_headers:
                pairs["x-oss-additional-headers"] = additional_headers
            if key.security_token:
                pairs["x-oss-security-token"] = key.security_token
            message = replace(message, query={**pairs, **message.query})
            date = message.query["x-oss-date"]
        else:
            headers = {
                "date": iso_time(now),  # as the SDK for Android does
                "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
                **message.headers,
            }
            if key.security_token:
                headers.setdefault("x-oss-security-token", key.security_token)
            message = replace(message, headers=headers)
            date = headers.get("x-oss-date", headers["date"])
        request = v4_canonical_request(message, resource, additional_headers)
        string_to_sign = v4_string_to_sign(date, scope, request)
        signature = v4_signature(key, scope, string_to_sign)
        if self.is_url:
            return message.with_query({"x-oss-signature": signature})
        fields = [f"Credential={credential}", f"Signature={signature}"]
        if additional_headers:
            fields.insert(1, f"AdditionalHeaders={additional_headers}")
        authorization = f"OSS4-HMAC-SHA256 {','.join(fields)}"
        return message.with_headers(authorization=authorization)


def v1_string_to_sign(message: Message, date: str, resource: str) -> str:
    signed = [
        f"{name}={value}" if value else name
        for name, value in sorted(message.query.items())
        if name in V1_PARAMETERS
    ]
    lines = [
        message.method,
        message.headers.get("content-md5", ""),
        message.headers.get("content-type", ""),
        date,
        *(f"{n}:{v}" for n, v in sorted(message.headers.items()) if n[:6] == "x-oss-"),
        "?".join([resource, "&".join(signed)] if signed else [resource]),
    ]
    return "\n".join(lines)


V1_PARAMETERS = (  # those of the tests
    "acl",
    "bucketInfo",
    "delete",
    "partNumber",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "security-token",
    "uploadId",
    "uploads",
    "versionId",
    "x-oss-process",
)


def v1_signature(key: KeyPair, string_to_sign: str) -> str:
    secret = key.access_key_secret.encode()
    digest = hmac.new(secret, string_to_sign.encode(), "sha1").digest()
    return base64.b64encode(digest).decode()


def v4_canonical_request(message: Message, resource: str, additional: str) -> str:
    pairs = sorted((quote(n, ""), quote(v, "")) for n, v in message.query.items())
    signed = [
        f"{name}:{value.strip()}\n"
        for name, value in sorted(message.headers.items())
        if name in ("content-md5", "content-type", *additional.split(";"))
        or name.startswith("x-oss-")
    ]
    return "\n".join(
        [
            message.method,
            quote(resource),
            "&".join(f"{name}={value}" if value else name for name, value in pairs),
            "".join(signed),
            additional,
            "UNSIGNED-PAYLOAD",
        ]
    )


def v4_string_to_sign(date: str, scope: str, canonical_request: str) -> str:
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    return f"OSS4-HMAC-SHA256\n{date}\n{scope}\n{digest}"


def v4_signature(key: KeyPair, scope: str, string_to_sign: str) -> str:
    signing_key = f"aliyun_v4{key.access_key_secret}".encode()
    for step in [*scope.split("/"), string_to_sign]:
        signing_key = hmac.new(signing_key, step.encode(), "sha256").digest()
    return signing_key.hex()


V1_HEADER, V1_URL = Scheme(False, False), Scheme(False, True)
V4_HEADER, V4_URL = Scheme(True, False), Scheme(True, True)
SCHEMES = {
    "V1 header": V1_HEADER,
    "V1 URL": V1_URL,
    "V4 header": V4_HEADER,
    "V4 URL": V4_URL,
}


def with_schemes(*schemes: Scheme) -> pytest.MarkDecorator:
    names = [name for name, scheme in SCHEMES.items() if scheme in schemes]
    params = [pytest.param(SCHEMES[name], id=name) for name in names]
    return pytest.mark.parametrize("scheme", params)


each_scheme = with_schemes(*SCHEMES.values())
in_headers = with_schemes(V1_HEADER, V4_HEADER)
in_urls = with_schemes(V1_URL, V4_URL)


def signed_get(cloud: Cloud, key: KeyPair, scheme: Scheme = V4_HEADER) -> Message:
    """Return a signed request for the cat that has all that a signature covers."""
    message = Message(
        query={"response-content-type": "image/jpeg"},
        headers={
            "content-type": "text/plain",
            "content-md5": "eB5eJF1ptWaXm4bijSPyxw==",
            "x-oss-meta-a": "1",
        },
    )
    return scheme.sign(message, key, cloud.clock.now)
