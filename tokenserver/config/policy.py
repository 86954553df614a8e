"""Session policy templates: JSON text with $PLACEHOLDERS in its strings.

A template is parsed first and the values put into the parsed strings, so that no value
can change the structure of the policy.  Where users log in, the rendered policy has
USER_MARK in place of the user, and becomes complete for each of them.

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
# Of the names of actions: GetObject is the shortest of OSS, and none is nearly so long.
ACTION_LENGTHS = (9, 64)

PLACEHOLDER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
SETTING_OF = {  # what an empty placeholder lacks
    "BUCKET_NAME": "BucketName is empty",
    "OBJECT_PREFIX": "ObjectPrefix is empty",
    "USER_ID": "there is no Authentication, which would say who the user is",
}
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
        """Return the statements that allow something to *user* alone, as denials.

        In a policy of the role they end what the tokens of *user* can do that those of
        others cannot.
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

    Raises ConfigError unless *content* is a policy as AssumeRole takes one: a JSON
    object with Version "1" and a list of statements ("Policy elements", RAM).  What is
    not understood is refused, so that STS does not read it differently.  *where* is the
    file's name for error messages.
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
        """Return the policy, *values* in place of the placeholders.

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
