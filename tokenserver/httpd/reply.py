"""Replies: what to send and what to log in one value, and the bytes of it."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from tokenserver.documents import JSON_TYPE, refusal
from tokenserver.httpd.request import RequestError

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n"
    for status in HTTPStatus
}


class Reply(NamedTuple):
    """What a request is answered with, and what the log says of it.

    *body* is None if its length is not known, as that of a token that was not fetched.
    *outcome* is an ErrorCode or the AccessKeyId of a token.  Replies are counted by it,
    or by *counted* where each has an outcome of its own.
    """

    status: HTTPStatus
    body: bytes | None = None
    content_type: str = ""
    fields: str = ""  # more header lines
    outcome: str = ""
    session: str = ""  # RoleSessionName
    detail: str = ""
    counted: str = ""
    is_logged: bool = True

    def encode(self, cors: str, is_last: bool, is_head: bool = False) -> bytes:
        """Return the bytes of the reply; those to a HEAD are without the body.

        *cors* are header lines too.
        """
        fields = self.fields
        if self.content_type:
            fields += f"Content-Type: {self.content_type}\r\n"
        if self.body is not None:
            fields += f"Content-Length: {len(self.body)}\r\n"
        head = (
            f"{STATUS_LINES[int(self.status)]}"
            "Server: sts-server\r\n"
            f"Date: {http_date(int(time.time()))}\r\n"
            f"{fields}"
            "Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            f"{cors}"
            f"Connection: {'close' if is_last else 'keep-alive'}\r\n"
            "\r\n"
        ).encode("ascii")
        return head if is_head or not self.body else head + self.body


@lru_cache(maxsize=2)  # a second has many replies
def http_date(seconds: int) -> str:
    """Return unix *seconds* as HTTP has it."""
    return formatdate(seconds, usegmt=True)


def refused(error: RequestError) -> Reply:
    """Return the reply to a request that *error* refuses."""
    return Reply(
        error.status,
        refusal(error.status, error.code, error.message),
        JSON_TYPE,
        fields=error.fields,
        outcome=error.code,
        detail=error.detail,
    )
