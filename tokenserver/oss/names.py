"""Names of objects: the allowed ones, and templates for those that the server chooses.

Everything that handles a name must see the same name: OSS, browsers, which shorten
/../ in a URL, and tools that take a backslash for a slash.  So names that some of them
change are refused.

Source: "Object naming" and "PostObject" (OSS documentation).
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator

MAX_NAME_BYTES = 1023  # in UTF-8
MAX_EXTENSION = 16  # characters; a longer ending is not taken for an extension

PLACEHOLDER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
PLACEHOLDERS = ("USER_ID", "DATE", "UUID", "FILENAME", "EXTENSION")
OF_CLIENT = ("FILENAME", "EXTENSION")  # taken from the client's file name
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def name_problem(name: str) -> str:
    """Return why the object *name* is refused, or "" if it is not."""
    if not name:
        return "is empty"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"has more than {MAX_NAME_BYTES} bytes with its prefix"
    if CONTROL.search(name) or "\\" in name:
        return "contains a control character or a backslash"
    if "${" in name:  # OSS fills in ${filename} after it has judged the name
        return "contains ${"
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        return "begins or ends with a slash, or contains //, /./ or /../"
    return ""


def extension(filename: str) -> str:
    """Return the extension of *filename* with its dot, or ""."""
    stem, dot, end = filename.rpartition(".")
    is_one = stem and end.isascii() and end.isalnum() and len(end) <= MAX_EXTENSION
    return f"{dot}{end}" if is_one else ""


def needs_filename(template: str) -> bool:
    """Return whether *template* needs the client's name of the file."""
    return any(name in OF_CLIENT for name in PLACEHOLDER.findall(template))


def fill_in(template: str, user: str, filename: str, now: float) -> str:
    """Return *template* filled in for a user, a file and *now*, in unix seconds."""
    values = {
        "USER_ID": lambda: user,
        "DATE": lambda: time.strftime("%Y-%m-%d", time.gmtime(now)),
        "UUID": lambda: str(uuid.uuid4()),
        "FILENAME": lambda: filename,
        "EXTENSION": lambda: extension(filename),
    }
    return PLACEHOLDER.sub(lambda match: values[match[1]](), template)


def template_problems(template: str, has_login: bool) -> Iterator[str]:
    """Yield each problem of an operator's *template*, to follow its key."""
    unknown = [n for n in PLACEHOLDER.findall(template) if n not in PLACEHOLDERS]
    for name in unknown:
        known = ", ".join(f"${known}" for known in PLACEHOLDERS)
        yield f"has ${name}; allowed are {known}"
    if "$USER_ID" in template and not has_login:
        yield "has $USER_ID, but there is no Authentication to say who the user is"
    elif not unknown:
        problem = name_problem(fill_in(template, "user", "file.txt", 0.0))
        if problem:
            yield f"is {template!r:.100}; a name made from it {problem}"
