"""Who is asking: the user of a login token.

An app with users has a login service that gives each of them a login token: a JSON Web
Token, three base64url parts with dots between (header, claims, signature).
LoginVerifier checks one and returns its user; user_id() says which users can stand in
a session policy, role_session_name() what ActionTrail calls them.  The key to check
with comes from a file (secret_key, public_key) or from the URL where the login service
publishes its keys (JwksKeys).

PyJWT checks the signature and the values of the claims.  What two readers could take
differently, and types that it does not look at, are refused here before.  It is
imported only when a key or a verifier is made.

Sources: RFC 7515 (JWS), 7517 (JWK), 7518 (algorithms), 7519 (JWT), 8725 (best current
practices), 8037 (EdDSA), 9068 (access tokens).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import json
import logging
import math
import re
import threading
import time
import unicodedata
import urllib.request
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol
from urllib.error import HTTPError, URLError

logger = logging.getLogger("sts_server")

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
ALGORITHM_OF_KTY = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
MIN_SECRET_BYTES = 32  # RFC 7518 section 3.2
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
ACCEPTED_KEYS = f"RSA of {MIN_RSA_BITS} bits or more, EC P-256 and Ed25519"

MAX_TOKEN_BYTES = 16 * 1024  # no less than a request head may have; see sts_http
MAX_NESTING = 16  # levels of arrays and objects
MAX_TIME = 253402300799  # 9999-12-31, in unix seconds; milliseconds of today are more
TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
TOKEN_TYPES = ("jwt", "at+jwt", "application/at+jwt")  # RFC 7519, 9068 section 4

MAX_USER_BYTES = 128  # in UTF-8
MAX_SESSION_NAME = 64  # of STS, characters; it wants 2 at least
SESSION_NAME_START = 30  # characters of a user whose whole name does not fit

FETCH_SECONDS = 5.0  # for a whole answer of the JWKS URL, however slowly it drips
FETCH_PAUSE_SECONDS = 5.0  # after one fetch, before a token can cause another
MAX_FETCHES = 4  # at once in the process, those counted that are overdue
REFRESH_SECONDS = 600.0  # the age at which keys are fetched anew
KEYS_SECONDS = 24 * 3600.0  # the age at which keys are used no longer
# Some hosts refuse what calls itself Python-urllib.
FETCH_HEADERS = {"Accept": "application/json", "User-Agent": "sts-server"}
MAX_JWKS_BYTES = 1 << 20
MAX_JWKS_KEYS = 100
JWKS_URL = re.compile(  # printable ASCII, no user before the host and no fragment
    r"(https?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?([/?][!\"$-~]*)?"
)

# --- Errors ---------------------------------------------------------------------


class LoginSetupError(Exception):
    """What the operator must change to have login tokens verified, in one line."""


class LoginError(Exception):
    """No user.  *reason* is one line for the log, without any part of the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotAuthenticated(LoginError):
    """The login token does not prove who is asking."""


class UserNotAllowed(LoginError):
    """The login token is in order, but its user ID cannot be used."""


class KeysUnavailable(LoginError):
    """There is no key to check a token with: the JWKS URL gave none."""


class FetchError(Exception):
    """The JWKS URL gave no keys; the text says why and has no part of the URL."""


def import_jwt() -> SimpleNamespace:
    """Return the parts of PyJWT and cryptography used here.

    Raises LoginSetupError without them.
    """
    try:
        import jwt.algorithms
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from jwt import InvalidKeyError, PyJWK, PyJWT
    except ImportError as error:
        raise LoginSetupError(
            f"PyJWT cannot be imported ({error}); "
            "run: pip install 'PyJWT[crypto]>=2.10.1'"
        ) from None
    return SimpleNamespace(
        EllipticCurvePublicKey=ec.EllipticCurvePublicKey,
        Ed25519PublicKey=ed25519.Ed25519PublicKey,
        HMACAlgorithm=jwt.algorithms.HMACAlgorithm,
        InvalidKeyError=InvalidKeyError,
        PyJWK=PyJWK,
        PyJWT=PyJWT,
        RSAPublicKey=rsa.RSAPublicKey,
        SECP256R1=ec.SECP256R1,
        load_pem_public_key=serialization.load_pem_public_key,
    )


