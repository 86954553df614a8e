"""Names of objects: which are signed for, and templates by which the server chooses.

Whoever reads a name must read the same one: OSS, a browser that shortens /../ in a URL,
a tool that takes a backslash for a slash.  So names that some of them change are
refused.

Source: "Object naming" and "PostObject" (OSS documentation).
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator

MAX_NAME_BYTES = 1023  # in UTF-8
MAX_EXTENSION = 16  # characters of what is taken for one

PLACEHOLDER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
PLACEHOLDERS = ("USER_ID", "DATE", "UUID", "FILENAME", "EXTENSION")
OF_CLIENT = ("FILENAME", "EXTENSION")  # which a client has to name a file for
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def name_problem(name: str) -> str:
    """Return why there is no signature for the object *name*, or ""."""
    if not name:
        return "is empty"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"has more than {MAX_NAME_BYTES} bytes with its prefix"
    if CONTROL.search(name) or "\\" in name:
        return "has a control character or a backslash in it"
    if "${" in name:  # OSS fills in ${filename} after it has judged the name
        return "has ${ in it"
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        return "begins or ends with a slash, or has //, /./ or /../ in it"
    return ""


def extension(filename: str) -> str:
    """Return the extension of *filename* with its dot, or ""."""
    stem, dot, end = filename.rpartition(".")
    is_one = stem and end.isascii() and end.isalnum() and len(end) <= MAX_EXTENSION
    return f"{dot}{end}" if is_one else ""


def needs_filename(template: str) -> bool:
    """Return whether *template* takes something from the client's name of the file."""
    return any(name in OF_CLIENT for name in PLACEHOLDER.findall(template))


def fill_in(template: str, user: str, filename: str, now: float) -> str:
    """Return the name that *template* makes of a user, a file and a time."""
    values = {
        "USER_ID": lambda: user,
        "DATE": lambda: time.strftime("%Y-%m-%d", time.gmtime(now)),
        "UUID": lambda: str(uuid.uuid4()),
        "FILENAME": lambda: filename,
        "EXTENSION": lambda: extension(filename),
    }
    return PLACEHOLDER.sub(lambda match: values[match[1]](), template)


def template_problems(template: str, has_login: bool) -> Iterator[str]:
    """Yield what is wrong with a *template* of an operator."""
    unknown = [n for n in PLACEHOLDER.findall(template) if n not in PLACEHOLDERS]
    for name in unknown:
        known = ", ".join(f"${known}" for known in PLACEHOLDERS)
        yield f"has ${name}; it may have {known}"
    if "$USER_ID" in template and not has_login:
        yield "has $USER_ID, but there is no Authentication to say who the user is"
    elif not unknown:
        problem = name_problem(fill_in(template, "user", "file.txt", 0.0))
        if problem:
            yield f"is {template!r:.100}, and such a name {problem}"
