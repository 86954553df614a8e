"""A token server for apps that upload to Alibaba Cloud OSS.

An app must not hold an AccessKey pair.  It asks this server for a temporary
credential, talks to OSS directly with it, and asks again before it expires.
The server holds the pair, or runs under a RAM role, and asks STS on the app's
behalf: AssumeRole(RoleArn, RoleSessionName, DurationSeconds, Policy) returns an
AccessKeyId that starts with "STS.", an AccessKeySecret, a SecurityToken and their
Expiration.  Such a token may do what the role may do *and* the session policy
sent with the call allows; a session policy never adds anything to a role.

One request passes through the parts below from the last to the first: TokenServer
accepts it, TokenRequestHandler reads it strictly, LiveConfig says what is
configured now (the session policy rendered from its template), TokenCache has a token
for that already or shares one call among all who ask, StsClient calls AssumeRole
within the quota of STS, and one JSON document goes back in one send.

    python sts_server.py 7080

Sources: "Set up direct data transfer for mobile apps" (OSS documentation),
"AssumeRole" (STS API reference, version 2015-04-01), RFC 9110 and RFC 9112 (HTTP).
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import ipaddress
import json
import logging
import os
import random
import re
import signal
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache, partial
from http import HTTPStatus
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, NoReturn
from urllib.parse import parse_qs

from sts_http import (
    JAVASCRIPT_TYPE,
    JSON_TYPE,
    Document,
    RequestError,
    Stopped,
    StrictHandler,
    StrictServer,
    encode,
    error_document,
    printable,
)

__version__ = "0.1.0"

logger = logging.getLogger("sts_server")

# --- Constants ------------------------------------------------------------------

DEFAULT_PORT = 7080  # the port of the reference servers

# AssumeRole, as its API page gives them.  The role's own maximum is checked by STS.
MIN_DURATION_SECONDS = 900
MAX_DURATION_SECONDS = 43200
MAX_POLICY_BYTES = 2048  # the page says characters, its error text bytes
ROLE_ARN = re.compile(r"acs:ram::\d+:role/[A-Za-z0-9._-]{1,64}")
ROLE_SESSION_NAME = re.compile(r"[A-Za-z0-9.@_-]{2,64}")

# Both mobile SDKs fetch a new token when less than this is left of the old one, so a
# token with less than this left is of no use to them (OSSAuthCredentialsProvider).
SDK_REFRESH_MARGIN_SECONDS = 300

# OSS documentation, "Bucket naming" and "Object naming"
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
OBJECT_PREFIX = re.compile(r"(?![/\\])[^*?\x00-\x1f\x7f-\x9f]*")

MAX_CONFIG_BYTES = 1 << 20
CONFIG_LOOK_SECONDS = 1.0  # how often, at most, the files are looked at for an edit

# The SDK's timeouts are for one socket operation each, so the deadline is ours.
STS_DEADLINE_SECONDS = 8.0  # the Android SDK waits for ever, and holds a lock meanwhile
STS_CONNECT_SECONDS = 2.0
STS_READ_SECONDS = 5.0
STS_RETRY_PAUSE_SECONDS = (0.1, 0.4)  # a random pause between these before the retry
STS_MAX_CALLS = 32  # at once, those counted that are overdue and wait for STS alone
STS_QUOTA = 100  # calls a second of a whole cloud account (STS FAQ)
STS_CALLS_PER_SECOND = STS_QUOTA * 4 // 5  # of this process, unless configured
CREDENTIAL_CHAIN_PAUSE_SECONDS = 10.0  # off the cloud each failing search costs 2 s

# Token reuse.
TOKENS_KEPT = 10_000
REFRESH_AHEAD_SECONDS = 30  # of the end of the reuse time, or a tenth of it if less
FAILURE_SECONDS = 0.9  # during which a call that failed is not made again
STALE_SECONDS = 1.0  # to wait for a new token while the old one would do

DRAIN_SECONDS = 10.0  # for requests in flight when the server is told to stop

# --- Errors ---------------------------------------------------------------------


class ConfigError(Exception):
    """What the operator must change before the server can use its configuration.

    *problems* has one line for each, naming file, key, value and bound.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StsError(Exception):
    """AssumeRole gave no token.

    *code* and *message* are for the client: STS's own, or one of the fixed pairs
    below.  *detail* is for the log.  *is_temporary* says that a retry may help.
    """

    def __init__(
        self, code: str, message: str, *, detail: str, is_temporary: bool = False
    ) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.detail = detail
        self.is_temporary = is_temporary

    def again(self) -> StsError:
        """Return the same error, without the frames that it was raised in."""
        return StsError(
            self.code, self.message, detail=self.detail, is_temporary=self.is_temporary
        )


# The codes are those of Alibaba Cloud's core SDKs, which the reference servers used.
UNREACHABLE = ("SDK.ServerUnreachable", "The app server could not reach STS.")
UNUSABLE = ("SDK.UnknownServerError", "STS gave the app server no usable answer.")
THROTTLED = ("Throttling.User", "Request was denied due to user flow control.")
NO_CREDENTIALS = ("SDK.InvalidCredential", "The app server has no credentials.")
INTERNAL = ("InternalError", "The app server failed.")


# --- Session policy template ----------------------------------------------------

PLACEHOLDER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
SETTING_OF = {"BUCKET_NAME": "BucketName", "OBJECT_PREFIX": "ObjectPrefix"}


