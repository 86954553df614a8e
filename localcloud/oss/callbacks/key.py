"""The key that callbacks are signed with."""

from __future__ import annotations

import base64
import threading
from urllib.parse import unquote_to_bytes

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEY_BITS = 2048  # that of OSS has 512
# Where app servers expect the key of OSS to be.  This one is not there: who looks for
# it gets none, rather than the key of OSS.
KEY_URL = "https://gosspublic.alicdn.com/oss_stand_in_has_a_key_of_its_own.pem"


class CallbackKey:
    """An RSA key, which is made when it is first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the key, of which there is one
        self._key: rsa.RSAPrivateKey | None = None

    def _private_key(self) -> rsa.RSAPrivateKey:
        with self._lock:
            if self._key is None:
                self._key = rsa.generate_private_key(65537, KEY_BITS)
            return self._key

    @property
    def public_pem(self) -> str:
        """The public key as a PEM file has it."""
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
        """Return what Authorization has: over the decoded path, the query and *body*.

        *target* is the path with its query; MD5 is what OSS uses.
        """
        path, mark, query = target.partition("?")
        message = unquote_to_bytes(path) + f"{mark}{query}\n".encode() + body
        signed = self._private_key().sign(message, padding.PKCS1v15(), hashes.MD5())
        return base64.b64encode(signed).decode("ascii")

    @property
    def encoded_url(self) -> str:
        """What x-oss-pub-key-url has."""
        return base64.b64encode(KEY_URL.encode()).decode("ascii")
