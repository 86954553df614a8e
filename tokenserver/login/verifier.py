"""The verifier of login tokens: a token in, its user out.

PyJWT checks the signature and the values of the claims.  Before that, tokens that two
readers could understand differently are refused here, and so are wrong types that PyJWT
does not check.
"""

from __future__ import annotations

import binascii
import re
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from jwt import PyJWT

from tokenserver.errors import (
    ConfigError,
    LoginError,
    NotAuthenticated,
    UserNotAllowed,
)
from tokenserver.login.keys import Keys
from tokenserver.login.strict_json import NotStrict, parse_object
from tokenserver.login.users import user_id

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
MAX_TOKEN_BYTES = 16 * 1024  # as many as a request head may have
MAX_TIME = 253402300799  # 9999-12-31, in unix seconds; milliseconds of today are more
TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
ALPHABET = string.ascii_letters + string.digits + "-_"  # of base64url
# How base64url without padding ends, by what its length leaves when divided by 4: bits
# that stand for no byte are zero (RFC 4648 section 3.5).  One character makes no byte.
LAST_CHARACTERS = (ALPHABET, "", "AQgw", "AEIMQUYcgkosw048")
TO_BASE64 = bytes.maketrans(b"-_", b"+/")
TOKEN_TYPES = ("jwt", "at+jwt", "application/at+jwt")  # RFC 7519, 9068 section 4


@dataclass(frozen=True)
class LoginRules:
    """The requirements for login tokens.  Raises ConfigError."""

    issuer: str  # iss, exactly
    audiences: tuple[str, ...]  # aud has one of them
    leeway_seconds: int  # that its clock and ours may differ
    user_claim: str = "sub"  # the claim at the top that has the user ID
    # Users who are shut out: their tokens are refused if iat is before this time, in
    # unix seconds and possibly infinite, or missing.
    denied: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.issuer or not self.user_claim:
            raise ConfigError("issuer and user claim must not be empty")
        if not self.audiences or "" in self.audiences:
            raise ConfigError("an audience is missing or empty")
        if self.leeway_seconds < 0:
            raise ConfigError("the leeway must not be negative")


class LoginVerifier:
    """Returns the user of a login token.

    *algorithms* can only narrow what *keys* allow.  Raises ConfigError if nothing
    is left.
    """

    def __init__(
        self, rules: LoginRules, keys: Keys, algorithms: Collection[str] = ()
    ) -> None:
        self._jwt = PyJWT({"require": ["exp", "iss", "aud"]})
        self._rules = rules
        self._keys = keys
        unknown = sorted(set(algorithms) - set(ALGORITHMS))
        if unknown:
            raise ConfigError(
                f"{unknown[0][:20]!a} is not one of {', '.join(ALGORITHMS)}"
            )
        self._algorithms = keys.algorithms & (set(algorithms) or keys.algorithms)
        if not self._algorithms:
            raise ConfigError(
                f"{', '.join(sorted(algorithms))} cannot be verified with these keys, "
                f"only {', '.join(sorted(keys.algorithms))}"
            )

    def user(self, token: str) -> str:
        """Return the user ID of a valid login token.

        Raises NotAuthenticated, UserNotAllowed or KeysUnavailable, and nothing else.
        """
        try:
            header = self._header_of_valid_form(token)
            key = self._keys.find(header)
            if header["alg"] != key.algorithm:
                raise NotAuthenticated("its alg is not that of the key")
            claims = self._jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._rules.audiences,
                issuer=self._rules.issuer,
                leeway=self._rules.leeway_seconds,
            )
            # Checked again: PyJWT 2.10.0 accepted any part of the issuer.
            if claims["iss"] != self._rules.issuer:
                raise NotAuthenticated("its iss is not Issuer")
            if not set(listed(claims["aud"])) & set(self._rules.audiences):
                raise NotAuthenticated("its aud has none of Audience")
            user = user_id(claims[self._rules.user_claim])
            denied_before = self._rules.denied.get(user)
            if denied_before is not None and claims.get("iat", -1) < denied_before:
                raise UserNotAllowed(f"user {user!a} is shut out by DeniedUsersFile")
            return user
        except LoginError:
            raise
        except Exception as error:  # of PyJWT mostly; its text may repeat the token
            reason = f"its verification ended in {type(error).__name__}"
            raise NotAuthenticated(reason) from None

    def _header_of_valid_form(self, token: str) -> dict[str, Any]:
        """Return the header of a token that all readers understand in the same way.

        Only the form is checked here.  Raises NotAuthenticated.
        """
        parts = TOKEN.fullmatch(token) if len(token) <= MAX_TOKEN_BYTES else None
        if not parts:
            raise NotAuthenticated("not three base64url parts of at most 16 KiB")
        if not all(map(is_base64url, parts.groups())):
            raise NotAuthenticated("a part is not base64url")
        try:
            fields = parse_object(decode_part(parts[1]))
            values = parse_object(decode_part(parts[2]))
        except NotStrict as error:
            raise NotAuthenticated(f"a part {error.kind}") from None
        problem = header_problem(fields, self._algorithms)
        problem = problem or claims_problem(values, self._rules.user_claim)
        if problem:
            raise NotAuthenticated(problem)
        return fields


def listed(audience: Any) -> list[Any]:
    """Return the values of an aud, one or a list of them (RFC 7519 section 4.1.3)."""
    return audience if isinstance(audience, list) else [audience]


def is_base64url(part: str) -> bool:
    """Return whether *part*, of ALPHABET, is the one way to write its bytes.

    Otherwise a token could be changed and stay valid.
    """
    return part[-1] in LAST_CHARACTERS[len(part) % 4]


def decode_part(part: str) -> bytes:
    """Return the bytes of a *part* of a token that is base64url."""
    return binascii.a2b_base64(part.encode("ascii").translate(TO_BASE64) + b"==")


def header_problem(header: dict[str, Any], algorithms: Collection[str]) -> str:
    """Return a problem of the header of a token, or ""."""
    algorithm, kind = header.get("alg"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        return f"its alg is not one of {', '.join(sorted(algorithms))}"
    if not isinstance(kind, str) or kind.lower() not in TOKEN_TYPES:
        return "its typ is not that of a login token"  # RFC 8725 section 3.11
    if not isinstance(header.get("kid", ""), str):
        return "its kid is not a string"
    if "crit" in header or "b64" in header:  # RFC 7515 section 4.1.11, RFC 7797
        return "it has crit or b64 in its header"
    return ""


def claims_problem(claims: dict[str, Any], user_claim: str) -> str:
    """Return a problem of the claims: one is missing or has a wrong type, or "".

    PyJWT checks the values of exp, nbf and iat, but also accepts strings and booleans.
    It checks the types of iss and aud itself.
    """
    for name in ("exp", "nbf", "iat"):
        value: Any = claims.get(name, None if name == "exp" else 0)
        if type(value) not in (int, float) or not 0 <= value <= MAX_TIME:
            return f"its {name} is missing or not a time in seconds"
    if not isinstance(claims.get(user_claim), str):
        return "its user claim is missing or not a string"
    return ""
