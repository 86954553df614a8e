"""STS, OSS, a token server and one clock, in one with block.

with LocalCloud(logins=True) as cloud:
    app = MyApp(cloud.token_url, cloud.endpoint, cloud.region, cloud.bucket)
    app.log_in(cloud.login_token("alice"))
    cloud.oss.fail("PutObject", "ServiceUnavailable")
    app.upload("cat.jpg")
    assert cloud.objects.keys() == ["users/alice/cat.jpg"]
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from localcloud.clock import Clock
from localcloud.logins import LoginService
from localcloud.network import EVERYWHERE, LOOPBACK, Network
from localcloud.oss import Bucket, CorsRule, OssStandIn
from localcloud.sts import StsStandIn

if TYPE_CHECKING:
    from localcloud.token_server import LocalTokenServer

ACCESS_KEY_ID = "LTAIlocalAccessKeyId"
ACCESS_KEY_SECRET = "localAccessKeySecret"
ROLE_ARN = "acs:ram::1234567890123456:role/local-app"
POLICY_FILE = Path(__file__).parent / "page" / "upload_page_policy.txt"
POLICY_WITHOUT_PREFIX = """\
{"Version": "1", "Statement": [
  {"Effect": "Allow",
   "Action": ["oss:GetObject", "oss:PutObject", "oss:ListParts",
              "oss:AbortMultipartUpload"],
   "Resource": "acs:oss:*:*:$BUCKET_NAME/*"},
  {"Effect": "Allow", "Action": "oss:ListObjects",
   "Resource": "acs:oss:*:*:$BUCKET_NAME"}]}
"""
REQUEST_SECONDS = 60.0
CALLBACK_PATH = "/oss/uploaded"

# The STS SDK would send even calls to this machine through these.
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


class TokenRefused(Exception):
    """The token server answered with an error: its ErrorCode and ErrorMessage."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True)
class Ports:
    """The ports that the servers listen on; 0 means any free port."""

    token_server: int = 0
    sts: int = 0
    oss: int = 0


class PortError(OSError):
    """A server cannot listen on its port.  *server* is the field of Ports."""

    def __init__(self, server: str, port: int, reason: str) -> None:
        super().__init__(f"port {port}: {reason}")
        self.server = server


