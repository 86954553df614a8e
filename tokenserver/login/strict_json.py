"""JSON that all parsers read in the same way, for configuration, policies, JWTs, JWKS.

Parsers differ about a name that occurs twice in an object, about NaN and numbers too
large for a float, about half a surrogate pair, and about deep nesting (RFC 8259
sections 4, 6, 8, 9).  All of these are refused here.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

MAX_NESTING = 16  # levels of arrays and objects


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object.  Raises ValueError if a name occurs twice in it."""
    result = dict(pairs)
    if len(result) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = sorted(name for name, count in counts.items() if count > 1)
        raise ValueError(f"{', '.join(twice)} occurs twice")
    return result


def finite_number(text: str) -> float:
    """Return a number that a float can hold.  Raises ValueError, also for NaN."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is not a number that every parser can hold")
    return value


DECODER = json.JSONDecoder(
    object_pairs_hook=unique, parse_float=finite_number, parse_constant=finite_number
)


def is_deeper(value: Any, levels: int) -> bool:
    """Return whether *value* has more than *levels* of arrays and objects."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return not levels or any(is_deeper(item, levels - 1) for item in value)


class NotStrict(ValueError):
    """It is not JSON that all parsers read in the same way.

    *kind* says so without any part of the content; the text of the error says more.
    """

    def __init__(self, text: str, kind: str = "is not strict JSON") -> None:
        super().__init__(text)
        self.kind = kind


def parse_object(content: bytes, encoding: str = "utf-8") -> dict[str, Any]:
    """Return the JSON object in *content*.

    Raises NotStrict if it is not a JSON object, or if parsers would disagree about it.
    """
    try:
        text = content.decode(encoding)
        document = DECODER.decode(text)
        if "\\u" in text:  # which may be half a surrogate pair
            json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise NotStrict(f"is not JSON: {error.msg}, {place}") from None
    except UnicodeError:
        raise NotStrict("is not UTF-8 text") from None
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise NotStrict(str(error)) from None
    if not isinstance(document, dict):
        raise NotStrict("must hold one JSON object, {...}", "is not a JSON object")
    may_be_deeper = text.count("{") + text.count("[") > MAX_NESTING
    if may_be_deeper and is_deeper(document, MAX_NESTING):
        raise too_deep()
    return document


def too_deep() -> NotStrict:
    """Return the error for JSON that some parsers cannot read."""
    return NotStrict("is nested too deeply", "is nested too deeply")