# --- Users ----------------------------------------------------------------------

# Separators and wildcards of OSS, RAM and file systems, policy variables, quotes.
SPECIAL = "/\\*?${}\"'`"

# What shows nothing and has a category of visible characters: Default_Ignorable_Code_
# Point of DerivedCoreProperties.txt, and blanks (Braille, hieroglyphs, Khitan filler,
# null notehead).  U+FFFC and U+FFFD stand for what was lost, maybe of several users.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\ufffc\ufffd\U00013441\U00013442\U00016fe4\U0001d159\U000e0100-\U000e01ef]"
)
REFUSED_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))


def user_id(text: str) -> str:
    """Return *text* if it can be a user's part of an object prefix and a policy.

    Raises UserNotAllowed unless it is 1 to MAX_USER_BYTES of UTF-8, all visible, and
    none of it means anything to paths, to policies or to what quotes them.  As it has
    no slash and is not "." or "..", no user's folder is in another's; a template must
    put a slash behind it, as "al" begins "alice".  %2F is three characters: OSS and RAM
    compare names that were decoded once.  Case counts, as it does for OSS.

    It must be its own NFKC form, so users stay apart whatever normalises them later:
    of a text x and any form N of the four, NFKC(N(x)) = NFKC(x) (UAX #15), so if two
    users had N(a) = N(b), then a = NFKC(a) = NFKC(b) = b.  That holds for characters
    that Unicode has assigned; others are refused.  A combining mark at the beginning
    would join what stands before it.
    """
    if not isinstance(text, str) or not text:
        raise UserNotAllowed("the user ID is empty, or no string")
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
        raise UserNotAllowed(f"{shown} means a folder")
    if unicodedata.category(text[0]).startswith("M"):
        raise UserNotAllowed(f"{shown} begins with a combining mark")
    if unicodedata.normalize("NFKC", text) != text:
        raise UserNotAllowed(f"{shown} is not in NFKC")
    return text


def role_session_name(user: str) -> str:
    """Return the RoleSessionName of an accepted *user*, another for each.

    ASCII letters, digits, ".", "@" and "-" stay, each other byte of the UTF-8 becomes
    _XX, which urllib.parse.unquote(name.replace("_", "%")) undoes.  If that is not 2 to
    64 characters, its beginning, "__", which the whole never contains, and 160 bits of
    the user's SHA-256 in base32 are the name.
    """
    content = user.encode()
    name = re.sub(
        rb"[^A-Za-z0-9.@-]", lambda match: b"_%02X" % match[0][0], content
    ).decode("ascii")
    if 2 <= len(name) <= MAX_SESSION_NAME:
        return name
    start = re.sub(r"_.?\Z", "", name[:SESSION_NAME_START])  # no half of a _XX
    digest = base64.b32encode(hashlib.sha256(content).digest()[:20])
    return f"{start}__{digest.decode('ascii').lower()}"


# --- Strict reading -------------------------------------------------------------


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object.  Raises ValueError if a name stands there twice."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError
    return result


def finite(text: str) -> float:
    """Return a number that a float can hold.  Raises ValueError, also for NaN."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


STRICT_JSON = json.JSONDecoder(
    object_pairs_hook=unique, parse_float=finite, parse_constant=finite
)


def is_deeper(value: Any, levels: int) -> bool:
    """Return whether *value* has more than *levels* of arrays and objects."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return not levels or any(is_deeper(item, levels - 1) for item in value)


