"""The grants of paths, and their AssumeRole calls."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from tokenserver.config.callback import UPLOAD_SECONDS, Callback
from tokenserver.config.policy import PLACEHOLDER, USER_MARK, SessionPolicy
from tokenserver.config.settings import SDK_REFRESH_MARGIN_SECONDS
from tokenserver.login.users import role_session_name
from tokenserver.oss.bucket import Bucket
from tokenserver.oss.callback import CallbackStrings, Ticket
from tokenserver.oss.terms import POST_FORM, Terms

CREDENTIALS_PATH, UPLOAD_CONFIG_PATH = "/credentials", "/upload-config"
HEALTH_PATH, READY_PATH, ICON_PATH = "/healthz", "/readyz", "/favicon.ico"
RESERVED_PATHS = (
    CREDENTIALS_PATH,
    UPLOAD_CONFIG_PATH,
    HEALTH_PATH,
    READY_PATH,
    ICON_PATH,
)


@dataclass(frozen=True)
class AssumeRoleCall:
    """Every input of an AssumeRole call: equal calls ask for the same token.

    An empty key pair stands for the default credential chain.
    """

    protocol: str  # of the STS endpoint: "http" or "https"
    endpoint: str  # host or host:port
    access_key_id: str = field(repr=False)  # because it may be the secret by mistake
    access_key_secret: str = field(repr=False)
    role_arn: str
    role_session_name: str
    duration_seconds: int
    policy: str | None  # session policy, compact JSON


@dataclass(frozen=True)
class CallTemplate:
    """The AssumeRole call of a grant, complete but for the user."""

    protocol: str
    endpoint: str
    access_key_id: str = field(repr=False)
    access_key_secret: str = field(repr=False)
    role_arn: str
    role_session_name: str  # where nobody logs in
    duration_seconds: int
    policy: SessionPolicy | None


@dataclass(frozen=True)
class UserCall:
    """The AssumeRole call of a grant for a verified *user*, or for anybody.

    Tokens are kept under it, because equal ones make equal calls.  It is small, because
    all users share the template, which holds the policy.
    """

    template: CallTemplate
    user: str | None
    is_for_signing: bool = False  # so that nobody is handed the token

    def __hash__(self) -> int:
        """Return the hash of what differs most: a table of tokens asks for each."""
        policy = self.template.policy
        return hash((self.user, policy and policy.text))

    @property
    def role_session_name(self) -> str:
        """The name that ActionTrail shows for the user."""
        if self.user is None:
            return self.template.role_session_name
        return role_session_name(self.user)

    @property
    def duration_seconds(self) -> int:
        """For how long its token is valid."""
        return self.template.duration_seconds

    def complete(self) -> AssumeRoleCall:
        """Return the call with the user filled in."""
        policy = self.template.policy
        values = vars(self.template) | {
            "role_session_name": self.role_session_name,
            "policy": policy and policy.for_user(self.user),
        }
        return AssumeRoleCall(**values)


@dataclass(frozen=True)
class Grant:
    """The kind of token that one path hands out.  Times are in seconds."""

    path: str
    template: CallTemplate
    token_reuse_seconds: int
    policy_file: str
    has_credentials_uri: bool  # below /credentials
    bucket: Bucket | None  # where clients upload to, if the operator says so
    object_prefix: str  # with USER_MARK where the user stands
    callback: Callback | None = None  # by which OSS reports uploads, if it does
    # Of the forms or URLs that are handed out, None for tokens.  All of them are signed
    # with one token of the server's own, whose policy is for any user.
    terms: Terms | None = None

    @property
    def what(self) -> str:
        """What is handed out, in a word or two."""
        if self.terms is None:
            return f"tokens of {self.template.duration_seconds} s"
        kind = "forms" if self.terms.type == POST_FORM else f"{self.terms.method} URLs"
        return f"{kind} of {self.terms.seconds} s"

    @property
    def needed_seconds(self) -> int:
        """For how long a kept token has to be valid to be of use."""
        if self.terms is None:
            return SDK_REFRESH_MARGIN_SECONDS
        return self.terms.seconds + 1  # as a signature takes time

    @property
    def signed_place(self) -> str:
        """The resource whose objects the forms or URLs of a user are for."""
        assert self.terms
        bucket = self.bucket.name if self.bucket else "my-bucket"  # or it is reported
        return signed_place(bucket, self.object_prefix, self.terms)

    @property
    def source(self) -> SessionPolicy | str | None:
        """What says which objects a user gets: a policy, or a resource."""
        return self.signed_place if self.terms else self.template.policy

    def own_statements(self, user: str) -> list[dict[str, Any]]:
        """Return Deny statements for what the grant allows only to *user*."""
        if self.terms:
            if USER_MARK not in self.signed_place:
                return []
            resource = self.signed_place.replace(USER_MARK, user)
            denied = {"Action": [self.terms.action], "Resource": [resource]}
            return [{"Effect": "Deny", **denied}]
        policy = self.template.policy
        return policy.own_statements(user) if policy else []

    def folder(self, user: str | None) -> str:
        """Return ObjectPrefix for a verified *user*, or for anybody."""
        if user is None:
            return self.object_prefix
        return self.object_prefix.replace(USER_MARK, user)

    def call_for(self, user: str | None) -> UserCall:
        """Return the call for a verified *user*, or for anybody."""
        if self.terms:
            return UserCall(self.template, None, is_for_signing=True)
        return UserCall(self.template, user)

    def callback_strings(
        self, user: str | None, now: float | None = None
    ) -> CallbackStrings | None:
        """Return what has OSS report what a verified *user* uploads, or anybody.

        It is good UPLOAD_SECONDS longer than what is handed out *now*, in unix seconds.
        None if uploads are not reported.
        """
        if not self.callback or not self.bucket:
            return None
        now = time.time() if now is None else now
        seconds = self.terms.seconds if self.terms else self.template.duration_seconds
        ticket = Ticket(
            grant=self.path,
            user=user or "",
            bucket=self.bucket.name,
            prefix=self.folder(user),
            until=int(now) + seconds + UPLOAD_SECONDS,
        )
        return self.callback.strings(ticket)

    def session_name(self, user: str | None) -> str:
        """Return what the log calls a verified *user*, or anybody."""
        return UserCall(self.template, user).role_session_name


def signed_place(bucket: str, prefix: str, terms: Terms) -> str:
    """Return the resource that the forms or URLs of a user are for, with USER_MARK."""
    name = prefix
    if "$USER_ID" in terms.object_name:
        template = terms.object_name.replace("$USER_ID", USER_MARK)
        name += PLACEHOLDER.sub("*", template)
    return f"acs:oss:*:*:{bucket}/{name}*"
