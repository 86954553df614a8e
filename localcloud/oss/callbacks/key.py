"""The key that callbacks are signed with."""

from __future__ import annotations

import base64
import threading
from urllib.parse import unquote_to_bytes

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEY_BITS = 2048  # the key of OSS has 512
# App servers expect keys of OSS in this place.  There is none with this name, so an app
# server that fetches it gets nothing, rather than the key of OSS.
KEY_URL = "https://gosspublic.alicdn.com/oss_stand_in_has_a_key_of_its_own.pem"


class CallbackKey:
    """An RSA key, generated when it is first used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the key, which is generated once
        self._key: rsa.RSAPrivateKey | None = None

    def _private_key(self) -> rsa.RSAPrivateKey:
        with self._lock:
            if self._key is None:
                self._key = rsa.generate_private_key(65537, KEY_BITS)
            return self._key

    @property
    def public_pem(self) -> str:
        """The public key in PEM."""
        return (
            self._private_key()
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM,
                serialization.PublicFormat.SubjectPublicKeyInfo,
            )
            .decode("ascii")
        )

    def signature(self, target: str, body: bytes) -> str:
        """Return the value of Authorization: MD5 with RSA, in Base64, as OSS signs.

        It signs the decoded path, the query and *body*; *target* is path and query.
        """
        path, mark, query = target.partition("?")
        message = unquote_to_bytes(path) + f"{mark}{query}\n".encode() + body
        signed = self._private_key().sign(message, padding.PKCS1v15(), hashes.MD5())
        return base64.b64encode(signed).decode("ascii")

    @property
    def encoded_url(self) -> str:
        """The value of x-oss-pub-key-url."""
        return base64.b64encode(KEY_URL.encode()).decode("ascii")
