"""Conditional requests and ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping

from localcloud.oss.errors import OssError
from localcloud.oss.headers import content_headers
from localcloud.oss.records import (
    StoredObject,
)
from localcloud.oss.times import read_date


def check_conditions(
    headers: Mapping[str, str], stored: StoredObject, prefix: str = ""
) -> None:
    """Raise OssError unless the If-… headers hold; invalid dates are ignored."""

    def etags(name: str) -> list[str]:
        value = headers.get(prefix + name, "")
        return [etag.strip().strip('"').upper() for etag in value.split(",") if etag]

    def date(name: str) -> float | None:
        return read_date(headers.get(prefix + name, ""))

    modified_at = int(stored.modified_at)
    if_match, if_none_match = etags("if-match"), etags("if-none-match")
    unmodified_since, modified_since = (
        date("if-unmodified-since"),
        date("if-modified-since"),
    )
    if (if_match and stored.etag not in if_match and "*" not in if_match) or (
        unmodified_since is not None and modified_at > unmodified_since
    ):
        raise OssError("PreconditionFailed")
    if (if_none_match and (stored.etag in if_none_match or "*" in if_none_match)) or (
        modified_since is not None and modified_at <= modified_since
    ):
        raise OssError(
            "NotModified", headers=content_headers(stored.etag, stored.content)
        )


def read_range(headers: Mapping[str, str], size: int) -> range | None:
    """Return the range of bytes to send, None for the whole object.

    OSS sends the whole object if the range is not within it, unless the request asks
    for the standard behaviour.  Then OssError is raised if the range has no byte of it.
    """
    match = re.fullmatch(r"bytes=([0-9]{0,18})-([0-9]{0,18})", headers.get("range", ""))
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    is_standard = headers.get("x-oss-range-behavior", "").lower() == "standard"
    start = int(first) if first else size - int(last)
    stop = int(last) + 1 if first and last else size
    if first and last and start >= stop:
        return None  # not a range
    if 0 <= start < stop <= size:
        return range(start, stop)
    if not is_standard:
        return None
    if start >= size or not size:
        raise OssError(
            "InvalidRange",
            headers={"Content-Range": f"bytes */{size}"},
            details={"ActualObjectSize": str(size)},
        )
    return range(max(start, 0), min(stop, size))