def parse_object(where: str, content: bytes) -> dict[str, Any]:
    """Return the JSON object that the file *where* holds.  Raises ConfigError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            names = [name for name, _ in pairs]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return result

    def no_constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        document = json.loads(
            content.decode("utf-8-sig"),  # Windows editors begin with a byte order mark
            object_pairs_hook=unique,
            parse_constant=no_constant,
        )
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise ConfigError(f"{where}: is not JSON: {error.msg}, {place}") from None
    except UnicodeError:
        raise ConfigError(f"{where}: is not UTF-8 text") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{where}: is nested too deeply") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{where}: must hold one JSON object, {{...}}")
    return document


class PolicyTemplate:
    """A session policy with $PLACEHOLDERS in its strings.

    Raises ConfigError unless *content* is a policy as AssumeRole takes one: a JSON
    object with Version "1" and a list of statements ("Policy elements", RAM).  *where*
    is the file's name for error messages.
    """

    def __init__(self, where: str, content: bytes) -> None:
        self._where = where
        self._document = parse_object(where, content)
        statements = self._document.get("Statement")
        if self._document.get("Version") != "1":
            raise ConfigError(f'{where}: Version must be "1"')
        if not isinstance(statements, list) or not statements:
            raise ConfigError(f"{where}: Statement must be a list of statements, [...]")
        for statement in statements:
            if not isinstance(statement, dict):
                raise ConfigError(f"{where}: each Statement must be an object, {{...}}")
            if statement.get("Effect") not in ("Allow", "Deny"):
                raise ConfigError(f'{where}: Effect must be "Allow" or "Deny"')
        self._statements = statements

    def render(self, values: Mapping[str, str]) -> str:
        """Return the policy as compact JSON, *values* in place of the placeholders.

        The values go into parsed strings, so none can change the policy's structure.
        Raises ConfigError for a placeholder without a value and for a policy of more
        than MAX_POLICY_BYTES.
        """
        problems: dict[str, None] = {}  # a set that keeps its order

        def value_of(match: re.Match[str]) -> str:
            name = match[1]
            value = values.get(name, "")
            if name not in values:
                known = ", ".join(f"${known}" for known in values)
                problems[f"{self._where}: ${name} is none of {known}"] = None
            elif not value:
                setting = SETTING_OF[name]
                problems[f"{self._where}: uses ${name}, but {setting} is empty"] = None
            return value

        def fill(part: Any) -> Any:
            if isinstance(part, str):
                return PLACEHOLDER.sub(value_of, part)
            if isinstance(part, list):
                return [fill(item) for item in part]
            if isinstance(part, dict):
                return {name: fill(item) for name, item in part.items()}
            return part

        try:
            document = fill(self._document)
        except RecursionError:
            raise ConfigError(f"{self._where}: is nested too deeply") from None
        if problems:
            raise ConfigError(*problems)
        policy = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        size = len(policy.encode())
        if size > MAX_POLICY_BYTES:
            raise ConfigError(
                f"{self._where}: has {size} bytes with its values filled in; "
                f"a session policy may have {MAX_POLICY_BYTES}"
            )
        return policy

    def warnings(self) -> list[str]:
        """Return what an operator may not have meant, one line each."""
        actions: list[str] = []
        resources: list[str] = []
        for statement in self._statements:
            if statement["Effect"] == "Allow":
                actions += strings(statement.get("Action"))
                resources += strings(statement.get("Resource"))
        found = []
        for action in actions:
            if action in ("*", "oss:*"):
                found.append(f'Action "{action}" allows everything the role may do')
        for resource in resources:
            if resource in ("*", "acs:oss:*:*:*", "acs:oss:*:*:*/*"):
                found.append(f'Resource "{resource}" allows every bucket')

        def allows(action: str) -> bool:
            return any(fnmatchcase(action, pattern.lower()) for pattern in actions)

        multipart = ("oss:ListParts", "oss:AbortMultipartUpload")
        missing = [action for action in multipart if not allows(action.lower())]
        if allows("oss:putobject") and missing:
            found.append(
                f"allows oss:PutObject without {' and '.join(missing)}, "
                "which resumable upload needs"
            )
        return [f"{self._where}: {warning}" for warning in found]


def strings(value: Any) -> list[str]:
    """Return the strings of a policy element, which may be one string or a list."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]


# --- Configuration --------------------------------------------------------------


@dataclass(frozen=True)
class AssumeRoleCall:
    """Every input of an AssumeRole call: equal calls ask for the same token.

    An empty key pair stands for the default credential chain.
    """

    protocol: str  # of the STS endpoint: "http" or "https"
    endpoint: str  # host or host:port
    access_key_id: str
    access_key_secret: str = field(repr=False)
    role_arn: str
    role_session_name: str
    duration_seconds: int
    policy: str | None  # session policy, compact JSON


@dataclass(frozen=True)
class Config:
    """A configuration that was found right."""

    call: AssumeRoleCall
    token_reuse_seconds: int
    sts_calls_per_second: int
    description: str  # of what is served, for the operator
    warnings: tuple[str, ...]


