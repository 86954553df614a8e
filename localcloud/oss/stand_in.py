"""OSS on 127.0.0.1: its buckets, and the steps from a request to its reply."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from localcloud.failures import Failures
from localcloud.loopback import LoopbackServer
from localcloud.network import Network
from localcloud.oss.body import Body
from localcloud.oss.callbacks import (
    Asked,
    Callback,
    CallbackKey,
    CallbackSender,
    notifier,
    read_callback,
    read_form_callback,
)
from localcloud.oss.catalog import ROWS
from localcloud.oss.cors import CorsRule, answer_preflight, cors_headers
from localcloud.oss.errors import (
    CODES,
    CutOff,
    OssError,
    not_imitated,
    wrong_endpoint,
)
from localcloud.oss.folder import taken
from localcloud.oss.form import (
    allowed_sizes,
    post_object,
    read_form,
    read_form_signature,
    required_field,
)
from localcloud.oss.handler import OssHandler
from localcloud.oss.operations import OPERATIONS, Call, Notify
from localcloud.oss.permissions import (
    CALLING_BACK,
    Permissions,
    check_extras,
    find_caller,
)
from localcloud.oss.replies import Reply, error_reply, make_request_id
from localcloud.oss.request import BUCKET_NAME, Place, Request, check_place
from localcloud.oss.signature import read_signature
from localcloud.oss.storage import Bucket
from localcloud.sts import Caller, StsStandIn

logger = logging.getLogger("localcloud.oss")

REQUESTS_KEPT = 10_000
CUT_OFF = "CutOff"  # for fail(), in place of an error code
FAILABLE = {row.name for rows in ROWS.values() for row in rows}


@dataclass
class Access:
    """A request for the log.  Fields that did not become known are empty."""

    method: str
    operation: str = ""
    bucket: str = ""
    key: str = ""
    access_key_id: str = ""
    status: int = 0
    code: str = ""  # of the error
    request_id: str = ""


class OssStandIn:
    """OSS on 127.0.0.1 for as long as a with block lasts; port 0 means any free port.

    Objects are kept in *folder*, or in a temporary one.  *owner* is the account that
    the buckets belong to.  The clock is that of *sts*.  With *allow_v1* the buckets
    take Signature V1, like buckets made before September 2025.  An app server has
    *callback_seconds* to answer a callback.  *network* says where to listen instead of
    127.0.0.1.  Entering the block raises OSError if the port is taken, and FolderError
    if the folder cannot be used: it must be new or empty, or left by an earlier
    stand-in, and not in use by another.
    """

    def __init__(  # noqa: PLR0913 (each is a fact about a cloud)
        self,
        sts: StsStandIn,
        folder: Path | None = None,
        port: int = 0,
        *,
        region: str = "cn-hangzhou",
        owner: str = "1234567890123456",
        allow_v1: bool = False,
        callback_seconds: float = 5.0,
        network: Network | None = None,
    ) -> None:
        self.sts = sts
        self.clock = sts.clock
        self.folder = folder
        self.port = port
        self.region = region
        self.owner = owner
        self.allow_v1 = allow_v1
        self._callbacks = CallbackSender(callback_seconds, CallbackKey())
        self.network = network or Network()
        self._lock = threading.Lock()  # guards all below
        self._buckets: dict[str, Bucket] = {}  # replaced, never changed
        self._elsewhere: dict[str, str] = {}  # the region of each bucket elsewhere
        self._cors: dict[str, Collection[CorsRule]] = {}
        self._requests: deque[Access] = deque(maxlen=REQUESTS_KEPT)
        self._failures = Failures("OSS", FAILABLE, [*CODES, CUT_OFF])

    def __enter__(self) -> OssStandIn:
        with ExitStack() as stack:
            if self.folder is None:
                temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
                self.folder = Path(stack.enter_context(temporary))
            self._objects = stack.enter_context(taken(self.folder))
            self._server = LoopbackServer(self.port, OssHandler, self, self.network)
            self._stack = stack.pop_all()
        self.port = self._server.port
        self.url = self.network.url(self.port)
        self._server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End every request at once, and every callback."""
        self._callbacks.close()
        self._server.close()
        self._stack.close()

    def create_bucket(
        self, name: str, cors: Collection[CorsRule] = (CorsRule(),)
    ) -> Bucket:
        """Add a bucket, with the objects that are in its folder already.

        Raises FolderError if that folder cannot be used.
        """
        if not BUCKET_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a bucket name")
        bucket = Bucket(name, self._objects.bucket(name), self.clock)
        with self._lock:
            self._buckets = {**self._buckets, name: bucket}
            self._cors[name] = cors
        return bucket

    def add_bucket_elsewhere(self, name: str, region: str) -> None:
        """Add a bucket in another *region*, such as "cn-shanghai".

        Each request for it is refused, and told the right endpoint, as when a client
        calls the endpoint of the wrong region.
        """
        if not BUCKET_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a bucket name")
        if name in self._buckets or region == self.region:
            raise ValueError(f"the bucket {name} is in {self.region} already")
        with self._lock:
            self._elsewhere = {**self._elsewhere, name: region}

    @property
    def callback_public_key(self) -> str:
        """The key, in PEM, that verifies the callbacks of this stand-in."""
        return self._callbacks.key.public_pem

    @property
    def requests(self) -> list[Access]:
        """The latest REQUESTS_KEPT requests answered since clear()."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Forget the requests answered so far."""
        with self._lock:
            self._requests.clear()

    def fail(self, operation: str, *codes: str, always: bool = False) -> None:
        """Answer the next requests for *operation* with these errors, each once.

        An empty code stands for the usual answer; CUT_OFF ends the connection halfway
        through the body of the request, without a reply.  With *always*, all requests
        get the only code that is given.  "*" means every operation.  Each call replaces
        the errors ordered for *operation* before; without codes, requests are answered
        as usual again.  Requests that are not signed or not allowed still get their own
        errors.  Raises ValueError for an operation or a code that OSS does not have.
        """
        self._failures.order(operation, codes, always=always)

    # What happens to a request

    def answer(self, request: Request) -> Reply:
        """Return the reply to *request*, and remember both.  Raises CutOff."""
        started = time.monotonic()
        request_id = make_request_id()
        access = Access(request.method, request_id=request_id)
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
            **cors_headers(self._cors.get(access.bucket, ()), request),
        }
        return replace(reply, headers=headers)

    def _perform(self, request: Request, access: Access) -> Reply:
        """Perform *request*; note in *access* each fact that becomes known about it."""
        places = request.places(self._buckets, self._elsewhere)
        note_place(access, places[0])
        if request.method == "OPTIONS":
            access.operation = "OptionObject"
            return answer_preflight(self._cors.get(access.bucket, ()), request)
        with suppress(OssError):  # another of the places may be meant
            access.operation = request.operation(places[0]).name
        if access.operation == "PostObject":
            return self._post_object(request, places[0], access)
        return self._signed_request(request, places, access)

    def _signed_request(
        self, request: Request, places: list[Place], access: Access
    ) -> Reply:
        """Perform a request that may mean any of *places*."""
        caller, place = self._signed_place(request, places, access)
        note_place(access, place)
        operation = request.operation(place)
        access.operation = operation.name
        bucket = None
        if operation.name == "PutBucket":
            check_place(place)
        elif place.bucket:
            bucket = self._bucket(place)
        permissions = self._permissions(request, request.headers, caller)
        permissions.check_all(operation, place)
        self._meet_failure(operation.name, request.body)
        perform = OPERATIONS.get(operation.name)
        if perform is None or bucket is None:
            raise not_imitated(operation.name)
        request.check_query(operation)
        check_extras(request.headers, operation)
        callback = None
        if operation.name in CALLING_BACK:
            callback = read_callback(request.headers, request.query)
        return perform(
            Call(
                request=request,
                buckets=self._buckets,
                bucket=bucket,
                key=place.key,
                authorize=permissions.check,
                notify=self._notify(callback, bucket, request, access),
                owner=self.owner,
                region=self.region,
                url=self.url,
            )
        )

    def _signed_place(
        self, request: Request, places: list[Place], access: Access
    ) -> tuple[Caller, Place]:
        """Return the caller who signed *request*, and the place that was signed.

        Raises OssError.  The signature is checked before the place, because only the
        signature says which of *places* is meant: GET /photos/cat.jpg with "Host:
        my-bucket.oss-cn-hangzhou.aliyuncs.com" can be photos/cat.jpg in my-bucket, or
        cat.jpg in the bucket photos (Request.places), and a client signs one of the
        two.  If places were checked first, the likeliest one would decide, and a valid
        request for another would get NoSuchBucket.
        """
        signature = read_signature(
            request.signable, request.received_at, self.region, allow_v1=self.allow_v1
        )
        if signature is None:
            raise self._anonymous(places[0], access.operation)
        access.access_key_id = signature.access_key_id
        caller = find_caller(self.sts, signature)
        secret = caller.access_key_secret
        place = next((p for p in places if signature.matches(secret, p.resource)), None)
        if place is None:
            raise signature.mismatch(places[0].resource)
        return caller, place

    def _post_object(self, request: Request, place: Place, access: Access) -> Reply:
        """Store the file of a form, whose signature is one of its fields."""
        operation = request.operation(place)
        request.body.check_announced()
        form = read_form(request.headers.get("content-type", ""), request.body)
        place = Place(place.bucket, form.key)
        note_place(access, place)
        signature = read_form_signature(
            form, request.received_at, self.region, allow_v1=self.allow_v1
        )
        if signature is None:
            raise self._anonymous(place, operation.name)
        access.access_key_id = signature.access_key_id
        caller = find_caller(self.sts, signature)
        if not signature.matches(caller.access_key_secret, place.resource):
            raise signature.mismatch(place.resource)
        sizes = allowed_sizes(form, place.bucket, request.received_at)
        required_field(form, "key")
        bucket = self._bucket(place)
        self._permissions(request, form.fields, caller).check_all(operation, place)
        self._meet_failure(operation.name, request.body)
        request.check_query(operation)
        check_extras(form.fields, operation)
        callback = read_form_callback(form.fields)
        notify = self._notify(callback, bucket, request, access)
        return post_object(form, bucket, self.url, sizes, notify)

    def _notify(
        self,
        callback: Callback | None,
        bucket: Bucket,
        request: Request,
        access: Access,
    ) -> Notify:
        """Return the function that makes *callback*, if any, after the upload."""
        asked = Asked(access.operation, access.request_id, request.client)
        return notifier(self._callbacks, callback, bucket, asked)

    def _permissions(
        self, request: Request, headers: Mapping[str, str], caller: Caller
    ) -> Permissions:
        return Permissions(
            request, headers, caller, self._buckets, self.owner, self.region
        )

    def _bucket(self, place: Place) -> Bucket:
        """Return the bucket of *place*.  Raises OssError if there is none here."""
        check_place(place)
        bucket = self._buckets.get(place.bucket)
        if bucket is not None:
            return bucket
        region = self._elsewhere.get(place.bucket)
        if region is None:
            raise OssError("NoSuchBucket", details={"BucketName": place.bucket})
        raise wrong_endpoint(place.bucket, region)

    def _anonymous(self, place: Place, operation: str) -> OssError:
        """Return the error for an unsigned request: everything is private.

        OSS tells everybody whether a bucket exists, and in which region.
        """
        if place.bucket and operation != "PutBucket":
            self._bucket(place)
        message = "Anonymous access is forbidden for this operation."
        return OssError("AccessDenied", message)

    def _meet_failure(self, operation: str, body: Body) -> None:
        """Raise the error that was ordered with fail(), if there is one."""
        code = self._failures.take(operation)
        if code == CUT_OFF:
            left = (body.length or 0) // 2
            for chunk in body.chunks():
                left -= len(chunk)
                if left <= 0:
                    break
            raise CutOff
        if code:
            raise OssError(code)


def printable(text: str) -> str:
    """Return *text* for the log, without characters that could start a new line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def as_oss_error(problem: Exception) -> OssError:
    """Return the error for the client; log the details of an unexpected *problem*."""
    if isinstance(problem, OssError):
        return problem
    if isinstance(problem, OSError):  # from the disk; errors of the client are OssError
        logger.error("the folder cannot be used: %s", problem.strerror or problem)
    else:
        logger.error("a defect of the stand-in", exc_info=problem)
    return OssError("InternalError")


def note_place(access: Access, place: Place) -> None:
    """Note the bucket and the key of a request in *access*."""
    access.bucket, access.key = place.bucket, place.key
