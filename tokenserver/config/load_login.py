"""Authentication and DeniedUsersFile -> the verifier of login tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tokenserver.config import settings as table
from tokenserver.config.denied import parse_denied
from tokenserver.config.policy import SETTING_OF
from tokenserver.config.settings import Section
from tokenserver.config.source import Source
from tokenserver.errors import ConfigError

if TYPE_CHECKING:  # they need PyJWT, and are imported only where users log in
    from tokenserver.login.jwks import JwksKeys
    from tokenserver.login.keys import Keys
    from tokenserver.login.verifier import LoginVerifier

NAME = table.AUTHENTICATION.name


def load_denied(source: Source) -> dict[str, float]:
    """Return the users who are shut out, as LoginRules has them."""
    place = source.settings[table.DENIED_USERS_FILE]
    if not place:
        return {}
    if not source.has_login:
        problem = f"is set, but {SETTING_OF['USER_ID']}"
        source.settings.note(table.DENIED_USERS_FILE.name, problem)
    path = source.beside(place)
    try:
        return parse_denied(str(path), source.read(path))
    except ConfigError as error:
        source.problems += error.problems
        return {}


def load_login(
    source: Source, key_sets: dict[str, JwksKeys], denied: Mapping[str, float]
) -> LoginVerifier | None:
    """Return the verifier of login tokens; None if nobody has to log in.

    *key_sets* holds the keys fetched so far, by URL.
    """
    if not source.has_login:
        return None
    where = f"{source.path}: {NAME}"
    values = source.settings[table.AUTHENTICATION]
    section = Section(where, values, table.LOGIN_SETTINGS, source.problems)
    section.refuse_unknown()
    source.show(section, NAME)
    check_named(section)
    try:
        from tokenserver.login.verifier import LoginRules, LoginVerifier
    except ImportError as error:
        source.problems.append(
            f"{where}: PyJWT cannot be imported ({error}); "
            "run: pip install -U 'PyJWT[crypto]>=2.14.0'"
        )
        return None
    algorithms = section[table.ALGORITHMS]
    leeway_seconds = section[table.LEEWAY]
    keys = load_keys(source, section, key_sets)
    if keys is None or source.problems:
        return None
    try:
        rules = LoginRules(
            issuer=section[table.ISSUER],
            audiences=section[table.AUDIENCE],
            leeway_seconds=leeway_seconds,
            user_claim=section[table.USER_CLAIM],
            denied=denied,
        )
        return LoginVerifier(rules, keys, algorithms)
    except ConfigError as error:
        wrong = table.ALGORITHMS if algorithms else table.USER_CLAIM
        section.note(wrong.name, str(error))
    return None


def check_named(section: Section) -> None:
    """Note an empty Issuer or Audience."""
    if not section[table.ISSUER]:
        section.note(
            table.ISSUER.name, "is empty; it must be the iss of the login tokens"
        )
    if not section[table.AUDIENCE] or "" in section[table.AUDIENCE]:
        section.note(
            table.AUDIENCE.name,
            "is empty; it must be the aud of the login tokens for this server",
        )


def load_keys(
    source: Source, section: Section, key_sets: dict[str, JwksKeys]
) -> Keys | None:
    """Return the keys that verify login tokens, None if they are wrong."""
    from tokenserver.login.jwks import JwksKeys
    from tokenserver.login.keys import public_key, secret_key

    used = [setting for setting in table.KEY_PLACES if section[setting]]
    if len(used) != 1:
        names = ", ".join(setting.name for setting in table.KEY_PLACES)
        problem = "are three ways to name a key; set exactly one of them"
        section.note(names, problem)
        return None
    (kind,) = used
    place = section[kind]
    if kind is table.JWKS_URL:
        url, query, _ = place.partition("?")
        if query:  # which may hold a secret
            source.shown[f"{NAME}: {kind.name}"] = json.dumps(f"{url}?...")
    else:
        path = source.beside(place)
        try:
            content = source.read(path)
        except ConfigError as error:
            source.problems += error.problems
            return None
    try:
        if kind is table.JWKS_URL:
            if place not in key_sets:
                key_sets[place] = JwksKeys(place)
            return key_sets[place]
        if kind is table.PUBLIC_KEY_FILE:
            return public_key(str(path), content)
        source.warn_of_secret(path)
        return secret_key(str(path), content)
    except ConfigError as error:
        section.note(kind.name, str(error))
        return None
