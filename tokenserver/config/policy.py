"""Session policy templates: JSON text with $PLACEHOLDERS in its strings.

A template is parsed first, and the values are put into the parsed strings, so that no
value can change the structure of the policy.  Where users log in, the rendered policy
contains USER_MARK instead of a user ID, which is filled in for each user.

Sources: "Policy elements" (RAM documentation), "AssumeRole" (STS API reference).
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenserver.config.files import parse_file
from tokenserver.config.patterns import Pattern, has_wildcard, wildcards
from tokenserver.config.resources import BUCKET_FORM, relative_of
from tokenserver.config.statements import (
    OPERATORS,
    Statement,
    policy_problems,
    statements_of,
    strings,
)
from tokenserver.errors import ConfigError
from tokenserver.login.users import MAX_USER_BYTES

MAX_POLICY_BYTES = 2048  # the API page says characters, its error text bytes
# Of the names of actions: GetObject is the shortest in OSS, and none is nearly so long.
ACTION_LENGTHS = (9, 64)

PLACEHOLDER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
SETTING_OF = {  # what an empty placeholder lacks
    "BUCKET_NAME": "BucketName is empty",
    "OBJECT_PREFIX": "ObjectPrefix is empty",
    "USER_ID": "there is no Authentication, so users are not known",
}
# A placeholder of another tool, or one of ours without its $, that is still in a text
# after ours were filled in.  Percent-encoded bytes, such as %E7%85%A7, are not one.
LEFT_OVER = re.compile(
    r"\$[A-Za-z_{(]\w*"
    r"|\{[^{}]*\}"
    r"|<[^<>]*>"
    r"|%(?:[A-Z_]{3,}|(?![0-9A-Fa-f]{2})[A-Za-z_]\w+)%"
    r"|(?<!\w)(?:BUCKET_NAME|OBJECT_PREFIX|USER_ID)(?!\w)"
)

# Replaces the user ID in a rendered policy until a user asks.  It cannot be guessed.
USER_MARK = f"user-{secrets.token_hex(16)}"
# The text before the user ID in a resource, and in a condition value
USER_RESOURCE = re.compile(r"acs(:[^:]*){3}:[^*?]*/")
USER_PREFIX = re.compile(r"([^*?]*/)?")


@dataclass(frozen=True)
class SessionPolicy:
    """A rendered policy, complete but for the user."""

    text: str  # compact JSON, with USER_MARK where the user stands

    def for_user(self, user: str | None) -> str:
        """Return the policy for a verified *user*, or for anybody."""
        return self.text if user is None else fill_in(self.text, user)

    def for_all(self) -> SessionPolicy:
        """Return the policy that allows whatever it allows to any user."""
        return SessionPolicy(fill_in(self.text, "*"))

    def own_statements(self, user: str) -> list[dict[str, Any]]:
        """Return the statements that allow something only to *user*, with Deny.

        In a policy of the role they take from the tokens of *user* what no other user's
        tokens can do.
        """
        found = []
        for statement in json.loads(self.text)["Statement"]:
            is_users = USER_MARK in json.dumps(statement.get("Condition"))
            resources = [
                resource
                for resource in strings(statement["Resource"])
                if is_users or USER_MARK in resource
            ]
            if statement["Effect"] == "Allow" and resources:
                denial = statement | {"Effect": "Deny", "Resource": resources}
                found.append(json.loads(fill_in(json.dumps(denial), user)))
        return found


def fill_in(policy: str, user: str) -> str:
    """Return a policy in JSON with *user* in place of USER_MARK."""
    return policy.replace(USER_MARK, json.dumps(user, ensure_ascii=False)[1:-1])


class PolicyTemplate:
    """A session policy with $PLACEHOLDERS in its strings.

    Raises ConfigError unless *content* is a policy that AssumeRole accepts: a JSON
    object with Version "1" and a list of statements ("Policy elements", RAM).  Unknown
    elements are refused, because STS might read them differently.  *where* is the name
    of the file, for error messages.
    """

    def __init__(self, where: str, content: bytes) -> None:
        self._where = where
        self._document = parse_file(where, content)
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

    def render(self, values: Mapping[str, str]) -> SessionPolicy:
        """Return the policy with *values* instead of its placeholders.

        The values go into parsed strings, so none can change the structure.  Raises
        ConfigError for a placeholder without a value, for a policy that may become
        larger than MAX_POLICY_BYTES with some user ID, for a resource that cannot be a
        bucket, and if $USER_ID is not a complete folder name: users/$USER_ID* would
        give user "a" the objects of user "ab".
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
                f"a session policy has at most {MAX_POLICY_BYTES}"
            )
        problems = [text_problem(*text) for text in strings_of(document)]
        for number, statement in enumerate(statements_of(document), 1):
            found = [*comparison_problems(statement)]
            if values.get("USER_ID"):
                found += list_problems(statement)
            problems += [f"Statement {number}: {problem}" for problem in found]
        self._refuse(filter(None, problems))
        return SessionPolicy(policy)

    def warnings(self, has_parts: bool = True) -> list[str]:
        """Return what an operator may not have meant, one line each.

        *has_parts* says that clients upload in parts, if they may upload.
        """
        found: list[str] = []
        allowed = [s for s in statements_of(self._document) if s.effect == "Allow"]
        for statement in allowed:
            found += action_warnings(statement)
            found += resource_warnings(statement)
        found += upload_warnings(allowed) if has_parts else []
        return [f"{self._where}: {warning}" for warning in dict.fromkeys(found)]


