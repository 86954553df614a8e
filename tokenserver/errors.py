"""The errors of the server, for its three audiences.

ConfigError is for the operator, before anything is served.  LoginError and StsError are
for the client and the log; tokenserver.documents and tokenserver.app turn them into
replies.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ConfigError(Exception):
    """What the operator must change before the server can use its configuration.

    *problems* has one line for each, naming file, key, value and bound.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


# --- Logins ---------------------------------------------------------------------


class LoginError(Exception):
    """The user is not known or not allowed.

    *reason* is for the log and does not contain any part of the token.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAuthenticated(LoginError):
    """The login token does not prove who is asking."""


class UserNotAllowed(LoginError):
    """The login token is valid, but its user gets no tokens."""


class KeysUnavailable(LoginError):
    """There is no key to verify a token with, because the JWKS URL gave none."""


# --- STS ------------------------------------------------------------------------


class Cause(enum.Enum):
    """Why AssumeRole did not give a token; the value is the text for the log.

    The reply for each is in tokenserver.documents, what to do about it in
    tokenserver.check.hints.
    """

    REFUSED = "STS refused"
    NO_NAME = "its name is not known"
    NO_CONNECTION = "no connection within the time limit"
    NO_ANSWER = "no answer within the time limit"
    BUSY = "too many calls are under way"
    PROXY = "the proxy failed"
    TLS = "TLS failed"
    CONNECTION_REFUSED = "connection refused"
    NO_ROUTE = "no route to it"
    CONNECTION_FAILED = "connection failed"
    NOT_STS = "not the JSON of an answer"
    NO_CREDENTIALS = "an answer without the four credentials"
    PAST_EXPIRATION = "an Expiration that is past or not a time"
    OWN_RATE = "StsCallsPerSecond is reached"
    NO_KEY_PAIR = "no AccessKey pair"
    DEFECT = "see above"


@dataclass(frozen=True)
class Failure:
    """An AssumeRole call that did not give a token.

    *code* and *message* are for the client: those of STS, or a fixed pair of
    tokenserver.documents.  *detail* is for the log.  *is_temporary* says whether a
    retry may help.  *denied_by* is for the operator: the kind of policy that denied the
    call, and how, such as "AssumeRolePolicy ImplicitDeny", if STS says so.
    """

    cause: Cause
    code: str
    message: str
    detail: str
    is_temporary: bool = False
    denied_by: str = ""


class StsError(Exception):
    """AssumeRole did not give a token."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure
