"""The policy language of RAM, for the stand-ins: its grammar and its evaluation.

    session_policy = parse('{"Version": "1", "Statement": [...]}')
    arn = "acs:oss:*:1234567890123456:my-bucket/photos/cat.jpg"
    decide(role_policies, session_policy, "oss:PutObject", arn, {}) is Decision.ALLOWED

parse() reads the policies of a role and those sent with AssumeRole, and refuses what
AssumeRole refuses with InvalidParameter.PolicyGrammar.  STS checks the size.  Trust
policies and bucket policies, which have a Principal, are refused.

Sources: "Policy elements", "Policy structure and syntax", "Conditional operators" and
"Policy evaluation process" in the RAM documentation, "RAM policy overview" in that of
OSS.  Where they leave something open, this module is strict, so that nothing works only
in the demo:

- Elements they do not list (Sid, NotResource) are refused, and so are an element that
  occurs twice, an empty list, and a Statement that is not a list.  An empty Condition
  is true.
- The form of actions, ARNs and condition keys is not checked.  Keys are case-sensitive.
- A wildcard matches "/", as documented, but none of the first four ":" of an ARN: a *
  for the account cannot match a part of the name of an object.  A wildcard cannot be
  escaped, and ${...} is plain text.
- Numbers are decimal without exponent, dates have seconds and an offset or Z, booleans
  are "true" or "false", networks may have host bits, which do not count.
- If the request does not have a key, or has another kind of value for it, the condition
  is false, or true if the operator is a Not.
- IpAddressIncludeBorder, which only the list of OSS has, is read as IpAddress.
"""

from __future__ import annotations

import enum
import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from ipaddress import ip_network
from typing import Any, Literal, NamedTuple

Effect = Literal["Allow", "Deny"]

# --- Conditions -----------------------------------------------------------------


def is_like(text: str, pattern: str) -> bool:
    """Tell whether *text* is like *pattern*: * is any run of characters, ? is one.

    Only the last * is tried again with a longer run, because a longer run of an earlier
    one would not help.  So the work is at most the product of both lengths.
    """
    at = position = run_end = 0
    star: int | None = None
    while position < len(text):
        wanted = pattern[at] if at < len(pattern) else ""
        if wanted == "*":
            star, run_end = at, position
            at += 1
        elif wanted in ("?", text[position]):
            at += 1
            position += 1
        elif star is not None:
            run_end += 1
            at, position = star + 1, run_end
        else:
            return False
    return not pattern[at:].strip("*")


def is_arn_like(arn: str, pattern: str) -> bool:
    """Tell whether *arn* is like *pattern*, each of its parts like the pattern's.

    The last part of the pattern matches all the rest: * alone matches any ARN.
    """
    patterns = pattern.split(":", 4)
    parts = arn.split(":", len(patterns) - 1)
    return len(parts) == len(patterns) and all(map(is_like, parts, patterns))


def is_within(address: Any, network: Any) -> bool:
    """Tell whether *address*, a network too, lies within *network*."""
    return bool(address.version == network.version and address.subnet_of(network))