class Settings:
    """The settings of one file: each read returns a right value or notes a problem."""

    def __init__(self, where: str, values: dict[str, Any]) -> None:
        self.where = where
        self.problems: list[str] = []
        self._values = values
        self._read: set[str] = set()

    def note(self, key: str, problem: str) -> None:
        """Remember what is wrong with the setting *key*."""
        self.problems.append(f"{self.where}: {key} {problem}")

    def has(self, key: str) -> bool:
        """Return whether the file has *key* at all."""
        return key in self._values

    def text(self, key: str, default: str = "") -> str:
        """Return the string at *key*."""
        self._read.add(key)
        value = self._values.get(key, default)
        if isinstance(value, str):
            return value
        self.note(key, f"must be a string, not {type(value).__name__}")
        return default

    def matching(
        self, key: str, pattern: re.Pattern[str], bound: str, default: str = ""
    ) -> str:
        """Return the string at *key*, which must match *pattern*."""
        value = self.text(key, default)
        if value != default and not pattern.fullmatch(value):
            self.note(key, f"is {value!r:.100}; it must be {bound}")
        return value

    def secret(self, key: str) -> str:
        """Return the string at *key*, which is never shown."""
        value = self.text(key)
        if value and not re.fullmatch(r"[!-~]+", value):
            self.note(key, "has a blank or another character that no key has in it")
        return value

    def number(
        self, key: str, default: int, low: int, high: int, unit: str = ""
    ) -> int:
        """Return the whole number at *key*; the reference packages write it quoted."""
        self._read.add(key)
        value = self._values.get(key, default)
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
            value = int(value)
        if type(value) is int and low <= value <= high:
            return value
        bound = f"a whole number {unit}from {low} to {high}"
        self.note(key, f"is {json.dumps(value)[:80]}; it must be {bound}")
        return default

    def unknown(self) -> list[str]:
        """Return a warning for each setting that nothing has read."""
        known = {key.lower(): key for key in sorted(self._read)}
        found = []
        for key in sorted(set(self._values) - self._read):
            nearest = difflib.get_close_matches(key.lower(), known, n=1)
            hint = f"; did you mean {known[nearest[0]]}?" if nearest else ""
            found.append(f"{self.where}: {printable(key)} is not a setting{hint}")
        return found


def load_config(path: Path, read: Callable[[Path], bytes]) -> Config:
    """Return the configuration in the file *path*, with the template it names.

    *read* returns the bytes of a file or raises ConfigError.  Raises ConfigError with
    all problems at once.
    """
    settings = Settings(str(path), parse_object(str(path), read(path)))
    warnings: list[str] = []

    access_key_id = settings.secret("AccessKeyID")
    other_spelling = settings.secret("AccessKeyId")
    if access_key_id and other_spelling and access_key_id != other_spelling:
        settings.note("AccessKeyID", "and AccessKeyId differ; leave one of them out")
    access_key_id = access_key_id or other_spelling
    access_key_secret = settings.secret("AccessKeySecret")
    if bool(access_key_id) != bool(access_key_secret):
        empty = "AccessKeySecret" if access_key_id else "AccessKeyID"
        settings.note(
            empty,
            "is empty; set it too, or leave both out to use the default "
            "credential chain (environment, OIDC, profile, ECS role)",
        )
    if access_key_secret and is_open_to_others(path):
        warnings.append(f"{path}: holds a secret and others may read it (chmod 600)")

    form = "acs:ram::<account>:role/<name>, as the RAM console shows it"
    role_arn = settings.matching("RoleArn", ROLE_ARN, form)
    if not role_arn:
        settings.note("RoleArn", f"is empty; it must be {form}")
    duration_seconds = settings.number(
        "TokenExpireTime",
        MIN_DURATION_SECONDS,
        MIN_DURATION_SECONDS,
        MAX_DURATION_SECONDS,
        "of seconds ",
    )
    token_reuse_seconds = settings.number(
        "TokenReuseTime",
        duration_seconds // 3,
        0,
        duration_seconds - SDK_REFRESH_MARGIN_SECONDS,
        "of seconds ",
    )
    sts_calls_per_second = settings.number(
        "StsCallsPerSecond", STS_CALLS_PER_SECOND, 1, 10_000
    )
    role_session_name = settings.matching(
        "RoleSessionName",
        ROLE_SESSION_NAME,
        "2 to 64 letters, digits and . @ - _",
        "client_name",  # as in the PHP sample
    )
    protocol, endpoint = sts_endpoint(settings, warnings)
    policy, policy_file = session_policy(path, settings, warnings, read)

    warnings += settings.unknown()
    if settings.problems:
        raise ConfigError(*settings.problems)
    return Config(
        AssumeRoleCall(
            protocol=protocol,
            endpoint=endpoint,
            access_key_id=access_key_id,
            access_key_secret=access_key_secret,
            role_arn=role_arn,
            role_session_name=role_session_name,
            duration_seconds=duration_seconds,
            policy=policy,
        ),
        token_reuse_seconds=token_reuse_seconds,
        sts_calls_per_second=sts_calls_per_second,
        description=f"tokens of {duration_seconds} s, {policy_file or 'no policy'}",
        warnings=tuple(warnings),
    )


def is_open_to_others(path: Path) -> bool:
    """Return whether the group or the world may read the file; never on Windows."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def sts_endpoint(settings: Settings, warnings: list[str]) -> tuple[str, str]:
    """Return protocol and host[:port] of StsEndpoint, which may also be a URL."""
    value = settings.text("StsEndpoint", "sts.aliyuncs.com")
    match = re.fullmatch(
        r"(?:(https?)://)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?/?",
        value,
    )
    if not match or not 0 < int(match[3] or 443) < 65536:
        form = "a host, host:port, http://host:port or https://host:port"
        settings.note("StsEndpoint", f"is {value!r}; it must be {form}")
        return "", ""
    protocol, host, port = match[1] or "https", match[2], match[3]
    if protocol == "http" and not re.match(r"localhost$|127\.|\[::1\]", host):
        warnings.append(
            f"{settings.where}: StsEndpoint is plain HTTP; anyone on the way to it "
            "can read the tokens"
        )
    return protocol, f"{host}:{port}" if port else host


def session_policy(
    path: Path,
    settings: Settings,
    warnings: list[str],
    read: Callable[[Path], bytes],
) -> tuple[str | None, str]:
    """Return the rendered session policy and its file's name, or None and ""."""
    values = {  # of the placeholders
        "BUCKET_NAME": settings.matching(
            "BucketName",
            BUCKET_NAME,
            "3 to 63 lower-case letters, digits and -, as the OSS console shows it",
        ),
        "OBJECT_PREFIX": settings.matching(
            "ObjectPrefix",
            OBJECT_PREFIX,
            "the beginning of an object name: no / or \\ first, no control characters, "
            "no * or ?, which a policy takes for wildcards",
        ),
    }
    policy_file = settings.text("PolicyFile")
    if not settings.has("PolicyFile"):
        form = "a session policy template, such as policy/bucket_write_policy.txt"
        settings.note("PolicyFile", f"is missing; it must name {form}")
        return None, ""
    if not policy_file:
        warnings.append(
            f"{settings.where}: PolicyFile is empty; a token may do everything that "
            "the role may do"
        )
        return None, ""
    try:
        policy_path = path.parent / policy_file
        template = PolicyTemplate(str(policy_path), read(policy_path))
        warnings += template.warnings()
        return template.render(values), policy_file
    except ConfigError as error:
        settings.problems += error.problems
        return None, policy_file


