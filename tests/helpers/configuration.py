"""Configurations without files on disk, and the permissions of their tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from helpers.login.service import service
from helpers.settings import POLICY_DIRECTORY, ROOT
from helpers.settings import settings as working_settings
from localcloud import ram
from localcloud.oss.catalog import ROWS
from localcloud.sts import ALLOW_ALL
from tokenserver.config.load import Config, load_config
from tokenserver.errors import ConfigError

BUCKET = "my-bucket"
LIST = "oss:ListObjects"
UPLOAD_PAGE = ROOT / "localcloud" / "page" / "upload_page_policy.txt"
TEMPLATES = [*sorted(POLICY_DIRECTORY.iterdir()), UPLOAD_PAGE]
PREFIXES = ["users/$USER_ID/", "$USER_ID/", "照片/$USER_ID/in/", "a/$USER_ID/$USER_ID/"]


ROLE = [ram.parse(ALLOW_ALL)]
ACTIONS = sorted(
    {row.action for rows in ROWS.values() for row in rows if row.action}
    | {row.version_action for rows in ROWS.values() for row in rows if row.action}
)


class Policies(dict[Path, bytes]):
    """The files of a configuration, kept in memory."""

    def read(self, path: Path) -> bytes:
        return self[path]


def load(
    policy: bytes | Mapping[str, bytes] | None = None,
    *,
    logs_in: bool = True,
    **changes: Any,
) -> Config:
    """Return the configuration with a *policy* template, or several by file name."""
    changes = {
        "ObjectPrefix": "users/$USER_ID/",
        "Authentication": {
            "Issuer": "https://login.example.com/",
            "Audience": "app",
            "SecretFile": "secret",
        }
        if logs_in
        else None,
    } | changes
    policies = policy if isinstance(policy, Mapping) else {"p": policy}
    if policy is not None:
        changes = {"PolicyFile": "p"} | changes
    files = Policies({Path(name): content or b"" for name, content in policies.items()})
    files[Path("c")] = json.dumps(working_settings(**changes)).encode()
    files[Path("secret")] = service("HS256").file
    return load_config(Path("c"), files.read)


def problems(*args: Any, **changes: Any) -> list[str]:
    """Return the problems of a configuration."""
    try:
        load(*args, **changes)
    except ConfigError as error:
        return list(error.problems)
    return []


class Token:
    """A token of *user*, whose policy is evaluated as RAM does it."""

    def __init__(self, config: Config, user: str, path: str = "/") -> None:
        self.call = config.grants[path].call_for(user).complete()
        assert self.call.policy
        self.text = self.call.policy
        self.policy = ram.parse(self.text)
        actions = [
            json.dumps(s.get("Action", "*")) for s in json.loads(self.text)["Statement"]
        ]
        self._actions = possible_actions(tuple(actions))

    def may(self, action: str, bucket: str, key: str = "", **context: str) -> bool:
        """Return whether the token allows *action* on an object or a bucket."""
        resource = f"acs:oss:oss-cn-hangzhou:1234567890123456:{bucket}"
        if key:
            resource = f"{resource}/{key}"
        decision = ram.decide(ROLE, self.policy, action, resource, context)
        return decision is ram.Decision.ALLOWED

    def may_list(self, bucket: str, prefix: str | None) -> bool:
        """Return whether the token allows listing names that begin with *prefix*."""
        context = {} if prefix is None else {"oss:Prefix": prefix}
        return self.may(LIST, bucket, **context)

    def what_it_may(self, bucket: str, key: str) -> list[str]:
        """Return the actions that the token allows on an object."""
        return [action for action in self._actions if self.may(action, bucket, key)]


@cache
def possible_actions(named: tuple[str, ...]) -> list[str]:
    """Return the actions of *statements*, in JSON, that can be allowed at all.

    All other actions are denied on every resource, under any condition.
    """
    statements = [
        {"Effect": "Allow", "Action": json.loads(actions), "Resource": "*"}
        for actions in named
    ]
    anywhere = ram.parse(json.dumps({"Version": "1", "Statement": statements}))
    return [
        action
        for action in ACTIONS
        if ram.decide(ROLE, anywhere, action, "acs:oss:x:1:b/k", {})
        is ram.Decision.ALLOWED
    ]


OBJECTS = "acs:oss:*:*:$BUCKET_NAME/"


def policy(resource: Any, action: str = "oss:GetObject", **more: Any) -> bytes:
    """Return a template with one statement."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource} | more
    return json.dumps({"Version": "1", "Statement": [statement]}).encode()


def lists(prefix: Any, operator: str = "StringLike") -> bytes:
    """Return a template that allows lists of *prefix*."""
    condition = {operator: {"oss:Prefix": prefix}}
    return policy("acs:oss:*:*:$BUCKET_NAME", LIST, Condition=condition)
