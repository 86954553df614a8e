"""The callback parameters of a request: the URLs to call, and the body."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from localcloud.oss.callbacks.variables import FORM_TYPE, JSON_TYPE, Template
from localcloud.oss.errors import OssError, not_imitated
from localcloud.ram import unique

MAX_BYTES = 5 * 1024  # of the callback, and of the variables
MAX_URLS = 5
FIELDS = (
    *("callbackUrl", "callbackHost", "callbackBody", "callbackBodyType"),
    "callbackSNI",  # has no effect without TLS
)
VARIABLE = re.compile(r"x:[^A-Z]*")
# The characters of a URL and of a Host header; neither can end its line.
URL = re.compile(r"[!-~]+")
HOST = re.compile(r"[A-Za-z0-9._:\[\]-]+")


class Address(NamedTuple):
    """An address to call.  *target* is the path with its query."""

    host: str  # an address of this machine
    port: int
    name: str  # for the Host header
    target: str


@dataclass(frozen=True)
class Callback:
    """A valid callback.  The addresses are called one after the other."""

    addresses: list[Address]
    template: Template
    content_type: str
    variables: Mapping[str, str] = field(repr=False)


def read_callback(
    headers: Mapping[str, str], query: Mapping[str, str]
) -> Callback | None:
    """Return the callback of a request, None if it has none.  Raises OssError.

    It is in *headers*, with names in lower case, or in the *query*.
    """
    text = from_either("callback", headers, query)
    variables = from_either("callback-var", headers, query)
    return make_callback(text, read_variables(variables)) if text else None


def from_either(name: str, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """Return the parameter *name*, or the header x-oss-*name*.  Raises OssError."""
    header = f"x-oss-{name}"
    if name in query and header in headers:
        raise invalid(f"The {name} is both in a header and in the query.", name=name)
    return query.get(name) or headers.get(header, "")


def read_form_callback(fields: Mapping[str, str]) -> Callback | None:
    """Return the callback of a form, None if it has none.  Raises OssError.

    *fields* have names in lower case; each variable is a field of its own.
    """
    if not fields.get("callback"):
        return None
    own = {name: value for name, value in fields.items() if name.startswith("x:")}
    given = read_variables(fields.get("callback-var", ""))
    return make_callback(fields["callback"], given | own)


def make_callback(text: str, variables: Mapping[str, str]) -> Callback | None:
    """Return the callback in *text*, None if it has no URL.  Raises OssError."""
    ecs = Ecs("0007-00000002", "0007-00000003")
    document = read_document("callback", text, ecs)
    for name in document.keys() - set(FIELDS):
        raise not_imitated(f"{name[:40]} of a callback")
    urls = text_of(document, "callbackUrl", "0007-00000004")
    if not urls:
        return None
    body = text_of(document, "callbackBody")
    if not body:
        raise invalid("The callbackBody is missing.", name="callbackBody")
    content_type = text_of(document, "callbackBodyType", "0007-00000012") or FORM_TYPE
    if content_type not in (FORM_TYPE, JSON_TYPE):
        message = f"The callbackBodyType must be {FORM_TYPE} or {JSON_TYPE}."
        raise invalid(message, content_type, "callbackBodyType", "0007-00000012")
    host = text_of(document, "callbackHost")
    if host and not HOST.fullmatch(host):
        raise invalid("The callbackHost is not a host.", host, "callbackHost")
    return Callback(
        addresses=[read_address(url, host) for url in split(urls)],
        template=Template.of(body, content_type),
        content_type=content_type,
        variables=variables,
    )


def read_variables(text: str) -> dict[str, str]:
    """Return the client's own variables by name.  Raises OssError."""
    if not text:
        return {}
    ecs = Ecs("0007-00000102", "0007-00000103")
    document = read_document("callback-var", text, ecs)
    for name, value in document.items():
        if not VARIABLE.fullmatch(name) or not isinstance(value, str):
            message = (
                "A variable of callback-var must have a name that begins with x: and "
                "is in lower case, and a string as its value."
            )
            raise invalid(message, name, "callback-var")
    return document


class Ecs(NamedTuple):
    """The ECs for text that is not Base64, or not JSON."""

    base64: str
    json: str


def read_document(name: str, text: str, ecs: Ecs) -> dict[str, Any]:
    """Return the JSON object in *text*, which is Base64.  Raises OssError."""
    if len(text) > MAX_BYTES:
        raise invalid(f"The {name} has more than {MAX_BYTES} bytes.", name=name)
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        message = f"The {name} configuration is not base64 encoded."
        raise invalid(message, text, name, ecs.base64) from None
    try:
        document = json.loads(decoded.decode(), object_pairs_hook=unique)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        message = f"The {name} configuration is not json format."
        raise invalid(message, text, name, ecs.json)
    return document


def text_of(document: Mapping[str, Any], name: str, ec: str = "") -> str:
    """Return the string *name* of *document*, "" if missing.  Raises OssError."""
    value = document.get(name, "")
    if not isinstance(value, str):
        raise invalid(f"The {name} must be a string.", name=name, ec=ec)
    return value


def split(urls: str) -> list[str]:
    """Return the URLs of a list.  Raises OssError if they are too many."""
    found = [url for url in urls.split(";") if url]
    if not 1 <= len(found) <= MAX_URLS:
        message = f"The callbackUrl must have 1 to {MAX_URLS} URLs."
        raise invalid(message, urls, "callbackUrl", "0007-00000004")
    return found


def read_address(url: str, host: str) -> Address:
    """Return the address of *url*; *host* is the Host header, if one is given.

    Raises OssError, with status 501 for addresses that are not on this machine.
    """
    text = url if re.match(r"[A-Za-z]+://", url) else f"http://{url}"
    try:
        if not URL.fullmatch(text):
            raise ValueError
        parts = urlsplit(text)
        name, port = parts.hostname, parts.port
    except ValueError:
        name = None
    if not name or parts.scheme not in ("http", "https"):
        message = "A callbackUrl must be an HTTP URL, percent-encoded."
        raise invalid(message, url, "callbackUrl", "0007-00000004")
    if parts.scheme == "https":
        raise not_imitated("callbacks over HTTPS; use http://127.0.0.1")
    if not is_on_this_machine(name):
        raise not_imitated(
            f"callbacks to {name}: it only calls this machine; use http://127.0.0.1"
        )
    is_name = name.endswith("localhost")
    return Address(
        host="127.0.0.1" if is_name else name,
        port=80 if port is None else port,
        name=host or parts.netloc.rpartition("@")[2],
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )


def is_on_this_machine(name: str) -> bool:
    """Tell whether *name* is a loopback address, or localhost (RFC 6761)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def invalid(message: str, value: str = "", name: str = "", ec: str = "") -> OssError:
    """Return the error for an invalid callback."""
    details = {"ArgumentName": name, "ArgumentValue": value}
    return OssError("InvalidArgument", message, ec=ec, details=details)