def read_file(path: Path) -> bytes:
    """Return the bytes of *path*.  Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    except ValueError:  # a null character in the name
        raise ConfigError(f"{printable(str(path))}: is no file name") from None
    if len(content) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_CONFIG_BYTES} bytes")
    return content


class LiveConfig:
    """The configuration in force: the newest that was right.

    The reference servers read their files for every request.  This reads them again at
    most every CONFIG_LOOK_SECONDS, and compares contents: no way of writing a file, nor
    a clock, can hide an edit.  A wrong edit is logged and changes nothing.

    Raises ConfigError if the first configuration is wrong.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looking = threading.Lock()  # held by the one thread that reads the files
        self._seen: dict[Path, bytes | None] = {}  # what the last load read
        self._next_look = clock() + CONFIG_LOOK_SECONDS
        self._config = self._load()

    def current(self) -> Config:
        """Return the configuration to use now."""
        if self._clock() >= self._next_look and self._looking.acquire(blocking=False):
            try:
                self._next_look = self._clock() + CONFIG_LOOK_SECONDS
                self._look()
            finally:
                self._looking.release()
        return self._config

    def _look(self) -> None:
        """Take up an edit of the files, if there is one and it is right."""
        if all(self._content(path) == seen for path, seen in self._seen.items()):
            return
        try:
            self._config = self._load()
        except ConfigError as error:
            for problem in error.problems:
                logger.error("%s", problem)
            logger.error("the configuration read before stays in force")
        else:
            logger.info("new configuration: %s", self._config.description)

    def _load(self) -> Config:
        self._seen = {}
        config = load_config(self._path, self._read)
        for warning in config.warnings:
            logger.warning("%s", warning)
        return config

    def _read(self, path: Path) -> bytes:
        self._seen[path] = None
        content = self._seen[path] = read_file(path)
        return content

    def _content(self, path: Path) -> bytes | None:
        try:
            return read_file(path)
        except ConfigError:
            return None


# --- STS client -----------------------------------------------------------------


@dataclass(frozen=True)
class Credentials:
    """What AssumeRole returned; handed out as one set."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(repr=False)
    expiration: str  # YYYY-MM-DDThh:mm:ssZ, as STS wrote it
    last_updated: str  # when STS was asked, in the same form


CREDENTIAL_FIELDS = (
    "access_key_id",
    "access_key_secret",
    "security_token",
    "expiration",
)
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
EXPIRATION = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)

# What an STS message could reveal: the string to sign repeats the whole request.
REVEALING = re.compile(
    r"server string to sign is.*|acs:ram:\S*|https?://\S*", re.DOTALL
)

# The logger names of the SDK and what it stands on.  They print requests with their
# signatures, URLs with the session policy, and tracebacks.
SDK_LOGGERS = ("darabonba-core", "alibabacloud-tea", "credentials", "urllib3")


def import_sdk() -> SimpleNamespace:
    """Return the parts of the STS SDK used here.  Raises ConfigError without it."""
    try:
        from alibabacloud_credentials.client import Client as CredentialChain
        from alibabacloud_sts20150401.client import Client
        from alibabacloud_sts20150401.models import AssumeRoleRequest
        from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
        from alibabacloud_tea_openapi.utils_models import Config as ClientConfig
        from darabonba.exceptions import RetryError
        from darabonba.runtime import RuntimeOptions
    except ImportError as error:
        raise ConfigError(
            f"the STS SDK cannot be imported ({error}); "
            "run: pip install alibabacloud-sts20150401"
        ) from None
    for name in SDK_LOGGERS:
        sdk_logger = logging.getLogger(name)
        sdk_logger.handlers = [logging.NullHandler()]
        sdk_logger.propagate = False
    return SimpleNamespace(
        AlibabaCloudException=AlibabaCloudException,
        AssumeRoleRequest=AssumeRoleRequest,
        Client=Client,
        ClientConfig=ClientConfig,
        CredentialChain=CredentialChain,
        RetryError=RetryError,
        RuntimeOptions=RuntimeOptions,
    )


class CallGate:
    """Lets AssumeRole calls through: STS_MAX_CALLS at once, and evenly.

    The quota is for a second, and STS does not say when its seconds begin: two bursts,
    one in each, would be one of both for STS.  All times are those of *clock*.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._places = threading.BoundedSemaphore(STS_MAX_CALLS)
        self._lock = threading.Lock()  # guards the two below
        self._waiting = 0  # for a place
        self._next_turn_at = clock()

    def enter(self, deadline: float, calls_per_second: int) -> None:
        """Return when a call may begin; leave() must follow when it has ended.

        Raises StsError, and at once if that would be after *deadline*.
        """
        with self._lock:
            turn_at = max(self._clock(), self._next_turn_at)
            if turn_at + self._waiting / calls_per_second > deadline:
                raise too_many(calls_per_second)
            self._waiting += 1
        try:
            has_place = self._places.acquire(timeout=max(0.0, deadline - self._clock()))
        finally:
            with self._lock:
                self._waiting -= 1
        if not has_place:
            detail = f"{STS_MAX_CALLS} calls are under way"
            raise StsError(*UNREACHABLE, detail=detail, is_temporary=True)
        try:
            self.wait_for_turn(deadline, calls_per_second)
        except StsError:
            self.leave()
            raise

    def wait_for_turn(self, deadline: float, calls_per_second: int) -> None:
        """Return when another request may be sent.  Raises StsError."""
        with self._lock:
            now = self._clock()
            turn_at = max(now, self._next_turn_at)
            if turn_at > deadline:
                raise too_many(calls_per_second)
            self._next_turn_at = turn_at + 1 / calls_per_second
        self._sleep(turn_at - now)

    def leave(self) -> None:
        """Make room for another call."""
        self._places.release()


