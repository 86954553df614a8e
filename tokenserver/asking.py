"""Reading a request: its grant, its user and its JSONP callback.

Refusals tell the sender no more than the sender may know.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import parse_qs, unquote

from tokenserver.config.callback import Callback
from tokenserver.config.grants import (
    CREDENTIALS_PATH,
    RESERVED_PATHS,
    UPLOAD_CONFIG_PATH,
    Grant,
)
from tokenserver.config.load import Config
from tokenserver.errors import KeysUnavailable, LoginError, UserNotAllowed
from tokenserver.httpd.request import NotFound, Request, RequestError

CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,63}", re.ASCII)

# --- Refusals -------------------------------------------------------------------


class InvalidCallback(RequestError):
    """The JSONP callback of the request is invalid or not allowed."""

    status = HTTPStatus.BAD_REQUEST
    code = "InvalidCallback"
    message = "callback must be a single name of at most 64 characters."


class AmbiguousLogin(RequestError):
    """The request has two login tokens; a proxy may have checked the other one."""

    status = HTTPStatus.BAD_REQUEST
    code = "AmbiguousLogin"
    message = "Send only one login token."


class Unauthenticated(RequestError):
    """The request does not prove who sent it."""

    status = HTTPStatus.UNAUTHORIZED
    code = "Unauthenticated"
    message = "Log in, and send the login token with the request."


class UserRefused(RequestError):
    """The user of the request gets no tokens."""

    status = HTTPStatus.FORBIDDEN
    code = "UserNotAllowed"
    message = "There are no tokens for this user."


class LoginUnavailable(RequestError):
    """The keys that verify login tokens are unavailable."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "LoginUnavailable"
    message = "Logins cannot be checked now. Try again later."
    fields = "Retry-After: 5\r\n"


def login_refusal(error: LoginError) -> RequestError:
    """Return the refusal for *error*, with nothing that helps to forge a token."""
    if isinstance(error, UserNotAllowed):
        return UserRefused(detail=error.reason)
    if isinstance(error, KeysUnavailable):
        return LoginUnavailable(detail=error.reason)
    return Unauthenticated(fields=challenge("invalid_token"), detail=error.reason)


def challenge(error: str = "") -> str:
    """Return the header that asks for a login token (RFC 6750, section 3)."""
    because = f', error="{error}"' if error else ""
    return f'WWW-Authenticate: Bearer realm="sts-server"{because}\r\n'


# --- The parts of a request -----------------------------------------------------


def parameters(request: Request, name: str) -> list[str]:
    """Return the values of *name* in the query."""
    if not request.query:
        return []
    return parse_qs(request.query, keep_blank_values=True).get(name, [])


def callback(request: Request, config: Config) -> str:
    """Return the JSONP callback, or "" if there is none.  Raises RequestError."""
    names = parameters(request, "callback")
    if not names:
        return ""
    if config.http.allowed_origins is not None:  # a page of any origin can run a script
        raise InvalidCallback("JSONP is only served while all origins are allowed.")
    if len(names) > 1 or not CALLBACK.fullmatch(names[0]):
        raise InvalidCallback
    return names[0]


def login_token(request: Request) -> str:
    """Return the login token.  Raises RequestError.

    RFC 6750 puts it in the Authorization header (section 2.1) or, for clients that can
    only be given a URL, in the parameter access_token (section 2.3).
    """
    tokens = parameters(request, "access_token")
    scheme, _, credentials = request.fields.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        tokens = [*tokens, credentials.strip(" ")]
    if len(tokens) > 1:
        raise AmbiguousLogin(fields=challenge("invalid_request"))
    if not tokens:
        raise Unauthenticated(fields=challenge(), detail="no login token")
    return tokens[0]


def user_of(request: Request, config: Config) -> str | None:
    """Return the user who asks, None if no login is needed.  Raises RequestError."""
    if config.login is None:
        return None
    try:
        return config.login.user(login_token(request))
    except LoginError as error:
        raise login_refusal(error) from None


def grant_of(request: Request, config: Config) -> tuple[Grant, str]:
    """Return the grant of the path, and the reserved path before it, or "".

    Raises RequestError.
    """
    path, before = request.path, ""
    for reserved in (CREDENTIALS_PATH, UPLOAD_CONFIG_PATH):
        is_below = not config.serves_any_path and path.startswith(f"{reserved}/")
        if path == reserved or is_below:
            path, before = path.removeprefix(reserved) or "/", reserved
            break
    grant = config.grant(path)
    if (
        not grant
        or (before == CREDENTIALS_PATH and not grant.has_credentials_uri)
        or (before == UPLOAD_CONFIG_PATH and not grant.bucket)
    ):
        raise NotFound
    return grant, before


def is_reserved_in_disguise(path: str, callback: Callback | None = None) -> bool:
    """Return whether *path* becomes a reserved path when it is percent-decoded.

    A proxy in front may have rules for the path as written, so each reserved path has
    only one spelling here: /%63redentials is neither /credentials nor a grant's path.
    """
    if "%" not in path:
        return False
    decoded = unquote(path)
    return decoded in RESERVED_PATHS or is_for_oss(decoded, callback)


def is_for_oss(path: str, callback: Callback | None) -> bool:
    """Return whether *path* is the path of Callback.Url."""
    return callback is not None and path == callback.url.path
