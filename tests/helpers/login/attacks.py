"""Login tokens of attackers, who want to be somebody else."""

from __future__ import annotations

import base64
import hmac
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from helpers.login.service import (
    AUDIENCE,
    ISSUER,
    KINDS,
    LEEWAY_SECONDS,
    PUBLIC_KINDS,
    LoginService,
    attacker,
    claims_now,
    encode_part,
    to_json,
)
from tokenserver.errors import LoginError, NotAuthenticated, UserNotAllowed

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

MakeToken = Callable[[LoginService], str]


@dataclass(frozen=True)
class Attack:
    """A token that must be refused by a server that trusts the given service."""

    id: str
    make: MakeToken
    kinds: tuple[str, ...] = KINDS  # of the services that it is tried on
    refusal: type[LoginError] = NotAuthenticated


def claims(**changes: Any) -> MakeToken:
    """Return a maker of tokens of our service with other claims."""
    return lambda ours: ours.sign(claims_now(**changes))


def seconds(**offsets: float) -> MakeToken:
    """Return a maker of tokens with times this many seconds from now."""
    return lambda ours: ours.sign(
        claims_now(**{name: time.time() + offset for name, offset in offsets.items()})
    )


def raw_claims(**texts: str) -> MakeToken:
    """Return a maker of tokens with claims whose JSON is *texts*."""

    def make(ours: LoginService) -> str:
        values = {k: json.dumps(v) for k, v in claims_now().items()} | texts
        members = ",".join(f'"{name}":{text}' for name, text in values.items())
        return ours.sign(f"{{{members}}}".encode())

    return make


def edited_claims(edit: Callable[[bytes], bytes]) -> MakeToken:
    """Return a maker of tokens of our service with the JSON of the claims edited."""
    return lambda ours: ours.sign(edit(to_json(claims_now())))


def header(**changes: Any) -> MakeToken:
    """Return a maker of tokens of our service with another header."""
    return lambda ours: ours.sign(header=ours.header(**changes))


def edited_header(edit: Callable[[bytes], bytes]) -> MakeToken:
    """Return a maker of tokens of our service with the JSON of the header edited."""
    return lambda ours: ours.sign(header=edit(to_json(ours.header())))


def forged(**changes: Any) -> MakeToken:
    """Return a maker of tokens that the attacker signs, with another header."""
    return lambda ours: attacker(ours.kind).sign(header=ours.header(**changes))


def edited(edit: Callable[[str], str]) -> MakeToken:
    """Return a maker of tokens that edits a valid one."""
    return lambda ours: edit(ours.sign())


def resigned(edit: Callable[[bytes], bytes]) -> MakeToken:
    """Return a maker of tokens that edits the signature of a valid one."""

    def make(ours: LoginService) -> str:
        signed = ours.sign().rpartition(".")[0]
        signature = edit(ours.signature(signed.encode()))
        return f"{signed}.{encode_part(signature)}"

    return make


def unsigned(algorithm: Any, signature: bytes = b"") -> MakeToken:
    """Return a maker of tokens that claim to need no signature."""

    def make(ours: LoginService) -> str:
        fields = to_json(ours.header(alg=algorithm))
        signed = f"{encode_part(fields)}.{encode_part(to_json(claims_now()))}"
        return f"{signed}.{encode_part(signature)}"

    return make


def with_part(index: int, part: str) -> MakeToken:
    """Return a maker of tokens that puts *part* into a valid one."""

    def edit(token: str) -> str:
        parts = token.split(".")
        parts[index] = part
        return ".".join(parts)

    return edited(edit)


def keyed_with(
    secret: Callable[[LoginService], bytes], algorithm: str = "HS256", **changes: Any
) -> MakeToken:
    """Return a maker of tokens with an HMAC whose key is public."""

    def make(ours: LoginService) -> str:
        fields = ours.header(alg=algorithm, **changes)
        signed = f"{encode_part(to_json(fields))}.{encode_part(to_json(claims_now()))}"
        digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}[algorithm]
        signature = hmac.digest(secret(ours), signed.encode(), digest)
        return f"{signed}.{encode_part(signature)}"

    return make


