"""What an operator configures: config.json, the files it names, and TLS certificates.

load_config() reads config.json whole and notes every problem; LiveConfig is the
configuration in force, which an edit replaces if it is right.  A Config has a Grant for
each path that tokens are handed out on: the AssumeRole call to make, its session policy
rendered from a template.  Where users log in, the policy and the RoleSessionName are
completed for each of them.

Sources: "AssumeRole" (STS API reference), "Policy elements" (RAM), "Bucket naming" and
"Object naming" (OSS documentation).
"""

from __future__ import annotations

import contextlib
import difflib
import enum
import ipaddress
import itertools
import json
import logging
import math
import os
import re
import secrets
import ssl
import string
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

from tokenserver.httpd.server import HttpSettings, printable
from tokenserver.login import verifier as sts_login
from tokenserver.login.verifier import (
    MAX_USER_BYTES,
    JwksKeys,
    Keys,
    LoginError,
    LoginRules,
    LoginSetupError,
    LoginVerifier,
)

logger = logging.getLogger("sts_server")

T = TypeVar("T")
Read = Callable[[Path], bytes]  # returns the bytes of a file, or raises ConfigError

# --- Constants ------------------------------------------------------------------

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
LOOK_SECONDS = 1.0  # between two looks at the files

# Logins.  The clocks of two machines may differ by the leeway.
LEEWAY_SECONDS = 60
MAX_LEEWAY_SECONDS = 300
KEY_PLACES = ("SecretFile", "PublicKeyFile", "JwksUrl")

# Grants
GRANT_KEYS = (
    "PolicyFile",
    "BucketName",
    "ObjectPrefix",
    "TokenExpireTime",
    "TokenReuseTime",  # which TokenExpireTime bounds
    "CredentialsUri",
)
GRANT_PATH = re.compile(r"/|(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+")  # as in a URL
MAX_GRANTS = 100
RESERVED_PATHS = ("/credentials", "/healthz", "/readyz", "/favicon.ico")

# What RAM and STS give out; an AccessKeySecret has 30 other letters and digits.
ACCESS_KEY_ID = re.compile(r"(LTAI|STS\.)[A-Za-z0-9]{1,124}")

# As browsers send them: in lower case, and without a default port
ORIGIN = re.compile(
    r"(?!https://.*:443$|http://.*:80$)[a-z][a-z0-9+.-]*://"
    r"([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?"
)
STS_QUOTA = 100  # calls a second of a whole cloud account (STS FAQ)
STS_CALLS_PER_SECOND = STS_QUOTA * 4 // 5  # of this process, unless configured


class ConfigError(Exception):
    """What the operator must change before the server can use its configuration.

    *problems* has one line for each, naming file, key, value and bound.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


# --- Patterns -------------------------------------------------------------------

WILDCARD = re.compile(r"[*?]")
ANY_RUN, ANY_ONE = "any run", "any one"  # tokens; each other token is a character


def wildcards(pattern: str) -> list[str]:
    """Return the tokens of *pattern*: * is any run of characters, ? is any one."""
    return [{"*": ANY_RUN, "?": ANY_ONE}.get(letter, letter) for letter in pattern]


class Pattern:
    """A pattern of RAM, read character by character, to see where a text may lead.

    After each character there is a set of positions in the pattern that the text may
    have come to, the bits of a number.  A step is a few operations on such numbers, so
    the work is linear in the text; there is nothing to go back to.  Sets are also found
    for texts that are not known, such as the name of some user.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._at: dict[str, int] = {}  # where each character stands
        self._runs = self._ones = 0  # where * and ? stand
        bit, last = 1, ""
        for token in tokens:
            if token == last == ANY_RUN:
                continue  # as much as one
            if token == ANY_RUN:
                self._runs |= bit
            elif token == ANY_ONE:
                self._ones |= bit
            else:
                self._at[token] = self._at.get(token, 0) | bit
            bit, last = bit << 1, token
        self.end = bit
        self.tail = bit >> 1 if last == ANY_RUN else 0  # where any more text is taken
        self.start = self._beyond_runs(1)

    def _beyond_runs(self, places: int) -> int:
        """Return *places* and those behind a *, which may also be an empty run."""
        return places | (places & self._runs) << 1

    def _step(self, places: int, taking: int) -> int:
        """Return where a character leads that the positions *taking* take."""
        return self._beyond_runs((places & taking) << 1 | places & self._runs)

    def read(self, places: int, text: str) -> int:
        """Return where *text* leads from *places*."""
        for letter in text:
            if not places:
                break
            places = self._step(places, self._at.get(letter, 0) | self._ones)
        return places

    def read_one_of(self, places: int, letters: Iterable[str]) -> int:
        """Return where some one of *letters* leads."""
        return self._step(places, self._taking(letters))

    def _taking(self, letters: Iterable[str]) -> int:
        """Return the positions that take some one of *letters*."""
        taking = self._ones
        for letter in letters:
            taking |= self._at.get(letter, 0)
        return taking

    def read_unspelt(self, places: int, length: int) -> int:
        """Return where *length* characters lead that are not in the pattern."""
        for _ in range(length):
            places = self._step(places, self._ones)
        return places

    def read_some(self, places: int, letters: Iterable[str]) -> int:
        """Return where any text leads of one or more of *letters*."""
        taking = self._taking(letters)
        found = 0
        while True:
            places = self._step(places, taking)
            if places | found == found:
                return found
            found |= places

    def all_but(self, letters: str) -> set[str]:
        """Return all but *letters* of the characters that are in the pattern."""
        return self._at.keys() - set(letters)

    def read_each(self, places: int, behind: str) -> int:
        """Return where any text of one character or more leads, with *behind* after it.

        It is where both a short and a long text of unknown characters lead; with known
        ones it may be further.
        """
        found = -1
        for _ in range(self.end.bit_length() + 1):  # longer ones are all in some *
            before, places = places, self.read_unspelt(places, 1)
            found &= self.read(places, behind)
            if places == before:
                break
        return found

    def is_like(self, text: str) -> bool:
        """Return whether the pattern stands for *text*."""
        return bool(self.read(self.start, text) & self.end)


def is_like(text: str, pattern: str) -> bool:
    """Return whether *pattern*, in which * and ? are wildcards, stands for *text*."""
    return Pattern(wildcards(pattern)).is_like(text)


def has_wildcard(pattern: str) -> bool:
    """Return whether * or ? is in *pattern*."""
    return WILDCARD.search(pattern) is not None


# --- Session policy template ----------------------------------------------------

PLACEHOLDER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
SETTING_OF = {  # what an empty placeholder lacks
    "BUCKET_NAME": "BucketName is empty",
    "OBJECT_PREFIX": "ObjectPrefix is empty",
    "USER_ID": "there is no Authentication, which would say who the user is",
}
PLACEHOLDER_OF = {"BucketName": "BUCKET_NAME", "ObjectPrefix": "OBJECT_PREFIX"}
# What is left in a text, after ours are filled in, of a placeholder of another tool, or
# of one of ours without its $.  Percent-encoded bytes, such as %E7%85%A7, are not one.
LEFT_OVER = re.compile(
    r"\$[A-Za-z_{(]\w*"
    r"|\{[^{}]*\}"
    r"|<[^<>]*>"
    r"|%(?:[A-Z_]{3,}|(?![0-9A-Fa-f]{2})[A-Za-z_]\w+)%"
    r"|(?<!\w)(?:BUCKET_NAME|OBJECT_PREFIX|USER_ID)(?!\w)"
)

# Stands for the user in a rendered policy, until one asks.  Nobody can guess it.
USER_MARK = f"user-{secrets.token_hex(16)}"
# What stands before the user in a resource, and in a condition value
USER_RESOURCE = re.compile(r"acs(:[^:]*){3}:[^*?]*/")
USER_PREFIX = re.compile(r"([^*?]*/)?")

# "Policy elements" (RAM).  NotResource and Principal are of other kinds of policies.
STATEMENT_ELEMENTS = ("Effect", "Action", "NotAction", "Resource", "Condition")
CONDITION_KEYS = (
    "acs:AccessId",
    "acs:CurrentTime",
    "acs:MFAPresent",
    "acs:SecureTransport",
    "acs:SourceIp",
    "acs:SourceVpc",
    "acs:UserAgent",
    "oss:Delimiter",
    "oss:Prefix",
)

