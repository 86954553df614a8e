"""Replies: one value for what is sent and what is logged, and its encoding."""

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
    """The reply to a request, and the details for its log line.

    *body* is None if its length is unknown: a HEAD request fetches no token.
    *outcome* is an ErrorCode or the AccessKeyId of a token.  Metrics count replies by
    *counted* if it is set, otherwise by *outcome*.
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
        """Return the bytes of the reply, without the body for a HEAD request.

        *cors* holds the header lines for CORS.
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


@lru_cache(maxsize=2)  # many replies share one second
def http_date(seconds: int) -> str:
    """Return unix *seconds* in the format of the Date header."""
    return formatdate(seconds, usegmt=True)


def refused(error: RequestError) -> Reply:
    """Return the reply that tells a client *error*."""
    return Reply(
        error.status,
        refusal(error.status, error.code, error.message),
        JSON_TYPE,
        fields=error.fields,
        outcome=error.code,
        detail=error.detail,
    )
