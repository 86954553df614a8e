"""What a grant with terms answers: an order of its client, signed and written out."""

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
    """What was signed, as it is sent; *text* is that of a URL alone."""

    document: bytes
    text: bytes


def order_of_grant(
    grant: Grant,
    user: str | None,
    query: str,
    now: float,
) -> Order:
    """Return what the *query* of *user* asks of *grant*, at the unix time *now*.

    OSS reports the upload if the grant wants that.  Raises RequestError.
    """
    assert grant.terms
    assert grant.bucket
    folder = Folder(grant.bucket, grant.folder(user), user or "")
    return order_of(grant.terms, folder, query, now, grant.callback_strings(user, now))


def sign(order: Order, credentials: Credentials, now: float) -> Signed:
    """Return what *order* is, signed at the unix time *now*.

    It ends with the token at the latest.
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
    """Return whether a client is sent a bare URL.

    The pages of the official samples say nothing of what they accept, and take all of
    the reply for the URL; UrlOnly is for them.
    """
    if terms.type == POST_FORM or "json" in accept:
        return False
    return terms.url_only or "text/plain" in accept


def signed_reply(order: Order, token: Token, now: float, accept: str) -> Reply:
    """Return what *order* is, signed with *token* at the unix time *now*.

    *accept* are the types that its client wants.
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
    """Return what stands for a form or a URL when AssumeRole failed.

    It has a status of its own: pages read it, and no mobile SDK asks.
    """
    status = HTTPStatus.BAD_GATEWAY
    return Reply(
        status,
        refusal(status, failure.code, failure.message),
        JSON_TYPE,
        outcome=failure.code,
        detail=failure.detail,
    )
