"""The errors of OSS: status, Code, Message and EC.

Sources: "Error responses" and the page of each EC in the OSS documentation.  An EC is
empty if no page gives it.
"""

from __future__ import annotations

from collections.abc import Mapping

ERROR_TABLE = """\
403 AccessDenied - Access denied.
403 AccessForbidden - CORSResponse: This CORS request is not allowed. This is usually \
because the evaluation of Origin, request method / Access-Control-Request-Method or \
Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.
403 AccessKeyIdAndSecurityTokenNotMatch - The OSS access key id and security token you \
provided does not match.
400 BadRequest - Insufficient information. Origin and Access-Control-Request-Method \
request headers are needed.
203 CallbackFailed - The callback failed.
400 EntityTooLarge - Your proposed upload exceeds the maximum allowed size.
400 EntityTooSmall - Your proposed upload is smaller than the minimum allowed size.
409 FileAlreadyExists - The object you specified already exists and can not be \
overwritten.
400 FieldItemTooLong - Your POST fields or the file name exceed the allowed size.
400 IncompleteBody - The request body is incomplete.
400 IncorrectNumberOfFilesInPOSTRequest - POST requires exactly one file upload per \
request.
400 ImageTooLarge - The image is too large to be processed.
403 ImageDamage - The image file may be damaged.
500 InternalError - We encountered an internal error. Please try again.
403 InvalidAccessKeyId 0002-00000902 The OSS Access Key Id you provided does not exist \
in our records.
400 InvalidArgument - An argument is invalid.
400 InvalidBucketName - The specified bucket is not valid.
400 InvalidCRC64 - The CRC64 you specified does not match what we received.
400 InvalidDigest - The Content-MD5 you specified is not valid or does not match what \
we received.
400 InvalidObjectName - The specified object is not valid.
400 InvalidPart - One or more of the specified parts could not be found or the \
specified entity tag might not have matched the part's entity tag.
400 InvalidPartOrder - The list of parts was not in ascending order. Parts list must \
specified in order by part number.
400 InvalidPolicyDocument - Invalid Policy: the policy document is not valid.
416 InvalidRange - The requested range cannot be satisfied.
403 InvalidSecurityToken - The security token you provided is invalid.
400 MalformedPOSTRequest - The body of your POST request is not well-formed \
multipart/form-data.
400 MalformedXML - The XML you provided was not well-formed or did not validate \
against our published schema.
405 MethodNotAllowed - The specified method is not allowed against this resource.
400 MissingArgument - Missing Some Required Arguments.
411 MissingContentLength - You must provide the Content-Length HTTP header.
404 NoSuchBucket 0015-00000101 The specified bucket does not exist.
404 NoSuchKey 0026-00000001 The specified key does not exist.
404 NoSuchUpload - The specified upload does not exist. The upload ID may be invalid, \
or the upload may have been aborted or completed.
304 NotModified - Not Modified
501 NotImplemented - The OSS stand-in does not imitate this.
409 ObjectNotAppendable - The object is not appendable.
409 PositionNotEqualToLength 0026-00000016 Position is not equal to file length.
412 PreconditionFailed - At least one of the pre-conditions you specified did not hold.
400 RequestIsNotMultiPartContent - Bucket POST must be of the enclosure-type \
multipart/form-data.
403 RequestTimeTooSkewed 0002-00000504 The difference between the request time and the \
current time is too large.
403 SecurityTokenExpired - The security token you provided has expired.
503 ServiceUnavailable - Please reduce your request rate.
403 SignatureDoesNotMatch 0002-00000040 The request signature we calculated does not \
match the signature you provided. Check your key and signing method.
"""

# Errors that this stand-in returns only if a test orders them.  Sources: "HTTP status
# code 503", and the pages of 403 and 400.
OTHER_ERRORS = """\
503 ActiveRequestLimitExceeded - Max active request limit is exceeded
503 CpuLimitExceeded - Please reduce your request rate
503 DownloadTrafficRateLimitExceeded - Please reduce your download request traffic
403 InvalidObjectState - The operation is not valid for the object's state
503 MetaOperationQpsLimitExceeded - Qps limit for the meta operation is exceeded
400 RequestTimeout - Your socket connection to the server was not read from or written \
to within the timeout period.
503 TotalQpsLimitExceeded - Max total qps limit is exceeded
503 UploadTrafficRateLimitExceeded - Please reduce your upload request traffic
403 UserDisable 0003-00000801 UserDisable
"""
ERRORS = {
    code: (int(status), "" if ec == "-" else ec, message)
    for status, code, ec, message in (
        line.split(maxsplit=3) for line in (ERROR_TABLE + OTHER_ERRORS).splitlines()
    )
}
# The errors of OSS by which a request fails before it has any effect
CODES = ERRORS.keys() - {"NotImplemented", "CallbackFailed"}


class OssError(Exception):
    """An error reply.  *code* is one of ERRORS, which has the default *message* and EC.

    *details* are the elements after HostId; *headers* are sent with the reply.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        ec: str = "",
        details: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status, usual_ec, usual_message = ERRORS[code]
        self.message = message or usual_message
        self.ec = ec or usual_ec
        self.headers = headers or {}
        self.details = details or {}

    def with_headers(self, headers: Mapping[str, str]) -> OssError:
        """Return the error with *headers* in addition to its own."""
        return OssError(
            self.code,
            self.message,
            ec=self.ec,
            details=self.details,
            headers={**self.headers, **headers},
        )


def not_imitated(what: str) -> OssError:
    """Return the loud error for a feature that OSS has and this stand-in does not."""
    return OssError("NotImplemented", f"The OSS stand-in does not imitate {what}.")


def wrong_endpoint(bucket: str, region: str) -> OssError:
    """Return the error for a bucket that is in another *region*."""
    message = (
        "The bucket you are attempting to access must be addressed using the specified "
        "endpoint. Please send all future requests to this endpoint."
    )
    details = {"Bucket": bucket, "Endpoint": f"oss-{region}.aliyuncs.com"}
    return OssError("AccessDenied", message, ec="0003-00001403", details=details)


class CutOff(Exception):
    """The connection must end here, without a reply."""