@dataclass(eq=False)
class LocalCloud:
    """A cloud for an app under test, for as long as a with block lasts.

    The token server issues tokens for the objects in *bucket* whose names begin with
    *prefix*, by default for all of them.  *policy* is a session policy template; the
    default one allows reading, writing and listing there, but not deleting.  With
    *logins*, users have to log in, and the default prefix is users/$USER_ID/.
    *role_policies* are the policies of the role, which by default allow everything in
    the bucket.  *settings* are further keys of config.json.  If they have "Callback":
    {}, OSS reports uploads to the token server, and Url, SecretFile and PublicKeyFile
    are filled in.

    With *allow_v1* OSS takes Signature V1, as for a bucket made before September 2025.
    *origins* are the origins of web pages that may use the token server and OSS.
    Objects are kept in *folder*, by default a temporary one.  *network* says where the
    token server and OSS listen, by default on 127.0.0.1; STS is only for this machine.

    Entering the block raises ConfigError (of tokenserver.errors) for invalid settings
    of the token server, PortError, FolderError and ValueError.  During the block the
    environment names no proxy, because the STS SDK would send its calls there.
    """

    bucket: str = "my-bucket"
    prefix: str = ""
    _: KW_ONLY
    logins: bool = False
    policy: str | None = None
    role_policies: Collection[str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    region: str = "cn-hangzhou"
    allow_v1: bool = False
    origins: Collection[str] = ("*",)
    folder: Path | None = None
    ports: Ports = field(default_factory=Ports)
    clock: Clock = field(default_factory=Clock)
    network: Network = field(default_factory=Network)

    def __enter__(self) -> LocalCloud:
        with ExitStack() as stack:
            self._open(stack)
            self._server.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End every request, and stop all servers."""
        self._stack.close()

    # For the app and its tests

    @property
    def token_url(self) -> str:
        """The URL at which the app asks for tokens.

        Any path will do, unless settings has Grants.
        """
        return f"{self.network.url(self._server.port)}/"

    @property
    def endpoint(self) -> str:
        """The endpoint of OSS, for an SDK with path-style addresses."""
        return self.oss.url

    @property
    def objects(self) -> Bucket:
        """The objects in the bucket: keys(), read(key), put(key, data)."""
        return self._objects

    @property
    def uploads(self) -> list[dict[str, Any]]:
        """The latest uploads reported by OSS, as in UploadsFile.

        It is empty without Callback in the settings.
        """
        return list(self._server.uploads.last)

    def token(self, user: str | None = None, path: str = "/") -> dict[str, Any]:
        """Ask the token server for a token of *user*; return the JSON document.

        Raises TokenRefused.
        """
        request = urllib.request.Request(urljoin(self.token_url, path))
        if user is not None:
            request.add_header("Authorization", f"Bearer {self.login_token(user)}")
        trusting = ssl.create_default_context()  # it only calls our own server
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=trusting),
        )
        try:
            with opener.open(request, timeout=REQUEST_SECONDS) as reply:
                document = json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                document = json.load(error)
        if document.get("StatusCode") != 200:
            raise TokenRefused(document["ErrorCode"], document["ErrorMessage"])
        return dict(document)

    def login_token(self, user: str, **claims: object) -> str:
        """Return a login token of *user*, a JWT for Authorization: Bearer.

        *claims* are added to the usual ones, or replace them.  Raises ValueError if
        this cloud has no logins.
        """
        if not self.logins:
            raise ValueError("this cloud has no logins; use LocalCloud(logins=True)")
        return self._login_service.login_token(user, self.clock(), **claims)

    def expire_tokens(self) -> None:
        """Expire all tokens issued so far: OSS answers SecurityTokenExpired.

        Moving the clock cannot test this.  A token is valid for at least 900 seconds,
        but SDKs sign with the time of this machine, and OSS refuses a request whose
        time differs by more than 900 seconds (RequestTimeTooSkewed) before it checks
        the token.
        """
        self.sts.expire_tokens()
        self._server.forget_tokens()

    def reset(self) -> None:
        """Delete all objects, forget requests and failures, and reset the clock.

        Tokens issued before stay valid.
        """
        self.clock.offset_seconds = 0.0
        self._objects.clear()
        self._server.uploads.last.clear()
        self.oss.clear()
        self.oss.fail("*")
        self.sts.clear()
        self.sts.fail("*")

    def run(self, message: Callable[[], str]) -> int:
        """Serve until SIGINT or SIGTERM instead of a with block; return an exit status.

        It prints *message* when all servers are ready.
        """
        with ExitStack() as stack:
            self._open(stack)
            return self._server.run(message())

    # How it starts

    def _open(self, stack: ExitStack) -> None:
        """Make all servers listen until *stack* ends; only the stand-ins serve yet."""
        stack.enter_context(without_proxies())
        self._start_stand_ins(stack)
        self._start_token_server(stack)

    def _start_stand_ins(self, stack: ExitStack) -> None:
        self.sts = StsStandIn(self.ports.sts, clock=self.clock)
        with self._naming_port("sts"):
            stack.enter_context(self.sts)
        self.sts.add_user(ACCESS_KEY_ID, ACCESS_KEY_SECRET)
        policies = self.role_policies
        if policies is None:
            policies = [everything_in(self.bucket)]
        self.sts.add_role(ROLE_ARN, policies=policies)
        self.oss = OssStandIn(
            self.sts,
            self.folder,
            self.ports.oss,
            region=self.region,
            allow_v1=self.allow_v1,
            network=self.network,
        )
        with self._naming_port("oss"):
            stack.enter_context(self.oss)
        rule = CorsRule(allowed_origins=self.origins)
        self._objects = self.oss.create_bucket(self.bucket, [rule])

    def _start_token_server(self, stack: ExitStack) -> None:
        from localcloud.token_server import LocalTokenServer, listen

        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with self._naming_port("token_server"):
            listener = listen(self.network.bind, self.ports.token_server)
        stack.enter_context(listener)
        reports = None
        if self._is_reported and not self._is_called_by_oss:
            reports = stack.enter_context(listen(LOOPBACK, 0))
        self.config_file = self._write_config(folder, reports or listener)
        self._server: LocalTokenServer = LocalTokenServer(
            self.config_file, listener, reports, self.clock, self.network
        )
        stack.callback(self._server.close)

    @property
    def _is_reported(self) -> bool:
        """Whether OSS reports uploads."""
        return isinstance(self.settings.get("Callback"), Mapping)

    @property
    def _is_called_by_oss(self) -> bool:
        """Whether the stand-in of OSS reaches the token server where clients do."""
        here = self.network.bind in (LOOPBACK, EVERYWHERE)
        return here and self.network.tls is None

    @contextlib.contextmanager
    def _naming_port(self, server: str) -> Iterator[None]:
        """Raise an OSError of the block as a PortError about *server*."""
        try:
            yield
        except OSError as error:
            port = getattr(self.ports, server)
            raise PortError(server, port, error.strerror or str(error)) from None

    def _write_config(self, folder: Path, reports: socket.socket) -> Path:
        """Write a config.json as an operator would fill it in.

        OSS reports to *reports*.
        """
        config: dict[str, Any] = {
            "AccessKeyID": ACCESS_KEY_ID,
            "AccessKeySecret": ACCESS_KEY_SECRET,
            "RoleArn": ROLE_ARN,
            "TokenExpireTime": "900",
            "PolicyFile": str(POLICY_FILE),
            "BucketName": self.bucket,
            "ObjectPrefix": self.prefix or ("users/$USER_ID/" if self.logins else ""),
            "Region": self.region,
            "Endpoint": self.endpoint,
            "AllowedOrigins": "*" if "*" in self.origins else list(self.origins),
            "StsEndpoint": self.sts.url,
            "TokenReuseTime": 0,  # so each request reaches STS, and sees its failures
            "StsCallsPerSecond": 10_000,
        }
        policy = self.policy
        if policy is None and not config["ObjectPrefix"]:
            policy = POLICY_WITHOUT_PREFIX
        if policy is not None:
            config["PolicyFile"] = str(write_file(folder / "policy.txt", policy))
        if self.logins:
            self._login_service = LoginService()
            secret_file = write_file(folder / "secret", self._login_service.secret)
            config["Authentication"] = self._login_service.settings(str(secret_file))
        config |= self.settings
        if self._is_reported:
            filled_in = self._callback(folder, reports.getsockname()[1])
            config["Callback"] = filled_in | config["Callback"]
        text = json.dumps(config, indent=2)
        return write_file(folder / "config.json", text)

    def _callback(self, folder: Path, port: int) -> dict[str, str]:
        """Return how the stand-in of OSS reports to *port*; files are in *folder*."""
        key = write_file(folder / "oss.pem", self.oss.callback_public_key)
        secret = write_file(folder / "callback.secret", secrets.token_hex(32))
        return {
            "Url": f"http://{LOOPBACK}:{port}{CALLBACK_PATH}",
            "SecretFile": str(secret),
            "PublicKeyFile": str(key),
        }


def everything_in(bucket: str) -> str:
    """Return the policy of a role that may do everything in *bucket*."""
    resources = [f"acs:oss:*:*:{bucket}", f"acs:oss:*:*:{bucket}/*"]
    statement = {"Effect": "Allow", "Action": "oss:*", "Resource": resources}
    return json.dumps({"Version": "1", "Statement": [statement]})


def write_file(path: Path, text: str) -> Path:
    """Write a file that only its owner may read; return its path."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def without_proxies() -> Iterator[None]:
    """Remove proxies from the environment for the block."""
    proxies = {
        name: os.environ.pop(name) for name in PROXY_VARIABLES if name in os.environ
    }
    try:
        yield
    finally:
        os.environ.update(proxies)
