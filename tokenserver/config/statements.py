"""The grammar of a session policy, and its statements.

Unknown elements are refused by name, because STS might read them differently.

Sources: "Policy elements" (RAM documentation), "RAM policy overview" (OSS
documentation).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from tokenserver.config.patterns import Pattern, is_like, wildcards

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
# The values that each condition operator compares ("Policy elements", RAM;
# IpAddressIncludeBorder is in "RAM policy overview", OSS)
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
    """Return whether *value* is a string, or a list of one or more strings."""
    items = value if isinstance(value, list) else [value]
    return bool(items) and all(isinstance(item, str) for item in items)


def strings(value: Any) -> tuple[str, ...]:
    """Return the strings of a policy element, which may be one string or a list."""
    return tuple(value) if isinstance(value, list) else (value,)


def unknown_name(name: str, what: str, known: Iterable[str]) -> str:
    """Return a problem about an unknown *name*; in another case it may be known."""
    hint = [f"; did you mean {one}?" for one in known if one.lower() == name.lower()]
    return f"{name!r:.100} is not {what}{''.join(hint)}"


def policy_problems(document: dict[str, Any]) -> Iterator[str]:
    """Yield why STS would refuse *document*, or might read it differently."""
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
    """Yield the problems of a statement of a policy."""
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
    """Yield the problems of {operator: {key: value or values}}."""
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
    """Yield the problems of a condition key.  Keys not listed are allowed."""
    if "$" in key:
        yield f"{key!r:.100} is a condition key, which cannot have placeholders"
    for known in CONDITION_KEYS:
        if key != known and key.lower() == known.lower():
            yield unknown_name(key, "a condition key", [known])


class Condition(NamedTuple):
    """A test of a request: *key* is compared with each of the values by *operator*."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """A statement of a valid policy."""

    effect: str
    actions: tuple[str, ...]
    is_not_action: bool
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...]

    def covers(self, action: str) -> bool:
        """Return whether the statement is about *action*."""
        listed = any(is_like(action.casefold(), a.casefold()) for a in self.actions)
        return listed != self.is_not_action

    @property
    def is_about_oss(self) -> bool:
        """Whether it may be about any action of OSS."""
        patterns = [Pattern(wildcards(action.casefold())) for action in self.actions]
        return self.is_not_action or any(p.read(p.start, "oss:") for p in patterns)


def statements_of(document: Mapping[str, Any]) -> list[Statement]:
    """Return the statements of a valid policy."""
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
