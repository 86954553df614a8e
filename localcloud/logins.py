"""A login service: signs login tokens for a token server with users."""

from __future__ import annotations

import base64
import hmac
import json
import secrets

ISSUER = "https://login.localcloud.test"
AUDIENCE = "localcloud"
LOGIN_SECONDS = 3600


class LoginService:
    """Signs login tokens (HS256) with its own random secret."""

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(48)

    def settings(self, secret_file: str) -> dict[str, object]:
        """Return the section Authentication that trusts this service."""
        return {"Issuer": ISSUER, "Audience": AUDIENCE, "SecretFile": secret_file}

    def login_token(self, user: str, now: float, **claims: object) -> str:
        """Return a login token (JWT) for *user*, valid for LOGIN_SECONDS.

        *claims* are added to the usual ones, or replace them.
        """
        header: dict[str, object] = {"alg": "HS256", "typ": "JWT"}
        payload: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "iat": int(now),
            "exp": int(now) + LOGIN_SECONDS,
            **claims,
        }
        signed = b".".join(encoded(part) for part in (header, payload))
        signature = hmac.digest(self.secret.encode(), signed, "sha256")
        return (signed + b"." + base64url(signature)).decode()


def encoded(part: dict[str, object]) -> bytes:
    """Return *part* of a JWT, encoded."""
    return base64url(json.dumps(part, separators=(",", ":")).encode())


def base64url(data: bytes) -> bytes:
    """Return *data* in Base64 for URLs, without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")
