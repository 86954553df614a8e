"""XML documents in the form that STS and OSS send."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def as_xml(name: str, value: Mapping[str, Any] | Sequence[Any] | str) -> str:
    """Return *value* as an element that holds text, or its members as elements.

    A list becomes an element for each item, all of that *name*.
    """
    if isinstance(value, str):
        # A parser reads a bare CR as LF.
        text = escape(NO_XML.sub(chr(0xFFFD), value), {"\r": "&#13;"})
        return f"<{name}>{text}</{name}>"
    if isinstance(value, Sequence):
        return "".join(as_xml(name, item) for item in value)
    return f"<{name}>{''.join(as_xml(k, v) for k, v in value.items())}</{name}>"
