"""All JSON documents that the server sends; their keys are spelt only here.

A token is sent in one of two forms.  That of the reference servers is for the mobile
SDKs and ali-oss; its names and their order are from "Set up direct data transfer for
mobile apps" (OSS documentation).  The other is for ALIBABA_CLOUD_CREDENTIALS_URI, which
the SDKs' CredentialsURIProvider reads.  An error has the form of the token it replaces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tokenserver.errors import Cause, Failure, StsError
from tokenserver.oss.bucket import Bucket
from tokenserver.oss.callback import CallbackStrings
from tokenserver.oss.terms import TOKEN, Terms

JSON_TYPE = "application/json; charset=utf-8"
JAVASCRIPT_TYPE = "application/javascript; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"


def encode(document: Mapping[str, Any]) -> bytes:
    """Return *document* as compact JSON."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


HEALTHY = encode({"Status": "OK"})


def in_callback(name: str, document: bytes) -> bytes:
    """Return *document* as the script that JSONP asks for."""
    return b"%s( %s )" % (name.encode("ascii"), document)


# --- Tokens ---------------------------------------------------------------------


@dataclass(frozen=True)
class Credentials:
    """The credentials that AssumeRole returned, always used as one set."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(repr=False)
    expiration: str  # YYYY-MM-DDThh:mm:ssZ, as STS wrote it
    last_updated: str  # when STS was asked, in the same form


class Token:
    """Credentials as the document that is sent, encoded once.

    They are kept only in this form: thousands of tokens are in memory, 1 KiB each.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.access_key_id = credentials.access_key_id
        self._last_updated = credentials.last_updated
        self.document = encode(
            {
                "StatusCode": 200,
                "AccessKeyId": credentials.access_key_id,
                "AccessKeySecret": credentials.access_key_secret,
                "SecurityToken": credentials.security_token,
                "Expiration": credentials.expiration,
            }
        )

    @property
    def uri_document(self) -> bytes:
        """The document that SDKs expect from an ALIBABA_CLOUD_CREDENTIALS_URI."""
        fields = json.loads(self.document)
        del fields["StatusCode"]
        return encode({"Code": "Success", **fields, "LastUpdated": self._last_updated})

    @cached_property
    def credentials(self) -> Credentials:
        """What is in the document, for whoever signs with it."""
        fields = json.loads(self.document)
        return Credentials(
            fields["AccessKeyId"],
            fields["AccessKeySecret"],
            fields["SecurityToken"],
            fields["Expiration"],
            self._last_updated,
        )


# --- Where to upload ------------------------------------------------------------


def upload_config(
    bucket: Bucket, folder: str, terms: Terms | None, callback: CallbackStrings | None
) -> bytes:
    """Return what a client needs to know beside its token, which has other names.

    It is not in the token's document, because ali-oss takes all of that for options.
    *callback* is what a client passes to OSS with an upload that is to be reported.
    """
    document: dict[str, Any] = {
        "bucket": bucket.name,
        "region": bucket.region,
        "endpoint": bucket.client_endpoint,
        "cname": bucket.is_cname,
        "host": bucket.host,
        "dir": folder,
        **(terms.shown() if terms else {"type": TOKEN}),
    }
    if callback:
        document["callback"] = callback.callback
        document["callback-var"] = callback.variables
    return encode(document)


# --- What was signed ------------------------------------------------------------


def post_form(
    fields: Mapping[str, str], bucket: Bucket, folder: str, until: int
) -> bytes:
    """Return a form that is signed, until the unix time *until*.

    First come the names of the official samples for "Obtain signature information from
    the server and upload data to OSS", of all languages together, then what any client
    of HTTP needs: all of *fields*, whose names are those of OSS, and last the file.
    """
    version = fields["x-oss-signature-version"]
    document: dict[str, Any] = {
        "version": version,
        "x_oss_signature_version": version,
        "policy": fields["policy"],
        "x_oss_credential": fields["x-oss-credential"],
        "x_oss_date": fields["x-oss-date"],
        "signature": fields["x-oss-signature"],
        "security_token": fields["x-oss-security-token"],
        "dir": folder,
        "host": bucket.host,
        "expire": until,
    }
    if "callback" in fields:
        document["callback"] = fields["callback"]
    return encode(
        document | {"method": "POST", "url": bucket.host, "fields": dict(fields)}
    )


