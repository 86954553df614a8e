"""User IDs: which are safe in an object prefix and a policy, and their session names.

Sources: UAX #15 (normalization forms), "Object naming" (OSS documentation) and
"AssumeRole" (STS API reference).
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata

from tokenserver.errors import UserNotAllowed

MAX_USER_BYTES = 128  # in UTF-8
MAX_SESSION_NAME = 64  # of STS, characters; it wants 2 at least
SESSION_NAME_START = 30  # characters of a user whose whole name does not fit

# As most login services call users; user_id() has nothing to refuse in these.
USUAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:|+-]{0,127}")
SAME_SESSION_NAME = re.compile(r"[A-Za-z0-9.@-]{2,64}")

# Separators and wildcards of OSS, RAM and file systems, policy variables, quotes.
SPECIAL = "/\\*?${}\"'`"

# Invisible characters whose category is that of visible ones: Default_Ignorable_Code_
# Point of DerivedCoreProperties.txt, and blanks (Braille, hieroglyphs, Khitan filler,
# null notehead).  U+FFFC and U+FFFD replace lost characters, so two different users
# could end up with the same ID.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\ufffc\ufffd\U00013441\U00013442\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)
REFUSED_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))


def user_id(text: str) -> str:
    """Return *text* if it is safe in an object prefix and a policy.

    Raises UserNotAllowed unless it is 1 to MAX_USER_BYTES of UTF-8, all visible,
    without characters that have a meaning in paths, in policies or in quoted text.  It
    has no slash and is not "." or "..", so no user's folder can be inside another's.
    Templates must add a slash after it: otherwise "al" also matches "alice".  %2F is
    just three characters, because OSS and RAM compare names that were decoded once.
    Case counts, as it does in OSS.

    It must be in NFKC, so that users remain different whatever normalises them later:
    for a text x and any form N of the four, NFKC(N(x)) = NFKC(x) (UAX #15), so if two
    users had N(a) = N(b), then a = NFKC(a) = NFKC(b) = b.  This holds for characters
    that Unicode has assigned; others are refused.  A combining mark at the beginning
    would merge with the character before it.
    """
    if not isinstance(text, str) or not text:
        raise UserNotAllowed("the user ID is empty or not a string")
    if USUAL.fullmatch(text):
        return text
    shown = f"user {text[:60]!a}"
    for character in text:
        if (
            character in SPECIAL
            or unicodedata.category(character) in REFUSED_CATEGORIES
            or INVISIBLE.match(character)
        ):
            raise UserNotAllowed(f"{shown} has U+{ord(character):04X} in it")
    if len(text.encode()) > MAX_USER_BYTES:
        raise UserNotAllowed(f"{shown} has more than {MAX_USER_BYTES} bytes")
    if text in (".", ".."):
        raise UserNotAllowed(f"{shown} is the name of a folder in paths")
    if unicodedata.category(text[0]).startswith("M"):
        raise UserNotAllowed(f"{shown} begins with a combining mark")
    if unicodedata.normalize("NFKC", text) != text:
        raise UserNotAllowed(f"{shown} is not in NFKC")
    return text


def role_session_name(user: str) -> str:
    """Return the RoleSessionName of an accepted *user*, a different one for each.

    ASCII letters, digits, ".", "@" and "-" are kept; every other byte of the UTF-8
    becomes _XX, which urllib.parse.unquote(name.replace("_", "%")) undoes.  If that is
    not 2 to 64 characters, the name is its beginning, "__", which cannot occur in it
    otherwise, and 160 bits of the user's SHA-256 in base32.
    """
    if SAME_SESSION_NAME.fullmatch(user):
        return user
    content = user.encode()
    name = re.sub(
        rb"[^A-Za-z0-9.@-]", lambda match: b"_%02X" % match[0][0], content
    ).decode("ascii")
    if 2 <= len(name) <= MAX_SESSION_NAME:
        return name
    start = re.sub(r"_.?\Z", "", name[:SESSION_NAME_START])  # no half of a _XX
    digest = base64.b32encode(hashlib.sha256(content).digest()[:20])
    return f"{start}__{digest.decode('ascii').lower()}"