def parse_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object that *content* is.

    Raises ValueError for what is none, and for what readers of JSON take differently
    (RFC 8259 sections 4, 6, 8, 9): a name that stands there twice, a number beyond a
    float, other text than UTF-8, more than MAX_NESTING levels.
    """
    try:
        document = STRICT_JSON.decode(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("is not strict JSON") from None
    if not isinstance(document, dict):
        raise ValueError("is no JSON object")
    if is_deeper(document, MAX_NESTING):
        raise ValueError("is nested too deeply")
    return document


def decode_part(part: str) -> bytes:
    """Return the bytes of a part of a token.

    Raises ValueError unless *part* is the one way to write them (RFC 4648 section 3.5),
    so that a token cannot be changed and stay valid.
    """
    content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(content).rstrip(b"=") != part.encode("ascii"):
        raise ValueError
    return content


# --- Keys -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Key:
    """A key and the only algorithm it is used with (RFC 8725 section 3.1)."""

    algorithm: str
    key: Any = field(repr=False)  # bytes, or a public key of cryptography

    @property
    def algorithms(self) -> frozenset[str]:
        """What a token may be signed with."""
        return frozenset((self.algorithm,))

    def find(self, header: Mapping[str, Any]) -> Key:
        """Return this key, for whatever header."""
        return self


class Keys(Protocol):
    """Where a verifier has its keys from."""

    @property
    def algorithms(self) -> frozenset[str]:
        """What tokens may be signed with."""

    def find(self, header: Mapping[str, Any]) -> Key:
        """Return the key for a token of this header.

        Its alg is one of ours and its kid, if it has one, a string.  Raises LoginError.
        """


# No secret: a PEM, an SSH key (RFC 4716 and OpenSSH), a JWK or a set of them.  All may
# be public, and then everybody could sign with HS256.
NO_SECRET = re.compile(
    rb"----[- ]BEGIN |\A\s*(?:sk-)?(?:ssh|ecdsa)-|\A[^\w{]*\{.*\"(?:kty|keys)\"",
    re.DOTALL,
)


def secret_key(where: str, content: bytes) -> Key:
    """Return the HS256 key that the file *where* holds, less one line end.

    Raises LoginSetupError if it is too short, or a public key (RFC 8725 section 2.1).
    """
    api = import_jwt()
    secret = re.sub(rb"\r?\n\Z", b"", content)
    if len(secret) < MIN_SECRET_BYTES:
        raise LoginSetupError(
            f"{where}: has {len(secret)} bytes; an HS256 secret has {MIN_SECRET_BYTES} "
            "or more"
        )
    try:
        is_secret = not NO_SECRET.search(secret)
        algorithm = api.HMACAlgorithm(api.HMACAlgorithm.SHA256)
        algorithm.prepare_key(secret)  # it knows DER too
        algorithm.prepare_key(base64.b64decode(secret) or secret)
    except api.InvalidKeyError:
        is_secret = False
    except ValueError:  # not base64, and so no DER in base64
        pass
    if not is_secret:
        raise LoginSetupError(
            f"{where}: is a public key, a certificate or a JWK; an HS256 secret is "
            "random bytes that nobody else knows"
        )
    return Key("HS256", secret)


def public_key(where: str, content: bytes) -> Key:
    """Return the public key that the file *where* holds in PEM.

    Its kind decides the algorithm.  Raises LoginSetupError for other kinds.
    """
    api = import_jwt()
    if b"PRIVATE KEY" in content:
        raise LoginSetupError(f"{where}: is a private key; only the public one is used")
    try:
        key = api.load_pem_public_key(content)
    except Exception:  # ValueError and others; their texts are long
        key = None
    algorithm = algorithm_of(api, key)
    if not algorithm or content.count(b"-----BEGIN ") != 1:
        raise LoginSetupError(
            f"{where}: must be one public key in PEM ({ACCEPTED_KEYS}); of a "
            "certificate, openssl x509 -pubkey -noout prints it"
        )
    return Key(algorithm, key)


def algorithm_of(api: SimpleNamespace, key: Any) -> str:
    """Return the algorithm that *key* is used with, or "" for a kind not used here."""
    if isinstance(key, api.RSAPublicKey):
        return "RS256" if key.key_size >= MIN_RSA_BITS else ""
    if isinstance(key, api.EllipticCurvePublicKey):
        return "ES256" if isinstance(key.curve, api.SECP256R1) else ""
    return "EdDSA" if isinstance(key, api.Ed25519PublicKey) else ""


# --- Keys from a URL ------------------------------------------------------------

NamedKey = tuple["str | None", Key]  # with its kid


def key_of_jwk(api: SimpleNamespace, jwk: Any) -> NamedKey | None:
    """Return the key in a JWK, or None if it is not one for us (RFC 7517 section 5)."""
    try:
        algorithm = ALGORITHM_OF_KTY[jwk["kty"]]  # none for oct: a secret is not public
        kid, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
        if (
            jwk.get("use", "sig") != "sig"
            or not isinstance(operations, list)
            or "verify" not in operations
            or jwk.get("alg", algorithm) != algorithm
            or not isinstance(kid, str | None)
        ):
            return None
        key = api.PyJWK(jwk, algorithm).key  # with "d" a private one, which is no use
        return (kid, Key(algorithm, key)) if algorithm_of(api, key) else None
    except Exception:  # of PyJWT and cryptography; the other keys are still good
        return None


def keys_of_set(api: SimpleNamespace, content: bytes) -> tuple[NamedKey, ...]:
    """Return the keys in a JWK set that are for us.  Raises FetchError for none."""
    try:
        jwks = parse_object(content).get("keys")
    except ValueError as error:
        raise FetchError(f"the answer {error}") from None
    if not isinstance(jwks, list) or len(jwks) > MAX_JWKS_KEYS:
        raise FetchError(f"the answer has no list of at most {MAX_JWKS_KEYS} keys")
    found = (key_of_jwk(api, jwk) for jwk in jwks)
    keys = tuple(key for key in found if key)
    if not keys:
        raise FetchError(f"the answer has no key to verify with ({ACCEPTED_KEYS})")
    return keys


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect what it is, an answer other than 200."""

    def redirect_request(self, *_args: Any) -> None:
        """Return no new request."""


