"""A client's request for a signature, checked against the terms of its grant.

    ?filename=cat.jpg&content_type=image/jpeg&size=70000    an upload
    ?object=users/alice/cat.jpg&process=style/thumb         a download

A request that the terms do not allow is refused before anything is signed, so that the
client is told before it uploads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from tokenserver.httpd.request import RequestError
from tokenserver.oss.bucket import Bucket
from tokenserver.oss.callback import TICKET, CallbackStrings
from tokenserver.oss.names import fill_in, name_problem, needs_filename
from tokenserver.oss.signing import (
    Condition,
    Presigned,
    Signer,
    sign_form,
    sign_url,
)
from tokenserver.oss.terms import POST_FORM, Terms

PARAMETERS = ("filename", "content_type", "size", "object", "process")
SIZE = re.compile(r"[0-9]{1,15}")
# RFC 6838, section 4.2, and charset, the one parameter that is allowed
CONTENT_TYPE = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}"
    r"(; ?charset=[a-z0-9_-]{1,40})?"
)
FORBID_OVERWRITE = {"x-oss-forbid-overwrite": "true"}

# --- Refusals -------------------------------------------------------------------


class InvalidParameter(RequestError):
    """A parameter of the query cannot be read."""

    status = HTTPStatus.BAD_REQUEST
    code = "InvalidParameter"
    message = "The query cannot be read."


class InvalidObjectName(RequestError):
    """The request names no object, or one that is not allowed."""

    status = HTTPStatus.BAD_REQUEST
    code = "InvalidObjectName"
    message = "This object name is not allowed."


class ContentTypeNotAllowed(RequestError):
    """The grant does not allow uploads of this content type."""

    status = HTTPStatus.BAD_REQUEST
    code = "ContentTypeNotAllowed"
    message = "This type is not allowed."


class EntityTooLarge(RequestError):
    """The upload is larger than the grant allows."""

    status = HTTPStatus.BAD_REQUEST
    code = "EntityTooLarge"
    message = "The upload is too large."


class EntityTooSmall(RequestError):
    """The upload is smaller than the grant allows."""

    status = HTTPStatus.BAD_REQUEST
    code = "EntityTooSmall"
    message = "The upload is too small."


class ProcessNotAllowed(RequestError):
    """The grant does not allow this processing of the object."""

    status = HTTPStatus.BAD_REQUEST
    code = "ProcessNotAllowed"
    message = "This process is not allowed."


# --- Reading the request --------------------------------------------------------


@dataclass(frozen=True)
class Folder:
    """The folder of a bucket that a user may upload to or download from."""

    bucket: Bucket
    prefix: str  # of the names of all objects
    user: str  # "" where nobody logs in


def read_parameters(query: str) -> dict[str, str]:
    """Return the PARAMETERS that *query* has.  Raises RequestError."""
    found: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        name = decoded(name)
        if name not in PARAMETERS:
            continue
        if name in found:
            raise InvalidParameter(f"{name} may be in the query only once.")
        try:
            found[name] = decoded(value, "strict")
        except ValueError:
            raise InvalidParameter(f"{name} must be in UTF-8.") from None
    return found


def decoded(text: str, errors: str = "replace") -> str:
    """Return *text*, a part of a query, decoded.

    Raises ValueError if it is not UTF-8 and *errors* is "strict".
    """
    return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode(
        errors=errors
    )


def object_name(
    terms: Terms, folder: Folder, asked: Mapping[str, str], now: float
) -> str:
    """Return the name of the object, "" if the client fills it into the form.

    Raises RequestError.
    """
    if terms.method == "GET":
        name = required(asked, "object")
        if not name.startswith(folder.prefix):
            raise InvalidObjectName(
                'object must begin with the "dir" of /upload-config.'
            )
        return checked("object", name)
    if not terms.object_name:
        if terms.type == POST_FORM and "filename" not in asked:
            return ""
        return checked("filename", folder.prefix + required(asked, "filename"))
    filename = ""
    if needs_filename(terms.object_name):
        filename = checked("filename", required(asked, "filename"))
    chosen = fill_in(terms.object_name, folder.user, filename, now)
    return checked("filename", folder.prefix + chosen)


def required(asked: Mapping[str, str], name: str) -> str:
    """Return the parameter *name*.  Raises RequestError if there is none."""
    if not asked.get(name):
        raise InvalidObjectName(f"Say which object, with ?{name}=...")
    return asked[name]


def checked(parameter: str, name: str) -> str:
    """Return the object *name*.  Raises RequestError."""
    if problem := name_problem(name):
        raise InvalidObjectName(f"{parameter} {problem}.")
    return name


def content_type(terms: Terms, asked: Mapping[str, str]) -> str:
    """Return the content type of the upload, "" if the client chooses it.

    Raises RequestError.
    """
    if terms.method == "GET":
        return ""
    found = asked.get("content_type", "").lower()
    if found and not CONTENT_TYPE.fullmatch(found):
        raise InvalidParameter("content_type must be a type such as image/jpeg.")
    if found and not terms.allows_type(found):
        raise ContentTypeNotAllowed(f"content_type must be {types_text(terms)}.")
    if not found and is_one(terms):
        return terms.content_types[0]
    if not found and terms.content_types and not can_leave_type(terms):
        raise ContentTypeNotAllowed(
            f"Say with ?content_type=... which type it is: {types_text(terms)}."
        )
    return found


def types_text(terms: Terms) -> str:
    """Return the content types that *terms* allow, for a message."""
    return " or ".join(terms.content_types)


def is_one(terms: Terms) -> bool:
    """Return whether *terms* allow only one content type."""
    return len(terms.content_types) == 1 and not terms.content_types[0].endswith("*")


def can_leave_type(terms: Terms) -> bool:
    """Return whether a form can let the client choose one of the allowed types.

    Its policy can have a list of types or one wildcard, not both.
    """
    has_wildcard = any(allowed.endswith("*") for allowed in terms.content_types)
    return terms.type == POST_FORM and (
        not has_wildcard or len(terms.content_types) == 1
    )


def check_size(terms: Terms, asked: Mapping[str, str]) -> None:
    """Raise RequestError if the form would not take an upload of this size."""
    text = asked.get("size", "")
    if not text:
        return
    if not SIZE.fullmatch(text):
        raise InvalidParameter("size must be a number of bytes.")
    if int(text) > terms.max_size:
        raise EntityTooLarge(f"At most {terms.max_size} bytes are allowed.")
    if int(text) < terms.min_size:
        raise EntityTooSmall(f"At least {terms.min_size} bytes are needed.")


def process_of(terms: Terms, asked: Mapping[str, str]) -> str:
    """Return the x-oss-process of a download, "" if there is none.

    Raises RequestError.
    """
    process = asked.get("process", "") if terms.method == "GET" else ""
    if process and process not in terms.processes:
        allowed = " or ".join(terms.processes) or "left out"
        raise ProcessNotAllowed(f"process must be {allowed}.")
    return process


# --- Signing --------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """A form or a URL that only lacks its signature."""

    terms: Terms
    folder: Folder
    object_name: str  # "" if the client chooses it, within the folder
    content_type: str  # "" if the client chooses it
    process: str
    callback: CallbackStrings | None  # pinned by the signature

    @property
    def text(self) -> str:
        """The method and the object, for the log."""
        return f"{self.terms.method} {self.object_name or f'{self.folder.prefix}*'}"

    def form(self, signer: Signer, until: int) -> dict[str, str]:
        """Return the fields of the form, in the order in which they are sent."""
        fields = {"key": self.object_name} if self.object_name else {}
        fields["success_action_status"] = "200"
        if self.terms.forbid_overwrite:
            fields |= FORBID_OVERWRITE
        if self.content_type:
            fields["x-oss-content-type"] = self.content_type
        if self.callback:
            fields |= {"callback": self.callback.callback, TICKET: self.callback.ticket}
        return sign_form(signer, fields, self.conditions(), until)

    def conditions(self) -> list[Condition]:
        """Return the policy conditions for the fields that the client fills in."""
        terms = self.terms
        found: list[Condition] = [{"bucket": self.folder.bucket.name}]
        if not self.object_name:
            found.append(["starts-with", "$key", self.folder.prefix])
        found.append(["content-length-range", terms.min_size, terms.max_size])
        if terms.content_types and not self.content_type:
            # For OSS this field takes precedence over the type of the file's own part.
            name, allowed = "$x-oss-content-type", terms.content_types
            if allowed[0].endswith("*"):
                found.append(["starts-with", name, allowed[0][:-1]])
            else:
                found.append(["in", name, list(allowed)])
        return found

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the client has to send, unchanged, with the URL."""
        headers = {"Content-Type": self.content_type} if self.content_type else {}
        return headers | (FORBID_OVERWRITE if self.terms.forbid_overwrite else {})

    def url(self, signer: Signer, until: int) -> str:
        """Return the URL, with its signature."""
        query = {"x-oss-process": self.process} if self.process else {}
        if self.callback and self.terms.method == "PUT":
            query["callback"] = self.callback.callback
            query["callback-var"] = self.callback.variables
        request = Presigned(
            self.terms.method,
            self.folder.bucket,
            self.object_name,
            self.headers,
            query,
            until - int(signer.now),
        )
        return sign_url(signer, request)


def order_of(
    terms: Terms,
    folder: Folder,
    query: str,
    now: float,
    callback: CallbackStrings | None = None,
) -> Order:
    """Return the order in *query* for an object in *folder*, at the unix time *now*.

    *callback* makes OSS report the upload.  Raises RequestError.
    """
    asked = read_parameters(query)
    name = object_name(terms, folder, asked, now)
    kind = content_type(terms, asked)
    if terms.type == POST_FORM:
        check_size(terms, asked)
    return Order(terms, folder, name, kind, process_of(terms, asked), callback)
