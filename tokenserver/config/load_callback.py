"""Callback -> where OSS reports uploads to, and what becomes of the reports."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from tokenserver.config import settings as table
from tokenserver.config.callback import Callback
from tokenserver.config.grants import RESERVED_PATHS
from tokenserver.config.settings import Section, Setting
from tokenserver.config.source import Source
from tokenserver.errors import ConfigError
from tokenserver.hosts import Url, is_loopback, parse_url
from tokenserver.oss.callback import (
    OSS_KEY,
    TICKET,
    VARIABLE,
    RsaKey,
    callback_of,
    public_key,
)

NAME = table.CALLBACK.name
MIN_SECRET_BYTES = 32  # RFC 2104 section 3: as many as the hash has
MAX_VARIABLES = 20
MAX_URL = 1024
MAX_CALLBACK = 5 * 1024  # characters that OSS takes ("Callback", OSS API reference)
WRONG = "?"  # stands for a value that is reported, so that it is not missing too
SECRET = re.compile(rb"[!-~]+")
# Of what a proxy or OSS could take in two ways, such as percent-encoding, nothing
PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)+/?")
QUERY = re.compile(r"(\?[A-Za-z0-9._~=&/-]*)?")


def load_callback(source: Source) -> Callback | None:
    """Return how uploads are reported, None if they are not."""
    values = source.settings[table.CALLBACK]
    if values is None:
        return None
    where = f"{source.path}: {NAME}"
    section = Section(where, values, table.CALLBACK_SETTINGS, source.problems)
    section.refuse_unknown()
    source.show(section, NAME)
    url = load_url(source, section)
    secrets = load_secrets(source, section)
    key = load_key(source, section)
    variables = load_variables(section)
    uploads_file = load_uploads_file(source, section)
    forward_url = load_forward_url(source, section)
    if url is None or not secrets:
        return None
    check_size(section, url, variables)
    return Callback(
        url=url,
        secrets=secrets,
        variables=variables,
        keys=(key or OSS_KEY,),
        has_own_key=key is not None,
        uploads_file=uploads_file,
        forward_url=forward_url,
    )


# --- Each setting ---------------------------------------------------------------


def url_of(section: Section, setting: Setting[str], example: str) -> Url | None:
    """Return the URL that *setting* is, None if there is none or it is wrong."""
    text = section[setting]
    try:
        if len(text) > MAX_URL:
            raise ValueError
        return parse_url(text) if text else None
    except ValueError:
        section.note(
            setting.name,
            f"is {text!r:.100}; it must be a URL of at most {MAX_URL} characters, "
            f"such as {example}, without user, password and #",
        )
        return None


def load_url(source: Source, section: Section) -> Url | None:
    """Return Url, which has a path that is for OSS alone."""
    name, example = table.CALLBACK_URL.name, "https://app.example.com/oss/uploaded"
    url = url_of(section, table.CALLBACK_URL, example)
    if not section.get(table.CALLBACK_URL, WRONG):
        section.note(
            name,
            "is empty; it must be the URL at which OSS reaches this server, such as "
            f"{example}",
        )
    if url is None:
        return None
    if not PATH.fullmatch(url.path) or not QUERY.fullmatch(url.query):
        section.note(
            name,
            f"has the path {url.target!r:.100}; it must be one of letters, digits and "
            f". _ ~ - / such as {parse_url(example).path}, so that no proxy spells it "
            "otherwise",
        )
    if url.path.startswith(RESERVED_PATHS):
        section.note(
            name,
            f"has the path {url.path}, which begins with one of "
            f"{', '.join(RESERVED_PATHS)}; choose another, such as /oss/uploaded",
        )
    if url.path in source.settings[table.GRANTS]:
        section.note(
            name,
            f"has the path {url.path}, which is one of {table.GRANTS.name}; it must be "
            "for OSS alone",
        )
    if table.PUBLIC_KEY_FILE not in section and is_loopback(url.base.host):
        source.warn(
            f"{name} is {url.text}, which only this machine reaches, and OSS does not",
            section.where,
        )
    if url.base.is_readable:
        source.warn(
            f"{name} is plain HTTP; anyone on the way to it can read the tickets, and "
            "report with them what was not uploaded",
            section.where,
        )
    return url


def load_secrets(source: Source, section: Section) -> tuple[bytes, ...]:
    """Return the secrets in SecretFile, none if they are not right."""
    name = section[table.SECRET_FILE]
    if not section.get(table.SECRET_FILE, WRONG):
        section.note(
            table.SECRET_FILE.name,
            "is empty; it must name a file with a secret that tickets are sealed with, "
            "such as openssl rand -base64 32 prints",
        )
    if not name:
        return ()
    path = source.beside(name)
    source.warn_of_secret(path)
    try:
        return parse_secrets(str(path), source.read(path))
    except ConfigError as error:
        source.problems += error.problems
        return ()


def parse_secrets(where: str, content: bytes) -> tuple[bytes, ...]:
    """Return the one or two secrets in the file *where*, a line each.

    Raises ConfigError, which shows nothing of them.
    """
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if not 1 <= len(lines) <= 2:
        raise ConfigError(
            f"{where}: has {len(lines)} lines; it must have one secret, or two while "
            "it is changed, each in a line of its own"
        )
    for number, line in enumerate(lines, 1):
        if not SECRET.fullmatch(line) or len(line) < MIN_SECRET_BYTES:
            raise ConfigError(
                f"{where}: line {number} has {len(line)} bytes; a secret must have "
                f"{MIN_SECRET_BYTES} or more, all of them printable ASCII, such as "
                "openssl rand -base64 32 prints"
            )
    return tuple(lines)


def load_key(source: Source, section: Section) -> RsaKey | None:
    """Return the key in PublicKeyFile, None for the one that OSS publishes."""
    name = section[table.PUBLIC_KEY_FILE]
    if not name:
        return None
    path = source.beside(name)
    try:
        return public_key(source.read(path).decode("ascii"))
    except ConfigError as error:
        source.problems += error.problems
    except ValueError:
        source.problems.append(
            f"{path}: must be an RSA key of 512 bits or more, in PEM (BEGIN PUBLIC "
            f"KEY); leave {table.PUBLIC_KEY_FILE.name} out for the key that OSS "
            "publishes"
        )
    return None


def load_variables(section: Section) -> tuple[str, ...]:
    """Return Variables, names that clients may give values."""
    names = section[table.VARIABLES]
    for name in names:
        if not VARIABLE.fullmatch(name) or name == TICKET:
            section.note(
                table.VARIABLES.name,
                f"has {name!r:.100}; it must be names such as x:album, in lower case, "
                f"other than {TICKET}",
            )
    if len(names) > MAX_VARIABLES or len(set(names)) < len(names):
        section.note(
            table.VARIABLES.name,
            f"has {len(names)} names; it must be {MAX_VARIABLES} at most, each of them "
            "once",
        )
    return names


def check_size(section: Section, url: Url, variables: Iterable[str]) -> None:
    """Note it if the text for OSS would be longer than OSS takes."""
    size = len(callback_of(url.text, variables))
    if size > MAX_CALLBACK:
        section.note(
            f"{table.CALLBACK_URL.name} and {table.VARIABLES.name}",
            f"make x-oss-callback {size} characters long; OSS takes {MAX_CALLBACK}, so "
            "use shorter or fewer names",
        )


def load_uploads_file(source: Source, section: Section) -> Path | None:
    """Return UploadsFile, which may be still to come, but in a folder that is there."""
    name = section[table.UPLOADS_FILE]
    if not name:
        return None
    path = source.beside(name)
    if problem := unwritable(path):
        section.note(table.UPLOADS_FILE.name, f"is {name!r:.100}, {problem}")
    return path


def unwritable(path: Path) -> str:
    """Return why nothing can be appended to *path*, "" if it can."""
    if "\0" in str(path):
        return "which is not a file name"
    if path.is_dir():
        return "which is a folder; it must be a file"
    if not path.parent.is_dir():
        return f"but there is no folder {path.parent}; make it, or name another"
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        return "which this user may not write; change its owner, or name another"
    return ""


def load_forward_url(source: Source, section: Section) -> Url | None:
    """Return ForwardUrl."""
    setting = table.FORWARD_URL
    url = url_of(section, setting, "https://backend.example.com/uploads")
    if url and url.query:  # which may hold a secret
        shown = json.dumps(f"{url.base.text}{url.path}?...")
        source.shown[f"{NAME}: {setting.name}"] = shown
    if url and url.base.is_readable:
        source.warn(
            f"{setting.name} is plain HTTP; anyone on the way to it can read what was "
            "uploaded",
            section.where,
        )
    return url