def too_many(calls_per_second: int) -> StsError:
    """Return the error for a call whose turn would come too late."""
    detail = f"StsCallsPerSecond is {calls_per_second}, and more are waiting"
    return StsError(*THROTTLED, detail=detail, is_temporary=True)


class StsClient:
    """AssumeRole, with one retry, within STS_DEADLINE_SECONDS whatever STS does.

    Importing the SDK takes most of the time this server needs to start; it is imported
    here, once.  Raises ConfigError if it is not installed.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._api = import_sdk()
        self._clock = clock
        self._gate = CallGate()
        self._lock = threading.Lock()  # guards the two below
        self._sdk_key: tuple[str, str, str, str] | None = None
        self._sdk: Any = None  # the shared SDK client, for the endpoint and pair above

    def assume_role(
        self, call: AssumeRoleCall, calls_per_second: int = STS_CALLS_PER_SECOND
    ) -> Credentials:
        """Return new credentials.  Raises StsError."""
        deadline = time.monotonic() + STS_DEADLINE_SECONDS
        self._gate.enter(deadline, calls_per_second)
        outcome: Future[Credentials] = Future()
        # A thread of its own: the SDK's timeouts start anew with each byte received, so
        # the only way out of a call whose answer drips is to leave it to itself.
        settle = threading.Thread(
            target=self._settle,
            args=(outcome, call, deadline, calls_per_second),
            daemon=True,
        )
        try:
            settle.start()
        except RuntimeError:  # the system has no thread for us
            self._gate.leave()
            raise
        try:
            return outcome.result(timeout=max(0.0, deadline - time.monotonic()))
        except FutureTimeoutError:
            detail = f"no answer within {STS_DEADLINE_SECONDS:g} s"
            raise StsError(*UNREACHABLE, detail=detail, is_temporary=True) from None

    def _settle(
        self,
        outcome: Future[Credentials],
        call: AssumeRoleCall,
        deadline: float,
        calls_per_second: int,
    ) -> None:
        """Settle *outcome* whatever happens, so that its caller does not hang."""
        try:
            try:
                outcome.set_result(self._attempt(call, deadline))
            except StsError as error:
                pause = random.uniform(*STS_RETRY_PAUSE_SECONDS)
                left = deadline - time.monotonic() - pause
                if not error.is_temporary or left < STS_RETRY_PAUSE_SECONDS[1]:
                    raise
                time.sleep(pause)
                self._gate.wait_for_turn(deadline, calls_per_second)
                outcome.set_result(self._attempt(call, deadline))
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            self._gate.leave()

    def _attempt(self, call: AssumeRoleCall, deadline: float) -> Credentials:
        """Call AssumeRole once.  Raises StsError."""
        request = self._api.AssumeRoleRequest(
            role_arn=call.role_arn,
            role_session_name=call.role_session_name,
            duration_seconds=call.duration_seconds,
            policy=call.policy,
        )
        left = max(0.1, deadline - time.monotonic())
        options = self._api.RuntimeOptions(  # milliseconds
            connect_timeout=int(min(STS_CONNECT_SECONDS, left) * 1000),
            read_timeout=int(min(STS_READ_SECONDS, left) * 1000),
        )
        asked_at = self._clock()
        try:
            response = self._sdk_for(call).assume_role_with_options(request, options)
        except self._api.AlibabaCloudException as error:
            raise refusal(error) from None
        except Exception as error:  # its text has the URL, and so the session policy
            raise self._failure(error) from None
        return self._credentials(response, asked_at)

    def _sdk_for(self, call: AssumeRoleCall) -> Any:
        """Return the SDK client, made anew only for another endpoint or key pair."""
        key = (
            call.protocol,
            call.endpoint,
            call.access_key_id,
            call.access_key_secret,
        )
        with self._lock:
            if key != self._sdk_key:
                options: dict[str, Any] = {
                    "protocol": call.protocol,
                    "endpoint": call.endpoint,
                    "max_idle_conns": STS_MAX_CALLS,  # else connections are thrown away
                }
                if call.access_key_id:
                    options["access_key_id"] = call.access_key_id
                    options["access_key_secret"] = call.access_key_secret
                else:
                    options["credential"] = DefaultCredentials(
                        self._api.CredentialChain
                    )
                self._sdk = self._api.Client(self._api.ClientConfig(**options))
                self._sdk_key = key
            return self._sdk

    def _failure(self, error: Exception) -> StsError:
        """Return what an SDK error means that holds no answer of STS."""
        inner = getattr(error, "inner_exception", None) or error
        if isinstance(inner, StsError):  # from DefaultCredentials
            return inner
        if isinstance(inner, self._api.RetryError):
            text = str(inner)
            reasons = (reason for clue, reason in IO_REASONS if clue in text)
            detail = next(reasons, "connection failed")
            return StsError(*UNREACHABLE, detail=detail, is_temporary=True)
        detail = f"not the JSON of an answer ({type(inner).__name__})"
        return StsError(*UNUSABLE, detail=detail, is_temporary=True)

    def _credentials(self, response: Any, asked_at: float) -> Credentials:
        """Return the credentials in an HTTP 200, which the SDK does not check."""
        body = getattr(response, "body", None)
        found = getattr(body, "credentials", None)
        values: dict[str, Any] = {
            name: getattr(found, name, None) for name in CREDENTIAL_FIELDS
        }
        if not all(isinstance(value, str) and value for value in values.values()):
            raise StsError(*UNUSABLE, detail="an answer without the four credentials")
        last_updated = time.strftime(TIME_FORMAT, time.gmtime(asked_at))
        credentials = Credentials(**values, last_updated=last_updated)
        if not is_later(credentials.expiration, self._clock()):
            raise StsError(*UNUSABLE, detail="an Expiration that is past or not a time")
        return credentials


# Clues in the text of the SDK's RetryError, the first that fits counts.
IO_REASONS = (
    ("NameResolutionError", "its name is not known"),
    ("ConnectTimeout", "no connection within the time limit"),
    ("timed out", "no answer within the time limit"),
    ("ProxyError", "the proxy failed"),
    ("SSLError", "TLS failed"),
    ("Connection refused", "connection refused"),
    ("actively refused", "connection refused"),  # Windows
    ("unreachable", "no route to it"),
    ("redirects", "it redirects without end"),
)


def refusal(error: Any) -> StsError:
    """Return an error answer of STS with its own Code and Message.

    The SDK's texts have the status and RequestId mixed in; the bare ones are in *data*.
    """
    data = error.data if isinstance(error.data, dict) else {}
    code = str(error.code)
    message = data.get("Message") or data.get("message")
    if code == "None" or not re.fullmatch(r"[\w.-]{1,100}", code, re.ASCII):
        detail = f"HTTP {error.status_code} without a Code"
        return StsError(*UNUSABLE, detail=detail, is_temporary=True)
    message = message if isinstance(message, str) else ""
    return StsError(
        code,
        REVEALING.sub("", message)[:1000].strip(),
        detail=f"RequestId {printable(str(error.request_id))[:64]}",
        is_temporary=error.status_code >= 500 or code.startswith("Throttling"),
    )


def instant(expiration: str) -> float:
    """Return the unix seconds of a time in the API's form.  Raises ValueError."""
    if not EXPIRATION.fullmatch(expiration):
        raise ValueError("is no time")
    moment = datetime.strptime(expiration, TIME_FORMAT)
    return moment.replace(tzinfo=timezone.utc).timestamp()


