"""The error replies of STS: HTTP status, Code and Message."""

from __future__ import annotations

from collections.abc import Mapping

# HTTP status, Code and Message.  No page gives the Message of InvalidSignatureMethod;
# pages differ on the status of InvalidAccessKeyId.NotFound (404 or 400) and of
# UnsupportedHTTPMethod (405, 403 or 400).
ERROR_TABLE = """\
404 EntityNotExist.Role The specified Role not exists .
400 IncompleteSignature The request signature does not conform to Aliyun standards.
500 InternalError STS Server Internal Error happened, please send the RequestId to us.
400 InvalidAccessKeyId.Inactive Specified access key is disabled.
404 InvalidAccessKeyId.NotFound Specified access key is not found.
404 InvalidAction.NotFound Specified api is not found, please check your url and method.
400 InvalidParameter.ContentType The ContentType request header must be either \
"application/json" or "application/x-www-form-urlencoded".
400 InvalidParameter.DurationSeconds The Min/Max value of DurationSeconds is 15min/1hr.
400 InvalidParameter.PolicyGrammar The parameter Policy has not passed grammar check.
400 InvalidParameter.PolicySize The size of Policy must be smaller than 2048 bytes.
400 InvalidSecurityToken.Expired Specified SecurityToken is expired.
400 InvalidSecurityToken.Malformed Specified SecurityToken is malformed.
400 InvalidSecurityToken.MismatchWithAccessKey \
Specified SecurityToken mismatch with the AccessKey.
400 InvalidSignatureMethod Specified signature method is not valid.
400 InvalidTimeStamp.Expired Specified time stamp or date value is expired.
400 InvalidTimeStamp.Format Specified time stamp or date value is not well formatted.
400 InvalidVersion Specified parameter Version is not valid.
403 NoPermission You are not authorized to do this action. \
You should be authorized by RAM.
503 ServiceUnavailable The request has failed due to a temporary failure of the server.
400 SignatureNonceUsed Specified signature nonce was used already.
400 Throttling Request was denied due to request throttling.
400 Throttling.Api Request was denied due to api flow control.
400 Throttling.User Request was denied due to user flow control.
405 UnsupportedHTTPMethod This http method is not supported.
"""
ERRORS = {
    code: (int(status), message)
    for status, code, message in (
        line.split(maxsplit=2) for line in ERROR_TABLE.splitlines()
    )
}


class Refused(Exception):
    """An error reply.  Defaults are those in ERRORS; an unknown status is 400."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        status: int | None = None,
        denied: Mapping[str, str] | None = None,  # the AccessDeniedDetail
    ) -> None:
        super().__init__(code)
        usual_status, usual_message = ERRORS.get(code, (400, ""))
        self.code = code
        self.message = usual_message if message is None else message
        self.status = usual_status if status is None else status
        self.denied = denied


def missing(name: str) -> Refused:
    """Return the error for a call without the parameter *name*."""
    return Refused(f"Missing{name}", f"{name} is mandatory for this action.")


def wrongly_formed(name: str) -> Refused:
    """Return the error for a value that the parameter *name* cannot have."""
    code = f"InvalidParameter.{name}"
    message = None if code in ERRORS else f"The parameter {name} is wrongly formed."
    return Refused(code, message)


def not_imitated(what: str) -> Refused:
    """Return the error for *what*, which STS may know and this stand-in does not."""
    return Refused("NotImitated", f"The STS stand-in does not imitate {what}.", 501)
