"""The callback of OSS, which reports an upload.

A client that uploads passes two texts to OSS: the URL to call, and variables.  OSS then
posts the facts about the object to us, signs the report, and passes our reply to the
client.  Its signature alone proves little: the key has only 512 bits and signs for
everybody's buckets, and the uploading client may write the body.  So one of the
variables is a ticket of ours, which only clients of this server have.

Sources: "Callback" (OSS API reference), "Set up upload callbacks for mobile apps" (OSS
documentation), RFC 8017 section 8.2 (RSASSA-PKCS1-v1_5), RFC 5280 (public keys).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

FORM_TYPE = "application/x-www-form-urlencoded"
TICKET = "x:ticket"  # our variable
VARIABLE = re.compile(r"x:[a-z0-9_-]{1,64}")
# OSS publishes its public keys here and nowhere else.  They are never fetched.
KEY_PLACES = ("http://gosspublic.alicdn.com/", "https://gosspublic.alicdn.com/")

# The facts that a report has, and their names in OSS
REPORTED = {
    "bucket": "bucket",
    "object": "object",
    "size": "size",
    "type": "mimeType",
    "etag": "etag",
    "crc64": "crc64",
    "width": "imageInfo.width",
    "height": "imageInfo.height",
    "format": "imageInfo.format",
    "client": "clientIp",
    "request": "reqId",
    "operation": "operation",
}

# --- The signature of OSS -------------------------------------------------------

MD5_INFO = bytes.fromhex("3020300c06082a864886f70d020505000410")  # RFC 8017, 9.2 note 1


class RsaKey(NamedTuple):
    """An RSA public key."""

    modulus: int
    exponent: int

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether *signature* is the signature of *message*, with MD5.

        The padding is compared whole, so that each message has only one signature.
        """
        size = (self.modulus.bit_length() + 7) // 8
        number = int.from_bytes(signature, "big")
        if len(signature) != size or number >= self.modulus:
            return False
        info = MD5_INFO + hashlib.md5(message, usedforsecurity=False).digest()
        padded = b"\0\1" + b"\xff" * (size - len(info) - 3) + b"\0" + info
        found = pow(number, self.exponent, self.modulus).to_bytes(size, "big")
        return hmac.compare_digest(found, padded)


def public_key(text: str) -> RsaKey:
    """Return the RSA key in the PEM block "PUBLIC KEY" of *text*.  Raises ValueError.

    The message of the error can follow the name of the file.
    """
    match = re.search(
        r"-----BEGIN PUBLIC KEY-----\s([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----", text
    )
    if not match:
        raise ValueError("is not a public key in PEM")
    try:
        return key_of(base64.b64decode(match[1]))
    except (ValueError, IndexError):
        raise ValueError("is not an RSA key") from None


RSA_ALGORITHM = bytes.fromhex("06092a864886f70d0101010500")  # rsaEncryption, NULL


