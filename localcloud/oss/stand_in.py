"""A stand-in for OSS on loopback, for the demo and the tests, and for app developers.

    with StsStandIn() as sts, OssStandIn(sts) as oss:
        bucket = oss.create_bucket("my-bucket")
        ...  # a client of oss.url with a token of sts may do what the token allows
        bucket.keys()

It is a real HTTP server and refuses what OSS refuses: each request must be signed (V1
or V4, in a header, a URL or a form) within 15 minutes of its clock, with a key that the
STS stand-in knows and the security token that belongs to it, unexpired; then the
policies decide, those of the role together with the session policy in the token.  It
remembers what it was asked, and can be told to fail.

It imitates the operations of OPERATIONS and PostObject, in buckets that create_bucket()
makes.  The other operations of OSS are known by name and action: what the policies do
not allow is AccessDenied, as on OSS, and only what they allow and is not imitated is
answered with 501, which says what it is.  So are versions, tags, ACLs other than
private, callbacks, encryption and image processing.  Signature version 2 and those of
Amazon S3 are answered with 501 at once.

What else differs: no TLS; anonymous requests are refused, as all is private; there are
no bucket policies; a bucket belongs to one account, whose users and roles alone may
come near it; path style is accepted from everybody; by default any origin may send any
request (CORS); which of several errors is reported is ours where the documentation
gives no order.

Sources: the OSS documentation, and the SDKs named in localcloud.oss.signature.
"""

from __future__ import annotations

import base64
import io
import logging
import re
import secrets
import tempfile
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from email.errors import (
    FirstHeaderLineIsContinuationDefect,
    MissingHeaderBodySeparatorDefect,
)
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from http.client import responses
from pathlib import Path
from typing import cast

from localcloud import ram
from localcloud.loopback import LoopbackHandler, LoopbackServer
from localcloud.oss.catalog import Operation
from localcloud.oss.errors import OssError, not_imitated
from localcloud.oss.folder import taken
from localcloud.oss.form import (
    allowed_sizes,
    post_object,
    read_form,
    read_form_signature,
    required_field,
)
from localcloud.oss.operations import OPERATIONS, Authorize, Call, read_source
from localcloud.oss.request import (
    BUCKET_NAME,
    MAX_BODY_BYTES,
    Body,
    Place,
    Reply,
    Request,
    check_place,
    document,
)
from localcloud.oss.signature import Signature, read_signature
from localcloud.oss.storage import Bucket, read_chunks
from localcloud.sts import Caller, Refused, StsStandIn

logger = logging.getLogger("localcloud.oss")

REQUESTS_KEPT = 10_000
CUT_OFF = "CutOff"  # instead of an error code, for fail()

# The headers that OSS reads, those that clients may sign among them.
READ_ONCE = re.compile(
    r"(access-control-request-|content-|if-|x-oss-).*|authorization|cache-control|date|"
    r"expect|expires|host|origin|range|security-token|transfer-encoding|user-agent"
)

# What follows one of these was not read as headers.
HEAD_DEFECTS = (FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect)

# What STS says of a key and its token, and what OSS says of the same.
OSS_CODE_OF = {
    "InvalidAccessKeyId.NotFound": "InvalidAccessKeyId",
    "InvalidAccessKeyId.Inactive": "InvalidAccessKeyId",
    "InvalidSecurityToken.Expired": "SecurityTokenExpired",
    "InvalidSecurityToken.Malformed": "InvalidSecurityToken",
    "InvalidSecurityToken.MismatchWithAccessKey": (
        "AccessKeyIdAndSecurityTokenNotMatch"
    ),
    "MissingSecurityToken": "InvalidSecurityToken",
}

# Headers, and fields of a form, that need an action of their own, on the same object,
# and the values of them that change nothing.
EXTRAS = {
    "x-oss-object-acl": ("oss:PutObjectAcl", ("private", "default")),
    "x-oss-tagging": ("oss:PutObjectTagging", ()),
}

