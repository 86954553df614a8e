"""Reports of OSS: whether one counts, and what it says.

Anyone can post to the URL.  A report counts if OSS signed it, which it does for buckets
of everybody, and if it has a ticket of ours that fits: of a grant that still reports,
for the bucket and the folder that the object is in, and not over.  A client who holds a
token writes the rest of the report itself, so size and type are the client's word.

Source: "Callback" (OSS API reference), "Object naming" (OSS documentation).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from http import HTTPStatus

from tokenserver.config.callback import Callback
from tokenserver.config.load import Config
from tokenserver.documents import Upload
from tokenserver.httpd.request import Request, RequestError
from tokenserver.oss.callback import (
    FORM_TYPE,
    TICKET,
    Ticket,
    is_key_of_oss,
    is_signed,
    open_ticket,
    read_report,
)

MAX_OBJECT_BYTES = 1023  # of a name
MAX_VALUE = 1024  # characters of any other value
SIZE = re.compile(r"[0-9]{1,15}")
PIXELS = re.compile(r"[0-9]{0,9}")  # empty for what is not a picture


class ReportRefused(RequestError):
    """It does not prove that OSS reports an upload of ours.  *detail* says why."""

    status = HTTPStatus.FORBIDDEN
    code = "ReportRefused"
    message = "This is where OSS reports uploads."


def upload_of(
    request: Request, callback: Callback, config: Config, now: float
) -> Upload:
    """Return what *request* reports at *now*, in unix seconds.

    Raises ReportRefused.
    """
    check_signature(request, callback)
    try:
        report = read_report(request.body)
        ticket = open_ticket(callback.secrets, report[TICKET])
    except ValueError as error:
        raise refused(str(error)) from None
    check_ticket(ticket, config, now)
    check_report(report, ticket)
    width, height = (int(report[name] or -1) for name in ("width", "height"))
    moment = datetime.fromtimestamp(now, timezone.utc).isoformat(
        timespec="milliseconds"
    )
    return Upload(
        id=hashlib.sha256(request.body).hexdigest()[:32],
        time=moment.replace("+00:00", "Z"),
        grant=ticket.grant,
        user=ticket.user,
        bucket=ticket.bucket,
        object=report["object"],
        size=int(report["size"]),
        type=report["type"],
        etag=report["etag"],
        crc64=report["crc64"],
        width=width if width >= 0 else None,
        height=height if height >= 0 else None,
        format=report["format"],
        client=report["client"],
        request=report["request"],
        operation=report["operation"],
        variables={name: report.get(name, "") for name in callback.variables},
    )


def refused(reason: str) -> ReportRefused:
    """Return the error for a report that does not count, for a *reason*."""
    return ReportRefused(detail=reason)


def check_signature(request: Request, callback: Callback) -> None:
    """Raise ReportRefused unless OSS posted *request*.

    A signature covers the path that OSS was told.  If a proxy changed it, the path here
    is another, and that of Url is what counts.
    """
    fields = request.fields
    content_type = fields.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != FORM_TYPE:
        raise refused("its Content-Type is not that of a form")
    place = fields.get("x-oss-pub-key-url", "")
    if not callback.has_own_key and not is_key_of_oss(place):
        raise refused("its x-oss-pub-key-url is not where OSS has its keys")
    authorization = fields.get("authorization", "")
    target = callback.url.target
    if not is_signed(callback.keys, authorization, target, request.body):
        raise refused(
            "OSS did not sign it, or was told another URL, or a proxy changed the body"
        )


def check_ticket(ticket: Ticket, config: Config, now: float) -> None:
    """Raise ReportRefused unless *ticket* is still good."""
    grant = config.grants.get(ticket.grant)
    if not grant or not grant.callback or not grant.bucket:
        raise refused(f"its ticket is for {ticket.grant}, where nothing is reported")
    if grant.bucket.name != ticket.bucket:
        raise refused(f"its ticket is for {ticket.bucket}, which is not BucketName")
    if now >= ticket.until:
        raise refused(f"its ticket was good until {now - ticket.until:.0f} s ago")


def check_report(report: Mapping[str, str], ticket: Ticket) -> None:
    """Raise ReportRefused unless *report* is one that *ticket* is for."""
    if report["bucket"] != ticket.bucket:
        raise refused(f"its bucket is not {ticket.bucket}, as its ticket says")
    if not report["object"].startswith(ticket.prefix):
        raise refused("its object is not in the folder that its ticket says")
    if len(report["object"].encode()) > MAX_OBJECT_BYTES:
        raise refused(f"its object has more than {MAX_OBJECT_BYTES} bytes")
    for name, value in report.items():
        if name not in (TICKET, "object") and len(value) > MAX_VALUE:
            raise refused(f"a value has more than {MAX_VALUE} characters")
    if not SIZE.fullmatch(report["size"]):
        raise refused("its size is not a number of bytes")
    if not (PIXELS.fullmatch(report["width"]) and PIXELS.fullmatch(report["height"])):
        raise refused("its width or height is not a number of pixels")