def flipped(index: int) -> MakeToken:
    """Return a maker of tokens that changes the middle of one part."""

    def edit(token: str) -> str:
        parts = token.split(".")
        part = parts[index]
        middle = len(part) // 2
        other = "A" if part[middle] != "A" else "B"
        parts[index] = part[:middle] + other + part[middle + 1 :]
        return ".".join(parts)

    return edited(edit)


def non_canonical(index: int) -> MakeToken:
    """Return a maker of tokens that sets an unused bit of base64url in one part."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    def make(ours: LoginService) -> str:
        fields = b'{"alg":"%s" }' % ours.kind.encode()
        values = to_json(claims_now())
        fields += b" " * ((len(fields) + 1) % 3 == 1)  # a length with unused bits
        values += b" " * (len(values) % 3 == 0)
        token = ours.sign(values, fields + b" " * (len(fields) % 3 == 0))
        parts = token.split(".")
        part = parts[index]
        assert len(part) % 4, "no bit is unused"
        parts[index] = part[:-1] + alphabet[alphabet.index(part[-1]) | 1]
        assert parts[index] != part
        return ".".join(parts)

    return make


def other_claims(ours: LoginService) -> str:
    """Return a token of another user with the signature of a valid one."""
    first, _, last = ours.sign().split(".")
    return f"{first}.{encode_part(to_json(claims_now(sub='mallory')))}.{last}"


def in_der(raw: bytes) -> bytes:
    """Return an ECDSA signature in DER, as OpenSSL writes it."""
    return encode_dss_signature(
        int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    )


def on_p384(ours: LoginService) -> str:
    """Return a token signed on another curve, under the name of ES256."""
    key = ec.generate_private_key(ec.SECP384R1())
    return LoginService("ES384", key).sign(header=ours.header())


def with_pss(ours: LoginService) -> str:
    """Return a token that says RS256 and is signed with PSS."""
    signed = ours.sign().rpartition(".")[0]
    signature = ours.private.sign(
        signed.encode(), padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()
    )
    return f"{signed}.{encode_part(signature)}"


def with_sha512(ours: LoginService) -> str:
    """Return a token that says RS256 and is signed over a SHA-512."""
    signed = ours.sign().rpartition(".")[0]
    signature = ours.private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA512())
    return f"{signed}.{encode_part(signature)}"


def own_jwk(ours: LoginService) -> str:
    """Return a token that contains the key that signed it."""
    theirs = attacker(ours.kind)
    return theirs.sign(header=ours.header(jwk=theirs.jwk()))


def own_x5c(ours: LoginService) -> str:
    """Return a token that contains a certificate (in fact, its key)."""
    theirs = attacker(ours.kind)
    chain = [base64.b64encode(theirs.der).decode()]
    return theirs.sign(header=ours.header(x5c=chain, x5t="AAAA"))


def as_json(ours: LoginService) -> str:
    """Return a valid token in the JSON serialization (RFC 7515 section 7.2)."""
    first, second, third = ours.sign().split(".")
    fields = {"protected": first, "payload": second, "signature": third}
    return to_json(fields).decode()


def deflated(ours: LoginService) -> str:
    """Return a token whose claims are compressed, as JWE allows."""
    raw = zlib.compressobj(wbits=-15)
    content = raw.compress(to_json(claims_now())) + raw.flush()
    return ours.sign(content, ours.header(zip="DEF"))


def nested_token(ours: LoginService) -> str:
    """Return a token in a token (RFC 7519 section 5.2)."""
    return ours.sign(ours.sign().encode(), ours.header(cty="JWT"))


def spelled_twice(first: str, second: str) -> Callable[[bytes], bytes]:
    """Return a function that puts two members, in JSON, at the start of an object."""
    return lambda content: (
        b"{%s,%s,%s"
        % (
            first.encode(),
            second.encode(),
            content[1:],
        )
    )


def nested(levels: int, wrap: bool) -> str:
    """Return JSON of nested arrays, or of nested arrays and objects."""
    if wrap:
        return '{"a":[' * (levels // 2) + "]}" * (levels // 2)
    return "[" * levels + "]" * levels


def claim_rows(name: str, values: dict[str, Any]) -> list[Attack]:
    """Return an attack for each value of the claim *name*."""
    return [
        Attack(f"{name} {what}", claims(**{name: value}))
        for what, value in values.items()
    ]


ODD: dict[str, Any] = {
    "missing": ...,
    "null": None,
    "number": 7,
    "boolean": True,
    "object": {"a": 1},
}
ODD_TIMES: dict[str, Any] = {
    "null": None,
    "string": str(2**31),
    "empty string": "",
    "boolean": True,
    "list": [2**31],
    "object": {"a": 1},
    "negative": -1,
    "beyond the year 9999": 253402300800,
    "in milliseconds": 4 * 10**12,
    "a huge integer": 10**300,
}
ODD_NUMBERS = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "minus Infinity": "-Infinity",
    "1e400": "1e400",
    "minus 1e400": "-1e400",
    "of 4000 digits": "9" * 4000,
}
ODD_KIDS: dict[str, Any] = {
    "null": None,
    "number": 1,
    "list": ["RS256-1"],
    "object": {"a": 1},
    "boolean": True,
}
ODD_TYPES: dict[str, Any] = {
    "logout": "logout+jwt",
    "security event": "secevent+jwt",
    "DPoP proof": "dpop+jwt",
    "encrypted": "JWE",
    "empty": "",
    "padded": "JWT ",
    "null": None,
    "list": ["JWT"],
}
NONE = ("none", "None", "NONE", "nOnE", "none ", " none", "none\0", "n\u043ene")
BOM = b"\xef\xbb\xbf"
REFUSED_USERS = {
    "empty": "",
    "a folder": ".",
    "the folder above": "..",
    "with a slash": "../bob",
    "with a backslash": "a\\b",
    "a wildcard": "*",
    "with a question mark": "b?b",
    "a policy variable": "${oss:Prefix}",
    "with a quote": 'a"b',
    "with a blank": "alice b",
    "with a line end": "alice\n",
    "with a null": "alice\0",
    "with a zero width space": "alice\u200b",
    "in full width": "\uff41lice",
    "decomposed": "Rene\u0301",
    "too long": "a" * 129,
}

# An algorithm that needs no key, or not this one.
ALGORITHMS = [
    *(Attack(f"alg {name!a}", unsigned(name, b"x" * 64)) for name in NONE),
    *(Attack(f"alg {name!a}, no signature", unsigned(name)) for name in NONE[:4]),
    *(
        Attack(f"alg {what}", header(alg=value))
        for what, value in ({"list": ["RS256"]} | ODD).items()
    ),
    Attack("alg empty", header(alg="")),
    Attack(
        "alg in lower case",
        lambda ours: ours.sign(header=ours.header(alg=ours.kind.lower())),
    ),
    Attack(
        "HMAC keyed with the public key", keyed_with(lambda s: s.file), PUBLIC_KINDS
    ),
    Attack(
        "HMAC keyed with the public key less its line end",
        keyed_with(lambda s: s.file.rstrip()),
        PUBLIC_KINDS,
    ),
    Attack("HMAC keyed with its DER", keyed_with(lambda s: s.der), PUBLIC_KINDS),
    Attack(
        "HMAC keyed with its JWK", keyed_with(lambda s: to_json(s.jwk())), PUBLIC_KINDS
    ),
    Attack(
        "HS512 keyed with the public key",
        keyed_with(lambda s: s.file, "HS512"),
        PUBLIC_KINDS,
    ),
    Attack("HMAC keyed with nothing", keyed_with(lambda s: b"")),
    Attack(
        "kid a path to an empty file",
        keyed_with(lambda s: b"", kid="../../../../dev/null"),
    ),
    Attack("kid SQL", keyed_with(lambda s: b"k", kid="x' UNION SELECT 'k' -- ")),
    Attack(
        "alg HS384, signed so",
        lambda ours: ours.sign(header=ours.header(alg="HS384"), algorithm="HS384"),
        ("HS256",),
    ),
    Attack(
        "alg HS512, signed so",
        lambda ours: ours.sign(header=ours.header(alg="HS512"), algorithm="HS512"),
        ("HS256",),
    ),
    Attack(
        "alg RS512, signed so",
        lambda ours: ours.sign(header=ours.header(alg="RS512"), algorithm="RS512"),
        ("RS256",),
    ),
    Attack(
        "alg PS256, signed so",
        lambda ours: ours.sign(header=ours.header(alg="PS256"), algorithm="PS256"),
        ("RS256",),
    ),
    *(
        Attack(
            f"alg swapped for {kind}",
            header(alg=kind),
            tuple(other for other in KINDS if other != kind),
        )
        for kind in KINDS
    ),
    *(
        Attack(
            f"signed by the attacker with {kind}",
            lambda ours, kind=kind: attacker(kind).sign(  # type: ignore[misc]
                header=ours.header(alg=kind)
            ),
        )
        for kind in KINDS
    ),
]

# A key of the attacker's choice.
KEYS = [
    Attack("jku", forged(jku="https://attacker.example.com/jwks.json")),
    Attack("x5u", forged(x5u="https://attacker.example.com/cert.pem")),
    Attack("jku of the issuer", forged(jku=f"{ISSUER}../attacker/jwks.json")),
    Attack("jwk", own_jwk, PUBLIC_KINDS),
    Attack("x5c", own_x5c, PUBLIC_KINDS),
    Attack("kid of nobody", forged(kid="attacker")),
    Attack("kid a path", forged(kid="../../../../etc/passwd")),
    Attack("kid empty", forged(kid="")),
    Attack("no kid", forged(kid=...)),
    *(Attack(f"kid {what}", header(kid=kid)) for what, kid in ODD_KIDS.items()),
]

# A signature that is none.
SIGNATURES = [
    Attack("header changed", flipped(0)),
    Attack("claims changed", flipped(1)),
    Attack("signature changed", flipped(2)),
    Attack("claims of another", other_claims),
    Attack("signature truncated", resigned(lambda signature: signature[:-1])),
    Attack("signature of one byte", resigned(lambda signature: signature[:1])),
    Attack("signature extended", resigned(lambda signature: signature + b"\0")),
    Attack("signature twice", resigned(lambda signature: signature * 2)),
    Attack("signature of zeros", resigned(lambda s: bytes(len(s)))),
    Attack("signature of ones", resigned(lambda s: b"\xff" * len(s))),
    Attack("signature 1", resigned(lambda s: b"\1".rjust(len(s), b"\0")), ("RS256",)),
    Attack("signed with PSS", with_pss, ("RS256",)),
    Attack("signed over SHA-512", with_sha512, ("RS256",)),
    Attack(
        "r = s = n",
        resigned(lambda _: P256_ORDER.to_bytes(32, "big") * 2),
        ("ES256",),
    ),
    Attack("r = s = 1", resigned(lambda _: (b"\1".rjust(32, b"\0")) * 2), ("ES256",)),
    Attack("signature in DER", resigned(in_der), ("ES256",)),
    Attack("DER of r = s = 0", resigned(lambda _: in_der(bytes(64))), ("ES256",)),
    Attack("another curve", on_p384, ("ES256",)),
]

# Times.
TIMES = [
    Attack("expired", seconds(exp=-LEEWAY_SECONDS - 5)),
    Attack("expired long ago", claims(exp=1)),
    Attack("expired in 1970", claims(exp=0)),
    Attack("not yet valid", seconds(nbf=LEEWAY_SECONDS + 30)),
    Attack("issued in the future", seconds(iat=LEEWAY_SECONDS + 30)),
    *claim_rows("exp", {"missing": ...} | ODD_TIMES),
    *claim_rows("nbf", ODD_TIMES),
    *claim_rows("iat", ODD_TIMES),
    *(
        Attack(f"{name} {what}", raw_claims(**{name: text}))
        for name in ("exp", "nbf", "iat")
        for what, text in ODD_NUMBERS.items()
    ),
]

# For somebody else, or by somebody else.
PARTIES = [
    *claim_rows(
        "iss",
        ODD
        | {
            "empty": "",
            "in a list": [ISSUER],
            "longer": ISSUER + "x",
            "a prefix": ISSUER[:-1],
            "with two slashes": ISSUER + "/",
            "in capitals": ISSUER.upper(),
            "with a blank": " " + ISSUER,
            "with a line end": ISSUER + "\n",
            "by plain HTTP": ISSUER.replace("https", "http"),
            "of an attacker": "https://login.example.com.attacker.net/",
        },
    ),
    *claim_rows(
        "aud",
        ODD
        | {
            "empty": "",
            "an empty list": [],
            "longer": "apps",
            "a prefix": "ap",
            "a suffix": "my-app",
            "in capitals": "APP",
            "with a slash": "app/",
            "with a blank": "app ",
            "a list of others": ["one", "two"],
            "a list of numbers": [1, 2],
            "in a list with a number": [AUDIENCE, 1],
            "in a list with null": [None, AUDIENCE],
            "a list in a list": [[AUDIENCE]],
            "a text with two": "app,other-app",
        },
    ),
    *claim_rows("sub", ODD | {"list": ["alice"]}),
    Attack("jti number", claims(jti=1)),
    *(
        Attack(f"user {what}", claims(sub=user), refusal=UserNotAllowed)
        for what, user in REFUSED_USERS.items()
    ),
]

# JSON that is read in two ways, or in none.
TEXTS = [
    Attack("sub twice", edited_claims(spelled_twice('"sub":"alice"', '"x":1'))),
    Attack("exp twice", edited_claims(spelled_twice('"exp":1', '"x":1'))),
    Attack(
        "sub twice, escaped", edited_claims(spelled_twice('"s\\u0075b":"b"', '"x":1'))
    ),
    Attack("a name twice deep inside", raw_claims(x='[{"y":{"a":1,"a":1}}]')),
    Attack("alg twice", edited_header(spelled_twice('"alg":"none"', '"x":1'))),
    Attack("kid twice", edited_header(spelled_twice('"kid":"k"', '"x":1'))),
    Attack(
        "a name twice deep in the header",
        edited_header(spelled_twice('"x":{"a":1,"a":2}', '"y":1')),
    ),
    Attack("NaN in another claim", raw_claims(x="NaN")),
    Attack("1e400 in another claim", raw_claims(x="[1e400]")),
    Attack("NaN in the header", edited_header(spelled_twice('"x":NaN', '"y":1'))),
    Attack("claims nested 17 levels", raw_claims(x=nested(16, False))),
    Attack("claims nested 2500 levels", raw_claims(x=nested(2500, False))),
    Attack("claims nested in both ways", raw_claims(x=nested(700, True))),
    Attack(
        "header nested 2500 levels",
        edited_header(spelled_twice(f'"x":{nested(2500, False)}', '"y":1')),
    ),
    Attack("claims a list", lambda ours: ours.sign(to_json([claims_now()]))),
    Attack("claims a string", lambda ours: ours.sign(b'"alice"')),
    Attack("claims null", lambda ours: ours.sign(b"null")),
    Attack("claims an empty object", lambda ours: ours.sign(b"{}")),
    Attack("claims no JSON", lambda ours: ours.sign(b"sub=alice")),
    Attack("header a list", lambda ours: ours.sign(header=b'["alg"]')),
    Attack("header no JSON", lambda ours: ours.sign(header=b"alg")),
    Attack("claims with more behind", edited_claims(lambda text: text + b"{}")),
    Attack("claims with a null behind", edited_claims(lambda text: text + b"\0")),
    Attack("claims with a comma too many", edited_claims(lambda t: t[:-1] + b",}")),
    Attack("claims with a comment", edited_claims(lambda text: text + b"//")),
    Attack("claims in single quotes", edited_claims(lambda t: t.replace(b'"', b"'"))),
    Attack("claims with a byte order mark", edited_claims(lambda t: BOM + t)),
    Attack("claims in UTF-16", edited_claims(lambda t: t.decode().encode("utf-16"))),
    Attack("claims in UTF-32", edited_claims(lambda t: t.decode().encode("utf-32-le"))),
    Attack(
        "claims not UTF-8", edited_claims(lambda t: t.replace(b"alice", b"\xff\xfe"))
    ),
    Attack(
        "claims in overlong UTF-8",
        edited_claims(lambda t: t.replace(b"alice", b"\xc1\xa1lice")),
    ),
    Attack(
        "claims with a surrogate in UTF-8",
        edited_claims(lambda t: t.replace(b"alice", b"\xed\xa0\x80")),
    ),
    Attack("header in UTF-16", edited_header(lambda t: t.decode().encode("utf-16"))),
    Attack("header with a byte order mark", edited_header(lambda t: BOM + t)),
    Attack("claims compressed", deflated),
    Attack("a token in a token", nested_token),
]

# Headers that change what the rest means.
HEADERS = [
    Attack("crit exp", header(crit=["exp"], exp=1)),
    Attack("crit b64", header(crit=["b64"], b64=True)),
    Attack("crit empty", header(crit=[])),
    Attack("crit null", header(crit=None)),
    Attack("b64 false", header(b64=False)),
    Attack("b64 true", header(b64=True)),
    Attack("b64 false and crit", header(b64=False, crit=["b64"])),
    *(Attack(f"typ {what}", header(typ=typ)) for what, typ in ODD_TYPES.items()),
]

# Tokens of another form.
FORMS = [
    Attack("empty", lambda _: ""),
    Attack("dots only", lambda _: ".."),
    Attack("one part", edited(lambda token: token.split(".")[0])),
    Attack("two parts", edited(lambda token: token.rpartition(".")[0])),
    Attack("four parts", edited(lambda token: token + ".AAAA")),
    Attack("five parts", edited(lambda token: token + ".AAAA.AAAA")),
    Attack("dot before", edited(lambda token: "." + token)),
    Attack("dot behind", edited(lambda token: token + ".")),
    Attack("header empty", with_part(0, "")),
    Attack("claims empty", with_part(1, "")),
    Attack("signature empty", with_part(2, "")),
    Attack("signature of one character", with_part(2, "A")),
    Attack("padded", edited(lambda token: token + "=")),
    Attack("padded twice", edited(lambda token: token + "==")),
    Attack("header padded", edited(lambda token: token.replace(".", "==.", 1))),
    Attack("blank before", edited(lambda token: " " + token)),
    Attack("blank behind", edited(lambda token: token + " ")),
    Attack("line end behind", edited(lambda token: token + "\n")),
    Attack("line end inside", edited(lambda token: token.replace(".", ".\n", 1))),
    Attack("null behind", edited(lambda token: token + "\0")),
    Attack("not ASCII", edited(lambda token: token + "é")),
    Attack("a full-width letter", edited(lambda token: "\uff45" + token[1:])),
    Attack("user half a surrogate pair", claims(sub="alice\ud800")),
    Attack("half a surrogate pair", edited(lambda token: token + "\ud800")),
    Attack("standard base64", with_part(2, "+/+/")),
    Attack("quoted", edited(lambda token: f'"{token}"')),
    Attack("with its scheme", edited(lambda token: "Bearer " + token)),
    Attack("twice", edited(lambda token: f"{token},{token}")),
    Attack("in the JSON serialization", as_json),
    Attack("larger than 16 KiB", claims(x="x" * 12_400)),
    Attack("of 1 MiB", claims(x="x" * (1 << 20))),
    Attack("header's unused bit set", non_canonical(0)),
    Attack("claims' unused bit set", non_canonical(1)),
    Attack("signature's unused bit set", non_canonical(2)),
]

ATTACKS: list[Attack] = [
    *ALGORITHMS,
    *KEYS,
    *SIGNATURES,
    *TIMES,
    *PARTIES,
    *TEXTS,
    *HEADERS,
    *FORMS,
]
BY_NAME = {attack.id: attack for attack in ATTACKS}
assert len(BY_NAME) == len(ATTACKS), "two attacks have one name"

# How a token is sent matters to its form; of the others there is one of each kind, and
# of each LoginError that the verifier raises by itself.
OVER_HTTP = [
    *(
        BY_NAME[name]
        for name in (
            "alg 'none'",
            "HMAC keyed with the public key",
            "jwk",
            "kid a path",
            "signature changed",
            "claims of another",
            "expired",
            "exp missing",
            "iss of an attacker",
            "aud in a list with a number",
            "sub number",
            "sub twice",
            "claims nested 2500 levels",
            "crit exp",
            "user with a slash",
            "user with a line end",
        )
    ),
    *FORMS,
]
