"""The signatures of RPC calls (V1) and of ACS3 calls (V3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import quote


def canonical_query(params: Iterable[tuple[str, str]]) -> str:
    """Return *params* sorted and percent-encoded as in RFC 3986 (a space is %20)."""
    encoded = [(quote(name, safe=""), quote(value, safe="")) for name, value in params]
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def rpc_string_to_sign(method: str, params: Iterable[tuple[str, str]]) -> str:
    """Return the text that an RPC call signs: all *params* except Signature."""
    signed = [(name, value) for name, value in params if name != "Signature"]
    return f"{method}&%2F&{quote(canonical_query(signed), safe='')}"


def rpc_signature(access_key_secret: str, string_to_sign: str) -> str:
    """Return the Signature of an RPC call with SignatureMethod HMAC-SHA1."""
    key = f"{access_key_secret}&".encode()
    return base64.b64encode(hmac.digest(key, string_to_sign.encode(), "sha1")).decode()


def acs3_string_to_sign(
    method: str,
    query: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    signed_headers: str,
    body_hash: str,
) -> str:
    """Return the text an ACS3 call signs; *signed_headers* is host;x-acs-action;…"""
    lines = [f"{n}:{headers.get(n, '').strip()}\n" for n in signed_headers.split(";")]
    canonical_request = "\n".join(
        [method, "/", canonical_query(query), "".join(lines), signed_headers, body_hash]
    )
    return f"ACS3-HMAC-SHA256\n{sha256(canonical_request.encode())}"


def acs3_signature(access_key_secret: str, string_to_sign: str) -> str:
    """Return the Signature of an ACS3 call, whose key is the secret as it is."""
    key = access_key_secret.encode()
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def sha256(data: bytes) -> str:
    """Return the digest of *data* in hex."""
    return hashlib.sha256(data).hexdigest()
