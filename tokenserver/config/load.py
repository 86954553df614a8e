"""config.json and the files it names -> Config, or all their problems at once."""

from __future__ import annotations

import ipaddress
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tokenserver.config import settings as table
from tokenserver.config.callback import Callback
from tokenserver.config.files import LiveFiles, Read
from tokenserver.config.grants import CallTemplate, Grant
from tokenserver.config.load_callback import load_callback
from tokenserver.config.load_grants import load_grants
from tokenserver.config.load_login import load_denied, load_login
from tokenserver.config.source import Source
from tokenserver.errors import ConfigError
from tokenserver.httpd.origins import HttpSettings
from tokenserver.logs import printable

if TYPE_CHECKING:  # they need PyJWT, and are imported only where users log in
    from tokenserver.login.jwks import JwksKeys
    from tokenserver.login.verifier import LoginVerifier

logger = logging.getLogger(__name__)

SIGNED_NAMES = {setting.name for setting in table.SIGNED_SETTINGS}
WRONG = "?"  # replaces a wrong value, so that it is not reported as missing as well
# As browsers send them: in lower case, and without a default port
ORIGIN = re.compile(
    r"(?!https://.*:443$|http://.*:80$)[a-z][a-z0-9+.-]*://"
    r"([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?"
)


@dataclass(frozen=True)
class Config:
    """A valid configuration."""

    grants: Mapping[str, Grant]  # by path
    serves_any_path: bool  # with the grant at /
    login: LoginVerifier | None
    denied: Mapping[str, float]  # users who are shut out, as LoginRules has them
    http: HttpSettings
    callback: Callback | None  # by which OSS reports uploads
    sts_calls_per_second: int
    warnings: tuple[str, ...]
    shown: Mapping[str, str]  # the settings in the file, without secrets

    @property
    def description(self) -> str:
        """What the server hands out, for the operator."""
        return "; ".join(
            ("" if self.serves_any_path else f"{grant.path}: ")
            + f"{grant.what}, "
            + (grant.policy_file or "no policy")
            for grant in self.grants.values()
        )

    def grant(self, path: str) -> Grant | None:
        """Return the grant of *path*, if it has one."""
        return self.grants.get("/" if self.serves_any_path else path)


def load_config(
    path: Path, read: Read, key_sets: dict[str, JwksKeys] | None = None
) -> Config:
    """Return the configuration in the file *path*, with the files it names.

    *key_sets* holds the keys fetched so far, by URL.  Raises ConfigError with all
    problems at once.
    """
    source = Source(path, read)
    settings = source.settings
    source.shown |= settings.shown()
    template = load_template(source)
    denied = load_denied(source)
    login = load_login(source, {} if key_sets is None else key_sets, denied)
    callback = load_callback(source)
    grants = load_grants(source, template, callback)
    if (
        table.ROLE_SESSION_NAME in settings
        and source.has_login
        and not any(grant.terms for grant in grants)
    ):
        source.warn(
            "RoleSessionName is not used, because with Authentication each user has "
            "their own"
        )
    http = load_http(source)
    sts_calls_per_second = settings[table.STS_RATE]
    for key, problem in settings.unknown():
        # A misspelt Authentication must not leave the server open to everybody.
        if isinstance(settings.values[key], dict):
            settings.note(printable(key), problem)
        # Nor must limits without Grants leave the server with tokens for everything.
        elif key in SIGNED_NAMES:
            form = f'"{table.GRANTS.name}": {{"/path": {{"{key}": ...}}}}'
            settings.note(key, f"must be in a grant, as in {form}")
        else:
            source.warn(f"{printable(key)} {problem}")
    if source.problems:
        raise ConfigError(*dict.fromkeys(source.problems))
    return Config(
        grants={grant.path: grant for grant in grants},
        serves_any_path=not source.has_grants,
        login=login,
        denied=denied,
        http=http,
        callback=callback,
        sts_calls_per_second=sts_calls_per_second,
        warnings=tuple(dict.fromkeys(source.warnings)),
        shown=source.shown,
    )