def key_of(der: bytes) -> RsaKey:
    """Return the RSA key of a SubjectPublicKeyInfo.  Raises ValueError, IndexError."""
    algorithm, bits = elements(first(der, 0x30), 0x30, 0x03)
    if algorithm != RSA_ALGORITHM or bits[0]:
        raise ValueError
    modulus, exponent = elements(first(bits[1:], 0x30), 0x02, 0x02)
    key = RsaKey(int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big"))
    if key.modulus.bit_length() < 512 or key.exponent < 3:
        raise ValueError
    return key


def first(der: bytes, tag: int) -> bytes:
    """Return the content of *der*, one element of this *tag*.  Raises ValueError."""
    (content,) = elements(der, tag)
    return content


def elements(der: bytes, *tags: int) -> list[bytes]:
    """Return the contents of the elements in *der* (X.690), which have these *tags*.

    Raises ValueError.
    """
    contents = []
    for tag in tags:
        size, start = der[1], 2
        if size > 0x80:
            start += size - 0x80
            size = int.from_bytes(der[2:start], "big")
        if der[0] != tag or len(der) < start + size:
            raise ValueError
        contents.append(der[start : start + size])
        der = der[start + size :]
    if der:
        raise ValueError
    return contents


# callback_pub_key_v1.pem, which OSS publishes at KEY_PLACES
OSS_KEY = public_key(
    "-----BEGIN PUBLIC KEY-----\n"
    "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKs/JBGzwUB2aVht4crBx3oIPBLNsjGs"
    "C0fTXv+nvlmklvkcolvpvXLTjaxUHR3W9LXxQ2EHXAJfCB+6H2YF1k8CAwEAAQ==\n"
    "-----END PUBLIC KEY-----\n"
)


def is_signed(
    keys: Iterable[RsaKey], authorization: str, target: str, body: bytes
) -> bool:
    """Return whether OSS signed a report that it sends to *target*.

    *target* is the path and query that OSS was told, even if a proxy changed them.
    """
    try:
        signature = base64.b64decode(authorization, validate=True)
    except ValueError:
        return False
    path, mark, query = target.partition("?")
    message = unquote_to_bytes(path) + f"{mark}{query}\n".encode() + body
    return any(key.verifies(signature, message) for key in keys)


def is_key_of_oss(place: str) -> bool:
    """Return whether *place*, an x-oss-pub-key-url, names a key of OSS."""
    try:
        url = base64.b64decode(place, validate=True).decode("ascii")
    except ValueError:
        return False
    return url.startswith(KEY_PLACES)


# --- Our ticket -----------------------------------------------------------------


@dataclass(frozen=True)
class Ticket:
    """The user, the objects and the time for which a report counts."""

    grant: str  # its path
    user: str  # "" where nobody logs in
    bucket: str
    prefix: str  # of the object
    until: int  # unix seconds

    def sealed(self, secret: bytes) -> str:
        """Return the ticket as a text that cannot be made without *secret*."""
        content = json.dumps(asdict(self), separators=(",", ":")).encode()
        text = base64.urlsafe_b64encode(content).decode("ascii")
        return f"{text}.{seal(secret, text)}"


def seal(secret: bytes, text: str) -> str:
    """Return the proof that we wrote *text* on a ticket."""
    digest = hmac.digest(secret, b"sts-server ticket " + text.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def open_ticket(secrets: Iterable[bytes], sealed: str) -> Ticket:
    """Return the ticket that one of *secrets* sealed.  Raises ValueError."""
    text, _, proof = sealed.partition(".")
    if not any(
        hmac.compare_digest(proof.encode(), seal(secret, text).encode())
        for secret in secrets
    ):
        raise ValueError("its ticket was not issued by this server")
    try:
        return Ticket(**json.loads(base64.urlsafe_b64decode(text)))
    except TypeError:
        raise ValueError("its ticket was issued by another version") from None


# --- Passed from a client to OSS ------------------------------------------------


class CallbackStrings(NamedTuple):
    """The texts that a client passes to OSS with an upload, in Base64.

    They are sent as the headers x-oss-callback and x-oss-callback-var, or as the
    parameters callback and callback-var of a URL.  A form has the field callback, and
    one for the ticket.
    """

    callback: str
    variables: str
    ticket: str  # the value of the variable x:ticket

    @classmethod
    def of(cls, url: str, variables: Iterable[str], ticket: str) -> CallbackStrings:
        """Return the texts with which OSS posts to *url*.

        *variables* are the names of those that the client sets itself.
        """
        return cls(callback_of(url, variables), variables_of(ticket), ticket)


def callback_of(url: str, variables: Iterable[str]) -> str:
    """Return the text for x-oss-callback, or for the form field callback.

    It makes OSS post REPORTED, the ticket and the client's own *variables*.
    """
    wanted = [f"{name}=${{{theirs}}}" for name, theirs in REPORTED.items()]
    wanted += [f"{name}=${{{name}}}" for name in (TICKET, *variables)]
    document = {
        "callbackUrl": url,
        "callbackBody": "&".join(wanted),
        "callbackBodyType": FORM_TYPE,
    }
    return base64_json(document)


def variables_of(ticket: str) -> str:
    """Return the text for x-oss-callback-var; a client may add variables of its own."""
    return base64_json({TICKET: ticket})


def base64_json(document: Mapping[str, str]) -> str:
    """Return *document* as JSON in Base64, the form that OSS takes in a header."""
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(content.encode()).decode("ascii")


# --- Posted by OSS --------------------------------------------------------------


def read_report(body: bytes) -> dict[str, str]:
    """Return the names and values of a report.

    Raises ValueError unless each name is there only once, and all of REPORTED are.
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=100,
        )
    except ValueError:
        raise ValueError("it is not a form in UTF-8") from None
    report = dict(pairs)
    if len(report) < len(pairs):
        raise ValueError("it has a name twice")
    if not {*REPORTED, TICKET} <= set(report):
        raise ValueError("it lacks a value that OSS was told to report")
    return report