# Headers, and fields of a form, that begin like these ask for what is not imitated.
NOT_IMITATED = (
    "x-oss-callback",
    "x-oss-server-side-",
    "x-oss-process",
    "x-oss-symlink-",
    "x-oss-traffic-limit",
)

DENIALS = {  # EC and message
    ram.Decision.DENIED_BY_SESSION_POLICY: (
        "0003-00000301",
        "Access denied by authorizer's policy.",
    ),
    ram.Decision.DENIED_IMPLICITLY: (
        "0003-00000001",
        "You have no right to access this object because of bucket acl.",
    ),
    ram.Decision.DENIED_EXPLICITLY: (
        "0003-00000201",
        "Access denied by bucket policy.",
    ),
}


@dataclass
class Access:
    """A request as the log has it; what did not come to be known is empty."""

    method: str
    operation: str = ""
    bucket: str = ""
    key: str = ""
    access_key_id: str = ""
    status: int = 0
    code: str = ""  # of the error


@dataclass(frozen=True)
class CorsRule:
    """What a page of another origin may send; an asterisk is any run of characters."""

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
        is_open = "*" in self.allowed_origins
        return {
            "Access-Control-Allow-Origin": "*" if is_open else origin,
            "Access-Control-Expose-Headers": ", ".join(self.expose_headers),
            "Vary": "Origin",
        }


class CutOff(Exception):
    """The connection is to end here, without a reply."""


