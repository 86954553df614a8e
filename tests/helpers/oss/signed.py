"""A token server that signs forms and URLs, and an OSS that checks them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from helpers.client import Reply
from helpers.login.service import authentication, bearer
from helpers.oss.client import OssReply, send
from helpers.oss.forms import File, part, wrapped
from helpers.oss.signing import BUCKET, REGION, Message
from helpers.server import MakeServer, RunningServer
from helpers.settings import POLICY_DIRECTORY
from localcloud.oss import Bucket, OssStandIn
from localcloud.sts import StsStandIn

READ_POLICY = str(POLICY_DIRECTORY / "bucket_read_policy.txt")
JPEG: File = ("cat.jpg", "image/jpeg", b"meow")

GRANTS: dict[str, dict[str, Any]] = {
    "/form": {"Type": "PostForm"},
    "/limited": {
        "Type": "PostForm",
        "MinSize": 4,
        "MaxSize": 8,
        "ContentTypes": ["image/jpeg", "image/png"],
        "ForbidOverwrite": True,
    },
    "/chosen": {"Type": "PostForm", "ObjectName": "in/$UUID$EXTENSION"},
    "/put": {"Type": "PresignedUrl"},
    "/put-limited": {
        "Type": "PresignedUrl",
        "ContentTypes": "image/jpeg",
        "ForbidOverwrite": True,
    },
    "/get": {
        "Type": "PresignedUrl",
        "Method": "GET",
        "PolicyFile": READ_POLICY,
        "Processes": ["image/resize,w_200", "style/thumb"],
    },
}


@dataclass
class Signing:
    """A server with grants that sign, its STS, and OSS with one bucket."""

    server: RunningServer
    sts: StsStandIn
    oss: OssStandIn
    bucket: Bucket

    def ask(
        self, path: str, user: str | None = "alice", accept: str = "", **query: str
    ) -> Reply:
        """Ask for the form or URL of *path*."""
        target = f"{path}?{urlencode(query)}" if query else path
        headers = bearer(user) if user else {}
        if accept:
            headers["Accept"] = accept
        return self.server.request(target, headers=headers)

    def form(self, path: str = "/form", user: str = "alice", **query: str) -> Form:
        """Return the form of *path*."""
        reply = self.ask(path, user, **query)
        assert reply.status == 200, reply
        return Form(self.oss, reply.json)

    def url(self, path: str = "/put", user: str = "alice", **query: str) -> Url:
        """Return the request for the URL of *path*."""
        reply = self.ask(path, user, **query)
        assert reply.status == 200, reply
        return Url.of(self.oss, reply.json)


def start_signing(
    make_server: MakeServer,
    sts: StsStandIn,
    oss: OssStandIn,
    folder: Path,
    grants: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Signing:
    """Start a token server whose users have folders in a bucket of *oss*."""
    bucket = oss.create_bucket(BUCKET)
    values = {
        "Authentication": authentication(folder),
        "ObjectPrefix": "users/$USER_ID/",
        "Region": REGION,
        "Endpoint": oss.url,
        "TokenReuseTime": None,
        "Grants": GRANTS if grants is None else grants,
    }
    server = make_server(**(values | settings))
    return Signing(server, sts, oss, bucket)


@dataclass
class Form:
    """A form that a client fills in, changes, and posts."""

    oss: OssStandIn
    document: dict[str, Any]
    changes: list[Callable[[list[tuple[str, str]]], None]] = field(default_factory=list)
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def policy(self) -> dict[str, Any]:
        """The policy that was signed."""
        found: dict[str, Any] = json.loads(
            base64.b64decode(self.document["fields"]["policy"])
        )
        return found

    def post(
        self, file: File = JPEG, *more: tuple[str, str], **fields: str | None
    ) -> OssReply:
        """Post *file* with *fields* set, or left out if None; _ stands for -.

        *more* is added unchanged, before the file.
        """
        return self.post_with(fields, file, *more)

    def post_with(
        self,
        fields: Mapping[str, str | None],
        file: File = JPEG,
        *more: tuple[str, str],
    ) -> OssReply:
        """Post it so with *fields* of any name."""
        own = self.document["fields"]
        values = {
            name if name in own else name.replace("_", "-"): text
            for name, text in fields.items()
        }
        pairs = {**own, **values}
        parts = [
            part(name, str(text).encode())
            for name, text in [*pairs.items(), *more]
            if text is not None
        ]
        return self.post_parts(*parts, part("file", file[2], file[0], file[1]))

    def post_parts(self, *parts: bytes) -> OssReply:
        """Post *parts* of a form."""
        body, content_type = wrapped(*parts)
        url = urlsplit(self.document["url"])
        path = self.path or url.path or "/"
        headers = {"host": url.netloc, "content-type": content_type, **self.headers}
        return send(self.oss, Message("POST", path, headers=headers, body=body))


@dataclass(frozen=True)
class Url:
    """A request with a signed URL."""

    oss: OssStandIn
    method: str
    target: str
    headers: Mapping[str, str]
    document: dict[str, Any]

    @classmethod
    def of(cls, oss: OssStandIn, document: dict[str, Any]) -> Url:
        """Return the request described by *document*."""
        parts = urlsplit(document["url"])
        headers = {name.lower(): text for name, text in document["headers"].items()}
        headers["host"] = parts.netloc
        target = f"{parts.path}?{parts.query}"
        return cls(oss, document["method"], target, headers, document)

    def send(
        self,
        body: bytes = b"meow",
        change: Callable[[str], str] | None = None,
        method: str = "",
        headers: Mapping[str, str | None] | None = None,
    ) -> OssReply:
        """Send it, changed; a header that is None is left out, and _ stands for -."""
        values = {n.replace("_", "-"): text for n, text in (headers or {}).items()}
        sent = {n: t for n, t in {**self.headers, **values}.items() if t is not None}
        method = method or self.method
        message = Message(
            method,
            target=change(self.target) if change else self.target,
            headers=sent,
            body=b"" if method in ("GET", "HEAD", "DELETE") else body,
        )
        return send(self.oss, message)

    def with_query(self, **changes: str | None) -> Url:
        """Return it with parameters of its query changed, or left out if None."""
        path, _, query = self.target.partition("?")
        pairs = [pair.partition("=")[::2] for pair in query.split("&")]
        names = {name.replace("_", "-"): value for name, value in changes.items()}
        kept = [(name, value) for name, value in pairs if name not in names]
        kept += [(n, quote(v, safe="")) for n, v in names.items() if v is not None]
        joined = "&".join(f"{name}={value}" if value else name for name, value in kept)
        return replace(self, target=f"{path}?{joined}")


def swap(old: str, new: str) -> Callable[[str], str]:
    """Return a function that replaces *old* by *new*; *old* must be there once."""

    def change(text: str) -> str:
        assert old in text, f"{old} is not in {text}"
        return text.replace(old, new, 1)

    return change
