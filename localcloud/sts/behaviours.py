"""The ways in which a test can have a call answered."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fail:
    """An error document; message and status are the documented ones if not given."""

    code: str
    message: str | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """Exactly this reply, valid or not; *headers* replace the usual ones.

    With Connection: close, the connection is closed afterwards.
    """

    status: int
    body: bytes
    content_type: str = "application/json;charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """Nothing until script() or always() is called again, then the usual answer."""


@dataclass(frozen=True)
class Drip:
    """The usual answer, its status line, headers and body one byte at a time.

    The rest is sent at once when *released* is set.
    """

    seconds_per_byte: float
    released: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Close:
    """No reply: the connection is closed."""


@dataclass(frozen=True)
class Reset:
    """No reply: the connection is reset."""


Behaviour = Fail | Reply | Hang | Drip | Close | Reset
