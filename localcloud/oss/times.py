"""Times in the formats of OSS."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

V4_TIME = re.compile(r"\d{8}T\d{6}Z", re.ASCII)


def read_date(text: str) -> float | None:
    """Return the unix seconds of a Date or of a time in the format of V4, or None."""
    try:
        if V4_TIME.fullmatch(text):
            moment = datetime.strptime(text, "%Y%m%dT%H%M%SZ")
        else:
            moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.astimezone(timezone.utc).timestamp()
    except (ValueError, OverflowError):  # OverflowError: the year is out of range
        return None


def day_of(seconds: float) -> str:
    """Return the day of unix *seconds* as the credentials of V4 have it, yyyymmdd."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y%m%d")


def iso_time(seconds: float) -> str:
    """Return unix *seconds* in the format of times in XML."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
