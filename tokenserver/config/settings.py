"""The settings of config.json: a table for each object in the file, and their readers.

A Setting has a name, a reader that checks its value, and a default.  A Section has the
values of one object of the file; it notes each problem with file, key, value and bound,
so that all of them are shown at once.

The names are those of the reference packages, where these have one.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tokenserver.config.resources import BUCKET_FORM, BUCKET_NAME
from tokenserver.hosts import BaseUrl, base_url
from tokenserver.logs import printable
from tokenserver.oss.terms import MAX_OBJECT_BYTES, TOKEN, TYPES

T = TypeVar("T")

# --- Readers --------------------------------------------------------------------
# Each returns a value of config.json in the form in which it is used, or raises
# ValueError with a text to put after the key: what is wrong, and what is allowed.

Reader = Callable[[Any], T]


def text(value: Any) -> str:
    """Return a string."""
    if isinstance(value, str):
        return value
    raise ValueError(f"must be a string, not {type(value).__name__}")


def texts(value: Any) -> tuple[str, ...]:
    """Return strings, which may be one or a list."""
    items = [value] if isinstance(value, str) else value
    if isinstance(items, list) and all(isinstance(item, str) for item in items):
        return tuple(items)
    raise ValueError("must be a string or a list of strings")


def flag(value: Any) -> bool:
    """Return a truth value."""
    if isinstance(value, bool):
        return value
    raise ValueError(f"is {json.dumps(value)[:80]}; it must be true or false")


def section(value: Any) -> dict[str, Any]:
    """Return a JSON object, which has its own settings."""
    if isinstance(value, dict):
        return value
    raise ValueError("must be an object, {...}")


def section_or_false(value: Any) -> dict[str, Any] | None:
    """Return an object, which has settings of its own, None for false."""
    if value is False:
        return None
    if isinstance(value, dict):
        return value
    raise ValueError("must be an object, {...}, or false")


def key_text(value: Any) -> str:
    """Return a part of a key pair.  The message of an error does not repeat it."""
    found = text(value)
    if found and not re.fullmatch(r"[!-~]+", found):
        raise ValueError(
            "contains a space or another character that cannot occur in a key"
        )
    return found


def matching(pattern: str, bound: str, may_be_empty: bool = True) -> Reader[str]:
    """Return a reader of strings that match *pattern*, or are empty."""

    def read(value: Any) -> str:
        found = text(value)
        is_empty = may_be_empty and not found
        if not is_empty and not re.fullmatch(pattern, found):
            raise ValueError(f"is {found!r:.100}; it must be {bound}")
        return found

    return read


def url(value: Any) -> BaseUrl:
    """Return a host, or a URL without a path."""
    found = text(value)
    try:
        return base_url(found)
    except ValueError:
        form = "a host, host:port, http://host:port or https://host:port"
        raise ValueError(f"is {found!r:.100}; it must be {form}") from None


def number(low: int, high: int, unit: str = "") -> Reader[int]:
    """Return a reader of whole numbers; the reference packages write them quoted."""

    def read(value: Any) -> int:
        found = value
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value):
            found = int(value)
        if type(found) is int and low <= found <= high:
            return found
        bound = f"a whole number {unit}from {low} to {high}"
        raise ValueError(f"is {json.dumps(found)[:80]}; it must be {bound}")

    return read


def one_of(*allowed: str) -> Reader[str]:
    """Return a reader of a few strings."""

    def read(value: Any) -> str:
        found = text(value)
        if found in allowed:
            return found
        near = [name for name in allowed if name.lower() == found.lower()]
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"is {found!r:.100}; it must be {' or '.join(allowed)}{hint}")

    return read


def some_of(pattern: str, bound: str) -> Reader[tuple[str, ...]]:
    """Return a reader of one string or more that match *pattern*."""

    def read(value: Any) -> tuple[str, ...]:
        found = texts(value)
        for item in found:
            if not re.fullmatch(pattern, item):
                raise ValueError(f"has {item!r:.100}; it must be {bound}")
        if not found:
            raise ValueError(f"is empty; leave it out, or have {bound} in it")
        return tuple(dict.fromkeys(found))

    return read


# --- The tables -----------------------------------------------------------------


@dataclass(frozen=True)
class Setting(Generic[T]):
    """A setting, and its value if the file does not have it."""

    name: str
    read: Reader[T]
    default: T
    is_secret: bool = False


# AssumeRole, as its API page gives them.  The role's own maximum is checked by STS.
MIN_DURATION_SECONDS = 900
MAX_DURATION_SECONDS = 43200
ROLE_ARN_FORM = "acs:ram::<account>:role/<name>, as the RAM console shows it"

# Both mobile SDKs fetch a new token when less than this is left of the old one, so a
# token with less than this left is of no use to them (OSSAuthCredentialsProvider).
SDK_REFRESH_MARGIN_SECONDS = 300
MAX_REUSE_SECONDS = MAX_DURATION_SECONDS - SDK_REFRESH_MARGIN_SECONDS

MIN_SIGNATURE_SECONDS = 10  # a form or URL that is valid for less is of no use
MAX_SIGNATURE_SECONDS = MAX_REUSE_SECONDS
TYPE_NAME = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}"  # RFC 6838, section 4.2

STS_QUOTA = 100  # calls a second of a whole cloud account (STS FAQ)
STS_CALLS_PER_SECOND = STS_QUOTA * 4 // 5  # of this process, unless configured

# The clocks of two machines may differ by the leeway.
LEEWAY_SECONDS = 60
MAX_LEEWAY_SECONDS = 300

# The form of IDs of RAM and STS; an AccessKeySecret is 30 other letters and digits.
ACCESS_KEY_ID_FORM = re.compile(r"(LTAI|STS\.)[A-Za-z0-9]{1,124}")

ACCESS_KEY_ID = Setting("AccessKeyID", key_text, "", is_secret=True)
ACCESS_KEY_ID_OF_SDKS = Setting("AccessKeyId", key_text, "", is_secret=True)
ACCESS_KEY_SECRET = Setting("AccessKeySecret", key_text, "", is_secret=True)
ROLE_ARN = Setting(
    "RoleArn",
    matching(r"acs:ram::[0-9]+:role/[A-Za-z0-9._-]{1,64}", ROLE_ARN_FORM),
    "",
)
STS_RATE = Setting("StsCallsPerSecond", number(1, 10_000), STS_CALLS_PER_SECOND)
STS_ENDPOINT = Setting("StsEndpoint", url, base_url("sts.aliyuncs.com"))
ROLE_SESSION_NAME = Setting(
    "RoleSessionName",
    matching(
        r"[A-Za-z0-9.@_-]{2,64}",
        "2 to 64 letters, digits and . @ - _",
        may_be_empty=False,
    ),
    "client_name",  # as in the PHP sample
)
ALLOWED_ORIGINS = Setting[tuple[str, ...]]("AllowedOrigins", texts, ("*",))
TRUSTED_PROXIES = Setting[tuple[str, ...]]("TrustedProxies", texts, ())
AUTHENTICATION = Setting[dict[str, Any]]("Authentication", section, {})
DENIED_USERS_FILE = Setting("DeniedUsersFile", text, "")
GRANTS = Setting[dict[str, Any]]("Grants", section, {})
CALLBACK = Setting[dict[str, Any] | None]("Callback", section_or_false, None)

POLICY_FILE = Setting("PolicyFile", text, "")
BUCKET = Setting(
    "BucketName",
    matching(BUCKET_NAME.pattern, f"{BUCKET_FORM}, as the OSS console shows it"),
    "",
)
OBJECT_PREFIX = Setting(
    "ObjectPrefix",
    matching(
        r"(?![/\\])[^*?\x00-\x1f\x7f-\x9f]*",
        "the beginning of an object name: no / or \\ first, no control characters, "
        "no * or ?, which a policy takes for wildcards",
    ),
    "",
)
REGION = Setting(
    "Region",
    matching(
        r"(?!oss-)[a-z]{2}(-[a-z0-9]+)+",
        'a region ID such as cn-hangzhou, without "oss-"',
    ),
    "",
)
# Their defaults depend on Region, and on BucketName.
ENDPOINT = Setting[BaseUrl | None]("Endpoint", url, None)
HOST = Setting[BaseUrl | None]("Host", url, None)
TOKEN_EXPIRE_TIME = Setting(
    "TokenExpireTime",
    number(MIN_DURATION_SECONDS, MAX_DURATION_SECONDS, "of seconds "),
    MIN_DURATION_SECONDS,
)
# Its bound and its default depend on TokenExpireTime.
TOKEN_REUSE_TIME = Setting(
    "TokenReuseTime", number(0, MAX_REUSE_SECONDS, "of seconds "), -1
)
CREDENTIALS_URI = Setting("CredentialsUri", flag, False)

# What a grant signs.  They are in Grants only, and no default comes from the top.
TYPE = Setting("Type", one_of(*TYPES), TOKEN)
METHOD = Setting("Method", one_of("PUT", "GET"), "PUT")
# Its bound depends on TokenExpireTime.
SIGNATURE_EXPIRE_TIME = Setting(
    "SignatureExpireTime",
    number(MIN_SIGNATURE_SECONDS, MAX_SIGNATURE_SECONDS, "of seconds "),
    SDK_REFRESH_MARGIN_SECONDS,
)
MIN_SIZE = Setting("MinSize", number(0, MAX_OBJECT_BYTES, "of bytes "), 0)
MAX_SIZE = Setting(
    "MaxSize", number(1, MAX_OBJECT_BYTES, "of bytes "), MAX_OBJECT_BYTES
)
CONTENT_TYPES = Setting[tuple[str, ...]](
    "ContentTypes",
    some_of(
        rf"{TYPE_NAME}/({TYPE_NAME}(; ?charset=[a-z0-9_-]+)?|\*)",
        "types in lower case such as image/png, or image/*",
    ),
    (),
)
FORBID_OVERWRITE = Setting("ForbidOverwrite", flag, False)
OBJECT_NAME = Setting("ObjectName", text, "")
PROCESSES = Setting[tuple[str, ...]](
    "Processes",
    some_of(r"[!-~]+", "values of x-oss-process such as image/resize,w_200"),
    (),
)
URL_ONLY = Setting("UrlOnly", flag, False)

SIGNED_SETTINGS: tuple[Setting[Any], ...] = (
    TYPE,
    METHOD,
    SIGNATURE_EXPIRE_TIME,
    MIN_SIZE,
    MAX_SIZE,
    CONTENT_TYPES,
    FORBID_OVERWRITE,
    OBJECT_NAME,
    PROCESSES,
    URL_ONLY,
)

GRANT_SETTINGS: tuple[Setting[Any], ...] = (
    POLICY_FILE,
    BUCKET,
    OBJECT_PREFIX,
    REGION,
    ENDPOINT,
    HOST,
    TOKEN_EXPIRE_TIME,
    TOKEN_REUSE_TIME,
    CREDENTIALS_URI,
    CALLBACK,
)
SETTINGS: tuple[Setting[Any], ...] = (
    ACCESS_KEY_ID,
    ACCESS_KEY_ID_OF_SDKS,
    ACCESS_KEY_SECRET,
    ROLE_ARN,
    ROLE_SESSION_NAME,
    STS_ENDPOINT,
    STS_RATE,
    *GRANT_SETTINGS,
    ALLOWED_ORIGINS,
    TRUSTED_PROXIES,
    AUTHENTICATION,
    DENIED_USERS_FILE,
    GRANTS,
)

ISSUER = Setting("Issuer", text, "")
AUDIENCE = Setting[tuple[str, ...]]("Audience", texts, ())
SECRET_FILE = Setting("SecretFile", text, "")
PUBLIC_KEY_FILE = Setting("PublicKeyFile", text, "")
JWKS_URL = Setting("JwksUrl", text, "")
ALGORITHMS = Setting[tuple[str, ...]]("Algorithms", texts, ())
LEEWAY = Setting("Leeway", number(0, MAX_LEEWAY_SECONDS, "of seconds "), LEEWAY_SECONDS)
USER_CLAIM = Setting("UserClaim", text, "sub")

KEY_PLACES = (SECRET_FILE, PUBLIC_KEY_FILE, JWKS_URL)
LOGIN_SETTINGS: tuple[Setting[Any], ...] = (
    ISSUER,
    AUDIENCE,
    *KEY_PLACES,
    ALGORITHMS,
    LEEWAY,
    USER_CLAIM,
)

CALLBACK_URL = Setting("Url", text, "")
VARIABLES = Setting[tuple[str, ...]]("Variables", texts, ())
UPLOADS_FILE = Setting("UploadsFile", text, "")
FORWARD_URL = Setting("ForwardUrl", text, "")
CALLBACK_SETTINGS: tuple[Setting[Any], ...] = (
    CALLBACK_URL,
    SECRET_FILE,
    VARIABLES,
    UPLOADS_FILE,
    FORWARD_URL,
    PUBLIC_KEY_FILE,
)


# --- The values of a file -------------------------------------------------------


class Section:
    """The values for the settings *known* in one JSON object of the file *where*.

    A setting that is missing here is looked for in *common*.  Problems are added to
    *problems*, which all sections of a file share.
    """

    def __init__(
        self,
        where: str,
        values: Mapping[str, Any],
        known: Sequence[Setting[Any]],
        problems: list[str],
        common: Section | None = None,
    ) -> None:
        self.where = where
        self.problems = problems
        self.values = values
        self._known = known
        self._names = {setting.name for setting in known}
        self._common = common
        self._used: set[str] = set()  # names of settings that have an effect

    def __getitem__(self, setting: Setting[T]) -> T:
        """Return the value of *setting*, or its default if the value is wrong."""
        return self.get(setting, setting.default)

    def get(self, setting: Setting[T], instead: T) -> T:
        """Return the value of *setting*, or *instead* if the value is wrong."""
        values = self._owner(setting.name).values
        if setting.name not in values:
            return setting.default
        try:
            return setting.read(values[setting.name])
        except ValueError as error:
            self.note(setting.name, str(error))
            return instead

    def __contains__(self, setting: Setting[Any]) -> bool:
        """Return whether the file has *setting*, even with a wrong value."""
        return setting.name in self._owner(setting.name).values

    def note(self, name: str, problem: str) -> None:
        """Add a problem of the setting *name*."""
        self.problems.append(f"{self._owner(name).where}: {name} {problem}")

    def _owner(self, name: str) -> Section:
        """Return the section that *name* is read from."""
        common = self._common
        if common and name not in self.values and name in common.values:
            return common if name in common._names else self
        return self

    def use(self, setting: Setting[Any]) -> None:
        """Remember that the value of *setting* has an effect."""
        self._owner(setting.name)._used.add(setting.name)

    def idle(self, settings: Iterable[Setting[Any]]) -> Iterator[tuple[str, Any]]:
        """Yield name and value of each of *settings* that is set without effect."""
        for setting in settings:
            is_set = self.values.get(setting.name, "") != ""
            if is_set and setting.name not in self._used:
                yield setting.name, self.values[setting.name]

    def unknown(self) -> Iterator[tuple[str, str]]:
        """Yield each key that is not a setting here, and a text to put after it."""
        names = [setting.name for setting in self._known]
        nearest = {name.lower(): name for name in reversed(names)}
        for key in sorted(set(self.values) - set(names)):
            close = difflib.get_close_matches(key.lower(), nearest, n=1)
            hint = f"; did you mean {nearest[close[0]]}?" if close else ""
            yield key, f"is not a setting{hint}"

    def refuse_unknown(self) -> None:
        """Add a problem for each key that is not a setting here."""
        for key, problem in self.unknown():
            self.note(printable(key), problem)

    def shown(self) -> Iterator[tuple[str, str]]:
        """Yield names and values of the settings in the file, without secrets."""
        for setting in self._known:
            value = self.values.get(setting.name)
            if setting.is_secret:
                yield setting.name, "set" if value else "not set"
            elif setting.name in self.values and not isinstance(value, dict):
                yield setting.name, json.dumps(value, ensure_ascii=False)