def presigned_url(
    method: str, url: str, headers: Mapping[str, str], object_name: str, until: int
) -> bytes:
    """Return a URL that is signed, and the headers that have to be sent with it."""
    return encode(
        {
            "method": method,
            "url": url,
            "headers": dict(headers),
            "object": object_name,
            "expire": until,
        }
    )


# --- What was uploaded ----------------------------------------------------------


@dataclass(frozen=True)
class Upload:
    """What OSS says of an object that somebody has uploaded."""

    id: str  # the same for the same report
    time: str  # when the report came, as in 2026-01-31T09:00:00.123Z
    grant: str  # its path
    user: str  # "" where nobody logs in
    bucket: str
    object: str
    size: int  # bytes
    type: str
    etag: str
    crc64: str
    width: int | None  # pixels of a picture
    height: int | None
    format: str
    client: str  # its address
    request: str  # RequestId of OSS
    operation: str  # PutObject, PostObject or CompleteMultipartUpload
    variables: Mapping[str, str]  # of the client's own

    @property
    def record(self) -> bytes:
        """What UploadsFile and ForwardUrl have of it, JSON in ASCII without line ends.

        The id is first: by it those are found that came before a restart.
        """
        return json.dumps(vars(self), separators=(",", ":")).encode("ascii")

    @property
    def reply(self) -> bytes:
        """What OSS is answered, which the client that uploaded gets to see."""
        document: dict[str, Any] = {
            "Status": "OK",
            "id": self.id,
            "user": self.user,
            "bucket": self.bucket,
            "object": self.object,
            "size": self.size,
            "type": self.type,
            "etag": self.etag,
        }
        if self.width is not None and self.height is not None:
            document |= {"width": self.width, "height": self.height}
        return encode(document)


# --- Errors ---------------------------------------------------------------------

# Code and message for a client when STS gave none.  The codes are those of the core
# SDKs of Alibaba Cloud, which the reference servers used; the texts do not reveal a
# URL, an ARN or a policy.
UNREACHABLE = ("SDK.ServerUnreachable", "The app server could not reach STS.")
UNUSABLE = ("SDK.UnknownServerError", "STS gave the app server no usable answer.")
THROTTLED = ("Throttling.User", "Request was denied due to user flow control.")
NO_CREDENTIALS = ("SDK.InvalidCredential", "The app server has no credentials.")
INTERNAL = ("InternalError", "The app server failed.")

TEXTS = {
    Cause.NO_NAME: UNREACHABLE,
    Cause.NO_CONNECTION: UNREACHABLE,
    Cause.NO_ANSWER: UNREACHABLE,
    Cause.BUSY: UNREACHABLE,
    Cause.PROXY: UNREACHABLE,
    Cause.TLS: UNREACHABLE,
    Cause.CONNECTION_REFUSED: UNREACHABLE,
    Cause.NO_ROUTE: UNREACHABLE,
    Cause.CONNECTION_FAILED: UNREACHABLE,
    Cause.NOT_STS: UNUSABLE,
    Cause.NO_CREDENTIALS: UNUSABLE,
    Cause.PAST_EXPIRATION: UNUSABLE,
    Cause.OWN_RATE: THROTTLED,
    Cause.NO_KEY_PAIR: NO_CREDENTIALS,
    Cause.DEFECT: INTERNAL,
}
LASTING = (  # a retry does not help
    Cause.NO_CREDENTIALS,
    Cause.PAST_EXPIRATION,
    Cause.NO_KEY_PAIR,
    Cause.DEFECT,
)


def failed(cause: Cause, detail: str = "") -> StsError:
    """Return the error for a *cause* for which STS has not given a code and message.

    *detail* is for the log; by default it is the text of the cause.
    """
    is_temporary = cause not in LASTING
    return StsError(Failure(cause, *TEXTS[cause], detail or cause.value, is_temporary))


def refusal(status: int, code: str, message: str) -> bytes:
    """Return the document for an error, in the form of the reference servers."""
    return encode({"StatusCode": status, "ErrorCode": code, "ErrorMessage": message})


def token_error(failure: Failure) -> bytes:
    """Return the document that is sent instead of a token when AssumeRole failed."""
    return refusal(500, failure.code, failure.message)


def uri_error(failure: Failure) -> bytes:
    """Return the error document of a credentials URI: its Code is not Success."""
    return encode({"Code": failure.code, "Message": failure.message})
