"""PostObject: an object uploaded by a form of a web page.

The form has fields, including a signed policy, and last the file, which is stored as it
arrives.

Sources: "PostObject", "POST V4 signature" and the pages of EC 0002-00000701 to 710 in
the OSS documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from multipart import (
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from localcloud.oss.body import Body
from localcloud.oss.errors import OssError
from localcloud.oss.headers import content_headers, kept_headers
from localcloud.oss.operations import Notify
from localcloud.oss.post_policy import check_policy
from localcloud.oss.records import Description, StoredObject
from localcloud.oss.replies import Reply, document
from localcloud.oss.signature import refuse_other_schemes
from localcloud.oss.signature_v1 import v1_refused, v1_signature
from localcloud.oss.signature_v4 import (
    ALGORITHM,
    IN_FORM,
    MAX_EXPIRES_SECONDS,
    invalid,
    invalid_date,
    read_credential,
    read_v4_time,
    v4_signature,
)
from localcloud.oss.signed import MAX_CLOCK_SKEW_SECONDS, Signature
from localcloud.oss.storage import Bucket

MAX_FIELD_BYTES = 2 * 2**20  # of all fields together, without the file
MAX_FIELDS = 100
V4_FIELDS = ("x-oss-signature-version", "x-oss-credential", "x-oss-date")


@dataclass(frozen=True)
class Form:
    """The fields by name in lower case, and the file, which is not read yet."""

    fields: Mapping[str, str] = field(repr=False)
    filename: str
    content_type: str
    file: Iterator[bytes]

    def field(self, name: str) -> str:
        """Return the value of the field *name*, or ""."""
        return self.fields.get(name.lower(), "")

    @property
    def key(self) -> str:
        """The key of the object, with the name of the file filled in."""
        return self.field("key").replace("${filename}", self.filename)


def read_form(content_type: str, body: Body) -> Form:
    """Return the form in *body*, reading it up to the file.  Raises OssError."""
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
    """Return the value of a field as text.  Raises OssError if it is not UTF-8."""
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
    """Yield the bytes of the file, then read and ignore the fields after it."""
    for event in events:
        if event is None:
            break
        if isinstance(event, bytes | bytearray):
            yield bytes(event)
    for event in events:
        if isinstance(event, MultipartSegment) and (event.name or "").lower() == "file":
            raise OssError("IncorrectNumberOfFilesInPOSTRequest")


def read_form_signature(
    form: Form, now: float, region: str, *, allow_v1: bool
) -> Signature | None:
    """Return the signature of the policy of *form*, None if there is none.

    Raises OssError.
    """
    refuse_other_schemes("", form.fields)
    policy, token = form.field("policy"), form.field("x-oss-security-token")
    if version := form.field("x-oss-signature-version"):
        if version != ALGORITHM:
            raise invalid("signature version", IN_FORM, "0002-00000701")
        time = required_field(form, "x-oss-date")
        age = now - read_v4_time(time, IN_FORM)
        if not -MAX_CLOCK_SKEW_SECONDS <= age <= MAX_EXPIRES_SECONDS:
            raise invalid_date(IN_FORM)
        credential = required_field(form, "x-oss-credential")
        access_key_id, date, _ = read_credential(credential, time[:8], region, IN_FORM)
        return Signature(
            access_key_id=access_key_id,
            security_token=token,
            given=required_field(form, "x-oss-signature"),
            string_to_sign=lambda _resource: required_field(form, "policy"),
            sign=lambda secret, signed: v4_signature(secret, date, region, signed),
        )
    if policy or form.field("Signature") or form.field("OSSAccessKeyId"):
        if not allow_v1:
            raise v1_refused(region)
        return Signature(
            access_key_id=required_field(form, "OSSAccessKeyId"),
            security_token=token,
            given=required_field(form, "Signature"),
            string_to_sign=lambda _resource: required_field(form, "policy"),
            sign=v1_signature,
        )
    return None


def required_field(form: Form, name: str) -> str:
    """Return the value of the field *name*.  Raises OssError if there is none."""
    value = form.field(name)
    if not value:
        raise OssError(
            "InvalidArgument",
            f"The bucket POST must contain the specified '{name}'. "
            "If it is specified, please check the order of the fields.",
            ec="0002-00000706",
        )
    return value


def allowed_sizes(form: Form, bucket: str, now: float) -> range:
    """Return the sizes that the policy of *form* allows.  Raises OssError.

    The policy is checked against the key as written in the form, including ${filename},
    and against the Content-Type of the file: the sample in "Upload files to OSS
    directly from a client" has a condition on $content-type but no such field.
    """
    fields = {**form.fields, "bucket": bucket}
    if form.content_type:
        fields["content-type"] = form.content_type
    is_v4 = bool(form.field("x-oss-signature-version"))
    return check_policy(form.field("policy"), fields, now, V4_FIELDS if is_v4 else ())


# --- The upload -----------------------------------------------------------------


def post_object(
    form: Form, bucket: Bucket, url: str, sizes: range, notify: Notify
) -> Reply:
    """Store the file if its size is in *sizes*; return the reply to the form."""
    headers = kept_headers(form.fields)
    content_type = form.field("x-oss-content-type") or form.content_type
    headers |= {"content-type": content_type} if content_type else {}
    is_forbidden = form.field("x-oss-forbid-overwrite").lower() == "true"
    with bucket.receive(form.key, within(sizes, form.file)) as incoming:
        stored = bucket.store(
            form.key, incoming, Description(headers), may_overwrite=not is_forbidden
        )
    return notify(stored, form_reply(form, bucket, url, stored))


def within(sizes: range, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *chunks*.  Raises OssError if they are too large or too small together."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size >= sizes.stop:
            raise OssError("EntityTooLarge")
        yield chunk
    if size < sizes.start:
        raise OssError("EntityTooSmall")


def form_reply(form: Form, bucket: Bucket, url: str, stored: StoredObject) -> Reply:
    """Return the reply that the fields success_action_... ask for."""
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
