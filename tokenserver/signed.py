"""Replies of grants with terms: a form or a URL, signed for the client."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

from tokenserver.config.grants import Grant
from tokenserver.documents import (
    JSON_TYPE,
    TEXT_TYPE,
    Credentials,
    Token,
    post_form,
    presigned_url,
    refusal,
)
from tokenserver.errors import Failure
from tokenserver.httpd.reply import Reply
from tokenserver.logs import LOGGED_OBJECT, loggable
from tokenserver.oss.orders import Folder, Order, order_of
from tokenserver.oss.signing import Signer
from tokenserver.oss.terms import POST_FORM, Terms
from tokenserver.sts.client import instant


class Signed(NamedTuple):
    """A signed form or URL as a JSON *document*; *text* is a URL alone."""

    document: bytes
    text: bytes


def order_of_grant(
    grant: Grant,
    user: str | None,
    query: str,
    now: float,
) -> Order:
    """Return the order in *query* of *user* for *grant*, at the unix time *now*.

    OSS reports the upload if the grant has a callback.  Raises RequestError.
    """
    assert grant.terms
    assert grant.bucket
    folder = Folder(grant.bucket, grant.folder(user), user or "")
    return order_of(grant.terms, folder, query, now, grant.callback_strings(user, now))


def sign(order: Order, credentials: Credentials, now: float) -> Signed:
    """Return the form or URL of *order*, signed at the unix time *now*.

    It expires with the token at the latest.
    """
    until = int(min(int(now) + order.terms.seconds, instant(credentials.expiration)))
    signer = Signer(
        credentials.access_key_id,
        credentials.access_key_secret,
        credentials.security_token,
        order.folder.bucket.region,
        now,
    )
    if order.terms.type == POST_FORM:
        fields = order.form(signer, until)
        folder = order.folder
        return Signed(post_form(fields, folder.bucket, folder.prefix, until), b"")
    url = order.url(signer, until)
    document = presigned_url(
        order.terms.method, url, order.headers, order.object_name, until
    )
    return Signed(document, url.encode("ascii"))


def wants_text(terms: Terms, accept: str) -> bool:
    """Return whether the client gets a bare URL instead of JSON.

    UrlOnly is for the pages of the official samples, which send no useful Accept and
    take the whole reply for the URL.
    """
    if terms.type == POST_FORM or "json" in accept:
        return False
    return terms.url_only or "text/plain" in accept


def signed_reply(order: Order, token: Token, now: float, accept: str) -> Reply:
    """Return the reply to *order*, signed with *token* at the unix time *now*.

    *accept* is the Accept header of the request.
    """
    signed = sign(order, token.credentials, now)
    is_text = wants_text(order.terms, accept)
    return Reply(
        HTTPStatus.OK,
        signed.text if is_text else signed.document,
        TEXT_TYPE if is_text else JSON_TYPE,
        outcome=token.access_key_id,
        detail=loggable(order.text, LOGGED_OBJECT),
        counted=order.terms.type,
    )


def unsigned_reply(failure: Failure) -> Reply:
    """Return the reply when AssumeRole failed, instead of a form or a URL.

    Its status is 502 and not 200: web pages can read it, and no mobile SDK asks here.
    """
    status = HTTPStatus.BAD_GATEWAY
    return Reply(
        status,
        refusal(status, failure.code, failure.message),
        JSON_TYPE,
        outcome=failure.code,
        detail=failure.detail,
    )