class OssStandIn:
    """OSS on 127.0.0.1 for as long as a with block lasts; port 0 is any free one.

    Objects are kept in *folder*, or in a temporary one.  *owner* is the account that
    the buckets belong to.  Time is that of *sts*.  Entering the block raises OSError if
    the port is taken, and FolderError if the folder cannot be used: it has to be new or
    empty, or one that an earlier stand-in used, and in use by no other.
    """

    def __init__(
        self,
        sts: StsStandIn,
        folder: Path | None = None,
        port: int = 0,
        *,
        region: str = "cn-hangzhou",
        owner: str = "1234567890123456",
    ) -> None:
        self.sts = sts
        self.clock = sts.clock
        self.folder = folder
        self.port = port
        self.region = region
        self.owner = owner
        self._lock = threading.Lock()  # guards all below
        self._buckets: dict[str, Bucket] = {}  # replaced, never changed
        self._cors: dict[str, Collection[CorsRule]] = {}
        self._requests: deque[Access] = deque(maxlen=REQUESTS_KEPT)
        self._failures: dict[str, deque[str]] = {}

    def __enter__(self) -> OssStandIn:
        with ExitStack() as stack:
            if self.folder is None:
                temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
                self.folder = Path(stack.enter_context(temporary))
            self._objects = stack.enter_context(taken(self.folder))
            self._server = LoopbackServer(self.port, _Handler, self)
            self._stack = stack.pop_all()
        self.port = self._server.port
        self.url = f"http://127.0.0.1:{self.port}"
        self._server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End every request at once."""
        self._server.close()
        self._stack.close()

    def create_bucket(
        self, name: str, cors: Collection[CorsRule] = (CorsRule(),)
    ) -> Bucket:
        """Add a bucket, with the objects that its folder holds.

        Raises FolderError if that folder cannot be used.
        """
        if not BUCKET_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no bucket name")
        bucket = Bucket(name, self._objects.bucket(name), self.clock)
        with self._lock:
            self._buckets = {**self._buckets, name: bucket}
            self._cors[name] = cors
        return bucket

    @property
    def requests(self) -> list[Access]:
        """The requests answered since clear(), of very many the last."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Forget the requests answered so far."""
        with self._lock:
            self._requests.clear()

    def fail(self, operation: str, *codes: str) -> None:
        """Answer the next requests for *operation* with these errors, each once.

        An empty code stands for the usual answer; CUT_OFF ends the connection halfway
        through the body of the request.
        """
        with self._lock:
            self._failures[operation] = deque(codes)

    # What happens to a request

    def answer(self, request: Request) -> Reply:
        """Return the reply to *request*, and remember both.  Raises CutOff."""
        started = time.monotonic()
        request_id = make_request_id()
        access = Access(request.method)
        try:
            reply = self._perform(request, access)
        except CutOff:
            raise
        except Exception as problem:
            error = as_oss_error(problem)
            access.code = error.code
            reply = error_reply(error, request.method, request.headers, request_id)
        access.status = reply.status
        milliseconds = (time.monotonic() - started) * 1000
        with self._lock:
            self._requests.append(access)
        logger.info(
            "OSS %s %s %s/%s %d %s %.0fms",
            printable(access.method),
            access.operation or "-",
            printable(access.bucket),
            printable(access.key),
            access.status,
            access.code or access.access_key_id or "-",
            milliseconds,
        )
        headers = {
            "x-oss-request-id": request_id,
            "x-oss-server-time": f"{milliseconds:.0f}",
            **reply.headers,
            **self._cors_headers(request, access.bucket),
        }
        return replace(reply, headers=headers)

    def _perform(self, request: Request, access: Access) -> Reply:
        """Do what *request* asks; note in *access* what is found out about it."""
        buckets = self._buckets
        places = request.places(buckets)
        note_place(access, places[0])
        if request.method == "OPTIONS":
            access.operation = "OptionObject"
            return self._preflight(request, access.bucket)
        with suppress(OssError):  # which the right place need not be refused for
            access.operation = request.operation(places[0]).name
        if access.operation == "PostObject":
            return self._post_object(request, places[0], access)
        signature = required(
            read_signature(request.signable, request.received_at, self.region)
        )
        caller = self._caller(signature, access)
        secret = caller.access_key_secret
        place = next((p for p in places if signature.matches(secret, p.resource)), None)
        if place is None:
            raise signature.mismatch(places[0].resource)
        note_place(access, place)
        operation = request.operation(place)
        access.operation = operation.name
        bucket = None
        if operation.name == "PutBucket":
            check_place(place)
        elif place.bucket:
            bucket = self._bucket(place)
        authorize = partial(self._authorize, request, request.headers, caller)
        self._authorize_all(operation, request.headers, authorize, place)
        self._meet_failure(operation.name, request.body)
        perform = OPERATIONS.get(operation.name)
        if perform is None or bucket is None:
            raise not_imitated(operation.name)
        request.check_query(operation)
        check_extras(request.headers)
        return perform(
            Call(
                request=request,
                buckets=buckets,
                bucket=bucket,
                key=place.key,
                authorize=authorize,
                owner=self.owner,
                region=self.region,
                url=self.url,
            )
        )

    def _post_object(self, request: Request, place: Place, access: Access) -> Reply:
        operation = request.operation(place)
        request.body.check_announced()
        form = read_form(request.headers.get("content-type", ""), request.body)
        place = Place(place.bucket, form.key)
        note_place(access, place)
        signature = required(
            read_form_signature(form, request.received_at, self.region)
        )
        caller = self._caller(signature, access)
        if not signature.matches(caller.access_key_secret, place.resource):
            raise signature.mismatch(place.resource)
        sizes = allowed_sizes(form, place.bucket, request.received_at)
        required_field(form, "key")
        bucket = self._bucket(place)
        authorize = partial(self._authorize, request, form.fields, caller)
        self._authorize_all(operation, form.fields, authorize, place)
        self._meet_failure(operation.name, request.body)
        request.check_query(operation)
        check_extras(form.fields)
        return post_object(form, bucket, self.url, sizes)

    def _caller(self, signature: Signature, access: Access) -> Caller:
        """Return whose key it is.  Raises OssError unless it may be used."""
        access.access_key_id = signature.access_key_id
        try:
            return self.sts.caller(signature.access_key_id, signature.security_token)
        except Refused as refusal:
            if not self.sts.knows(signature.access_key_id):
                raise OssError("InvalidAccessKeyId") from None
            raise OssError(OSS_CODE_OF[refusal.code]) from None

    def _bucket(self, place: Place) -> Bucket:
        check_place(place)
        bucket = self._buckets.get(place.bucket)
        if bucket is None:
            raise OssError("NoSuchBucket", details={"BucketName": place.bucket})
        return bucket

    def _authorize(
        self,
        request: Request,
        headers: Mapping[str, str],
        caller: Caller,
        action: str,
        place: Place,
    ) -> None:
        """Raise OssError unless the policies let *caller* do *action* there.

        *headers* are those of the request, or the fields of a form instead.
        """
        account = caller.arn.split(":")[3]
        if place.bucket in self._buckets and account != self.owner:
            message = "The bucket you access does not belong to you."
            raise OssError("AccessDenied", message)
        session = caller.session
        policy = ram.parse(session.policy) if session and session.policy else None
        path = f"{place.bucket}/{place.key}" if place.key else place.bucket
        decision = ram.decide(
            caller.policies,
            policy,
            action,
            f"acs:oss:oss-{self.region}:{account}:{path}",
            condition_keys(request, headers, caller),
        )
        if decision is not ram.Decision.ALLOWED:
            ec, message = DENIALS[decision]
            implicitly = decision is ram.Decision.DENIED_IMPLICITLY
            if implicitly and action == "oss:ListBuckets":
                ec, message = "", "You are forbidden to list buckets."
            raise OssError("AccessDenied", message, ec=ec)

    def _authorize_all(
        self,
        operation: Operation,
        headers: Mapping[str, str],
        authorize: Authorize,
        place: Place,
    ) -> None:
        """Raise OssError unless the caller may do all that *operation* takes.

        DeleteMultipleObjects asks for what it deletes itself.
        """
        if operation.action:
            authorize(operation.action, place)
        if operation.action == "oss:PutObject":
            for name, (action, _) in EXTRAS.items():
                if name in headers:
                    authorize(action, place)
        if operation.name in ("CopyObject", "UploadPartCopy"):
            source = read_source(headers["x-oss-copy-source"])
            authorize(source.action, source.place)

    def _meet_failure(self, operation: str, body: Body) -> None:
        """Raise what fail() asked for, if it did."""
        with self._lock:
            codes = self._failures.get(operation)
            code = codes.popleft() if codes else ""
        if code == CUT_OFF:
            left = (body.length or 0) // 2
            for chunk in body.chunks():
                left -= len(chunk)
                if left <= 0:
                    break
            raise CutOff
        if code:
            raise OssError(code)

    # CORS

    def _preflight(self, request: Request, bucket: str) -> Reply:
        if not {"origin", "access-control-request-method"} <= request.headers.keys():
            raise OssError("BadRequest")
        rule = self._cors_rule(request, bucket)
        if rule is None:
            raise OssError("AccessForbidden")
        return Reply(
            headers={
                "Access-Control-Allow-Methods": ", ".join(rule.allowed_methods),
                "Access-Control-Allow-Headers": ", ".join(preflight_names(request)),
                "Access-Control-Max-Age": str(rule.max_age_seconds),
            }
        )

    def _cors_headers(self, request: Request, bucket: str) -> dict[str, str]:
        """Return the headers that let a page of another origin read the reply."""
        rule = self._cors_rule(request, bucket)
        return rule.reply_headers(request.headers["origin"]) if rule else {}

    def _cors_rule(self, request: Request, bucket: str) -> CorsRule | None:
        """Return the rule that allows *request*, or what a preflight asks about."""
        origin, method, names = request.headers.get("origin", ""), request.method, []
        if method == "OPTIONS":
            method = request.headers.get("access-control-request-method", "")
            names = preflight_names(request)
        for rule in self._cors.get(bucket, ()) if origin else ():
            if rule.allows(origin, method, names):
                return rule
        return None