def strings_of(part: Any, element: str = "") -> Iterator[tuple[str, str]]:
    """Yield each string of a policy, with the element that it is in."""
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
    """Return a part of a policy with *values* instead of its placeholders."""
    if isinstance(part, str):
        return PLACEHOLDER.sub(lambda match: values[match[1]], part)
    if isinstance(part, list):
        return [filled(item, values) for item in part]
    return {name: filled(item, values) for name, item in part.items()}


def value_problems(text: str, values: Mapping[str, str]) -> Iterator[str]:
    """Yield a problem for each placeholder of *text* without a value."""
    for name in PLACEHOLDER.findall(text):
        if name not in values:
            known = ", ".join(f"${known}" for known in values)
            yield f"${name} is not one of {known}"
        elif not values[name]:
            yield f"uses ${name}, but {SETTING_OF[name]}"


def text_problem(element: str, text: str) -> str:
    """Return a problem of a string of a rendered policy, or ""."""
    problem = left_over(text, "$BUCKET_NAME, $OBJECT_PREFIX or $USER_ID")
    if not problem and USER_MARK in text and not is_user_folder(element, text):
        problem = (
            "is not the folder of one user; $USER_ID must be a complete folder name, "
            "as in users/$USER_ID/, without * or ? before it"
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
    """Return a text of a rendered policy as it is in the template."""
    return text.replace(USER_MARK, "$USER_ID")


def left_over(text: str, placeholders: str) -> str:
    """Return a problem if *text* has a placeholder that was not filled in, or ""."""
    match = LEFT_OVER.search(text.replace(USER_MARK, "\0"))
    if not match:
        return ""
    if match[0].startswith("${"):
        return "has ${; placeholders have no braces, as in users/$USER_ID/"
    found = match[0].replace("\0", "$USER_ID")
    return f"has {found!r:.60}, which is not filled in; use {placeholders}"


def is_user_folder(element: str, text: str) -> bool:
    """Return whether a resource or condition value is within the folder of one user.

    The user ID must come after the first five parts of a resource: in fewer parts, or
    among them, a user ID such as acs:oss:x:y:my-bucket could add parts with its ":".
    """
    form = {"Resource": USER_RESOURCE, "Condition": USER_PREFIX}.get(element)
    before, _, behind = text.partition(USER_MARK)
    return bool(form and behind.startswith("/") and form.fullmatch(before))


def comparison_problems(statement: Statement) -> Iterator[str]:
    """Yield a problem for each condition value that its operator cannot compare."""
    for operator, key, values in statement.conditions:
        kind, is_right = OPERATORS[operator]
        for value in values:
            if not is_right(value):
                shown = f"{unmarked(value)!r:.100}"
                yield f"{operator}: {key} is {shown}; it must be {kind}"


def list_problems(statement: Statement) -> Iterator[str]:
    """Yield a problem for each test of an Allow that may show the folders of others.

    StringNotLike lets users list everything but their own folder, and operators that
    ignore case take the user Alice for the user alice.
    """
    for operator, key, _ in statement.conditions if statement.effect == "Allow" else ():
        if key == "oss:Prefix" and operator not in ("StringLike", "StringEquals"):
            yield (
                f"{operator} of oss:Prefix allows users to list the folders of others; "
                "use StringLike or StringEquals to allow lists, and Effect Deny to "
                "forbid some"
            )


def action_warnings(statement: Statement) -> Iterator[str]:
    """Yield a warning for each Allow of all actions."""
    if statement.is_not_action:
        names = ", ".join(statement.actions)
        yield f"NotAction allows everything that the role may do except {names:.200}"
        return
    for action in statement.actions:
        pattern = Pattern(wildcards(action.casefold()))
        start = pattern.read(pattern.start, "oss:")
        ends = [pattern.read_unspelt(start, length) for length in ACTION_LENGTHS]
        if all(end & pattern.end for end in ends):
            yield f'Action "{action}" allows everything that the role may do'


def resource_warnings(statement: Statement) -> Iterator[str]:
    """Yield a warning for each resource of an Allow in more than one bucket."""
    for resource in statement.resources if statement.is_about_oss else ():
        relative = relative_of(resource)
        if relative is None:
            continue
        if relative.takes_every_bucket:
            yield f'Resource "{resource}" allows every bucket'
        elif has_wildcard(relative.text.partition("/")[0]):
            yield f'Resource "{resource}" allows every bucket with such a name'


def upload_warnings(allowed: Sequence[Statement]) -> Iterator[str]:
    """Yield a warning if the actions of resumable upload are not all allowed."""

    def allows(action: str) -> bool:
        return any(statement.covers(action) for statement in allowed)

    multipart = ("oss:ListParts", "oss:AbortMultipartUpload")
    missing = [action for action in multipart if not allows(action)]
    if allows("oss:PutObject") and missing:
        yield (
            f"allows oss:PutObject without {' and '.join(missing)}, "
            "which resumable uploads need"
        )
