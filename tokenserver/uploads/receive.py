"""Reading the reports of OSS, and checking that they count.

Anyone can post to the URL.  A report counts if OSS signed it, which it does for
everybody's buckets, and if it has a matching ticket of ours: one that has not expired,
for the object's bucket and folder, and for a grant that still has a callback.  A client
with a token can write the rest of the report itself, so size and type are only the
client's word.

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
PIXELS = re.compile(r"[0-9]{0,9}")  # empty if the object is not a picture


class ReportRefused(RequestError):
    """The report does not count; *detail* says why, for the log alone."""

    status = HTTPStatus.FORBIDDEN
    code = "ReportRefused"
    message = "Only OSS may report uploads here."


def upload_of(
    request: Request, callback: Callback, config: Config, now: float
) -> Upload:
    """Return the upload that *request* reports at *now*, in unix seconds.

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
    """Return the error for a report that does not count; *reason* is for the log."""
    return ReportRefused(detail=reason)


def check_signature(request: Request, callback: Callback) -> None:
    """Raise ReportRefused unless OSS posted *request*.

    The signature covers the path that OSS was told.  A proxy may have changed the path
    of the request, so the path of Callback.Url is used.
    """
    fields = request.fields
    content_type = fields.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != FORM_TYPE:
        raise refused("its Content-Type is not that of a form")
    place = fields.get("x-oss-pub-key-url", "")
    if not callback.has_own_key and not is_key_of_oss(place):
        raise refused("its x-oss-pub-key-url does not name a key of OSS")
    authorization = fields.get("authorization", "")
    target = callback.url.target
    if not is_signed(callback.keys, authorization, target, request.body):
        raise refused(
            "OSS did not sign it, OSS was told another URL, or a proxy changed the body"
        )


def check_ticket(ticket: Ticket, config: Config, now: float) -> None:
    """Raise ReportRefused unless *ticket* is still valid."""
    grant = config.grants.get(ticket.grant)
    if not grant or not grant.callback or not grant.bucket:
        raise refused(f"its ticket is for {ticket.grant}, which has no callback now")
    if grant.bucket.name != ticket.bucket:
        raise refused(f"its ticket is for {ticket.bucket}, which is not BucketName")
    if now >= ticket.until:
        raise refused(f"its ticket expired {now - ticket.until:.0f} s ago")


def check_report(report: Mapping[str, str], ticket: Ticket) -> None:
    """Raise ReportRefused unless *report* is valid and matches *ticket*."""
    if report["bucket"] != ticket.bucket:
        raise refused(f"its bucket is not {ticket.bucket}, the one of its ticket")
    if not report["object"].startswith(ticket.prefix):
        raise refused("its object is not in the folder of its ticket")
    if len(report["object"].encode()) > MAX_OBJECT_BYTES:
        raise refused(f"its object has more than {MAX_OBJECT_BYTES} bytes")
    for name, value in report.items():
        if name not in (TICKET, "object") and len(value) > MAX_VALUE:
            raise refused(f"a value has more than {MAX_VALUE} characters")
    if not SIZE.fullmatch(report["size"]):
        raise refused("its size is not a number of bytes")
    if not (PIXELS.fullmatch(report["width"]) and PIXELS.fullmatch(report["height"])):
        raise refused("its width or height is not a number of pixels")
