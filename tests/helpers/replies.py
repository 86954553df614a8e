"""Checks of whole exchanges: each reply is correct, and nothing else arrives."""

from __future__ import annotations

import json
import re

from helpers.client import Reply, parse_replies
from helpers.hostile import MARK


def check_reply(reply: Reply, expected: str) -> None:
    """Check *reply* except for Connection, which depends on its position."""
    status, what = expected.split(" ", 1)
    headers = dict(reply.headers)
    assert reply.status == int(status)
    if what == "interim":
        assert (headers, reply.body) == ({}, b"")
        return
    assert headers["server"] == "sts-server"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["access-control-allow-origin"] == "*"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", headers["date"])
    assert ("allow" in headers) == (status in ("204", "405"))
    if what == "preflight":
        assert (reply.body, "content-length" in headers) == (b"", False)
        return
    kind = "javascript" if " for " in what else "json"
    assert headers["content-type"] == f"application/{kind}; charset=utf-8"
    if what.startswith("head"):
        assert reply.body == b""
        return
    assert int(headers["content-length"]) == len(reply.body)
    if "token" in what:
        assert security_token(reply, what.partition(" for ")[2])
    elif what == "healthy":
        assert reply.json == {"Status": "OK"}
    else:
        document = reply.json
        assert list(document) == ["StatusCode", "ErrorCode", "ErrorMessage"]
        assert (document["StatusCode"], document["ErrorCode"]) == (reply.status, what)
        assert document["ErrorMessage"]


def security_token(reply: Reply, name: str) -> str:
    """Return the token in *reply*, which must have the callback *name*, if any."""
    before, after = (f"{name}( ".encode(), b" )") if name else (b"", b"")
    body = reply.body
    assert reply.status == 200, reply
    assert body.startswith(before + b"{"), reply
    assert body.endswith(b"}" + after), reply
    document = json.loads(body[len(before) : len(body) - len(after)])
    assert document["AccessKeyId"].startswith("STS.")
    token = document["SecurityToken"]
    assert isinstance(token, str)
    return token


def check_exchange(received: bytes, replies: tuple[str, ...]) -> None:
    """Check that *received* is *replies*, and that the last ends the connection."""
    found = parse_replies(received)
    assert [reply.status for reply in found] == [int(reply[:3]) for reply in replies]
    for reply, expected in zip(found, replies, strict=True):
        check_reply(reply, expected)
    final = [reply.headers["connection"] for reply in found if reply.status >= 200]
    assert final == ["keep-alive"] * (len(final) - 1) + ["close"] * bool(final)
    check_no_leak(received, sum("token" in reply for reply in replies))


def check_no_leak(received: bytes, tokens: int) -> None:
    """Check that *received* has at most this many tokens, and nothing of a request."""
    assert MARK.encode() not in received
    assert b"Traceback" not in received
    assert received.count(b"STS.") <= tokens
    assert received.count(b'"SecurityToken"') <= tokens