def read_url(url: str) -> bytes:
    """Return the answer of *url*.  Raises FetchError, OSError or HTTPException.

    Time limits are for each part that arrives; see fetch().
    """
    deadline = time.monotonic() + FETCH_SECONDS
    handlers: list[urllib.request.BaseHandler] = [NoRedirect()]
    if url.startswith("http:"):  # to this machine, and so not through a proxy
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=FETCH_HEADERS)
    opener = urllib.request.build_opener(*handlers)
    content = b""
    try:
        with opener.open(request, timeout=FETCH_SECONDS) as response:
            if response.status != http.client.OK:
                raise FetchError(f"HTTP {response.status}")
            while time.monotonic() < deadline:
                part: bytes = response.read1(1 << 16)
                content += part
                if not part:
                    return content
                if len(content) > MAX_JWKS_BYTES:
                    raise FetchError(f"more than {MAX_JWKS_BYTES} bytes")
    except HTTPError as error:
        error.close()
        raise FetchError(f"HTTP {error.code}") from None
    raise TimeoutError


_fetches = threading.BoundedSemaphore(MAX_FETCHES)


def fetch(url: str) -> bytes:
    """Return the answer of *url* within FETCH_SECONDS, whatever it does.

    Raises what read_url() raises.  It runs in a thread of its own, as its time limits
    start anew with each byte of a head that drips; an overdue one is left to itself.
    """
    outcome: Future[bytes] = Future()

    def settle() -> None:
        try:
            outcome.set_result(read_url(url))
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            _fetches.release()

    if not _fetches.acquire(blocking=False):
        raise FetchError(f"{MAX_FETCHES} fetches are still under way")
    try:
        threading.Thread(target=settle, daemon=True).start()
    except RuntimeError:  # the system has no thread for us
        _fetches.release()
        raise
    try:
        return outcome.result(FETCH_SECONDS)
    except FutureTimeoutError:
        raise FetchError(f"no answer within {FETCH_SECONDS:g} s") from None


def why(error: BaseException) -> str:
    """Return why a fetch failed, one line without the URL."""
    if isinstance(error, FetchError):
        return str(error)
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    text = getattr(error, "strerror", None) or type(error).__name__
    return ascii(text)[1:-1][:200]


class JwksKeys:
    """The keys that the login service publishes at *url*, a JWK set (RFC 7517).

    Keys are fetched when the first token comes.  They are fetched anew when they are
    REFRESH_SECONDS old, in the background, and when none fits a token, at most once in
    FETCH_PAUSE_SECONDS: those who need it meanwhile share one flight, those who come
    after it are refused at once.  A fetch that fails, or has no key for us, leaves the
    keys in force until they are KEYS_SECONDS old.  Cache-Control is not looked at.

    A token's alg and, if it has one, its kid must select exactly one key.  Two keys of
    one kid and kind thus serve no token: their order in a list decides nothing.  Where
    its header names another place for keys (jku, jwk, x5u, x5c), nobody looks.

    Raises LoginSetupError unless *url* is https, or http to this machine.
    """

    algorithms = frozenset(ALGORITHM_OF_KTY.values())

    def __init__(
        self,
        url: str,
        fetch: Callable[[str], bytes] = fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = import_jwt()
        self._url = checked_url(url)
        self._place = url.partition("?")[0]  # a query may hold a secret
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()  # guards all below, not held during a fetch
        self._keys: tuple[NamedKey, ...] = ()
        self._fetched_at = -math.inf
        self._fetch_again_at = -math.inf
        self._flight: threading.Event | None = None  # set when it has ended
        self._failure = ""  # of the last fetch, or empty

    def find(self, header: Mapping[str, Any]) -> Key:
        """Return the one key for a token of this header.

        Raises NotAuthenticated, or KeysUnavailable if there are no keys at all.
        """
        led = None
        with self._lock:
            now = self._clock()
            key = self._match(header)
            is_due = key is None or now - self._fetched_at >= REFRESH_SECONDS
            flight = self._flight
            if is_due and flight is None and now >= self._fetch_again_at:
                led = flight = self._flight = threading.Event()
        if led and key:
            in_background(partial(self._lead, led))
        elif led:
            self._lead(led)
        if key:
            return key
        if flight:
            flight.wait(FETCH_SECONDS)
        with self._lock:
            key = self._match(header)
            has_keys, failure = self._has_keys(), self._failure
        if key:
            return key
        if has_keys:
            raise NotAuthenticated("its kid and alg do not select one key of the set")
        raise KeysUnavailable(f"no keys from {self._place}: {failure or 'too slow'}")

    def _has_keys(self) -> bool:
        return self._clock() - self._fetched_at < KEYS_SECONDS

    def _match(self, header: Mapping[str, Any]) -> Key | None:
        """Return the one key that *header* selects now."""
        kid = header.get("kid")
        found = [
            key
            for name, key in self._keys
            if key.algorithm == header["alg"] and (kid is None or kid == name)
        ]
        return found[0] if len(found) == 1 and self._has_keys() else None

    def _lead(self, flight: threading.Event) -> None:
        """Fetch the keys and end *flight* whatever happens, so that no waiter hangs."""
        started_at = self._clock()
        keys: tuple[NamedKey, ...] = ()
        failure = ""
        try:
            keys = keys_of_set(self._api, self._fetch(self._url))
        except BaseException as error:
            failure = why(error)
        with self._lock:
            if keys:
                self._keys, self._fetched_at = keys, started_at
            self._fetch_again_at = self._clock() + FETCH_PAUSE_SECONDS
            is_news = bool(failure) != bool(self._failure)
            self._failure, self._flight = failure, None
        if is_news and failure:
            logger.warning(
                "no keys from %s: %s; those fetched before are used for %g hours",
                self._place,
                failure,
                KEYS_SECONDS / 3600,
            )
        elif is_news:
            logger.warning("keys from %s again", self._place)
        flight.set()


def checked_url(url: str) -> str:
    """Return *url* if keys may come from there.  Raises LoginSetupError."""
    match = JWKS_URL.fullmatch(url)
    if not match or not 0 < int(match[3] or 443) < 65536:
        raise LoginSetupError("is no URL such as https://login.example.com/jwks.json")
    if match[1] == "http" and not is_loopback(match[2]):
        raise LoginSetupError(
            "is plain HTTP; anyone on the way could replace the keys: use https"
        )
    return url


def is_loopback(host: str) -> bool:
    """Return whether *host*, as URLs have it, is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def in_background(work: Callable[[], None]) -> None:
    """Do *work* in a thread of its own; if the system has none, at once."""
    try:
        threading.Thread(target=work, name="login keys", daemon=True).start()
    except RuntimeError:
        work()


# --- Verifier -------------------------------------------------------------------


@dataclass(frozen=True)
class LoginRules:
    """What a login token must say.  Raises LoginSetupError."""

    issuer: str  # iss, exactly
    audiences: tuple[str, ...]  # aud has one of them
    leeway_seconds: int  # that its clock and ours may differ
    user_claim: str = "sub"  # the claim at the top that has the user ID
    # Users who are shut out: tokens whose iat is before these unix seconds, which may
    # be infinite, and tokens without an iat.
    denied: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.issuer or not self.user_claim:
            raise LoginSetupError("issuer and user claim must not be empty")
        if not self.audiences or "" in self.audiences:
            raise LoginSetupError("an audience is missing or empty")
        if self.leeway_seconds < 0:
            raise LoginSetupError("the leeway must not be negative")


class LoginVerifier:
    """Says whose login token it is.

    *algorithms* can only narrow what *keys* allow.  Raises LoginSetupError if nothing
    is left.
    """

    def __init__(
        self, rules: LoginRules, keys: Keys, algorithms: Collection[str] = ()
    ) -> None:
        self._jwt = import_jwt().PyJWT()
        self._rules = rules
        self._keys = keys
        unknown = sorted(set(algorithms) - set(ALGORITHMS))
        if unknown:
            raise LoginSetupError(
                f"{unknown[0][:20]!a} is none of {', '.join(ALGORITHMS)}"
            )
        self._algorithms = keys.algorithms & (set(algorithms) or keys.algorithms)
        if not self._algorithms:
            raise LoginSetupError(
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
                options={"require": ["exp", "iss", "aud"]},
            )
            # Once more: PyJWT 2.10.0 took any part of the issuer for the whole of it.
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
        """Return the header of a token that readers cannot take in different ways.

        Nothing is verified yet but the form.  Raises NotAuthenticated.
        """
        if len(token) > MAX_TOKEN_BYTES or not TOKEN.fullmatch(token):
            raise NotAuthenticated("not three base64url parts of at most 16 KiB")
        try:
            header, claims, _ = (decode_part(part) for part in token.split("."))
        except ValueError:
            raise NotAuthenticated("a part is not base64url") from None
        try:
            fields = parse_object(header)
            values = parse_object(claims)
        except ValueError as error:
            raise NotAuthenticated(f"a part {error}") from None
        problem = header_problem(fields, self._algorithms)
        problem = problem or claims_problem(values, self._rules.user_claim)
        if problem:
            raise NotAuthenticated(problem)
        return fields


def listed(audience: Any) -> list[Any]:
    """Return the values of an aud, one or a list of them (RFC 7519 section 4.1.3)."""
    return audience if isinstance(audience, list) else [audience]


def header_problem(header: dict[str, Any], algorithms: Collection[str]) -> str:
    """Return what is wrong with a token's header, or ""."""
    algorithm, kind = header.get("alg"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        return f"its alg is none of {', '.join(sorted(algorithms))}"
    if not isinstance(kind, str) or kind.lower() not in TOKEN_TYPES:
        return "its typ is none of a login token"  # RFC 8725 section 3.11
    if not isinstance(header.get("kid", ""), str):
        return "its kid is no string"
    if "crit" in header or "b64" in header:  # RFC 7515 section 4.1.11, RFC 7797
        return "it has crit or b64 in its header"
    return ""


def claims_problem(claims: dict[str, Any], user_claim: str) -> str:
    """Return which claim is missing or of a wrong type, or "".

    PyJWT checks the values of exp, nbf and iat, but takes them from strings and
    booleans too.  The types of iss and aud it checks itself.
    """
    for name in ("exp", "nbf", "iat"):
        value: Any = claims.get(name, None if name == "exp" else 0)
        if type(value) not in (int, float) or not 0 <= value <= MAX_TIME:
            return f"its {name} is missing, or no time in seconds"
    if not isinstance(claims.get(user_claim), str):
        return "its user claim is missing, or no string"
    return ""
