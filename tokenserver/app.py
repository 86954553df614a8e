"""The answer of each path: a token for the user who asks, or the reason for none."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from tokenserver.asking import (
    callback,
    grant_of,
    is_for_oss,
    is_reserved_in_disguise,
    user_of,
)
from tokenserver.background import before_waiting
from tokenserver.check.hints import HintLog
from tokenserver.config.callback import Callback
from tokenserver.config.grants import (
    CREDENTIALS_PATH,
    HEALTH_PATH,
    ICON_PATH,
    READY_PATH,
    UPLOAD_CONFIG_PATH,
    Grant,
    UserCall,
)
from tokenserver.config.load import Config, LiveConfig
from tokenserver.counts import Tally
from tokenserver.documents import (
    HEALTHY,
    JAVASCRIPT_TYPE,
    JSON_TYPE,
    Token,
    failed,
    in_callback,
    token_error,
    upload_config,
    uri_error,
)
from tokenserver.errors import (
    Cause,
    Failure,
    StsError,
)
from tokenserver.httpd.reply import Reply
from tokenserver.httpd.request import (
    MethodNotAllowed,
    NotFound,
    Request,
    RequestError,
)
from tokenserver.httpd.server import StrictServer
from tokenserver.login.users import role_session_name
from tokenserver.logs import printable
from tokenserver.signed import order_of_grant, signed_reply, unsigned_reply
from tokenserver.sts.tokens import FAILURE_SECONDS, TokenCache
from tokenserver.uploads.uploads import Uploads

logger = logging.getLogger(__name__)

READY_SECONDS = 0.8  # that /readyz waits for a token; Kubernetes waits for 1 s
READY_USER = "readyz"  # the user of that token, where users log in


class NotReady(RequestError):
    """/readyz was asked while there are no tokens."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    code = "NotReady"
    message = "There are no tokens yet, or no longer."


def failure_of(error: Exception) -> Failure:
    """Return what is known of an *error* for which there is no token."""
    if not isinstance(error, StsError):
        logger.exception("failed to answer a request")
        error = failed(Cause.DEFECT)
    return error.failure


