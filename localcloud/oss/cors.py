"""Which web pages of other origins may use a bucket (CORS).

Source: "CORS" and "OptionObject" in the OSS documentation.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from localcloud import ram
from localcloud.oss.errors import OssError
from localcloud.oss.replies import Reply
from localcloud.oss.request import Request


@dataclass(frozen=True)
class CorsRule:
    """The requests that pages of other origins may send; * matches any characters."""

    allowed_origins: Collection[str] = ("*",)
    allowed_methods: Collection[str] = ("GET", "HEAD", "PUT", "POST", "DELETE")
    allowed_headers: Collection[str] = ("*",)
    expose_headers: Collection[str] = (
        "ETag",
        "x-oss-request-id",
        "x-oss-next-append-position",
        "x-oss-hash-crc64ecma",
    )
    max_age_seconds: int = 600

    def allows(self, origin: str, method: str, headers: Collection[str] = ()) -> bool:
        """Tell whether a page of *origin* may send such a request.

        The names of *headers* are in lower case.
        """
        return (
            any(ram.is_like(origin, allowed) for allowed in self.allowed_origins)
            and method in self.allowed_methods
            and all(
                any(
                    ram.is_like(name, allowed.lower())
                    for allowed in self.allowed_headers
                )
                for name in headers
            )
        )

    def reply_headers(self, origin: str) -> dict[str, str]:
        """Return the headers that let a page of *origin* read a reply."""
        is_open = "*" in self.allowed_origins
        return {
            "Access-Control-Allow-Origin": "*" if is_open else origin,
            "Access-Control-Expose-Headers": ", ".join(self.expose_headers),
            "Vary": "Origin",
        }


def preflight_names(request: Request) -> list[str]:
    """Return the headers that a preflight asks about, in lower case."""
    names = request.headers.get("access-control-request-headers", "").split(",")
    return [name.strip().lower() for name in names if name.strip()]


def find_rule(rules: Collection[CorsRule], request: Request) -> CorsRule | None:
    """Return the first rule that allows *request*, or what a preflight asks about."""
    origin, method, names = request.headers.get("origin", ""), request.method, []
    if not origin:
        return None
    if method == "OPTIONS":
        method = request.headers.get("access-control-request-method", "")
        names = preflight_names(request)
    return next((rule for rule in rules if rule.allows(origin, method, names)), None)


def answer_preflight(rules: Collection[CorsRule], request: Request) -> Reply:
    """Return the reply to OptionObject.  Raises OssError if no rule allows it."""
    if not {"origin", "access-control-request-method"} <= request.headers.keys():
        raise OssError("BadRequest")
    rule = find_rule(rules, request)
    if rule is None:
        raise OssError("AccessForbidden")
    return Reply(
        headers={
            "Access-Control-Allow-Methods": ", ".join(rule.allowed_methods),
            "Access-Control-Allow-Headers": ", ".join(preflight_names(request)),
            "Access-Control-Max-Age": str(rule.max_age_seconds),
        }
    )


def cors_headers(rules: Collection[CorsRule], request: Request) -> dict[str, str]:
    """Return the headers that let a page of another origin read the reply."""
    rule = find_rule(rules, request)
    return rule.reply_headers(request.headers["origin"]) if rule else {}