def preflight_names(request: Request) -> list[str]:
    """Return the headers that a preflight asks about, in lower case."""
    names = request.headers.get("access-control-request-headers", "").split(",")
    return [name.strip().lower() for name in names if name.strip()]


def make_request_id() -> str:
    return secrets.token_hex(12).upper()


def printable(text: str) -> str:
    """Return *text* for the log, where no part of it can look like another line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def as_oss_error(problem: Exception) -> OssError:
    """Return *problem* as what the client is told; the log has what it is not."""
    if isinstance(problem, OssError):
        return problem
    if isinstance(problem, OSError):  # of the disk, as those of the client are not
        logger.error("the folder cannot be used: %s", problem.strerror or problem)
    else:
        logger.error("a defect of the stand-in", exc_info=problem)
    return OssError("InternalError")


def error_reply(
    error: OssError, method: str, headers: Mapping[str, str], request_id: str
) -> Reply:
    """Return *error* as a document, which a reply to HEAD has in a header."""
    if error.status == 304:
        return Reply(304, error.headers)
    members = {
        "Code": error.code,
        "Message": error.message,
        "RequestId": request_id,
        "HostId": headers.get("host", ""),
        **error.details,
    }
    also = {"x-oss-request-id": request_id, **error.headers}
    if error.ec:
        members["EC"] = error.ec
        members["RecommendDoc"] = f"https://api.aliyun.com/troubleshoot?q={error.ec}"
        also["x-oss-ec"] = error.ec
    reply = document("Error", members, also)
    if method == "HEAD":
        in_header = {"x-oss-err": base64.b64encode(reply.body).decode()}
        return Reply(error.status, {**reply.headers, **in_header})
    return Reply(error.status, reply.headers, reply.body)


def required(signature: Signature | None) -> Signature:
    """Return *signature*.  Raises OssError if there is none, as all is private."""
    if signature is None:
        message = "Anonymous access is forbidden for this operation."
        raise OssError("AccessDenied", message)
    return signature


def check_extras(headers: Mapping[str, str]) -> None:
    """Raise OssError if *headers* ask for more than is imitated."""
    for name in headers:
        if name.startswith(NOT_IMITATED):
            raise not_imitated(name)
    for name, (_, harmless) in EXTRAS.items():
        if name in headers and headers[name] not in harmless:
            raise not_imitated(f"{name}: {headers[name]}")


def note_place(access: Access, place: Place) -> None:
    access.bucket, access.key = place.bucket, place.key


def condition_keys(
    request: Request, headers: Mapping[str, str], caller: Caller
) -> dict[str, str]:
    """Return what the conditions of a policy may ask about *request*.

    *headers* are those of it, or the fields of a form instead.  A parameter or header
    that is there and empty is not one that is missing.
    """
    moment = datetime.fromtimestamp(int(request.received_at), timezone.utc)
    optional = {
        "acs:UserAgent": request.headers.get("user-agent"),
        "oss:Prefix": request.query.get("prefix"),
        "oss:Delimiter": request.query.get("delimiter"),
        "oss:x-oss-acl": headers.get("x-oss-acl"),
        "oss:x-oss-object-acl": headers.get("x-oss-object-acl"),
    }
    return {
        "acs:SourceIp": request.client,
        "acs:SecureTransport": "false",
        "acs:CurrentTime": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "acs:AccessId": caller.access_key_id,
        **{name: value for name, value in optional.items() if value is not None},
    }


# --- Its HTTP server ------------------------------------------------------------


class _Handler(LoopbackHandler):
    """One connection: reads a request, lets the stand-in decide, sends the reply."""

    timeout = 60  # seconds a silent client may hold a thread

    def handle_expect_100(self) -> bool:
        """Ask for the body only when it is wanted: a refusal spares the client that."""
        return True

    def handle_one_request(self) -> None:
        # Bytes that are a blank in Latin-1, which would end the URL, are part of many a
        # letter in UTF-8.
        self.raw_requestline = re.sub(
            rb"[\x80-\xff]",
            lambda byte: b"%%%02X" % ord(byte[0]),
            self.rfile.readline(65537),
        )
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        oss: OssStandIn = self.server.service
        expectation = self.headers.get("expect", "")
        self.is_asked_to_continue = expectation.lower() == "100-continue"
        now = oss.clock()
        try:
            headers = self.read_headers()
            request = Request(
                method=self.command,
                target=self.path,
                headers=headers,
                body=self.body(headers),
                client=self.client_address[0],
                received_at=now,
            )
        except OssError as error:
            self.close_connection = True
            host = {"host": self.headers.get("host", "")}
            self.send(error_reply(error, self.command, host, make_request_id()), now)
            return
        body = request.body
        try:
            reply = oss.answer(request)
        except CutOff:
            self.close_connection = True
            return
        if self.is_asked_to_continue and not body.is_begun:
            self.close_connection = True  # who knows whether the client sends it yet
        if reply.status == HTTPStatus.LENGTH_REQUIRED:
            self.close_connection = True  # nor whether it sends one unannounced
        self.send(reply, now)
        self.finish_body(body)

    def read_headers(self) -> dict[str, str]:
        """Return the headers by name in lower case.  Raises OssError.

        What others make of one that is there twice differs, so it is refused if OSS
        reads it; else both are one list (RFC 9110, section 5.3).
        """
        if any(isinstance(defect, HEAD_DEFECTS) for defect in self.headers.defects):
            raise OssError("InvalidArgument", "A line of the head is not a header.")
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            name = name.lower()
            with suppress(UnicodeError):  # else it is left as Latin-1
                value = value.encode("latin-1").decode()
            if name in headers:
                if READ_ONCE.fullmatch(name):
                    message = f"The header {name} is there twice."
                    raise OssError("InvalidArgument", message)
                value = f"{headers[name]}, {value}"
            headers[name] = value
        return headers

    def body(self, headers: Mapping[str, str]) -> Body:
        """Return the body that *headers* announce.  Raises OssError."""
        coding = headers.get("transfer-encoding", "").lower()
        is_announced = bool(coding) or "content-length" in headers
        if coding not in ("", "chunked"):
            raise not_imitated(f"Transfer-Encoding: {coding}")
        if coding and "content-length" in headers:
            message = "Content-Length and Transfer-Encoding exclude each other."
            raise OssError("InvalidArgument", message)
        length: int | None = None
        if not coding:
            text = headers.get("content-length", "0")
            if not re.fullmatch(r"[0-9]{1,18}", text):
                raise OssError("InvalidArgument", "Content-Length is not a number.")
            length = int(text)
            if length > MAX_BODY_BYTES:
                raise OssError("EntityTooLarge")
        file = cast(io.BufferedReader, self.rfile)
        return Body(file, length, self.before_body, is_announced=is_announced)

    def before_body(self) -> None:
        if self.is_asked_to_continue:
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def send(self, reply: Reply, now: float) -> None:
        """Send *reply*, a file of it in pieces."""
        size = reply.size or len(reply.body)
        headers = {
            "Server": "AliyunOSS",
            "Date": formatdate(now, usegmt=True),
            **reply.headers,
        }
        if reply.status not in (204, 304):
            headers["Content-Length"] = str(size)
        headers["Connection"] = "close" if self.close_connection else "keep-alive"
        lines = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, '')}"]
        lines += [clean(f"{name}: {value}") for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        with reply.file or nullcontext():
            self.connection.sendall(head + reply.body)
            if reply.file:
                for chunk in read_chunks(reply.file, reply.size):
                    self.connection.sendall(chunk)

    def finish_body(self, body: Body) -> None:
        """Read what is left of a body that nobody wanted.

        Else its bytes would be taken for the next request, or, if the connection ended
        here, the reset could overtake the reply.
        """
        is_wanted = body.is_begun or not self.is_asked_to_continue
        with suppress(OssError):
            if is_wanted:
                deque(body.chunks(), maxlen=0)
        if not body.is_read:  # whether more comes of it is not known
            self.close_connection = True


def clean(header: str) -> str:
    """Return a header without what would end it."""
    return re.sub(r"[\r\n]+", " ", header)