def is_later(expiration: str, now: float) -> bool:
    """Return whether *expiration* is a time, in the API's form, after *now*."""
    try:
        return instant(expiration) > now
    except ValueError:
        return False


class DefaultCredentials:
    """The default credential chain, which is not searched again right after it failed.

    Its last link asks the metadata service of ECS, which off the cloud answers nobody:
    each search that finds nothing takes 2 s.
    """

    def __init__(
        self, make_chain: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make_chain = make_chain
        self._chain: Any = None
        self._clock = clock
        self._searching = threading.Lock()  # held by the one thread that searches
        self._is_found = False
        self._search_again_at = -float("inf")

    def get_credential(self) -> Any:
        """Return the credentials to sign with, as the SDK wants them.

        Raises StsError, saying what was looked for.
        """
        if self._is_found:  # the chain stays with what it found, and renews it
            return self._ask()
        with self._searching:
            if self._clock() < self._search_again_at:
                raise self._error()
            try:
                credential = self._ask()
            except StsError:
                self._search_again_at = self._clock() + CREDENTIAL_CHAIN_PAUSE_SECONDS
                raise
            self._is_found = True
            return credential

    def _ask(self) -> Any:
        try:
            if self._chain is None:
                self._chain = self._make_chain()
            return self._chain.get_credential()
        except Exception:  # its text repeats what it read
            raise self._error() from None

    def _error(self) -> StsError:
        return StsError(
            *NO_CREDENTIALS,
            detail="AccessKeyID is not set, and there is none in the environment "
            "(ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET, or OIDC of a Kubernetes pod), "
            "~/.aliyun/config.json, ~/.alibabacloud/credentials.ini, the role of an "
            "ECS instance or ALIBABA_CLOUD_CREDENTIALS_URI",
        )


# --- Token reuse ----------------------------------------------------------------


def credential_fields(credentials: Credentials) -> Document:
    """Return the four fields that every client reads, named as in the API."""
    return {
        "AccessKeyId": credentials.access_key_id,
        "AccessKeySecret": credentials.access_key_secret,
        "SecurityToken": credentials.security_token,
        "Expiration": credentials.expiration,
    }


class Token:
    """Credentials with the documents that they are sent in, each encoded once."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials

    @cached_property
    def document(self) -> bytes:
        """What the reference servers send for a token."""
        return encode({"StatusCode": 200, **credential_fields(self.credentials)})

    @cached_property
    def uri_document(self) -> bytes:
        """What the SDKs expect of an ALIBABA_CLOUD_CREDENTIALS_URI."""
        fields = credential_fields(self.credentials)
        last_updated = self.credentials.last_updated
        return encode({"Code": "Success", **fields, "LastUpdated": last_updated})


@dataclass
class Entry:
    """What is known of one AssumeRoleCall."""

    token: Token | None = None
    fetched_at: tuple[float, float] = (0.0, 0.0)  # by the wall clock, and the monotonic
    expires_at: float = 0.0  # unix seconds
    flight: Future[Token] | None = None  # the AssumeRole under way
    error: StsError | None = None  # of the last flight
    retry_at: float = -float("inf")  # monotonic


class TokenCache:
    """Tokens by AssumeRoleCall, each fetched by one thread at a time.

    A token is fresh until it is as old as its reuse time; shortly before, a flight
    starts in the background, so that nobody has to wait for the next.  Callers that
    find none fresh share one flight.  While STS cannot be reached, or throttles, they
    get the old token as long as it is valid for more than SDK_REFRESH_MARGIN_SECONDS,
    below which the mobile SDKs would come back at once for another.

    Wall-clock time says how old and how valid a token is, as it goes on while the
    machine sleeps; so does the monotonic clock, which is never set back.  The one that
    leaves less is believed.  TOKENS_KEPT are kept: the longest unused makes room.
    """

    def __init__(
        self,
        assume_role: Callable[[AssumeRoleCall, int], Credentials],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._assume_role = assume_role
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()  # guards all below, not held during a call
        self._entries: OrderedDict[AssumeRoleCall, Entry] = OrderedDict()
        self._is_failing = False  # so that the log says once when it begins and ends

    def get(
        self, call: AssumeRoleCall, reuse_seconds: int, calls_per_second: int
    ) -> Token:
        """Return a token for *call*, fetched with others of *calls_per_second*.

        With a reuse time of 0 each is a new one.  Raises StsError.
        """
        if not reuse_seconds:
            return Token(self._assume_role(call, calls_per_second))
        ahead = min(REFRESH_AHEAD_SECONDS, reuse_seconds / 10)
        with self._lock:
            entry = self._entry(call)
            now, monotonic = self._clock(), self._monotonic()
            wall_clock_age, monotonic_age = (
                now - entry.fetched_at[0],
                monotonic - entry.fetched_at[1],
            )
            age = max(wall_clock_age, monotonic_age)
            left = min(entry.expires_at - now, call.duration_seconds - monotonic_age)
            old = entry.token if left > SDK_REFRESH_MARGIN_SECONDS else None
            if old and age < reuse_seconds - ahead:
                return old
            error, flight, led = entry.error, entry.flight, None
            if flight is None and monotonic >= entry.retry_at:
                led = flight = entry.flight = Future()
        lead = partial(self._lead, call, calls_per_second, entry)
        is_fresh = age < reuse_seconds
        if old and (is_fresh or (error and error.is_temporary)):
            if led:
                in_background(partial(lead, led))
            return old
        if flight is None:
            assert error
            raise error.again()  # the kept one would keep the frames of its callers
        if led and old:
            in_background(partial(lead, led))
        elif led:
            lead(led)
        try:
            return flight.result(STALE_SECONDS if old else None)
        except FutureTimeoutError:
            if old:
                return old
            raise
        except StsError as failure:
            if old and failure.is_temporary:
                return old
            raise

    def _entry(self, call: AssumeRoleCall) -> Entry:
        """Return the entry of *call*, which is now the last that was used."""
        entry = self._entries.get(call)
        if entry is None:
            entry = self._entries[call] = Entry()
            if len(self._entries) > TOKENS_KEPT:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(call)
        return entry

    def _lead(
        self,
        call: AssumeRoleCall,
        calls_per_second: int,
        entry: Entry,
        flight: Future[Token],
    ) -> None:
        """Call STS and settle *flight* whatever happens, so that no waiter hangs."""
        fetched_at = self._clock(), self._monotonic()
        try:
            credentials = self._assume_role(call, calls_per_second)
            expires_at = instant(credentials.expiration)
        except BaseException as error:
            if not isinstance(error, StsError):
                logger.exception("failed to fetch a token")
                error = StsError(*INTERNAL, detail="see above")
            with self._lock:
                entry.flight, entry.error = None, error.again()
                entry.retry_at = self._monotonic() + FAILURE_SECONDS
                is_news, self._is_failing = not self._is_failing, True
            if is_news:
                logger.warning(
                    "STS gives no token: %s (%s); those that it gave before are handed "
                    "out while they last, if this is temporary",
                    error.code,
                    error.detail,
                )
            flight.set_exception(error)
        else:
            token = Token(credentials)
            with self._lock:
                entry.token, entry.fetched_at = token, fetched_at
                entry.expires_at = expires_at
                entry.flight = entry.error = None
                is_news, self._is_failing = self._is_failing, False
            if is_news:
                logger.warning("STS gives tokens again")
            flight.set_result(token)


def in_background(work: Callable[[], None]) -> None:
    """Do *work* in a thread of its own; if the system has none, at once."""
    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError:
        work()


# --- HTTP server and handler ----------------------------------------------------

CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,63}", re.ASCII)


def token_error(error: StsError) -> Document:
    """Return what the reference servers send when AssumeRole failed."""
    return error_document(500, error.code, error.message)


def uri_error(error: StsError) -> Document:
    """Return what the SDKs expect of one: any Code but Success."""
    return {"Code": error.code, "Message": error.message}


class TokenServer(StrictServer):
    """Serves tokens as *config* has them now."""

    def __init__(
        self, bind: str | None, port: int, config: LiveConfig, tokens: TokenCache
    ) -> None:
        """Listen on *port* of the address *bind*, by default of every address.

        Raises OSError.
        """
        self.config = config
        self.tokens = tokens
        super().__init__(bind, port, TokenRequestHandler)


class TokenRequestHandler(StrictHandler):
    """Credentials for whoever asks, or the reason why not."""

    server: TokenServer

    def do_GET(self) -> None:
        """Send credentials in the form that the path asks for."""
        if self.path == "/healthz":
            self.send_body(HTTPStatus.OK, encode({"Status": "OK"}))
        elif self.path == "/favicon.ico":
            raise RequestError("NotFound")
        else:
            self.send_credentials()

    do_POST = do_GET
    do_HEAD = do_GET

    def callback(self) -> str:
        """Return the name of the function that the document goes to, mostly none.

        Raises RequestError.
        """
        names = parse_qs(self.query, keep_blank_values=True).get("callback", [])
        if names and (len(names) > 1 or not CALLBACK.fullmatch(names[0])):
            raise RequestError("InvalidCallback")
        return names[0] if names else ""

    def send_credentials(self) -> None:
        """Send a token, or why there is none, in the form that the path asks for."""
        is_uri = self.path == "/credentials"
        callback = "" if is_uri else self.callback()
        content_type = JAVASCRIPT_TYPE if callback else JSON_TYPE
        if self.command == "HEAD":  # no AssumeRole, so its length is not known
            self.log_reply(HTTPStatus.OK)
            self.send_reply(HTTPStatus.OK, f"Content-Type: {content_type}\r\n")
            return
        config = self.server.config.current()
        call = config.call
        status, detail = HTTPStatus.OK, ""
        try:
            token = self.server.tokens.get(
                call, config.token_reuse_seconds, config.sts_calls_per_second
            )
            body = token.uri_document if is_uri else token.document
            outcome = token.credentials.access_key_id
        except Exception as error:
            if not isinstance(error, StsError):
                logger.exception("failed on a request from %s", self.client)
                error = StsError(*INTERNAL, detail="see above")
            if is_uri:
                status = HTTPStatus.BAD_GATEWAY
            # Else the status is 200: the Android SDK reads no other body.
            body = encode(uri_error(error) if is_uri else token_error(error))
            outcome, detail = error.code, error.detail
        if callback:
            body = b"%s( %s )" % (callback.encode("ascii"), body)
        self.send_body(
            status,
            body,
            outcome,
            call.role_session_name,
            detail,
            content_type=content_type,
        )


# --- Command line ---------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Run the server, or print one token; return the exit status."""
    options = parse_arguments(argv)
    log_to_stderr()
    try:
        config = LiveConfig(options.config)
        sts = StsClient()
    except ConfigError as error:
        for problem in error.problems:
            print(f"sts_server: {problem}", file=sys.stderr)
        return 2
    if options.once:
        return print_token(config, sts)
    raise_file_limit()
    try:
        tokens = TokenCache(sts.assume_role)
        server = TokenServer(options.bind, options.port, config, tokens)
    except (OSError, UnicodeError) as error:  # the latter for what is no host name
        place = f"{options.bind or 'all addresses'} port {options.port}"
        reason = getattr(error, "strerror", None) or error
        print(f"sts_server: cannot listen on {place}: {reason}", file=sys.stderr)
        return 1
    return serve(server, welcome(server))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line; they are those of http.server."""
    parser = argparse.ArgumentParser(
        prog="sts_server.py",
        description="Serve temporary credentials for direct uploads to OSS.",
    )
    parser.add_argument(
        "port",
        nargs="?",
        type=port_number,
        default=DEFAULT_PORT,
        help="port to listen on (default: %(default)s; 0 takes any that is free)",
    )
    parser.add_argument(
        "--bind", metavar="ADDRESS", help="address to listen on (default: all)"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=Path("config.json"),
        help="configuration file (default: %(default)s)",
    )
    parser.add_argument(
        "--once", action="store_true", help="print one token document and exit"
    )
    parser.add_argument(
        "--version", action="version", version=f"sts-server {__version__}"
    )
    return parser.parse_args(argv)


def port_number(text: str) -> int:
    """Return a port given on the command line.  Raises ArgumentTypeError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)