def load_template(source: Source) -> CallTemplate:
    """Return the part of the AssumeRole call that all grants share."""
    settings = source.settings
    access_key_id, access_key_secret = load_key_pair(source)
    role_arn = settings.get(table.ROLE_ARN, WRONG)
    if not role_arn:
        problem = f"is empty; it must be {table.ROLE_ARN_FORM}"
        settings.note(table.ROLE_ARN.name, problem)
    endpoint = settings[table.STS_ENDPOINT]
    if endpoint.is_readable:
        source.warn(
            "StsEndpoint is plain HTTP; anyone on the network can read the tokens"
        )
    return CallTemplate(
        protocol=endpoint.scheme,
        endpoint=endpoint.authority,
        access_key_id=access_key_id,
        access_key_secret=access_key_secret,
        role_arn=role_arn,
        role_session_name=settings[table.ROLE_SESSION_NAME],
        duration_seconds=table.MIN_DURATION_SECONDS,
        policy=None,
    )


def load_key_pair(source: Source) -> tuple[str, str]:
    """Return the AccessKey pair, empty for the default credential chain."""
    settings = source.settings
    access_key_id = settings.get(table.ACCESS_KEY_ID, WRONG)
    other_spelling = settings.get(table.ACCESS_KEY_ID_OF_SDKS, WRONG)
    if access_key_id and other_spelling and access_key_id != other_spelling:
        problem = "and AccessKeyId differ; leave one of them out"
        settings.note(table.ACCESS_KEY_ID.name, problem)
    access_key_id = access_key_id or other_spelling
    del source.shown[table.ACCESS_KEY_ID_OF_SDKS.name]
    source.shown[table.ACCESS_KEY_ID.name] = shown_key_id(access_key_id)
    access_key_secret = settings.get(table.ACCESS_KEY_SECRET, WRONG)
    if table.ACCESS_KEY_ID_FORM.fullmatch(access_key_secret):
        problem = "and AccessKeySecret look swapped: the secret begins like an ID"
        settings.note(table.ACCESS_KEY_ID.name, problem)
    if bool(access_key_id) != bool(access_key_secret):
        empty = table.ACCESS_KEY_SECRET if access_key_id else table.ACCESS_KEY_ID
        settings.note(
            empty.name,
            "is empty; set it too, or leave both out to use the default credential "
            "chain (environment, OIDC, profile, ECS role)",
        )
    if access_key_secret:
        source.warn_of_secret(source.path)
    return access_key_id, access_key_secret


def shown_key_id(access_key_id: str) -> str:
    """Return an AccessKey ID if it looks like one; otherwise it may be the secret."""
    if table.ACCESS_KEY_ID_FORM.fullmatch(access_key_id):
        return access_key_id
    return "set" if access_key_id else "not set"


def load_http(source: Source) -> HttpSettings:
    """Return AllowedOrigins and TrustedProxies."""
    settings = source.settings
    origins = settings[table.ALLOWED_ORIGINS]
    for origin in origins:
        if origins != ("*",) and not ORIGIN.fullmatch(origin):
            settings.note(
                table.ALLOWED_ORIGINS.name,
                f"has {origin!r:.100}; it must be * or origins as browsers send them, "
                "such as https://app.example.com, without a default port or a slash",
            )
    networks = []
    for text in settings[table.TRUSTED_PROXIES]:
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            settings.note(
                table.TRUSTED_PROXIES.name,
                f"has {text!r:.100}; it must be addresses or networks, such as "
                "10.0.0.5 or 10.0.0.0/8",
            )
    return HttpSettings(
        allowed_origins=None if origins == ("*",) else frozenset(origins),
        trusted_proxies=tuple(networks),
    )


class LiveConfig(LiveFiles[Config]):
    """The current configuration.  Raises ConfigError if the first one is wrong."""

    name = "configuration"

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._key_sets: dict[str, JwksKeys] = {}
        self.on_new: Callable[[Config, Config], None] = lambda _before, _now: None
        super().__init__(self._load_config, clock)

    def _load_config(self, read: Read) -> Config:
        return load_config(self._path, read, self._key_sets)

    def taken_up(self, before: Config, now: Config) -> None:
        """Log the warnings, and notify on_new."""
        for warning in now.warnings:
            logger.warning("%s", warning)
        if before.login and not now.login:
            logger.warning(
                "%s: Authentication was removed; now anyone who can reach the port "
                "gets a token",
                self._path,
            )
        self.on_new(before, now)

    def description(self) -> str:
        """Return what the server hands out now."""
        return self._content.description
