"""Type, and the limits of what a grant signs -> Terms."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tokenserver.config import settings as table
from tokenserver.config.grants import Grant, signed_place
from tokenserver.config.policy import USER_MARK, SessionPolicy, text_problem, unmarked
from tokenserver.config.resources import relative_of
from tokenserver.config.settings import Section, Setting
from tokenserver.config.statements import statements_of
from tokenserver.login.users import MAX_USER_BYTES
from tokenserver.oss.bucket import Bucket
from tokenserver.oss.names import name_problem, template_problems
from tokenserver.oss.terms import POST_FORM, TOKEN, Terms

METHODS = {TOKEN: "", POST_FORM: "POST"}  # of HTTP; that of a URL is a setting
OF_A_SIZE = (
    ("POST",),
    "neither a session policy nor a URL can limit a size, but a form can; set "
    "Type to PostForm",
)
OF_AN_UPLOAD = (
    ("POST", "PUT"),
    "neither a session policy nor a URL for downloads can keep it, but a signed upload "
    "can; set Type to PostForm, or to PresignedUrl with Method PUT",
)
# The methods of HTTP that grants have which keep a limit, and why others cannot
KEEPERS: Mapping[Setting[Any], tuple[Collection[str], str]] = {
    table.METHOD: (("PUT", "GET"), "only a URL has one; set Type to PresignedUrl"),
    table.SIGNATURE_EXPIRE_TIME: (
        ("POST", "PUT", "GET"),
        "a token is valid for TokenExpireTime; set Type to PostForm or PresignedUrl",
    ),
    table.MIN_SIZE: OF_A_SIZE,
    table.MAX_SIZE: OF_A_SIZE,
    table.CONTENT_TYPES: OF_AN_UPLOAD,
    table.FORBID_OVERWRITE: OF_AN_UPLOAD,
    table.OBJECT_NAME: OF_AN_UPLOAD,
    table.PROCESSES: (
        ("GET",),
        "only a download is processed; set Type to PresignedUrl and Method to GET",
    ),
    table.URL_ONLY: (("PUT", "GET"), "there is no URL; set Type to PresignedUrl"),
}


def load_terms(
    settings: Section, bucket: Bucket | None, prefix: str, has_login: bool
) -> Terms | None:
    """Return what a grant signs, None if it hands out tokens."""
    kind = settings.get(table.TYPE, "")  # "" stands for a wrong one
    if not kind:
        return None
    method = METHODS[kind] if kind in METHODS else settings[table.METHOD]
    refuse_what_none_keeps(settings, kind, method)
    if kind == TOKEN:
        return None
    if settings.values.get(table.CREDENTIALS_URI.name):
        settings.note(
            table.CREDENTIALS_URI.name,
            f"is true, but Type is {kind}; such a grant hands out no token",
        )
    if bucket is None:
        settings.note(
            table.TYPE.name,
            f"is {kind}, which needs Region and BucketName: they are part of what is "
            "signed",
        )
    terms = Terms(
        kind,
        method,
        signature_seconds(settings),
        *load_sizes(settings),
        content_types=settings[table.CONTENT_TYPES],
        forbid_overwrite=settings[table.FORBID_OVERWRITE],
        object_name=load_object_name(settings, has_login),
        processes=settings[table.PROCESSES],
        url_only=settings[table.URL_ONLY],
    )
    check_place(settings, prefix, terms)
    return terms


def refuse_what_none_keeps(settings: Section, kind: str, method: str) -> None:
    """Note each limit that a grant of this *kind* cannot keep."""
    given = f"Type is {kind}" + (" and Method GET" if method == "GET" else "")
    for setting, (keepers, reason) in KEEPERS.items():
        if setting in settings and method not in keepers:
            settings.note(setting.name, f"is set, but {given}; {reason}")


def signature_seconds(settings: Section) -> int:
    """Return SignatureExpireTime, which TokenExpireTime bounds."""
    most = settings[table.TOKEN_EXPIRE_TIME] - table.SDK_REFRESH_MARGIN_SECONDS
    reader = table.number(table.MIN_SIGNATURE_SECONDS, most, "of seconds ")
    return settings[replace(table.SIGNATURE_EXPIRE_TIME, read=reader)]


def load_sizes(settings: Section) -> tuple[int, int]:
    """Return MinSize and MaxSize."""
    least, most = settings[table.MIN_SIZE], settings[table.MAX_SIZE]
    if least > most:
        settings.note(
            table.MIN_SIZE.name, f"is {least}; it must be at most MaxSize, {most}"
        )
    return least, most


def load_object_name(settings: Section, has_login: bool) -> str:
    """Return the template of names that the server chooses, if it does."""
    template = settings[table.OBJECT_NAME]
    problems = list(template_problems(template, has_login)) if template else []
    for problem in problems:
        settings.note(table.OBJECT_NAME.name, problem)
    return "" if problems else template


def check_place(settings: Section, prefix: str, terms: Terms) -> None:
    """Note an ObjectPrefix of which no name can be signed, or that users share."""
    longest = prefix.replace(USER_MARK, "x" * MAX_USER_BYTES)
    if problem := name_problem(f"{longest}x"):
        settings.note(
            table.OBJECT_PREFIX.name,
            f"is {unmarked(prefix)!r:.100}; no object is signed whose name {problem}",
        )
        return
    place = signed_place("my-bucket", prefix, terms)
    if USER_MARK in place and text_problem("Resource", place):
        in_name = USER_MARK not in prefix
        setting = table.OBJECT_NAME if in_name else table.OBJECT_PREFIX
        value = terms.object_name if in_name else unmarked(prefix)
        settings.note(
            setting.name,
            f"is {value!r:.100}; $USER_ID must be a whole folder, as in "
            "users/$USER_ID/, with no other placeholder before it",
        )


# --- Beside the session policy, and beside other grants -------------------------


def lacks_permission(policy: SessionPolicy, action: str, place: str) -> bool:
    """Return whether *policy* allows *action* on no object that begins with *place*.

    That is a bucket, a slash and a prefix.  Conditions and denials are not considered:
    they depend on the request.
    """
    for statement in statements_of(json.loads(policy.text)):
        if statement.effect == "Allow" and statement.covers(action):
            for resource in filter(None, map(relative_of, statement.resources)):
                if resource.pattern.read(resource.start, place):
                    return False
    return True


def void_limits(grants: Collection[Grant]) -> Iterator[tuple[Grant, Grant]]:
    """Yield each grant with limits, and another that lets users pass them by.

    Whoever can have a token for a folder is not bound by the limits of its forms, and
    no URL has a limit of size ("How to limit formats and sizes", OSS FAQ).
    """
    for limited in grants:
        if not limited.terms or not limited.bucket or not limited.terms.has_limits:
            continue
        place = f"{limited.bucket.name}/{limited.object_prefix}"
        for other in grants:
            if lets_pass_by(other, place, limited.terms.limits_size):
                yield limited, other


def lets_pass_by(grant: Grant, place: str, limits_size: bool) -> bool:
    """Return whether *grant* lets users upload what begins with *place* unlimited."""
    if grant.terms is None:
        policy = grant.template.policy
        return not policy or not lacks_permission(policy, "oss:PutObject", place)
    if grant.terms.method != "PUT" or not grant.bucket or not limits_size:
        return False
    other = f"{grant.bucket.name}/{grant.object_prefix}"
    return place.startswith(other) or other.startswith(place)