def log_to_stderr() -> None:
    """Send our log to stderr, and that of other packages nowhere."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
    # What no line shows need not be found out ("Optimization", Logging HOWTO).
    logging._srcfile = ""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class LogFormatter(logging.Formatter):
    """Lines that begin with local time and its offset."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the second of *record*."""
        return log_time(int(record.created))


@lru_cache(maxsize=2)  # a second has many lines
def log_time(seconds: int) -> str:
    """Return unix *seconds* as the log has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def print_token(config: LiveConfig, sts: StsClient) -> int:
    """Print one token document; return 0, or 1 when it is an error."""
    try:
        document = Token(sts.assume_role(config.current().call)).document
        status = 0
    except StsError as error:
        logger.error("%s (%s)", error.code, error.detail)
        document = encode(token_error(error))
        status = 1
    print(document.decode("ascii"))
    return status


def raise_file_limit() -> None:
    """Let the process open as many files as it is allowed to, as a JVM does.

    Each connection is one, and often 1024 is the limit that a process starts with.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def welcome(server: TokenServer) -> str:
    """Return what is served and where, and who may have it."""
    lines = [f"sts-server {__version__}: {server.config.current().description}"]
    for address in addresses(server.server_address[0]):
        host = f"[{address}]" if ":" in address else address
        lines.append(f"  http://{host}:{server.server_port}/")
    return "\n".join([*lines, "Whoever reaches this port gets a token. Ctrl-C stops."])


def addresses(bound: Any) -> list[str]:
    """Return the addresses to reach a server at that is bound to *bound*."""
    if not ipaddress.ip_address(bound).is_unspecified:
        return [bound]
    found = ["127.0.0.1"]
    # To "connect" a UDP socket sends nothing; the system only chooses the interface
    # that leads to the address, one of those for documentation.
    families = [(socket.AF_INET, "192.0.2.1")]
    if ":" in bound:
        families.append((socket.AF_INET6, "2001:db8::1"))
    for family, anywhere in families:
        with (
            contextlib.suppress(OSError),
            socket.socket(family, socket.SOCK_DGRAM) as probe,
        ):
            probe.connect((anywhere, 9))
            found.append(probe.getsockname()[0])
    return found


def serve(server: TokenServer, message: str) -> int:
    """Print *message* and serve until SIGINT or SIGTERM; then finish and return 0.

    A second signal ends the process at once.
    """

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if server.is_stopping:
            os._exit(0)
        server.is_stopping = True  # the accepting thread looks twice a second

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with contextlib.suppress(OSError):  # a full disk
        print(message, flush=True)
    with contextlib.suppress(Stopped):
        server.serve_forever()
    server.drain(DRAIN_SECONDS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