def reader(form: str, convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a function that converts a text of that form, or raises ValueError."""

    def read(text: str) -> Any:
        if not re.fullmatch(form, text, re.ASCII):
            raise ValueError("a condition value is of another kind than its operator")
        return convert(text)

    return read


read_number = reader(r"-?\d+(\.\d+)?", Decimal)
read_date = reader(
    r"\d{4}-\d\d-\d\dT([01]\d|2[0-3])(:[0-5]\d){2}(Z|[+-][01]\d:[0-5]\d)",
    lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")),  # for Python 3.10
)
read_boolean = reader("true|false", str)
read_network = reader(  # a single address is a network of one
    r"[0-9A-Fa-f.:]+(/\d{1,3})?", lambda text: ip_network(text, strict=False)
)


class Operator(NamedTuple):
    """How the values of policy and request are read and compared.

    It is true if *compare* is true for the value of the request and at least one of the
    policy, or if *negated*, for none of the policy.
    """

    read: Callable[[str], Any]
    compare: Callable[[Any, Any], bool]
    negated: bool = False


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}
OPERATORS = {
    "StringEquals": Operator(str, operator.eq),
    "StringNotEquals": Operator(str, operator.eq, negated=True),
    "StringEqualsIgnoreCase": Operator(str.casefold, operator.eq),
    "StringNotEqualsIgnoreCase": Operator(str.casefold, operator.eq, negated=True),
    "StringLike": Operator(str, is_like),
    "StringNotLike": Operator(str, is_like, negated=True),
    **{f"Numeric{n}": Operator(read_number, c) for n, c in COMPARISONS.items()},
    "NumericNotEquals": Operator(read_number, operator.eq, negated=True),
    **{f"Date{name}": Operator(read_date, c) for name, c in COMPARISONS.items()},
    "DateNotEquals": Operator(read_date, operator.eq, negated=True),
    "Bool": Operator(read_boolean, operator.eq),
    "IpAddress": Operator(read_network, is_within),
    "IpAddressIncludeBorder": Operator(read_network, is_within),
    "NotIpAddress": Operator(read_network, is_within, negated=True),
}


@dataclass(frozen=True)
class Condition:
    """An operator, a key of the request, and values as the operator reads them."""

    operator: Operator
    key: str
    values: tuple[Any, ...]

    def holds(self, context: Mapping[str, str]) -> bool:
        """Tell whether the condition is met by the condition keys of a request."""
        read, compare, negated = self.operator
        try:
            requested = read(context[self.key])
        except (KeyError, ValueError):
            return negated
        return any(compare(requested, value) for value in self.values) != negated


# --- Policies -------------------------------------------------------------------


@dataclass(frozen=True)
class Statement:
    """What is allowed or denied.  *actions* are casefolded, and excluded if negated."""

    effect: Effect
    actions: tuple[str, ...]
    is_not_action: bool
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...]

    def applies(self, action: str, resource: str, context: Mapping[str, str]) -> bool:
        """Tell whether this statement is about *action* on *resource*, an ARN."""
        action = action.casefold()
        return (
            any(is_like(action, a) for a in self.actions) != self.is_not_action
            and any(is_arn_like(resource, pattern) for pattern in self.resources)
            and all(condition.holds(context) for condition in self.conditions)
        )


@dataclass(frozen=True)
class Policy:
    """Statements; their order does not matter, a Deny always wins."""

    statements: tuple[Statement, ...]


class PolicyGrammarError(ValueError):
    """Not a policy.  The reason is one line."""


def parse(text: str) -> Policy:
    """Return *text* as a policy.  Raises PolicyGrammarError."""
    try:
        document = json.loads(text, object_pairs_hook=unique)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair
        check_elements(document, {"Version", "Statement"})
        if document["Version"] != "1":
            raise ValueError('Version must be "1"')
        statements = document["Statement"]
        if not isinstance(statements, list) or not statements:
            raise ValueError("Statement must be a list of statements")
        return Policy(tuple(map(parse_statement, statements)))
    except (ValueError, RecursionError) as error:
        raise PolicyGrammarError(str(error)) from None


def unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object.  Raises ValueError if a name occurs twice in it."""
    document = dict(members)
    if len(document) < len(members):
        raise ValueError("an element occurs twice")
    return document


def check_elements(document: Any, required: set[str], *optional: str) -> None:
    """Raise ValueError unless *document* is an object of just these elements."""
    if not isinstance(document, dict):
        raise ValueError("policy and statements must be objects")
    for name in sorted(required - document.keys()):
        raise ValueError(f"{name} is missing")
    for name in document.keys() - required - set(optional):
        raise ValueError(f"{name!r} is not an element that may stand there")


def parse_statement(statement: Any) -> Statement:
    """Return *statement* ready for evaluation.  Raises ValueError if it is not one."""
    is_not_action = isinstance(statement, dict) and "NotAction" in statement
    action = "NotAction" if is_not_action else "Action"
    check_elements(statement, {"Effect", action, "Resource"}, "Condition")
    if statement["Effect"] not in ("Allow", "Deny"):
        raise ValueError("Effect must be Allow or Deny")
    return Statement(
        effect=statement["Effect"],
        actions=tuple(name.casefold() for name in strings(statement[action])),
        is_not_action=is_not_action,
        resources=strings(statement["Resource"]),
        conditions=tuple(parse_conditions(statement.get("Condition", {}))),
    )


def parse_conditions(block: Any) -> Iterator[Condition]:
    """Yield what is in *block*, {operator: {key: value or values}}; all must hold."""
    if not isinstance(block, dict):
        raise ValueError("Condition must be an object")
    for name, keys in block.items():
        if name not in OPERATORS:
            raise ValueError(f"{name!r} is not a condition operator")
        if not isinstance(keys, dict) or not keys:
            raise ValueError(f"{name} must be an object of condition keys")
        for key, values in keys.items():
            read = OPERATORS[name].read
            yield Condition(OPERATORS[name], key, tuple(map(read, strings(values))))


def strings(value: Any) -> tuple[str, ...]:
    """Return *value*, which may be one or several; in quotes even if it is a number."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, str) for item in values):
        raise ValueError("a value must be a string or a list of strings")
    return tuple(values)


# --- Evaluation -----------------------------------------------------------------


def evaluate(
    policies: Iterable[Policy], action: str, resource: str, context: Mapping[str, str]
) -> Effect | None:
    """Return Deny if any statement that applies says so, else Allow if any, or None."""
    effects = {
        statement.effect
        for policy in policies
        for statement in policy.statements
        if statement.applies(action, resource, context)
    }
    return "Deny" if "Deny" in effects else "Allow" if effects else None


class Decision(enum.Enum):
    """The decision about a request; a service chooses its reply by the reason."""

    ALLOWED = "allowed"
    DENIED_EXPLICITLY = "denied by a policy of the role"
    DENIED_BY_SESSION_POLICY = "denied, or not allowed, by the session policy"
    DENIED_IMPLICITLY = "not allowed by any policy of the role"


def decide(
    role_policies: Iterable[Policy],
    session_policy: Policy | None,
    action: str,
    resource: str,
    context: Mapping[str, str],
) -> Decision:
    """Return the decision about *action* on *resource*, an ARN, by an assumed role.

    *context* has the condition keys of the request, such as acs:SourceIp, as strings.
    The role and the session policy, if there is one, must both allow it, and neither
    may deny it.  OSS uses the same words if a session policy denies or just does not
    allow ("Access denied by authorizer's policy."), so both are one decision.  The
    documentation does not say what OSS reports if the role denies as well; here it is
    the explicit Deny of the role.
    """
    by_role = evaluate(role_policies, action, resource, context)
    if by_role == "Deny":
        return Decision.DENIED_EXPLICITLY
    if session_policy is not None:
        by_session = evaluate([session_policy], action, resource, context)
        if by_session != "Allow":
            return Decision.DENIED_BY_SESSION_POLICY
    return Decision.ALLOWED if by_role == "Allow" else Decision.DENIED_IMPLICITLY
