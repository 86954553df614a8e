"""The policy of a PostObject form: its expiration, and conditions for fields and size.

    sizes = check_policy(encoded, {"key": "photos/cat.jpg", ...}, time.time())

It is JSON in UTF-8 and Base64: {"expiration": "2026-01-02T03:04:05.000Z", "conditions":
[{"bucket": "my-bucket"}, ["starts-with", "$key", "photos/"]]}.  Where the pages are
silent this module is strict: an object may not have a name twice, and a size has at
most 63 bits.

Sources: "PostObject", "PostObject errors and troubleshooting", "POST V4 signature" and
the pages of EC 0006-00000201 to 228 in the OSS documentation.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from localcloud.oss.errors import OssError
from localcloud.ram import unique

MAX_SIZE = 2**63 - 1  # in a content-length-range
OPERATORS = ("eq", "starts-with", "in", "not-in", "content-length-range")
EXPIRATION = re.compile(
    r"\d{4}-\d\d-\d\dT([01]\d|2[0-3])(:[0-5]\d){2}(\.\d{3})?Z", re.ASCII
)
ESCAPE = re.compile(r"\\.", re.DOTALL)  # in the text of JSON
EC_OF_MISSING = {
    "conditions": "0006-00000207",
    "expiration": "0006-00000208",
    "conditions and expiration": "0006-00000209",
}


@dataclass(frozen=True)
class Condition:
    """A condition for the value of a field.  *name* is written as in the policy."""

    operator: str
    name: str
    wanted: str | list[str]

    def is_met(self, value: str) -> bool:
        """Tell whether the field may have this *value*."""
        match self.operator:
            case "eq":
                return value == self.wanted
            case "starts-with":
                return value.startswith(str(self.wanted))
            case "in":
                return value in self.wanted
            case _:
                return value not in self.wanted

    def check(self, fields: Mapping[str, str]) -> None:
        """Raise OssError unless *fields* has the field with a value that is allowed.

        A missing field does not count as an empty one.
        """
        value = fields.get(self.name.lower())
        if value is None or not self.is_met(value):
            shown = [self.operator, f"${self.name}", self.wanted]
            raise invalid_by_policy(
                f"Policy Condition failed: {json.dumps(shown, ensure_ascii=False)}",
                "0006-00000226" if value is None else "0006-00000227",
            )


class PostPolicy(NamedTuple):
    """The content of a policy.  *expiration* is in unix seconds."""

    expiration: float
    conditions: list[Condition]
    sizes: range


def check_policy(
    encoded: str, fields: Mapping[str, str], now: float, to_be_named: Iterable[str] = ()
) -> range:
    """Check *fields* against the policy *encoded*; return the sizes that it allows.

    *fields* are the fields of the form by name in lower case.  A field without a
    condition may have any value, but each of *to_be_named* must have one.  Raises
    OssError.
    """
    policy = read_policy(encoded)
    if policy.expiration <= now:
        raise invalid_by_policy("Policy expired.", "0006-00000213")
    for condition in policy.conditions:
        condition.check(fields)
    named = {condition.name.lower() for condition in policy.conditions}
    for name in to_be_named:
        if name not in named:
            raise invalid_by_policy(f"Extra input fields: {name}", "0006-00000228")
    return policy.sizes


def invalid_by_policy(reason: str, ec: str) -> OssError:
    """Return the error for a form that does not meet its policy."""
    return OssError("AccessDenied", f"Invalid according to Policy: {reason}", ec=ec)


def read_policy(encoded: str) -> PostPolicy:
    """Return the policy in *encoded*.  Raises OssError."""
    document = read_json(encoded)
    missing = {"expiration", "conditions"} - document.keys()
    if missing:
        names = " and ".join(sorted(missing))
        raise invalid_policy(f"There is no {names}.", EC_OF_MISSING[names])
    conditions = document["conditions"]
    if not isinstance(conditions, list):
        raise invalid_policy("conditions must be a list.", "0006-00000214")
    if not conditions:
        raise invalid_policy("conditions must not be empty.", "0006-00000215")
    read = [read_condition(condition) for condition in conditions]
    sizes = [condition for condition in read if isinstance(condition, range)]
    return PostPolicy(
        expiration=read_expiration(document["expiration"]),
        conditions=[found for found in read if isinstance(found, Condition)],
        sizes=range(
            max([0, *(allowed.start for allowed in sizes)]),
            min([MAX_SIZE + 1, *(allowed.stop for allowed in sizes)]),
        ),
    )


def read_json(encoded: str) -> dict[str, Any]:
    """Return the JSON object in *encoded*, Base64 of UTF-8.  Raises OssError.

    Python's parser accepts more than JSON, NaN and repeated names, which is refused.
    """
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise invalid_policy("It is not in Base64.", "0006-00000202") from None
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        raise invalid_policy("It is not in UTF-8.", "0006-00000203") from None
    try:
        document = json.loads(
            ESCAPE.sub(unescaped_dollar, text),
            object_pairs_hook=unique,
            parse_constant=refuse_constant,
        )
    except (ValueError, RecursionError):
        raise invalid_policy("It is not JSON.", "0006-00000204") from None
    if not isinstance(document, dict):
        raise invalid_policy("It is not a JSON object.", "0006-00000204")
    return document


def unescaped_dollar(escape: re.Match[str]) -> str:
    r"""Return *escape* as valid JSON, which does not have the \$ of these policies."""
    return "$" if escape[0] == r"\$" else escape[0]


def refuse_constant(name: str) -> None:
    """Raise ValueError for NaN or Infinity, which are not JSON."""
    raise ValueError(f"{name} is not JSON")


def read_expiration(text: Any) -> float:
    """Return the unix seconds of an expiration.  Raises OssError."""
    if not isinstance(text, str):
        raise invalid_policy("expiration must be a string.", "0006-00000210")
    if not text:
        raise invalid_policy("expiration must not be empty.", "0006-00000211")
    try:
        if not EXPIRATION.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        message = "expiration must be a time such as 2026-01-02T03:04:05.000Z."
        raise invalid_policy(message, "0006-00000212") from None


def read_condition(condition: Any) -> Condition | range:
    """Return a condition for a field, or the range of sizes allowed for the file.

    Raises OssError.
    """
    match condition:
        case dict():
            if len(condition) != 1:
                raise invalid_policy(
                    "Invalid Simple-Condition: Simple-Conditions must have exactly one "
                    "property specified."
                )
            ((name, wanted),) = condition.items()
            return field_condition("eq", name, wanted)
        case [] | [_]:
            raise invalid_policy("A condition has no operator.", "0006-00000216")
        case [str(operator), *operands] if operator.lower() in OPERATORS:
            if len(operands) != 2:
                message = f"{operator} must have two operands."
                raise invalid_policy(message, "0006-00000218")
            if operator.lower() == "content-length-range":
                return read_sizes(*operands)
            return field_condition(operator.lower(), *operands)
        case list():
            message = f"The operators are {', '.join(OPERATORS)}."
            raise invalid_policy(message, "0006-00000217")
        case _:
            message = "A condition must be an object or a list."
            raise invalid_policy(message, "0006-00000222")


def field_condition(operator: str, name: Any, wanted: Any) -> Condition:
    """Return the condition for the field *name*.  Raises OssError.

    The $ before the name is optional.
    """
    if operator in ("in", "not-in"):
        is_right = isinstance(wanted, list) and all(isinstance(w, str) for w in wanted)
    else:
        is_right = isinstance(wanted, str)
    if not is_right or not isinstance(name, str):
        message = f"An operand of {operator} is of the wrong type."
        raise invalid_policy(message, "0006-00000224")
    return Condition(operator, name.removeprefix("$"), wanted)


def read_sizes(low: Any, high: Any) -> range:
    """Return the sizes of a content-length-range.  Raises OssError."""
    if not (is_size(low) and is_size(high)):
        message = "content-length-range must have two integers, none of them negative."
        raise invalid_policy(message, "0006-00000221")
    if high < low:
        message = "The maximum of content-length-range is less than its minimum."
        raise invalid_policy(message, "0006-00000219")
    return range(low, high + 1)


def is_size(value: Any) -> bool:
    """Tell whether *value* is a number of bytes."""
    return type(value) is int and 0 <= value <= MAX_SIZE  # bool is a kind of int


def invalid_policy(reason: str, ec: str = "") -> OssError:
    """Return the error for a policy that cannot be read."""
    return OssError("InvalidPolicyDocument", f"Invalid Policy: {reason}", ec=ec)
