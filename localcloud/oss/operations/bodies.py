"""XML documents in the body of a request."""

from __future__ import annotations

import base64
import hashlib
import re
from xml.etree import ElementTree

from localcloud.oss.errors import OssError
from localcloud.oss.operations.call import Call

MAX_XML_BYTES = 5 * 2**20


def read_xml(call: Call, name: str) -> ElementTree.Element:
    """Return the root element of the body, called *name*.  Raises OssError."""
    data = call.request.body.read(MAX_XML_BYTES)
    call.check_md5(base64.b64encode(hashlib.md5(data).digest()).decode())
    try:
        root = ElementTree.fromstring(data)
    # ValueError and LookupError: its encoding is wrong or unknown
    except (ElementTree.ParseError, ValueError, LookupError):
        raise OssError("MalformedXML") from None
    if root.tag.rpartition("}")[2] != name:
        raise OssError("MalformedXML")
    return root


def text_of(element: ElementTree.Element, name: str) -> str:
    """Return the text of the child *name*.  Raises OssError if there is none."""
    text = element.findtext(f"{{*}}{name}")
    if not text:
        raise OssError("MalformedXML")
    return text


def number_of(element: ElementTree.Element, name: str) -> int:
    """Return the number in the child *name*.  Raises OssError if it is not one."""
    text = text_of(element, name).strip()
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise OssError("MalformedXML")
    return int(text)
