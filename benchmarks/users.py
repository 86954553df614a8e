"""Counts the AssumeRole calls for many users, each of whom asks once."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.measure import megabytes
from benchmarks.servers import Peer, Running, Sts, ask_on, is_good, running, with_logins

CLIENTS = 8  # at once, each on a connection that is kept alive


@dataclass(frozen=True)
class Users:
    """The replies to users, and their cost.  *calls* are those of the whole run."""

    peer: str
    users: int
    good: int  # replies that were a token, a form or a URL
    own: int  # tokens or folders, each counted once
    calls: int
    seconds: float
    megabytes_before: float
    megabytes: float


def ask_as_users(peer: Peer, users: int, sts: Sts, folder: Path) -> Users:
    """Start *peer*, and ask it once for each of this many users, who log in."""
    peer = with_logins(peer, "HS256", folder, users)
    sts.calls()
    first = replace(peer, logins=peer.logins[:1])  # this user waits for the start
    place = folder / f"{users} {peer.name}"
    with running(first, sts.url, place, place) as server:
        before = megabytes(*server.processes)
        begin = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            shares = [peer.logins[number::CLIENTS] for number in range(CLIENTS)]
            found = list(chain(*pool.map(lambda share: given(server, share), shares)))
        return Users(
            peer.name,
            users,
            good=len(found),
            own=len(set(found)),
            calls=sts.calls(),
            seconds=time.monotonic() - begin,
            megabytes_before=before,
            megabytes=megabytes(*server.processes),
        )


def given(server: Running, logins: Sequence[str]) -> list[str]:
    """Return the parts of the replies to *logins* that belong to one user alone."""
    parts = urlsplit(server.url)
    target = f"{parts.path}?{parts.query}".rstrip("?")
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    with contextlib.closing(connection):
        documents = [ask_on(connection, target, login) for login in logins]
    return [own_part(document) for document in documents if is_good(document)]


def own_part(document: dict[str, Any]) -> str:
    """Return a token, the folder of a form, or the object of a URL."""
    for name in ("SecurityToken", "dir", "object"):
        if name in document:
            return str(document[name])
    raise ValueError("neither a token, a form nor a URL")