OTHER_SERVICE = re.compile(r"(?!oss$)[a-z0-9-]+")  # in a resource, such as kms

# "Bucket naming" (OSS)
BUCKET_FORM = "3 to 63 lower-case letters, digits and -"
BUCKET_LENGTHS = (3, 63)
BUCKET_EDGE = string.ascii_lowercase + string.digits  # its first and last characters
# Of the names of actions: GetObject is the shortest of OSS, and none is nearly so long.
ACTION_LENGTHS = (9, 64)


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


def is_number(text: str) -> bool:
    """Return whether RAM compares *text* as a number: decimal, without exponent."""
    return bool(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text))


def is_date(text: str) -> bool:
    """Return whether *text* is a time in ISO 8601, with seconds and an offset or Z."""
    date, time_of_day = r"[0-9]{4}(-[0-9]{2}){2}", r"([01][0-9]|2[0-3])(:[0-5][0-9]){2}"
    if not re.fullmatch(rf"{date}T{time_of_day}(Z|[+-][01][0-9]:[0-5][0-9])", text):
        return False
    try:
        datetime.fromisoformat(text.replace("Z", "+00:00"))  # for Python 3.10
    except ValueError:
        return False
    return True


def is_network(text: str) -> bool:
    """Return whether *text* is an address or a network, such as 10.0.0.0/8."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return bool(re.fullmatch(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?", text))


STRING_TESTS = (
    "Equals",
    "NotEquals",
    "EqualsIgnoreCase",
    "NotEqualsIgnoreCase",
    "Like",
    "NotLike",
)
COMPARISONS = (
    "Equals",
    "NotEquals",
    "LessThan",
    "LessThanEquals",
    "GreaterThan",
    "GreaterThanEquals",
)
# "Policy elements" (RAM), IpAddressIncludeBorder in "RAM policy overview" (OSS): what
# the values of each condition operator have to be
OPERATORS: dict[str, tuple[str, Callable[[str], bool]]] = {
    **{f"String{name}": ("a string", lambda _: True) for name in STRING_TESTS},
    **{f"Numeric{name}": ("a decimal number", is_number) for name in COMPARISONS},
    **{f"Date{name}": ("a time in ISO 8601", is_date) for name in COMPARISONS},
    "Bool": ("true or false", lambda text: text in ("true", "false")),
    "IpAddress": ("an address or a network", is_network),
    "IpAddressIncludeBorder": ("an address or a network", is_network),
    "NotIpAddress": ("an address or a network", is_network),
}


def is_strings(value: Any) -> bool:
    """Return whether *value* is a string, or a list of at least one, and no more."""
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, str) for item in items)


def strings(value: Any) -> tuple[str, ...]:
    """Return the strings of a policy element, which may be one string or a list."""
    return tuple(value) if isinstance(value, list) else (value,)


def unknown_name(name: str, what: str, known: Iterable[str]) -> str:
    """Return the problem of a *name* that is not known, though maybe in other case."""
    hint = [f"; did you mean {one}?" for one in known if one.lower() == name.lower()]
    return f"{name!r:.100} is not {what}{''.join(hint)}"


def policy_problems(document: dict[str, Any]) -> Iterator[str]:
    """Yield why STS would refuse *document* as a policy, or might read it otherwise."""
    for name in document:
        if name not in ("Version", "Statement"):
            yield unknown_name(name, "an element of a policy", ["Version", "Statement"])
    if document.get("Version") != "1":
        yield 'Version must be "1"'
    statements = document.get("Statement")
    if not isinstance(statements, list) or not statements:
        yield "Statement must be a list of statements, [...]"
        return
    for number, statement in enumerate(statements, 1):
        for problem in statement_problems(statement):
            yield f"Statement {number}: {problem}"


def statement_problems(statement: Any) -> Iterator[str]:
    """Yield what is wrong with a statement of a policy."""
    if not isinstance(statement, dict):
        yield "must be an object, {...}"
        return
    for name in statement:
        if name not in STATEMENT_ELEMENTS:
            what = "an element of a statement in a session policy"
            yield unknown_name(name, what, STATEMENT_ELEMENTS)
    if statement.get("Effect") not in ("Allow", "Deny"):
        yield 'Effect must be "Allow" or "Deny"'
    if ("Action" in statement) == ("NotAction" in statement):
        yield "must have either Action or NotAction"
    if "Resource" not in statement:
        yield "Resource is missing"
    for name in ("Action", "NotAction", "Resource"):
        if name in statement and not is_strings(statement[name]):
            yield f"{name} must be a string or a list of strings"
    yield from condition_problems(statement.get("Condition", {}))


def condition_problems(condition: Any) -> Iterator[str]:
    """Yield what is wrong with {operator: {key: value or values}}."""
    if not isinstance(condition, dict):
        yield "Condition must be an object, {...}"
        return
    for operator, tests in condition.items():
        if operator not in OPERATORS:
            yield unknown_name(operator, "a condition operator", OPERATORS)
        elif not isinstance(tests, dict) or not tests:
            yield f"{operator} must be an object of condition keys, {{...}}"
        else:
            for key, values in tests.items():
                yield from key_problems(key)
                if not is_strings(values):
                    yield f"{key!r:.100} must be a string or a list of strings"


def key_problems(key: str) -> Iterator[str]:
    """Yield what is wrong with a condition key.  Keys that are not listed are taken."""
    if "$" in key:
        yield f"{key!r:.100} is a condition key, in which there are no placeholders"
    for known in CONDITION_KEYS:
        if key != known and key.lower() == known.lower():
            yield unknown_name(key, "a condition key", [known])


class Condition(NamedTuple):
    """A test of a request: its key must compare so with one of the values."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """A statement of a policy that was found right."""

    effect: str
    actions: tuple[str, ...]
    is_not_action: bool
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...]

    def covers(self, action: str) -> bool:
        """Return whether *action* is one that the statement is about."""
        listed = any(is_like(action.casefold(), a.casefold()) for a in self.actions)
        return listed != self.is_not_action

    @property
    def is_about_oss(self) -> bool:
        """Whether it may be about any action of OSS."""
        patterns = [Pattern(wildcards(action.casefold())) for action in self.actions]
        return self.is_not_action or any(p.read(p.start, "oss:") for p in patterns)


def statements_of(document: Mapping[str, Any]) -> list[Statement]:
    """Return the statements of a policy that was found right."""
    return [
        Statement(
            effect=statement["Effect"],
            actions=strings(statement.get("Action", statement.get("NotAction"))),
            is_not_action="NotAction" in statement,
            resources=strings(statement["Resource"]),
            conditions=tuple(
                Condition(operator, key, strings(values))
                for operator, tests in statement.get("Condition", {}).items()
                for key, values in tests.items()
            ),
        )
        for statement in document["Statement"]
    ]


# How the four parts before a bucket are read: acs, oss, a region and an account
ARN_PARTS: tuple[Callable[[Pattern, int], int], ...] = (
    lambda pattern, start: pattern.read(start, "acs"),
    lambda pattern, start: pattern.read(start, "oss"),
    lambda pattern, start: pattern.read_some(start, BUCKET_EDGE + "-"),
    lambda pattern, start: pattern.read_some(start, string.digits),
)


class Relative(NamedTuple):
    """What a resource has behind acs:oss:<region>:<account>:, a bucket and an object.

    It is what the pattern stands for from *start* on.  Where the resource has fewer
    than five parts, *start* is what any region and account lead to.
    """

    text: str
    pattern: Pattern
    start: int  # 0 if no resource of OSS is like this
    has_five_parts: bool

    @property
    def takes_a_bucket(self) -> bool:
        """Whether any bucket can be called so."""
        shortest, longest = BUCKET_LENGTHS
        places = self.pattern.read_one_of(self.start, BUCKET_EDGE)
        for length in range(2, longest + 1):
            last = self.pattern.read_one_of(places, BUCKET_EDGE)
            if length >= shortest and self._is_at_an_end(last):
                return True
            places = self.pattern.read_one_of(places, BUCKET_EDGE + "-")
        return False

    @property
    def takes_every_bucket(self) -> bool:
        """Whether it reaches into each bucket, whatever that is called."""
        return all(
            self._is_at_an_end(self.pattern.read_unspelt(self.start, length))
            for length in BUCKET_LENGTHS
        )

    def _is_at_an_end(self, places: int) -> bool:
        """Return whether the bucket may end there."""
        return bool(places & self.pattern.end or self.pattern.read(places, "/"))


def relative_of(resource: str) -> Relative | None:
    """Return the pattern of buckets and objects in *resource*, None if not of OSS.

    A wildcard does not go beyond a ":" of the first four, and the last of fewer parts
    stands for all that is left: acs:oss:* is everything.
    """
    *before, text = resource.split(":", 4)
    if before[:1] == ["acs"] and OTHER_SERVICE.fullmatch("".join(before[1:2])):
        return None
    pattern = Pattern(wildcards(text))
    start = pattern.start
    for part, form in zip(before, ARN_PARTS, strict=False):
        head = Pattern(wildcards(part))
        if not form(head, head.start) & head.end:
            start = 0
    for form in ARN_PARTS[len(before) :]:
        start = pattern.read(form(pattern, start), ":")
    return Relative(text, pattern, start, len(before) == 4)


class PolicyTemplate:
    """A session policy with $PLACEHOLDERS in its strings.

    Raises ConfigError unless *content* is a policy as AssumeRole takes one: a JSON
    object with Version "1" and a list of statements ("Policy elements", RAM).  What is
    not understood is refused, so that STS does not read it differently.  *where* is the
    file's name for error messages.
    """

    def __init__(self, where: str, content: bytes) -> None:
        self._where = where
        self._document = parse_object(where, content)
        self._refuse(policy_problems(self._document))
        self.placeholders = frozenset(
            name
            for _, text in strings_of(self._document)
            for name in PLACEHOLDER.findall(text)
        )

    def _refuse(self, problems: Iterable[str]) -> None:
        """Raise ConfigError if there are any."""
        found = [f"{self._where}: {problem}" for problem in dict.fromkeys(problems)]
        if found:
            raise ConfigError(*found)

    def render(self, values: Mapping[str, str]) -> str:
        """Return the policy as compact JSON, *values* in place of the placeholders.

        The values go into parsed strings, so none can change the policy's structure.
        Raises ConfigError for a placeholder without a value, for a policy that a user
        ID might make larger than MAX_POLICY_BYTES, for a resource of which no bucket
        can be, and for a $USER_ID that is not a folder of its own: users/$USER_ID*
        would give the user al what belongs to alice.
        """
        texts = list(strings_of(self._document))
        self._refuse(p for _, text in texts for p in value_problems(text, values))
        document = filled(self._document, values)
        policy = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        size = len(policy.replace(USER_MARK, "x" * MAX_USER_BYTES).encode())
        if size > MAX_POLICY_BYTES:
            up_to = "up to " if USER_MARK in policy else ""
            raise ConfigError(
                f"{self._where}: has {up_to}{size} bytes with its values filled in; "
                f"a session policy may have {MAX_POLICY_BYTES}"
            )
        problems = [text_problem(*text) for text in strings_of(document)]
        for number, statement in enumerate(statements_of(document), 1):
            found = [*comparison_problems(statement)]
            if values.get("USER_ID"):
                found += list_problems(statement)
            problems += [f"Statement {number}: {problem}" for problem in found]
        self._refuse(filter(None, problems))
        return policy

    def warnings(self) -> list[str]:
        """Return what an operator may not have meant, one line each."""
        found: list[str] = []
        allowed = [s for s in statements_of(self._document) if s.effect == "Allow"]
        for statement in allowed:
            found += action_warnings(statement)
            found += resource_warnings(statement)
        found += upload_warnings(allowed)
        return [f"{self._where}: {warning}" for warning in dict.fromkeys(found)]


def strings_of(part: Any, element: str = "") -> Iterator[tuple[str, str]]:
    """Yield the element that each string of a policy is in, and the string."""
    if isinstance(part, str):
        yield element, part
    elif isinstance(part, list):
        for item in part:
            yield from strings_of(item, element)
    elif isinstance(part, dict):
        for name, item in part.items():
            inner = element if element == "Condition" else name
            yield from strings_of(item, inner)


def filled(part: Any, values: Mapping[str, str]) -> Any:
    """Return a part of a policy with *values* in place of its placeholders."""
    if isinstance(part, str):
        return PLACEHOLDER.sub(lambda match: values[match[1]], part)
    if isinstance(part, list):
        return [filled(item, values) for item in part]
    return {name: filled(item, values) for name, item in part.items()}


def value_problems(text: str, values: Mapping[str, str]) -> Iterator[str]:
    """Yield which placeholders of *text* have no value."""
    for name in PLACEHOLDER.findall(text):
        if name not in values:
            known = ", ".join(f"${known}" for known in values)
            yield f"${name} is none of {known}"
        elif not values[name]:
            yield f"uses ${name}, but {SETTING_OF[name]}"


def text_problem(element: str, text: str) -> str:
    """Return what is wrong with a string of a rendered policy, or ""."""
    problem = left_over(text, "$BUCKET_NAME, $OBJECT_PREFIX or $USER_ID")
    if not problem and USER_MARK in text and not is_user_folder(element, text):
        problem = (
            "is not of one user alone; $USER_ID must be a whole folder, as in "
            "users/$USER_ID/, with no * or ? before it"
        )
    elif not problem and element == "Resource":
        relative = relative_of(text)
        if relative and not relative.takes_a_bucket:
            problem = (
                "cannot be a bucket or object; it must be acs:oss:*:*:<bucket> or "
                f"acs:oss:*:*:<bucket>/<object>, with a bucket of {BUCKET_FORM}"
            )
    return f"{unmarked(text)!r:.200} {problem}" if problem else ""


def unmarked(text: str) -> str:
    """Return a text of a rendered policy as the template has it."""
    return text.replace(USER_MARK, "$USER_ID")


def left_over(text: str, placeholders: str) -> str:
    """Return what *text* has of a placeholder that was not filled in, or ""."""
    match = LEFT_OVER.search(text.replace(USER_MARK, "\0"))
    if not match:
        return ""
    if match[0].startswith("${"):
        return "has ${; a placeholder has no braces, as in users/$USER_ID/"
    found = match[0].replace("\0", "$USER_ID")
    return f"has {found!r:.60}, which is not filled in; use {placeholders}"


def is_user_folder(element: str, text: str) -> bool:
    """Return whether a resource or condition value is within a folder of one user.

    Before the user stand all five parts of a resource: with fewer, or among them, the
    ":" of a user such as acs:oss:x:y:my-bucket could make parts of its own.
    """
    form = {"Resource": USER_RESOURCE, "Condition": USER_PREFIX}.get(element)
    before, _, behind = text.partition(USER_MARK)
    return bool(form and behind.startswith("/") and form.fullmatch(before))


def comparison_problems(statement: Statement) -> Iterator[str]:
    """Yield which condition values are not of the kind that their operator compares."""
    for operator, key, values in statement.conditions:
        kind, is_right = OPERATORS[operator]
        for value in values:
            if not is_right(value):
                shown = f"{unmarked(value)!r:.100}"
                yield f"{operator}: {key} is {shown}; it must be {kind}"


def list_problems(statement: Statement) -> Iterator[str]:
    """Yield which tests of an Allow let users list what is not shown to be theirs.

    StringNotLike lets them list all but their own folder; and to whom the case does not
    matter, the user Alice is the user alice.
    """
    for operator, key, _ in statement.conditions if statement.effect == "Allow" else ():
        if key == "oss:Prefix" and operator not in ("StringLike", "StringEquals"):
            yield (
                f"{operator} of oss:Prefix allows users to list the folders of others; "
                "allow what they may list with StringLike or StringEquals, and deny "
                "the rest with Effect Deny"
            )


def action_warnings(statement: Statement) -> Iterator[str]:
    """Yield which actions of an Allow are all there are."""
    if statement.is_not_action:
        names = ", ".join(statement.actions)
        yield f"NotAction allows everything the role may do but {names:.200}"
        return
    for action in statement.actions:
        pattern = Pattern(wildcards(action.casefold()))
        start = pattern.read(pattern.start, "oss:")
        ends = [pattern.read_unspelt(start, length) for length in ACTION_LENGTHS]
        if all(end & pattern.end for end in ends):
            yield f'Action "{action}" allows everything the role may do'


def resource_warnings(statement: Statement) -> Iterator[str]:
    """Yield which resources of an Allow are in more than one bucket."""
    for resource in statement.resources if statement.is_about_oss else ():
        relative = relative_of(resource)
        if relative is None:
            continue
        if relative.takes_every_bucket:
            yield f'Resource "{resource}" allows every bucket'
        elif has_wildcard(relative.text.partition("/")[0]):
            yield f'Resource "{resource}" allows every bucket whose name is like this'


def upload_warnings(allowed: Sequence[Statement]) -> Iterator[str]:
    """Yield which actions an upload may lack."""

    def allows(action: str) -> bool:
        return any(statement.covers(action) for statement in allowed)

    multipart = ("oss:ListParts", "oss:AbortMultipartUpload")
    missing = [action for action in multipart if not allows(action)]
    if allows("oss:PutObject") and missing:
        yield (
            f"allows oss:PutObject without {' and '.join(missing)}, "
            "which resumable upload needs"
        )


# --- Isolation of users ---------------------------------------------------------

# The actions that show the names of objects
LIST_ACTIONS = ("oss:ListObjects", "oss:ListObjectVersions", "oss:ListMultipartUploads")


class Verdict(enum.Enum):
    """What two places mean for users, who may be called anything."""

    APART = "no user gets what is another's"
    ALIKE = "all users share the same part of each user's folder"
    UNEQUAL = "some user gets what is another's, or all get what is one user's"


@dataclass(frozen=True)
class UserFolder:
    """Objects that each user has in a folder of their own, or a list of them."""

    text: str  # for messages
    bucket: str  # a pattern, as for a list
    folder: str  # what stands before the user in the name of an object

    def compare(self, other: UserFolder) -> Verdict:
        """Return whether the folder of one user may be in that of another."""
        is_nested = self.folder.startswith(other.folder) or (
            other.folder.startswith(self.folder)
        )
        if self.folder == other.folder or not is_nested:
            return Verdict.APART
        is_one = may_be_one_bucket(self.bucket, other.bucket)
        return Verdict.UNEQUAL if is_one else Verdict.APART


@dataclass(frozen=True)
class SharedPlace:
    """Objects that are the same for all users, or a list of them."""

    text: str  # for messages
    bucket: str | None  # a pattern, if the names are those of objects alone
    names: Pattern  # of objects, or <bucket>/<object>
    start: int  # where the names begin in the pattern
    is_start_certain: bool  # else each of these positions is for some account
    beginning: str  # of all names that it has

    @property
    def has_a_whole_bucket(self) -> bool:
        """Whether all objects of some bucket are in it."""
        return any(start & self.names.tail for start in self.starts_in("*"))

    def compare(self, user: UserFolder) -> Verdict:
        """Return what of the users' folders is in this place.

        It is the same for all of them if the text behind the folder is read from the
        same positions of the pattern whatever the user is called.  Take a list of
        us*/index, which is the pattern us*/index*: users/bob/ leads to its first *, but
        users/index/ also to its last.  All would see what the user index has.
        """
        if self._begins_elsewhere(user):
            return Verdict.APART
        verdicts = set()
        anything = self.names.all_but(sts_login.SPECIAL)
        for start in self.starts_in(user.bucket):
            before = self.names.read(start, user.folder)
            some = self.names.read(self.names.read_some(before, anything), "/")
            each = self.names.read_each(before, "/")
            # Where any text may follow for each user, nothing can be more for some.
            if each & self.names.tail or not some & ~each:
                verdicts.add(Verdict.ALIKE if some else Verdict.APART)
            else:
                verdicts.add(Verdict.UNEQUAL)
        order = (Verdict.UNEQUAL, Verdict.ALIKE)
        return next((one for one in order if one in verdicts), Verdict.APART)

    def _begins_elsewhere(self, user: UserFolder) -> bool:
        """Return whether the first letters show it, which is so of most."""
        begin = user.folder
        if self.bucket is None:
            begin = f"{user.bucket}/{begin}"
            if has_wildcard(user.bucket):
                return False
        ours = self.beginning
        return not (ours.startswith(begin) or begin.startswith(ours))

    def starts_in(self, bucket: str) -> list[int]:
        """Return where the names of objects begin, in buckets like *bucket*.

        If that depends on the bucket or the account, each position is returned alone:
        what holds for each of them holds for those of any bucket.
        """
        if self.bucket is not None:
            return [self.start] if may_be_one_bucket(self.bucket, bucket) else []
        if has_wildcard(bucket):
            places = self.names.read_some(self.start, self.names.all_but("/"))
        else:
            places = self.names.read(self.start, bucket)
        places = self.names.read(places, "/")
        if self.is_start_certain and not has_wildcard(bucket):
            return [places]
        return [1 << bit for bit in range(places.bit_length()) if places >> bit & 1]


Place = UserFolder | SharedPlace


def may_be_one_bucket(one: str, other: str) -> bool:
    """Return whether a bucket may be called like both patterns."""
    if has_wildcard(one):
        one, other = other, one
    return has_wildcard(one) or is_like(one, other)


def compare(one: Place, other: Place) -> Verdict:
    """Return what two places mean for users.

    | One                | Other                | Verdict | Because                   |
    | b-1/u/$USER_ID/*   | b-1/u/$USER_ID/in/*  | APART   | both are in one's folder  |
    | b-1/u/$USER_ID/*   | b-1/u-2/$USER_ID/*   | APART   | no name begins as both    |
    | b-1/$USER_ID/*     | b-2/u/$USER_ID/*     | APART   | the buckets are two       |
    | b-1/$USER_ID/*     | b-1/u/$USER_ID/*     | UNEQUAL | a user may be called u    |
    | b-1/u/$USER_ID/*   | b-1/shared/*         | APART   | no name begins as both    |
    | b-1/u/$USER_ID/*   | b-1/u/al/*           | UNEQUAL | a user may be called al   |
    | b-1/u/$USER_ID/*   | b-1/u/al*            | UNEQUAL | or alice                  |
    | b-1/u/$USER_ID/*   | b-1/?/al/*           | UNEQUAL | u is like ?               |
    | b-1/u/$USER_ID/*   | b-*/u/al/*           | UNEQUAL | b-1 is like b-*           |
    | b-1/u/$USER_ID/*   | b-1/*                | ALIKE   | all folders are in it     |
    | b-1/u/$USER_ID/*   | b-1/*.jpg            | ALIKE   | some names of each folder |
    | b-1/u/$USER_ID/*   | b-1/u/*/in/*         | ALIKE   | a part of each folder     |
    | b-1/u/$USER_ID/*   | b-1/u/*lice          | ALIKE   | it ends names, not users  |
    | b-1/u/$USER_ID/*   | a list of b-1/u/*    | ALIKE   | names of each folder      |
    | b-1/u/$USER_ID/*   | a list of b-1/u      | ALIKE   | names that begin with u   |
    | b-1/u/$USER_ID/*   | a list of b-1/u/*lice| UNEQUAL | names that begin u/alice  |
    | b-1/u/$USER_ID/*   | a list of b-1/*/in   | UNEQUAL | names that begin u/in     |
    | b-1/*              | b-1/al/*             | APART   | neither is a user's       |
    """
    if isinstance(one, SharedPlace):
        one, other = other, one
    return Verdict.APART if isinstance(one, SharedPlace) else other.compare(one)


def pairs_of(places: Iterable[Place]) -> Iterator[tuple[Place, Place]]:
    """Yield each two of *places* of which one at least is a folder of users."""
    folders: list[Place] = [p for p in places if isinstance(p, UserFolder)]
    shared: list[Place] = [p for p in places if isinstance(p, SharedPlace)]
    yield from itertools.combinations(folders, 2)
    yield from itertools.product(shared, folders)


def places_of(policy: str | None) -> Iterator[Place]:
    """Yield what *policy* allows, where it stands; what it denies does not count."""
    for statement in statements_of(json.loads(policy)) if policy else ():
        if statement.effect != "Allow" or not statement.is_about_oss:
            continue
        for resource in statement.resources:
            relative = relative_of(resource)
            if relative:
                yield object_place(relative)
            if relative and "/" not in relative.text:
                bucket = relative.text if relative.has_five_parts else "*"
                yield from list_places(bucket, statement)


def object_place(relative: Relative) -> Place:
    """Return the objects that a resource is about."""
    text, pattern, start, has_five_parts = relative
    before, mark, _ = text.partition(USER_MARK)
    if mark:
        bucket, _, folder = before.partition("/")
        return UserFolder(repr(text), bucket, folder)
    beginning = WILDCARD.split(text, 1)[0] if has_five_parts else ""
    return SharedPlace(repr(text), None, pattern, start, has_five_parts, beginning)


def list_places(bucket: str, statement: Statement) -> Iterator[Place]:
    """Yield the objects that an Allow lists: those whose names begin with a prefix."""
    if not any(map(statement.covers, LIST_ACTIONS)):
        return
    tests = [
        (test.operator, prefix)
        for test in statement.conditions
        for prefix in test.values
        if test.key == "oss:Prefix"
    ]
    for operator, prefix in tests or [("StringLike", "*")]:
        text = f"a list of {f'{bucket}/{prefix}'!r}"
        before, mark, _ = prefix.partition(USER_MARK)
        if mark:
            yield UserFolder(text, bucket, before)
            continue
        tokens = wildcards(prefix) if operator == "StringLike" else list(prefix)
        names = Pattern([*tokens, ANY_RUN])
        beginning = WILDCARD.split(prefix, 1)[0]
        yield SharedPlace(text, bucket, names, names.start, True, beginning)


# --- Configuration --------------------------------------------------------------


@dataclass(frozen=True)
class AssumeRoleCall:
    """Every input of an AssumeRole call: equal calls ask for the same token.

    An empty key pair stands for the default credential chain.
    """

    protocol: str  # of the STS endpoint: "http" or "https"
    endpoint: str  # host or host:port
    access_key_id: str = field(repr=False)  # which an operator may swap with this:
    access_key_secret: str = field(repr=False)
    role_arn: str
    role_session_name: str
    duration_seconds: int
    policy: str | None  # session policy, compact JSON

    def complete(self) -> AssumeRoleCall:
        """Return the call itself, which has no user to be filled in."""
        return self


def fill_in(policy: str, user: str) -> str:
    """Return a policy in JSON with *user* in place of USER_MARK."""
    return policy.replace(USER_MARK, json.dumps(user, ensure_ascii=False)[1:-1])


@dataclass(frozen=True)
class UserCall:
    """The AssumeRole call of a grant for a verified *user*: equal ones are equal calls.

    Tokens are kept by it: it has every input of the call, and is small without the
    policy, which each user would have a copy of.
    """

    template: AssumeRoleCall  # with USER_MARK where the policy has the user
    user: str

    @property
    def role_session_name(self) -> str:
        """What ActionTrail calls the user."""
        return sts_login.role_session_name(self.user)

    @property
    def duration_seconds(self) -> int:
        """How long its token is valid."""
        return self.template.duration_seconds

    def complete(self) -> AssumeRoleCall:
        """Return the call with the user filled in."""
        policy = self.template.policy
        if policy is not None:
            policy = fill_in(policy, self.user)
        return replace(
            self.template, policy=policy, role_session_name=self.role_session_name
        )


@dataclass(frozen=True)
class Grant:
    """What one path hands out.  Times are in seconds."""

    path: str
    call: AssumeRoleCall  # with USER_MARK where the policy has the user
    token_reuse_seconds: int
    policy_file: str
    has_credentials_uri: bool  # below /credentials

    def own_statements(self, user: str) -> list[dict[str, Any]]:
        """Return the statements that allow something to *user* alone, as denials.

        In a policy of the role they end what the tokens of *user* can do that those of
        others cannot.
        """
        policy = json.loads(self.call.policy or '{"Statement": []}')
        found = []
        for statement in policy["Statement"]:
            is_users = USER_MARK in json.dumps(statement.get("Condition"))
            resources = [
                resource
                for resource in strings(statement.get("Resource"))
                if is_users or USER_MARK in resource
            ]
            if statement["Effect"] == "Allow" and resources:
                denial = statement | {"Effect": "Deny", "Resource": resources}
                found.append(json.loads(fill_in(json.dumps(denial), user)))
        return found

    def call_for(self, user: str | None) -> AssumeRoleCall | UserCall:
        """Return the call for a verified *user*, or for anybody."""
        return self.call if user is None else UserCall(self.call, user)


@dataclass(frozen=True)
class Config:
    """A configuration that was found right."""

    grants: Mapping[str, Grant]  # by path
    serves_any_path: bool  # with the grant at /
    login: LoginVerifier | None
    denied: Mapping[str, float]  # users who are shut out, as LoginRules has them
    http: HttpSettings
    sts_calls_per_second: int
    warnings: tuple[str, ...]
    shown: Mapping[str, str]  # the settings in force, without secrets

    @property
    def description(self) -> str:
        """What is served, for the operator."""
        return "; ".join(
            ("" if self.serves_any_path else f"{grant.path}: ")
            + f"tokens of {grant.call.duration_seconds} s, "
            + (grant.policy_file or "no policy")
            for grant in self.grants.values()
        )

    def grant(self, path: str) -> Grant | None:
        """Return what *path* hands out, if anything."""
        return self.grants.get("/" if self.serves_any_path else path)


class Settings:
    """The settings of one file: each read returns a right value or notes a problem.

    A section is an object within the file; what it lacks, *common* may have.
    """

    def __init__(
        self, where: str, values: dict[str, Any], common: Settings | None = None
    ) -> None:
        self.where = where
        self.problems: list[str] = []
        self.shown: dict[str, str] = {}  # what was read, without secrets
        self._values = values
        self._common = common
        self._read: set[str] = set()
        self._used: set[str] = set()  # of those that may have no effect
        self._sections: list[Settings] = []
        self._is_section = False

    def note(self, key: str, problem: str) -> None:
        """Remember what is wrong with the setting *key*."""
        owner = self._owner(key)
        owner.problems.append(f"{owner.where}: {key} {problem}")

    def has(self, key: str) -> bool:
        """Return whether the file has *key* at all."""
        return key in self._owner(key)._values

    def _owner(self, key: str) -> Settings:
        """Return the settings that *key* is read from."""
        if self._common and key not in self._values and key in self._common._values:
            return self._common
        return self

    def _get(self, key: str, default: Any) -> Any:
        """Return the value at *key*, whatever it is."""
        owner = self._owner(key)
        owner._read.add(key)
        value = owner._values.get(key, default)
        if not isinstance(value, dict):
            owner.shown[key] = json.dumps(value, ensure_ascii=False)
        return value

    def section(self, key: str, common: Settings | None = None) -> Settings:
        """Return the settings in the object at *key*."""
        values = self._get(key, {})
        if not isinstance(values, dict):
            self.note(key, "must be an object, {...}")
            values = {}
        section = Settings(f"{self.where}: {key}", values, common)
        section.problems = self.problems
        section._is_section = True
        self._sections.append(section)
        return section

    def expect(self, *keys: str) -> None:
        """Take *keys* for settings, whether they are read or not."""
        self._read.update(keys)

    def use(self, key: str) -> None:
        """Remember that the value at *key* has an effect."""
        self._owner(key)._used.add(key)

    def idle(self, keys: Iterable[str]) -> Iterator[tuple[str, str, Any]]:
        """Yield each of *keys* that is set to no effect: its place, name and value."""
        for key in keys:
            if self._values.get(key, "") != "" and key not in self._used:
                yield self.where, key, self._values[key]
        for section in self._sections:
            yield from section.idle(keys)

    def names(self) -> list[str]:
        """Return the keys that are set."""
        return list(self._values)

    def text(self, key: str, default: str = "") -> str:
        """Return the string at *key*."""
        value = self._get(key, default)
        if isinstance(value, str):
            return value
        self.note(key, f"must be a string, not {type(value).__name__}")
        return default

    def texts(self, key: str, *default: str) -> tuple[str, ...]:
        """Return the strings at *key*, which may be one or a list."""
        value = self._get(key, list(default))
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(items)
        self.note(key, "must be a string or a list of strings")
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
        self.shown[key] = "set" if value else "not set"
        return value

    def number(
        self, key: str, default: int, low: int, high: int, unit: str = ""
    ) -> int:
        """Return the whole number at *key*; the reference packages write it quoted."""
        value = self._get(key, default)
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
            value = int(value)
        if type(value) is int and low <= value <= high:
            return value
        bound = f"a whole number {unit}from {low} to {high}"
        self.note(key, f"is {json.dumps(value)[:80]}; it must be {bound}")
        return default

    def flag(self, key: str, default: bool) -> bool:
        """Return the truth value at *key*."""
        value = self._get(key, default)
        if isinstance(value, bool):
            return value
        self.note(key, f"is {json.dumps(value)[:80]}; it must be true or false")
        return default

    def unknown(self) -> list[str]:
        """Return a warning for each setting that nothing has read.

        In a section, and where a section is meant, it is a problem: who misspells
        Authentication does not want a server that is open to everybody.
        """
        known = {key.lower(): key for key in sorted(self._read)}
        found = []
        for key in sorted(set(self._values) - self._read):
            nearest = difflib.get_close_matches(key.lower(), known, n=1)
            hint = f"; did you mean {known[nearest[0]]}?" if nearest else ""
            if self._is_section or isinstance(self._values[key], dict):
                self.note(printable(key), f"is not a setting{hint}")
            else:
                found.append(f"{self.where}: {printable(key)} is not a setting{hint}")
        return found + [line for one in self._sections for line in one.unknown()]

    def all_shown(self) -> dict[str, str]:
        """Return what was read of this and its sections, without secrets."""
        shown = dict(self.shown)
        for section in self._sections:
            name = section.where.removeprefix(f"{self.where}: ")
            for key, value in section.all_shown().items():
                shown[f"{name}: {key}"] = value
        return shown


def load_config(
    path: Path,
    read: Read,
    key_sets: dict[str, JwksKeys] | None = None,
) -> Config:
    """Return the configuration in the file *path*, with the files it names.

    *read* returns the bytes of a file or raises ConfigError.  *key_sets* has the keys
    that were fetched before, by URL.  Raises ConfigError with all problems at once.
    """
    settings = Settings(str(path), parse_object(str(path), read(path)))
    settings.expect("Authentication", "Grants")
    warnings: list[str] = []

    access_key_id = settings.secret("AccessKeyID")
    other_spelling = settings.secret("AccessKeyId")
    if access_key_id and other_spelling and access_key_id != other_spelling:
        settings.note("AccessKeyID", "and AccessKeyId differ; leave one of them out")
    access_key_id = access_key_id or other_spelling
    del settings.shown["AccessKeyId"]
    settings.shown["AccessKeyID"] = shown_key_id(access_key_id) or "not set"
    access_key_secret = settings.secret("AccessKeySecret")
    if ACCESS_KEY_ID.fullmatch(access_key_secret):
        settings.note(
            "AccessKeyID",
            "and AccessKeySecret look swapped: the latter begins as an ID does",
        )
    if bool(access_key_id) != bool(access_key_secret):
        empty = "AccessKeySecret" if access_key_id else "AccessKeyID"
        settings.note(
            empty,
            "is empty; set it too, or leave both out to use the default "
            "credential chain (environment, OIDC, profile, ECS role)",
        )
    if access_key_secret and is_open_to_others(path):
        warnings.append(others_may_read(path))

    form = "acs:ram::<account>:role/<name>, as the RAM console shows it"
    role_arn = settings.matching("RoleArn", ROLE_ARN, form)
    if not role_arn:
        settings.note("RoleArn", f"is empty; it must be {form}")
    sts_calls_per_second = settings.number(
        "StsCallsPerSecond", STS_CALLS_PER_SECOND, 1, 10_000
    )
    protocol, endpoint = sts_endpoint(settings, warnings)
    key_sets = {} if key_sets is None else key_sets
    has_login = settings.has("Authentication")  # though it may be wrong
    denied = denied_users(path, settings, has_login, read)
    login = load_login(path, settings, warnings, read, key_sets, denied)
    if settings.has("RoleSessionName") and has_login:
        warnings.append(
            f"{path}: RoleSessionName is not used: with Authentication each user has "
            "one of their own"
        )
    base = AssumeRoleCall(
        protocol=protocol,
        endpoint=endpoint,
        access_key_id=access_key_id,
        access_key_secret=access_key_secret,
        role_arn=role_arn,
        role_session_name=settings.matching(
            "RoleSessionName",
            ROLE_SESSION_NAME,
            "2 to 64 letters, digits and . @ - _",
            "client_name",  # as in the PHP sample
        ),
        duration_seconds=MIN_DURATION_SECONDS,
        policy=None,
    )
    grants = load_grants(path, settings, base, has_login, warnings, read)
    http = http_settings(settings)

    warnings += settings.unknown()
    if settings.problems:
        raise ConfigError(*dict.fromkeys(settings.problems))
    return Config(
        grants={grant.path: grant for grant in grants},
        serves_any_path=not settings.has("Grants"),
        login=login,
        denied=denied,
        http=http,
        sts_calls_per_second=sts_calls_per_second,
        warnings=tuple(dict.fromkeys(warnings)),
        shown=settings.all_shown(),
    )


def shown_key_id(access_key_id: str) -> str:
    """Return an AccessKey ID, or "set" if it may be a secret in the wrong place."""
    if ACCESS_KEY_ID.fullmatch(access_key_id):
        return access_key_id
    return "set" if access_key_id else ""


def denied_users(
    path: Path, settings: Settings, has_login: bool, read: Read
) -> dict[str, float]:
    """Return the users who are shut out, as LoginRules has them."""
    place = settings.text("DeniedUsersFile")
    if not place:
        return {}
    if not has_login:
        settings.note("DeniedUsersFile", f"is set, but {SETTING_OF['USER_ID']}")
    try:
        return parse_denied(str(path.parent / place), read(path.parent / place))
    except ConfigError as error:
        settings.problems += error.problems
        return {}


def parse_denied(where: str, content: bytes) -> dict[str, float]:
    """Return the users in a file of them, and before when they are denied.

    A line has a user, or a user and a time: unix seconds or ISO 8601 with an offset.
    Without a time, or with one and without, it is always.  Raises ConfigError.
    """
    denied: dict[str, float] = {}
    problems = []
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeError:
        raise ConfigError(f"{where}: is not UTF-8 text") from None
    for number, line in enumerate(lines, 1):
        user, *times = line.split()[:3] or [""]
        try:
            before = denied_before(times)
            if user or times:
                sts_login.user_id(user)
                denied[user] = max(denied.get(user, 0.0), before)
        except (ValueError, LoginError) as error:
            problems.append(f"{where}: line {number}: {printable(str(error))}")
    if problems:
        more = [f"{where}: {len(problems) - 10} more lines"] * (len(problems) > 10)
        raise ConfigError(*problems[:10], *more)
    return denied


TIME_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def denied_before(times: Sequence[str]) -> float:
    """Return the unix seconds of what stands behind a user.  Raises ValueError."""
    if not times:
        return math.inf
    with contextlib.suppress(ValueError):
        if len(times) == 1 and re.fullmatch(r"[0-9]{1,12}", times[0]):
            return int(times[0])
        if len(times) == 1 and TIME_FORM.fullmatch(times[0]):
            return datetime.fromisoformat(times[0].replace("Z", "+00:00")).timestamp()
    raise ValueError(
        f"has {' '.join(times)!r:.60} after the user; it must be one time, in unix "
        "seconds or as in 2026-01-31T09:00:00+08:00"
    )


def load_login(
    path: Path,
    settings: Settings,
    warnings: list[str],
    read: Read,
    key_sets: dict[str, JwksKeys],
    denied: Mapping[str, float],
) -> LoginVerifier | None:
    """Return what checks the login tokens; None if nobody has to log in."""
    if not settings.has("Authentication"):
        return None
    section = settings.section("Authentication")
    for key, meaning in (
        ("Issuer", "the iss of the login tokens"),
        ("Audience", "the aud of the login tokens that are meant for this server"),
    ):
        if not section.texts(key) or "" in section.texts(key):
            section.note(key, f"is empty; it must be {meaning}")
    algorithms = section.texts("Algorithms")
    leeway_seconds = section.number(
        "Leeway", LEEWAY_SECONDS, 0, MAX_LEEWAY_SECONDS, "of seconds "
    )
    user_claim = section.text("UserClaim", "sub")
    keys = login_keys(path, section, warnings, read, key_sets)
    if keys is None or section.problems:
        return None
    try:
        rules = LoginRules(
            issuer=section.text("Issuer"),
            audiences=section.texts("Audience"),
            leeway_seconds=leeway_seconds,
            user_claim=user_claim,
            denied=denied,
        )
        return LoginVerifier(rules, keys, algorithms)
    except LoginSetupError as error:
        section.note("Algorithms" if algorithms else "UserClaim", str(error))
    return None


def login_keys(
    path: Path,
    section: Settings,
    warnings: list[str],
    read: Read,
    key_sets: dict[str, JwksKeys],
) -> Keys | None:
    """Return the keys that login tokens are signed with, None if that is not known."""
    places = {key: section.text(key) for key in KEY_PLACES}
    used = [key for key, place in places.items() if place]
    if len(used) != 1:
        names = ", ".join(KEY_PLACES)
        section.note(names, "are three ways to name a key; set exactly one of them")
        return None
    url, query, _ = places["JwksUrl"].partition("?")
    if query:  # which may hold a secret
        section.shown["JwksUrl"] = json.dumps(f"{url}?...")
    (kind,) = used
    place = places[kind]
    try:
        if kind == "JwksUrl":
            if place not in key_sets:
                key_sets[place] = JwksKeys(place)
            return key_sets[place]
        key_path = path.parent / place
        if kind == "PublicKeyFile":
            return sts_login.public_key(str(key_path), read(key_path))
        keys = sts_login.secret_key(str(key_path), read(key_path))
        if is_open_to_others(key_path):
            warnings.append(others_may_read(key_path))
        return keys
    except ConfigError as error:
        section.problems += error.problems
    except LoginSetupError as error:
        section.note(kind, str(error))
    return None


def load_grants(
    path: Path,
    settings: Settings,
    base: AssumeRoleCall,
    has_login: bool,
    warnings: list[str],
    read: Read,
) -> list[Grant]:
    """Return what the paths hand out; without Grants, what any path does."""
    if not settings.has("Grants"):
        grant = load_grant("/", path, settings, base, has_login, warnings, read)
        grants = [replace(grant, has_credentials_uri=True)]
        if settings.has("CredentialsUri"):
            warnings.append(
                f"{path}: CredentialsUri is not used: without Grants there always is "
                "/credentials"
            )
    else:
        section = settings.section("Grants")
        section.expect(*section.names())  # what is no path is said to be none below
        settings.expect(*GRANT_KEYS)  # though each grant may have its own
        grants = []
        for name in section.names():
            if not GRANT_PATH.fullmatch(name) or name.startswith(RESERVED_PATHS):
                section.note(
                    printable(name),
                    "is no path for a grant; it must be one such as /avatars or "
                    f"/albums/read, and not begin with {', '.join(RESERVED_PATHS)}",
                )
                continue
            own = section.section(name, common=settings)
            own.expect(*GRANT_KEYS)
            grants.append(load_grant(name, path, own, base, has_login, warnings, read))
        if not section.names():
            settings.note("Grants", "is empty; leave it out to serve any path")
        if len(section.names()) > MAX_GRANTS:
            settings.note("Grants", f"has more than {MAX_GRANTS} paths")
            return grants[:1]
    warnings += idle_warnings(settings)
    if has_login:
        warnings += check_isolation(settings, grants)
    return grants


def load_grant(
    name: str,
    path: Path,
    settings: Settings,
    base: AssumeRoleCall,
    has_login: bool,
    warnings: list[str],
    read: Read,
) -> Grant:
    """Return what the path *name* hands out."""
    for key in ("PolicyFile", "TokenExpireTime", "TokenReuseTime"):
        settings.use(key)
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
    policy, policy_file = session_policy(path, settings, has_login, warnings, read)
    call = replace(base, duration_seconds=duration_seconds, policy=policy)
    has_credentials_uri = settings.flag("CredentialsUri", False)
    return Grant(name, call, token_reuse_seconds, policy_file, has_credentials_uri)


def idle_warnings(settings: Settings) -> Iterator[str]:
    """Yield which settings of grants are set and have no effect."""
    for where, key, value in settings.idle(GRANT_KEYS):
        if key in PLACEHOLDER_OF:
            yield (
                f"{where}: {key} is {value!r:.100}, but has no effect: no session "
                f"policy takes ${PLACEHOLDER_OF[key]} from it, so it limits no token"
            )
        else:
            yield f"{where}: {key} has no effect: each grant has its own"


def check_isolation(settings: Settings, grants: Iterable[Grant]) -> list[str]:
    """Note it if a user may get what is another's.  Return which grants all share."""
    places = {grant.call.policy: list(places_of(grant.call.policy)) for grant in grants}
    paths = {grant.call.policy: grant.path for grant in grants}
    path_of = {place: paths[policy] for policy in places for place in places[policy]}
    alike = set()
    for one, other in pairs_of(path_of):
        verdict = compare(one, other)
        if verdict is Verdict.UNEQUAL:
            both = [f"{place.text} (path {path_of[place]})" for place in (one, other)]
            names = unmarked(" and ".join(both))
            settings.note(
                "$USER_ID",
                f"may be the name of another folder: {names} are one place for some "
                "user; put $USER_ID into a folder that has only users, as in "
                "users/$USER_ID/",
            )
            return []
        if verdict is Verdict.ALIKE:
            alike |= {one, other}
    return [
        f"{settings.where}: {where}{warning}"
        for grant in grants
        for where in [f"Grants: {grant.path}: " if settings.has("Grants") else ""]
        for warning in sharing_warnings(grant, places[grant.call.policy], alike)
    ]


def sharing_warnings(
    grant: Grant, places: Collection[Place], alike: Collection[Place]
) -> Iterator[str]:
    """Yield which *places* of a grant all users share, and their folders with them."""
    shared = [place for place in places if isinstance(place, SharedPlace)]
    if len(shared) == len(places):
        yield (
            "Authentication without $USER_ID in ObjectPrefix or "
            f"{grant.policy_file or 'a policy'}; each user may do what the others may"
        )
        return
    for place in shared:
        if place in alike or place.has_a_whole_bucket:
            yield (
                f"Authentication, but {grant.policy_file} allows each user "
                f"{place.text}; there each may do what the others may, unless a Deny "
                "forbids it"
            )


def http_settings(settings: Settings) -> HttpSettings:
    """Return AllowedOrigins and TrustedProxies."""
    origins = settings.texts("AllowedOrigins", "*")
    for origin in origins:
        if origins != ("*",) and not ORIGIN.fullmatch(origin):
            settings.note(
                "AllowedOrigins",
                f"has {origin!r:.100}; it must be * or origins as browsers send them, "
                "such as https://app.example.com, without a default port or a slash",
            )
    networks = []
    for text in settings.texts("TrustedProxies"):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            settings.note(
                "TrustedProxies",
                f"has {text!r:.100}; it must be addresses or networks, such as "
                "10.0.0.5 or 10.0.0.0/8",
            )
    return HttpSettings(
        allowed_origins=None if origins == ("*",) else frozenset(origins),
        trusted_proxies=tuple(networks),
    )


def is_open_to_others(path: Path) -> bool:
    """Return whether the group or the world may read the file; never on Windows."""
    try:
        return os.name == "posix" and bool(path.stat().st_mode & 0o077)
    except OSError:
        return False


def others_may_read(path: Path) -> str:
    """Return the warning about a file that is_open_to_others()."""
    return f"{path}: holds a secret and others may read it (chmod 600)"


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
    if protocol == "http" and not sts_login.is_loopback(host):
        warnings.append(
            f"{settings.where}: StsEndpoint is plain HTTP; anyone on the way to it "
            "can read the tokens"
        )
    return protocol, f"{host}:{port}" if port else host


def session_policy(
    path: Path,
    settings: Settings,
    has_login: bool,
    warnings: list[str],
    read: Read,
) -> tuple[str | None, str]:
    """Return the rendered session policy and its file's name, or None and ""."""
    values = {  # of the placeholders
        "USER_ID": USER_MARK if has_login else "",
        "BUCKET_NAME": bucket_name(settings),
        "OBJECT_PREFIX": object_prefix(settings, has_login),
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
        for key, placeholder in PLACEHOLDER_OF.items():
            if placeholder in template.placeholders:
                settings.use(key)
        policy = template.render(values)
        warnings += template.warnings()
        return policy, policy_file
    except ConfigError as error:
        settings.problems += error.problems
        return None, policy_file


def bucket_name(settings: Settings) -> str:
    """Return BucketName."""
    name = settings.matching(
        "BucketName", BUCKET_NAME, f"{BUCKET_FORM}, as the OSS console shows it"
    )
    is_wrong = name and not BUCKET_NAME.fullmatch(name)
    return "my-bucket" if is_wrong else name  # so that the policy is not blamed, too


def object_prefix(settings: Settings, has_login: bool) -> str:
    """Return ObjectPrefix, with USER_MARK for $USER_ID."""
    prefix = settings.matching(
        "ObjectPrefix",
        OBJECT_PREFIX,
        "the beginning of an object name: no / or \\ first, no control characters, "
        "no * or ?, which a policy takes for wildcards",
    )
    problems = []
    for name in PLACEHOLDER.findall(prefix):
        if name != "USER_ID":
            problems.append(f"has ${name}; only $USER_ID may be in it")
        elif not has_login:
            problems.append(f"has $USER_ID, but {SETTING_OF['USER_ID']}")
    filled_in = PLACEHOLDER.sub(USER_MARK, prefix)
    problems += filter(None, [left_over(filled_in, "$USER_ID")])
    for problem in problems:
        settings.note("ObjectPrefix", problem)
    return "photos/" if problems else filled_in  # so that the policy is not blamed, too


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


class LiveFiles(Generic[T]):
    """What *load* makes of some files: of the newest that were right.

    The reference servers read their files for every request.  Here a FileWatch looks at
    them, and compares contents: no way of writing a file, nor a clock, can hide an
    edit.  An edit is taken up when two looks in a row have found the same, since a file
    that is overwritten in place is half the old and half the new one for a while.  A
    wrong edit is logged and changes nothing.

    *load* is given a function that reads files.  It raises ConfigError, as the
    constructor does if the first files are wrong.
    """

    name = "files"

    def __init__(
        self, load: Callable[[Read], T], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._load = load
        self._clock = clock
        self._seen: dict[Path, bytes | None] = {}  # what is on the disk, or was last
        self._pending: dict[Path, bytes | None] = {}  # what the last look found anew
        self.problems: tuple[str, ...] = ()  # of what is on the disk
        self.generation = 0
        self._content = load(partial(note_read, self._seen))
        self._take_up(self._content)

    def current(self) -> T:
        """Return what to use now."""
        return self._content

    def look(self) -> bool:
        """Take up an edit that the look before has found too, if it is right.

        Return whether there is one for the next look to confirm.
        """
        if all(read_or_none(path) == seen for path, seen in self._seen.items()):
            self._pending = {}
            return False
        seen: dict[Path, bytes | None] = {}
        content = self._content
        problems: tuple[str, ...] = ()
        try:
            content = self._load(partial(note_read, seen))
        except ConfigError as error:
            problems = error.problems
        if seen != self._pending:
            self._pending = seen
            return True
        self._seen, self._pending, self.problems = seen, {}, problems
        if problems:
            self.log_problems()
        else:
            self._take_up(content)
            logger.info("new %s: %s", self.name, self.description())
        return False

    def log_problems(self) -> None:
        """Log why what is on the disk is not in force, if it is not."""
        for problem in self.problems:
            logger.error("%s", problem)
        if self.problems:
            logger.error("the %s read before stays in force", self.name)

    def _take_up(self, content: T) -> None:
        before, self._content = self._content, content
        self.generation += 1
        self.loaded_at = self._clock()
        self.taken_up(before, content)

    def taken_up(self, before: T, now: T) -> None:
        """Do what a new content calls for; the first one comes after itself."""

    def description(self) -> str:
        """Return what is in force, for the log."""
        return ", ".join(map(str, self._seen))

    def age_seconds(self) -> float:
        """Return for how long it has been in force."""
        return self._clock() - self.loaded_at


class FileWatch:
    """Looks at files every LOOK_SECONDS, and at once when it is asked to."""

    def __init__(self, *files: LiveFiles[Any]) -> None:
        self._files = files
        self._asked: SimpleQueue[None] = SimpleQueue()

    def start(self) -> None:
        """Look in the background as long as the process runs."""
        threading.Thread(target=self._run, name="file watch", daemon=True).start()

    def ask(self) -> None:
        """Have the files looked at now.  A signal handler may call it."""
        self._asked.put(None)

    def _run(self) -> None:
        while True:
            is_asked = True
            try:
                self._asked.get(timeout=LOOK_SECONDS)
            except Empty:
                is_asked = False
            try:
                self.look(is_asked)
            except Exception:
                logger.exception("failed to look at the files")

    def look(self, is_asked: bool = False) -> None:
        """Look at the files; if *is_asked*, log what was found, even if nothing was."""
        generations = [one.generation for one in self._files]
        has_news = [one.look() for one in self._files]
        if not is_asked:
            return
        if any(has_news):
            time.sleep(LOOK_SECONDS)
            for one in self._files:
                one.look()
        for one in self._files:
            one.log_problems()
        if generations == [one.generation for one in self._files]:
            logger.info("asked to look at the files; there is nothing new in them")


def note_read(seen: dict[Path, bytes | None], path: Path) -> bytes:
    """Return the bytes of *path*, and note them in *seen*.  Raises ConfigError."""
    seen[path] = None
    content = seen[path] = read_file(path)
    return content


def read_or_none(path: Path) -> bytes | None:
    """Return the bytes of *path*, None if it cannot be read."""
    try:
        return read_file(path)
    except ConfigError:
        return None


class LiveConfig(LiveFiles[Config]):
    """The configuration in force.  Raises ConfigError if the first one is wrong."""

    name = "configuration"

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._key_sets: dict[str, JwksKeys] = {}
        self.on_new: Callable[[Config, Config], None] = lambda before, now: None
        super().__init__(self._load_config, clock)

    def _load_config(self, read: Read) -> Config:
        return load_config(self._path, read, self._key_sets)

    def taken_up(self, before: Config, now: Config) -> None:
        """Log the warnings, and tell those who keep what hangs on the configuration."""
        for warning in now.warnings:
            logger.warning("%s", warning)
        if before.login and not now.login:
            logger.warning(
                "%s: Authentication is gone; now anyone who can reach the port gets a "
                "token",
                self._path,
            )
        self.on_new(before, now)

    def description(self) -> str:
        """Return what is served now."""
        return self._content.description


class LiveTls(LiveFiles[ssl.SSLContext]):
    """The TLS certificate in force, and its key.

    A renewed one is for new connections; those that are open go on.  Raises ConfigError
    if the first one is wrong.
    """

    name = "TLS certificate"

    def __init__(
        self,
        certificate: Path,
        key: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        super().__init__(partial(load_tls, certificate, key), clock)

    def taken_up(self, before: ssl.SSLContext, now: ssl.SSLContext) -> None:
        """Log a warning about a key that others may read."""
        if is_open_to_others(self._key):
            logger.warning("%s", others_may_read(self._key))


def load_tls(certificate: Path, key: Path, read: Read) -> ssl.SSLContext:
    """Return a context for a server with these PEM files.  Raises ConfigError."""

    def no_password() -> NoReturn:
        raise ConfigError(f"{key}: is encrypted; this server cannot ask for a password")

    for path in dict.fromkeys((certificate, key)):
        read(path)  # so that it is known what was loaded, and that it can be read
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A client that goes away without close_notify has done nothing that needs an alert,
    # and we still want to say close_notify when it is we who end its sending (drain()).
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # OpenSSL 3
    context.options |= ssl.OP_NO_RENEGOTIATION  # which costs us more than a client
    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        problem = "is no PEM certificate chain and key"
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = "does not belong to the key"
        raise ConfigError(f"{certificate}: {problem} ({key})") from None
    except OSError as error:  # it went away after it was read
        raise ConfigError(f"{certificate}: cannot be read: {error.strerror}") from None
    return context
