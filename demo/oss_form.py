"""PostObject: an object uploaded by a form of a web page.

The form has fields, the policy that its maker signed among them, and last the file,
which is stored as it arrives.

Source: "PostObject" in the OSS documentation.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from multipart import (
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from demo.oss_error import OssError, not_imitated
from demo.oss_operations import content_headers, kept_headers
from demo.oss_request import Body, Reply, document
from demo.oss_signature import (
    ALGORITHM,
    IN_FORM,
    Signature,
    read_credential,
    v1_signature,
    v4_signature,
)
from demo.oss_storage import Bucket, StoredObject

MAX_FIELD_BYTES = 2 * 2**20  # of all fields together, less the file
MAX_FIELDS = 100


@dataclass(frozen=True)
class Form:
    """The fields by their lower-case names, and the file, which is yet to be read."""

    fields: Mapping[str, str] = field(repr=False)
    filename: str
    content_type: str
    file: Iterator[bytes]

    def field(self, name: str) -> str:
        return self.fields.get(name.lower(), "")

    @property
    def key(self) -> str:
        return self.field("key").replace("${filename}", self.filename)


def read_form(content_type: str, body: Body) -> Form:
    """Return the form in *body*, which is read up to the file.  Raises OssError."""
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data":
        raise OssError("RequestIsNotMultiPartContent")
    events = parse(options.get("boundary", ""), body.chunks())
    fields: dict[str, str] = {}
    name, value, size = "", b"", 0
    for event in events:
        if isinstance(event, MultipartSegment):
            name, value = (event.name or "").lower(), b""
            if name == "file":
                filename = (event.filename or "").replace("\\", "/").rpartition("/")[2]
                rest = file_chunks(events)
                return Form(fields, filename, event.content_type or "", rest)
            if name in fields or len(fields) >= MAX_FIELDS:
                raise OssError("MalformedPOSTRequest")
        elif event is not None:
            value += event
            size += len(event)
            if size > MAX_FIELD_BYTES:
                raise OssError("FieldItemTooLong")
        else:
            fields[name] = text(value)
    raise OssError("IncorrectNumberOfFilesInPOSTRequest")


def text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise OssError("MalformedPOSTRequest") from None


def parse(
    boundary: str, chunks: Iterable[bytes]
) -> Iterator[MultipartSegment | bytes | None]:
    """Yield the head of each part, then its bytes, then None."""
    try:
        with PushMultipartParser(boundary) as parser:
            for chunk in chunks:
                yield from parser.parse(chunk)
    except MultipartError:
        raise OssError("MalformedPOSTRequest") from None


def file_chunks(events: Iterator[MultipartSegment | bytes | None]) -> Iterator[bytes]:
    """Yield the bytes of the file, and read what follows, which means nothing."""
    for event in events:
        if event is None:
            break
        if isinstance(event, bytes | bytearray):
            yield bytes(event)
    for event in events:
        if isinstance(event, MultipartSegment) and (event.name or "").lower() == "file":
            raise OssError("IncorrectNumberOfFilesInPOSTRequest")


def read_form_signature(form: Form, region: str) -> Signature | None:
    """Return how the policy of *form* is signed, None if it is not.

    Raises OssError.
    """
    policy, token = form.field("policy"), form.field("x-oss-security-token")
    if version := form.field("x-oss-signature-version"):
        if version != ALGORITHM:
            message = "Invalid signature version in form fields."
            raise OssError("InvalidArgument", message)
        access_key_id, date, _ = read_credential(
            required(form, "x-oss-credential"),
            required(form, "x-oss-date"),
            region,
            IN_FORM,
        )
        return Signature(
            access_key_id=access_key_id,
            security_token=token,
            given=required(form, "x-oss-signature"),
            string_to_sign=lambda _resource: required(form, "policy"),
            sign=lambda secret, signed: v4_signature(secret, date, region, signed),
        )
    if policy or form.field("Signature") or form.field("OSSAccessKeyId"):
        return Signature(
            access_key_id=required(form, "OSSAccessKeyId"),
            security_token=token,
            given=required(form, "Signature"),
            string_to_sign=lambda _resource: required(form, "policy"),
            sign=v1_signature,
        )
    return None


def required(form: Form, name: str) -> str:
    value = form.field(name)
    if not value:
        raise OssError(
            "InvalidArgument",
            f"The bucket POST must contain the specified '{name}'. "
            "If it is specified, please check the order of the fields.",
            ec="0002-00000706",
        )
    return value


# --- Its policy -----------------------------------------------------------------


def check_policy(form: Form, bucket: str, now: float) -> range:
    """Return the sizes that the file may have.  Raises OssError.

    A field that no condition names may have any value, as the page does not say
    otherwise.
    """
    try:
        policy = json.loads(base64.b64decode(form.field("policy"), validate=True))
        expiration = datetime.fromisoformat(policy["expiration"].replace("Z", "+00:00"))
        conditions = policy["conditions"]
        if expiration.tzinfo is None or not isinstance(conditions, list):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise OssError("InvalidPolicyDocument") from None
    if expiration.timestamp() <= now:
        raise invalid_by_policy("Policy expired.")
    values = dict(form.fields) | {"bucket": bucket, "key": form.key}
    sizes = range(2**63)
    for condition in conditions:
        match condition:
            case dict() if condition:
                for name, wanted in condition.items():
                    check_condition("eq", name, wanted, values)
            case ["content-length-range", int(low), int(high)]:
                sizes = range(max(low, sizes.start), min(high + 1, sizes.stop))
            case [str(operator), str(name), wanted] if name.startswith("$"):
                check_condition(operator.lower(), name[1:], wanted, values)
            case _:
                raise OssError("InvalidPolicyDocument")
    return sizes


def check_condition(
    operator: str, name: str, wanted: Any, values: Mapping[str, str]
) -> None:
    """Raise OssError unless the condition holds for the field *name*."""
    value = values.get(name.lower(), "")
    match operator, wanted:
        case "eq", str():
            is_met = value == wanted
        case "starts-with", str():
            is_met = value.startswith(wanted)
        case "in" | "not-in", list() if all(isinstance(item, str) for item in wanted):
            is_met = (value in wanted) == (operator == "in")
        case _:
            raise OssError("InvalidPolicyDocument")
    if not is_met:
        condition = json.dumps([operator, f"${name}", wanted], ensure_ascii=False)
        raise invalid_by_policy(f"Policy Condition failed: {condition}")


def invalid_by_policy(reason: str) -> OssError:
    return OssError("AccessDenied", f"Invalid according to Policy: {reason}")


# --- The upload -----------------------------------------------------------------


def post_object(form: Form, bucket: Bucket, url: str, sizes: range) -> Reply:
    """Store the file, if it has one of *sizes*, and return what the form asks for."""
    if form.field("callback"):
        raise not_imitated("the field callback")
    headers = kept_headers(form.fields)
    content_type = form.field("x-oss-content-type") or form.content_type
    headers |= {"content-type": content_type} if content_type else {}
    is_forbidden = form.field("x-oss-forbid-overwrite").lower() == "true"
    with bucket.receive(form.key, within(sizes, form.file)) as incoming:
        stored = bucket.store(
            form.key, incoming, headers, may_overwrite=not is_forbidden
        )
    return form_reply(form, bucket, url, stored)


def within(sizes: range, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *chunks*.  Raises OssError as soon as they are too large, or too small."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size >= sizes.stop:
            raise OssError("EntityTooLarge")
        yield chunk
    if size < sizes.start:
        raise OssError("EntityTooSmall")


def form_reply(form: Form, bucket: Bucket, url: str, stored: StoredObject) -> Reply:
    headers = content_headers(stored.etag, stored.content)
    etag = headers["ETag"]
    headers["Location"] = f"{url}/{bucket.name}/{quote(form.key)}"
    if redirect := form.field("success_action_redirect"):
        query = urlencode({"bucket": bucket.name, "key": form.key, "etag": etag})
        mark = "&" if "?" in redirect else "?"
        return Reply(303, headers | {"Location": f"{redirect}{mark}{query}"})
    status = form.field("success_action_status")
    if status == "201":
        members = {
            "Bucket": bucket.name,
            "ETag": etag,
            "Key": form.key,
            "Location": headers["Location"],
        }
        reply = document("PostResponse", members, headers)
        return Reply(201, reply.headers, reply.body)
    return Reply(200 if status == "200" else 204, headers)