class TokenServer(StrictServer):
    """Serves tokens by the current configuration."""

    def __init__(
        self,
        address: tuple[str | None, int],
        config: LiveConfig,
        tokens: TokenCache,
        tls: Callable[[], ssl.SSLContext] | None = None,
        idle_seconds: float | None = None,
    ) -> None:
        """Listen on *address*: a host, or None for all, and a port.  Raises OSError."""
        self.config = config
        self.config.on_new = self._take_up
        self.uploads = Uploads(lambda: config.current().callback)
        self.tokens = tokens
        self.signed = Tally()  # forms and URLs by type
        self.hints = HintLog()
        self._ready_for: Config | None = None  # produced the latest token
        self._trying = threading.Lock()  # held by the one thread that tries
        self._next_trial = -float("inf")  # monotonic, after one that failed
        super().__init__(*address, tls, idle_seconds)

    def snapshot(self) -> Config:
        """Return the current configuration."""
        return self.config.current()

    def wants_body(self, request: Request) -> bool:
        """Return whether it is OSS that posts, or who pretends to be it."""
        callback = self.config.current().callback
        return request.method == "POST" and is_for_oss(request.path, callback)

    def answer(self, request: Request, snapshot: Config) -> Reply:
        """Return the reply to *request*.  Raises RequestError."""
        if request.path == HEALTH_PATH:
            return Reply(HTTPStatus.OK, HEALTHY, JSON_TYPE, is_logged=False)
        if request.path == READY_PATH:
            if not self.is_ready():
                raise NotReady
            return Reply(HTTPStatus.OK, HEALTHY, JSON_TYPE, is_logged=False)
        callback = snapshot.callback
        if callback and is_for_oss(request.path, callback):
            return self.answer_to_oss(request, callback, snapshot)
        if request.path == ICON_PATH or is_reserved_in_disguise(request.path, callback):
            raise NotFound
        return self.answer_to_user(request, snapshot)

    def answer_to_oss(
        self, request: Request, callback: Callback, config: Config
    ) -> Reply:
        """Keep what is reported, and return what the client that uploaded may know.

        Raises RequestError.
        """
        if request.method != "POST":
            raise MethodNotAllowed("Use POST.", fields="Allow: POST\r\n")
        upload = self.uploads.receive(request, callback, config)
        place = printable(f"{upload.bucket}/{upload.object}")
        return Reply(
            HTTPStatus.OK,
            upload.reply,
            JSON_TYPE,
            outcome="Upload",
            session=role_session_name(upload.user) if upload.user else "",
            detail=f"{place}, {upload.size} bytes, {printable(upload.type)}",
        )

    def answer_to_user(self, request: Request, config: Config) -> Reply:
        """Return the reply of a path that is not reserved.  Raises RequestError."""
        grant, before = grant_of(request, config)
        is_uri = before == CREDENTIALS_PATH
        user = user_of(request, config)
        script = "" if is_uri else callback(request, config)
        if request.method == "HEAD":  # no AssumeRole, so the length is not known
            content_type = JAVASCRIPT_TYPE if script else JSON_TYPE
            return Reply(HTTPStatus.OK, content_type=content_type)
        if before == UPLOAD_CONFIG_PATH and grant.bucket:
            body = upload_config(
                grant.bucket,
                grant.folder(user),
                grant.terms,
                None if grant.terms else grant.callback_strings(user),
            )
            reply = Reply(
                HTTPStatus.OK, body, JSON_TYPE, session=grant.session_name(user)
            )
        elif grant.terms:
            reply = self.answer_with_signature(
                config, grant, user, request, is_script=bool(script)
            )
        else:
            call = grant.call_for(user)
            reply = self.answer_with_token(config, grant, call, is_uri)
        if script and reply.body:
            body = in_callback(script, reply.body)
            reply = reply._replace(body=body, content_type=JAVASCRIPT_TYPE)
        return reply

    def answer_with_token(
        self, config: Config, grant: Grant, call: UserCall, is_uri: bool
    ) -> Reply:
        """Return a reply with a token, or with the reason for none."""
        status, detail = HTTPStatus.OK, ""
        try:
            token = self.token(config, grant, call)
            body = token.uri_document if is_uri else token.document
            outcome, counted = token.access_key_id, "Token"
        except Exception as error:
            failure = failure_of(error)
            if is_uri:
                status = HTTPStatus.BAD_GATEWAY
            # Otherwise the status is 200: the Android SDK reads no other body.
            body = uri_error(failure) if is_uri else token_error(failure)
            outcome = counted = failure.code
            detail = failure.detail
        return Reply(
            status,
            body,
            JSON_TYPE,
            outcome=outcome,
            session=call.role_session_name,
            detail=detail,
            counted=counted,
        )

    def answer_with_signature(
        self,
        config: Config,
        grant: Grant,
        user: str | None,
        request: Request,
        is_script: bool,
    ) -> Reply:
        """Return a form or a URL, or why there is none.  Raises RequestError.

        The token that it is signed with is for any user, and only its ID and its
        SecurityToken are part of what is signed.
        """
        order = order_of_grant(grant, user, request.query, self.tokens.clock())
        session = grant.session_name(user)
        try:
            token = self.token(config, grant, grant.call_for(user))
            accept = "json" if is_script else request.fields.get("accept", "")
            reply = signed_reply(order, token, self.tokens.clock(), accept)
        except Exception as error:
            return unsigned_reply(failure_of(error))._replace(session=session)
        self.signed.add(order.terms.type)
        return reply._replace(session=session)

    def token(self, config: Config, grant: Grant, call: UserCall) -> Token:
        """Return a token of *grant* for *call*.  Raises StsError."""
        try:
            token = self.tokens.get(
                call, grant.token_reuse_seconds, grant.needed_seconds
            )
        except StsError as error:
            if hint := self.hints.hint(error.failure, call.complete()):
                logger.warning("%s", hint)
            raise
        self._ready_for = config
        return token

    def drain(self, seconds: float) -> None:
        """Listen no longer, answer the requests in flight, and keep what they said."""
        deadline = time.monotonic() + seconds
        super().drain(seconds)
        self.uploads.close(deadline - time.monotonic())

    def _take_up(self, before: Config, now: Config) -> None:
        """Forget the tokens of users who are shut out since *now*.

        If only earlier logins of a user are, the next login gets a new token.
        """
        self.uploads.remember(before.callback, now.callback)
        self.tokens.forget(
            {user for user in now.denied if now.denied[user] != before.denied.get(user)}
        )

    def is_ready(self) -> bool:
        """Return whether the current configuration has produced a token.

        If none was requested yet, request one and wait READY_SECONDS for it.
        """
        if self.is_stopping:
            return False
        config = self.config.current()
        is_time = time.monotonic() >= self._next_trial
        is_ready = self._ready_for is config
        if not is_ready and is_time and self._trying.acquire(blocking=False):
            trial = threading.Thread(target=self._try, args=[config], daemon=True)
            try:
                trial.start()
            except RuntimeError:  # the system has no thread for us
                self._trying.release()
            else:
                before_waiting()
                trial.join(READY_SECONDS)
        return self._ready_for is config

    def _try(self, config: Config) -> None:
        """Fetch a token for READY_USER, or for anybody."""
        grant = next(iter(config.grants.values()))
        user = READY_USER if config.login else None
        try:
            self.token(config, grant, grant.call_for(user))
        except Exception as error:
            # So /readyz costs at most one call per FAILURE_SECONDS, even without reuse.
            self._next_trial = time.monotonic() + FAILURE_SECONDS
            if not isinstance(error, StsError):
                logger.exception("failed to try for %s", READY_PATH)
        finally:
            self._trying.release()
