"""The users who are shut out: the text file that DeniedUsersFile names."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from datetime import datetime

from tokenserver.errors import ConfigError, LoginError
from tokenserver.login.users import user_id
from tokenserver.logs import printable

MOST_SHOWN = 10  # wrong lines that are reported


def parse_denied(where: str, content: bytes) -> dict[str, float]:
    """Return the users in the file, and until which login time they are denied.

    A line has a user ID, or a user ID and a time: unix seconds or ISO 8601 with an
    offset.  Without a time, or if one of several lines has none, the user is always
    denied.  Raises ConfigError.
    """
    denied: dict[str, float] = {}
    problems = []
    try:
        lines = content.decode("utf-8-sig").split("\n")
    except UnicodeError:
        raise ConfigError(f"{where}: is not UTF-8 text") from None
    for number, line in enumerate(lines, 1):
        user, *times = line.split()[:3] or [""]
        try:
            before = denied_before(times)
            if user or times:
                user_id(user)
                denied[user] = max(denied.get(user, 0.0), before)
        except (ValueError, LoginError) as error:
            problems.append(f"{where}: line {number}: {printable(str(error))}")
    if problems:
        more = [f"{where}: {len(problems) - MOST_SHOWN} more lines"] * (
            len(problems) > MOST_SHOWN
        )
        raise ConfigError(*problems[:MOST_SHOWN], *more)
    return denied


TIME_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def denied_before(times: Sequence[str]) -> float:
    """Return the time after a user ID, in unix seconds.  Raises ValueError."""
    if not times:
        return math.inf
    with contextlib.suppress(ValueError):
        if len(times) == 1 and re.fullmatch(r"[0-9]{1,12}", times[0]):
            return int(times[0])
        if len(times) == 1 and TIME_FORM.fullmatch(times[0]):
            return datetime.fromisoformat(times[0].replace("Z", "+00:00")).timestamp()
    raise ValueError(
        f"has {' '.join(times)!r:.60} after the user; it must be one time, in unix "
        "seconds or as in 2026-01-31T09:00:00+08:00"
    )
